// The spool's promises one by one; SpoolModelTests has them all together under random operations.

import Glibc
import Model
import SQLite
import TestSupport
import Testing

@testable import Spool

@Suite struct SpoolTests {
    let folder = TemporaryFolder()
    var path: String { folder.path + "/spool" }
    let sources = [JournalSource(name: "udp", format: "f")]

    func batch(
        _ size: Int, readings: Int = 1, _ priority: Priority = .live, fill: UInt8 = 7
    ) -> CutBatch {
        CutBatch(
            bytes: [UInt8](repeating: fill, count: size), readings: readings, priority: priority,
            bucketStart: Timestamp(milliseconds: 60_000), revision: 1,
            firstObservedAt: Timestamp(milliseconds: 60_001),
            lastObservedAt: Timestamp(milliseconds: 119_999))
    }

    func cut(
        _ epoch: UInt64, _ batches: [CutBatch], covered: [UInt64] = [],
        counters: [IntakeCounters]? = nil, revisions: [BucketRevision] = []
    ) -> EpochCut {
        EpochCut(
            epoch: epoch, batches: batches, covered: covered,
            counters: counters ?? covered.map { _ in IntakeCounters() }, revisions: revisions)
    }

    func part(
        _ buffer: inout JournalBuffer, frames: Int, size: Int = 20, at time: Int64 = 1000,
        counters: IntakeCounters = IntakeCounters()
    ) -> JournalPart {
        for i in 0..<frames {
            let frame = [UInt8](repeating: UInt8(truncatingIfNeeded: i), count: size)
            buffer.append(frame.span, source: 0, receivedAt: Timestamp(milliseconds: time))
        }
        return buffer.take(sources: sources, counters: counters)
    }

    func replay(_ spool: Spool) throws -> (frames: [JournaledFrame], lost: [UInt64]) {
        var frames: [JournaledFrame] = []
        let lost = try spool.recover { frame, _ in frames.append(frame) }
        return (frames, lost)
    }

    // MARK: The directory

    @Test("makes its directory 0700 and keeps its incarnation over restarts")
    func directory() throws {
        var incarnation: [UInt8] = []
        do {
            let spool = try Spool(directory: path + "/")
            #expect(spool.directory == path)
            incarnation = spool.incarnation
            spool.close()
        }
        #expect(incarnation.count == 16)
        var status = stat()
        // Safety: `status` outlives the call.
        #expect(unsafe stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
        let again = try Spool(directory: path)
        #expect(again.incarnation == incarnation)
        #expect(again.warnings.isEmpty)
        let other = try Spool(directory: folder.path + "/other")
        #expect(other.incarnation != incarnation)
    }

    @Test("refuses a second opener and names the first, also after it died")
    func secondOpener() throws {
        do {
            let first = try Spool(directory: path)
            let failure = #expect(throws: SpoolError.self) { _ = try Spool(directory: path) }
            #expect(failure == .inUse(directory: path, pid: getpid()))
            #expect(failure?.description.contains("process \(getpid())") == true)
            _ = first.counters
        }
        // The lock file stays with its old number and hinders nobody.
        #expect(TemporaryFolder.list(path).contains("lock"))
        _ = try Spool(directory: path)
    }

