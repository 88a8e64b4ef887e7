// Compiles the items of a layout that steer: switch, repeat, region, group, sub-format, assertions,
// insertion points. Fields are in FormatCompiler+Fields.swift.

import Model

extension FormatCompiler {
    /// Kind of an item by the key that names it, with the further keys it may have.
    private static let kinds: [(key: String, keys: [String])] = [
        ("tlv", ["cases", "default", "else", "list", "count", "maximum"]),
        ("switch", ["cases", "default", "else"]),
        ("repeat", ["list", "index", "maximum", "layout", "entry", "plain"]),
        ("region", ["transform", "at", "layout", "whole", "peek"]),
        ("hexText", ["at", "layout"]),
        ("base64", ["at", "layout"]),
        ("pairs", ["separator", "equals", "cases", "maximum"]),
        ("entry", ["layout"]),
        ("set", ["value"]),
        ("sub", ["name", "bytes", "summary"]),
        ("group", ["layout"]),
        ("assert", ["else"]),
        ("reject", []),
        ("control", []),
        ("asks", []),
        ("answers", ["exception"]),
        ("codec", ["words", "range", "outOfRange", "dropMissing", "priority"]),
        ("insert", []),
        ("identity", []),
        ("skip", []),
        ("let", ["value"]),
        ("text", ["name"]),
        ("value", FormatCompiler.presentKeys + ["name", "time"]),
        ("type", FormatCompiler.presentKeys + FormatCompiler.wireKeys + ["name"]),
        ("layout", ["otherwise"]),
    ]

    /// A list of items under a key of `owner`.
    mutating func items(_ node: JSONNode?, of owner: JSONNode) {
        guard let node else {
            complain(owner, "no layout", "write layout: [ … ]")
            return
        }
        guard let list = node.array else {
            complain(node, "\(node.kindName) where a list of items must stand", "write [ … ]")
            return
        }
        for item in list { self.item(item) }
    }

    /// The same, with its names hidden from what follows.
    mutating func scoped(_ node: JSONNode?, of owner: JSONNode) {
        builder.pushScope()
        items(node, of: owner)
        builder.popScope()
    }

    private mutating func item(_ node: JSONNode) {
        guard !builder.isFull else {
            if !isOverlong {
                complain(node, "more than \(ProgramBuilder.maximum) instructions", "split it")
            }
            isOverlong = true
            return
        }
        guard node.members != nil else {
            complain(
                node, "\(node.kindName) where an item must stand", "write { name: …, type: … }")
            return
        }
        guard let kind = FormatCompiler.kinds.first(where: { node[$0.key] != nil }) else {
            let keys = FormatCompiler.kinds.map(\.key)
            let slip = node.members?.first { Suggestion.nearest($0.key, among: keys) != nil }
            complain(
                node, "cannot tell what kind of item this is",
                Suggestion.text(slip?.key ?? "", among: keys))
            return
        }
        check(node, kind.keys + [kind.key, "when", "note"])
        let outside = builder.place
        builder.place = Place(file: file, line: node.line, column: node.column)
        let isBranch = isConditional(node)
        if isBranch { paths.enterBranch() }
        defer {
            if isBranch { paths.leaveBranch() }
            builder.place = outside
        }
        // Names that the item makes are bound before the jump, so that they read as 0 without it.
        let over = jumpUnless(node, "when")
        switch kind.key {
        case "tlv": tlvItem(node)
        case "switch": switchItem(node)
        case "repeat": repeatItem(node)
        case "region": regionItem(node, "region")
        case "hexText": regionItem(node, "hexText")
        case "base64": regionItem(node, "base64")
        case "pairs", "entry", "set": pairsItem(node, kind.key)
        case "sub": subItem(node)
        case "group": groupItem(node)
        case "assert": assertItem(node)
        case "reject":
            builder.add(Op(code: .reject, x: rejection(node, "reject").rawValue))
        case "control": if flag(node, "control") { builder.add(Op(code: .control)) }
        case "insert": insertItem(node)
        case "identity": identityItem(node)
        case "codec": codecItem(node)
        case "asks": asksItem(node)
        case "answers": answersItem(node)
        case "skip": skipItem(node)
        case "let": letItem(node)
        case "text": textItem(node)
        case "value": valueItem(node)
        case "type": field(node)
        default: layoutItem(node, over)
        }
        guard kind.key != "layout", let over else { return }
        let name = (node["name"] ?? node["let"])?.string ?? ""
        if repeatDepth > 0, let binding = builder.binding(name), kind.key != "text" {
            // In a later round the field must not keep what it had in an earlier one.
            let end = builder.add(Op(code: .jump))
            land(over)
            builder.add(Op(code: .constant, a: binding.slot))
            builder.land(end)
        } else {
            land(over)
        }
    }

