// A capture as conversations: datagrams and ordered stream bytes with their time, their endpoints
// and
// which way they went. The door of this folder; everything else in it serves `Capture`.

package import Model

/// One thing that happened in a capture.
package struct CapturedDelivery: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case datagram
        case opened
        case bytes
        case closed
    }

    package var kind: Kind
    /// Nanoseconds since 1970.
    package var time: Int64
    /// Number of the link-layer frame that completed it, from 1.
    package var number: Int
    /// Index in `Capture.conversations`.
    package var conversation: Int
    package var isToServer: Bool
    package var bytes: [UInt8]
    /// What the gateway made of it, where the capture says so.
    package var note = ""
}

/// A device's endpoint and a server's endpoint that talked to each other.
package struct Conversation: Hashable, Sendable {
    package var isStream: Bool
    package var client: Endpoint
    package var server: Endpoint
}

package struct Capture: Sendable {
    package private(set) var deliveries: [CapturedDelivery] = []
    package private(set) var conversations: [Conversation] = []
    package private(set) var counters = CaptureCounters()
    package let damage: CaptureDamage?

    /// Reads all of a capture file's bytes: pcap, pcapng, our own format, or lines of hex. `serverPort`
    /// says which side is the server; without it the side that opened the connection is the client,
    /// then a well-known port decides, then the port that more conversations share, then who spoke
    /// first. `linesAreStream`: lines of hex are pieces of one stream, not datagrams.
    package init(
        _ bytes: [UInt8], file: String, serverPort: UInt16? = nil, linesAreStream: Bool = false
    ) {
        if bytes.starts(with: SluiceCapture.magic) {
            self = SluiceCapture.read(bytes, file: file)
            return
        }
        if !CaptureFile.isKnown(bytes),
            let transcript = Transcript.read(
                bytes, file: file, isStream: linesAreStream, serverPort: serverPort)
        {
            self = transcript
            return
        }
        let captured = CaptureFile(bytes, file: file)
        damage = captured.damage
        var builder = CaptureBuilder(serverPort: serverPort)
        for frame in captured.frames { builder.take(frame, of: bytes) }
        (deliveries, conversations, counters) = builder.finish()
    }

    init(
        deliveries: [CapturedDelivery], conversations: [Conversation], counters: CaptureCounters,
        damage: CaptureDamage?
    ) {
        self.deliveries = deliveries
        self.conversations = conversations
        self.counters = counters
        self.damage = damage
    }
}

/// Collects deliveries per pair of endpoints and decides at the end who the server is.
private struct CaptureBuilder {
    /// Both endpoints in a fixed order, so that both directions meet in one entry.
    private struct Pair: Hashable {
        var low: Endpoint
        var high: Endpoint
        var isStream: Bool
    }

    private struct Open {
        var conversation: Int
        /// The opener's first sequence number, to tell a repeated SYN from a new connection.
        var openedAt: UInt32?
        var fromLow = StreamAssembly()
        var fromHigh = StreamAssembly()
        var isClosed = false
    }

    /// An endpoint pair while it is not known who the client is.
    private struct Draft {
        var pair: Pair
        var firstSender: Endpoint
        var opener: Endpoint?
    }

    private static let knownPorts: Set<UInt16> = [
        502, 1700, 1883, 5683, 5684, 9001, 9002, 9004, 9005, 9006, 9188, 9645, 9651, 10_000,
    ]

    private let serverPort: UInt16?
    private var reader = PacketReader()
    private var drafts: [Draft] = []
    private var open: [Pair: Open] = [:]
    /// Connections whose endpoints opened another one since.
    private var retired: [Open] = []
    /// `isToServer` holds "sent by the pair's low endpoint" until `finish` knows better.
    private var deliveries: [CapturedDelivery] = []

    init(serverPort: UInt16?) { self.serverPort = serverPort }

    mutating func take(_ frame: LinkFrame, of file: [UInt8]) {
        guard let content = reader.take(frame, of: file) else { return }
        let isLow = CaptureBuilder.isBefore(content.from, content.to)
        switch content.kind {
        case .datagram:
            let pair = pair(content, isLow: isLow, isStream: false)
            let index = conversation(pair, from: content.from)
            add(.datagram, frame, index, isLow, content.payload)
        case .segment(let sequence, let flags):
            segment(frame, content, sequence: sequence, flags: flags, isLow: isLow)
        }
    }

