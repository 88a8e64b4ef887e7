// Finding readings: settled ones stream by stream in their order, fresh ones sorted once for each
// cursor, merged by (stream, observed, row). Whoever asks over the network gets pages; a reader of
// the file walks one cursor, or the fresh rows would be sorted again for each page.

import Model
internal import SQLite
import Uplink

/// Walks the rows that match a filter, in order. Holds one row of each kind.
struct StoreCursor: ~Copyable {
    private let fresh: Statement
    private let streams: Statement
    private let settled: Statement
    private let names: StoreQuery.Names
    private let after: RowPosition?
    private let from: Int64
    private let to: Int64
    private var nextFresh: StoreQuery.Raw?
    private var nextSettled: StoreQuery.Raw?
    private var isInStream = false
    private var isBegun = false

    /// From the row behind `after`; no more than `limit` rows will be asked for.
    init(
        _ database: borrowing Database, _ filter: QueryFilter, after: RowPosition?, limit: Int
    ) throws(SQLiteError) {
        let names = try StoreQuery.Names(database)
        let fresh = try StoreQuery.freshRows(database, filter, after, limit)
        let streams = try StoreQuery.matchingStreams(database, filter, from: after?.stream ?? 0)
        let settled = try database.prepare(
            "SELECT \(StoreQuery.columns) FROM settled_readings r WHERE r.stream = ?1"
                + " AND r.observed_at >= ?2 AND r.observed_at < ?3"
                + " AND (r.observed_at, r.id) > (?4, ?5) ORDER BY r.observed_at, r.id")
        self.after = after
        from = filter.from?.milliseconds ?? .min
        to = filter.to?.milliseconds ?? .max
        self.names = names
        self.fresh = fresh
        self.streams = streams
        self.settled = settled
    }

    /// nil behind the last row.
    mutating func next() throws(SQLiteError) -> StoredReading? {
        if !isBegun {
            isBegun = true
            nextFresh = try fresh.step() ? StoreQuery.Raw(fresh) : nil
            nextSettled = try stepSettled()
        }
        if let row = nextFresh, nextSettled.map({ row.position < $0.position }) ?? true {
            nextFresh = try fresh.step() ? StoreQuery.Raw(fresh) : nil
            return try names.reading(row)
        }
        guard let row = nextSettled else { return nil }
        nextSettled = try stepSettled()
        return try names.reading(row)
    }

    private mutating func stepSettled() throws(SQLiteError) -> StoreQuery.Raw? {
        while true {
            if isInStream {
                if try settled.step() { return StoreQuery.Raw(settled) }
                settled.reset()
                isInStream = false
            }
            guard try streams.step() else { return nil }
            let stream = streams.int64(0)
            let isFirst = after.map { Int64(bitPattern: $0.stream) == stream } ?? false
            let last = isFirst ? after : nil
            try settled.bind(stream, at: 1)
            try settled.bind(from, at: 2)
            try settled.bind(to, at: 3)
            try settled.bind(last?.observedAt.milliseconds ?? .min, at: 4)
            try settled.bind(last.map { Int64(bitPattern: $0.row) } ?? .min, at: 5)
            isInStream = true
        }
    }
}

enum StoreQuery {
    /// At most `limit` rows after `after`. `hasMore`: the page is full, ask on after its last row.
    static func page(
        _ database: borrowing Database, _ filter: QueryFilter, after: RowPosition?, limit: Int
    ) throws(SQLiteError) -> (rows: [StoredReading], hasMore: Bool) {
        guard limit > 0 else { return ([], false) }
        var cursor = try StoreCursor(database, filter, after: after, limit: limit)
        var rows: [StoredReading] = []
        while rows.count < limit, let row = try cursor.next() { rows.append(row) }
        return (rows, rows.count >= limit)
    }

    fileprivate static let columns = """
        r.stream, r.observed_at, r.id, r.batch, r.delay, r.mantissa, r.exponent, r.kind, r.quality,
        typeof(r.mantissa) = 'integer'
        """

    /// A row before its names are looked up.
    fileprivate struct Raw {
        var position: RowPosition
        var batch: Int64
        var receivedAt: Timestamp
        var value: Value
        var quality: Quality

        init(_ row: borrowing Statement) {
            let observed = row.int64(1)
            position = RowPosition(
                stream: UInt64(bitPattern: row.int64(0)),
                observedAt: Timestamp(milliseconds: observed), row: UInt64(bitPattern: row.int64(2))
            )
            batch = row.int64(3)
            receivedAt = Timestamp(milliseconds: observed &+ row.int64(4))
            let kind = Value.Kind(rawValue: UInt8(truncatingIfNeeded: row.int64(7))) ?? .none
            let isBits = kind != .double || row.int64(9) == 1
            value = Value(
                kind: kind, exponent: Int8(truncatingIfNeeded: row.int64(6)),
                bits: isBits ? UInt64(bitPattern: row.int64(5)) : row.double(5).bitPattern)
            quality = Quality(rawValue: UInt16(truncatingIfNeeded: row.int64(8)))
        }
    }

