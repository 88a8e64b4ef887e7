// A damaged store file: what can be read of it goes into a new file, the damaged one is kept as
// `store.sqlite.bad-<n>`. Called by Store's init, before anything else has the file open; on its queue.
//
// Rows are copied by ranges of their keys; a range that cannot be read is halved, breadth first, so that
// one ruined page costs its own rows. Numbers of devices and streams are not copied: gateways then define
// all of theirs again and find the rows that survived by name. A batch that lost all of its readings is
// forgotten, so that it is taken when it comes again. What refers to a lost row gets a stand-in, so that
// every reading that is left can be found.
//
// A crash at any moment leaves the old file, or the new one complete beside it (`.new`, marked by its
// version at the end), or the new one in its place.

internal import SQLite

/// What a damaged file cost.
package struct StoreSalvageReport: Hashable, Sendable {
    /// What SQLite said.
    package var damage: String
    /// Where the damaged file is now.
    package var file: String
    package var readings: Int
    /// nil: nothing could be read, not even how many there were. Those that retention had removed from
    /// batches of which others are left are among them.
    package var readingsLost: Int?
    /// Batches of which nothing was left: taken when they come again.
    package var batchesForgotten: Int

    package var description: String {
        let lost = readingsLost.map { "\($0) readings lost" } ?? "nothing of it can be read"
        return "store file damaged (\(damage)): \(readings) readings kept, \(lost); "
            + "the damaged file is \(file)"
    }
}

struct StoreSalvage {
    private let files: StoreFiles
    private let damage: String

    /// Copies, then puts the new file into the old one's place. Throws what the device says; the damaged
    /// file is then where it was.
    static func run(
        _ files: StoreFiles, damage: SQLiteError
    ) throws(SQLiteError) -> StoreSalvageReport {
        let salvage = StoreSalvage(files: files, damage: damage.message)
        files.remove(files.new)
        var report = try salvage.copy()
        do throws(SQLiteError) { report.file = try files.exchange() } catch {
            files.remove(files.new)
            throw error
        }
        return report
    }

    private func copy() throws(SQLiteError) -> StoreSalvageReport {
        let database = try Database(path: files.new, mode: .readWriteCreate)
        var durable = DurableSettings(locking: .normal)
        durable.cacheKilobytes = 16_384
        try database.applyDurableSettings(durable)
        // The damaged file and its log stay as they are.
        database.setNoCheckpointOnClose(true)
        try database.execute(StoreTables.create)
        var report = StoreSalvageReport(
            damage: damage, file: "", readings: 0, readingsLost: nil, batchesForgotten: 0)
        // The whole is made durable at the end.
        try database.execute("PRAGMA synchronous=OFF")
        if try attach(database) {
            let pages = files.size(files.main) / 4096
            for table in Table.all { try table.copy(database, pages: pages) }
            try database.transaction { () throws(SQLiteError) in
                try database.execute(StoreSalvage.tidy)
                report.readings = try count(
                    database,
                    "SELECT (SELECT count(*) FROM fresh_readings)"
                        + " + (SELECT count(*) FROM settled_readings)")
                try StandIns.make(in: database)
                report.readingsLost = max(0, try expected(database) - report.readings)
                let forgotten = try forgetEmpty(database)
                try restoreRuns(database, without: forgotten)
                report.batchesForgotten = forgotten.count
            }
            try database.execute("DETACH old")
        }
        try database.execute("PRAGMA synchronous=FULL")
        try database.execute(StoreTables.mark)
        guard try database.checkpoint() else {
            throw SQLiteError(code: 5, what: "salvage", message: "the new file is being read")
        }
        return report
    }

