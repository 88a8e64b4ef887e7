// `protocols/format.schema.json` against the format files and against the compiler: every file fits it,
// and at every object the schema knows exactly the keys that the compiler accepts there. With a validator
// of the subset of JSON Schema 2020-12 that the schema uses; it refuses words that it does not know.

import Formats
import Glibc
import Model
import Testing

struct SchemaTests {
    private static let schema = Result {
        try JSONNode.parse(
            Repository.bytes("protocols/format.schema.json"), file: "format.schema.json")
    }

    /// Uses each kind of object that a format may hold, so that none escapes the comparison.
    private static let everything = """
        { format: "everything", title: "t", version: "1", note: "n", zone: "+08:00",
          constants: { one: 1 }, tables: { t: { 1: "a" } },
          framing: { preamble: { byte: 254, maximum: 4 }, anchors: [{ at: 0, bytes: "68" }],
            fields: [{ name: "n", at: 1, type: "u8" }], length: [{ when: "n > 0", is: "n + 60" }],
            maximum: 99, checksum: { kind: "sum8", from: 0, to: -1, at: -1 },
            body: { from: 2, to: -1 } },
          layout: [
            { name: "a", type: "u8" }, { let: "b", value: "a + 1" }, { name: "c", value: "b" },
            { name: "d", text: "{a}" }, { skip: 1 }, { control: true, when: "a == 9" },
            { assert: "a > 0" }, { group: "g", layout: [] }, { insert: "i" },
            { switch: "a", cases: [{ match: 1, layout: [ { reject: "bad-type" } ] }] },
            { repeat: 1, layout: [ { skip: 1 } ] }, { region: 2, layout: [] },
            { hexText: 2, layout: [] }, { when: "a == 3", layout: [] }, { identity: "{a}" },
            { sub: "none" }, { codec: "cbor" }, { insert: "registers" },
            { tlv: { id: "u8", length: "u8" }, cases: [{ match: 1, layout: [] }] },
            { base64: 2, layout: [] }, { pairs: 2, cases: [{ key: "k", layout: [] }] },
            { entry: "list", layout: [] }, { set: "b", value: "a" },
            { codec: "hj212", words: ["w"] }, { asks: ["a", 1] },
            { answers: "a == asked0", exception: "b" } ],
          requests: { read: { parameters: [{ name: "p", range: [1, 9] }],
            parts: [{ hex: "00" }, { parameter: "p", type: "u8" }] } },
          words: { w: { k: { quantity: "count", unit: "" } } },
          inserts: { i: [] }, registers: [{ function: 3, map: [
            { name: "r", register: 0, type: "u16" } ] }],
          exchange: { duplicate: { key: "frame" },
            reassembly: { key: ["a"], part: "a", parts: "a", body: "a" },
            answer: { parts: [{ hex: "00" }, { count: { at: 0, from: 0, digits: 4 } }] } },
          tests: [{ hex: "00" }] }
        """

    private static func files() -> [(name: String, text: String)] {
        var names: [String] = []
        // Safety: opendir's result is checked; entries are read one by one and copied; closed once.
        guard let folder = unsafe opendir(Repository.root + "/protocols") else { return [] }
        while let entry = unsafe readdir(folder) {
            // Safety: d_name is NUL-terminated inside the entry.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if name.hasSuffix(".json5") { names.append(name) }
        }
        // Safety: folder came from opendir and is not used again.
        unsafe closedir(folder)
        return names.sorted().map { ($0, Repository.text("protocols/" + $0)) }
    }

    @Test("every format file fits the schema")
    func filesFit() throws {
        let files = SchemaTests.files()
        #expect(files.count >= 18)
        for file in files {
            var validator = Validator(schema: try SchemaTests.schema.get())
            let node = try JSONNode.parse(Array(file.text.utf8), file: file.name)
            for fault in validator.faults(node) { Issue.record("\(file.name):\(fault)") }
        }
    }

    @Test("the schema has exactly the keys that the compiler accepts, object by object")
    func keys() throws {
        let schema = try SchemaTests.schema.get()
        var seen = Set<String>()
        let texts = SchemaTests.files().map(\.text) + [SchemaTests.everything]
        for text in texts where !text.contains("extends:") {
            var validator = Validator(schema: schema)
            _ = validator.faults(try JSONNode.parse(Array(text.utf8), file: "f"))
            var first: [String: CheckedKeys] = [:]
            for keys in FormatLibrary.checkedKeys(of: text, file: "f") {
                let place = "\(keys.line):\(keys.column)"
                if first[place] == nil { first[place] = keys }
            }
            for (place, name) in validator.objects {
                guard let accepted = first[place] else { continue }
                seen.insert(name)
                var keys = Set(schema["$defs"]?[name]?["properties"]?.members?.map(\.key) ?? [])
                // Rows of a register map become fields, and lose this key on the way.
                if name == "register" { keys.remove("register") }
                #expect(keys == Set(accepted.keys), "\(name) at \(place)")
            }
        }
        let objects = schema["$defs"]?.members?.filter { $0.value["properties"] != nil } ?? []
        #expect(seen == Set(objects.map(\.key)), "not compared with the compiler")
    }

