// The server's side of CoAP over UDP (RFC 7252), for devices that post frames and for LwM2M
// clients. Owned by its Exchange, on the intake's queue. This file is the message layer: what kind
// of message came, did it come before, whose turn is it. Requests, observations and registrations
// have their own files.
//
// Invariants: a message that carries a frame is answered after the commit that holds it; the same
// message gets the same bytes again; an answer to a stranger is never longer than its request (the
// list of resources, RFC 6690, at most three times as long); malformed bytes are answered with a
// reset or not at all.

import Formats
import Model

final class CoAPServer {
    /// EXCHANGE_LIFETIME and NON_LIFETIME (RFC 7252 section 4.8.2).
    static let exchangeLifetime: Int64 = 247_000
    static let nonLifetime: Int64 = 145_000
    /// What a device is told when there is no room: come again in so many seconds.
    static let maxAgeWithoutRoom: UInt32 = 5

    /// The message that is being worked on, from `step` to `settle`.
    struct Turn {
        enum Kind { case none, request, notification }

        var kind = Kind.none
        var message = CoAPHead()
        var from = Endpoint(high: 0, low: 0, port: 0)
        /// Where its answer is remembered; nil: not at all.
        var memory: Int?
        var requestBytes = 0
        var noResponse: UInt32 = 0
        /// It brings content that is lost when it is refused.
        var bringsContent = false
        /// Echoed with the answer to the last block of an upload.
        var block1: CoAPBlock?
        /// The client that sent it, when it is registered.
        var client: Int?
    }

    let settings: ExchangeSettings
    let isLwM2M: Bool
    var memory: AnswerMemory
    var assembly: BlockAssembly
    var paths = PathBook()
    var clients: LwM2MClients
    var random: SplitMix64
    var turn = Turn()
    var scratchPath: [UInt8] = []
    var isForbidden: ((_ identity: [UInt8]) -> Bool)?
    /// Format places by Content-Format, as far as the source has them.
    let byContent: [(number: UInt32, format: Int)]
    /// Place of the format for plain text of a resource.
    let resourceText: Int?
    private let seed: UInt64
    private var lastMessageID: UInt16

    init(_ settings: ExchangeSettings, seed: UInt64) {
        self.settings = settings
        self.seed = seed
        isLwM2M = settings.kind == .lwm2m
        memory = AnswerMemory(capacity: settings.rememberedMessages)
        assembly = BlockAssembly(
            uploads: settings.uploads, each: settings.uploadBytes, all: settings.uploadBytesInAll)
        random = SplitMix64(seed: seed)
        lastMessageID = UInt16(truncatingIfNeeded: random.next())
        clients = LwM2MClients(
            limit: isLwM2M ? settings.clients : 0, observe: settings.observe, seed: random.next())
        resourceText = settings.place(of: ContentFormats.resourceText)
        byContent = ContentFormats.names.compactMap { entry in
            settings.place(of: entry.format).map { (entry.number, $0) }
        }
    }

    var clientCount: Int { clients.count }

    // MARK: One datagram

    func step(
        _ datagram: Span<UInt8>, from: Endpoint, isCut: Bool, hasRoom: Bool, at now: Instant,
        into effects: inout Effects
    ) {
        turn = Turn()
        let message: CoAPMessage
        do throws(Rejection) {
            message = try CoAPMessage(datagram)
        } catch {
            return malformed(error, datagram, from: from, into: &effects)
        }
        turn.message = CoAPHead(message)
        turn.from = from
        turn.requestBytes = datagram.count
        if message.isEmpty {
            empty(message, from: from, at: now, into: &effects)
        } else if isCut {
            tooLong(message, into: &effects)
        } else if isAgain(message, datagram, from: from, at: now, into: &effects) {
            return
        } else if message.code.isRequest {
            guard message.kind == .confirmable || message.kind == .nonConfirmable else {
                // RFC 7252 section 4.2: a request is neither an acknowledgement nor a reset.
                effects.verdict = .rejected(.malformed)
                return
            }
            request(message, datagram, hasRoom: hasRoom, at: now, into: &effects)
        } else if message.code.isResponse {
            response(message, datagram, hasRoom: hasRoom, at: now, into: &effects)
        } else {
            reserved(message, from: from, into: &effects)
        }
        wakeForClients(at: now, into: &effects)
    }

    func settle(at now: Instant, into effects: inout Effects) {
        guard let frame = effects.frames.first else { return }
        switch turn.kind {
        case .none: break
        case .request: answer(frame.outcome, into: &effects)
        case .notification: acknowledge(frame.outcome, into: &effects)
        }
        if let client = turn.client {
            pump(client, needsCommit: frame.outcome.isKept, at: now, into: &effects)
            wakeForClients(at: now, into: &effects)
        }
        turn.kind = .none
    }

    // MARK: Messages without content, malformed ones, repeated ones

    /// RFC 7252 section 4.2 and 4.3: a malformed CON is reset, everything else ignored. Of another
    /// version nothing can be said (section 3).
    private func malformed(
        _ reason: Rejection, _ datagram: Span<UInt8>, from: Endpoint, into effects: inout Effects
    ) {
        effects.verdict = .rejected(reason)
        guard let header = CoAPMessage.Header(datagram), header.kind == .confirmable else { return }
        reset(header.messageID, to: from, into: &effects)
    }

    private func empty(
        _ message: CoAPMessage, from: Endpoint, at now: Instant, into effects: inout Effects
    ) {
        switch message.kind {
        // Ping (RFC 7252 section 4.3).
        case .confirmable: reset(message.messageID, to: from, into: &effects)
        case .nonConfirmable: effects.verdict = .rejected(.malformed)
        case .acknowledgement: clients.acknowledged(message.messageID, from: from, at: now)
        case .reset: clients.refused(message.messageID, from: from)
        }
    }

