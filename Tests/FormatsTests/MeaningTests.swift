// What frames mean: exact decimals, composed names, times, identity, answers, duplicate keys, and the
// offsets of the field tree.

import Formats
import Model
import Testing

struct MeaningTests {
    private func decode(
        _ format: Format, _ hex: String, seed: UInt64 = 1
    ) throws -> (frame: DecodedFrame, decoder: Decoder) {
        let decoder = Decoder(format, seed: seed)
        var frame = DecodedFrame()
        let bytes = try #require(HexText.bytes(hex))
        try decoder.decode(bytes.span, direction: .up, into: &frame)
        return (frame, decoder)
    }

    /// A format of one layout over a whole datagram.
    private func small(_ layout: String, _ more: String = "") throws -> Format {
        try FormatLibrary(
            text: """
                { format: "small", framing: { length: "datagram", maximum: 200 },
                  layout: [ \(layout) ], \(more) }
                """, file: "small"
        ).formats[0]
    }

    @Test("composes the name of a reading from code tables and captured fields")
    func composedNames() throws {
        let format = try Fixtures.format("dlt645")
        let (frame, decoder) = try decode(
            format,
            "fefefefe68517115901473689118343234333433333363ccabb45a38a88b3433333353b63b339816")
        let words = frame.readings.map {
            format.describe(output: $0.output, discriminator: $0.discriminator)
        }
        #expect(
            words.map(\.name) == [
                "positive_active_energy_total_prev1", "positive_active_energy_t1_prev1",
                "positive_active_energy_t2_prev1", "positive_active_energy_t3_prev1",
                "positive_active_energy_t4_prev1",
            ])
        #expect(Set(words.map(\.unit)) == ["kWh"])
        #expect(Set(words.map(\.quantity)) == ["active_energy"])
        #expect(Set(frame.readings.map(\.discriminator)).count == 5)
        #expect(frame.readings[1].value == .decimal(81_789_930, exponent: -2))
        #expect(decoder.identityText() == "731490157151")
        #expect(frame.device == DeviceKey("731490157151"))
    }

    @Test(
        "scales exactly in decimal",
        arguments: [
            ("type: \"u16be\", scale: 0.1", "03e7", Value.decimal(999, exponent: -1)),
            ("type: \"s16be\", scale: 0.5", "ffff", .decimal(-5, exponent: -1)),
            ("type: \"u8\", offset: -40", "00", .decimal(-40)),
            ("type: \"u8\", offset: 0.5", "02", .decimal(25, exponent: -1)),
            ("type: \"u8\", scale: 0.25, offset: -10", "03", .decimal(-925, exponent: -2)),
            ("type: \"u16le\", scale: 1000", "0100", .decimal(1000)),
            ("type: \"u24be\"", "ffffff", .decimal(0xFFFFFF)),
            ("type: \"s24le\"", "ffffff", .decimal(-1)),
            ("type: \"s48be\"", "800000000000", .decimal(-140_737_488_355_328)),
            ("type: \"u64be\"", "ffffffffffffffff", .double(18_446_744_073_709_551_616)),
            ("type: \"u16be\", bits: \"4..7\"", "00a5", .decimal(10)),
            ("type: \"u8\", bits: \"0..3\", sign: \"two\"", "0f", .decimal(-1)),
            ("type: \"u16le\", bits: \"0..15\", sign: \"magnitude\"", "4e80", .decimal(-78)),
            ("type: \"u8\", missing: 255", "ff", .none),
            ("type: \"f32be\"", "41ac0000", .double(21.5)),
            ("type: \"f16be\"", "c500", .double(-5)),
            ("type: \"f32be\"", "7fc00000", .none),
            ("type: \"u32\", order: \"CDAB\"", "11700001", .decimal(70000)),
            ("type: \"bcd\", bytes: 3, decimals: 1", "012345", .decimal(12345, exponent: -1)),
            ("type: \"bcd\", bytes: 2, order: \"le\", sign: \"top-bit\"", "0180", .decimal(-1)),
            ("type: \"bcd\", bytes: 2, sign: \"top-nibble\"", "f012", .decimal(-12)),
            ("type: \"bcd\", bytes: 3, sign: \"leading-ff\"", "ff0012", .decimal(-12)),
            ("type: \"bcd\", bytes: 8", "9999999999999999", .decimal(9_999_999_999_999_999)),
            ("type: \"bcd\", order: \"CDAB\"", "56781234", .decimal(12_345_678)),
            ("type: \"u8\", display: \"boolean\"", "02", .boolean(true)),
            ("type: \"u8\", enum: { 1: \"open\" }", "01", .code(1)),
        ] as [(String, String, Value)])
    func scaling(field: String, hex: String, value: Value) throws {
        let format = try small("{ name: \"x\", reading: true, \(field) }")
        let (frame, _) = try decode(format, hex)
        #expect(frame.readings.map(\.value) == [value])
    }

    @Test(
        "says what is wrong with digits",
        arguments: [
            ("bytes: 2", "12a4", Quality.badDigits), ("bytes: 2", "ffff", .badDigits),
            ("bytes: 2, ones: \"missing\"", "ffff", .missing),
            ("bytes: 2, sign: \"top-bit\"", "ffff", .badDigits), ("bytes: 2", "1234", []),
        ] as [(String, String, Quality)])
    func badDigits(field: String, hex: String, quality: Quality) throws {
        let format = try small("{ name: \"x\", reading: true, type: \"bcd\", \(field) }")
        let (frame, _) = try decode(format, hex)
        #expect(frame.readings.map(\.quality) == [quality])
        #expect((frame.readings[0].value.kind == .none) == !quality.isEmpty)
    }

    @Test("gives each log entry its own time, and the frame's values the frame's")
    func entryTimes() throws {
        let format = try Fixtures.format("dragino-s31-nb")
        let (frame, _) = try decode(
            format,
            "f922499556697648f46001039378767700640dc31f0300d701000009d5fe7000786b092e17"
                + "fff8010f6b092a93")
        let words = frame.readings.map {
            format.describe(output: $0.output, discriminator: $0.discriminator).name
        }
        #expect(
            words == [
                "battery_voltage", "signal", "temperature", "humidity", "temperature", "humidity",
            ])
        let times = frame.readings.map { $0.observedAt?.iso8601 ?? "" }
        #expect(Set(times[..<4]) == ["2026-11-27T07:15:35Z"])
        #expect(Set(times[4...]) == ["2026-11-27T07:00:35Z"])
        #expect(frame.readings[2].output == frame.readings[4].output)
    }

    @Test(
        "reads calendar times in the device's zone; what is no date is no time",
        arguments: [
            ("00 30 10 21 11 26", "2026-11-21T10:30:00", 1_795_228_200_000 as Int64?),
            ("00 30 10 31 11 26", nil, nil), ("ff ff ff ff ff ff", nil, nil),
            ("00 60 10 21 11 26", nil, nil), ("00 00 00 29 02 28", "2028-02-29T00:00:00", nil),
        ] as [(String, String?, Int64?)])
    func calendar(hex: String, text: String?, milliseconds: Int64?) throws {
        let format = try small(
            """
            { name: "v", type: "u8", reading: true },
            { name: "t", type: "time", pattern: "ss mm hh DD MM YY", observed: true }
            """, "zone: \"+08:00\"")
        let bytes = try #require(HexText.bytes("07" + hex))
        let tree = Decoder(format).explain(bytes, direction: .up)
        #expect(tree.root.children[1].value == text.map { .time($0) } ?? .null)
        let (frame, _) = try decode(format, "07" + hex)
        #expect((frame.readings[0].observedAt == nil) == (text == nil))
        if let milliseconds {
            #expect(frame.readings[0].observedAt?.milliseconds == milliseconds)
        }
    }

    @Test("answers only the frame that asks, and knows a retransmission")
    func exchange() throws {
        let format = try Fixtures.format("sluice-reference")
        #expect(format.answers)
        #expect(format.duplicateWindowMilliseconds == 120_000)
        let text = Repository.text("protocols/reference-sensor.json5")
        let tests = try JSONNode.parse(Array(text.utf8), file: "")["tests"]?.array ?? []
        let first = try decode(format, tests[0]["hex"]?.string ?? "").frame
        let again = try decode(format, tests[0]["hex"]?.string ?? "").frame
        let other = try decode(format, tests[1]["hex"]?.string ?? "").frame
        #expect(first.answer.count == 12)
        #expect(other.answer.isEmpty)
        #expect(first.duplicateKey != nil)
        #expect(first.duplicateKey == again.duplicateKey)
        #expect(first.duplicateKey != other.duplicateKey)
        let elsewhere = try decode(format, tests[0]["hex"]?.string ?? "", seed: 2).frame
        #expect(first.duplicateKey != elsewhere.duplicateKey)
        #expect(try Fixtures.format("dlt645").answers == false)
    }

    @Test("a request and an acknowledgement are control frames, a reading is none")
    func control() throws {
        let decoder = Decoder(try Fixtures.format("dlt645"))
        var frame = DecodedFrame()
        let request = HexText.bytes("68907856341200681104333333335516") ?? []
        #expect(rejection(decoder, request, .down, into: &frame) == nil)
        #expect(frame.isControl && frame.readings.isEmpty)
        let acknowledgement = HexText.bytes("fefefefe68078332468708689800f916") ?? []
        #expect(rejection(decoder, acknowledgement, .up, into: &frame) == nil)
        #expect(frame.isControl)
    }

    @Test("the tree's offsets are those of the wire, also behind transforms and text carriers")
    func offsets() throws {
        let meter = Decoder(try Fixtures.format("dlt645"))
        let bytes = HexText.bytes("fefe681290785634126891063334343538567b16") ?? []
        let tree = meter.explain(bytes, direction: .up)
        let value = tree.root.children.first { $0.name == "values" }?.children.first
        #expect(value?.bytes == 16..<18)
        #expect(tree.root.children.first { $0.name == "address" }?.bytes == 3..<9)
        let carrier = Decoder(try Fixtures.format("dragino-ascii-hex"))
        let row = try Fixtures.rows().first { $0.format.name == "dragino-ascii-hex" }
        let text = carrier.explain(try #require(row).bytes, direction: .up)
        let inner = text.root.children.first { $0.name == "inner" }
        #expect(inner?.children.first { $0.name == "device" }?.bytes == 0..<16)
        #expect(inner?.children.first { $0.name == "imsi" }?.bytes == 16..<32)
    }

    @Test("a register map yields readings only for the answer it was made for")
    func registerMap() throws {
        let format = try Fixtures.format("modbus-example-energy-meter")
        #expect(format.identityIsLocal)
        #expect(format.outputs.count == 16)
        #expect(format.outputs[0].range == 0...500)
        #expect(try decode(format, "110304cca07fffb4f0").frame.readings.isEmpty)
    }

    @Test("finds the formats that accept a frame")
    func accepting() throws {
        let library = try Fixtures.library.get()
        let bytes = HexText.bytes("fefe681290785634126891063334343538567b16") ?? []
        #expect(library.accepting(bytes, direction: .up).map(\.name) == ["dlt645"])
    }

    @Test("no field reads past its region, no loop stands still, output is bounded")
    func bounds() throws {
        let short = try small(
            "{ name: \"n\", type: \"u8\" },"
                + " { region: \"n\", layout: [ { name: \"x\", type: \"u32be\" } ] }")
        var frame = DecodedFrame()
        #expect(rejection(Decoder(short), [2, 1, 2, 3, 4], .up, into: &frame) == .badLength)
        let still = try small(
            "{ repeat: \"end\", layout: [ { name: \"x\", type: \"u8\", at: 0 },"
                + " { name: \"y\", type: \"u8\", when: \"x == 9\" } ] }")
        #expect(rejection(Decoder(still), [1], .up, into: &frame) == .malformed)
        let many = try FormatLibrary(
            text: """
                { format: "many", framing: { length: "datagram", maximum: 2000 }, layout: [
                  { repeat: "end", maximum: 5000, layout: [
                    { name: "x", type: "u8", reading: true } ] } ] }
                """, file: "many"
        ).formats[0]
        let zeros = [UInt8](repeating: 0, count: 513)
        #expect(rejection(Decoder(many), zeros, .up, into: &frame) == .oversized)
        #expect(rejection(Decoder(many), Array(zeros.dropLast()), .up, into: &frame) == nil)
        #expect(frame.readings.count == 512)
        let overflow = try small(
            "{ name: \"a\", type: \"u64be\" }, { name: \"b\", value: \"a * a\" }")
        let large: [UInt8] = [0x7F, 0, 0, 0, 0, 0, 0, 0]
        #expect(rejection(Decoder(overflow), large, .up, into: &frame) == .malformed)
    }
}
