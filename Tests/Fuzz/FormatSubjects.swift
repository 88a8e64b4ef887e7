// Formats under the fuzzer: decoding as a datagram and as a stream, explaining, envelopes, guessing,
// and files of the language itself.

import Formats
import Model

extension Subject {
    static func decoding(_ format: Format) -> Subject {
        let decoder = Decoder(format)
        var frame = DecodedFrame()
        return Subject { bytes in
            for direction in [Direction.up, .down] {
                try? decoder.decode(bytes.span, direction: direction, into: &frame)
                law(frame.readings.count <= 512, "\(frame.readings.count) readings of one frame")
                search(decoder, bytes, direction)
            }
        }
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
    static func explaining(_ format: Format) -> Subject {
        let decoder = Decoder(format)
        var frame = DecodedFrame()
        return Subject { bytes in
            for direction in [Direction.up, .down] {
                var refusal: Rejection?
                do throws(Rejection) {
                    try decoder.decode(bytes.span, direction: direction, into: &frame)
                } catch { refusal = error }
                let explanation = decoder.explain(bytes, direction: direction)
                law(
                    explanation.rejection == refusal,
                    "decoding says \(String(describing: refusal)), explaining "
                        + "\(String(describing: explanation.rejection))")
                check(explanation.root, 0..<bytes.count)
                for reading in frame.readings {
                    law(!decoder.describe(reading).name.isEmpty, "a reading without a name")
                }
            }
        }
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

    static func guessing() -> Subject {
        Subject { bytes in
            let guesses = library.guesses(bytes, direction: .up)
            law(guesses.count <= library.formats.count, "more guesses than formats")
        }
    }

    static func formatFiles() -> Subject {
        Subject { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            _ = try? FormatLibrary(text: text, file: "fuzz")
        }
    }
}
