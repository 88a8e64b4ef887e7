// From slots to meaning: readings with exact decimals, device identity, duplicate keys, answers.

import Model

extension ValueRule {
    /// Powers of ten that a decimal exponent below zero divides by.
    private static let powers: [Double] = (0...18).map { n in
        (0..<n).reduce(1.0) { p, _ in p * 10 }
    }

    /// The value of `slot`; `.none` when the slot has none. A result beyond Int64 or a quotient by
    /// another field becomes a double.
    @inline(__always)
    func value(_ slot: Slot, _ slots: SlotFile) -> Value {
        switch slot.kind {
        case .integer:
            if divisor == SlotFile.none {
                switch kind {
                case .decimal:
                    if multiplier == 1, addend == 0 {
                        return .decimal(slot.value, exponent: exponent)
                    }
                    let (product, overflow) = slot.value.multipliedReportingOverflow(by: multiplier)
                    let (sum, overflow2) = product.addingReportingOverflow(addend)
                    if !overflow, !overflow2 { return .decimal(sum, exponent: exponent) }
                case .boolean: return .boolean(slot.value != 0)
                case .code: return .code(UInt64(bitPattern: slot.value))
                }
            }
            return scaled(Double(slot.value), slots)
        case .unsigned:
            if kind == .code { return .code(UInt64(bitPattern: slot.value)) }
            return scaled(Double(UInt64(bitPattern: slot.value)), slots)
        case .double:
            let number = Double(bitPattern: UInt64(bitPattern: slot.value))
            if multiplier == 1, addend == 0, exponent == 0, divisor == SlotFile.none {
                return .double(number)
            }
            return scaled(number, slots)
        case .decimal: return decimal(slot, slots)
        case .time: return .decimal(slot.value)
        case .none, .bytes: return .none
        }
    }

    /// A decimal whose places stood in the bytes.
    private func decimal(_ slot: Slot, _ slots: SlotFile) -> Value {
        let sum = Int(exponent) + Int(slot.exponent)
        if multiplier == 1, addend == 0, divisor == SlotFile.none, sum.magnitude <= 127 {
            return .decimal(slot.value, exponent: Int8(sum))
        }
        let exact = Value.decimal(slot.value, exponent: slot.exponent)
        return scaled(exact.asDouble ?? 0, slots)
    }

    private func scaled(_ number: Double, _ slots: SlotFile) -> Value {
        var result = number * Double(multiplier) + Double(addend)
        let power = ValueRule.powers[min(18, Int(exponent.magnitude))]
        result = exponent < 0 ? result / power : result * power
        if divisor != SlotFile.none {
            let by = slots.value(divisor)
            if by == 0 { return .none }
            result /= Double(by)
        }
        return result.isFinite ? .double(result) : .none
    }
}

extension Machine {
    /// a |= b << imm, where b must fit `width` bits; x = 1: a = b.
    @inline(__always)
    func pack(_ op: Op) throws(Rejection) {
        let part = UInt64(bitPattern: slots.value(op.b))
        guard op.width >= 64 || part >> UInt64(op.width) == 0 else { throw .malformed }
        let before = op.x == 1 ? 0 : UInt64(bitPattern: slots.value(op.a))
        slots.setValue(Int64(bitPattern: before | part << UInt64(op.imm)), at: op.a)
    }

    /// a: value; b: discriminator or none; imm: output.
    @inline(__always)
    func emit<S: FrameSink>(_ op: Op, _ rule: ValueRule, _ sink: inout S) throws(Rejection) {
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        let slot = slots[op.a]
        let value = rule.value(slot, slots)
        var quality = Quality(rawValue: slot.quality)
        if value.kind == .none, quality.isEmpty { quality = .missing }
        sink.reading(
            output: UInt16(truncatingIfNeeded: op.imm),
            discriminator: op.b == SlotFile.none ? 0 : UInt64(bitPattern: slots.value(op.b)),
            value: value, quality: quality, at: time)
    }

