// Doubles that are decimals: v = m / 10^e bit for bit. Finds the exponent with which a stream's doubles
// become small integers, and turns integers back with exactly one rounding, so both ends agree.

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

    /// How to come and go; nil when there is nothing to do.
    var decimal: Decimal? {
        switch self {
        case .integer: nil
        case .decimal(let e): Decimal(e, isSingle: false)
        case .single(let e): Decimal(e, isSingle: true)
        }
    }
}

/// One exponent, looked up once for a column.
struct Decimal {
    private let power: Double
    /// Whether the integers are divided: the exponent is 0 or more.
    private let isFraction: Bool
    private let isSingle: Bool

    // Each is exact in binary64.
    private static let powers: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17,
    ]
    private static let limit = 9_007_199_254_740_992.0  // 2^53

    init(_ exponent: Int, isSingle: Bool) {
        power = Decimal.powers[abs(exponent)]
        isFraction = exponent >= 0
        self.isSingle = isSingle
    }

    /// All of them, from that of `ValueForm.exponents.lowerBound` on.
    static func all(isSingle: Bool) -> [Decimal] {
        ValueForm.exponents.map { Decimal($0, isSingle: isSingle) }
    }

    /// The bits that `m` stands for: m / 10^e, or m × 10^-e for a negative exponent; one rounding after
    /// that of `m` itself, and that to binary32.
    @inline(__always)
    func bits(_ m: Int64) -> Int64 {
        let v = isFraction ? Double(m) / power : Double(m) * power
        return Int64(bitPattern: (isSingle ? Double(Float(v)) : v).bitPattern)
    }

    /// The integer nearest to v × 10^e; nil when not finite or beyond 2^53.
    @inline(__always)
    func nearest(_ v: Double) -> Int64? {
        let y = isFraction ? v * power : v / power
        guard y.magnitude < Decimal.limit else { return nil }
        return Int64(y < 0 ? y - 0.5 : y + 0.5)
    }

    @inline(__always)
    func fits(_ v: Double) -> Bool {
        guard let m = nearest(v) else { return false }
        return bits(m) == Int64(bitPattern: v.bitPattern)
    }
}

/// Judges a stream's doubles. Owned by the converter.
struct FormChooser {
    private let exact = Decimal.all(isSingle: false)
    private let single = Decimal.all(isSingle: true)
    private var exactCounts = [Int](repeating: 0, count: 21)
    private var singleCounts = [Int](repeating: 0, count: 21)

    /// The form with the smallest estimated cost for the doubles whose bits are `x`, judged by at
    /// most `samples` of them.
    mutating func choose(_ x: Span<Int64>, samples: Int) -> ValueForm {
        for i in exactCounts.indices { (exactCounts[i], singleCounts[i]) = (0, 0) }
        let take = min(samples, x.count)
        var last: Int64 = 0
        var places: (exact: Int?, single: Int?) = (nil, nil)
        for k in 0..<take {
            let bits = x[k * x.count / take]
            if k == 0 || bits != last {
                places = self.places(Double(bitPattern: UInt64(bitPattern: bits)), near: places)
                last = bits
            }
            if let place = places.exact { exactCounts[place] += 1 }
            if let place = places.single { singleCounts[place] += 1 }
        }
        return cheapest(take)
    }

    /// The smallest exponents of either form.
    @inline(__always)
    private func places(
        _ v: Double, near: (exact: Int?, single: Int?)
    ) -> (exact: Int?, single: Int?) {
        // Integers that binary32 has too are the same in both forms, and common.
        if v != 0, v.magnitude < 16_777_216, Double(Int32(v)) == v {
            let n = Int32(v)
            let place = n % 10 != 0 ? 3 : n % 100 != 0 ? 2 : n % 1000 != 0 ? 1 : 0
            return (place, place)
        }
        let isSingle = Double(Float(v)).bitPattern == v.bitPattern
        return (
            FormChooser.smallest(v, exact, near: near.exact, upTo: 17),
            isSingle ? FormChooser.smallest(v, single, near: near.single, upTo: 9) : nil
        )
    }

    /// In hundredths of a bit: a digit is worth 3.32 bits, a misfit about 45, raw bits 52.
    private func cheapest(_ take: Int) -> ValueForm {
        var best = ValueForm.integer
        var cost = take * 5200
        var exactFits = 0
        var singleFits = 0
        for (place, e) in ValueForm.exponents.enumerated() {
            exactFits += exactCounts[place]
            singleFits += singleCounts[place]
            let digits = take * 332 * place
            // They only become more.
            if digits >= cost { break }
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

    /// The place of the smallest exponent with which `v` comes back bit for bit. What comes back with one
    /// does with the next while integers are far from 2^53, being no farther from `v` there: so the scan
    /// begins `near` the last answer, and skips to the largest such exponent when that will not do.
    private static func smallest(
        _ v: Double, _ all: [Decimal], near: Int?, upTo last: Int
    ) -> Int? {
        if v == 0 { return v.bitPattern == 0 ? 0 : nil }
        guard v.isFinite else { return nil }
        let zero = -ValueForm.exponents.lowerBound
        // log10(2) is a little more than 1233 / 4096: |v| × 10^e is below 2^49, and 2^53 or more.
        let bits = Int(v.exponent)
        let safe = min(last, ((48 &- bits) &* 1233) &>> 12) &+ zero
        let end = min(last, ((53 &- bits) &* 1234) &>> 12 &+ 1) &+ zero
        var place = max(-1, min(near ?? zero, safe))
        if place >= 0, all[place].fits(v) {
            while place > 0, all[place &- 1].fits(v) { place &-= 1 }
            return place
        }
        if safe > place, !all[safe].fits(v) { place = safe }
        while place < end {
            place &+= 1
            if all[place].fits(v) { return place }
        }
        return nil
    }
}