    /// Rows that a page of another table brought, and rows that were moved and are in both tables.
    private static let tidy = """
        DELETE FROM fresh_readings WHERE kind NOT BETWEEN 0 AND 4
            OR quality NOT BETWEEN 0 AND 65535 OR exponent NOT BETWEEN -128 AND 127
            OR typeof(observed_at) <> 'integer' OR id IN (SELECT id FROM settled_readings);
        DELETE FROM settled_readings WHERE kind NOT BETWEEN 0 AND 4
            OR quality NOT BETWEEN 0 AND 65535 OR exponent NOT BETWEEN -128 AND 127
            OR typeof(observed_at) <> 'integer';
        DELETE FROM devices WHERE typeof(first_seen_at) <> 'integer';
        DELETE FROM streams WHERE typeof(priority) <> 'integer';
        DELETE FROM batches WHERE typeof(first_row) <> 'integer' OR readings < 0
        """

    /// False when nothing of the old file can be read.
    private func attach(_ database: borrowing Database) throws(SQLiteError) -> Bool {
        do throws(SQLiteError) {
            let attach = try database.prepare("ATTACH ?1 AS old")
            try attach.bind(files.main, at: 1)
            try attach.run()
            _ = try count(database, "SELECT count(*) FROM old.sqlite_master")
            return true
        } catch {
            guard StoreSalvage.isUnreadable(error) else { throw error }
            return false
        }
    }

    /// Readings that there were: row numbers have no gaps from the oldest batch that is left.
    private func expected(_ database: borrowing Database) throws(SQLiteError) -> Int {
        let (first, last) = (
            "SELECT coalesce(min(first_row), 1) FROM batches",
            """
            SELECT max(coalesce((SELECT max(first_row + readings) FROM batches), 1),
                1 + coalesce((SELECT max(id) FROM fresh_readings), 0),
                1 + coalesce((SELECT max(id) FROM settled_readings), 0))
            """
        )
        return max(0, try count(database, last) - (try count(database, first)))
    }

    /// Sequences of batches without a reading, and without their rows from now on.
    private func forgetEmpty(
        _ database: borrowing Database
    ) throws(SQLiteError) -> Forgotten {
        try database.execute(
            """
            CREATE TEMP TABLE present AS SELECT batch FROM fresh_readings
                UNION SELECT batch FROM settled_readings;
            CREATE TEMP TABLE gone AS SELECT id, incarnation, sequence FROM batches
                WHERE readings > 0 AND id NOT IN (SELECT batch FROM present)
            """)
        let rows = try database.prepare("SELECT incarnation, sequence FROM gone")
        var all: [Int64: Set<UInt64>] = [:]
        while try rows.step() {
            all[rows.int64(0), default: []].insert(UInt64(bitPattern: rows.int64(1)))
        }
        // The newest stays: numbers go on behind it.
        try database.execute(
            """
            DELETE FROM batches WHERE id IN (SELECT id FROM gone)
                AND id < (SELECT max(id) FROM batches);
            UPDATE batches SET sequence = -1 - id WHERE id IN (SELECT id FROM gone)
            """)
        return Forgotten(sequences: all)
    }

    /// What is committed: the runs that could be read, and the batches that are there.
    private func restoreRuns(
        _ database: borrowing Database, without forgotten: Forgotten
    ) throws(SQLiteError) {
        var all: [Int64: [ClosedRange<UInt64>]] = [:]
        let runs = try database.prepare(
            "SELECT incarnation, first, last FROM committed UNION ALL"
                + " SELECT incarnation, sequence, sequence FROM batches WHERE sequence > 0")
        while try runs.step() {
            let (first, last) = (
                UInt64(bitPattern: runs.int64(1)), UInt64(bitPattern: runs.int64(2))
            )
            guard first <= last else { continue }
            all[runs.int64(0), default: []].append(first...last)
        }
        try database.execute("DELETE FROM committed")
        let insert = try database.prepare("INSERT INTO committed VALUES(?, ?, ?)")
        for (incarnation, ranges) in all {
            for run in SequenceSet.runs(ranges, without: forgotten.sequences[incarnation] ?? []) {
                try insert.bind(incarnation, at: 1)
                try insert.bind(Int64(bitPattern: run.lowerBound), at: 2)
                try insert.bind(Int64(bitPattern: run.upperBound), at: 3)
                try insert.run()
            }
        }
    }

