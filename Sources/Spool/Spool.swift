// The gateway's memory over power cuts: journal, batches, ledger and quarantine in one owned
// directory (SpoolFolder.swift, Segment.swift). Not Sendable; one owner, on the spool queue. Every
// verb that writes is one transaction with one fdatasync: when it returns the content is durable,
// when it throws nothing has changed, neither on disk nor here, and the same call can be made
// again.
//
// A spool that begins anew has a new incarnation: the store knows batches by (gateway, incarnation,
// sequence), so sequences may start at 1 again after everything was lost.
//
// Files: Spool+Writing.swift (transactions, a new segment for a full or failing one),
// Spool+Room.swift
// (what goes when there is no room), Spool+Opening.swift, Spool+Batches.swift, Spool+Journal.swift,
// Spool+Quarantine.swift.

package import Model
internal import SQLite

/// A durable queue of batches and the journal of frames that are not yet in one.
package final class Spool {
    package let directory: String
    package let settings: SpoolSettings
    /// 16 random bytes, made with the first file.
    package let incarnation: [UInt8]
    /// What was found wrong and went on; for the log. Only grows, to a limit.
    package internal(set) var warnings: [String]

    /// Revisions of the last cut before the start.
    package let restoredRevisions: [BucketRevision]

    var state: SpoolState
    // SQLite's own lock holds until the file is closed, whichever of the two goes first.
    var segment: Segment
    /// The segment could not be written: nothing more goes into it.
    var isSegmentSpent = false
    /// Older segments that are open for reading, the one used last at the end.
    var openFiles: [SegmentFile] = []
    var quarantineFile: QuarantineFile?
    /// For each intake the end of its newest part.
    var partEnds: [UInt64]
    /// Batches that the device does not read now; passed over by `lease` until they are tried again.
    var unreadable: Set<UInt64> = []
    /// Pending, and in the quarantine as well: the second step of their rejection is still to come.
    var setAside: Set<UInt64> = []
    /// Written before the segment that is open now.
    var writtenBefore: UInt64 = 0
    var badBytes = 0
    var isRelieving = false
    /// What the spool may take in all: the setting, or what the device had at the start.
    let quota: Int
    let files: SpoolFiles
    private let folder: SpoolFolder
    let recovered: [IntakeCounters]
    /// The journal was given back in this run, so the next cut covers all of it.
    var hasRecovered = false

    /// Frames of covered journal that were let go in this run for want of room, before the duplicate window
    /// was over: what repeats one of them after the next start is stored again.
    package internal(set) var framesForgotten = 0

    static let warningsKept = 200

    /// Makes the directory (mode 0700, its parent must exist) or opens what is there. Of a
    /// damaged file the
    /// readable rows go into a new one and it is set aside as `.bad-<n>`, with a warning; one that
    /// cannot be read at all is set aside, and what the file before it says goes on.
    ///
    /// What the device does not read is no damage: it throws, and may be read a second later. With
    /// `givesUp` what cannot be read is taken for lost.
    package init(
        directory: String, settings: SpoolSettings = SpoolSettings(), givesUp: Bool = false
    ) throws(SpoolError) {
        var path = directory
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        let folder = try SpoolFolder(path)
        let opening = try SpoolOpening.opened(folder.files, settings, givesUp: givesUp)
        guard let segment = opening.segment else { preconditionFailure("opening made a segment") }
        self.directory = path
        self.settings = settings
        files = folder.files
        let held =
            opening.state.older.reduce(0) { $0 + $1.bytes }
            + folder.files.bytes(of: segment.file.path)
        quota = min(settings.maximumBytes, held &+ min(folder.files.freeBytes(), 1 << 60))
        self.folder = folder
        self.segment = segment
        state = opening.state
        incarnation = opening.state.incarnation
        warnings = opening.warnings
        quarantineFile = opening.quarantine
        restoredRevisions = state.cut.revisions
        partEnds = state.partEnds
        let none = IntakeCounters()
        let (cut, newest) = (state.cut.counters, state.newest)
        let stranded = state.cut.strandedFrames
        recovered = (0..<max(cut.count, newest.count)).map { intake in
            var counters = CounterCoding.restore(
                cut: intake < cut.count ? cut[intake] : none,
                newest: intake < newest.count ? newest[intake] : none)
            if intake == 0 { counters.framesReceived &+= stranded }
            return counters
        }
        finishRejections()
        countBadFiles()
        releaseOlder()
        makeBallast()
    }

    /// Marks the file as closed in order, so that the next start need not check it. Let the spool
    /// go afterwards: that closes the file and gives up the directory.
    package func close() {
        // Without the mark the next start only takes longer.
        if isSegmentSpent { return }
        try? segment.file.setClean(true)
    }

    /// A fault that comes again and again is told once.
    func warn(_ text: String) {
        if warnings.count < Spool.warningsKept, !warnings.contains(text) { warnings.append(text) }
    }

    // MARK: Counts

    package var counters: SpoolCounters { state.tally.counters }
    package var details: SpoolDetails {
        var details = state.tally.details
        details.quarantineEntries = quarantineFile?.entries ?? 0
        details.quarantineBytes = quarantineFile?.bytes ?? 0
        details.quarantineEvicted = quarantineFile?.evicted ?? 0
        details.segments = UInt64(state.older.count + 1)
        details.bytesUsed = UInt64(clamping: (try? usedBytes()) ?? 0)
        details.bytesAllowed = UInt64(clamping: limit() / 8 * 7)
        details.bytesWritten =
            writtenBefore &+ UInt64(segment.file.database.pagesWritten) &* 4120
        return details
    }
    /// Sequence of the oldest batch that waits; nil when none does.
    package var oldestPending: UInt64? { state.pending.oldest }

    /// Epoch of the newest cut; 0 when there is none. Epochs go on from here.
    package var lastEpoch: UInt64 { state.cut.epoch }

    /// Where each intake's counters go on, by intake number: readings and decoded frames as of the
    /// last cut (replaying the uncovered journal counts them again), everything else as of the
    /// newest snapshot on disk. After the replay the first law balances.
    package func recoveredCounters() -> [IntakeCounters] { recovered }

    /// First journal position of `intake` that has never been used.
    package func nextPosition(intake: Int) -> UInt64 {
        intake < state.nextPositions.count ? state.nextPositions[intake] : 0
    }

    /// First position of `intake` that is not in a batch.
    package func coveredPosition(intake: Int) -> UInt64 {
        intake < state.cut.covered.count ? state.cut.covered[intake] : 0
    }

    /// Bytes of journal that no cut covers yet. Above a quarter of the quota it is time for a cut.
    package var uncoveredBytes: Int {
        state.retained.reduce(0) { $0 + ($1.isCovered(by: state.cut.covered) ? 0 : $1.size) }
    }

    // MARK: Older files

    /// An older segment, open for reading; at most four are kept open.
    func file(_ number: Int) throws(SQLiteError) -> SegmentFile {
        if number == segment.number { return segment.file }
        if let place = openFiles.firstIndex(where: { $0.number == number }) {
            let file = openFiles.remove(at: place)
            openFiles.append(file)
            return file
        }
        let path = files.path(ofSegment: number)
        let file = try SegmentFile.older(
            path: path, number: number, hasLog: files.size(path + "-wal") > 0)
        openFiles.append(file)
        if openFiles.count > 4 { openFiles.removeFirst() }
        return file
    }
}
