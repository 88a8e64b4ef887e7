// Runs vector files: one JSON object a line, a frame and what it must decode to (form in the vectors'
// README). For `sluice vectors` and for the tests; slow path, does no I/O.

import Model

/// What became of the rows of one vector file.
package struct VectorReport: Sendable {
    package enum Verdict: Hashable, Sendable {
        case passed
        /// What differed, one line each.
        case failed([String])
        /// Why: no format of that name is loaded.
        case skipped(String)
    }

    package struct Row: Hashable, Sendable {
        package var id: String
        /// Line of the file, from 1.
        package var line: Int
        package var verdict: Verdict
    }

    package var file: String
    package var rows: [Row]

    package var passed: Int { rows.count { $0.verdict == .passed } }
    package var failed: Int { rows.count - passed - skipped }
    package var skipped: Int {
        rows.count { if case .skipped = $0.verdict { true } else { false } }
    }
}

package struct VectorRunner {
    private let library: FormatLibrary

    package init(_ library: FormatLibrary) { self.library = library }

    /// Runs every row of `bytes`, the content of the file called `name`. Blank lines are no rows.
    package func run(_ bytes: [UInt8], name: String) -> VectorReport {
        var rows: [VectorReport.Row] = []
        for (i, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated()
        where line.contains(where: { $0 != 0x20 && $0 != 0x0D }) {
            rows.append(row(Array(line), line: i + 1, file: name))
        }
        return VectorReport(file: name, rows: rows)
    }

    private func row(_ text: [UInt8], line: Int, file: String) -> VectorReport.Row {
        let node: JSONNode
        do throws(Complaint) {
            node = try JSONNode.parse(text, file: file)
        } catch {
            return .init(id: "line \(line)", line: line, verdict: .failed([error.what]))
        }
        let id = node["id"]?.string ?? "line \(line)"
        return .init(id: id, line: line, verdict: verdict(node))
    }

    private func verdict(_ row: JSONNode) -> VectorReport.Verdict {
        guard let kind = row["protocol"]?.string, let expect = row["expect"],
            let hex = row["hex"]?.string
        else { return .failed(["row without protocol, hex or expect"]) }
        guard let bytes = HexText.bytes(hex) else { return .failed(["hex is no hex text"]) }
        let name = kind == "vendor" ? expect["profile"]?.string ?? kind : kind
        guard var format = library.format(named: name) else {
            return .skipped("no format \"\(name)\"")
        }
        let direction: Direction = row["direction"]?.string == "down" ? .down : .up
        let keys = expect["key"]?.string.flatMap { DeviceKeys(every: $0) } ?? .none
        if let error = expect["error"]?.string {
            return refusal(format, bytes, direction, error, keys)
        }
        if let frames = expect["frames"]?.array {
            return stream(format, bytes, direction, expect, frames, keys)
        }
        var differences: [String] = []
        if let typed = expect["typed"]?.array {
            switch VectorRunner.derive(format, typed, library) {
            case .success(let derived): format = derived
            case .failure(let complaints): return .failed(complaints.all.map(\.description))
            }
            differences += typedDifferences(format, bytes, direction, typed)
        }
        differences += content(format, bytes, direction, expect, keys)
        return differences.isEmpty ? .passed : .failed(differences)
    }

    // MARK: One frame

    private func decode(
        _ format: Format, _ bytes: [UInt8], _ direction: Direction, _ keys: DeviceKeys
    ) -> Result<Explanation, RejectedFrame> {
        let decoder = Decoder(format, keys: keys)
        var frame = DecodedFrame()
        var rejection: Rejection?
        do throws(Rejection) {
            try decoder.decode(bytes.span, direction: direction, into: &frame)
        } catch { rejection = error }
        let (explanation, explained) = decoder.explained(bytes, direction: direction)
        guard rejection == explanation.rejection,
            rejection != nil || frame.readings.count == explained.readings.count
        else { return .failure(RejectedFrame(what: "reading and explaining disagree", code: nil)) }
        guard let rejection else { return .success(explanation) }
        return .failure(
            RejectedFrame(what: "rejected: \(rejection.code)", code: rejection.code))
    }

    private struct RejectedFrame: Error {
        var what: String
        var code: String?
    }

    private func refusal(
        _ format: Format, _ bytes: [UInt8], _ direction: Direction, _ error: String,
        _ keys: DeviceKeys
    ) -> VectorReport.Verdict {
        switch decode(format, bytes, direction, keys) {
        case .success: return .failed(["expected \(error), but the frame was accepted"])
        case .failure(let found):
            // A cut or changed frame may look short, long or wrongly summed: any of these is right.
            let alike = ["truncated", "bad-checksum", "bad-length", "empty"]
            if found.code == error || (alike.contains(error) && alike.contains(found.code ?? "")) {
                return .passed
            }
            return .failed(["expected \(error), found \(found.code ?? found.what)"])
        }
    }

    /// Differences of one accepted frame; `profile` names the format and `key` is the
    /// device's; both are no content.
    private func content(
        _ format: Format, _ bytes: [UInt8], _ direction: Direction, _ expect: JSONNode,
        _ keys: DeviceKeys
    ) -> [String] {
        switch decode(format, bytes, direction, keys) {
        case .failure(let found): return [found.what]
        case .success(let explanation):
            let members = (expect.members ?? []).filter {
                !["profile", "typed", "key"].contains($0.key)
            }
            let rest = JSONNode(
                content: .object(members), line: expect.line, column: expect.column)
            return Expectation.differences(rest, explanation.root.json)
        }
    }

    // MARK: Streams

    private func stream(
        _ format: Format, _ bytes: [UInt8], _ direction: Direction, _ expect: JSONNode,
        _ frames: [JSONNode], _ keys: DeviceKeys
    ) -> VectorReport.Verdict {
        let decoder = Decoder(format, keys: keys)
        var found: [[UInt8]] = []
        var rejected = 0
        var skipped = 0
        var preamble = 0
        var at = 0
        search: while at < bytes.count {
            let rest = Array(bytes[at...])
            switch decoder.search(rest.span, direction: direction) {
            case .frame(let skip, let count):
                let frame = Array(rest[skip..<skip + count])
                skipped += skip
                preamble += frame.count { Int($0) == format.program.frames[0].preamble }
                var result = DecodedFrame()
                do throws(Rejection) {
                    try decoder.decode(frame.span, direction: direction, into: &result)
                    found.append(frame)
                } catch { rejected += 1 }
                at += skip + count
            case .rejected(let skip, let advance, _):
                rejected += 1
                skipped += skip
                at += skip + advance
            case .needsMore(let skip):
                skipped += skip
                break search
            }
        }
        var differences: [String] = []
        if found.count != frames.count {
            differences.append("expected \(frames.count) frames, found \(found.count)")
        } else {
            for (i, pair) in zip(found, frames).enumerated() {
                differences += content(format, pair.0, direction, pair.1, keys).map {
                    "frame \(i): \($0)"
                }
            }
        }
        if let least = expect["rejected_min"]?.integer, rejected < least {
            differences.append("expected at least \(least) rejected, found \(rejected)")
        }
        // Whether noise that equals the preamble counts as noise or as preamble is open.
        if let expected = expect["skipped_bytes"]?.integer,
            expected < skipped || expected > skipped + preamble
        {
            differences.append("expected \(expected) skipped bytes, found \(skipped)")
        }
        return differences.isEmpty ? .passed : .failed(differences)
    }

    // MARK: Typed registers

    /// A format that extends `format` by a register map made from a row's `typed`.
    private static func derive(
        _ format: Format, _ typed: [JSONNode], _ library: FormatLibrary
    ) -> Result<Format, Complaints> {
        var rows: [JSON] = []
        for (i, entry) in typed.enumerated() {
            let order = entry["order"]?.string ?? ""
            var members: [(String, JSON)] = [
                ("name", .string("typed\(i)")), ("order", .string(order)),
                ("offset", .integer(Int64(entry["offset"]?.integer ?? 0))),
                ("type", .string(type(entry["type"]?.string ?? ""))),
            ]
            if case .number(let scale)? = entry["scale"]?.content {
                members.append(("scale", .literal(scale)))
            }
            rows.append(.object(members))
        }
        let text = JSON.object([
            ("format", .string("\(format.name) with typed registers")),
            ("extends", .string(format.name)),
            ("registers", .array([.object([("map", .array(rows))])])),
        ]).text()
        do throws(Complaints) {
            let derived = try FormatLibrary(text: text, file: "typed", library: library)
            return .success(derived.formats[0])
        } catch { return .failure(error) }
    }

    private static func type(_ word: String) -> String {
        for (long, short) in [("uint", "u"), ("int", "s"), ("float", "f")]
        where word.hasPrefix(long) {
            return short + word.dropFirst(long.count)
        }
        return word
    }

    private func typedDifferences(
        _ format: Format, _ bytes: [UInt8], _ direction: Direction, _ typed: [JSONNode]
    ) -> [String] {
        guard case .success(let explanation) = decode(format, bytes, direction, .none) else {
            return []
        }
        let values = explanation.root.children.first { $0.name == "values" }?.children ?? []
        return typed.enumerated().flatMap { i, entry -> [String] in
            guard let node = values.first(where: { $0.name == "typed\(i)" }),
                let value = entry["value"],
                let found = node.children.first(where: { $0.name == "value" })
            else { return ["typed[\(i)]: no value"] }
            return Expectation.differences(value, found.json, at: "typed[\(i)].value")
        }
    }
}
