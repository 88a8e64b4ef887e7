// Capture files built here byte by byte and the fixtures: every link type, both formats, fragments,
// streams out of order; every truncation and every flipped byte is survived.

import Field
import Host
import Model
import Testing

/// Builds captures.
struct CaptureText {
    static func be16(_ v: Int) -> [UInt8] { [UInt8(v >> 8 & 255), UInt8(v & 255)] }
    static func be32(_ v: Int) -> [UInt8] { be16(v >> 16) + be16(v) }
    static func le16(_ v: Int) -> [UInt8] { be16(v).reversed() }
    static func le32(_ v: Int) -> [UInt8] { be32(v).reversed() }

    static let client: [UInt8] = [10, 0, 0, 1]
    static let server: [UInt8] = [10, 0, 0, 2]

    static func ipv4(
        _ content: [UInt8], protocol number: UInt8, from: [UInt8] = client, to: [UInt8] = server,
        identification: Int = 7, fragment: Int = 0
    ) -> [UInt8] {
        [0x45, 0] + be16(20 + content.count) + be16(identification) + be16(fragment)
            + [64, number, 0, 0] + from + to + content
    }

    static func ipv6(_ content: [UInt8], next: UInt8) -> [UInt8] {
        let address = [UInt8](repeating: 0x20, count: 15)
        return [0x60, 0, 0, 0] + be16(content.count) + [next, 64] + address + [1] + address + [2]
            + content
    }

    static func udp(_ payload: [UInt8], from: Int = 40_000, to: Int = 9001) -> [UInt8] {
        be16(from) + be16(to) + be16(8 + payload.count) + [0, 0] + payload
    }

    static func tcp(
        _ payload: [UInt8], sequence: Int, flags: UInt8, from: Int = 40_000, to: Int = 9645
    ) -> [UInt8] {
        be16(from) + be16(to) + be32(sequence) + be32(0) + [0x50, flags] + be16(1000)
            + [0, 0, 0, 0] + payload
    }

    static func pcap(
        _ frames: [[UInt8]], linkType: Int, isBig: Bool = false, nanos: Bool = false
    )
        -> [UInt8]
    {
        let u16 = isBig ? be16 : le16
        let u32 = isBig ? be32 : le32
        var out = u32(nanos ? 0xA1B2_3C4D : 0xA1B2_C3D4) + u16(2) + u16(4)
        out += u32(0) + u32(0) + u32(65_535) + u32(linkType)
        for (i, frame) in frames.enumerated() {
            out += u32(1000 + i) + u32(5) + u32(frame.count) + u32(frame.count) + frame
        }
        return out
    }

    static func block(_ type: Int, _ body: [UInt8], isBig: Bool = false) -> [UInt8] {
        let u32 = isBig ? be32 : le32
        let padded = body + [UInt8](repeating: 0, count: (4 - body.count % 4) % 4)
        return u32(type) + u32(12 + padded.count) + padded + u32(12 + padded.count)
    }

    static func pcapng(_ frames: [[UInt8]], linkType: Int, isBig: Bool = false) -> [UInt8] {
        let u16 = isBig ? be16 : le16
        let u32 = isBig ? be32 : le32
        var out = block(
            0x0A0D_0D0A, u32(0x1A2B_3C4D) + u16(1) + u16(0) + [UInt8](repeating: 255, count: 8),
            isBig: isBig)
        // if_tsresol 9: nanoseconds.
        out += block(
            1, u16(linkType) + u16(0) + u32(0) + u16(9) + u16(1) + [9, 0, 0, 0] + u32(0),
            isBig: isBig)
        out += block(0x0BAD, [1, 2, 3, 4], isBig: isBig)
        for (i, frame) in frames.enumerated() {
            let ticks = 1_000_000_000_000 + i
            out += block(
                6,
                u32(0) + u32(ticks >> 32) + u32(ticks & 0xFFFF_FFFF) + u32(frame.count)
                    + u32(frame.count) + frame, isBig: isBig)
        }
        return out
    }
}

@Suite("Captures") struct CaptureTests {
    private typealias Text = CaptureText

