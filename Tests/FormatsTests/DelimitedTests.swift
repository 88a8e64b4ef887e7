// Frames between delimiters: escapes, one delimiter for two frames, noise, faults, answers with escapes,
// bodies of several parts.

import Formats
import Model
import Testing

struct DelimitedTests {
    private func library(_ framing: String, _ layout: String, _ more: String = "") throws -> Format
    {
        let text = "{ format: \"x\", framing: { \(framing) }, layout: [ \(layout) ] \(more) }"
        return try FormatLibrary(text: text, file: "x").formats[0]
    }

    /// SLIP (RFC 1055) around anything that ends in the xor of the rest.
    private func slip() throws -> Format {
        try library(
            """
            delimiter: "c0", escape: { byte: "db", codes: { "dc": "c0", "dd": "db" } },
            length: "delimiter", minimum: 2, maximum: 40,
            checksum: { kind: "xor8", from: 0, to: -1, at: -1 }, body: { from: 0, to: -1 }
            """,
            "{ name: \"data\", type: \"hex\", bytes: \"rest\" }",
            """
            , exchange: { answer: { delimited: true, parts: [
                { field: "data" }, { checksum: "xor8" } ] } }
            """)
    }

    private func slipped(_ content: [UInt8]) -> [UInt8] {
        let summed = content + [content.reduce(0, ^)]
        return [0xC0] + inside(summed) + [0xC0]
    }

    private func inside(_ bytes: [UInt8]) -> [UInt8] {
        bytes.flatMap { $0 == 0xC0 ? [0xDB, 0xDC] : $0 == 0xDB ? [0xDB, 0xDD] : [$0] }
    }

