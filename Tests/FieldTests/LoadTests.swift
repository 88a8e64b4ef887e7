// The load harness's arithmetic against the daemon's own decoder, its sending against a socket of
// the
// test, and the audit against planted mistakes: a harness that cannot fail proves nothing.

import Field
import Formats
import Host
import Model
import Testing
import Uplink

@Suite("Load", .serialized) struct LoadTests {
    private let population = Population(
        devices: 7, startMilliseconds: 1_795_255_200_000, rate: 100, seed: 5)

    private func row(_ index: Int, _ stream: Int) -> StoredReading {
        let device = String(Population.identity(population.device(index)), radix: 16)
        let identity = String(repeating: "0", count: 16 - device.count) + device
        return StoredReading(
            gateway: "g", device: identity, stream: Population.streams[stream].name, quantity: "",
            unit: "",
            position: RowPosition(
                stream: 1, observedAt: Timestamp(milliseconds: population.observedAt(index)),
                row: 1),
            receivedAt: Timestamp(milliseconds: 0),
            value: .decimal(
                population.values(index)[stream], exponent: Population.streams[stream].exponent),
            quality: [], batchSequence: 1, revision: 0)
    }

    @Test("the daemon's decoder reads what the population says it sends")
    func frames() throws {
        let library = try FormatLibrary(directory: "protocols")
        let decoder = Decoder(try #require(library.format(named: "sluice-reference")))
        for index in [0, 6, 7, 699] {
            let bytes = ReferenceFrames.frame(index, asks: index == 7, of: population)
            var frame = DecodedFrame()
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            let identity = decoder.identityText()
            #expect(population.device(identity: identity) == population.device(index))
            #expect(frame.answer.isEmpty == (index != 7))
            #expect(
                ReferenceFrames.answered(by: frame.answer)
                    == (index == 7 ? population.sequence(index) : nil))
            let words = frame.readings.map {
                decoder.format.describe(output: $0.output, discriminator: $0.discriminator).name
            }
            #expect(words == Population.streams.map(\.name))
            for (i, reading) in frame.readings.enumerated() {
                #expect(reading.value == row(index, i).value)
                #expect(reading.observedAt == row(index, i).observedAt)
            }
        }
    }

    @Test("every frame of a device has its own time")
    func times() {
        for rate in [nil, 1, 20_000, 1e9] as [Double?] {
            let p = Population(devices: 3, startMilliseconds: 0, rate: rate, seed: 1)
            let times = stride(from: 0, to: 3000, by: 3).map { p.observedAt($0) }
            #expect(Set(times).count == times.count)
        }
    }

    @Test("the audit finds what is missing, what is twice, and what nobody sent")
    func audit() {
        let all = (0..<20).flatMap { i in (0..<5).map { (i, $0) } }
        let answered = (0..<20).map { population.sequence($0) }
        func audit(_ rows: [StoredReading]) -> StoreAudit {
            var audit = StoreAudit(population, frames: 20)
            rows.forEach { audit.take($0) }
            return audit
        }
        let rows = all.map { row($0.0, $0.1) }
        let whole = audit(rows)
        #expect(whole.framesWhole == 20)
        #expect(whole.missing(answered) == 0)
        #expect(whole.repeated(answered) == 0)
        #expect(whole.strange == 0)
        let short = audit(Array(rows.dropFirst()))
        #expect(short.missing(answered) == 1)
        let double = audit(rows + [rows[33]])
        #expect(double.repeated(answered) == 1)
        #expect(double.repeated == 1)
        // One reading twice and another missing: the sum is right, the store is not.
        let swapped = audit(rows.dropLast() + [rows[95]])
        #expect(swapped.missing(answered) == 1)
        #expect(swapped.repeated(answered) == 1)
        var other = rows[3]
        other.value = .decimal(1)
        #expect(audit([other]).strange == 1)
        other = rows[3]
        other.device = "00e1000000000009"
        #expect(audit([other]).strange == 1)
    }

    private func plan(_ server: LoopbackServer) -> LoadPlan {
        var plan = LoadPlan(
            target: Target(isStream: false, endpoint: .ipv4(0x7F00_0001, port: server.port)))
        plan.frames = 600
        plan.devices = 20
        plan.rate = 6000
        plan.seed = 11
        return plan
    }

    private func run(_ plan: LoadPlan) throws -> LoadSummary {
        var run = try LoadRun(plan)
        return try run.play { _ throws(DistrictError) in }
    }

    @Test("every frame leaves once, over as many sockets as asked for")
    func sending() throws {
        let server = LoopbackServer(isStream: false, answers: false)
        var plan = plan(server)
        plan.connections = 4
        let summary = try run(plan)
        server.stop()
        #expect(summary.datagramsSent == 600)
        #expect(Set(server.pieces.map(\.bytes)).count == 600)
        #expect(Set(server.pieces.map(\.port)).count == 4)
        #expect(summary.wallSeconds >= 0.09)
    }

    @Test("loss, duplicates and reorder are made as told, and the same seed makes the same run")
    func radio() throws {
        var runs: [[[UInt8]]] = []
        for _ in 0..<2 {
            let server = LoopbackServer(isStream: false, answers: false)
            var plan = plan(server)
            plan.loss = 0.2
            plan.duplicate = 0.1
            plan.reorder = 0.1
            let summary = try run(plan)
            server.stop()
            #expect(summary.framesLost > 60 && summary.framesLost < 200)
            #expect(
                summary.datagramsSent == 600 - summary.framesLost + summary.framesDuplicated)
            runs.append(server.pieces.map(\.bytes))
            #expect(runs[0].count == summary.datagramsSent)
        }
        #expect(runs[0] == runs[1])
    }

    @Test("a frame that asks is repeated with the same bytes until its tries are used up")
    func unanswered() throws {
        let server = LoopbackServer(isStream: false, answers: false)
        var plan = plan(server)
        plan.frames = 10
        plan.answers = 1
        plan.tries = 3
        plan.retryMilliseconds = 20
        let summary = try run(plan)
        server.stop()
        #expect(summary.framesUnanswered == 10)
        #expect(summary.datagramsSent == 30)
        let counts = Dictionary(grouping: server.pieces.map(\.bytes)) { $0 }.values.map(\.count)
        #expect(counts == [Int](repeating: 3, count: 10))
    }
}
