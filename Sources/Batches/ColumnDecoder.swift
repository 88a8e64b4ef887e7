// The other end of Columns.swift: residuals out of planes or the range coder, and values out of
// residuals. Lives for one batch. What the bytes say is checked before it is used: a column takes no more
// than its section holds, or as many steps of the range coder as the batch has readings.

/// The plane sections of one kind while they are read.
struct PlaneReaders {
    var bytes: [SectionReader]
    var high: SectionReader
    var low: SectionReader

    /// Appends the residuals of a column to `output`.
    mutating func read(
        _ form: ColumnForm, count: Int, escapes: inout SectionReader, into output: inout [Int64]
    ) throws(BatchError) {
        if form.width == 0 {
            output.append(contentsOf: repeatElement(0, count: count))
            return
        }
        if form.width == 1 {
            guard form.group < bytes.count else { throw .malformed(at: 0) }
            let from = try bytes[form.group].take(count)
            let plane = bytes[form.group].bytes
            for i in 0..<count {
                var z = UInt64(plane[from &+ i])
                if z == 0xFF { z = try escapes.varint() &+ 0xFF }
                output.append(unzigzag(z))
            }
            return
        }
        let width = form.width
        let top = try high.take(count)
        let (lowCount, overflow) = count.multipliedReportingOverflow(by: width - 1)
        guard !overflow else { throw .malformed(at: low.offset) }
        let bottom = try low.take(lowCount)
        let mark = escapeMark(width)
        for i in 0..<count {
            var z = UInt64(high.bytes[top &+ i]) &<< UInt64(8 * (width - 1))
            for plane in 0..<width - 1 {
                z |= UInt64(low.bytes[bottom &+ plane &* count &+ i]) &<< UInt64(8 * plane)
            }
            if z == mark { z = try escapes.varint() &+ mark }
            output.append(unzigzag(z))
        }
    }

    var isAtEnd: Bool {
        high.remaining == 0 && low.remaining == 0 && bytes.allSatisfy { $0.remaining == 0 }
    }
}

/// Both ways of storing columns while a batch is read.
struct ColumnDecoder: ~Copyable {
    /// Nil: planes.
    private var coder: RangeDecoder?
    private var model: ResidualModel
    private var times: PlaneReaders
    private var values: PlaneReaders
    private var escapes: SectionReader
    /// Coded residuals that the limits still allow.
    private var allowed = 0

    /// A range coder's byte holds at most 10,700 decisions of probability 65502/65536: sixteen times
    /// what deflate's ratio allows is no honest batch.
    private static let ratioFactor = 16

    init(planes sections: [[UInt8]]) {
        func reader(_ section: Section) -> SectionReader {
            SectionReader(sections[section.rawValue])
        }
        times = PlaneReaders(
            bytes: [reader(.timeBytes)], high: reader(.timeHigh), low: reader(.timeLow))
        values = PlaneReaders(
            bytes: [.bytes0, .bytes1, .bytes2, .bytes3].map(reader), high: reader(.high),
            low: reader(.low))
        escapes = reader(.escapes)
        model = ResidualModel(readings: 0)
    }

    init(coded section: [UInt8], readings: Int, limits: BatchLimits) {
        let none = SectionReader([])
        times = PlaneReaders(bytes: [], high: none, low: none)
        values = times
        escapes = none
        coder = RangeDecoder(section)
        let (most, overflow) = (section.count + RangeDecoder.beyond)
            .multipliedReportingOverflow(by: ColumnDecoder.ratioFactor * limits.maximumRatio)
        allowed = overflow ? limits.maximumExpandedBytes : min(most, limits.maximumExpandedBytes)
        // A reading has a value, a step and an arrival at most.
        allowed = min(allowed, readings > .max / 3 ? .max : 3 * readings)
        model = ResidualModel(readings: readings)
        model.reset(readings: readings)
    }

    var isCoded: Bool { coder != nil }

    /// Whether everything was read.
    var isAtEnd: Bool {
        coder?.isAtEnd ?? (times.isAtEnd && values.isAtEnd && escapes.remaining == 0)
    }

    /// Appends `count` values to `x`; `first` as `ColumnEncoder.encode` returned it. `beside` has been
    /// aligned when the form needs it.
    mutating func decode(
        _ form: ColumnForm, isTime: Bool, first: Int64, count: Int, beside: borrowing Alignment,
        into x: inout [Int64]
    ) throws(BatchError) {
        guard count > 0 else { return }
        let start = x.count
        if form.predictor != .base { x.append(first) }
        let wanted = form.residuals(of: count)
        if coder != nil {
            try code(form, isTime: isTime, count: wanted, into: &x)
        } else if isTime {
            try times.read(form, count: wanted, escapes: &escapes, into: &x)
        } else {
            try values.read(form, count: wanted, escapes: &escapes, into: &x)
        }
        ColumnDecoder.sum(form, first: first, from: start, beside: beside, &x)
    }

    private mutating func code(
        _ form: ColumnForm, isTime: Bool, count: Int, into x: inout [Int64]
    ) throws(BatchError) {
        guard form.width > 0, var coder = coder.take() else {
            x.append(contentsOf: repeatElement(0, count: count))
            return
        }
        guard count <= allowed else { throw .tooLarge }
        allowed -= count
        model.decode(
            count, isTime: isTime, activity: form.width, shift: form.shift, &coder, into: &x)
        guard !coder.isBeyond else { throw .malformed(at: 0) }
        self.coder = coder
    }

    /// The residuals at the end of `array`, behind the first value where it is a member, to values.
    private static func sum(
        _ form: ColumnForm, first: Int64, from start: Int, beside: borrowing Alignment,
        _ array: inout [Int64]
    ) {
        var x = array.mutableSpan
        let residuals = start + (form.predictor == .base ? 0 : 1)..<x.count
        if form.divisor > 1 {
            let divisor = Int64(bitPattern: form.divisor)
            for i in residuals { x[i] = x[i] &* divisor }
        }
        var a = first
        var b = first
        switch form.predictor {
        case .base:
            for i in residuals { x[i] = first &+ x[i] }
        case .last:
            for i in residuals {
                a = a &+ x[i]
                x[i] = a
            }
        case .linear:
            for i in residuals {
                (a, b) = (a &+ (a &- b) &+ x[i], a)
                x[i] = a
            }
        case .mean:
            for i in residuals {
                (a, b) = (b &+ ((a &- b) &>> 1) &+ x[i], a)
                x[i] = a
            }
        case .sibling, .siblingStep:
            let isStep = form.predictor == .siblingStep
            for i in residuals {
                a = beside.expected(i &- start, last: a, isStep: isStep) &+ x[i]
                x[i] = a
            }
        }
    }
}
