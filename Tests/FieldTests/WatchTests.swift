// Who is silent, judged by a device's own period; what `device --watch` makes of a recording; requests and
// answers paired in a comparison of formats; answers of a replay with their times.

import Formats
import Host
import Model
import Testing

@testable import Field

@Suite("Watching devices") struct WatchTests {
    private static func device(
        _ name: String, silentFor minutes: Int64, period: Int64?
    ) -> StatusModel.SeenDevice {
        StatusModel.SeenDevice(
            name: name, format: "f", streams: 1, firstSeenAt: Timestamp(milliseconds: 0),
            lastSeenAt: Timestamp(milliseconds: 1_000_000_000_000 - minutes * 60_000),
            periodMilliseconds: period)
    }

    @Test(
        "a device is silent after three of its own periods and a minute, else after the usual time")
    func silence() throws {
        var model = StatusModel(try JSONNode.parse(Array("{}".utf8), file: "status"))
        model.now = Timestamp(milliseconds: 1_000_000_000_000)
        model.devices = [
            Self.device("minute, fresh", silentFor: 3, period: 60_000),
            Self.device("minute, late", silentFor: 5, period: 60_000),
            Self.device("daily, fresh", silentFor: 60 * 70, period: 86_400_000),
            Self.device("daily, late", silentFor: 60 * 73, period: 86_400_000),
            Self.device("unknown, fresh", silentFor: 60 * 24, period: nil),
            Self.device("unknown, late", silentFor: 60 * 26, period: nil),
        ]
        let silent = model.silent(25 * 3_600_000).map(\.device.name)
        #expect(Set(silent) == ["minute, late", "daily, late", "unknown, late"])
        #expect(model.aged.count == 6)
        let text = StatusScreen().lines(model).map(\.text)
        #expect(text.contains { $0.contains("3 of 6 over their period or 1 d 1 h") })
    }

    private func record(_ note: String, from port: UInt16, up: Bool = true) -> CapturedDelivery {
        CapturedDelivery(
            kind: .datagram, time: 1_000_000_000_000_000_000, number: 1, conversation: 0,
            isToServer: up, bytes: [1, 2], note: note)
    }

    private func endpoint(_ port: UInt16) -> Endpoint { .ipv4(0x7F00_0001, port: port) }

    @Test(
        "counts what becomes of a device's frames, its moves, and refusals from where it was heard")
    func watch() {
        var watch = DeviceWatch("868 1")
        func take(_ note: String, _ port: UInt16, up: Bool = true) -> String? {
            watch.take(record(note, from: port, up: up), from: endpoint(port), .english)
        }
        // Before anybody knows that it is the device's endpoint.
        #expect(take("rejected bad-checksum", 1) == nil)
        #expect(take("decoded; dlt645 other", 2) == nil)
        #expect(take("decoded; dlt645 868 1", 1) != nil)
        #expect(take("rejected bad-checksum", 1)?.contains("rejected bad-checksum") == true)
        #expect(take("decoded; dlt645 other", 1) == nil)
        #expect(take("decoded; dlt645 868 1", 1, up: false) == nil)
        #expect(take("rejected truncated", 9) == nil)
        #expect(watch.endpointChanges == 0)
        #expect(take("duplicate; dlt645 868 1", 3)?.contains("(was at 127.0.0.1:1)") == true)
        #expect(watch.endpointChanges == 1)
        #expect(watch.verdicts == ["decoded": 1, "duplicate": 1, "rejected bad-checksum": 2])
        #expect(
            watch.summary(.english)
                == "decoded 1, duplicate 1, rejected bad-checksum 2; endpoint changes 1")
    }

    @Test(
        "with both sides of a Modbus connection the comparison knows which registers were asked for"
    )
    func pairs() throws {
        let library = try FormatLibrary(directory: "protocols")
        let capture = Capture(
            try Files.read("fixtures/captures/modbus-tcp.pcap"), file: "modbus-tcp.pcap")
        let alone = FormatComparison(
            capture, old: library, new: library, only: ["modbus-tcp-example-meter"], sides: .server)
        let paired = FormatComparison(
            capture, old: library, new: library, only: ["modbus-tcp-example-meter"], sides: .both)
        #expect(alone.frames == 22 && alone.changes.isEmpty)
        #expect(paired.frames == 44 && paired.changes.isEmpty)
        let frames = CaptureDecoder(
            library, keys: .none, only: ["modbus-tcp-example-meter"], pairs: true
        )
        .frames(of: capture) { _ in true }
        // Requests say nothing; answers alone do not say which registers they hold.
        #expect(frames.reduce(0) { $0 + $1.readings.count } == 13)
        #expect(alone.readings == 0 && paired.readings == 13)
    }

    @Test("each answer of a replay is told with the frame before it, its sender and its time")
    func answers() throws {
        let server = LoopbackServer(isStream: false)
        let capture = Capture(
            try Files.read("fixtures/captures/demo-environment.pcap"), file: "demo")
        var plan = ReplayPlan(
            target: Target(isStream: false, endpoint: .ipv4(0x7F00_0001, port: server.port)))
        plan.speed = nil
        var run = try ReplayRun(capture, plan)
        let summary = try run.play { _ in }
        server.stop()
        #expect(summary.answers.count == 12)
        let clients = Set(capture.conversations.map(\.client))
        for answer in summary.answers {
            #expect(clients.contains(answer.client) && answer.nanoseconds >= 0)
            // The server of the test answers with the first byte.
            #expect(answer.bytes.count == 1)
            #expect(capture.deliveries.contains { $0.number == answer.number })
        }
    }
}
