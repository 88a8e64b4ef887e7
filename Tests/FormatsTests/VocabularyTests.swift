// Quantities and units of all format files against the table in protocols/README.md.

import Formats
import Glibc
import Testing

struct VocabularyTests {
    /// Quantity to units, as the manual has them; the empty text is no unit.
    private static func vocabulary() -> [String: Set<String>] {
        let text = Repository.text("protocols/README.md")
        guard let section = text.split(separator: "\n## Quantities\n").last else { return [:] }
        var words: [String: Set<String>] = [:]
        for line in section.split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|").map { $0.filter { $0 != "`" && $0 != "," } }
            guard cells.count >= 2, let name = cells[0].split(separator: " ").first else {
                continue
            }
            words[String(name)] = Set(
                cells[1].split(separator: " ").map { $0 == "–" ? "" : String($0) })
        }
        return words
    }

    @Test("every stream that a test frame of any format yields has a known quantity and unit")
    func streams() throws {
        let words = VocabularyTests.vocabulary()
        #expect(words.count > 40)
        var seen = 0
        for row in try Fixtures.rows() where !row.isError && !row.isStream {
            let decoder = Decoder(row.format)
            var frame = DecodedFrame()
            guard rejection(decoder, row.bytes, row.direction, into: &frame) == nil else {
                continue
            }
            for reading in frame.readings {
                let stream = decoder.describe(reading)
                let units = words[stream.quantity]
                #expect(
                    units != nil, "\(row.format.name) \(stream.name): \"\(stream.quantity)\"")
                #expect(
                    units?.contains(stream.unit) ?? true,
                    "\(row.format.name) \(stream.name): \(stream.quantity) in \"\(stream.unit)\"")
                seen += 1
            }
        }
        #expect(seen > 200)
    }

    @Test("every quantity and unit that a format file writes is in the manual")
    func files() throws {
        let words = VocabularyTests.vocabulary()
        let units = words.values.reduce(into: Set<String>()) { $0.formUnion($1) }
        for format in try Fixtures.library.get().formats {
            // Files are called as their formats, but for the reference sensor.
            let file = format.name == "sluice-reference" ? "reference-sensor" : format.name
            let text = Repository.bytes("protocols/\(file).json5")
            #expect(!text.isEmpty, "\(file)")
            let root = try JSONNode.parse(text, file: file)
            check(root, file, words, units)
        }
    }

    private func check(
        _ node: JSONNode, _ file: String, _ words: [String: Set<String>], _ units: Set<String>
    ) {
        for one in node.array ?? [] { check(one, file, words, units) }
        for member in node.members ?? [] where member.key != "tests" {
            check(member.value, file, words, units)
        }
        let place = "\(file):\(node.line)"
        // Names made from fields are looked up in tables, whose rows come by here as well.
        let quantity = node["quantity"]?.string ?? node["reading"]?.string ?? named(node)
        if let quantity, !quantity.contains("{") {
            #expect(words[quantity] != nil, "\(place): quantity \"\(quantity)\"")
            if let unit = node["unit"]?.string, !unit.contains("{") {
                #expect(
                    words[quantity]?.contains(unit) ?? true, "\(place): \(quantity) in \"\(unit)\"")
            }
        } else if let unit = node["unit"]?.string, !unit.contains("{"), node["reading"] != nil {
            #expect(units.contains(unit), "\(place): unit \"\(unit)\"")
        }
    }

    /// A reading without a quantity has its name as one.
    private func named(_ node: JSONNode) -> String? {
        node["reading"]?.boolean == true ? node["name"]?.string : nil
    }
}
