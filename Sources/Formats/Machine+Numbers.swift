// Numbers and times that stand as text, decimals whose digits and places the bytes themselves tell, and
// pairs of names and values. All of it keeps ranges of the frame and integers; nothing is allocated.

import Model

/// A decimal number as text, exactly: `-12.50` is -1250 and -2. Keeps up to 18 digits; what a longer
/// fraction has beyond them is below anything that is measured.
struct DecimalText {
    var mantissa: Int64 = 0
    var exponent = 0

    /// Optional sign, digits, optional fraction, optional power of ten; blanks around it. Nil when
    /// `range` holds anything else.
    init?(_ bytes: Cursor, _ range: Range<Int>) {
        var at = range.lowerBound
        var end = range.upperBound
        while at < end, bytes.byte(at) == 0x20 { at &+= 1 }
        while end > at, bytes.byte(end &- 1) == 0x20 { end &-= 1 }
        let isNegative = bytes.byte(at) == 0x2D
        if at < end, isNegative || bytes.byte(at) == 0x2B { at &+= 1 }
        var digits = 0
        var isFraction = false
        scan: while at < end, let byte = bytes.byte(at) {
            switch byte {
            case 0x30...0x39:
                digits &+= 1
                add(Int64(byte &- 0x30), isFraction: isFraction)
            case 0x2E where !isFraction: isFraction = true
            case 0x45, 0x65:
                guard digits > 0, let power = DecimalText.power(bytes, at &+ 1..<end) else {
                    return nil
                }
                exponent &+= power
                at = end
                break scan
            default: return nil
            }
            at &+= 1
        }
        guard digits > 0, exponent >= -127, exponent <= 127 else { return nil }
        if isNegative { mantissa = 0 &- mantissa }
    }

    private mutating func add(_ digit: Int64, isFraction: Bool) {
        // 10^17: one more digit still fits into 63 bits.
        if mantissa < 100_000_000_000_000_000 {
            mantissa = mantissa &* 10 &+ digit
            if isFraction { exponent &-= 1 }
        } else if !isFraction {
            exponent &+= 1
        }
    }

    private static func power(_ bytes: Cursor, _ range: Range<Int>) -> Int? {
        var at = range.lowerBound
        let sign = bytes.byte(at)
        if at < range.upperBound, sign == 0x2D || sign == 0x2B { at &+= 1 }
        guard at < range.upperBound, range.upperBound &- at <= 3 else { return nil }
        var result = 0
        while at < range.upperBound, let byte = bytes.byte(at) {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            result = result &* 10 &+ Int(byte &- 0x30)
            at &+= 1
        }
        return sign == 0x2D ? -result : result
    }

    /// Hex digits, perhaps behind `0x`; nil when there are none or more than 15.
    static func hex(_ bytes: Cursor, _ range: Range<Int>) -> Int64? {
        var at = range.lowerBound
        if range.count > 2, bytes.byte(at) == 0x30, bytes.byte(at &+ 1).map({ $0 | 32 }) == 0x78 {
            at &+= 2
        }
        guard at < range.upperBound, range.upperBound &- at <= 15 else { return nil }
        var result: Int64 = 0
        while at < range.upperBound {
            guard let nibble = BytePlane.nibble(bytes.byte(at)) else { return nil }
            result = result << 4 | Int64(nibble)
            at &+= 1
        }
        return result
    }

    /// The value of a reading.
    var value: Value { .decimal(mantissa, exponent: Int8(clamping: exponent)) }
}

extension Machine {
    /// The instructions of this file.
    mutating func runText<S: FrameSink>(
        _ op: Op, _ program: Program, _ sink: inout S
    ) throws(Rejection) {
        switch op.code {
        case .readNumber: try readNumber(op)
        case .readTextTime: try readTextTime(op, program.times[Int(op.meta)])
        case .readLongBCD: try readLongBCD(op)
        case .placeDecimals: placeDecimals(op)
        case .nextPair: nextPair(op, &sink)
        case .enterValue: try enterValue(op)
        case .showPair: showPair(op, &sink)
        case .answerNumber: answerNumber(op, &sink)
        default: sink.answerCount(at: Int(op.at), from: Int(op.imm), digits: Int(op.width))
        }
    }

