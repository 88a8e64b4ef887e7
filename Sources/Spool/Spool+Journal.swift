// The journal's side of the spool: group commits in, replay out.

package import Model
internal import SQLite

extension Spool {
    /// Stores parts of any intakes with one fdatasync; when it returns their frames may be
    /// answered. Empty parts only carry counters; none at all writes nothing. An intake's parts
    /// come in the order of their positions. Cost: about 0.3 µs a frame.
    package func append(_ parts: [JournalPart]) throws(SpoolError) {
        if parts.isEmpty { return }
        var ends = partEnds
        for part in parts {
            let intake = Int(part.intake)
            ends.fill(upTo: intake, with: 0)
            precondition(part.firstPosition >= ends[intake], "positions of an intake never fall")
            ends[intake] = part.nextPosition
        }
        let incoming = parts.reduce(0) { $0 + $1.bytes.count }
        try makeRoom(incoming)
        // What a cut covers already is there only to be remembered.
        let uncovered = parts.reduce(0) {
            $0 + ($1.nextPosition <= coveredPosition(intake: Int($1.intake)) ? 0 : $1.bytes.count)
        }
        // Half of the room is for batches: a cut must always find some, or nothing would ever
        // cover this.
        guard try fits(incoming, eighths: 7), uncoveredBytes + uncovered <= limit() / 2 else {
            throw .full
        }
        let rows = try write(incoming: incoming) { (change: inout Change) throws(SQLiteError) in
            var rows: [RetainedPart] = []
            rows.reserveCapacity(parts.count)
            change.bytes = incoming
            for part in parts { rows.append(try put(part, &change)) }
            return rows
        }
        partEnds = ends
        for (row, part) in zip(rows, parts) { retain(row, part) }
    }

    private func put(
        _ part: JournalPart, _ change: inout Change
    ) throws(SQLiteError) -> RetainedPart {
        let row = try segment.put(
            part: part.bytes, intake: Int(part.intake), firstPosition: part.firstPosition,
            frames: part.frameCount, newestReceivedAt: part.newestReceivedAt)
        change.tally.details.journalParts &+= 1
        change.tally.details.journalBytes &+= UInt64(part.bytes.count)
        return RetainedPart(
            segment: segment.number, row: row, intake: Int(part.intake),
            firstPosition: part.firstPosition, frameCount: part.frameCount,
            newestReceivedAt: part.newestReceivedAt, size: part.bytes.count, isDamaged: false)
    }

    private func retain(_ row: RetainedPart, _ part: JournalPart) {
        state.retained.append(row)
        state.reach(row.end, ofIntake: row.intake)
        state.newest.fill(upTo: row.intake, with: IntakeCounters())
        state.newest[row.intake] = part.counters
    }

    /// Gives back every retained frame in the order of its commit, an intake's by position. Covered
    /// ones refill the duplicate memory; the others are to be decoded again. Call before the first
    /// `append`, then cut before new parts are taken, so that what the replay rejected is not
    /// counted twice by the next replay.
    ///
    /// Answers for each intake how many uncovered frames do not come back: their part is damaged,
    /// or was never stored while a later one was. They are in `framesReceived`; count each as a
    /// rejection, or the first law does not balance.
    package func recover(
        _ body: (JournaledFrame, Span<UInt8>) -> Void
    ) throws(SpoolError) -> [UInt64] {
        hasRecovered = true
        var lost = state.nextPositions.enumerated().map { intake, next in
            next &- min(next, coveredPosition(intake: intake))
        }
        if !lost.isEmpty { lost[0] &+= state.cut.strandedFrames }
        // What was stranded may have come again to the run that began without it, and be in a batch:
        // what is covered must be known first.
        let passes = state.cut.stranded.isEmpty ? [[true, false]] : [[true], [false]]
        for pass in passes {
            for part in state.retained where !part.isDamaged {
                let stored: StoredPart?
                do throws(SQLiteError) {
                    stored = try file(part.segment).part(part.row)
                } catch {
                    throw SpoolError(error)
                }
                let covered =
                    part.isStranded
                    ? state.cut.stranded(part.firstPosition..<part.end)?.lowerBound ?? 0
                    : coveredPosition(intake: part.intake)
                _ = stored?.forEach(coveredBefore: covered) {
                    frame, bytes in
                    guard pass.contains(frame.isCovered) else { return }
                    if !frame.isCovered { lost[part.intake] &-= min(1, lost[part.intake]) }
                    body(frame, bytes)
                }
            }
        }
        return lost
    }

    /// True when frames wait to be decoded again.
    package var hasUncovered: Bool {
        !state.cut.stranded.isEmpty
            || state.nextPositions.enumerated().contains { $1 > coveredPosition(intake: $0) }
    }