    @inline(__always)
    mutating func observe<S: FrameSink>(_ op: Op, _ sink: inout S) {
        let slot = slots[op.a]
        guard slot.kind == .time else { return }
        time = slot.value
        sink.stamp(from: firstReading, milliseconds: slot.value)
    }

    // MARK: Identity

    /// How `identitySlot` writes a field; raw values are in `Op.x`.
    enum IdentityStyle: UInt8 {
        case number, hex, reversedHex, text, digits, oddDigits
    }

    func appendIdentity(_ op: Op) {
        let slot = slots[op.a]
        let bytes = cursor(ofPlane: slot.plane)
        let range = Int(slot.start)..<max(Int(slot.start), Int(slot.end))
        // More than this cannot become an identity; the end refuses it.
        if work.isIdentified { return }
        if work.identity.count > DeviceKey.maximumLength { return }
        let style = IdentityStyle(rawValue: op.x) ?? .number
        if let digits = Machine.digits(bytes, range, style) {
            work.identity.append(digits.high, digits.low, count: digits.count)
            return
        }
        switch style {
        case .number: appendNumber(slot.value)
        case .hex:
            for i in range.prefix(DeviceKey.maximumLength) { appendHex(bytes.byte(i) ?? 0) }
        case .reversedHex:
            for i in range.reversed().prefix(DeviceKey.maximumLength) {
                appendHex(bytes.byte(i) ?? 0)
            }
        case .text:
            for i in range.prefix(DeviceKey.maximumLength &+ 1) {
                work.identity.append(bytes.byte(i) ?? 0)
            }
        case .digits:
            var isLeading = true
            for i in range.prefix(DeviceKey.maximumLength) {
                let byte = bytes.byte(i) ?? 0
                appendDigit(byte >> 4, &isLeading)
                appendDigit(byte & 15, &isLeading)
            }
        case .oddDigits:
            for i in range.prefix(DeviceKey.maximumLength) {
                let byte = bytes.byte(i) ?? 0
                if i > range.lowerBound { work.identity.append(Machine.digit(byte >> 4)) }
                work.identity.append(Machine.digit(byte & 15))
            }
        }
    }

    /// Up to sixteen characters, most significant first.
    struct Digits {
        var high: UInt64
        var low: UInt64
        var count: Int
    }

    /// The digits of up to eight bytes at once; nil when the style or the count is another.
    @inline(__always)
    static func digits(_ bytes: Cursor, _ range: Range<Int>, _ style: IdentityStyle) -> Digits? {
        guard style != .number, style != .text,
            let word = bytes.big(range.lowerBound, width: range.count)
        else { return nil }
        var count = 2 &* range.count
        var nibbles = word &<< UInt64(truncatingIfNeeded: 64 &- 4 &* count)
        switch style {
        case .reversedHex: nibbles = word.byteSwapped
        case .digits:
            // Leading F nibbles are filling.
            let filling = min(count, (~nibbles).leadingZeroBitCount / 4)
            nibbles <<= UInt64(truncatingIfNeeded: 4 &* filling)
            count &-= filling
        case .oddDigits:
            nibbles <<= 4
            count &-= 1
        case .hex, .number, .text: break
        }
        return Digits(
            high: UInt64(hexDigitsOf: UInt32(truncatingIfNeeded: nibbles >> 32)),
            low: UInt64(hexDigitsOf: UInt32(truncatingIfNeeded: nibbles)), count: count)
    }

    /// Leading F nibbles are filling.
    private func appendDigit(_ nibble: UInt8, _ isLeading: inout Bool) {
        if isLeading, nibble == 15 { return }
        isLeading = false
        work.identity.append(Machine.digit(nibble))
    }

    private func appendHex(_ byte: UInt8) {
        work.identity.append(Machine.digit(byte >> 4))
        work.identity.append(Machine.digit(byte & 15))
    }

    private func appendNumber(_ value: Int64) {
        if value < 0 { work.identity.append(0x2D) }
        var rest = value.magnitude
        var divisor: UInt64 = 1
        while rest / divisor >= 10 { divisor &*= 10 }
        while divisor > 0 {
            work.identity.append(0x30 &+ UInt8(truncatingIfNeeded: rest / divisor))
            rest %= divisor
            divisor /= 10
        }
    }

