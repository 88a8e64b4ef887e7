// The spool over a disk that fails: the rows of the fault list (reliability.md section 3) that
// concern files.
// The law after each of them: what a verb returned from is there, what it threw for is not half
// there, and
// the ledger balances.

import Model
import TestSupport
import Testing

@testable import Spool

func noise(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
}

/// A spool, and what it was told and said.
private final class FaultRun {
    let folder = TemporaryFolder()
    var path: String { folder.path + "/spool" }
    let disk: FaultyDisk
    var spool: Spool?
    var settings = SpoolSettings()
    private var buffer = JournalBuffer(intake: 0, capacity: 4096)
    /// Positions below this are durable.
    private(set) var frames: UInt64 = 0
    private(set) var batches: [UInt64: [UInt8]] = [:]
    private(set) var acknowledged: Set<UInt64> = []
    private(set) var refused: [SpoolError] = []
    private var random = SplitMix64(seed: 5)

    init(segmentBytes: Int = 100_000, duplicateWindow: Int64 = 120_000) throws {
        settings.segmentBytes = segmentBytes
        settings.duplicateWindow = duplicateWindow
        disk = FaultyDisk(folder.path)
        spool = try Spool(directory: path, settings: settings)
    }

    /// A group commit, a cut of three batches, an acknowledgement, each tried until it works.
    func step(_ tries: Int = 3) throws {
        let spool = try #require(spool)
        for i in 0..<4 {
            buffer.append(
                [UInt8](repeating: UInt8(i), count: 100).span, source: 0,
                receivedAt: Timestamp(milliseconds: Int64(frames)))
        }
        let source = JournalSource(name: "s", format: "f")
        let part = buffer.take(sources: [source], counters: IntakeCounters())
        try again(tries) { () throws(SpoolError) in try spool.append([part]) }
        frames = part.nextPosition
        let bodies = Priority.allCases.map { _ in noise(3000, &random) }
        let cut = EpochCut(
            epoch: spool.lastEpoch + 1,
            batches: zip(bodies, Priority.allCases).map { body, lane in
                CutBatch(
                    bytes: body, readings: 7, priority: lane,
                    bucketStart: Timestamp(milliseconds: 0), revision: 0,
                    firstObservedAt: Timestamp(milliseconds: 0),
                    lastObservedAt: Timestamp(milliseconds: 0))
            }, covered: [frames - 2], counters: [IntakeCounters()], revisions: [])
        var given: ClosedRange<UInt64>?
        try again(tries) { () throws(SpoolError) in given = try spool.commit(cut) }
        let sequences = try #require(given)
        for (sequence, body) in zip(sequences, bodies) { batches[sequence] = body }
        if let oldest = batches.keys.filter({ !acknowledged.contains($0) }).min() {
            try again(tries) { () throws(SpoolError) in try spool.acknowledge([oldest]) }
            acknowledged.insert(oldest)
        }
        #expect(spool.counters.unaccounted == 0)
    }

    private func again(_ tries: Int, _ body: () throws(SpoolError) -> Void) throws {
        for _ in 1..<tries {
            do throws(SpoolError) { return try body() } catch { refused.append(error) }
        }
        try body()
    }

    /// After a kill: a copy of the directory as it is.
    func check(_ comment: Comment = "") throws {
        disk.heal()
        let copy = folder.path + "/copy"
        TemporaryFolder.remove(copy)
        TemporaryFolder.copy(path, to: copy)
        let again = try Spool(directory: copy, settings: settings)
        var found: Set<UInt64> = []
        let lost = try again.recover { frame, _ in found.insert(frame.position) }
        #expect(lost == [0], comment)
        let covered = again.coveredPosition(intake: 0)
        #expect((covered..<max(covered, frames)).allSatisfy { found.contains($0) }, comment)
        var leased: [UInt64: [UInt8]] = [:]
        for lane in Priority.allCases {
            for batch in try again.lease(
                lane: lane, after: 0, limit: .max, maximumBytes: 1 << 30)
            {
                leased[batch.sequence] = batch.bytes
            }
        }
        for (sequence, body) in batches where !acknowledged.contains(sequence) {
            #expect(leased[sequence] == body, comment)
        }
        #expect(acknowledged.isDisjoint(with: leased.keys), comment)
        #expect(again.counters.unaccounted == 0, comment)
        #expect(again.warnings.isEmpty, comment)
    }
}

