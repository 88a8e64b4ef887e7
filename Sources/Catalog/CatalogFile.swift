// The catalog on disk: catalog.db, a SQLite file for the gateway and for people with sqlite3 (while the
// daemon is stopped: it holds the file exclusively).
// Owned by the spool queue. WAL, synchronous=FULL: what `append` returned from survives a power cut.
// Order of writing: entries are appended before a batch that uses their numbers is stored; else a
// crash between the two could give the numbers to others.
//
//     devices   id, identity (as on the label; local ones `source:identity`), format (that it was first
//               seen with), first_seen_ms (UTC, since 1970), crc32
//     streams   id, device → devices.id, name, quantity, unit, priority
//               (0 alarm, 1 live, 2 backlog), crc32
//     catalog   a view that joins them, with times as text
//
// crc32 is over the row's other columns (`rowBytes`); a row that does not match is left out by `load`,
// and its device or stream gets a new number when it is seen again. Hence no UNIQUE: the damaged row may
// stay beside the new one. user_version is the version of this layout.

package import Model
package import SQLite

package enum CatalogFileError: Error, Hashable, Sendable {
    case sqlite(SQLiteError)
    /// Written by a later version of the program.
    case newerLayout(version: Int)

    /// What and why.
    package var description: String {
        switch self {
        case .sqlite(let error): error.description
        case .newerLayout(let version):
            "layout \(version) is newer than this program: install that version again"
        }
    }
}

