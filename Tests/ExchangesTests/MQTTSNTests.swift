// The MQTT-SN gateway: connections, topics, the four qualities of service, sleep, forwarders.

import Exchanges
import Formats
import Model
import Testing

@Suite("MQTT-SN") struct MQTTSNTests {
    private func connect(
        _ name: String = "meter-1", flags: UInt8 = 4, seconds: UInt16 = 60
    ) -> [UInt8] {
        let body = [4, flags, 1, UInt8(seconds >> 8), UInt8(seconds & 255)] + Array(name.utf8)
        return [UInt8(body.count + 1)] + body
    }

    private func register(_ name: String, id: UInt16 = 5) -> [UInt8] {
        let body = [0x0A, 0, 0, UInt8(id >> 8), UInt8(id & 255)] + Array(name.utf8)
        return [UInt8(body.count + 1)] + body
    }

    /// `kind`: 0 normal, 1 predefined, 2 short.
    private func publish(
        _ payload: [UInt8], topic: UInt16 = 1, kind: UInt8 = 0, qos: UInt8 = 1, id: UInt16 = 9,
        again: Bool = false
    ) -> [UInt8] {
        let flags = (again ? 0x80 : 0) | qos << 5 | kind
        let body =
            [
                0x0C, flags, UInt8(topic >> 8), UInt8(topic & 255), UInt8(id >> 8), UInt8(id & 255),
            ] + payload
        return [UInt8(body.count + 1)] + body
    }

    private func connected(_ change: (inout ExchangeSettings) -> Void = { _ in }) -> Rig {
        let rig = Rig(.mqttSN, change)
        #expect(rig.receive(connect()).sent.map(\.bytes) == [[3, 5, 0]])
        #expect(rig.receive(register("up/water")).sent.map(\.bytes) == [[7, 0x0B, 0, 1, 0, 5, 0]])
        return rig
    }

