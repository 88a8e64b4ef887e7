// Plays a capture: one socket for each original endpoint (UDP) or connection (TCP), bytes at their
// time, answers read in between. One thread, no callbacks; a slow gateway delays streams by TCP's
// window and makes datagrams wait for the socket's buffer, never loses them here.

import Formats
package import Host
package import Model

package struct ReplayPlan: Sendable {
    package var target: Target
    /// Times the original speed; nil as fast as possible.
    package var speed: Double? = 1
    package var loops = 1
    package var sides = Sides.client

    package enum Sides: String, Sendable, CaseIterable { case client, server, both }

    package var serverPort: UInt16?
    package var waitMilliseconds: Int64 = 2000

    package init(target: Target) { self.target = target }
}

package struct ReplaySummary: Sendable {
    package var isStream = false
    package var framesSent = 0
    package var framesUnsent = 0
    package var refused = 0
    package var bytesSent = 0
    package var senders = 0
    package var latencies = Latencies()
    /// Each answer in the order of arrival, a bounded number of them.
    package var answers: [Answer] = []
    package var wallSeconds = 0.0

    package struct Answer: Sendable {
        /// Number in the capture of what was sent last before it on its socket.
        package var number: Int
        package var client: Endpoint
        package var nanoseconds: Int64
        package var bytes: [UInt8]
    }

    static let maximumAnswers = 100_000
    /// Somebody pressed Ctrl-C.
    package var isInterrupted = false

    /// Where the capture stops making sense, null where it does not.
    static func json(_ damage: CaptureDamage?) -> JSON {
        damage.map { damage in
            .object([
                ("file", .string(damage.file)), ("offset", .integer(Int64(damage.offset))),
                ("what", .string(damage.what)),
                ("framesRead", .integer(Int64(damage.framesRead))),
            ])
        } ?? .null
    }

    func json(_ capture: Capture) -> JSON {
        .object([
            ("framesSent", .integer(Int64(framesSent))),
            ("framesUnsent", .integer(Int64(framesUnsent))),
            ("framesRefused", .integer(Int64(refused))),
            ("bytesSent", .integer(Int64(bytesSent))), ("senders", .integer(Int64(senders))),
            ("answers", .integer(Int64(latencies.count))), ("answerLatencyMs", latencies.json),
            (
                "answersTimed",
                .array(
                    answers.map { answer in
                        .object([
                            ("frame", .integer(Int64(answer.number))),
                            ("client", .string(answer.client.description)),
                            (
                                "latencyMs",
                                .literal(Words.fixed(Double(answer.nanoseconds) / 1e6, 3))
                            ),
                            ("hex", .string(FieldNode.hex(answer.bytes))),
                        ])
                    })
            ),
            ("segmentsRepeated", .integer(Int64(capture.counters.segmentsRepeated))),
            ("bytesMissing", .integer(Int64(capture.counters.bytesMissing))),
            ("damage", ReplaySummary.json(capture.damage)),
            ("isInterrupted", .boolean(isInterrupted)),
            ("wallSeconds", .literal(Words.fixed(wallSeconds, 3))),
        ])
    }
}

/// A socket of the replay; a class because arrays cannot hold noncopyable senders.
private final class Player {
    enum Link: ~Copyable {
        case datagram(DatagramSender)
        case stream(StreamSender)
    }

    let link: Link
    let token: UInt32
    var sentAt: Int64 = 0
    /// Of the delivery that was sent last, and who sent it in the capture.
    var number = 0
    let client: Endpoint
    var outbox: [UInt8] = []
    /// Stream pieces in the outbox, for the count of what was never sent.
    var piecesWaiting = 0
    var isConnected = false
    var isEnding = false
    var isEnded = false

    init(_ link: consuming Link, token: UInt32, client: Endpoint) {
        self.client = client
        self.link = link
        self.token = token
    }
}

