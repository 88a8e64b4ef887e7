// Where each pending batch is, in memory: 24 bytes a batch, in the order of the sequences.
// Everything
// that the spool decides (which batch is lent next, which is evicted, which file is free) it
// decides
// from here; the files are read only for the batches themselves. Owned by the spool, on its queue.
//
// Invariants: sequences rise; the sums by lane and by segment are those of the rows that are live.

import Model

/// One pending batch.
struct PendingBatch: Hashable {
    var sequence: UInt64
    var size: UInt32
    /// Bits 30 and 31 the lane, below them the number of readings.
    private var packed: UInt32
    /// Number of the segment that holds it; 0: no longer pending.
    var segment: UInt32
    /// Seconds since 1970 of the newest observation in it.
    var observedSeconds: UInt32

    static let readingsLimit = 1 << 30

    init(
        sequence: UInt64, lane: Priority, readings: Int64, size: Int64, segment: Int,
        lastObservedAt: Timestamp
    ) {
        self.sequence = sequence
        self.size = UInt32(clamping: size)
        packed = UInt32(lane.rawValue) << 30 | min(UInt32(clamping: readings), 1 << 30 - 1)
        self.segment = UInt32(segment)
        observedSeconds = UInt32(clamping: lastObservedAt.milliseconds / 1000)
    }

    var lane: Priority { Priority(rawValue: UInt8(packed >> 30)) ?? .backlog }
    var readings: UInt64 { UInt64(packed & (1 << 30 - 1)) }
    /// What it takes on disk: 64 is about what a row takes besides its body.
    var bytes: Int { Int(size) + 64 }
}

struct PendingIndex {
    /// What one segment still holds.
    struct Share: Hashable {
        var batches = 0
        var bytes = 0
    }

    private var rows: [PendingBatch] = []
    private var dead = 0
    /// For each lane a place before which nothing of it is live.
    private var starts: [3 of Int] = InlineArray(repeating: 0)
    private var counts: [3 of Int] = InlineArray(repeating: 0)
    private(set) var shares: [Int: Share] = [:]

    var count: Int { rows.count - dead }
    var bytes: Int { shares.values.reduce(0) { $0 + $1.bytes } }

    /// Sequence of the oldest that is live.
    var oldest: UInt64? { rows.first { $0.segment != 0 }?.sequence }

    func count(_ lane: Priority) -> Int { counts[Int(lane.rawValue)] }

    func share(ofSegment number: Int) -> Share { shares[number] ?? Share() }

    /// A batch with a sequence above all others.
    mutating func append(_ batch: PendingBatch) {
        precondition(rows.last.map { $0.sequence < batch.sequence } ?? true, "sequences rise")
        rows.append(batch)
        note(batch, 1)
    }

    /// A batch whose sequence is not pending; seldom below another.
    mutating func insert(_ batch: PendingBatch) {
        guard let last = rows.last, batch.sequence <= last.sequence else { return append(batch) }
        let place = lowerBound(batch.sequence)
        if rows[place].sequence == batch.sequence {
            precondition(rows[place].segment == 0, "not pending")
            rows[place] = batch
            dead -= 1
        } else {
            rows.insert(batch, at: place)
        }
        starts = InlineArray(repeating: 0)
        note(batch, 1)
    }

    /// What was read from the files, in any order; of two with one sequence the later one counts.
    mutating func replace(with batches: [PendingBatch]) {
        self = PendingIndex()
        var sorted = batches
        sorted.sort { ($0.sequence, $0.segment) < ($1.sequence, $1.segment) }
        for batch in sorted {
            if let last = rows.last, last.sequence == batch.sequence {
                note(last, -1)
                rows.removeLast()
            }
            append(batch)
        }
    }

    subscript(sequence: UInt64) -> PendingBatch? {
        find(sequence).map { rows[$0] }
    }

    /// Takes a batch out; nil when it is not pending.
    @discardableResult
    mutating func remove(_ sequence: UInt64) -> PendingBatch? {
        guard let place = find(sequence) else { return nil }
        let batch = rows[place]
        note(batch, -1)
        rows[place].segment = 0
        dead += 1
        if dead > 1024, dead > rows.count / 2 {
            rows.removeAll { $0.segment == 0 }
            dead = 0
            starts = InlineArray(repeating: 0)
        }
        return batch
    }

