// Siblings: columns of the same quantity from other devices. Stations of a district see the same weather,
// and some are filled from the same source, so that a column often repeats an earlier one at the same
// times. Owned by the column encoder; the alignment by either end.
// Invariant: what is aligned depends on times and values that both ends have.

/// An earlier column's values at the times of this one.
struct Alignment {
    private var values: [Int64?] = []

    /// Rows are matched in one walk: the other side moves on while it is earlier.
    mutating func align(_ times: Span<Int64>, with others: Span<Int64>, values y: Span<Int64>) {
        if values.count < times.count { values = [Int64?](repeating: nil, count: times.count) }
        var target = values.mutableSpan
        var walk = Walk()
        for i in times.indices { target[i] = walk.match(times[i], others).map { y[$0] } }
    }

    /// What the value of row `i` (1 or more) is expected to be; `last` is that of the row before.
    @inline(__always)
    func expected(_ i: Int, last: Int64, isStep: Bool) -> Int64 {
        guard let value = values[i] else { return last }
        if !isStep { return value }
        return values[i &- 1].map { last &+ value &- $0 } ?? last
    }
}

/// A place in the other column's times.
private struct Walk {
    private var next = 0

    /// The other's row at this time.
    @inline(__always)
    mutating func match(_ time: Int64, _ others: Span<Int64>) -> Int? {
        while next < others.count, others[next] <= time {
            next &+= 1
            if others[next &- 1] == time { return next &- 1 }
        }
        return nil
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
    /// Columns of one stored value behind those: nobody's siblings, yet they count in distances.
    private var singles = 0
    private(set) var aligned = Alignment()

    mutating func removeAll() {
        columns.removeAll(keepingCapacity: true)
        singles = 0
    }

    mutating func appendSingle() { singles &+= 1 }

    /// Columns out of reach are let go.
    mutating func append(_ column: Column) {
        for _ in 0..<min(singles, SiblingFinder.reach) {
            columns.append(Column(values: 0..<1, rows: 0..<0, form: .integer, shape: 0))
        }
        singles = 0
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
        var usual = 0
        for i in 1..<min(x.count, SiblingFinder.glance) { usual &+= bitCount(x[i] &- x[i &- 1]) }
        var best: (distance: Int, predictor: Predictor)?
        var cheapest = budget - budget / 20
        for distance in 1...SiblingFinder.reach
        where distance > singles && distance - singles <= columns.count {
            let other = columns[columns.count + singles - distance]
            guard other.isWhole, other.form == own.form, other.shape == own.shape,
                let (predictor, bits) = cost(
                    x, times, beside: all.extracting(other.values),
                    observed.extracting(other.rows), below: cheapest, glance: usual)
            else { continue }
            cheapest = bits
            best = (distance, predictor)
            if bits == 0 { break }
        }
        if let best {
            let other = columns[columns.count + singles - best.distance]
            aligned.align(
                times, with: observed.extracting(other.rows), values: all.extracting(other.values))
        }
        return best
    }

    /// Bits with the better of the two predictors; nil when they reach the limit, which is that of the
    /// first rows first: most candidates show there that they are none.
    private func cost(
        _ x: Span<Int64>, _ times: Span<Int64>, beside y: Span<Int64>, _ others: Span<Int64>,
        below limit: Int, glance: Int
    ) -> (predictor: Predictor, bits: Int)? {
        var walk = Walk()
        var value = 0
        var step = 0
        var before: Int?
        var left = SiblingFinder.glance
        var most = glance
        for i in x.indices {
            let now = walk.match(times[i], others)
            if i > 0 {
                let own = x[i] &- x[i &- 1]
                let usual = now == nil || before == nil ? bitCount(own) : 0
                if let now {
                    value &+= bitCount(x[i] &- y[now])
                    step &+= before.map { bitCount(own &- (y[now] &- y[$0])) } ?? usual
                } else {
                    value &+= usual
                    step &+= usual
                }
            }
            before = now
            if min(value, step) >= most { return nil }
            left &-= 1
            if left == 0 { most = limit }
        }
        guard min(value, step) < limit else { return nil }
        return value <= step ? (.sibling, value) : (.siblingStep, step)
    }
}
