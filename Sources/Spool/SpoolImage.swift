// What the newest segment says when it is opened. Every table is read through, and where a page
// of it is
// ruined row by row by key, so that what one page holds is all that it costs. Reading the whole
// retained
// journal here (at most `journalRetainBytes` plus what is uncovered) means that afterwards every
// position
// and every loss is known.

import Model
import SQLite

struct SpoolImage {
    private(set) var state = SpoolState()
    private(set) var warnings: [String] = []
    /// A table could not be read through: the readable rows belong into a new segment.
    private(set) var isDamaged = false
    private var isLedgerLost = false
    /// Pending according to the lists, but their files are not there.
    private var missing: [PendingBatch] = []
    private var isCutLost = false
    private let segment: Segment
    private let files: SpoolFiles
    /// What cannot be read is lost; else it is thrown.
    private let givesUp: Bool

    /// `isMended`: pages of its log were left out, so rows may be missing that nothing else misses.
    init(
        _ segment: Segment, _ files: SpoolFiles, isMended: Bool, givesUp: Bool
    ) throws(SQLiteError) {
        self.givesUp = givesUp
        self.segment = segment
        self.files = files
        isDamaged = isMended
        state.incarnation = try segment.file.meta("incarnation")
        guard state.incarnation.count == 16 else {
            throw SQLiteError(code: 11, what: "meta", message: "no incarnation")
        }
        let ledger = try readLedger()
        try readCut(ledger)
        try readBatches()
        try readJournal()
        state.markStranded()
        balance()
    }

    // MARK: Tables

    /// What kept `scan` from its end.
    private static func failure(of scan: () throws(SQLiteError) -> Void) -> SQLiteError? {
        do throws(SQLiteError) {
            try scan()
            return nil
        } catch {
            return error
        }
    }

    private func isLoss(_ error: SQLiteError) -> Bool {
        error.isDamaged || (givesUp && (error.isIO || error.isCannotOpen))
    }

    /// False when the scan of a table broke off at a ruined page; other errors are thrown on.
    private mutating func isWhole(
        _ table: String, _ failure: SQLiteError?
    ) throws(SQLiteError) -> Bool {
        guard let failure else { return true }
        guard isLoss(failure) else { throw failure }
        isDamaged = true
        warnings.append(
            "segment \(segment.number): table \(table) damaged: \(failure.description)")
        return false
    }

    private mutating func readLedger() throws(SQLiteError) -> [String: UInt64] {
        var values: [String: UInt64] = [:]
        let ledgerFailure = SpoolImage.failure { () throws(SQLiteError) in
            let ledger = try segment.file.database.prepare("SELECT name, value FROM ledger")
            while try ledger.step() {
                values[ledger.text(0)] = UInt64(clamping: ledger.int64(1))
            }
        }
        let isWhole = try isWhole("ledger", ledgerFailure)
        for entry in Tally.persisted where entry.isRestored {
            if let value = values[entry.name] { state.tally[keyPath: entry.path] = value }
        }
        isLedgerLost = !isWhole && values["spool.lastSequence"] == nil
        return values
    }

    private mutating func readCut(_ ledger: [String: UInt64]) throws(SQLiteError) {
        var damaged = 0
        var found: CutState?
        let cutFailure = SpoolImage.failure { () throws(SQLiteError) in
            let select = try segment.file.database.prepare(
                "SELECT crc, state FROM cut ORDER BY row DESC LIMIT 2")
            while found == nil, try select.step() {
                let bytes = select.blob(1)
                if select.int64(0) == Int64(CRC32.of(bytes)) { found = CutState.decode(bytes) }
                if found == nil { damaged += 1 }
            }
        }
        let isWhole = try isWhole("cut", cutFailure)
        if let found, isDamaged, let epoch = ledger["epoch"], epoch > found.epoch {
            // Its page was left out, not that of the ledger.
            if !takeCut(from: ledger) { state.cut = found }
            warnings.append(
                "newest cut damaged: went on from the ledger's own numbers of epoch \(epoch)")
        } else if let found {
            state.cut = found
            if damaged > 0 {
                warnings.append(
                    "newest cut damaged: went back to epoch \(found.epoch); readings after it"
                        + " are decoded again and may reach the store twice")
            }
        } else if damaged > 0 || !isWhole {
            isCutLost = !takeCut(from: ledger)
            warnings.append(
                isCutLost
                    ? "both cuts damaged: the whole retained journal is decoded again; readings may"
                        + " reach the store twice and the ledger starts from what is held"
                    : "both cuts damaged: went on from the ledger's own numbers")
        }
        state.nextPositions = state.cut.covered
    }

