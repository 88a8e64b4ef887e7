// What the range coder expects of the next residual: whether it is 0, its length in bits, its sign, the
// bits below the highest. Zeros and lengths are the mean of two adaptive probabilities, one of columns as
// lively as this one after residuals like the last two, one of this column alone, weighted by how often
// each was seen. protocols/batch.md says the same in words. Owned by one encoder or decoder.
// Invariant: slot numbers are block × 16 + 0..<16 with the block masked to the table.

/// What follows from how often probabilities were seen.
private enum Experience {
    /// How often is counted to 31. For each count how fast a probability moves, 65536 / (n + 2), and the
    /// next count; then for each pair the second's share of a mean in 1/65536, where each counts
    /// (5n + 3) / (5n + 53).
    static let table: [UInt32] = {
        var table: [UInt32] = []
        for n in 0..<32 { table += [UInt32(65_536 / (n + 2)), UInt32(min(n + 1, 31))] }
        for pair in 0..<1024 {
            let (a, b) = (pair >> 5, pair & 31)
            let (one, two) = ((5 * a + 3) * (5 * b + 53), (5 * b + 3) * (5 * a + 53))
            table.append(UInt32(65_536 * two / (one + two)))
        }
        return table
    }()
}

/// Adaptive probabilities, in blocks of 16.
@safe struct ResidualModel: ~Copyable {
    /// Probability of a 1 in 1/65536 in the upper half, how often seen (0...31) in the lower.
    private let slots: UnsafeMutablePointer<UInt32>
    /// `Experience.table`
    private let tables: UnsafeMutablePointer<UInt32>
    private let capacity: Int
    private var shift: UInt32 = 22

    private var column: UInt32 = 0

    private static let start: UInt32 = 0x8000_0000
    private static let bits: ClosedRange<UInt32> = 10...12

    /// For batches of at most `readings`; `reset` before use.
    init(readings: Int) {
        capacity = 16 << Int(ResidualModel.tableBits(readings))
        // Safety: both freed in deinit and never handed out; `reset` initialises the slots.
        unsafe slots = .allocate(capacity: capacity)
        let table = Experience.table
        unsafe tables = .allocate(capacity: table.count)
        // Safety: as many as were allocated.
        unsafe tables.initialize(from: table, count: table.count)
    }

    deinit {
        // Safety: allocated in init; the elements are trivial.
        unsafe slots.deallocate()
        unsafe tables.deallocate()
    }

    /// The table has 2^bits blocks: two for each reading, within limits.
    private static func tableBits(_ readings: Int) -> UInt32 {
        var bits = ResidualModel.bits.lowerBound
        while bits < ResidualModel.bits.upperBound, 1 << Int(bits) < 2 * readings { bits += 1 }
        return bits
    }

    /// Forgets everything; `readings` of the batch decide the size of the table.
    mutating func reset(readings: Int) {
        let bits = ResidualModel.tableBits(readings)
        precondition(16 << Int(bits) <= capacity, "the model was made for smaller batches")
        shift = 32 - bits
        // Safety: at most the capacity, as just checked.
        unsafe slots.initialize(repeating: ResidualModel.start, count: 16 << Int(bits))
        column = 0
    }

    /// The residuals of the next column, each without its `shift` lowest bits, which follow as they are;
    /// `activity` 1...8 as its form says.
    mutating func encode(
        _ residuals: Span<Int64>, isTime: Bool, activity: Int, shift: Int,
        _ coder: inout RangeEncoder
    ) {
        var state = next(isTime: isTime, activity: activity)
        var own = RangeEncoder()
        swap(&own, &coder)
        for i in residuals.indices {
            let r = residuals[i]
            _ = state.residual(r &>> Int64(shift), &own)
            guard shift > 0 else { continue }
            _ = own.raw(UInt64(bitPattern: r) & (1 &<< UInt64(shift) &- 1), shift)
        }
        swap(&own, &coder)
    }

