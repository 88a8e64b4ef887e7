// Lines in the intake: polled, registered, overheard. The test plays the wire and the slaves; frames are
// counted by the same ledger as all others.

import Catalog
import Exchanges
import Formats
import Model
import Pipeline
import Simulator
import Spool
import Testing

/// A meter of two register blocks of equal length, which only the request tells apart.
private let meter = """
    {
      format: "two-blocks", extends: "modbus-rtu",
      registers: [
        { function: 3, first: 0, count: 2, map: [
          { name: "voltage", register: 0, type: "u16", decimals: 1, unit: "V", reading: true },
          { name: "current", register: 1, type: "u16", decimals: 2, unit: "A", reading: true } ] },
        { function: 3, first: 100, count: 2, map: [
          { name: "energy", register: 100, type: "u32", unit: "kWh", reading: true } ] },
      ],
    }
    """

private func rtu(_ bytes: [UInt8]) -> [UInt8] {
    let crc = crc16Modbus(bytes)
    return bytes + [UInt8(truncatingIfNeeded: crc), UInt8(crc >> 8)]
}

/// What a slave answers to a request for holding registers: each register's own number and address.
private func slave(_ request: [UInt8]) -> [UInt8] {
    let start = UInt16(request[2]) << 8 | UInt16(request[3])
    let count = UInt16(request[5])
    var out: [UInt8] = [request[0], request[1], UInt8(2 * count)]
    for register in start..<start + count {
        out += [request[0], UInt8(truncatingIfNeeded: register)]
    }
    return rtu(out)
}

private struct LineRig {
    let library: FormatLibrary
    let rig: IntakeRig
    let line = ConnectionID(1)

    init(
        formats: [String] = ["two-blocks"], _ change: (inout LineSettings, FormatLibrary) -> Void
    ) throws {
        library = try FormatLibrary(
            text: meter, file: "two-blocks", library: Formats.library)
        let all = library.formats + Formats.library.formats
        var source = IntakeSource(
            name: "bus", formats: formats.compactMap { name in all.first { $0.name == name } },
            policy: .accept, timeRule: TimeRule())
        change(&source.lines, library)
        rig = IntakeRig(sources: [source], library: library)
    }

    static func polled(
        _ blocks: [(device: Int64, start: Int64)], retries: Int = 0
    ) -> (inout LineSettings, FormatLibrary) -> Void {
        { lines, library in
            guard
                let request = library.format(named: "two-blocks")?
                    .request(named: "holding_registers")
            else { return }
            lines.plan.settings.timeoutMilliseconds = 200
            lines.plan.settings.retries = retries
            lines.plan.requests = blocks.compactMap { block in
                let arguments = try? request.arguments([
                    ("address", .number(block.device)), ("start", .number(block.start)),
                    ("quantity", .number(2)),
                ])
                return arguments.map {
                    PollRequest(
                        format: 0, request: request, arguments: $0, intervalMilliseconds: 1000)
                }
            }
        }
    }

    var lastRequest: [UInt8] { rig.answers.last?.bytes ?? [] }

    /// Gives the line's bytes as the host does: what was not consumed comes again, before the rest.
    func hear(_ bytes: [UInt8], cut: [Int] = []) {
        var kept: [UInt8] = []
        var from = 0
        for end in cut + [bytes.count] where end > from {
            kept += bytes[from..<end]
            from = end
            let progress = rig.stage.stream(
                kept.span, source: 0, connection: line,
                from: Endpoint.ipv4(0x7F00_0001, port: 7), at: rig.time.wall)
            kept.removeFirst(progress.consumed)
        }
        rig.endTurn()
    }

    func names() -> [String] {
        rig.entries.compactMap { if case .stream(let s) = $0 { s.name } else { nil } }
    }

    func devices() -> [String] {
        rig.entries.compactMap { if case .device(let d) = $0 { d.identity } else { nil } }
    }
}