    /// The ledger names what the newest cut covered, and the sums of the intakes.
    private mutating func takeCut(from ledger: [String: UInt64]) -> Bool {
        guard let epoch = ledger["epoch"] else { return false }
        state.cut.epoch = epoch
        while let position = ledger["covered.\(state.cut.covered.count)"],
            position < StoredPart.positionLimit
        {
            state.cut.covered.append(position)
            state.cut.counters.append(IntakeCounters())
        }
        guard !state.cut.covered.isEmpty else { return false }
        for (name, value) in ledger { state.cut.counters[0].set(name, to: value) }
        return true
    }

    // MARK: Batches

    private mutating func readBatches() throws(SQLiteError) {
        var gone: Set<UInt64> = []
        let goneFailure = SpoolImage.failure { () throws(SQLiteError) in
            let rows = try segment.file.database.prepare("SELECT sequence FROM gone")
            while try rows.step() { gone.insert(UInt64(bitPattern: rows.int64(0))) }
        }
        _ = try isWhole("gone", goneFailure)
        var batches: [PendingBatch] = []
        try readOlder(&batches)
        try readOwn(&batches)
        batches.removeAll { gone.contains($0.sequence) }
        // Some were moved into this one, and their file went.
        let there = missing.isEmpty ? [] : Set(batches.map(\.sequence))
        missing.removeAll { gone.contains($0.sequence) || there.contains($0.sequence) }
        if !missing.isEmpty {
            isDamaged = true
            warnings.append("\(missing.count) batches were in files that are not there")
        }
        state.pending.replace(with: batches)
        state.tally.clearPending()
        for batch in state.pending.batches() { state.tally.addPending(batch) }
        if isLedgerLost {
            // Whatever was given out since then is skipped: no segment holds as many rows.
            let last = max(batches.map(\.sequence).max() ?? 0, gone.max() ?? 0)
            state.tally.counters.lastSequence = last &+ 1 << 20
        } else {
            let last = batches.last?.sequence ?? 0
            state.tally.counters.lastSequence = max(state.tally.counters.lastSequence, last)
        }
    }

    private mutating func readOlder(_ batches: inout [PendingBatch]) throws(SQLiteError) {
        var listed: [OlderList] = []
        var unlisted: [Int] = []
        let olderFailure = SpoolImage.failure { () throws(SQLiteError) in
            let rows = try segment.file.database.prepare(
                "SELECT number, crc, list FROM older ORDER BY number")
            while try rows.step() {
                let number = rows.int(0)
                guard (1..<segment.number).contains(number) else { continue }
                let bytes = rows.blob(2)
                if rows.int64(1) == Int64(CRC32.of(bytes)),
                    let list = OlderList(bytes, number: number)
                {
                    listed.append(list)
                } else {
                    unlisted.append(number)
                }
            }
        }
        _ = try isWhole("older", olderFailure)
        if isDamaged {
            // Rows may have gone without a trace; a file that has served may come back, none may be lost.
            let known = Set(listed.map(\.number) + unlisted)
            let there = (try? files.segments()) ?? []
            unlisted += there.filter { $0 < segment.number && !known.contains($0) }
        }
        for list in listed {
            let bytes = bytes(list.number)
            if bytes > 0 {
                state.older.append(OlderSegment(number: list.number, bytes: bytes))
                batches += list.batches
                if let rows = list.journal { try readParts(list.number, rows) }
            } else {
                missing += list.batches
            }
        }
        for number in unlisted where bytes(number) > 0 {
            isDamaged = true
            warnings.append("segment \(number): its list is damaged: all that it holds counts")
            state.older.append(OlderSegment(number: number, bytes: bytes(number)))
            let file: SegmentFile
            do throws(SQLiteError) {
                file = try open(number)
            } catch {
                guard isLoss(error) else { throw error }
                continue
            }
            try readRows(of: file, from: 1, through: nil, &batches)
            let last = try lastPart(of: file)
            if last > 0 { try readParts(number, 1...last) }
        }
        state.older.sort { $0.number < $1.number }
    }

