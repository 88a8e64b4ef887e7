// From readings in arrival order to columns by stream: a stable counting sort. Owned by the batch
// encoder; all arrays are kept from batch to batch, so a batch of the usual size allocates nothing.
// Invariant: within a stream the order of arrival is kept; streams stand in rising order of number.

import Model

struct Grouping {
    /// Numbers of the streams, rising.
    private(set) var streams: [UInt32] = []
    /// Where the rows of stream i begin in the columns; one more entry than streams.
    private(set) var starts: [UInt32] = []
    private(set) var observed: [Int64] = []
    private(set) var received: [Int64] = []
    private(set) var bits: [Int64] = []
    /// `shape(of:)` of each row.
    private(set) var shapes: [UInt32] = []

    // Slots are streams in order of first appearance. `table` maps a hashed number to slot + 1.
    private var table: [UInt32] = []
    private var slotStreams: [UInt32] = []
    private var slotCounts: [Int] = []
    /// The slot that followed slot i last time: frames repeat, so it mostly follows again.
    private var successors: [UInt32] = []
    private var slots: [UInt32] = []
    private var cursors: [Int] = []

    /// kind in bits 0–2, bit 3 "no bits stored", exponent in 8–15, quality in 16–31.
    @inline(__always)
    static func shape(of reading: Reading) -> UInt32 {
        precondition(reading.kind < 5, "a mark is no reading")
        let isBare = reading.kind == Value.Kind.none.rawValue && reading.bits == 0
        return UInt32(reading.kind) | (isBare ? 8 : 0)
            | UInt32(UInt8(bitPattern: reading.exponent)) << 8
            | UInt32(reading.quality.rawValue) << 16
    }

    func rows(_ stream: Int) -> Range<Int> {
        Int(starts[stream])..<Int(starts[stream + 1])
    }

    mutating func group(_ readings: Span<Reading>) {
        if take(sorted: readings) { return }
        assignSlots(readings)
        let count = slotStreams.count
        // Streams mostly appear for the first time in rising order; sort only when they did not.
        var order = Array(0..<count)
        var isRising = true
        for i in 1..<max(1, count) where slotStreams[i - 1] > slotStreams[i] { isRising = false }
        if !isRising { order.sort { slotStreams[$0] < slotStreams[$1] } }
        streams.removeAll(keepingCapacity: true)
        starts.removeAll(keepingCapacity: true)
        cursors.removeAll(keepingCapacity: true)
        cursors.append(contentsOf: repeatElement(0, count: count))
        var next = 0
        for slot in order {
            streams.append(slotStreams[slot])
            starts.append(UInt32(next))
            cursors[slot] = next
            next += slotCounts[slot]
        }
        starts.append(UInt32(next))
        scatter(readings)
    }

    /// Takes readings that stand stream by stream already, as an epoch hands them over; false when they
    /// do not.
    private mutating func take(sorted readings: Span<Reading>) -> Bool {
        streams.removeAll(keepingCapacity: true)
        starts.removeAll(keepingCapacity: true)
        var last: UInt32?
        for i in 0..<readings.count {
            let stream = readings[i].stream.rawValue
            if let last {
                if stream == last { continue }
                if stream < last { return false }
            }
            last = stream
            streams.append(stream)
            starts.append(UInt32(i))
        }
        starts.append(UInt32(readings.count))
        makeRoom(readings.count)
        Grouping.copy(readings, nil, &cursors, &observed, &received, &bits, &shapes)
        return true
    }

    /// Takes readings that an epoch has in order, where they lie.
    mutating func take(
        _ log: borrowing ReadingLog, _ order: borrowing StreamOrder, _ range: Range<Int>
    ) {
        streams.removeAll(keepingCapacity: true)
        starts.removeAll(keepingCapacity: true)
        var last: UInt64?
        for i in range where order.stream(i) != last {
            last = order.stream(i)
            streams.append(UInt32(truncatingIfNeeded: order.stream(i)))
            starts.append(UInt32(i - range.lowerBound))
        }
        starts.append(UInt32(range.count))
        makeRoom(range.count)
        Grouping.copy(log, order, range, &observed, &received, &bits, &shapes)
    }

    private static func copy(
        _ log: borrowing ReadingLog, _ order: borrowing StreamOrder, _ range: Range<Int>,
        _ observed: inout [Int64], _ received: inout [Int64], _ bits: inout [Int64],
        _ shapes: inout [UInt32]
    ) {
        var observed = observed.mutableSpan
        var received = received.mutableSpan
        var bits = bits.mutableSpan
        var shapes = shapes.mutableSpan
        for row in 0..<range.count {
            let reading = log[order.place(range.lowerBound &+ row)]
            observed[row] = reading.observedAt.milliseconds
            received[row] = reading.receivedAt.milliseconds
            bits[row] = Int64(bitPattern: reading.bits)
            shapes[row] = Grouping.shape(of: reading)
        }
    }

