// Rows into and between segments. All within the caller's transaction.

import Model
internal import SQLite

extension Segment {
    func put(ledger name: String, _ value: UInt64) throws(SQLiteError) {
        try putLedger.bind(name, at: 1)
        try putLedger.bind(Int64(bitPattern: value), at: 2)
        try putLedger.run()
    }

    func put(_ cut: CutState) throws(SQLiteError) {
        let bytes = cut.encode()
        try insertCut.bind(Int64(CRC32.of(bytes)), at: 1)
        try insertCut.bind(bytes, at: 2)
        try insertCut.run()
        try deleteCuts.bind(file.database.lastInsertRowID &- 1, at: 1)
        try deleteCuts.run()
    }

    func putGone(_ sequence: UInt64) throws(SQLiteError) {
        try insertGone.bind(Int64(bitPattern: sequence), at: 1)
        try insertGone.run()
    }

    func removeGone(_ sequence: UInt64) throws(SQLiteError) {
        let delete = try file.database.prepare("DELETE FROM gone WHERE sequence = ?1")
        try delete.bind(Int64(bitPattern: sequence), at: 1)
        try delete.run()
    }

    /// Everything that a segment begins with.
    func put(_ state: SpoolState) throws(SQLiteError) {
        // Twice: the older of two serves when the newest is damaged.
        if state.cut.epoch > 0 || !state.cut.covered.isEmpty {
            try put(state.cut)
            try put(state.cut)
        }
        for (name, value) in state.ledger { try put(ledger: name, value) }
        let insert = try file.database.prepare("INSERT INTO older VALUES(?1, ?2, ?3)")
        for older in state.older {
            let list = OlderList.encode(
                state.journalRows(inSegment: older.number),
                state.pending.batches(inSegment: older.number))
            try insert.bind(older.number, at: 1)
            try insert.bind(Int64(CRC32.of(list)), at: 2)
            try insert.bind(list, at: 3)
            try insert.run()
        }
    }

    func put(_ row: BatchRow, _ body: Span<UInt8>, crc: Int64) throws(SQLiteError) {
        try insertBatch.bind(Int64(bitPattern: row.sequence), at: 1)
        try insertBatch.bind(Int64(row.priority.rawValue), at: 2)
        try insertBatch.bind(Int64(bitPattern: row.epoch), at: 3)
        try insertBatch.bind(row.bucketStart.milliseconds, at: 4)
        try insertBatch.bind(Int64(row.revision), at: 5)
        try insertBatch.bind(Int64(bitPattern: row.readings), at: 6)
        try insertBatch.bind(row.firstObservedAt.milliseconds, at: 7)
        try insertBatch.bind(row.lastObservedAt.milliseconds, at: 8)
        try insertBatch.bind(body.count, at: 9)
        try insertBatch.bind(crc, at: 10)
        try insertBatch.bind(body, at: 11)
        try insertBatch.run()
    }

    /// Answers the number of the row.
    func put(
        part bytes: [UInt8], intake: Int, firstPosition: UInt64, frames: Int,
        newestReceivedAt: Timestamp
    ) throws(SQLiteError) -> Int64 {
        try insertPart.bind(intake, at: 1)
        try insertPart.bind(Int64(bitPattern: firstPosition), at: 2)
        try insertPart.bind(frames, at: 3)
        try insertPart.bind(newestReceivedAt.milliseconds, at: 4)
        try insertPart.bind(bytes.count, at: 5)
        try insertPart.bind(Int64(CRC32.of(bytes)), at: 6)
        try insertPart.bind(bytes, at: 7)
        try insertPart.run()
        return file.database.lastInsertRowID
    }

    /// What became of a row that was to be copied from another segment. What this one refuses is thrown.
    enum Copied {
        /// Its number here.
        case row(Int64)
        /// Not there, or not as it was stored.
        case damaged
        /// The device does not read it now.
        case unreadable(SQLiteError)
    }

    func copyBatch(_ sequence: UInt64, from old: SegmentFile) throws(SQLiteError) -> Copied {
        defer { old.selectBatch.reset() }
        do throws(SQLiteError) {
            try old.selectBatch.bind(Int64(bitPattern: sequence), at: 1)
            guard try old.selectBatch.step() else { return .damaged }
        } catch {
            return error.isDamaged ? .damaged : .unreadable(error)
        }
        guard let row = BatchRow(old.selectBatch) else { return .damaged }
        let body = old.selectBatch.blob(10)
        let crc = old.selectBatch.int64(9)
        guard crc == Int64(row.crc(body)) else { return .damaged }
        try put(row, body.span, crc: crc)
        return .row(Int64(bitPattern: sequence))
    }

    func copyPart(_ part: RetainedPart, from old: SegmentFile) throws(SQLiteError) -> Copied {
        var bytes: [UInt8] = []
        do throws(SQLiteError) {
            guard try old.part(part.row) != nil else { return .damaged }
            try old.selectPart.bind(part.row, at: 1)
            defer { old.selectPart.reset() }
            guard try old.selectPart.step() else { return .damaged }
            bytes = old.selectPart.blob(1)
        } catch {
            return error.isDamaged ? .damaged : .unreadable(error)
        }
        return .row(
            try put(
                part: bytes, intake: part.intake, firstPosition: part.firstPosition,
                frames: part.frameCount, newestReceivedAt: part.newestReceivedAt))
    }
}

/// The numbers of a batch that its CRC covers beside its body.
struct BatchRow {
    let sequence: UInt64
    let priority: Priority
    let epoch: UInt64
    let bucketStart: Timestamp
    let revision: UInt32
    let readings: UInt64
    let firstObservedAt: Timestamp
    let lastObservedAt: Timestamp

    func crc(_ body: [UInt8]) -> UInt32 {
        var head = ByteWriter(capacity: 56)
        head.u64(sequence)
        head.u64(epoch)
        head.i64(bucketStart.milliseconds)
        head.i64(firstObservedAt.milliseconds)
        head.i64(lastObservedAt.milliseconds)
        head.u64(readings)
        head.u32(revision)
        head.u8(priority.rawValue)
        var crc = CRC32()
        crc.update(head.bytes.span)
        crc.update(body.span)
        return crc.value
    }
}

extension BatchRow {
    /// The current row of `SegmentFile.selectBatch`; nil when a number is none of its kind.
    init?(_ row: borrowing Statement) {
        guard let raw = UInt8(exactly: row.int64(1)), let priority = Priority(rawValue: raw),
            let revision = UInt32(exactly: row.int64(4))
        else { return nil }
        self.init(
            sequence: UInt64(bitPattern: row.int64(0)), priority: priority,
            epoch: UInt64(bitPattern: row.int64(2)),
            bucketStart: Timestamp(milliseconds: row.int64(3)), revision: revision,
            readings: UInt64(bitPattern: row.int64(5)),
            firstObservedAt: Timestamp(milliseconds: row.int64(6)),
            lastObservedAt: Timestamp(milliseconds: row.int64(7)))
    }
}