package final class CatalogFile {
    package static let fileName = "catalog.db"
    static let layout = 1

    package struct Counts: Hashable, Sendable {
        package var devices: Int
        package var streams: Int
    }

    /// Everything that the file holds.
    package struct Contents: Sendable {
        /// Devices in order of their numbers, then streams in order of theirs.
        package var entries: [CatalogEntry] = []
        /// Rows left out because their checksum or a column is wrong.
        package var damagedRows = 0
        /// Highest numbers in the file, damaged rows included: they must not be given again.
        package var highestDevice: UInt32 = 0
        package var highestStream: UInt32 = 0
    }

    private let database: Database
    private let insertDevice: Statement
    private let insertStream: Statement
    private let devicesAfter: Statement
    private let streamsAfter: Statement

    /// Opens `directory`/catalog.db, made when it is missing; the directory must exist.
    package init(directory: String) throws(CatalogFileError) {
        let database = try CatalogFile.sqlite { () throws(SQLiteError) in
            try CatalogFile.open(directory)
        }
        let version = try CatalogFile.sqlite { () throws(SQLiteError) in
            try CatalogFile.makeTables(database)
        }
        guard version == CatalogFile.layout else { throw .newerLayout(version: version) }
        insertDevice = try CatalogFile.prepare(database, CatalogFile.insertDeviceSQL)
        insertStream = try CatalogFile.prepare(database, CatalogFile.insertStreamSQL)
        devicesAfter = try CatalogFile.prepare(
            database, CatalogFile.deviceColumns + " WHERE id > ?1 ORDER BY id")
        streamsAfter = try CatalogFile.prepare(
            database, CatalogFile.streamColumns + " WHERE id > ?1 ORDER BY id")
        self.database = database
    }

    /// All entries, for the table at start.
    package func load() throws(CatalogFileError) -> Contents {
        try CatalogFile.sqlite { () throws(SQLiteError) in
            var contents = Contents()
            try readDevices(after: 0, limit: .max, into: &contents)
            try readStreams(after: 0, limit: .max, into: &contents)
            return contents
        }
    }

    /// Stores entries in one transaction; all of them or none. Idempotent: an entry that is there is
    /// replaced by itself, a changed one takes its place.
    package func append(_ entries: [CatalogEntry]) throws(CatalogFileError) {
        guard !entries.isEmpty else { return }
        try CatalogFile.sqlite { () throws(SQLiteError) in
            try database.transaction { () throws(SQLiteError) in
                for entry in entries { try insert(entry) }
            }
        }
    }

    /// The same for what tables learnt, in its order.
    package func append(lots: [CatalogAdditions]) throws(CatalogFileError) {
        guard lots.contains(where: { !$0.isEmpty }) else { return }
        try CatalogFile.sqlite { () throws(SQLiteError) in
            try database.transaction { () throws(SQLiteError) in
                for lot in lots {
                    var entries = lot.makeIterator()
                    while let entry = entries.next() { try insert(entry) }
                }
            }
        }
    }

    /// At most `limit` entries for the uplink: devices above `afterDevice` in order, and only when none
    /// of them is left, streams above `afterStream`; so a device always precedes its streams.
    package func entries(
        afterDevice: UInt32, afterStream: UInt32, limit: Int
    ) throws(CatalogFileError) -> [CatalogEntry] {
        try CatalogFile.sqlite { () throws(SQLiteError) in
            var contents = Contents()
            try readDevices(after: afterDevice, limit: limit, into: &contents)
            try readStreams(after: afterStream, limit: limit, into: &contents)
            return contents.entries
        }
    }

    package func counts() throws(CatalogFileError) -> Counts {
        try CatalogFile.sqlite { () throws(SQLiteError) in
            let statement = try database.prepare(
                "SELECT (SELECT count(*) FROM devices), (SELECT count(*) FROM streams)")
            _ = try statement.step()
            return Counts(devices: statement.int(0), streams: statement.int(1))
        }
    }

    // MARK: Rows

    private func insert(_ entry: CatalogEntry) throws(SQLiteError) {
        switch entry {
        case .device(let device): try insert(device)
        case .stream(let stream): try insert(stream)
        }
    }

    private func insert(_ device: Device) throws(SQLiteError) {
        try insertDevice.bind(Int64(device.id.rawValue), at: 1)
        try insertDevice.bind(device.identity, at: 2)
        try insertDevice.bind(device.format, at: 3)
        try insertDevice.bind(device.firstSeenAt.milliseconds, at: 4)
        try insertDevice.bind(Int64(CRC32.of(CatalogFile.rowBytes(device))), at: 5)
        try insertDevice.run()
    }

    private func insert(_ stream: Stream) throws(SQLiteError) {
        try insertStream.bind(Int64(stream.id.rawValue), at: 1)
        try insertStream.bind(Int64(stream.device.rawValue), at: 2)
        try insertStream.bind(stream.name, at: 3)
        try insertStream.bind(stream.quantity, at: 4)
        try insertStream.bind(stream.unit, at: 5)
        try insertStream.bind(Int64(stream.priority.rawValue), at: 6)
        try insertStream.bind(Int64(CRC32.of(CatalogFile.rowBytes(stream))), at: 7)
        try insertStream.run()
    }

    private func readDevices(
        after: UInt32, limit: Int, into contents: inout Contents
    ) throws(SQLiteError) {
        try devicesAfter.bind(Int64(after), at: 1)
        defer { devicesAfter.reset() }
        while contents.entries.count < limit, try devicesAfter.step() {
            CatalogFile.device(devicesAfter, into: &contents)
        }
    }

    static func device(_ row: borrowing Statement, into contents: inout Contents) {
        guard let id = UInt32(exactly: row.int64(0)) else {
            contents.damagedRows += 1
            return
        }
        contents.highestDevice = max(contents.highestDevice, id)
        let device = Device(
            id: DeviceID(id), identity: row.text(1), format: row.text(2),
            firstSeenAt: Timestamp(milliseconds: row.int64(3)))
        if row.int64(4) == Int64(CRC32.of(CatalogFile.rowBytes(device))) {
            contents.entries.append(.device(device))
        } else {
            contents.damagedRows += 1
        }
    }

    private func readStreams(
        after: UInt32, limit: Int, into contents: inout Contents
    ) throws(SQLiteError) {
        try streamsAfter.bind(Int64(after), at: 1)
        defer { streamsAfter.reset() }
        while contents.entries.count < limit, try streamsAfter.step() {
            CatalogFile.stream(streamsAfter, into: &contents)
        }
    }

    static func stream(_ row: borrowing Statement, into contents: inout Contents) {
        guard let id = UInt32(exactly: row.int64(0)) else {
            contents.damagedRows += 1
            return
        }
        contents.highestStream = max(contents.highestStream, id)
        guard let device = UInt32(exactly: row.int64(1)),
            let priority = UInt8(exactly: row.int64(5)).flatMap({ Priority(rawValue: $0) })
        else {
            contents.damagedRows += 1
            return
        }
        let stream = Stream(
            id: StreamID(id), device: DeviceID(device), name: row.text(2),
            quantity: row.text(3), unit: row.text(4), priority: priority)
        if row.int64(6) == Int64(CRC32.of(CatalogFile.rowBytes(stream))) {
            contents.entries.append(.stream(stream))
        } else {
            contents.damagedRows += 1
        }
    }

    /// u32 id, then identity and format each with its length as a varint, then i64 first_seen_ms.
    private static func rowBytes(_ device: Device) -> [UInt8] {
        var writer = ByteWriter(capacity: 96)
        writer.u32(device.id.rawValue)
        writer.text(device.identity)
        writer.text(device.format)
        writer.i64(device.firstSeenAt.milliseconds)
        return writer.bytes
    }

    /// u32 id, u32 device, then name, quantity and unit each with its length as a varint, u8 priority.
    private static func rowBytes(_ stream: Stream) -> [UInt8] {
        var writer = ByteWriter(capacity: 96)
        writer.u32(stream.id.rawValue)
        writer.u32(stream.device.rawValue)
        writer.text(stream.name)
        writer.text(stream.quantity)
        writer.text(stream.unit)
        writer.u8(stream.priority.rawValue)
        return writer.bytes
    }

    // MARK: SQL

    private static func open(_ directory: String) throws(SQLiteError) -> Database {
        let database = try Database(path: directory + "/" + fileName, mode: .readWriteCreate)
        var settings = DurableSettings(locking: .exclusive)
        // Rows come in order of their numbers: the ends of the trees suffice.
        settings.cacheKilobytes = 256
        try database.applyDurableSettings(settings)
        return database
    }

    /// Makes the tables in an empty file; the version of the layout that the file has then.
    private static func makeTables(_ database: borrowing Database) throws(SQLiteError) -> Int {
        let version = Int(try database.setting(pragma: "user_version")) ?? 0
        guard version == 0 else { return version }
        try database.execute("BEGIN;" + tables + "COMMIT")
        return layout
    }

    private static func prepare(
        _ database: borrowing Database, _ sql: String
    ) throws(CatalogFileError) -> Statement {
        do throws(SQLiteError) { return try database.prepare(sql) } catch { throw .sqlite(error) }
    }

    private static func sqlite<T: ~Copyable>(
        _ body: () throws(SQLiteError) -> T
    ) throws(CatalogFileError) -> T {
        do throws(SQLiteError) { return try body() } catch { throw .sqlite(error) }
    }

    private static let tables = """
        CREATE TABLE devices(
            id INTEGER PRIMARY KEY,
            identity TEXT NOT NULL,
            format TEXT NOT NULL,
            first_seen_ms INTEGER NOT NULL,
            crc32 INTEGER NOT NULL) STRICT;
        CREATE TABLE streams(
            id INTEGER PRIMARY KEY,
            device INTEGER NOT NULL,
            name TEXT NOT NULL,
            quantity TEXT NOT NULL,
            unit TEXT NOT NULL,
            priority INTEGER NOT NULL,
            crc32 INTEGER NOT NULL) STRICT;
        CREATE INDEX devices_by_identity ON devices(identity);
        CREATE INDEX streams_by_name ON streams(device, name);
        CREATE VIEW catalog AS
            SELECT s.id AS stream, d.identity, s.name, s.quantity, s.unit,
                CASE s.priority WHEN 0 THEN 'alarm' WHEN 1 THEN 'live' ELSE 'backlog' END
                    AS priority,
                d.format, datetime(d.first_seen_ms / 1000, 'unixepoch') AS first_seen_utc
            FROM streams s JOIN devices d ON d.id = s.device;
        PRAGMA user_version = \(layout);
        """

    private static let deviceColumns =
        "SELECT id, identity, format, first_seen_ms, crc32 FROM devices"
    private static let streamColumns =
        "SELECT id, device, name, quantity, unit, priority, crc32 FROM streams"
    static let deviceSQL = deviceColumns + " WHERE id = ?1"
    static let streamSQL = streamColumns + " WHERE id = ?1"

    private static let insertDeviceSQL = """
        INSERT INTO devices(id, identity, format, first_seen_ms, crc32) VALUES(?1, ?2, ?3, ?4, ?5)
        ON CONFLICT(id) DO UPDATE SET identity = excluded.identity, format = excluded.format,
            first_seen_ms = excluded.first_seen_ms, crc32 = excluded.crc32
        """

    private static let insertStreamSQL = """
        INSERT INTO streams(id, device, name, quantity, unit, priority, crc32)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT(id) DO UPDATE SET device = excluded.device, name = excluded.name,
            quantity = excluded.quantity, unit = excluded.unit, priority = excluded.priority,
            crc32 = excluded.crc32
        """
}
