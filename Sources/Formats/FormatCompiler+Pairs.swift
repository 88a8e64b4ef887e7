// Compiles texts: pairs of names and values, decimal numbers, times in digits; variables that a layout
// sets; elements of a list that do not stand in rounds of their own.

import Model

extension FormatCompiler {
    /// The items of this file.
    mutating func pairsItem(_ node: JSONNode, _ kind: String) {
        switch kind {
        case "pairs": pairsItem(node)
        case "entry": entryItem(node)
        default: setItem(node)
        }
    }

    /// `{ pairs: "rest" | amount, separator: ";", equals: "=", cases: [ { key, rest?, layout } ] }`:
    /// each value is a region of its own; names that the cases make hold behind the item, too.
    private mutating func pairsItem(_ node: JSONNode) {
        let separator = character(node, "separator", 0x3B)
        let mark = character(node, "equals", 0x3D)
        var region = Op(code: .enterRegion)
        amount(node, "pairs", &region)
        builder.add(region)
        let (pair, round, began) = (builder.slot(2), builder.slot(), builder.slot())
        var test = Op(code: .test, a: round)
        test.flags = .rest
        test.imm = Int64(integer(node, "maximum") ?? 512)
        builder.add(Op(code: .loop, a: round))
        let top = builder.here
        let exit = builder.add(test)
        builder.add(Op(code: .builtin, x: Builtin.position.rawValue, a: began))
        builder.add(Op(code: .nextPair, a: pair, imm: Int64(separator) | Int64(mark) << 8))
        pairCases(node, pair)
        builder.add(Op(code: .next, a: round, b: began, at: top))
        builder.land(exit)
        builder.add(Op(code: .leave))
    }

    private mutating func pairCases(_ node: JSONNode, _ pair: UInt16) {
        let cases = node["cases"]?.array ?? []
        var rows: [SelectCase] = []
        for entry in cases {
            check(entry, ["key", "rest", "layout", "note"])
            let hash = Machine.nameHash((string(entry, "key") ?? "").utf8)
            rows.append(.init(mask: .max, low: hash, high: hash, target: 0))
        }
        if rows.isEmpty { complain(node, "pairs without cases", "write cases: [ { key: … } ]") }
        let first = builder.selects(rows)
        let select = builder.add(
            Op(code: .select, b: pair, meta: first, imm: Int64(rows.count)))
        var ends: [Int] = []
        for (i, entry) in cases.enumerated() {
            builder.setTarget(ofSelect: first + Int32(i), builder.here)
            var enter = Op(code: .enterValue, b: pair + 1)
            if flag(entry, "rest") { enter.flags = .rest }
            builder.add(enter)
            items(entry["layout"], of: entry)
            builder.add(Op(code: .leave))
            ends.append(builder.add(Op(code: .jump)))
        }
        builder.land(select)
        builder.add(Op(code: .showPair, a: pair))
        for end in ends { builder.land(end) }
    }

    /// One ASCII character under `key`.
    mutating func character(_ node: JSONNode, _ key: String, _ otherwise: UInt8) -> UInt8 {
        guard let value = node[key] else { return otherwise }
        if let text = value.string, text.utf8.count == 1 { return text.utf8.first ?? otherwise }
        if let n = value.integer, n >= 0, n < 256 { return UInt8(n) }
        complain(value, "no single character", "write \(key): \"\(Character(.init(otherwise)))\"")
        return otherwise
    }

    /// `{ type: "number", bytes | until, radix?, else? }`
    mutating func textNumber(_ node: JSONNode, _ slot: UInt16, _ at: Int32) {
        var op = Op(code: .readNumber, a: slot, at: at)
        if node["until"] != nil {
            op.x = character(node, "until", 0x2C)
            op.width |= Machine.NumberFlags.until
        } else {
            amount(node, "bytes", &op)
        }
        if integer(node, "radix") == 16 { op.width |= Machine.NumberFlags.isHex }
        if node["else"] != nil {
            op.width |= Machine.NumberFlags.isStrict
            op.meta = Int32(rejection(node, "else").rawValue)
        }
        builder.add(op)
        if let unit = string(node, "time") { unixTime(unit, node, slot) }
    }

    /// `{ type: "bcd", bytes: expression }`: at most eight, none means no value.
    mutating func longBCD(_ node: JSONNode, _ count: UInt16, _ slot: UInt16, _ at: Int32) {
        var op = Op(code: .readLongBCD, a: slot, b: count, at: at)
        if word(node, "order", ["be", "le"]) == "le" { op.flags.insert(.little) }
        let signs = ["none", "top-bit", "top-nibble", "leading-ff"]
        op.x = UInt8(signs.firstIndex(of: word(node, "sign", signs)) ?? 0)
        if word(node, "ones", ["bad", "missing"]) == "missing" { op.flags.insert(.onesMissing) }
        builder.add(op)
    }