    private mutating func skipItem(_ node: JSONNode) {
        let slot = builder.slot()
        builder.add(
            Op(code: .readBytes, a: slot, imm: Int64(max(0, integer(node, "skip") ?? 0))))
        var rule = ShowRule()
        rule.name = Template("reserved")
        rule.display = .hex
        rule.isContent = false
        rule.note = string(node, "note") ?? ""
        builder.add(Op(code: .show, a: slot, meta: builder.show(rule)))
    }

    // MARK: Conditions

    /// `{ when, layout, otherwise }`
    private mutating func layoutItem(_ node: JSONNode, _ over: [Int]?) {
        scoped(node["layout"], of: node)
        guard let other = node["otherwise"] else {
            if let over { land(over) }
            return
        }
        guard let over else {
            complain(other, "otherwise without when", "write when: \"…\" or remove it")
            return
        }
        let end = builder.add(Op(code: .jump))
        land(over)
        paths.leaveBranch()
        paths.enterBranch()
        scoped(other, of: node)
        builder.land(end)
    }

    /// `{ switch: expression, cases: [ { match, layout } ], default: [ … ] | else: rejection }`
    private mutating func switchItem(_ node: JSONNode) {
        let value = slot(operand(node, "switch") ?? .number(0))
        let cases = node["cases"]?.array ?? []
        if cases.isEmpty { complain(node, "switch without cases", "write cases: [ … ]") }
        var rows: [SelectCase] = []
        var owners: [Int] = []
        for (i, entry) in cases.enumerated() {
            check(entry, ["match", "layout", "note"])
            for row in matches(entry) {
                rows.append(row)
                owners.append(i)
            }
        }
        checkCases(node, rows, owners)
        let first = builder.selects(rows)
        let select = builder.add(
            Op(code: .select, b: value, meta: first, imm: Int64(rows.count)))
        var ends: [Int] = []
        for (i, entry) in cases.enumerated() {
            for (k, owner) in owners.enumerated() where owner == i {
                builder.setTarget(ofSelect: first + Int32(k), builder.here)
            }
            paths.enterBranch()
            scoped(entry["layout"], of: entry)
            paths.leaveBranch()
            ends.append(builder.add(Op(code: .jump)))
        }
        builder.land(select)
        if let other = node["default"] {
            paths.enterBranch()
            scoped(other, of: node)
            paths.leaveBranch()
        } else if node["else"] != nil {
            builder.add(Op(code: .reject, x: rejection(node, "else").rawValue))
        }
        for end in ends { builder.land(end) }
    }

    /// Numbers, ranges `"0x10..0x1F"`, hex patterns with `?` for any digit: `"0001??00"`.
    private mutating func matches(_ entry: JSONNode) -> [SelectCase] {
        guard let match = entry["match"] else {
            complain(entry, "case without match", "write match: 1")
            return []
        }
        var rows: [SelectCase] = []
        for one in match.array ?? [match] {
            if let n = one.integer {
                rows.append(.init(mask: .max, low: Int64(n), high: Int64(n), target: 0))
            } else if let text = one.string, let row = FormatCompiler.match(text) {
                rows.append(row)
            } else {
                complain(
                    one, "cannot read this match", "write 1, \"1..9\" or a pattern like \"0001??\"")
            }
        }
        return rows
    }

    private static func match(_ text: String) -> SelectCase? {
        if let range = range(text) {
            return .init(
                mask: .max, low: Int64(bitPattern: range.0), high: Int64(bitPattern: range.1),
                target: 0)
        }
        var mask: UInt64 = 0
        var value: UInt64 = 0
        let digits = text.filter { $0 != " " }
        guard digits.contains("?"), digits.count <= 16 else { return nil }
        for character in digits {
            mask <<= 4
            value <<= 4
            if character == "?" { continue }
            guard let digit = character.hexDigitValue else { return nil }
            mask |= 15
            value |= UInt64(digit)
        }
        return .init(
            mask: mask, low: Int64(bitPattern: value), high: Int64(bitPattern: value), target: 0)
    }

