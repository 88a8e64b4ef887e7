// The CoAP server against a device that a table writes: message layer, requests, retransmissions, blocks.

import Exchanges
import Formats
import Model
import Testing

@Suite("CoAP") struct CoAPTests {
    @Test("a CON that brings a frame is answered 2.04 in its acknowledgement, behind the commit")
    func post() throws {
        let rig = Rig(.coap)
        let request = Coap(id: 77, path: "/t/r", payload: [1, 2, 3])
        let (verdict, offered, sent) = rig.receive(request.bytes)
        #expect(verdict == .frames)
        #expect(offered.map(\.payload) == [[1, 2, 3]])
        #expect(offered.first?.formats == .listed)
        #expect(offered.first?.path == "/t/r")
        #expect(offered.first?.device == "")
        #expect(sent.map(\.needsCommit) == [true])
        let answer = try #require(sent.first.flatMap { Read($0.bytes) })
        #expect(answer.kind == .acknowledgement)
        #expect(answer.code == "2.04")
        #expect(answer.id == 77)
        #expect(answer.token == request.token)
        #expect(answer.payload.isEmpty)
    }

    @Test("a NON is answered by a NON with an id of ours")
    func non() throws {
        let rig = Rig(.coap)
        let sent = rig.receive(Coap(kind: .nonConfirmable, path: "/a", payload: [1]).bytes).sent
        let answer = try #require(sent.first.flatMap { Read($0.bytes) })
        #expect(answer.kind == .nonConfirmable)
        #expect(answer.code == "2.04")
    }

    @Test(
        "the Content-Format chooses the format",
        arguments: [
            (112, "senml-cbor"), (110, "senml-json"), (60, "cbor"), (11_542, "lwm2m-tlv"),
            (0, "listed"), (42, "listed"), (40, "4.15"), (41, "4.15"), (9999, "4.15"),
        ] as [(UInt32, String)])
    func contentFormat(_ number: UInt32, _ expected: String) throws {
        let rig = Rig(.coap)
        let names = ["vendor"] + ExchangeSettings.implied(.coap)
        let (_, offered, sent) = rig.receive(Coap(path: "/a", payload: [1]).format(number).bytes)
        switch offered.first?.formats {
        case .listed: #expect(expected == "listed")
        case .one(let place): #expect(expected == names[place])
        case nil: #expect(expected == sent.first.flatMap { Read($0.bytes) }?.code)
        }
    }

    @Test("configured paths take frames by their format, others are 4.04, other methods 4.05")
    func paths() {
        func code(_ method: CoAPCode, _ path: String) -> (String?, [Offered]) {
            let rig = Rig(.coap) {
                $0.paths = [.init(name: Array("/t/r".utf8), format: 0)]
            }
            let got = rig.receive(Coap(code: method, path: path, payload: [9]).bytes)
            return (got.sent.first.flatMap { Read($0.bytes) }?.code, got.offered)
        }
        #expect(code(.post, "/t/r").1.first?.formats == .one(0))
        #expect(code(.put, "/t/r").0 == "2.04")
        #expect(code(.post, "/t").0 == "4.04")
        #expect(code(.post, "/t/r/x").0 == "4.04")
        #expect(code(.get, "/t/r").0 == "4.05")
        #expect(code(.delete, "/t/r").0 == "4.05")
        #expect(code(.get, "/x").0 == "4.04")
        #expect(code(CoAPCode(0, 5), "/t/r").0 == "4.05")
    }

    @Test("a message sent again gets the same bytes again, counts once, and only while it is young")
    func duplicate() {
        let rig = Rig(.coap)
        let request = Coap(id: 5, path: "/a", payload: [1]).bytes
        let first = rig.receive(request)
        let second = rig.receive(request)
        #expect(second.verdict == .duplicate)
        #expect(second.offered.isEmpty)
        #expect(second.sent == first.sent)
        _ = rig.pass(milliseconds: 246_000)
        #expect(rig.receive(request).verdict == .duplicate)
        _ = rig.pass(milliseconds: 2000)
        #expect(rig.receive(request).verdict == .frames)
    }

