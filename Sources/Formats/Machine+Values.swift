// The engine's reads: integers of any width, four word orders, IEEE numbers, BCD with its sign rules,
// calendar times. All arithmetic on wire values is checked or wraps on purpose.

import Model

extension Machine {
    @inline(__always)
    private func slot(_ value: Int64, _ at: Int, _ width: Int) -> Slot {
        Slot(
            value: value, start: Int32(truncatingIfNeeded: at),
            end: Int32(truncatingIfNeeded: at &+ width), quality: 0, kind: .integer, plane: plane)
    }

    @inline(__always)
    private func interpret(_ word: UInt64, _ at: Int, _ width: Int, isSigned: Bool) -> Slot {
        let shift = UInt64(truncatingIfNeeded: 64 &- 8 &* width)
        if isSigned { return slot(Int64(bitPattern: word << shift) >> Int64(shift), at, width) }
        var result = slot(Int64(bitPattern: word), at, width)
        if result.value < 0 { result.kind = .unsigned }
        return result
    }

    @inline(__always)
    mutating func readInteger(_ op: Op) throws(Rejection) { slots[op.a] = try integer(op) }

    @inline(__always)
    mutating func integer(_ op: Op) throws(Rejection) -> Slot {
        let width = Int(op.width)
        let at = try place(op, width)
        let word =
            op.flags.contains(.little)
            ? cursor.little(at, width: width) : cursor.big(at, width: width)
        guard let word else { throw overrun }
        return interpret(word, at, width, isSigned: op.flags.contains(.signed))
    }

    /// Bytes in the order of `imm`: nibble i (lowest first) is which byte, counted from the most
    /// significant (A = 0), stands at place i on the wire. x: 0 integer, 1 IEEE, 2 BCD.
    mutating func readOrdered(_ op: Op) throws(Rejection) {
        let width = Int(op.width)
        let at = try place(op, width)
        var word: UInt64 = 0
        for i in 0..<width {
            guard let byte = cursor.byte(at &+ i) else { throw overrun }
            let rank = Int(op.imm >> Int64(4 &* i) & 15)
            word |= UInt64(byte) << UInt64(8 &* (width &- 1 &- rank))
        }
        switch op.x {
        case 1: slots[op.a] = float(word, at, width)
        case 2: slots[op.a] = decimal(word, at, width)
        default: slots[op.a] = interpret(word, at, width, isSigned: op.flags.contains(.signed))
        }
    }

    mutating func readFloat(_ op: Op) throws(Rejection) {
        let width = Int(op.width)
        let at = try place(op, width)
        let word =
            op.flags.contains(.little)
            ? cursor.little(at, width: width) : cursor.big(at, width: width)
        guard let word else { throw overrun }
        slots[op.a] = float(word, at, width)
    }

    private func float(_ word: UInt64, _ at: Int, _ width: Int) -> Slot {
        let number: Double =
            switch width {
            case 2: Machine.half(UInt16(truncatingIfNeeded: word))
            case 4: Double(Float(bitPattern: UInt32(truncatingIfNeeded: word)))
            default: Double(bitPattern: word)
            }
        var result = slot(Int64(bitPattern: number.bitPattern), at, width)
        result.kind = .double
        if !number.isFinite {
            result.kind = .none
            result.quality = Quality.missing.rawValue
        }
        return result
    }

    /// IEEE 754 binary16.
    static func half(_ bits: UInt16) -> Double {
        let sign = bits & 0x8000 != 0 ? -1.0 : 1.0
        let exponent = Int(bits >> 10 & 31)
        let fraction = Double(bits & 1023)
        switch exponent {
        case 0: return sign * fraction / 16_777_216
        case 31: return fraction == 0 ? sign * .infinity : .nan
        default:
            let scale = Double(sign: .plus, exponent: exponent - 15, significand: 1)
            return sign * (1 + fraction / 1024) * scale
        }
    }

    // MARK: BCD

    /// x: sign rule. 0 none, 1 top bit, 2 top nibble F, 3 leading byte FF.
    @inline(__always)
    mutating func readBCD(_ op: Op) throws(Rejection) { slots[op.a] = try bcd(op) }

    @inline(__always)
    mutating func bcd(_ op: Op) throws(Rejection) -> Slot {
        let width = Int(op.width)
        let at = try place(op, width)
        var word =
            op.flags.contains(.little)
            ? cursor.little(at, width: width) : cursor.big(at, width: width)
        guard let all = word else { throw overrun }
        var isNegative = false
        let top = UInt64(truncatingIfNeeded: 8 &* width)
        let isAllOnes = all == (top == 64 ? .max : (1 << top) &- 1)
        switch op.x {
        case 1:
            isNegative = all >> (top &- 1) & 1 == 1
            word = all & ~(1 << (top &- 1))
        case 2 where all >> (top &- 4) == 15:
            isNegative = true
            word = all & ~(15 << (top &- 4))
        case 3 where all >> (top &- 8) == 255:
            isNegative = true
            word = all & ~(255 << (top &- 8))
        default: break
        }
        var result = decimal(isAllOnes ? all : word ?? 0, at, width)
        if isNegative { result.value = 0 &- result.value }
        if isAllOnes, op.flags.contains(.onesMissing) {
            result.quality = Quality.missing.rawValue
        }
        return result
    }

