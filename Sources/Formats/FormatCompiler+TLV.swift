// The item `tlv`: entries of identifier, length and value up to the end of the region. It is written
// in terms of the items that exist (repeat, region, switch), so it costs what they cost and has their
// limits: a round takes at least a byte, a value never reads past its length.
//
//   with a length: the value is a region of its own, and what no case knows stays as raw `data`;
//   without:       the case must know the size, and what no case knows refuses the frame;
//   tail "keep":   bytes at the end that are no whole entry end the list and are left to what follows.

import Model

extension FormatCompiler {
    /// `{ tlv: { id, length?, size?, key? }, cases, default? | else?, list?, count?, maximum? }`
    mutating func tlvItem(_ node: JSONNode) {
        guard let head = node["tlv"] else { return }
        check(head, ["id", "length", "size", "key", "tail", "note"])
        let made = Written(at: node)
        guard let id = tlvFields(head["id"], named: "id", isHidden: node["list"] == nil) else {
            complain(head, "a tlv without id", "write id: \"u8\" or a list of fields")
            return
        }
        let length = tlvFields(head["length"], named: "length", isHidden: true)
        let key = string(head, "key") ?? lastName(of: id) ?? "id"
        var choice: [(String, JSONNode)] = [
            ("switch", made.text(key)), ("cases", tlvCases(node, made)),
        ]
        if let other = node["default"] {
            choice.append(("default", other))
        } else if node["else"] != nil || length == nil {
            choice.append(("else", node["else"] ?? made.text(Rejection.unknownType.code)))
        } else {
            let raw: [(String, JSONNode)] = [
                ("name", made.text("data")), ("type", made.text("hex")),
                ("bytes", made.text("rest")),
            ]
            choice.append(("default", made.list([made.object(raw)])))
        }
        var layout = id
        if let length {
            let size = head["size"] ?? made.text(lastName(of: length) ?? "length")
            layout += length
            layout.append(
                made.object([
                    ("region", size), ("layout", made.list([made.object(choice)])),
                ]))
        } else {
            layout.append(made.object(choice))
        }
        var loop: [(String, JSONNode)] = [("repeat", node["count"] ?? made.text("end"))]
        for key in ["list", "maximum"] {
            if let value = node[key] { loop.append((key, value)) }
        }
        if word(head, "tail", ["refuse", "keep"]) == "keep" {
            loop.append(("entry", made.list(id + (length ?? []))))
        }
        loop.append(("layout", made.list(layout)))
        items(made.list([made.object(loop)]), of: node)
    }

    /// A type's word stands for one field of the usual name; a list stands as it is.
    private func tlvFields(
        _ node: JSONNode?, named name: String, isHidden: Bool
    ) -> [JSONNode]? {
        guard let node else { return nil }
        if let list = node.array { return list }
        if node.members != nil { return [node] }
        let made = Written(at: node)
        var field: [(String, JSONNode)] = [("name", made.text(name)), ("type", node)]
        if isHidden { field.append(("hidden", made.truth)) }
        return [made.object(field)]
    }

    /// What a round of a loop needs to begin: the widths of the fields before the length, and the
    /// length itself, which must fit what is left.
    mutating func entry(_ node: JSONNode, _ test: inout Op) {
        let kinds = (node.array ?? []).map { $0["type"]?.string.flatMap { WireType($0) } }
        guard kinds.count >= 2, let last = kinds.last ?? nil, !kinds.contains(where: { $0 == nil })
        else {
            complain(node, "tail \"keep\" needs plain types for id and length", "write \"u8\"")
            return
        }
        test.width = UInt8(clamping: kinds.dropLast().reduce(0) { $0 + ($1?.width ?? 0) })
        test.x = UInt8(last.width)
        if last.isLittle { test.flags.insert(.little) }
    }

    private func lastName(of fields: [JSONNode]) -> String? {
        fields.last.flatMap { ($0["name"] ?? $0["let"])?.string }
    }

    /// A case's `name` is a member of the list's element; without a list, an object around its fields.
    private mutating func tlvCases(_ node: JSONNode, _ made: Written) -> JSONNode {
        let cases = node["cases"]?.array ?? []
        if cases.isEmpty { complain(node, "tlv without cases", "write cases: [ … ]") }
        return made.list(
            cases.map { entry in
                check(entry, ["match", "name", "layout", "note"])
                guard let name = entry["name"], let layout = entry["layout"],
                    let match = entry["match"]
                else { return entry }
                var inside: [JSONNode]
                if node["list"] == nil {
                    inside = [made.object([("group", name), ("layout", layout)])]
                } else {
                    inside = [made.object([("name", made.text("name")), ("text", name)])]
                    inside += layout.array ?? []
                }
                return Written(at: entry)
                    .object([("match", match), ("layout", made.list(inside))])
            })
    }
}

/// Makes nodes as if they stood in the file at the place of another, where complaints point.
struct Written {
    private let line: Int
    private let column: Int

    init(at node: JSONNode) { (line, column) = (node.line, node.column) }

    var truth: JSONNode { JSONNode(content: .boolean(true), line: line, column: column) }

    func text(_ text: String) -> JSONNode {
        JSONNode(content: .string(text), line: line, column: column)
    }

    func list(_ nodes: [JSONNode]) -> JSONNode {
        JSONNode(content: .array(nodes), line: line, column: column)
    }

    func object(_ members: [(String, JSONNode)]) -> JSONNode {
        JSONNode(
            content: .object(
                members.map { .init(key: $0.0, line: line, column: column, value: $0.1) }),
            line: line, column: column)
    }
}