    /// `7`, `0x10`, `1..63` as numbers.
    static func range(_ text: String) -> (UInt64, UInt64)? {
        func number(_ s: Substring) -> UInt64? {
            s.lowercased().hasPrefix("0x") ? UInt64(s.dropFirst(2), radix: 16) : UInt64(s)
        }
        let parts = text.split(separator: ".", omittingEmptySubsequences: true)
        if parts.count == 1, let n = number(parts[0]), !text.contains(".") { return (n, n) }
        guard parts.count == 2, text.contains(".."), let low = number(parts[0]),
            let high = number(parts[1]), low <= high
        else { return nil }
        return (low, high)
    }

    // MARK: Repetition

    /// `{ repeat: "end" | count, list?, index?, maximum?, layout }`
    private mutating func repeatItem(_ node: JSONNode) {
        let round = builder.slot()
        let began = builder.slot()
        var test = Op(code: .test, a: round)
        test.imm = Int64(integer(node, "maximum") ?? 512)
        if node["repeat"]?.string == "end" {
            test.flags.insert(.rest)
        } else {
            // The count is kept: the loop's body may overwrite what it was computed from.
            let count = builder.slot()
            builder.add(Op(code: .copy, a: count, b: slot(operand(node, "repeat") ?? .number(0))))
            test.b = count
        }
        if let entry = node["entry"] { self.entry(entry, &test) }
        let list = string(node, "list")
        if let list { open(.list, list) }
        builder.add(Op(code: .loop, a: round))
        let top = builder.here
        let exit = builder.add(test)
        builder.add(Op(code: .enterScope))
        builder.add(Op(code: .builtin, x: Builtin.position.rawValue, a: began))
        builder.pushScope()
        if let index = string(node, "index") {
            builder.bind(index, Binding(slot: round, bits: 16))
        }
        let isPlain = flag(node, "plain")
        if list != nil, !isPlain { open(.element, "") }
        repeatDepth += 1
        paths.enterLoop()
        items(node["layout"], of: node)
        paths.leaveLoop()
        repeatDepth -= 1
        if list != nil, !isPlain { builder.add(Op(code: .close)) }
        builder.popScope()
        builder.add(Op(code: .leaveScope))
        builder.add(Op(code: .next, a: round, b: began, at: top))
        builder.land(exit)
        if list != nil { builder.add(Op(code: .close)) }
    }

    mutating func open(_ kind: GroupRule.Kind, _ name: String, note: String = "") {
        let rule = GroupRule(kind: kind, name: name, note: note)
        builder.add(Op(code: .open, meta: builder.group(rule)))
    }

    // MARK: Regions

    /// How many bytes a region or a byte field takes: `"rest"`, a number or an expression.
    mutating func amount(_ node: JSONNode, _ key: String, _ op: inout Op) {
        guard let value = node[key] else {
            op.flags.insert(.rest)
            return
        }
        if value.string == "rest" {
            op.flags.insert(.rest)
            return
        }
        switch operand(node, key) {
        case .number(let n)?:
            op.imm = n
            if n < 0 { complain(value, "a negative count of bytes") }
        case .slot(let s)?:
            op.b = s
            op.flags.insert(.register)
        case nil: break
        }
    }

    /// `{ region: amount, transform?, at?, layout }` and `{ hexText: amount, at?, layout }`
    private mutating func regionItem(_ node: JSONNode, _ key: String) {
        var op = Op(code: key == "region" ? .enterRegion : .enterHex)
        amount(node, key, &op)
        op.at = Int32(clamping: integer(node, "at") ?? -1)
        if flag(node, "whole") { op.code = .enterWhole }
        if flag(node, "peek") { op.width = 1 }
        if key == "base64" { op.flags.insert(.signed) }
        if key != "region" {
            op.x = UInt8(truncatingIfNeeded: builder.plane())
        } else if let transform = transform(node) {
            op.meta = builder.transform(transform)
            op.x = UInt8(truncatingIfNeeded: builder.plane())
        }
        builder.add(op)
        items(node["layout"], of: node)
        builder.add(Op(code: .leave))
    }

