// Compiles fields: the read from the wire and the changes of what was read.

import Model

extension FormatCompiler {
    /// Keys about the bytes on the wire.
    static let wireKeys = [
        "bytes", "order", "at", "bits", "sign", "ones", "time", "pattern", "weekday", "zone",
        "elements", "count", "is", "else", "until", "digits", "radix",
    ]
    /// Keys about meaning, for fields and computed values alike.
    static let presentKeys = [
        "scale", "decimals", "offset", "divideBy", "missing", "enum", "flags", "display", "unit",
        "reading", "quantity", "range", "outOfRange", "dropMissing", "priority", "list", "with",
        "hidden", "observed", "beside",
    ]

    /// `{ name?, type, … }`
    mutating func field(_ node: JSONNode) {
        guard let type = string(node, "type") else { return }
        let slot = builder.slot()
        var rule = ShowRule()
        var binding = Binding(slot: slot, bits: 16)
        let at = Int32(clamping: integer(node, "at") ?? -1)
        switch type {
        case "number":
            textNumber(node, slot, at)
            if node["time"] != nil { rule.display = .time(nil) }
            binding.bits = 32
        case "bcd": bcd(node, slot, at, &rule)
        case "varint", "zigzag":
            builder.add(Op(code: .readVarint, x: type == "zigzag" ? 1 : 0, a: slot))
            binding.bits = 64
        case "hex", "ascii", "digits", "utf8", "gbk", "gb18030":
            bytes(node, type, slot, at, &rule, &binding)
        case "bools": bools(node, slot, at, &rule)
        case "time": time(node, slot, at, &rule)
        default:
            guard let kind = WireType(type) else {
                if let value = node["type"] {
                    complain(
                        value, "unknown type \"\(type)\"",
                        Suggestion.text(type, among: WireType.examples))
                }
                return
            }
            binding.bits = kind.width * 8
            binding.isExact = !kind.isFloat
            number(node, kind, slot, at, &rule)
        }
        bits(node, slot, &binding, &rule)
        bind(node, binding)
        present(node, slot, rule)
        constant(node, slot)
    }

    /// `{ name, value: expression, … }`
    mutating func valueItem(_ node: JSONNode) {
        let slot = named(operand(node, "value"))
        bind(node, Binding(slot: slot, bits: 16))
        var rule = ShowRule()
        computedTime(node, slot, &rule)
        present(node, slot, rule)
    }

    /// Names made from fields are for people; expressions cannot speak of them.
    private mutating func bind(_ node: JSONNode, _ binding: Binding) {
        guard let name = node["name"]?.string, !name.contains("{") else { return }
        builder.bind(name, binding)
    }

    // MARK: Wire

    private mutating func number(
        _ node: JSONNode, _ kind: WireType, _ slot: UInt16, _ at: Int32, _ rule: inout ShowRule
    ) {
        rule.width = kind.width
        if node["elements"] != nil {
            elements(node, kind, slot, at, &rule)
            return
        }
        var op = kind.read(into: slot, at: at)
        if let order = string(node, "order"), let value = node["order"] {
            guard let packed = FormatCompiler.byteOrder(order), order.count == kind.width else {
                complain(
                    value, "byte order \"\(order)\" does not fit \(kind.width) bytes",
                    "write each of the letters \"\("ABCDEFGH".prefix(kind.width))\" once")
                return
            }
            if !order.elementsEqual("ABCDEFGH".prefix(order.count)) {
                op.code = .readOrdered
                op.x = kind.isFloat ? 1 : 0
                op.imm = packed
            }
        } else if kind.isOpen, kind.width > 1, let value = node["type"] {
            complain(value, "no byte order", "write \"\(value.string ?? "")be\" or \"…le\"")
        }
        builder.add(op)
        if let unit = string(node, "time") {
            switch unit {
            case "unix": builder.add(Op(code: .toTime, a: slot, imm: 1000))
            case "unix-ms": builder.add(Op(code: .toTime, a: slot, imm: 1))
            default:
                complain(node, "unknown time \"\(unit)\"", "write \"unix\" or \"unix-ms\"")
            }
            rule.display = .time(nil)
        }
    }