    @Test("QoS 1 is acknowledged behind the commit; device and topic go with the frame")
    func qos1() {
        let rig = connected()
        let got = rig.receive(publish([1, 2, 3]))
        #expect(got.verdict == .frames)
        #expect(got.offered.map(\.payload) == [[1, 2, 3]])
        #expect(got.offered.map(\.device) == ["meter-1"])
        #expect(got.offered.map(\.path) == ["up/water"])
        #expect(got.offered.map(\.mayBeAgain) == [false])
        #expect(got.sent.map(\.bytes) == [[7, 0x0D, 0, 1, 0, 9, 0]])
        #expect(got.sent.map(\.needsCommit) == [true])
        let again = rig.receive(publish([1, 2, 3], again: true))
        #expect(again.offered.map(\.mayBeAgain) == [true])
        #expect(again.offered.map(\.messageKey) == got.offered.map(\.messageKey))
        #expect(
            rig.receive(publish([4], id: 10)).offered.first?.messageKey != got.offered[0].messageKey
        )
    }

    @Test("QoS 2 goes PUBREC behind the commit, PUBREL, PUBCOMP; QoS 0 and −1 stay unanswered")
    func others() {
        let rig = connected()
        let received = rig.receive(publish([1], qos: 2))
        #expect(received.sent.map(\.bytes) == [[4, 0x0F, 0, 9]])
        #expect(received.sent.map(\.needsCommit) == [true])
        #expect(rig.receive([4, 0x10, 0, 9]).sent.map(\.bytes) == [[4, 0x0E, 0, 9]])
        let zero = rig.receive(publish([1], qos: 0))
        #expect(zero.verdict == .frames)
        #expect(zero.sent.isEmpty)
        let stranger = Rig(.mqttSN)
        let minus = stranger.receive(publish([1], topic: 27, kind: 1, qos: 3))
        #expect(minus.offered.map(\.path) == ["predefined/27"])
        #expect(minus.offered.map(\.device) == [""])
        #expect(minus.sent.isEmpty)
        let short = stranger.receive(publish([1], topic: 0x5461, kind: 2, qos: 3))
        #expect(short.offered.map(\.path) == ["Ta"])
        // A registered topic cannot be without a connection.
        #expect(stranger.receive(publish([1], qos: 3)).verdict == .rejected(.unknownType))
    }

    @Test("who is not connected is disconnected, so that it connects; an unknown topic is named")
    func unknown() {
        let rig = Rig(.mqttSN)
        let got = rig.receive(publish([1]))
        #expect(got.verdict == .rejected(.unknownDevice))
        #expect(got.sent.map(\.bytes) == [[2, 0x18]])
        #expect(rig.receive(register("a")).sent.map(\.bytes) == [[2, 0x18]])
        rig.receive(connect())
        #expect(
            rig.receive(publish([1], topic: 7)).sent.map(\.bytes) == [[7, 0x0D, 0, 7, 0, 9, 2]])
    }

    @Test("topics choose their format by filter, the first that fits")
    func topics() {
        let rig = Rig(.mqttSN) {
            $0.formats = ["vendor", "b", "c"]
            $0.topics = [
                .init(name: Array("up/+/raw".utf8), format: 1),
                .init(name: Array("up/#".utf8), format: 2),
            ]
        }
        rig.receive(connect())
        for (number, row) in [
            ("up/7/raw", FormatChoice.one(1)), ("up/7/8/raw", .one(2)), ("up", .one(2)),
            ("upper", .listed), ("down/up", .listed),
        ].enumerated() {
            rig.receive(register(row.0))
            let topic = UInt16(number + 1)
            #expect(rig.receive(publish([1], topic: topic)).offered.map(\.formats) == [row.1])
        }
    }

    @Test("a will is asked for and connected at its end")
    func will() {
        let rig = Rig(.mqttSN)
        #expect(rig.receive(connect(flags: 0x0C)).sent.map(\.bytes) == [[2, 6]])
        #expect(rig.receive([4, 7, 0, 0x77]).sent.map(\.bytes) == [[2, 8]])
        #expect(rig.receive([6, 9, 1, 2, 3, 4]).sent.map(\.bytes) == [[3, 5, 0]])
    }

    @Test(
        "a connection ends with its silence, a sleep with its duration; a client may wake elsewhere"
    )
    func sleep() {
        let rig = connected()
        _ = rig.pass(milliseconds: 89_000)
        #expect(rig.receive([2, 0x16]).sent.map(\.bytes) == [[2, 0x17]])
        _ = rig.pass(milliseconds: 89_000)
        #expect(rig.exchange.clientCount == 1)
        #expect(rig.receive([4, 0x18, 0x0E, 0x10]).sent.map(\.bytes) == [[2, 0x18]])
        _ = rig.pass(milliseconds: 3_600_000)
        #expect(rig.exchange.clientCount == 1)
        let wake = [UInt8(9), 0x16] + Array("meter-1".utf8)
        #expect(rig.receive(wake, from: Rig.other).sent.map(\.to) == [Rig.other])
        #expect(rig.receive(publish([1]), from: Rig.other).offered.map(\.device) == ["meter-1"])
        #expect(rig.receive(publish([1])).verdict == .rejected(.unknownDevice))
        _ = rig.pass(milliseconds: 5_500_000)
        #expect(rig.exchange.clientCount == 0)
    }

    @Test("a client that connects again keeps its topics unless it wants a clean session")
    func clean() {
        let rig = connected()
        rig.receive(connect(flags: 0))
        #expect(rig.receive(publish([1])).offered.map(\.path) == ["up/water"])
        rig.receive(connect(flags: 4))
        #expect(rig.receive(publish([1])).offered.isEmpty)
        rig.receive([2, 0x18])
        #expect(rig.exchange.clientCount == 0)
    }

    @Test("behind a forwarder each node is a client of its own and is answered through it")
    func forwarder() {
        let rig = Rig(.mqttSN)
        func wrapped(_ node: UInt8, _ inner: [UInt8]) -> [UInt8] { [4, 0xFE, 1, node] + inner }
        for node in 1...2 as ClosedRange<UInt8> {
            let sent = rig.receive(wrapped(node, connect("node-\(node)"))).sent
            #expect(sent.map(\.bytes) == [[4, 0xFE, 1, node, 3, 5, 0]])
            rig.receive(wrapped(node, register("t")))
        }
        #expect(rig.exchange.clientCount == 2)
        let got = rig.receive(wrapped(2, publish([5])))
        #expect(got.offered.map(\.device) == ["node-2"])
        #expect(got.offered.map(\.payload) == [[5]])
        #expect(got.sent.map(\.bytes) == [[4, 0xFE, 1, 2, 7, 0x0D, 0, 1, 0, 9, 0]])
    }

    @Test("subscriptions are accepted, gateways found, refusals and no room are told")
    func manners() {
        let rig = connected()
        let subscribe = [UInt8(11), 0x12, 0, 0, 2] + Array("+/down".utf8)
        #expect(rig.receive(subscribe).sent.map(\.bytes) == [[8, 0x13, 0, 0, 0, 0, 2, 0]])
        #expect(rig.receive([3, 1, 0]).sent.map(\.bytes) == [[3, 2, 1]])
        rig.outcome = .refused(.malformed)
        let refused = rig.receive(publish([1]))
        #expect(refused.sent.map(\.bytes) == [[7, 0x0D, 0, 1, 0, 9, 3]])
        #expect(refused.sent.map(\.needsCommit) == [false])
        rig.hasRoom = false
        #expect(rig.receive(publish([1])).sent.map(\.bytes) == [[7, 0x0D, 0, 1, 0, 9, 1]])
        #expect(rig.receive(publish([1], qos: 0)).verdict == .rejected(.noRoom))
    }

    @Test("sessions and topics are bounded")
    func bounded() {
        let rig = Rig(.mqttSN) { $0.clients = 2 }
        for number in 0..<4 {
            let from = Endpoint.ipv4(1, port: UInt16(number + 1))
            let sent = rig.receive(connect("c\(number)"), from: from).sent
            #expect(sent.map(\.bytes) == [[3, 5, number < 2 ? 0 : 1]])
        }
        let first = Endpoint.ipv4(1, port: 1)
        for number in 0..<300 {
            let code = rig.receive(register("t/\(number)"), from: first).sent.first?.bytes.last
            #expect(code == (number < 256 ? 0 : 1))
        }
    }
}

