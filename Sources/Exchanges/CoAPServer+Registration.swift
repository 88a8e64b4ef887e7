// LwM2M's registration interface (OMA TS 1.0.2 and 1.1.1, section 5.3): register, update, deregister, and
// the bootstrap request, which is answered and leads to nothing. Part of CoAPServer; slow path.

import Formats
import Model

extension CoAPServer {
    /// True when the request was one of these and is answered.
    func registration(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, _ question: Question, at now: Instant,
        into effects: inout Effects
    ) -> Bool {
        let path = question.path
        guard path.starts(with: "/rd".utf8) || path == Array("/bs".utf8) else { return false }
        if path.count > 3, path[3] != 0x2F { return false }
        effects.verdict = .control
        // Whom it refuses comes again; no reading is lost with it.
        turn.bringsContent = false
        let isPost = message.code == .post
        if path.count == 3 {
            guard isPost else {
                refuse(.methodNotAllowed, into: &effects)
                return true
            }
            if path[1] == 0x62 {
                bootstrap(message, datagram, into: &effects)
            } else {
                register(message, datagram, question, at: now, into: &effects)
            }
            return true
        }
        guard let client = clients.find(location: path[4...]) else {
            // The client then registers anew.
            refuse(.notFound, into: &effects)
            return true
        }
        switch message.code {
        case .post, .put: update(client, message, datagram, question, at: now, into: &effects)
        case .delete:
            clients.remove(client)
            reply(.deleted, into: &effects)
        default: refuse(.methodNotAllowed, into: &effects)
        }
        return true
    }

    private func bootstrap(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, into effects: inout Effects
    ) {
        guard let name = query("ep=", message, datagram), !name.isEmpty else {
            return refuse(.badRequest, "no ep", into: &effects)
        }
        reply(.changed, into: &effects)
    }

    private func register(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, _ question: Question, at now: Instant,
        into effects: inout Effects
    ) {
        guard let name = query("ep=", message, datagram), !name.isEmpty else {
            return refuse(.badRequest, "no ep", into: &effects)
        }
        guard let identity = DeviceIdentity.text(of: name) else {
            return refuse(.badRequest, "ep too long", into: &effects)
        }
        if let version = query("lwm2m=", message, datagram),
            !["1.0", "1.1", "1.2"].contains(String(decoding: version, as: UTF8.self))
        {
            return refuse(.preconditionFailed, into: &effects)
        }
        guard
            var what = described(
                message, datagram, question, isList: true, at: now, into: &effects)
        else { return }
        guard let objects = what.objects, !objects.entries.isEmpty else {
            return refuse(.badRequest, "no objects", into: &effects)
        }
        if isForbidden?(identity) == true { return refuse(.forbidden, into: &effects) }
        what.name = name
        what.identity = identity
        guard let client = clients.register(what, from: turn.from, at: now) else {
            effects.verdict = .rejected(.catalogFull)
            return reply(.serviceUnavailable, into: &effects)
        }
        let start = effects.bytes.count
        var writer = begin(.created, into: &effects)
        writer.option(CoAPOptionNumber.locationPath, "rd".utf8, to: &effects.bytes)
        writer.option(
            CoAPOptionNumber.locationPath, clients.location(client), to: &effects.bytes)
        if let block = turn.block1 {
            writer.option(CoAPOptionNumber.block1, uint: block.value, to: &effects.bytes)
        }
        finish(from: start, .created, needsCommit: false, into: &effects)
        pump(client, needsCommit: false, at: now, into: &effects)
    }

    private func update(
        _ client: Int, _ message: CoAPMessage, _ datagram: Span<UInt8>, _ question: Question,
        at now: Instant, into effects: inout Effects
    ) {
        guard
            let what = described(
                message, datagram, question, isList: false, at: now, into: &effects)
        else { return }
        clients.update(client, what, from: turn.from, at: now)
        reply(.changed, into: &effects)
        pump(client, needsCommit: false, at: now, into: &effects)
    }

    /// What query and payload say; nil when that was answered already.
    private func described(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, _ question: Question, isList: Bool,
        at now: Instant, into effects: inout Effects
    ) -> LwM2MClients.Registration? {
        var what = LwM2MClients.Registration()
        if let text = query("lt=", message, datagram) {
            guard let seconds = UInt32(String(decoding: text, as: UTF8.self)) else {
                refuse(.badRequest, "bad lt", into: &effects)
                return nil
            }
            // 0: for ever (TS 1.1.1 section 6.2.1), which here is as long as any.
            what.lifetime =
                seconds == 0
                ? LwM2MClients.maximumLifetime
                : min(Int64(seconds) * 1000, LwM2MClients.maximumLifetime)
        }
        let binding = query("b=", message, datagram)
        let hasFlag = query("Q", message, datagram)?.isEmpty == true
        if isList || binding != nil || hasFlag {
            what.isQueued = hasFlag || (binding?.contains(0x51) ?? false)
        }
        guard let payload = payload(message, datagram, question, at: now, into: &effects) else {
            return nil
        }
        guard !payload.isEmpty else { return what }
        if let format = message.contentFormat, format != ContentFormats.linkFormat {
            refuse(.unsupportedContentFormat, into: &effects)
            return nil
        }
        do throws(Rejection) {
            what.objects = try ObjectList(payload.span)
        } catch {
            refuse(.badRequest, error.code, into: &effects)
            return nil
        }
        return what
    }

    /// The whole payload, assembled when it comes in blocks; nil: not whole, and that was answered.
    private func payload(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, _ question: Question, at now: Instant,
        into effects: inout Effects
    ) -> [UInt8]? {
        guard let block = message.block1 else { return bytes(datagram, message.payload) }
        let key = BlockAssembly.Key(endpoint: turn.from, resource: question.resource.value)
        guard let place = upload(block, message, datagram, key, at: now, into: &effects) else {
            return nil
        }
        return Array(effects.bytes[place])
    }

    /// What stands behind `prefix` in the query that begins with it.
    private func query(
        _ prefix: String, _ message: CoAPMessage, _ datagram: Span<UInt8>
    ) -> [UInt8]? {
        var found: [UInt8]?
        let prefix = Array(prefix.utf8)
        message.forEachOption(in: datagram) { option in
            guard option.number == CoAPOptionNumber.uriQuery else { return true }
            let text = bytes(datagram, option.value)
            guard text.starts(with: prefix) else { return true }
            found = Array(text[prefix.count...])
            return false
        }
        return found
    }

    private func bytes(_ datagram: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
        range.map { datagram[$0] }
    }
}