    /// What `Op.width` of `readNumber` says.
    enum NumberFlags {
        static let until: UInt8 = 1
        static let isHex: UInt8 = 2
        static let isStrict: UInt8 = 4
        /// Neither sign nor blanks.
        static let isDigits: UInt8 = 8
    }

    /// Text up to the mark x, or so many bytes. meta: rejection of what is no number, when strict.
    mutating func readNumber(_ op: Op) throws(Rejection) {
        let range: Range<Int>
        if op.width & NumberFlags.until != 0 {
            guard let end = cursor.first(op.x, in: position..<max(position, limit)) else {
                throw overrun
            }
            range = position..<end
            position = end &+ 1
        } else {
            let count = try wanted(op)
            let at = try place(op, count)
            range = at..<at &+ count
        }
        var slot = Slot(
            value: 0, start: Int32(truncatingIfNeeded: range.lowerBound),
            end: Int32(truncatingIfNeeded: range.upperBound), quality: 0, kind: .integer,
            plane: plane)
        if op.width & NumberFlags.isHex != 0, let number = DecimalText.hex(cursor, range) {
            slot.value = number
        } else if op.width & NumberFlags.isHex == 0, let number = DecimalText(cursor, range) {
            slot.value = number.mantissa
            slot.exponent = Int8(clamping: number.exponent)
            if slot.exponent != 0 { slot.kind = .decimal }
        } else {
            slot.kind = .none
            slot.quality = (range.isEmpty ? Quality.missing : .badDigits).rawValue
        }
        if op.width & NumberFlags.isDigits != 0 {
            for i in range where (cursor.byte(i) ?? 0) &- 0x30 > 9 { slot.kind = .none }
        }
        if op.width & NumberFlags.isStrict != 0, slot.kind != .integer {
            throw Rejection(rawValue: UInt8(truncatingIfNeeded: op.meta)) ?? .malformed
        }
        slots[op.a] = slot
    }

    /// Parts of two decimal digits of text each.
    mutating func readTextTime(_ op: Op, _ rule: TimeRule) throws(Rejection) {
        let count = 2 &* rule.count
        let at = try place(op, count)
        var slot = Slot(
            value: 0, start: Int32(truncatingIfNeeded: at),
            end: Int32(truncatingIfNeeded: at &+ count), quality: 0, kind: .time, plane: plane)
        if let time = textTime(at, rule) {
            slot.value = time
        } else {
            slot.kind = .none
            slot.quality = Quality.badDigits.rawValue
        }
        slots[op.a] = slot
    }

    /// UTC milliseconds of the digits at `at`; nil when they are no time.
    func textTime(_ at: Int, _ rule: TimeRule) -> Int64? {
        var parts = Calendar()
        for i in 0..<rule.count {
            guard let high = cursor.byte(at &+ 2 &* i), let low = cursor.byte(at &+ 2 &* i &+ 1)
            else { return nil }
            let part = TimeRule.Part(rawValue: UInt8(rule.parts >> UInt64(4 &* i) & 15)) ?? .skip
            if part == .skip || part == .weekday { continue }
            guard high >= 0x30, high <= 0x39, low >= 0x30, low <= 0x39 else { return nil }
            parts.take(part, Int(high &- 0x30) &* 10 &+ Int(low &- 0x30))
        }
        return parts.milliseconds(rule)
    }

    /// BCD of as many bytes as slot b says, at most eight; none means no value.
    mutating func readLongBCD(_ op: Op) throws(Rejection) {
        let count = slots.value(op.b)
        guard count >= 0, count <= 8 else { throw .badRecord }
        if count == 0 {
            var slot = Slot(value: 0)
            slot.kind = .none
            slot.quality = Quality.missing.rawValue
            slots[op.a] = slot
            return
        }
        var fixed = op
        fixed.width = UInt8(count)
        try readBCD(fixed)
    }

    /// Slot a has as many decimal places as slot b says.
    func placeDecimals(_ op: Op) {
        var slot = slots[op.a]
        let places = slots.value(op.b)
        guard slot.kind == .integer || slot.kind == .decimal, places != 0 else { return }
        slot.exponent = Int8(clamping: Int64(slot.exponent) &- max(-100, min(100, places)))
        slot.kind = slot.exponent == 0 ? .integer : .decimal
        slots[op.a] = slot
    }

