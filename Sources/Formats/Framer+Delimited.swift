// Frames between delimiters, with escapes: the delimiter stands before and behind a frame, once
// between two frames that follow one another, and never inside, where an escape stands for it. What
// stands between has its escapes undone in a scratch plane (or is read in place when it has none) and
// is judged there by the rest of the framing. Each byte is looked at once a search.

import Model

/// Escape byte and what it and a code stand for.
struct EscapeRule: Sendable {
    /// -1: there are no escapes.
    var escape = -1
    /// The code xor this is the byte; -1: the codes below.
    var xor = -1
    /// Code i and the byte it stands for, eight bits each, first lowest.
    var codes: UInt64 = 0
    var bytes: UInt64 = 0
    var count = 0

    func plain(_ code: UInt8) -> UInt8? {
        if xor >= 0 { return code ^ UInt8(truncatingIfNeeded: xor) }
        for i in 0..<count where UInt8(truncatingIfNeeded: codes >> UInt64(8 &* i)) == code {
            return UInt8(truncatingIfNeeded: bytes >> UInt64(8 &* i))
        }
        return nil
    }

    /// The code that stands for `byte` behind the escape; nil when it stands for itself.
    func code(for byte: UInt8, delimiter: Int) -> UInt8? {
        if xor >= 0 {
            guard Int(byte) == escape || Int(byte) == delimiter else { return nil }
            return byte ^ UInt8(truncatingIfNeeded: xor)
        }
        for i in 0..<count where UInt8(truncatingIfNeeded: bytes >> UInt64(8 &* i)) == byte {
            return UInt8(truncatingIfNeeded: codes >> UInt64(8 &* i))
        }
        return nil
    }
}

extension Cursor {
    /// Where byte `offset` of the unescaped bytes that start at `base` stands with its escapes.
    func escaped(_ offset: Int, from base: Int, escape: UInt8) -> Int {
        var at = base
        var left = offset
        while left > 0, let byte = byte(at) {
            at += byte == escape ? 2 : 1
            left -= 1
        }
        return at + left
    }
}

extension BytePlane {
    /// Writes the bytes of `range` from offset 0, each escape and its code as the byte they stand for.
    /// Stops at an escape that stands for nothing; true when there was none.
    func unescape(_ source: Cursor, _ range: Range<Int>, rule: EscapeRule, below: UInt8) -> Bool {
        let escape = UInt8(truncatingIfNeeded: rule.escape)
        begin(.escaped(base: range.lowerBound, escape: escape), below: below)
        var at = range.lowerBound
        while at < range.upperBound, let byte = source.byte(at) {
            guard byte == escape else {
                append(byte)
                at &+= 1
                continue
            }
            guard at &+ 1 < range.upperBound, let code = source.byte(at &+ 1),
                let plain = rule.plain(code)
            else { return false }
            append(plain)
            at &+= 2
        }
        return true
    }
}

extension Machine {
    /// Makes the bytes of `range` without their escapes what is read: returns their range there.
    /// Second result: whether all escapes stand for something.
    private mutating func unescape(
        _ rule: FrameRule, _ range: Range<Int>
    ) -> (range: Range<Int>, isWhole: Bool) {
        guard rule.escapes.escape >= 0,
            cursor.first(UInt8(truncatingIfNeeded: rule.escapes.escape), in: range) != nil
        else {
            cursor = cursor.upTo(range.upperBound)
            return (range, true)
        }
        let scratch = work.planes[Int(rule.plane)]
        let isWhole = scratch.unescape(cursor, range, rule: rule.escapes, below: plane)
        cursor = scratch.cursor(count: scratch.count)
        plane = rule.plane &+ 1
        return (0..<scratch.count, isWhole)
    }

    /// Judges what stands between two delimiters. The machine reads it afterwards.
    private mutating func judgeInside(
        _ rule: FrameRule, _ program: Program, _ wire: Range<Int>
    ) -> (verdict: Judgement, range: Range<Int>) {
        let (range, isWhole) = unescape(rule, wire)
        guard isWhole else { return (.bad(0, .badEscape), range) }
        guard wire.count &+ 2 <= rule.wireMaximum else { return (.no(.badLength), range) }
        switch judge(rule, program, from: range.lowerBound, end: range.upperBound) {
        // The delimiter says that this is all: what is missing makes it no frame, neither what is over.
        case .incomplete: return (otherLength(rule, program, range), range)
        case .good(let total) where total != range.count:
            return (otherLength(rule, program, range), range)
        case let verdict: return (verdict, range)
        }
    }

    /// What is wrong where length and delimiter disagree: the bytes, when the check value of all that
    /// stands there says so; a length read from them is then no news.
    private func otherLength(
        _ rule: FrameRule, _ program: Program, _ range: Range<Int>
    ) -> Judgement {
        guard rule.checksum >= 0, !rule.flagsMismatch, range.count >= rule.minimum,
            !holds(rule, program, range)
        else { return .bad(0, .badLength) }
        return .bad(range.count, .badChecksum)
    }

