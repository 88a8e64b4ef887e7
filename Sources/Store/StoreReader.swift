// A store's folder opened for reading only, also while the store runs: query, counts, duplicates,
// devices. Owned by whoever opened it, on one queue. Everything one call answers is of one moment.

package import Model
package import SQLite
package import Uplink

package struct StoreCounts: Hashable, Sendable {
    /// Rows, counted one by one.
    package var readings: Int
    /// What the batches' rows say that they hold; differs from `readings` only by a bug.
    package var readingsInBatches: Int
    /// Distinct (gateway, incarnation, sequence).
    package var batches: Int
    package var gateways: Int
    package var devices: Int
    package var streams: Int
    /// Readings that are not settled yet.
    package var unsettled: Int
}

/// Readings that are there more often than once: equal in stream, observed, received, value (kind,
/// digits and exponent) and quality. Of n equal rows n − 1 are counted.
package struct StoreDuplicates: Hashable, Sendable {
    /// Copies in other batches: what a lost acknowledgement or a crash would make if idempotency
    /// had a hole. Must be 0.
    package var acrossBatches: Int
    /// Copies within one batch: a device that said the same twice in the same millisecond.
    package var withinBatches: Int

    package init(acrossBatches: Int, withinBatches: Int) {
        self.acrossBatches = acrossBatches
        self.withinBatches = withinBatches
    }

    package var total: Int { acrossBatches + withinBatches }
}

package struct StoredDevice: Hashable, Sendable {
    package var gateway: String
    package var identity: String
    package var format: String
    package var firstSeenAt: Timestamp
    package var streams: Int
    package var readings: Int
    /// nil without readings.
    package var lastObservedAt: Timestamp?
}

package final class StoreReader {
    private let database: Database

    package init(directory: String) throws(StoreError) {
        do throws(SQLiteError) {
            database = try Database(path: directory + "/" + Store.fileName, mode: .readOnly)
            database.setBusyTimeout(milliseconds: 5000)
        } catch { throw .sqlite(error) }
        try StoreTables.check(database)
    }

    /// Gives `body` the rows in the order (stream, observed, row), at most `filter.limit`.
    package func query(
        _ filter: QueryFilter, _ body: (StoredReading) -> Void
    ) throws(SQLiteError) {
        guard filter.limit > 0 else { return }
        try reading { () throws(SQLiteError) in
            var cursor = try StoreCursor(database, filter, after: nil, limit: filter.limit)
            var left = filter.limit
            while left > 0, let row = try cursor.next() {
                body(row)
                left -= 1
            }
        }
    }

    package func query(_ filter: QueryFilter) throws(SQLiteError) -> [StoredReading] {
        var rows: [StoredReading] = []
        try query(filter) { rows.append($0) }
        return rows
    }

    package func counts() throws(SQLiteError) -> StoreCounts {
        try reading { () throws(SQLiteError) in
            let unsettled = try number("SELECT count(*) FROM fresh_readings")
            return StoreCounts(
                readings: try number("SELECT count(*) FROM settled_readings") + unsettled,
                readingsInBatches: try number("SELECT coalesce(sum(readings), 0) FROM batches"),
                batches: try number("SELECT count(*) FROM batches"),
                gateways: try number("SELECT count(*) FROM gateways"),
                devices: try number("SELECT count(*) FROM devices"),
                streams: try number("SELECT count(*) FROM streams"), unsettled: unsettled)
        }
    }

    /// Sorts all readings once: seconds for millions.
    package func duplicates() throws(SQLiteError) -> StoreDuplicates {
        let columns = "stream, observed_at, delay, kind, exponent, quality, mantissa, batch"
        let rows = try database.prepare(
            "SELECT \(columns), typeof(mantissa) = 'real' FROM ("
                + "SELECT \(columns) FROM settled_readings UNION ALL "
                + "SELECT \(columns) FROM fresh_readings) ORDER BY 1, 2, 3, 4, 5, 6, 7, 8")
        var found = StoreDuplicates(acrossBatches: 0, withinBatches: 0)
        var last: [7 of Int64] = InlineArray(repeating: 0)
        var lastBatch: Int64 = 0
        var isFirst = true
        while try rows.step() {
            var isSame = !isFirst
            for column in 0..<7 {
                let isReal = column == 6 && rows.int64(8) == 1
                let value =
                    isReal
                    ? Int64(bitPattern: rows.double(6).bitPattern) : rows.int64(column)
                if value != last[column] {
                    isSame = false
                    last[column] = value
                }
            }
            let batch = rows.int64(7)
            if isSame {
                if batch == lastBatch { found.withinBatches += 1 } else { found.acrossBatches += 1 }
            }
            lastBatch = batch
            isFirst = false
        }
        return found
    }

    /// All devices with what they sent, by gateway and identity. Reads all readings once.
    package func devices() throws(SQLiteError) -> [StoredDevice] {
        let rows = try database.prepare(
            """
            WITH per_stream(stream, readings, last) AS (
                SELECT stream, count(*), max(observed_at) FROM settled_readings GROUP BY stream
                UNION ALL
                SELECT stream, count(*), max(observed_at) FROM fresh_readings GROUP BY stream),
            per_device(device, readings, last) AS (
                SELECT s.device, sum(p.readings), max(p.last)
                FROM per_stream p JOIN streams s ON s.id = p.stream GROUP BY s.device)
            SELECT g.name, d.identity, d.format, d.first_seen_at,
                (SELECT count(*) FROM streams s WHERE s.device = d.id), coalesce(p.readings, 0),
                p.last
            FROM devices d JOIN gateways g ON g.id = d.gateway
            LEFT JOIN per_device p ON p.device = d.id ORDER BY g.name, d.identity
            """)
        var all: [StoredDevice] = []
        while try rows.step() {
            all.append(
                StoredDevice(
                    gateway: rows.text(0), identity: rows.text(1), format: rows.text(2),
                    firstSeenAt: Timestamp(milliseconds: rows.int64(3)), streams: rows.int(4),
                    readings: rows.int(5),
                    lastObservedAt: rows.isNull(6)
                        ? nil : Timestamp(milliseconds: rows.int64(6))))
        }
        return all
    }

    private func number(_ sql: String) throws(SQLiteError) -> Int {
        let statement = try database.prepare(sql)
        return try statement.step() ? statement.int(0) : 0
    }

    /// One read transaction, so that a store at work does not move rows under the answer.
    private func reading<T>(_ body: () throws(SQLiteError) -> T) throws(SQLiteError) -> T {
        try database.execute("BEGIN")
        defer { try? database.execute("COMMIT") }
        return try body()
    }
}
