// Finds frames: in a datagram that must be exactly one, in a stream that may hold noise, several
// frames, half a frame. Never backtracks inside a frame; a refused start moves on by one byte.

import Model

extension Machine {
    /// What stands at one place of the bytes.
    enum Judgement {
        /// No frame starts here; why, for a datagram.
        case no(Rejection)
        /// Could be one when more bytes come.
        case incomplete
        /// A frame of so many bytes with a fault.
        case bad(Int, Rejection)
        /// A frame of so many bytes.
        case good(Int)
    }

    /// Judges the frame that starts at `from` (behind any preamble) within `from..<end`: the first of
    /// the format's forms that may start here.
    mutating func judge(
        _ rule: FrameRule, _ program: Program, from: Int, end: Int
    ) -> Judgement {
        var rule = rule
        return choose(&rule, program, from: from, end: end)
    }

    /// The same; leaves the form in `rule`.
    mutating func choose(
        _ rule: inout FrameRule, _ program: Program, from: Int, end: Int
    ) -> Judgement {
        var verdict = judgeForm(rule, program, from: from, end: end)
        while case .no = verdict, rule.next >= 0 {
            rule = program.frames[rule.next]
            verdict = judgeForm(rule, program, from: from, end: end)
        }
        return verdict
    }

    private mutating func judgeForm(
        _ rule: FrameRule, _ program: Program, from: Int, end: Int
    ) -> Judgement {
        var isCut = false
        for i in 0..<rule.anchorCount {
            let anchor = rule.anchors[i]
            let at = from &+ anchor.at
            if at &+ anchor.count > end {
                isCut = true
                continue
            }
            let found = cursor.big(at, width: anchor.count) ?? 0
            if found & anchor.mask != anchor.pattern { return .no(.badHeader) }
        }
        if isCut { return .incomplete }
        if rule.probe >= 0 {
            switch program.checksums[rule.probe].holds(cursor, start: from, end: end) {
            case .some(true): break
            case .some(false): return .no(.badChecksum)
            case nil: return isExact ? .no(.badChecksum) : .incomplete
            }
        }
        let available = end &- from
        var total = available
        if !rule.isDatagram {
            switch length(rule, program, from: from, end: end) {
            case .success(let found): total = found
            case .failure(.truncated): return .incomplete
            case .failure(let rejection): return .no(rejection)
            }
        }
        if total > rule.maximum { return .no(rule.isDatagram ? .oversized : .badLength) }
        if total < rule.minimum { return rule.isDatagram ? .incomplete : .no(.badLength) }
        if total > available { return .incomplete }
        let last = from &+ total
        if rule.endCount > 0 {
            let found = cursor.big(last &- rule.endCount, width: rule.endCount) ?? 0
            if found != rule.endPattern { return .bad(total, rule.endRejection) }
        }
        if rule.checksum >= 0, !rule.flagsMismatch {
            guard
                program.checksums[rule.checksum].holds(cursor, start: from, end: last) ?? false
            else { return .bad(total, .badChecksum) }
        }
        return .good(total)
    }

    enum Length {
        case success(Int)
        case failure(Rejection)
    }

    /// The length that the frame at `from` announces.
    mutating func length(
        _ rule: FrameRule, _ program: Program, from: Int, end: Int
    ) -> Length {
        let (position, start, limit, overrun) = (
            self.position, self.start, self.limit, self.overrun
        )
        self.position = from
        self.start = from
        self.limit = end
        self.overrun = .truncated
        defer {
            (self.position, self.start, self.limit, self.overrun) =
                (position, start, limit, overrun)
        }
        do throws(Rejection) {
            var nowhere = NoSink()
            let total = try run(
                program, .lengths, entry: rule.lengthEntry, into: &nowhere)
            guard total > 0, total <= 0x00FF_FFFF else { return .failure(.badLength) }
            return .success(Int(total))
        } catch { return .failure(error) }
    }

    /// Enters the one frame that `from..<limit` must be: afterwards `position`, `start` and `limit`
    /// are its body's.
    mutating func enter<S: FrameSink>(
        _ first: FrameRule, _ program: Program, from: Int, _ sink: inout S
    ) throws(Rejection) {
        if first.delimiter >= 0 { return try enterDelimited(first, program, from: from, &sink) }
        var rule = first
        let end = limit
        var at = from
        while rule.preamble >= 0, at &- from < rule.preambleMaximum, at < end,
            cursor.byte(at) == UInt8(truncatingIfNeeded: rule.preamble)
        {
            at &+= 1
        }
        if at > from { sink.structure("preamble", from..<at, machine: self) }
        position = at
        let verdict = choose(&rule, program, from: at, end: end)
        if case .good(let total) = verdict, at &+ total == end {
            describe(rule, program, at..<end, &sink)
            if rule.flagsMismatch, !holds(rule, program, at..<end) { work.isDoubtful = true }
            if S.records || S.explains { sink.entered(rule, from: from, at..<end, machine: self) }
            try enterBody(rule, at..<end)
            return
        }
        if sink.goesOn(after: verdict, rule, at..<end, machine: &self) { return }
        switch verdict {
        case .no(let rejection), .bad(_, let rejection): throw rejection
        case .incomplete: throw .truncated
        // More bytes than the frame has: not the one frame that was promised.
        case .good: throw .badLength
        }
    }

