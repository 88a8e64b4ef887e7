// Siblings: columns of the same quantity from other devices. Stations of a district see the same weather,
// and some are filled from the same source, so that a column often repeats an earlier one at the same
// times. Owned by the column encoder; the alignment by either end.
// Invariant: what is aligned depends on times and values that both ends have.

/// An earlier column's values at the times of this one.
struct Alignment {
    private var values: [Int64] = []
    private var isThere: [Bool] = []

    /// Rows are matched in one walk: the other side moves on while it is earlier.
    mutating func align(
        _ times: Span<Int64>, with others: Span<Int64>, values y: Span<Int64>, limit: Int
    ) {
        values.removeAll(keepingCapacity: true)
        isThere.removeAll(keepingCapacity: true)
        var j = 0
        for i in 0..<min(limit, times.count) {
            while j < others.count, others[j] < times[i] { j &+= 1 }
            let isEqual = j < others.count && others[j] == times[i]
            values.append(isEqual ? y[j] : 0)
            isThere.append(isEqual)
            if isEqual { j &+= 1 }
        }
    }

    /// What the value of row `i` (1 or more) is expected to be; `last` is that of the row before.
    @inline(__always)
    func expected(_ i: Int, last: Int64, isStep: Bool) -> Int64 {
        guard isThere[i] else { return last }
        if !isStep { return values[i] }
        return isThere[i &- 1] ? last &+ values[i] &- values[i &- 1] : last
    }
}

struct SiblingFinder {
    /// A column of values as it was encoded.
    struct Column {
        /// Where its integers are, and its rows' times: as many, or it is nobody's sibling.
        var values: Range<Int>
        var rows: Range<Int>
        /// Columns of other forms measure something else.
        var form: ValueForm
        var shape: Int

        var isWhole: Bool { values.count == rows.count }
    }

    /// Columns looked back at.
    static let reach = 16
    /// Shorter columns cost less than the search.
    static let shortest = 8
    private static let glance = 16

    private var columns: [Column] = []
    private(set) var aligned = Alignment()

    mutating func removeAll() { columns.removeAll(keepingCapacity: true) }

    /// Columns out of reach are let go.
    mutating func append(_ column: Column) {
        if columns.count >= 4 * SiblingFinder.reach {
            columns.removeFirst(columns.count - SiblingFinder.reach)
        }
        columns.append(column)
    }

    /// The sibling with which the column costs at least a twentieth less than `budget` bits; it is
    /// `aligned` then.
    mutating func find(
        _ own: Column, _ all: Span<Int64>, observed: Span<Int64>, budget: Int
    ) -> (distance: Int, predictor: Predictor)? {
        guard own.isWhole, budget > 32 else { return nil }
        let x = all.extracting(own.values)
        let times = observed.extracting(own.rows)
        var best: (distance: Int, predictor: Predictor)?
        var cheapest = budget - budget / 20
        var current = 0
        for distance in 1...SiblingFinder.reach where distance <= columns.count {
            let other = columns[columns.count - distance]
            guard other.isWhole, other.form == own.form, other.shape == own.shape else { continue }
            let y = all.extracting(other.values)
            let others = observed.extracting(other.rows)
            aligned.align(times, with: others, values: y, limit: SiblingFinder.glance)
            current = 0
            let (_, likely, usual) = cost(x.extracting(first: SiblingFinder.glance))
            guard likely < usual else { continue }
            aligned.align(times, with: others, values: y, limit: .max)
            current = distance
            let (predictor, bits, _) = cost(x)
            if bits < cheapest {
                cheapest = bits
                best = (distance, predictor)
                if bits == 0 { break }
            }
        }
        if let best, best.distance != current {
            let other = columns[columns.count - best.distance]
            aligned.align(
                times, with: observed.extracting(other.rows),
                values: all.extracting(other.values), limit: .max)
        }
        return best
    }

    /// Bits with the better of the two predictors, and with the last value.
    private func cost(_ x: Span<Int64>) -> (predictor: Predictor, bits: Int, last: Int) {
        var value = 0
        var step = 0
        var last = 0
        for i in 1..<x.count {
            let before = x[i &- 1]
            value &+= bitCount(x[i] &- aligned.expected(i, last: before, isStep: false))
            step &+= bitCount(x[i] &- aligned.expected(i, last: before, isStep: true))
            last &+= bitCount(x[i] &- before)
        }
        return value <= step ? (.sibling, value, last) : (.siblingStep, step, last)
    }
}
