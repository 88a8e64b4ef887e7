// Integer columns: a predictor turns them into small residuals, the residuals become byte planes or go
// to the range coder. Arithmetic wraps modulo 2^64 in both directions, so every Int64 sequence comes
// back exactly. Owned by one encoder or decoder; scratch is kept from column to column.
//
//     residual r = (x[i] - prediction) / divisor
//     planes: z = zigzag(r)    width 0: every z is 0, nothing stored    width 1: one byte in `bytes`
//       width w: byte w-1 in `high`, bytes 0..<w-1 plane by plane in `low`
//       all planes 0xFF: varint (z - (2^8w - 1)) in `escapes`
//     coded: activity 0: every r is 0, nothing stored; else r >> shift by ResidualModel, then the
//       `shift` bits below as they are

/// What the next value of a column is expected to be.
enum Predictor: UInt8 {
    /// Always the column's first number, which is then no member: its mode or median.
    case base = 0
    case last = 1
    /// last + (last - the one before)
    case linear = 2
    /// Mean of the last two.
    case mean = 3
    /// The sibling's value at the same time; the last where it has none.
    case sibling = 4
    /// last + the sibling's step to this time; the last where it has none.
    case siblingStep = 5

    var needsSibling: Bool { self == .sibling || self == .siblingStep }
}

/// How a column is stored. Bytes in the form tables: predictor; planes: width | group << 4, coded:
/// activity | shift << 4 as a varint; varint divisor.
struct ColumnForm: Hashable {
    var predictor = Predictor.last
    /// The residuals' common factor, 1 or more.
    var divisor: UInt64 = 1
    /// Planes: bytes of a residual. Coded: which columns share probabilities, 1...8; 0: all are 0.
    var width = 0
    /// Planes: which section of one-byte residuals: columns of like activity share a Huffman table.
    var group = 0
    /// Coded: low bits that are noise.
    var shift = 0

    static let single = ColumnForm()

    /// Residuals of a column of `count` values: its first value stands elsewhere unless it is a base.
    func residuals(of count: Int) -> Int { predictor == .base ? count : max(0, count - 1) }

    func put(isCoded: Bool, into output: inout [UInt8]) {
        output.append(predictor.rawValue)
        output.putVarint(UInt64(width | (isCoded ? shift : group) << 4))
        output.putVarint(divisor)
    }
}

extension SectionReader {
    mutating func columnForm(isCoded: Bool) throws(BatchError) -> ColumnForm {
        let at = offset
        guard let predictor = Predictor(rawValue: try byte()) else { throw .malformed(at: at) }
        let word = try count(limit: 0x3FF)
        let (width, rest) = (word & 15, word >> 4)
        let divisor = try varint()
        guard width <= 8, divisor > 0, isCoded || rest == 0 || (width == 1 && rest < 4) else {
            throw .malformed(at: at)
        }
        return ColumnForm(
            predictor: predictor, divisor: divisor, width: width, group: isCoded ? 0 : rest,
            shift: isCoded ? rest : 0)
    }
}

/// The first residual value that does not fit `width` bytes.
@inline(__always)
func escapeMark(_ width: Int) -> UInt64 { UInt64.max &>> UInt64(64 - 8 * width) }

/// Bits of a residual as the choice of predictors counts them: none for 0.
@inline(__always)
func bitCount(_ r: Int64) -> Int { 64 &- zigzag(r).leadingZeroBitCount }

struct Planes {
    /// One-byte residuals by group.
    var bytes: [[UInt8]]
    var high: [UInt8] = []
    var low: [UInt8] = []

    init(groups: Int) { bytes = Array(repeating: [], count: groups) }

    mutating func removeAll() {
        for group in bytes.indices { bytes[group].removeAll(keepingCapacity: true) }
        high.removeAll(keepingCapacity: true)
        low.removeAll(keepingCapacity: true)
    }
}

struct ColumnEncoder: ~Copyable {
    /// Whether columns go to the range coder instead of planes.
    private(set) var isCoded = false
    private(set) var coder = RangeEncoder()
    /// Whether one-byte residuals are worth more than one Huffman table.
    private var usesGroups = false
    private var model = ResidualModel(readings: .max / 8)
    private var siblings = SiblingFinder()
    private var residuals: [Int64] = []
    private var sample: [Int64] = []

    /// Below this many readings a second Huffman table costs more than it saves.
    private static let groupsFrom = 5_000
    /// Shorter columns say too little about themselves.
    private static let judgedFrom = 12
    private static let classedFrom = 24

    mutating func begin(readings: Int, isCoded: Bool) {
        self.isCoded = isCoded
        usesGroups = readings >= ColumnEncoder.groupsFrom
        siblings.removeAll()
        coder.removeAll()
        if isCoded { model.reset(readings: readings) }
    }

    /// The coded section.
    mutating func finish() -> [UInt8] {
        coder.finish()
        return coder.bytes
    }

