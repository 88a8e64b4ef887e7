// What becomes of batches that the store rejects: divided into smaller ones, set aside reading by
// reading with the frames that may have brought them, and released again under the same sequence.
// The store has never committed a rejected sequence, so a released batch is new to it, and sent
// twice
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

extension QuarantineEntry {
    /// The batch that the store refused; nil for what is none.
    package var batch: [UInt8]? {
        switch kind {
        case .batch: bytes
        case .reading: QuarantinedReading(bytes)?.batch
        case .frame, .journal: nil
        }
    }
}

extension Spool {
    /// The pending batch of that sequence; nil when there is none (or its row is damaged).
    package func pendingBatch(_ sequence: UInt64) throws(SpoolError) -> SpooledBatch? {
        guard let batch = state.pending[sequence] else { return nil }
        do throws(SQLiteError) { return try read(batch) } catch { throw SpoolError(error) }
    }

    /// Puts `parts`, which hold the same readings, in the place of a pending batch, under new
    /// sequences. False when there is no such batch.
    package func divide(_ sequence: UInt64, into parts: [CutBatch]) throws(SpoolError) -> Bool {
        guard let batch = state.pending[sequence] else { return false }
        let incoming = parts.reduce(0) { $0 + $1.bytes.count }
        let isDone = try write(incoming: incoming) {
            (change: inout Change) throws(SQLiteError) in
            guard try remove(batch, &change) else { return false }
            let sum = parts.reduce(UInt64(0)) { $0 + UInt64($1.readings) }
            precondition(sum == batch.readings, "parts hold the readings of the whole")
            for part in parts {
                change.tally.counters.lastSequence &+= 1
                try insert(
                    part, state.cut.epoch, as: change.tally.counters.lastSequence, &change)
            }
            return true
        }
        files.note(lastSequence: state.tally.counters.lastSequence)
        releaseOlder()
        return isDone
    }

    /// Sets a batch of one reading aside with the frames that may have brought it. False when there
    /// is no such batch.
    package func reject(
        _ sequence: UInt64, reason: String, as entry: QuarantinedReading, receivedAt: Timestamp
    ) throws(SpoolError) -> Bool {
        guard let batch = state.pending[sequence] else { return false }
        let bytes = entry.bytes
        try quarantine(entries: [
            QuarantineFile.Entry(
                kind: .reading, source: String(sequence), reason: reason, receivedAt: receivedAt,
                readings: batch.readings, crc: Int64(CRC32.of(bytes)), bytes: bytes)
        ])
        setAside.insert(sequence)
        try endRejections()
        return true
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
        guard sequence > 0, sequence <= counters.lastSequence, state.pending[sequence] == nil,
            try quarantined(number: number) != nil
        else { return false }
        // First pending, then out of the quarantine: a crash between the two leaves both, and
        // releasing it
        // again is refused while it waits.
        try write(incoming: batch.bytes.count) { (change: inout Change) throws(SQLiteError) in
            try insert(batch, state.cut.epoch, as: sequence, &change)
            change.tally.counters.readingsRejected &-= UInt64(batch.readings)
        }
        try forget(number)
        return true
    }

    /// Lets an entry go: it was released, or nobody needs it. False when it is gone already.
    @discardableResult
    package func forget(_ number: Int64) throws(SpoolError) -> Bool {
        do throws(SQLiteError) {
            return try quarantineFile?.remove(number) ?? false
        } catch {
            throw SpoolError(error)
        }
    }

    /// Frames of the journal that arrived at that millisecond, at most `limit`; parts that cannot
    /// be
    /// read are passed over.
    package func frames(receivedAt: Timestamp, limit: Int) -> [KeptFrame] {
        var found: [KeptFrame] = []
        for part in state.retained
        where !part.isDamaged && part.frameCount > 0 && part.newestReceivedAt >= receivedAt {
            guard found.count < limit, let stored = try? file(part.segment).part(part.row)
            else { continue }
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
