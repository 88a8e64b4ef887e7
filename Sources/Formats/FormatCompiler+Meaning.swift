// Compiles what fields mean: how they are shown, exact scaling, outputs with their rules.

import Model

extension FormatCompiler {
    /// Shows the slot and, with `reading`, yields it.
    mutating func present(_ node: JSONNode, _ slot: UInt16, _ base: ShowRule) {
        var rule = base
        placeDecimals(node, slot)
        rule.isBeside = flag(node, "beside")
        for code in (node["missing"].map { $0.array ?? [$0] } ?? []) {
            if let n = code.integer {
                builder.add(Op(code: .missing, a: slot, imm: Int64(n)))
            } else {
                complain(code, "no integer for a missing value", "write missing: 0xFFFF")
            }
        }
        rule.value = valueRule(node)
        display(node, &rule)
        rule.isContent = !flag(node, "hidden") && node["name"] != nil
        rule.list = string(node, "list") ?? ""
        rule.note = string(node, "note") ?? ""
        for member in node["with"]?.members ?? [] {
            if let name = member.value.string, let binding = builder.binding(name) {
                rule.extras.append((member.key, binding.slot))
            } else {
                complain(
                    member.value, "unknown field \"\(member.value.string ?? "")\"",
                    Suggestion.text(member.value.string ?? "", among: builder.names))
            }
        }
        let words = output(node)
        var plan = words?.plan ?? NamePlan()
        let name = node["name"]?.string ?? ""
        rule.name = template(name, at: node["name"] ?? node, &plan)
        rule.unit = template(string(node, "unit") ?? "", at: node["unit"] ?? node, &plan)
        let packed = pack(plan)
        builder.add(
            Op(code: .show, a: slot, b: packed ?? SlotFile.none, meta: builder.show(rule)))
        if let words {
            let own = plan == words.plan ? packed : pack(words.plan)
            checkOutput(node, words.output, words.plan)
            builder.add(
                Op(
                    code: .emit, a: slot, b: own ?? SlotFile.none,
                    meta: builder.value(rule.value), imm: Int64(words.output)))
        }
        if flag(node, "observed") { builder.add(Op(code: .observe, a: slot)) }
    }

    private mutating func display(_ node: JSONNode, _ rule: inout ShowRule) {
        if let value = node["enum"] {
            rule.value.kind = .code
            if let name = value.string {
                if let table = tables[name] {
                    rule.display = .table(table)
                } else {
                    complain(
                        value, "unknown table \"\(name)\"",
                        Suggestion.text(name, among: tables.keys.sorted()))
                }
            } else {
                rule.display = .table(table(value, named: ""))
            }
        }
        if let words = node["flags"] {
            rule.display =
                words.members == nil
                ? .flags((words.array ?? []).map { $0.string ?? "" })
                : .bits(words.members.map { bitNames($0) } ?? [])
            rule.value.kind = .code
        }
        switch word(node, "display", ["", "hex", "boolean", "code", "text"]) {
        case "hex": rule.display = .hex
        case "text": rule.display = .text
        case "boolean":
            rule.display = .boolean
            rule.value.kind = .boolean
        case "code": rule.value.kind = .code
        default: break
        }
    }

    /// scale, decimals, offset and divideBy as exact decimals.
    private mutating func valueRule(_ node: JSONNode) -> ValueRule {
        var rule = ValueRule()
        if node["decimals"]?.string == nil, let decimals = integer(node, "decimals") {
            rule.exponent = Int8(clamping: -decimals)
        }
        if let scale = node["scale"] {
            if let (mantissa, exponent) = FormatCompiler.decimal(scale) {
                rule.multiplier = mantissa
                rule.exponent = Int8(clamping: Int(rule.exponent) + exponent)
            } else {
                complain(scale, "no decimal number", "write scale: 0.1")
            }
        }
        if let offset = node["offset"] {
            if var (mantissa, exponent) = FormatCompiler.decimal(offset) {
                while exponent > rule.exponent {
                    mantissa = mantissa &* 10
                    exponent -= 1
                }
                while rule.exponent > exponent {
                    rule.multiplier = rule.multiplier &* 10
                    rule.exponent -= 1
                }
                rule.addend = mantissa
            } else {
                complain(offset, "no decimal number", "write offset: -40")
            }
        }
        if let divisor = operand(node, "divideBy") { rule.divisor = slot(divisor) }
        return rule
    }

    /// Digits as mantissa and exponent: `0.05` is 5 and -2. At most 15 digits.
    static func decimal(_ node: JSONNode) -> (Int64, Int)? {
        guard case .number(let text) = node.content else { return nil }
        let halves = text.lowercased().split(separator: "e", maxSplits: 1)
        var exponent = halves.count == 2 ? Int(halves[1]) ?? .min : 0
        guard exponent > -19, exponent < 19, let first = halves.first else { return nil }
        let parts = first.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2 else { return nil }
        let fraction = parts.count == 2 ? parts[1] : ""
        guard var mantissa = Int64(parts[0] + fraction), mantissa.magnitude < 1_000_000_000_000_000
        else { return nil }
        exponent -= fraction.count
        while mantissa != 0, mantissa % 10 == 0, exponent < 0 {
            mantissa /= 10
            exponent += 1
        }
        return (mantissa, exponent)
    }

    // MARK: Outputs

    /// The output that `reading` names, made at its first mention.
    private mutating func output(_ node: JSONNode) -> (output: Int, plan: NamePlan)? {
        guard let reading = node["reading"] else { return nil }
        guard let name = reading.string ?? (reading.boolean == true ? node["name"]?.string : nil)
        else {
            complain(reading, "no name for the reading", "write reading: \"temperature\"")
            return nil
        }
        var plan = NamePlan()
        let words = OutputRule(
            name: template(name, at: reading, &plan),
            quantity: template(
                string(node, "quantity") ?? name, at: node["quantity"] ?? node, &plan),
            unit: template(string(node, "unit") ?? "", at: node["unit"] ?? node, &plan),
            priorityCode: priority(node))
        let rule = Output(
            range: range(node),
            dropsOutOfRange: word(node, "outOfRange", ["flag", "drop"]) == "drop",
            dropsMissing: flag(node, "dropMissing"))
        let key = nesting.joined(separator: "/") + ":" + name
        if let row = outputRows[key] {
            let known = builder.program.outputs[row]
            if known.unit != words.unit || known.quantity != words.quantity || outputs[row] != rule
            {
                complain(
                    node, "reading \"\(name)\" is declared twice, differently",
                    "give it the same quantity, unit and rules, or another name")
            }
            return (row, plan)
        }
        let row = builder.output(words)
        outputs.append(rule)
        outputRows[key] = row
        return (row, plan)
    }

    mutating func priority(_ node: JSONNode) -> UInt8 {
        let code = word(node, "priority", ["live", "alarm", "backlog"])
        return Priority.allCases.first { $0.code == code }?.rawValue ?? Priority.live.rawValue
    }

    mutating func range(_ node: JSONNode) -> ClosedRange<Double>? {
        guard let value = node["range"] else { return nil }
        if let ends = value.array?.compactMap(\.double), ends.count == 2, ends[0] <= ends[1] {
            return ends[0]...ends[1]
        }
        complain(value, "no range", "write range: [-40, 85]")
        return nil
    }
}
