// Formats under the fuzzer: decoding as a datagram and as a stream, explaining, envelopes, guessing,
// and files of the language itself.

import Formats
import Model

extension Subject {
    /// Byte 0: bit 0 the direction, bit 1 the check value is put right first. Then the bytes, as a
    /// datagram and as a stream. One input of 64 is explained, too, one of four decoded by a decoder
    /// that remembers the shapes of frames; both must agree. Which ones: their bytes say.
    static func decoding(_ format: Format) -> Subject {
        // Remembers nothing, so that an input is the same thing each time.
        let decoder = Decoder(format, remembersShapes: false)
        let remembering = Decoder(format)
        var frame = DecodedFrame()
        var other = DecodedFrame()
        return Subject { input in
            guard let control = input.first else { return }
            let direction = control & 1 == 0 ? Direction.up : .down
            var bytes = Array(input.dropFirst())
            if control & 2 != 0 { bytes = format.mended(bytes) }
            let refusal = decode(decoder, bytes, direction, &frame)
            law(frame.readings.count <= 512, "\(frame.readings.count) readings of one frame")
            // Safety: one thread, see there.
            let lot = unsafe Subject.isThorough ? 0 : drawn(input)
            if lot & 3 == 0 {
                let verdict = decode(remembering, bytes, direction, &other)
                law(verdict == refusal, "\(text(refusal)), with a plan \(text(verdict))")
                if refusal == nil { law(isSame(frame, other), "a plan reads something else") }
            }
            if lot & 63 == 0 { explain(decoder, bytes, direction, refusal, frame) }
            search(decoder, bytes, direction)
        }
    }

    /// Some number that the same bytes always draw; of all bytes, so that what was made of an input
    /// that drew well draws anew.
    private static func drawn(_ bytes: [UInt8]) -> UInt32 {
        var sum = UInt32(truncatingIfNeeded: bytes.count)
        for byte in bytes { sum = (sum ^ UInt32(byte)) &* 0x0100_0193 }
        return (sum &* 0x9E37_79B1) >> 16
    }

    private static func decode(
        _ decoder: Decoder, _ bytes: [UInt8], _ direction: Direction, _ frame: inout DecodedFrame
    ) -> Rejection? {
        do throws(Rejection) {
            try decoder.decode(bytes.span, direction: direction, into: &frame)
            return nil
        } catch { return error }
    }

    private static func isSame(_ a: DecodedFrame, _ b: DecodedFrame) -> Bool {
        guard a.device == b.device, a.isIdentityGlobal == b.isIdentityGlobal,
            a.isControl == b.isControl, a.isSealed == b.isSealed,
            a.duplicateKey == b.duplicateKey, a.isRequest == b.isRequest,
            a.pairing == b.pairing, a.answer == b.answer, a.part == b.part,
            (0..<4).allSatisfy({ a.asked[$0] == b.asked[$0] })
        else { return false }
        return a.readings.elementsEqual(b.readings) { one, two in
            one.output == two.output && one.discriminator == two.discriminator
                && one.value == two.value && one.quality == two.quality
                && one.observedAt == two.observedAt
                && one.isTimeRelative == two.isTimeRelative
        }
    }

    private static func text(_ rejection: Rejection?) -> String {
        rejection.map { "\($0)" } ?? "accepted"
    }

    /// A search always moves on and stays within the stream.
    private static func search(_ decoder: Decoder, _ bytes: [UInt8], _ direction: Direction) {
        var start = 0
        while start < bytes.count {
            let left = bytes.count - start
            let stream = bytes.span.extracting(start..<bytes.count)
            switch decoder.search(stream, direction: direction) {
            case .frame(let skip, let count):
                law(skip >= 0 && count > 0 && count <= left && skip <= left - count, "frame place")
                start += skip + count
            case .needsMore(let skip):
                law(skip >= 0 && skip <= left, "skip of an unfinished frame")
                return
            case .rejected(let skip, let advance, _):
                law(skip >= 0 && advance > 0, "a rejection that does not move on")
                law(advance <= left && skip <= left - advance, "rejection place")
                start += skip + advance
            }
        }
    }

    /// Both paths accept the same frames, and the tree stays within the bytes.
    private static func explain(
        _ decoder: Decoder, _ bytes: [UInt8], _ direction: Direction, _ refusal: Rejection?,
        _ frame: DecodedFrame
    ) {
        if refusal == nil {
            for reading in frame.readings {
                law(!decoder.describe(reading).name.isEmpty, "a reading without a name")
            }
        }
        let explanation = decoder.explain(bytes, direction: direction)
        law(
            explanation.rejection == refusal,
            "decoding says \(text(refusal)), explaining \(text(explanation.rejection))")
        check(explanation.root, 0..<bytes.count)
    }

    private static func check(_ node: FieldNode, _ all: Range<Int>) {
        law(
            node.bytes.lowerBound >= 0 && node.bytes.upperBound <= all.upperBound,
            "\(node.name) stands at \(node.bytes) of \(all.upperBound) bytes")
        for child in node.children { check(child, all) }
    }

    /// First byte: the format; then an envelope.
    static func envelopes() -> Subject {
        let decoders = library.formats.map { Decoder($0) }
        var frame = DecodedFrame()
        return Subject { bytes in
            guard let first = bytes.first else { return }
            let decoder = decoders[Int(first) % decoders.count]
            let rest = Array(bytes.dropFirst())
            for direction in [Direction.up, .down] {
                try? decoder.decode(envelope: rest.span, direction: direction, into: &frame)
                law(frame.readings.count <= 512, "\(frame.readings.count) readings of one frame")
            }
            if let payload = Decoder.payload(ofEnvelope: rest) {
                law(payload.count <= rest.count, "a payload longer than its envelope")
            }
        }
    }

    /// Five formats of different kinds: it is the ranking that is tried, each guess makes a decoder.
    static func guessing() -> Subject {
        let names = ["reference-sensor", "cjt188", "modbus-rtu", "text-htemp", "cbor"]
        let texts = names.map { name in
            let path = "\(directory)/\(name).json5"
            let bytes = FileBytes.read(path, limit: 1 << 20) ?? []
            return (file: path, text: String(decoding: bytes, as: UTF8.self))
        }
        guard let few = try? FormatLibrary(texts: texts) else {
            fatalError("formats to guess from")
        }
        return Subject { bytes in
            let guesses = few.guesses(bytes, direction: .up)
            law(guesses.count == few.formats.count, "not one guess a format")
        }
    }

    static func formatFiles() -> Subject {
        Subject { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            _ = try? FormatLibrary(text: text, file: "fuzz")
        }
    }
}
