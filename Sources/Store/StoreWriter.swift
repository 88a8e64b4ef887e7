// The store's statements: definitions, batches, settling. Owned by Store, called within its
// transactions on its queue. Throws what SQLite throws; the caller rolls back.

import Batches
import Model
internal import SQLite
import Uplink

final class StoreWriter {
    private let insertReading: Statement
    private let insertBatch: Statement
    private let findBatch: Statement
    private let deleteRun: Statement
    private let insertRun: Statement
    private let firstFresh: Statement
    private let lastFresh: Statement
    private let moveFresh: Statement
    private let deleteFresh: Statement
    private var nextBatch: Int64 = 1
    private var nextRow: Int64 = 1

    init(_ database: borrowing Database) throws(SQLiteError) {
        insertReading = try database.prepare(
            """
            INSERT INTO fresh_readings(id, batch, stream, observed_at, delay, mantissa, exponent,
                kind, quality) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)
            """)
        insertBatch = try database.prepare(
            "INSERT INTO batches VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        findBatch = try database.prepare(
            "SELECT fingerprint FROM batches WHERE incarnation = ? AND sequence = ?")
        deleteRun = try database.prepare(
            "DELETE FROM committed WHERE incarnation = ? AND first = ?")
        insertRun = try database.prepare("INSERT INTO committed VALUES(?, ?, ?)")
        firstFresh = try database.prepare("SELECT min(id) FROM fresh_readings")
        lastFresh = try database.prepare("SELECT count(*) FROM fresh_readings")
        moveFresh = try database.prepare(
            """
            INSERT INTO settled_readings(stream, observed_at, id, batch, delay, mantissa, exponent,
                kind, quality)
            SELECT stream, observed_at, id, batch, delay, mantissa, exponent, kind, quality
            FROM fresh_readings WHERE id < ? ORDER BY stream, observed_at, id
            """)
        deleteFresh = try database.prepare("DELETE FROM fresh_readings WHERE id < ?")
    }

    /// Where numbers go on; once a transaction, cheap (the last batch tells both).
    func readCounters(_ database: borrowing Database) throws(SQLiteError) {
        let last = try database.prepare(
            "SELECT id, first_row + readings FROM batches ORDER BY id DESC LIMIT 1")
        let found = try last.step()
        nextBatch = found ? last.int64(0) + 1 : 1
        nextRow = found ? last.int64(1) : 1
    }

    // MARK: State

    /// Reads all of an incarnation's state.
    static func load(
        _ state: IncarnationState, from database: borrowing Database
    ) throws(SQLiteError) {
        state.id = nil
        state.committed = SequenceSet()
        state.devices = NumberTable()
        state.streams = NumberTable()
        let gateway = try database.prepare("SELECT id FROM gateways WHERE name = ?")
        try gateway.bind(state.gateway, at: 1)
        state.gatewayID = try gateway.step() ? gateway.int64(0) : nil
        guard let gatewayID = state.gatewayID else { return }
        let incarnation = try database.prepare(
            "SELECT id FROM incarnations WHERE gateway = ? AND incarnation = ?")
        try incarnation.bind(gatewayID, at: 1)
        try incarnation.bind(state.incarnation.bytes, at: 2)
        guard try incarnation.step() else { return }
        let id = incarnation.int64(0)
        state.id = id
        let runs = try database.prepare(
            "SELECT first, last FROM committed WHERE incarnation = ? ORDER BY first")
        try runs.bind(id, at: 1)
        var all: [ClosedRange<UInt64>] = []
        while try runs.step() {
            let first = UInt64(bitPattern: runs.int64(0))
            all.append(first...max(first, UInt64(bitPattern: runs.int64(1))))
        }
        guard let set = SequenceSet(runs: all) else {
            throw SQLiteError(code: 11, what: "committed", message: "runs of sequences overlap")
        }
        state.committed = set
        state.devices = try numbers(database, "device", id)
        state.streams = try numbers(database, "stream", id)
    }

    private static func numbers(
        _ database: borrowing Database, _ kind: String, _ id: Int64
    ) throws(SQLiteError) -> NumberTable {
        let rows = try database.prepare(
            "SELECT number, \(kind) FROM \(kind)_numbers WHERE incarnation = ?")
        try rows.bind(id, at: 1)
        var all = NumberTable()
        while try rows.step() {
            all.set(rows.int64(1), for: UInt32(truncatingIfNeeded: rows.int64(0)))
        }
        return all
    }

    // MARK: Batches

    /// Tells two batches under one sequence apart. A batch ends with the CRC-32 of what precedes
    /// it, and the CRC-32 of anything followed by its own is the same constant, so those bytes
    /// stay out.
    static func fingerprint(of bytes: [UInt8]) -> UInt32 {
        CRC32.of(bytes.span.extracting(0..<max(0, bytes.count - 4)))
    }