    func holds(_ rule: FrameRule, _ program: Program, _ range: Range<Int>) -> Bool {
        guard rule.checksum >= 0 else { return true }
        let sum = program.checksums[rule.checksum]
        return sum.holds(cursor, start: range.lowerBound, end: range.upperBound) ?? false
    }

    /// Goes on in the part of the frame that the layout describes.
    @inline(__always)
    mutating func enterBody(_ rule: FrameRule, _ range: Range<Int>) throws(Rejection) {
        let (from, end) = (range.lowerBound, range.upperBound)
        start = max(from, from &+ rule.bodyFrom)
        limit = min(end, rule.bodyTo > 0 ? from &+ rule.bodyTo : end &+ rule.bodyTo)
        position = start
        overrun = rule.isDatagram ? .truncated : .badLength
        guard start <= limit else { throw overrun }
    }

    func describe<S: FrameSink>(
        _ rule: FrameRule, _ program: Program, _ range: Range<Int>, _ sink: inout S
    ) {
        for i in 0..<rule.anchorCount where rule.anchors[i].mask == .max {
            let at = range.lowerBound &+ rule.anchors[i].at
            sink.structure("start", at..<at &+ rule.anchors[i].count, machine: self)
        }
        if rule.checksum >= 0 {
            let sum = program.checksums[rule.checksum]
            let at = sum.at >= 0 ? range.lowerBound &+ sum.at : range.upperBound &+ sum.at
            sink.structure("checksum", at..<at &+ sum.width, machine: self)
            if S.explains, let places = sum.places(in: range) {
                sink.computed(over: places.over, machine: self)
            }
        }
        if rule.endCount > 0 {
            let at = range.upperBound &- rule.endCount
            sink.structure("end", at..<range.upperBound, machine: self)
        }
    }

    // MARK: Streams

    /// Looks for one frame in stream bytes; see `FrameSearch`.
    ///
    /// Noise that looks like the start of a long frame would hold good frames back until so many bytes
    /// have come. So the first complete frame behind an unfinished one is taken when a second one follows,
    /// or when it ends exactly where the bytes end. Without a checksum two are no proof, only the last is
    /// taken then. A form that anything fits (a single byte that answers) proves nothing.
    mutating func search(
        _ rule: FrameRule, _ program: Program, _ starts: FrameStarts
    ) -> FrameSearch {
        if rule.delimiter >= 0 { return searchDelimited(rule, program) }
        let end = cursor.count
        var unfinished = -1
        var behind: Range<Int>?
        var at = 0
        while true {
            at = starts.first(cursor, from: at, upTo: end, direction)
            guard at < end else { break }
            let begin = afterPreamble(rule, from: at, end: end)
            guard begin < end else {
                if unfinished < 0 { unfinished = at }
                break
            }
            var form = rule
            switch choose(&form, program, from: begin, end: end) {
            case .no: at = begin > at ? begin : at &+ 1
            case .incomplete:
                if unfinished < 0 { unfinished = at }
                at &+= 1
            case .good(let total):
                let last = begin &+ total
                let isProof = form.isTelling && (last == end || behind != nil)
                if unfinished < 0 || isProof {
                    let found = behind ?? at..<last
                    return .frame(skip: found.lowerBound, count: found.count)
                }
                if form.isTelling, form.checksum >= 0 {
                    behind = at..<last
                    at = last
                } else {
                    at &+= 1
                }
            case .bad(let total, let rejection):
                if unfinished >= 0 {
                    at &+= 1
                    continue
                }
                let next = nextStart(rule, program, starts, begin..<begin &+ total)
                return .rejected(skip: at, advance: next &- at, rejection)
            }
        }
        return .needsMore(skip: unfinished < 0 ? end : unfinished)
    }

    private func afterPreamble(_ rule: FrameRule, from: Int, end: Int) -> Int {
        var at = from
        while rule.preamble >= 0, at &- from < rule.preambleMaximum, at < end,
            cursor.byte(at) == UInt8(truncatingIfNeeded: rule.preamble)
        {
            at &+= 1
        }
        return at
    }

    /// The next place inside a refused frame where a frame may start; its end at the latest. Faulty
    /// frames that begin inside it are part of the same refusal.
    private mutating func nextStart(
        _ rule: FrameRule, _ program: Program, _ starts: FrameStarts, _ refused: Range<Int>
    ) -> Int {
        let (end, last) = (cursor.count, refused.upperBound)
        var at = refused.lowerBound &+ 1
        while true {
            at = starts.first(cursor, from: at, upTo: last, direction)
            guard at < last else { return last }
            switch judge(rule, program, from: at, end: end) {
            case .good, .incomplete: return at
            case .no, .bad: at &+= 1
            }
        }
    }
}

