// An MQTT-SN 1.2 gateway that keeps what is published instead of passing it on: connections with or
// without will, topic registration, QoS −1 to 2, sleeping clients, forwarder encapsulation.
// Subscriptions are accepted and nothing is ever sent for them. Owned by its Exchange, on the
// intake's queue.
//
// Invariants: PUBACK and PUBREC leave after the commit that holds the frame. QoS 2 needs no state:
// until its PUBREL a repetition has DUP set and the message id of the first, which the intake's
// duplicate memory knows, also after a restart. A client may use one id for ever, so without DUP an
// equal id means nothing.

import Formats
import Model

final class MQTTSNGateway {
    private let settings: ExchangeSettings
    private var sessions: MQTTSNSessions
    /// Predefined and short topics that came before: their names are built once.
    private var fixed: [UInt32: MQTTSNSessions.Named] = [:]
    private var turn = Turn()
    var isForbidden: ((_ identity: [UInt8]) -> Bool)?

    private static let fixedLimit = 4096
    private static let nameLimit = 512

    /// What a PUBLISH is answered with, from `step` to `settle`.
    private struct Turn {
        var from = Endpoint(high: 0, low: 0, port: 0)
        /// Header that goes before every answer; empty without a forwarder.
        var wrap: [UInt8] = []
        var qos = 0
        var topic: UInt16 = 0
        var messageID: UInt16 = 0
    }

    init(_ settings: ExchangeSettings) {
        self.settings = settings
        sessions = MQTTSNSessions(limit: settings.clients)
    }

    var clientCount: Int { sessions.count }

    // MARK: One datagram

    func step(
        _ datagram: Span<UInt8>, from: Endpoint, hasRoom: Bool, at now: Instant,
        into effects: inout Effects
    ) {
        var message: MQTTSNMessage
        turn.from = from
        turn.wrap.removeAll(keepingCapacity: true)
        var place = MQTTSNPlace(endpoint: from, node: 0)
        do throws(Rejection) {
            message = try MQTTSNMessage(datagram)
            if message.kind == .encapsulated {
                var digest = Digest(seed: 1)
                digest.add(datagram.extracting(message.text))
                place.node = digest.value
                for i in 0..<message.inner.lowerBound { turn.wrap.append(datagram[i]) }
                message = try message.innerMessage(in: datagram)
            }
        } catch {
            effects.verdict = .rejected(error)
            return
        }
        handle(message, datagram, place, hasRoom: hasRoom, at: now, into: &effects)
        if let next = sessions.nextExpiry { effects.wake(at: next) }
    }

    func timer(at now: Instant, into effects: inout Effects) {
        sessions.expire(at: now)
        if let next = sessions.nextExpiry { effects.wake(at: next) }
    }

    private func handle(
        _ message: MQTTSNMessage, _ datagram: Span<UInt8>, _ place: MQTTSNPlace, hasRoom: Bool,
        at now: Instant, into effects: inout Effects
    ) {
        let session = sessions.find(place)
        if let session { sessions.heard(session, at: now) }
        switch message.kind {
        case .publish:
            publish(message, session, hasRoom: hasRoom, into: &effects)
        case .connect: connect(message, datagram, place, at: now, into: &effects)
        case .register: register(message, datagram, session, into: &effects)
        case .subscribe: subscribe(message, datagram, session, into: &effects)
        case .pingRequest:
            // A sleeping client says who it is; nothing was kept for it.
            if let sleeper = sessions.find(name: bytes(datagram, message.text)) {
                sessions.move(sleeper, to: place)
                sessions.heard(sleeper, at: now)
            }
            answer(into: &effects) { MQTTSNMessage.writePingResponse(to: &$0) }
        case .disconnect:
            if let session {
                if let seconds = message.duration {
                    sessions.heard(session, seconds: seconds, at: now)
                } else {
                    sessions.close(session)
                }
            }
            answer(into: &effects) { MQTTSNMessage.writeDisconnect(to: &$0) }
        default: courtesy(message, into: &effects)
        }
    }