    /// Chooses the form for times or lags `x` and writes their residuals. `first` is for the caller
    /// to write before the column is read: x[0], or the base.
    mutating func encodeTimes(
        _ x: Span<Int64>, into planes: inout Planes, escapes: inout [UInt8]
    ) -> (form: ColumnForm, first: Int64) {
        guard x.count > 1 else { return (.single, x[0]) }
        var (form, base, _) = choose(x)
        ColumnEncoder.predict(x, form.predictor, base: base, into: &residuals)
        write(&form, isTime: true, into: &planes, escapes: &escapes)
        return (form, form.predictor == .base ? base : x[0])
    }

    /// The same for the values of a stream, in the order of columns. `distance` is how many columns
    /// ago its sibling was, 1 or more, where the predictor needs one.
    mutating func encodeValues(
        _ all: Span<Int64>, _ column: SiblingFinder.Column, observed: Span<Int64>,
        into planes: inout Planes, escapes: inout [UInt8]
    ) -> (form: ColumnForm, first: Int64, distance: Int) {
        let x = all.extracting(column.values)
        guard x.count > 1 else {
            passSingle()
            return (.single, x[0], 0)
        }
        defer { siblings.append(column) }
        var (form, base, cost) = choose(x)
        var distance = 0
        if x.count >= SiblingFinder.shortest,
            let found = siblings.find(column, all, observed: observed, budget: cost)
        {
            distance = found.distance
            form.predictor = found.predictor
            form.divisor = 1
            ColumnEncoder.predict(
                x, beside: siblings.aligned, isStep: found.predictor == .siblingStep,
                into: &residuals)
        } else {
            ColumnEncoder.predict(x, form.predictor, base: base, into: &residuals)
        }
        write(&form, isTime: false, into: &planes, escapes: &escapes)
        return (form, form.predictor == .base ? base : x[0], distance)
    }

    /// A column of one value has no residuals.
    @inline(__always)
    mutating func passSingle() { siblings.appendSingle() }

    /// The cheapest predictor without a sibling and its cost in bits.
    private mutating func choose(_ x: Span<Int64>) -> (form: ColumnForm, base: Int64, cost: Int) {
        var form = ColumnForm()
        guard x.count >= ColumnEncoder.judgedFrom else {
            var cost = 0
            for i in 1..<x.count { cost &+= bits(x[i] &- x[i &- 1]) }
            return (form, x[0], cost)
        }
        let base = commonest(x)
        let (predictor, cost) = cheapest(x, base: base)
        form.predictor = predictor
        if predictor != .mean { form.divisor = commonFactor(x) }
        return (form, base, cost)
    }

    /// The greatest common factor of all steps; 1 when a step is so wide that sums of it may wrap.
    private func commonFactor(_ x: Span<Int64>) -> UInt64 {
        var factor: UInt64 = 0
        for i in 1..<x.count {
            var b = (x[i] &- x[0]).magnitude
            if b >= 1 << 60 || (x[i] < x[0]) != (x[i] &- x[0] < 0) { return 1 }
            while b != 0 { (factor, b) = (b, factor % b) }
            if factor == 1 { return 1 }
        }
        return max(1, factor)
    }

    /// The mode of a sample of 33 when it is a quarter of it, else its median.
    private mutating func commonest(_ x: Span<Int64>) -> Int64 {
        sample.removeAll(keepingCapacity: true)
        let take = min(33, x.count)
        for k in 0..<take { sample.append(x[k * x.count / take]) }
        sample.sort()
        var best = 0
        var mode: Int64 = 0
        var run = 0
        for k in 0..<take {
            run = k > 0 && sample[k] == sample[k - 1] ? run + 1 : 1
            if run > best {
                best = run
                mode = sample[k]
            }
        }
        return best * 4 >= take ? mode : sample[take / 2]
    }

    /// By Σ bits of the zigzag residuals, with a lead for `last`.
    private func cheapest(_ x: Span<Int64>, base: Int64) -> (predictor: Predictor, cost: Int) {
        var costs: (base: Int, last: Int, linear: Int, mean: Int) = (bits(x[0] &- base), 0, 0, 0)
        var a = x[0]
        var b = x[0]
        for i in 1..<x.count {
            let v = x[i]
            let slope = a &- b
            costs.base &+= bits(v &- base)
            costs.last &+= bits(v &- a)
            costs.linear &+= bits(v &- a &- slope)
            costs.mean &+= bits(v &- b &- (slope &>> 1))
            b = a
            a = v
        }
        var best = Predictor.last
        var cost = costs.last &- costs.last / 64
        if costs.base < cost {
            best = .base
            cost = costs.base
        }
        if costs.linear < cost {
            best = .linear
            cost = costs.linear
        }
        return costs.mean < cost ? (.mean, costs.mean) : (best, cost)
    }

    @inline(__always)
    private func bits(_ r: Int64) -> Int { bitCount(r) }

