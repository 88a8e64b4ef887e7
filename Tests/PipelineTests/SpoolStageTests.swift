// The spool's stage over a disk that refuses: it fails, or a quota is so small that it is full.
// Jobs wait
// in their order, nothing is committed, the timer tries again, and a probe is answered meanwhile.

import Catalog
import Model
import Pipeline
import Simulator
import Spool
import TestSupport
import Testing
import Uplink

final class SpoolRig {
    let folder = TemporaryFolder()
    let disk: FaultyDisk
    let time = VirtualTime()
    private(set) var spool: Spool!
    private(set) var stage: SpoolStage!
    private(set) var committed: [UInt64] = []
    private(set) var released: [UInt64] = []
    private(set) var cutsWanted = 0
    private(set) var opened = 0
    private(set) var cutsStored = 0
    private(set) var available = 0
    private(set) var troubles: [String?] = []
    private(set) var timer: Instant?

    /// `isThere` false: the disk fails when the stage begins, and the spool comes later.
    init(
        maximumBytes: Int, settings: SpoolStageSettings = SpoolStageSettings(),
        isThere: Bool = true, fill: (Spool) throws -> Void = { _ in }
    ) throws {
        disk = FaultyDisk(folder.path)
        var limits = SpoolSettings()
        limits.maximumBytes = maximumBytes
        let path = folder.path
        let open = { (givesUp: Bool) in
            (
                try Spool(directory: path, settings: limits, givesUp: givesUp),
                try CatalogFile(directory: path)
            )
        }
        let ports = SpoolPorts(
            committed: { [unowned self] in committed.append($0) },
            released: { [unowned self] in released.append($0) },
            cutStored: { [unowned self] in cutsStored += 1 },
            needsCut: { [unowned self] in cutsWanted += 1 }, catalogGrew: {},
            batchesAvailable: { [unowned self] in available += 1 },
            opened: { [unowned self] in
                spool = $0
                opened += 1
            },
            trouble: { [unowned self] in troubles.append($0) },
            wakeAt: { [unowned self] in timer = min(timer ?? $0, $0) })
        if isThere {
            let (spool, catalog) = try open(false)
            self.spool = spool
            stage = SpoolStage(
                spool: spool, catalog: catalog, clock: time.clock, settings: settings,
                ports: ports)
        } else {
            do {
                let earlier = try Spool(directory: path, settings: limits)
                try fill(earlier)
            }
            disk.failAll(FaultyDisk.Code.readOnly)
            stage = SpoolStage(
                reason: "read-only", storage: open, clock: time.clock, settings: settings,
                ports: ports)
        }
    }

    private(set) var position: UInt64 = 0

    /// A part of `frames` frames of 1000 bytes each, that compress for nobody.
    func part(frames: Int) -> JournalPart {
        var buffer = JournalBuffer(intake: 0, capacity: 4096, firstPosition: position)
        var random = SplitMix64(seed: position)
        for _ in 0..<frames {
            buffer.append(
                random.bytes(1000).span, source: 0,
                receivedAt: Timestamp(milliseconds: VirtualTime.start))
        }
        position += UInt64(frames)
        return buffer.take(
            sources: [JournalSource(name: "s", format: "f")], counters: IntakeCounters())
    }

    func cut(
        _ epoch: UInt64, readings: Int, bytes: Int = 100, covering: UInt64,
        priority: Priority = .live
    ) -> SpoolJob {
        let time = Timestamp(milliseconds: VirtualTime.start)
        return .cut(
            EpochCut(
                epoch: epoch,
                batches: [
                    CutBatch(
                        bytes: [UInt8](repeating: 7, count: bytes), readings: readings,
                        priority: priority, bucketStart: time, revision: 0, firstObservedAt: time,
                        lastObservedAt: time)
                ], covered: [covering], counters: [IntakeCounters()], revisions: []))
    }

    func probe(_ replies: Collected<Ledger>, sealed: UInt64) {
        var probe = LedgerProbe { replies.append($0) }
        probe.ledger.intake.readingsDecoded = sealed
        probe.ledger.intake.readingsPublished = sealed
        probe.ledger.readingsConsumed = sealed
        probe.ledger.readingsSealed = sealed
        stage.take(.probe(probe))
    }

    func fireTimer() {
        guard let due = timer else { return }
        time.nanoseconds = max(time.nanoseconds, due.nanoseconds)
        timer = nil
        stage.timer()
    }
}

