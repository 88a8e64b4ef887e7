// Arithmetic on values as codecs need it: base values of SenML are added to values, times become
// milliseconds. Decimals stay decimals where the sum fits; nothing allocates, nothing traps.

import Model

extension Value {
    private static func power(_ exponent: Int) -> Int64? {
        guard exponent >= 0, exponent <= 18 else { return nil }
        var power: Int64 = 1
        for _ in 0..<exponent { power &*= 10 }
        return power
    }

    /// The nearest double, within a few units of the last place; `.none` is not a number.
    var approximate: Double {
        switch kind {
        case .none: return .nan
        case .double: return Double(bitPattern: bits)
        case .boolean, .code: return Double(bits)
        case .decimal:
            var result = Double(mantissa)
            let step = exponent < 0 ? 1e-1 : 1e1
            if exponent < 0, let divisor = Value.power(0 - Int(exponent)) {
                return result / Double(divisor)
            }
            for _ in 0..<Int(exponent.magnitude) { result *= step }
            return result
        }
    }

    /// Exact for decimals whose sum has one; otherwise the sum of the nearest doubles.
    func plus(_ other: Value) -> Value {
        if kind == .decimal, other.kind == .decimal {
            if bits == 0, exponent >= other.exponent { return other }
            if other.bits == 0, other.exponent >= exponent { return self }
            let low = min(exponent, other.exponent)
            if let a = raised(to: low), let b = other.raised(to: low) {
                let (sum, overflow) = a.addingReportingOverflow(b)
                if !overflow { return .decimal(sum, exponent: low) }
            }
        }
        let sum = approximate + other.approximate
        return sum.isFinite ? .double(sum) : .none
    }

    /// The mantissa of the same decimal with the exponent `low`, which is not above its own.
    private func raised(to low: Int8) -> Int64? {
        guard let factor = Value.power(Int(exponent) - Int(low)) else { return nil }
        let (product, overflow) = mantissa.multipliedReportingOverflow(by: factor)
        return overflow ? nil : product
    }

    /// Seconds as whole milliseconds, rounded down; nil beyond the years 1–9999.
    var milliseconds: Int64? {
        let limit = 253_402_300_800_000.0
        switch kind {
        case .decimal where exponent >= -3:
            guard let factor = Value.power(Int(exponent) + 3) else { return bits == 0 ? 0 : nil }
            let (product, overflow) = mantissa.multipliedReportingOverflow(by: factor)
            return overflow || Double(product).magnitude >= limit ? nil : product
        case .decimal where exponent >= -21:
            guard let divisor = Value.power(-3 - Int(exponent)) else { return nil }
            let whole = mantissa / divisor
            return Double(whole).magnitude >= limit ? nil : whole
        case .decimal: return 0
        case .double:
            let number = (Double(bitPattern: bits) * 1_000).rounded()
            return number.isFinite && number.magnitude < limit ? Int64(number) : nil
        case .none, .boolean, .code: return nil
        }
    }
}
