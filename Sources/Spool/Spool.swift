// The gateway's memory over power cuts: journal, batches, ledger and quarantine in one owned
// directory (SpoolFolder.swift, Segment.swift). Not Sendable; one owner, on the spool queue. Every
// verb that writes is one transaction with one fdatasync: when it returns the content is durable,
// when it throws nothing has changed, neither on disk nor here, and the same call can be made
// again.
//
// A new file has a new incarnation: the store knows batches by (gateway, incarnation, sequence), so
// sequences may start at 1 again after a file was lost.

package import Model
internal import SQLite

/// A durable queue of batches and the journal of frames that are not yet in one.
package final class Spool {
    package let directory: String
    package let settings: SpoolSettings
    /// 16 random bytes, made with the file.
    package let incarnation: [UInt8]
    /// What was found wrong and went on; for the log. Only grows.
    package internal(set) var warnings: [String]

    /// Revisions of the last cut before the start.
    package let restoredRevisions: [BucketRevision]

    // SQLite's own lock holds until the file is closed, whichever of the two goes first.
    let segment: Segment
    private let folder: SpoolFolder
    var tally: Tally
    var cut: CutState
    var retained: [RetainedPart]
    var nextPositions: [UInt64]
    /// For each intake the end of its newest part.
    var partEnds: [UInt64] = []
    /// Batches whose row SQLite cannot read; passed over by `lease`.
    var unreadable: Set<UInt64> = []
    private let recovered: [IntakeCounters]

    /// Makes the directory (mode 0700, its parent must exist) or opens what is there. A damaged
    /// file is set aside as `.bad-<n>` with a warning and a new one begun.
    package init(directory: String, settings: SpoolSettings = SpoolSettings()) throws(SpoolError) {
        var path = directory
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        let folder = try SpoolFolder(path)
        let (segment, image, warnings) = try Spool.open(folder, settings)
        self.directory = path
        self.settings = settings
        self.folder = folder
        self.segment = segment
        incarnation = image.incarnation
        self.warnings = warnings + image.warnings
        restoredRevisions = image.cut.revisions
        tally = image.tally
        cut = image.cut
        retained = image.retained
        nextPositions = image.nextPositions
        for part in image.retained {
            partEnds.fill(upTo: part.intake, with: 0)
            partEnds[part.intake] = max(partEnds[part.intake], part.end)
        }
        let none = IntakeCounters()
        recovered = (0..<max(image.cut.counters.count, image.newest.count)).map { intake in
            CounterCoding.restore(
                cut: intake < image.cut.counters.count ? image.cut.counters[intake] : none,
                newest: intake < image.newest.count ? image.newest[intake] : none)
        }
    }

    private static func open(
        _ folder: borrowing SpoolFolder, _ settings: SpoolSettings
    ) throws(SpoolError) -> (Segment, SpoolImage, [String]) {
        var number = try folder.segments().last ?? 1
        var warnings: [String] = []
        // Twice at most: a file that was just made is not damaged.
        while true {
            let path = folder.path(ofSegment: number)
            do throws(SpoolError) {
                let segment = try Segment(
                    path: path, number: number, maximumBytes: settings.maximumBytes)
                return (segment, try image(of: segment), warnings)
            } catch .damaged(let what) where warnings.isEmpty {
                // Salvage row by row will copy from `bad` into the new file here.
                let bad = try folder.setAside(path)
                warnings.append("\(what): set aside as \(bad), began a new file")
                number += 1
            }
        }
    }

    private static func image(of segment: Segment) throws(SpoolError) -> SpoolImage {
        do throws(SQLiteError) {
            let image = try SpoolImage(segment)
            try segment.setClean(false)
            return image
        } catch {
            // A missing table or a sum that overflows: not what this program wrote.
            throw error.primaryCode == 1
                ? .damaged(what: error.description) : SpoolError(error)
        }
    }

    /// Marks the file as closed in order, so that the next start need not check it. Let the spool
    /// go afterwards: that closes the file and gives up the directory.
    package func close() {
        // Without the mark the next start only takes longer.
        try? segment.setClean(true)
    }

    // MARK: Counts

    package var counters: SpoolCounters { tally.counters }
    package var details: SpoolDetails { tally.details }
    /// Epoch of the newest cut; 0 when there is none. Epochs go on from here.
    package var lastEpoch: UInt64 { cut.epoch }

    /// Where each intake's counters go on, by intake number: readings and decoded frames as of the
    /// last cut (replaying the uncovered journal counts them again), everything else as of the
    /// newest snapshot on disk. After the replay the first law balances.
    package func recoveredCounters() -> [IntakeCounters] { recovered }

    /// First journal position of `intake` that has never been used.
    package func nextPosition(intake: Int) -> UInt64 {
        intake < nextPositions.count ? nextPositions[intake] : 0
    }

    /// First position of `intake` that is not in a batch.
    package func coveredPosition(intake: Int) -> UInt64 {
        intake < cut.covered.count ? cut.covered[intake] : 0
    }

    // MARK: Writing

    /// What a transaction changes in memory once it is durable.
    struct Change {
        var tally: Tally
        var covered: [UInt64]
        var goneParts: Set<Int64> = []
    }

    /// Runs `body` in one transaction, makes room afterwards, and takes over the change when all is
    /// durable. `incoming` bytes are expected to be added; when the file is full they are made room
    /// for by eviction first and `body` runs once more.
    func write<T>(
        incoming: Int, _ body: (inout Change) throws(SQLiteError) -> T
    ) throws(SpoolError) -> T {
        do throws(SQLiteError) {
            return try transact(keeping: settings.evictAboveBytes, body)
        } catch {
            guard error.isFull, incoming > 0 else { throw SpoolError(error) }
        }
        do throws(SQLiteError) {
            let target = max(0, settings.evictAboveBytes - incoming)
            try transact(keeping: target) { (_: inout Change) throws(SQLiteError) in }
            return try transact(keeping: settings.evictAboveBytes, body)
        } catch {
            throw SpoolError(error)
        }
    }

    private func transact<T>(
        keeping target: Int, _ body: (inout Change) throws(SQLiteError) -> T
    ) throws(SQLiteError) -> T {
        var change = Change(tally: tally, covered: cut.covered)
        let result = try segment.database.transaction { () throws(SQLiteError) in
            let result = try body(&change)
            try makeRoom(target, &change)
            for (name, path, _) in Tally.persisted
            where change.tally[keyPath: path] != tally[keyPath: path] {
                try putLedger(name, change.tally[keyPath: path])
            }
            return result
        }
        tally = change.tally
        if !change.goneParts.isEmpty {
            retained.removeAll { change.goneParts.contains($0.row) }
        }
        return result
    }

    func putLedger(_ name: String, _ value: UInt64) throws(SQLiteError) {
        try segment.putLedger.bind(name, at: 1)
        try segment.putLedger.bind(Int64(bitPattern: value), at: 2)
        try segment.putLedger.run()
    }

    // MARK: Room

    /// Evicts when more than seven eighths of `settings.maximumBytes` are used; also done by every
    /// verb that adds. Answers the number of readings evicted.
    @discardableResult
    package func evictIfOver() throws(SpoolError) -> UInt64 {
        let before = tally.counters.readingsEvicted
        do throws(SQLiteError) {
            guard try segment.usedBytes() > settings.evictAboveBytes else { return 0 }
        } catch {
            throw SpoolError(error)
        }
        try write(incoming: 0) { (_: inout Change) throws(SQLiteError) in }
        return tally.counters.readingsEvicted &- before
    }

    /// Down to `target` bytes: covered journal first (only the duplicate memory needs it), then
    /// batches of the lowest priority, oldest first. The uncovered journal is never touched.
    private func makeRoom(_ target: Int, _ change: inout Change) throws(SQLiteError) {
        var used = try segment.usedBytes()
        guard used > target else { return }
        for part in retained where part.isCovered(by: change.covered) {
            if used <= target { return }
            if change.goneParts.contains(part.row) { continue }
            try deletePart(part, &change)
            used -= part.size
        }
        for lane in Priority.allCases.reversed() {
            while used > target {
                let oldest = try oldestBatches(lane)
                if oldest.isEmpty { break }
                for (sequence, size) in oldest {
                    if used <= target { return }
                    try evict(sequence, &change)
                    used -= size
                }
            }
        }
    }

    func deletePart(_ part: RetainedPart, _ change: inout Change) throws(SQLiteError) {
        try segment.deletePart.bind(part.row, at: 1)
        try segment.deletePart.run()
        change.goneParts.insert(part.row)
        change.tally.details.journalParts &-= 1
        change.tally.details.journalBytes &-= UInt64(part.size)
    }

    private func oldestBatches(_ lane: Priority) throws(SQLiteError) -> [(UInt64, Int)] {
        var found: [(UInt64, Int)] = []
        try segment.oldestBatches.bind(Int64(lane.rawValue), at: 1)
        try segment.oldestBatches.bind(64, at: 2)
        while try segment.oldestBatches.step() {
            // 64: about what a row takes besides its body. The column may be damaged.
            let size = min(max(0, segment.oldestBatches.int(1)), 1 << 30) + 64
            found.append((UInt64(bitPattern: segment.oldestBatches.int64(0)), size))
        }
        segment.oldestBatches.reset()
        return found
    }

    private func evict(_ sequence: UInt64, _ change: inout Change) throws(SQLiteError) {
        guard let (lane, readings) = try removeBatch(sequence, &change) else { return }
        change.tally.counters.readingsEvicted &+= readings
        change.tally.details.readingsEvicted[lane] &+= readings
        change.tally.details.batchesEvicted &+= 1
    }
}
