// What a device may ask: POST and PUT bring frames, GET lists the resources, /rd and /bs are LwM2M's
// (CoAPServer+Registration.swift). Part of CoAPServer.

import Formats
import Model

extension CoAPServer {
    /// One pass over the options that decide about a request.
    struct Question {
        var path: [UInt8] = []
        var segments = 0
        /// An If-Match with a tag, or If-None-Match: the resources here always exist and have no tags.
        var cannotMatch = false
        var isForProxy = false
        /// A Block option that cannot be read.
        var hasBadBlock = false
        var resource = Digest(seed: 0)
    }

    func request(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, hasRoom: Bool, at now: Instant,
        into effects: inout Effects
    ) {
        turn.noResponse = message.noResponse ?? 0
        turn.bringsContent = message.code.bringsContent && !message.payload.isEmpty
        if message.unknownCritical != nil {
            // RFC 7252 section 5.4.1: a NON is rejected without a word.
            guard message.kind == .confirmable else {
                effects.verdict = .rejected(.unknownRequiredField)
                return
            }
            effects.verdict = .rejected(.unknownRequiredField)
            return reply(.badOption, "unknown critical option", into: &effects)
        }
        let question = ask(message, datagram)
        defer { scratchPath = question.path }
        if question.isForProxy {
            return refuse(CoAPCode(5, 5), into: &effects)
        }
        if question.hasBadBlock { return refuse(.badRequest, "bad block option", into: &effects) }
        if question.cannotMatch { return refuse(.preconditionFailed, into: &effects) }
        if isLwM2M, registration(message, datagram, question, at: now, into: &effects) { return }
        switch message.code {
        case .get: get(message, question, into: &effects)
        case .post, .put:
            take(message, datagram, question, hasRoom: hasRoom, at: now, into: &effects)
        default:
            refuse(
                route(question.path) == nil ? .notFound : .methodNotAllowed, into: &effects)
        }
    }

    private func ask(_ message: CoAPMessage, _ datagram: Span<UInt8>) -> Question {
        var question = Question()
        // Its storage comes back when the request is worked off.
        swap(&question.path, &scratchPath)
        question.path.removeAll(keepingCapacity: true)
        message.forEachOption(in: datagram) { option in
            let value = datagram.extracting(option.value)
            switch option.number {
            case CoAPOptionNumber.uriPath:
                question.segments += 1
                question.path.append(0x2F)
                for i in value.indices { question.path.append(value[i]) }
                question.resource.add(value)
                question.resource.add(11)
            case CoAPOptionNumber.uriQuery:
                question.resource.add(value)
                question.resource.add(15)
            case CoAPOptionNumber.ifMatch: if value.count > 0 { question.cannotMatch = true }
            case CoAPOptionNumber.ifNoneMatch: question.cannotMatch = true
            case CoAPOptionNumber.proxyUri, CoAPOptionNumber.proxyScheme:
                question.isForProxy = true
            case CoAPOptionNumber.block1, CoAPOptionNumber.block2:
                let word = CoAPMessage.number(option.value, in: datagram)
                // RFC 7959 section 2.2: at most three bytes, and the exponent 7 is reserved.
                if value.count > 3 || word.map({ $0 & 7 == 7 }) ?? true {
                    question.hasBadBlock = true
                }
            default: break
            }
            return true
        }
        return question
    }

    /// Where frames of a path go.
    enum Route {
        /// To what their Content-Format says.
        case byContent
        case format(Int)
    }

    /// Nil: there is no such resource.
    func route(_ path: [UInt8]) -> Route? {
        if settings.paths.isEmpty { return .byContent }
        return settings.paths.first { $0.name == path }.map { .format($0.format) }
    }

    // MARK: Frames

