// A capture through a set of formats, without a gateway: which format each frame is of, whose it is and
// what it says. Serves the comparison of two versions and the rewriting of identities. One thread.

import Formats
import Model

/// One frame of a capture and what a version of the formats makes of it.
struct CapturedFrame {
    struct Words: Hashable {
        var stream: String
        var value: String
        var unit: String
        /// ISO 8601, empty when the frame carries no time for it.
        var observedAt: String
        var quality: String
    }

    /// Its place: of datagrams the delivery, of streams the offset in their bytes.
    struct Place: Hashable, Comparable {
        var conversation: Int
        var offset: Int

        static func < (a: Place, b: Place) -> Bool {
            (a.conversation, a.offset) < (b.conversation, b.offset)
        }
    }

    var place: Place
    var count: Int
    /// Number of the link-layer frame in the file, and its time.
    var number: Int
    var time: Int64
    /// Empty when no format accepts it.
    var format = ""
    var device = ""
    var rejection: String?
    var readings: [Words] = []
}

/// Decodes with the format that fits best, and remembers it for each conversation.
final class CaptureDecoder {
    private let decoders: [Decoder]
    private var usual: [Int: Int] = [:]
    private var frame = DecodedFrame()
    /// Streams hold both sides' bytes: requests and answers are paired, as a source with "pairing" does.
    private let pairs: Bool
    private var context = FrameContext()
    private var envelope: [UInt8] = []

    /// `names`: only these formats; empty for all.
    init(
        _ library: FormatLibrary, keys: DeviceKeys, only names: [String] = [], pairs: Bool = false
    ) {
        self.pairs = pairs
        decoders = library.formats.filter { names.isEmpty || names.contains($0.name) }
            .map { Decoder($0, keys: keys) }
    }

    /// Every frame of one side, datagrams and streams, in the order of their places.
    func frames(
        of capture: Capture, where isWanted: (CapturedDelivery) -> Bool
    ) -> [CapturedFrame] {
        var frames: [CapturedFrame] = []
        var streams: [Int: StreamText] = [:]
        for (i, delivery) in capture.deliveries.enumerated() where isWanted(delivery) {
            switch delivery.kind {
            case .datagram:
                var frame = CapturedFrame(
                    place: .init(conversation: delivery.conversation, offset: i),
                    count: delivery.bytes.count, number: delivery.number, time: delivery.time)
                decode(delivery.bytes, into: &frame)
                frames.append(frame)
            case .bytes: streams[delivery.conversation, default: StreamText()].add(delivery)
            case .opened, .closed: break
            }
        }
        for (conversation, text) in streams.sorted(by: { $0.key < $1.key }) {
            frames += best(text, conversation)
        }
        return frames
    }

    /// The decoder that accepts the frame and demands most of it, with what it read.
    func accepting(_ bytes: [UInt8], conversation: Int) -> (Decoder, DecodedFrame)? {
        var found: (index: Int, rank: [Int], frame: DecodedFrame)?
        if let index = usual[conversation], decoders[index].format.isChecked,
            isAccepted(bytes, by: index)
        {
            return (decoders[index], frame)
        }
        for index in decoders.indices where isAccepted(bytes, by: index) {
            let format = decoders[index].format
            let rank = [
                format.evidence, frame.readings.count, -format.outputs.count, -index,
            ]
            if found.map({ $0.rank.lexicographicallyPrecedes(rank) }) ?? true {
                found = (index, rank, frame)
            }
        }
        guard let found else { return nil }
        usual[conversation] = found.index
        // Identity and words are those of the last frame decoded.
        _ = isAccepted(bytes, by: found.index)
        return (decoders[found.index], found.frame)
    }

    private func isAccepted(_ bytes: [UInt8], by index: Int) -> Bool {
        (try? decoders[index].decode(bytes.span, direction: .up, into: &frame)) != nil
    }

    private func decode(_ bytes: [UInt8], into captured: inout CapturedFrame) {
        guard let (decoder, frame) = accepting(bytes, conversation: captured.place.conversation)
        else {
            captured.rejection = Rejection.noFormat.code
            return
        }
        CaptureDecoder.describe(frame, decoder, into: &captured)
    }

    private static func describe(
        _ frame: DecodedFrame, _ decoder: Decoder, into captured: inout CapturedFrame
    ) {
        captured.format = decoder.format.name
        captured.device = decoder.identityText()
        let receivedAt = Timestamp(milliseconds: captured.time / 1_000_000)
        captured.readings = frame.readings.map { reading in
            let words = decoder.describe(reading)
            return CapturedFrame.Words(
                stream: words.name, value: reading.value.description, unit: words.unit,
                observedAt: reading.observed(receivedAt)?.iso8601 ?? "",
                quality: reading.quality.description)
        }
    }

