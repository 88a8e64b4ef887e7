// The batches' side of the spool: cuts in, leases out, verdicts.

package import Model
internal import SQLite

extension Spool {
    /// Makes a cut durable: its batches under the next sequences (in the order given, from 1), what
    /// they cover, the counters and the revisions. Covered journal that is no longer needed goes.
    /// Answers the sequences; nil for a cut without batches.
    @discardableResult
    package func commit(_ epochCut: EpochCut) throws(SpoolError) -> ClosedRange<UInt64>? {
        precondition(epochCut.covered.count == epochCut.counters.count, "one position an intake")
        let state = merged(epochCut)
        let incoming = epochCut.batches.reduce(4096) { $0 + $1.bytes.count }
        let first = tally.counters.lastSequence &+ 1
        try write(incoming: incoming) { (change: inout Change) throws(SQLiteError) in
            change.covered = state.covered
            for batch in epochCut.batches { try insert(batch, epochCut.epoch, &change) }
            try store(state)
            try expire(&change)
        }
        cut = state
        for (intake, position) in state.covered.enumerated() {
            nextPositions.fill(upTo: intake, with: 0)
            nextPositions[intake] = max(nextPositions[intake], position)
        }
        return epochCut.batches.isEmpty ? nil : first...tally.counters.lastSequence
    }

    /// Pending batches of one lane with sequences above `sequence` that are not in `excluding` (in
    /// flight already), oldest first: at most `limit` and, but for the first, at most `maximumBytes`.
    /// Those whose CRC does not match go to quarantine and are counted; they do not stop the rest.
    /// The same batch is lent as often as it is asked for.
    package func lease(
        lane: Priority, after sequence: UInt64, excluding: Set<UInt64> = [], limit: Int,
        maximumBytes: Int
    ) throws(SpoolError) -> [SpooledBatch] {
        var leased: [SpooledBatch] = []
        var damaged: [UInt64] = []
        do throws(SQLiteError) {
            var after = sequence
            var bytes = 0
            search: while leased.count < limit {
                let found = try pending(lane, after: after, limit: limit)
                if found.isEmpty { break }
                for next in found {
                    after = next
                    if excluding.contains(next) { continue }
                    guard let batch = try read(next, &damaged) else { continue }
                    if !leased.isEmpty, bytes + batch.bytes.count > maximumBytes { break search }
                    bytes += batch.bytes.count
                    leased.append(batch)
                    if leased.count == limit { break }
                }
            }
        } catch {
            throw SpoolError(error)
        }
        for sequence in damaged {
            do throws(SpoolError) {
                try setAside(sequence, reason: "damaged", isDamage: true)
                warnings.append("batch \(sequence) damaged: set aside in quarantine")
            } catch {
                // What cannot be moved now must not hold up what was leased.
                unreadable.insert(sequence)
                warnings.append("batch \(sequence) damaged: \(error.description)")
            }
        }
        return leased
    }

