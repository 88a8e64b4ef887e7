// The codec `senml-cbor` (RFC 8428 section 6): the pack is read label by label from the CBOR bytes.

import Model

extension Machine {
    mutating func senMLCBOR<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        var pull = CBORPull(cursor, position..<limit)
        var state = SenMLState(isBinary: true, path: work.names.memory.begin(work.path))
        let pack = try pull.head()
        guard pack.major == 4 else { throw .malformed }
        if S.explains { sink.openList("records", at: position, machine: self) }
        var left = pack.argument
        let lane = S.explains ? nil : SenMLLane(work)
        while try Machine.hasNext(pack, &left, &pull) {
            if !S.explains, let lane, takeKnown(lane, &pull, &state, at, &sink) { continue }
            try senMLRecord(&pull, &state, at, &sink)
        }
        if S.explains { sink.close() }
        guard pull.position == limit else { throw .malformed }
        position = limit
        if sink.readingCount == 0 { sink.control() }
    }

    /// Takes a record of any kind.
    @inline(never)
    private mutating func senMLRecord<S: FrameSink>(
        _ pull: inout CBORPull, _ state: inout SenMLState, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        var record = SenMLRecord()
        let head = try pull.head()
        guard head.major == 5 else { throw .malformed }
        try Machine.read(&record, head, &pull)
        record.range = head.start..<pull.position
        try senML(record, &state, at, &sink)
    }

    @inline(__always)
    private static func hasNext(
        _ head: CBORHead, _ left: inout UInt64, _ pull: inout CBORPull
    ) throws(Rejection) -> Bool {
        if head.isIndefinite { return try !pull.takeBreak() }
        guard left > 0 else { return false }
        left &-= 1
        return true
    }

    private static func read(
        _ record: inout SenMLRecord, _ map: CBORHead, _ pull: inout CBORPull
    ) throws(Rejection) {
        record.begin()
        var left = map.argument
        var run = HeadRun()
        while try hasNext(map, &left, &pull) {
            let start = pull.position
            if let label = try label(&pull) {
                run.note(label, start, pull.position, &record)
                try take(label, &record, &pull)
            } else {
                run.spoil(&record)
                try pull.skip(try pull.head())
            }
        }
    }

    /// Takes a key. Nil for one that is no label and need not be understood.
    @inline(__always)
    private static func label(_ pull: inout CBORPull) throws(Rejection) -> SenMLLabel? {
        if pull.position < pull.end, let key = pull.cursor.byte(pull.position) {
            if key <= 8 {
                pull.position &+= 1
                return SenMLLabel(rawValue: key &+ 6)
            }
            if key >= 0x20, key <= 0x25 {
                pull.position &+= 1
                return SenMLLabel(rawValue: 0x25 &- key)
            }
        }
        return try longLabel(&pull)
    }

    private static func longLabel(_ pull: inout CBORPull) throws(Rejection) -> SenMLLabel? {
        let key = try pull.head()
        switch key.major {
        case 0:
            return key.argument <= 8 ? SenMLLabel(rawValue: UInt8(key.argument) &+ 6) : nil
        case 1:
            return key.argument <= 5 ? SenMLLabel(rawValue: 5 &- UInt8(key.argument)) : nil
        case 3:
            let text = try pull.text(key)
            if !text.isEmpty, pull.cursor.byte(text.upperBound &- 1) == 0x5F {
                throw .unknownRequiredField
            }
            return nil
        default: throw .malformed
        }
    }

    @inline(__always)
    private static func take(
        _ label: SenMLLabel, _ record: inout SenMLRecord, _ pull: inout CBORPull
    ) throws(Rejection) {
        if label.bit & SenMLLabel.numbers != 0, let number = pull.usualNumber() {
            record.put(number, label)
        } else if label.bit & SenMLLabel.texts != 0, let text = pull.usualText() {
            record.put(JSONString(range: text, isPlain: true), label)
        } else {
            try takeAny(label, &record, &pull)
        }
    }

    private static func takeAny(
        _ label: SenMLLabel, _ record: inout SenMLRecord, _ pull: inout CBORPull
    ) throws(Rejection) {
        let head = try pull.head()
        switch label {
        case .version, .baseTime, .baseValue, .baseSum, .value, .sum, .time, .updateTime:
            guard let number = try pull.number(head) else { throw .badType }
            record.put(number, label)
        case .baseName, .baseUnit, .name, .unit, .text:
            record.put(JSONString(range: try pull.text(head), isPlain: true), label)
        case .boolean:
            guard head.major == 7, head.argument == 20 || head.argument == 21, head.info < 24
            else { throw .badType }
            record.put(.boolean(head.argument == 21), label)
        case .data:
            guard head.major == 2, !head.isIndefinite else { throw .badType }
            record.put(JSONString(range: pull.string(head), isPlain: true), label)
        }
    }
}
