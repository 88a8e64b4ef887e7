// Rows 4, 5, 7 and 27 of the fault list (reliability.md section 3) at the spool's stage: what is
// taken in
// while the disk is full, fails, is read-only or was never there, what is answered, what is
// counted, and
// how it goes on when the disk works again.

import Model
import Pipeline
import Simulator
import Spool
import TestSupport
import Testing

@Suite("Spool stage under faults")
struct SpoolStageFaultTests {
    private var impatient: SpoolStageSettings {
        var settings = SpoolStageSettings()
        settings.patienceMilliseconds = 2000
        settings.memoryBytes = 10_000
        return settings
    }

    @Test(
        "row 4: a cut that waits is stored before the journal that fills the quota, and makes room")
    func quota() throws {
        // The smallest quota that a configuration may have, and three times as much journal.
        let rig = try SpoolRig(maximumBytes: 8 << 20)
        var epoch: UInt64 = 0
        for _ in 0..<400 {
            rig.stage.take(.part(rig.part(frames: 64)))
            if rig.cutsWanted > epoch || rig.position % 6400 == 0 {
                epoch += 1
                rig.stage.take(rig.cut(epoch, readings: 1, covering: rig.position))
            }
            if rig.stage.trouble != nil { rig.fireTimer() }
        }
        #expect(rig.position == 25_600)
        rig.stage.take(rig.cut(epoch + 1, readings: 1, covering: rig.position))
        for _ in 0..<3 { rig.fireTimer() }
        #expect(rig.committed.last == rig.position && rig.committed == rig.committed.sorted())
        #expect(rig.stage.trouble == nil && rig.stage.readingsWaiting == 0)
        #expect(rig.released.isEmpty && !rig.stage.isInMemory)
        #expect(rig.spool.counters.unaccounted == 0)
    }

    @Test("row 4: a journal that finds no room asks for a cut")
    func wantsCut() throws {
        let rig = try SpoolRig(maximumBytes: 400_000)
        while rig.troubles.isEmpty, rig.position < 10_000 {
            rig.stage.take(.part(rig.part(frames: 20)))
        }
        #expect(rig.cutsWanted >= 1)
        let before = rig.committed
        rig.stage.take(rig.cut(1, readings: 4, covering: rig.position))
        #expect(rig.committed == before, "it is tried when its time has come")
        rig.fireTimer()
        #expect(rig.stage.trouble == nil && rig.cutsStored == 1)
        #expect(rig.committed.last == rig.position)
        #expect(rig.timer == nil)
    }

    @Test(
        "rows 5, 7, 27: a disk that goes on refusing: nothing answered, batches in memory, shed by class",
        arguments: [FaultyDisk.Code.flush, FaultyDisk.Code.readOnly, FaultyDisk.Code.full])
    func memory(code: Int32) throws {
        let rig = try SpoolRig(maximumBytes: 1 << 30, settings: impatient)
        let replies = Collected<Ledger>()
        rig.stage.take(.part(rig.part(frames: 5)))
        rig.stage.take(rig.cut(1, readings: 3, covering: 5))
        #expect(rig.committed == [5])
        rig.disk.failAll(code)
        var sealed: UInt64 = 3
        for epoch in 2...30 {
            rig.stage.take(.part(rig.part(frames: 2)))
            let lane: Priority = epoch % 5 == 0 ? .alarm : epoch % 2 == 0 ? .live : .backlog
            rig.stage.take(
                rig.cut(
                    UInt64(epoch), readings: 10, bytes: 1000, covering: rig.position,
                    priority: lane))
            sealed += 10
            rig.probe(replies, sealed: sealed)
            rig.fireTimer()
        }
        #expect(rig.stage.isInMemory && rig.stage.trouble != nil)
        #expect(rig.committed == [5], "no answers")
        #expect(rig.released.last == rig.position, "the intake has room")
        #expect(rig.cutsStored == 30, "the ring is drained")
        #expect(replies.all.allSatisfy { $0.unaccounted == 0 })
        let ledger = try #require(replies.all.last)
        #expect(ledger.readingsAwaitingSpool <= 100 && ledger.spool.readingsEvicted >= 190)

        rig.disk.heal()
        rig.fireTimer()
        #expect(!rig.stage.isInMemory && rig.stage.trouble == nil)
        #expect(rig.spool.counters.unaccounted == 0)
        #expect(rig.spool.counters.readingsReceived == sealed)
        // Alarms were there in memory, the lowest went first.
        #expect(rig.spool.details.readingsEvicted.alarm == 0)
        #expect(rig.spool.details.readingsEvicted.backlog > 0)
        #expect(rig.spool.counters.readingsEvicted == ledger.spool.readingsEvicted)
        // All frames that were let go are in batches: what comes now is answered.
        rig.stage.take(.part(rig.part(frames: 1)))
        #expect(rig.committed == [5, rig.position])
    }

    @Test("row 5: after an outage answers wait until a cut covers every frame that was not stored")
    func withheld() throws {
        let rig = try SpoolRig(maximumBytes: 1 << 30, settings: impatient)
        rig.disk.failAll(FaultyDisk.Code.flush)
        rig.stage.take(.part(rig.part(frames: 5)))
        for _ in 0..<3 { rig.fireTimer() }
        #expect(rig.stage.isInMemory && rig.released == [5])
        rig.disk.heal()
        rig.fireTimer()
        #expect(!rig.stage.isInMemory && rig.cutsWanted == 1)
        // The device asks again: it must not be told that its frame is safe.
        rig.stage.take(.part(rig.part(frames: 1)))
        #expect(rig.committed.isEmpty)
        rig.stage.take(rig.cut(1, readings: 5, covering: 5))
        #expect(rig.committed == [6])
        rig.stage.take(.part(rig.part(frames: 1)))
        #expect(rig.committed == [6, 7])
    }

