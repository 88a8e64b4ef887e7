// Turns a stream's doubles into integers where they are decimals, and remembers the few that are not
// as misfits: position and distance in bit patterns from the decimal nearest. Owned by the encoder.

struct ValueConverter {
    /// A double that its stream's decimal form does not give: bits = form's bits + ulps.
    struct Misfit {
        var position: Int
        var ulps: Int64
    }

    private(set) var misfits: [Misfit] = []
    private var chooser = FormChooser()
    private var scratch: [Int64] = []

    mutating func removeAll() { misfits.removeAll(keepingCapacity: true) }

    /// Replaces the bit patterns in `range` by integers of the form returned; misfits are appended.
    mutating func convert(_ integers: inout [Int64], _ range: Range<Int>) -> ValueForm {
        let count = range.count
        if scratch.count < count { scratch = [Int64](repeating: 0, count: count) }
        var samples = 32
        let before = misfits.count
        while true {
            let form = chooser.choose(integers.span.extracting(range), samples: samples)
            guard let decimal = form.decimal else { return form }
            let allowed = samples < count ? max(2, count / 32) : count / 2
            if ValueConverter.apply(
                decimal, integers.span.extracting(range), into: &scratch, misfits: &misfits,
                allowed: allowed)
            {
                integers.replaceSubrange(range, with: scratch[..<count])
                return form
            }
            misfits.removeLast(misfits.count - before)
            if samples >= count { return .integer }
            samples = count
        }
    }

    /// False when there are more misfits than allowed.
    private static func apply(
        _ decimal: Decimal, _ x: Span<Int64>, into output: inout [Int64],
        misfits: inout [Misfit], allowed: Int
    ) -> Bool {
        var left = allowed
        var last: Int64 = 0
        var target = output.mutableSpan
        for i in x.indices {
            let m = decimal.nearest(Double(bitPattern: UInt64(bitPattern: x[i]))) ?? last
            let ulps = x[i] &- decimal.bits(m)
            if ulps != 0 {
                if left == 0 { return false }
                left -= 1
                misfits.append(Misfit(position: i, ulps: ulps))
            }
            target[i] = m
            last = m
        }
        return true
    }
}