@Suite("Lines in the intake")
struct PolledLineTests {
    @Test("asks when the line opens, and the request chooses the map of its answer")
    func polls() throws {
        let lines = try LineRig(LineRig.polled([(1, 0), (1, 100)]))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        #expect(lines.lastRequest == rtu([1, 3, 0, 0, 0, 2]))
        lines.hear(slave(lines.lastRequest))
        #expect(lines.lastRequest == rtu([1, 3, 0, 100, 0, 2]))
        lines.hear(slave(lines.lastRequest))
        #expect(lines.names() == ["voltage", "current", "energy"])
        #expect(lines.devices() == ["bus:1"])
        let readings = lines.rig.drain()
        #expect(readings.map { $0.value.asDouble ?? 0 } == [25.6, 2.57, 0x0164_0165])
        #expect(lines.rig.counters.framesDecoded == 2)
        #expect(lines.rig.counters.framesUnaccounted == 0)
        let report = try #require(lines.rig.stage.lineReports().first)
        #expect(report.counts.sent == 2 && report.counts.answered == 2)
        #expect(report.devices.map(\.name) == ["1"])
    }

    @Test("an answer that comes after its time is refused, whatever it looks like")
    func late() throws {
        let lines = try LineRig(LineRig.polled([(1, 0), (2, 0)]))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        let first = lines.lastRequest
        lines.rig.pass(milliseconds: 201)
        #expect(lines.lastRequest[0] == 2)
        lines.hear(slave(first))
        #expect(lines.rig.counters[.unasked] == 1)
        lines.hear(slave(lines.lastRequest))
        #expect(lines.devices() == ["bus:2"])
        lines.hear(slave(first))
        #expect(lines.rig.counters[.unasked] == 2)
        #expect(lines.rig.stage.lineReports()[0].counts.mismatched == 2)
        #expect(lines.rig.counters.framesUnaccounted == 0)
    }

    @Test("two answers in one read: the second answers nothing, not the next request")
    func twice() throws {
        let lines = try LineRig(LineRig.polled([(1, 0), (1, 100)]))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        let answer = slave(lines.lastRequest)
        lines.hear(answer + answer)
        #expect(lines.rig.counters.framesDecoded == 1)
        #expect(lines.rig.counters[.unasked] == 1)
        #expect(lines.lastRequest == rtu([1, 3, 0, 100, 0, 2]), "asked once both were looked at")
        #expect(lines.names() == ["voltage", "current"])
    }

    @Test("noise, another device's answer, a wrong checksum: the poll waits and then repeats")
    func noise() throws {
        let lines = try LineRig(LineRig.polled([(1, 0)], retries: 1))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        var wrong = slave(lines.lastRequest)
        wrong[4] ^= 1
        lines.hear([0xFF, 0x00, 0x7E] + wrong)
        lines.hear(slave([2, 3, 0, 0, 0, 2]))
        #expect(lines.rig.counters.framesDecoded == 0)
        #expect(lines.rig.counters[.badChecksum] == 1 && lines.rig.counters[.unasked] == 1)
        lines.rig.pass(milliseconds: 300)
        #expect(lines.rig.answers.count == 2)
        lines.hear([0x00] + slave(lines.lastRequest))
        #expect(lines.rig.counters.framesDecoded == 1)
        #expect(lines.rig.counters.framesUnaccounted == 0)
    }

    @Test("half an answer that was given up is no part of the next")
    func stale() throws {
        let lines = try LineRig(LineRig.polled([(1, 0)], retries: 1))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        let half = Array(slave(lines.lastRequest).prefix(5))
        let from = Endpoint.ipv4(0x7F00_0001, port: 7)
        let progress = lines.rig.stage.stream(
            half.span, source: 0, connection: lines.line, from: from, at: lines.rig.time.wall)
        #expect(progress.consumed == 0)
        lines.rig.pass(milliseconds: 700)
        #expect(lines.rig.answers.count == 2)
        // The host still has the five bytes.
        let again = half + slave(lines.lastRequest)
        _ = lines.rig.stage.stream(
            again.span, source: 0, connection: lines.line, from: from, at: lines.rig.time.wall)
        #expect(lines.rig.counters.framesDecoded == 1)
        #expect(lines.rig.counters.bytesSkipped == 5)
        #expect(lines.rig.counters.framesRejected == 0)
    }