    /// For a run that began without this spool and has it now: what it counts begins at 0, what
    /// is stored
    /// here goes on. Frames that wait to be decoded again go on waiting, for the next start.
    package func join() throws(SpoolError) -> SpoolOffsets {
        let next = nextPosition(intake: 0)
        let covered = coveredPosition(intake: 0)
        var cut = state.cut
        cut.strand(covered..<max(covered, next))
        cut.covered.fill(upTo: 0, with: 0)
        cut.counters.fill(upTo: 0, with: IntakeCounters())
        cut.covered[0] = next
        var counters = recovered.first ?? IntakeCounters()
        counters.framesReceived &-= cut.strandedFrames
        cut.counters[0] = counters
        // Counters that go on from these, beside the cut: those of the newest part still have the
        // frames that wait.
        var buffer = JournalBuffer(intake: 0, capacity: 0, firstPosition: next)
        let part = buffer.take(sources: [], counters: counters)
        let row = try write(incoming: part.bytes.count) {
            (change: inout Change) throws(SQLiteError) in
            try segment.put(cut)
            return try put(part, &change)
        }
        retain(row, part)
        state.cut = cut
        state.markStranded()
        return SpoolOffsets(position: next, epoch: cut.epoch, counters: counters)
    }

    /// Covered parts that the duplicate memory no longer needs: further from the arrival of the
    /// part
    /// that was stored last than its window (so that it works without a set clock, and a part of a
    /// clock that ran ahead does not outlive all others), or more than may be retained. Damaged
    /// ones
    /// move to quarantine.
    func expire(_ change: inout Change) throws(SQLiteError) {
        let newest =
            state.retained.last { !$0.isDamaged && $0.frameCount > 0 }?.newestReceivedAt
            .milliseconds ?? 0
        try expire(before: newest, &change)
    }

    private func expire(before newest: Int64, _ change: inout Change) throws(SQLiteError) {
        var bytes = state.retained.reduce(0) { $0 + $1.size }
        for (index, part) in state.retained.enumerated()
        where part.isCovered(by: change.covered) {
            let (apart, overflow) = part.newestReceivedAt.milliseconds
                .subtractingReportingOverflow(newest)
            let isOld = overflow || apart.magnitude > settings.duplicateWindow.magnitude
            guard part.isDamaged || isOld || bytes > settings.journalRetainBytes else { continue }
            if part.isDamaged { try quarantineDamaged(part) }
            if !part.isDamaged, !isOld { change.forgotten += part.frameCount }
            drop(index, &change)
            bytes -= part.size
        }
        try putFloor(change)
    }

    /// Covered parts that are older than the duplicate window at `now`, the gateway's own time.
    /// Cuts do
    /// the same by arrival; this is for an intake that fell silent.
    package func expire(now: Timestamp) throws(SpoolError) {
        let covered = state.cut.covered
        let isAny = state.retained.contains {
            let (age, overflow) = now.milliseconds.subtractingReportingOverflow(
                $0.newestReceivedAt.milliseconds)
            return $0.isCovered(by: covered) && !overflow && age > settings.duplicateWindow
        }
        guard isAny else { return }
        try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
            try expire(before: now.milliseconds, &change)
        }
        releaseOlder()
    }

    /// All of the covered journal, when its room is needed. Only memory changes: a restart finds
    /// some of it
    /// again.
    func dropCovered() {
        let covered = state.cut.covered
        state.retained.removeAll { part in
            guard part.isCovered(by: covered), !part.isDamaged else { return false }
            framesForgotten += part.frameCount
            return true
        }
        state.tally.details.journalParts = UInt64(state.retained.count)
        state.tally.details.journalBytes = state.retained.reduce(0) { $0 &+ UInt64($1.size) }
    }

    private func drop(_ index: Int, _ change: inout Change) {
        change.goneParts.insert(index)
        change.tally.details.journalParts &-= 1
        change.tally.details.journalBytes &-= UInt64(state.retained[index].size)
    }

    /// Where the next start begins to read this segment's journal.
    private func putFloor(_ change: Change) throws(SQLiteError) {
        if change.goneParts.isEmpty { return }
        var floor: Int64?
        var newest: Int64 = 0
        for (index, part) in state.retained.enumerated() where part.segment == segment.number {
            newest = max(newest, part.row)
            if !change.goneParts.contains(index) { floor = min(floor ?? part.row, part.row) }
        }
        if newest > 0 {
            try segment.put(ledger: "spool.journalFrom", UInt64(clamping: floor ?? newest + 1))
        }
    }

    private func quarantineDamaged(_ part: RetainedPart) throws(SQLiteError) {
        markDamaged(part.segment)
        guard let file = try? file(part.segment),
            (try? file.selectPart.bind(part.row, at: 1)) != nil
        else { return }
        defer { file.selectPart.reset() }
        // Unreadable even as a row: there are no bytes to keep.
        guard (try? file.selectPart.step()) == true else { return }
        let entry = QuarantineFile.Entry(
            kind: .journal, source: "\(part.intake):\(part.firstPosition)", reason: "damaged",
            receivedAt: part.newestReceivedAt, readings: 0, crc: file.selectPart.int64(0),
            bytes: file.selectPart.blob(1))
        file.selectPart.reset()
        try? quarantine(entries: [entry])
        if part.segment == segment.number {
            try segment.deletePart.bind(part.row, at: 1)
            try segment.deletePart.run()
        }
    }
}