    private static func predict(
        _ x: Span<Int64>, _ predictor: Predictor, base: Int64, into residuals: inout [Int64]
    ) {
        residuals.removeAll(keepingCapacity: true)
        residuals.append(addingCapacity: x.count) { output in
            if predictor == .base {
                for i in x.indices { output.append(x[i] &- base) }
                return
            }
            var a = x[0]
            var b = a
            for i in 1..<x.count {
                let v = x[i]
                let slope = a &- b
                let expected =
                    switch predictor {
                    case .linear: a &+ slope
                    case .mean: b &+ (slope &>> 1)
                    default: a
                    }
                output.append(v &- expected)
                b = a
                a = v
            }
        }
    }

    private static func predict(
        _ x: Span<Int64>, beside other: Alignment, isStep: Bool, into residuals: inout [Int64]
    ) {
        residuals.removeAll(keepingCapacity: true)
        residuals.append(addingCapacity: x.count - 1) { output in
            for i in 1..<x.count {
                output.append(x[i] &- other.expected(i, last: x[i &- 1], isStep: isStep))
            }
        }
    }

    /// Writes `residuals` and completes the form.
    private mutating func write(
        _ form: inout ColumnForm, isTime: Bool, into planes: inout Planes, escapes: inout [UInt8]
    ) {
        if form.divisor > 1 {
            let divisor = Int64(bitPattern: form.divisor)
            for i in residuals.indices { residuals[i] /= divisor }
        }
        if isCoded {
            code(&form, isTime: isTime)
        } else {
            form.width = plan()
            if form.width == 1 && usesGroups && planes.bytes.count > 1 { form.group = activity() }
            write(form, into: &planes, escapes: &escapes)
        }
    }

    private mutating func code(_ form: inout ColumnForm, isTime: Bool) {
        var sum = 0
        for r in residuals { sum &+= bits(r) }
        guard sum > 0 else { return }
        let mean = sum / residuals.count
        form.shift = max(0, mean - 8)
        // A form more in the tables costs more than a short column gains from the right one.
        let isShort = residuals.count < ColumnEncoder.classedFrom
        form.width = isShort ? (mean < 4 ? 2 : 4) : 1 + min(7, (mean - form.shift) / 2)
        let own = residuals
        model.encode(
            own.span, isTime: isTime, activity: form.width, shift: form.shift, &coder)
    }

    /// The width with the fewest estimated bytes: a plane costs an eighth of a byte where it is zero
    /// and one where it is not; an escape its varint and the mark.
    private func plan() -> Int {
        var lengths = (0, 0, 0, 0, 0, 0, 0, 0, 0)
        for r in residuals {
            switch (71 &- zigzag(r).leadingZeroBitCount) / 8 {
            case 0: lengths.0 &+= 1
            case 1: lengths.1 &+= 1
            case 2: lengths.2 &+= 1
            case 3: lengths.3 &+= 1
            case 4: lengths.4 &+= 1
            case 5: lengths.5 &+= 1
            case 6: lengths.6 &+= 1
            case 7: lengths.7 &+= 1
            default: lengths.8 &+= 1
            }
        }
        if lengths.0 == residuals.count { return 0 }
        let counts = [
            lengths.0, lengths.1, lengths.2, lengths.3, lengths.4, lengths.5, lengths.6, lengths.7,
            lengths.8,
        ]
        var best = 1
        var cheapest = Int.max
        var planes = 0
        for width in 1...8 {
            let reaching = counts[width...8].reduce(0, +)
            planes += residuals.count + 7 * reaching
            var escapes = 0
            for length in (width + 1)..<(width + 1 + 8 - width) {
                escapes += counts[length] * (8 * length + 10)
            }
            if planes + escapes < cheapest {
                cheapest = planes + escapes
                best = width
            }
        }
        return best
    }

    /// Mean bits of a residual: below 3/4, 3/2, 3, or more.
    private func activity() -> Int {
        var sum = 0
        for r in residuals { sum &+= bits(r) }
        let quarters = sum * 4 / residuals.count
        return quarters < 3 ? 0 : quarters < 6 ? 1 : quarters < 12 ? 2 : 3
    }

    private func write(_ form: ColumnForm, into planes: inout Planes, escapes: inout [UInt8]) {
        let width = form.width
        guard width > 0 else { return }
        let mark = escapeMark(width)
        for r in residuals where zigzag(r) >= mark { escapes.putVarint(zigzag(r) &- mark) }
        for plane in 0..<width {
            let shift = UInt64(8 * plane)
            if width == 1 {
                append(shift, mark, to: &planes.bytes[form.group])
            } else if plane == width - 1 {
                append(shift, mark, to: &planes.high)
            } else {
                append(shift, mark, to: &planes.low)
            }
        }
    }

    private func append(_ shift: UInt64, _ mark: UInt64, to plane: inout [UInt8]) {
        plane.reserveCapacity(plane.count + residuals.count)
        for r in residuals {
            plane.append(UInt8(truncatingIfNeeded: min(zigzag(r), mark) &>> shift))
        }
    }
}