@Suite struct SpoolFaultTests {
    @Test("row 5: a flush that fails once: the same content goes into a new segment")
    func flushOnce() throws {
        let run = try FaultRun()
        try run.step()
        let before = run.spool?.details.segments
        run.disk.fail(.flush, FaultyDisk.Code.flush, times: 1)
        try run.step()
        #expect(run.disk.failed == 1 && run.refused.isEmpty, "nobody had to ask again")
        #expect(run.spool?.details.segments == before.map { $0 + 1 })
        #expect(run.spool?.warnings.contains { $0.contains("going on in a new one") } == true)
        try run.step()
        try run.check()
    }

    @Test(
        "row 5: a flush that fails has or has not reached the disk: never half a transaction",
        arguments: [FaultyDisk.Effect.nothing, .all], [1, 5])
    func flushBurst(effect: FaultyDisk.Effect, burst: Int) throws {
        for skip in 0..<24 {
            let run = try FaultRun()
            try run.step()
            run.disk.fail(
                .flush, FaultyDisk.Code.flush, after: skip, times: burst, effect: effect)
            for _ in 0..<4 { try run.step(8) }
            try run.check("skip \(skip)")
        }
    }

    @Test(
        "row 6: each write, truncation, open or read fails once, is cut short or finds no room",
        arguments: [
            (FaultyDisk.Operation.write, FaultyDisk.Code.write, FaultyDisk.Effect.nothing, 90),
            (.write, FaultyDisk.Code.write, .half, 90), (.write, FaultyDisk.Code.full, .half, 90),
            (.truncate, FaultyDisk.Code.truncate, .nothing, 6),
            (.open, FaultyDisk.Code.cannotOpen, .nothing, 8),
            (.read, FaultyDisk.Code.read, .nothing, 24),
        ])
    func eachCall(
        operation: FaultyDisk.Operation, code: Int32, effect: FaultyDisk.Effect, calls: Int
    ) throws {
        for skip in stride(from: 0, to: calls, by: 3) {
            let run = try FaultRun()
            try run.step()
            run.disk.fail(operation, code, after: skip, times: 1, effect: effect)
            for _ in 0..<4 { try run.step(4) }
            try run.check("\(operation) \(code) \(effect) skip \(skip)")
        }
    }

