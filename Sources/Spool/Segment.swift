// One file of the spool. Today there is one, the active segment; the door of `Spool` says nothing
// about files, so that full segments can be closed and unlinked later. Times are ms since 1970 UTC,
// numbers are SQLite integers (UInt64 as the same 64 bits). With `sqlite3 segment-00000001.db`
// (stopped daemon):
//
//     meta        layout, incarnation (16 random bytes), clean (1: closed in order)
//     journal     accepted frames not yet, or just now, in a batch: one row a part (Journal.swift);
//                 intake, firstPosition, frames, receivedAt and size repeat what `part` says
//     batch       sealed batches waiting for the store; `body` is the batch as it is sent; crc is
//                 that of sequence u64 | epoch u64 | bucketStart i64 | firstObservedAt i64
//                 | lastObservedAt i64 | readings u64 | revision u32 | priority u8 (little-endian)
//                 and the body
//     quarantine  raw frames and rejected batches with the reason; crc is that of the body
//     cut         the two newest cuts (CounterCoding.swift): the older one serves when the newest
//                 is damaged
//     ledger      counters by name, for people; `spool.*` are also what the next start goes on from
//
// Every crc is CRC-32 as zlib has it: SQLite does not notice rot in blobs.

internal import SQLite

final class Segment {
    static let layout = 1
    /// Larger files are opened without the structure check (1.8 s for 256 MB): rows have their CRC.
    static let checkedBytes = 64 << 20

    let number: Int
    let database: Database
    let insertPart: Statement
    let deletePart: Statement
    let selectPart: Statement
    let insertBatch: Statement
    let deleteBatch: Statement
    let selectBatch: Statement
    let leaseBatches: Statement
    let oldestBatches: Statement
    let insertQuarantine: Statement
    let deleteOldestQuarantine: Statement
    let insertCut: Statement
    let deleteCuts: Statement
    let putLedger: Statement
    private let pageCount: Statement
    private let freePages: Statement

    private static let schema = """
        CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
        CREATE TABLE journal(
            row INTEGER PRIMARY KEY, intake INTEGER NOT NULL, firstPosition INTEGER NOT NULL,
            frames INTEGER NOT NULL, receivedAt INTEGER NOT NULL, size INTEGER NOT NULL,
            crc INTEGER NOT NULL, part BLOB NOT NULL);
        CREATE TABLE batch(
            sequence INTEGER PRIMARY KEY, priority INTEGER NOT NULL, epoch INTEGER NOT NULL,
            bucketStart INTEGER NOT NULL, revision INTEGER NOT NULL, readings INTEGER NOT NULL,
            firstObservedAt INTEGER NOT NULL, lastObservedAt INTEGER NOT NULL,
            size INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
        CREATE INDEX batchLane ON batch(priority, sequence, readings, size);
        CREATE TABLE quarantine(
            number INTEGER PRIMARY KEY, kind TEXT NOT NULL, source TEXT NOT NULL,
            reason TEXT NOT NULL, receivedAt INTEGER NOT NULL, readings INTEGER NOT NULL,
            size INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
        CREATE TABLE cut(row INTEGER PRIMARY KEY, crc INTEGER NOT NULL, state BLOB NOT NULL);
        CREATE TABLE ledger(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        INSERT INTO meta VALUES('layout', \(layout)), ('clean', 1);
        PRAGMA user_version=\(layout);
        """

