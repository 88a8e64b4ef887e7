// An adaptive binary range coder (Martin, "Range encoding", 1979), 48 bits wide, two bytes at a time,
// carries going into bytes already written. Owned by one encoder or decoder.
// Invariant: both ends see the same probabilities in the same order, so what drives them
// (ResidualModel) is one piece of code: what an encoder is told, a decoder finds out.
//
//     range starts as 2^48 - 1; a 1 takes its lower (range >> 16) × probability, a 0 the rest
//     below 2^32 the two highest bytes leave and range grows by 2^16

/// One end of a coded section. Probabilities are of a 1, in 1/65536, 32...65504. A decision is 0 or 1 and
/// no Bool: where it is as good as a coin toss no branch may hang on it.
protocol BitCoder {
    /// The encoder writes `bit` and returns it; the decoder returns the one that was written.
    mutating func code(_ bit: UInt64, _ probability: UInt64) -> UInt64
    /// The same for a decision that is mostly as the ones before: a processor that guesses it need not wait
    /// for it before it looks up what comes next. `learn` is told the decision.
    mutating func guess(
        _ bit: UInt64, _ probability: UInt64, _ learn: (UInt64) -> Void
    ) -> UInt64
    /// The same for `count` bits (0...63) that nothing is known of.
    mutating func raw(_ bits: UInt64, _ count: Int) -> UInt64
}

private let width: UInt64 = 1 << 48

struct RangeEncoder: BitCoder {
    private(set) var bytes: [UInt8] = []
    private var low: UInt64 = 0
    private var range = width - 1

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        low = 0
        range = width - 1
    }

    @inline(__always)
    mutating func code(_ bit: UInt64, _ probability: UInt64) -> UInt64 {
        let part = (range &>> 16) &* probability
        let rest = range &- part
        let isOne = 0 &- bit
        low &+= part & ~isOne
        range = rest ^ (rest ^ part) & isOne
        if range < 1 << 32 { shift() }
        return bit
    }

    @inline(__always)
    mutating func guess(
        _ bit: UInt64, _ probability: UInt64, _ learn: (UInt64) -> Void
    ) -> UInt64 {
        let result = code(bit, probability)
        learn(result)
        return result
    }

    @inline(__always)
    mutating func raw(_ bits: UInt64, _ count: Int) -> UInt64 {
        var left = count
        while left > 0 {
            let take = min(left, 16)
            left &-= take
            range = range &>> UInt64(take)
            low &+= range &* (bits &>> UInt64(left) & (1 &<< UInt64(take) &- 1))
            if range < 1 << 32 { shift() }
        }
        return bits
    }

    /// Only `bytes` go out of line, so that a loop over decisions keeps the rest in registers.
    @inline(__always)
    private mutating func shift() {
        RangeEncoder.put(low, &bytes)
        low = low &<< 16 & (width &- 1)
        range = range &<< 16
    }

    @inline(never)
    private static func put(_ low: UInt64, _ bytes: inout [UInt8]) {
        if low >= width { carry(&bytes) }
        bytes.append(UInt8(truncatingIfNeeded: low &>> 40))
        bytes.append(UInt8(truncatingIfNeeded: low &>> 32))
    }

    private static func carry(_ bytes: inout [UInt8]) {
        var at = bytes.count - 1
        while at >= 0, bytes[at] == 0xFF {
            bytes[at] = 0
            at -= 1
        }
        // A carry out of the first byte would be a number of 1 or more: the ranges are parts of 1.
        bytes[at] &+= 1
    }

    /// Ends the section with the shortest number in the range; its last zeros are left out.
    mutating func finish() {
        var zeros: UInt64 = 48
        var end = low
        while zeros > 0 {
            zeros -= 1
            let step: UInt64 = 1 << zeros
            end = (low &+ step &- 1) & ~(step &- 1)
            if end &- low < range { break }
        }
        low = end
        let count = bytes.count
        for _ in 0..<3 { shift() }
        while bytes.count > count, bytes.last == 0 { bytes.removeLast() }
    }
}

/// Reads any bytes as something; past the end come zeros.
struct RangeDecoder: BitCoder {
    private let bytes: [UInt8]
    private var offset = 0
    private var value: UInt64 = 0
    private var range = width - 1

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        for _ in 0..<3 { value = value << 16 | next() }
    }

    /// Zeros past the end that an encoder may have left out.
    static let beyond = 6

    /// Whether every byte was needed.
    var isAtEnd: Bool { offset >= bytes.count }

    /// Whether more was read than any encoder leaves out.
    var isBeyond: Bool { offset > bytes.count + RangeDecoder.beyond }

    @inline(__always)
    private mutating func next() -> UInt64 {
        let high = offset < bytes.count ? UInt64(bytes[offset]) : 0
        let low = offset &+ 1 < bytes.count ? UInt64(bytes[offset &+ 1]) : 0
        offset &+= 2
        return high &<< 8 | low
    }

    @inline(__always)
    private mutating func shift() {
        value = value &<< 16 | next()
        range = range &<< 16
    }

    @inline(__always)
    mutating func code(_ bit: UInt64, _ probability: UInt64) -> UInt64 {
        let part = (range &>> 16) &* probability
        let isOne: UInt64 = value < part ? .max : 0
        let rest = range &- part
        value = value &- part & ~isOne
        range = rest ^ (rest ^ part) & isOne
        if range < 1 << 32 { shift() }
        return isOne & 1
    }

    @inline(__always)
    mutating func guess(
        _ bit: UInt64, _ probability: UInt64, _ learn: (UInt64) -> Void
    ) -> UInt64 {
        let part = (range &>> 16) &* probability
        // The hint makes it a branch; either way may be the likely one.
        if _slowPath(value < part) {
            range = part
            learn(1)
            if range < 1 << 32 { shift() }
            return 1
        }
        value &-= part
        range &-= part
        learn(0)
        if range < 1 << 32 { shift() }
        return 0
    }

    @inline(__always)
    mutating func raw(_ bits: UInt64, _ count: Int) -> UInt64 {
        var result: UInt64 = 0
        var left = count
        while left > 0 {
            let take = UInt64(min(left, 16))
            left &-= Int(take)
            range = range &>> take
            // Bytes that no encoder wrote may give more than fits.
            let part = min(value / range, 1 &<< take &- 1)
            value &-= part &* range
            result = result &<< take | part
            if range < 1 << 32 { shift() }
        }
        return result
    }
}
