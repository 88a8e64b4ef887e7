// Turns a stream's doubles into integers where they are decimals, and remembers the few that are not
// as misfits: position and distance in bit patterns from the decimal nearest. Owned by the encoder.

struct ValueConverter {
    /// A double that its stream's decimal form does not give: bits = form's bits + ulps.
    struct Misfit {
        var position: Int
        var ulps: Int64
    }

    private(set) var misfits: [Misfit] = []
    private var scratch: [Int64] = []

    mutating func removeAll() { misfits.removeAll(keepingCapacity: true) }

    /// Replaces the bit patterns in `range` by integers of the form returned; misfits are appended.
    mutating func convert(_ integers: inout [Int64], _ range: Range<Int>) -> ValueForm {
        let count = range.count
        var samples = 32
        var form = Decimals.choose(integers.span.extracting(range), samples: samples)
        let before = misfits.count
        while form != .integer {
            let allowed = samples < count ? max(2, count / 32) : count / 2
            if apply(form, integers.span.extracting(range), allowed: allowed) {
                for i in 0..<count { integers[range.lowerBound &+ i] = scratch[i] }
                return form
            }
            misfits.removeLast(misfits.count - before)
            if samples >= count { return .integer }
            samples = count
            form = Decimals.choose(integers.span.extracting(range), samples: samples)
        }
        return form
    }

    /// Fills `scratch`; false when there are more misfits than allowed.
    private mutating func apply(_ form: ValueForm, _ x: Span<Int64>, allowed: Int) -> Bool {
        scratch.removeAll(keepingCapacity: true)
        let exponent: Int
        switch form {
        case .integer: return false
        case .decimal(let e), .single(let e): exponent = e
        }
        var left = allowed
        var last: Int64 = 0
        for i in 0..<x.count {
            let v = Double(bitPattern: UInt64(bitPattern: x[i]))
            let m = Decimals.nearest(v, exponent) ?? last
            let ulps = x[i] &- Int64(bitPattern: form.bits(m))
            if ulps != 0 {
                if left == 0 { return false }
                left -= 1
                misfits.append(Misfit(position: i, ulps: ulps))
            }
            scratch.append(m)
            last = m
        }
        return true
    }
}
