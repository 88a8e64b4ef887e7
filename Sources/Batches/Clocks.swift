// Clocks: one column of observedAt and receivedAt. Times become steps in the largest unit that divides
// them all, and steps a column; receivedAt is nothing when it equals observedAt, else a lag or a step.
// Owned by one encoder or decoder. Arithmetic wraps, so every pair of times comes back exactly.

/// Units of time steps in milliseconds; the number of a unit is on the wire.
let timeUnits: [Int64] = [1, 10, 100, 1000, 60_000, 3_600_000]

/// The largest unit that divides all of `steps`.
func commonUnit(_ steps: [Int64]) -> Int {
    var unit = timeUnits.count - 1
    var last: Int64 = 0
    for step in steps where step != last {
        while unit > 0, inUnits(step, unit) &* timeUnits[unit] != step { unit -= 1 }
        if unit == 0 { break }
        last = step
    }
    return unit
}

/// `step / timeUnits[unit]`, by constants: a division by a number that only the run knows takes longer
/// than all else that is done to a step.
@inline(__always)
private func inUnits(_ step: Int64, _ unit: Int) -> Int64 {
    switch unit {
    case 0: step
    case 1: step / 10
    case 2: step / 100
    case 3: step / 1000
    case 4: step / 60_000
    default: step / 3_600_000
    }
}

/// How receivedAt is written.
enum Arrival: UInt8 {
    /// It equals observedAt.
    case same = 0
    /// receivedAt - observedAt
    case lag = 1
    /// The first lag, then steps of receivedAt: frames that bring many times at once.
    case steps = 2
}

/// In the head: unit | arrival << 3, and the forms of its columns.
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
        guard Int(byte & 7) < timeUnits.count, let arrival = Arrival(rawValue: byte >> 3) else {
            return nil
        }
        self.init(unit: Int(byte & 7), arrival: arrival)
    }
}

struct ClockEncoder {
    private var steps: [Int64] = []
    private var lags: [Int64] = []

    /// What a clock leaves to the next one, whose devices often report alike.
    struct Before {
        /// First observedAt, and the first of its column of steps.
        var time: Int64
        var step: Int64 = 0
    }

    /// Writes one clock's columns; its first observedAt in `unit` milliseconds since the one before,
    /// the first step and the first of the arrival column go to `firsts`.
    mutating func encode(
        observed: Span<Int64>, received: Span<Int64>, unit start: Int64, before: inout Before,
        columns: inout ColumnEncoder, into planes: inout Planes, firsts: inout [UInt8],
        escapes: inout [UInt8]
    ) -> ClockForm {
        firsts.putZigzag((observed[0] &- before.time) / start)
        before.time = observed[0]
        let unit = takeSteps(observed)
        var form = ClockForm(unit: unit, arrival: arrival(observed, received))
        if observed.count > 1 {
            let (column, first) = columns.encodeTimes(steps.span, into: &planes, escapes: &escapes)
            firsts.putZigzag(first &- before.step)
            before.step = first
            form.steps = column
            form.hasSteps = true
        }
        if form.arrival != .same {
            let (column, first) = columns.encodeTimes(lags.span, into: &planes, escapes: &escapes)
            firsts.putZigzag(first)
            form.lags = column
        }
        return form
    }

    /// Fills `steps` and returns the unit in which they are.
    private mutating func takeSteps(_ t: Span<Int64>) -> Int {
        ClockEncoder.subtract(t, into: &steps)
        let unit = commonUnit(steps)
        if unit > 0 { ClockEncoder.divide(&steps, unit) }
        return unit
    }

    /// The steps from row to row; nothing for the first one.
    private static func subtract(_ t: Span<Int64>, into steps: inout [Int64]) {
        steps.removeAll(keepingCapacity: true)
        // Adding room for nothing to an array without storage writes into the one that all such share.
        guard t.count > 1 else { return }
        steps.append(addingCapacity: t.count - 1) { output in
            for i in 1..<t.count { output.append(t[i] &- t[i &- 1]) }
        }
    }

    private static func divide(_ steps: inout [Int64], _ unit: Int) {
        var own = steps.mutableSpan
        for i in own.indices { own[i] = inUnits(own[i], unit) }
    }

    /// Fills `lags` for the cheaper way.
    private mutating func arrival(_ o: Span<Int64>, _ r: Span<Int64>) -> Arrival {
        var same = 0
        while same < o.count, r[same] == o[same] { same &+= 1 }
        if same == o.count { return .same }
        var lagChanges = 0
        var stepsNotZero = 0
        for i in 1..<o.count {
            if r[i] &- o[i] != r[i &- 1] &- o[i &- 1] { lagChanges += 1 }
            if r[i] != r[i &- 1] { stepsNotZero += 1 }
        }
        lags.removeAll(keepingCapacity: true)
        if stepsNotZero < lagChanges {
            lags.append(r[0] &- o[0])
            for i in 1..<o.count { lags.append(r[i] &- r[i &- 1]) }
            return .steps
        }
        for i in o.indices { lags.append(r[i] &- o[i]) }
        return .lag
    }
}

struct ClockDecoder {
    private var column: [Int64] = []
    private let none = Alignment()

    /// Appends `count` rows to `observed` and `received`.
    mutating func decode(
        _ form: ClockForm, count: Int, unit start: Int64, before: inout ClockEncoder.Before,
        columns: inout ColumnDecoder, firsts: inout SectionReader, observed: inout [Int64],
        received: inout [Int64]
    ) throws(BatchError) {
        let from = observed.count
        var t = before.time &+ (try firsts.signed()) &* start
        before.time = t
        observed.append(t)
        if count > 1 {
            column.removeAll(keepingCapacity: true)
            before.step = before.step &+ (try firsts.signed())
            try columns.decode(
                form.steps, isTime: true, first: before.step, count: count - 1, beside: none,
                into: &column)
            let size = timeUnits[form.unit]
            let steps = column.span
            observed.append(addingCapacity: steps.count) { output in
                for i in steps.indices {
                    t = t &+ steps[i] &* size
                    output.append(t)
                }
            }
        }
        guard form.arrival != .same else {
            received.append(contentsOf: observed[from..<from + count])
            return
        }
        column.removeAll(keepingCapacity: true)
        let first = try firsts.signed()
        try columns.decode(
            form.lags, isTime: true, first: first, count: count, beside: none, into: &column)
        let (times, lags) = (observed.span.extracting(from...), column.span)
        var last: Int64 = 0
        received.append(addingCapacity: count) { output in
            for i in 0..<count {
                last = (form.arrival == .lag || i == 0 ? times[i] : last) &+ lags[i]
                output.append(last)
            }
        }
    }
}
