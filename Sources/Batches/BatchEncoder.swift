// From readings to a batch: group by stream, share times, make values integers, predict, deflate.
// One owner on the batch queue; all scratch is kept, so a batch of the usual size allocates little
// beyond its own bytes. Invariant: what is written in one order is read in that order (BatchDecoder).

package import Model

package struct BatchEncoder: ~Copyable {
    private var deflater = Deflater()
    private var grouping = Grouping()
    private var finder = ScheduleFinder()
    private var columns = ColumnEncoder()
    private var clocks = ClockEncoder()

    private var times = Planes(groups: 1)
    private var values = Planes(groups: 4)
    private var head: [UInt8] = []
    private var firsts: [UInt8] = []
    private var odd: [UInt8] = []
    private var escapes: [UInt8] = []

    private var converter = ValueConverter()
    private var streams: [StreamRow] = []
    /// Any stream has a form that the head must say more of.
    private var hasForms = false
    private var hasSiblings = false
    /// Integers of all streams, one after another, and where each stream's begin.
    private var integers: [Int64] = []
    private var shapeTable = FormTable<UInt32>()
    private var formTable = FormTable<StreamForm>()
    private var timeTable = FormTable<ColumnForm>()

    /// What the head says of one stream. Of 32-bit numbers: a batch may have as many streams as readings.
    private struct StreamRow {
        /// Its integers and misfits end where the next stream's begin.
        let integersAt: UInt32
        let misfitsAt: UInt32
        var shape: UInt32
        var formIndex: UInt32 = 0
        var first: Int64 = 0
        /// Its form in two bytes; as a value it takes sixteen.
        let coded: (code: UInt8, exponent: UInt8)
        /// Columns back to its sibling; 0: none.
        var sibling: UInt8 = 0

        init(shape: Int, form: ValueForm, integersAt: Int, misfitsAt: Int) {
            self.shape = UInt32(shape)
            coded = form.coded
            self.integersAt = UInt32(integersAt)
            self.misfitsAt = UInt32(misfitsAt)
        }

        mutating func stored(_ first: Int64, formIndex: Int, sibling: Int) {
            self.first = first
            self.formIndex = UInt32(formIndex)
            self.sibling = UInt8(sibling)
        }

        var form: ValueForm {
            ValueForm(code: coded.code, exponent: coded.exponent) ?? .integer
        }
    }

    private func integers(of stream: Int) -> Range<Int> {
        let end = stream + 1 < streams.count ? Int(streams[stream + 1].integersAt) : integers.count
        return Int(streams[stream].integersAt)..<end
    }

    private func misfits(of stream: Int) -> Range<Int> {
        let next = stream + 1
        let end = next < streams.count ? Int(streams[next].misfitsAt) : converter.misfits.count
        return Int(streams[stream].misfitsAt)..<end
    }

    package init() {}

    /// See `BatchCodec.encode`.
    package mutating func encode(
        _ readings: Span<Reading>, bucketStart: Timestamp, bucketMilliseconds: Int64,
        revision: UInt32, priority: Priority, effort: BatchEffort, names: [[UInt8]] = []
    ) -> SealedBatch {
        grouping.group(readings)
        return encode(
            readings.count, bucketStart: bucketStart, bucketMilliseconds: bucketMilliseconds,
            revision: revision, priority: priority, effort: effort, names: names)
    }

    /// The same for the readings at these places of an epoch's order, taken from its log one by one.
    mutating func encode(
        _ log: borrowing ReadingLog, _ order: borrowing StreamOrder, _ range: Range<Int>,
        bucketStart: Timestamp, bucketMilliseconds: Int64, revision: UInt32, priority: Priority,
        effort: BatchEffort
    ) -> SealedBatch {
        grouping.take(log, order, range)
        return encode(
            range.count, bucketStart: bucketStart, bucketMilliseconds: bucketMilliseconds,
            revision: revision, priority: priority, effort: effort, names: [])
    }

    /// What was grouped.
    private mutating func encode(
        _ count: Int, bucketStart: Timestamp, bucketMilliseconds: Int64, revision: UInt32,
        priority: Priority, effort: BatchEffort, names: [[UInt8]]
    ) -> SealedBatch {
        precondition((1...1_000_000).contains(count), "a batch has 1...1,000,000 readings")
        precondition(bucketMilliseconds >= 0)
        let observed = grouping.observed
        var (first, last) = (observed[0], observed[0])
        for i in 0..<count { (first, last) = (min(first, observed[i]), max(last, observed[i])) }
        let info = BatchInfo(
            bucketStart: bucketStart, bucketMilliseconds: bucketMilliseconds, revision: revision,
            readings: count, firstObservedAt: Timestamp(milliseconds: first),
            lastObservedAt: Timestamp(milliseconds: last), priority: priority)
        removeAll()
        columns.begin(readings: count, isCoded: effort.isCoded)
        finder.find(grouping)
        encodeClocks(from: bucketStart.milliseconds)
        let (shapes, bits) = (grouping.shapes, grouping.bits)
        streams.reserveCapacity(grouping.streams.count)
        for stream in 0..<grouping.streams.count { convert(stream, shapes.span, bits.span) }
        encodeValues()
        encodeHead()
        var output: [UInt8] = []
        output.reserveCapacity(count * 2 + 64)
        var flags: BatchCodec.Flags = effort.isCoded ? .coded : []
        if !names.isEmpty { flags.insert(.names) }
        BatchCodec.putHeader(info, flags: flags, into: &output)
        let common = [headTables() + head, firsts, odd]
        if columns.isCoded {
            deflater.write(common, effort: effort, into: &output)
            let coded = columns.finish()
            output.putVarint(UInt64(coded.count))
            output.append(contentsOf: coded)
        } else {
            let sections =
                common + [escapes] + times.bytes + [times.high, times.low] + values.bytes
                + [values.high, values.low]
            deflater.write(sections, effort: effort, into: &output)
        }
        if !names.isEmpty {
            precondition(names.count == grouping.streams.count, "each stream has a name")
            deflater.write([Names.encoded(names)], effort: effort, into: &output)
        }
        BatchCodec.putChecksum(into: &output)
        return SealedBatch(info: info, bytes: output)
    }

    private mutating func removeAll() {
        times.removeAll()
        values.removeAll()
        head.removeAll(keepingCapacity: true)
        firsts.removeAll(keepingCapacity: true)
        odd.removeAll(keepingCapacity: true)
        escapes.removeAll(keepingCapacity: true)
        converter.removeAll()
        streams.removeAll(keepingCapacity: true)
        (hasForms, hasSiblings) = (false, false)
        integers.removeAll(keepingCapacity: true)
        shapeTable.removeAll()
        formTable.removeAll()
        timeTable.removeAll()
    }

    // MARK: Times

    private mutating func encodeClocks(from start: Int64) {
        let (observed, received) = (grouping.observed, grouping.received)
        let rows = finder.clocks
        var between: [Int64] = []
        var before = ClockEncoder.Before(time: start)
        for clock in rows {
            let first = clock.union?.observed[0] ?? observed[clock.rows.lowerBound]
            between.append(first &- before.time)
            before.time = first
        }
        let unit = commonUnit(between)
        before.time = start
        var forms: [ClockForm] = []
        for clock in rows {
            let range = clock.union.map { 0..<$0.observed.count } ?? clock.rows
            let times = clock.union ?? (observed, received)
            forms.append(
                clocks.encode(
                    observed: times.observed.span.extracting(range),
                    received: times.received.span.extracting(range), unit: timeUnits[unit],
                    before: &before, columns: &columns, into: &self.times, firsts: &firsts,
                    escapes: &escapes))
            head.putVarint(UInt64(range.count))
        }
        head.append(UInt8(unit))
        for form in forms { head.append(form.byte) }
        for form in forms where form.hasSteps {
            head.putVarint(UInt64(timeTable.index(of: form.steps)))
        }
        for form in forms where form.arrival != .same {
            head.putVarint(UInt64(timeTable.index(of: form.lags)))
        }
        var last = -1
        for schedule in finder.schedules {
            head.putZigzag(Int64(schedule.clock - last))
            last = schedule.clock
        }
        for schedule in finder.schedules { head.putVarint(UInt64(schedule.selection.count)) }
        for schedule in finder.schedules {
            for (skip, take) in schedule.selection {
                odd.putVarint(UInt64(skip))
                odd.putVarint(UInt64(take - 1))
            }
        }
    }

    // MARK: Values

    /// Shapes and integers of one stream.
    private mutating func convert(_ stream: Int, _ shapes: Span<UInt32>, _ bits: Span<Int64>) {
        let rows = grouping.rows(stream)
        let start = integers.count
        let shape = shapes[rows.lowerBound]
        if rows.count == 1, shape & 7 != UInt32(Value.Kind.double.rawValue) {
            if shape & 8 == 0 { integers.append(bits[rows.lowerBound]) }
            return streams.append(
                StreamRow(
                    shape: shapeTable.index(of: shape) + 1, form: .integer, integersAt: start,
                    misfitsAt: converter.misfits.count))
        }
        var isMixed = false
        for row in rows.dropFirst() where shapes[row] != shape { isMixed = true }
        // Missing values, which store nothing, may come first.
        var isDouble = isMixed || shape & 7 == UInt32(Value.Kind.double.rawValue)
        if isMixed {
            for row in rows where shapes[row] & 8 == 0 {
                if shapes[row] & 7 != UInt32(Value.Kind.double.rawValue) { isDouble = false }
                integers.append(bits[row])
            }
            encodeShapes(rows, shapes)
        } else if shape & 8 != 0 {
            // Nothing is stored.
        } else if rows.count == 1 {
            integers.append(bits[rows.lowerBound])
        } else {
            integers.append(addingCapacity: rows.count) { output in
                for row in rows { output.append(bits[row]) }
            }
        }
        let own = start..<integers.count
        let misfits = converter.misfits.count
        var form = ValueForm.integer
        if isDouble && !own.isEmpty { form = converter.convert(&integers, own) }
        if form != .integer { hasForms = true }
        streams.append(
            StreamRow(
                shape: isMixed ? 0 : shapeTable.index(of: shape) + 1, form: form,
                integersAt: start, misfitsAt: misfits))
    }

    /// (shape, run length - 1) until the stream's rows are covered.
    private mutating func encodeShapes(_ rows: Range<Int>, _ shapes: Span<UInt32>) {
        var row = rows.lowerBound
        while row < rows.upperBound {
            let shape = shapes[row]
            var end = row + 1
            while end < rows.upperBound, shapes[end] == shape { end += 1 }
            odd.putVarint(UInt64(shapeTable.index(of: shape)))
            odd.putVarint(UInt64(end - row - 1))
            row = end
        }
    }

    private mutating func encodeValues() {
        let stride = bestStride()
        var lastForm = 0
        var order: [Int] = []
        appendColumnOrder(count: streams.count, stride: stride, to: &order)
        let (all, observed) = (integers, grouping.observed)
        // The last column of one value: those of a quantity stand together.
        var single: (code: UInt8, exponent: UInt8, index: Int)?
        for stream in order {
            let row = streams[stream]
            let integers = integers(of: stream)
            if integers.count == 1, let single, row.coded == (single.code, single.exponent) {
                columns.passSingle()
                lastForm = single.index
                streams[stream].stored(all[integers.lowerBound], formIndex: lastForm, sibling: 0)
                continue
            }
            if integers.isEmpty {
                streams[stream].formIndex = UInt32(lastForm)
                if formTable.keys.isEmpty { lastForm = formTable.index(of: StreamForm()) }
                continue
            }
            let (column, first, distance) = columns.encodeValues(
                all.span,
                SiblingFinder.Column(
                    values: integers, rows: grouping.rows(stream), form: row.form,
                    shape: Int(row.shape)), observed: observed.span, into: &values,
                escapes: &escapes)
            lastForm = formTable.index(of: StreamForm(value: row.form, column: column))
            streams[stream].stored(first, formIndex: lastForm, sibling: distance)
            if distance > 0 { hasSiblings = true }
            if integers.count == 1 { single = (row.coded.code, row.coded.exponent, lastForm) }
        }
        head.putVarint(UInt64(stride))
        // The order has served: its places take what is to be stored.
        var stored = 0
        for stream in streams.indices {
            let expected = stride > 0 && stream >= stride ? streams[stream - stride].first : 0
            if integers(of: stream).isEmpty {
                streams[stream].first = expected
            } else {
                order[stored] = Int(streams[stream].first &- expected)
                stored += 1
            }
        }
        firsts.putVarints(stored) { zigzag(Int64(order[$0])) }
    }

    /// Distance to the stream that predicts a stream's first value: the number of streams of a device
    /// when devices are alike. 0 when none helps.
    private func bestStride() -> Int {
        let seen = min(streams.count, 512)
        guard seen > 2 else { return 0 }
        let first = (0..<seen).map { stream in
            integers(of: stream).first.map { integers[$0] } ?? 0
        }
        var best = 0
        var cheapest = Int.max
        for distance in 0...min(64, seen - 1) {
            var cost = 0
            for i in 0..<seen {
                let expected = distance > 0 && i >= distance ? first[i - distance] : 0
                cost += 64 - zigzag(first[i] &- expected).leadingZeroBitCount
            }
            if cost < cheapest {
                cheapest = cost - cost / 32
                best = distance
            }
        }
        return best
    }

    // MARK: Head

    private mutating func encodeHead() {
        let (ofGrouping, ofStreams, own) = (grouping.streams, finder.ofStream, streams)
        let (numbers, schedules, rows) = (ofGrouping.span, ofStreams.span, own.span)
        head.putVarints(rows.count) {
            UInt64($0 == 0 ? numbers[0] : numbers[$0] &- numbers[$0 &- 1] &- 1)
        }
        head.putVarints(rows.count) {
            zigzag(Int64(schedules[$0]) &- ($0 == 0 ? 0 : Int64(schedules[$0 &- 1])))
        }
        head.putVarints(rows.count) { UInt64(rows[$0].shape) }
        head.putVarints(rows.count) { UInt64(rows[$0].formIndex) }
        if hasSiblings {
            for stream in streams where stream.sibling > 0 {
                head.putVarint(UInt64(stream.sibling - 1))
            }
        }
        guard hasForms else { return }
        for stream in streams.indices
        where streams[stream].form != .integer && !integers(of: stream).isEmpty {
            let misfits = misfits(of: stream)
            head.putVarint(UInt64(misfits.count))
            var position = 0
            for misfit in converter.misfits[misfits] {
                odd.putVarint(UInt64(misfit.position - position))
                odd.putZigzag(misfit.ulps)
                position = misfit.position + 1
            }
        }
    }

    /// Counts and tables, which are known last and stand first.
    private func headTables() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.putVarint(UInt64(grouping.streams.count))
        bytes.putVarint(UInt64(finder.schedules.count))
        bytes.putVarint(UInt64(finder.clocks.count))
        bytes.putVarint(UInt64(shapeTable.keys.count))
        for key in shapeTable.keys {
            bytes.append(UInt8(truncatingIfNeeded: key))
            bytes.append(UInt8(truncatingIfNeeded: key >> 8))
            bytes.putVarint(UInt64(key >> 16))
        }
        bytes.putVarint(UInt64(timeTable.keys.count))
        for key in timeTable.keys { key.put(isCoded: columns.isCoded, into: &bytes) }
        bytes.putVarint(UInt64(formTable.keys.count))
        for key in formTable.keys {
            let (code, exponent) = key.value.coded
            bytes.append(code)
            bytes.append(exponent)
            key.column.put(isCoded: columns.isCoded, into: &bytes)
        }
        return bytes
    }
}

