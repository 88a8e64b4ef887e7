// A device that does not read, or write, for a while: nothing that it holds is taken for lost, and what was
// begun is ended later. Found by the simulation over 48,000 seeds; here each by itself.

import Model
import TestSupport
import Testing

@testable import Spool

@Suite struct SpoolPatienceTests {
    private let folder = TemporaryFolder(inMemory: true)
    private let disk: FaultyDisk
    private var path: String { folder.path + "/spool" }

    init() { disk = FaultyDisk(folder.path) }

    private func batch(_ fill: UInt8, readings: Int = 3) -> CutBatch {
        CutBatch(
            bytes: [UInt8](repeating: fill, count: 3000), readings: readings, priority: .live,
            bucketStart: Timestamp(milliseconds: 0), revision: 0,
            firstObservedAt: Timestamp(milliseconds: 0), lastObservedAt: Timestamp(milliseconds: 0))
    }

    private func counters(_ frames: UInt64, decoded: UInt64) -> IntakeCounters {
        var counters = IntakeCounters()
        counters.framesReceived = frames
        counters.framesDecoded = decoded
        return counters
    }

    /// Frames `from..<to` of intake 0 as one part; each is its position in eight bytes.
    private func part(_ from: UInt64, _ to: UInt64, _ counters: IntakeCounters) -> JournalPart {
        var buffer = JournalBuffer(intake: 0, capacity: 1 << 14, firstPosition: from)
        for position in from..<to {
            let bytes = (0..<8).map { UInt8(truncatingIfNeeded: position >> UInt64(8 * $0)) }
            buffer.append(
                bytes.span, source: 0, receivedAt: Timestamp(milliseconds: Int64(position)))
        }
        return buffer.take(
            sources: [JournalSource(name: "udp", format: "f")], counters: counters)
    }

    private func cut(_ epoch: UInt64, covered: UInt64, _ counters: IntakeCounters) -> EpochCut {
        EpochCut(
            epoch: epoch, batches: [batch(UInt8(epoch))], covered: [covered],
            counters: [counters], revisions: [])
    }

    private func recovered(_ spool: Spool) throws -> (uncovered: [UInt64], lost: UInt64) {
        var uncovered: [UInt64] = []
        let lost = try spool.recover { frame, _ in
            if !frame.isCovered { uncovered.append(frame.position) }
        }
        return (uncovered, lost.first ?? 0)
    }

    /// Two segments, the second one with a log, as a kill leaves them.
    private func killed() throws -> String {
        var settings = SpoolSettings()
        settings.segmentBytes = 64 << 10
        let spool = try Spool(directory: path, settings: settings)
        var frames: UInt64 = 0
        for epoch in UInt64(1)...30 {
            try spool.append([part(frames, frames + 40, counters(frames + 40, decoded: 0))])
            frames += 40
            try spool.commit(cut(epoch, covered: frames - 5, counters(frames, decoded: frames - 5)))
        }
        try #require(spool.details.segments >= 2)
        let copy = folder.path + "/killed"
        TemporaryFolder.copy(path, to: copy)
        return copy
    }

    @Test(
        "row 9: whatever the device does not read at a start, nothing is lost when it reads again",
        arguments: [(FaultyDisk.Operation.read, FaultyDisk.Code.read), (.open, 14)], [4, 40])
    func readsLater(_ fault: (FaultyDisk.Operation, Int32), burst: Int) throws {
        let killed = try killed()
        var refused = 0
        for skip in stride(from: 0, to: 60, by: 2) {
            let copy = folder.path + "/copy-\(skip)"
            TemporaryFolder.copy(killed, to: copy)
            disk.fail(fault.0, fault.1, after: skip, times: burst)
            do throws(SpoolError) {
                _ = try Spool(directory: copy)
            } catch {
                refused += 1
                #expect(error.mayPass, "\(error.description)")
            }
            disk.heal()
            let spool = try Spool(directory: copy)
            #expect(spool.warnings.isEmpty, "skip \(skip)")
            #expect(spool.counters.batchesPending == 30 && spool.counters.unaccounted == 0)
            #expect(try recovered(spool).uncovered.count == 5)
            #expect(!TemporaryFolder.list(copy).contains { $0.contains(".bad") })
            TemporaryFolder.remove(copy)
        }
        // The first few calls are tried again at once.
        #expect(burst < 10 || refused > 5)
    }

    @Test(
        "row 9: one who gives up begins with what can be read, and says what is lost",
        arguments: ["the oldest", "the newest"])
    func givesUp(which: String) throws {
        let killed = try killed()
        let files = TemporaryFolder.list(killed).filter {
            $0.hasPrefix("segment") && $0.hasSuffix(".db")
        }
        let file = try #require(which == "the oldest" ? files.first : files.last)
        disk.fail(.read, FaultyDisk.Code.read, only: file)
        let failure = #expect(throws: SpoolError.self) { _ = try Spool(directory: killed) }
        #expect(failure?.mayPass == true)
        let spool = try Spool(directory: killed, givesUp: true)
        disk.heal()
        #expect(!spool.warnings.isEmpty && spool.counters.unaccounted == 0)
        try spool.append([])
        try spool.commit(cut(31, covered: 2000, counters(2000, decoded: 2000)))
    }

