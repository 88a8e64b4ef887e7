// Integer columns: a predictor turns them into small residuals, the residuals become byte planes.
// Arithmetic wraps modulo 2^64 in both directions, so every Int64 sequence comes back exactly.
// Owned by one encoder or decoder; scratch is kept from column to column.
//
//     residual z = zigzag(x[i] - prediction)           width w = 0: every z is 0, nothing stored
//     w = 1: one byte in `bytes`      w > 1: byte w-1 in `high`, bytes 0..<w-1 plane by plane in `low`
//     all planes 0xFF: varint (z - (2^8w - 1)) in `escapes`

/// What the next value of a column is expected to be.
enum Predictor: UInt8 {
    /// Always the column's first number, which is then no member: its mode or median.
    case base = 0
    case last = 1
    /// last + (last - the one before)
    case linear = 2
    /// Mean of the last two.
    case mean = 3
}

/// One byte in the form tables: predictor in bits 0–1, width in bits 2–5, group in bits 6–7.
struct ColumnForm: Hashable {
    var predictor: Predictor
    var width: Int
    /// Which section of one-byte residuals: columns of like activity share a Huffman table.
    var group = 0

    static let single = ColumnForm(predictor: .last, width: 0)

    init(predictor: Predictor, width: Int, group: Int = 0) {
        self.predictor = predictor
        self.width = width
        self.group = group
    }

    init?(byte: UInt8) {
        let width = Int(byte >> 2 & 15)
        guard let predictor = Predictor(rawValue: byte & 3), width <= 8, width == 1 || byte < 64
        else { return nil }
        self.init(predictor: predictor, width: width, group: Int(byte >> 6))
    }

    var byte: UInt8 { predictor.rawValue | UInt8(width) << 2 | UInt8(group) << 6 }

    /// Residuals of a column of `count` values: its first value stands elsewhere unless it is a base.
    func residuals(of count: Int) -> Int { predictor == .base ? count : max(0, count - 1) }
}

/// The first residual value that does not fit `width` bytes.
@inline(__always)
private func escapeMark(_ width: Int) -> UInt64 { UInt64.max &>> UInt64(64 - 8 * width) }

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

struct ColumnEncoder {
    /// Whether one-byte residuals are worth more than one Huffman table.
    var usesGroups = false
    private var residuals: [UInt64] = []
    private var sample: [Int64] = []

    /// Chooses predictor and width for `x` and writes its residuals. `first` is for the caller to
    /// write before the column is read: x[0], or the base.
    mutating func encode(
        _ x: Span<Int64>, into planes: inout Planes, escapes: inout [UInt8]
    ) -> (form: ColumnForm, first: Int64) {
        guard x.count > 1 else { return (.single, x[0]) }
        let base = x.count > 11 ? commonest(x) : x[0]
        let predictor = x.count > 11 ? cheapest(x, base: base) : .last
        predict(x, predictor, base: base)
        let width = plan()
        let group = width == 1 && usesGroups && planes.bytes.count > 1 ? activity() : 0
        let form = ColumnForm(predictor: predictor, width: width, group: group)
        write(form, into: &planes, escapes: &escapes)
        return (form, predictor == .base ? base : x[0])
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
    private func cheapest(_ x: Span<Int64>, base: Int64) -> Predictor {
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
        return costs.mean < cost ? .mean : best
    }

    @inline(__always)
    private func bits(_ r: Int64) -> Int { 64 &- zigzag(r).leadingZeroBitCount }

    private mutating func predict(_ x: Span<Int64>, _ predictor: Predictor, base: Int64) {
        residuals.removeAll(keepingCapacity: true)
        residuals.reserveCapacity(x.count)
        if predictor == .base {
            for i in 0..<x.count { residuals.append(zigzag(x[i] &- base)) }
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
                case .last, .base: a
                }
            residuals.append(zigzag(v &- expected))
            b = a
            a = v
        }
    }

    /// The width with the fewest estimated bytes: a plane costs an eighth of a byte where it is zero
    /// and one where it is not; an escape its varint and the mark.
    private func plan() -> Int {
        var lengths = (0, 0, 0, 0, 0, 0, 0, 0, 0)
        for z in residuals {
            switch (71 &- z.leadingZeroBitCount) / 8 {
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
        for z in residuals { sum &+= 64 &- z.leadingZeroBitCount }
        let quarters = sum * 4 / residuals.count
        return quarters < 3 ? 0 : quarters < 6 ? 1 : quarters < 12 ? 2 : 3
    }

    private func write(_ form: ColumnForm, into planes: inout Planes, escapes: inout [UInt8]) {
        let width = form.width
        guard width > 0 else { return }
        let mark = escapeMark(width)
        for z in residuals where z >= mark { escapes.putVarint(z &- mark) }
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
        for z in residuals { plane.append(UInt8(truncatingIfNeeded: min(z, mark) &>> shift)) }
    }
}

/// The three plane sections of one kind while they are read.
struct PlaneReaders {
    var bytes: [SectionReader]
    var high: SectionReader
    var low: SectionReader

    /// Appends `count` values to `x`; `first` as `ColumnEncoder.encode` returned it.
    mutating func decode(
        _ form: ColumnForm, first: Int64, count: Int, escapes: inout SectionReader,
        into x: inout [Int64]
    ) throws(BatchError) {
        guard count > 0 else { return }
        var a = first
        var b = first
        if form.predictor != .base { x.append(first) }
        let residuals = form.residuals(of: count)
        if form.width == 1 {
            guard form.group < bytes.count else { throw .malformed(at: 0) }
            let from = try bytes[form.group].take(residuals)
            let plane = bytes[form.group].bytes
            for i in 0..<residuals {
                var z = UInt64(plane[from &+ i])
                if z == 0xFF { z = try escapes.varint() &+ 0xFF }
                step(form.predictor, unzigzag(z), &a, &b)
                x.append(a)
            }
            return
        }
        let width = form.width
        let top = try high.take(width == 0 ? 0 : residuals)
        let (lowCount, overflow) = residuals.multipliedReportingOverflow(by: max(0, width - 1))
        guard !overflow else { throw .malformed(at: low.offset) }
        let bottom = try low.take(lowCount)
        let mark = width == 0 ? UInt64.max : escapeMark(width)
        for i in 0..<residuals {
            var z: UInt64 = 0
            if width > 0 {
                z = UInt64(high.bytes[top &+ i]) &<< UInt64(8 * (width - 1))
                for plane in 0..<width - 1 {
                    z |=
                        UInt64(low.bytes[bottom &+ plane &* residuals &+ i])
                        &<< UInt64(8 * plane)
                }
                if z == mark { z = try escapes.varint() &+ mark }
            }
            step(form.predictor, unzigzag(z), &a, &b)
            x.append(a)
        }
    }

    /// `a` is the last value (for `base`: the base goes on in `b`), `b` the one before.
    @inline(__always)
    private func step(_ predictor: Predictor, _ r: Int64, _ a: inout Int64, _ b: inout Int64) {
        switch predictor {
        case .base: a = b &+ r
        case .last: a = a &+ r
        case .linear:
            let next = a &+ (a &- b) &+ r
            b = a
            a = next
        case .mean:
            let next = b &+ ((a &- b) &>> 1) &+ r
            b = a
            a = next
        }
    }
}
