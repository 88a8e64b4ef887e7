// What the compiler refuses because no frame could satisfy it, each at its place; what must stay
// accepted; and the bound on what a frame costs.

import Formats
import Model
import Testing

struct StaticCheckTests {
    private static func complaints(_ text: String) -> [String] {
        do throws(Complaints) {
            _ = try FormatLibrary(text: text, file: "f")
            return []
        } catch { return error.all.map(\.description) }
    }

    /// A frame of at most `maximum` bytes with `items` in lines 2 and following.
    private static func format(_ items: String, maximum: Int = 8, more: String = "") -> String {
        "{ format: \"x\", framing: { length: \"datagram\", maximum: \(maximum) }, \(more)layout: [\n"
            + items + "\n] }"
    }

    @Test(
        "refuses what no frame could satisfy, at its place",
        arguments: [
            // Unknown names.
            (
                " { name: \"level\", type: \"u8\" },\n { name: \"b\", value: \"levle + 1\" }",
                "f:3:22: unknown field \"levle\": write \"level\""
            ),
            // Fields past the frame.
            (
                " { name: \"a\", type: \"u64be\" },\n { name: \"b\", type: \"u16be\" },\n"
                    + " { name: \"c\", type: \"u8\" }",
                "f:3:2: reads 2 bytes from 8 on where there are at most 8: "
                    + "raise the maximum or the region, or check what stands before"
            ),
            (
                " { name: \"a\", type: \"u8\", at: 8 }",
                "f:2:2: reads 1 byte from 8 on where there are at most 8: "
                    + "raise the maximum or the region, or check what stands before"
            ),
            (
                " { region: 3, layout: [\n  { name: \"a\", type: \"u32be\" } ] }",
                "f:3:3: reads 4 bytes from 0 on where there are at most 3: "
                    + "raise the maximum or the region, or check what stands before"
            ),
            (
                " { switch: \"up\", cases: [ { match: 1, layout: [ { skip: 6 } ] } ],\n"
                    + "   default: [ { skip: 5 } ] },\n { name: \"a\", type: \"u16be\" },\n"
                    + " { name: \"b\", type: \"u24be\" }",
                "f:5:2: reads 3 bytes from 7 on where there are at most 8: "
                    + "raise the maximum or the region, or check what stands before"
            ),
            (
                " { name: \"a\", type: \"hex\", bytes: \"rest\" },\n { name: \"b\", type: \"u8\" }",
                "f:3:2: nothing is left here: what stands before takes the rest: "
                    + "give a count there, or move this up"
            ),
            (
                " { repeat: \"end\", layout: [ { name: \"a\", type: \"u8\" } ] },\n"
                    + " { name: \"b\", type: \"u8\" }",
                "f:3:2: nothing is left here: what stands before takes the rest: "
                    + "give a count there, or move this up"
            ),
            // Unbounded paths.
            (
                " { name: \"n\", type: \"u8\" },\n"
                    + " { repeat: \"n\", layout: [ { name: \"a\", type: \"u8\", at: 1 } ] }",
                "f:3:2: a round takes no byte, so no frame passes: "
                    + "read a field in it, without at"
            ),
            // Unreachable.
            (
                " { name: \"k\", type: \"u8\" },\n { switch: \"k\", cases: [\n"
                    + "  { match: \"1..9\", layout: [] },\n  { match: [12, 5], layout: [] } ] }",
                "f:5:17: never reached: the case in line 4 takes it: "
                    + "remove one, or move this case up"
            ),
            (
                " { name: \"k\", type: \"u16be\" },\n { switch: \"k\", cases: [\n"
                    + "  { match: \"10??\", layout: [] },\n  { match: 0x1001, layout: [] } ] }",
                "f:5:12: never reached: the case in line 4 takes it: "
                    + "remove one, or move this case up"
            ),
            (
                " { name: \"k\", type: \"u8\", bits: \"0..3\" },\n { switch: \"k\", cases: [\n"
                    + "  { match: 16, layout: [] } ] }",
                "f:4:12: never reached: the field has 4 bits: write at most 15"
            ),
            (
                " { name: \"k\", type: \"u8\", enum: { \"0..9\": \"low\",\n  3: \"three\" } }",
                "f:3:3: never reached: \"0..9\" in line 2 takes it: "
                    + "remove one, or move this row up"
            ),
            (
                " { reject: \"bad-type\" },\n { name: \"a\", type: \"u8\" }",
                "f:3:2: nothing leads here: remove it, or what ends before it"
            ),
            // Colliding outputs.
            (
                " { name: \"a\", type: \"u8\", reading: \"level\" },\n"
                    + " { name: \"b\", type: \"u8\", reading: \"level\" }",
                "f:3:36: the same reading stands in line 2 of the same path: "
                    + "give one of them another name"
            ),
            (
                " { name: \"a\", type: \"u8\", reading: \"level\" },\n { when: \"a == 1\", layout: [\n"
                    + "  { name: \"b\", type: \"u8\", reading: \"level\" } ] }",
                "f:4:37: the same reading stands in line 2 of the same path: "
                    + "give one of them another name"
            ),
        ])
    func refuses(items: String, expected: String) {
        #expect(StaticCheckTests.complaints(StaticCheckTests.format(items)) == [expected])
    }

