// The language as its writers meet it: places and words of complaints, expressions, overlays, the
// example of the manual.

import Formats
import Model
import Testing

struct LanguageTests {
    private func complaints(_ text: String) -> [String] {
        do throws(Complaints) {
            _ = try FormatLibrary(text: text, file: "f")
            return []
        } catch { return error.all.map(\.description) }
    }

    private static let frame = "framing: { length: \"datagram\", maximum: 9 }"

    @Test(
        "complains at the place, with what to write instead",
        arguments: [
            (
                "{ format: \"x\", \(frame), titel: \"X\", layout: [] }",
                "f:1:61: unknown key \"titel\": write \"title\""
            ),
            (
                "{ format: \"x\", \(frame),\n layout: [ { name: \"a\", type: \"u16eb\" } ] }",
                "f:2:31: unknown type \"u16eb\": write \"u16be\""
            ),
            (
                "{ format: \"x\", \(frame),\n layout: [ { name: \"a\", type: \"u16\" } ] }",
                "f:2:31: no byte order: write \"u16be\" or \"…le\""
            ),
            (
                "{ format: \"x\", \(frame),\n layout: [ { name: \"count\", type: \"u8\" },\n"
                    + " { type: \"hex\", bytes: \"cuont\" } ] }",
                "f:3:24: unknown field \"cuont\": write \"count\""
            ),
            (
                "{ format: \"x\", \(frame), layout: [ { nmae: \"a\", typ: \"u8\" } ] }",
                "f:1:71: cannot tell what kind of item this is: write \"type\""
            ),
            (
                "{ format: \"x\", framing: { length: \"datagram\" }, layout: [] }",
                "f:1:25: frames are not bounded: write maximum: the longest frame, at most 65536"
            ),
            (
                "{ format: \"x\", \(frame), layout: [ { assert: \"1\", else: \"bad-vresion\" } ] }",
                "f:1:92: unknown rejection \"bad-vresion\": write \"bad-version\""
            ),
            (
                "{ format: \"x\", \(frame), layout: [ { name: \"a\", type: \"u8\", enum: \"t\" } ] }",
                "f:1:102: unknown table \"t\""
            ),
            (
                "{ format: \"x\", \(frame), layout: [\n { name: \"a\", type: \"u8\", reading: true },\n"
                    + " { name: \"a\", type: \"u8\", reading: true, unit: \"V\" } ] }",
                "f:3:2: reading \"a\" is declared twice, differently: "
                    + "give it the same quantity, unit and rules, or another name"
            ),
            (
                "{ format: \"x\", extends: \"y\" }",
                "f:1:25: unknown format \"y\": known here: x"
            ),
            (
                "{ format: \"x\", \(frame), layout: [ { sub: \"x\" } ] }",
                "f:1:78: formats nested more than 4 deep or in a circle: "
                    + "decode the inner frame as hex"
            ),
            (
                "{ format: \"x\", \(frame), layout: [ { name: \"{b}\", type: \"u8\" } ] }",
                "f:1:79: unknown field \"b\""
            ),
            (
                "{ format: \"x\", \(frame), inserts: { a: [ { insert: \"a\" } ] },\n"
                    + " layout: [ { insert: \"a\" } ] }",
                "f:1:77: insertions nested more than 8 deep or in a circle"
            ),
            ("{ title: \"x\" }", "f:1:1: no name: write format: \"…\" first"),
            (
                "{ format: \"x\", \(frame), layout: [ { name: \"a\", type: \"u8\" } ], tests: [\n"
                    + "  { hex: \"05\", expect: { a: 6 } } ] }",
                "f:2:3: test fails: a: expected 6, found 5"
            ),
            (
                "{ format: \"x\", \(frame), layout: [ { name: \"a\", type: \"u8\" } ], tests: [\n"
                    + "  { hex: \"05\", error: \"truncated\" } ] }",
                "f:2:3: test fails: expected truncated, found acceptance"
            ),
        ])
    func complaint(text: String, expected: String) {
        #expect(complaints(text) == [expected])
    }

    @Test("reports all complaints of a file at once")
    func allComplaints() {
        let text = """
            { format: "x", framing: { length: "datagram", maximum: 9 }, layout: [
              { name: "a", type: "u99" }, { name: "b", tpye: "u8" }, { let: "c", value: "d + 1" },
              { name: "e", type: "u8", scale: "no" } ], unknown: 1 }
            """
        #expect(complaints(text).count == 5)
    }

    @Test(
        "computes expressions with the precedence of the manual",
        arguments: [
            ("2 + 3 * 4", 14), ("(2 + 3) * 4", 20), ("a & 1 == 1", 1), ("a >> 4 & 0x0F", 10),
            ("a > 100 && a < 200 ? 7 : 8", 7), ("!a", 0), ("-a + 166", 1), ("a % 10", 5),
            ("a | 0x100", 421), ("a == 165 || b == 1", 1), ("a == 1 || b == 1", 0),
            ("left", 1), ("size", 2), ("up", 1), ("down", 0), ("a ^ a", 0), ("1 << 4", 16),
        ])
    func expressions(text: String, expected: Int) throws {
        let format = try FormatLibrary(
            text: """
                { format: "x", framing: { length: "datagram", maximum: 9 }, layout: [
                  { name: "a", type: "u8" }, { name: "b", type: "u8", at: 1 },
                  { name: "v", value: "\(text)", reading: true } ] }
                """, file: "f"
        ).formats[0]
        var frame = DecodedFrame()
        let bytes: [UInt8] = [165, 0]
        try Decoder(format).decode(bytes.span, direction: .up, into: &frame)
        #expect(frame.readings.map(\.value) == [.decimal(Int64(expected))])
    }