    static func digit(_ nibble: UInt8) -> UInt8 {
        nibble < 10 ? 0x30 &+ nibble : 0x57 &+ nibble
    }

    func endIdentity<S: FrameSink>(_ sink: inout S) throws(Rejection) {
        if work.isIdentified { return }
        guard let key = work.identity.deviceKey else { throw .noIdentity }
        sink.device(key)
    }

    // MARK: Exchange

    /// Flag `rest`: the key is the whole frame; otherwise the `width` slots from b on. imm: salt.
    func duplicate<S: FrameSink>(_ op: Op, _ sink: inout S) {
        var hash = DuplicateHash(seed: work.seed, salt: UInt64(bitPattern: op.imm))
        if op.flags.contains(.rest) {
            hash.mixFrame(frame, seed: work.seed)
        } else {
            for i in 0..<UInt16(op.width) {
                let slot = slots[op.b &+ i]
                if slot.kind == .bytes {
                    hash.mix(cursor(ofPlane: slot.plane), Int(slot.start)..<Int(slot.end))
                } else {
                    hash.mix(UInt64(bitPattern: slot.value))
                }
            }
        }
        sink.duplicate(hash.value)
    }

    /// a: slot; width bytes of its number, or 0: its bytes as they came.
    func answerSlot<S: FrameSink>(_ op: Op, _ sink: inout S) {
        let slot = slots[op.a]
        if op.width == 0 {
            let bytes = cursor(ofPlane: slot.plane)
            for i in Int(slot.start)..<max(Int(slot.start), Int(slot.end)) {
                sink.answer(bytes.byte(i) ?? 0)
            }
            return
        }
        let word = UInt64(bitPattern: slot.value)
        for i in 0..<Int(op.width) {
            let place = op.flags.contains(.little) ? i : Int(op.width) &- 1 &- i
            sink.answer(UInt8(truncatingIfNeeded: word >> UInt64(8 &* place)))
        }
    }
}

/// A 64-bit hash of a frame, keyed by a secret of the process so that nobody can make frames collide
/// on purpose (multiply-and-fold of two words at a time as in wyhash by Wang Yi, public domain).
struct DuplicateHash {
    private var state: UInt64
    private let secret: UInt64

    init(seed: UInt64, salt: UInt64) {
        secret = seed ^ 0xA076_1D64_78BD_642F
        state = (seed << 32 | seed >> 32) ^ salt &* 0x8EBC_6AF0_9C88_C6E3
    }

    @inline(__always)
    private static func fold(_ l: UInt64, _ r: UInt64) -> UInt64 {
        let product = l.multipliedFullWidth(by: r)
        return product.high ^ product.low
    }

    @inline(__always)
    mutating func mix(_ word: UInt64) { mix(word, 0x5899_65CC_7537_4CC3) }

    @inline(__always)
    mutating func mix(_ first: UInt64, _ second: UInt64) {
        state = DuplicateHash.fold(first ^ secret, second ^ state)
    }

    @inline(__always)
    mutating func mix(_ bytes: Cursor, _ range: Range<Int>) {
        var at = range.lowerBound
        while at &+ 16 <= range.upperBound {
            mix(bytes.big(at, width: 8) ?? 0, bytes.big(at &+ 8, width: 8) ?? 0)
            at &+= 16
        }
        let left = range.upperBound &- at
        if left > 0 {
            let first = bytes.big(at, width: min(8, left)) ?? 0
            mix(first, left > 8 ? bytes.big(at &+ 8, width: left &- 8) ?? 0 : 0)
        }
        // Tells apart what differs in leading zeros only.
        state &+= UInt64(truncatingIfNeeded: range.count) &* 0xE703_7ED1_A0B4_28DB
    }

    var value: UInt64 {
        DuplicateHash.fold(state ^ 0x5899_65CC_7537_4CC3, secret ^ 0x1D8E_4E27_C47D_124F)
    }
}