    /// Frames found in bytes that come `step` at a time, and how many were refused.
    private func found(
        _ decoder: Decoder, _ bytes: [UInt8], step: Int
    ) -> (frames: [[UInt8]], refused: Int) {
        var frames: [[UInt8]] = []
        var refused = 0
        var buffer: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: step) {
            buffer += bytes[start..<min(start + step, bytes.count)]
            search: while !buffer.isEmpty {
                switch decoder.search(buffer.span, direction: .up) {
                case .frame(let skip, let count):
                    frames.append(Array(buffer[skip..<skip + count]))
                    buffer.removeFirst(skip + count)
                case .rejected(let skip, let advance, _):
                    refused += 1
                    buffer.removeFirst(skip + advance)
                case .needsMore(let skip):
                    buffer.removeFirst(skip)
                    break search
                }
            }
        }
        return (frames, refused)
    }

    @Test("an answer with escapes is a frame that decodes to what was answered")
    func answers() throws {
        let decoder = Decoder(try slip())
        var random = SplitMix64(seed: 0x51)
        var frame = DecodedFrame()
        for _ in 0..<300 {
            let special: [UInt8] = [0xC0, 0xDB, 0xDC, 0xDD, 1]
            let content = (0..<Int.random(in: 1...30, using: &random)).map { _ in
                special.randomElement(using: &random) ?? 0
            }
            let bytes = slipped(content)
            #expect(rejection(decoder, bytes, .up, into: &frame) == nil)
            #expect(frame.answer == bytes)
        }
    }

    @Test(
        "no good frame is lost among bad ones, noise and shared delimiters, in pieces of any size")
    func resynchronisation() throws {
        let decoder = Decoder(try slip())
        for seed in UInt64(1)...60 {
            var random = SplitMix64(seed: seed)
            var bytes: [UInt8] = []
            var good: [[UInt8]] = []
            for _ in 0..<12 {
                let content = (0..<Int.random(in: 1...12, using: &random)).map { _ in
                    UInt8.random(in: 0xB8...0xDF, using: &random)
                }
                let whole = slipped(content)
                switch Int.random(in: 0..<5, using: &random) {
                case 0:
                    // A wrong bit in the check value.
                    let summed = content + [content.reduce(1, ^)]
                    bytes += [0xC0] + inside(summed) + [0xC0]
                case 1: bytes += [0xDB, 0x01, 0x02, 0x04]
                case 2
                where bytes.last == 0xC0
                    && good.last.map { bytes.suffix($0.count) == $0[...] } == true:
                    bytes += whole.dropFirst()
                    good.append(whole)
                default:
                    bytes += whole
                    good.append(whole)
                }
            }
            for step in [1, 2, 5, bytes.count] {
                let result = found(decoder, bytes, step: step).frames
                    .map { $0.first == 0xC0 ? $0 : [0xC0] + $0 }
                #expect(result == good, "seed \(seed), step \(step)")
            }
        }
    }

    @Test("a stream without delimiters is not kept for ever, and an endless frame is refused")
    func endless() throws {
        let decoder = Decoder(try slip())
        #expect(decoder.format.maximumFrame == 82)
        let noise = [UInt8](repeating: 1, count: 81)
        #expect(decoder.search(noise.span, direction: .up) == .needsMore(skip: 0))
        let more = [UInt8](repeating: 1, count: 82)
        #expect(decoder.search(more.span, direction: .up) == .needsMore(skip: 82))
        let open: [UInt8] = [0xC0] + more
        #expect(
            decoder.search(open.span, direction: .up)
                == .rejected(skip: 0, advance: 82, .oversized))
        let marks = [UInt8](repeating: 0xC0, count: 500)
        #expect(decoder.search(marks.span, direction: .up) == .needsMore(skip: 499))
    }

    @Test(
        "says what is wrong with a delimited frame, decoding and explaining alike",
        arguments: [
            ("c0 01 01 c0", nil), ("01 01 c0", nil), ("c0 db dc c0 c0", .badLength),
            ("c0 db dc db dc c0", nil), ("c0 db 01 c0", .badEscape), ("c0 01 db c0", .badEscape),
            ("c0 01 02 c0", .badChecksum), ("c0 01 01", .truncated), ("c0 01 db", .truncated),
            ("c0 db 07 01", .badEscape), ("01 02 c0", .badHeader), ("01 01", .badHeader),
            ("c0 c0", .badLength), ("c0", .truncated), ("c0 01 01 c0 00", .badLength),
            ("c0 01 01 c0 02 02 c0", .badLength),
        ] as [(String, Rejection?)])
    func faults(hex: String, expected: Rejection?) throws {
        let decoder = Decoder(try slip())
        let bytes = HexText.bytes(hex) ?? []
        var frame = DecodedFrame()
        #expect(rejection(decoder, bytes, .up, into: &frame) == expected)
        let explained = decoder.explain(bytes, direction: .up)
        #expect(explained.rejection == expected)
        #expect((explained.rejectedAt ?? 0) <= bytes.count)
    }

    @Test("fields behind escapes are shown where they stand on the wire")
    func offsets() throws {
        let format = try library(
            """
            delimiter: "7e", escape: { byte: "7d", xor: 0x20 }, length: "delimiter", minimum: 3,
            maximum: 20
            """,
            """
            { name: "a", type: "u16be" }, { name: "b", type: "u8" },
            { name: "c", type: "hex", bytes: "rest" }
            """)
        let bytes = HexText.bytes("7e 01 7d5d 7d5e 0203 7e") ?? []
        let root = Decoder(format).explain(bytes, direction: .up).root
        func range(_ name: String) -> Range<Int>? {
            root.children.first { $0.name == name }?.bytes
        }
        #expect(root.json.text() == "{\"a\":381,\"b\":126,\"c\":\"0203\"}")
        #expect(range("a") == 1..<4)
        #expect(range("b") == 4..<6)
        #expect(range("c") == 6..<8)
        #expect(range("start") == 0..<1)
        #expect(range("end") == 8..<9)
    }

    @Test("random bytes never trap, and decoding and explaining agree")
    func hostile() throws {
        let decoders = [Decoder(try slip()), Decoder(try Fixtures.format("jt808"))]
        var random = SplitMix64(seed: 0x7D)
        let likely: [UInt8] = [0x7E, 0x7D, 0xC0, 0xDB, 0xDC, 0xDD, 1, 2, 0, 0x40, 0xFF]
        var frame = DecodedFrame()
        for _ in 0..<4000 {
            let bytes = (0..<Int.random(in: 1...60, using: &random)).map { _ in
                Bool.random(using: &random)
                    ? likely.randomElement(using: &random) ?? 0
                    : UInt8.random(in: 0...255, using: &random)
            }
            for decoder in decoders {
                let refusal = rejection(decoder, bytes, .up, into: &frame)
                #expect(decoder.explain(bytes, direction: .up).rejection == refusal)
                _ = found(decoder, bytes, step: 7)
            }
        }
    }

    // MARK: Parts

    /// JT/T 808 of 2013 around a body, in one frame or as part k of n.
    private func terminal(_ body: [UInt8], serial: UInt8, part: (Int, Int)? = nil) -> [UInt8] {
        let attributes = UInt16(body.count) | (part == nil ? 0 : 0x2000)
        var content: [UInt8] = [7, 4, UInt8(attributes >> 8), UInt8(attributes & 255)]
        content += [0x01, 0x23, 0x45, 0x67, 0x89, 0x01, 0, serial]
        if let part { content += [0, UInt8(part.1), 0, UInt8(part.0)] }
        content += body
        content.append(content.reduce(0, ^))
        let wire: [UInt8] = content.flatMap {
            $0 == 0x7E ? [0x7D, 2] : $0 == 0x7D ? [0x7D, 1] : [$0]
        }
        return [0x7E] + wire + [0x7E]
    }

    @Test("parts of one body have one key, and the body put together reads as a whole one")
    func parts() throws {
        let item: [UInt8] =
            [0, 28, 0, 0, 4, 0, 0, 0, 8, 2] + [6, 0x7D, 0x7E, 0xAD, 2, 0x63, 0x3D, 0xF7]
            + [1, 0x38, 0, 3, 0, 0x63, 0x20, 7, 7, 0x19, 0x23, 0x59]
        let body = [0, 3, 1] + item + item + item
        let decoder = Decoder(try Fixtures.format("jt808"))
        var frame = DecodedFrame()
        try decoder.decode(terminal(body, serial: 9).span, direction: .up, into: &frame)
        let expected = frame.readings.map(\.value)
        #expect(frame.part == nil)
        #expect(expected.count == 24)
        var keys = Set<UInt64>()
        var whole: [UInt8] = []
        var first: [UInt8] = []
        let cuts = [0, 1, 40, body.count]
        for k in 1...3 {
            let piece = Array(body[cuts[k - 1]..<cuts[k]])
            let bytes = terminal(piece, serial: UInt8(20 + k), part: (k, 3))
            if k == 1 { first = bytes }
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            let part = try #require(frame.part)
            #expect(part.part == k && part.parts == 3 && part.count == piece.count)
            #expect(frame.readings.isEmpty && !frame.isControl && !frame.answer.isEmpty)
            keys.insert(part.key)
            #expect(decoder.body(of: part, in: bytes.span) == piece)
            whole += decoder.body(of: part, in: bytes.span)
        }
        #expect(keys.count == 1)
        try decoder.decode(first.span, whole: whole.span, direction: .up, into: &frame)
        #expect(frame.readings.map(\.value) == expected)
        #expect(frame.part == nil)
        let cut = Array(whole.dropLast(1))
        var refusal: Rejection?
        do throws(Rejection) {
            try decoder.decode(first.span, whole: cut.span, direction: .up, into: &frame)
        } catch { refusal = error }
        #expect(refusal == .badLength)
        let other = terminal([1], serial: 30, part: (1, 3))
        try decoder.decode(other.span, direction: .up, into: &frame)
        #expect(frame.part.map { keys.contains($0.key) } == false)
        for (numbers, parts) in [((1, 1), 1), ((0, 0), nil)] as [((Int, Int), Int?)] {
            let bytes = terminal([1], serial: 30, part: numbers)
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            #expect(frame.part?.parts == parts)
        }
        for impossible in [(0, 3), (4, 3), (1, 0)] {
            let bytes = terminal([1], serial: 30, part: impossible)
            #expect(throws: Rejection.malformed) {
                try decoder.decode(bytes.span, direction: .up, into: &frame)
            }
        }
    }
}
