// Block-wise uploads (RFC 7959): whole, out of order, too big, too many, sent again.

import Exchanges
import Formats
import Model
import Testing

@Suite("block-wise uploads") struct BlockTests {
    private let body = (0..<150).map { UInt8(truncatingIfNeeded: $0) }

    private func block(
        _ number: UInt32, of body: [UInt8], exponent: UInt32 = 2, id: UInt16? = nil,
        path: String = "/up", token: UInt64? = nil
    ) -> Coap {
        let size = 1 << (Int(exponent) + 4)
        let start = Int(number) * size
        let end = min(start + size, body.count)
        let more: UInt32 = end < body.count ? 8 : 0
        return Coap(
            id: id ?? UInt16(number + 1),
            token: CoAPToken(bits: token ?? UInt64(number) + 0x100, count: 2), path: path,
            payload: Array(body[start..<end])
        ).with(27, uint: number << 4 | more | exponent)
    }

    private func code(_ rig: Rig, _ coap: Coap, from: Endpoint = Rig.device) -> String? {
        rig.receive(coap.bytes, from: from).sent.first.flatMap { Read($0.bytes) }?.code
    }

    @Test("blocks with a new token each become one frame; 2.31 to all but the last")
    func whole() throws {
        let rig = Rig(.coap)
        for number in 0..<2 as Range<UInt32> {
            let got = rig.receive(block(number, of: body).bytes)
            #expect(got.verdict == .control)
            let answer = try #require(got.sent.first.flatMap { Read($0.bytes) })
            #expect(answer.code == "2.31")
            #expect(answer.uint(27) == UInt32(number << 4 | 10))
            #expect(got.sent.first?.needsCommit == false)
        }
        let last = rig.receive(block(2, of: body).bytes)
        #expect(last.offered.map(\.payload) == [body])
        let answer = try #require(last.sent.first.flatMap { Read($0.bytes) })
        #expect(answer.code == "2.04")
        #expect(answer.uint(27) == UInt32(0x22))
        #expect(last.sent.first?.needsCommit == true)
    }

    @Test("a block sent again, with the same id or a new one, changes nothing")
    func again() {
        let rig = Rig(.coap)
        #expect(code(rig, block(0, of: body)) == "2.31")
        #expect(code(rig, block(0, of: body)) == "2.31")
        #expect(code(rig, block(1, of: body)) == "2.31")
        #expect(code(rig, block(1, of: body, id: 40)) == "2.31")
        #expect(rig.receive(block(2, of: body).bytes).offered.map(\.payload) == [body])
    }

    @Test("a gap is 4.08, and so is a middle without a beginning")
    func gap() {
        let rig = Rig(.coap)
        #expect(code(rig, block(0, of: body)) == "2.31")
        #expect(code(rig, block(2, of: body)) == "4.08")
        #expect(code(rig, block(1, of: body, id: 50)) == "4.08")
        #expect(code(rig, block(1, of: body), from: Rig.other) == "4.08")
    }

    @Test("uploads to two paths and of two devices do not mix")
    func apart() {
        let rig = Rig(.coap)
        let other = body.map { $0 ^ 0xFF }
        for number in 0..<2 as Range<UInt32> {
            #expect(code(rig, block(number, of: body)) == "2.31")
            #expect(
                code(rig, block(number, of: other, id: UInt16(60 + number), path: "/b")) == "2.31")
            #expect(code(rig, block(number, of: other), from: Rig.other) == "2.31")
        }
        #expect(rig.receive(block(2, of: body).bytes).offered.map(\.payload) == [body])
        #expect(
            rig.receive(block(2, of: other, id: 62, path: "/b").bytes).offered.map(\.payload)
                == [other])
        #expect(
            rig.receive(block(2, of: other).bytes, from: Rig.other).offered.map(\.payload)
                == [other])
    }

    @Test("a device may go on with smaller blocks")
    func smaller() {
        let rig = Rig(.coap)
        #expect(code(rig, block(0, of: body, exponent: 2)) == "2.31")
        for number in 4..<9 as Range<UInt32> {
            #expect(code(rig, block(number, of: body, exponent: 0)) == "2.31")
        }
        #expect(rig.receive(block(9, of: body, exponent: 0).bytes).offered.map(\.payload) == [body])
    }

    @Test("a body beyond the limit is 4.13 with the size that would do, announced or not")
    func tooLarge() throws {
        let rig = Rig(.coap) { $0.uploadBytes = 100 }
        #expect(code(rig, block(0, of: body)) == "2.31")
        let got = rig.receive(block(1, of: body).bytes)
        let answer = try #require(got.sent.first.flatMap { Read($0.bytes) })
        #expect(answer.code == "4.13")
        #expect(answer.uint(60) == 100)
        #expect(code(rig, block(0, of: body, id: 9).with(60, uint: 150)) == "4.13")
    }

    @Test("a datagram that the kernel cut is 4.13 with a block size that fits")
    func cut() throws {
        let rig = Rig(.coap)
        let got = rig.receive(
            Coap(path: "/a", payload: Array(repeating: 1, count: 2000)).bytes, isCut: true)
        let answer = try #require(got.sent.first.flatMap { Read($0.bytes) })
        #expect(answer.code == "4.13")
        #expect(answer.uint(27) == 6)
        #expect(got.verdict == .rejected(.oversized))
    }

    @Test("reserved size, over-long option and a block of another size are 4.00")
    func wrong() {
        let rig = Rig(.coap)
        #expect(code(rig, Coap(id: 1, path: "/a", payload: [1]).with(27, uint: 7)) == "4.00")
        var long = Coap(id: 2, path: "/a", payload: [1])
        long.options.append((27, [1, 2, 3, 4]))
        #expect(code(rig, long) == "4.00")
        #expect(code(rig, Coap(id: 3, path: "/a", payload: [1]).with(27, uint: 8)) == "4.00")
    }

    @Test("memory for uploads is bounded whatever strangers begin, and old ones go")
    func bounded() {
        let rig = Rig(.coap) {
            $0.uploads = 4
            $0.uploadBytesInAll = 400
        }
        for port in 1...200 as ClosedRange<UInt16> {
            let from = Endpoint.ipv4(0x0A00_0001, port: port)
            #expect(code(rig, block(0, of: body), from: from) == "2.31")
        }
        // The newest goes on, the oldest is gone.
        let newest = Endpoint.ipv4(0x0A00_0001, port: 200)
        #expect(code(rig, block(1, of: body), from: newest) == "2.31")
        #expect(code(rig, block(1, of: body), from: .ipv4(0x0A00_0001, port: 1)) == "4.08")
        _ = rig.pass(milliseconds: 250_000)
        #expect(code(rig, block(2, of: body, id: 90), from: newest) == "4.08")
    }

    @Test("the last block sent again is answered again and brings no second frame")
    func lastAgain() {
        let rig = Rig(.coap)
        for number in 0..<2 as Range<UInt32> { _ = rig.receive(block(number, of: body).bytes) }
        let first = rig.receive(block(2, of: body).bytes)
        let second = rig.receive(block(2, of: body).bytes)
        #expect(second.verdict == .duplicate)
        #expect(second.sent == first.sent)
    }
}
