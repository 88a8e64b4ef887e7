// Numbers, times and pairs that stand as text; check values as hex digits; HJ 212 and SL 651 beyond
// what their vectors say.

import Model
import Testing

@testable import Formats

struct PairsTests {
    private func decimal(_ text: String) -> Value? {
        Cursor.over(Array(text.utf8).span) { bytes in
            DecimalText(bytes, 0..<bytes.count)?.value
        }
    }

    @Test(
        "decimal text is exact",
        arguments: [
            ("0", "0"), ("12.50", "12.50"), ("-0.033", "-0.033"), ("+7", "7"), (" 8.1 ", "8.1"),
            (".5", "0.5"), ("5.", "5"), ("1.2E-3", "0.0012"), ("3e2", "300"),
            ("000000000000000000000012", "12"), ("123456789012345678", "123456789012345678"),
            ("0.1234567890123456789999", "0.123456789012345678"),
            ("1234567890123456789012", "1234567890123456780000"),
        ])
    func exact(text: String, expected: String) {
        #expect(decimal(text)?.description == expected)
    }

    @Test(
        "what is no number is none",
        arguments: [
            "", " ", "-", ".", "1.2.3", "1e", "1e+", "1e9999", "e5", "0x10", "N", "1,5", "--1",
        ])
    func noNumber(text: String) { #expect(decimal(text) == nil) }

    @Test("every decimal survives its text", arguments: [21, 22] as [UInt64])
    func roundTrip(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<2_000 {
            let value = Value.decimal(
                Int64.random(in: -999_999_999_999_999...999_999_999_999_999, using: &random),
                exponent: Int8.random(in: -18...0, using: &random))
            #expect(decimal(value.description) == value, "seed \(seed)")
        }
    }

    @Test("random text never traps, and a number has a finite value", arguments: [23] as [UInt64])
    func randomText(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let characters = Array("0123456789.+-eE x".utf8)
        for _ in 0..<5_000 {
            let text = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                characters.randomElement(using: &random) ?? 0
            }
            let value = decimal(String(decoding: text, as: UTF8.self))
            if let value { #expect(value.asDouble?.isFinite == true, "seed \(seed)") }
        }
    }

    private func base64(_ text: String) -> [UInt8]? {
        let plane = BytePlane(capacity: 64)
        return Cursor.over(Array(text.utf8).span) { bytes in
            plane.decodeBase64(bytes, 0..<bytes.count, below: 0).map {
                plane.cursor(count: $0).bytes(0..<$0)
            }
        }
    }

    @Test(
        "Base64 of RFC 4648 section 10, with and without padding",
        arguments: [
            ("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"), ("Zm9vYmFy", "foobar"), ("Zg", "f"), ("Zm8", "fo"),
        ])
    func base64(text: String, expected: String) {
        #expect(base64(text) == Array(expected.utf8))
    }

    @Test("both alphabets; what is no Base64, or does not fit, is none")
    func base64Edges() {
        #expect(base64("-_-_") == base64("+/+/"))
        for text in ["Z", "Zm9vY", "Zm 9", "====", "Zm9=v", String(repeating: "A", count: 400)] {
            #expect(base64(text) == nil, "\(text)")
        }
    }

    // MARK: The language

    private func tree(_ layout: String, _ text: String) throws -> JSON {
        let library = try FormatLibrary(
            text:
                "{ format: \"x\", framing: { length: \"datagram\", maximum: 200 }, layout: [\(layout)] }",
            file: "x")
        let explanation = Decoder(library.formats[0]).explain(Array(text.utf8), direction: .up)
        #expect(explanation.rejection == nil)
        return explanation.root.json
    }

    private func expects(_ json: String, _ layout: String, _ text: String) throws {
        let expected = try JSONNode.parse(Array(json.utf8), file: "e")
        #expect(Expectation.differences(expected, try tree(layout, text)) == [])
    }

    @Test("pairs reach their cases in any order; names hold behind them; others are members")
    func pairs() throws {
        let layout = """
            { pairs: "rest", separator: ",", equals: ":", cases: [
              { key: "t", layout: [ { name: "t", type: "number", bytes: "rest" } ] },
              { key: "n", layout: [ { name: "n", type: "ascii", bytes: "rest" } ] } ] },
            { name: "twice", value: "t * 2" }
            """
        try expects(#"{ t: 21, n: "a:b", twice: 42, u: "7" }"#, layout, "u:7,n:a:b,,t:21,:x,y")
        try expects("{ twice: 0 }", layout, ",,:,,")
    }

    @Test("numbers and times as text, lists of plain values, a look ahead")
    func texts() throws {
        let layout = """
            { region: "left", peek: true, layout: [
              { repeat: "end", list: "all", plain: true, layout: [
                { name: "f", type: "ascii", until: ";" } ] } ] },
            { name: "count", type: "number", until: ";" },
            { name: "at", type: "time", order: "ascii", pattern: "CC YY MM DD hh mm ss", zone: "+08:00" },
            { skip: 1 },
            { name: "hex", type: "number", radix: 16, until: ";" },
            { name: "bad", type: "number", until: ";" }
            """
        try expects(
            #"{ all: ["3", "20261121170000", "0x1F", "?"], count: 3, hex: 31, bad: null }"#,
            layout, "3;20261121170000;0x1F;?;")
        try expects(
            #"{ at: "2026-11-21T17:00:00" }"#, layout, "3;20261121170000;0x1F;?;")
    }

    @Test("a variable changes in its rounds; entries stand in one list wherever they are")
    func variables() throws {
        let layout = """
            { let: "sum", value: 0 },
            { repeat: "end", layout: [
              { name: "d", type: "number", bytes: 1, hidden: true },
              { set: "sum", value: "sum + d" },
              { when: "d != 0", entry: "steps", layout: [ { name: "now", value: "sum" } ] } ] },
            { name: "sum", value: "sum" }
            """
        try expects("{ steps: [{ now: 1 }, { now: 3 }, { now: 6 }], sum: 6 }", layout, "10203")
    }

    @Test("a wrong check value marks the readings where the format lets it pass")
    func flagged() throws {
        let text = """
            { format: "x", framing: { length: 3, maximum: 3,
                checksum: { kind: "sum8", from: 0, to: -1, at: -1, mismatch: "flag" } },
              layout: [ { name: "v", type: "u16be", reading: true, quantity: "count" }, { skip: 1 } ] }
            """
        let decoder = Decoder(try FormatLibrary(text: text, file: "x").formats[0])
        var frame = DecodedFrame()
        for (bytes, quality) in [([1, 2, 3], Quality()), ([1, 2, 4], .badChecksum)]
            as [([UInt8], Quality)]
        {
            for _ in 0..<4 {
                #expect(rejection(decoder, bytes, .up, into: &frame) == nil)
                #expect(frame.readings.map(\.quality) == [quality])
            }
        }
    }

    @Test(
        "complains of texts that cannot work, with what to write instead",
        arguments: [
            (
                "{ pairs: \"rest\" }", "pairs without cases", "write cases: [ { key: … } ]"
            ),
            (
                "{ pairs: \"rest\", separator: \"ab\", cases: [ { key: \"a\", layout: [] } ] }",
                "no single character", "write separator: \";\""
            ),
            ("{ set: \"x\", value: 1 }", "unknown field \"x\"", ""),
        ])
    func complaints(layout: String, what: String, suggestion: String) {
        do throws(Complaints) {
            _ = try FormatLibrary(
                text: "{ format: \"x\", framing: { length: 1, maximum: 1 }, layout: [\(layout)] }",
                file: "x")
            Issue.record("accepted")
        } catch {
            #expect(error.all.first?.what == what)
            #expect(error.all.first?.suggestion == suggestion)
        }
    }
}

struct StationTests {
    @Test("keys, separators and lengths of texts that are read are named as what they are")
    func keys() throws {
        let decoder = Decoder(try Fixtures.format("hj212"))
        let section = "DataTime=20261113105006;;w21003-Rtd=65.087,w21003-Flag=N;"
        let text =
            "QN=20261113105006344;ST=32;CN=2011;PW=123456;MN=F6CB3D1C;Flag=4;CP=&&\(section)&&"
        let bytes = hj212(text)
        let explanation = decoder.explain(bytes, direction: .up)
        #expect(explanation.rejection == nil)
        var (keys, names): ([String], [String]) = ([], [])
        func look(_ node: FieldNode) {
            names.append(node.name)
            if node.name == "key" {
                keys.append("\(node.value)")
                #expect(!node.isContent)
            }
            node.children.forEach(look)
        }
        look(explanation.root)
        #expect(!names.contains("not understood"), "\(names)")
        #expect(names.contains("segment_length"))
        for key in ["QN", "ST", "CN", "PW", "MN", "Flag", "CP", "DataTime", "Rtd", "w21003-Flag"] {
            #expect(keys.contains { $0.contains("\"\(key)\"") }, "\(key): \(keys)")
        }
    }

    private func hj212(_ segment: String) -> [UInt8] {
        let bytes = Array(segment.utf8)
        let rule = ChecksumRule.kinds.first { $0.name == "crc16-hj212" }?.kind ?? .sum8
        let sum = ChecksumRule(
            kind: rule, from: 0, to: 0, at: 0, isLittleEndian: false, isText: true)
        let crc = Cursor.over(bytes.span) { sum.wire($0, 0..<bytes.count) } ?? []
        let digits = String(bytes.count)
        return Array(("##" + String(repeating: "0", count: 4 - digits.count) + digits).utf8) + bytes
            + crc + [13, 10]
    }

    private func decode(_ name: String, _ bytes: [UInt8]) throws -> (Decoder, DecodedFrame) {
        let decoder = Decoder(try Fixtures.format(name))
        var frame = DecodedFrame()
        #expect(rejection(decoder, bytes, .up, into: &frame) == nil)
        return (decoder, frame)
    }

    @Test("HJ 212's check value of the standard's example, in either case")
    func checkValue() throws {
        let segment =
            "QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
            + "CP=&&RtdInterval=30&&"
        let bytes = hj212(segment)
        #expect(String(decoding: bytes.suffix(6).prefix(4), as: UTF8.self) == "1C80")
        var lower = bytes
        lower[lower.count - 5] = 0x63
        lower[lower.count - 5] = bytes[bytes.count - 5] | 0x20
        _ = try decode("hj212", lower)
    }

    @Test("HJ 212: times, marks and units of readings; stack gas has its own units")
    func factors() throws {
        func segment(_ station: Int) -> String {
            "QN=20261121170000001;ST=\(station);CN=2011;PW=1;MN=M1;Flag=5;CP=&&"
                + "w1-SampleTime=20261121160000,w1-Rtd=1.5,w1-Flag=N;a21026-Rtd=2,a21026-Flag=D;"
                + "DataTime=20261121170000&&"
        }
        let (air, frame) = try decode("hj212", hj212(segment(22)))
        let words = frame.readings.map { air.describe($0) }
        #expect(words.map(\.name) == ["w1_rtd", "a21026_rtd"])
        #expect(words.map(\.unit) == ["", "µg/m³"])
        #expect(
            frame.readings.map { $0.observedAt?.iso8601 }
                == ["2026-11-21T08:00:00Z", "2026-11-21T09:00:00Z"])
        #expect(frame.readings.map(\.quality) == [[], .deviceFlagged])
        let (stack, again) = try decode("hj212", hj212(segment(31)))
        #expect(again.readings.map { stack.describe($0).unit } == ["", "mg/m³"])
    }

    @Test("the answer of HJ 212 is the acknowledgement of the vectors, byte for byte")
    func acknowledgement() throws {
        let rows = try Fixtures.rows().filter { $0.format.name == "hj212" }
        let report = rows.first { $0.id == "gen-split-1" }
        let acknowledgement = rows.first { $0.id == "gen-ack-9014" }
        let (_, frame) = try decode("hj212", report?.bytes ?? [])
        #expect(frame.answer == acknowledgement?.bytes)
    }

    @Test("HJ 212: a changed bit is refused, but for the case of a hex digit")
    func everyBit() throws {
        for row in try Fixtures.rows() where row.format.name == "hj212" && !row.isError {
            if row.isStream { continue }
            let decoder = Decoder(row.format)
            var frame = DecodedFrame()
            let digits = row.bytes.count - 6..<row.bytes.count - 2
            for bit in 0..<row.bytes.count * 8 {
                var changed = row.bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                let isCase =
                    digits.contains(bit / 8) && bit % 8 == 5 && row.bytes[bit / 8] >= 0x41
                let refusal = rejection(decoder, changed, row.direction, into: &frame)
                #expect((refusal == nil) == isCase, "\(row.id) bit \(bit)")
            }
        }
    }

    @Test("more factors than a frame may have readings refuse it; the longest frame is bounded")
    func manyFactors() throws {
        let decoder = Decoder(try Fixtures.format("hj212"))
        var frame = DecodedFrame()
        let many = (0..<513).map { "a\($0)-R=1" }.joined(separator: ",")
        let bytes = hj212("MN=1;CP=&&\(many.prefix(4000))&&")
        #expect(rejection(decoder, bytes, .up, into: &frame) == nil)
        #expect(frame.readings.count <= 512)
        let short = (0..<700).map { _ in "a-b=1" }.joined(separator: ",").prefix(4080)
        let over = hj212("MN=1;CP=&&\(short)&&")
        #expect(rejection(decoder, over, .up, into: &frame) == .oversized)
    }

    @Test("SL 651: values of an array stand a step apart from the observation time on")
    func steps() throws {
        for (id, name, step) in [
            ("gen-34-26", "rain_drp", 300_000), ("gen-31-32", "q", 86_400_000),
        ] {
            let row = try Fixtures.rows().first { $0.id == id }
            let (decoder, frame) = try decode("sl651", row?.bytes ?? [])
            let times = frame.readings.filter { decoder.describe($0).name == name }
                .compactMap { $0.observedAt?.milliseconds }
            #expect(times.count == 12)
            #expect(zip(times.dropFirst(), times).allSatisfy { $0 - $1 == Int64(step) }, "\(id)")
        }
    }

    @Test("SL 651: the answer is a frame of the centre with the report's serial number")
    func reply() throws {
        let row = try Fixtures.rows().first { $0.id == "gen-33-11" }
        let (_, frame) = try decode("sl651", row?.bytes ?? [])
        let answer = Decoder(try Fixtures.format("sl651")).explain(frame.answer, direction: .down)
        #expect(answer.rejection == nil)
        let expected = try JSONNode.parse(
            Array(
                """
                { direction: "down", station: "0093540311", center: 109, password: "8872",
                  function: "33", end: "EOT", serial: 44253, sent_at: "2026-11-29T18:50:18" }
                """.utf8), file: "e")
        #expect(Expectation.differences(expected, answer.root.json) == [])
    }

    @Test("hostile bodies behind a good check value never trap", arguments: [31, 32] as [UInt64])
    func hostileBodies(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let decoder = Decoder(try Fixtures.format("sl651"))
        let pairs = Decoder(try Fixtures.format("hj212"))
        var frame = DecodedFrame()
        let marks: [UInt8] = [0xF0, 0xF1, 0xF2, 0xF4, 0xF5, 0xFF, 0x04, 0x18, 0x20, 0x39, 0x45]
        let text = Array("abR=-;,&.19Flag".utf8)
        for _ in 0..<1_500 {
            let body = (0..<Int.random(in: 0...120, using: &random)).map { _ in
                Bool.random(using: &random)
                    ? marks.randomElement(using: &random) ?? 0
                    : .random(in: 0...255, using: &random)
            }
            check(decoder, station(body), &frame, seed)
            let segment = (0..<Int.random(in: 0...120, using: &random)).map { _ in
                text.randomElement(using: &random) ?? 0
            }
            let words = String(decoding: segment, as: UTF8.self)
            check(pairs, hj212("MN=1;CP=&&" + words + "&&"), &frame, seed)
            check(pairs, hj212(words), &frame, seed)
        }
    }

    private func check(
        _ decoder: Decoder, _ bytes: [UInt8], _ frame: inout DecodedFrame, _ seed: UInt64
    ) {
        let refusal = rejection(decoder, bytes, .up, into: &frame)
        let (explanation, explained) = decoder.explained(bytes, direction: .up)
        #expect(explanation.rejection == refusal, "seed \(seed)")
        if refusal == nil {
            #expect(frame.readings.map(\.value) == explained.readings.map(\.value), "seed \(seed)")
        }
    }

    /// A report of SL 651 with these elements.
    private func station(_ elements: [UInt8]) -> [UInt8] {
        let head: [UInt8] = [
            0, 1, 0x26, 0x11, 0x21, 0x10, 0, 0, 0xF1, 0xF1, 0, 0x11, 0x22, 0x33, 0x44,
        ]
        let body = head + [0x48, 0xF0, 0xF0, 0x26, 0x11, 0x21, 0x10, 0] + elements
        var frame: [UInt8] = [0x7E, 0x7E, 1, 0, 0x11, 0x22, 0x33, 0x44, 0x12, 0x34, 0x32]
        frame += [UInt8(body.count >> 8), UInt8(body.count & 255), 2] + body + [3]
        let kind = ChecksumRule.kinds.first { $0.name == "crc16-modbus" }?.kind ?? .sum8
        let sum = ChecksumRule(kind: kind, from: 0, to: 0, at: 0, isLittleEndian: false)
        return frame + (Cursor.over(frame.span) { sum.wire($0, 0..<frame.count) } ?? [])
    }
}