    /// Enters the one delimited frame that `from..<limit` must be. The first delimiter may be missing
    /// when the rest is right: it ended the frame before.
    mutating func enterDelimited<S: FrameSink>(
        _ rule: FrameRule, _ program: Program, from: Int, _ sink: inout S
    ) throws(Rejection) {
        let end = limit
        let mark = UInt8(truncatingIfNeeded: rule.delimiter)
        let outer = (cursor, plane)
        let hasStart = cursor.byte(from) == mark
        let first = hasStart ? from &+ 1 : from
        position = first
        guard let last = cursor.first(mark, in: first..<max(first, end)) else {
            if hasStart { sink.structure("start", from..<first, machine: self) }
            let (range, isWhole) = unescape(rule, first..<end)
            // An escape without its code at the very end is cut, too.
            let isCut = isWhole || cursor(ofPlane: outer.1).byte(end &- 1) == rule.escapes.byte
            let verdict: Judgement = isCut ? .incomplete : .bad(0, .badEscape)
            position = range.lowerBound
            if hasStart, sink.goesOn(after: verdict, rule, range, machine: &self) { return }
            if !hasStart {
                _ = sink.goesOn(after: .no(.badHeader), rule, first..<first, machine: &self)
            }
            throw !hasStart ? .badHeader : isCut ? .truncated : .badEscape
        }
        if hasStart { sink.structure("start", from..<first, machine: self) }
        if hasStart || last &+ 1 == end {
            sink.structure("end", last..<last &+ 1, machine: self)
        }
        let (verdict, range) = judgeInside(rule, program, first..<last)
        position = range.lowerBound
        if case .good = verdict, last &+ 1 == end {
            describe(rule, program, range, &sink)
            if S.records || S.explains { sink.entered(rule, from: from, range, machine: self) }
            return try enterBody(rule, range)
        }
        try refuse(rule, verdict, range, &sink, hasStart: hasStart, behind: last &+ 1, outer: outer)
    }

    private mutating func refuse<S: FrameSink>(
        _ rule: FrameRule, _ verdict: Judgement, _ range: Range<Int>, _ sink: inout S,
        hasStart: Bool, behind: Int, outer: (Cursor, UInt8)
    ) throws(Rejection) {
        if case .good = verdict {
            // More bytes than the frame has: not the one frame that was promised.
            (cursor, plane) = outer
            position = behind
            _ = sink.goesOn(after: .no(.badLength), rule, behind..<behind, machine: &self)
            throw .badLength
        }
        guard hasStart else {
            (cursor, plane) = outer
            _ = sink.goesOn(after: .no(.badHeader), rule, 0..<0, machine: &self)
            throw .badHeader
        }
        if sink.goesOn(after: verdict, rule, range, machine: &self) { return }
        switch verdict {
        case .no(let rejection), .bad(_, let rejection): throw rejection
        case .incomplete, .good: throw .badLength
        }
    }

    /// Looks for one delimited frame in stream bytes; see `FrameSearch`. Bytes before the first
    /// delimiter are a frame, too, when they are right as one: the delimiter before them went with
    /// the frame that it ended.
    mutating func searchDelimited(_ rule: FrameRule, _ program: Program) -> FrameSearch {
        let end = cursor.count
        let mark = UInt8(truncatingIfNeeded: rule.delimiter)
        guard var at = cursor.first(mark, in: 0..<end) else {
            return .needsMore(skip: end >= rule.wireMaximum ? end : 0)
        }
        if at > 0, at < rule.wireMaximum, case .good = judgeApart(rule, program, 0..<at) {
            return .frame(skip: 0, count: at &+ 1)
        }
        while cursor.byte(at &+ 1) == mark { at &+= 1 }
        let most = min(end, at &+ rule.wireMaximum)
        guard let last = cursor.first(mark, in: at &+ 1..<max(at &+ 1, most)) else {
            if most < end || end &- at >= rule.wireMaximum {
                return .rejected(skip: at, advance: max(1, most &- at), .oversized)
            }
            return .needsMore(skip: at)
        }
        switch judgeApart(rule, program, at &+ 1..<last) {
        case .good: return .frame(skip: at, count: last &+ 1 &- at)
        // The delimiter that ends a bad frame may start a good one.
        case .no(let rejection), .bad(_, let rejection):
            return .rejected(skip: at, advance: last &- at, rejection)
        case .incomplete: return .rejected(skip: at, advance: last &- at, .badLength)
        }
    }

    /// Judges what stands between two delimiters and goes on reading where it was.
    private mutating func judgeApart(
        _ rule: FrameRule, _ program: Program, _ range: Range<Int>
    ) -> Judgement {
        let outer = (cursor, plane)
        defer { (cursor, plane) = outer }
        return judgeInside(rule, program, range).verdict
    }
}

extension Machine {
    /// For plans: the frame's inside can be read in place. x: delimiter; meta: escape, -1 none.
    @inline(__always)
    func isPlain(_ op: Op) -> Bool {
        let range = Int(op.at)..<Int(op.imm)
        guard cursor.first(op.x, in: range) == nil else { return false }
        return op.meta < 0 || cursor.first(UInt8(truncatingIfNeeded: op.meta), in: range) == nil
    }
}

extension EscapeRule {
    /// The escape byte; only asked when there is one.
    var byte: UInt8 { UInt8(truncatingIfNeeded: escape) }
}

extension TreeBuilder {
    /// Why what stands between two delimiters is no frame.
    func delimited(
        _ rejection: Rejection, announced total: Int?, _ range: Range<Int>, lengthAt: Int
    ) -> Refusal {
        if rejection == .badEscape {
            return Refusal(
                rejection: rejection, at: range.upperBound,
                reason: "the escape byte stands before a byte that it cannot stand before")
        }
        var reason = "\(range.count) bytes stand between the delimiters"
        if let total { reason += ", \(total) are announced" }
        return Refusal(rejection: rejection, at: lengthAt, reason: reason)
    }
}