    private func count(_ database: borrowing Database, _ sql: String) throws(SQLiteError) -> Int {
        let statement = try database.prepare(sql)
        return try statement.step() ? statement.int(0) : 0
    }

    /// Damage, or a sector that the device cannot read any more; not what concerns the new file.
    static func isUnreadable(_ error: SQLiteError) -> Bool {
        // SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_CORRUPTFS; a table that is not there.
        error.isDamaged || [266, 522, 8458].contains(error.code) || error.primaryCode == 1
    }
}

/// Sequences by the row number of their incarnation.
private struct Forgotten {
    var sequences: [Int64: Set<UInt64>]
    var count: Int { sequences.values.reduce(0) { $0 + $1.count } }
}

extension SequenceSet {
    /// Any ranges as runs that rise and never touch, without some sequences.
    static func runs(
        _ ranges: [ClosedRange<UInt64>], without removed: Set<UInt64>
    ) -> [ClosedRange<UInt64>] {
        var merged: [ClosedRange<UInt64>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard let last = merged.last,
                last.upperBound == .max
                    || range.lowerBound <= last.upperBound + 1
            else {
                merged.append(range)
                continue
            }
            merged[merged.count - 1] =
                last.lowerBound...Swift.max(last.upperBound, range.upperBound)
        }
        for sequence in removed.sorted() {
            guard let place = merged.firstIndex(where: { $0.contains(sequence) }) else { continue }
            let run = merged.remove(at: place)
            if sequence < run.upperBound { merged.insert(sequence + 1...run.upperBound, at: place) }
            if sequence > run.lowerBound { merged.insert(run.lowerBound...sequence - 1, at: place) }
        }
        return merged
    }
}

/// A table that is copied, with the one or two columns that order it.
private struct Table {
    let name: String
    let key: String
    var second: String?

    static let all = [
        Table(name: "gateways", key: "id"), Table(name: "incarnations", key: "id"),
        Table(name: "committed", key: "incarnation", second: "first"),
        Table(name: "devices", key: "id"), Table(name: "streams", key: "id"),
        Table(name: "batches", key: "id"), Table(name: "fresh_readings", key: "id"),
        Table(name: "settled_readings", key: "stream", second: "observed_at"),
    ]

    /// Ranges of a table that are tried, beside one for each page of the file: a second or two. A ruined
    /// page takes some 200; beyond that ranges that cannot be read are given up as they are.
    private static let tries = 10_000

    private static let everything = Int64.min...Int64.max

    private struct Area {
        var first: ClosedRange<Int64>
        /// nil: all.
        var second: ClosedRange<Int64>?
    }

    /// Empty when nothing is left to halve.
    private func halves(_ area: Area, _ database: borrowing Database) -> [Area] {
        if area.first.lowerBound < area.first.upperBound {
            return Table.halves(area.first).map { Area(first: $0, second: nil) }
        }
        guard let second else { return [] }
        let row = "WHERE \(key) = \(area.first.lowerBound)"
        let whole =
            area.second ?? bounds("\(second)", row, database) ?? Table.everything
        guard whole.lowerBound < whole.upperBound else { return [] }
        return Table.halves(whole).map { Area(first: area.first, second: $0) }
    }

    private static func halves(_ range: ClosedRange<Int64>) -> [ClosedRange<Int64>] {
        let (a, b) = (range.lowerBound, range.upperBound)
        // The mean without an overflow, towards the lower bound.
        let middle = (a & b) + ((a ^ b) >> 1)
        return [a...middle, middle + 1...b]
    }

    /// Least and greatest of a column, so that halving begins near the rows; nil when both ends cannot be
    /// read.
    private func bounds(
        _ column: String, _ rows: String, _ database: borrowing Database
    ) -> ClosedRange<Int64>? {
        func end(_ function: String) -> Int64? {
            guard
                let statement = try? database.prepare(
                    "SELECT \(function)(\(column)) FROM old.\(name) \(rows)"),
                (try? statement.step()) == true, !statement.isNull(0)
            else { return nil }
            return statement.int64(0)
        }
        guard let first = end("min"), let last = end("max"), first <= last else { return nil }
        return first...last
    }

