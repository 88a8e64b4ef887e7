// Conversations in the intake: answers behind the commit, envelopes in the journal, retransmissions
// that cross a restart, and the ledger whatever comes.

import Catalog
import Exchanges
import Formats
import Model
import Pipeline
import Simulator
import Spool
import Testing

/// A frame as the journal gives it back.
struct Journaled {
    var bytes: [UInt8]
    var source: JournalSource
    var receivedAt: Timestamp
}

/// The frames of a part, by the layout that the head of Spool/Journal.swift draws.
func frames(of part: JournalPart) throws -> [Journaled] {
    var head = ByteReader(part.bytes, from: 16)
    var time = try head.i64()
    var end = ByteReader(part.bytes, from: 32)
    let framesEnd = Int(try end.u32())
    var trailer = ByteReader(part.bytes, from: framesEnd)
    var sources: [JournalSource] = []
    for _ in 0..<(try trailer.varint()) {
        let name = try trailer.text(limit: 4096)
        sources.append(JournalSource(name: name, format: try trailer.text(limit: 4096)))
    }
    var reader = ByteReader(part.bytes, from: 40)
    var all: [Journaled] = []
    for _ in 0..<part.frameCount {
        let source = sources[Int(try reader.varint())]
        let zigzag = try reader.varint()
        time += Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
        let bytes = try reader.blob(limit: framesEnd)
        all.append(
            Journaled(bytes: bytes, source: source, receivedAt: Timestamp(milliseconds: time)))
    }
    return all
}

private func exchangeRig(
    _ kind: ExchangeKind, formats: [String] = ["sluice-reference"],
    policy: DevicePolicy = .accept, observe: [String] = [],
    settings: IntakeSettings = IntakeRig.settings()
) -> IntakeRig {
    var source = IntakeRig.source(formats, policy: policy)
    var exchange = ExchangeSettings(kind: kind)
    exchange.listed = formats.count
    exchange.observe = observe.map { Array($0.utf8) }
    for name in ExchangeSettings.implied(kind) where !formats.contains(name) {
        if let format = Formats.library.format(named: name) { source.formats.append(format) }
    }
    source.exchange = exchange
    return IntakeRig(sources: [source], settings: settings)
}

private func coap(
    _ payload: [UInt8], id: UInt16 = 1, format: UInt32? = nil, path: [String] = ["t", "r"],
    query: [String] = [], code: CoAPCode = .post
) -> [UInt8] {
    var bytes: [UInt8] = []
    var writer = CoAPWriter(
        kind: .confirmable, code: code, messageID: id, token: CoAPToken(bits: 7, count: 1),
        to: &bytes)
    for part in path { writer.option(CoAPOptionNumber.uriPath, part.utf8, to: &bytes) }
    if let format { writer.option(CoAPOptionNumber.contentFormat, uint: format, to: &bytes) }
    for part in query { writer.option(CoAPOptionNumber.uriQuery, part.utf8, to: &bytes) }
    writer.payload(payload, to: &bytes)
    return bytes
}

private func answer(_ rig: IntakeRig, _ place: Int = 0) -> CoAPMessage? {
    guard rig.answers.indices.contains(place) else { return nil }
    let bytes = rig.answers[place].bytes
    return try? CoAPMessage(bytes.span)
}

@Suite("Intake: exchanges")
struct IntakeExchangeTests {
    private let frame = ReferenceFrame(device: 0xA0, sequence: 1)

