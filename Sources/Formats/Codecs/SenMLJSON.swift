// The codec `senml-json` (RFC 8428 section 5): the pack is read label by label from the JSON text.

import Model

extension Machine {
    mutating func senMLJSON<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        var pull = JSONPull(cursor, position..<limit)
        var state = SenMLState(isBinary: false)
        guard case .beginArray = try pull.next() else { throw .malformed }
        if S.explains { sink.openList("records", at: position, machine: self) }
        while true {
            let start = pull.position
            let token = try pull.next()
            if case .endArray = token { break }
            guard case .beginObject = token else { throw .malformed }
            var record = SenMLRecord()
            try Machine.read(&record, &pull)
            record.range = start..<pull.position
            try senML(record, &state, at, &sink)
        }
        if S.explains { sink.close() }
        guard case .end = try pull.next() else { throw .malformed }
        position = limit
        if sink.readingCount == 0 { sink.control() }
    }

    /// The members of an object whose `{` was taken.
    private static func read(
        _ record: inout SenMLRecord, _ pull: inout JSONPull
    ) throws(Rejection) {
        while true {
            let token = try pull.next()
            if case .endObject = token { return }
            guard case .key(let key) = token else { throw .malformed }
            guard let label = SenMLLabel(key, pull.cursor) else {
                try refuseRequired(key, pull.cursor)
                let value = try pull.next()
                try pull.skip(value)
                continue
            }
            let value = try pull.next()
            switch value {
            case .number(let number): try label.take(number, &record)
            case .string(let text):
                if label == .data {
                    var base64 = Base64(pull.cursor, text.range)
                    while base64.next() != nil {}
                    guard text.isPlain, base64.isGood else { throw .malformed }
                }
                try label.take(text, &record)
            case .boolean(let boolean):
                guard label == .boolean else { throw .badType }
                record.boolean = boolean
            default: throw .badType
            }
        }
    }

    /// A label that ends with `_` must be understood (RFC 8428 section 4.4).
    private static func refuseRequired(_ key: JSONString, _ cursor: Cursor) throws(Rejection) {
        if !key.range.isEmpty, cursor.byte(key.range.upperBound &- 1) == 0x5F {
            throw .unknownRequiredField
        }
    }
}

/// Labels of RFC 8428 table 4; raw values are those of CBOR.
enum SenMLLabel: Int8 {
    case version = -1
    case baseName = -2
    case baseTime = -3
    case baseUnit = -4
    case baseValue = -5
    case baseSum = -6
    case name = 0
    case unit = 1
    case value = 2
    case text = 3
    case boolean = 4
    case sum = 5
    case time = 6
    case updateTime = 7
    case data = 8

    init?(_ key: JSONString, _ cursor: Cursor) {
        // Comparing begins with the lengths: most of these cost one comparison.
        if cursor.holds("n", key) {
            self = .name
        } else if cursor.holds("v", key) {
            self = .value
        } else if cursor.holds("u", key) {
            self = .unit
        } else if cursor.holds("t", key) {
            self = .time
        } else if cursor.holds("s", key) {
            self = .sum
        } else if cursor.holds("bn", key) {
            self = .baseName
        } else if cursor.holds("vb", key) {
            self = .boolean
        } else if cursor.holds("vs", key) {
            self = .text
        } else if cursor.holds("vd", key) {
            self = .data
        } else if cursor.holds("bt", key) {
            self = .baseTime
        } else if cursor.holds("bu", key) {
            self = .baseUnit
        } else if cursor.holds("bv", key) {
            self = .baseValue
        } else if cursor.holds("bs", key) {
            self = .baseSum
        } else if cursor.holds("ut", key) {
            self = .updateTime
        } else if cursor.holds("bver", key) {
            self = .version
        } else {
            return nil
        }
    }

    /// Puts a number where the label says; `.badType` where it wants none.
    func take(_ number: Value, _ record: inout SenMLRecord) throws(Rejection) {
        switch self {
        case .version: record.version = number
        case .baseTime: record.baseTime = number
        case .baseValue: record.baseValue = number
        case .baseSum: record.baseSum = number
        case .value: record.value = number
        case .sum: record.sum = number
        case .time: record.time = number
        case .updateTime: record.updateTime = number
        case .baseName, .baseUnit, .name, .unit, .text, .boolean, .data: throw .badType
        }
    }

    /// The same for text, and for the bytes of `vd`.
    func take(_ text: JSONString, _ record: inout SenMLRecord) throws(Rejection) {
        switch self {
        case .baseName: record.baseName = text
        case .baseUnit: record.baseUnit = text
        case .name: record.name = text
        case .unit: record.unit = text
        case .text: record.text = text
        case .data: record.data = text
        case .version, .baseTime, .baseValue, .baseSum, .value, .sum, .time, .updateTime, .boolean:
            throw .badType
        }
    }
}
