// Reads CBOR (RFC 8949) from a frame head by head: no tree, nothing allocated. Shared by the
// formats cbor and senml-cbor. Announced lengths are checked against the bytes that are there
// before anything else happens with them; nesting ends at `maximumDepth`. Invariant: every step
// takes at least one byte.

import Model

/// Initial byte and argument of one item (RFC 8949 section 3).
struct CBORHead {
    /// Where the item begins.
    var start: Int
    /// 0 unsigned, 1 negative, 2 bytes, 3 text, 4 array, 5 map, 6 tag, 7 simple and floats.
    var major: UInt8
    /// The low five bits of the initial byte.
    var info: UInt8
    var argument: UInt64

    var isIndefinite: Bool { info == 31 }

    /// Whether the argument stands in as few bytes as it can; floats are judged by their value.
    var isShortest: Bool {
        switch info {
        case 24: argument >= 24
        case 25: argument > 0xFF
        case 26: argument > 0xFFFF
        case 27: argument > 0xFFFF_FFFF
        default: true
        }
    }

    /// Value of a float head (major 7, info 25 to 27).
    var float: Double {
        switch info {
        case 25: Machine.half(UInt16(truncatingIfNeeded: argument))
        case 26: Double(Float(bitPattern: UInt32(truncatingIfNeeded: argument)))
        default: Double(bitPattern: argument)
        }
    }

    var isFloat: Bool { major == 7 && info >= 25 && info <= 27 }
}

struct CBORPull {
    static let maximumDepth = 64

    let cursor: Cursor
    var position: Int
    let end: Int

    init(_ cursor: Cursor, _ range: Range<Int>) {
        self.cursor = cursor
        position = range.lowerBound
        end = range.upperBound
    }

    /// The next head. A definite string's bytes are known to be there; they are not taken.
    mutating func head() throws(Rejection) -> CBORHead {
        let start = position
        guard start < end, let first = cursor.byte(start) else { throw .truncated }
        position &+= 1
        var head = CBORHead(
            start: start, major: first >> 5, info: first & 31, argument: UInt64(first & 31))
        switch head.info {
        case 24...27:
            let width = 1 << Int(head.info &- 24)
            guard position <= end &- width, let word = cursor.big(position, width: width) else {
                throw .truncated
            }
            position &+= width
            head.argument = word
            // Simple values below 32 have one form only.
            if head.major == 7, head.info == 24, word < 32 { throw .malformed }
        case 28...30: throw .malformed
        case 31:
            guard head.major >= 2, head.major <= 5 || head.major == 7 else { throw .malformed }
        default: break
        }
        if head.major == 2 || head.major == 3, !head.isIndefinite {
            guard head.argument <= UInt64(end &- position) else { throw .truncated }
        }
        return head
    }

    /// True, and the break taken, when the next byte ends an item of indefinite length.
    mutating func takeBreak() throws(Rejection) -> Bool {
        guard position < end, let byte = cursor.byte(position) else { throw .truncated }
        guard byte == 0xFF else { return false }
        position &+= 1
        return true
    }

    /// Takes the bytes of a definite string.
    mutating func string(_ head: CBORHead) -> Range<Int> {
        let range = position..<position &+ Int(truncatingIfNeeded: head.argument)
        position = range.upperBound
        return range
    }

    /// Bytes of the text whose head was read; text in pieces cannot be a name or a unit.
    mutating func text(_ head: CBORHead) throws(Rejection) -> Range<Int> {
        guard head.major == 3 else { throw .badType }
        guard !head.isIndefinite else { throw .malformed }
        let range = string(head)
        guard UTF8Check.isGood(cursor, range) else { throw .malformed }
        return range
    }

    /// Takes the rest of the item whose head was read.
    mutating func skip(_ head: CBORHead, depth: Int = 0) throws(Rejection) {
        var check = CBORCheck(pull: self)
        try check.body(head, depth: depth)
        position = check.pull.position
    }

    // MARK: Numbers

    /// The number whose head was read: integers and decimal fractions exactly, floats as doubles; nil
    /// for an item that is no number (taken all the same).
    mutating func number(_ head: CBORHead) throws(Rejection) -> Value? {
        switch head.major {
        case 0: return CBORPull.integer(head.argument, isNegative: false)
        case 1: return CBORPull.integer(head.argument, isNegative: true)
        case 6 where head.argument == 4 || head.argument == 5:
            return try fraction(isDecimal: head.argument == 4)
        case 7 where head.isFloat:
            let float = head.float
            return float.isFinite ? .double(float) : Value.none
        default:
            try skip(head)
            return nil
        }
    }

