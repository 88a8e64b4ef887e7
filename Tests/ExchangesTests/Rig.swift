// One exchange with a clock that stands still, and helpers that write what devices send and read
// what they get. The tests play the intake: they say what became of each frame.

import Exchanges
import Formats
import Model

/// What went out, as the device sees it.
struct Sent: Equatable {
    var bytes: [UInt8]
    var to: Endpoint
    var needsCommit: Bool
}

/// What the formats were offered.
struct Offered: Equatable {
    var payload: [UInt8]
    var formats: FormatChoice
    var device: String
    var path: String
    var messageKey: UInt64
    var mayBeAgain: Bool
}

final class Rig {
    static let device = Endpoint.ipv4(0xC000_0201, port: 40_001)
    static let other = Endpoint.ipv4(0xC000_0202, port: 40_002)

    let exchange: Exchange
    var now = Instant(nanoseconds: 1_000_000_000)
    var effects = Effects()
    /// What becomes of frames.
    var outcome = FrameOutcome.taken
    var hasRoom = true

    init(
        _ kind: ExchangeKind, seed: UInt64 = 7,
        _ change: (inout ExchangeSettings) -> Void = { _ in }
    ) {
        var settings = ExchangeSettings(kind: kind)
        settings.formats = ["vendor"]
        settings.listed = 1
        for name in ExchangeSettings.implied(kind) where !settings.formats.contains(name) {
            settings.formats.append(name)
        }
        change(&settings)
        exchange = Exchange(settings, seed: seed)
    }

    /// One datagram from a device: what was offered and what is answered.
    @discardableResult
    func receive(
        _ bytes: [UInt8], from: Endpoint = Rig.device, isCut: Bool = false
    ) -> (verdict: Effects.Verdict, offered: [Offered], sent: [Sent]) {
        exchange.step(
            bytes.span, from: from, isCut: isCut, hasRoom: hasRoom, at: now, into: &effects)
        let offered = effects.frames.map { frame in
            Offered(
                payload: Array((frame.isAssembled ? effects.bytes : bytes)[frame.payload]),
                formats: frame.formats, device: text(frame.device), path: text(frame.path),
                messageKey: frame.messageKey, mayBeAgain: frame.mayBeAgain)
        }
        if effects.verdict == .frames {
            for i in effects.frames.indices { effects.frames[i].outcome = outcome }
            exchange.settle(at: now, into: &effects)
        }
        return (effects.verdict, offered, sent)
    }

    func pass(milliseconds: Int64) -> [Sent] {
        now = now.adding(milliseconds: milliseconds)
        exchange.timer(at: now, into: &effects)
        return sent
    }

    var sent: [Sent] {
        effects.sendings.map {
            Sent(bytes: Array(effects.bytes[$0.bytes]), to: $0.to, needsCommit: $0.needsCommit)
        }
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}

/// A CoAP message as a device writes it.
struct Coap {
    var kind = CoAPMessage.Kind.confirmable
    var code = CoAPCode.post
    var id: UInt16 = 1
    var token = CoAPToken(bits: 0xAB12, count: 2)
    var path = ""
    var query: [String] = []
    /// Further options; the numbers may stand in any order.
    var options: [(UInt32, [UInt8])] = []
    var payload: [UInt8] = []

    func format(_ number: UInt32) -> Coap { with(12, uint: number) }

    func with(_ number: UInt32, uint: UInt32) -> Coap {
        var copy = self
        var bytes = (0..<4).map { UInt8(truncatingIfNeeded: uint >> UInt32(24 - 8 * $0)) }
        while bytes.first == 0 { bytes.removeFirst() }
        copy.options.append((number, bytes))
        return copy
    }

    var bytes: [UInt8] {
        var all = options
        for part in path.split(separator: "/") { all.append((11, Array(part.utf8))) }
        for part in query { all.append((15, Array(part.utf8))) }
        var bytes: [UInt8] = []
        var writer = CoAPWriter(kind: kind, code: code, messageID: id, token: token, to: &bytes)
        // Stable: the parts of a path keep their order.
        for number in Set(all.map(\.0)).sorted() {
            for option in all where option.0 == number {
                writer.option(number, option.1, to: &bytes)
            }
        }
        writer.payload(payload, to: &bytes)
        return bytes
    }
}

/// An answer, read back.
struct Read: Equatable {
    var kind: CoAPMessage.Kind
    var code: String
    var id: UInt16
    var token: CoAPToken
    var options: [UInt32: [[UInt8]]]
    var payload: [UInt8]

    init?(_ bytes: [UInt8]) {
        guard let message = try? CoAPMessage(bytes.span) else { return nil }
        kind = message.kind
        code = message.code.text
        id = message.messageID
        token = message.tokenValue
        var all: [UInt32: [[UInt8]]] = [:]
        message.forEachOption(in: bytes.span) { option in
            all[option.number, default: []].append(Array(bytes[option.value]))
            return true
        }
        options = all
        payload = Array(bytes[message.payload])
    }

    func uint(_ number: UInt32) -> UInt32? {
        options[number]?.first.map { $0.reduce(0) { $0 << 8 | UInt32($1) } }
    }

    var path: String {
        (options[11] ?? []).map { "/" + String(decoding: $0, as: UTF8.self) }.joined()
    }

    var text: String { String(decoding: payload, as: UTF8.self) }
}

func bytes(hex: String) -> [UInt8] {
    let digits = hex.utf8.compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
    return stride(from: 0, to: digits.count - 1, by: 2).map {
        UInt8(digits[$0] * 16 + digits[$0 + 1])
    }
}
