// What was set aside: raw frames that were refused, batches that the store refused, damaged rows.
// Bounded by count and bytes; the oldest go first and are counted.

internal import Model
internal import SQLite

extension Spool {
    /// Keeps raw frames with their reasons; durable when it returns.
    package func quarantine(_ frames: [QuarantinedFrame]) throws(SpoolError) {
        if frames.isEmpty { return }
        let incoming = frames.reduce(0) { $0 + $1.bytes.count }
        try write(incoming: incoming) { (change: inout Change) throws(SQLiteError) in
            for frame in frames {
                try quarantine(
                    kind: .frame, source: frame.source, reason: frame.reason.code,
                    receivedAt: frame.receivedAt, readings: 0, crc: Int64(CRC32.of(frame.bytes)),
                    bytes: frame.bytes, &change)
            }
        }
    }

    /// Entries with numbers above `number`, oldest first.
    package func quarantined(
        after number: Int64, limit: Int
    ) throws(SpoolError) -> [QuarantineEntry] {
        do throws(SQLiteError) {
            let select = try segment.database.prepare(
                "SELECT number, kind, source, reason, receivedAt, readings, crc, body"
                    + " FROM quarantine WHERE number > ?1 ORDER BY number LIMIT ?2")
            try select.bind(number, at: 1)
            try select.bind(limit, at: 2)
            var entries: [QuarantineEntry] = []
            while try select.step() {
                let bytes = select.blob(7)
                entries.append(
                    QuarantineEntry(
                        number: select.int64(0),
                        kind: QuarantineEntry.Kind(rawValue: select.text(1)) ?? .frame,
                        source: select.text(2), reason: select.text(3),
                        receivedAt: Timestamp(milliseconds: select.int64(4)),
                        readings: max(0, select.int(5)), bytes: bytes,
                        isIntact: select.int64(6) == Int64(CRC32.of(bytes))))
            }
            return entries
        } catch {
            throw SpoolError(error)
        }
    }

    /// Adds one entry within the running transaction and keeps the bounds.
    func quarantine(
        kind: QuarantineEntry.Kind, source: String, reason: String, receivedAt: Timestamp,
        readings: Int, crc: Int64, bytes: [UInt8], _ change: inout Change
    ) throws(SQLiteError) {
        try segment.insertQuarantine.bind(kind.rawValue, at: 1)
        try segment.insertQuarantine.bind(source, at: 2)
        try segment.insertQuarantine.bind(reason, at: 3)
        try segment.insertQuarantine.bind(receivedAt.milliseconds, at: 4)
        try segment.insertQuarantine.bind(readings, at: 5)
        try segment.insertQuarantine.bind(bytes.count, at: 6)
        try segment.insertQuarantine.bind(crc, at: 7)
        try segment.insertQuarantine.bind(bytes, at: 8)
        try segment.insertQuarantine.run()
        change.tally.details.quarantineEntries &+= 1
        change.tally.details.quarantineBytes &+= UInt64(bytes.count)
        while change.tally.details.quarantineEntries > UInt64(max(1, settings.quarantineEntries))
            || (change.tally.details.quarantineBytes > UInt64(max(0, settings.quarantineBytes))
                && change.tally.details.quarantineEntries > 1)
        {
            guard try segment.deleteOldestQuarantine.step() else { break }
            let size = UInt64(clamping: segment.deleteOldestQuarantine.int64(0))
            while try segment.deleteOldestQuarantine.step() {}
            segment.deleteOldestQuarantine.reset()
            change.tally.details.quarantineEntries &-= 1
            change.tally.details.quarantineBytes &-= size
            change.tally.details.quarantineEvicted &+= 1
        }
    }
}
