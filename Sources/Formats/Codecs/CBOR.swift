// The codec `cbor`: one item is well-formed (RFC 8949 section 5.3.1) and nothing stands behind it.
// People see it as JSON, in diagnostic notation (section 8), and whether its encoding is the
// preferred and the deterministic one. Numbers and booleans in a map are readings by their keys
// (`a.b.0`); what they measure the bytes do not say.

import Model

extension Machine {
    mutating func cbor<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        let range = position..<limit
        var check = CBORCheck(pull: CBORPull(cursor, range))
        defer { position = min(check.pull.position, limit) }
        try check.item()
        guard check.pull.position == limit else { throw .malformed }
        let before = sink.readingCount
        if direction == .up {
            var pull = CBORPull(cursor, range)
            let head = try pull.head()
            work.planes[Int(at.plane)].clear()
            if head.major == 5 { try members(head, &pull, at, &sink) }
        }
        if sink.readingCount == before { sink.control() }
        guard S.explains else { return }
        var text = CBORText(pull: CBORPull(cursor, range))
        explainCBOR("json", CBORPull(cursor, range), &sink)
        sink.leaf("diagnostic", range, .text(text.item()), self)
        sink.leaf("roundtrip", range, .boolean(check.isPreferred), self)
        sink.leaf(
            "deterministic", range, .boolean(check.isPreferred && check.isSorted), self)
    }

    /// Readings of a checked array or map; the scratch plane holds the keys around it. Keys other than
    /// text and unsigned integers name nothing.
    private func members<S: FrameSink>(
        _ container: CBORHead, _ pull: inout CBORPull, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let path = work.planes[Int(at.plane)]
        let outer = path.count
        var left = container.argument
        var round: UInt64 = 0
        while !CBORText.isOver(container, &left, &pull) {
            path.cut(to: outer)
            if outer > 0 { path.append(0x2E) }
            var isNamed = true
            if container.major == 5 {
                let key = try pull.head()
                switch key.major {
                case 0: append(key.argument, to: path)
                case 3 where !key.isIndefinite && key.argument > 0:
                    for i in pull.string(key) { path.append(cursor.byte(i) ?? 0) }
                default:
                    isNamed = false
                    try pull.skip(key)
                }
            } else {
                append(round, to: path)
            }
            round &+= 1
            var head = try pull.head()
            while head.major == 6, head.argument != 4, head.argument != 5 { head = try pull.head() }
            if !isNamed {
                try pull.skip(head)
            } else if head.major == 4 || head.major == 5 {
                try members(head, &pull, at, &sink)
            } else {
                try yield(head, &pull, at, &sink)
            }
        }
        path.cut(to: outer)
    }

    private func yield<S: FrameSink>(
        _ head: CBORHead, _ pull: inout CBORPull, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        var value: Value?
        if head.major == 7, head.info == 20 || head.info == 21 {
            value = .boolean(head.info == 21)
        } else {
            value = try pull.number(head)
        }
        let path = work.planes[Int(at.plane)]
        guard let value, path.count <= 255 else { return }
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        let entry = work.names.begin()
        work.names.append(path.cursor(count: path.count), 0..<path.count)
        guard let discriminator = work.names.end(entry) else { throw .oversized }
        sink.reading(
            output: at.output, discriminator: discriminator, value: value,
            quality: value.kind == .none ? .missing : [], at: time)
    }

    private func append(_ number: UInt64, to plane: BytePlane) {
        var divisor: UInt64 = 1
        while number / divisor >= 10 { divisor &*= 10 }
        while divisor > 0 {
            plane.append(0x30 &+ UInt8(truncatingIfNeeded: number / divisor % 10))
            divisor /= 10
        }
    }

    /// Shows a checked item as a field of this name.
    func explainCBOR<S: FrameSink>(_ name: String, _ pull: CBORPull, _ sink: inout S) {
        var pull = pull
        showCBOR(name, &pull, &sink)
    }

    private func showCBOR<S: FrameSink>(_ name: String, _ pull: inout CBORPull, _ sink: inout S) {
        let start = pull.position
        guard let head = try? pull.head() else { return }
        switch head.major {
        case 4:
            sink.openList(name, at: start, machine: self)
            var left = head.argument
            while !CBORText.isOver(head, &left, &pull) { showCBOR("", &pull, &sink) }
            sink.close()
        case 5:
            sink.openObject(name, at: start, machine: self)
            var left = head.argument
            while !CBORText.isOver(head, &left, &pull) {
                let key = CBORText.key(&pull)
                showCBOR(key, &pull, &sink)
            }
            sink.close()
        case 6 where head.argument != 2 && head.argument != 3: showCBOR(name, &pull, &sink)
        default:
            pull.position = start
            let value = CBORText.value(&pull)
            sink.leaf(name, start..<pull.position, value, self)
        }
    }
}

/// Words for a checked item. Slow path: it allocates as it likes.
struct CBORText {
    var pull: CBORPull

    init(pull: CBORPull) { self.pull = pull }