package struct ReplayRun: ~Copyable {
    private let plan: ReplayPlan
    private let deliveries: [CapturedDelivery]
    private let conversations: [Conversation]
    private let poller: Poller
    private var players: [Player] = []
    private var playerByConversation: [Int: Int] = [:]
    private var summary = ReplaySummary()
    private var shownAt: Int64 = 0
    package var language = Language.english
    private static let maximumOutbox = 1 << 20

    package init(_ capture: Capture, _ plan: ReplayPlan) throws(SendingError) {
        self.plan = plan
        poller = try Poller()
        let conversations = capture.conversations
        self.conversations = conversations
        deliveries = capture.deliveries.filter { delivery in
            let conversation = conversations[delivery.conversation]
            guard conversation.isStream == plan.target.isStream else { return false }
            if let port = plan.serverPort, conversation.server.port != port { return false }
            switch delivery.kind {
            case .datagram, .bytes:
                switch plan.sides {
                case .client: return delivery.isToServer
                case .server: return !delivery.isToServer
                case .both: return true
                }
            case .opened, .closed: return true
            }
        }
        summary.isStream = plan.target.isStream
    }

    /// What is to be sent in all loops.
    private var piecesInAll: Int {
        plan.loops
            * deliveries.count {
                switch $0.kind {
                case .datagram, .bytes: true
                case .opened, .closed: false
                }
            }
    }

    /// Nanoseconds that the capture's timing asks for in all loops; 0 at full speed.
    private var nanosecondsInAll: Int64 {
        guard let speed = plan.speed, let first = deliveries.first?.time,
            let last = deliveries.map(\.time).max()
        else { return 0 }
        return Int64(min(Double(max(0, last &- first)) / speed * Double(plan.loops), 9e17))
    }

    /// `13 datagrams over 3 h 1 min; --speed max sends them at once`; nil when it is over at once.
    package var announcement: String? {
        guard piecesInAll > 0, nanosecondsInAll >= 2_000_000_000 else { return nil }
        let what: Phrase = plan.target.isStream ? .nounPiece : .nounDatagram
        return language(
            .replayOver, language.count(piecesInAll, what), language.span(nanosecondsInAll))
    }

    /// Plays everything and waits for the last answers.
    package mutating func play(_ progress: (String) -> Void) throws(SendingError) -> ReplaySummary {
        let begin = SendingClock.now
        let total = deliveries.count * plan.loops
        let (pieces, span) = (piecesInAll, language.span(nanosecondsInAll))
        let language = language
        var done = 0
        loops: for _ in 0..<plan.loops {
            let start = SendingClock.now
            // A capture may be out of order; nothing is sent before the first delivery's time.
            let firstTime = deliveries.first?.time ?? 0
            for delivery in deliveries {
                if let speed = plan.speed {
                    let offset = Double(delivery.time &- firstTime) / speed
                    wait(until: start + Int64(min(max(0, offset), 9e17))) { sent in
                        let gone = language.span(SendingClock.now - begin)
                        progress(
                            language(.replayProgress, Words.bar(sent, of: pieces), gone, span))
                    }
                } else if done.isMultiple(of: 16) {
                    handleReady(nanoseconds: 0)
                }
                if done.isMultiple(of: 64), Interrupts.wait(milliseconds: 0) {
                    summary.isInterrupted = true
                }
                if summary.isInterrupted { break loops }
                try perform(delivery)
                done += 1
                if plan.speed == nil, done.isMultiple(of: 256) {
                    progress(
                        language(
                            .replaySpeeding, Words.bar(done, of: total),
                            Words.grouped(summary.framesSent)))
                }
            }
            if plan.target.isStream { finishStreams() }
        }
        if !plan.target.isStream, !summary.isInterrupted { awaitAnswers() }
        for player in players { summary.framesUnsent += player.piecesWaiting }
        summary.framesSent -= summary.framesUnsent
        summary.wallSeconds = Double(SendingClock.now - begin) / 1e9
        return summary
    }

    private mutating func perform(_ delivery: CapturedDelivery) throws(SendingError) {
        switch delivery.kind {
        case .datagram:
            let player = try player(delivery.conversation)
            player.number = delivery.number
            try sendDatagram(delivery.bytes, player)
        case .opened: _ = try player(delivery.conversation)
        case .bytes:
            let player = try player(delivery.conversation)
            player.outbox += delivery.bytes
            player.piecesWaiting += 1
            player.number = delivery.number
            summary.framesSent += 1
            flush(player)
            while player.outbox.count > ReplayRun.maximumOutbox, !player.isEnded {
                handleReady(nanoseconds: 10_000_000)
            }
        case .closed:
            if let index = playerByConversation[delivery.conversation] {
                players[index].isEnding = true
                flush(players[index])
            }
        }
    }

    private mutating func player(_ conversation: Int) throws(SendingError) -> Player {
        if let index = playerByConversation[conversation] { return players[index] }
        let token = UInt32(truncatingIfNeeded: players.count)
        let made: Player
        let client = conversations[conversation].client
        if plan.target.isStream {
            let sender = try StreamSender(to: plan.target.endpoint)
            try poller.add(sender, token: token)
            made = Player(.stream(sender), token: token, client: client)
        } else {
            let sender = try DatagramSender(to: plan.target.endpoint)
            try poller.add(sender, token: token)
            made = Player(.datagram(sender), token: token, client: client)
        }
        playerByConversation[conversation] = players.count
        players.append(made)
        summary.senders += 1
        return made
    }

    private mutating func sendDatagram(_ bytes: [UInt8], _ player: Player) throws(SendingError) {
        player.sentAt = SendingClock.now
        for attempt in 0..<1000 {
            guard let error = player.send(datagram: bytes) else {
                summary.framesSent += 1
                summary.bytesSent += bytes.count
                return
            }
            switch error.code {
            // ECONNREFUSED tells of an earlier datagram; this one was not sent yet.
            case 111:
                summary.refused += 1
                if attempt > 0 { return }
            // EAGAIN, ENOBUFS: the kernel's buffer is full.
            case 11, 105: handleReady(nanoseconds: 1_000_000)
            default: throw error
            }
        }
        summary.framesUnsent += 1
        summary.framesSent += 1
    }

    private mutating func flush(_ player: Player) {
        guard player.isConnected, !player.isEnded else { return }
        if !player.outbox.isEmpty {
            player.sentAt = SendingClock.now
            guard let count = player.send(stream: player.outbox) else { return }
            summary.bytesSent += count
            player.outbox.removeFirst(count)
            if player.outbox.isEmpty { player.piecesWaiting = 0 }
        }
        player.watch(poller)
        if player.outbox.isEmpty, player.isEnding { player.finishSending() }
    }

    /// Reads answers until the time; calls `everyTurn` with the number sent, once a second at most.
    private mutating func wait(until due: Int64, _ everyTurn: (Int) -> Void) {
        while true {
            let left = due - SendingClock.now
            if left <= 0 || summary.isInterrupted { return }
            if SendingClock.now - shownAt >= 1_000_000_000 {
                shownAt = SendingClock.now
                everyTurn(summary.framesSent)
            }
            handleReady(nanoseconds: min(left, 250_000_000))
            if left > 10_000_000, Interrupts.wait(milliseconds: 0) { summary.isInterrupted = true }
        }
    }

    /// Reads what came in and sends what had to wait.
    @discardableResult
    private mutating func handleReady(nanoseconds: Int64) -> Int {
        let ready = poller.wait(nanoseconds: nanoseconds)
        for one in ready {
            let player = players[Int(one.token)]
            if one.isWritable, !player.isConnected {
                player.isConnected = true
                if player.connectFailed() { player.isEnded = true }
            }
            if one.isReadable { receive(player) }
            if one.isWritable { flush(player) }
        }
        return ready.count
    }

    private mutating func receive(_ player: Player) {
        // The refusal of a socket's last datagram has no later send to tell it.
        if player.isRefused() { summary.refused += 1 }
        // Bounded, so that one talkative connection does not starve the others.
        for _ in 0..<64 {
            switch player.receive() {
            case .bytes(let bytes):
                let nanoseconds = SendingClock.now - player.sentAt
                summary.latencies.add(nanoseconds)
                if summary.answers.count < ReplaySummary.maximumAnswers {
                    summary.answers.append(
                        ReplaySummary.Answer(
                            number: player.number, client: player.client,
                            nanoseconds: nanoseconds, bytes: bytes))
                }
            case .nothing: return
            case .ended:
                player.isEnded = true
                player.forget(poller)
                return
            }
        }
    }

    private mutating func finishStreams() {
        for player in players {
            player.isEnding = true
            flush(player)
        }
        // Gateways need not close when the device has finished; and bytes that wait for a slow one
        // are not cut off: silence ends the wait, a short one when all is sent.
        var quietSince = SendingClock.now
        while players.contains(where: { !$0.isEnded }) {
            if handleReady(nanoseconds: 20_000_000) > 0 { quietSince = SendingClock.now }
            let isSent = players.allSatisfy { $0.outbox.isEmpty || $0.isEnded }
            let patience = isSent ? plan.waitMilliseconds / 4 : max(plan.waitMilliseconds, 5000)
            if SendingClock.now - quietSince > patience * 1_000_000 { break }
        }
        for player in players { summary.framesUnsent += player.piecesWaiting }
        players = []
        playerByConversation = [:]
    }

    /// Until it has been quiet for a quarter of the wait, and at most the whole wait.
    private mutating func awaitAnswers() {
        let end = SendingClock.now + plan.waitMilliseconds * 1_000_000
        var quietSince = SendingClock.now
        while SendingClock.now < end {
            if handleReady(nanoseconds: 20_000_000) > 0 { quietSince = SendingClock.now }
            if SendingClock.now - quietSince > plan.waitMilliseconds * 250_000 { return }
        }
    }
}

