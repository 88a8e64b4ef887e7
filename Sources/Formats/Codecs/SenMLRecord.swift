// One SenML record (RFC 8428) as its labels come, and the base values that hold for later ones. Plain
// numbers and places in the frame: beginning a record costs one store, whatever the one before it held.

import Model

/// One record before base values are applied.
struct SenMLRecord {
    /// Bit n: the label with the CBOR number n - 6 came.
    private(set) var present: UInt16 = 0
    /// Bit n: that label's text has no escapes.
    private var plain: UInt16 = 0
    private var numbers: [15 of Value] = InlineArray(repeating: .none)
    /// First byte in the low, end in the high half.
    private var texts: [15 of UInt64] = InlineArray(repeating: 0)
    /// Bytes of the whole record.
    var range = 0..<0
    /// Bytes from the name's label to the one of the value, when nothing but a unit is between.
    var head = 0..<0

    /// Forgets all labels.
    @inline(__always)
    mutating func begin() {
        present = 0
        head = 0..<0
    }

    @inline(__always)
    func has(_ label: SenMLLabel) -> Bool { present & label.bit != 0 }

    @inline(__always)
    mutating func put(_ number: Value, _ label: SenMLLabel) {
        present |= label.bit
        numbers[Int(label.rawValue)] = number
    }

    @inline(__always)
    mutating func put(_ text: JSONString, _ label: SenMLLabel) {
        present |= label.bit
        plain = text.isPlain ? plain | label.bit : plain & ~label.bit
        let (start, end) = (text.range.lowerBound, text.range.upperBound)
        texts[Int(label.rawValue)] =
            UInt64(UInt32(truncatingIfNeeded: start))
            | UInt64(UInt32(truncatingIfNeeded: end)) << 32
    }

    @inline(__always)
    func number(_ label: SenMLLabel) -> Value? { has(label) ? numbers[Int(label.rawValue)] : nil }

    @inline(__always)
    func text(_ label: SenMLLabel) -> JSONString? {
        guard has(label) else { return nil }
        let place = texts[Int(label.rawValue)]
        let start = Int(place & 0xFFFF_FFFF)
        return JSONString(
            range: start..<max(start, Int(place >> 32)), isPlain: plain & label.bit != 0)
    }

    @inline(__always)
    var isNamed: Bool { present & (SenMLLabel.name.bit | SenMLLabel.unit.bit) != 0 }

    private static var values: UInt16 {
        SenMLLabel.value.bit | SenMLLabel.text.bit | SenMLLabel.boolean.bit | SenMLLabel.data.bit
    }
    private static var own: UInt16 {
        values | SenMLLabel.sum.bit | SenMLLabel.name.bit | SenMLLabel.unit.bit
            | SenMLLabel.time.bit
    }
    private static var base: UInt16 {
        SenMLLabel.baseName.bit | SenMLLabel.baseTime.bit | SenMLLabel.baseUnit.bit
            | SenMLLabel.baseValue.bit | SenMLLabel.baseSum.bit | SenMLLabel.version.bit
    }

    @inline(__always)
    var valueCount: Int { (present & SenMLRecord.values).nonzeroBitCount }

    @inline(__always)
    var isBaseOnly: Bool { present & SenMLRecord.own == 0 && hasBase }

    @inline(__always)
    var hasBase: Bool { present & SenMLRecord.base != 0 }
}

/// What a base name alone says of the names that begin with it.
struct SenMLBase {
    enum Kind: UInt8 {
        /// Not looked at yet.
        case unknown
        /// Device and separator: what follows is the stream.
        case device
        /// Only the whole name tells.
        case other
    }

    var kind = Kind.unknown
    /// Bytes of the device's identity.
    var device = 0
    /// The frame is filed under this device; nil when nobody asked yet.
    var isOwn: Bool?
    var hasSlash = false
    /// `SenMLState.device` of it.
    var hash: UInt64 = 0
    var key = DeviceKey.empty

    init() {}

    /// Of a base name of `count` bytes, the last of which ends the device's name.
    @inline(__always)
    init(_ known: SenMLBaseName, count: Int) {
        kind = .device
        device = count &- 1
        hasSlash = known.hasSlash
        hash = known.hash
        key = DeviceKey(high: known.high, low: known.low)
    }
}

/// The time of a record: relative ones count from the frame's arrival.
struct SenMLMoment {
    var milliseconds: Int64?
    var isRelative: Bool

    /// Times below 2^28 seconds are relative to now (RFC 8428 section 4.5.3).
    @inline(__always)
    init(_ time: Value) {
        isRelative = time.approximate.magnitude < SenMLResolved.firstAbsolute
        let milliseconds = time.milliseconds
        self.milliseconds = isRelative && milliseconds == 0 ? nil : milliseconds
    }
}

/// Base values in force, and whose pack it is.
struct SenMLState {
    /// CBOR gives data as bytes, JSON as base64 text.
    var isBinary: Bool
    var baseName = JSONString.empty { didSet { base = SenMLBase() } }
    var base = SenMLBase()
    var baseTime = Value.decimal(0) { didSet { moment = nil } }
    /// Of `baseTime`, for records without a time of their own.
    var moment: SenMLMoment?
    var baseUnit: JSONString?
    var baseValue: Value?
    var baseSum: Value?
    var version: Int64?
    /// Hash of the device that the first record named; nil until then.
    var device: UInt64?
    /// Hash of the conversation's path; 0 without one.
    let path: UInt64

    init(isBinary: Bool, path: UInt64) {
        self.isBinary = isBinary
        self.path = path
    }

    /// Values are not what they seem without them.
    @inline(__always)
    var hasBaseNumbers: Bool { baseValue != nil || baseSum != nil }

    /// Works the time of records without one out, once.
    mutating func settle() -> SenMLMoment {
        let moment = SenMLMoment(baseTime.plus(.decimal(0)))
        self.moment = moment
        return moment
    }

    @inline(__always)
    mutating func take(_ record: SenMLRecord) throws(Rejection) {
        if record.hasBase { try takeBase(record) }
    }

    private mutating func takeBase(_ record: SenMLRecord) throws(Rejection) {
        if let version = record.number(.version) {
            guard version.kind == .decimal, version.exponent == 0 else { throw .badType }
            guard version.mantissa <= 10, version.mantissa >= 1 else { throw .badVersion }
            self.version = version.mantissa
        }
        if let name = record.text(.baseName) { baseName = name }
        if let time = record.number(.baseTime) { baseTime = time }
        if let unit = record.text(.baseUnit) { baseUnit = unit }
        if let value = record.number(.baseValue) { baseValue = value }
        if let sum = record.number(.baseSum) { baseSum = sum }
    }
}

/// Watches a record for its head: the name, perhaps unit, then the value, one behind the other.
struct HeadRun {
    private enum State: UInt8 { case none, name, unit, closed, spoilt }

    private var state = State.none
    private var start = 0

    /// `key`: bytes of the label, from its first to the one behind it.
    mutating func note(
        _ label: SenMLLabel, _ key: Int, _ end: Int, _ record: inout SenMLRecord
    ) {
        switch (label, state) {
        case (.name, .none):
            if record.isNamed { return spoil(&record) }
            start = key
            state = .name
        case (.unit, .name): state = .unit
        case (.value, .name), (.value, .unit):
            record.head = start..<end
            state = .closed
        case (.name, _), (.unit, _), (_, .name), (_, .unit): spoil(&record)
        default: break
        }
    }

    mutating func spoil(_ record: inout SenMLRecord) {
        state = .spoilt
        record.head = 0..<0
    }
}