    @Test(
        "a frame in a CoAP request is answered 2.04 after the commit that holds it, and by nothing else"
    )
    func coapAnswer() throws {
        let rig = exchangeRig(.coap)
        rig.datagram(coap(frame.bytes))
        rig.endTurn()
        #expect(rig.answers.isEmpty)
        #expect(rig.drain().count == 5)
        rig.pass(milliseconds: 25)
        #expect(rig.parts.count == 1)
        #expect(rig.answers.isEmpty)
        rig.commit()
        #expect(rig.answers.count == 1)
        #expect(answer(rig)?.code == .changed)
        #expect(rig.counters.framesDecoded == 1)
        #expect(rig.counters.framesAnswered == 1)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("a retransmission is a duplicate and waits for the same commit")
    func retransmission() {
        let rig = exchangeRig(.coap)
        rig.datagram(coap(frame.bytes))
        rig.datagram(coap(frame.bytes))
        rig.endTurn()
        #expect(rig.answers.isEmpty)
        rig.pass(milliseconds: 25)
        rig.commit()
        #expect(rig.answers.map(\.bytes).count == 2)
        #expect(rig.answers[0].bytes == rig.answers[1].bytes)
        #expect(rig.counters.framesReceived == 2)
        #expect(rig.counters.framesDuplicate == 1)
        #expect(rig.drain().count == 5)
    }

    @Test(
        "the journal alone brings a carried frame back, and knows its retransmission after a restart"
    )
    func restart() throws {
        let senml = Array(#"[{"n":"temp","u":"Cel","v":21.5}]"#.utf8)
        let wires = [
            coap(frame.bytes),
            coap(
                Array(
                    #"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":21.5}]"#.utf8),
                id: 2, format: 110),
        ]
        for isCovered in [false, true] {
            let before = exchangeRig(.coap)
            for wire in wires { before.datagram(wire) }
            before.endTurn()
            before.pass(milliseconds: 300)
            #expect(before.counters.framesDecoded == 2)
            let old = before.drain()
            let after = exchangeRig(.coap)
            after.time.advance(milliseconds: 2000)
            for part in before.parts {
                for frame in try frames(of: part) {
                    after.stage.replay(
                        frame.bytes.span, source: frame.source, receivedAt: frame.receivedAt,
                        isCovered: isCovered)
                }
            }
            #expect(after.stage.publishReplayed())
            let new = after.drain()
            #expect(new.map(\.value) == (isCovered ? [] : old.map(\.value)))
            for wire in wires { after.datagram(wire) }
            after.endTurn()
            #expect(after.counters.framesDuplicate == 2)
            #expect(after.drain().isEmpty)
            #expect(
                after.answers.map { (try? CoAPMessage($0.bytes.span))?.code } == [
                    .changed, .changed,
                ])
            // Another message with the same payload is news where the payload says nothing of itself.
            after.datagram(coap(senml, id: 3, format: 110))
        }
    }

    @Test("unknown devices are forbidden or set aside, and are told so")
    func policies() {
        for (policy, reason) in [
            (DevicePolicy.reject, Rejection.unknownDevice), (.quarantine, .quarantined),
        ] {
            let rig = exchangeRig(.coap, policy: policy)
            rig.datagram(coap(frame.bytes))
            rig.endTurn()
            #expect(answer(rig)?.code == .forbidden)
            #expect(rig.counters[reason] == 1)
            rig.stage.flush()
            #expect(rig.quarantined.map(\.bytes) == (policy == .quarantine ? [frame.bytes] : []))
        }
    }

    @Test("bytes that no format takes are 4.00 at once and counted by their reason")
    func refused() {
        let rig = exchangeRig(.coap)
        rig.datagram(coap(Array(repeating: 9, count: 40)))
        rig.endTurn()
        #expect(answer(rig)?.code == .badRequest)
        #expect(rig.counters.framesRejected == 1)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("a notification's device is the endpoint's name, its stream the resource")
    func lwm2m() throws {
        let rig = exchangeRig(.lwm2m, observe: ["/3303/0/5700"])
        rig.datagram(
            coap(
                Array("</3303/0>".utf8), format: 40, path: ["rd"],
                query: ["ep=urn:imei:866", "lt=300"]))
        rig.endTurn()
        #expect(answer(rig)?.code == .created)
        let ask = try #require(answer(rig, 1))
        #expect(ask.code == .get)
        var notify: [UInt8] = []
        var writer = CoAPWriter(
            kind: .acknowledgement, code: .content, messageID: ask.messageID,
            token: ask.tokenValue, to: &notify)
        writer.option(CoAPOptionNumber.observe, uint: 1, to: &notify)
        writer.option(CoAPOptionNumber.contentFormat, uint: 0, to: &notify)
        writer.payload("21.5".utf8, to: &notify)
        rig.datagram(notify)
        rig.endTurn()
        #expect(rig.drain().map(\.value) == [.decimal(215, exponent: -1)])
        let names = rig.entries.map { entry in
            switch entry {
            case .device(let device): device.identity
            case .stream(let stream): stream.name
            }
        }
        #expect(names.first == "urn:imei:866")
        #expect(names.count == 2)
        #expect(rig.stage.levels.clients == 1)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("an unknown endpoint may not register at a source that rejects unknown devices")
    func forbiddenRegistration() {
        let rig = exchangeRig(.lwm2m, policy: .reject)
        let register = coap(
            Array("</3/0>".utf8), format: 40, path: ["rd"], query: ["ep=urn:imei:866"])
        rig.datagram(register)
        rig.endTurn()
        #expect(answer(rig)?.code == .forbidden)
    }

    @Test("an observe request that stays unanswered goes out again with the timer")
    func timers() {
        let rig = exchangeRig(.lwm2m, observe: ["/3/0/9"])
        rig.datagram(
            coap(Array("</3/0>".utf8), format: 40, path: ["rd"], query: ["ep=a", "lt=300"]))
        rig.endTurn()
        #expect(rig.answers.count == 2)
        for _ in 0..<200 { rig.pass(milliseconds: 500) }
        #expect(rig.answers.count == 6)
    }

    @Test("MQTT-SN: acknowledged behind the commit; a repeated id is a repetition only with DUP")
    func mqttSN() {
        let rig = exchangeRig(.mqttSN, formats: ["senml-json"])
        let payload = Array(#"[{"n":"temp","u":"Cel","v":21.5}]"#.utf8)
        func publish(_ flags: UInt8) -> [UInt8] {
            let body = [0x0C, flags, 0x54, 0x61, 0, 9] + payload
            return [UInt8(body.count + 1)] + body
        }
        rig.datagram([9, 4, 4, 1, 0, 60] + Array("m-1".utf8))
        rig.datagram(publish(0x22))
        rig.endTurn()
        #expect(rig.answers.map(\.bytes) == [[3, 5, 0]])
        rig.datagram(publish(0xA2))
        rig.datagram(publish(0x22))
        rig.endTurn()
        rig.pass(milliseconds: 25)
        rig.commit()
        #expect(rig.answers.count == 4)
        #expect(rig.counters.framesDecoded == 2)
        #expect(rig.counters.framesDuplicate == 1)
        #expect(rig.drain().count == 2)
    }

    @Test("each packet of a Semtech datagram counts as a frame; the acknowledgement waits for all")
    func semtech() {
        let rig = exchangeRig(.semtech)
        func base64(_ bytes: [UInt8]) -> String {
            let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
            var text = ""
            for start in stride(from: 0, to: bytes.count, by: 3) {
                let part = bytes[start..<min(start + 3, bytes.count)]
                var word = part.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - part.count))
                var four = ""
                for place in 0..<4 {
                    four = (place < 3 - part.count ? "=" : String(letters[word & 63])) + four
                    word >>= 6
                }
                text += four
            }
            return text
        }
        let packets = (1...3).map { number in
            let frame = ReferenceFrame(device: 0xB0, sequence: UInt32(number))
            return #"{"stat":1,"rssi":-50,"size":64,"data":"\#(base64(frame.bytes))"}"#
        }
        let json = #"{"rxpk":[\#(packets.joined(separator: ","))]}"#
        rig.datagram([2, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8] + Array(json.utf8))
        rig.endTurn()
        #expect(rig.counters.datagrams == 1)
        #expect(rig.counters.framesDecoded >= 3)
        #expect(rig.counters.framesUnaccounted == 0)
        #expect(rig.drain().count >= 15)
        #expect(rig.answers.isEmpty)
        rig.pass(milliseconds: 25)
        rig.commit()
        #expect(rig.answers.map(\.bytes) == [[2, 1, 2, 1]])
    }

    @Test("the ledger balances whatever comes", arguments: ExchangeKind.allCases)
    func ledger(_ kind: ExchangeKind) {
        let seed: UInt64 = 4711
        var random = SplitMix64(seed: seed)
        let rig = exchangeRig(kind, observe: kind == .lwm2m ? ["/3303/0/5700"] : [])
        let good = [
            coap(frame.bytes), coap([1, 2, 3], format: 112),
            coap(Array("</3303/0>".utf8), format: 40, path: ["rd"], query: ["ep=a"]),
            [9, 4, 4, 1, 0, 60, 0x6D, 0x2D, 0x31], [9, 0x0C, 0x22, 0x54, 0x61, 0, 9, 0x5B, 0x5D],
            [2, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8]
                + Array(#"{"rxpk":[{"stat":1,"data":"aGk="}]}"#.utf8),
        ]
        for round in 0..<4000 {
            var wire = good[random.below(good.count)]
            for _ in 0..<random.below(3) where !wire.isEmpty {
                wire[random.below(wire.count)] = UInt8(truncatingIfNeeded: random.next())
            }
            if random.below(20) == 0 { wire.removeLast(min(wire.count, random.below(9))) }
            rig.datagram(wire, port: UInt16(random.within(1...20)))
            if round % 16 == 0 {
                rig.endTurn()
                _ = rig.drain()
                rig.pass(milliseconds: 300)
                rig.commit()
            }
            #expect(rig.counters.framesUnaccounted == 0, "seed \(seed) round \(round)")
        }
        #expect(rig.counters.readingsUnaccounted == 0)
    }
}
