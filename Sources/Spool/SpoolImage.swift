// What a segment says when it is opened: everything the spool keeps in memory, read and checked
// once. Reading the whole retained journal here (at most `journalRetainBytes` plus what is
// uncovered) means that afterwards every position and every loss is known.

import Model
import SQLite

/// One row of the journal table.
struct RetainedPart {
    let row: Int64
    let intake: Int
    let firstPosition: UInt64
    let frameCount: Int
    let newestReceivedAt: Timestamp
    let size: Int
    /// The CRC did not match; the numbers above are only what the columns say.
    let isDamaged: Bool

    var end: UInt64 { firstPosition &+ UInt64(frameCount) }

    func isCovered(by covered: [UInt64]) -> Bool {
        intake < covered.count && end <= covered[intake]
    }
}

/// The counters of the spool that are kept in step with its rows.
struct Tally: Hashable {
    var counters = SpoolCounters()
    var details = SpoolDetails()

    typealias Path = any WritableKeyPath<Tally, UInt64> & Sendable

    /// Kept in the ledger table: what happened (read back at open) and, for people, what is held.
    static let persisted: [(name: String, path: Path, isRestored: Bool)] = [
        ("spool.readingsReceived", \.counters.readingsReceived, true),
        ("spool.readingsAcknowledged", \.counters.readingsAcknowledged, true),
        ("spool.readingsEvicted", \.counters.readingsEvicted, true),
        ("spool.readingsRejected", \.counters.readingsRejected, true),
        ("spool.readingsPending", \.counters.readingsPending, false),
        ("spool.batchesAcknowledged", \.counters.batchesAcknowledged, true),
        ("spool.batchesPending", \.counters.batchesPending, false),
        ("spool.lastSequence", \.counters.lastSequence, true),
        ("spool.readingsEvicted.alarm", \.details.readingsEvicted.alarm, true),
        ("spool.readingsEvicted.live", \.details.readingsEvicted.live, true),
        ("spool.readingsEvicted.backlog", \.details.readingsEvicted.backlog, true),
        ("spool.batchesEvicted", \.details.batchesEvicted, true),
        ("spool.batchesRejected", \.details.batchesRejected, true),
        ("spool.batchesDamaged", \.details.batchesDamaged, true),
        ("spool.quarantineEvicted", \.details.quarantineEvicted, true),
    ]

    mutating func addPending(_ lane: Priority, readings: UInt64, bytes: UInt64, batches: UInt64 = 1)
    {
        counters.readingsPending &+= readings
        counters.batchesPending &+= batches
        details.readingsPending[lane] &+= readings
        details.batchesPending[lane] &+= batches
        details.bytesPending[lane] &+= bytes
    }

    mutating func removePending(_ lane: Priority, readings: UInt64, bytes: UInt64) {
        counters.readingsPending &-= readings
        counters.batchesPending &-= 1
        details.readingsPending[lane] &-= readings
        details.batchesPending[lane] &-= 1
        details.bytesPending[lane] &-= bytes
    }
}

struct SpoolImage {
    private(set) var incarnation: [UInt8] = []
    private(set) var cut = CutState()
    private(set) var tally = Tally()
    private(set) var retained: [RetainedPart] = []
    /// For each intake the counters of its newest readable part.
    private(set) var newest: [IntakeCounters] = []
    private(set) var nextPositions: [UInt64] = []
    private(set) var warnings: [String] = []

    init(_ segment: Segment) throws(SQLiteError) {
        incarnation = try segment.meta("incarnation")
        guard incarnation.count == 16 else {
            throw SQLiteError(code: 11, what: "meta", message: "no incarnation")
        }
        try readCut(segment)
        try readTally(segment)
        try readJournal(segment)
    }

    private mutating func readCut(_ segment: Segment) throws(SQLiteError) {
        let select = try segment.database.prepare(
            "SELECT crc, state FROM cut ORDER BY row DESC LIMIT 2")
        var damaged = 0
        while try select.step() {
            let bytes = select.blob(1)
            if select.int64(0) == Int64(CRC32.of(bytes)), let state = CutState.decode(bytes) {
                cut = state
                nextPositions = state.covered
                if damaged > 0 {
                    warnings.append(
                        "newest cut damaged: went back to epoch \(state.epoch); readings after it"
                            + " are decoded again and may reach the store twice")
                }
                return
            }
            damaged += 1
        }
        if damaged > 0 {
            warnings.append(
                "both cuts damaged: the whole retained journal is decoded again; readings may reach"
                    + " the store twice and the ledger starts from the journal")
        }
    }