    private mutating func transform(_ node: JSONNode) -> TransformRule? {
        guard let text = string(node, "transform"), let value = node["transform"] else {
            return nil
        }
        let words = text.split(separator: " ").map(String.init)
        let constant = words.count == 2 ? FormatCompiler.range(words[1])?.0 : nil
        switch (words.first, constant) {
        case ("subtract"?, let c?) where c < 256: return .init(kind: .subtract, constant: UInt8(c))
        case ("xor"?, let c?) where c < 256: return .init(kind: .xor, constant: UInt8(c))
        case ("reverse"?, nil) where words.count == 1: return .init(kind: .reverse, constant: 0)
        default:
            complain(
                value, "unknown transform \"\(text)\"",
                "write \"subtract 0x33\", \"xor 0x55\" or \"reverse\"")
            return nil
        }
    }

    private mutating func groupItem(_ node: JSONNode) {
        open(.object, string(node, "group") ?? "")
        items(node["layout"], of: node)
        builder.add(Op(code: .close))
    }

    // MARK: Other formats

    /// `{ sub: "dlt645", name?: "inner", bytes?: amount }`: the region is a frame of that format.
    private mutating func subItem(_ node: JSONNode) {
        guard let name = string(node, "sub"), let value = node["sub"] else { return }
        guard let source = find(name) else {
            complain(value, "unknown format \"\(name)\"", "name a format of this folder")
            return
        }
        guard !nesting.contains(name), nesting.count < FormatCompiler.maximumDepth else {
            complain(
                value,
                "formats nested more than \(FormatCompiler.maximumDepth) deep or in a circle",
                "decode the inner frame as hex")
            return
        }
        var enter = Op(code: .enterFrame)
        amount(node, "bytes", &enter)
        let group = string(node, "name")
        if let group { open(.object, group, note: "frame of \(name)") }
        let outer = (file, root, constants, tables, zoneMinutes, builder.isolate())
        nesting.append(name)
        (file, root) = (source.file, source.root)
        prepare()
        enter.meta = frames().row
        builder.add(enter)
        let wasIdentified = isIdentified
        isIdentified = isIdentified || outer.1["identity"] != nil
        items(root["layout"], of: root)
        identity(isOuter: false)
        isIdentified = wasIdentified
        builder.add(Op(code: .leave))
        if flag(node, "summary") { summary(name) }
        nesting.removeLast()
        (file, root, constants, tables, zoneMinutes) = (outer.0, outer.1, outer.2, outer.3, outer.4)
        builder.restore(outer.5)
        if group != nil { builder.add(Op(code: .close)) }
    }

    /// `{ insert: "name" }`: what a format that extends this one puts here.
    private mutating func insertItem(_ node: JSONNode) {
        guard let name = string(node, "insert") else { return }
        guard insertDepth < 8 else {
            complain(node, "insertions nested more than 8 deep or in a circle")
            return
        }
        insertDepth += 1
        defer { insertDepth -= 1 }
        // As if its items were written here: their names hold for what follows.
        if let inserted = root["inserts"]?[name] { items(inserted, of: node) }
        if name == "registers", let blocks = root["registers"] { registers(blocks) }
    }

    // MARK: Verdicts and words

    private mutating func assertItem(_ node: JSONNode) {
        let condition = slot(operand(node, "assert") ?? .number(1))
        builder.add(
            Op(code: .assertTrue, x: rejection(node, "else").rawValue, a: condition))
    }

    private mutating func letItem(_ node: JSONNode) {
        guard let name = string(node, "let") else { return }
        builder.bind(name, Binding(slot: named(operand(node, "value")), bits: 16))
    }

    /// The slot that keeps an operand under a name. Never the temporary of an expression: where the item is
    /// left out (`when`, a key that no pair has) the name reads as 0, and temporaries are not cleared
    /// between frames. What computed the temporary computes the slot instead.
    mutating func named(_ operand: Operand?) -> UInt16 {
        let slot = builder.slot()
        switch operand ?? .number(0) {
        case .number(let n): builder.add(Op(code: .constant, a: slot, imm: n))
        case .slot(let s):
            if !builder.moveResult(from: s, to: slot) {
                builder.add(Op(code: .copy, a: slot, b: s))
            }
        }
        return slot
    }

    private mutating func textItem(_ node: JSONNode) {
        guard let name = string(node, "name") else {
            complain(node, "text without name", "write name: \"…\"")
            return
        }
        guard let text = string(node, "text"), let value = node["text"] else { return }
        var plan = NamePlan()
        var rule = ShowRule()
        rule.name = Template(name)
        rule.display = .template(template(text, at: value, &plan))
        let packed = pack(plan)
        builder.add(
            Op(code: .show, a: 0, b: packed ?? SlotFile.none, meta: builder.show(rule)))
    }
}
