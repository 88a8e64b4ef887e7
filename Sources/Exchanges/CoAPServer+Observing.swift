// Observations of LwM2M clients (RFC 7641): asking for them while the client is awake, taking
// notifications, sending requests again that nobody answered. Part of CoAPServer.
//
// A client in queue mode is asked only right after it spoke, and one path after the other; a
// request that follows a notification leaves behind its acknowledgement, because with release
// assistance the radio may be gone after the first datagram.

import Formats
import Model

extension CoAPServer {
    static let maximumRetransmissions = 4

    // MARK: Notifications and answers to our requests

    func response(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, hasRoom: Bool, at now: Instant,
        into effects: inout Effects
    ) {
        guard let (client, watch, isOld) = attribute(message) else {
            return unknown(message, into: &effects)
        }
        if !hasRoom, !message.payload.isEmpty {
            // Not acknowledged, so it comes again.
            effects.verdict = .rejected(.noRoom)
            if let place = turn.memory { memory.forget(place) }
            turn.memory = nil
            return
        }
        clients.heard(client, from: turn.from, at: now)
        turn.client = client
        let isAnswer = clients.clients[client].asked?.watch == watch
        if isAnswer { clients.stopAsking(client) }
        let isGood = message.code.group == 2
        if !isGood || (isAnswer && message.observe == nil) {
            clients.set(client, watch, to: .refused)
        } else if isOld {
            clients.set(client, watch, to: .wanted)
        } else if message.observe != nil {
            clients.set(client, watch, to: .observed)
        }
        guard isGood, !message.payload.isEmpty else {
            effects.verdict = .control
            return acknowledgeNow(at: now, into: &effects)
        }
        if !isOld, let value = message.observe,
            !clients.isNewer(client, watch, value, at: now)
        {
            // A newer state is here already; the older one is superseded, not a second reading.
            effects.verdict = .duplicate
            return acknowledgeNow(at: now, into: &effects)
        }
        let (formats, payload) = content(message, datagram, of: settings.observe[watch])
        guard let formats else {
            effects.verdict = .rejected(.unknownType)
            return acknowledgeNow(at: now, into: &effects)
        }
        effects.verdict = .frames
        turn.kind = .notification
        effects.frames.append(
            CarriedFrame(
                payload: payload, isAssembled: false, formats: formats,
                device: clients.identity(of: client), path: settings.observe[watch],
                messageKey: Digest.messageKey(turn.from, UInt64(message.messageID))))
    }

    /// Which formats take a resource's content, and where it stands. Object 19 (app data container)
    /// carries frames of vendors, opaque or in one TLV: those go to the source's formats.
    private func content(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, of path: [UInt8]
    ) -> (FormatChoice?, Range<Int>) {
        let isContainer = path.starts(with: "/19/".utf8) || path == Array("/19".utf8)
        let format = message.contentFormat
        if isContainer, format == ContentFormats.tlv || format == 1542,
            let value = CoAPServer.singleResource(datagram, message.payload)
        {
            return (.listed, value)
        }
        if !isContainer, format ?? 0 == ContentFormats.text, let text = resourceText {
            return (.one(text), message.payload)
        }
        return (choice(format), message.payload)
    }