    @Test("every link type yields the same datagram")
    func linkTypes() {
        let payload: [UInt8] = [1, 2, 3]
        let packet = Text.ipv4(Text.udp(payload), protocol: 17)
        let macs = [UInt8](repeating: 2, count: 12)
        let cases: [(Int, [UInt8])] = [
            (1, macs + [0x08, 0x00] + packet),
            (1, macs + [0x81, 0x00, 0, 5, 0x08, 0x00] + packet),
            (1, macs + [0x88, 0xA8, 0, 5, 0x81, 0, 0, 6, 0x08, 0x00] + packet),
            (113, [UInt8](repeating: 0, count: 14) + [0x08, 0x00] + packet),
            (276, [0x08, 0x00] + [UInt8](repeating: 0, count: 18) + packet),
            (0, [2, 0, 0, 0] + packet), (108, [0, 0, 0, 2] + packet), (101, packet),
            (12, packet), (228, packet),
        ]
        for (linkType, frame) in cases {
            for file in [
                Text.pcap([frame], linkType: linkType),
                Text.pcap([frame], linkType: linkType, isBig: true, nanos: true),
                Text.pcapng([frame], linkType: linkType),
                Text.pcapng([frame], linkType: linkType, isBig: true),
            ] {
                let capture = Capture(file, file: "x")
                #expect(capture.damage == nil)
                #expect(capture.deliveries.map(\.bytes) == [payload], "link type \(linkType)")
                #expect(capture.conversations.first?.server.description == "10.0.0.2:9001")
                #expect(capture.deliveries.first?.isToServer == true)
            }
        }
    }

    @Test("time stamps are nanoseconds whatever the file counts in")
    func times() {
        let packet = Text.ipv4(Text.udp([1]), protocol: 17)
        let micro = Capture(Text.pcap([packet], linkType: 101), file: "x")
        let nano = Capture(Text.pcap([packet], linkType: 101, nanos: true), file: "x")
        let ng = Capture(Text.pcapng([packet], linkType: 101), file: "x")
        #expect(micro.deliveries.first?.time == 1_000_000_005_000)
        #expect(nano.deliveries.first?.time == 1_000_000_000_005)
        #expect(ng.deliveries.first?.time == 1_000_000_000_000)
    }

    @Test("IPv6 with extension headers and fragments, in any order")
    func ipv6() {
        let payload = (0..<100).map { UInt8($0) }
        let udp = Text.udp(payload)
        let hop: [UInt8] = [17, 0, 0, 0, 0, 0, 0, 0]
        let plain = Text.ipv6(hop + udp, next: 0)
        let first: [UInt8] = [17, 0] + Text.be16(0 | 1) + Text.be32(99) + udp[..<48]
        let second: [UInt8] = [17, 0] + Text.be16(48) + Text.be32(99) + udp[48...]
        let split = [Text.ipv6(second, next: 44), Text.ipv6(first, next: 44)]
        for frames in [[plain], split] {
            let capture = Capture(Text.pcap(frames, linkType: 101), file: "x")
            #expect(capture.deliveries.map(\.bytes) == [payload])
        }
    }

