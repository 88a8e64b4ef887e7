// The codec `coap`: one message (RFC 7252) with its options, and its payload by Content-Format. A
// payload that is not what its Content-Format says leaves the message what it is: it is kept as
// bytes and yields nothing. Duplicates, acknowledgements and blocks are the exchange's business,
// not this codec's.

import Model

extension Machine {
    mutating func coap<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        let message = try CoAPMessage(cursor, position..<limit)
        if S.explains { show(message, &sink) }
        let before = sink.readingCount
        let end = limit
        if direction == .up, isWhole(message) {
            position = message.payload.lowerBound
            limit = message.payload.upperBound
            try content(message, at, &sink)
        }
        limit = end
        position = end
        if sink.readingCount == before { sink.control() }
    }

    private func isWhole(_ message: CoAPMessage) -> Bool {
        if message.payload.isEmpty { return false }
        if let block = message.block1, block.hasMore || block.number > 0 { return false }
        if let block = message.block2, block.hasMore || block.number > 0 { return false }
        return true
    }

    private enum Content {
        case senmlCBOR, senmlJSON, tlv, json, cbor
    }

    private mutating func content<S: FrameSink>(
        _ message: CoAPMessage, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let kind: Content
        switch message.contentFormat {
        case 110: kind = .senmlJSON
        case 112: kind = .senmlCBOR
        case 60: kind = .cbor
        case 11_542, 1_542: kind = .tlv
        case 11_543, 1_543: kind = .json
        default: return
        }
        let hadPath = work.path.count > 0
        if !hadPath, kind == .tlv || kind == .json { pathOf(message) }
        try whole(kind, at, &sink)
        if !hadPath { work.path.clear() }
    }

    /// Half a payload yields nothing.
    private mutating func whole<S: FrameSink>(
        _ kind: Content, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let known = work.identity.count
        work.names.clear()
        if S.forgets {
            let mark = sink.mark()
            let from = position
            do throws(Rejection) {
                try run(kind, at, &sink)
                return
            } catch {
                sink.forget(since: mark)
                work.names.clear()
                work.identity.cut(to: known)
                // Too many readings refuse the frame, too many names only its payload: see below.
                if error != .oversized { return }
                position = from
            }
        }
        try judged(kind, at, &sink)
    }

    @inline(never)
    private mutating func judged<S: FrameSink>(
        _ kind: Content, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let known = work.identity.count
        var probe = self
        var nothing = NoSink()
        var isGood = true
        do throws(Rejection) { try probe.run(kind, at, &nothing) } catch { isGood = false }
        work.names.clear()
        work.identity.cut(to: known)
        if isGood { try run(kind, at, &sink) }
    }

    private mutating func run<S: FrameSink>(
        _ kind: Content, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        switch kind {
        case .senmlJSON: try senMLJSON(at, &sink)
        case .senmlCBOR: try senMLCBOR(at, &sink)
        case .tlv: try lwM2MTLV(at, &sink)
        case .json: try lwM2MJSON(at, &sink)
        case .cbor: try cbor(at, &sink)
        }
    }

    private func pathOf(_ message: CoAPMessage) {
        var places = CoAPMessage.OptionPlace(message)
        while let option = places.next(cursor), option.number <= CoAPOptionNumber.uriPath {
            guard option.number == CoAPOptionNumber.uriPath else { continue }
            work.path.append(0x2F)
            for i in option.value { work.path.append(cursor.byte(i) ?? 0) }
        }
    }

    // MARK: Tree

    func show<S: FrameSink>(_ message: CoAPMessage, _ sink: inout S) {
        let start = position
        sink.leaf("type", start..<start &+ 1, .text(message.kind.text), self)
        sink.leaf("code", start &+ 1..<start &+ 2, .text(message.code.text), self)
        sink.leaf(
            "message_id", start &+ 2..<start &+ 4, .number(.decimal(Int64(message.messageID))), self
        )
        sink.leaf("token", message.token, .bytes(cursor.bytes(message.token)), self)
        var path = ""
        var query: [(Range<Int>, String)] = []
        sink.openList("options", at: message.options.lowerBound, machine: self)
        var places = CoAPMessage.OptionPlace(message)
        while let option = places.next(cursor) {
            let text = String(decoding: cursor.bytes(option.value), as: UTF8.self)
            if option.number == CoAPOptionNumber.uriPath { path += "/" + text }
            if option.number == CoAPOptionNumber.uriQuery { query.append((option.value, text)) }
            show(option, text, &sink)
        }
        sink.close()
        if !path.isEmpty { sink.leaf("path", message.options, .text(path), self) }
        if !query.isEmpty {
            sink.openList("query", at: message.options.lowerBound, machine: self)
            for (range, text) in query { sink.leaf("", range, .text(text), self) }
            sink.close()
        }
        if !message.payload.isEmpty {
            sink.leaf("payload", message.payload, .bytes(cursor.bytes(message.payload)), self)
        }
        let kind =
            message.isEmpty
            ? "empty"
            : message.code.isRequest ? "request" : message.code.isResponse ? "response" : "reserved"
        sink.leaf("kind", start &+ 1..<start &+ 2, .text(kind), self)
    }

    private func show<S: FrameSink>(_ option: CoAPOption, _ text: String, _ sink: inout S) {
        let rule = CoAPOptionNumber.rule(option.number)
        sink.openObject("", at: option.value.lowerBound, machine: self)
        sink.leaf("number", option.value, .number(.decimal(Int64(option.number))), self)
        sink.leaf("hex", option.value, .bytes(cursor.bytes(option.value)), self)
        if let rule {
            sink.leaf("name", option.value, .text(rule.name), self)
            if rule.isText { sink.leaf("string", option.value, .text(text), self) }
            if rule.isNumber, let number = CoAPMessage.number(option.value, cursor) {
                sink.leaf("uint", option.value, .number(.decimal(Int64(number))), self)
                if option.number == CoAPOptionNumber.block1
                    || option.number == CoAPOptionNumber.block2
                {
                    show(CoAPBlock(value: number), option.value, &sink)
                }
            }
        }
        sink.close()
    }

    private func show<S: FrameSink>(_ block: CoAPBlock, _ range: Range<Int>, _ sink: inout S) {
        sink.openObject("block", at: range.lowerBound, machine: self)
        sink.leaf("num", range, .number(.decimal(Int64(block.number))), self)
        sink.leaf("more", range, .boolean(block.hasMore), self)
        sink.leaf("size", range, .number(.decimal(Int64(block.size))), self)
        sink.close()
    }
}

extension CoAPOptionNumber {
    /// Name of an option and how its value reads (RFC 7252 table 4 and the RFCs after it).
    static func rule(_ number: UInt32) -> (name: String, isText: Bool, isNumber: Bool)? {
        switch number {
        case 1: ("If-Match", false, false)
        case 3: ("Uri-Host", true, false)
        case 4: ("ETag", false, false)
        case 5: ("If-None-Match", false, false)
        case 6: ("Observe", false, true)
        case 7: ("Uri-Port", false, true)
        case 8: ("Location-Path", true, false)
        case 11: ("Uri-Path", true, false)
        case 12: ("Content-Format", false, true)
        case 14: ("Max-Age", false, true)
        case 15: ("Uri-Query", true, false)
        case 16: ("Hop-Limit", false, true)
        case 17: ("Accept", false, true)
        case 20: ("Location-Query", true, false)
        case 23: ("Block2", false, true)
        case 27: ("Block1", false, true)
        case 28: ("Size2", false, true)
        case 35: ("Proxy-Uri", true, false)
        case 39: ("Proxy-Scheme", true, false)
        case 60: ("Size1", false, true)
        case 258: ("No-Response", false, true)
        default: nil
        }
    }
}