    private static func condition(_ filter: QueryFilter) -> String {
        var all = "s.id >= ?1"
        if filter.gateway != nil { all += " AND g.name = ?2" }
        if filter.device != nil { all += " AND d.identity = ?3" }
        if filter.stream != nil { all += " AND s.name = ?4" }
        return "streams s JOIN devices d ON d.id = s.device JOIN gateways g ON g.id = d.gateway"
            + " WHERE " + all
    }

    private static func bind(
        _ filter: QueryFilter, from stream: UInt64, to statement: borrowing Statement
    ) throws(SQLiteError) {
        try statement.bind(Int64(clamping: stream), at: 1)
        if let gateway = filter.gateway { try statement.bind(gateway, at: 2) }
        if let device = filter.device { try statement.bind(device, at: 3) }
        if let name = filter.stream { try statement.bind(name, at: 4) }
    }

    fileprivate static func matchingStreams(
        _ database: borrowing Database, _ filter: QueryFilter, from stream: UInt64
    ) throws(SQLiteError) -> Statement {
        let statement = try database.prepare(
            "SELECT s.id FROM \(condition(filter)) ORDER BY s.id")
        try bind(filter, from: stream, to: statement)
        return statement
    }

    /// The first `limit` matching fresh rows in order: one scan of what is not settled.
    fileprivate static func freshRows(
        _ database: borrowing Database, _ filter: QueryFilter, _ after: RowPosition?, _ limit: Int
    ) throws(SQLiteError) -> Statement {
        var text = "SELECT \(columns) FROM fresh_readings r WHERE r.observed_at >= ?5"
        text += " AND r.observed_at < ?6 AND (r.stream, r.observed_at, r.id) > (?7, ?8, ?9)"
        text += " AND r.stream IN (SELECT s.id FROM \(condition(filter)))"
        text += " ORDER BY r.stream, r.observed_at, r.id LIMIT ?10"
        let statement = try database.prepare(text)
        try bind(filter, from: after?.stream ?? 0, to: statement)
        try statement.bind(filter.from?.milliseconds ?? .min, at: 5)
        try statement.bind(filter.to?.milliseconds ?? .max, at: 6)
        try statement.bind(after.map { Int64(bitPattern: $0.stream) } ?? .min, at: 7)
        try statement.bind(after?.observedAt.milliseconds ?? .min, at: 8)
        try statement.bind(after.map { Int64(bitPattern: $0.row) } ?? .min, at: 9)
        try statement.bind(limit, at: 10)
        return statement
    }

    /// Looks names up once a stream and once a batch.
    fileprivate final class Names {
        private let findStream: Statement
        private let findBatch: Statement
        private var stream: UInt64 = 0
        private var named: StoredReading
        private var batches: [Int64: (sequence: UInt64, revision: UInt32)] = [:]

        init(_ database: borrowing Database) throws(SQLiteError) {
            findStream = try database.prepare(
                """
                SELECT g.name, d.identity, s.name, s.quantity, s.unit FROM streams s
                JOIN devices d ON d.id = s.device JOIN gateways g ON g.id = d.gateway
                WHERE s.id = ?
                """)
            findBatch = try database.prepare("SELECT sequence, revision FROM batches WHERE id = ?")
            named = StoredReading(
                gateway: "", device: "", stream: "", quantity: "", unit: "",
                position: RowPosition(
                    stream: 0, observedAt: Timestamp(milliseconds: 0), row: 0),
                receivedAt: Timestamp(milliseconds: 0), value: .none, quality: [],
                batchSequence: 0, revision: 0)
        }

        func reading(_ raw: Raw) throws(SQLiteError) -> StoredReading {
            if raw.position.stream != stream || stream == 0 {
                stream = raw.position.stream
                try findStream.bind(Int64(bitPattern: stream), at: 1)
                if try findStream.step() {
                    named.gateway = findStream.text(0)
                    named.device = findStream.text(1)
                    named.stream = findStream.text(2)
                    named.quantity = findStream.text(3)
                    named.unit = findStream.text(4)
                }
                findStream.reset()
            }
            named.position = raw.position
            named.receivedAt = raw.receivedAt
            named.value = raw.value
            named.quality = raw.quality
            (named.batchSequence, named.revision) = try batch(raw.batch)
            return named
        }

        private func batch(_ id: Int64) throws(SQLiteError) -> (UInt64, UInt32) {
            if let found = batches[id] { return found }
            try findBatch.bind(id, at: 1)
            defer { findBatch.reset() }
            guard try findBatch.step() else { return (0, 0) }
            let found = (
                UInt64(bitPattern: findBatch.int64(0)),
                UInt32(truncatingIfNeeded: findBatch.int64(1))
            )
            batches[id] = found
            return found
        }
    }
}
