// The journal's side of the spool: group commits in, replay out.

internal import Model
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
        let rows = try write(incoming: incoming) { (change: inout Change) throws(SQLiteError) in
            var rows: [RetainedPart] = []
            rows.reserveCapacity(parts.count)
            for part in parts {
                try segment.insertPart.bind(Int64(part.intake), at: 1)
                try segment.insertPart.bind(Int64(bitPattern: part.firstPosition), at: 2)
                try segment.insertPart.bind(part.frameCount, at: 3)
                try segment.insertPart.bind(part.newestReceivedAt.milliseconds, at: 4)
                try segment.insertPart.bind(part.bytes.count, at: 5)
                try segment.insertPart.bind(Int64(CRC32.of(part.bytes)), at: 6)
                try segment.insertPart.bind(part.bytes, at: 7)
                try segment.insertPart.run()
                change.tally.details.journalParts &+= 1
                change.tally.details.journalBytes &+= UInt64(part.bytes.count)
                rows.append(
                    RetainedPart(
                        row: segment.database.lastInsertRowID, intake: Int(part.intake),
                        firstPosition: part.firstPosition, frameCount: part.frameCount,
                        newestReceivedAt: part.newestReceivedAt, size: part.bytes.count,
                        isDamaged: false))
            }
            return rows
        }
        partEnds = ends
        for row in rows {
            retained.append(row)
            nextPositions.fill(upTo: row.intake, with: 0)
            nextPositions[row.intake] = max(nextPositions[row.intake], row.end)
        }
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
        var lost = nextPositions.enumerated().map { intake, next in
            next &- min(next, coveredPosition(intake: intake))
        }
        for part in retained where !part.isDamaged {
            let stored: StoredPart?
            do throws(SQLiteError) {
                stored = try segment.part(part.row)
            } catch {
                throw SpoolError(error)
            }
            _ = stored?.forEach(coveredBefore: coveredPosition(intake: part.intake)) {
                frame, bytes in
                if !frame.isCovered { lost[part.intake] &-= min(1, lost[part.intake]) }
                body(frame, bytes)
            }
        }
        return lost
    }

    /// Covered parts that the duplicate memory no longer needs: further from the arrival of the part
    /// that was stored last than its window (so that it works without a set clock, and a part of a
    /// clock that ran ahead does not outlive all others), or more than may be retained. Damaged ones
    /// move to quarantine.
    func expire(_ change: inout Change) throws(SQLiteError) {
        let newest =
            retained.last { !$0.isDamaged && $0.frameCount > 0 }?.newestReceivedAt.milliseconds ?? 0
        var bytes = retained.reduce(0) { $0 + $1.size }
        for part in retained where part.isCovered(by: change.covered) {
            let (apart, overflow) = part.newestReceivedAt.milliseconds
                .subtractingReportingOverflow(newest)
            let isOld = overflow || apart.magnitude > settings.duplicateWindow.magnitude
            guard part.isDamaged || isOld || bytes > settings.journalRetainBytes else { continue }
            if part.isDamaged { try quarantineDamaged(part, &change) }
            try deletePart(part, &change)
            bytes -= part.size
        }
    }

    private func quarantineDamaged(
        _ part: RetainedPart, _ change: inout Change
    ) throws(SQLiteError) {
        defer { segment.selectPart.reset() }
        try segment.selectPart.bind(part.row, at: 1)
        do throws(SQLiteError) {
            guard try segment.selectPart.step() else { return }
        } catch {
            // Unreadable even as a row: there are no bytes to keep.
            if error.isDamaged { return }
            throw error
        }
        try quarantine(
            kind: .journal, source: "\(part.intake):\(part.firstPosition)", reason: "damaged",
            receivedAt: part.newestReceivedAt, readings: 0, crc: segment.selectPart.int64(0),
            bytes: segment.selectPart.blob(1), &change)
    }
}