    @Test("row 7: without a disk at the start it takes in, and joins what is there when it comes")
    func late() throws {
        let source = [JournalSource(name: "s", format: "f")]
        var before = IntakeCounters()
        before.framesReceived = 12
        before.framesDecoded = 10
        before.framesControl = 0
        before.readingsDecoded = 10
        before.readingsPublished = 10
        // A run that ended with two frames in its journal.
        let rig = try SpoolRig(maximumBytes: 1 << 30, settings: impatient, isThere: false) {
            spool in
            var buffer = JournalBuffer(intake: 0, capacity: 1000)
            for i in 0..<12 {
                buffer.append([UInt8(i)].span, source: 0, receivedAt: Timestamp(milliseconds: 1))
            }
            try spool.append([buffer.take(sources: source, counters: before)])
            let time = Timestamp(milliseconds: VirtualTime.start)
            try spool.commit(
                EpochCut(
                    epoch: 7,
                    batches: [
                        CutBatch(
                            bytes: [1, 2, 3], readings: 10, priority: .live, bucketStart: time,
                            revision: 0, firstObservedAt: time, lastObservedAt: time)
                    ], covered: [10], counters: [before], revisions: []))
        }
        let replies = Collected<Ledger>()
        rig.stage.take(.part(rig.part(frames: 4)))
        rig.stage.take(rig.cut(1, readings: 6, covering: 4))
        rig.probe(replies, sealed: 6)
        rig.fireTimer()
        #expect(rig.stage.isInMemory && rig.spool == nil && rig.committed.isEmpty)
        #expect(rig.stage.lease(excluding: [], limit: 9, maximumBytes: 1 << 20).isEmpty)
        rig.disk.heal()
        rig.fireTimer()
        #expect(rig.opened == 1 && !rig.stage.isInMemory && rig.stage.trouble == nil)
        rig.probe(replies, sealed: 6)
        rig.stage.take(.part(rig.part(frames: 3)))
        #expect(rig.committed == [7], "positions are those of this run")
        #expect(rig.spool.nextPosition(intake: 0) == 19)
        #expect(rig.spool.lastEpoch == 8)
        #expect(rig.spool.counters.readingsReceived == 16)
        #expect(rig.stage.lease(excluding: [], limit: 9, maximumBytes: 1 << 20).count == 2)
        #expect(replies.all.map(\.unaccounted) == [0, 0])
        // The next start decodes what the first run left, and what this one has not cut.
        TemporaryFolder.copy(rig.folder.path, to: rig.folder.path + "-next")
        defer { TemporaryFolder.remove(rig.folder.path + "-next") }
        let next = try Spool(directory: rig.folder.path + "-next")
        var again: [UInt64] = []
        let lost = try next.recover { frame, _ in
            if !frame.isCovered { again.append(frame.position) }
        }
        #expect(again == [10, 11, 16, 17, 18])
        #expect(lost == [0])
        #expect(next.hasUncovered)
        try next.commit(
            EpochCut(
                epoch: 9, batches: [], covered: [19], counters: [IntakeCounters()], revisions: []))
        #expect(!next.hasUncovered)
    }

    @Test(
        "batches that are older than the store takes are evicted as too old, when the clock is steady"
    )
    func tooOld() throws {
        var settings = SpoolStageSettings()
        settings.maximumAgeMilliseconds = 3_600_000
        let rig = try SpoolRig(maximumBytes: 1 << 30, settings: settings)
        rig.stage.take(rig.cut(1, readings: 8, covering: 0))
        func later(minutes: UInt64) { rig.time.nanoseconds += minutes * 60_000_000_000 }
        later(minutes: 50)
        rig.stage.tend()
        later(minutes: 5)
        rig.stage.take(rig.cut(2, readings: 4, covering: 0))
        #expect(rig.spool.details.readingsTooOld == 0)
        later(minutes: 20)
        _ = rig.stage.lease(excluding: [], limit: 9, maximumBytes: 1 << 20)
        #expect(rig.spool.details.readingsTooOld == 12, "the rig's readings are all as old")
        #expect(rig.spool.counters.readingsEvicted == 12)
        #expect(rig.spool.counters.unaccounted == 0)
    }

    @Test("status says when the spool will be full and what goes first")
    func forecast() throws {
        let rig = try SpoolRig(maximumBytes: 64 << 20)
        rig.stage.take(rig.cut(1, readings: 1, bytes: 10_000, covering: 0, priority: .backlog))
        for epoch in 2...31 {
            rig.time.nanoseconds += 60_000_000_000
            rig.stage.take(rig.cut(UInt64(epoch), readings: 1, bytes: 10_000, covering: 0))
        }
        let forecast = rig.stage.forecast
        let details = rig.spool.details
        let room = Double(details.bytesAllowed - details.bytesUsed)
        let wanted = room / (10_000.0 / 60)
        let seconds = try #require(forecast.secondsUntilFull)
        #expect(abs(Double(seconds) - wanted) < wanted / 5)
        #expect(forecast.shedFirst == .backlog)
        #expect(try #require(forecast.flushesPerDay) > 1000)
        #expect(try #require(forecast.flashBytesPerDay) > 20_000_000)
        #expect(forecast.text.hasPrefix("spool full in "))
        #expect(forecast.text.contains("backlog is shed first"))
    }
}
