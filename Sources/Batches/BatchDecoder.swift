// From expanded sections to readings. Everything here comes from outside: counts are checked against
// the bytes that are left and the header's count before anything of their size is made, and every
// index before it is used. Lives for one batch.

import Model

struct BatchDecoder: ~Copyable {
    private let info: BatchInfo
    private var head: SectionReader
    private var firsts: SectionReader
    private var odd: SectionReader
    private var columns: ColumnDecoder

    private var shapes: [Shape] = []
    private var timeForms: [ColumnForm] = []
    private var forms: [(value: ValueForm, column: ColumnForm)] = []
    /// Rows of clocks and schedules in `observed` and `received`; selected rows are appended there.
    private var clocks: [Range<Int>] = []
    private var schedules: [Range<Int>] = []
    private var observed: [Int64] = []
    private var received: [Int64] = []
    private var streams: [StreamRow] = []
    /// Shapes of the rows of streams that change theirs.
    private var mixed: [UInt32] = []
    private var integers: [Int64] = []

    private struct Shape {
        var kind: Value.Kind
        var isBare: Bool
        var exponent: Int8
        var quality: Quality
    }

    private struct StreamRow {
        var id: UInt32
        var schedule = 0
        /// Index into `shapes`, or -1: `mixed` from `mixedStart`.
        var shape = 0
        var mixedStart = 0
        var form = 0
        var misfits = 0
        /// How many rows store bits, and where their integers begin.
        var values = 0
        var start = 0
        var first: Int64 = 0
        /// Columns back to its sibling; 0: none.
        var sibling = 0
    }

    /// `sections` head, firsts, odd, and for planes the rest.
    init(_ sections: [[UInt8]], columns: consuming ColumnDecoder, info: BatchInfo) {
        self.info = info
        head = SectionReader(sections[Section.head.rawValue])
        firsts = SectionReader(sections[Section.firsts.rawValue])
        odd = SectionReader(sections[Section.odd.rawValue])
        self.columns = columns
    }

    var streamCount: Int { streams.count }

    mutating func decode() throws(BatchError) -> [Reading] {
        // Each stream has bytes of its own in the head, each schedule a stream, so these counts
        // are bounded by bytes that are there.
        let streamCount = try head.count(limit: min(info.readings, head.remaining))
        let scheduleCount = try head.count(limit: streamCount)
        let clockCount = try head.count(limit: scheduleCount)
        try readTables()
        try readClocks(clockCount)
        try readSchedules(scheduleCount)
        let stride = try head.count(limit: 64)
        try readStreams(streamCount)
        try readShapes()
        try readValues(stride: stride)
        let readings = try assemble()
        for rest in [head, firsts, odd] where rest.remaining != 0 {
            throw .malformed(at: rest.offset)
        }
        guard columns.isAtEnd else { throw .malformed(at: 0) }
        return readings
    }

    private mutating func readTables() throws(BatchError) {
        for _ in 0..<(try head.count(limit: head.remaining / 3)) {
            let at = head.offset
            let byte = try head.byte()
            let exponent = Int8(bitPattern: try head.byte())
            let quality = try head.count(limit: 0xFFFF)
            guard byte < 16, let kind = Value.Kind(rawValue: byte & 7),
                byte & 8 == 0 || kind == .none
            else { throw .malformed(at: at) }
            shapes.append(
                Shape(
                    kind: kind, isBare: byte & 8 != 0, exponent: exponent,
                    quality: Quality(rawValue: UInt16(quality))))
        }
        let isCoded = columns.isCoded
        for _ in 0..<(try head.count(limit: head.remaining / 3)) {
            timeForms.append(try head.columnForm(isCoded: isCoded))
        }
        for _ in 0..<(try head.count(limit: head.remaining / 5)) {
            let at = head.offset
            let code = try head.byte()
            let exponent = try head.byte()
            guard let value = ValueForm(code: code, exponent: exponent) else {
                throw .malformed(at: at)
            }
            forms.append((value, try head.columnForm(isCoded: isCoded)))
        }
    }

    // MARK: Times