    /// The batch was copied into another segment.
    mutating func move(_ sequence: UInt64, toSegment number: Int) {
        guard let place = find(sequence) else { return }
        note(rows[place], -1)
        rows[place].segment = UInt32(number)
        note(rows[place], 1)
    }

    /// Calls `body` with the live batches of a lane above `sequence`, oldest first, while it
    /// answers
    /// true.
    mutating func forEach(
        _ lane: Priority, after sequence: UInt64 = 0, _ body: (PendingBatch) -> Bool
    ) {
        let number = Int(lane.rawValue)
        guard counts[number] > 0 else { return }
        var place = starts[number]
        while place < rows.count, !isLive(place, lane) { place += 1 }
        starts[number] = place
        if sequence > 0 { place = max(place, lowerBound(sequence &+ 1)) }
        while place < rows.count {
            if isLive(place, lane), !body(rows[place]) { return }
            place += 1
        }
    }

    /// The live batches of one segment, or of all, in the order of their sequences.
    func batches(inSegment number: Int? = nil) -> [PendingBatch] {
        rows.filter { $0.segment != 0 && (number == nil || Int($0.segment) == number) }
    }

    private func isLive(_ place: Int, _ lane: Priority) -> Bool {
        rows[place].segment != 0 && rows[place].lane == lane
    }

    private mutating func note(_ batch: PendingBatch, _ sign: Int) {
        counts[Int(batch.lane.rawValue)] += sign
        var share = shares[Int(batch.segment)] ?? Share()
        share.batches += sign
        share.bytes += sign * batch.bytes
        shares[Int(batch.segment)] = share.batches == 0 ? nil : share
    }

    private func lowerBound(_ sequence: UInt64) -> Int {
        var low = 0
        var high = rows.count
        while low < high {
            let middle = (low + high) / 2
            if rows[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func find(_ sequence: UInt64) -> Int? {
        let place = lowerBound(sequence)
        guard place < rows.count, rows[place].sequence == sequence, rows[place].segment != 0
        else { return nil }
        return place
    }
}

/// What the newest segment keeps about another (table `older`).
struct OlderList {
    let number: Int
    /// Rows of its journal that may be needed.
    let journal: ClosedRange<Int64>?
    /// What was pending in it when the newest segment was begun.
    let batches: [PendingBatch]

    /// Layout: varints journalFrom and journalTo (0, 0: none), varint count, then for each batch
    /// varints:
    /// sequence − that of the one before, lane, readings, size, observedSeconds.
    static func encode(_ journal: ClosedRange<Int64>?, _ batches: [PendingBatch]) -> [UInt8] {
        var writer = ByteWriter(capacity: 16 + batches.count * 12)
        writer.varint(UInt64(clamping: journal?.lowerBound ?? 0))
        writer.varint(UInt64(clamping: journal?.upperBound ?? 0))
        writer.varint(UInt64(batches.count))
        var last: UInt64 = 0
        for batch in batches {
            writer.varint(batch.sequence &- last)
            writer.varint(UInt64(batch.lane.rawValue))
            writer.varint(batch.readings)
            writer.varint(UInt64(batch.size))
            writer.varint(UInt64(batch.observedSeconds))
            last = batch.sequence
        }
        return writer.bytes
    }

    init?(_ bytes: [UInt8], number: Int) {
        self.number = number
        var reader = ByteReader(bytes)
        var batches: [PendingBatch] = []
        var last: UInt64 = 0
        do throws(ShortBytes) {
            let from = Int64(clamping: try reader.varint())
            let to = Int64(clamping: try reader.varint())
            journal = from > 0 && from <= to ? from...to : nil
            for _ in 0..<Int(clamping: try reader.varint()) {
                last = last &+ (try reader.varint())
                let lane = Priority(stored: Int64(clamping: try reader.varint()))
                let readings = Int64(clamping: try reader.varint())
                let size = Int64(clamping: try reader.varint())
                let seconds = Int64(clamping: min(try reader.varint(), UInt64(UInt32.max)))
                batches.append(
                    PendingBatch(
                        sequence: last, lane: lane, readings: readings, size: size,
                        segment: number, lastObservedAt: Timestamp(milliseconds: seconds * 1000)))
            }
        } catch {
            return nil
        }
        self.batches = batches
    }
}