    /// The fingerprint under which a sequence was committed; nil when its row is gone.
    func fingerprint(
        _ state: IncarnationState, _ sequence: UInt64
    ) throws(SQLiteError) -> UInt32? {
        guard let id = state.id else { return nil }
        defer { findBatch.reset() }
        try findBatch.bind(id, at: 1)
        try findBatch.bind(Int64(bitPattern: sequence), at: 2)
        return try findBatch.step() ? UInt32(truncatingIfNeeded: findBatch.int64(0)) : nil
    }

    /// Writes a batch whose streams are all in `streams`, in the order of its readings.
    func insert(
        _ batch: DecodedBatch, _ frame: BatchFrame, _ state: IncarnationState, now: Timestamp
    ) throws(SQLiteError) {
        guard let incarnation = state.id, let change = state.committed.insert(frame.sequence)
        else { preconditionFailure("BUG: a batch without incarnation, or committed twice") }
        for first in change.removedFirsts {
            try deleteRun.bind(incarnation, at: 1)
            try deleteRun.bind(Int64(bitPattern: first), at: 2)
            try deleteRun.run()
        }
        try insertRun.bind(incarnation, at: 1)
        try insertRun.bind(Int64(bitPattern: change.run.lowerBound), at: 2)
        try insertRun.bind(Int64(bitPattern: change.run.upperBound), at: 3)
        try insertRun.run()
        let info = batch.info
        let columns: [Int64] = [
            nextBatch, incarnation, Int64(bitPattern: frame.sequence),
            info.bucketStart.milliseconds, info.bucketMilliseconds, Int64(info.revision),
            Int64(frame.priority.rawValue), Int64(batch.readings.count), Int64(frame.bytes.count),
            Int64(StoreWriter.fingerprint(of: frame.bytes)), info.firstObservedAt.milliseconds,
            info.lastObservedAt.milliseconds,
            now.milliseconds, nextRow,
        ]
        for (index, column) in columns.enumerated() {
            try insertBatch.bind(column, at: index + 1)
        }
        try insertBatch.run()
        try insert(batch.readings, state.streams)
        nextBatch += 1
    }

    private func insert(
        _ readings: [Reading], _ streams: borrowing NumberTable
    ) throws(SQLiteError) {
        // Readings come grouped by stream: one look-up a stream.
        var number: UInt32 = 0
        var stream: Int64 = 0
        for reading in readings {
            if reading.stream.rawValue != number {
                number = reading.stream.rawValue
                stream = streams[number] ?? 0
            }
            try insertReading.bind(nextRow, at: 1)
            try insertReading.bind(nextBatch, at: 2)
            try insertReading.bind(stream, at: 3)
            try insertReading.bind(reading.observedAt.milliseconds, at: 4)
            // Wraps for absurd times and wraps back when it is read.
            try insertReading.bind(
                reading.receivedAt.milliseconds &- reading.observedAt.milliseconds, at: 5)
            try bind(reading)
            try insertReading.bind(Int64(reading.exponent), at: 7)
            try insertReading.bind(Int64(reading.kind), at: 8)
            try insertReading.bind(Int64(reading.quality.rawValue), at: 9)
            try insertReading.runOn()
            nextRow += 1
        }
    }

    private func bind(_ reading: Reading) throws(SQLiteError) {
        if reading.kind == Value.Kind.double.rawValue {
            let double = Double(bitPattern: reading.bits)
            // SQLite would make a NaN NULL.
            if !double.isNaN {
                try insertReading.bind(double, at: 6)
                return
            }
        } else if reading.kind == Value.Kind.none.rawValue {
            try insertReading.bindNull(at: 6)
            return
        }
        try insertReading.bind(Int64(bitPattern: reading.bits), at: 6)
    }

    // MARK: Settling

    func unsettled() throws(SQLiteError) -> Int {
        defer { lastFresh.reset() }
        return try lastFresh.step() ? lastFresh.int(0) : 0
    }

    func settle(_ database: borrowing Database, rows: Int) throws(SQLiteError) -> Bool {
        defer { firstFresh.reset() }
        guard try firstFresh.step(), !firstFresh.isNull(0) else { return false }
        let end = firstFresh.int64(0) + Int64(max(1, rows))
        firstFresh.reset()
        try database.transaction { () throws(SQLiteError) in
            try moveFresh.bind(end, at: 1)
            try moveFresh.run()
            try deleteFresh.bind(end, at: 1)
            try deleteFresh.run()
        }
        return true
    }
}