    private func take(
        _ message: CoAPMessage, _ datagram: Span<UInt8>, _ question: Question, hasRoom: Bool,
        at now: Instant, into effects: inout Effects
    ) {
        // LwM2M Send (1.1): values of any of the client's resources.
        let isSend = isLwM2M && question.path == CoAPServer.sendPath
        guard let route = isSend ? .byContent : route(question.path) else {
            return refuse(.notFound, into: &effects)
        }
        if question.path == CoAPServer.corePath {
            return refuse(.methodNotAllowed, into: &effects)
        }
        if isLwM2M { turn.client = clients.find(endpoint: turn.from) }
        if isSend, turn.client == nil { return refuse(.notFound, into: &effects) }
        guard let formats = choice(route, message.contentFormat) else {
            return refuse(.unsupportedContentFormat, into: &effects)
        }
        guard hasRoom else { return noRoom(into: &effects) }
        var payload = message.payload
        var isAssembled = false
        if let block = message.block1 {
            let key = BlockAssembly.Key(
                endpoint: turn.from, resource: question.resource.value)
            guard let body = upload(block, message, datagram, key, at: now, into: &effects) else {
                return
            }
            payload = body
            isAssembled = true
        }
        guard !payload.isEmpty else { return refuse(.badRequest, "no payload", into: &effects) }
        if let client = turn.client { clients.heard(client, from: turn.from, at: now) }
        effects.verdict = .frames
        turn.kind = .request
        effects.frames.append(
            CarriedFrame(
                payload: payload, isAssembled: isAssembled, formats: formats,
                device: turn.client.map { clients.identity(of: $0) } ?? [],
                path: isSend ? [] : paths.text(question.path),
                messageKey: Digest.messageKey(turn.from, UInt64(message.messageID))))
    }

    private func choice(_ route: Route, _ contentFormat: UInt32?) -> FormatChoice? {
        switch route {
        case .format(let place): .one(place)
        case .byContent: choice(contentFormat)
        }
    }

    /// The formats for a Content-Format; nil: none (4.15).
    func choice(_ contentFormat: UInt32?) -> FormatChoice? {
        switch contentFormat {
        case nil, ContentFormats.text, ContentFormats.octets, 50: .listed
        default: byContent.first { $0.number == contentFormat }.map { .one($0.format) }
        }
    }

    /// One block; the body's place in `effects.bytes` when it is whole.
    func upload(
        _ block: CoAPBlock, _ message: CoAPMessage, _ datagram: Span<UInt8>,
        _ key: BlockAssembly.Key, at now: Instant, into effects: inout Effects
    ) -> Range<Int>? {
        turn.block1 = block
        if let size = message.size1, size > UInt32(clamping: settings.uploadBytes) {
            tooLarge(into: &effects)
            return nil
        }
        let step = assembly.take(
            datagram.extracting(message.payload), of: key, offset: Int(block.number) * block.size,
            size: block.size, hasMore: block.hasMore, at: now)
        switch step {
        case .more:
            reply(.continue, into: &effects)
        case .incomplete:
            refuse(.requestEntityIncomplete, into: &effects)
        case .tooLarge:
            tooLarge(into: &effects)
        case .wrong:
            refuse(.badRequest, "block of another size", into: &effects)
        case .complete(let slot):
            let start = effects.bytes.count
            effects.bytes.append(contentsOf: assembly.body(of: slot))
            assembly.remove(key)
            return start..<effects.bytes.count
        }
        return nil
    }

    /// Size1 says how much would be taken (RFC 7959 section 4).
    private func tooLarge(into effects: inout Effects) {
        effects.verdict = .rejected(.oversized)
        reply(
            .requestEntityTooLarge, CoAPOptionNumber.size1, UInt32(clamping: settings.uploadBytes),
            into: &effects)
    }

    private func noRoom(into effects: inout Effects) {
        effects.verdict = .rejected(.noRoom)
        if let place = turn.memory {
            memory.forget(place)
            turn.memory = nil
        }
        reply(
            .serviceUnavailable, CoAPOptionNumber.maxAge, CoAPServer.maxAgeWithoutRoom,
            into: &effects)
    }

    /// A refusal with one option, when that makes it no longer than the request.
    private func reply(
        _ code: CoAPCode, _ option: UInt32, _ value: UInt32, into effects: inout Effects
    ) {
        let start = effects.bytes.count
        var writer = begin(code, into: &effects)
        let head = effects.bytes.count
        writer.option(option, uint: value, to: &effects.bytes)
        if effects.bytes.count - start > turn.requestBytes {
            effects.bytes.removeLast(effects.bytes.count - head)
        }
        finish(from: start, code, needsCommit: false, into: &effects)
    }

    /// The answer to a request whose frame has its outcome.
    func answer(_ outcome: FrameOutcome, into effects: inout Effects) {
        switch outcome {
        case .taken, .duplicate, .control:
            reply(.changed, needsCommit: true, into: &effects)
        case .refused(.unknownDevice), .refused(.quarantined):
            reply(.forbidden, into: &effects)
        case .refused(.catalogFull):
            reply(.serviceUnavailable, into: &effects)
        case .refused(.oversized):
            reply(.requestEntityTooLarge, into: &effects)
        case .refused(let reason):
            reply(.badRequest, reason.code, into: &effects)
        case .open:
            reply(.internalServerError, into: &effects)
        }
    }

