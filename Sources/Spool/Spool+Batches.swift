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
        let next = merged(epochCut)
        let incoming = epochCut.batches.reduce(4096) { $0 + $1.bytes.count }
        try makeRoom(incoming)
        // What the cut covers makes room for the next; so it may take all there is.
        guard try fits(incoming, eighths: 8) else { throw .full }
        let first = state.tally.counters.lastSequence &+ 1
        try write(incoming: incoming) { (change: inout Change) throws(SQLiteError) in
            change.covered = next.covered
            change.bytes = incoming
            for batch in epochCut.batches { try insert(batch, epochCut.epoch, &change) }
            if let shed = epochCut.shed { count(shed, &change) }
            try segment.put(next)
            for sum in next.ledger { try segment.put(ledger: sum.name, sum.value) }
            try expire(&change)
        }
        state.cut = next
        state.markStranded()
        for (intake, position) in next.covered.enumerated() {
            state.reach(position, ofIntake: intake)
        }
        files.note(lastSequence: state.tally.counters.lastSequence)
        releaseOlder()
        // What came may have taken more than was asked for; the cut is stored, so nothing is said
        // here.
        try? makeRoom(0)
        makeBallast()
        return epochCut.batches.isEmpty ? nil : first...state.tally.counters.lastSequence
    }

    /// Pending batches of one lane with sequences above `sequence` that are not in `excluding` (in
    /// flight already), oldest first: at most `limit` and, but for the first, at most
    /// `maximumBytes`.
    /// Those whose CRC does not match go to quarantine and are counted; they do not stop the rest.
    /// The same batch is lent as often as it is asked for.
    package func lease(
        lane: Priority, after sequence: UInt64, excluding: Set<UInt64> = [], limit: Int,
        maximumBytes: Int
    ) throws(SpoolError) -> [SpooledBatch] {
        if limit <= 0 { return [] }
        var chosen: [PendingBatch] = []
        var sum = 0
        state.pending.forEach(lane, after: sequence) { batch in
            if excluding.contains(batch.sequence) || unreadable.contains(batch.sequence)
                || setAside.contains(batch.sequence)
            {
                return true
            }
            if !chosen.isEmpty, sum + Int(batch.size) > maximumBytes { return false }
            sum += Int(batch.size)
            chosen.append(batch)
            return chosen.count < limit
        }
        var leased: [SpooledBatch] = []
        for batch in chosen {
            do throws(SQLiteError) {
                if let found = try read(batch) { leased.append(found) } else { try lose(batch) }
            } catch {
                // The device does not read it now; perhaps in a minute.
                unreadable.insert(batch.sequence)
                warn("batch \(batch.sequence) cannot be read: \(error.description)")
            }
        }
        // Damaged ones all: what is behind them must not wait for the next time.
        if leased.isEmpty, let last = chosen.last?.sequence {
            return try lease(
                lane: lane, after: last, excluding: excluding, limit: limit,
                maximumBytes: maximumBytes)
        }
        return leased
    }

    /// Batches are passed over because the device did not do what was asked of it.
    package var hasUnreadable: Bool { !unreadable.isEmpty || !setAside.isEmpty }

    /// They may be read now and are lent again, rejections end. False when there are none.
    package func retryUnreadable() -> Bool {
        guard hasUnreadable else { return false }
        unreadable.removeAll()
        try? endRejections()
        return true
    }

    /// The store has these; unknown sequences (acknowledged or evicted before) are passed over.
    package func acknowledge(_ sequences: [UInt64]) throws(SpoolError) {
        let known = Set(sequences).compactMap { state.pending[$0] }.sorted {
            $0.sequence < $1.sequence
        }
        if known.isEmpty { return }
        try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
            for batch in known {
                guard try remove(batch, &change) else { continue }
                change.tally.counters.readingsAcknowledged &+= batch.readings
                change.tally.counters.batchesAcknowledged &+= 1
            }
        }
        releaseOlder()
    }

    /// The store will never take this batch: it moves to quarantine with the store's reason. False
    /// when there is no such batch.
    @discardableResult
    package func reject(_ sequence: UInt64, reason: String) throws(SpoolError) -> Bool {
        guard let batch = state.pending[sequence] else { return false }
        var found: SpooledBatch?
        do throws(SQLiteError) {
            found = try read(batch)
        } catch {
            throw SpoolError(error)
        }
        guard let found else {
            do throws(SQLiteError) { try lose(batch) } catch { throw SpoolError(error) }
            return true
        }
        try quarantine(
            batch: sequence, reason: reason, observedAt: found.lastObservedAt,
            readings: batch.readings, crc: Int64(CRC32.of(found.bytes)), bytes: found.bytes)
        setAside.insert(sequence)
        try endRejections()
        return true
    }

    // MARK: Helpers

    /// Positions never go back, and an intake that is not in the cut keeps what it had.
    private func merged(_ epochCut: EpochCut) -> CutState {
        var next = state.cut
        next.epoch = epochCut.epoch
        next.revisions = epochCut.revisions
        if hasRecovered { next.stranded = [] }
        for (intake, position) in epochCut.covered.enumerated() {
            next.covered.fill(upTo: intake, with: 0)
            next.counters.fill(upTo: intake, with: IntakeCounters())
            next.covered[intake] = max(next.covered[intake], position)
            next.counters[intake] = epochCut.counters[intake]
        }
        return next
    }

    private func insert(
        _ batch: CutBatch, _ epoch: UInt64, _ change: inout Change
    ) throws(SQLiteError) {
        change.tally.counters.lastSequence &+= 1
        let row = try insert(batch, epoch, as: change.tally.counters.lastSequence, &change)
        change.tally.counters.readingsReceived &+= row.readings
    }

    /// Adds a row to what is pending; `readingsReceived` is the caller's.
    @discardableResult
    func insert(
        _ batch: CutBatch, _ epoch: UInt64, as sequence: UInt64, _ change: inout Change
    ) throws(SQLiteError) -> PendingBatch {
        precondition(batch.readings >= 0, "a batch has a number of readings")
        let pending = PendingBatch(
            sequence: sequence, lane: batch.priority, readings: Int64(batch.readings),
            size: Int64(batch.bytes.count), segment: segment.number,
            lastObservedAt: batch.lastObservedAt)
        let row = BatchRow(
            sequence: sequence, priority: batch.priority, epoch: epoch,
            bucketStart: batch.bucketStart, revision: batch.revision, readings: pending.readings,
            firstObservedAt: batch.firstObservedAt, lastObservedAt: batch.lastObservedAt)
        try segment.put(row, batch.bytes.span, crc: Int64(row.crc(batch.bytes)))
        // One that comes back from the quarantine is among those that are gone.
        if sequence <= state.tally.counters.lastSequence { try segment.removeGone(sequence) }
        change.tally.addPending(pending)
        change.added.append(pending)
        return pending
    }

    /// Batches that memory had no room for while nothing could be written.
    private func count(_ shed: ShedReadings, _ change: inout Change) {
        change.tally.counters.readingsReceived &+= shed.readings.total
        change.tally.counters.readingsEvicted &+= shed.readings.total
        for lane in Priority.allCases {
            change.tally.details.readingsEvicted[lane] &+= shed.readings[lane]
        }
        change.tally.details.batchesEvicted &+= shed.batches
    }

    /// nil: not there, or not what was stored. Throws when the device does not read.
    func read(_ batch: PendingBatch) throws(SQLiteError) -> SpooledBatch? {
        do throws(SQLiteError) {
            let file = try file(Int(batch.segment))
            defer { file.selectBatch.reset() }
            try file.selectBatch.bind(Int64(bitPattern: batch.sequence), at: 1)
            guard try file.selectBatch.step() else { return nil }
            let bytes = file.selectBatch.blob(10)
            guard let row = BatchRow(file.selectBatch),
                file.selectBatch.int64(9) == Int64(row.crc(bytes))
            else { return nil }
            return SpooledBatch(
                sequence: batch.sequence, priority: row.priority,
                readings: Int(clamping: batch.readings), bucketStart: row.bucketStart,
                revision: row.revision, firstObservedAt: row.firstObservedAt,
                lastObservedAt: row.lastObservedAt, bytes: bytes)
        } catch {
            if error.isDamaged || error.primaryCode == 1 { return nil }
            throw error
        }
    }

    /// Takes a damaged batch out; what is left of it goes to quarantine.
    private func lose(_ batch: PendingBatch) throws(SQLiteError) {
        markDamaged(Int(batch.segment))
        do throws(SpoolError) {
            if let file = try? file(Int(batch.segment)),
                (try? file.selectBatch.bind(Int64(bitPattern: batch.sequence), at: 1)) != nil
            {
                if (try? file.selectBatch.step()) == true {
                    let bytes = file.selectBatch.blob(10)
                    let observedAt = Timestamp(milliseconds: file.selectBatch.int64(7))
                    file.selectBatch.reset()
                    try quarantine(
                        batch: batch.sequence, reason: "damaged", observedAt: observedAt,
                        readings: batch.readings, crc: Int64(CRC32.of(bytes)), bytes: bytes)
                }
                file.selectBatch.reset()
            }
            try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
                guard try remove(batch, &change) else { return }
                change.tally.counters.readingsRejected &+= batch.readings
                change.tally.details.batchesDamaged &+= 1
                change.tally.details.readingsDamaged &+= batch.readings
            }
            warn("batch \(batch.sequence) damaged: set aside in quarantine")
        } catch {
            // What cannot be put aside now must not hold up the rest.
            unreadable.insert(batch.sequence)
            warn("batch \(batch.sequence) damaged: \(error.description)")
        }
    }

    /// Takes a batch out of what is pending. False when it is not: making room for the
    /// transaction may have
    /// evicted it since the caller looked.
    func remove(_ batch: PendingBatch, _ change: inout Change) throws(SQLiteError) -> Bool {
        guard state.pending[batch.sequence] != nil, change.gone.insert(batch.sequence).inserted
        else { return false }
        try segment.putGone(batch.sequence)
        change.tally.removePending(batch)
        return true
    }
}