    private mutating func segment(
        _ frame: LinkFrame, _ content: TransportContent, sequence: UInt32, flags: UInt8,
        isLow: Bool
    ) {
        let pair = pair(content, isLow: isLow, isStream: true)
        let isOpening = flags & SegmentFlags.syn != 0
        let isRequest = isOpening && flags & SegmentFlags.ack == 0
        // The same ports used again: a new connection.
        if isRequest, let old = open[pair], old.openedAt != sequence {
            retired.append(old)
            open[pair] = nil
        }
        let isNew = open[pair] == nil
        if isNew, content.payload.isEmpty, !isOpening { return }
        let index = conversation(pair, from: content.from)
        if isOpening { drafts[index].opener = isRequest ? content.from : content.to }
        if isNew { add(.opened, frame, index, isLow, []) }
        guard var state = open[pair] else { return }
        if isRequest { state.openedAt = sequence }
        var assembly = isLow ? state.fromLow : state.fromHigh
        if isOpening { assembly.open(at: sequence) }
        // SYN takes one number before the first byte (RFC 9293 section 3.4).
        let first = isOpening ? sequence &+ 1 : sequence
        let bytes = assembly.take(
            content.payload, at: first, isLast: flags & SegmentFlags.fin != 0)
        if !bytes.isEmpty { add(.bytes, frame, index, isLow, bytes) }
        if isLow { state.fromLow = assembly } else { state.fromHigh = assembly }
        let isOver =
            state.fromLow.isEnded && state.fromHigh.isEnded || flags & SegmentFlags.rst != 0
        if isOver, !state.isClosed {
            state.isClosed = true
            add(.closed, frame, index, isLow, [])
        }
        open[pair] = state
    }

    private func pair(_ content: TransportContent, isLow: Bool, isStream: Bool) -> Pair {
        Pair(
            low: isLow ? content.from : content.to, high: isLow ? content.to : content.from,
            isStream: isStream)
    }

    private mutating func conversation(_ pair: Pair, from: Endpoint) -> Int {
        if let known = open[pair] { return known.conversation }
        drafts.append(Draft(pair: pair, firstSender: from, opener: nil))
        open[pair] = Open(conversation: drafts.count - 1)
        return drafts.count - 1
    }

    private mutating func add(
        _ kind: CapturedDelivery.Kind, _ frame: LinkFrame, _ conversation: Int, _ isLow: Bool,
        _ bytes: [UInt8]
    ) {
        deliveries.append(
            CapturedDelivery(
                kind: kind, time: frame.time, number: frame.number, conversation: conversation,
                isToServer: isLow, bytes: bytes))
    }

    mutating func finish() -> ([CapturedDelivery], [Conversation], CaptureCounters) {
        flushHoles()
        reader.finish()
        var counters = reader.counters
        for state in retired + open.values {
            for side in [state.fromLow, state.fromHigh] {
                counters.segmentsRepeated += side.repeated
                counters.segmentsOutOfOrder += side.outOfOrder
                counters.bytesMissing += side.missing
            }
        }
        var shares: [UInt16: Int] = [:]
        for draft in drafts {
            shares[draft.pair.low.port, default: 0] += 1
            shares[draft.pair.high.port, default: 0] += 1
        }
        let lowIsClient = drafts.map { isLowClient($0, shares) }
        let conversations = zip(drafts, lowIsClient).map { draft, isLow in
            Conversation(
                isStream: draft.pair.isStream, client: isLow ? draft.pair.low : draft.pair.high,
                server: isLow ? draft.pair.high : draft.pair.low)
        }
        for i in deliveries.indices {
            let fromLow = deliveries[i].isToServer
            deliveries[i].isToServer = fromLow == lowIsClient[deliveries[i].conversation]
        }
        return (deliveries, conversations, counters)
    }

    /// Streams whose missing segments never came: their rest follows at the end.
    private mutating func flushHoles() {
        let last = deliveries.last
        let order = open.keys.sorted { conversationOf($0) < conversationOf($1) }
        for pair in order {
            guard var state = open[pair] else { continue }
            for isLow in [true, false] {
                let bytes = isLow ? state.fromLow.finish() : state.fromHigh.finish()
                guard !bytes.isEmpty, let last else { continue }
                deliveries.append(
                    CapturedDelivery(
                        kind: .bytes, time: last.time, number: last.number,
                        conversation: state.conversation, isToServer: isLow, bytes: bytes))
            }
            open[pair] = state
        }
    }

    private func conversationOf(_ pair: Pair) -> Int { open[pair]?.conversation ?? 0 }

    private func isLowClient(_ draft: Draft, _ shares: [UInt16: Int]) -> Bool {
        let low = draft.pair.low
        let high = draft.pair.high
        if let serverPort, (low.port == serverPort) != (high.port == serverPort) {
            return high.port == serverPort
        }
        if let opener = draft.opener { return opener == low }
        let known = CaptureBuilder.knownPorts
        if known.contains(low.port) != known.contains(high.port) {
            return known.contains(high.port)
        }
        let (lowShare, highShare) = (shares[low.port] ?? 0, shares[high.port] ?? 0)
        if lowShare != highShare { return highShare > lowShare }
        return draft.firstSender == low
    }

    private static func isBefore(_ a: Endpoint, _ b: Endpoint) -> Bool {
        (a.high, a.low, a.port) < (b.high, b.low, b.port)
    }
}