    @Test("IPv4 fragments make a whole datagram in every order; a missing one is counted")
    func fragments() {
        let payload = (0..<50).map { UInt8($0) }
        let udp = Text.udp(payload)
        let pieces = [
            Text.ipv4(Array(udp[..<24]), protocol: 17, fragment: 0x2000),
            Text.ipv4(Array(udp[24..<48]), protocol: 17, fragment: 0x2000 | 3),
            Text.ipv4(Array(udp[48...]), protocol: 17, fragment: 6),
        ]
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 0, 2, 1]] {
            let capture = Capture(
                Text.pcap(order.map { pieces[$0] }, linkType: 101), file: "x")
            #expect(capture.deliveries.map(\.bytes) == [payload])
        }
        let holed = Capture(Text.pcap([pieces[0], pieces[2]], linkType: 101), file: "x")
        #expect(holed.deliveries.isEmpty)
        #expect(holed.counters.fragmentsLost == 1)
    }

    @Test("a stream is put in order: repeated, overlapping, early segments, sequence wrap")
    func streams() {
        var random = SplitMix64(seed: 20_261_121)
        let bytes = (0..<200).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        for start in [1, 0xFFFF_FFC0, 0x7FFF_FFF0] {
            for _ in 0..<50 {
                var segments: [(Int, Int)] = []
                var at = 0
                while at < bytes.count {
                    let end = min(bytes.count, at + 1 + Int(random.next() % 40))
                    segments.append((at, end))
                    if random.next() % 3 == 0 {
                        segments.append((max(0, at - Int(random.next() % 9)), end))
                    }
                    at = end
                }
                for i in segments.indices.dropLast() where random.next() % 3 == 0 {
                    segments.swapAt(i, i + 1)
                }
                var frames = [packet([], start - 1, 0x02)]
                for (from, to) in segments {
                    frames.append(packet(Array(bytes[from..<to]), start + from, 0x18))
                }
                frames.append(packet([], start + bytes.count, 0x11))
                let capture = Capture(Text.pcap(frames, linkType: 101), file: "x")
                let joined = capture.deliveries.filter { $0.kind == .bytes }.flatMap(\.bytes)
                #expect(joined == bytes, "seed 20261121, start \(start), \(segments)")
                #expect(capture.counters.bytesMissing == 0)
                #expect(capture.deliveries.first?.kind == .opened)
            }
        }
    }

    private func packet(_ payload: [UInt8], _ sequence: Int, _ flags: UInt8) -> [UInt8] {
        Text.ipv4(
            Text.tcp(payload, sequence: sequence & 0xFFFF_FFFF, flags: flags), protocol: 6)
    }

    @Test("a hole that the capture never fills is skipped and counted")
    func hole() {
        let frames = [
            packet([], 9, 0x02), packet([1, 2], 10, 0x18), packet([5, 6], 14, 0x18),
        ]
        let capture = Capture(Text.pcap(frames, linkType: 101), file: "x")
        #expect(
            capture.deliveries.filter { $0.kind == .bytes }.map(\.bytes) == [[1, 2], [5, 6]])
        #expect(capture.counters.bytesMissing == 2)
    }

    @Test("the same ports opened again are another connection; a repeated SYN is not")
    func reopened() {
        let frames = [
            packet([], 9, 0x02), packet([], 9, 0x02), packet([1], 10, 0x18), packet([], 11, 0x04),
            packet([], 99, 0x02), packet([2], 100, 0x18),
        ]
        let capture = Capture(Text.pcap(frames, linkType: 101), file: "x")
        #expect(capture.conversations.count == 2)
        #expect(
            capture.deliveries.map(\.kind) == [.opened, .bytes, .closed, .opened, .bytes])
        #expect(capture.deliveries.map(\.conversation) == [0, 0, 0, 1, 1])
    }

    @Test("--port decides who the server is")
    func serverPort() {
        let frame = Text.ipv4(Text.udp([1], from: 7000, to: 9001), protocol: 17)
        let capture = Capture(
            Text.pcap([frame], linkType: 101), file: "x", serverPort: 7000)
        #expect(capture.conversations.first?.client.port == 9001)
        #expect(capture.deliveries.first?.isToServer == false)
    }

    @Test("what is no capture says so, with place and count")
    func noCapture() {
        let damage = Capture(Array("hello, world, no capture".utf8), file: "x.pcap").damage
        #expect(
            damage?.description
                == "x.pcap: offset 0: is neither pcap nor pcapng: 0 frames before it read")
        #expect(Capture([], file: "empty").damage?.offset == 0)
    }

    @Test("a file cut at any byte yields a prefix of the whole and never traps")
    func truncation() {
        let packet = Text.ipv4(Text.udp([1, 2, 3]), protocol: 17)
        let frames = [packet, packet, packet]
        for file in [
            Text.pcap(frames, linkType: 101), Text.pcapng(frames, linkType: 101),
            Text.pcapng(frames, linkType: 101, isBig: true),
        ] {
            for length in 0..<file.count {
                let capture = Capture(Array(file[..<length]), file: "x")
                #expect(capture.deliveries.count < 3)
                if let damage = capture.damage {
                    #expect(damage.offset <= length)
                    #expect(damage.framesRead == capture.deliveries.count)
                }
            }
        }
    }

    @Test("packets cut or changed at any byte never trap")
    func hostile() {
        var random = SplitMix64(seed: 7)
        let content: [UInt8] = [17, 0, 0, 1] + Text.be32(3) + Text.udp([1, 2, 3, 4])
        let frames: [[UInt8]] = [
            Text.ipv4(Text.udp([1, 2, 3]), protocol: 17),
            Text.ipv6([17, 0, 0, 0, 0, 0, 0, 0] + Text.udp([1]), next: 0),
            Text.ipv6(content, next: 44), self.packet([1, 2, 3], 5, 0x18),
        ]
        for frame in frames {
            for length in 0...frame.count {
                let cut = Array(frame[..<length])
                let capture = Capture(Text.pcap([cut], linkType: 101), file: "x")
                #expect(length < frame.count ? capture.deliveries.isEmpty : true)
            }
        }
        let whole = Text.pcapng(frames, linkType: 101)
        for _ in 0..<20_000 {
            var bytes = whole
            for _ in 0..<3 {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(
                    truncatingIfNeeded: random.next())
            }
            let capture = Capture(bytes, file: "x")
            #expect(capture.deliveries.count <= 8)
        }
    }
}

