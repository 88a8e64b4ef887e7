// The codecs `lwm2m-text` (one resource as plain text, content format 0) and `lwm2m-json` (content
// format 11543, OMA LwM2M 1.0.2 section 6.4.4): names and base name like SenML, but one object
// around them.

import Model

extension Machine {
    /// The text is the resource's that the conversation asked for; its type comes from the model. Without
    /// a known resource a number is a reading `value`, other text none.
    mutating func lwM2MText<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        let range = position..<limit
        guard UTF8Check.isGood(cursor, range) else { throw .malformed }
        let path = LwM2MPath(work.path.cursor(count: work.path.count))
        let kind = path.flatMap { path in
            path.item.flatMap { LwM2MResource.kind(object: path.object, item: $0) }
        }
        var value: Value?
        switch kind {
        case .integer, .float, nil: value = JSONPull.number(cursor, range)
        case .boolean:
            if cursor.holds("1", range) || cursor.holds("true", range) { value = .boolean(true) }
            if cursor.holds("0", range) || cursor.holds("false", range) { value = .boolean(false) }
        case .time, .text, .opaque, .link: break
        }
        if let value {
            let unknown = LwM2MPath(object: .max, instance: nil, item: nil, element: nil)
            try emit(value, path ?? unknown, at, &sink)
        } else {
            sink.control()
        }
        if S.explains {
            let text = String(decoding: cursor.bytes(range), as: UTF8.self)
            sink.leaf("value", range, value.map(FieldValue.number) ?? .text(text), self)
        }
        position = limit
    }

    mutating func lwM2MJSON<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        var state = SenMLState(isBinary: false, path: work.names.memory.begin(work.path))
        // The base name may stand behind the entries: it is looked for first.
        try base(&state)
        var pull = JSONPull(cursor, position..<limit)
        guard case .beginObject = try pull.next() else { throw .malformed }
        if S.explains { sink.openList("records", at: position, machine: self) }
        while case .key(let key) = try pull.next() {
            let value = try pull.next()
            if case .beginArray = value, cursor.holds("e", key) {
                try elements(&pull, &state, at, &sink)
            } else {
                try pull.skip(value)
            }
        }
        if S.explains { sink.close() }
        guard case .end = try pull.next() else { throw .malformed }
        position = limit
        if sink.readingCount == 0 { sink.control() }
    }

    private func base(_ state: inout SenMLState) throws(Rejection) {
        var pull = JSONPull(cursor, position..<limit)
        guard case .beginObject = try pull.next() else { throw .malformed }
        while case .key(let key) = try pull.next() {
            let value = try pull.next()
            switch value {
            case .string(let text): if cursor.holds("bn", key) { state.baseName = text }
            case .number(let time): if cursor.holds("bt", key) { state.baseTime = time }
            default: try pull.skip(value)
            }
        }
    }

    private mutating func elements<S: FrameSink>(
        _ pull: inout JSONPull, _ state: inout SenMLState, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        while true {
            let start = pull.position
            let token = try pull.next()
            if case .endArray = token { return }
            guard case .beginObject = token else { throw .malformed }
            var record = SenMLRecord()
            while case .key(let key) = try pull.next() {
                let value = try pull.next()
                switch value {
                case .string(let text):
                    if cursor.holds("n", key) { record.put(text, .name) }
                    if cursor.holds("sv", key) || cursor.holds("ov", key) {
                        record.put(text, .text)
                    }
                case .number(let number):
                    if cursor.holds("v", key) { record.put(number, .value) }
                    if cursor.holds("t", key) { record.put(number, .time) }
                case .boolean(let boolean):
                    if cursor.holds("bv", key) { record.put(.boolean(boolean), .boolean) }
                default: try pull.skip(value)
                }
            }
            record.range = start..<pull.position
            let outer = position
            try senML(record, &state, at, &sink)
            position = outer
        }
    }
}

extension JSONPull {
    /// The number that is all of the text; nil when it is none.
    static func number(_ cursor: Cursor, _ range: Range<Int>) -> Value? {
        var pull = JSONPull(cursor, range)
        do throws(Rejection) {
            guard case .number(let value) = try pull.next(), case .end = try pull.next() else {
                return nil
            }
            return value
        } catch { return nil }
    }
}