    /// The store has these; unknown sequences (acknowledged or evicted before) are passed over.
    package func acknowledge(_ sequences: [UInt64]) throws(SpoolError) {
        if sequences.isEmpty { return }
        try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
            for sequence in sequences {
                guard let (_, readings) = try removeBatch(sequence, &change) else { continue }
                change.tally.counters.readingsAcknowledged &+= readings
                change.tally.counters.batchesAcknowledged &+= 1
            }
        }
    }

    /// The store will never take this batch: it moves to quarantine with the store's reason. False
    /// when there is no such batch.
    @discardableResult
    package func reject(_ sequence: UInt64, reason: String) throws(SpoolError) -> Bool {
        try setAside(sequence, reason: reason, isDamage: false)
    }

    // MARK: Helpers

    /// Positions never go back, and an intake that is not in the cut keeps what it had.
    private func merged(_ epochCut: EpochCut) -> CutState {
        var state = cut
        state.epoch = epochCut.epoch
        state.revisions = epochCut.revisions
        for (intake, position) in epochCut.covered.enumerated() {
            state.covered.fill(upTo: intake, with: 0)
            state.counters.fill(upTo: intake, with: IntakeCounters())
            state.covered[intake] = max(state.covered[intake], position)
            state.counters[intake] = epochCut.counters[intake]
        }
        return state
    }

    private func store(_ state: CutState) throws(SQLiteError) {
        let bytes = state.encode()
        try segment.insertCut.bind(Int64(CRC32.of(bytes)), at: 1)
        try segment.insertCut.bind(bytes, at: 2)
        try segment.insertCut.run()
        try segment.deleteCuts.bind(segment.database.lastInsertRowID &- 1, at: 1)
        try segment.deleteCuts.run()
        var sums = IntakeCounters().named
        for counters in state.counters {
            for (index, entry) in counters.named.enumerated() { sums[index].value &+= entry.value }
        }
        for sum in sums { try putLedger(sum.name, sum.value) }
        try putLedger("epoch", state.epoch)
    }

    private func insert(
        _ batch: CutBatch, _ epoch: UInt64, _ change: inout Change
    ) throws(SQLiteError) {
        change.tally.counters.lastSequence &+= 1
        try insert(batch, epoch, as: change.tally.counters.lastSequence, &change)
        change.tally.counters.readingsReceived &+= UInt64(batch.readings)
    }

    /// Adds a row to what is pending; `readingsReceived` is the caller's.
    func insert(
        _ batch: CutBatch, _ epoch: UInt64, as sequence: UInt64, _ change: inout Change
    ) throws(SQLiteError) {
        precondition(batch.readings >= 0, "a batch has a number of readings")
        let readings = UInt64(batch.readings)
        let row = BatchRow(
            sequence: sequence, priority: batch.priority, epoch: epoch,
            bucketStart: batch.bucketStart, revision: batch.revision, readings: readings,
            firstObservedAt: batch.firstObservedAt, lastObservedAt: batch.lastObservedAt)
        try segment.insertBatch.bind(Int64(bitPattern: row.sequence), at: 1)
        try segment.insertBatch.bind(Int64(row.priority.rawValue), at: 2)
        try segment.insertBatch.bind(Int64(bitPattern: epoch), at: 3)
        try segment.insertBatch.bind(row.bucketStart.milliseconds, at: 4)
        try segment.insertBatch.bind(Int64(row.revision), at: 5)
        try segment.insertBatch.bind(Int64(bitPattern: readings), at: 6)
        try segment.insertBatch.bind(row.firstObservedAt.milliseconds, at: 7)
        try segment.insertBatch.bind(row.lastObservedAt.milliseconds, at: 8)
        try segment.insertBatch.bind(batch.bytes.count, at: 9)
        try segment.insertBatch.bind(Int64(row.crc(batch.bytes)), at: 10)
        try segment.insertBatch.bind(batch.bytes, at: 11)
        try segment.insertBatch.run()
        change.tally.addPending(
            batch.priority, readings: readings, bytes: UInt64(batch.bytes.count))
    }

    private func pending(
        _ lane: Priority, after sequence: UInt64, limit: Int
    ) throws(SQLiteError) -> [UInt64] {
        var found: [UInt64] = []
        try segment.leaseBatches.bind(Int64(lane.rawValue), at: 1)
        try segment.leaseBatches.bind(Int64(clamping: sequence), at: 2)
        try segment.leaseBatches.bind(limit, at: 3)
        while try segment.leaseBatches.step() {
            found.append(UInt64(bitPattern: segment.leaseBatches.int64(0)))
        }
        segment.leaseBatches.reset()
        return found
    }

    private func read(
        _ sequence: UInt64, _ damaged: inout [UInt64]
    ) throws(SQLiteError) -> SpooledBatch? {
        if unreadable.contains(sequence) { return nil }
        defer { segment.selectBatch.reset() }
        do throws(SQLiteError) {
            try segment.selectBatch.bind(Int64(bitPattern: sequence), at: 1)
            guard try segment.selectBatch.step() else { return nil }
        } catch {
            guard error.isDamaged else { throw error }
            unreadable.insert(sequence)
            warnings.append("batch \(sequence) cannot be read: \(error.description)")
            return nil
        }
        let bytes = segment.selectBatch.blob(10)
        guard let row = BatchRow(segment.selectBatch),
            segment.selectBatch.int64(9) == Int64(row.crc(bytes))
        else {
            damaged.append(sequence)
            return nil
        }
        return SpooledBatch(
            sequence: sequence, priority: row.priority, readings: Int(clamping: row.readings),
            bucketStart: row.bucketStart, revision: row.revision,
            firstObservedAt: row.firstObservedAt, lastObservedAt: row.lastObservedAt, bytes: bytes)
    }

    /// Takes a batch out of the table and out of what is pending; nil when it is not there.
    func removeBatch(
        _ sequence: UInt64, _ change: inout Change
    ) throws(SQLiteError) -> (lane: Priority, readings: UInt64)? {
        defer { segment.deleteBatch.reset() }
        try segment.deleteBatch.bind(Int64(bitPattern: sequence), at: 1)
        guard try segment.deleteBatch.step() else { return nil }
        let lane = Priority(stored: segment.deleteBatch.int64(0))
        let readings = UInt64(clamping: segment.deleteBatch.int64(1))
        let size = UInt64(clamping: segment.deleteBatch.int64(2))
        // RETURNING gives its row before the statement is done.
        while try segment.deleteBatch.step() {}
        change.tally.removePending(lane, readings: readings, bytes: size)
        return (lane, readings)
    }

    @discardableResult
    private func setAside(
        _ sequence: UInt64, reason: String, isDamage: Bool
    ) throws(SpoolError) -> Bool {
        try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
            try segment.selectBatch.bind(Int64(bitPattern: sequence), at: 1)
            guard try segment.selectBatch.step() else {
                segment.selectBatch.reset()
                return false
            }
            let bytes = segment.selectBatch.blob(10)
            let observedAt = Timestamp(milliseconds: segment.selectBatch.int64(7))
            segment.selectBatch.reset()
            guard let (_, readings) = try removeBatch(sequence, &change) else { return false }
            change.tally.counters.readingsRejected &+= readings
            if isDamage {
                change.tally.details.batchesDamaged &+= 1
            } else {
                change.tally.details.batchesRejected &+= 1
            }
            try quarantine(
                kind: .batch, source: String(sequence), reason: reason, receivedAt: observedAt,
                readings: Int(clamping: readings), crc: Int64(CRC32.of(bytes)), bytes: bytes,
                &change)
            return true
        }
    }
}

/// The numbers of a batch that its CRC covers beside its body.
private struct BatchRow {
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
    /// The current row of `Segment.selectBatch`; nil when a number is none of its kind.
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