    private mutating func readClocks(_ count: Int) throws(BatchError) {
        var rows: [Int] = []
        var left = info.readings
        for _ in 0..<count {
            // Every row of a clock is some stream's: all clocks have no more than the batch.
            rows.append(try head.count(limit: left))
            left -= rows[rows.count - 1]
            guard rows[rows.count - 1] > 0 else { throw .malformed(at: head.offset) }
        }
        let unit = try head.count(limit: timeUnits.count - 1)
        var forms: [ClockForm] = []
        for _ in 0..<count {
            guard let form = ClockForm(byte: try head.byte()) else {
                throw .malformed(at: head.offset)
            }
            forms.append(form)
        }
        for i in 0..<count where rows[i] > 1 { forms[i].steps = try timeForm() }
        for i in 0..<count where forms[i].arrival != .same { forms[i].lags = try timeForm() }
        var before = ClockEncoder.Before(time: info.bucketStart.milliseconds)
        var decoder = ClockDecoder()
        for i in 0..<count {
            let start = observed.count
            try decoder.decode(
                forms[i], count: rows[i], unit: timeUnits[unit], before: &before,
                columns: &columns, firsts: &firsts, observed: &observed, received: &received)
            clocks.append(start..<observed.count)
        }
    }

    private mutating func timeForm() throws(BatchError) -> ColumnForm {
        let at = head.offset
        let index = try head.count(limit: timeForms.count)
        guard index < timeForms.count, !timeForms[index].predictor.needsSibling else {
            throw .malformed(at: at)
        }
        return timeForms[index]
    }

    private mutating func readSchedules(_ count: Int) throws(BatchError) {
        var last: Int64 = -1
        for _ in 0..<count {
            let at = head.offset
            last = last &+ (try head.signed())
            guard last >= 0, last < Int64(clocks.count) else { throw .malformed(at: at) }
            schedules.append(clocks[Int(last)])
        }
        // Every schedule is some stream's: all together have no more rows than the batch.
        var left = info.readings
        for i in 0..<count {
            let pairs = try head.count(limit: odd.remaining / 2)
            if pairs > 0 { schedules[i] = try select(pairs, from: schedules[i], left: left) }
            left -= schedules[i].count
            guard left >= 0 else { throw .malformed(at: head.offset) }
        }
    }

    /// Appends the selected rows and returns where they are.
    private mutating func select(
        _ pairs: Int, from clock: Range<Int>, left: Int
    ) throws(BatchError) -> Range<Int> {
        let start = observed.count
        var row = clock.lowerBound
        for _ in 0..<pairs {
            row += try odd.count(limit: clock.upperBound - row)
            let room = min(clock.upperBound - row, left - (observed.count - start))
            guard room > 0 else { throw .malformed(at: odd.offset) }
            let take = try odd.count(limit: room - 1) + 1
            for i in row..<row + take {
                observed.append(observed[i])
                received.append(received[i])
            }
            row += take
        }
        return start..<observed.count
    }

    // MARK: Streams

    private mutating func readStreams(_ count: Int) throws(BatchError) {
        guard count > 0 else { throw .malformed(at: head.offset) }
        var next: UInt64 = 0
        for _ in 0..<count {
            let at = head.offset
            let (id, overflow) = next.addingReportingOverflow(try head.varint())
            guard !overflow, id <= UInt64(UInt32.max) else { throw .malformed(at: at) }
            streams.append(StreamRow(id: UInt32(id)))
            next = id + 1
        }
        var schedule: Int64 = 0
        var rows = 0
        for i in streams.indices {
            let at = head.offset
            schedule = schedule &+ (try head.signed())
            guard schedule >= 0, schedule < Int64(schedules.count) else { throw .malformed(at: at) }
            streams[i].schedule = Int(schedule)
            rows += schedules[Int(schedule)].count
            guard rows <= info.readings else { throw .malformed(at: at) }
        }
        guard rows == info.readings else { throw .malformed(at: head.offset) }
        guard !shapes.isEmpty, !forms.isEmpty else { throw .malformed(at: head.offset) }
        for i in streams.indices { streams[i].shape = try head.count(limit: shapes.count) - 1 }
        for i in streams.indices { streams[i].form = try head.count(limit: forms.count - 1) }
    }

