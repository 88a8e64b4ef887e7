// High and low water of the spool, and what a conversation tells its devices above it.

import Batches
import Catalog
import Exchanges
import Model
import Pipeline
import Simulator
import Spool
import TestSupport
import Testing

@Suite("Patience")
struct PatienceTests {
    @Test("above three quarters patience is asked for, once; below 60 % no longer, once")
    func water() throws {
        let folder = TemporaryFolder()
        let time = VirtualTime()
        var settings = SpoolSettings()
        settings.maximumBytes = 8 << 20
        let told = Collected<Bool>()
        let stage = SpoolStage(
            spool: try Spool(directory: folder.path, settings: settings),
            catalog: try CatalogFile(directory: folder.path), clock: time.clock,
            ports: SpoolPorts(
                committed: { _ in }, cutStored: {}, catalogGrew: {}, batchesAvailable: {},
                trouble: { _ in }, wakeAt: { _ in }, paced: { told.append($0) }))
        let wall = time.wall
        var random = SplitMix64(seed: 1)
        var sequence: UInt64 = 0
        func cut() {
            sequence += 1
            time.advance(milliseconds: 2000)
            stage.take(
                .cut(
                    EpochCut(
                        epoch: sequence,
                        batches: [
                            CutBatch(
                                bytes: random.bytes(256 << 10), readings: 1, priority: .live,
                                bucketStart: wall, revision: 0, firstObservedAt: wall,
                                lastObservedAt: wall)
                        ], covered: [0], counters: [IntakeCounters()], revisions: [])))
        }
        // 256 KB of 8 MB: three quarters are 24.
        for _ in 0..<23 { cut() }
        #expect(told.all.isEmpty)
        for _ in 0..<3 { cut() }
        #expect(told.all == [true])
        var first: UInt64 = 1
        func acknowledge(_ count: UInt64) {
            time.advance(milliseconds: 2000)
            stage.acknowledge(Array(first..<first + count))
            first += count
        }
        acknowledge(5)
        #expect(told.all == [true], "21 of 32 are left: between the marks nothing changes")
        acknowledge(3)
        #expect(told.all == [true, false])
        acknowledge(18)
        #expect(told.all == [true, false] && !stage.isPaced)
    }

    /// A confirmable POST to /t/r (RFC 7252 section 3).
    private func request(_ id: UInt8, _ payload: [UInt8]) -> [UInt8] {
        [0x41, 0x02, 0, id, 7, 0xB1, 0x74, 0x01, 0x72, 0xFF] + payload
    }

    @Test(
        "a conversation says 5.03 with Max-Age meanwhile, refused and counted; a bare datagram is taken"
    )
    func conversation() throws {
        var source = IntakeRig.source()
        var exchange = ExchangeSettings(kind: .coap)
        exchange.listed = 1
        source.exchange = exchange
        let rig = IntakeRig(sources: [source])
        rig.stage.setPaced(true)
        let frame = ReferenceFrame(device: 9, sequence: 1)
        rig.datagram(request(1, frame.bytes))
        rig.endTurn()
        let answer = try #require(rig.answers.first?.bytes)
        #expect(answer[1] == 0xA3, "5.03")
        // Max-Age is option 14, the first one here.
        #expect(answer[5] >> 4 == 13 && answer[6] == 1 || answer[5] >> 4 == 14)
        #expect(rig.counters[.noRoom] == 1 && rig.counters.framesUnaccounted == 0)
        rig.stage.setPaced(false)
        rig.datagram(request(2, frame.bytes))
        rig.endTurn()
        rig.pass(milliseconds: 300)
        rig.commit()
        #expect(rig.answers.count == 2 && rig.answers[1].bytes[1] == 0x44, "2.04")

        let plain = IntakeRig()
        plain.stage.setPaced(true)
        plain.datagram(frame)
        plain.endTurn()
        #expect(plain.counters.framesDecoded == 1 && plain.stage.hasRoom)
    }
}