/// Takes nothing: lengths are found without yielding anything.
struct NoSink: FrameSink {
    var readingCount: Int { 0 }
    mutating func reading(
        output: UInt16, discriminator: UInt64, value: Value, quality: Quality, at: Int64?
    ) {}
    mutating func stamp(from first: Int, milliseconds: Int64) {}
    static var explains: Bool { false }
    mutating func leaf(
        _ name: String, _ range: Range<Int>, _ value: FieldValue, unit: String, note: String,
        machine: Machine
    ) {}
    mutating func openObject(_ name: String, at position: Int, machine: Machine) {}
    mutating func openList(_ name: String, at position: Int, machine: Machine) {}
    mutating func identityIsGlobal() {}
    mutating func timeIsRelative() {}
    mutating func control() {}
    mutating func seal() {}
    mutating func device(_ key: DeviceKey) {}
    mutating func duplicate(_ key: UInt64) {}
    mutating func answer(_ byte: UInt8) {}
    mutating func answerChecksum(_ rule: ChecksumRule) {}
    mutating func answerFrame(_ rule: FrameRule) {}
    mutating func answerCount(at: Int, from: Int, digits: Int) {}
    mutating func part(_ part: FramePart) {}
    mutating func show(
        _ rule: Int, slot: Slot, discriminator: UInt64, machine: Machine
    ) {}
    mutating func open(_ group: Int, machine: Machine) {}
    mutating func close() {}
    mutating func structure(_ name: String, _ range: Range<Int>, machine: Machine) {}
    @inline(__always)
    mutating func goesOn(
        after verdict: Machine.Judgement, _ rule: FrameRule, _ range: Range<Int>,
        machine: inout Machine
    ) -> Bool { false }
}

/// The hot sink.
extension DecodedFrame: FrameSink {
    var readingCount: Int { readings.count }

    @inline(__always)
    mutating func reading(
        output: UInt16, discriminator: UInt64, value: Value, quality: Quality, at: Int64?
    ) {
        readings.append(
            DecodedReading(
                output: output, discriminator: discriminator, value: value, quality: quality,
                observedAt: at.map(Timestamp.init(milliseconds:))))
    }

    mutating func stamp(from first: Int, milliseconds: Int64) {
        var i = max(0, first)
        while i < readings.count {
            if readings[i].observedAt == nil {
                readings[i].observedAt = Timestamp(milliseconds: milliseconds)
            }
            i &+= 1
        }
    }

    static var explains: Bool { false }
    mutating func leaf(
        _ name: String, _ range: Range<Int>, _ value: FieldValue, unit: String, note: String,
        machine: Machine
    ) {}
    mutating func openObject(_ name: String, at position: Int, machine: Machine) {}
    mutating func openList(_ name: String, at position: Int, machine: Machine) {}

    mutating func identityIsGlobal() { isIdentityGlobal = true }
    mutating func timeIsRelative() {
        if !readings.isEmpty { readings[readings.count &- 1].isTimeRelative = true }
    }

    /// Its format takes a frame whose check value is wrong; its readings say so.
    mutating func markBadChecksum() {
        for i in readings.indices { readings[i].quality.insert(.badChecksum) }
    }

    mutating func control() { isControl = true }
    mutating func seal() { isSealed = true }
    mutating func device(_ key: DeviceKey) {
        device = key
        devicesAhead.ask(for: key)
    }
    mutating func duplicate(_ key: UInt64) {
        duplicateKey = key
        keysAhead.ask(for: key)
    }
    mutating func part(_ part: FramePart) { self.part = part }
    mutating func answer(_ byte: UInt8) {
        if answer.count < 1024 { answer.append(byte) }
    }

    mutating func answerChecksum(_ rule: ChecksumRule) {
        var sum: UInt16 = 0
        Cursor.over(answer.span) { bytes in
            let high = rule.to > 0 ? rule.to : bytes.count + rule.to
            sum = rule.value(bytes, min(rule.from, high)..<high) ?? 0
        }
        if rule.isText {
            for i in stride(from: 4 * (rule.width - 1), through: 0, by: -4) {
                answer(ChecksumRule.upperDigit(UInt8(sum >> UInt16(i) & 15)))
            }
        } else if rule.width == 1 {
            answer(UInt8(truncatingIfNeeded: sum))
        } else {
            answer(UInt8(truncatingIfNeeded: rule.isLittleEndian ? sum : sum >> 8))
            answer(UInt8(truncatingIfNeeded: rule.isLittleEndian ? sum >> 8 : sum))
        }
    }

    mutating func show(
        _ rule: Int, slot: Slot, discriminator: UInt64, machine: Machine
    ) {}
    mutating func open(_ group: Int, machine: Machine) {}
    mutating func close() {}
    mutating func structure(_ name: String, _ range: Range<Int>, machine: Machine) {}
    @inline(__always)
    mutating func goesOn(
        after verdict: Machine.Judgement, _ rule: FrameRule, _ range: Range<Int>,
        machine: inout Machine
    ) -> Bool { false }
}