/// Streams in the order of their columns: those a stride apart stand together, as they measure alike.
func appendColumnOrder(count: Int, stride: Int, to order: inout [Int]) {
    let step = max(1, min(stride, count))
    for start in 0..<step {
        var stream = start
        while stream < count {
            order.append(stream)
            stream += step
        }
    }
}

/// What a stream's values became and how they are stored.
private struct StreamForm: Hashable {
    var value = ValueForm.integer
    var column = ColumnForm.single
}

/// Distinct keys in order of first use.
private struct FormTable<Key: Hashable> {
    private(set) var keys: [Key] = []
    private var indices: [Key: Int] = [:]
    /// The key that followed each key last time: devices are alike, so it mostly follows again.
    private var followers: [Int] = []
    private var last = -1

    mutating func removeAll() {
        keys.removeAll(keepingCapacity: true)
        indices.removeAll(keepingCapacity: true)
        followers.removeAll(keepingCapacity: true)
        last = -1
    }

    mutating func index(of key: Key) -> Int {
        if last >= 0 {
            if keys[last] == key { return last }
            let guess = followers[last]
            if keys[guess] == key {
                last = guess
                return guess
            }
        }
        let index = indices[key] ?? keys.count
        if index == keys.count {
            keys.append(key)
            followers.append(index)
            indices[key] = index
        }
        if last >= 0 { followers[last] = index }
        last = index
        return index
    }
}