    /// Appends the `count` residuals of the next column, whatever the bytes are.
    mutating func decode(
        _ count: Int, isTime: Bool, activity: Int, shift: Int, _ coder: inout RangeDecoder,
        into residuals: inout [Int64]
    ) {
        let begun = next(isTime: isTime, activity: activity)
        guard count > 0 else { return }
        residuals.append(addingCapacity: count) { target in
            var (state, own) = (begun, coder)
            for _ in 0..<count {
                let high = state.residual(0, &own)
                let low = shift > 0 ? own.raw(0, shift) : 0
                target.append(high &<< Int64(shift) | Int64(bitPattern: low))
            }
            coder = own
        }
    }

    private mutating func next(isTime: Bool, activity: Int) -> ColumnState {
        column &+= 1
        // Safety: used within the loop of a method of this model, which frees them in deinit only.
        return unsafe ColumnState(
            slots: slots, tables: tables, shift: shift, column: column, isTime: isTime,
            activity: activity)
    }
}

/// What a loop over a column's residuals needs, without references and in a local of it: in the model
/// itself each slot written would have the next decision read all of it again.
@safe private struct ColumnState {
    // Safety: the model's, which outlives the loop (`next`).
    private let slots: UnsafeMutablePointer<UInt32>
    private let tables: UnsafeMutablePointer<UInt32>
    private let shift: UInt32
    private let kind: UInt32
    private let isQuiet: Bool
    private let historyMask: Int
    private let ownZero: Int
    private let ownLength: Int
    private let signs: Int
    private var history = 0
    private var recent: UInt32 = 0
    private var before: UInt32 = 0
    private var sign = 0

    init(
        slots: UnsafeMutablePointer<UInt32>, tables: UnsafeMutablePointer<UInt32>, shift: UInt32,
        column: UInt32, isTime: Bool, activity: Int
    ) {
        // Safety: kept as above.
        unsafe (self.slots, self.tables) = (slots, tables)
        self.shift = shift
        kind = UInt32(activity) | (isTime ? 16 : 0)
        isQuiet = activity < 3
        historyMask = isTime ? 15 : 1
        ownZero = ColumnState.block(1, column, 0, shift)
        ownLength = ColumnState.block(3, column, 0, shift)
        signs = ColumnState.block(4, kind, 0, shift)
    }

    @inline(__always)
    private static func block(_ what: UInt32, _ a: UInt32, _ b: UInt32, _ shift: UInt32) -> Int {
        let key = what | a &<< 3 | b &<< 24
        return Int((key &* 0x9E37_79B1) &>> shift) &* 16
    }

    @inline(__always)
    private func block(_ what: UInt32, _ a: UInt32, _ b: UInt32) -> Int {
        ColumnState.block(what, a, b, shift)
    }

    // MARK: Decisions

    @inline(__always)
    private func bit<C: BitCoder>(_ known: UInt64, _ i: Int, _ j: Int, _ coder: inout C) -> UInt64 {
        // Safety: both slots are block × 16 + 0...15 with the block below the table's (reset).
        let (a, b) = unsafe (slots[i], slots[j])
        let (p, q) = (Int64(a &>> 16), Int64(b &>> 16))
        let (m, n) = (Int(a & 31), Int(b & 31))
        // Safety: 64 + m × 32 + n is below 64 + 1024.
        let weight = unsafe Int64(tables[64 &+ m &* 32 &+ n])
        let mean = p &+ ((q &- p) &* weight) &>> 16
        return coder.guess(known, UInt64(truncatingIfNeeded: mean)) { result in
            // Safety: the slots as above.
            unsafe slots[i] = moved(a, result)
            unsafe slots[j] = moved(b, result)
        }
    }

    @inline(__always)
    private func bit<C: BitCoder>(_ known: UInt64, _ i: Int, _ coder: inout C) -> UInt64 {
        // Safety: the slot is block × 16 + 0...15 with the block below the table's (reset).
        let slot = unsafe slots[i]
        let result = coder.code(known, UInt64(slot &>> 16))
        // Safety: as above.
        unsafe slots[i] = moved(slot, result)
        return result
    }

    /// A slot after it was seen once more. The last rate, 1/33 rounded down, ends at 33 and 65502. The way
    /// up is that down from the other end, so that one multiplication serves both.
    @inline(__always)
    private func moved(_ slot: UInt32, _ bit: UInt64) -> UInt32 {
        let seen = Int(slot & 31)
        // Safety: twice a number below 32, and the place after it, are below 64.
        let (rate, next) = unsafe (tables[2 &* seen], tables[2 &* seen &+ 1])
        let ends = (0 &- UInt32(truncatingIfNeeded: bit)) &>> 16
        let far = slot &>> 16 ^ ends
        return ((far &- (far &* rate) &>> 16) ^ ends) &<< 16 | next
    }

