// The short way through a SenML-CBOR record: perhaps a base name and a base time, then name and unit that
// the decoder has seen before, a number, perhaps a time. Nothing is gathered, looked up by text or put
// together; a record of another kind is left, untouched, to the long way in SenML.swift, which comes to
// the same. Names are not even copied: what is remembered keeps them for the stream's first appearance.

import Model

/// What the short way needs to know of a pack; made once a frame. Plain words only, so that passing it on
/// counts no references.
struct SenMLLane {
    let heads: SenMLHeads
    /// Bytes of the conversation's path before a name.
    let prefix: Int

    /// Nil when nothing is known yet, or the path is longer than names may be.
    init?(_ work: Workspace) {
        guard work.names.memory.isOn, let heads = work.names.memory.heads else { return nil }
        self.heads = heads
        let count = work.path.count
        guard count <= 200 else { return nil }
        let last = count == 0 ? nil : work.path.cursor(count: count).byte(count &- 1)
        prefix = count == 0 || last == 0x2F ? count : count &+ 1
    }
}

/// What stands around name and value of a record on the short way.
private struct LaneRecord {
    var base: Range<Int>?
    var baseTime: Value?
    var time: Value?
}

extension Machine {
    /// Takes the record that stands next. False, and nothing taken or changed, for one of another kind.
    @inline(__always)
    func takeKnown<S: FrameSink>(
        _ lane: SenMLLane, _ pull: inout CBORPull, _ state: inout SenMLState, _ at: CodecPlace,
        _ sink: inout S
    ) -> Bool {
        let bytes = pull.cursor
        let end = pull.end
        guard pull.position < end, let map = bytes.byte(pull.position), map == 0xA2 || map == 0xA3
        else { return takeLong(lane, &pull, &state, at, &sink) }
        let start = pull.position &+ 1
        let place = lane.heads.find(bytes, start, end, path: state.path)
        guard place >= 0 else { return takeLong(lane, &pull, &state, at, &sink) }
        guard map &- 0xA0 == lane.heads.pairs(place), state.base.isOwn == true,
            !state.hasBaseNumbers, let moment = state.moment,
            state.baseUnit == nil || lane.heads.hasUnit(place)
        else { return takeLong(lane, &pull, &state, at, &sink) }
        let after = start &+ lane.heads.count(place)
        let number = CBORNumber(bytes, after, end)
        let (nameCount, unitCount) = lane.heads.counts(place)
        guard number.size > 0, state.baseName.range.count &+ nameCount <= 255,
            sink.readingCount < Machine.maximumReadings,
            work.names.hasRoom(lane.prefix, nameCount, unitCount)
        else { return takeLong(lane, &pull, &state, at, &sink) }
        pull.position = after &+ number.size
        let stream = lane.heads.use(place)
        work.names.put(stream, nameCount: lane.prefix &+ nameCount, unitCount: unitCount)
        sink.reading(
            output: at.output, discriminator: stream,
            value: .decimal(number.mantissa, exponent: number.exponent), quality: [],
            at: moment.milliseconds)
        if moment.isRelative { sink.timeIsRelative() }
        return true
    }

    /// The same for records with base values, with times, or with numbers that are no decimals.
    @inline(never)
    private func takeLong<S: FrameSink>(
        _ lane: SenMLLane, _ pull: inout CBORPull, _ state: inout SenMLState, _ at: CodecPlace,
        _ sink: inout S
    ) -> Bool {
        guard pull.position < pull.end, let map = pull.cursor.byte(pull.position), map >= 0xA2,
            map <= 0xA7
        else { return false }
        var ahead = pull
        ahead.position &+= 1
        var left = Int(map & 7)
        var record = LaneRecord()
        guard Machine.takeBases(&record, &left, &ahead) else { return false }
        let start = ahead.position
        let place = lane.heads.find(ahead.cursor, start, ahead.end, path: state.path)
        guard place >= 0 else { return false }
        left &-= Int(lane.heads.pairs(place))
        ahead.position = start &+ lane.heads.count(place)
        guard left >= 0, left <= 1, let value = ahead.usualNumber() else { return false }
        if left == 1 {
            guard ahead.position < ahead.end, ahead.cursor.byte(ahead.position) == 6 else {
                return false
            }
            ahead.position &+= 1
            guard let time = ahead.usualNumber() else { return false }
            record.time = time
        }
        guard yield(value, place, record, lane, &state, at, &sink) else { return false }
        pull.position = ahead.position
        return true
    }

