// What becomes of batches that the store rejects: divided into smaller ones, set aside reading by
// reading with the frames that may have brought them, and released again under the same sequence.
// The store has never committed a rejected sequence, so a released batch is new to it, and sent twice
// it is recognised like any other.

package import Model
internal import SQLite

/// A frame of the journal with its bytes.
package struct KeptFrame: Hashable, Sendable {
    package var source: JournalSource
    package var receivedAt: Timestamp
    package var bytes: [UInt8]

    package init(source: JournalSource, receivedAt: Timestamp, bytes: [UInt8]) {
        self.source = source
        self.receivedAt = receivedAt
        self.bytes = bytes
    }
}

/// A reading in quarantine: the batch that holds it alone, and the frames that arrived in the same
/// millisecond, as far as the journal still had them. On disk:
///
///     u8 1 | varint length, batch | varint frames, each: varint length, source | varint length,
///     format | i64 receivedAt | varint length, bytes
package struct QuarantinedReading: Hashable, Sendable {
    package var batch: [UInt8]
    package var frames: [KeptFrame]

    package init(batch: [UInt8], frames: [KeptFrame]) {
        self.batch = batch
        self.frames = frames
    }

    package init?(_ bytes: [UInt8]) {
        do throws(ShortBytes) {
            var reader = ByteReader(bytes)
            guard try reader.u8() == 1 else { return nil }
            batch = try reader.blob(limit: bytes.count)
            let count = try reader.varint()
            guard count <= UInt64(reader.remaining) else { return nil }
            frames = []
            for _ in 0..<Int(count) {
                let name = try reader.text(limit: 4096)
                let format = try reader.text(limit: 4096)
                let time = Timestamp(milliseconds: try reader.i64())
                frames.append(
                    KeptFrame(
                        source: JournalSource(name: name, format: format), receivedAt: time,
                        bytes: try reader.blob(limit: bytes.count)))
            }
        } catch {
            return nil
        }
    }

    package var bytes: [UInt8] {
        var writer = ByteWriter()
        writer.u8(1)
        writer.blob(batch)
        writer.varint(UInt64(frames.count))
        for frame in frames {
            writer.text(frame.source.name)
            writer.text(frame.source.format)
            writer.i64(frame.receivedAt.milliseconds)
            writer.blob(frame.bytes)
        }
        return writer.bytes
    }
}

extension Spool {
    /// The pending batch of that sequence; nil when there is none (or its row is damaged).
    package func pendingBatch(_ sequence: UInt64) throws(SpoolError) -> SpooledBatch? {
        guard sequence > 0 else { return nil }
        for lane in Priority.allCases {
            let next = try lease(
                lane: lane, after: sequence - 1, limit: 1, maximumBytes: 0)
            if let batch = next.first, batch.sequence == sequence { return batch }
        }
        return nil
    }

    /// Puts `parts`, which hold the same readings, in the place of a pending batch, under new
    /// sequences. False when there is no such batch.
    package func divide(_ sequence: UInt64, into parts: [CutBatch]) throws(SpoolError) -> Bool {
        let incoming = parts.reduce(0) { $0 + $1.bytes.count }
        return try write(incoming: incoming) { (change: inout Change) throws(SQLiteError) in
            guard let (_, readings) = try removeBatch(sequence, &change) else { return false }
            let sum = parts.reduce(UInt64(0)) { $0 + UInt64($1.readings) }
            precondition(sum == readings, "parts hold the readings of the whole")
            for part in parts {
                change.tally.counters.lastSequence &+= 1
                try insert(part, cut.epoch, as: change.tally.counters.lastSequence, &change)
            }
            return true
        }
    }

    /// Sets a batch of one reading aside with the frames that may have brought it. False when there
    /// is no such batch.
    package func reject(
        _ sequence: UInt64, reason: String, as entry: QuarantinedReading, receivedAt: Timestamp
    ) throws(SpoolError) -> Bool {
        let bytes = entry.bytes
        return try write(incoming: bytes.count) { (change: inout Change) throws(SQLiteError) in
            guard let (_, readings) = try removeBatch(sequence, &change) else { return false }
            change.tally.counters.readingsRejected &+= readings
            change.tally.details.batchesRejected &+= 1
            try quarantine(
                kind: .reading, source: String(sequence), reason: reason, receivedAt: receivedAt,
                readings: Int(clamping: readings), crc: Int64(CRC32.of(bytes)), bytes: bytes,
                &change)
            return true
        }
    }

    /// The entry of that number.
    package func quarantined(number: Int64) throws(SpoolError) -> QuarantineEntry? {
        guard number > 0 else { return nil }
        let next = try quarantined(after: number - 1, limit: 1)
        return next.first.flatMap { $0.number == number ? $0 : nil }
    }

    /// Takes a batch or reading out of the quarantine and makes it pending again under the sequence
    /// that it had. False when the entry is gone or the sequence is pending.
    package func release(
        _ number: Int64, as batch: CutBatch, sequence: UInt64
    ) throws(SpoolError) -> Bool {
        guard sequence > 0, sequence <= counters.lastSequence,
            try pendingBatch(sequence) == nil
        else { return false }
        return try write(incoming: batch.bytes.count) {
            (change: inout Change) throws(SQLiteError) in
            guard try removeQuarantined(number, &change) else { return false }
            try insert(batch, cut.epoch, as: sequence, &change)
            let readings = UInt64(batch.readings)
            change.tally.counters.readingsRejected &-= readings
            return true
        }
    }

    /// Lets an entry go: it was released, or nobody needs it. False when it is gone already.
    @discardableResult
    package func forget(_ number: Int64) throws(SpoolError) -> Bool {
        try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
            try removeQuarantined(number, &change)
        }
    }

    private func removeQuarantined(
        _ number: Int64, _ change: inout Change
    ) throws(SQLiteError) -> Bool {
        let delete = try segment.database.prepare(
            "DELETE FROM quarantine WHERE number = ?1 RETURNING size")
        try delete.bind(number, at: 1)
        guard try delete.step() else { return false }
        let size = UInt64(clamping: delete.int64(0))
        while try delete.step() {}
        let details = change.tally.details
        change.tally.details.quarantineEntries &-= min(1, details.quarantineEntries)
        change.tally.details.quarantineBytes &-= min(size, details.quarantineBytes)
        return true
    }

    /// Frames of the journal that arrived at that millisecond, at most `limit`; parts that cannot be
    /// read are passed over.
    package func frames(receivedAt: Timestamp, limit: Int) -> [KeptFrame] {
        var found: [KeptFrame] = []
        for part in retained
        where !part.isDamaged && part.frameCount > 0 && part.newestReceivedAt >= receivedAt {
            guard found.count < limit, let stored = try? segment.part(part.row) else { continue }
            _ = stored.forEach(coveredBefore: 0) { frame, bytes in
                guard frame.receivedAt == receivedAt, found.count < limit else { return }
                var copy: [UInt8] = []
                for i in 0..<bytes.count { copy.append(bytes[i]) }
                found.append(
                    KeptFrame(source: frame.source, receivedAt: frame.receivedAt, bytes: copy))
            }
        }
        return found
    }
}