    /// Codes of the classes 1, 6 and 7 are reserved over UDP (RFC 7252 section 4.2: reject).
    private func reserved(
        _ message: CoAPMessage, from: Endpoint, into effects: inout Effects
    ) {
        effects.verdict = .rejected(.malformed)
        if message.kind == .confirmable { reset(message.messageID, to: from, into: &effects) }
    }

    /// The kernel cut the datagram; its options are whole. 4.13 with the block size that fits (RFC 7959
    /// section 2.9.3).
    private func tooLong(_ message: CoAPMessage, into effects: inout Effects) {
        effects.verdict = .rejected(.oversized)
        guard message.code.isRequest, message.kind == .confirmable else { return }
        let start = effects.bytes.count
        var writer = begin(.requestEntityTooLarge, into: &effects)
        let block = CoAPBlock(number: 0, hasMore: false, sizeExponent: 6)
        writer.option(CoAPOptionNumber.block1, uint: block.value, to: &effects.bytes)
        effects.send(from: start, to: turn.from, needsCommit: false)
    }

    /// The same message again: the same answer again, behind the commits that it may wait for.
    private func isAgain(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, from: Endpoint, at now: Instant,
        into effects: inout Effects
    ) -> Bool {
        guard message.kind == .confirmable || message.kind == .nonConfirmable else { return false }
        var digest = Digest(seed: seed)
        digest.add(datagram)
        let key = AnswerMemory.Key(endpoint: from, messageID: message.messageID)
        if let place = memory.find(key, digest: digest.value, at: now) {
            effects.verdict = .duplicate
            // RFC 7252 section 4.5: a repeated NON is ignored.
            guard message.kind == .confirmable else { return true }
            let start = effects.bytes.count
            if memory.append(place, to: &effects.bytes) {
                effects.send(from: start, to: from, needsCommit: true)
                return true
            }
            // Its answer was too long to keep: a GET, which may be answered anew.
            guard message.code == .get else { return true }
            request(message, datagram, hasRoom: true, at: now, into: &effects)
            effects.verdict = .duplicate
            return true
        }
        let lifetime =
            message.kind == .confirmable
            ? CoAPServer.exchangeLifetime : CoAPServer.nonLifetime
        turn.memory = memory.insert(
            key, digest: digest.value, until: now.adding(milliseconds: lifetime))
        return false
    }

    // MARK: Sending

    func nextMessageID() -> UInt16 {
        lastMessageID &+= 1
        return lastMessageID
    }

    func reset(_ messageID: UInt16, to endpoint: Endpoint, into effects: inout Effects) {
        let start = effects.bytes.count
        _ = CoAPWriter(kind: .reset, code: .empty, messageID: messageID, to: &effects.bytes)
        effects.send(from: start, to: endpoint, needsCommit: false)
    }

    /// An answer to the message of this turn: in the acknowledgement of a CON, else in a NON.
    func begin(_ code: CoAPCode, into effects: inout Effects) -> CoAPWriter {
        let isConfirmable = turn.message.kind == .confirmable
        return CoAPWriter(
            kind: isConfirmable ? .acknowledgement : .nonConfirmable, code: code,
            messageID: isConfirmable ? turn.message.messageID : nextMessageID(),
            token: turn.message.token, to: &effects.bytes)
    }

    /// Sends what was written since `start` and remembers it for the message's repetitions.
    func finish(
        from start: Int, _ code: CoAPCode, needsCommit: Bool, into effects: inout Effects
    ) {
        if isUnwanted(code) {
            effects.bytes.removeLast(effects.bytes.count - start)
            // RFC 7967 section 2: a CON is acknowledged all the same.
            guard turn.message.kind == .confirmable else { return }
            _ = CoAPWriter(
                kind: .acknowledgement, code: .empty, messageID: turn.message.messageID,
                to: &effects.bytes)
        }
        if let place = turn.memory { memory.keep(effects.bytes[start...], at: place) }
        effects.send(from: start, to: turn.from, needsCommit: needsCommit)
    }

    /// No-Response (RFC 7967): bits 2, 8 and 16 suppress answers of the classes 2, 4 and 5.
    private func isUnwanted(_ code: CoAPCode) -> Bool {
        code.group > 0 && turn.noResponse & (1 << (UInt32(code.group) - 1)) != 0
    }
}

/// What of a message outlives its bytes.
struct CoAPHead {
    var kind = CoAPMessage.Kind.reset
    var code = CoAPCode.empty
    var messageID: UInt16 = 0
    var token = CoAPToken.none

    init() {}

    init(_ message: CoAPMessage) {
        kind = message.kind
        code = message.code
        messageID = message.messageID
        token = message.tokenValue
    }
}

/// Texts of paths that came before, so that the same path is not built twice. Bounded: when full, it
/// starts anew.
struct PathBook {
    private static let limit = 256
    private var known: [UInt64: [[UInt8]]] = [:]
    private var count = 0

    /// The path as its own array; allocates on its first appearance only.
    mutating func text(_ path: [UInt8]) -> [UInt8] {
        var digest = Digest(seed: 0)
        digest.add(path.span)
        let key = digest.value
        if let texts = known[key], let text = texts.first(where: { $0 == path }) { return text }
        if count >= PathBook.limit {
            known.removeAll()
            count = 0
        }
        count += 1
        // A copy of its own: `path` is scratch that is written again.
        let text = path.map(\.self)
        known[key, default: []].append(text)
        return text
    }
}
