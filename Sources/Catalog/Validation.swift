// The rules that a decoded value meets before it becomes a reading: pure functions of the hot path, on
// the intake's queue. Validation flags; it drops only what a rule says to drop (design.md section 5).
// Public and inlinable on purpose, as the ring's ends: the intake asks once a reading.

public import Model

/// What becomes of frames of a device that the catalog does not know.
package enum DevicePolicy: String, Sendable, CaseIterable {
    /// Enter it into the catalog and go on.
    case accept
    /// Keep the raw frame aside (`Rejection.quarantined`).
    case quarantine
    /// Count the frame and forget it (`Rejection.unknownDevice`).
    case reject
}

/// Which device times are believed, relative to the arrival, both ends included.
public struct TimeRule: Hashable, Sendable {
    public var maximumAgeMilliseconds: Int64
    public var maximumAheadMilliseconds: Int64
    /// True: drop a reading outside the window; false: flag it and use the arrival time.
    public var drops: Bool

    public init(
        maximumAgeMilliseconds: Int64 = 30 * 86_400_000,
        maximumAheadMilliseconds: Int64 = 5 * 60_000, drops: Bool = false
    ) {
        self.maximumAgeMilliseconds = maximumAgeMilliseconds
        self.maximumAheadMilliseconds = maximumAheadMilliseconds
        self.drops = drops
    }

    @inlinable @inline(__always)
    func accepts(_ observedAt: Timestamp, receivedAt: Timestamp) -> Bool {
        let (ahead, overflows) = observedAt.milliseconds.subtractingReportingOverflow(
            receivedAt.milliseconds)
        guard !overflows else { return false }
        if ahead > 0 { return ahead <= maximumAheadMilliseconds }
        return ahead.magnitude <= UInt64(max(0, maximumAgeMilliseconds))
    }
}

/// Which values are believed.
public struct ValueRule: Hashable, Sendable {
    /// Both ends included; nil accepts every value.
    public var range: ClosedRange<Double>?
    /// True: drop a value outside `range`; false: flag it.
    public var dropsOutOfRange: Bool
    /// True: drop a reading without a value; false: keep it with its quality.
    public var dropsMissing: Bool

    public init(
        range: ClosedRange<Double>? = nil, dropsOutOfRange: Bool = false,
        dropsMissing: Bool = false
    ) {
        self.range = range
        self.dropsOutOfRange = dropsOutOfRange
        self.dropsMissing = dropsMissing
    }
}

/// Applies the rules to one decoded value, the value's first and then the time's; the first drop ends
/// it, so that each lost reading has one reason. Adds what is doubtful to `quality`, and returns the
/// time to store:
/// - no device time: the arrival, `noDeviceClock`;
/// - a device time outside the window: the arrival, `deviceClockImplausible`, or a drop;
/// - the gateway's clock not yet set: `gatewayClockUnset`; a device time is then kept unjudged, since
///   there is nothing to judge it by.
@inlinable @inline(__always)
public func validate(
    value: Value, quality: inout Quality, observedAt: Timestamp?, receivedAt: Timestamp,
    rule: ValueRule?, timeRule: TimeRule, gatewayClockIsSet: Bool
) throws(Drop) -> Timestamp {
    if value.kind == .none {
        if rule?.dropsMissing == true { throw .missing }
        if !quality.contains(.missing) && !quality.contains(.badDigits) { quality.insert(.missing) }
    } else if let rule, let range = rule.range, !isInside(value, range) {
        if rule.dropsOutOfRange { throw .outOfRange }
        quality.insert(.outOfRange)
    }
    if !gatewayClockIsSet { quality.insert(.gatewayClockUnset) }
    guard let observedAt else {
        quality.insert(.noDeviceClock)
        return receivedAt
    }
    if !gatewayClockIsSet || timeRule.accepts(observedAt, receivedAt: receivedAt) {
        return observedAt
    }
    if timeRule.drops { throw .timestampImplausible }
    quality.insert(.deviceClockImplausible)
    return receivedAt
}

/// Whether a value lies in `range`, without allocation; not-a-number lies in none. A decimal is compared
/// as the double nearest to it when it has at most 15 digits and |exponent| ≤ 22 (as `Value.asDouble`),
/// beyond that within a few units in the last place.
@inlinable @inline(__always)
func isInside(_ value: Value, _ range: ClosedRange<Double>) -> Bool {
    guard value.kind == .decimal, value.exponent <= 0, value.exponent >= -4 else {
        return isInsideAny(value, range)
    }
    // The usual exponents, in the caller.
    let divisor: Double =
        switch value.exponent {
        case 0: 1
        case -1: 10
        case -2: 100
        case -3: 1000
        default: 10_000
        }
    return range.contains(Double(value.mantissa) / divisor)
}

@usableFromInline
func isInsideAny(_ value: Value, _ range: ClosedRange<Double>) -> Bool {
    switch value.kind {
    case .none: return true
    case .double: return range.contains(Double(bitPattern: value.bits))
    case .boolean, .code: return range.contains(Double(value.bits))
    case .decimal:
        var scaled = Double(value.mantissa)
        var exponent = Int(value.exponent)
        while exponent > 0 {
            let step = min(exponent, 22)
            scaled *= powersOfTen[step]
            exponent -= step
        }
        while exponent < 0 {
            let step = min(-exponent, 22)
            scaled /= powersOfTen[step]
            exponent += step
        }
        return range.contains(scaled)
    }
}

// Each is exact in binary64.
private let powersOfTen: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
]
