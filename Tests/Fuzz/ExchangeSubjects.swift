// Conversations and lines under the fuzzer. An input of an exchange is a sequence of datagrams:
//
//   u8 control     bits 0-1 who of three endpoints, 2-4 what becomes of frames, 5 no room,
//                  6 cut by the kernel, 7 time passes until the exchange wants to be woken
//   u16 LE count   then so many bytes
//
// Laws: what is sent goes to somebody who spoke; a stranger gets no more than he sent (the list of
// resources three times, a client that just registered its location and one request); effects are
// bounded; the exchange never wants to be woken in the past again and again.

import Exchanges
import Formats
import Model

extension Subject {
    static let exchangeNames = ExchangeKind.allCases.map { "exchange:\($0.rawValue)" }

    static func exchanging(_ name: String) -> Subject? {
        guard let kind = ExchangeKind(rawValue: name) else { return nil }
        var settings = ExchangeSettings(kind: kind)
        settings.formats = ["reference-sensor"]
        settings.listed = 1
        for name in ExchangeSettings.implied(kind) { settings.formats.append(name) }
        settings.topics = [.init(name: Array("site/+/data".utf8), format: 0)]
        settings.observe = [Array("/3303/0/5700".utf8), Array("/3".utf8)]
        settings.rememberedMessages = 16
        settings.uploads = 2
        settings.uploadBytes = 4096
        settings.uploadBytesInAll = 6000
        settings.clients = 3
        let made = settings
        return Subject { bytes in
            var conversation = Conversation(made)
            conversation.run(bytes)
        }
    }

    /// Bytes 0-2: what ends the pattern, how it begins, how long it is; then a stream.
    static func linePatterns() -> Subject {
        Subject { bytes in
            guard bytes.count > 4 else { return }
            var pattern = LinePattern()
            let head = Int(bytes[0] & 7)
            let tail = Int(bytes[0] >> 4 & 3)
            guard bytes.count > 4 + head + tail else { return }
            pattern.prefix = Array(bytes[4..<4 + head])
            pattern.end = Array(bytes[4 + head..<4 + head + tail])
            pattern.bytes = LinePattern.Bytes.allCases[Int(bytes[1] % 3)]
            if bytes[1] & 0x80 != 0 { pattern.length = min(256, head + tail + Int(bytes[2])) }
            let stream = Array(bytes[(4 + head + tail)...])
            match(pattern, stream, cut: Int(bytes[3]) % (stream.count + 1))
        }
    }

    /// What is decided about a beginning stays decided when more bytes come.
    private static func match(_ pattern: LinePattern, _ stream: [UInt8], cut: Int) {
        let part = pattern.match(stream.span.extracting(0..<cut), at: 0)
        let all = pattern.match(stream.span, at: 0)
        law(part == .partial || part == all, "a pattern that changes its mind: \(part), \(all)")
        var patterns = LinePatterns()
        patterns.registration = pattern
        patterns.heartbeats = [pattern]
        for at in 0..<min(stream.count, 64) {
            for isNamed in [false, true] {
                let found = patterns.find(stream.span, at: at, isNamed: isNamed)
                let left = stream.count - at
                switch found {
                case .registration(let count, let name):
                    law(count > 0 && count <= left, "a registration beyond the stream")
                    law(name.lowerBound >= 0 && name.upperBound <= count, "a name outside")
                    let start = at + name.lowerBound
                    let bytes = stream.span.extracting(start..<start + name.count)
                    if let text = LinePattern.name(bytes) {
                        law(!text.isEmpty && text.utf8.count <= 40, "a name of \(text.count)")
                    }
                case .heartbeat(let count):
                    law(count > 0 && count <= left, "a heartbeat beyond the stream")
                case nil: break
                }
            }
        }
        _ = patterns.partial(stream.span, in: 0..<min(stream.count, 64), isNamed: false)
    }

    /// Two bytes an event: what happens, and how much time has passed.
    static func poller() -> Subject {
        let plan = makePlan()
        return Subject { bytes in
            var poller = LinePoller(plan)
            var now = Instant(nanoseconds: 1_000_000_000)
            for i in stride(from: 0, to: bytes.count - 1, by: 2) {
                let milliseconds = Int64(bytes[i + 1]) << Int64(bytes[i] >> 4 & 7)
                now = now.adding(milliseconds: milliseconds)
                let event = events[Int(bytes[i] & 15) % events.count]
                let before = poller.inFlight
                let effect = poller.step(event, now: now)
                if let number = effect.send {
                    law(number < plan.requests.count, "a request that does not exist")
                    law(poller.isOpen, "a request on a closed line")
                    law(poller.inFlight == number, "a request that is not in flight")
                    let request = plan.requests[number]
                    let sent = request.request.bytes(
                        request.arguments, transaction: effect.transaction)
                    law(sent.count == request.request.byteCount, "a request of another length")
                } else {
                    law(before != nil || poller.inFlight == nil, "a request that was not sent")
                    if case .heldUp = event { continue }
                    if let wakeAt = effect.wakeAt { law(wakeAt > now, "woken for nothing") }
                }
            }
            let counts = poller.counts
            law(counts.answered &+ counts.exceptions <= counts.sent, "more answers than requests")
        }
    }