    /// Number of the newest row of the journal; 0 when there is none to be found.
    private func lastPart(of file: SegmentFile) throws(SQLiteError) -> Int64 {
        do throws(SQLiteError) {
            let last = try file.database.prepare("SELECT max(row) FROM journal")
            return try last.step() ? last.int64(0) : 0
        } catch {
            guard isLoss(error) else { throw error }
            return 0
        }
    }

    private func bytes(_ number: Int) -> Int { files.bytes(of: files.path(ofSegment: number)) }

    private func open(_ number: Int) throws(SQLiteError) -> SegmentFile {
        let path = files.path(ofSegment: number)
        return try SegmentFile.older(
            path: path, number: number, hasLog: files.size(path + "-wal") > 0)
    }

    private mutating func readOwn(_ batches: inout [PendingBatch]) throws(SQLiteError) {
        let last = isLedgerLost ? nil : state.tally.counters.lastSequence
        let first = batches.map(\.sequence).max().map { $0 &+ 1 } ?? 1
        try readRows(of: segment.file, from: first, through: last, &batches)
    }

    /// All rows of a batch table; behind a ruined page by key up to `last`, or as far as some are
    /// found.
    private mutating func readRows(
        of file: SegmentFile, from first: UInt64, through last: UInt64?,
        _ batches: inout [PendingBatch]
    ) throws(SQLiteError) {
        let columns = "SELECT sequence, priority, readings, size, lastObservedAt FROM batch"
        var found: [PendingBatch] = []
        let batchFailure = SpoolImage.failure { () throws(SQLiteError) in
            let rows = try file.database.prepare(columns + " ORDER BY sequence")
            while try rows.step() { found.append(PendingBatch(rows, segment: file.number)) }
        }
        let isWhole = try isWhole("batch", batchFailure)
        if !isWhole {
            let row = try file.database.prepare(columns + " WHERE sequence = ?1")
            var key = max(found.last.map { $0.sequence &+ 1 } ?? 1, min(first, last ?? first))
            var misses = 0
            while last.map({ key <= $0 }) ?? (misses < 10_000), misses < 1 << 20 {
                misses += 1
                do throws(SQLiteError) {
                    if let batch = try PendingBatch.read(row, key, segment: file.number) {
                        found.append(batch)
                        misses = 0
                    }
                } catch {
                    guard isLoss(error) else { throw error }
                }
                key &+= 1
            }
        }
        batches += found
    }

    // MARK: Journal

