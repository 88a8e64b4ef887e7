// Clocks: one column of observedAt and receivedAt. Times become steps in the largest unit that divides
// them all, and steps a column; receivedAt is nothing when it equals observedAt, else a lag or a step.
// Owned by one encoder or decoder. Arithmetic wraps, so every pair of times comes back exactly.

/// Units of time steps in milliseconds; the number of a unit is on the wire.
private let units: [Int64] = [1, 10, 100, 1000, 60_000, 3_600_000]

/// How receivedAt is written.
enum Arrival: UInt8 {
    /// It equals observedAt.
    case same = 0
    /// receivedAt - observedAt
    case lag = 1
    /// The first lag, then steps of receivedAt: frames that bring many times at once.
    case steps = 2
}

/// Two bytes a clock in the head: unit | arrival << 3, and the forms of its columns.
struct ClockForm {
    var unit: Int
    var arrival: Arrival
    var steps = ColumnForm.single
    var lags = ColumnForm.single
    /// More than one row.
    var hasSteps = false

    init(unit: Int, arrival: Arrival) {
        self.unit = unit
        self.arrival = arrival
    }

    var byte: UInt8 { UInt8(unit) | arrival.rawValue << 3 }

    init?(byte: UInt8) {
        guard Int(byte & 7) < units.count, let arrival = Arrival(rawValue: byte >> 3) else {
            return nil
        }
        self.init(unit: Int(byte & 7), arrival: arrival)
    }
}

struct ClockEncoder {
    private var steps: [Int64] = []
    private var lags: [Int64] = []

    /// Writes one clock's columns; its first observedAt, the first step and the first of the arrival
    /// column go to `firsts`. `previous` is the first observedAt of the clock before.
    mutating func encode(
        observed: Span<Int64>, received: Span<Int64>, previous: inout Int64,
        columns: inout ColumnEncoder, into planes: inout Planes, firsts: inout [UInt8],
        escapes: inout [UInt8]
    ) -> ClockForm {
        firsts.putZigzag(observed[0] &- previous)
        previous = observed[0]
        let unit = takeSteps(observed)
        var form = ClockForm(unit: unit, arrival: arrival(observed, received))
        if observed.count > 1 {
            let (column, first) = columns.encode(steps.span, into: &planes, escapes: &escapes)
            firsts.putZigzag(first)
            form.steps = column
            form.hasSteps = true
        }
        if form.arrival != .same {
            let (column, first) = columns.encode(lags.span, into: &planes, escapes: &escapes)
            firsts.putZigzag(first)
            form.lags = column
        }
        return form
    }

    /// Fills `steps` and returns the unit in which they are.
    private mutating func takeSteps(_ t: Span<Int64>) -> Int {
        steps.removeAll(keepingCapacity: true)
        var unit = units.count - 1
        var last: Int64 = 0
        for i in 1..<max(1, t.count) {
            let step = t[i] &- t[i &- 1]
            steps.append(step)
            if step == last { continue }
            while unit > 0, step % units[unit] != 0 { unit -= 1 }
            last = step
        }
        let size = units[unit]
        if size > 1 { for i in steps.indices { steps[i] /= size } }
        return unit
    }

    /// Fills `lags` for the cheaper way.
    private mutating func arrival(_ o: Span<Int64>, _ r: Span<Int64>) -> Arrival {
        lags.removeAll(keepingCapacity: true)
        var isSame = true
        var lagChanges = 0
        var stepsNotZero = 0
        for i in 0..<o.count {
            let lag = r[i] &- o[i]
            lags.append(lag)
            if lag != 0 { isSame = false }
            if i > 0 {
                if lag != lags[i &- 1] { lagChanges += 1 }
                if r[i] != r[i &- 1] { stepsNotZero += 1 }
            }
        }
        if isSame { return .same }
        guard stepsNotZero < lagChanges else { return .lag }
        for i in 1..<o.count { lags[i] = r[i] &- r[i &- 1] }
        return .steps
    }
}

struct ClockDecoder {
    private var column: [Int64] = []

    /// Appends `count` rows to `observed` and `received`.
    mutating func decode(
        _ form: ClockForm, count: Int, previous: inout Int64, planes: inout PlaneReaders,
        firsts: inout SectionReader, escapes: inout SectionReader, observed: inout [Int64],
        received: inout [Int64]
    ) throws(BatchError) {
        let start = observed.count
        var t = previous &+ (try firsts.signed())
        previous = t
        observed.append(t)
        if count > 1 {
            column.removeAll(keepingCapacity: true)
            let first = try firsts.signed()
            try planes.decode(
                form.steps, first: first, count: count - 1, escapes: &escapes, into: &column)
            let size = units[form.unit]
            for step in column {
                t = t &+ step &* size
                observed.append(t)
            }
        }
        guard form.arrival != .same else {
            for i in 0..<count { received.append(observed[start &+ i]) }
            return
        }
        column.removeAll(keepingCapacity: true)
        let first = try firsts.signed()
        try planes.decode(form.lags, first: first, count: count, escapes: &escapes, into: &column)
        var last: Int64 = 0
        for i in 0..<count {
            last =
                form.arrival == .lag || i == 0
                ? observed[start &+ i] &+ column[i] : last &+ column[i]
            received.append(last)
        }
    }
}