    // MARK: Residuals

    /// The residual `r` for an encoder; for a decoder the one that was written, whatever `r` is.
    @inline(__always)
    mutating func residual<C: BitCoder>(_ r: Int64, _ coder: inout C) -> Int64 {
        if isQuiet {
            let isAny = bit(
                r != 0 ? 1 : 0, block(0, kind, recent) &+ history,
                ownZero &+ (history & historyMask), &coder)
            history = (history &<< 1 | Int(truncatingIfNeeded: isAny)) & 15
            if isAny == 0 { return zero() }
        }
        let length = length(of: r.magnitude, &coder)
        if length == 0 { return zero() }
        let isNegative = bit(
            UInt64(bitPattern: r) &>> 63, signs &+ (min(length, 3) &- 1) &* 3 &+ sign, &coder)
        let magnitude = mantissa(r.magnitude, length, &coder)
        before = recent
        recent = ColumnState.magnitude(length)
        sign = 1 &+ Int(truncatingIfNeeded: isNegative)
        let flip = 0 &- isNegative
        return Int64(bitPattern: (magnitude ^ flip) &- flip)
    }

    @inline(__always)
    private mutating func zero() -> Int64 {
        before = recent
        recent = 0
        sign = 0
        return 0
    }

    /// Lengths in seven classes, four bits each: 0, 1, 2, 3 to 4, 5 to 7, 8 to 10, more.
    @inline(__always)
    private static func magnitude(_ length: Int) -> UInt32 {
        let classes: UInt64 = 0x6666_6555_4443_3210
        return UInt32(truncatingIfNeeded: classes &>> UInt64(4 &* min(length, 15))) & 15
    }

    /// Bits of a magnitude, 0...64: four decisions down a tree, 15 and more with six plain bits.
    @inline(__always)
    private func length<C: BitCoder>(of known: UInt64, _ coder: inout C) -> Int {
        let shared = block(2, kind | recent &<< 8, before)
        let length = 64 &- known.leadingZeroBitCount
        let capped = UInt64(truncatingIfNeeded: min(length, 15))
        var node = 1
        for depth in 0..<4 {
            let bit = bit(
                capped &>> UInt64(3 &- depth) & 1, shared &+ node, ownLength &+ node, &coder)
            node = node &<< 1 | Int(truncatingIfNeeded: bit)
        }
        guard node == 31 else { return node &- 16 }
        let rest = coder.raw(UInt64(truncatingIfNeeded: length &- 15), 6)
        // An encoder's is at most 64.
        return min(15 &+ Int(rest), 64)
    }

    /// The bits below the highest one: four by their place in a tree, the rest as they are.
    @inline(__always)
    private func mantissa<C: BitCoder>(
        _ known: UInt64, _ length: Int, _ coder: inout C
    ) -> UInt64 {
        let nodes = block(5, kind, UInt32(length))
        var left = length &- 1
        var node = 1
        // Safety: the slots are those of one block, 0...15.
        var slot = unsafe slots[nodes &+ 1]
        while left > 0, node < 16 {
            left &-= 1
            // Both that may be next are read before it is known which: the decoder waits less.
            let below = nodes &+ (2 &* node & 14)
            // Safety: as above.
            let (zero, one) = unsafe (slots[below], slots[below &+ 1])
            let bit = coder.code(known &>> UInt64(left) & 1, UInt64(slot &>> 16))
            // Safety: as above.
            unsafe slots[nodes &+ node] = moved(slot, bit)
            slot = zero ^ (zero ^ one) & (0 &- UInt32(truncatingIfNeeded: bit))
            node = node &<< 1 | Int(truncatingIfNeeded: bit)
        }
        guard left > 0 else { return UInt64(node) }
        let mask: UInt64 = 1 &<< UInt64(left) &- 1
        return UInt64(node) &<< UInt64(left) | coder.raw(known & mask, left)
    }
}