    @Test("matches numbers, ranges and patterns; the first match wins; the rest is the default")
    func switches() throws {
        let format = try FormatLibrary(
            text: """
                { format: "x", framing: { length: "datagram", maximum: 9 }, layout: [
                  { name: "id", type: "u16be" },
                  { switch: "id", cases: [
                    { match: 0x1000, layout: [ { name: "v", text: "exact" } ] },
                    { match: ["0x2000..0x2FFF", 7], layout: [ { name: "v", text: "range" } ] },
                    { match: "1?0?", layout: [ { name: "v", text: "pattern" } ] },
                  ], default: [ { name: "v", text: "default" } ] } ] }
                """, file: "f"
        ).formats[0]
        let cases: [(UInt16, String)] = [
            (0x1000, "exact"), (0x2000, "range"), (0x2FFF, "range"), (7, "range"),
            (0x1A0B, "pattern"), (0x1AAB, "default"), (0x3000, "default"),
        ]
        for (id, word) in cases {
            let tree = Decoder(format).explain([UInt8(id >> 8), UInt8(id & 255)], direction: .up)
            #expect(tree.root.children.last?.value == .text(word))
        }
    }

    @Test("a format that extends another overlays constants, tables and framing, and inserts")
    func overlay() throws {
        let base = """
            { format: "base", constants: { shift: 1 }, tables: { t: { 1: "one", 2: "two" } },
              framing: { length: "datagram", maximum: 9 }, layout: [
                { name: "a", type: "u8", enum: "t" }, { name: "b", value: "shift * 10" },
                { insert: "more" } ], tests: [ { hex: "01", expect: { a: "one", b: 10 } } ] }
            """
        let variant = """
            { format: "variant", extends: "base", constants: { shift: 2 }, tables: { t: { 2: "zwei" } },
              framing: { maximum: 2 }, inserts: { more: [ { name: "c", type: "u8" } ] },
              tests: [ { hex: "0209", expect: { a: "zwei", b: 20, c: 9 } } ] }
            """
        let library = try FormatLibrary(texts: [("variant", variant), ("base", base)])
        #expect(library.format(named: "variant")?.maximumFrame == 2)
        #expect(library.format(named: "base")?.maximumFrame == 9)
    }

    @Test("a field that is left out reads as 0, also in a later round of a loop")
    func leftOut() throws {
        let format = try FormatLibrary(
            text: """
                { format: "x", framing: { length: "datagram", maximum: 9 }, layout: [
                  { repeat: "end", layout: [
                    { name: "kind", type: "u8" },
                    { name: "extra", type: "u8", when: "kind == 1" },
                    { name: "sum", value: "kind + extra", reading: true } ] } ] }
                """, file: "f"
        ).formats[0]
        var frame = DecodedFrame()
        let bytes: [UInt8] = [1, 5, 2, 1, 7]
        try Decoder(format).decode(bytes.span, direction: .up, into: &frame)
        #expect(frame.readings.map(\.value) == [.decimal(6), .decimal(2), .decimal(8)])
    }

    @Test("the example of protocols/README.md loads and its tests pass")
    func manualExample() throws {
        let blocks = Repository.text("protocols/README.md").split(separator: "```json5\n")
        try #require(blocks.count >= 2)
        let example = blocks[1].split(separator: "```")[0]
        let library = try FormatLibrary(text: String(example), file: "protocols/README.md")
        #expect(library.formats.count == 1)
        #expect(example.contains("tests:"))
    }
}

struct JSON5Tests {
    private func complaint(_ text: String) -> String {
        do throws(Complaint) {
            _ = try JSONNode.parse(Array(text.utf8), file: "j")
            return ""
        } catch { return error.description }
    }

    @Test("reads what JSON5 adds: comments, bare keys, single quotes, hex, signs, trailing commas")
    func reads() throws {
        let text = """
            // one
            { bare: 'it''s', /* two */ "hex": 0x1F, sign: +5, half: .5, list: [1, 2,], nested: {}, }
            """.replacing("'it''s'", with: "'it\\'s'")
        let node = try JSONNode.parse(Array(text.utf8), file: "j")
        #expect(node["bare"]?.string == "it's")
        #expect(node["hex"]?.integer == 31)
        #expect(node["sign"]?.integer == 5)
        #expect(node["half"]?.double == 0.5)
        #expect(node["list"]?.array?.count == 2)
        #expect(node["list"]?.line == 2)
        #expect(node["bare"]?.column == 9)
    }

    @Test(
        "points at what it cannot read",
        arguments: [
            ("{ a: 1, a: 2 }", "j:1:9: key \"a\" stands twice, first in line 1: remove one"),
            ("{ a 1 }", "j:1:5: no ':' after key \"a\": write :"),
            ("[1 2]", "j:1:4: no ',' or ']' after an element: write ,"),
            ("{ a: 'x", "j:1:6: string without end: close it with the same quote"),
            ("[1,\n  yes]", "j:2:3: unexpected word \"yes\": put text in quotes"),
            ("{} {}", "j:1:4: text after the end of the document: remove it"),
            ("", "j:1:1: the text ends where a value must stand: write one"),
            ("/* x", "j:1:1: comment without end: write */"),
        ])
    func points(text: String, expected: String) {
        #expect(complaint(text) == expected)
    }

    @Test("refuses nesting beyond its limit")
    func depth() {
        #expect(
            complaint(String(repeating: "[", count: 100)).hasSuffix(
                "more than 64 levels deep: remove brackets"))
    }
}
