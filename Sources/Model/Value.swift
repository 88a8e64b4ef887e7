// A value keeps what the wire said: a decimal stays a decimal, an IEEE number stays a double.

/// One measured value in nine significant bytes: `kind`, decimal `exponent` and 64 `bits`.
public struct Value: Hashable, Sendable {
    public enum Kind: UInt8, Sendable, CaseIterable {
        /// The device said that it has no value, or its digits were not valid.
        case none = 0
        /// mantissa × 10^exponent; `bits` is the mantissa as Int64.
        case decimal = 1
        /// IEEE 754 binary64; `bits` is its bit pattern.
        case double = 2
        /// `bits` is 0 or 1.
        case boolean = 3
        /// An enumerated code; `bits` is the code as UInt64.
        case code = 4
    }

    public var kind: Kind
    public var exponent: Int8
    public var bits: UInt64

    public init(kind: Kind, exponent: Int8, bits: UInt64) {
        self.kind = kind
        self.exponent = exponent
        self.bits = bits
    }

    public static let none = Value(kind: .none, exponent: 0, bits: 0)

    public static func decimal(_ mantissa: Int64, exponent: Int8 = 0) -> Value {
        Value(kind: .decimal, exponent: exponent, bits: UInt64(bitPattern: mantissa))
    }

    public static func double(_ value: Double) -> Value {
        Value(kind: .double, exponent: 0, bits: value.bitPattern)
    }

    public static func boolean(_ value: Bool) -> Value {
        Value(kind: .boolean, exponent: 0, bits: value ? 1 : 0)
    }

    public static func code(_ value: UInt64) -> Value {
        Value(kind: .code, exponent: 0, bits: value)
    }

    public var mantissa: Int64 { Int64(bitPattern: bits) }

    /// The nearest double; nil for `.none`. A decimal of at most 15 digits and |exponent| ≤ 22 is
    /// converted by one correctly rounded division or multiplication, so it is the double that the
    /// same decimal text parses to.
    public var asDouble: Double? {
        switch kind {
        case .none: return nil
        case .double: return Double(bitPattern: bits)
        case .boolean, .code: return Double(bits)
        case .decimal:
            let e = Int(exponent)
            if e == 0 { return Double(mantissa) }
            if mantissa.magnitude <= 1 << 53, e.magnitude <= 22 {
                let power = Value.powersOfTen[Int(e.magnitude)]
                return e > 0 ? Double(mantissa) * power : Double(mantissa) / power
            }
            return Double(description)
        }
    }

    /// Decimal digits exactly as the wire meant them (`230.5`, `-0.01`, `1500`), the shortest
    /// round-trip text of a double, `true`/`false`, a code's number, or `–` for no value.
    public var description: String {
        switch kind {
        case .none: return "–"
        case .double: return "\(Double(bitPattern: bits))"
        case .boolean: return bits == 0 ? "false" : "true"
        case .code: return String(bits)
        case .decimal:
            let digits = String(mantissa.magnitude)
            let sign = mantissa < 0 ? "-" : ""
            let e = Int(exponent)
            if e >= 0 {
                return sign + (mantissa == 0 ? "0" : digits + String(repeating: "0", count: e))
            }
            let places = -e
            if digits.utf8.count > places {
                let cut = digits.index(digits.endIndex, offsetBy: -places)
                return sign + digits[..<cut] + "." + digits[cut...]
            }
            return sign + "0." + String(repeating: "0", count: places - digits.utf8.count) + digits
        }
    }

    // Each is exact in binary64: 10^22 < 2^53 · 2^22.
    private static let powersOfTen: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    ]
}

/// What is doubtful about a reading; empty means good (design.md section 5). Bit numbers are on disk
/// and on the wire: never renumber.
public struct Quality: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The device has no value for this quantity (all-FF digits, absent phase).
    public static let missing = Quality(rawValue: 1 << 0)
    /// Digits that are no digits: the raw bytes are kept by the explaining path.
    public static let badDigits = Quality(rawValue: 1 << 1)
    public static let outOfRange = Quality(rawValue: 1 << 2)
    public static let rateOfChange = Quality(rawValue: 1 << 3)
    public static let stuck = Quality(rawValue: 1 << 4)
    /// The device's time was outside the accepted window; `observedAt` is the arrival time.
    public static let deviceClockImplausible = Quality(rawValue: 1 << 5)
    /// The device sent no time; `observedAt` is the arrival time.
    public static let noDeviceClock = Quality(rawValue: 1 << 6)
    /// The gateway's own clock was not yet set when the reading arrived.
    public static let gatewayClockUnset = Quality(rawValue: 1 << 7)
    /// The device itself marked the value as doubtful.
    public static let deviceFlagged = Quality(rawValue: 1 << 8)

    /// The frame's check value was wrong, and its format lets that pass.
    public static let badChecksum = Quality(rawValue: 1 << 9)

    /// Code and meaning of each bit, in bit order: the one table for tools and documents.
    public static let names: [(bit: Quality, code: String)] = [
        (.missing, "missing"), (.badDigits, "bad-bcd"), (.outOfRange, "out-of-range"),
        (.rateOfChange, "rate-of-change"), (.stuck, "stuck"),
        (.deviceClockImplausible, "device-clock-implausible"),
        (.noDeviceClock, "no-device-clock"), (.gatewayClockUnset, "gateway-clock-unset"),
        (.deviceFlagged, "device-flagged"), (.badChecksum, "bad-checksum"),
    ]

    /// Whether the value itself is good; missing device time alone does not make a value doubtful.
    public var isGood: Bool { subtracting([.noDeviceClock]).isEmpty }

    /// `good`, or the codes joined by `+`. A missing device clock is named, yet stays good.
    public var description: String {
        let codes = Quality.names.filter { contains($0.bit) }.map(\.code)
        return codes.isEmpty ? "good" : codes.joined(separator: "+")
    }
}