    /// Messages whose answer follows from them alone.
    private func courtesy(_ message: MQTTSNMessage, into effects: inout Effects) {
        switch message.kind {
        case .searchGateway:
            answer(into: &effects) { MQTTSNMessage.writeGatewayInfo(gateway: 1, to: &$0) }
        case .willTopic:
            answer(into: &effects) { MQTTSNMessage.writeWillMessageRequest(to: &$0) }
        case .willMessage:
            answer(into: &effects) { MQTTSNMessage.writeConnectAck(.accepted, to: &$0) }
        case .willTopicUpdate, .willMessageUpdate:
            let isTopic = message.kind == .willTopicUpdate
            answer(into: &effects) {
                MQTTSNMessage.writeWillResponse(topic: isTopic, .accepted, to: &$0)
            }
        case .publishRelease:
            answer(into: &effects) {
                MQTTSNMessage.write(.publishComplete, messageID: message.messageID, to: &$0)
            }
        case .unsubscribe:
            answer(into: &effects) {
                MQTTSNMessage.write(.unsubscribeAck, messageID: message.messageID, to: &$0)
            }
        case .registerAck, .publishAck, .publishComplete, .publishReceived, .advertise,
            .gatewayInfo, .pingResponse:
            // Answers to what this gateway never sends, and other gateways' words: heard, not used.
            break
        default:
            effects.verdict = .rejected(.badType)
        }
    }

    // MARK: Connections and topics

    private func connect(
        _ message: MQTTSNMessage, _ datagram: Span<UInt8>, _ place: MQTTSNPlace, at now: Instant,
        into effects: inout Effects
    ) {
        let name = bytes(datagram, message.text)
        guard let identity = DeviceIdentity.text(of: name), isForbidden?(identity) != true else {
            effects.verdict = .rejected(.noIdentity)
            return answer(into: &effects) {
                MQTTSNMessage.writeConnectAck(.notSupported, to: &$0)
            }
        }
        guard
            let session = sessions.open(
                name: name, identity: identity, at: place, isClean: message.isClean)
        else {
            effects.verdict = .rejected(.catalogFull)
            return answer(into: &effects) { MQTTSNMessage.writeConnectAck(.congestion, to: &$0) }
        }
        sessions.heard(session, seconds: message.duration ?? 0, at: now)
        answer(into: &effects) {
            if message.hasWill {
                MQTTSNMessage.writeWillTopicRequest(to: &$0)
            } else {
                MQTTSNMessage.writeConnectAck(.accepted, to: &$0)
            }
        }
    }

    private func register(
        _ message: MQTTSNMessage, _ datagram: Span<UInt8>, _ session: Int?,
        into effects: inout Effects
    ) {
        guard let session else { return notConnected(into: &effects) }
        let name = bytes(datagram, message.text)
        var code = MQTTSNMessage.ReturnCode.notSupported
        var topic: UInt16 = 0
        if !name.isEmpty, name.count <= MQTTSNGateway.nameLimit {
            code = .congestion
            if let id = sessions.register(session, name, formats(of: name)) {
                topic = id
                code = .accepted
            }
        }
        answer(into: &effects) {
            MQTTSNMessage.writeRegisterAck(
                topic: topic, messageID: message.messageID, code, to: &$0)
        }
    }

    private func subscribe(
        _ message: MQTTSNMessage, _ datagram: Span<UInt8>, _ session: Int?,
        into effects: inout Effects
    ) {
        guard let session else { return notConnected(into: &effects) }
        var topic = message.topicKind == .predefined ? message.topic : 0
        let name = bytes(datagram, message.text)
        let isFilter = name.contains(0x23) || name.contains(0x2B)
        if message.topicKind == .normal, !isFilter, name.count <= MQTTSNGateway.nameLimit {
            topic = sessions.register(session, name, formats(of: name)) ?? 0
        }
        answer(into: &effects) {
            MQTTSNMessage.writeSubscribeAck(
                qos: 0, topic: topic, messageID: message.messageID, .accepted, to: &$0)
        }
    }

    /// Whoever is not connected (any more, after a restart of ours) is told so and connects anew.
    private func notConnected(into effects: inout Effects) {
        answer(into: &effects) { MQTTSNMessage.writeDisconnect(to: &$0) }
    }

    // MARK: Publishing

