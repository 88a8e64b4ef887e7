// Quantities and units of all format files and built-in codecs against the table in
// protocols/README.md.

import Glibc
import Testing

@testable import Formats

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
                    VocabularyTests.takes(units, stream.unit),
                    "\(row.format.name) \(stream.name): \(stream.quantity) in \"\(stream.unit)\"")
                seen += 1
            }
        }
        #expect(seen > 200)
    }

    @Test("what the built-in codecs can say is in the manual")
    func codecs() {
        let words = VocabularyTests.vocabulary()
        var all: [(place: String, quantity: String, unit: String)] = []
        for (symbol, known) in SensorUnit.all {
            all.append(("SenML \(symbol)", known.quantity, known.unit))
        }
        for object in Array(0...32) + Array(3200...3499) as [UInt16] {
            for item in Array(0...32) + Array(5500...6100) as [UInt16] {
                guard let known = LwM2MResource(object: object, item: item),
                    known.kind != .text, known.kind != .opaque, known.kind != .link
                else { continue }
                all.append(("LwM2M \(object)/0/\(item)", known.quantity, known.unit))
            }
        }
        for kind in MBusKind.allCases where kind.style != .none {
            all.append(("M-Bus \(kind)", kind.words.quantity, kind.words.unit))
        }
        #expect(all.count > 1000)
        for one in all {
            let units = words[one.quantity]
            #expect(units != nil, "\(one.place): \"\(one.quantity)\"")
            #expect(
                VocabularyTests.takes(units, UnitSpelling.of(one.unit)),
                "\(one.place): \(one.quantity) in \"\(one.unit)\"")
        }
    }

    /// Only what nobody knows, `value` and its sum, may come in any unit.
    private static func takes(_ units: Set<String>?, _ unit: String) -> Bool {
        guard let units else { return true }
        return units.contains(unit) || units.contains("any")
    }

    @Test("the table spells units as streams do, and only what nobody knows has any")
    func spelling() {
        let words = VocabularyTests.vocabulary()
        for (quantity, units) in words {
            for unit in units { #expect(UnitSpelling.of(unit) == unit, "\(quantity): \(unit)") }
        }
        let free = words.filter { $0.value.contains("any") }.map(\.key)
        #expect(Set(free) == ["value", "sum"])
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
                    VocabularyTests.takes(words[quantity], UnitSpelling.of(unit)),
                    "\(place): \(quantity) in \"\(unit)\"")
            }
        } else if let unit = node["unit"]?.string, !unit.contains("{"), node["reading"] != nil {
            #expect(units.contains(UnitSpelling.of(unit)), "\(place): unit \"\(unit)\"")
        }
    }

    /// A reading without a quantity has its name as one.
    private func named(_ node: JSONNode) -> String? {
        node["reading"]?.boolean == true ? node["name"]?.string : nil
    }
}
