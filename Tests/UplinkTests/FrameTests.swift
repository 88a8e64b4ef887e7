// The wire form: what is written is read, however the bytes are cut; what is not a frame is
// refused; nothing that is received traps or is believed.

import Model
import Testing
import Uplink

@Suite("Uplink frames")
struct FrameTests {
    @Test("has the bytes that protocols/uplink.md draws")
    func golden() {
        let ping = UplinkFrame.ping(token: 0x0102_0304_0506_0708).encoded()
        #expect(Array(ping[0..<8]) == [1, 5, 0, 0, 8, 0, 0, 0])
        #expect(Array(ping[12...]) == [8, 7, 6, 5, 4, 3, 2, 1])
        var crc = CRC32()
        crc.update(Array(ping[0..<8]).span)
        crc.update(Array(ping[12...]).span)
        #expect(
            (0..<4).map { UInt8(truncatingIfNeeded: crc.value >> UInt32(8 * $0)) }
                == Array(ping[8..<12]))

        let incarnation = Incarnation(high: 0x0001_0203_0405_0607, low: 0x0809_0A0B_0C0D_0E0F)
        #expect(incarnation.bytes == (0..<16).map { UInt8($0) })
        #expect(Incarnation(incarnation.bytes) == incarnation)
        let hello = UplinkFrame.hello(
            Hello(role: .gateway, incarnation: incarnation, name: "gw", software: "s")
        ).encoded()
        #expect(Array(hello[12...]) == [0, 0] + (0..<16) + [2, 0x67, 0x77, 1, 0x73])
    }

    @Test("reads what was written, whole, byte by byte and in random pieces", arguments: 0..<40)
    func roundTrip(seed: Int) throws {
        var random = Random(seed: UInt64(seed))
        for side in [FrameReader.Side.store, .peer] {
            let kinds = side == .store ? 6 : 5
            let sent = (0..<12).map { index in
                let kind = index == 0 ? 0 : 1 + random.below(kinds - 1)
                return side == .store ? random.toStore(kind) : random.fromStore(kind)
            }
            let bytes = sent.flatMap { $0.encoded() }
            #expect(try frames([bytes], side: side) == sent)
            #expect(try frames(bytes.map { [$0] }, side: side) == sent)
            var pieces: [[UInt8]] = []
            var start = 0
            while start < bytes.count {
                let end = min(bytes.count, start + 1 + random.below(200))
                pieces.append(Array(bytes[start..<end]))
                start = end
            }
            #expect(try frames(pieces, side: side) == sent)
        }
    }

    @Test("waits at every truncation and believes no changed bit", arguments: 0..<6)
    func truncationAndFlips(kind: Int) throws {
        var random = Random(seed: UInt64(100 + kind))
        let hello = random.toStore(0)
        let frame = random.toStore(kind)
        let opening = kind == 0 ? [] : hello.encoded()
        let bytes = frame.encoded()
        for count in 0..<bytes.count {
            let got = try frames([opening, Array(bytes[0..<count])], side: .store)
            #expect(got.count == (kind == 0 ? 0 : 1))
        }
        for position in bytes.indices {
            var flipped = bytes
            flipped[position] ^= 1 << UInt8(random.below(8))
            let got = (try? frames([opening, flipped], side: .store)) ?? []
            #expect(got.count <= (kind == 0 ? 0 : 1), "byte \(position) changed, frame believed")
        }
    }

    @Test("refuses a length beyond its type's limit before the body has come")
    func hostileLengths() {
        for kind in UplinkFrame.Kind.allCases {
            for length in [UInt32(kind.largestBody) + 1, 1 << 31, .max] {
                var header = ByteWriter()
                header.u8(1)
                header.u8(kind.rawValue)
                header.u16(0)
                header.u32(length)
                header.u32(0)
                var isRefused = false
                for side in [FrameReader.Side.store, .peer] {
                    var reader = FrameReader(side: side)
                    reader.append(header.bytes)
                    do throws(WireError) { _ = try reader.next() } catch {
                        isRefused =
                            isRefused || error == .tooLong(kind: kind.rawValue, length: length)
                    }
                    #expect(reader.held <= 12)
                }
                let isOpening = [.hello, .welcome, .goodbye].contains(kind)
                #expect(isRefused == isOpening, "others are refused as unexpected before hello")
            }
        }
    }

    @Test("lets nothing before hello, no second hello, and nothing of the other direction")
    func order() throws {
        var random = Random(seed: 7)
        let hello = random.toStore(0).encoded()
        for kind in 1...4 {
            #expect(throws: WireError.self) {
                try frames([random.toStore(kind).encoded()], side: .store)
            }
        }
        #expect(throws: WireError.unexpected(kind: 1)) { try frames([hello, hello], side: .store) }
        #expect(throws: WireError.self) {
            try frames([hello, random.fromStore(1).encoded()], side: .store)
        }
        #expect(throws: WireError.self) { try frames([hello], side: .peer) }
    }

    @Test("names a version that it does not speak, and says the same afterwards")
    func version() {
        var reader = FrameReader(side: .store)
        reader.append([2])
        for _ in 0..<2 {
            #expect(throws: WireError.version(2)) { try reader.next() }
            reader.append([1, 1, 0, 0])
        }
    }

    @Test("refuses random bodies behind a right checksum or reads them within limits")
    func randomBodies() {
        var random = Random(seed: 11)
        for round in 0..<20_000 {
            let side: FrameReader.Side = round % 2 == 0 ? .store : .peer
            let opening = side == .store ? random.toStore(0) : random.fromStore(0)
            let kinds = UplinkFrame.Kind.allCases
            let kind = kinds[random.below(kinds.count)]
            let body = random.bytes(random.below(40))
            var frame = ByteWriter()
            frame.u8(1)
            frame.u8(kind.rawValue)
            frame.u16(0)
            frame.u32(UInt32(body.count))
            var crc = CRC32()
            crc.update(frame.bytes.span)
            crc.update(body.span)
            frame.u32(crc.value)
            frame.raw(body)
            // The law is that this returns.
            _ = try? frames([opening.encoded(), frame.bytes], side: side)
        }
    }

    @Test("refuses a body with bytes left over")
    func leftOver() {
        var body = UplinkFrame.ping(token: 1).encoded()
        body += [0]
        body[4] = 9
        #expect(throws: WireError.self) {
            try frames([Random(seed: 1).hello, body], side: .store)
        }
    }

    @Test("cuts texts at a character and clears control characters")
    func texts() throws {
        let long = String(repeating: "°", count: 100)
        let device = Device(
            id: DeviceID(1), identity: "a\u{1B}[2J\u{85}b", format: long,
            firstSeenAt: Timestamp(milliseconds: 0))
        let bytes = UplinkFrame.entries([.device(device)]).encoded()
        let got = try frames([Random(seed: 1).hello, bytes], side: .store)
        guard case .entries(let entries) = got.last, case .device(let read) = entries.first else {
            Issue.record("no entries")
            return
        }
        #expect(read.identity == "a\u{FFFD}[2J\u{FFFD}b")
        #expect(read.format == String(repeating: "°", count: 32))
    }

    @Test("splits long lists over frames within the limits")
    func splitting() throws {
        var random = Random(seed: 3)
        let hello = random.hello
        let entries = (0..<5000).map { _ in random.entry() }
        let read = try frames([hello, FrameEncoding.entries(entries)], side: .store).dropFirst()
        #expect(
            read.flatMap { frame -> [CatalogEntry] in
                if case .entries(let part) = frame { part } else { [] }
            } == entries)

        let rows = (0..<3000).map { _ in random.row() }
        let welcome = random.fromStore(0).encoded()
        let parts = try frames(
            [welcome, FrameEncoding.rows(rows, token: 9, hasMore: true)], side: .peer
        ).dropFirst().compactMap { frame -> Rows? in
            if case .rows(let part) = frame { part } else { nil }
        }
        #expect(parts.flatMap(\.rows) == rows)
        #expect(parts.map(\.isEnd) == parts.indices.map { $0 == parts.count - 1 })
        #expect(parts.last?.hasMore == true)
    }
}

extension Random {
    var hello: [UInt8] {
        UplinkFrame.hello(
            Hello(
                role: .gateway, incarnation: Incarnation(high: 1, low: 2), name: "g", software: "")
        ).encoded()
    }
}