    // MARK: Streams

    /// A side of a connection as one text, and which delivery brought which byte.
    struct StreamText {
        var bytes: [UInt8] = []
        private(set) var starts: [(offset: Int, number: Int, time: Int64)] = []

        mutating func add(_ delivery: CapturedDelivery) {
            starts.append((bytes.count, delivery.number, delivery.time))
            bytes += delivery.bytes
        }

        /// The delivery whose bytes hold the offset.
        func origin(_ offset: Int) -> (number: Int, time: Int64) {
            let at = starts.last { $0.offset <= offset } ?? starts[0]
            return (at.number, at.time)
        }
    }

    /// The frames that the format finds which makes sense of most bytes.
    private func best(_ text: StreamText, _ conversation: Int) -> [CapturedFrame] {
        var best: (rank: [Int], frames: [CapturedFrame])?
        for index in decoders.indices {
            let frames = walk(text, conversation, index)
            let accepted = frames.filter { $0.rejection == nil }
            let covered = accepted.reduce(0) { $0 + $1.count }
            guard covered > 0 else { continue }
            let evidence = decoders[index].format.evidence
            let rank = [
                min(evidence, 1), covered, evidence,
                accepted.reduce(0) { $0 + $1.readings.count }, -index,
            ]
            if best.map({ $0.rank.lexicographicallyPrecedes(rank) }) ?? true {
                best = (rank, frames)
            }
        }
        return best?.frames ?? []
    }

    private func walk(_ text: StreamText, _ conversation: Int, _ index: Int) -> [CapturedFrame] {
        var frames: [CapturedFrame] = []
        var at = 0
        var heard: [[4 of Int64]] = []
        while at < text.bytes.count {
            switch search(text, at, index) {
            case .needsMore(let skip):
                if skip == 0 || at + skip >= text.bytes.count { return frames }
                at += skip
            case .rejected(let skip, let advance, let reason):
                frames.append(
                    found(text, conversation, at + skip, max(1, advance), reason.code))
                at += skip + max(1, advance)
            case .frame(let skip, let count):
                let bytes = Array(text.bytes[(at + skip)..<(at + skip + count)])
                var captured = found(text, conversation, at + skip, count, nil)
                do throws(Rejection) {
                    try decode(bytes, index, &heard)
                    CaptureDecoder.describe(frame, decoders[index], into: &captured)
                } catch {
                    captured.rejection = error.code
                }
                frames.append(captured)
                at += skip + max(1, count)
            }
        }
        return frames
    }

    /// The next frame of either side, the one that is whole or begins first.
    private func search(_ text: StreamText, _ at: Int, _ index: Int) -> FrameSearch {
        let rest = text.bytes.span.extracting(at...)
        let up = decoders[index].search(rest, direction: .up)
        guard pairs, decoders[index].format.pairs else { return up }
        let down = decoders[index].search(rest, direction: .down)
        func rank(_ search: FrameSearch) -> (Int, Int) {
            switch search {
            case .frame(let skip, _): (0, skip)
            case .needsMore(let skip): (1, skip)
            case .rejected(let skip, _, _): (2, skip)
            }
        }
        return rank(down) < rank(up) ? down : up
    }

    /// A frame of a conversation of which both sides are heard: the answer to a request that waits, else
    /// a request, else what it says alone.
    private func decode(
        _ bytes: [UInt8], _ index: Int, _ heard: inout [[4 of Int64]]
    ) throws(Rejection) {
        let decoder = decoders[index]
        guard pairs, decoder.format.pairs else {
            return try decoder.decode(bytes.span, direction: .up, into: &frame)
        }
        for (i, asked) in heard.enumerated() {
            context.numbers = asked
            context.encode(bytes.span, into: &envelope)
            let isRead =
                (try? decoder.decode(envelope: envelope.span, direction: .up, into: &frame)) != nil
            guard isRead, frame.pairing == .answer || frame.pairing == .exception else { continue }
            heard.removeFirst(i + 1)
            return
        }
        if (try? decoder.decode(bytes.span, direction: .down, into: &frame)) != nil,
            frame.isRequest
        {
            // What is never answered is forgotten.
            if heard.count == 16 { heard.removeFirst() }
            heard.append(frame.asked)
            return frame.removeAll()
        }
        try decoder.decode(bytes.span, direction: .up, into: &frame)
    }

    private func found(
        _ text: StreamText, _ conversation: Int, _ offset: Int, _ count: Int, _ reason: String?
    ) -> CapturedFrame {
        let origin = text.origin(offset)
        return CapturedFrame(
            place: .init(conversation: conversation, offset: offset), count: count,
            number: origin.number, time: origin.time, rejection: reason)
    }
}
