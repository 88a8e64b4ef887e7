// Replay against sockets of this test: the same bytes, from as many endpoints, in order.

import Field
import Host
import Model
import Testing

@Suite("Replay", .serialized) struct ReplayTests {
    private func capture(_ name: String) throws -> Capture {
        Capture(try Files.read("fixtures/captures/\(name)"), file: name)
    }

    private func play(
        _ capture: Capture, to server: LoopbackServer, isStream: Bool,
        change: (inout ReplayPlan) -> Void = { _ in }
    ) throws -> ReplaySummary {
        var plan = ReplayPlan(
            target: Target(isStream: isStream, endpoint: .ipv4(0x7F00_0001, port: server.port)))
        plan.speed = nil
        plan.waitMilliseconds = 1000
        change(&plan)
        var run = try ReplayRun(capture, plan)
        return try run.play { _ in }
    }

    @Test("each datagram leaves once, each original endpoint from a socket of its own")
    func datagrams() throws {
        let server = LoopbackServer(isStream: false)
        let capture = try capture("demo-environment.pcap")
        let summary = try play(capture, to: server, isStream: false)
        server.stop()
        #expect(summary.framesSent == 12)
        #expect(summary.latencies.count == 12)
        // Three sensors, one of which moved to another port.
        #expect(summary.senders == 4)
        #expect(Set(server.pieces.map(\.port)).count == 4)
        #expect(
            server.pieces.map(\.bytes.description).sorted()
                == capture.deliveries.map(\.bytes.description).sorted())
    }

    @Test("loops send everything again; the sockets stay")
    func loops() throws {
        let server = LoopbackServer(isStream: false, answers: false)
        let summary = try play(
            try capture("demo-water.pcap"), to: server, isStream: false
        ) {
            $0.loops = 3
            $0.waitMilliseconds = 100
        }
        server.stop()
        #expect(summary.framesSent == 39)
        #expect(summary.latencies.count == 0)
        #expect(Set(server.pieces.map(\.port)).count == 3)
        #expect(server.pieces.count == 39)
    }

    @Test("a stream arrives whole, the repeated segment once, and the connection ends")
    func stream() throws {
        let server = LoopbackServer(isStream: true)
        let capture = try capture("demo-electricity-tcp.pcap")
        let summary = try play(capture, to: server, isStream: true)
        server.stop()
        let expected = capture.deliveries.filter { $0.kind == .bytes && $0.isToServer }
        #expect(server.pieces.map(\.bytes) == [expected.flatMap(\.bytes)])
        #expect(summary.bytesSent == expected.reduce(0) { $0 + $1.bytes.count })
        #expect(summary.framesUnsent == 0)
    }

    @Test("--from server sends the other side's bytes")
    func serverSide() throws {
        let server = LoopbackServer(isStream: true)
        let capture = try capture("modbus-rtu-over-tcp.pcap")
        let summary = try play(capture, to: server, isStream: true) { $0.sides = .server }
        server.stop()
        let expected = capture.deliveries.filter { $0.kind == .bytes && !$0.isToServer }
        #expect(server.pieces.map(\.bytes) == [expected.flatMap(\.bytes)])
        #expect(summary.framesSent == 22)
    }

    @Test("--from both sends what either side said, in the order in which it was said")
    func bothSides() throws {
        let server = LoopbackServer(isStream: true)
        let capture = try capture("modbus-rtu-over-tcp.pcap")
        let summary = try play(capture, to: server, isStream: true) { $0.sides = .both }
        server.stop()
        let expected = capture.deliveries.filter { $0.kind == .bytes }
        #expect(server.pieces.map(\.bytes) == [expected.flatMap(\.bytes)])
        #expect(summary.framesSent == 44)
    }

    @Test("the original timing is kept, scaled by the speed")
    func timing() throws {
        let capture = try capture("modbus-rtu-over-tcp.pcap")
        let times = capture.deliveries.map(\.time)
        let span = Double((times.max() ?? 0) - (times.min() ?? 0)) / 1e9
        let server = LoopbackServer(isStream: true)
        let summary = try play(capture, to: server, isStream: true) { $0.speed = span / 0.4 }
        server.stop()
        #expect(summary.wallSeconds >= 0.4)
    }

    @Test("nobody at the port is told, not hidden")
    func refused() throws {
        let server = LoopbackServer(isStream: true)
        server.stop()
        // Another loopback address: the kernel may have given the port of ours to the next test.
        let target = Target(isStream: true, endpoint: .ipv4(0x7F3D_0703, port: server.port))
        var plan = ReplayPlan(target: target)
        plan.speed = nil
        plan.waitMilliseconds = 200
        var run = try ReplayRun(try capture("demo-electricity-tcp.pcap"), plan)
        let summary = try run.play { _ in }
        #expect(summary.framesSent == 0)
        #expect(summary.framesUnsent == 11)
    }

    @Test(
        "targets are URLs with a port",
        arguments: ["127.0.0.1:1", "udp://:1", "udp://h", "x://h:1"])
    func targets(text: String) {
        #expect(throws: UsageError.self) { try Target(text) }
    }
}

@Suite("Local time") struct LocalTimeTests {
    private let now = Timestamp(milliseconds: 1_795_255_200_000)

    @Test("a time with Z is UTC, a duration is that long ago, nonsense is nothing")
    func parsing() {
        #expect(LocalTime.parse("2026-11-21T10:00:00Z", now: now) == now)
        #expect(LocalTime.parse("2026-11-21 10:00Z", now: now) == now)
        #expect(
            LocalTime.parse("2h", now: now)?.milliseconds == now.milliseconds - 7_200_000)
        for text in ["", "2026", "2026-13-01", "2026-11-21T25:00", "2026-11-21T10:xx", "a-b-c"] {
            #expect(LocalTime.parse(text, now: now) == nil, "\(text)")
        }
    }

    @Test("a local time is read back as it was shown")
    func roundTrip() {
        let shown = LocalTime.text(now)
        let bare = shown.split(separator: " ").prefix(2).joined(separator: " ")
        #expect(LocalTime.parse(bare, now: now) == now)
    }
}

@Suite("Hex") struct HexTests {
    @Test(
        "hex is read as people paste it",
        arguments: [
            ("68AA16", [0x68, 0xAA, 0x16]), ("0x68, 0xaa", [0x68, 0xAA]),
            ("68:aa-16", [0x68, 0xAA, 0x16]),
            ("", []), ("00", [0]),
        ] as [(String, [UInt8])])
    func good(text: String, bytes: [UInt8]) { #expect(Hex.bytes(text) == bytes) }

    @Test("half bytes and other letters are refused", arguments: ["6", "6 8", "6g", "0x", "68 1"])
    func bad(text: String) { #expect(Hex.bytes(text) == nil) }
}