    /// Place i of the wire holds byte rank (A = most significant); four bits each, lowest first.
    static func byteOrder(_ text: String) -> Int64? {
        let letters = Array("ABCDEFGH".prefix(text.count))
        var packed: Int64 = 0
        var seen = Set<Int>()
        for (i, letter) in text.enumerated() {
            guard let rank = letters.firstIndex(of: letter), seen.insert(rank).inserted else {
                return nil
            }
            packed |= Int64(rank) << Int64(4 * i)
        }
        return text.isEmpty || text.count > 8 ? nil : packed
    }

    /// A list of equal numbers, kept as one run of bytes.
    private mutating func elements(
        _ node: JSONNode, _ kind: WireType, _ slot: UInt16, _ at: Int32, _ rule: inout ShowRule
    ) {
        var op = Op(code: .readBytes, a: slot, at: at)
        if node["elements"]?.string == "rest" {
            op.flags.insert(.rest)
        } else {
            let count = self.slot(operand(node, "elements") ?? .number(0))
            let size = builder.temporary()
            builder.add(
                Op(
                    code: .arithmetic, x: Operator.multiply.rawValue, a: size, b: count,
                    imm: Int64(kind.width)))
            op.b = size
            op.flags.insert(.register)
        }
        builder.add(op)
        rule.display = .elements(
            width: kind.width, isLittle: kind.isLittle, isSigned: kind.isSigned)
    }

    private mutating func bcd(
        _ node: JSONNode, _ slot: UInt16, _ at: Int32, _ rule: inout ShowRule
    ) {
        if node["bytes"]?.string != nil, let count = operand(node, "bytes") {
            longBCD(node, self.slot(count), slot, at)
            return
        }
        let order = string(node, "order") ?? "be"
        let isWord = order != "le" && order != "be"
        let width = isWord ? order.count : integer(node, "bytes") ?? 0
        guard (1...8).contains(width) else {
            complain(node, "BCD needs 1 to 8 bytes", "write bytes: 4")
            return
        }
        var op = Op(code: .readBCD, width: UInt8(width), a: slot, at: at)
        if isWord {
            guard let packed = FormatCompiler.byteOrder(order) else {
                complain(node, "unknown order \"\(order)\"", "write \"le\", \"be\" or \"CDAB\"")
                return
            }
            op.code = .readOrdered
            op.x = 2
            op.imm = packed
        } else {
            if order == "le" { op.flags.insert(.little) }
            let signs = ["none", "top-bit", "top-nibble", "leading-ff"]
            op.x = UInt8(signs.firstIndex(of: word(node, "sign", signs)) ?? 0)
            if word(node, "ones", ["bad", "missing"]) == "missing" {
                op.flags.insert(.onesMissing)
            }
        }
        rule.width = width
        builder.add(op)
    }

    private mutating func bytes(
        _ node: JSONNode, _ type: String, _ slot: UInt16, _ at: Int32, _ rule: inout ShowRule,
        _ binding: inout Binding
    ) {
        var op = Op(code: .readBytes, a: slot, at: at)
        if node["until"] != nil {
            op = Op(code: .readUntil, a: slot, imm: Int64(character(node, "until", 0)))
        } else {
            amount(node, "bytes", &op)
        }
        builder.add(op)
        rule.isReversed = word(node, "order", ["be", "le"]) == "le"
        switch type {
        case "gbk", "gb18030":
            rule.display = .chineseText
            binding.style = .text
        case "ascii", "utf8":
            rule.display = .text
            binding.style = .text
        case "digits":
            rule.display = .digits
            rule.isOdd = hasOddDigits(node)
            binding.style = rule.isOdd ? .oddDigits : .digits
        default:
            rule.display = .hex
            binding.style = rule.isReversed ? .reversedHex : .hex
        }
    }

    private mutating func bools(
        _ node: JSONNode, _ slot: UInt16, _ at: Int32, _ rule: inout ShowRule
    ) {
        let count = self.slot(operand(node, "count") ?? .number(0))
        // Kept: the tree needs it, and the operand may be a constant of this place only.
        rule.count = builder.slot()
        builder.add(Op(code: .copy, a: rule.count, b: count))
        let up = builder.temporary()
        builder.add(
            Op(code: .arithmetic, x: Operator.add.rawValue, a: up, b: rule.count, imm: 7))
        builder.add(Op(code: .arithmetic, x: Operator.divide.rawValue, a: up, b: up, imm: 8))
        builder.add(Op(code: .readBytes, flags: .register, a: slot, b: up, at: at))
        rule.display = .elements(width: 0, isLittle: true, isSigned: false)
    }