    /// A number in one of its usual forms: those of `CBORNumber`, or a float. Nil, and nothing taken, for
    /// all others and where bytes lack.
    @inline(__always)
    mutating func usualNumber() -> Value? {
        let number = CBORNumber(cursor, position, end)
        guard number.size > 0 else { return usualFloat() }
        position &+= number.size
        return .decimal(number.mantissa, exponent: number.exponent)
    }

    private mutating func usualFloat() -> Value? {
        guard position < end, let first = cursor.byte(position) else { return nil }
        let float: Double
        let at = position &+ 1
        switch first {
        case 0xFB:
            guard at <= end &- 8, let bits = cursor.big(at, width: 8) else { return nil }
            float = Double(bitPattern: bits)
            position = at &+ 8
        case 0xFA:
            guard at <= end &- 4, let bits = cursor.big(at, width: 4) else { return nil }
            float = Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
            position = at &+ 4
        default: return nil
        }
        return float.isFinite ? .double(float) : Value.none
    }

    /// Text of at most 255 bytes, all of them ASCII. Nil, and nothing taken, for any other item.
    @inline(__always)
    mutating func usualText() -> Range<Int>? {
        guard position < end, let first = cursor.byte(position), first >= 0x60, first <= 0x78
        else { return nil }
        var start = position &+ 1
        var count = Int(first & 0x1F)
        if first == 0x78 {
            guard start < end, let byte = cursor.byte(start) else { return nil }
            count = Int(byte)
            start &+= 1
        }
        guard count <= end &- start, cursor.isASCII(start..<start &+ count) else { return nil }
        position = start &+ count
        return start..<position
    }

    private static func integer(_ argument: UInt64, isNegative: Bool) -> Value {
        if let small = Int64(exactly: argument) { return .decimal(isNegative ? ~small : small) }
        return .double(isNegative ? -1 - Double(argument) : Double(argument))
    }

    /// Tag 4 or 5 (RFC 8949 section 3.4.4): `[exponent, mantissa]`.
    private mutating func fraction(isDecimal: Bool) throws(Rejection) -> Value? {
        let array = try head()
        guard array.major == 4, array.argument == 2, !array.isIndefinite else { throw .malformed }
        let first = try head()
        guard let exponent = try number(first), exponent.kind == .decimal else {
            throw .malformed
        }
        let second = try head()
        guard let mantissa = try number(second), mantissa.kind == .decimal,
            mantissa.exponent == 0, exponent.exponent == 0
        else { throw .malformed }
        if isDecimal, let small = Int8(exactly: exponent.mantissa) {
            return .decimal(mantissa.mantissa, exponent: small)
        }
        guard exponent.mantissa.magnitude <= 1_100 else { return Value.none }
        var result = Double(mantissa.mantissa)
        let step = isDecimal ? 10.0 : 2.0
        for _ in 0..<Int(exponent.mantissa.magnitude) {
            result = exponent.mantissa < 0 ? result / step : result * step
        }
        return result.isFinite ? .double(result) : Value.none
    }
}

/// An integer of up to 32 bits, or a decimal fraction of one with a short exponent; anything else has the
/// size 0.
struct CBORNumber {
    var mantissa: Int64 = 0
    var exponent: Int8 = 0
    /// Bytes that it takes.
    var size = 0

    /// The number at `at`, which ends before `end`.
    @inline(__always)
    init(_ bytes: Cursor, _ at: Int, _ end: Int) {
        // Eight bytes, the first in the highest place, zeros behind the end: none of these is longer.
        let left = end &- at
        var word: UInt64
        if left >= 8 {
            word = bytes.big(at, width: 8) ?? .max
        } else {
            guard left > 0 else { return }
            word = bytes.big(end &- 8, width: 8) ?? .max
            word <<= UInt64(truncatingIfNeeded: 64 &- 8 &* left)
        }
        var size = 1
        if word >> 48 == 0xC482 {
            let power = UInt8(truncatingIfNeeded: word >> 40)
            guard power < 0x40, power & 0x1F < 24 else { return }
            exponent = Int8(truncatingIfNeeded: power < 0x20 ? Int(power) : 0x1F &- Int(power))
            word <<= 24
            size = 4
        }
        let head = word >> 56
        let info = head & 0x1F
        guard head < 0x40, info <= 26 else { return }
        var number = Int64(truncatingIfNeeded: info)
        if info >= 24 {
            // One, two or four bytes.
            let bits = UInt64(8) << (info &- 24)
            number = Int64(truncatingIfNeeded: (word << 8) >> (64 &- bits))
            size &+= Int(truncatingIfNeeded: bits >> 3)
        }
        guard size <= left else { return }
        mantissa = head < 0x20 ? number : ~number
        self.size = size
    }
}

