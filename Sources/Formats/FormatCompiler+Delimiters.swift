// Compiles `framing` with delimiters and escapes.

import Model

extension FormatCompiler {
    /// `delimiter: "7e", escape: { byte: "7d", codes: { "01": "7d", "02": "7e" } | xor: 0x20 }`
    mutating func delimiter(_ node: JSONNode, _ rule: inout FrameRule) {
        guard let mark = node["delimiter"], let bytes = hex(mark) else { return }
        if bytes.count != 1 { complain(mark, "a delimiter is one byte", "write delimiter: \"7e\"") }
        if node["preamble"] != nil || node["end"] != nil {
            complain(mark, "a delimiter beside a preamble or an end", "leave those out")
        }
        rule.delimiter = Int(bytes[0])
        rule.wireMaximum = rule.maximum + 2
        if let escape = node["escape"] {
            rule.escapes = escapes(escape, delimiter: bytes[0])
            rule.plane = UInt8(truncatingIfNeeded: builder.plane())
            rule.wireMaximum = 2 * rule.maximum + 2
        }
        if let most = integer(node, "maximumOnWire") {
            rule.wireMaximum = min(rule.wireMaximum, max(3, most))
        }
    }

    private mutating func escapes(_ node: JSONNode, delimiter: UInt8) -> EscapeRule {
        check(node, ["byte", "codes", "xor", "note"])
        var rule = EscapeRule()
        guard let value = node["byte"], let byte = hex(value), byte.count == 1 else {
            complain(node, "an escape without its byte", "write byte: \"7d\"")
            return rule
        }
        rule.escape = Int(byte[0])
        if let mask = integer(node, "xor") {
            rule.xor = mask & 255
            return rule
        }
        let members = node["codes"]?.members ?? []
        if members.isEmpty || members.count > 8 {
            complain(node, "an escape needs 1 to 8 codes", "write codes: { \"01\": \"7d\" }")
        }
        for member in members.prefix(8) {
            guard let code = HexText.bytes(member.key), code.count == 1,
                let plain = hex(member.value), plain.count == 1, code[0] != delimiter
            else {
                complain(member.value, "no code and byte", "write \"01\": \"7d\"")
                continue
            }
            rule.codes |= UInt64(code[0]) << UInt64(8 * rule.count)
            rule.bytes |= UInt64(plain[0]) << UInt64(8 * rule.count)
            rule.count += 1
        }
        return rule
    }
}
