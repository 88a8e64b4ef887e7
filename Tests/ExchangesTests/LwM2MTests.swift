// The LwM2M server: registrations, observations, notifications, sleep, restarts.

import Exchanges
import Formats
import Model
import Testing

@Suite("LwM2M") struct LwM2MTests {
    private let list = "</1/0>,</3/0>,</3303/0>,</3304/0>,</19/0>"

    private func rig(
        _ observe: [String] = ["/3303/0/5700", "/3304/0/5700"], seed: UInt64 = 7
    ) -> Rig {
        Rig(.lwm2m, seed: seed) { $0.observe = observe.map { Array($0.utf8) } }
    }

    private func registration(
        id: UInt16 = 1, name: String = "urn:imei:866123",
        query: [String] = ["lt=300", "lwm2m=1.0"],
        list: String? = nil
    ) -> Coap {
        Coap(
            id: id, path: "/rd", query: ["ep=" + name] + query,
            payload: Array((list ?? self.list).utf8)
        ).format(40)
    }

    private func reads(_ sent: [Sent]) -> [Read] { sent.compactMap { Read($0.bytes) } }

    private func location(_ created: Read) -> String {
        "/"
            + (created.options[8] ?? []).map { String(decoding: $0, as: UTF8.self) }
            .joined(separator: "/")
    }

    /// Registers and answers every observe request; the location and the tokens by path.
    private func observed(_ rig: Rig, _ what: Coap? = nil) throws -> (String, [String: CoAPToken]) {
        var sent = reads(rig.receive((what ?? registration()).bytes).sent)
        let created = try #require(sent.first)
        try #require(created.code == "2.01")
        sent.removeFirst()
        var tokens: [String: CoAPToken] = [:]
        while let ask = sent.first {
            #expect(ask.kind == .confirmable)
            #expect(ask.code == "0.01")
            #expect(ask.uint(6) == 0)
            tokens[ask.path] = ask.token
            let answer = Coap(
                kind: .acknowledgement, code: .content, id: ask.id, token: ask.token,
                payload: Array("21.5".utf8)
            ).with(6, uint: 1).format(0)
            sent = reads(rig.receive(answer.bytes).sent)
        }
        return (location(created), tokens)
    }

    @Test(
        "a registration is created and each path that the client has is observed, one after the other"
    )
    func register() throws {
        let rig = rig(["/3303/0/5700", "/3304/0/5700", "/3305/0/5800", "/19"])
        let (location, tokens) = try observed(rig)
        #expect(location.hasPrefix("/rd/"))
        #expect(location.utf8.count == 12)
        #expect(Set(tokens.keys) == ["/3303/0/5700", "/3304/0/5700", "/19"])
        #expect(rig.exchange.clientCount == 1)
    }

