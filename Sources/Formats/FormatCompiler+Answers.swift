// Compiles answers, what makes parts one body, and names of bits.

import Model

extension FormatCompiler {
    /// Keys of an answer's part beyond bytes, fields and check values.
    static let answerWords = ["text", "digits", "value", "number", "width", "count"]

    /// One answer or a list of them, of which the first whose `when` holds is given:
    /// `{ when?, delimited?, parts: [ … ] }`.
    mutating func answer(_ node: JSONNode) {
        answers = true
        var ends: [Int] = []
        let list = node.array ?? [node]
        for (i, one) in list.enumerated() {
            check(one, ["when", "delimited", "parts", "note"])
            let over = jumpUnless(one, "when")
            for part in one["parts"]?.array ?? [] { answerPart(part) }
            if flag(one, "delimited") {
                if root["framing"]?["delimiter"] == nil {
                    complain(one, "delimited without framing: { delimiter }", "remove it")
                }
                builder.add(Op(code: .answerFrame, meta: 0))
            }
            if over != nil, i + 1 < list.count { ends.append(builder.add(Op(code: .jump))) }
            if let over { land(over) }
        }
        for end in ends { builder.land(end) }
    }

    /// `{ text: "OK" }`, `{ digits: "phone" }`, `{ value: expression, type: "u16be" }`. False when
    /// the part is none of these.
    mutating func otherPart(_ node: JSONNode) -> Bool {
        if textPart(node) { return true }
        if let text = string(node, "text") {
            builder.add(.answerText, literal: Array(text.utf8))
        } else if let name = string(node, "digits") {
            guard let binding = builder.binding(name) else {
                complain(
                    node, "unknown field \"\(name)\"", Suggestion.text(name, among: builder.names))
                return true
            }
            builder.add(Op(code: .answerDigits, a: binding.slot))
        } else if node["value"] != nil {
            guard let type = string(node, "type"), let kind = WireType(type), !kind.isFloat else {
                complain(node, "a computed part needs an integer type", "write type: \"u16be\"")
                return true
            }
            var op = Op(code: .answerSlot, a: slot(operand(node, "value") ?? .number(0)))
            op.width = UInt8(kind.width)
            if kind.isLittle { op.flags.insert(.little) }
            builder.add(op)
        } else {
            return false
        }
        return true
    }

    /// `reassembly: { key: [fields], part: expression, parts: expression, body: "field", ordered? }`
    mutating func reassembly(_ node: JSONNode) {
        check(node, ["key", "part", "parts", "body", "ordered", "note"])
        let names = node["key"]?.array ?? []
        guard !names.isEmpty, names.count < 16, let part = operand(node, "part"),
            let parts = operand(node, "parts"),
            let body = string(node, "body").flatMap({ builder.binding($0) })
        else {
            complain(
                node, "reassembly needs key, part, parts and body",
                "write { key: [\"device\"], part: \"part\", parts: \"parts\", body: \"data\" }")
            return
        }
        var op = Op(code: .part, a: body.slot)
        op.width = UInt8(names.count)
        if flag(node, "ordered") { op.flags.insert(.ordered) }
        op.imm = Int64(bitPattern: nameHash)
        op.b = builder.slot(UInt16(names.count) + 2)
        builder.add(Op(code: .copy, a: op.b, b: slot(part)))
        builder.add(Op(code: .copy, a: op.b + 1, b: slot(parts)))
        for (i, name) in names.enumerated() {
            if let binding = builder.binding(name.string ?? "") {
                builder.add(Op(code: .copy, a: op.b + 2 + UInt16(i), b: binding.slot))
            } else {
                complain(
                    name, "unknown field \"\(name.string ?? "")\"",
                    Suggestion.text(name.string ?? "", among: builder.names))
            }
        }
        builder.add(op)
    }

    /// Formats must not share keys: the name's hash (FNV-1a), equal everywhere.
    private var nameHash: UInt64 {
        nesting[0].utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3
        }
    }

    /// `flags: { low: 0, high: 1 }`: bits with names, shown as an object of booleans.
    mutating func bitNames(_ members: [JSONNode.Member]) -> [(name: String, bit: Int)] {
        members.compactMap { member in
            guard let bit = member.value.integer, (0..<64).contains(bit) else {
                complain(member.value, "no bit", "write \(member.key): 0, up to 63")
                return nil
            }
            return (member.key, bit)
        }
    }
}
