// The screens of `status` and `top`, the keys, and plots: texts in fixed sizes.

import Formats
import Model
import Testing

@testable import Field

@Suite("Screens") struct StatusTests {
    static func status(
        seconds: Int, scale: Int = 1, sources: Int = 3, state: String = "streaming"
    ) throws -> JSONNode {
        let list = (0..<sources).map { i in
            """
            {"name": "source-\(i)", "listen": "udp://127.0.0.1:\(9000 + i)", "datagrams": \
            \((i + 1) * 100 * scale), "bytesReceived": \((sources - i) * 5000 * scale), \
            "kernelDrops": \(i == 1 ? 7 : 0), "connections": 0, \
            "connectionsRefused": {"idle": \(i)}}
            """
        }.joined(separator: ",")
        let text = """
            {"gateway": "tower-7", "software": "0.1.0", "startedAt": "2026-11-22T00:00:00.000Z",
             "now": "2026-11-22T00:00:\(seconds < 10 ? "0" : "")\(seconds).500Z",
             "isHealthy": true, "reasons": [], "sources": [\(list)],
             "intake": {"devices": 4, "streams": 9, "ringFree": 65536, "isWithoutRoom": false},
             "spool": {"maximumBytes": 1000000, "trouble": null, "forecast": {"text":
                "spool full in 2 h 46 min at this rate; live is shed first"},
                "bytesPending": {"alarm": 0, "live": \(1000 * scale), "backlog": 0},
                "batchesPending": {"alarm": 0, "live": 2, "backlog": 0}},
             "uplink": {"state": "\(state)", "store": "10.0.0.9:9100", "stateSeconds": 10,
                "lastError": null, "bytesSent": \(300 * scale)},
             "ledger": {"framesReceived": \(600 * scale), "rejected": {"bad-checksum": \
            \(5 * scale), "truncated": 0}, "readingsHeld": 0, "unaccounted": 0}}
            """
        return try JSONNode.parse(Array(text.utf8), file: "status")
    }

    private func page(_ change: (inout StatusScreen) -> Void = { _ in }) -> StatusScreen {
        var page = StatusScreen()
        change(&page)
        return page
    }

    @Test("what a reload found wrong in the files is on the screen")
    func complaints() throws {
        let text = """
            { "configuration": { "complaints": ["sluiced.json5:2:3: unknown key"] },
              "formats": { "complaints": ["a:1:1: x", "b:1:1: x", "c:1:1: x"] } }
            """
        let root = try JSONNode.parse(Array(text.utf8), file: "status")
        let lines = page().lines(StatusModel(root)).map(\.text)
        #expect(lines.contains { $0.hasSuffix("sluiced.json5:2:3: unknown key") })
        #expect(lines.contains { $0.contains("b:1:1") } && !lines.contains { $0.contains("c:1:1") })
    }

    @Test("no line is wider and no screen longer than the terminal, whatever its size")
    func sizes() throws {
        for sources in [0, 3, 200] {
            var model = StatusModel(try Self.status(seconds: 10, sources: sources))
            model.devices = (0..<300).map {
                StatusModel.SeenDevice(
                    name: "设备-\($0)-with-a-long-name", format: "dlt645", streams: 3,
                    firstSeenAt: Timestamp(milliseconds: 0),
                    lastSeenAt: Timestamp(milliseconds: 0))
            }
            for (columns, rows) in [(80, 24), (200, 50), (40, 10), (20, 5), (132, 43)] {
                for view in [StatusScreen.View.sources, .devices, .help] {
                    let lines = page {
                        $0.columns = columns
                        $0.rows = rows
                        $0.view = view
                        $0.prompt = "q quit"
                    }.lines(model)
                    #expect(lines.count <= rows)
                    #expect(lines.allSatisfy { Table.columns($0.text) <= columns })
                    if rows >= 24 {
                        #expect(lines.count == rows, "\(columns)x\(rows) \(view) \(sources)")
                        #expect(lines.last?.text == "q quit")
                    }
                }
            }
        }
    }

    @Test("rates are averages since the start, then those between two looks")
    func rates() throws {
        let first = StatusModel(try Self.status(seconds: 10))
        #expect(first.isSinceStart)
        #expect(abs(first.sources[0].datagramsPerSecond - 100 / 10.5) < 0.01)
        let second = StatusModel(try Self.status(seconds: 12, scale: 3), since: first)
        #expect(!second.isSinceStart && second.spanMilliseconds == 2000)
        #expect(second.sources[0].datagramsPerSecond == 100)
        #expect(second.rejected.map(\.reason) == ["bad-checksum"])
        #expect(second.rejected[0].perSecond == 5)
        // A restart makes counters smaller: no rate, not a huge one.
        let third = StatusModel(try Self.status(seconds: 14, scale: 1), since: second)
        #expect(third.sources[0].datagramsPerSecond == 0)
    }