    private mutating func readJournal() throws(SQLiteError) {
        var rows: [Int64] = []
        let journalFailure = SpoolImage.failure { () throws(SQLiteError) in
            let select = try segment.file.database.prepare(
                "SELECT row FROM journal WHERE row >= ifnull((SELECT value FROM ledger"
                    + " WHERE name = 'spool.journalFrom'), 0) ORDER BY row")
            while try select.step() { rows.append(select.int64(0)) }
        }
        let isWhole = try isWhole("journal", journalFailure)
        if !isWhole {
            var misses = 0
            let start = rows.last ?? 0
            var row: Int64 = 1
            let select = try segment.file.database.prepare("SELECT row FROM journal WHERE row = ?1")
            while misses < 10_000 {
                row += 1
                misses += 1
                guard row + start > 0, (try? select.bind(start + row - 1, at: 1)) != nil else {
                    break
                }
                var isThere = true
                do throws(SQLiteError) { isThere = try select.step() } catch {
                    guard isLoss(error) else { throw error }
                }
                select.reset()
                if isThere {
                    rows.append(start + row - 1)
                    if (try? segment.file.part(start + row - 1)) != nil { misses = 0 }
                }
            }
        }
        for row in rows { try readPart(row, of: segment.file) }
        countJournal()
    }

    private mutating func readParts(
        _ number: Int, _ rows: ClosedRange<Int64>
    ) throws(SQLiteError) {
        do throws(SQLiteError) {
            let file = try open(number)
            // Numbers from a file: no more rows than a segment can have.
            for row in rows.prefix(1 << 20) { try readPart(row, of: file) }
        } catch {
            guard isLoss(error) else { throw error }
            warnings.append("segment \(number): its journal is damaged: \(error.description)")
        }
    }

    private mutating func readPart(_ row: Int64, of file: SegmentFile) throws(SQLiteError) {
        let part: StoredPart?
        do throws(SQLiteError) {
            part = try file.part(row)
        } catch {
            guard isLoss(error) else { throw error }
            isDamaged = true
            part = nil
        }
        guard let part else { return try noteDamaged(row, of: file) }
        let kept = RetainedPart(
            segment: file.number, row: row, intake: part.intake,
            firstPosition: part.firstPosition, frameCount: part.frameCount,
            newestReceivedAt: part.newestReceivedAt, size: part.size, isDamaged: false)
        state.retained.append(kept)
        state.newest.fill(upTo: part.intake, with: IntakeCounters())
        state.newest[part.intake] = part.counters
        state.reach(kept.end, ofIntake: part.intake)
    }

    private mutating func noteDamaged(
        _ row: Int64, of file: SegmentFile
    ) throws(SQLiteError) {
        var kept = RetainedPart(
            segment: file.number, row: row, intake: 0, firstPosition: 0, frameCount: 0,
            newestReceivedAt: Timestamp(milliseconds: 0), size: 0, isDamaged: true)
        do throws(SQLiteError) {
            if let columns = try file.partColumns(row) { kept = columns }
        } catch {
            guard isLoss(error) else { throw error }
        }
        state.retained.append(kept)
        state.reach(kept.end, ofIntake: kept.intake)
        warnings.append(
            "journal row \(row) damaged: \(kept.frameCount) frames of intake \(kept.intake) from"
                + " position \(kept.firstPosition)")
    }

    private mutating func countJournal() {
        state.tally.details.journalParts = UInt64(state.retained.count)
        state.tally.details.journalBytes = state.retained.reduce(0) { $0 &+ UInt64($1.size) }
    }

    // MARK: Counters

    /// After damage the rows that are there decide: what is missing counts as rejected (or, when
    /// it was the
    /// list of what is gone that suffered, as not acknowledged yet).
    private mutating func balance() {
        if isCutLost { beginAnew() }
        countUnseenFrames()
        guard isDamaged else { return }
        if isLedgerLost {
            let published = state.cut.counters.reduce(0) { $0 &+ $1.readingsPublished }
            state.tally.counters.readingsReceived = max(
                published, state.tally.counters.readingsPending)
        }
        let difference = state.tally.counters.unaccounted
        if difference > 0 {
            let lost = UInt64(difference)
            state.tally.counters.readingsRejected &+= lost
            state.tally.details.readingsDamaged &+= lost
            warnings.append("\(lost) readings were in rows that cannot be read")
        } else if difference < 0 {
            let again = min(difference.magnitude, state.tally.counters.readingsAcknowledged)
            state.tally.counters.readingsAcknowledged &-= again
            state.tally.counters.readingsReceived &+= difference.magnitude - again
            warnings.append("\(again) readings count as not acknowledged again")
        }
    }