    /// `pages`: of the damaged file.
    func copy(_ database: borrowing Database, pages: Int) throws(SQLiteError) {
        let most = Table.tries + pages
        let limit = second.map { " AND \($0) BETWEEN ?3 AND ?4" } ?? ""
        let insert: Statement
        do throws(SQLiteError) {
            insert = try database.prepare(
                "INSERT OR IGNORE INTO main.\(name) SELECT * FROM old.\(name)"
                    + " WHERE \(key) BETWEEN ?1 AND ?2\(limit)")
        } catch {
            guard StoreSalvage.isUnreadable(error) else { throw error }
            return
        }
        let middle = bounds(key, "", database) ?? 0...0
        var areas = [Area(first: middle, second: nil)]
        // What damage hides from the bounds.
        if middle.upperBound < 1 << 62 {
            areas.append(Area(first: middle.upperBound + 1...(1 << 62), second: nil))
        }
        if middle.lowerBound > 0 {
            areas.append(Area(first: 0...middle.lowerBound - 1, second: nil))
        }
        var next = 0
        while next < areas.count {
            let area = areas[next]
            next += 1
            do throws(SQLiteError) {
                let times = area.second ?? Table.everything
                try insert.bind(area.first.lowerBound, at: 1)
                try insert.bind(area.first.upperBound, at: 2)
                if second != nil {
                    try insert.bind(times.lowerBound, at: 3)
                    try insert.bind(times.upperBound, at: 4)
                }
                try insert.run()
            } catch {
                guard StoreSalvage.isUnreadable(error) else { throw error }
                if next < most { areas += halves(area, database) }
            }
        }
    }
}

/// Rows that others refer to and that were lost.
private enum StandIns {
    static func make(in database: borrowing Database) throws(SQLiteError) {
        // From the readings upwards: each kind may need one of the next.
        try database.execute(
            """
            CREATE TEMP TABLE lost AS SELECT
                1 + (SELECT coalesce(max(id), 0) FROM gateways) AS gateway,
                1 + (SELECT coalesce(max(id), 0) FROM devices) AS device,
                1 + (SELECT coalesce(max(id), 0) FROM incarnations) AS incarnation;
            CREATE TEMP TABLE held AS
                SELECT id, batch, stream, observed_at, delay FROM fresh_readings UNION ALL
                SELECT id, batch, stream, observed_at, delay FROM settled_readings;
            INSERT INTO streams SELECT DISTINCT stream, (SELECT device FROM lost),
                'stream-' || stream, '', '', 1 FROM held
                WHERE stream NOT IN (SELECT id FROM streams);
            INSERT INTO devices SELECT DISTINCT device, (SELECT gateway FROM lost),
                'salvaged-' || device, '', 0 FROM streams
                WHERE device NOT IN (SELECT id FROM devices);
            INSERT INTO batches SELECT batch, (SELECT incarnation FROM lost), batch,
                min(observed_at), 0, 0, 1, count(*), 0, 0, min(observed_at), max(observed_at),
                max(observed_at + delay), min(id) FROM held
                WHERE batch NOT IN (SELECT id FROM batches) GROUP BY batch;
            INSERT INTO incarnations SELECT DISTINCT incarnation, (SELECT gateway FROM lost),
                CAST('salvaged-' || incarnation AS BLOB), 0 FROM batches
                WHERE incarnation NOT IN (SELECT id FROM incarnations);
            INSERT INTO gateways SELECT DISTINCT gateway, 'salvaged-' || gateway, '', 0, 0
                FROM (SELECT gateway FROM devices UNION SELECT gateway FROM incarnations)
                WHERE gateway NOT IN (SELECT id FROM gateways);
            DROP TABLE held; DROP TABLE lost
            """)
    }
}