@Suite("Semtech UDP") struct SemtechTests {
    private let eui: [UInt8] = [0xAC, 0x1F, 9, 0xFF, 0xFE, 1, 2, 3]

    private func push(_ json: String, token: UInt8 = 7) -> [UInt8] {
        [2, 0x55, token, 0] + eui + Array(json.utf8)
    }

    private func rig() -> Rig { Rig(.semtech) }

    @Test("the whole datagram is a frame, acknowledged behind the commit; a pull at once")
    func acknowledges() {
        let rig = rig()
        let wire = push(#"{"stat":{"rxnb":1}}"#)
        let got = rig.receive(wire)
        #expect(got.offered.map(\.payload) == [wire])
        #expect(got.offered.map(\.formats) == [.one(1)])
        #expect(got.sent == [Sent(bytes: [2, 0x55, 7, 1], to: Rig.device, needsCommit: true)])
        let pull = rig.receive([1, 9, 8, 2] + eui)
        #expect(pull.sent == [Sent(bytes: [1, 9, 8, 4], to: Rig.device, needsCommit: false)])
        #expect(pull.verdict == .control)
        #expect(rig.receive([2, 9, 8, 5] + eui).sent.isEmpty)
        #expect(rig.receive([2, 9, 8, 1]).verdict == .rejected(.badType))
        #expect(rig.receive([3, 9, 8, 0]).verdict == .rejected(.badVersion))
    }

    @Test("packets without LoRaWAN are frames of their own, when the radio found them good")
    func packets() {
        let rig = rig()
        // "aGVsbG8=" is hello, "QAECAwQAAQACqrvM3Q==" a LoRaWAN data frame.
        let json = #"""
            {"rxpk":[{"stat":1,"data":"aGVsbG8="},{"stat":-1,"data":"aGVsbG8="},
            {"stat":1,"data":"QAECAwQAAQACqrvM3Q=="},{"data":"aGVsbG8="},
            {"stat":1,"data":"aGVsbG8h"}]}
            """#
        let got = rig.receive(push(json))
        #expect(
            got.offered.dropFirst().map { String(decoding: $0.payload, as: UTF8.self) } == [
                "hello", "hello!",
            ])
        #expect(got.offered.dropFirst().map(\.formats) == [.listed, .listed])
        #expect(Set(got.offered.map(\.messageKey)).count == 3)
        #expect(got.sent.count == 1)
        let again = rig.receive(push(json))
        #expect(again.offered.map(\.messageKey) == got.offered.map(\.messageKey))
        let other = rig.receive(push(json, token: 8))
        #expect(
            Set(other.offered.map(\.messageKey)).isDisjoint(with: got.offered.map(\.messageKey)))
    }

    @Test("broken JSON is refused without an answer, and without room nothing is said")
    func broken() {
        let rig = rig()
        let got = rig.receive(push(#"{"rxpk":[{"stat":1,"#))
        #expect(got.offered.isEmpty)
        #expect(got.sent.isEmpty)
        rig.hasRoom = false
        #expect(rig.receive(push("{}")).verdict == .rejected(.noRoom))
        #expect(rig.receive([2, 9, 8, 2] + eui).sent.count == 1)
    }
}

@Suite("hostile datagrams") struct HostileTests {
    @Test(
        "whatever comes, every step ends, and strangers get no more than they sent",
        arguments: ExchangeKind.allCases)
    func noise(_ kind: ExchangeKind) {
        let seed: UInt64 = 20_261_121
        var random = SplitMix64(seed: seed)
        let rig = Rig(kind) { $0.observe = [Array("/3303/0/5700".utf8)] }
        let good: [[UInt8]] = [
            Coap(path: "/rd", query: ["ep=a"], payload: Array("</3303/0>".utf8)).format(40).bytes,
            Coap(path: "/x", payload: [1, 2, 3]).with(27, uint: 8).bytes,
            Coap(code: .content, token: CoAPToken(bits: 77, count: 8), payload: [1])
                .with(6, uint: 3).bytes,
            [9, 4, 4, 1, 0, 60, 0x61, 0x62, 0x63], [8, 0x0C, 0x20, 0, 1, 0, 9, 1],
            [4, 0xFE, 1, 2, 8, 0x0C, 0x20, 0, 1, 0, 9, 1],
            [2, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8]
                + Array(#"{"rxpk":[{"stat":1,"data":"aGk="}]}"#.utf8),
        ]
        for round in 0..<30_000 {
            var wire = good[Int(random.next() % UInt64(good.count))]
            for _ in 0..<random.next() % 4 {
                let at = Int(random.next() % UInt64(wire.count))
                switch random.next() % 3 {
                case 0: wire[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: wire.removeSubrange(at...)
                default: wire.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
                }
                if wire.isEmpty { wire = [0] }
            }
            rig.outcome = random.next() % 2 == 0 ? .taken : .refused(.malformed)
            rig.hasRoom = random.next() % 10 != 0
            let from = Endpoint.ipv4(7, port: UInt16(random.next() % 50 + 1))
            // `receive` reads every range.
            let got = rig.receive(wire, from: from)
            if round % 100 == 0 { _ = rig.pass(milliseconds: Int64(random.next() % 5000)) }
            for sent in got.sent where sent.to == from && kind != .lwm2m {
                #expect(sent.bytes.count <= max(wire.count, 8), "seed \(seed) round \(round)")
            }
        }
        #expect(rig.exchange.clientCount <= 60)
    }
}
