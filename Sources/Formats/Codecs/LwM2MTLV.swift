// The codec `lwm2m-tlv` (OMA LwM2M 1.1.1 core section 7.4.3; content format 11542). The wire says
// lengths and numbers, not types: these come from the object model by the path that the
// conversation asked for. A resource that the model does not know is shown and makes no reading:
// its bytes may be anything.

import Model

/// Kind of one entry: the top two bits of its type byte.
enum TLVKind: UInt8 {
    case objectInstance = 0
    case resourceInstance = 1
    case multipleResource = 2
    case resource = 3

    var text: String {
        switch self {
        case .objectInstance: "object-instance"
        case .resourceInstance: "resource-instance"
        case .multipleResource: "multiple-resource"
        case .resource: "resource"
        }
    }
}

struct TLVEntry {
    var kind: TLVKind
    var number: UInt16
    var range: Range<Int>
    var value: Range<Int>

    /// The entry at `at`; its value must end before `end`.
    init(_ cursor: Cursor, at: Int, end: Int) throws(Rejection) {
        var reader = FieldReader(cursor: cursor, position: at, end: end)
        let type = try reader.u8(else: .truncated)
        kind = TLVKind(rawValue: type >> 6) ?? .resource
        number =
            type & 0x20 != 0
            ? try reader.u16(else: .truncated) : UInt16(try reader.u8(else: .truncated))
        var length = Int(type & 7)
        let width = Int(type >> 3 & 3)
        if width > 0 {
            length = 0
            for _ in 0..<width { length = length << 8 | Int(try reader.u8(else: .truncated)) }
        }
        guard length <= reader.left else { throw .truncated }
        value = reader.position..<reader.position &+ length
        range = at..<value.upperBound
    }
}

extension Machine {
    mutating func lwM2MTLV<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        let asked = LwM2MPath(work.path.cursor(count: work.path.count))
        let path = LwM2MPath(
            object: asked?.object ?? .max, instance: asked.map { $0.instance ?? 0 }, item: nil,
            element: nil)
        if S.explains { sink.openList("tlv", at: position, machine: self) }
        try entries(position..<limit, path, at, isTop: true, &sink)
        if S.explains { sink.close() }
        position = limit
        if sink.readingCount == 0 { sink.control() }
    }

    /// Entries of the whole, or of one object instance.
    private mutating func entries<S: FrameSink>(
        _ range: Range<Int>, _ path: LwM2MPath, _ at: CodecPlace, isTop: Bool, _ sink: inout S
    ) throws(Rejection) {
        let first = sink.readingCount
        var time: Int64?
        var place = range.lowerBound
        while place < range.upperBound {
            position = place
            let entry = try TLVEntry(cursor, at: place, end: range.upperBound)
            place = entry.range.upperBound
            var inner = path
            switch entry.kind {
            case .objectInstance:
                guard isTop else { throw .malformed }
                inner.instance = entry.number
                open(entry, &sink)
                try entries(entry.value, inner, at, isTop: false, &sink)
                close(&sink)
            case .multipleResource:
                inner.item = entry.number
                open(entry, &sink)
                try elements(entry.value, inner, at, &sink)
                close(&sink)
            case .resource, .resourceInstance:
                guard isTop || entry.kind == .resource else { throw .malformed }
                inner.item = entry.number
                show(entry, &sink)
                let object = path.object == .max ? nil : path.object
                if LwM2MResource.kind(object: object, item: entry.number) == .time {
                    time = integer(entry.value)
                }
                try yield(entry.value, inner, at, &sink)
            }
        }
        // 5518 dates the readings of its instance.
        if let time, time > 0, time < 253_402_300_800 {
            sink.stamp(from: first, milliseconds: time &* 1_000)
        }
    }

    /// Instances of one resource.
    private mutating func elements<S: FrameSink>(
        _ range: Range<Int>, _ path: LwM2MPath, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        var place = range.lowerBound
        while place < range.upperBound {
            position = place
            let entry = try TLVEntry(cursor, at: place, end: range.upperBound)
            guard entry.kind == .resourceInstance else { throw .malformed }
            place = entry.range.upperBound
            var inner = path
            inner.element = entry.number
            show(entry, &sink)
            try yield(entry.value, inner, at, &sink)
        }
    }

    private func yield<S: FrameSink>(
        _ range: Range<Int>, _ path: LwM2MPath, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let object = path.object == .max ? nil : path.object
        guard let item = path.item,
            let kind = LwM2MResource.kind(object: object, item: item)
        else { return }
        var value = Value.none
        switch kind {
        case .integer: value = integer(range).map { .decimal($0) } ?? .none
        case .float:
            if range.count == 4, let word = cursor.big(range.lowerBound, width: 4) {
                value = .double(Double(Float(bitPattern: UInt32(truncatingIfNeeded: word))))
            } else if range.count == 8, let word = cursor.big(range.lowerBound, width: 8) {
                value = .double(Double(bitPattern: word))
            } else if let whole = integer(range) {
                // Clients send whole numbers of float resources as integers.
                value = .decimal(whole)
            }
            if value.kind == .double, !Double(bitPattern: value.bits).isFinite { value = .none }
        case .boolean:
            if range.count == 1, let byte = cursor.byte(range.lowerBound), byte <= 1 {
                value = .boolean(byte == 1)
            }
        case .time, .text, .opaque, .link: return
        }
        try emit(value, path, at, &sink)
    }

    func emit<S: FrameSink>(
        _ value: Value, _ path: LwM2MPath, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        sink.reading(
            output: at.output, discriminator: path.discriminator, value: value,
            quality: value.kind == .none ? .missing : [], at: time)
    }

    /// Two's complement of 1, 2, 4 or 8 bytes; nil for other lengths.
    private func integer(_ range: Range<Int>) -> Int64? {
        switch range.count {
        case 1, 2, 4, 8: break
        default: return nil
        }
        guard let word = cursor.big(range.lowerBound, width: range.count) else { return nil }
        let shift = UInt64(64 &- 8 &* range.count)
        return Int64(bitPattern: word << shift) >> Int64(shift)
    }

    // MARK: Tree

    private func show<S: FrameSink>(_ entry: TLVEntry, _ sink: inout S) {
        guard S.explains else { return }
        sink.openObject("", at: entry.range.lowerBound, machine: self)
        head(entry, &sink)
        sink.leaf("value", entry.value, .bytes(cursor.bytes(entry.value)), self)
        sink.close()
    }

    private func open<S: FrameSink>(_ entry: TLVEntry, _ sink: inout S) {
        guard S.explains else { return }
        sink.openObject("", at: entry.range.lowerBound, machine: self)
        head(entry, &sink)
        sink.openList("children", at: entry.value.lowerBound, machine: self)
    }

    private func close<S: FrameSink>(_ sink: inout S) {
        guard S.explains else { return }
        sink.close()
        sink.close()
    }

    private func head<S: FrameSink>(_ entry: TLVEntry, _ sink: inout S) {
        let range = entry.range.lowerBound..<entry.value.lowerBound
        sink.leaf("kind", range, .text(entry.kind.text), self)
        sink.leaf("id", range, .number(.decimal(Int64(entry.number))), self)
    }
}