extension Player {
    func send(datagram bytes: [UInt8]) -> SendingError? { link.send(datagram: bytes) }

    /// Bytes that the kernel took, nil when the connection is broken.
    func send(stream bytes: [UInt8]) -> Int? {
        let count = link.send(stream: bytes)
        if count == nil { isEnded = true }
        return count
    }

    func receive() -> Received { link.receive() }
    func isRefused() -> Bool { link.isRefused() }
    func connectFailed() -> Bool { link.connectFailed() }
    func finishSending() { link.finishSending() }

    /// Asks to be told of room only while there is something to send.
    func watch(_ poller: borrowing Poller) {
        link.watch(poller, token: token, writable: !outbox.isEmpty)
    }

    func forget(_ poller: borrowing Poller) { link.forget(poller) }
}

// A class cannot switch over its noncopyable property, only borrow it for a call.
extension Player.Link {
    borrowing func send(datagram bytes: [UInt8]) -> SendingError? {
        switch self {
        case .datagram(let sender): return sender.send(bytes)
        case .stream: preconditionFailure("a stream's player sends no datagrams")
        }
    }

    borrowing func send(stream bytes: [UInt8]) -> Int? {
        switch self {
        case .datagram: preconditionFailure("a datagram's player sends no stream")
        case .stream(let sender): return try? sender.send(bytes)
        }
    }

    borrowing func receive() -> Received {
        switch self {
        case .datagram(let sender): return sender.receive()
        case .stream(let sender): return sender.receive()
        }
    }

    borrowing func isRefused() -> Bool {
        switch self {
        case .datagram(let sender): return sender.pendingError()?.code == 111
        case .stream: return false
        }
    }

    borrowing func connectFailed() -> Bool {
        switch self {
        case .datagram: return false
        case .stream(let sender): return sender.connectError() != nil
        }
    }

    borrowing func finishSending() {
        switch self {
        case .datagram: break
        case .stream(let sender): sender.finishSending()
        }
    }

    borrowing func watch(_ poller: borrowing Poller, token: UInt32, writable: Bool) {
        switch self {
        case .datagram: break
        // Fails only for a descriptor that is not in the set, which an ended stream's is not.
        case .stream(let sender): try? poller.watch(sender, token: token, writable: writable)
        }
    }

    borrowing func forget(_ poller: borrowing Poller) {
        switch self {
        case .datagram: break
        case .stream(let sender): poller.remove(sender)
        }
    }
}