    @Test("an unwritable place is an error with path and reason")
    func unwritable() throws {
        TemporaryFolder.write([1], to: folder.path + "/file")
        var failure = #expect(throws: SpoolError.self) {
            _ = try Spool(directory: folder.path + "/file/spool")
        }
        #expect(
            failure
                == .directory(path: folder.path + "/file/spool", reason: "Not a directory"))
        failure = #expect(throws: SpoolError.self) {
            _ = try Spool(directory: folder.path + "/no/parent")
        }
        #expect(
            failure?.description
                == "spool \(folder.path)/no/parent: No such file or directory: make it a directory"
                + " that this user may write")
    }

    // MARK: Damage

    @Test("a damaged file is set aside with its log, a warning comes, a new file begins")
    func damagedFile() throws {
        var incarnation: [UInt8] = []
        do {
            let spool = try Spool(directory: path)
            incarnation = spool.incarnation
            try spool.commit(cut(1, [batch(100)]))
        }
        let file = path + "/segment-00000001.db"
        TemporaryFolder.write([UInt8](repeating: 0x55, count: 9000), to: file)
        let spool = try Spool(directory: path)
        #expect(spool.warnings.count == 1)
        #expect(spool.warnings.first?.contains("segment-00000001.db.bad-1") == true)
        #expect(spool.incarnation != incarnation)
        #expect(spool.counters == SpoolCounters())
        #expect(TemporaryFolder.read(file + ".bad-1").count == 9000)
        #expect(try spool.commit(cut(1, [batch(100)])) == 1...1)
    }

    @Test("a file with a ruined structure is found when it was not closed in order")
    func ruinedPages() throws {
        do {
            let spool = try Spool(directory: path)
            for epoch in 1...20 { try spool.commit(cut(UInt64(epoch), [batch(3000)])) }
        }
        let file = path + "/segment-00000001.db"
        var bytes = TemporaryFolder.read(file)
        for page in [6, 9, 12] {
            for i in 0..<100 { bytes[page * 4096 + i] = 0xFF }
        }
        TemporaryFolder.write(bytes, to: file)
        let spool = try Spool(directory: path)
        #expect(spool.warnings.first?.contains(".bad-1") == true)
    }

    @Test("a file of a newer layout is refused and left alone")
    func newerLayout() throws {
        do { _ = try Spool(directory: path) }
        let file = path + "/segment-00000001.db"
        do {
            let database = try Database(path: file, mode: .readWriteCreate)
            try database.execute("PRAGMA user_version=9")
        }
        let failure = #expect(throws: SpoolError.self) { _ = try Spool(directory: path) }
        #expect(failure == .layout(path: file, found: 9))
        #expect(TemporaryFolder.list(path).contains("segment-00000001.db"))
    }

    /// Changes the last byte of a blob inside the closed file, as rot would.
    func rot(_ table: String, _ column: String, _ key: String) throws {
        let file = path + "/segment-00000001.db"
        var blob: [UInt8] = []
        do {
            let database = try Database(path: file, mode: .readWriteCreate)
            let select = try database.prepare("SELECT \(column) FROM \(table) WHERE \(key)")
            _ = try select.step()
            blob = select.blob(0)
        }
        var bytes = TemporaryFolder.read(file)
        let tail = blob
        let found = try #require(
            (0...bytes.count - tail.count).first { Array(bytes[$0..<$0 + tail.count]) == tail })
        bytes[found + tail.count - 1] ^= 1
        TemporaryFolder.write(bytes, to: file)
    }

    @Test("a batch whose blob rotted is set aside and does not stop the rest")
    func rottenBatch() throws {
        do {
            let spool = try Spool(directory: path)
            let batches = (1...5).map { batch(500, readings: $0, fill: UInt8($0)) }
            #expect(try spool.commit(cut(1, batches)) == 1...5)
        }
        try rot("batch", "body", "sequence = 3")
        let spool = try Spool(directory: path)
        let leased = try spool.lease(lane: .live, after: 0, limit: 10, maximumBytes: 1 << 20)
        #expect(leased.map(\.sequence) == [1, 2, 4, 5])
        #expect(spool.counters.readingsRejected == 3)
        #expect(spool.counters.readingsPending == 12)
        #expect(spool.counters.unaccounted == 0)
        #expect(spool.details.batchesDamaged == 1)
        #expect(spool.warnings == ["batch 3 damaged: set aside in quarantine"])
        let entries = try spool.quarantined(after: 0, limit: 10)
        #expect(entries.map(\.source) == ["3"])
        #expect(entries.map(\.reason) == ["damaged"])
    }

    @Test("a rotten part of the journal loses its frames by number and nothing else")
    func rottenPart() throws {
        do {
            let spool = try Spool(directory: path)
            var buffer = JournalBuffer(intake: 1, capacity: 1000)
            for _ in 0..<3 { try spool.append([part(&buffer, frames: 10)]) }
            try spool.commit(cut(1, [], covered: [0, 14]))
        }
        try rot("journal", "part", "firstPosition = 10")
        do {
            let spool = try Spool(directory: path)
            #expect(spool.warnings.count == 1)
            let (frames, lost) = try replay(spool)
            #expect(frames.map(\.position) == Array(0..<10) + Array(20..<30))
            #expect(
                frames.map(\.isCovered) == Array(repeating: true, count: 10)
                    + Array(repeating: false, count: 10))
            #expect(lost == [0, 6])
            #expect(spool.nextPosition(intake: 1) == 30)
            try spool.commit(cut(2, [], covered: [0, 30]))
            let entries = try spool.quarantined(after: 0, limit: 10)
            #expect(entries.map(\.source) == ["1:10"])
            #expect(entries.map(\.isIntact) == [false])
        }
        let spool = try Spool(directory: path)
        #expect(spool.warnings.isEmpty)
        #expect(try replay(spool).lost == [0, 0])
    }

    @Test("a rotten newest cut falls back to the one before")
    func rottenCut() throws {
        do {
            let spool = try Spool(directory: path)
            for epoch in 1...3 {
                let epoch = UInt64(epoch)
                try spool.commit(cut(epoch, [batch(10)], covered: [epoch * 10]))
            }
        }
        try rot("cut", "state", "row = 3")
        let spool = try Spool(directory: path)
        #expect(spool.lastEpoch == 2)
        #expect(spool.coveredPosition(intake: 0) == 20)
        #expect(spool.warnings.count == 1)
        #expect(spool.counters.lastSequence == 3)
    }

    // MARK: Journal and counters

    @Test("covered frames are kept for the duplicate window and then go")
    func duplicateWindow() throws {
        var settings = SpoolSettings()
        settings.duplicateWindow = 1000
        let spool = try Spool(directory: path, settings: settings)
        var buffer = JournalBuffer(intake: 0, capacity: 1000)
        for time in [1000, 1500, 2400, 9000] {
            try spool.append([part(&buffer, frames: 2, at: Int64(time))])
        }
        try spool.commit(cut(1, [], covered: [5]))
        let (frames, lost) = try replay(spool)
        // The third part is old but its second frame is not covered.
        #expect(frames.map(\.position) == [4, 5, 6, 7])
        #expect(frames.map(\.isCovered) == [true, false, false, false])
        #expect(lost == [0])
    }

    @Test("more covered journal than may be retained goes, oldest first")
    func retainBytes() throws {
        var settings = SpoolSettings()
        settings.journalRetainBytes = 5000
        let spool = try Spool(directory: path, settings: settings)
        var buffer = JournalBuffer(intake: 0, capacity: 1000)
        for _ in 0..<10 { try spool.append([part(&buffer, frames: 10, size: 100)]) }
        try spool.commit(cut(1, [], covered: [100]))
        #expect(spool.details.journalBytes <= 5000)
        #expect(try replay(spool).frames.map(\.position) == Array(60..<100))
        #expect(spool.nextPosition(intake: 0) == 100)
    }

    @Test("after a crash the first law balances once the journal is replayed")
    func countersRule() throws {
        var counters = IntakeCounters()
        let spool = try Spool(directory: path)
        var buffer = JournalBuffer(intake: 0, capacity: 1000)

        func receive(decoded: UInt64) {
            // Every decoded frame brings two readings, one of which is dropped.
            counters.datagrams += decoded + 4
            counters.framesReceived += decoded + 4
            counters.framesDecoded += decoded
            counters.readingsDecoded += 2 * decoded
            counters.readingsPublished += decoded
            counters[.outOfRange] += decoded
            counters.framesDuplicate += 1
            counters.framesControl += 1
            counters[.badChecksum] += 2
            counters.kernelDrops += 5
        }
        receive(decoded: 3)
        try spool.append([part(&buffer, frames: 3, counters: counters)])
        let atCut = counters
        receive(decoded: 4)
        try spool.append([part(&buffer, frames: 4, counters: counters)])
        try spool.commit(cut(1, [batch(10, readings: 3)], covered: [3], counters: [atCut]))
        let durable = counters
        // Received, never stored: gone with the crash, and so are its counts.
        receive(decoded: 100)

        let copy = folder.path + "/copy"
        TemporaryFolder.copy(path, to: copy)
        let restarted = try Spool(directory: copy)
        var restored = try #require(restarted.recoveredCounters().first)
        #expect(restored.framesReceived == durable.framesReceived)
        #expect(restored.framesDuplicate == durable.framesDuplicate)
        #expect(restored[.badChecksum] == durable[.badChecksum])
        #expect(restored.kernelDrops == durable.kernelDrops)
        #expect(restored.framesDecoded == 3)
        #expect(restored.readingsDecoded == 6)
        #expect(restored[.outOfRange] == 3)
        #expect(restored.framesUnaccounted == 4)
        let (frames, lost) = try replay(restarted)
        for frame in frames where !frame.isCovered {
            restored.framesDecoded += 1
            restored.readingsDecoded += 2
            restored.readingsPublished += 1
            restored[.outOfRange] += 1
        }
        #expect(lost == [0])
        #expect(same(restored, durable))
        #expect(restored.framesUnaccounted == 0)
        #expect(restored.readingsUnaccounted == 0)
    }

    @Test("a cut newer than the newest part gives the counters")
    func cutNewer() throws {
        var counters = IntakeCounters()
        counters.framesReceived = 9
        counters.framesDecoded = 5
        counters.framesDuplicate = 4
        do {
            let spool = try Spool(directory: path)
            // Its part was never stored; the cut holds the readings all the same.
            try spool.commit(cut(1, [batch(10)], covered: [5], counters: [counters]))
        }
        let spool = try Spool(directory: path)
        let restored = try #require(spool.recoveredCounters().first)
        #expect(same(restored, counters))
        #expect(spool.nextPosition(intake: 0) == 5)
        let (frames, lost) = try replay(spool)
        #expect(frames.isEmpty && lost == [0])
    }

    @Test("frames of a part that was never stored are counted as lost")
    func gap() throws {
        let spool = try Spool(directory: path)
        var buffer = JournalBuffer(intake: 0, capacity: 1000)
        try spool.append([part(&buffer, frames: 3)])
        _ = part(&buffer, frames: 5)
        try spool.append([part(&buffer, frames: 2)])
        let (frames, lost) = try replay(spool)
        #expect(frames.map(\.position) == [0, 1, 2, 8, 9])
        #expect(lost == [5])
    }

    @Test("the ledger table names every counter, summed over intakes")
    func ledgerTable() throws {
        do {
            let spool = try Spool(directory: path)
            var counters = IntakeCounters()
            counters.framesReceived = 21
            counters[.badChecksum] = 2
            try spool.commit(
                cut(4, [batch(9, readings: 6)], covered: [3, 4], counters: [counters, counters]))
            try spool.acknowledge([1])
        }
        let database = try Database(path: path + "/segment-00000001.db", mode: .readOnly)
        let select = try database.prepare("SELECT name, value FROM ledger")
        var ledger: [String: Int64] = [:]
        while try select.step() { ledger[select.text(0)] = select.int64(1) }
        #expect(ledger["framesReceived"] == 42)
        #expect(ledger["rejected.bad-checksum"] == 4)
        #expect(ledger["spool.readingsReceived"] == 6)
        #expect(ledger["spool.readingsAcknowledged"] == 6)
        #expect(ledger["spool.readingsPending"] == 0)
        #expect(ledger["epoch"] == 4)
        let missing = IntakeCounters().named.map(\.name).filter { ledger[$0] == nil }
        #expect(missing.isEmpty)
    }

    // MARK: Batches

    @Test("lanes are leased apart, within their limits, and lent again until their verdict")
    func lanes() throws {
        let spool = try Spool(directory: path)
        let lanes: [Priority] = [.live, .alarm, .backlog, .live, .alarm, .live]
        try spool.commit(cut(1, lanes.map { batch(1000, $0) }))
        func lease(_ lane: Priority, _ after: UInt64, _ limit: Int, _ bytes: Int) throws -> [UInt64]
        {
            try spool.lease(lane: lane, after: after, limit: limit, maximumBytes: bytes)
                .map(\.sequence)
        }
        #expect(try lease(.alarm, 0, 9, 1 << 20) == [2, 5])
        #expect(try lease(.live, 0, 9, 1 << 20) == [1, 4, 6])
        #expect(try lease(.live, 0, 2, 1 << 20) == [1, 4])
        #expect(try lease(.live, 0, 9, 2500) == [1, 4])
        #expect(try lease(.live, 1, 9, 10) == [4])
        #expect(try lease(.backlog, 3, 9, 1 << 20) == [])
        #expect(try lease(.live, 0, 0, 1 << 20) == [])
        try spool.acknowledge([4, 4, 99])
        #expect(try lease(.live, 0, 9, 1 << 20) == [1, 6])
        #expect(spool.counters.batchesAcknowledged == 1)
        #expect(spool.counters.unaccounted == 0)
        let rejected = (
            try spool.reject(1, reason: "no such stream"), try spool.reject(1, reason: "")
        )
        #expect(rejected == (true, false))
        #expect(spool.counters.readingsRejected == 1)
        #expect(try spool.quarantined(after: 0, limit: 9).map(\.reason) == ["no such stream"])
        #expect(spool.counters.unaccounted == 0)
    }

    @Test("sequences go on after everything was acknowledged and the spool restarted")
    func sequences() throws {
        do {
            let spool = try Spool(directory: path)
            try spool.commit(cut(1, [batch(1), batch(1)]))
            try spool.acknowledge([1, 2])
        }
        let revisions = [BucketRevision(bucketStart: Timestamp(milliseconds: 5), revision: 2)]
        do {
            let spool = try Spool(directory: path)
            #expect(spool.counters.lastSequence == 2)
            #expect(try spool.commit(cut(2, [], revisions: revisions)) == nil)
            #expect(try spool.commit(cut(3, [batch(1)], revisions: revisions)) == 3...3)
        }
        let spool = try Spool(directory: path)
        #expect(spool.restoredRevisions == revisions)
        #expect(spool.lastEpoch == 3)
        #expect(spool.counters.readingsAcknowledged == 2)
    }
}