    @inline(__always)
    private func decimal(_ word: UInt64, _ at: Int, _ width: Int) -> Slot {
        if let number = word.packedDecimal { return slot(Int64(bitPattern: number), at, width) }
        var result = slot(0, at, width)
        result.kind = .none
        result.quality = Quality.badDigits.rawValue
        return result
    }

    // MARK: Bytes and times

    mutating func readBytes(_ op: Op) throws(Rejection) {
        let count = try wanted(op)
        let at = try place(op, count)
        var result = slot(0, at, count)
        result.kind = .bytes
        slots[op.a] = result
    }

    /// b: slot that takes the weekday digit, or none.
    mutating func readTime(_ op: Op, _ rule: TimeRule) throws(Rejection) {
        let at = try place(op, rule.count)
        var result = slot(0, at, rule.count)
        result.kind = .time
        var parts = Calendar()
        for i in 0..<rule.count {
            guard let byte = cursor.byte(at &+ i) else { throw overrun }
            let part = TimeRule.Part(rawValue: UInt8(rule.parts >> UInt64(4 &* i) & 15)) ?? .skip
            if part == .skip { continue }
            var number = Int(byte)
            if rule.isBCD {
                if byte >> 4 > 9 || byte & 15 > 9 { parts.isBad = true }
                number = Int(byte >> 4) &* 10 &+ Int(byte & 15)
            }
            if part == .weekday {
                if op.b != SlotFile.none { slots[op.b] = slot(Int64(number), at &+ i, 1) }
                continue
            }
            parts.take(part, number)
        }
        if let time = parts.milliseconds(rule) {
            result.value = time
        } else {
            result.kind = .none
            result.quality = Quality.badDigits.rawValue
        }
        slots[op.a] = result
    }

    struct Calendar {
        var century = 20
        var year = 70
        var month = 1
        var day = 1
        var hour = 0
        var minute = 0
        var second = 0
        var isBad = false

        mutating func take(_ part: TimeRule.Part, _ number: Int) {
            switch part {
            case .century: century = number
            case .year: year = number
            case .month: month = number
            case .day: day = number
            case .hour: hour = number
            case .minute: minute = number
            case .second: second = number
            case .weekday, .skip: break
            }
        }

        func milliseconds(_ rule: TimeRule) -> Int64? {
            guard !isBad, year <= 99, century <= 99 else { return nil }
            let fullYear = rule.hasDate ? century * 100 + year : 1970
            guard
                let time = Timestamp(
                    year: fullYear, month: month, day: day, hour: hour, minute: minute,
                    second: second)
            else { return nil }
            return time.milliseconds &- Int64(rule.zoneMinutes) &* 60_000
        }
    }

    // MARK: Changes of a slot

    /// imm: lowest bit; width: count of bits.
    @inline(__always)
    func takeBits(_ op: Op) {
        var taken = slots[op.a]
        let raw = UInt64(bitPattern: taken.value) >> UInt64(op.imm)
        let bits = UInt64(op.width)
        let kept = bits >= 64 ? raw : raw & ((1 << bits) &- 1)
        taken.value = Int64(bitPattern: kept)
        if op.flags.contains(.signed), bits < 64, kept >> (bits &- 1) & 1 == 1 {
            taken.value = Int64(bitPattern: kept | (UInt64.max << bits))
        }
        // x: sign and magnitude, top bit of the range is the sign.
        if op.x == 1, bits < 64, kept >> (bits &- 1) & 1 == 1 {
            taken.value = 0 &- Int64(bitPattern: kept & ((1 << (bits &- 1)) &- 1))
        }
        if taken.kind == .unsigned, taken.value >= 0 { taken.kind = .integer }
        slots[op.a] = taken
    }

    func markMissing(_ op: Op) {
        var slot = slots[op.a]
        guard slot.kind == .integer || slot.kind == .unsigned, slot.value == op.imm else { return }
        slot.kind = .none
        slot.value = 0
        slot.quality = Quality.missing.rawValue
        slots[op.a] = slot
    }

    /// Unix time in units of imm milliseconds; 0 means that the device has no time.
    @inline(__always)
    func toTime(_ op: Op) {
        var slot = slots[op.a]
        guard slot.kind == .integer else { return }
        if let time = Machine.unixTime(slot.value, unit: op.imm) {
            slot.kind = .time
            slot.value = time
        } else {
            slot.kind = .none
            slot.value = 0
        }
        slots[op.a] = slot
    }

    /// UTC milliseconds of a count of `unit` milliseconds; nil when it is no time that a device has.
    @inline(__always)
    static func unixTime(_ count: Int64, unit: Int64) -> Int64? {
        let (milliseconds, overflow) = count.multipliedReportingOverflow(by: unit)
        // Year 9999 is the last that ISO 8601 writes with four digits.
        guard !overflow, milliseconds > 0, milliseconds <= 253_402_300_799_999 else { return nil }
        return milliseconds
    }
}