    @Test("refuses two registers of one name, and a register behind the longest answer")
    func registers() {
        let text = """
            { format: "x", framing: { length: "datagram", maximum: 8 }, layout: [
              { insert: "registers" } ], registers: [ { map: [
              { name: "level", register: 0, type: "u16", reading: true },
              { name: "level", register: 1, type: "u16", reading: true },
              { name: "flow", register: 4, type: "u16", reading: true } ] } ] }
            """
        #expect(
            StaticCheckTests.complaints(text).first
                == "f:4:55: the same reading stands in line 3 of the same path: "
                + "give one of them another name")
        let apart = text.replacing("\"level\", register: 1", with: "\"stage\", register: 1")
        #expect(
            StaticCheckTests.complaints(apart) == [
                "f:5:3: reads 2 bytes from 8 on where there are at most 8: "
                    + "raise the maximum or the region, or check what stands before"
            ])
    }

    @Test(
        "accepts what some frame satisfies",
        arguments: [
            // The same reading in alternatives, and with its own time in a log.
            " { name: \"k\", type: \"u8\" },\n { switch: \"k\", cases: [\n"
                + "  { match: 1, layout: [ { name: \"v\", type: \"u8\", reading: true } ] },\n"
                + "  { match: 2, layout: [ { name: \"v\", type: \"u8\", reading: true } ] } ] }",
            " { when: \"up\", layout: [ { name: \"v\", type: \"u8\", reading: true } ],\n"
                + "   otherwise: [ { name: \"v\", type: \"u8\", reading: true } ] }",
            " { name: \"v\", type: \"u8\", reading: true },\n { repeat: \"end\", layout: [\n"
                + "  { name: \"v\", type: \"u8\", reading: true } ] }",
            // A region of computed size, and a loop that may have no round.
            " { name: \"n\", type: \"u8\" }, { region: \"n\", layout: [ { skip: 7 } ] }",
            " { name: \"n\", type: \"u8\" }, { repeat: \"n\", layout: [ { skip: 7 } ] }",
            // What takes the rest only sometimes.
            " { name: \"n\", type: \"u8\" },\n"
                + " { name: \"a\", type: \"hex\", bytes: \"rest\", when: \"n == 1\" },\n"
                + " { name: \"b\", type: \"u8\", when: \"n == 2\" }",
            // Cases that overlap in part: the earlier takes its share.
            " { name: \"k\", type: \"u8\" },\n { switch: \"k\", cases: [\n"
                + "  { match: 5, layout: [] }, { match: \"1..9\", layout: [] } ] }",
        ])
    func accepts(items: String) {
        #expect(StaticCheckTests.complaints(StaticCheckTests.format(items)) == [])
    }

    private static func cost(_ items: String, maximum: Int) throws -> Int {
        try FormatLibrary(text: format(items, maximum: maximum), file: "f").formats[0].costBound
    }

    @Test("bounds the cost of a frame by its length, also where loops stand in loops")
    func costs() throws {
        let flat = " { repeat: \"end\", maximum: 9999, layout: [ { skip: 1 } ] }"
        let nested =
            " { repeat: \"end\", maximum: 9999, layout: [ { name: \"n\", type: \"u8\" },\n"
            + "  { region: \"n\", layout: [ { repeat: \"end\", maximum: 9999,\n"
            + "   layout: [ { skip: 1 } ] } ] } ] }"
        let single = try StaticCheckTests.cost(" { skip: 1 }", maximum: 8)
        #expect(single < 8)
        let short = try StaticCheckTests.cost(flat, maximum: 100)
        let long = try StaticCheckTests.cost(flat, maximum: 1000)
        #expect((9 * short...11 * short).contains(long))
        let twice = try StaticCheckTests.cost(nested, maximum: 1000)
        #expect(twice > long)
        #expect(twice < 5 * long)
        let limited = try StaticCheckTests.cost(
            flat.replacing("9999", with: "10"), maximum: 1000)
        #expect(limited < short)
    }

    @Test("every format of protocols/ has a bound that fits a frame's worth")
    func bounds() throws {
        for format in try Fixtures.library.get().formats {
            #expect(format.costBound > 0)
            #expect(format.costBound <= 4_000_000, "\(format.name): \(format.costBound)")
        }
    }
}