    /// No cut: the counters are those of what is held, and every frame that comes back is
    /// received now.
    private mutating func beginAnew() {
        isDamaged = true
        let held = state.tally.counters.readingsPending
        var counters = IntakeCounters()
        counters.readingsDecoded = held
        counters.readingsPublished = held
        for part in state.retained { counters.framesReceived &+= UInt64(part.frameCount) }
        state.cut.counters = [counters]
        state.cut.covered = []
        state.newest = []
        let last = state.tally.counters.lastSequence
        state.tally.counters = SpoolCounters()
        state.tally.counters.lastSequence = last
        state.tally.counters.readingsReceived = held
        state.tally.clearPending()
        for batch in state.pending.batches() { state.tally.addPending(batch) }
    }

    /// The frames of a damaged part are in the counters of the parts behind it; behind the newest
    /// readable
    /// one nothing counts them, and what `recover` says is lost must have been received.
    private mutating func countUnseenFrames() {
        if isCutLost { return }
        for intake in state.nextPositions.indices {
            let readable = state.retained.last { $0.intake == intake && !$0.isDamaged }?.end ?? 0
            let covered = intake < state.cut.covered.count ? state.cut.covered[intake] : 0
            var unseen: UInt64 = 0
            for part in state.retained where part.isDamaged && part.intake == intake {
                let from = max(part.firstPosition, readable, covered)
                if part.end > from { unseen &+= part.end - from }
            }
            guard unseen > 0 else { continue }
            state.newest.fill(upTo: intake, with: IntakeCounters())
            let cut =
                intake < state.cut.counters.count ? state.cut.counters[intake] : IntakeCounters()
            state.newest[intake].framesReceived =
                max(state.newest[intake].framesReceived, cut.framesReceived) &+ unseen
        }
    }
}

extension PendingBatch {
    /// The current row of sequence, priority, readings, size, lastObservedAt.
    fileprivate init(_ row: borrowing Statement, segment: Int) {
        self.init(
            sequence: UInt64(bitPattern: row.int64(0)), lane: Priority(stored: row.int64(1)),
            readings: row.int64(2), size: row.int64(3), segment: segment,
            lastObservedAt: Timestamp(milliseconds: row.int64(4)))
    }

    fileprivate static func read(
        _ row: borrowing Statement, _ key: UInt64, segment: Int
    ) throws(SQLiteError) -> PendingBatch? {
        defer { row.reset() }
        try row.bind(Int64(bitPattern: key), at: 1)
        return try row.step() ? PendingBatch(row, segment: segment) : nil
    }
}

extension SegmentFile {
    /// What the columns beside a damaged part say. Numbers that cannot be true are taken as an empty
    /// part at the start: nothing to find there.
    func partColumns(_ row: Int64) throws(SQLiteError) -> RetainedPart? {
        let select = try database.prepare(
            "SELECT intake, firstPosition, frames, receivedAt, size FROM journal WHERE row = ?1")
        try select.bind(row, at: 1)
        guard try select.step() else { return nil }
        let size = min(max(0, select.int(4)), 1 << 30)
        let first = UInt64(bitPattern: select.int64(1))
        let isPlausible =
            first < StoredPart.positionLimit && (0...255).contains(select.int64(0))
            && (0...Int64(size / 3)).contains(select.int64(2))
        return RetainedPart(
            segment: number, row: row, intake: isPlausible ? select.int(0) : 0,
            firstPosition: isPlausible ? first : 0, frameCount: isPlausible ? select.int(2) : 0,
            newestReceivedAt: Timestamp(milliseconds: select.int64(3)), size: size,
            isDamaged: true)
    }
}