    @Test("row 9: a quarantine that cannot be opened now is not set aside, and is there afterwards")
    func quarantine() throws {
        do {
            let spool = try Spool(directory: path)
            try spool.commit(cut(1, covered: 0, IntakeCounters()))
            #expect(try spool.reject(1, reason: "too old"))
        }
        disk.fail(.open, FaultyDisk.Code.cannotOpen, only: "quarantine.db")
        let spool = try Spool(directory: path)
        #expect(throws: SpoolError.self) { _ = try spool.quarantined(after: 0, limit: 9) }
        disk.heal()
        #expect(try spool.quarantined(after: 0, limit: 9).map(\.source) == ["1"])
    }

    @Test("row 9: a batch that cannot be read now is lent a minute later, in the same run")
    func unreadable() throws {
        let spool = try Spool(directory: path)
        try spool.commit(cut(1, covered: 0, IntakeCounters()))
        // Out of the cache of pages.
        for epoch in UInt64(2)...200 { try spool.commit(cut(epoch, covered: 0, IntakeCounters())) }
        disk.fail(.read, FaultyDisk.Code.read)
        func lent() throws -> Int {
            try spool.lease(lane: .live, after: 0, limit: .max, maximumBytes: 1 << 30).count
        }
        #expect(try lent() < 200)
        disk.heal()
        #expect(spool.hasUnreadable && spool.retryUnreadable())
        #expect(try lent() == 200 && !spool.hasUnreadable)
    }

    // MARK: Runs that began without their disk

    @Test(
        "row 7: two runs that found their spool late: what waited comes back once, and the rest not"
    )
    func joinedTwice() throws {
        // Frames 0..<10, of which a cut covers 6.
        do {
            let spool = try Spool(directory: path)
            try spool.append([part(0, 10, counters(10, decoded: 10))])
            try spool.commit(cut(1, covered: 6, counters(6, decoded: 6)))
        }
        // A run that began without: 4 of its own, of which a cut covers 3.
        for run in UInt64(0)..<2 {
            let spool = try Spool(directory: path)
            let offsets = try spool.join()
            let first = 10 + 4 * run
            #expect(offsets.position == first)
            try spool.append([part(0, 4, counters(4, decoded: 4)).moved(by: offsets)])
            var own = cut(1, covered: 3, counters(3, decoded: 3))
            own = offsets.applied(to: own)
            try spool.commit(own)
        }
        let spool = try Spool(directory: path)
        #expect(spool.hasUncovered)
        let counters = try #require(spool.recoveredCounters().first)
        let (uncovered, lost) = try recovered(spool)
        #expect(uncovered == [6, 7, 8, 9, 13, 17] && lost == 0)
        // What waits is received and not decoded.
        #expect(counters.framesReceived == 18 && counters.framesDecoded == 12)
        try spool.commit(cut(9, covered: 18, counters))
        #expect(!spool.hasUncovered)
    }

    @Test("row 7: a crash right after a late spool was joined counts no frame twice")
    func joinedAndKilled() throws {
        do {
            let spool = try Spool(directory: path)
            try spool.append([part(0, 10, counters(10, decoded: 10))])
            try spool.commit(cut(1, covered: 6, counters(6, decoded: 6)))
        }
        do { _ = try Spool(directory: path).join() }
        let spool = try Spool(directory: path)
        let counters = try #require(spool.recoveredCounters().first)
        #expect(counters.framesReceived == 10 && counters.framesDecoded == 6)
        #expect(try recovered(spool).uncovered == [6, 7, 8, 9])
    }

    // MARK: Rejections in two steps

    @Test("row 29: a batch that reached the quarantine and not yet the spool is not sent again")
    func rejectedInPart() throws {
        do {
            let spool = try Spool(directory: path)
            for epoch in UInt64(1)...2 {
                try spool.commit(cut(epoch, covered: 0, IntakeCounters()))
            }
            func lent() throws -> [UInt64] {
                try spool.lease(lane: .live, after: 0, limit: 9, maximumBytes: 1 << 20).map(
                    \.sequence)
            }
            #expect(try lent() == [1, 2])
            disk.fail(.flush, FaultyDisk.Code.flush, only: "segment-00000001.db-wal")
            disk.fail(.open, FaultyDisk.Code.cannotOpen, only: "segment-00000002.db")
            #expect(throws: SpoolError.self) { _ = try spool.reject(1, reason: "too old") }
            #expect(try lent() == [2])
            disk.heal()
        }
        let spool = try Spool(directory: path)
        #expect(spool.counters.batchesPending == 1 && spool.counters.readingsRejected == 3)
        #expect(try spool.quarantined(after: 0, limit: 9).map(\.source) == ["1"])
        #expect(spool.counters.unaccounted == 0)
        // Given back by an operator it is pending again, and its entry gone.
        #expect(try spool.release(1, as: batch(1), sequence: 1))
        #expect(spool.counters.batchesPending == 2 && spool.counters.readingsRejected == 0)
    }
}