    // MARK: Pairs

    /// FNV-1a of a name, by which cases are found.
    static func nameHash(_ name: some Sequence<UInt8>) -> Int64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return Int64(bitPattern: hash)
    }

    /// The pair that begins here: slot a takes its name (and the name's hash), the next one its value.
    /// imm: separator of pairs, and the mark between name and value in the next byte.
    mutating func nextPair<S: FrameSink>(_ op: Op, _ sink: inout S) {
        let separator = UInt8(truncatingIfNeeded: op.imm)
        let mark = UInt8(truncatingIfNeeded: op.imm >> 8)
        let end = cursor.first(separator, in: position..<limit) ?? limit
        let middle = cursor.first(mark, in: position..<end) ?? end
        var name = Slot(
            value: 0, start: Int32(truncatingIfNeeded: position),
            end: Int32(truncatingIfNeeded: middle), quality: 0, kind: .bytes, plane: plane)
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for i in position..<middle {
            hash = (hash ^ UInt64(cursor.byte(i) ?? 0)) &* 0x0000_0100_0000_01B3
        }
        name.value = Int64(bitPattern: hash)
        slots[op.a] = name
        var value = name
        value.value = 0
        value.start = Int32(truncatingIfNeeded: min(middle &+ 1, end))
        value.end = Int32(truncatingIfNeeded: end)
        slots[op.a &+ 1] = value
        if S.explains { showKey(position..<middle, value: value, separator, &sink) }
        position = min(limit, end &+ 1)
    }

    /// For the tree: a name with the separator before it and the mark behind it; a separator with
    /// nothing behind it.
    private func showKey<S: FrameSink>(
        _ name: Range<Int>, value: Slot, _ separator: UInt8, _ sink: inout S
    ) {
        let isFollowing = name.lowerBound > start && cursor.byte(name.lowerBound &- 1) == separator
        let from = isFollowing ? name.lowerBound &- 1 : name.lowerBound
        if from < Int(value.start) { sink.key(name, in: from..<Int(value.start), machine: self) }
        let end = Int(value.end)
        if end < limit, end &+ 1 == limit { sink.key(end..<end, in: end..<limit, machine: self) }
    }

    /// The value in slot b becomes the region; with `rest` it goes on to the end of all pairs.
    mutating func enterValue(_ op: Op) throws(Rejection) {
        let value = slots[op.b]
        let isRest = op.flags.contains(.rest)
        try push(after: isRest ? limit : position)
        position = Int(value.start)
        start = position
        if !isRest { limit = Int(value.end) }
        overrun = .malformed
    }

    /// For the tree: a pair that no case knows.
    func showPair<S: FrameSink>(_ op: Op, _ sink: inout S) {
        guard S.explains else { return }
        let (name, value) = (slots[op.a], slots[op.a &+ 1])
        let range = Int(value.start)..<Int(value.end)
        let text = GB18030.text(cursor.bytes(Int(name.start)..<Int(name.end)))
        sink.leaf(
            text.isEmpty ? "separator" : text, range, .text(GB18030.text(cursor.bytes(range))),
            self)
    }

    // MARK: Answers

    /// Slot a as decimal text of at least `width` digits.
    func answerNumber<S: FrameSink>(_ op: Op, _ sink: inout S) {
        let value = slots.value(op.a)
        if value < 0 { sink.answer(0x2D) }
        var divisor: UInt64 = 1
        var digits = 1
        while digits < Int(op.width) || value.magnitude / divisor >= 10 {
            divisor &*= 10
            digits &+= 1
        }
        var rest = value.magnitude
        while divisor > 0 {
            sink.answer(0x30 &+ UInt8(truncatingIfNeeded: rest / divisor % 10))
            rest %= divisor
            divisor /= 10
        }
    }
}

extension DecodedFrame {
    /// Writes how many bytes stand behind `from` over the `digits` bytes at `at`, as decimal text.
    mutating func answerCount(at: Int, from: Int, digits: Int) {
        guard at >= 0, digits > 0, at + digits <= answer.count else { return }
        var rest = max(0, answer.count - from)
        for i in stride(from: at + digits - 1, through: at, by: -1) {
            answer[i] = 0x30 + UInt8(rest % 10)
            rest /= 10
        }
    }
}