    /// Whether an array or map has no further element; takes the break.
    static func isOver(_ head: CBORHead, _ left: inout UInt64, _ pull: inout CBORPull) -> Bool {
        if head.isIndefinite { return (try? pull.takeBreak()) ?? true }
        if left == 0 || pull.position >= pull.end { return true }
        left &-= 1
        return false
    }

    /// A map's key as a member's name: text as it is, anything else in diagnostic notation.
    static func key(_ pull: inout CBORPull) -> String {
        var text = CBORText(pull: pull)
        let start = pull.position
        guard let head = try? text.pull.head() else { return "" }
        if head.major == 3 {
            let key = text.string(head)
            pull = text.pull
            return String(decoding: key, as: UTF8.self)
        }
        text.pull.position = start
        let key = text.item()
        pull = text.pull
        return key
    }

    /// An item that is neither array nor map.
    static func value(_ pull: inout CBORPull) -> FieldValue {
        var text = CBORText(pull: pull)
        let start = pull.position
        defer { pull = text.pull }
        guard let head = try? text.pull.head() else { return .null }
        switch head.major {
        case 0:
            return Int64(exactly: head.argument).map { .number(.decimal($0)) }
                ?? .unsigned(head.argument)
        case 1 where head.argument <= UInt64(Int64.max):
            return .number(.decimal(~Int64(head.argument)))
        case 2: return .bytes(text.string(head))
        case 3: return .text(String(decoding: text.string(head), as: UTF8.self))
        case 7 where head.isFloat:
            return head.float.isFinite ? .number(.double(head.float)) : .null
        case 7 where head.argument == 20 || head.argument == 21:
            return .boolean(head.argument == 21)
        case 7: return .null
        default:
            text.pull.position = start
            return .text(text.item())
        }
    }

    /// All bytes of a string, its pieces joined.
    mutating func string(_ head: CBORHead) -> [UInt8] {
        if !head.isIndefinite { return pull.cursor.bytes(pull.string(head)) }
        var bytes: [UInt8] = []
        while let isOver = try? pull.takeBreak(), !isOver, let piece = try? pull.head() {
            bytes += pull.cursor.bytes(pull.string(piece))
        }
        return bytes
    }

    // MARK: Diagnostic notation

    mutating func item() -> String {
        guard let head = try? pull.head() else { return "" }
        switch head.major {
        case 0: return String(head.argument)
        case 1:
            return head.argument == .max
                ? "-18446744073709551616" : "-\(head.argument + 1)"
        case 2, 3: return string(notation: head)
        case 4: return list(head, "[", "]") { $0.item() }
        case 5: return list(head, "{", "}") { $0.item() + ": " + $0.item() }
        case 6: return tag(head)
        default: return simple(head)
        }
    }

    private mutating func list(
        _ head: CBORHead, _ open: String, _ close: String, _ element: (inout CBORText) -> String
    ) -> String {
        var parts: [String] = []
        var left = head.argument
        while !CBORText.isOver(head, &left, &pull) { parts.append(element(&self)) }
        return open + (head.isIndefinite ? "_ " : "") + parts.joined(separator: ", ") + close
    }

    private mutating func string(notation head: CBORHead) -> String {
        if !head.isIndefinite {
            let bytes = pull.cursor.bytes(pull.string(head))
            if head.major == 2 { return "h'" + FieldNode.hex(bytes) + "'" }
            return JSON.string(String(decoding: bytes, as: UTF8.self)).text()
        }
        var parts: [String] = []
        while let isOver = try? pull.takeBreak(), !isOver, let piece = try? pull.head() {
            parts.append(string(notation: piece))
        }
        return "(_ " + parts.joined(separator: ", ") + ")"
    }

    private mutating func tag(_ head: CBORHead) -> String {
        let start = pull.position
        if head.argument == 2 || head.argument == 3, let inner = try? pull.head(),
            inner.major == 2, inner.argument <= 64 || inner.isIndefinite
        {
            let bytes = string(inner)
            return head.argument == 2
                ? CBORText.decimal(bytes) : "-" + CBORText.decimal(bytes, plus: 1)
        }
        pull.position = start
        return "\(head.argument)(" + item() + ")"
    }

    private func simple(_ head: CBORHead) -> String {
        if head.isFloat {
            let value = head.float
            if value.isNaN { return "NaN" }
            if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
            return "\(value)"
        }
        switch head.argument {
        case 20: return "false"
        case 21: return "true"
        case 22: return "null"
        case 23: return "undefined"
        default: return "simple(\(head.argument))"
        }
    }

    /// Decimal digits of a number of big-endian bytes.
    private static func decimal(_ bytes: [UInt8], plus: Int = 0) -> String {
        var digits: [Int] = [0]
        func add(_ factor: Int, _ addend: Int, to digits: inout [Int]) {
            var carry = addend
            for i in digits.indices {
                carry += digits[i] * factor
                digits[i] = carry % 10
                carry /= 10
            }
            while carry > 0 {
                digits.append(carry % 10)
                carry /= 10
            }
        }
        for byte in bytes { add(256, Int(byte), to: &digits) }
        add(1, plus, to: &digits)
        return digits.reversed().map(String.init).joined()
    }
}