    /// Value of a TLV that is one resource and nothing else (OMA TS 1.0.2 section 6.4.3).
    static func singleResource(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int>? {
        guard let first = range.first, bytes[first] >> 6 == 3 else { return nil }
        let lengthBytes = Int(bytes[first] >> 3 & 3)
        var at = first + (bytes[first] & 0x20 == 0 ? 2 : 3)
        var count = Int(bytes[first] & 7)
        if lengthBytes > 0 {
            guard at + lengthBytes <= range.upperBound else { return nil }
            count = 0
            for i in at..<at + lengthBytes { count = count << 8 | Int(bytes[i]) }
            at += lengthBytes
        }
        guard count > 0, at + count == range.upperBound else { return nil }
        return at..<range.upperBound
    }

    /// Whose observation a message belongs to. `isOld`: of a registration that no longer holds, so the
    /// path must be observed anew.
    private func attribute(_ message: CoAPMessage) -> (client: Int, watch: Int, isOld: Bool)? {
        guard isLwM2M else { return nil }
        if let (client, watch) = clients.find(token: message.tokenValue) {
            if message.kind == .acknowledgement {
                let asked = clients.clients[client].asked
                guard asked?.messageID == message.messageID, asked?.watch == watch else {
                    return nil
                }
            }
            return (client, watch, false)
        }
        guard message.kind != .acknowledgement, message.observe != nil,
            let client = clients.find(endpoint: turn.from),
            let watch = clients.watch(of: message.tokenValue)
        else { return nil }
        return (client, watch, true)
    }

    /// A response that nobody asked for: a reset tells the sender to stop (RFC 7641 section 3.6).
    private func unknown(_ message: CoAPMessage, into effects: inout Effects) {
        effects.verdict = message.payload.isEmpty ? .control : .rejected(.unasked)
        guard message.kind == .confirmable || message.kind == .nonConfirmable else { return }
        let start = effects.bytes.count
        _ = CoAPWriter(
            kind: .reset, code: .empty, messageID: message.messageID, to: &effects.bytes)
        if let place = turn.memory { memory.keep(effects.bytes[start...], at: place) }
        effects.send(from: start, to: turn.from, needsCommit: false)
    }

    private func acknowledgeNow(at now: Instant, into effects: inout Effects) {
        acknowledge(.open, into: &effects)
        if let client = turn.client {
            pump(client, needsCommit: false, at: now, into: &effects)
        }
    }

    /// An empty acknowledgement. A notification that the formats refuse is acknowledged as well: it
    /// would come again as it is.
    func acknowledge(_ outcome: FrameOutcome, into effects: inout Effects) {
        guard turn.message.kind == .confirmable else { return }
        let start = effects.bytes.count
        _ = CoAPWriter(
            kind: .acknowledgement, code: .empty, messageID: turn.message.messageID,
            to: &effects.bytes)
        if let place = turn.memory { memory.keep(effects.bytes[start...], at: place) }
        effects.send(from: start, to: turn.from, needsCommit: outcome.isKept)
    }

    // MARK: Asking

    /// Asks the client for the next path that is wanted.
    func pump(_ client: Int, needsCommit: Bool, at now: Instant, into effects: inout Effects) {
        guard let watch = clients.wanted(client, awake: settings.awakeMilliseconds, at: now)
        else { return }
        // RFC 7252 section 4.2: between one and one and a half times the time-out.
        let base = max(1, settings.acknowledgeMilliseconds)
        let timeout = base + Int64(random.next() % UInt64(base / 2 + 1))
        let asked = LwM2MClients.Asked(
            messageID: nextMessageID(), watch: watch, attempts: 0, timeout: timeout,
            due: now.adding(milliseconds: timeout))
        clients.ask(client, asked)
        send(asked, to: client, needsCommit: needsCommit, into: &effects)
    }

    private func send(
        _ asked: LwM2MClients.Asked, to client: Int, needsCommit: Bool,
        into effects: inout Effects
    ) {
        let start = effects.bytes.count
        var writer = CoAPWriter(
            kind: .confirmable, code: .get, messageID: asked.messageID,
            token: clients.token(client, asked.watch), to: &effects.bytes)
        writer.option(CoAPOptionNumber.observe, uint: 0, to: &effects.bytes)
        let root = clients.clients[client].root
        for part in root.split(separator: 0x2F)
            + settings.observe[asked.watch].split(separator: 0x2F)
        {
            writer.option(CoAPOptionNumber.uriPath, part, to: &effects.bytes)
        }
        effects.send(
            from: start, to: clients.clients[client].endpoint, needsCommit: needsCommit)
    }

    // MARK: Time

    func timer(at now: Instant, into effects: inout Effects) {
        clients.expire(at: now)
        for client in clients.takeDue(at: now) {
            guard var asked = clients.clients[client].asked else { continue }
            let isAsleep =
                clients.clients[client].isQueued
                && now.milliseconds(since: clients.clients[client].heardAt)
                    >= settings.awakeMilliseconds
            guard asked.attempts < CoAPServer.maximumRetransmissions, !isAsleep else {
                // Still wanted: asked again when the client speaks next.
                clients.stopAsking(client)
                continue
            }
            asked.attempts += 1
            asked.timeout *= 2
            asked.due = now.adding(milliseconds: asked.timeout)
            clients.ask(client, asked)
            send(asked, to: client, needsCommit: false, into: &effects)
        }
        wakeForClients(at: now, into: &effects)
    }

    func wakeForClients(at now: Instant, into effects: inout Effects) {
        guard isLwM2M, let due = clients.due else { return }
        effects.wake(at: due)
    }
}
