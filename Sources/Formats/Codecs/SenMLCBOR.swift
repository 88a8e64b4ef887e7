// The codec `senml-cbor` (RFC 8428 section 6): the pack is read label by label from the CBOR bytes.

import Model

extension Machine {
    mutating func senMLCBOR<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        var pull = CBORPull(cursor, position..<limit)
        var state = SenMLState(isBinary: true)
        let pack = try pull.head()
        guard pack.major == 4 else { throw .malformed }
        if S.explains { sink.openList("records", at: position, machine: self) }
        var left = pack.argument
        while try Machine.hasNext(pack, &left, &pull) {
            var record = SenMLRecord()
            let head = try pull.head()
            guard head.major == 5 else { throw .malformed }
            try Machine.read(&record, head, &pull)
            record.range = head.start..<pull.position
            try senML(record, &state, at, &sink)
        }
        if S.explains { sink.close() }
        guard pull.position == limit else { throw .malformed }
        position = limit
        if sink.readingCount == 0 { sink.control() }
    }

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
        var left = map.argument
        while try hasNext(map, &left, &pull) {
            let key = try pull.head()
            let label: SenMLLabel?
            switch key.major {
            case 0, 1:
                let number = Int8(exactly: key.argument).map { key.major == 0 ? $0 : ~$0 }
                label = number.flatMap(SenMLLabel.init(rawValue:))
            case 3:
                let text = try pull.text(key)
                if !text.isEmpty, pull.cursor.byte(text.upperBound &- 1) == 0x5F {
                    throw .unknownRequiredField
                }
                label = nil
            default: throw .malformed
            }
            let head = try pull.head()
            if let label {
                try take(label, head, &record, &pull)
            } else {
                try pull.skip(head)
            }
        }
    }

    private static func take(
        _ label: SenMLLabel, _ head: CBORHead, _ record: inout SenMLRecord, _ pull: inout CBORPull
    ) throws(Rejection) {
        switch label {
        case .version, .baseTime, .baseValue, .baseSum, .value, .sum, .time, .updateTime:
            guard let number = try pull.number(head) else { throw .badType }
            try label.take(number, &record)
        case .baseName, .baseUnit, .name, .unit, .text:
            try label.take(JSONString(range: try pull.text(head), isPlain: true), &record)
        case .boolean:
            guard head.major == 7, head.argument == 20 || head.argument == 21, head.info < 24
            else { throw .badType }
            record.boolean = head.argument == 21
        case .data:
            guard head.major == 2, !head.isIndefinite else { throw .badType }
            record.data = JSONString(range: pull.string(head), isPlain: true)
        }
    }
}