@Suite("Fixture captures") struct FixtureCaptureTests {
    private static let folder = "fixtures/captures"

    @Test("the demo's concentrator yields its 36 frames, the repeated segment once, in order")
    func concentrator() throws {
        let bytes = try Files.read("\(Self.folder)/demo-electricity-tcp.pcap")
        let capture = Capture(bytes, file: "demo-electricity-tcp.pcap")
        #expect(capture.damage == nil)
        #expect(capture.conversations.map(\.server.port) == [9645])
        let up = capture.deliveries.filter { $0.kind == .bytes && $0.isToServer }.flatMap(\.bytes)
        #expect(up.filter { $0 == 0x91 }.count >= 36)
        #expect(up.prefix(5) == [0xFE, 0xFE, 0xFE, 0xFE, 0x68])
        #expect(capture.counters.segmentsRepeated == 1)
        #expect(capture.counters.bytesMissing == 0)
        #expect(capture.deliveries.last?.kind == .closed)
    }

    @Test("the Modbus connection yields 22 requests and 22 responses")
    func modbus() throws {
        let bytes = try Files.read("\(Self.folder)/modbus-rtu-over-tcp.pcap")
        let capture = Capture(bytes, file: "modbus-rtu-over-tcp.pcap")
        let pieces = capture.deliveries.filter { $0.kind == .bytes }
        #expect(pieces.count == 44)
        #expect(pieces.filter(\.isToServer).count == 22)
        #expect(pieces.first?.bytes == [0x01, 0x03, 0x00, 0x60, 0x00, 0x0A, 0xC5, 0xD3])
    }

    @Test("captures of ../shared are whole, where they are present")
    func shared() throws {
        // Beside the project, or beside the folder of its worktrees.
        let folder = ["../shared/captures", "../../shared/captures"].first(where: Files.exists)
        guard let folder else { return }
        let expected: [(String, Int)] = [
            ("tcp-split-hj212.pcap", 6892), ("tcp-split-jt808.pcap", 2161),
            ("tcp-split-sl651.pcap", 1931), ("tcp-split-gb26875.pcap", 1337),
            ("tcp-split-cjt188.pcap", 1008), ("tcp-split-modbus-tcp.pcap", 772),
            ("tcp-split-mbus.pcap", 2554), ("tcp-split-dlt645.pcap", 764),
        ]
        for (name, count) in expected where Files.exists("\(folder)/\(name)") {
            let capture = Capture(try Files.read("\(folder)/\(name)"), file: name)
            #expect(capture.damage == nil)
            let up = capture.deliveries.filter { $0.kind == .bytes && $0.isToServer }
            #expect(up.reduce(0) { $0 + $1.bytes.count } == count, "\(name)")
        }
        let mixed = "\(folder)/nbiot-mixed-udp.pcap"
        if Files.exists(mixed) {
            let capture = Capture(try Files.read(mixed), file: mixed)
            #expect(capture.deliveries.filter(\.isToServer).count == 441)
        }
    }
}
