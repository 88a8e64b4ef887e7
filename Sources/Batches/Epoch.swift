// One epoch: the open buckets between two cuts. Owned by the batch queue, single-threaded. `add` is
// hot: it finds the bucket (nearly always the last one used) and appends 32 bytes.
// Invariants: a reading is in exactly one bucket from `add` to `seal`; readings of a stream leave in
// the order in which they came, bucket by bucket; what decides a bucket is the reading itself and not
// the order of arrival, so a journal decoded again fills the same buckets.

package import Model

/// Settings of buckets and batches (`batch.*` of the configuration).
package struct EpochSettings: Hashable, Sendable {
    /// Width of a bucket of event time.
    package var bucketMilliseconds: Int64 = 60_000
    /// The wheel: an observedAt further before or after its receivedAt goes to the history bucket.
    package var backMilliseconds: Int64 = 48 * 3_600_000
    package var aheadMilliseconds: Int64 = 600_000
    /// Open buckets at once; what needs one more goes to history.
    package var maximumBuckets = 4_096
    /// A bucket with more becomes several batches.
    package var readingsPerBatch = 20_000
    package var effort = BatchEffort.normal

    package init() {}
}

package struct Epoch: ~Copyable {
    private struct Bucket {
        /// nil: history.
        var start: Int64?
        var priority: Priority
        var readings: [Reading]
    }

    private let settings: EpochSettings
    private var buckets: [Bucket] = []
    /// Hashed (start, priority) to bucket + 1, linear probing; at most half full.
    private var table: [UInt32]
    private var last = 0
    private var earliest = Int64.max
    /// Priority of streams by number; beyond its end they are live.
    private var priorities: [Priority] = []
    private var spare: [[Reading]] = []
    private var encoder = BatchEncoder()
    private var revisionTable = Revisions()

    /// Empty arrays kept for the next epoch.
    private static let spareArrays = 64

    package init(settings: EpochSettings = EpochSettings()) {
        precondition(settings.bucketMilliseconds > 0 && settings.maximumBuckets > 0)
        precondition((1...1_000_000).contains(settings.readingsPerBatch))
        precondition(settings.backMilliseconds >= 0 && settings.aheadMilliseconds >= 0)
        self.settings = settings
        var size = 64
        while size < 2 * (settings.maximumBuckets + Priority.allCases.count) { size *= 2 }
        table = [UInt32](repeating: 0, count: size)
    }

    // MARK: Filling

    /// Streams are live until something else is said.
    package mutating func setPriority(_ priority: Priority, of stream: StreamID) {
        let number = Int(stream.rawValue)
        if number >= priorities.count {
            if priority == .live { return }
            priorities.append(
                contentsOf: repeatElement(.live, count: number + 1 - priorities.count))
        }
        priorities[number] = priority
    }

    @inline(__always)
    private func priority(of stream: StreamID) -> Priority {
        let number = Int(stream.rawValue)
        return number < priorities.count ? priorities[number] : .live
    }

    package mutating func add(_ readings: Span<Reading>) {
        for i in 0..<readings.count {
            let reading = readings[i]
            add(reading, priority: priority(of: reading.stream))
        }
    }

    package mutating func add(_ reading: Reading, priority: Priority) {
        precondition(!reading.isMark, "a mark is no reading")
        let observed = reading.observedAt.milliseconds
        let start = bucketStart(observed, received: reading.receivedAt.milliseconds)
        if last >= buckets.count || buckets[last].start != start
            || buckets[last].priority != priority
        {
            last = bucket(start, priority)
        }
        buckets[last].readings.append(reading)
        earliest = min(earliest, observed)
    }

    /// nil: history.
    @inline(__always)
    private func bucketStart(_ observed: Int64, received: Int64) -> Int64? {
        let (lag, overflow) = received.subtractingReportingOverflow(observed)
        // The second half keeps the start itself within Int64.
        guard !overflow, lag <= settings.backMilliseconds, lag >= -settings.aheadMilliseconds,
            observed.magnitude < 1 << 62
        else { return nil }
        // The last bucket again: no division.
        if last < buckets.count, let start = buckets[last].start, observed >= start,
            observed - start < settings.bucketMilliseconds
        {
            return start
        }
        return observed - observed.flooredDivision(by: settings.bucketMilliseconds).remainder
    }

    private mutating func bucket(_ start: Int64?, _ priority: Priority) -> Int {
        let mask = table.count - 1
        var at = Epoch.hash(start, priority) & mask
        while table[at] != 0 {
            let index = Int(table[at]) - 1
            if buckets[index].start == start && buckets[index].priority == priority {
                return index
            }
            at = (at + 1) & mask
        }
        if start != nil, buckets.count >= settings.maximumBuckets { return bucket(nil, priority) }
        buckets.append(
            Bucket(start: start, priority: priority, readings: spare.popLast() ?? []))
        table[at] = UInt32(buckets.count)
        return buckets.count - 1
    }

    private static func hash(_ start: Int64?, _ priority: Priority) -> Int {
        let key = UInt64(bitPattern: start ?? 1) &* 4 &+ UInt64(priority.rawValue)
        return Int((key &* 0x9E37_79B9_7F4A_7C15) >> 33)
    }

    // MARK: What it holds

    /// Readings in the open buckets, summed over the buckets themselves: the ledger's count.
    package var readingCount: Int { buckets.reduce(0) { $0 + $1.readings.count } }

    package var bucketCount: Int { buckets.count }

    /// The earliest observedAt in the open buckets.
    package var oldest: Timestamp? {
        buckets.isEmpty ? nil : Timestamp(milliseconds: earliest)
    }

    /// Last revision of each bucket sealed so far; see `Revisions.entries`.
    package var revisions: [(bucketStart: Timestamp, revision: UInt32)] { revisionTable.entries }

    /// Takes revisions stored by an earlier run; before the first `seal`.
    package mutating func restore(revisions: [(bucketStart: Timestamp, revision: UInt32)]) {
        revisionTable.restore(revisions)
    }

    // MARK: Cut

    /// Encodes every bucket into batches of at most `readingsPerBatch`, lanes in order, buckets of a
    /// lane oldest first, history last, and leaves the epoch empty. `effort` nil: as the settings say.
    package mutating func seal(effort: BatchEffort? = nil) -> [SealedBatch] {
        let effort = effort ?? settings.effort
        let order = buckets.indices.sorted {
            let (a, b) = (buckets[$0], buckets[$1])
            return (a.priority.rawValue, a.start ?? .max) < (b.priority.rawValue, b.start ?? .max)
        }
        var batches: [SealedBatch] = []
        for index in order { seal(buckets[index], effort, into: &batches) }
        empty()
        return batches
    }

    private mutating func seal(
        _ bucket: Bucket, _ effort: BatchEffort, into batches: inout [SealedBatch]
    ) {
        var from = 0
        while from < bucket.readings.count {
            let end = min(from + settings.readingsPerBatch, bucket.readings.count)
            let revision = revisionTable.next(bucket.start)
            batches.append(
                encoder.encode(
                    bucket.readings.span.extracting(from..<end),
                    bucketStart: Timestamp(milliseconds: bucket.start ?? 0),
                    bucketMilliseconds: bucket.start == nil ? 0 : settings.bucketMilliseconds,
                    revision: revision, priority: bucket.priority, effort: effort))
            from = end
        }
    }

    private mutating func empty() {
        for index in buckets.indices where spare.count < Epoch.spareArrays {
            guard buckets[index].readings.capacity <= settings.readingsPerBatch * 2 else {
                continue
            }
            var readings: [Reading] = []
            swap(&readings, &buckets[index].readings)
            readings.removeAll(keepingCapacity: true)
            spare.append(readings)
        }
        buckets.removeAll(keepingCapacity: true)
        for i in table.indices { table[i] = 0 }
        last = 0
        earliest = .max
    }
}