    @Test(
        "refuses what the compiler refuses",
        arguments: [
            "{ title: \"no name\" }", "{ format: 1 }", "{ format: \"x\", layuot: [] }",
            "{ format: \"x\", framing: { checksum: { kindd: \"sum8\" } } }",
            "{ format: \"x\", layout: [ { name: \"a\", type: \"u8\", scal: 1 } ] }",
            "{ format: \"x\", layout: [ { switch: \"a\", cases: [ { layout: [] } ] } ] }",
            "{ format: \"x\", layout: [ { name: \"a\", type: \"u8\", range: [1] } ] }",
            "{ format: \"x\", layout: [ { name: \"a\", type: \"u8\", priority: \"high\" } ] }",
            "{ format: \"x\", tests: [ { hex: 5 } ] }",
        ])
    func refuses(text: String) throws {
        var validator = Validator(schema: try SchemaTests.schema.get())
        #expect(!validator.faults(try JSONNode.parse(Array(text.utf8), file: "f")).isEmpty)
    }

    @Test("names only rejections that exist")
    func rejections() throws {
        let schema = try SchemaTests.schema.get()
        let named = schema["$defs"]?["reject"]?["properties"]?["reject"]?["examples"]?.array ?? []
        #expect(named.count > 10)
        let known = Set(Rejection.allCases.map(\.code))
        for name in named { #expect(known.contains(name.string ?? ""), "\(name.string ?? "")") }
    }
}

/// Enough of JSON Schema 2020-12 for one schema.
private struct Validator {
    let schema: JSONNode
    /// Which definition fits the object at a place.
    private(set) var objects: [String: String] = [:]

    private static let known: Set<String> = [
        "$schema", "title", "description", "examples", "$defs", "$ref", "type", "properties",
        "additionalProperties", "required", "items", "minItems", "maxItems", "enum", "anyOf",
    ]

    init(schema: JSONNode) { self.schema = schema }

    mutating func faults(_ node: JSONNode) -> [String] { check(node, schema) }

    private mutating func check(_ node: JSONNode, _ rule: JSONNode) -> [String] {
        for member in rule.members ?? [] where !Validator.known.contains(member.key) {
            return ["the validator does not know \(member.key)"]
        }
        if let name = rule["$ref"]?.string?.split(separator: "/").last {
            guard let definition = schema["$defs"]?[String(name)] else { return ["no \(name)"] }
            let faults = check(node, definition)
            if faults.isEmpty, definition["properties"] != nil {
                objects["\(node.line):\(node.column)"] = String(name)
            }
            return faults
        }
        let place = "\(node.line):\(node.column)"
        if let type = rule["type"] {
            let names = (type.array ?? [type]).compactMap(\.string)
            if !names.contains(where: { Validator.isKind(node, $0) }) {
                return ["\(place): \(node.kindName) where \(names) must stand"]
            }
        }
        if let words = rule["enum"]?.array, !words.contains(where: { $0.string == node.string }) {
            return ["\(place): \(node.string ?? "") is none of the words"]
        }
        if let choices = rule["anyOf"]?.array {
            var nearest: [String]?
            for choice in choices {
                let found = check(node, choice)
                if found.isEmpty { return [] }
                if found.count < nearest?.count ?? .max { nearest = found }
            }
            return ["\(place): fits none of the choices, nearest: \(nearest ?? [])"]
        }
        return members(node, rule, place) + elements(node, rule, place)
    }

    private static func isKind(_ node: JSONNode, _ name: String) -> Bool {
        switch (node.content, name) {
        case (.null, "null"), (.boolean, "boolean"), (.number, "number"), (.string, "string"),
            (.array, "array"), (.object, "object"):
            true
        case (.number, "integer"): node.integer != nil
        default: false
        }
    }

    private mutating func members(
        _ node: JSONNode, _ rule: JSONNode, _ place: String
    ) -> [String] {
        guard let members = node.members else { return [] }
        var faults: [String] = []
        for name in rule["required"]?.array?.compactMap(\.string) ?? [] where node[name] == nil {
            faults.append("\(place): no \(name)")
        }
        for member in members {
            if let own = rule["properties"]?[member.key] {
                faults += check(member.value, own)
            } else if let others = rule["additionalProperties"] {
                if others.boolean == false {
                    faults.append("\(member.line):\(member.column): unknown key \(member.key)")
                } else if others.boolean == nil {
                    faults += check(member.value, others)
                }
            }
        }
        return faults
    }

    private mutating func elements(
        _ node: JSONNode, _ rule: JSONNode, _ place: String
    ) -> [String] {
        guard let array = node.array else { return [] }
        var faults: [String] = []
        if array.count < rule["minItems"]?.integer ?? 0 { faults.append("\(place): too few") }
        if array.count > rule["maxItems"]?.integer ?? .max { faults.append("\(place): too many") }
        if let each = rule["items"] { for one in array { faults += check(one, each) } }
        return faults
    }
}
