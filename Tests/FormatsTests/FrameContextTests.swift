// Envelopes: what a conversation knows travels with the payload, and decoding needs nothing else.

import Model
import Testing

@testable import Formats

@Suite("Frames that came through a conversation")
struct FrameContextTests {
    private static let text = """
        {
          format: "context-test",
          framing: { length: "datagram", maximum: 16 },
          layout: [
            { name: "unit", type: "u8" },
            { let: "start", value: "asked1" },
            { name: "wide", value: "start < 0", display: "boolean" },
            { name: "t", type: "u8", reading: true, when: "start == 7" },
            { name: "u", type: "u8", reading: true, when: "start != 7" },
          ],
          identity: { text: "{unit}", local: true },
          exchange: { duplicate: { key: "frame", windowSeconds: 60 } },
        }
        """

    private func decoder() throws -> Decoder {
        Decoder(try FormatLibrary(text: FrameContextTests.text, file: "context-test").formats[0])
    }

    private func envelope(_ context: FrameContext, _ payload: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        context.encode(payload.span, into: &out)
        return out
    }

    @Test("the request's numbers choose what a response means")
    func numbers() throws {
        let decoder = try decoder()
        var frame = DecodedFrame()
        var context = FrameContext()
        for (start, name) in [(Int64(7), "t"), (8, "u"), (-1, "u")] {
            context.numbers[1] = start
            let bytes = envelope(context, [1, 5])
            try decoder.decode(envelope: bytes.span, direction: .up, into: &frame)
            #expect(frame.readings.map { decoder.describe($0).name } == [name])
        }
        try decoder.decode([1, 5].span, direction: .up, into: &frame)
        #expect(frame.readings.map { decoder.describe($0).name } == ["u"], "nothing is left over")
    }

    @Test("the conversation's device wins over the payload's, a line's name stands before it")
    func identity() throws {
        let decoder = try decoder()
        var frame = DecodedFrame()
        var context = FrameContext()
        context.scope = Array("dtu7".utf8)
        let scoped = envelope(context, [1, 5])
        try decoder.decode(envelope: scoped.span, direction: .up, into: &frame)
        #expect(decoder.identityText() == "dtu7:1")
        #expect(frame.isIdentityGlobal, "the line has a name of its own, whatever source it is at")
        context.device = Array("urn:imei:123".utf8)
        let named = envelope(context, [1, 5])
        try decoder.decode(envelope: named.span, direction: .up, into: &frame)
        #expect(decoder.identityText() == "urn:imei:123")
        #expect(frame.isIdentityGlobal)
        #expect(frame.device == DeviceKey(text: Array("urn:imei:123".utf8).span))
        context.device = Array("two words".utf8)
        let bad = envelope(context, [1, 5])
        #expect(throws: Rejection.noIdentity) {
            try decoder.decode(envelope: bad.span, direction: .up, into: &frame)
        }
    }

    @Test("a message's key tells retransmissions apart from equal payloads")
    func duplicates() throws {
        let decoder = try decoder()
        var frame = DecodedFrame()
        var keys: [UInt64?] = []
        for key in [[1, 2], [1, 2], [1, 3]] as [[UInt8]] {
            var context = FrameContext()
            context.key = key
            let bytes = envelope(context, [1, 5])
            try decoder.decode(envelope: bytes.span, direction: .up, into: &frame)
            keys.append(frame.duplicateKey)
        }
        #expect(keys[0] == keys[1])
        #expect(keys[0] != keys[2])
    }

    @Test("every cut and every changed byte of an envelope is refused or decoded, never trapped on")
    func hostile() throws {
        let decoder = try decoder()
        var frame = DecodedFrame()
        var context = FrameContext()
        context.device = Array("a".utf8)
        context.path = Array("/1".utf8)
        let whole = envelope(context, [1, 5])
        for count in 0..<whole.count {
            #expect(throws: (any Error).self) {
                try decoder.decode(
                    envelope: whole.span.extracting(0..<count), direction: .up, into: &frame)
            }
        }
        for at in 0..<whole.count {
            for value in [0, 1, 0x7F, 0xFF] as [UInt8] {
                var bytes = whole
                bytes[at] = value
                try? decoder.decode(envelope: bytes.span, direction: .up, into: &frame)
            }
        }
        #expect(Decoder.payload(ofEnvelope: whole) == [1, 5])
    }
}