    private static let events: [LinePoller.Event] = [
        .opened, .answered(isException: false), .timer, .mismatched, .heard, .heldUp, .closed,
        .answered(isException: true), .timer, .timer, .answered(isException: false),
    ]

    private static func least(_ parameter: RequestParameter) -> ParameterValue {
        switch parameter.kind {
        case .integer(let range): .number(range.lowerBound)
        case .digits(let count): .text(String(repeating: "1", count: count))
        }
    }

    private static func makePlan() -> PollPlan {
        var plan = PollPlan()
        plan.settings.gapMilliseconds = 20
        plan.settings.byteNanoseconds = 1_000_000
        for format in library.formats {
            for request in format.requests {
                let values = request.parameters.map { (name: $0.name, value: least($0)) }
                guard let arguments = try? request.arguments(values) else { continue }
                let interval = Int64(500 + 700 * plan.requests.count)
                plan.requests.append(
                    PollRequest(
                        format: 0, request: request, arguments: arguments,
                        intervalMilliseconds: interval))
                if plan.requests.count == 8 { return plan }
            }
        }
        return plan
    }
}

/// One input's conversation.
private struct Conversation {
    static let endpoints = (1...3).map { Endpoint.ipv4(0xC000_0200 + $0, port: 40_000) }
    static let outcomes: [FrameOutcome] = [
        .taken, .duplicate, .control, .refused(.malformed), .refused(.unknownDevice),
        .refused(.catalogFull), .refused(.oversized), .open,
    ]

    let kind: ExchangeKind
    let exchange: Exchange
    var effects = Effects()
    var now = Instant(nanoseconds: 1_000_000_000)
    var wakeAt: Instant?
    var spoke: Set<Endpoint> = []

    init(_ settings: ExchangeSettings) {
        kind = settings.kind
        exchange = Exchange(settings, seed: 7)
        exchange.isForbidden = { $0.first == 0x78 }
    }

    mutating func run(_ bytes: [UInt8]) {
        var at = 0
        while at + 3 <= bytes.count {
            let control = bytes[at]
            let count = Int(bytes[at + 1]) | Int(bytes[at + 2]) << 8
            let end = min(bytes.count, at + 3 + count)
            if control & 0x80 != 0 { pass() }
            receive(Array(bytes[at + 3..<end]), control)
            at = end
        }
        for _ in 0..<16 { pass() }
    }

    private mutating func receive(_ datagram: [UInt8], _ control: UInt8) {
        let from = Conversation.endpoints[Int(control & 3) % 3]
        now = now.adding(milliseconds: 10)
        exchange.step(
            datagram.span, from: from, isCut: control & 0x40 != 0, hasRoom: control & 0x20 == 0,
            at: now, into: &effects)
        spoke.insert(from)
        law(effects.frames.count <= 512, "\(effects.frames.count) frames of one datagram")
        for frame in effects.frames {
            let room = frame.isAssembled ? effects.bytes.count : datagram.count
            law(frame.payload.lowerBound >= 0 && frame.payload.upperBound <= room, "frame place")
            law(frame.device.count <= 64, "an identity of \(frame.device.count) bytes")
        }
        if effects.verdict == .frames {
            law(!effects.frames.isEmpty, "a verdict of frames without one")
            let outcome = Conversation.outcomes[Int(control >> 2 & 7)]
            for i in effects.frames.indices { effects.frames[i].outcome = outcome }
            exchange.settle(at: now, into: &effects)
        }
        checkSendings(datagram, from)
        noteWake()
    }

    /// What goes back is no longer than what came, but for the words of the protocols.
    private func checkSendings(_ datagram: [UInt8], _ from: Endpoint) {
        var toSender = 0
        for sending in effects.sendings {
            law(sending.bytes.upperBound <= effects.bytes.count, "sends what is not there")
            law(!sending.bytes.isEmpty, "sends nothing")
            law(spoke.contains(sending.to), "sends to somebody who never spoke")
            if sending.to == from { toSender += sending.bytes.count }
        }
        law(effects.sendings.count <= 32, "\(effects.sendings.count) datagrams for one")
        law(effects.bytes.count <= 1 << 16, "\(effects.bytes.count) bytes of effects")
        let isList = kind == .coap || kind == .lwm2m
        let bound = isList ? 3 * datagram.count : max(datagram.count, 12)
        let more = kind == .lwm2m && exchange.clientCount > 0 ? 96 : 0
        law(toSender <= bound + more, "\(toSender) bytes for \(datagram.count)")
    }

    /// Until the exchange wants to be woken, at most an hour.
    private mutating func pass() {
        let hour = now.adding(milliseconds: 3_600_000)
        now = max(now, min(wakeAt ?? hour, hour))
        var turns = 0
        repeat {
            exchange.timer(at: now, into: &effects)
            for sending in effects.sendings {
                law(spoke.contains(sending.to), "a timer sends to somebody who never spoke")
            }
            law(effects.sendings.count <= 64, "\(effects.sendings.count) datagrams of a timer")
            wakeAt = effects.wakeAt
            turns += 1
            law(turns <= 8, "wants to be woken at once, again and again")
        } while wakeAt.map { $0 <= now } ?? false
    }

    private mutating func noteWake() {
        guard let asked = effects.wakeAt else { return }
        wakeAt = min(wakeAt ?? asked, asked)
    }
}
