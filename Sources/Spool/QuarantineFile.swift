// What was set aside, in a SQLite file of its own (quarantine.db): raw frames that were refused,
// batches
// that the store refused, damaged rows. Bounded by count and bytes; the oldest go first and are
// counted.
// A batch stands here before it is taken out of what is pending, under its sequence, so that a
// crash
// between the two does not list it twice.
//
//     quarantine  number (rising), kind, source, reason, receivedAt (ms since 1970), readings,
//     size,
//                 crc (CRC-32 of body), body
//     evicted     one row: entries that had to leave for newer ones, ever

import Model
internal import SQLite

final class QuarantineFile {
    private(set) var entries: UInt64 = 0
    private(set) var bytes: UInt64 = 0
    private(set) var evicted: UInt64 = 0
    private let database: Database
    private let insert: Statement
    private let removeOldest: Statement
    private let removeSame: Statement
    private let putEvicted: Statement

    private static let layout = "1"
    /// Code of the error whose message is the newer layout that was found.
    static let newer: Int32 = -1
    private static let schema = """
        CREATE TABLE quarantine(
            number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, source TEXT NOT NULL,
            reason TEXT NOT NULL, receivedAt INTEGER NOT NULL, readings INTEGER NOT NULL,
            size INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
        CREATE TABLE evicted(row INTEGER PRIMARY KEY, entries INTEGER NOT NULL);
        INSERT INTO evicted VALUES(1, 0);
        PRAGMA user_version=\(layout);
        """

    /// One entry on its way in.
    struct Entry {
        var kind: QuarantineEntry.Kind
        var source: String
        var reason: String
        var receivedAt: Timestamp
        var readings: UInt64
        var crc: Int64
        var bytes: [UInt8]
    }

    init(path: String) throws(SQLiteError) {
        let database = try Database(path: path, mode: .readWriteCreate)
        var settings = DurableSettings(locking: .exclusive)
        settings.walAutocheckpoint = 64
        settings.journalSizeLimit = 1 << 20
        try database.applyDurableSettings(settings)
        try database.execute("PRAGMA cache_size=-256")
        let found = try database.setting(pragma: "user_version")
        if found == "0" {
            try database.execute("BEGIN IMMEDIATE;" + QuarantineFile.schema + "COMMIT")
        } else if let number = Int(found), number > Int(QuarantineFile.layout) ?? 0 {
            throw SQLiteError(code: QuarantineFile.newer, what: path, message: found)
        } else if found != QuarantineFile.layout {
            throw SQLiteError(code: 26, what: path, message: "no quarantine of this layout")
        }
        insert = try database.prepare(
            "INSERT INTO quarantine(kind, source, reason, receivedAt, readings, size, crc, body)"
                + " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
        removeOldest = try database.prepare(
            "DELETE FROM quarantine WHERE number = (SELECT min(number) FROM quarantine)"
                + " RETURNING size")
        removeSame = try database.prepare(
            "DELETE FROM quarantine WHERE kind = ?1 AND source = ?2 AND number > ?3"
                + " RETURNING size")
        putEvicted = try database.prepare("UPDATE evicted SET entries = ?1")
        let sums = try database.prepare(
            "SELECT count(*), sum(size), (SELECT entries FROM evicted) FROM quarantine")
        _ = try sums.step()
        entries = UInt64(clamping: sums.int64(0))
        bytes = UInt64(clamping: sums.int64(1))
        evicted = UInt64(clamping: sums.int64(2))
        sums.reset()
        self.database = database
    }

    /// One transaction; durable when it returns.
    func add(
        _ added: [Entry], maximumEntries: Int, maximumBytes: Int
    ) throws(SQLiteError) {
        let before = (entries, bytes, evicted)
        do throws(SQLiteError) {
            try database.transaction { () throws(SQLiteError) in
                for entry in added { try put(entry) }
                while entries > UInt64(max(1, maximumEntries))
                    || (bytes > UInt64(max(0, maximumBytes)) && entries > 1)
                {
                    guard try step(removeOldest) else { break }
                    evicted &+= 1
                }
                if evicted != before.2 {
                    try putEvicted.bind(Int64(bitPattern: evicted), at: 1)
                    try putEvicted.run()
                }
            }
        } catch {
            (entries, bytes, evicted) = before
            throw error
        }
    }

    private func put(_ entry: Entry) throws(SQLiteError) {
        if entry.kind == .batch {
            // Of the last few: a batch is rejected again at once after a crash, or never.
            try removeSame.bind(entry.kind.rawValue, at: 1)
            try removeSame.bind(entry.source, at: 2)
            try removeSame.bind(database.lastInsertRowID - 64, at: 3)
            while try step(removeSame) {}
        }
        try insert.bind(entry.kind.rawValue, at: 1)
        try insert.bind(entry.source, at: 2)
        try insert.bind(entry.reason, at: 3)
        try insert.bind(entry.receivedAt.milliseconds, at: 4)
        try insert.bind(Int64(clamping: entry.readings), at: 5)
        try insert.bind(entry.bytes.count, at: 6)
        try insert.bind(entry.crc, at: 7)
        try insert.bind(entry.bytes, at: 8)
        try insert.run()
        entries &+= 1
        bytes &+= UInt64(entry.bytes.count)
    }

    /// Deletes what the statement finds; false when that is nothing.
    private func step(_ statement: borrowing Statement) throws(SQLiteError) -> Bool {
        var found = false
        while try statement.step() {
            found = true
            entries -= min(entries, 1)
            bytes -= min(bytes, UInt64(clamping: statement.int64(0)))
        }
        statement.reset()
        return found
    }

    /// False when there is no such entry.
    func remove(_ number: Int64) throws(SQLiteError) -> Bool {
        let before = (entries, bytes)
        do throws(SQLiteError) {
            let delete = try database.prepare(
                "DELETE FROM quarantine WHERE number = ?1 RETURNING size")
            try delete.bind(number, at: 1)
            return try step(delete)
        } catch {
            (entries, bytes) = before
            throw error
        }
    }

    /// Numbers and sources of what the store refused.
    func rejected() throws(SQLiteError) -> [(number: Int64, source: String)] {
        let select = try database.prepare(
            "SELECT number, source FROM quarantine"
                + " WHERE kind IN ('batch', 'reading') AND reason <> 'damaged'")
        var found: [(number: Int64, source: String)] = []
        while try select.step() { found.append((select.int64(0), select.text(1))) }
        return found
    }

    func list(after number: Int64, limit: Int) throws(SQLiteError) -> [QuarantineEntry] {
        let select = try database.prepare(
            "SELECT number, kind, source, reason, receivedAt, readings, crc, body"
                + " FROM quarantine WHERE number > ?1 ORDER BY number LIMIT ?2")
        try select.bind(number, at: 1)
        try select.bind(limit, at: 2)
        var entries: [QuarantineEntry] = []
        while try select.step() {
            let bytes = select.blob(7)
            entries.append(
                QuarantineEntry(
                    number: select.int64(0),
                    kind: QuarantineEntry.Kind(rawValue: select.text(1)) ?? .frame,
                    source: select.text(2), reason: select.text(3),
                    receivedAt: Timestamp(milliseconds: select.int64(4)),
                    readings: max(0, select.int(5)), bytes: bytes,
                    isIntact: select.int64(6) == Int64(CRC32.of(bytes))))
        }
        return entries
    }
}
