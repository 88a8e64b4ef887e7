// One epoch: the open buckets between two cuts. Owned by the batch queue, single-threaded. `add` is
// hot: it finds the bucket (nearly always the last one used), appends 32 bytes to the log and lengthens
// the bucket's run; a bucket itself is a count, so 4,096 of them and a million streams cost nothing.
// Invariants: a reading is in exactly one bucket from `add` to `seal`; readings of a stream leave in
// the order in which they came, bucket by bucket; what decides a bucket is the reading itself and not
// the order of arrival, so a journal decoded again fills the same buckets. Runs cover the log in order.

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
        /// Its readings; while sealing where the next of them goes.
        var count = 0
    }

    /// Readings side by side in the log that belong to one bucket.
    private struct Run {
        var bucket: UInt32
        var count: UInt32
    }

    private let settings: EpochSettings
    private var buckets: [Bucket] = []
    /// Hashed (start, priority) to bucket + 1, linear probing; at most half full.
    private var table: [UInt32]
    private var last = 0
    private var earliest = Int64.max
    /// Priority of streams by number; beyond its end they are live.
    private var priorities: [Priority] = []
    private var log = ReadingLog()
    private var runs: [Run] = []
    private var order = StreamOrder()
    private var encoder = BatchEncoder()
    /// Readings of the largest batch that the encoder has seen, and of the epoch's.
    private var largest = (ever: 0, now: 0)
    private var revisionTable = Revisions()

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
        var next = 0
        while next < readings.count {
            let reading = readings[next]
            find(reading, priority(of: reading.stream))
            let end = same(readings, from: next)
            log.append(readings.extracting(next..<end))
            take(end - next)
            next = end
        }
    }

    /// The end of the readings behind `next` that belong to the bucket of that one, which is `last`. The
    /// questions are those of `bucketStart`, since a reading alone decides its bucket; two limits are one
    /// comparison without sign.
    private mutating func same(_ readings: Span<Reading>, from next: Int) -> Int {
        guard let start = buckets[last].start else { return next + 1 }
        let lane = buckets[last].priority
        let low = max(start, 1 - 1 << 62)
        let times = UInt64(bitPattern: min(start &+ settings.bucketMilliseconds, 1 << 62) &- low)
        let ahead = min(settings.aheadMilliseconds, 1 << 60)
        let lags = UInt64(bitPattern: min(settings.backMilliseconds, 1 << 60) &+ ahead)
        let allLive = priorities.isEmpty && lane == .live
        var earliest = earliest
        var i = next + 1
        while i < readings.count {
            let reading = readings[i]
            let observed = reading.observedAt.milliseconds
            // Neither sum reaches as far as to come round: observed is below 2^62, lags are below 2^61.
            let lag = reading.receivedAt.milliseconds &- observed &+ ahead
            guard UInt64(bitPattern: observed &- low) < times, UInt64(bitPattern: lag) <= lags,
                !reading.isMark, allLive || priority(of: reading.stream) == lane
            else { break }
            earliest = min(earliest, observed)
            i &+= 1
        }
        self.earliest = earliest
        return i
    }

    package mutating func add(_ reading: Reading, priority: Priority) {
        find(reading, priority)
        log.append(reading)
        take(1)
    }

    /// Makes `last` the bucket of a reading.
    @inline(__always)
    private mutating func find(_ reading: Reading, _ priority: Priority) {
        precondition(!reading.isMark, "a mark is no reading")
        let observed = reading.observedAt.milliseconds
        let start = bucketStart(observed, received: reading.receivedAt.milliseconds)
        if last >= buckets.count || buckets[last].start != start
            || buckets[last].priority != priority
        {
            last = bucket(start, priority)
        }
        earliest = min(earliest, observed)
    }

    /// The newest `count` readings of the log are of the bucket `last`.
    private mutating func take(_ count: Int) {
        buckets[last].count &+= count
        let end = runs.count &- 1
        if end >= 0, runs[end].bucket == last, Int(runs[end].count) &+ count < Int(UInt32.max) {
            runs[end].count &+= UInt32(count)
        } else {
            runs.append(Run(bucket: UInt32(last), count: UInt32(count)))
        }
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
            UInt64(bitPattern: observed &- start) < UInt64(settings.bucketMilliseconds)
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
        buckets.append(Bucket(start: start, priority: priority))
        table[at] = UInt32(buckets.count)
        return buckets.count - 1
    }

    private static func hash(_ start: Int64?, _ priority: Priority) -> Int {
        let key = UInt64(bitPattern: start ?? 1) &* 4 &+ UInt64(priority.rawValue)
        return Int((key &* 0x9E37_79B9_7F4A_7C15) >> 33)
    }

    /// Readings that arrived before `limit`, on a clock that was not set: their arrival moves by `step` ms,
    /// and with it the time of those whose device has no clock, which are then as good as others. A time
    /// that the device told stays as it is, and stays marked, since nothing judged it.
    package mutating func correct(by step: Int64, receivedBefore limit: Timestamp) {
        var readings: [Reading] = []
        readings.reserveCapacity(log.count)
        var isWrong = false
        for place in 0..<log.count {
            var reading = log[place]
            if reading.receivedAt < limit {
                isWrong = true
                reading.receivedAt.milliseconds &+= step
                if reading.quality.contains(.noDeviceClock) {
                    reading.observedAt = reading.receivedAt
                    if reading.receivedAt >= limit { reading.quality.remove(.gatewayClockUnset) }
                }
            }
            readings.append(reading)
        }
        guard isWrong else { return }
        removeAll()
        add(readings.span)
    }

    // MARK: What it holds

    /// Readings in the open buckets, counted where they lie: the ledger's count.
    package var readingCount: Int { log.count }

    /// What is allocated for readings, open or lately sealed, in bytes.
    package var capacityBytes: Int {
        log.capacity * MemoryLayout<Reading>.stride
            + order.capacity * MemoryLayout<UInt64>.stride
            + runs.capacity * MemoryLayout<Run>.stride
    }

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
    /// lane oldest first, history last, and leaves the epoch empty. Batches of one bucket hold streams
    /// in rising order: a stream is in one of them, if it fits. `effort` nil: as the settings say.
    package mutating func seal(effort: BatchEffort? = nil) -> [SealedBatch] {
        let effort = effort ?? settings.effort
        let sorted = buckets.indices.sorted {
            let (a, b) = (buckets[$0], buckets[$1])
            return (a.priority.rawValue, a.start ?? .max) < (b.priority.rawValue, b.start ?? .max)
        }
        let ends = arrange(sorted)
        var batches: [SealedBatch] = []
        var from = 0
        for (index, end) in zip(sorted, ends) {
            order.sort(from..<end)
            seal(buckets[index], from..<end, effort, into: &batches)
            from = end
        }
        if largest.now < largest.ever / 8 {
            encoder = BatchEncoder()
            largest.ever = largest.now
        }
        largest.now = 0
        removeAll()
        return batches
    }

    /// Forgets all readings without encoding them: for the bench, to tell what the codec takes.
    package mutating func removeAll() {
        log.removeAll()
        if runs.capacity > 8 * max(runs.count, 512) { runs = [] }
        runs.removeAll(keepingCapacity: true)
        buckets.removeAll(keepingCapacity: true)
        for i in table.indices { table[i] = 0 }
        last = 0
        earliest = .max
    }

    /// Puts the places of all readings into `order`, bucket after bucket; returns where each ends.
    private mutating func arrange(_ sorted: [Int]) -> [Int] {
        order.begin(log.count)
        var ends: [Int] = []
        ends.reserveCapacity(sorted.count)
        var next = 0
        for index in sorted {
            let count = buckets[index].count
            buckets[index].count = next
            next += count
            ends.append(next)
        }
        var place = 0
        for run in runs {
            let (bucket, end) = (Int(run.bucket), place + Int(run.count))
            order.set(log, place..<end, at: buckets[bucket].count)
            buckets[bucket].count += Int(run.count)
            place = end
        }
        return ends
    }

    private mutating func seal(
        _ bucket: Bucket, _ range: Range<Int>, _ effort: BatchEffort,
        into batches: inout [SealedBatch]
    ) {
        let limit = settings.readingsPerBatch
        let parts = max(1, (range.count + limit - 1) / limit)
        let usual = (range.count + parts - 1) / parts
        var from = range.lowerBound
        while from < range.upperBound {
            var end = min(from + usual, range.upperBound)
            // To the end of the stream, which then need not begin anew in the next batch.
            while end < range.upperBound, end - from < limit,
                order.stream(end) == order.stream(end - 1)
            { end += 1 }
            largest.now = max(largest.now, end - from)
            largest.ever = max(largest.ever, end - from)
            let revision = revisionTable.next(bucket.start)
            batches.append(
                encoder.encode(
                    log, order, from..<end, bucketStart: Timestamp(milliseconds: bucket.start ?? 0),
                    bucketMilliseconds: bucket.start == nil ? 0 : settings.bucketMilliseconds,
                    revision: revision, priority: bucket.priority, effort: effort))
            from = end
        }
    }
}