    // MARK: Answers

    /// An error that the protocol answers. The message counts as refused when content is lost with it, or
    /// when the source's policy refuses the device; a question that is answered with no is part of the
    /// conversation.
    func refuse(_ code: CoAPCode, _ why: String = "", into effects: inout Effects) {
        let isLost = turn.bringsContent || code == .forbidden
        effects.verdict = isLost ? .rejected(CoAPServer.rejection(code)) : .control
        reply(code, why, into: &effects)
    }

    private static func rejection(_ code: CoAPCode) -> Rejection {
        switch code {
        case .notFound, .methodNotAllowed, .unsupportedContentFormat, CoAPCode(5, 5): .unknownType
        case .forbidden: .unknownDevice
        case .requestEntityIncomplete: .truncated
        case .requestEntityTooLarge: .oversized
        default: .malformed
        }
    }

    func reply(
        _ code: CoAPCode, _ why: String = "", needsCommit: Bool = false,
        into effects: inout Effects
    ) {
        let start = effects.bytes.count
        var writer = begin(code, into: &effects)
        if let block = turn.block1 {
            writer.option(CoAPOptionNumber.block1, uint: block.value, to: &effects.bytes)
        }
        // A stranger's address may be forged: what goes back is no longer than what came.
        let room = turn.requestBytes - (effects.bytes.count - start) - 1
        if room > 0, !why.isEmpty { writer.payload(why.utf8.prefix(room), to: &effects.bytes) }
        finish(from: start, code, needsCommit: needsCommit, into: &effects)
    }

    // MARK: The list of resources

    static let corePath = Array("/.well-known/core".utf8)
    static let sendPath = Array("/dp".utf8)

    private func get(
        _ message: CoAPMessage, _ question: Question, into effects: inout Effects
    ) {
        guard question.path == CoAPServer.corePath else {
            return refuse(
                route(question.path) == nil ? .notFound : .methodNotAllowed, into: &effects)
        }
        if let accept = message.accept, accept != ContentFormats.linkFormat {
            return refuse(CoAPCode(4, 6), into: &effects)
        }
        let list = resources
        // The list is the one answer that may be longer than its request: three times at most, as
        // RFC 9000 section 8.1 bounds it for addresses that are not yet proven.
        let overhead = 4 + Int(turn.message.token.count) + 8
        let room = 3 * turn.requestBytes - overhead
        var exponent = min(message.block2?.sizeExponent ?? 6, 6)
        while exponent > 0, 1 << (Int(exponent) + 4) > room { exponent -= 1 }
        let size = 1 << (Int(exponent) + 4)
        // A smaller block than asked for begins at the same byte.
        let asked = message.block2.map { Int($0.number) * $0.size } ?? 0
        guard asked == 0 || asked < list.count else {
            return refuse(.badRequest, "no such block", into: &effects)
        }
        let end = min(asked + size, list.count)
        let start = effects.bytes.count
        var writer = begin(.content, into: &effects)
        writer.option(
            CoAPOptionNumber.contentFormat, uint: ContentFormats.linkFormat, to: &effects.bytes)
        if message.block2 != nil || end < list.count {
            let block = CoAPBlock(
                number: UInt32(asked / size), hasMore: end < list.count, sizeExponent: exponent)
            writer.option(CoAPOptionNumber.block2, uint: block.value, to: &effects.bytes)
        }
        writer.payload(list[asked..<end], to: &effects.bytes)
        effects.verdict = .control
        finish(from: start, .content, needsCommit: false, into: &effects)
    }

    /// RFC 6690. Without configured paths every path takes frames; `/` stands for them.
    private var resources: [UInt8] {
        var links: [String] = []
        if isLwM2M { links.append("</rd>;rt=\"core.rd\"") }
        for path in settings.paths {
            links.append("<\(String(decoding: path.name, as: UTF8.self))>")
        }
        if links.isEmpty { links.append("</>") }
        return Array(links.joined(separator: ",").utf8)
    }
}

extension CoAPCode {
    /// A request whose payload is something to keep: POST, PUT, PATCH and iPATCH (RFC 8132). What FETCH
    /// brings is a question.
    fileprivate var bringsContent: Bool { group == 0 && [2, 3, 6, 7].contains(detail) }
}