    @Test("the answer to an observe request is the path's first frame")
    func firstValue() throws {
        let rig = rig()
        let ask = try #require(reads(rig.receive(registration().bytes).sent).last)
        let answer = Coap(
            kind: .acknowledgement, code: .content, id: ask.id, token: ask.token, payload: [8, 9]
        ).with(6, uint: 1).format(11_542)
        let got = rig.receive(answer.bytes)
        #expect(got.offered.map(\.payload) == [[8, 9]])
        #expect(got.offered.first?.device == "urn:imei:866123")
        #expect(got.offered.first?.path == "/3303/0/5700")
        #expect(
            got.offered.first?.formats
                == .one(1 + (ExchangeSettings.implied(.lwm2m).firstIndex(of: "lwm2m-tlv") ?? -9)))
    }

    @Test(
        "what a registration lacks or has too much of is named",
        arguments: [
            (["lt=60"], "", "</3/0>", 40, "4.00"), (["lt=60"], "ep=", "</3/0>", 40, "4.00"),
            ([], "ep=x", nil, nil, "4.00"), (["b=U"], "", nil, 40, "4.00"),
            (["lt=60"], "ep=x", "</3/0>", 0, "4.15"), (["lwm2m=2.0"], "ep=x", "</3/0>", 40, "4.12"),
            (["lt=abc"], "ep=x", "</3/0>", 40, "4.00"), ([], "ep=x", "nonsense", 40, "4.00"),
            (["lwm2m=1.2"], "ep=x", "</3/0>", 40, "2.01"), ([], "ep=x", "</3/0>", nil, "2.01"),
            ([], "ep=" + String(repeating: "a", count: 65), "</3/0>", 40, "4.00"),
        ] as [([String], String, String?, UInt32?, String)])
    func refusals(
        _ query: [String], _ name: String, _ list: String?, _ format: UInt32?, _ code: String
    ) {
        var coap = Coap(path: "/rd", query: name.isEmpty ? query : [name] + query)
        if let list { coap.payload = Array(list.utf8) }
        if let format { coap = coap.format(format) }
        #expect(reads(rig().receive(coap.bytes).sent).first?.code == code)
    }

    @Test("a forbidden endpoint is 4.03, and nothing is asked of it")
    func forbidden() {
        let rig = rig()
        rig.exchange.isForbidden = { $0 == Array("urn:imei:866123".utf8) }
        #expect(reads(rig.receive(registration().bytes).sent).map(\.code) == ["4.03"])
        #expect(rig.exchange.clientCount == 0)
    }

    @Test("update and deregister know the location; an unknown one is 4.04")
    func update() throws {
        let rig = rig()
        let (location, _) = try observed(rig)
        func code(_ method: CoAPCode, _ path: String, _ id: UInt16) -> String? {
            reads(rig.receive(Coap(code: method, id: id, path: path).bytes).sent).first?.code
        }
        #expect(code(.post, location, 500) == "2.04")
        #expect(code(.put, location, 501) == "2.04")
        #expect(code(.post, "/rd/AAAAAAAA", 502) == "4.04")
        #expect(code(.post, "/rd/5", 503) == "4.04")
        #expect(code(.get, location, 504) == "4.05")
        #expect(code(.delete, location, 505) == "2.02")
        #expect(code(.delete, location, 506) == "4.04")
        #expect(code(.post, location, 507) == "4.04")
        #expect(rig.exchange.clientCount == 0)
    }

    @Test("registering again replaces the old registration, whose location is gone")
    func replace() throws {
        let rig = rig()
        let (old, _) = try observed(rig)
        let (new, _) = try observed(rig, registration(id: 2))
        #expect(old != new)
        #expect(rig.exchange.clientCount == 1)
        let answer = rig.receive(Coap(id: 900, path: old).bytes)
        #expect(reads(answer.sent).first?.code == "4.04")
    }

    @Test("a registration ends with its lifetime unless it is updated")
    func lifetime() throws {
        let rig = rig()
        let (location, _) = try observed(rig)
        #expect(rig.effects.wakeAt != nil)
        _ = rig.pass(milliseconds: 200_000)
        #expect(reads(rig.receive(Coap(id: 800, path: location).bytes).sent).first?.code == "2.04")
        _ = rig.pass(milliseconds: 299_000)
        #expect(rig.exchange.clientCount == 1)
        _ = rig.pass(milliseconds: 2000)
        #expect(rig.exchange.clientCount == 0)
    }

    private func notification(
        _ token: CoAPToken, id: UInt16, sequence: UInt32, kind: CoAPMessage.Kind = .confirmable
    ) -> Coap {
        Coap(kind: kind, code: .content, id: id, token: token, payload: Array("20".utf8))
            .with(6, uint: sequence).format(0)
    }

    @Test(
        "a notification is acknowledged behind the commit, known by its token from wherever it comes"
    )
    func notify() throws {
        let rig = rig()
        let (_, tokens) = try observed(rig)
        let token = try #require(tokens["/3303/0/5700"])
        let wire = notification(token, id: 300, sequence: 5).bytes
        let got = rig.receive(wire, from: Rig.other)
        #expect(got.offered.map(\.device) == ["urn:imei:866123"])
        #expect(got.offered.map(\.path) == ["/3303/0/5700"])
        #expect(got.sent == [Sent(bytes: bytes(hex: "6000012c"), to: Rig.other, needsCommit: true)])
        let again = rig.receive(wire, from: Rig.other)
        #expect(again.verdict == .duplicate)
        #expect(again.sent == got.sent)
        let non = notification(token, id: 301, sequence: 6, kind: .nonConfirmable)
        let silent = rig.receive(non.bytes)
        #expect(silent.verdict == .frames)
        #expect(silent.sent.isEmpty)
    }

    @Test(
        "notifications that are overtaken are acknowledged and bring no frame",
        arguments: [
            (5, 6, true), (6, 5, false), (0xFF_FFFF, 0, true), (0, 0xFF_FFFF, false),
            (1, 1 << 23, true), (1, (1 << 23) + 1, false), (5, 5, false),
        ] as [(UInt32, UInt32, Bool)])
    func order(_ first: UInt32, _ second: UInt32, _ isNewer: Bool) throws {
        let rig = rig()
        let (_, tokens) = try observed(rig)
        let token = try #require(tokens["/3304/0/5700"])
        // The first value had the number 1 of its own.
        _ = rig.pass(milliseconds: 129_000)
        #expect(rig.receive(notification(token, id: 300, sequence: first).bytes).verdict == .frames)
        let got = rig.receive(notification(token, id: 301, sequence: second).bytes)
        #expect(got.verdict == (isNewer ? .frames : .duplicate))
        #expect(got.sent.count == 1)
        _ = rig.pass(milliseconds: 129_000)
        #expect(rig.receive(notification(token, id: 302, sequence: 0).bytes).verdict == .frames)
    }

    @Test(
        "a notification that the formats refuse is acknowledged at once: it would come again as it is"
    )
    func refusedNotification() throws {
        let rig = rig()
        let (_, tokens) = try observed(rig)
        rig.outcome = .refused(.malformed)
        let got = rig.receive(
            notification(try #require(tokens["/3303/0/5700"]), id: 300, sequence: 9).bytes)
        #expect(got.sent.map(\.needsCommit) == [false])
        #expect(got.sent.map(\.bytes) == [bytes(hex: "6000012c")])
    }

    @Test("without room a notification is not acknowledged, and taken when it comes again")
    func noRoom() throws {
        let rig = rig()
        let (_, tokens) = try observed(rig)
        let wire = notification(try #require(tokens["/3303/0/5700"]), id: 300, sequence: 9).bytes
        rig.hasRoom = false
        let full = rig.receive(wire)
        #expect(full.sent.isEmpty)
        #expect(full.verdict == .rejected(.noRoom))
        rig.hasRoom = true
        #expect(rig.receive(wire).verdict == .frames)
    }

    @Test("a notification that nobody asked for is reset")
    func unknown() {
        let rig = rig()
        let token = CoAPToken(bits: 0x1122_3344_5566_7788, count: 8)
        let got = rig.receive(notification(token, id: 300, sequence: 1).bytes)
        #expect(got.sent.map(\.bytes) == [bytes(hex: "7000012c")])
        #expect(got.offered.isEmpty)
        // A response in an acknowledgement to nothing is ignored.
        let stray = notification(token, id: 301, sequence: 1, kind: .acknowledgement)
        #expect(rig.receive(stray.bytes).sent.isEmpty)
        let plain = Rig(.coap)
        #expect(plain.receive(notification(token, id: 1, sequence: 1).bytes).sent.count == 1)
    }

    @Test(
        "after a restart a registered client's old notification is taken, and the path observed anew"
    )
    func oldToken() throws {
        let before = rig()
        let (_, tokens) = try observed(before)
        let after = rig(seed: 8)
        // Registered anew with a list that has only what is already observed there.
        _ = try observed(after, registration(id: 9))
        let old = try #require(tokens["/3304/0/5700"])
        let got = after.receive(notification(old, id: 300, sequence: 3).bytes)
        #expect(got.offered.map(\.path) == ["/3304/0/5700"])
        let answers = reads(got.sent)
        #expect(answers.map(\.kind) == [.acknowledgement, .confirmable])
        #expect(answers.last?.path == "/3304/0/5700")
        #expect(got.sent.map(\.needsCommit) == [true, true])
        // From an address that nobody registered from it is reset.
        let stranger = after.receive(
            notification(old, id: 301, sequence: 4).bytes, from: Rig.other)
        #expect(reads(stranger.sent).map(\.kind) == [.reset])
    }

    @Test("an observe request that nobody answers is sent again four times, doubling, then rests")
    func retransmission() throws {
        let rig = rig(["/3303/0/5700"])
        let ask = try #require(rig.receive(registration().bytes).sent.last)
        var times: [Int64] = []
        var elapsed: Int64 = 0
        while elapsed < 150_000 {
            let sent = rig.pass(milliseconds: 500)
            elapsed += 500
            for again in sent {
                #expect(again.bytes == ask.bytes)
                times.append(elapsed)
            }
        }
        #expect(times.count == 4)
        let first = try #require(times.first)
        #expect((2000...3500).contains(first))
        for (a, b) in zip(times, times.dropFirst()) { #expect(b > a + a / 2) }
        // The client speaks: it is asked again.
        let more = reads(rig.receive(registration(id: 2).bytes).sent)
        #expect(more.map(\.code) == ["2.01", "0.01"])
    }

    @Test("a sleeping client is asked only after it spoke")
    func queueMode() throws {
        for query in [["b=UQ"], ["b=U", "Q"]] {
            let rig = rig(["/3303/0/5700"])
            let first = rig.receive(registration(query: query).bytes).sent
            #expect(first.count == 2)
            rig.now = rig.now.adding(milliseconds: 94_000)
            #expect(rig.pass(milliseconds: 0).isEmpty)
            let location = location(try #require(reads(first).first))
            let sent = reads(rig.receive(Coap(id: 50, path: location).bytes).sent)
            #expect(sent.map(\.code) == ["2.04", "0.01"])
        }
    }

    @Test("an alternate root stands before every path that is asked for, not in the frame's path")
    func root() throws {
        let rig = rig(["/3303/0/5700"])
        let list = "</lwm2m>;rt=\"oma.lwm2m\",</lwm2m/3303/0>"
        let ask = try #require(reads(rig.receive(registration(list: list).bytes).sent).last)
        #expect(ask.path == "/lwm2m/3303/0/5700")
        let answer = Coap(
            kind: .acknowledgement, code: .content, id: ask.id, token: ask.token, payload: [1])
        #expect(rig.receive(answer.with(6, uint: 1).bytes).offered.first?.path == "/3303/0/5700")
    }

    @Test("an error, a reset or an answer without Observe ends the asking for that path")
    func notObservable() throws {
        for kind in 0..<3 {
            let rig = rig()
            let ask = try #require(reads(rig.receive(registration().bytes).sent).last)
            let answer: Coap
            switch kind {
            case 0:
                answer = Coap(
                    kind: .acknowledgement, code: .notFound, id: ask.id, token: ask.token)
            case 1:
                answer = Coap(kind: .reset, code: .empty, id: ask.id, token: .none)
            default:
                answer = Coap(
                    kind: .acknowledgement, code: .content, id: ask.id, token: ask.token,
                    payload: [1])
            }
            var sent = reads(rig.receive(answer.bytes).sent)
            if kind == 1 {
                sent = reads(rig.receive(registration(id: 70, list: list).bytes).sent)
                continue
            }
            #expect(sent.last?.path == "/3304/0/5700")
        }
    }

    @Test("a separate answer is acknowledged and taken")
    func separate() throws {
        let rig = rig(["/3303/0/5700"])
        let ask = try #require(reads(rig.receive(registration().bytes).sent).last)
        let empty = Coap(kind: .acknowledgement, code: .empty, id: ask.id, token: .none)
        #expect(rig.receive(empty.bytes).sent.isEmpty)
        #expect(rig.pass(milliseconds: 20_000).isEmpty)
        let answer = notification(ask.token, id: 4000, sequence: 1)
        let got = rig.receive(answer.bytes)
        #expect(got.offered.count == 1)
        #expect(reads(got.sent).map(\.kind) == [.acknowledgement])
    }

    @Test("Send and posts carry the name of the client at that address; Send of a stranger is 4.04")
    func posts() throws {
        let rig = rig()
        let send = Coap(id: 60, path: "/dp", payload: [1]).format(112)
        #expect(reads(rig.receive(send.bytes).sent).first?.code == "4.04")
        _ = try observed(rig)
        let got = rig.receive(Coap(id: 61, path: "/dp", payload: [1]).format(112).bytes)
        #expect(got.offered.map(\.device) == ["urn:imei:866123"])
        #expect(got.offered.map(\.path) == [""])
        let raw = rig.receive(Coap(id: 62, path: "/t/r", payload: [1]).bytes)
        #expect(raw.offered.map(\.device) == ["urn:imei:866123"])
        #expect(raw.offered.map(\.formats) == [.listed])
        let stranger = rig.receive(Coap(id: 63, path: "/t/r", payload: [1]).bytes, from: Rig.other)
        #expect(stranger.offered.map(\.device) == [""])
    }

    @Test(
        "what a resource's content is decides who decodes it; a container's frames are the vendor's",
        arguments: [
            ("/3303/0/5700", 0, [1, 2], "lwm2m-text", [1, 2]),
            ("/3303/0/5700", 112, [1, 2], "senml-cbor", [1, 2]),
            ("/3303/0/5700", 42, [1, 2], nil, [1, 2]), ("/19/0/0", 42, [9, 8, 7], nil, [9, 8, 7]),
            ("/19/0/0", 0, [9, 8, 7], nil, [9, 8, 7]),
            ("/19/0/0", 11_542, [0xC2, 0, 9, 8], nil, [9, 8]),
            ("/19/0/0", 11_542, [0xC8, 0, 2, 9, 8], nil, [9, 8]),
            ("/19/0/0", 11_542, [0xF0, 1, 0, 0, 2, 9, 8], nil, [9, 8]),
            ("/19/0/0", 11_542, [0xC2, 0, 9], "lwm2m-tlv", [0xC2, 0, 9]),
        ] as [(String, UInt32, [UInt8], String?, [UInt8])])
    func content(
        _ path: String, _ format: UInt32, _ payload: [UInt8], _ name: String?, _ inner: [UInt8]
    ) throws {
        let rig = rig([path])
        let ask = try #require(reads(rig.receive(registration().bytes).sent).last)
        let answer = Coap(
            kind: .acknowledgement, code: .content, id: ask.id, token: ask.token, payload: payload)
        let got = rig.receive(answer.with(6, uint: 1).format(format).bytes)
        let offered = try #require(got.offered.first)
        #expect(offered.payload == inner)
        let names = ["vendor"] + ExchangeSettings.implied(.lwm2m)
        switch offered.formats {
        case .listed: #expect(name == nil)
        case .one(let place): #expect(names[place] == name)
        }
    }

    @Test("bootstrap requests are answered")
    func bootstrap() {
        let rig = rig()
        let good = Coap(id: 1, path: "/bs", query: ["ep=urn:imei:1"])
        #expect(reads(rig.receive(good.bytes).sent).map(\.code) == ["2.04"])
        #expect(reads(rig.receive(Coap(id: 2, path: "/bs").bytes).sent).map(\.code) == ["4.00"])
    }

    @Test("names that are no identities become some, each its own")
    func identities() throws {
        let rig = rig(["/3303/0/5700"])
        for (name, identity) in [
            ("864915416498906;460112044169656", "864915416498906_3b460112044169656"),
            ("测试-01", "_e6_b5_8b_e8_af_95-01"),
        ] {
            let what = registration(id: UInt16(name.utf8.count), name: name)
            let ask = try #require(reads(rig.receive(what.bytes).sent).last)
            let answer = Coap(
                kind: .acknowledgement, code: .content, id: ask.id, token: ask.token, payload: [1])
            #expect(rig.receive(answer.with(6, uint: 1).bytes).offered.first?.device == identity)
        }
    }

    @Test("registrations are bounded; the next one is told to come again")
    func bounded() {
        let rig = Rig(.lwm2m) { $0.clients = 3 }
        for number in 0..<5 as Range<UInt16> {
            let what = registration(id: number, name: "device-\(number)")
            let code = reads(rig.receive(what.bytes).sent).first?.code
            #expect(code == (number < 3 ? "2.01" : "5.03"))
        }
        #expect(rig.exchange.clientCount == 3)
    }

    @Test("a district that registers at once costs no search a client", .timeLimit(.minutes(1)))
    func crowd() {
        let rig = rig(["/3303/0/5700"])
        for number in 0..<4_000 {
            let what = registration(id: UInt16(number & 0xFFFF), name: "device-\(number)")
            rig.receive(what.bytes, from: .ipv4(UInt32(number), port: 5683))
        }
        #expect(rig.exchange.clientCount == 4_000)
        var again = 0
        for _ in 0..<250 { again += rig.pass(milliseconds: 1000).count }
        #expect(again == 4 * 4_000)
    }

    @Test("a long object list may come in blocks")
    func blocks() {
        let rig = rig()
        let list = Array((0..<60).map { "</3303/\($0)>" }.joined(separator: ",").utf8)
        var number = 0
        while number * 64 < list.count {
            let end = min(list.count, number * 64 + 64)
            let more: UInt32 = end < list.count ? 8 : 0
            let block = Coap(
                id: UInt16(number + 1), path: "/rd", query: ["ep=blocky"],
                payload: Array(list[number * 64..<end])
            ).format(40).with(27, uint: UInt32(number) << 4 | more | 2)
            let code = reads(rig.receive(block.bytes).sent).first?.code
            #expect(code == (more == 0 ? "2.01" : "2.31"))
            number += 1
        }
        #expect(rig.exchange.clientCount == 1)
    }
}
