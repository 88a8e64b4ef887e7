// Readings that are older than the store is to keep go, a bounded number at a time, in idle moments.
// On the store's queue. A batch's row goes after all its readings: `committed` alone then says that its
// sequence was there, so that it is still recognised. The file does not shrink; its pages are used again.

package import Model
internal import SQLite

extension Store {
    /// Removes at most about `rows` readings observed before `cutoff`. False when a whole pass found
    /// nothing (more). Call after `settle` has answered false.
    package func prune(
        before cutoff: Timestamp, rows: Int = 20_000
    ) throws(StoreError) -> Bool {
        precondition(!database.isInTransaction, "BUG: pruning within a transaction")
        do throws(SQLiteError) {
            return try database.transaction { () throws(SQLiteError) in
                let next = try database.prepare(
                    "SELECT id FROM streams WHERE id > ? ORDER BY id LIMIT 1000")
                let delete = try database.prepare(
                    """
                    DELETE FROM settled_readings WHERE (stream, observed_at, id) IN (
                        SELECT stream, observed_at, id FROM settled_readings
                        WHERE stream = ?1 AND observed_at < ?2 LIMIT ?3)
                    """)
                var left = max(1, rows)
                var streams: [Int64] = []
                try next.bind(prunedThrough, at: 1)
                while try next.step() { streams.append(next.int64(0)) }
                next.reset()
                for stream in streams where left > 0 {
                    try delete.bind(stream, at: 1)
                    try delete.bind(cutoff.milliseconds, at: 2)
                    try delete.bind(left, at: 3)
                    try delete.run()
                    left -= database.changes
                    if left > 0 { prunedThrough = stream }
                }
                if !streams.isEmpty { return true }
                prunedThrough = 0
                return try pruneBatches(before: cutoff)
            }
        } catch {
            noteRead(error)
            throw .sqlite(error)
        }
    }

    /// The oldest batches whose readings are all gone; their numbers only rise, so the last stays.
    private func pruneBatches(before cutoff: Timestamp) throws(SQLiteError) -> Bool {
        let delete = try database.prepare(
            """
            DELETE FROM batches WHERE id IN (
                SELECT id FROM batches WHERE id < (SELECT max(id) FROM batches)
                ORDER BY id LIMIT 1000)
            AND received_at < ?1 AND last_observed_at < ?1
            AND first_row + readings <= coalesce((SELECT min(id) FROM fresh_readings), 1 << 62)
            """)
        try delete.bind(cutoff.milliseconds, at: 1)
        try delete.run()
        return database.changes > 0
    }
}