@Suite("Spool stage")
struct SpoolStageTests {
    @Test("on a disk that refuses, jobs wait in order, unanswered, and probes are still answered")
    func refusing() throws {
        let rig = try SpoolRig(maximumBytes: 1 << 30)
        let replies = Collected<Ledger>()
        var taken = 0
        while rig.troubles.isEmpty, taken < 100 {
            if taken == 9 { rig.disk.failAll(FaultyDisk.Code.flush) }
            rig.stage.take(.part(rig.part(frames: 20)))
            taken += 1
        }
        #expect(rig.troubles.count == 1 && rig.stage.trouble != nil)
        #expect(rig.committed.count == taken - 1)
        let before = rig.committed
        let position = UInt64(taken * 20)
        rig.stage.take(rig.cut(1, readings: 11, covering: position))
        rig.probe(replies, sealed: 11)
        rig.stage.take(rig.cut(2, readings: 5, covering: position))
        rig.probe(replies, sealed: 16)
        for _ in 0..<3 { rig.fireTimer() }
        #expect(rig.committed == before && rig.cutsStored == 0 && rig.available == 0)
        #expect(rig.stage.readingsWaiting == 16)
        #expect(replies.all.map(\.readingsAwaitingSpool) == [11, 16])
        #expect(replies.all.allSatisfy { $0.unaccounted == 0 })
        #expect(rig.timer != nil, "it goes on trying")
        #expect(rig.troubles.count == 1, "the same trouble is told once")
    }

    @Test("when the disk takes data again, everything goes in its order and the trouble ends")
    func recovering() throws {
        let rig = try SpoolRig(maximumBytes: 400_000)
        var taken = 0
        while rig.troubles.isEmpty, taken < 100 {
            rig.stage.take(.part(rig.part(frames: 20)))
            taken += 1
        }
        let position = UInt64(taken * 20)
        rig.stage.take(rig.cut(1, readings: 11, covering: position))
        // Somebody makes room: a cut that covers what is there lets the journal go.
        guard case .cut(var early) = rig.cut(1, readings: 3, covering: position - 20) else {
            return
        }
        early.epoch = 0
        try rig.spool.commit(early)
        rig.fireTimer()
        #expect(rig.stage.trouble == nil && rig.troubles.count == 2)
        #expect(rig.committed.last == position && rig.committed == rig.committed.sorted())
        #expect(rig.cutsStored == 1 && rig.available == 1)
        #expect(rig.stage.readingsWaiting == 0)
        #expect(rig.spool.counters.readingsReceived == 14)
        #expect(rig.spool.counters.unaccounted == 0)
        #expect(rig.timer == nil)
    }

    @Test("parts that come while the disk works are told of one by one, in order")
    func parts() throws {
        let rig = try SpoolRig(maximumBytes: 1 << 30)
        for frames in [1, 2, 3] { rig.stage.take(.part(rig.part(frames: frames))) }
        #expect(rig.committed == [1, 3, 6])
        #expect(rig.spool.nextPosition(intake: 0) == 6)
    }

    @Test("lends alarms first, then live, then backlog, within the limits")
    func lease() throws {
        let rig = try SpoolRig(maximumBytes: 1 << 30)
        let time = Timestamp(milliseconds: VirtualTime.start)
        let batches = [Priority.backlog, .live, .alarm, .live].map {
            CutBatch(
                bytes: [UInt8](repeating: 1, count: 100), readings: 1, priority: $0,
                bucketStart: time, revision: 0, firstObservedAt: time, lastObservedAt: time)
        }
        rig.stage.take(
            .cut(
                EpochCut(
                    epoch: 1, batches: batches, covered: [0], counters: [IntakeCounters()],
                    revisions: [])))
        let all = rig.stage.lease(excluding: [], limit: 10, maximumBytes: 1 << 20)
        #expect(all.map(\.priority) == [.alarm, .live, .live, .backlog])
        let two = rig.stage.lease(
            excluding: [all[0].sequence], limit: 2, maximumBytes: 1 << 20)
        #expect(two.map(\.sequence) == [all[1].sequence, all[2].sequence])
        rig.stage.acknowledge([all[0].sequence, all[1].sequence])
        rig.stage.reject(all[2].sequence, reason: "unreadable")
        let left = rig.stage.lease(excluding: [], limit: 10, maximumBytes: 1 << 20)
        #expect(left.map(\.sequence) == [all[3].sequence])
        #expect(rig.spool.counters.unaccounted == 0)
    }
}
