// What was set aside: raw frames that were refused, batches that the store refused, damaged rows
// (QuarantineFile.swift). Nothing waits for it: a file that cannot be used is left, and tried
// again.

internal import Model
internal import SQLite

extension Spool {
    /// Keeps raw frames with their reasons; durable when it returns.
    package func quarantine(_ frames: [QuarantinedFrame]) throws(SpoolError) {
        if frames.isEmpty { return }
        try quarantine(
            entries: frames.map {
                QuarantineFile.Entry(
                    kind: .frame, source: $0.source, reason: $0.reason.code,
                    receivedAt: $0.receivedAt, readings: 0, crc: Int64(CRC32.of($0.bytes)),
                    bytes: $0.bytes)
            })
    }

    /// Frames that the caller let go because the quarantine could not be written; they are counted.
    package func countNotQuarantined(_ frames: Int) {
        state.tally.details.framesNotQuarantined &+= UInt64(frames)
    }

    func quarantine(
        batch: UInt64, reason: String, observedAt: Timestamp, readings: UInt64, crc: Int64,
        bytes: [UInt8]
    ) throws(SpoolError) {
        try quarantine(entries: [
            QuarantineFile.Entry(
                kind: .batch, source: String(batch), reason: reason, receivedAt: observedAt,
                readings: readings, crc: crc, bytes: bytes)
        ])
    }

    func quarantine(entries: [QuarantineFile.Entry]) throws(SpoolError) {
        let most = min(settings.quarantineBytes, max(quota / 8, 1000))
        do throws(SQLiteError) {
            try quarantineStore().add(
                entries, maximumEntries: settings.quarantineEntries, maximumBytes: most)
            state.tally.details.flushes &+= 1
        } catch {
            // It is opened anew the next time; what is damaged is set aside then.
            if !error.isFull { quarantineFile = nil }
            throw SpoolError(error)
        }
    }

    /// A crash between the two steps of a rejection leaves a batch in the quarantine and pending. Sent
    /// again it might be divided, and its readings set aside twice: so it is taken out of what is pending
    /// now.
    func finishRejections() {
        guard let file = quarantineFile, let sources = try? file.rejected() else { return }
        for (number, source) in sources {
            // Of another incarnation it may be another batch.
            guard let batch = UInt64(source).flatMap({ state.pending[$0] }),
                let entry = try? file.list(after: number - 1, limit: 1).first, entry.isIntact,
                let stored = try? read(batch), stored.bytes == entry.batch
            else { continue }
            setAside.insert(batch.sequence)
        }
        try? endRejections()
    }

    /// Takes what stands in the quarantine out of what is pending.
    func endRejections() throws(SpoolError) {
        let batches = setAside.sorted().compactMap { state.pending[$0] }
        if !batches.isEmpty {
            try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
                for batch in batches {
                    guard try remove(batch, &change) else { continue }
                    change.tally.counters.readingsRejected &+= batch.readings
                    change.tally.details.batchesRejected &+= 1
                }
            }
            releaseOlder()
        }
        setAside.removeAll()
    }

    private func quarantineStore() throws(SQLiteError) -> QuarantineFile {
        if let quarantineFile { return quarantineFile }
        let path = files.path + "/quarantine.db"
        let opened: QuarantineFile
        do throws(SQLiteError) {
            opened = try QuarantineFile(path: path)
        } catch {
            guard error.isDamaged, let bad = try? files.setAside(path) else { throw error }
            warn("quarantine: \(error.description): set aside as \(bad)")
            opened = try QuarantineFile(path: path)
        }
        quarantineFile = opened
        return opened
    }

    /// Entries with numbers above `number`, oldest first.
    package func quarantined(
        after number: Int64, limit: Int
    ) throws(SpoolError) -> [QuarantineEntry] {
        guard quarantineFile != nil || files.exists(files.path + "/quarantine.db") else {
            return []
        }
        do throws(SQLiteError) {
            return try quarantineStore().list(after: number, limit: limit)
        } catch {
            throw SpoolError(error)
        }
    }
}
