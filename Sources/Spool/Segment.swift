// One file of the spool. Rows of batches and of the journal are only ever added: what becomes of
// them
// stands in the newest segment alone, so an older one is never written again, a damaged one harms
// no
// other, and a transaction that a failing device may or may not have kept changes nothing that
// counts.
// Times are ms since 1970 UTC, numbers are SQLite integers (UInt64 as the same 64 bits). With
// `sqlite3 segment-00000001.db` (stopped daemon):
//
//     meta        incarnation (16 random bytes), clean (1: closed in order), salvaged (number of
//     the
//                 damaged segment whose readable rows are here)
//     journal     accepted frames not yet, or just now, in a batch: one row a part (Journal.swift);
//                 intake, firstPosition, frames, receivedAt and size repeat what `part` says
//     batch       sealed batches; `body` is the batch as it is sent; crc is that of sequence u64
//                 | epoch u64 | bucketStart i64 | firstObservedAt i64 | lastObservedAt i64
//                 | readings u64 | revision u32 | priority u8 (little-endian) and the body
//
// and, valid in the newest segment only:
//
//     gone        sequences, in any segment, that are no longer pending
//     older       the other segments: which of their batches were pending, and which rows of their
//     journal may have been needed, when this one was begun (PendingIndex.swift; crc is that
//                 of the list); a row that is not listed does not count
//     cut         the two newest cuts (CounterCoding.swift): the older one serves when the newest
//     is
//                 damaged
//     ledger      counters by name, for people; `spool.*` are also what the next start goes on from
//
// Every crc is CRC-32 as zlib has it: SQLite does not notice rot in blobs.

import Model
internal import SQLite

/// A segment as it is read.
final class SegmentFile {
    static let layout = 2
    /// Larger files are opened without the structure check (1.8 s for 256 MB): rows have their CRC.
    static let checkedBytes = 64 << 20

    let number: Int
    let path: String
    let database: Database
    let selectPart: Statement
    let selectBatch: Statement

    static let batchColumns =
        "SELECT sequence, priority, epoch, bucketStart, revision, readings, firstObservedAt,"
        + " lastObservedAt, size, crc, body FROM batch"

    init(database: consuming Database, number: Int, path: String) throws(SQLiteError) {
        self.number = number
        self.path = path
        selectPart = try database.prepare("SELECT crc, part FROM journal WHERE row = ?1")
        selectBatch = try database.prepare(
            SegmentFile.batchColumns + " WHERE sequence = ?1")
        self.database = database
    }

    /// A segment that is not written any more. One that was closed in order has no log and is
    /// opened for
    /// reading only, which a read-only device allows.
    static func older(path: String, number: Int, hasLog: Bool) throws(SQLiteError) -> SegmentFile {
        if hasLog { return try opened(path: path, number: number, mode: .readWrite) }
        do throws(SQLiteError) {
            return try opened(path: path, number: number, mode: .readOnly)
        } catch {
            // A crash while it was closed: its change of mode is still to be taken back.
            guard error.isReadOnly || error.isCannotOpen else { throw error }
            return try opened(path: path, number: number, mode: .readWrite)
        }
    }

    private static func opened(
        path: String, number: Int, mode: Database.Mode
    ) throws(SQLiteError) -> SegmentFile {
        let database = try Database(path: path, mode: mode)
        if mode == .readWrite {
            try database.execute("PRAGMA locking_mode=EXCLUSIVE")
            // What its log holds may be all there is of it.
            database.setNoCheckpointOnClose(true)
        }
        try database.execute(
            "PRAGMA mmap_size=0; PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF;"
                + " PRAGMA cache_size=-256")
        return try SegmentFile(database: database, number: number, path: path)
    }

    func meta(_ name: String) throws(SQLiteError) -> [UInt8] {
        let select = try database.prepare("SELECT value FROM meta WHERE name = ?1")
        try select.bind(name, at: 1)
        return try select.step() ? select.blob(0) : []
    }

    func setClean(_ clean: Bool) throws(SQLiteError) {
        try database.execute("UPDATE meta SET value = \(clean ? 1 : 0) WHERE name = 'clean'")
    }

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

    /// Everything copied out of the log and no log needed any more: done when the segment is
    /// full. When it
    /// cannot be done the log stays, which is as good.
    func seal() {
        do throws(SQLiteError) {
            try database.checkpoint()
            _ = try database.setting(pragma: "journal_mode=DELETE")
            try database.execute("PRAGMA cache_size=-256")
        } catch {
            database.setNoCheckpointOnClose(true)
        }
    }
}

/// The newest segment as it is written.
final class Segment {
    let file: SegmentFile
    let insertPart: Statement
    let deletePart: Statement
    let insertBatch: Statement
    let insertGone: Statement
    let insertCut: Statement
    let deleteCuts: Statement
    let putLedger: Statement
    private let pageCount: Statement
    /// Bytes when it was opened.
    private(set) var initialBytes = 0
    /// Pages in the log since it was last copied into the file.
    private var pagesCopied = 0

    var number: Int { file.number }

    private static let schema = """
        CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS journal(
            row INTEGER PRIMARY KEY, intake INTEGER NOT NULL, firstPosition INTEGER NOT NULL,
            frames INTEGER NOT NULL, receivedAt INTEGER NOT NULL, size INTEGER NOT NULL,
            crc INTEGER NOT NULL, part BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS batch(
            sequence INTEGER PRIMARY KEY, priority INTEGER NOT NULL, epoch INTEGER NOT NULL,
            bucketStart INTEGER NOT NULL, revision INTEGER NOT NULL, readings INTEGER NOT NULL,
            firstObservedAt INTEGER NOT NULL, lastObservedAt INTEGER NOT NULL,
            size INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS gone(sequence INTEGER PRIMARY KEY);
        CREATE TABLE IF NOT EXISTS older(
            number INTEGER PRIMARY KEY, crc INTEGER NOT NULL, list BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS cut(
            row INTEGER PRIMARY KEY, crc INTEGER NOT NULL, state BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS ledger(
            name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        INSERT OR IGNORE INTO meta VALUES('clean', 0);
        PRAGMA user_version=\(SegmentFile.layout);
        """