    private mutating func time(
        _ node: JSONNode, _ slot: UInt16, _ at: Int32, _ rule: inout ShowRule
    ) {
        guard let pattern = string(node, "pattern") else {
            complain(node, "time without pattern", "write pattern: \"ss mm hh DD MM YY\"")
            return
        }
        let words: [(String, TimeRule.Part)] = [
            ("YY", .year), ("CC", .century), ("MM", .month), ("DD", .day), ("WW", .weekday),
            ("hh", .hour), ("mm", .minute), ("ss", .second), ("--", .skip),
        ]
        var time = TimeRule()
        for word in pattern.split(separator: " ") {
            guard let part = words.first(where: { $0.0 == word })?.1, time.count < 12 else {
                complain(
                    node, "unknown part \"\(word)\" of a time",
                    "write YY CC MM DD WW hh mm ss or --")
                return
            }
            time.parts |= UInt64(part.rawValue) << UInt64(4 * time.count)
            time.count += 1
            if [.year, .month, .day].contains(part) { time.hasDate = true }
            if [.hour, .minute, .second].contains(part) { time.hasTime = true }
        }
        let order = word(node, "order", ["bcd", "binary", "ascii"])
        time.isBCD = order == "bcd"
        time.zoneMinutes = zone(node["zone"]) ?? zoneMinutes
        var op = Op(code: .readTime, a: slot, at: at, meta: builder.time(time))
        if order == "ascii" { op.code = .readTextTime }
        op.width = UInt8(time.count)
        if let weekday = string(node, "weekday") {
            op.b = builder.slot()
            builder.bind(weekday, Binding(slot: op.b, bits: 8))
        }
        builder.add(op)
        rule.display = .time(time)
    }

    /// `"+08:00"` in minutes.
    mutating func zone(_ node: JSONNode?) -> Int? {
        guard let node else { return nil }
        let text = node.string ?? ""
        let parts = text.dropFirst().split(separator: ":")
        if text.hasPrefix("+") || text.hasPrefix("-"), parts.count == 2,
            let hours = Int(parts[0]), let minutes = Int(parts[1]), hours <= 14, minutes < 60
        {
            return (text.hasPrefix("-") ? -1 : 1) * (hours * 60 + minutes)
        }
        complain(node, "\"\(text)\" is no zone", "write \"+08:00\"")
        return nil
    }

    // MARK: Changes and checks

    /// `bits: "4..7"` or `bits: 3`, `sign: "two" | "magnitude"`; `missing: [ … ]`
    private mutating func bits(
        _ node: JSONNode, _ slot: UInt16, _ binding: inout Binding, _ rule: inout ShowRule
    ) {
        if let value = node["bits"] {
            let text = value.string ?? value.integer.map { String($0) } ?? ""
            guard let range = FormatCompiler.range(text), range.1 < 64 else {
                complain(value, "no bit range", "write \"4..7\" or 3")
                return
            }
            var op = Op(code: .bits, a: slot, imm: Int64(range.0))
            op.width = UInt8(range.1 - range.0 + 1)
            switch word(node, "sign", ["none", "two", "magnitude"]) {
            case "two": op.flags.insert(.signed)
            case "magnitude": op.x = 1
            default: break
            }
            builder.add(op)
            binding.bits = Int(op.width)
        }
    }

    private mutating func constant(_ node: JSONNode, _ slot: UInt16) {
        guard let value = node["is"] else { return }
        let allowed = (value.array ?? [value]).compactMap(\.integer)
        guard !allowed.isEmpty else {
            complain(value, "no integer to compare with", "write is: 0x68")
            return
        }
        let rejection = rejection(node, "else")
        let rows = allowed.map {
            SelectCase(mask: .max, low: Int64($0), high: Int64($0), target: 0)
        }
        let first = builder.selects(rows)
        let select = builder.add(
            Op(code: .select, b: slot, meta: first, imm: Int64(rows.count)))
        builder.land(select)
        builder.add(Op(code: .reject, x: rejection.rawValue))
        for k in rows.indices { builder.setTarget(ofSelect: first + Int32(k), builder.here) }
    }
}