    @Test(
        "row 5: while nothing can be written verbs throw and change nothing; afterwards they work")
    func whileFailing() throws {
        let run = try FaultRun()
        try run.step()
        run.disk.failAll(FaultyDisk.Code.flush)
        let spool = try #require(run.spool)
        let before = (spool.counters, spool.lastEpoch, spool.nextPosition(intake: 0))
        for _ in 0..<5 {
            #expect(throws: SpoolError.self) { try run.step(1) }
            #expect(throws: SpoolError.self) { try spool.acknowledge([2]) }
        }
        #expect(
            before == (spool.counters, spool.lastEpoch, spool.nextPosition(intake: 0)))
        // What is there can be read all the while.
        let leased = try spool.lease(lane: .live, after: 0, limit: 9, maximumBytes: 1 << 20)
        #expect(leased.count == 1)
        run.disk.heal()
        try spool.acknowledge([2])
        #expect(spool.counters.batchesAcknowledged == 2)
    }

    @Test("row 7: a read-only disk at the start is no reason to end, nor is one that is full")
    func passing() throws {
        for code in [
            FaultyDisk.Code.readOnly, FaultyDisk.Code.full, FaultyDisk.Code.write,
            FaultyDisk.Code.cannotOpen,
        ] {
            let folder = TemporaryFolder()
            let disk = FaultyDisk(folder.path)
            disk.failAll(code)
            disk.fail(.open, code, effect: .nothing)
            let failure = #expect(throws: SpoolError.self) {
                _ = try Spool(directory: folder.path + "/spool")
            }
            #expect(failure?.mayPass == true, "\(code): \(failure.map { "\($0)" } ?? "")")
            disk.heal()
            _ = try Spool(directory: folder.path + "/spool")
        }
    }

    // MARK: Segments

    @Test("a full segment is followed by a new one; one whose batches all went is unlinked")
    func segments() throws {
        let run = try FaultRun(segmentBytes: 64 << 10, duplicateWindow: 0)
        for _ in 0..<40 { try run.step() }
        let spool = try #require(run.spool)
        let files = TemporaryFolder.list(run.path).filter { $0.hasSuffix(".db") }
        #expect(files.count == Int(spool.details.segments) && files.count > 4)
        try run.check()
        for _ in 0..<100 {
            var all: [UInt64] = []
            for lane in Priority.allCases {
                all += try spool.lease(lane: lane, after: 0, limit: 9, maximumBytes: 1 << 20)
                    .map(\.sequence)
            }
            try spool.acknowledge(all)
        }
        #expect(spool.counters.batchesPending == 0)
        // What the journal still needs stays in at most a few.
        #expect(spool.details.segments <= 3)
        #expect(spool.counters.unaccounted == 0)
    }

    @Test("row 4: batches that stay between evicted ones are moved together, and nothing is lost")
    func compaction() throws {
        let folder = TemporaryFolder()
        var settings = SpoolSettings()
        settings.maximumBytes = 4 << 20
        settings.duplicateWindow = 0
        let spool = try Spool(directory: folder.path + "/spool", settings: settings)
        func batch(_ lane: Priority, _ fill: Int) -> CutBatch {
            CutBatch(
                bytes: [UInt8](repeating: UInt8(truncatingIfNeeded: fill), count: 8000),
                readings: 1,
                priority: lane, bucketStart: Timestamp(milliseconds: 0), revision: 0,
                firstObservedAt: Timestamp(milliseconds: 0),
                lastObservedAt: Timestamp(milliseconds: 0))
        }
        // One alarm in eight: far fewer bytes than the quota, spread over every file.
        for epoch in 1...900 {
            try spool.commit(
                EpochCut(
                    epoch: UInt64(epoch),
                    batches: [batch(epoch % 8 == 0 ? .alarm : .backlog, epoch)], covered: [],
                    counters: [], revisions: []))
            #expect(spool.details.bytesUsed <= 4 << 20)
            if epoch > 600, epoch % 9 == 0 {
                // Killed here, what was moved is where it was moved to.
                let copy = folder.path + "/copy-\(epoch)"
                TemporaryFolder.copy(folder.path + "/spool", to: copy)
                let killed = try Spool(directory: copy, settings: settings)
                #expect(killed.warnings.isEmpty, "epoch \(epoch)")
                #expect(killed.counters == spool.counters)
                TemporaryFolder.remove(copy)
            }
        }
        #expect(spool.details.readingsEvicted.alarm == 0)
        #expect(spool.details.readingsEvicted.backlog > 300)
        let alarms = try spool.lease(lane: .alarm, after: 0, limit: 999, maximumBytes: 1 << 30)
        #expect(alarms.count == 900 / 8)
        #expect(alarms.map(\.sequence) == alarms.map(\.sequence).sorted())
        for alarm in alarms {
            #expect(alarm.bytes.first == UInt8(truncatingIfNeeded: alarm.sequence))
        }
        TemporaryFolder.copy(folder.path + "/spool", to: folder.path + "/copy")
        let again = try Spool(directory: folder.path + "/copy", settings: settings)
        #expect(again.counters == spool.counters)
        #expect(again.warnings.isEmpty)
        let found = try again.lease(lane: .alarm, after: 0, limit: 999, maximumBytes: 1 << 30)
        #expect(found == alarms)
    }
}