    @Test("the same id from elsewhere, or with other bytes, is another message")
    func otherMessages() {
        let rig = Rig(.coap)
        rig.receive(Coap(id: 5, path: "/a", payload: [1]).bytes)
        #expect(rig.receive(Coap(id: 5, path: "/a", payload: [2]).bytes).verdict == .frames)
        let elsewhere = rig.receive(Coap(id: 5, path: "/a", payload: [1]).bytes, from: Rig.other)
        #expect(elsewhere.verdict == .frames)
    }

    @Test("a NON sent again is ignored")
    func duplicateNon() {
        let rig = Rig(.coap)
        let request = Coap(kind: .nonConfirmable, path: "/a", payload: [1]).bytes
        rig.receive(request)
        let again = rig.receive(request)
        #expect(again.verdict == .duplicate)
        #expect(again.sent.isEmpty)
    }

    @Test("a refused frame is answered by its kind of refusal, at once, and the same again")
    func refused() throws {
        for (reason, code) in [
            (Rejection.badChecksum, "4.00"), (.unknownDevice, "4.03"), (.quarantined, "4.03"),
            (.catalogFull, "5.03"), (.oversized, "4.13"),
        ] {
            let rig = Rig(.coap)
            rig.outcome = .refused(reason)
            let request = Coap(path: "/abcdefghijkl", payload: Array(repeating: 7, count: 20)).bytes
            let first = rig.receive(request)
            let answer = try #require(first.sent.first.flatMap { Read($0.bytes) })
            #expect(answer.code == code)
            #expect(first.sent.first?.needsCommit == false)
            if code == "4.00" { #expect(answer.text == "bad-checksum") }
            #expect(rig.receive(request).sent.map(\.bytes) == first.sent.map(\.bytes))
        }
    }

    @Test("ping is reset, a malformed CON is reset, malformed others are ignored")
    func resets() {
        let rig = Rig(.coap)
        func answer(_ hex: String) -> [UInt8]? { rig.receive(bytes(hex: hex)).sent.first?.bytes }
        #expect(answer("40001234") == bytes(hex: "70001234"))
        #expect(answer("4f010001") == bytes(hex: "70000001"))
        #expect(answer("4100000000") == bytes(hex: "70000000"))
        #expect(answer("400100020f") == bytes(hex: "70000002"))
        #expect(answer("5f010001") == nil)
        #expect(answer("6f010001") == nil)
        #expect(answer("8f010001") == nil)
        #expect(answer("40") == nil)
        #expect(answer("60001234") == nil)
        #expect(answer("70001234") == nil)
        #expect(answer("50001234") == nil)
        // A request in an acknowledgement, a code of a reserved class.
        #expect(answer("60011234") == nil)
        #expect(answer("40211234") == bytes(hex: "70001234"))
        #expect(answer("40e11235") == bytes(hex: "70001235"))
    }

    @Test("an unknown critical option is 4.02 in a CON and silence in a NON; elective ones pass")
    func options() {
        let rig = Rig(.coap)
        var request = Coap(path: "/a", payload: [1])
        request.options.append((9, [1]))
        let con = rig.receive(request.bytes)
        #expect(con.sent.first.flatMap { Read($0.bytes) }?.code == "4.02")
        #expect(con.verdict == .rejected(.unknownRequiredField))
        request.kind = .nonConfirmable
        #expect(rig.receive(request.bytes).sent.isEmpty)
        request.options = [(2, [1]), (65_000, [1, 2])]
        request.kind = .confirmable
        request.id = 9
        #expect(rig.receive(request.bytes).verdict == .frames)
        request.options = [(35, Array("coap://x".utf8))]
        request.id = 10
        #expect(rig.receive(request.bytes).sent.first.flatMap { Read($0.bytes) }?.code == "5.05")
        request.options = [(5, [])]
        request.id = 11
        #expect(rig.receive(request.bytes).sent.first.flatMap { Read($0.bytes) }?.code == "4.12")
    }

    @Test("No-Response keeps quiet; a CON is acknowledged without content")
    func noResponse() {
        let rig = Rig(.coap)
        let request = Coap(id: 3, path: "/a", payload: [1]).with(258, uint: 2)
        #expect(rig.receive(request.bytes).sent.map(\.bytes) == [bytes(hex: "60000003")])
        var non = request
        non.kind = .nonConfirmable
        #expect(rig.receive(non.bytes).sent.isEmpty)
        rig.outcome = .refused(.malformed)
        non.id = 4
        #expect(rig.receive(non.bytes).sent.count == 1)
        let silent = Coap(kind: .nonConfirmable, id: 5, path: "/a", payload: [1])
        #expect(rig.receive(silent.with(258, uint: 26).bytes).sent.isEmpty)
    }

    @Test("without room the device is told when to come again, and its repetition is tried anew")
    func noRoom() throws {
        let rig = Rig(.coap)
        rig.hasRoom = false
        let request = Coap(path: "/a", payload: [1, 2]).bytes
        let full = rig.receive(request)
        let answer = try #require(full.sent.first.flatMap { Read($0.bytes) })
        #expect(answer.code == "5.03")
        #expect(answer.uint(14) == 5)
        #expect(full.verdict == .rejected(.noRoom))
        rig.hasRoom = true
        #expect(rig.receive(request).verdict == .frames)
    }

    @Test(
        "no answer to a stranger is longer than the request, whatever was asked",
        .timeLimit(.minutes(1)))
    func amplification() {
        var random = SplitMix64(seed: 11)
        let reasons = Rejection.allCases
        for round in 0..<20_000 {
            let rig = Rig(round % 2 == 0 ? .coap : .lwm2m)
            rig.outcome = .refused(reasons[Int(random.next() % UInt64(reasons.count))])
            rig.hasRoom = random.next() % 8 != 0
            let request = Coap(
                kind: random.next() % 2 == 0 ? .confirmable : .nonConfirmable,
                code: CoAPCode(rawValue: UInt8(random.next() % 8)),
                token: CoAPToken(bits: random.next(), count: UInt8(random.next() % 9)),
                path: ["", "/a", "/rd", "/bs", "/rd/x", "/dp"][Int(random.next() % 6)],
                options: random.next() % 4 == 0 ? [(27, [UInt8(random.next() & 255)])] : [],
                payload: Array(repeating: 1, count: Int(random.next() % 3)))
            var wire = request.bytes
            if random.next() % 4 == 0, wire.count > 5 { wire[4] = UInt8(random.next() & 255) }
            for sent in rig.receive(wire).sent { #expect(sent.bytes.count <= wire.count) }
        }
    }

    @Test("the list of resources comes in link format, in blocks when it is long")
    func discovery() throws {
        let rig = Rig(.coap) { settings in
            settings.paths = (0..<20).map { .init(name: Array("/path/\($0)".utf8), format: 0) }
        }
        var all: [UInt8] = []
        var number: UInt32 = 0
        while true {
            var request = Coap(code: .get, id: UInt16(100 + number), path: "/.well-known/core")
            if number > 0 { request = request.with(23, uint: number << 4 | 1) }
            let sent = try #require(rig.receive(request.bytes).sent.first)
            #expect(sent.bytes.count <= 3 * request.bytes.count)
            let answer = try #require(Read(sent.bytes))
            #expect(answer.code == "2.05")
            #expect(answer.uint(12) == 40)
            let block = try #require(answer.uint(23))
            #expect(block >> 4 == number)
            #expect(block & 7 == 1)
            all += answer.payload
            if block & 8 == 0 { break }
            number += 1
            try #require(number < 50)
        }
        let text = String(decoding: all, as: UTF8.self)
        #expect(text.hasPrefix("</path/0>,</path/1>,"))
        #expect(text.hasSuffix("</path/19>"))
        let past = rig.receive(
            Coap(code: .get, id: 999, path: "/.well-known/core").with(23, uint: 0xFFF0).bytes)
        #expect(past.sent.first.flatMap { Read($0.bytes) }?.code == "4.00")
    }
}
