// Writes JSON (RFC 8259) for `--json`, the admin endpoint and the field tree. Keys keep their order.

package import Model

/// A JSON value to be printed; members keep the order in which they were given.
package indirect enum JSON: Sendable {
    case null
    case boolean(Bool)
    case integer(Int64)
    case unsigned(UInt64)
    case double(Double)
    /// Digits that must appear exactly: a decimal reading.
    case literal(String)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    /// A reading's value: decimals with their digits, `null` for no value.
    package init(_ value: Value) {
        switch value.kind {
        case .none: self = .null
        case .decimal: self = .literal(value.description)
        case .double: self = .double(Double(bitPattern: value.bits))
        case .boolean: self = .boolean(value.bits != 0)
        case .code: self = .unsigned(value.bits)
        }
    }

    /// The text, on one line, or indented by two spaces a level.
    package func text(pretty: Bool = false) -> String {
        var out = ""
        write(to: &out, indent: pretty ? 0 : nil)
        return out
    }

    private func write(to out: inout String, indent: Int?) {
        switch self {
        case .null: out += "null"
        case .boolean(let b): out += b ? "true" : "false"
        case .integer(let i): out += String(i)
        case .unsigned(let u): out += String(u)
        // NaN and infinities have no JSON form (RFC 8259 section 6).
        case .double(let d): out += d.isFinite ? "\(d)" : "null"
        case .literal(let s): out += s
        case .string(let s): JSON.quote(s, to: &out)
        case .array(let elements):
            JSON.brackets("[", "]", count: elements.count, to: &out, indent: indent) {
                i, out, deeper in
                elements[i].write(to: &out, indent: deeper)
            }
        case .object(let members):
            JSON.brackets("{", "}", count: members.count, to: &out, indent: indent) {
                i, out, deeper in
                JSON.quote(members[i].0, to: &out)
                out += indent == nil ? ":" : ": "
                members[i].1.write(to: &out, indent: deeper)
            }
        }
    }

    private static func brackets(
        _ open: String, _ close: String, count: Int, to out: inout String, indent: Int?,
        element: (Int, inout String, Int?) -> Void
    ) {
        out += open
        for i in 0..<count {
            if i > 0 { out += "," }
            if let indent { out += "\n" + String(repeating: "  ", count: indent + 1) }
            element(i, &out, indent.map { $0 + 1 })
        }
        if let indent, count > 0 { out += "\n" + String(repeating: "  ", count: indent) }
        out += close
    }

    private static func quote(_ s: String, to out: inout String) {
        out += "\""
        for scalar in s.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}

extension FieldNode {
    /// The content of the tree as JSON: structure-only fields are left out.
    package var json: JSON {
        switch value {
        case .null: return .null
        case .number(let v): return JSON(v)
        case .unsigned(let u): return .unsigned(u)
        case .boolean(let b): return .boolean(b)
        case .text(let s), .time(let s): return .string(s)
        case .bytes(let bytes): return .string(FieldNode.hex(bytes))
        case .list: return .array(children.filter(\.isContent).map(\.json))
        case .object:
            return .object(children.filter(\.isContent).map { ($0.name, $0.json) })
        }
    }

    package static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}