    @Test("what is wrong is seen: drops, a store that is away, devices that are silent")
    func wrong() throws {
        var model = StatusModel(try Self.status(seconds: 10, state: "waiting"))
        model.devices = [
            StatusModel.SeenDevice(
                name: "lost", format: "dlt645", streams: 1, firstSeenAt: nil,
                lastSeenAt: Timestamp(milliseconds: 0)),
            StatusModel.SeenDevice(
                name: "fresh", format: "dlt645", streams: 1, firstSeenAt: nil,
                lastSeenAt: model.now),
        ]
        let lines = page().lines(model)
        #expect(lines.contains { $0.style == .bad && $0.text.contains("source-1") })
        #expect(lines.contains { $0.style == .bad && $0.text.hasPrefix("uplink   waiting") })
        #expect(
            lines.contains { $0.text.contains("1 of 2 over 1 d 1 h") && $0.text.contains("lost") })
        #expect(lines.contains { $0.text.contains("full in 2 h 46 min") })
        #expect(lines.contains { $0.style == .good && $0.text.contains("unaccounted 0") })
    }

    @Test("keys sort, turn round, filter, scroll, switch and leave")
    func keys() throws {
        let model = StatusModel(try Self.status(seconds: 10))
        var keys = TopKeys()
        func names() -> [String] {
            keys.page.lines(model).map(\.text).filter { $0.hasPrefix("source-") }
                .map { String($0.prefix(8)) }
        }
        #expect(names() == ["source-0", "source-1", "source-2"])
        keys.take(.character("r"))
        #expect(names() == ["source-2", "source-1", "source-0"])
        keys.take(.character("r"))
        for _ in 0..<2 { keys.take(.character("s")) }
        #expect(keys.page.order == .datagrams)
        #expect(names() == ["source-2", "source-1", "source-0"])
        for key in Terminal.keys(Array("/E-1".utf8)) { keys.take(key) }
        #expect(keys.isTyping && names() == ["source-1"])
        keys.take(.backspace)
        #expect(names().count == 3)
        keys.take(.character("q"))
        #expect(!keys.isOver, "q is a letter while a filter is typed")
        keys.take(.escape)
        #expect(!keys.isTyping && keys.page.filter.isEmpty)
        keys.take(.character("d"))
        #expect(keys.page.view == .devices)
        keys.take(.character("h"))
        keys.take(.character("q"))
        #expect(keys.page.view == .sources && !keys.isOver)
        keys.take(.character("q"))
        #expect(keys.isOver)
        var other = TopKeys()
        for key in Terminal.keys([0x2F, 0x61, 0x03]) { other.take(key) }
        #expect(other.isOver, "Ctrl-C leaves from everywhere")
    }

    @Test("bytes of a terminal are keys; sequences that mean nothing are passed over")
    func sequences() {
        let cases: [(String, [Terminal.Key])] = [
            ("q", [.character("q")]), ("\u{1B}[A\u{1B}[B", [.up, .down]),
            ("\u{1B}[5~\u{1B}[6~", [.pageUp, .pageDown]), ("\u{1B}", [.escape]),
            ("\r", [.enter]), ("\u{7F}", [.backspace]), ("\u{3}", [.interrupt]),
            ("\u{1B}[1;5Cx", [.character("x")]), ("水", [.character("水")]), ("", []),
            ("\u{1B}[", []), ("\u{1B}[200~", []),
        ]
        for (text, keys) in cases { #expect(Terminal.keys(Array(text.utf8)) == keys, "\(text)") }
        var random = SplitMix64(seed: 3)
        for _ in 0..<2000 {
            let bytes = (0..<Int(random.next() % 12)).map { _ in
                UInt8(truncatingIfNeeded: random.next())
            }
            #expect(Terminal.keys(bytes).count <= bytes.count)
        }
    }

    @Test("a plot fits its width, its ends are its least and its largest, and one point is a point")
    func plots() {
        var plot = Plot(title: "t, °C")
        for i in 0..<500 {
            plot.add(Timestamp(milliseconds: Int64(i) * 60_000), Double(i % 100) / 10)
        }
        plot.add(Timestamp(milliseconds: 0), nil)
        plot.add(Timestamp(milliseconds: 0), .nan)
        #expect(plot.points.count == 500)
        for columns in [40, 80, 200] {
            let lines = plot.lines(columns: columns, rows: 6)
            #expect(lines.count == 8)
            #expect(lines.allSatisfy { Table.columns($0) <= columns })
            #expect(lines[1].hasPrefix("9.9│") && lines[6].hasPrefix("  0│"))
        }
        var one = Plot(title: "x")
        one.add(Timestamp(milliseconds: 5), 3)
        let marks = one.lines(columns: 40, rows: 3).joined().unicodeScalars.filter {
            (0x2801...0x28FF).contains($0.value)
        }
        #expect(marks.count == 1)
        #expect(Plot(title: "x").lines(columns: 80, rows: 5) == ["x", "  no numbers"])
        var wild = Plot(title: "x")
        wild.add(Timestamp(milliseconds: .max), 1e308)
        wild.add(Timestamp(milliseconds: .min / 2), -1e308)
        #expect(wild.lines(columns: 60, rows: 5).count == 7)
    }

    @Test("a time as the daemon writes it is read; others are none")
    func times() {
        #expect(Timestamp(iso8601: "1970-01-01T00:00:01.250Z")?.milliseconds == 1250)
        #expect(Timestamp(iso8601: "1970-01-01T00:00:01Z")?.milliseconds == 1000)
        for text in ["", "Z", "T", "TZ", "1970-01-01", "1970-13-01T00:00:00Z", "1970-01-01T0Z"] {
            #expect(Timestamp(iso8601: text) == nil, "\(text)")
        }
    }
}
