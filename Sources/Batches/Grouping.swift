// From readings in arrival order to columns by stream: a stable counting sort. Owned by the batch
// encoder; all arrays are kept from batch to batch, so a batch of the usual size allocates nothing.
// Invariant: within a stream the order of arrival is kept; streams stand in rising order of number.

import Model

struct Grouping {
    /// Numbers of the streams, rising.
    private(set) var streams: [UInt32] = []
    /// Where the rows of stream i begin in the columns; one more entry than streams.
    private(set) var starts: [Int] = []
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
        let isBare = reading.kind == Value.Kind.none.rawValue && reading.bits == 0
        return UInt32(reading.kind) | (isBare ? 8 : 0)
            | UInt32(UInt8(bitPattern: reading.exponent)) << 8
            | UInt32(reading.quality.rawValue) << 16
    }

    func rows(_ stream: Int) -> Range<Int> { starts[stream]..<starts[stream + 1] }

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
            starts.append(next)
            cursors[slot] = next
            next += slotCounts[slot]
        }
        starts.append(next)
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
            starts.append(i)
        }
        starts.append(readings.count)
        makeRoom(readings.count)
        for i in 0..<readings.count { put(readings[i], at: i) }
        return true
    }

    private mutating func assignSlots(_ readings: Span<Reading>) {
        slotStreams.removeAll(keepingCapacity: true)
        slotCounts.removeAll(keepingCapacity: true)
        successors.removeAll(keepingCapacity: true)
        slots.removeAll(keepingCapacity: true)
        slots.reserveCapacity(readings.count)
        if table.count < 256 { table = [UInt32](repeating: 0, count: 256) }
        for i in table.indices { table[i] = 0 }
        var last = 0
        for i in 0..<readings.count {
            let stream = readings[i].stream.rawValue
            var slot = i == 0 ? 0 : Int(successors[last])
            if slot >= slotStreams.count || slotStreams[slot] != stream {
                slot = find(stream)
                if i > 0 { successors[last] = UInt32(slot) }
            }
            slotCounts[slot] &+= 1
            slots.append(UInt32(slot))
            last = slot
        }
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
        for i in 0..<readings.count {
            let slot = Int(slots[i])
            let row = cursors[slot]
            cursors[slot] = row &+ 1
            put(readings[i], at: row)
        }
    }

    private mutating func makeRoom(_ count: Int) {
        guard observed.count < count else { return }
        observed = [Int64](repeating: 0, count: count)
        received = observed
        bits = observed
        shapes = [UInt32](repeating: 0, count: count)
    }

    @inline(__always)
    private mutating func put(_ reading: Reading, at row: Int) {
        observed[row] = reading.observedAt.milliseconds
        received[row] = reading.receivedAt.milliseconds
        bits[row] = Int64(bitPattern: reading.bits)
        shapes[row] = Grouping.shape(of: reading)
    }
}