    @Test("our own request, heard back from a two-wire adapter, is passed over in any cut")
    func echo() throws {
        for cut in 0...8 {
            let lines = try LineRig(LineRig.polled([(1, 0)]))
            lines.rig.stage.lineOpened(lines.line, source: 0)
            let request = lines.lastRequest
            lines.hear(request + slave(request), cut: [cut, cut + 3])
            #expect(lines.rig.counters.framesDecoded == 1, "cut at \(cut)")
            #expect(lines.rig.counters.framesRejected == 0, "cut at \(cut)")
            #expect(lines.rig.stage.lineReports()[0].echoes == 1)
        }
    }

    @Test("an exception is an answer: counted, not repeated, no reading")
    func exception() throws {
        let lines = try LineRig(LineRig.polled([(1, 0)], retries: 3))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        lines.hear(rtu([1, 0x83, 2]))
        lines.rig.pass(milliseconds: 900)
        #expect(lines.rig.answers.count == 1)
        #expect(lines.rig.stage.lineReports()[0].counts.exceptions == 1)
        #expect(lines.rig.counters.framesControl == 1)
    }

    @Test("a DTU names itself; heartbeats and its name stand anywhere between frames, in any cut")
    func registered() throws {
        let register = Array("REG:dtu7\r\n".utf8)
        let heartbeat = Array("HB".utf8)
        let settings: (inout LineSettings, FormatLibrary) -> Void = { lines, library in
            LineRig.polled([(1, 0), (1, 100)])(&lines, library)
            var pattern = LinePattern()
            pattern.prefix = Array("REG:".utf8)
            pattern.end = [13, 10]
            lines.patterns.registration = pattern
            var beat = LinePattern()
            beat.prefix = heartbeat
            lines.patterns.heartbeats = [beat]
            lines.needsRegistration = true
        }
        let first = slave(rtu([1, 3, 0, 0, 0, 2]))
        for cut in 0..<(register.count + first.count + 6) {
            let lines = try LineRig(settings)
            lines.rig.stage.lineOpened(lines.line, source: 0)
            #expect(lines.rig.answers.isEmpty, "nobody is asked before the name")
            lines.hear([0xAA] + register + heartbeat, cut: [min(cut, register.count)])
            #expect(lines.rig.answers.count == 1)
            lines.hear(heartbeat + first + heartbeat, cut: [min(cut, first.count + 3)])
            #expect(lines.devices() == ["dtu7:1"], "cut at \(cut)")
            #expect(lines.rig.counters.framesControl == 4, "cut at \(cut)")
            #expect(lines.rig.counters.framesRejected == 0, "cut at \(cut)")
            #expect(lines.rig.counters.framesUnaccounted == 0)
            #expect(lines.rig.stage.lineReports()[0].name == "dtu7")
        }
    }

    @Test("a line that comes back goes on with what is dead on it")
    func reconnected() throws {
        let lines = try LineRig(LineRig.polled([(1, 0)]))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        for _ in 0..<40 { lines.rig.pass(milliseconds: 100) }
        #expect(lines.rig.stage.lineReports()[0].devices[0].isDead)
        lines.rig.stage.connectionEnded(lines.line, source: 0, unconsumed: 0)
        #expect(lines.rig.stage.lineReports().isEmpty)
        let asked = lines.rig.answers.count
        lines.rig.stage.lineOpened(ConnectionID(2), source: 0)
        #expect(lines.rig.stage.lineReports()[0].devices[0].isDead)
        #expect(lines.rig.answers.count == asked)
    }