/// Walks one item to its end: is it well-formed, would an encoder of preferred serialization
/// (RFC 8949 section 4.1) make the same bytes, are they deterministic (section 4.2.1)?
struct CBORCheck {
    var pull: CBORPull
    var isPreferred = true
    /// Besides being preferred: map keys rise bytewise, none twice.
    var isSorted = true

    init(pull: CBORPull) { self.pull = pull }

    mutating func item(depth: Int = 0) throws(Rejection) {
        let head = try pull.head()
        try body(head, depth: depth)
    }

    mutating func body(_ head: CBORHead, depth: Int) throws(Rejection) {
        guard depth < CBORPull.maximumDepth else { throw .tooDeep }
        if !head.isShortest, !head.isFloat { isPreferred = false }
        if head.isIndefinite { isPreferred = false }
        switch head.major {
        case 2, 3: try string(head)
        case 4: try array(head, depth)
        case 5: try map(head, depth)
        case 6:
            let inner = try pull.head()
            if head.argument == 2 || head.argument == 3, inner.major == 2, !inner.isIndefinite,
                inner.argument <= 8 || pull.cursor.byte(pull.position) == 0
            {
                isPreferred = false
            }
            try body(inner, depth: depth &+ 1)
        case 7:
            guard !head.isIndefinite else { throw .malformed }
            if head.isFloat, !CBORCheck.isShortest(head) { isPreferred = false }
        default: break
        }
    }

    private mutating func string(_ head: CBORHead) throws(Rejection) {
        if !head.isIndefinite {
            let range = pull.string(head)
            if head.major == 3, !UTF8Check.isGood(pull.cursor, range) { throw .malformed }
            return
        }
        while try !pull.takeBreak() {
            let piece = try pull.head()
            guard piece.major == head.major, !piece.isIndefinite else { throw .malformed }
            try string(piece)
        }
    }

    private mutating func array(_ head: CBORHead, _ depth: Int) throws(Rejection) {
        if head.isIndefinite {
            while try !pull.takeBreak() { try item(depth: depth &+ 1) }
            return
        }
        // Each element takes a byte at least, so the bytes bound the rounds.
        var left = head.argument
        while left > 0 {
            try item(depth: depth &+ 1)
            left &-= 1
        }
    }

    private mutating func map(_ head: CBORHead, _ depth: Int) throws(Rejection) {
        var left = head.argument
        var previous: Range<Int>?
        while true {
            if head.isIndefinite {
                if try pull.takeBreak() { return }
            } else if left == 0 {
                return
            }
            let start = pull.position
            try item(depth: depth &+ 1)
            let key = start..<pull.position
            if let previous, !isBefore(previous, key) { isSorted = false }
            previous = key
            try item(depth: depth &+ 1)
            left &-= 1
        }
    }

    private func isBefore(_ a: Range<Int>, _ b: Range<Int>) -> Bool {
        for i in 0..<min(a.count, b.count) {
            let x = pull.cursor.byte(a.lowerBound &+ i) ?? 0
            let y = pull.cursor.byte(b.lowerBound &+ i) ?? 0
            if x != y { return x < y }
        }
        return a.count < b.count
    }

    /// Whether no shorter float has the same value.
    private static func isShortest(_ head: CBORHead) -> Bool {
        let value = head.float
        if value.isNaN { return head.info == 25 && head.argument == 0x7E00 }
        switch head.info {
        case 25: return true
        case 26: return !isHalf(value)
        default: return Double(Float(value)) != value
        }
    }

    /// Whether IEEE binary16 holds the value exactly.
    private static func isHalf(_ value: Double) -> Bool {
        if value.isInfinite || value == 0 { return true }
        let exponent = Int(value.exponent)
        guard exponent <= 15, exponent >= -24 else { return false }
        let bits = exponent >= -14 ? 10 : 24 &+ exponent
        return (value.significandBitPattern << UInt64(12 &+ bits)) == 0
    }
}
