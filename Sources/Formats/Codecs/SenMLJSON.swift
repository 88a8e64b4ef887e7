// The codec `senml-json` (RFC 8428 section 5): the pack is read label by label from the JSON text.

import Model

extension Machine {
    mutating func senMLJSON<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        var pull = JSONPull(cursor, position..<limit)
        var state = SenMLState(isBinary: false, path: work.names.memory.begin(work.path))
        guard case .beginArray = try pull.next() else { throw .malformed }
        if S.explains { sink.openList("records", at: position, machine: self) }
        var record = SenMLRecord()
        let lane = S.explains ? nil : SenMLLane(work)
        while true {
            if !S.explains, let lane, takeKnown(lane, &pull, &state, at, &sink) { continue }
            let start = pull.position
            let token = try pull.next()
            if case .endArray = token { break }
            guard case .beginObject = token else { throw .malformed }
            record.begin()
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
        var run = HeadRun()
        while true {
            let token = try pull.next()
            if case .endObject = token { return }
            guard case .key(let key) = token else { throw .malformed }
            guard let label = SenMLLabel(key, pull.cursor) else {
                try refuseRequired(key, pull.cursor)
                run.spoil(&record)
                let value = try pull.next()
                try pull.skip(value)
                continue
            }
            run.note(label, key.range.lowerBound &- 1, pull.position, &record)
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
                record.put(.boolean(boolean), .boolean)
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

/// Labels of RFC 8428 table 4; raw values are those of CBOR plus 6.
enum SenMLLabel: UInt8 {
    case baseSum, baseValue, baseUnit, baseTime, baseName, version
    case name, unit, value, text, boolean, sum, time, updateTime, data

    init?(_ key: JSONString, _ cursor: Cursor) {
        guard key.isPlain else {
            guard let label = SenMLLabel.escaped(key, cursor) else { return nil }
            self = label
            return
        }
        guard key.range.count >= 1, key.range.count <= 4,
            let word = cursor.big(key.range.lowerBound, width: key.range.count)
        else { return nil }
        guard let label = SenMLLabel(letters: word) else { return nil }
        self = label
    }

    /// A label with escapes, which nobody writes.
    private static func escaped(_ key: JSONString, _ cursor: Cursor) -> SenMLLabel? {
        var bytes = JSONText.Bytes(cursor, key)
        var word: UInt64 = 0
        var count = 0
        while let byte = bytes.next() {
            word = word << 8 | UInt64(byte)
            count &+= 1
            if count > 4 { return nil }
        }
        return SenMLLabel(letters: word)
    }

    /// The label that JSON calls by these letters, taken as one number.
    private init?(letters: UInt64) {
        switch letters {
        case 0x6E: self = .name
        case 0x76: self = .value
        case 0x75: self = .unit
        case 0x74: self = .time
        case 0x73: self = .sum
        case 0x626E: self = .baseName
        case 0x7662: self = .boolean
        case 0x7673: self = .text
        case 0x7664: self = .data
        case 0x6274: self = .baseTime
        case 0x6275: self = .baseUnit
        case 0x6276: self = .baseValue
        case 0x6273: self = .baseSum
        case 0x7574: self = .updateTime
        case 0x6276_6572: self = .version
        default: return nil
        }
    }

    @inline(__always)
    var bit: UInt16 { 1 << UInt16(rawValue) }

    /// Labels that want a number, by their bits.
    @inline(__always)
    static var numbers: UInt16 {
        SenMLLabel.version.bit | SenMLLabel.baseTime.bit | SenMLLabel.baseValue.bit
            | SenMLLabel.baseSum.bit | SenMLLabel.value.bit | SenMLLabel.sum.bit
            | SenMLLabel.time.bit | SenMLLabel.updateTime.bit
    }
    /// Labels that want text.
    @inline(__always)
    static var texts: UInt16 {
        SenMLLabel.baseName.bit | SenMLLabel.baseUnit.bit | SenMLLabel.name.bit
            | SenMLLabel.unit.bit | SenMLLabel.text.bit
    }

    /// Puts a number where the label says; `.badType` where it wants none.
    @inline(__always)
    func take(_ number: Value, _ record: inout SenMLRecord) throws(Rejection) {
        guard bit & SenMLLabel.numbers != 0 else { throw .badType }
        record.put(number, self)
    }

    /// The same for text, and for the bytes of `vd`.
    @inline(__always)
    func take(_ text: JSONString, _ record: inout SenMLRecord) throws(Rejection) {
        guard bit & (SenMLLabel.texts | SenMLLabel.data.bit) != 0 else { throw .badType }
        record.put(text, self)
    }
}
