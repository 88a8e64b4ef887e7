// Names made from captured fields, tables of words, identity, exchange, register maps.

import Model

/// Captured fields that names need, packed side by side into 64 bits.
struct NamePlan: Equatable {
    var fields: [(name: String, slot: UInt16, bits: Int, shift: Int)] = []

    static func == (a: NamePlan, b: NamePlan) -> Bool {
        a.fields.map(\.slot) == b.fields.map(\.slot)
    }

    var bits: Int { fields.reduce(0) { $0 + $1.bits } }
}

extension FormatCompiler {
    /// Parses `{field}`, `{field:table}` and `{field:table.column}` in `text`.
    mutating func template(_ text: String, at node: JSONNode, _ plan: inout NamePlan) -> Template {
        var result = Template()
        var rest = text[...]
        while let open = rest.firstIndex(of: "{") {
            if open > rest.startIndex { result.parts.append(.literal(String(rest[..<open]))) }
            guard let close = rest[open...].firstIndex(of: "}") else {
                complain(node, "'{' without '}' in \"\(text)\"", "write {field}")
                return result
            }
            let inside = rest[rest.index(after: open)..<close]
            if let part = placeholder(String(inside), at: node, &plan) { result.parts.append(part) }
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { result.parts.append(.literal(String(rest))) }
        return result
    }

    private mutating func placeholder(
        _ text: String, at node: JSONNode, _ plan: inout NamePlan
    ) -> Template.Part? {
        let halves = text.split(separator: ":", maxSplits: 1).map(String.init)
        guard let name = halves.first, let binding = builder.binding(name) else {
            complain(
                node, "unknown field \"\(halves.first ?? "")\"",
                Suggestion.text(halves.first ?? "", among: builder.names))
            return nil
        }
        if !plan.fields.contains(where: { $0.slot == binding.slot }) {
            plan.fields.append((name, binding.slot, binding.bits, plan.bits))
            if plan.bits > 64 { complain(node, "the fields of this name need more than 64 bits") }
        }
        guard let field = plan.fields.first(where: { $0.slot == binding.slot }) else { return nil }
        guard halves.count == 2 else { return .number(shift: field.shift, width: field.bits) }
        let words = halves[1].split(separator: ".", maxSplits: 1).map(String.init)
        if halves[1] == "hex", tables["hex"] == nil {
            return .hex(shift: field.shift, width: field.bits)
        }
        guard let table = tables[words[0]] else {
            complain(
                node, "unknown table \"\(words[0])\"",
                Suggestion.text(words[0], among: tables.keys.sorted()))
            return nil
        }
        return .table(
            shift: field.shift, width: field.bits, table: table,
            column: words.count == 2 ? words[1] : "")
    }

    /// Emits the packing of a plan. Nil when nothing varies.
    mutating func pack(_ plan: NamePlan) -> UInt16? {
        guard !plan.fields.isEmpty else { return nil }
        let slot = builder.temporary()
        for field in plan.fields {
            builder.add(
                Op(
                    code: .pack, width: UInt8(field.bits), x: field.shift == 0 ? 1 : 0, a: slot,
                    b: field.slot, imm: Int64(min(63, field.shift))))
        }
        return slot
    }

    // MARK: Tables

    mutating func table(_ node: JSONNode, named name: String) -> Int {
        var rows: [Table.Row] = []
        if let words = node.array {
            for (i, word) in words.enumerated() {
                rows.append(
                    .init(low: UInt64(i), high: UInt64(i), columns: [("", word.string ?? "")]))
            }
        } else if let members = node.members {
            for member in members {
                guard let range = FormatCompiler.range(member.key) else {
                    complain(
                        member.value, "\"\(member.key)\" is no code", "write 7, 0x10 or \"1..63\"")
                    continue
                }
                rows.append(.init(low: range.0, high: range.1, columns: columns(member.value)))
            }
        } else {
            complain(node, "\(node.kindName) where a table must stand", "write { 0: \"…\" }")
        }
        checkRows(node, rows)
        return builder.table(Table(name: name, rows: rows))
    }

    private mutating func columns(_ node: JSONNode) -> [(name: String, text: String)] {
        if let text = node.string { return [("", text)] }
        guard let members = node.members, !members.isEmpty else {
            complain(
                node, "\(node.kindName) where words must stand", "write \"…\" or { name: \"…\" }")
            return []
        }
        return members.map { ($0.key, $0.value.string ?? "") }
    }

    // MARK: Identity

    mutating func identity(isOuter: Bool) {
        guard let node = root["identity"], isOuter || !isIdentified else { return }
        identity(node, isOuter: isOuter)
    }

    /// `{ identity: "{imsi}" }`: what names the device stands in this part of the frame only.
    mutating func identityItem(_ node: JSONNode) {
        if isIdentified { return }
        if let other = root["identity"] {
            complain(node, "two identities", "remove one; the other is in line \(other.line)")
        }
        if let text = node["identity"] { identity(text, isOuter: nesting.count == 1) }
    }

    /// Of the last `bytes` × 2 - 1 digits the first half byte is none.
    mutating func hasOddDigits(_ node: JSONNode) -> Bool {
        guard let count = integer(node, "digits"), let value = node["digits"] else { return false }
        if let bytes = node["bytes"]?.integer, count == bytes * 2 - 1 { return true }
        complain(
            value, "\(count) digits do not begin in the middle of the first byte",
            "write one less than twice the bytes, or leave digits out")
        return false
    }

    private mutating func identity(_ node: JSONNode, isOuter: Bool) {
        var text = node.string ?? ""
        if node.members != nil {
            check(node, ["text", "local"])
            text = string(node, "text") ?? ""
            if isOuter { identityIsLocal = flag(node, "local") }
        }
        var rest = text[...]
        while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
            identityLiteral(rest[..<open])
            let name = String(rest[rest.index(after: open)..<close])
            if let binding = builder.binding(name) {
                let style: Machine.IdentityStyle =
                    switch binding.style {
                    case .number: .number
                    case .hex: .hex
                    case .reversedHex: .reversedHex
                    case .text: .text
                    case .digits: .digits
                    case .oddDigits: .oddDigits
                    }
                builder.add(Op(code: .identitySlot, x: style.rawValue, a: binding.slot))
            } else {
                complain(
                    node, "unknown field \"\(name)\"", Suggestion.text(name, among: builder.names))
            }
            rest = rest[rest.index(after: close)...]
        }
        identityLiteral(rest)
        builder.add(Op(code: .identityEnd))
    }

