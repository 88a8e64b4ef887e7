// The server's side of the Semtech UDP packet forwarder (Lora-net PROTOCOL.TXT). The whole datagram
// is one frame of the format `semtech-udp` (the radio's own figures); each LoRa packet in it that
// is no LoRaWAN frame is another, for the source's formats. LoRaWAN payloads are encrypted and
// there are no keys here: they are not offered to formats, which might take noise for values. Owned
// by its Exchange.
//
// Invariants: PUSH_ACK leaves after the commit that holds what was taken; PULL_ACK at once; a
// packet whose radio checksum was not good is not looked into.

import Formats
import Model

final class SemtechReceiver {
    private let whole: FormatChoice?
    private let hasFormats: Bool
    private var message: SemtechMessage?
    private var from = Endpoint(high: 0, low: 0, port: 0)

    init(_ settings: ExchangeSettings) {
        whole = settings.place(of: "semtech-udp").map { .one($0) }
        // The list may name the whole datagram's format itself; then it names nothing for packets.
        hasFormats = settings.formats.prefix(settings.listed).contains { $0 != "semtech-udp" }
    }

    func step(
        _ datagram: Span<UInt8>, from: Endpoint, hasRoom: Bool, into effects: inout Effects
    ) {
        message = nil
        let message: SemtechMessage
        do throws(Rejection) {
            message = try SemtechMessage(datagram)
        } catch {
            effects.verdict = .rejected(error)
            return
        }
        self.from = from
        switch message.kind {
        case .pullData: answer(message, needsCommit: false, into: &effects)
        case .txAck: break
        case .pushData:
            guard hasRoom else {
                effects.verdict = .rejected(.noRoom)
                return
            }
            push(message, datagram, into: &effects)
        case .pushAck, .pullResponse, .pullAck:
            // A server's words, from somebody who should be a gateway.
            effects.verdict = .rejected(.badType)
        }
    }

    func settle(into effects: inout Effects) {
        guard let message else { return }
        // PUSH_ACK says that the datagram came, not that every packet meant something; but of a
        // datagram that is no PUSH_DATA at all nothing came.
        if case .refused = effects.frames.first?.outcome, effects.frames.count == 1, whole != nil {
            return
        }
        answer(message, needsCommit: true, into: &effects)
    }

    private func push(
        _ message: SemtechMessage, _ datagram: Span<UInt8>, into effects: inout Effects
    ) {
        let gateway = message.gateway ?? 0
        var digest = Digest(seed: 2)
        digest.add(gateway)
        digest.add(UInt64(message.token))
        let key = digest.value | 1
        if let whole {
            effects.frames.append(
                CarriedFrame(
                    payload: 0..<datagram.count, isAssembled: false, formats: whole, device: [],
                    path: [], messageKey: key))
        }
        if hasFormats {
            do throws(Rejection) {
                try message.forEachPacket(in: datagram) { packet in
                    carry(packet, datagram, key, &effects)
                    return true
                }
            } catch {
                effects.frames.removeAll(keepingCapacity: true)
                effects.verdict = .rejected(error)
                return
            }
        }
        guard !effects.frames.isEmpty else {
            return answer(message, needsCommit: false, into: &effects)
        }
        effects.verdict = .frames
        self.message = message
    }

    private func carry(
        _ packet: SemtechPacket, _ datagram: Span<UInt8>, _ key: UInt64,
        _ effects: inout Effects
    ) {
        guard packet.crc == .ok else { return }
        let start = effects.bytes.count
        let isGood = SemtechMessage.appendBase64(packet.data, of: datagram, to: &effects.bytes)
        let payload = start..<effects.bytes.count
        guard isGood, !payload.isEmpty, !isLoRaWAN(effects.bytes, payload) else {
            effects.bytes.removeLast(payload.count)
            return
        }
        effects.frames.append(
            CarriedFrame(
                payload: payload, isAssembled: true, formats: .listed, device: [], path: [],
                messageKey: key &+ UInt64(effects.frames.count) << 1))
    }

    /// Whether the bytes are an uplink of LoRaWAN 1.x: a join request or a data frame.
    private func isLoRaWAN(_ bytes: [UInt8], _ range: Range<Int>) -> Bool {
        switch LoRaWANHeader(bytes.span.extracting(range))?.kind {
        case .joinRequest, .rejoinRequest, .unconfirmedUp, .confirmedUp: true
        case .joinAccept, .unconfirmedDown, .confirmedDown, .proprietary, nil: false
        }
    }

    private func answer(
        _ message: SemtechMessage, needsCommit: Bool, into effects: inout Effects
    ) {
        let start = effects.bytes.count
        message.writeAnswer(to: &effects.bytes)
        effects.send(from: start, to: from, needsCommit: needsCommit)
    }
}
