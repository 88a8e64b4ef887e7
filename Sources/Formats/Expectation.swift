// Compares what a decoder found with what somebody expects: for the tests inside format files and for
// vector files. The rules are those of the vectors' README: only the keys that are expected count,
// numbers within 1e-6, integers beyond 2^53 may stand as text.

import Model

enum Expectation {
    /// What differs, one line each: `values[0].value: expected 230.5, found 23.05`.
    static func differences(_ expected: JSONNode, _ found: JSON, at path: String = "") -> [String] {
        func differ() -> [String] {
            ["\(path.isEmpty ? "frame" : path): expected \(text(expected)), found \(found.text())"]
        }
        switch (expected.content, found) {
        case (.null, .null): return []
        case (.boolean(let a), .boolean(let b)): return a == b ? [] : differ()
        case (.string(let a), .string(let b)): return a == b ? [] : differ()
        case (.string(let a), _): return a == number(found)?.text ? [] : differ()
        case (.number, _):
            guard let a = expected.double, let b = number(found)?.value else { return differ() }
            return isClose(a, b) ? [] : differ()
        case (.array(let a), .array(let b)):
            guard a.count == b.count else {
                return [
                    "\(path): expected \(a.count) elements, found \(b.count): \(found.text())"
                ]
            }
            return zip(a, b).enumerated().flatMap { i, pair in
                differences(pair.0, pair.1, at: "\(path)[\(i)]")
            }
        case (.object(let members), .object(let b)):
            return members.flatMap { member -> [String] in
                let place = path.isEmpty ? member.key : "\(path).\(member.key)"
                guard let value = b.first(where: { $0.0 == member.key })?.1 else {
                    return ["\(place): expected \(text(member.value)), found nothing"]
                }
                return differences(member.value, value, at: place)
            }
        default: return differ()
        }
    }

    static func isClose(_ a: Double, _ b: Double) -> Bool {
        a == b || (a - b).magnitude <= 1e-6 * max(a.magnitude, b.magnitude)
    }

    private static func number(_ json: JSON) -> (text: String, value: Double)? {
        switch json {
        case .integer(let i): (String(i), Double(i))
        case .unsigned(let u): (String(u), Double(u))
        case .double(let d): ("\(d)", d)
        case .literal(let s): Double(s).map { (s, $0) }
        default: nil
        }
    }

    /// An expectation as one line, shortened.
    static func text(_ node: JSONNode) -> String {
        switch node.content {
        case .null: "null"
        case .boolean(let b): b ? "true" : "false"
        case .number(let n): n
        case .string(let s): "\"\(s)\""
        case .array(let a): "[\(a.count) elements]"
        case .object(let m): "{\(m.map(\.key).joined(separator: ", "))}"
        }
    }
}

/// The tests inside a format file: `{ hex, direction?, expect?, readings?, device?, control?, answer?,
/// error?, note?, key? }`.
enum EmbeddedTests {
    static let keys = [
        "hex", "direction", "expect", "readings", "device", "control", "answer", "error", "note",
        "asked", "pairing",
        "key",
    ]

    /// Complaints about tests that fail, each at its place.
    static func run(_ format: Format, _ tests: JSONNode?, file: String) -> [Complaint] {
        guard let tests else { return [] }
        var complaints: [Complaint] = []
        func complain(_ node: JSONNode, _ what: String, _ suggestion: String = "") {
            complaints.append(
                Complaint(
                    file: file, line: node.line, column: node.column, what: what,
                    suggestion: suggestion))
        }
        for test in tests.array ?? [] {
            for member in test.members ?? [] where !keys.contains(member.key) {
                complain(
                    member.value, "unknown key \"\(member.key)\"",
                    Suggestion.text(member.key, among: keys))
            }
            guard let text = test["hex"]?.string, let bytes = HexText.bytes(text) else {
                complain(test, "test without hex bytes", "write hex: \"68…16\"")
                continue
            }
            for what in differences(format, test, bytes) { complain(test, "test fails: " + what) }
        }
        return complaints
    }

    private static func differences(
        _ format: Format, _ test: JSONNode, _ bytes: [UInt8]
    ) -> [String] {
        let direction: Direction = test["direction"]?.string == "down" ? .down : .up
        let keys = test["key"]?.string.flatMap { DeviceKeys(every: $0) } ?? .none
        let decoder = Decoder(format, keys: keys)
        let asked = asked(test)
        let (explanation, _) = decoder.explained(
            bytes, direction: direction, asked: direction == .up ? asked : [])
        var frame = DecodedFrame()
        var rejection: Rejection?
        do throws(Rejection) {
            try decoder.decode(bytes, direction: direction, asked: asked, into: &frame)
        } catch { rejection = error }
        guard rejection == explanation.rejection else {
            return ["decoding says \(rejection?.code ?? "accepted"), explaining does not"]
        }
        if let error = test["error"]?.string {
            return rejection?.code == error
                ? [] : ["expected \(error), found \(rejection?.code ?? "acceptance")"]
        }
        if let rejection { return ["rejected: \(rejection.code) (\(rejection.reason))"] }
        var found: [String] = []
        if let expect = test["expect"] {
            found += Expectation.differences(expect, explanation.root.json)
        }
        if let readings = test["readings"] {
            found += Expectation.differences(
                readings, self.readings(frame, decoder), at: "readings")
        }
        if let device = test["device"]?.string, device != decoder.identityText() {
            found.append("device: expected \(device), found \(decoder.identityText())")
        }
        if let control = test["control"]?.boolean, control != frame.isControl {
            found.append("control: expected \(control), found \(frame.isControl)")
        }
        if let answer = test["answer"]?.string, HexText.bytes(answer) != frame.answer {
            found.append("answer: expected \(answer), found \(FieldNode.hex(frame.answer))")
        }
        return found + pairing(frame, test)
    }

    /// Readings by name; of several with one name (history) the first.
    static func readings(_ frame: DecodedFrame, _ decoder: Decoder) -> JSON {
        var members: [(String, JSON)] = []
        for reading in frame.readings {
            let words = decoder.describe(reading)
            if !members.contains(where: { $0.0 == words.name }) {
                members.append((words.name, JSON(reading.value)))
            }
        }
        return .object(members)
    }
}