    private mutating func readTally(_ segment: Segment) throws(SQLiteError) {
        let ledger = try segment.database.prepare("SELECT name, value FROM ledger")
        while try ledger.step() {
            let name = ledger.text(0)
            for entry in Tally.persisted where entry.name == name && entry.isRestored {
                tally[keyPath: entry.path] = UInt64(clamping: ledger.int64(1))
            }
        }
        let lanes = try segment.database.prepare(
            "SELECT priority, count(*), sum(readings), sum(size), max(sequence) FROM batch"
                + " GROUP BY priority")
        while try lanes.step() {
            tally.addPending(
                Priority(stored: lanes.int64(0)), readings: UInt64(clamping: lanes.int64(2)),
                bytes: UInt64(clamping: lanes.int64(3)), batches: UInt64(clamping: lanes.int64(1)))
            let last = UInt64(clamping: lanes.int64(4))
            tally.counters.lastSequence = max(tally.counters.lastSequence, last)
        }
        let quarantine = try segment.database.prepare(
            "SELECT count(*), sum(size) FROM quarantine")
        _ = try quarantine.step()
        tally.details.quarantineEntries = UInt64(clamping: quarantine.int64(0))
        tally.details.quarantineBytes = UInt64(clamping: quarantine.int64(1))
    }

    private mutating func readJournal(_ segment: Segment) throws(SQLiteError) {
        let rows = try segment.database.prepare(
            "SELECT row, intake, firstPosition, frames, receivedAt, length(part) FROM journal"
                + " ORDER BY row")
        while try rows.step() {
            let row = rows.int64(0)
            if let part = try segment.part(row) {
                note(part, row: row, size: rows.int(5))
            } else {
                noteDamaged(rows, row: row)
            }
        }
        tally.details.journalParts = UInt64(retained.count)
        tally.details.journalBytes = retained.reduce(0) { $0 &+ UInt64($1.size) }
    }

    private mutating func note(_ part: StoredPart, row: Int64, size: Int) {
        let kept = RetainedPart(
            row: row, intake: part.intake, firstPosition: part.firstPosition,
            frameCount: part.frameCount, newestReceivedAt: part.newestReceivedAt,
            size: max(0, size), isDamaged: false)
        retained.append(kept)
        newest.fill(upTo: part.intake, with: IntakeCounters())
        newest[part.intake] = part.counters
        nextPositions.fill(upTo: part.intake, with: 0)
        nextPositions[part.intake] = max(nextPositions[part.intake], kept.end)
    }

    private mutating func noteDamaged(_ rows: borrowing Statement, row: Int64) {
        let size = max(0, rows.int(5))
        let first = UInt64(bitPattern: rows.int64(2))
        // Columns that cannot be true are taken as an empty part at the start: nothing to find
        // there.
        let isPlausible =
            first < StoredPart.positionLimit && (0...255).contains(rows.int64(1))
            && (0...Int64(size / 3)).contains(rows.int64(3))
        let kept = RetainedPart(
            row: row, intake: isPlausible ? rows.int(1) : 0, firstPosition: isPlausible ? first : 0,
            frameCount: isPlausible ? rows.int(3) : 0,
            newestReceivedAt: Timestamp(milliseconds: rows.int64(4)), size: size, isDamaged: true)
        retained.append(kept)
        nextPositions.fill(upTo: kept.intake, with: 0)
        nextPositions[kept.intake] = max(nextPositions[kept.intake], kept.end)
        warnings.append(
            "journal row \(row) damaged: \(kept.frameCount) frames of intake \(kept.intake) from"
                + " position \(kept.firstPosition)")
    }
}

extension Segment {
    /// A part whose CRC and structure hold; nil when they do not.
    func part(_ row: Int64) throws(SQLiteError) -> StoredPart? {
        defer { selectPart.reset() }
        try selectPart.bind(row, at: 1)
        do throws(SQLiteError) {
            guard try selectPart.step() else { return nil }
        } catch {
            if error.isDamaged { return nil }
            throw error
        }
        let bytes = selectPart.blob(1)
        guard selectPart.int64(0) == Int64(CRC32.of(bytes)) else { return nil }
        return StoredPart(bytes)
    }
}

extension Priority {
    /// A number from a file; one that is none is the least urgent lane.
    init(stored: Int64) { self = UInt8(exactly: stored).flatMap(Priority.init) ?? .backlog }
}

extension Array {
    /// Grows with `value` until `index` is in it.
    mutating func fill(upTo index: Int, with value: Element) {
        while count <= index { append(value) }
    }
}