    private init(_ file: SegmentFile) throws(SQLiteError) {
        self.file = file
        insertPart = try file.database.prepare(
            "INSERT INTO journal(intake, firstPosition, frames, receivedAt, size, crc, part)"
                + " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        deletePart = try file.database.prepare("DELETE FROM journal WHERE row = ?1")
        insertBatch = try file.database.prepare(
            "INSERT OR REPLACE INTO batch(sequence, priority, epoch, bucketStart, revision,"
                + " readings, firstObservedAt, lastObservedAt, size, crc, body)"
                + " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")
        insertGone = try file.database.prepare("INSERT OR IGNORE INTO gone VALUES(?1)")
        insertCut = try file.database.prepare("INSERT INTO cut(crc, state) VALUES(?1, ?2)")
        deleteCuts = try file.database.prepare("DELETE FROM cut WHERE row < ?1")
        putLedger = try file.database.prepare(
            "INSERT INTO ledger VALUES(?1, ?2)"
                + " ON CONFLICT(name) DO UPDATE SET value = excluded.value")
        pageCount = try file.database.prepare("PRAGMA page_count")
        initialBytes = try bytes()
    }

    /// Opens the newest segment to go on with it; nil for one that was never finished being made.
    static func open(path: String, number: Int) throws(SpoolError) -> Segment? {
        try translating(path) { () throws(SQLiteError) in
            let database = try durable(path, mode: .readWrite)
            // A file that is not taken keeps its log, which may be all there is of it.
            database.setNoCheckpointOnClose(true)
            let layout = try database.setting(pragma: "user_version")
            let tables = try database.prepare("SELECT count(*) FROM sqlite_master")
            let isEmpty = try tables.step() && tables.int64(0) == 0
            tables.reset()
            if isEmpty, layout == "0" { return nil }
            guard layout == String(SegmentFile.layout) || layout == "1" else {
                let found = Int(layout) ?? 0
                throw found > SegmentFile.layout
                    ? SQLiteError(code: Segment.newer, what: path, message: layout)
                    : SQLiteError(code: 26, what: path, message: "no spool segment")
            }
            if layout == "1" {
                // Tables that layout 2 added; the old ones are as they were.
                try database.execute("BEGIN IMMEDIATE;" + schema + "COMMIT")
            }
            database.setNoCheckpointOnClose(false)
            return try Segment(SegmentFile(database: database, number: number, path: path))
        }
    }

    /// Makes a segment and in the same transaction everything that it begins with.
    static func create(
        path: String, number: Int, incarnation: [UInt8],
        _ fill: (Segment) throws(SQLiteError) -> Void
    ) throws(SpoolError) -> Segment {
        try translating(path) { () throws(SQLiteError) in
            let database = try durable(path, mode: .readWriteCreate)
            try database.execute("BEGIN IMMEDIATE;" + schema)
            let insert = try database.prepare("INSERT INTO meta VALUES('incarnation', ?1)")
            try insert.bind(incarnation, at: 1)
            try insert.run()
            let segment = try Segment(SegmentFile(database: database, number: number, path: path))
            try fill(segment)
            try segment.file.database.execute("COMMIT")
            segment.initialBytes = try segment.bytes()
            return segment
        }
    }

    private static let newer: Int32 = -1

    private static func durable(
        _ path: String, mode: Database.Mode
    ) throws(SQLiteError) -> Database {
        let database = try Database(path: path, mode: mode)
        var settings = DurableSettings(locking: .exclusive)
        settings.walAutocheckpoint = 0
        try database.applyDurableSettings(settings)
        return database
    }

    private static func translating<T>(
        _ path: String, _ body: () throws(SQLiteError) -> T
    ) throws(SpoolError) -> T {
        do throws(SQLiteError) {
            return try body()
        } catch {
            if error.code == newer { throw .layout(path: path, found: Int(error.message) ?? 0) }
            // A foreign page size or journal mode: not a file of ours.
            if error.code == 1 { throw .damaged(what: error.description) }
            throw SpoolError(error)
        }
    }

    /// Was it closed in order? Else its structure is looked through.
    func check() throws(SQLiteError) {
        let clean = try file.database.prepare("SELECT value FROM meta WHERE name = 'clean'")
        if try clean.step(), clean.int64(0) == 1 { return }
        guard try bytes() <= SegmentFile.checkedBytes else { return }
        let answer = try file.database.setting(pragma: "quick_check(1)")
        guard answer == "ok" else {
            throw SQLiteError(code: 11, what: file.path, message: answer)
        }
    }

    /// Bytes of the file as it will be when its log is copied.
    func bytes() throws(SQLiteError) -> Int {
        defer { pageCount.reset() }
        return try pageCount.step() ? max(0, pageCount.int(0)) * 4096 : 0
    }

    /// Pages that wait in the log.
    var pagesInLog: Int { file.database.pagesWritten - pagesCopied }

    /// Copies the log into the file; answers how many pages that were at most.
    func copyLog() throws(SQLiteError) -> Int {
        let written = file.database.pagesWritten
        let copied = try file.database.copyLog()
        pagesCopied = written
        return copied
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