    private mutating func readShapes() throws(BatchError) {
        for i in streams.indices {
            let rows = schedules[streams[i].schedule].count
            if streams[i].shape >= 0 {
                streams[i].values = shapes[streams[i].shape].isBare ? 0 : rows
            } else {
                streams[i].mixedStart = mixed.count
                var left = rows
                while left > 0 {
                    let shape = try odd.count(limit: shapes.count - 1)
                    let run = try odd.count(limit: left - 1) + 1
                    left -= run
                    if !shapes[shape].isBare { streams[i].values += run }
                    mixed.append(contentsOf: repeatElement(UInt32(shape), count: run))
                }
            }
        }
        for i in streams.indices where streams[i].values > 0 {
            guard forms[streams[i].form].column.predictor.needsSibling else { continue }
            streams[i].sibling = try head.count(limit: SiblingFinder.reach - 1) + 1
        }
        for i in streams.indices where streams[i].values > 0 {
            guard forms[streams[i].form].value != .integer else { continue }
            streams[i].misfits = try head.count(limit: streams[i].values)
        }
    }

    private mutating func readValues(stride: Int) throws(BatchError) {
        for i in streams.indices {
            let expected = stride > 0 && i >= stride ? streams[i - stride].first : 0
            streams[i].first =
                streams[i].values > 0 ? expected &+ (try firsts.signed()) : expected
        }
        var order: [Int] = []
        appendColumnOrder(count: streams.count, stride: stride, to: &order)
        var aligned = Alignment()
        var done: [Int] = []
        for i in order where streams[i].values > 0 {
            if streams[i].sibling > 0 {
                guard streams[i].sibling <= done.count else { throw .malformed(at: head.offset) }
                try align(i, with: done[done.count - streams[i].sibling], &aligned)
            }
            streams[i].start = integers.count
            try columns.decode(
                forms[streams[i].form].column, isTime: false, first: streams[i].first,
                count: streams[i].values, beside: aligned, into: &integers)
            done.append(i)
        }
    }

    private func align(
        _ own: Int, with other: Int, _ aligned: inout Alignment
    ) throws(BatchError) {
        let (a, b) = (streams[own], streams[other])
        let (rows, others) = (schedules[a.schedule], schedules[b.schedule])
        guard rows.count == a.values, others.count == b.values else {
            throw .malformed(at: head.offset)
        }
        aligned.align(
            observed.span.extracting(rows), with: observed.span.extracting(others),
            values: integers.span.extracting(b.start..<b.start + b.values))
    }

    // MARK: Readings

    private mutating func assemble() throws(BatchError) -> [Reading] {
        for stream in streams { try convert(stream) }
        let readings = [Reading](capacity: info.readings) { output in
            for stream in streams { append(stream, to: &output) }
        }
        var first = Int64.max
        var last = Int64.min
        for t in observed {
            first = min(first, t)
            last = max(last, t)
        }
        guard first == info.firstObservedAt.milliseconds, last == info.lastObservedAt.milliseconds
        else { throw .malformed(at: 0) }
        return readings
    }

    /// Integers to bits, in place.
    private mutating func convert(_ stream: StreamRow) throws(BatchError) {
        guard stream.values > 0, let decimal = forms[stream.form].value.decimal else { return }
        var own = integers.mutableSpan
        for i in stream.start..<stream.start + stream.values { own[i] = decimal.bits(own[i]) }
        var position = 0
        for _ in 0..<stream.misfits {
            guard position < stream.values else { throw .malformed(at: odd.offset) }
            position += try odd.count(limit: stream.values - 1 - position)
            let ulps = try odd.signed()
            integers[stream.start + position] = integers[stream.start + position] &+ ulps
            position += 1
        }
    }

    private func append(_ stream: StreamRow, to output: inout OutputSpan<Reading>) {
        let id = StreamID(stream.id)
        let rows = schedules[stream.schedule]
        let (o, r, own) = (observed.span, received.span, integers.span)
        var shape = shapes[max(0, stream.shape)]
        var next = stream.start
        for row in rows {
            if stream.shape < 0 {
                shape = shapes[Int(mixed[stream.mixedStart &+ (row &- rows.lowerBound)])]
            }
            var bits: UInt64 = 0
            if !shape.isBare {
                bits = UInt64(bitPattern: own[next])
                next &+= 1
            }
            output.append(
                Reading(
                    stream: id,
                    value: Value(kind: shape.kind, exponent: shape.exponent, bits: bits),
                    quality: shape.quality, observedAt: Timestamp(milliseconds: o[row]),
                    receivedAt: Timestamp(milliseconds: r[row])))
        }
    }
}