    /// A framing field of decimal digits.
    mutating func lengthNumber(_ node: JSONNode, entry: Int) {
        guard let name = string(node, "name"), let at = integer(node, "at"),
            let count = integer(node, "bytes"), (1...18).contains(count)
        else {
            complain(node, "a framing number needs name, at and bytes", "write bytes: 4")
            return
        }
        let slot = builder.slot()
        let over = jumpUnless(node, "when")
        var op = Op(code: .readNumber, a: slot, at: Int32(clamping: max(0, at)), imm: Int64(count))
        op.width = Machine.NumberFlags.isStrict | Machine.NumberFlags.isDigits
        op.meta = Int32(Rejection.badLength.rawValue)
        builder.add(op)
        if let over { land(over) }
        builder.bind(name, Binding(slot: slot, bits: 32))
        builder.lengthField(LengthField(entry: entry, slot: slot, name: name))
    }

    /// `time: "unix"` or `"unix-ms"` of an integer.
    mutating func unixTime(_ unit: String, _ node: JSONNode, _ slot: UInt16) {
        switch unit {
        case "unix": builder.add(Op(code: .toTime, a: slot, imm: 1000))
        case "unix-ms": builder.add(Op(code: .toTime, a: slot, imm: 1))
        default: complain(node, "unknown time \"\(unit)\"", "write \"unix\" or \"unix-ms\"")
        }
    }

    /// `{ value: expression, time: "unix" | "unix-ms" | "local" }`: a computed time, in milliseconds;
    /// `"local"` shows it as the device's own clock has it.
    mutating func computedTime(_ node: JSONNode, _ slot: UInt16, _ rule: inout ShowRule) {
        guard let unit = string(node, "time") else { return }
        unixTime(unit == "local" ? "unix-ms" : unit, node, slot)
        var local = TimeRule()
        (local.hasDate, local.hasTime, local.zoneMinutes) = (true, true, zoneMinutes)
        rule.display = .time(unit == "local" ? local : nil)
    }

    /// `decimals: expression`: the bytes say how many places a number has.
    mutating func placeDecimals(_ node: JSONNode, _ slot: UInt16) {
        guard node["decimals"]?.string != nil, let places = operand(node, "decimals") else {
            return
        }
        let count = self.slot(places)
        builder.add(Op(code: .placeDecimals, a: slot, b: count))
    }

    /// `{ set: "name", value: expression }`: changes what a `let` named.
    private mutating func setItem(_ node: JSONNode) {
        guard let name = string(node, "set"), let target = node["set"] else { return }
        guard let binding = builder.binding(name) else {
            complain(
                target, "unknown field \"\(name)\"", Suggestion.text(name, among: builder.names))
            return
        }
        switch operand(node, "value") ?? .number(0) {
        case .number(let n): builder.add(Op(code: .constant, a: binding.slot, imm: n))
        case .slot(let s): builder.add(Op(code: .copy, a: binding.slot, b: s))
        }
    }

    /// What stands in the group of a nested format, in short.
    mutating func summary(_ name: String) {
        var rule = ShowRule()
        rule.display = .summary(name)
        builder.add(Op(code: .show, a: 0, meta: builder.show(rule)))
    }

    /// `{ entry: "list", layout }`: an object of that list, wherever it stands.
    private mutating func entryItem(_ node: JSONNode) {
        open(.list, string(node, "entry") ?? "")
        open(.element, "")
        items(node["layout"], of: node)
        builder.add(Op(code: .close))
        builder.add(Op(code: .close))
    }

    /// Parts of an answer that are text: `{ number: expression, digits? }` and
    /// `{ count: { at, from, digits } }`. False when the part is neither.
    mutating func textPart(_ node: JSONNode) -> Bool {
        if node["number"] != nil {
            let value = slot(operand(node, "number") ?? .number(0))
            builder.add(
                Op(
                    code: .answerNumber,
                    width: UInt8(clamping: min(18, integer(node, "width") ?? 1)), a: value))
        } else if let count = node["count"] {
            check(count, ["at", "from", "digits"])
            builder.add(
                Op(
                    code: .answerCount, width: UInt8(clamping: integer(count, "digits") ?? 4),
                    at: Int32(clamping: integer(count, "at") ?? 0),
                    imm: Int64(integer(count, "from") ?? 0)))
        } else {
            return false
        }
        return true
    }
}