    private mutating func assignSlots(_ readings: Span<Reading>) {
        slotStreams.removeAll(keepingCapacity: true)
        slotCounts.removeAll(keepingCapacity: true)
        successors.removeAll(keepingCapacity: true)
        if slots.count < readings.count {
            slots = [UInt32](repeating: 0, count: readings.count)
        }
        if table.count < 256 { table = [UInt32](repeating: 0, count: 256) }
        for i in table.indices { table[i] = 0 }
        var next = 0
        while next < readings.count {
            let last = next == 0 ? nil : Int(slots[next - 1])
            let slot = find(readings[next].stream.rawValue)
            if let last { successors[last] = UInt32(slot) }
            slots[next] = UInt32(slot)
            next = Grouping.follow(readings, from: next + 1, successors, slotStreams, &slots)
        }
        Grouping.count(slots, readings.count, &slotCounts)
    }

    private static func count(_ slots: [UInt32], _ end: Int, _ counts: inout [Int]) {
        var counts = counts.mutableSpan
        for i in 0..<end { counts[Int(slots[i])] &+= 1 }
    }

    /// Goes on from slot to slot as long as each stream follows the one that it followed last time; the
    /// first reading whose stream does not.
    private static func follow(
        _ readings: Span<Reading>, from start: Int, _ successors: [UInt32],
        _ slotStreams: [UInt32], _ slots: inout [UInt32]
    ) -> Int {
        let (after, streams) = (successors.span, slotStreams.span)
        var slots = slots.mutableSpan
        var slot = Int(slots[start &- 1])
        for i in start..<readings.count {
            slot = Int(after[slot])
            guard slot < streams.count, streams[slot] == readings[i].stream.rawValue else {
                return i
            }
            slots[i] = UInt32(truncatingIfNeeded: slot)
        }
        return readings.count
    }

    /// The slot of a stream, made when it is new.
    private mutating func find(_ stream: UInt32) -> Int {
        var at = Grouping.hash(stream) & (table.count - 1)
        while table[at] != 0 {
            let slot = Int(table[at]) - 1
            if slotStreams[slot] == stream { return slot }
            at = (at + 1) & (table.count - 1)
        }
        let slot = slotStreams.count
        slotStreams.append(stream)
        slotCounts.append(0)
        // A guess for the first visit: the next slot that will be made.
        successors.append(UInt32(slot + 1))
        table[at] = UInt32(slot + 1)
        if slotStreams.count * 2 > table.count { growTable() }
        return slot
    }

    private mutating func growTable() {
        table = [UInt32](repeating: 0, count: table.count * 4)
        for (slot, stream) in slotStreams.enumerated() {
            var at = Grouping.hash(stream) & (table.count - 1)
            while table[at] != 0 { at = (at + 1) & (table.count - 1) }
            table[at] = UInt32(slot + 1)
        }
    }

    private static func hash(_ stream: UInt32) -> Int {
        Int((UInt64(stream) &* 0x9E37_79B9_7F4A_7C15) >> 33)
    }

    private mutating func scatter(_ readings: Span<Reading>) {
        makeRoom(readings.count)
        Grouping.copy(
            readings, slots, &cursors, &observed, &received, &bits, &shapes)
    }

    private mutating func makeRoom(_ count: Int) {
        guard observed.count < count else { return }
        observed = [Int64](repeating: 0, count: count)
        received = observed
        bits = observed
        shapes = [UInt32](repeating: 0, count: count)
    }

    /// Each reading to the row at its slot's cursor, or to rows in their order when there are no slots.
    @inline(__always)
    private static func copy(
        _ readings: Span<Reading>, _ slots: [UInt32]?, _ cursors: inout [Int],
        _ observed: inout [Int64], _ received: inout [Int64], _ bits: inout [Int64],
        _ shapes: inout [UInt32]
    ) {
        var cursors = cursors.mutableSpan
        var observed = observed.mutableSpan
        var received = received.mutableSpan
        var bits = bits.mutableSpan
        var shapes = shapes.mutableSpan
        for i in readings.indices {
            var row = i
            if let slots {
                let slot = Int(slots[i])
                row = cursors[slot]
                cursors[slot] = row &+ 1
            }
            let reading = readings[i]
            observed[row] = reading.observedAt.milliseconds
            received[row] = reading.receivedAt.milliseconds
            bits[row] = Int64(bitPattern: reading.bits)
            shapes[row] = Grouping.shape(of: reading)
        }
    }
}