    private mutating func identityLiteral(_ text: Substring) {
        guard !text.isEmpty else { return }
        builder.add(.identityText, literal: Array(text.utf8))
    }

    // MARK: Exchange

    mutating func exchange() {
        guard let node = root["exchange"] else { return }
        check(node, ["duplicate", "answer", "reassembly", "note"])
        if let parts = node["reassembly"] { reassembly(parts) }
        if let duplicate = node["duplicate"] { self.duplicate(duplicate) }
        if let found = node["answer"] { answer(found) }
    }

    /// `duplicate: { key: "frame" | [fields], windowSeconds: 120 }`
    private mutating func duplicate(_ node: JSONNode) {
        check(node, ["key", "windowSeconds"])
        duplicateWindow = Int64(integer(node, "windowSeconds") ?? 120) * 1000
        var op = Op(code: .duplicate)
        // Formats must not share keys: the salt is the name's hash (FNV-1a), equal everywhere.
        let salt = nesting[0].utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3
        }
        op.imm = Int64(bitPattern: salt)
        if node["key"]?.string == "frame" {
            op.flags = .rest
        } else {
            let names = node["key"]?.array ?? []
            if names.isEmpty {
                complain(node, "no duplicate key", "write key: \"frame\" or key: [\"device\"]")
            }
            op.width = UInt8(clamping: names.count)
            op.b = builder.slot(UInt16(op.width))
            for (i, name) in names.enumerated() {
                if let binding = builder.binding(name.string ?? "") {
                    builder.add(Op(code: .copy, a: op.b + UInt16(i), b: binding.slot))
                } else {
                    complain(
                        name, "unknown field \"\(name.string ?? "")\"",
                        Suggestion.text(name.string ?? "", among: builder.names))
                }
            }
        }
        builder.add(op)
    }

    /// `{ hex: "534C" }`, `{ field: "sequence", type?: "u32be" }`, `{ checksum: "crc16-modbus" }`
    mutating func answerPart(_ node: JSONNode) {
        check(
            node,
            ["hex", "field", "type", "checksum", "from", "to", "order", "as"] + Self.answerWords)
        if otherPart(node) { return }
        if let text = node["hex"] {
            builder.add(.answerText, literal: hex(text) ?? [])
        } else if let name = string(node, "field") {
            guard let binding = builder.binding(name) else {
                complain(
                    node, "unknown field \"\(name)\"", Suggestion.text(name, among: builder.names))
                return
            }
            var op = Op(code: .answerSlot, a: binding.slot)
            if let type = string(node, "type") {
                if let kind = WireType(type), !kind.isFloat {
                    op.width = UInt8(kind.width)
                    if kind.isLittle { op.flags.insert(.little) }
                } else {
                    complain(
                        node, "unknown type \"\(type)\"",
                        Suggestion.text(type, among: WireType.examples))
                }
            }
            builder.add(op)
        } else if string(node, "checksum") != nil {
            let names = ChecksumRule.kinds.map(\.name)
            let name = word(node, "checksum", names)
            let rule = ChecksumRule(
                kind: ChecksumRule.kinds.first { $0.name == name }?.kind ?? .sum8,
                from: integer(node, "from") ?? 0, to: integer(node, "to") ?? 0, at: 0,
                isLittleEndian: word(node, "order", ["le", "be"]) == "le",
                isText: self.word(node, "as", ["bytes", "hex"]) == "hex")
            builder.add(Op(code: .answerChecksum, meta: Int32(builder.checksum(rule))))
        } else {
            complain(node, "an answer's part needs hex, text, field, digits, value or checksum")
        }
    }

    // MARK: Register maps

    /// `registers: [ { function, count?, first?, map: [ { register | offset, type, … } ] } ]`
    mutating func registers(_ node: JSONNode) {
        for block in node.array ?? [] {
            check(block, ["function", "count", "first", "map", "note"])
            var conditions: [String] = []
            if let list = block["function"] {
                let codes = (list.array ?? [list]).compactMap(\.integer)
                conditions.append(
                    "(" + codes.map { "function == \($0)" }.joined(separator: " || ") + ")")
            }
            let first = integer(block, "first") ?? 0
            if let reached = reached(block, first: first) { conditions.append(reached) }
            let rows = (block["map"]?.array ?? []).map {
                register($0, first: first, isNumbered: block["first"] != nil)
            }
            let layout = JSONNode(content: .array(rows), line: block.line, column: block.column)
            guard !conditions.isEmpty else {
                registerRows(layout, of: block, first: first)
                continue
            }
            let text = JSONNode(
                content: .string(conditions.joined(separator: " && ")), line: block.line,
                column: block.column)
            let wrapped = JSONNode(
                content: .object([
                    .init(key: "when", line: block.line, column: block.column, value: text)
                ]), line: block.line, column: block.column)
            let over = jumpUnless(wrapped, "when")
            registerRows(layout, of: block, first: first)
            if let over { land(over) }
        }
    }

    /// Whether the answer reaches the block: with a known request by its first register (`asked2`),
    /// else by the count of registers alone.
    private mutating func reached(_ block: JSONNode, first: Int) -> String? {
        let count = integer(block, "count").map { "size == \($0 * 2)" }
        guard block["first"] != nil else { return count }
        return "(asked2 < 0 ? \(count ?? "1") : (\(first) - asked2) * 2 < size)"
    }

    /// The block's rows, with the answer's start moved to where the block's first register stands or
    /// would stand.
    private mutating func registerRows(_ layout: JSONNode, of block: JSONNode, first: Int) {
        guard block["first"] != nil else { return scoped(layout, of: block) }
        let before = expression("asked2 < 0 ? 0 : (\(first) - asked2) * 2", at: block)
        builder.add(Op(code: .enterRegion, flags: .rest, at: 0))
        builder.add(Op(code: .moveStart, a: slot(before)))
        scoped(layout, of: block)
        builder.add(Op(code: .leave))
    }

    /// A row of a map becomes a field at a fixed place that is there only when the answer reaches it.
    private mutating func register(
        _ node: JSONNode, first: Int, isNumbered: Bool
    ) -> JSONNode {
        var members = node.members ?? []
        var offset = 0
        if let place = integer(node, "offset") {
            offset = place
        } else if let number = integer(node, "register") {
            offset = (number - first) * 2
        } else {
            complain(node, "no register", "write register: 0 or offset: 0 (bytes)")
        }
        if offset < 0 { complain(node, "register before the first of its block") }
        members.removeAll { $0.key == "offset" || $0.key == "register" || $0.key == "when" }
        var width = node["order"]?.string?.count ?? 2
        if let type = node["type"]?.string, let kind = WireType(type) { width = kind.width }
        func add(_ key: String, _ content: JSONNode.Content) {
            guard node[key] == nil else { return }
            members.append(
                .init(
                    key: key, line: node.line, column: node.column,
                    value: JSONNode(content: content, line: node.line, column: node.column)))
        }
        add("at", .number(String(max(0, offset))))
        var when = "size >= \(max(0, offset) + width)"
        if let own = node["when"]?.string { when += " && (\(own))" }
        // The answer may begin behind this register.
        if isNumbered { when += " && asked2 <= \(first + max(0, offset) / 2)" }
        members.append(
            .init(
                key: "when", line: node.line, column: node.column,
                value: JSONNode(content: .string(when), line: node.line, column: node.column)))
        add("list", .string("values"))
        if width <= 8 { add("order", .string(String("ABCDEFGH".prefix(width)))) }
        return JSONNode(content: .object(members), line: node.line, column: node.column)
    }
}
