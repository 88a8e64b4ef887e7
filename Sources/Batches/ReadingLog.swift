// The readings of the open epoch in their order of arrival, and the order in which they leave: bucket by
// bucket, in each the streams rising, of each stream as they came. Owned by the epoch, on the batch queue.
// Invariants: a reading stays where it was written until `removeAll`; memory follows the number of
// readings, not that of streams or buckets, and what a burst took goes back when a quieter epoch ends.

import Model

/// Readings in segments of one size, so that growing copies nothing and leaves no holes.
@safe struct ReadingLog: ~Copyable {
    /// 128 KB a segment: the C library takes such pieces from the kernel and gives them back.
    private static let shift = 12
    private static let segment = 1 << shift

    // Safety: every pointer was allocated with `segment` readings and is freed by removeAll or deinit
    // only; slots below `count` are initialised. Reading is trivial.
    private var segments: [UnsafeMutablePointer<Reading>] = unsafe []
    private(set) var count = 0

    deinit {
        // Safety: as above; nobody else has the pointers.
        unsafe segments.forEach { unsafe $0.deallocate() }
    }

    /// What is allocated, in readings.
    var capacity: Int { unsafe segments.count << ReadingLog.shift }

    mutating func append(_ reading: Reading) {
        // Safety: `place` is that of the next slot.
        unsafe place().initialize(to: reading)
        count &+= 1
    }

    mutating func append(_ readings: Span<Reading>) {
        var next = 0
        while next < readings.count {
            // Safety: the slots from here to the segment's end are free, and no more are written.
            let slots = unsafe place()
            let room = ReadingLog.segment - count & (ReadingLog.segment - 1)
            let part = min(room, readings.count - next)
            for i in 0..<part { unsafe slots[i] = readings[next &+ i] }
            next += part
            count += part
        }
    }

    /// The next free slot, in a segment that was made when there was none.
    private mutating func place() -> UnsafeMutablePointer<Reading> {
        let number = count &>> ReadingLog.shift
        if unsafe number == segments.count {
            unsafe segments.append(.allocate(capacity: ReadingLog.segment))
        }
        // Safety: the segment exists (above) and the place is below its size.
        return unsafe segments[number].advanced(by: count & (ReadingLog.segment - 1))
    }

    @inline(__always)
    subscript(index: Int) -> Reading {
        precondition(index >= 0 && index < count)
        // Safety: below `count`, so its segment is there and the slot initialised.
        return unsafe segments[index &>> ReadingLog.shift][index & (ReadingLog.segment - 1)]
    }

    /// Forgets all readings and gives back the segments that this epoch did not need.
    mutating func removeAll() {
        let needed = max(1, (count + ReadingLog.segment - 1) >> ReadingLog.shift)
        while unsafe segments.count > needed {
            // Safety: taken out of the list, so freed once.
            unsafe segments.removeLast().deallocate()
        }
        count = 0
    }
}

/// Places of readings, sorted by stream: a radix sort of (stream, place), whose cost does not depend on
/// how many streams there are.
struct StreamOrder {
    /// stream << 32 | place
    private(set) var keys: [UInt64] = []
    private var others: [UInt64] = []
    private var counts: [Int] = []

    private static let digit: UInt64 = 11
    /// Fewer are sorted by comparing.
    private static let few = 512
    /// So many take 128 KB, which the C library gives back at once.
    private static let many = 1 << 14

    var capacity: Int { keys.capacity + others.capacity }

    /// Room for `count` keys, each to be set once. What was far too large is given back.
    mutating func begin(_ count: Int) {
        if keys.capacity > 8 * max(count, 4096) { (keys, others) = ([], []) }
        keys.removeAll(keepingCapacity: true)
        keys.append(contentsOf: repeatElement(0, count: count))
    }

    /// Keys of the readings at `places` of the log, from `index` on.
    mutating func set(_ log: borrowing ReadingLog, _ places: Range<Int>, at index: Int) {
        var keys = keys.mutableSpan
        var next = index
        for place in places {
            keys[next] =
                UInt64(log[place].stream.rawValue) &<< 32 | UInt64(truncatingIfNeeded: place)
            next &+= 1
        }
    }

    func stream(_ index: Int) -> UInt64 { keys[index] &>> 32 }
    func place(_ index: Int) -> Int { Int(keys[index] & 0xFFFF_FFFF) }

    /// Sorts the keys of one bucket.
    mutating func sort(_ range: Range<Int>) {
        guard range.count > StreamOrder.few else { return keys[range].sort() }
        var differing: UInt64 = 0
        for i in range { differing |= keys[i] ^ keys[range.lowerBound] }
        differing &>>= 32
        var shift: UInt64 = 32
        while differing != 0 {
            if differing & (1 << StreamOrder.digit - 1) != 0 {
                if others.count < range.count {
                    others = [UInt64](repeating: 0, count: range.count)
                }
                StreamOrder.pass(range, shift, &keys, &others, &counts)
            }
            differing &>>= StreamOrder.digit
            shift += StreamOrder.digit
        }
        // The encoder comes next: what only sorting takes goes back to the kernel before.
        if others.count >= StreamOrder.many { others = [] }
    }

    /// One stable pass by the digit at `shift`.
    private static func pass(
        _ range: Range<Int>, _ shift: UInt64, _ keys: inout [UInt64], _ others: inout [UInt64],
        _ counts: inout [Int]
    ) {
        let mask: UInt64 = 1 << StreamOrder.digit - 1
        counts.removeAll(keepingCapacity: true)
        counts.append(contentsOf: repeatElement(0, count: Int(mask) + 1))
        var next = counts.mutableSpan
        var keys = keys.mutableSpan
        var others = others.mutableSpan
        for i in range { next[Int(keys[i] &>> shift & mask)] &+= 1 }
        var end = 0
        for d in next.indices { (next[d], end) = (end, end &+ next[d]) }
        for i in range {
            let key = keys[i]
            let d = Int(key &>> shift & mask)
            others[next[d]] = key
            next[d] &+= 1
        }
        for i in range { keys[i] = others[i &- range.lowerBound] }
    }
}
