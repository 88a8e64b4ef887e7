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
        do throws(SQLiteError) {
            return try quarantineFile?.list(after: number, limit: limit) ?? []
        } catch {
            throw SpoolError(error)
        }
    }
}