    private func publish(
        _ message: MQTTSNMessage, _ session: Int?, hasRoom: Bool, into effects: inout Effects
    ) {
        turn.qos = message.qos
        turn.topic = message.topic
        turn.messageID = message.messageID
        if message.qos >= 0, session == nil {
            // Content is lost; whoever asks for a topic only asks again.
            effects.verdict = .rejected(.unknownDevice)
            return notConnected(into: &effects)
        }
        guard let topic = topic(message, session) else {
            effects.verdict = .rejected(.unknownType)
            guard message.qos >= 0 else { return }
            return acknowledge(.invalidTopic, into: &effects)
        }
        guard hasRoom else {
            effects.verdict = .rejected(.noRoom)
            guard message.qos > 0 else { return }
            return acknowledge(.congestion, into: &effects)
        }
        guard !message.data.isEmpty else {
            // MQTT's way to clear a retained value; there is nothing to keep.
            return published(into: &effects)
        }
        var key: UInt64 = 0
        if message.qos > 0, let session {
            var digest = Digest(seed: 0)
            let name = sessions.sessions[session].name
            digest.add(name.span)
            digest.add(UInt64(message.messageID))
            key = digest.value | 1
        }
        effects.verdict = .frames
        effects.frames.append(
            CarriedFrame(
                payload: message.data, isAssembled: false, formats: topic.formats,
                device: session.map { sessions.sessions[$0].identity } ?? [], path: topic.name,
                messageKey: key, mayBeAgain: message.isDuplicate))
    }

    func settle(at now: Instant, into effects: inout Effects) {
        guard let frame = effects.frames.first else { return }
        switch frame.outcome {
        case .taken, .duplicate, .control: published(into: &effects)
        case .refused(.catalogFull):
            if turn.qos > 0 { acknowledge(.congestion, into: &effects) }
        case .refused, .open:
            if turn.qos > 0 { acknowledge(.notSupported, into: &effects) }
        }
    }

    private func published(into effects: inout Effects) {
        let messageID = turn.messageID
        switch turn.qos {
        case 1: acknowledge(.accepted, into: &effects)
        case 2:
            answer(needsCommit: true, into: &effects) {
                MQTTSNMessage.write(.publishReceived, messageID: messageID, to: &$0)
            }
        default: break
        }
    }

    private func acknowledge(_ code: MQTTSNMessage.ReturnCode, into effects: inout Effects) {
        let turn = turn
        answer(needsCommit: code == .accepted, into: &effects) {
            MQTTSNMessage.writePublishAck(
                topic: turn.topic, messageID: turn.messageID, code, to: &$0)
        }
    }

    private func topic(_ message: MQTTSNMessage, _ session: Int?) -> MQTTSNSessions.Named? {
        switch message.topicKind {
        case .normal:
            // QoS −1 has no connection in which a number could have been given.
            guard message.qos >= 0, let session else { return nil }
            return sessions.registered(session, message.topic)
        case .predefined, .short:
            let isShort = message.topicKind == .short
            let key = UInt32(message.topic) | (isShort ? 1 << 16 : 0)
            if let known = fixed[key] { return known }
            let name =
                isShort
                ? [UInt8(message.topic >> 8), UInt8(message.topic & 255)]
                : Array("predefined/\(message.topic)".utf8)
            let named = MQTTSNSessions.Named(
                id: message.topic, name: name, formats: formats(of: name))
            if fixed.count < MQTTSNGateway.fixedLimit { fixed[key] = named }
            return named
        }
    }

    private func formats(of name: [UInt8]) -> FormatChoice {
        let route = settings.topics.first { RouteFilter.matches($0.name, name) }
        return route.map { .one($0.format) } ?? .listed
    }

    // MARK: Sending

    private func answer(
        needsCommit: Bool = false, into effects: inout Effects, _ write: (inout [UInt8]) -> Void
    ) {
        let start = effects.bytes.count
        effects.bytes.append(contentsOf: turn.wrap)
        write(&effects.bytes)
        effects.send(from: start, to: turn.from, needsCommit: needsCommit)
    }

    private func bytes(_ datagram: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
        range.map { datagram[$0] }
    }
}

/// Topic filters of MQTT 3.1.1 section 4.7.
enum RouteFilter {
    /// `+` stands for one level, `#` at the end for all that follow.
    static func matches(_ filter: [UInt8], _ name: [UInt8]) -> Bool {
        var f = 0
        var n = 0
        while f < filter.count {
            if filter[f] == 0x23 { return f + 1 == filter.count }
            if filter[f] == 0x2B {
                while n < name.count, name[n] != 0x2F { n += 1 }
                f += 1
                continue
            }
            guard n < name.count, filter[f] == name[n] else {
                // `a/#` also means `a` itself.
                return n == name.count && filter[f...].elementsEqual([0x2F, 0x23])
            }
            f += 1
            n += 1
        }
        return n == name.count
    }
}
