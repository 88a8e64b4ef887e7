// Doubles that are decimals: v = m / 10^e bit for bit. Finds the exponent with which a stream's doubles
// become small integers, and turns integers back with exactly one rounding, so both ends agree.
// Values only, no state.

/// How the 64 bits of a stream's values became integers.
enum ValueForm: Hashable {
    /// The bits themselves: mantissas, codes, booleans, or doubles that are no decimals.
    case integer
    /// double(m) / 10^exponent
    case decimal(Int)
    /// The same rounded to binary32 and widened.
    case single(Int)

    static let exponents = -3...17

    /// (code, exponent) in the form table.
    var coded: (UInt8, UInt8) {
        switch self {
        case .integer: (0, 0)
        case .decimal(let e): (1, UInt8(bitPattern: Int8(e)))
        case .single(let e): (2, UInt8(bitPattern: Int8(e)))
        }
    }

    init?(code: UInt8, exponent: UInt8) {
        let e = Int(Int8(bitPattern: exponent))
        switch code {
        case 0 where e == 0: self = .integer
        case 1 where ValueForm.exponents.contains(e): self = .decimal(e)
        case 2 where ValueForm.exponents.contains(e): self = .single(e)
        default: return nil
        }
    }

    /// The bits that `m` stands for.
    @inline(__always)
    func bits(_ m: Int64) -> UInt64 {
        switch self {
        case .integer: UInt64(bitPattern: m)
        case .decimal(let e): Decimals.double(m, e).bitPattern
        case .single(let e): Double(Float(Decimals.double(m, e))).bitPattern
        }
    }
}

enum Decimals {
    // Each is exact in binary64.
    private static let powers: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17,
    ]
    private static let limit = 9_007_199_254_740_992.0  // 2^53

    /// m / 10^e, or m × 10^-e for a negative exponent; one rounding after that of `m` itself.
    @inline(__always)
    static func double(_ m: Int64, _ e: Int) -> Double {
        e >= 0 ? Double(m) / powers[e] : Double(m) * powers[-e]
    }

    /// The integer nearest to v × 10^e; nil when not finite or beyond 2^53.
    @inline(__always)
    static func nearest(_ v: Double, _ e: Int) -> Int64? {
        let y = e >= 0 ? v * powers[e] : v / powers[-e]
        guard y.magnitude < limit else { return nil }
        return Int64(y < 0 ? y - 0.5 : y + 0.5)
    }

    /// The form with the smallest estimated cost for the doubles whose bits are `x`, judged by at
    /// most `samples` of them.
    static func choose(_ x: Span<Int64>, samples: Int) -> ValueForm {
        let take = min(samples, x.count)
        var exact = [Int](repeating: 0, count: 21)
        var single = [Int](repeating: 0, count: 21)
        for k in 0..<take {
            let v = Double(bitPattern: UInt64(bitPattern: x[k * x.count / take]))
            if let e = smallest(v, .decimal(0), upTo: 17) { exact[e + 3] += 1 }
            if Double(Float(v)).bitPattern == v.bitPattern,
                let e = smallest(v, .single(0), upTo: 9)
            {
                single[e + 3] += 1
            }
        }
        // In hundredths of a bit: a digit is worth 3.32 bits, a misfit about 45, raw bits 52.
        var best = ValueForm.integer
        var cost = take * 5200
        var exactFits = 0
        var singleFits = 0
        for e in ValueForm.exponents {
            exactFits += exact[e + 3]
            singleFits += single[e + 3]
            let digits = take * 332 * (e + 3)
            if digits + (take - exactFits) * 4500 < cost, exactFits > 0 {
                cost = digits + (take - exactFits) * 4500
                best = .decimal(e)
            }
            if digits + (take - singleFits) * 4500 + 400 < cost, singleFits > 0 {
                cost = digits + (take - singleFits) * 4500 + 400
                best = .single(e)
            }
        }
        return best
    }

    /// The smallest exponent with which `v` comes back bit for bit.
    private static func smallest(_ v: Double, _ form: ValueForm, upTo last: Int) -> Int? {
        if v == 0 { return v.bitPattern == 0 ? -3 : nil }
        for e in -3...last {
            guard let m = nearest(v, e) else { return nil }
            let candidate: ValueForm = if case .single = form { .single(e) } else { .decimal(e) }
            if candidate.bits(m) == v.bitPattern { return e }
        }
        return nil
    }
}