    /// Opens or creates; throws `.damaged` for a file that must be set aside.
    init(path: String, number: Int, maximumBytes: Int) throws(SpoolError) {
        self.number = number
        do throws(SQLiteError) {
            database = try Database(path: path, mode: .readWriteCreate)
            try database.applyDurableSettings(DurableSettings(locking: .exclusive))
            let layout = try database.setting(pragma: "user_version")
            let tables = try database.prepare("SELECT count(*) FROM sqlite_master")
            let isEmpty = try tables.step() && tables.int64(0) == 0
            tables.reset()
            if isEmpty, layout == "0" {
                try Segment.create(database)
            } else if layout != String(Segment.layout) {
                let found = Int(layout) ?? 0
                throw found > Segment.layout
                    ? SQLiteError(code: Segment.newer, what: path, message: layout)
                    : SQLiteError(code: 26, what: path, message: "no spool segment")
            }
            try Segment.check(database, path: path)
            try Segment.limit(database, to: maximumBytes)

            insertPart = try database.prepare(
                "INSERT INTO journal(intake, firstPosition, frames, receivedAt, size, crc, part)"
                    + " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            deletePart = try database.prepare("DELETE FROM journal WHERE row = ?1")
            selectPart = try database.prepare("SELECT crc, part FROM journal WHERE row = ?1")
            insertBatch = try database.prepare(
                "INSERT INTO batch(sequence, priority, epoch, bucketStart, revision, readings,"
                    + " firstObservedAt, lastObservedAt, size, crc, body)"
                    + " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")
            deleteBatch = try database.prepare(
                "DELETE FROM batch WHERE sequence = ?1 RETURNING priority, readings, size")
            let row =
                "SELECT sequence, priority, epoch, bucketStart, revision, readings,"
                + " firstObservedAt, lastObservedAt, size, crc, body FROM batch"
            selectBatch = try database.prepare(row + " WHERE sequence = ?1")
            leaseBatches = try database.prepare(
                "SELECT sequence FROM batch WHERE priority = ?1 AND sequence > ?2"
                    + " ORDER BY sequence LIMIT ?3")
            oldestBatches = try database.prepare(
                "SELECT sequence, size FROM batch WHERE priority = ?1"
                    + " ORDER BY sequence LIMIT ?2")
            insertQuarantine = try database.prepare(
                "INSERT INTO quarantine(kind, source, reason, receivedAt, readings, size, crc,"
                    + " body) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
            deleteOldestQuarantine = try database.prepare(
                "DELETE FROM quarantine WHERE number = (SELECT min(number) FROM quarantine)"
                    + " RETURNING size")
            insertCut = try database.prepare("INSERT INTO cut(crc, state) VALUES(?1, ?2)")
            deleteCuts = try database.prepare("DELETE FROM cut WHERE row < ?1")
            putLedger = try database.prepare(
                "INSERT INTO ledger VALUES(?1, ?2)"
                    + " ON CONFLICT(name) DO UPDATE SET value = excluded.value")
            pageCount = try database.prepare("PRAGMA page_count")
            freePages = try database.prepare("PRAGMA freelist_count")
        } catch {
            if error.code == Segment.newer {
                throw .layout(path: path, found: Int(error.message) ?? 0)
            }
            // A foreign page size or journal mode: not a file of ours.
            if error.code == 1 { throw .damaged(what: error.description) }
            throw SpoolError(error)
        }
    }

    private static let newer: Int32 = -1

    private static func create(_ database: borrowing Database) throws(SQLiteError) {
        try database.execute("BEGIN IMMEDIATE")
        try database.execute(schema)
        let insert = try database.prepare("INSERT INTO meta VALUES('incarnation', ?1)")
        var generator = SystemRandomNumberGenerator()
        let incarnation = (0..<16).map { _ in UInt8.random(in: 0...255, using: &generator) }
        try insert.bind(incarnation, at: 1)
        try insert.run()
        try database.execute("COMMIT")
    }

    private static func check(_ database: borrowing Database, path: String) throws(SQLiteError) {
        let clean = try database.prepare("SELECT value FROM meta WHERE name = 'clean'")
        if try clean.step(), clean.int64(0) == 1 { return }
        let pages = Int(try database.setting(pragma: "page_count")) ?? 0
        guard pages <= checkedBytes / 4096 else { return }
        let answer = try database.setting(pragma: "quick_check(1)")
        guard answer == "ok" else { throw SQLiteError(code: 11, what: path, message: answer) }
    }

    /// The quota; a file that is larger already keeps its size.
    private static func limit(
        _ database: borrowing Database, to maximumBytes: Int
    ) throws(SQLiteError) {
        let pages = Int(try database.setting(pragma: "page_count")) ?? 0
        let limit = String(max(pages, maximumBytes / 4096, 64))
        let read = try database.setting(pragma: "max_page_count=\(limit)")
        guard read == limit else {
            throw SQLiteError(code: 21, what: "PRAGMA max_page_count=\(limit)", message: read)
        }
    }

    /// Bytes of pages that hold something.
    func usedBytes() throws(SQLiteError) -> Int {
        _ = try pageCount.step()
        let pages = pageCount.int(0)
        pageCount.reset()
        _ = try freePages.step()
        let free = freePages.int(0)
        freePages.reset()
        return max(0, pages - free) * 4096
    }

    func meta(_ name: String) throws(SQLiteError) -> [UInt8] {
        let select = try database.prepare("SELECT value FROM meta WHERE name = ?1")
        try select.bind(name, at: 1)
        return try select.step() ? select.blob(0) : []
    }

    func setClean(_ clean: Bool) throws(SQLiteError) {
        try database.execute("UPDATE meta SET value = \(clean ? 1 : 0) WHERE name = 'clean'")
    }
}