    @Test("what polled frames mean survives a crash: the journal holds what was asked")
    func replayed() throws {
        let lines = try LineRig(LineRig.polled([(1, 0), (1, 100)]))
        lines.rig.stage.lineOpened(lines.line, source: 0)
        lines.hear(slave(lines.lastRequest))
        lines.hear(slave(lines.lastRequest))
        lines.rig.pass(milliseconds: 300)
        let before = lines.rig.drain().map(\.value)
        let fresh = try LineRig(LineRig.polled([(1, 0), (1, 100)]))
        var replayed = 0
        for part in lines.rig.parts {
            for (source, bytes) in frames(of: part) {
                fresh.rig.stage.replay(
                    bytes.span, source: source, receivedAt: lines.rig.time.wall, isCovered: false)
                replayed += 1
            }
        }
        _ = fresh.rig.stage.publishReplayed()
        #expect(replayed == 2)
        #expect(fresh.rig.drain().map(\.value) == before)
        #expect(fresh.names() == ["voltage", "current", "energy"])
        #expect(fresh.devices() == ["bus:1"])
    }

    /// The frames of a part, read by the layout in Journal.swift.
    private func frames(of part: JournalPart) -> [(JournalSource, [UInt8])] {
        var head = ByteReader(part.bytes, from: 32)
        let trailerAt = Int((try? head.u32()) ?? 0)
        var trailer = ByteReader(part.bytes, from: trailerAt)
        let count = Int((try? trailer.varint()) ?? 0)
        let sources = (0..<count).map { _ in
            JournalSource(
                name: (try? trailer.text(limit: 99)) ?? "",
                format: (try? trailer.text(limit: 99)) ?? "")
        }
        var reader = ByteReader(part.bytes, from: 40)
        return (0..<part.frameCount).compactMap { _ in
            guard let source = try? reader.varint(), (try? reader.varint()) != nil,
                let bytes = try? reader.blob(limit: 1 << 20)
            else { return nil }
            return (sources[Int(source)], bytes)
        }
    }

    @Test("a line that carries both directions pairs answers with requests; what is unpaired stays")
    func overheard() throws {
        let lines = try LineRig { lines, _ in lines.hearsRequests = true }
        lines.rig.stage.lineOpened(lines.line, source: 0)
        let requests = [
            rtu([1, 3, 0, 0, 0, 2]), rtu([1, 3, 0, 100, 0, 2]), rtu([9, 3, 0, 0, 0, 2]),
        ]
        for request in requests {
            let both = request + slave(request)
            for cut in stride(from: 1, to: both.count, by: 3) { lines.hear(both, cut: [cut]) }
        }
        #expect(lines.rig.counters.framesRejected == 0)
        #expect(Set(lines.devices()) == ["bus:1", "bus:9"])
        #expect(lines.names() == ["voltage", "current", "energy", "voltage", "current"])
        #expect(lines.rig.counters.framesUnaccounted == 0)
        #expect(lines.rig.counters.framesControl == lines.rig.counters.framesDecoded)
    }

    @Test("noise of any kind on a polled line costs no more than its bytes and never ends it")
    func hostile() throws {
        for seed in UInt64(1)...30 {
            var random = SplitMix64(seed: seed)
            let lines = try LineRig(LineRig.polled([(1, 0), (1, 100), (2, 0)], retries: 1))
            lines.rig.stage.lineOpened(lines.line, source: 0)
            for _ in 0..<60 {
                var bytes = random.bytes(random.below(40))
                if random.chance(0.5), lines.lastRequest.count == 8 {
                    bytes += slave(lines.lastRequest)
                }
                if random.chance(0.1) { bytes += lines.lastRequest }
                lines.hear(bytes, cut: [random.below(max(1, bytes.count))])
                lines.rig.pass(milliseconds: Int64(random.below(400)))
            }
            #expect(lines.rig.counters.framesUnaccounted == 0, "seed \(seed)")
            #expect(lines.rig.counters.readingsUnaccounted == 0, "seed \(seed)")
            #expect(Set(lines.devices()).isSubset(of: ["bus:1", "bus:2"]), "seed \(seed)")
            #expect(lines.rig.counters.framesDecoded > 0, "seed \(seed)")
        }
    }
}
