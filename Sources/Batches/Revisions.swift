// The last revision of each bucket, so that a late reading makes the next one and no two batches of a
// bucket share a number. Owned by the epoch, on the batch queue; the owner stores `entries` in the
// transaction that stores the batches. Invariant: (bucketStart, revision) never comes twice, also
// when the table forgets: forgotten buckets and the history bucket count from one common counter
// that is above every revision forgotten.

package import Model

package struct Revisions: Sendable {
    /// Rising by start; the newest `capacity` buckets.
    private var known: [(start: Int64, revision: UInt32)] = []
    /// Next revision of history and of buckets at or before `forgottenThrough`.
    private var common: UInt32 = 0
    private var forgottenThrough: Int64?
    private let capacity: Int

    /// Key of the common counter among `entries`: no bucket starts there.
    private static let commonKey = Timestamp(milliseconds: .min)

    package init(capacity: Int = 4_096) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    /// The revision of the next batch of the bucket; its first is 0. `start` nil: history.
    package mutating func next(_ start: Int64?) -> UInt32 {
        guard let start, !isForgotten(start) else {
            defer { common &+= 1 }
            return common
        }
        let at = place(of: start)
        if at < known.count, known[at].start == start {
            known[at].revision &+= 1
            return known[at].revision
        }
        known.insert((start, 0), at: at)
        if known.count > capacity { forgetOldest() }
        return 0
    }

    private func isForgotten(_ start: Int64) -> Bool {
        forgottenThrough.map { start <= $0 } ?? false
    }

    private mutating func forgetOldest() {
        let oldest = known.removeFirst()
        forgottenThrough = oldest.start
        common = max(common, oldest.revision &+ 1)
    }

    private func place(of start: Int64) -> Int {
        var low = 0
        var high = known.count
        while low < high {
            let middle = (low + high) / 2
            if known[middle].start < start { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// What to store: the last revision of each known bucket, and under `Timestamp(Int64.min)` the
    /// common counter when it was used. At most capacity + 1 entries.
    package var entries: [(bucketStart: Timestamp, revision: UInt32)] {
        var result: [(bucketStart: Timestamp, revision: UInt32)] = []
        if common > 0 { result.append((Revisions.commonKey, common)) }
        for entry in known { result.append((Timestamp(milliseconds: entry.start), entry.revision)) }
        return result
    }

    /// Takes stored entries in any order. Buckets older than all of them count as forgotten when the
    /// common counter was in use.
    package mutating func restore(_ entries: [(bucketStart: Timestamp, revision: UInt32)]) {
        known.removeAll()
        common = 0
        forgottenThrough = nil
        for entry in entries {
            if entry.bucketStart == Revisions.commonKey {
                common = max(common, entry.revision)
                continue
            }
            let start = entry.bucketStart.milliseconds
            let at = place(of: start)
            if at < known.count, known[at].start == start {
                known[at].revision = max(known[at].revision, entry.revision)
            } else {
                known.insert((start, entry.revision), at: at)
            }
        }
        while known.count > capacity { forgetOldest() }
        if common > 0, forgottenThrough == nil, let first = known.first?.start {
            forgottenThrough = first &- 1
        }
    }
}