    /// Yields a record on the short way. False, and nothing changed, when it is none for it.
    @inline(__always)
    private func yield<S: FrameSink>(
        _ value: Value, _ place: Int, _ record: LaneRecord, _ lane: SenMLLane,
        _ state: inout SenMLState, _ at: CodecPlace, _ sink: inout S
    ) -> Bool {
        let (nameCount, unitCount) = lane.heads.counts(place)
        guard state.baseUnit == nil || lane.heads.hasUnit(place), !state.hasBaseNumbers,
            sink.readingCount < Machine.maximumReadings,
            work.names.hasRoom(lane.prefix, nameCount, unitCount),
            settle(record, nameCount, &state, &sink)
        else { return false }
        let stream = lane.heads.use(place)
        work.names.put(stream, nameCount: lane.prefix &+ nameCount, unitCount: unitCount)
        let moment: SenMLMoment
        if let time = record.time {
            moment = SenMLMoment(state.baseTime.plus(time))
        } else {
            moment = state.moment ?? state.settle()
        }
        yield(value, stream, moment, at, &sink)
        return true
    }

    /// The labels `bn` and `bt`, in either order, as long as such stand next.
    @inline(__always)
    private static func takeBases(
        _ record: inout LaneRecord, _ left: inout Int, _ pull: inout CBORPull
    ) -> Bool {
        while left > 2, pull.position < pull.end, let key = pull.cursor.byte(pull.position) {
            if key == 0x21 {
                pull.position &+= 1
                guard let text = pull.usualText() else { return false }
                record.base = text
            } else if key == 0x22 {
                pull.position &+= 1
                guard let number = pull.usualNumber() else { return false }
                record.baseTime = number
            } else {
                return true
            }
            left &-= 1
        }
        return true
    }

    /// Puts the record's base values in force, the last thing that can fail. False, and nothing changed,
    /// when its base name is not known or not the frame's device.
    @inline(__always)
    private func settle<S: FrameSink>(
        _ record: LaneRecord, _ nameCount: Int, _ state: inout SenMLState, _ sink: inout S
    ) -> Bool {
        if let base = record.base {
            guard base.count &+ nameCount <= 255, let known = work.names.memory.base(cursor, base),
                state.device ?? known.hash == known.hash
            else { return false }
            state.baseName = JSONString(range: base, isPlain: true)
            state.base = SenMLBase(known, count: base.count)
            identifyBase(&state, &sink)
        } else {
            guard state.base.isOwn == true, state.baseName.range.count &+ nameCount <= 255 else {
                return false
            }
        }
        if let time = record.baseTime { state.baseTime = time }
        return true
    }
}

// MARK: JSON

extension Machine {
    /// The same for the next element of a SenML-JSON pack without blanks.
    @inline(__always)
    func takeKnown<S: FrameSink>(
        _ lane: SenMLLane, _ pull: inout JSONPull, _ state: inout SenMLState, _ at: CodecPlace,
        _ sink: inout S
    ) -> Bool {
        guard let element = pull.element, pull.cursor.byte(element) == 0x7B else { return false }
        var ahead = pull
        ahead.pass(to: element &+ 1)
        var record = LaneRecord()
        guard Machine.takeBases(&record, &ahead) else { return false }
        let start = ahead.position
        let place = lane.heads.find(ahead.cursor, start, ahead.end, path: state.path)
        guard place >= 0 else { return false }
        ahead.pass(to: start &+ lane.heads.count(place))
        guard let value = ahead.usualNumber() else { return false }
        if ahead.takeLetters(0x2C22_7422_3A, width: 5) {
            guard let time = ahead.usualNumber() else { return false }
            record.time = time
        }
        guard ahead.takeLetters(0x7D, width: 1),
            yield(value, place, record, lane, &state, at, &sink)
        else { return false }
        pull.pass(to: ahead.position)
        return true
    }

    /// `"bn":"…",` and `"bt":…,` as long as such stand next.
    @inline(__always)
    private static func takeBases(_ record: inout LaneRecord, _ pull: inout JSONPull) -> Bool {
        while true {
            if pull.takeLetters(0x2262_6E22_3A22, width: 6) {
                let from = pull.position
                // What is known is plain text.
                guard let quote = pull.cursor.first(0x22, in: from..<pull.end) else { return false }
                record.base = from..<quote
                pull.pass(to: quote &+ 1)
            } else if pull.takeLetters(0x2262_7422_3A, width: 5) {
                guard let number = pull.usualNumber() else { return false }
                record.baseTime = number
            } else {
                return true
            }
            guard pull.takeLetters(0x2C, width: 1) else { return false }
        }
    }
}
