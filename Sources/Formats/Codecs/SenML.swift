// SenML packs (RFC 8428), common to JSON and CBOR: one record's fields as ranges and numbers, the
// base values that hold for later records, and what a resolved record yields. Nothing is allocated:
// names are put together in a scratch plane and kept for this frame in the arena of names.
//
// Who sends: a name that begins `urn:` names the device up to the end of the URN's identifier
// (`urn:dev:mac:0024befffe804ff1` of `urn:dev:mac:0024befffe804ff1/alarm`); otherwise a base name
// that ends in `:` or `/` and does not begin with `/` names it. A conversation that knows the
// device wins, and its path stands before names that do not begin with `/`. The first record
// decides; records of other devices in the same pack keep their whole name.

import Model

/// Where the device ends and the stream begins in a resolved name.
struct SenMLName {
    var count: Int
    /// Bytes of the device's identity at the name's start; 0 when it names none.
    var device = 0
    var stream = 0

    /// `baseCount`: bytes of the base name at the start. Nil when the name is not one (RFC 8428
    /// section 4.5.1; a leading `/` is LwM2M's).
    init?(_ bytes: Cursor, baseCount: Int) {
        count = bytes.count
        guard count > 0, count <= 255, let first = bytes.byte(0),
            SenMLName.isLetterOrDigit(first) || first == 0x2F
        else { return nil }
        for i in 1..<max(1, count) {
            guard let byte = bytes.byte(i), DeviceKey.isAllowed(byte) || byte == 0x2F else {
                return nil
            }
        }
        if bytes.begins(with: "urn:", 0..<count) {
            // urn:<namespace>:<identifier>, and urn:dev:<type>:<identifier>.
            var colons = bytes.begins(with: "urn:dev:", 0..<count) ? 3 : 2
            var at = 0
            while at < count, let byte = bytes.byte(at) {
                if byte == 0x3A || (byte == 0x2F && colons == 0) {
                    if colons == 0 { break }
                    colons &-= 1
                }
                at &+= 1
            }
            device = colons == 0 ? at : 0
            stream = colons == 0 ? min(count, at &+ 1) : 0
        } else if first != 0x2F, baseCount > 1, baseCount <= count,
            let last = bytes.byte(baseCount &- 1), last == 0x3A || last == 0x2F
        {
            device = baseCount &- 1
            stream = baseCount
        }
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        DeviceKey.isAllowed(byte) && byte != 0x2D && byte != 0x2E && byte != 0x5F && byte != 0x3A
    }
}

extension Machine {
    /// Resolves a record against the base values and yields it.
    mutating func senML<S: FrameSink>(
        _ record: SenMLRecord, _ state: inout SenMLState, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        position = record.range.lowerBound
        try state.take(record)
        if record.isBaseOnly { return }
        guard record.valueCount <= 1 else { throw .badRecord }
        if !S.explains, try usual(record, &state, at, &sink) { return }
        let scratch = work.planes[Int(at.plane)]
        scratch.clear()
        append(state.baseName, to: scratch)
        let baseCount = scratch.count
        if let name = record.text(.name) { append(name, to: scratch) }
        let bytes = scratch.cursor(count: scratch.count)
        guard let name = SenMLName(bytes, baseCount: baseCount) else { throw .badName }
        var value = record.number(.value)
        if let base = state.baseValue, record.valueCount == 0 || value != nil {
            value = base.plus(value ?? .decimal(0))
        }
        var sum = record.number(.sum)
        if let base = state.baseSum { sum = base.plus(sum ?? .decimal(0)) }
        guard record.valueCount == 1 || value != nil || sum != nil else { throw .badRecord }
        let time = state.baseTime.plus(record.number(.time) ?? .decimal(0))
        if S.explains {
            show(record, state, value, sum, time, bytes, &sink)
        }
        let isOwn = try identify(name, bytes, &state, &sink)
        let resolved = SenMLResolved(
            name: name, isOwn: isOwn, unit: record.text(.unit) ?? state.baseUnit, time: time)
        if let value {
            try yield(value, resolved, bytes, at, &sink)
        } else if let boolean = record.number(.boolean) {
            try yield(boolean, resolved, bytes, at, &sink)
        }
        if let sum { try yield(sum, resolved, bytes, at, isSum: true, &sink) }
    }

    func append(_ text: JSONString, to plane: BytePlane) {
        if text.isPlain { return plane.append(cursor, text.range) }
        var bytes = JSONText.Bytes(cursor, text)
        while let byte = bytes.next() { plane.append(byte) }
    }

    /// Names the device by the first record that does. True when the record is that device's.
    private func identify<S: FrameSink>(
        _ name: SenMLName, _ bytes: Cursor, _ state: inout SenMLState, _ sink: inout S
    ) throws(Rejection) -> Bool {
        guard name.device > 0 else { return true }
        let hash = Machine.hash(bytes, 0..<name.device)
        if let device = state.device { return device == hash }
        state.device = hash
        if work.isIdentified { return true }
        work.identity.clear()
        work.identity.appendIdentity(bytes, 0..<name.device)
        try endIdentity(&sink)
        sink.identityIsGlobal()
        return true
    }

    /// Tells the devices of one pack apart.
    static func hash(_ bytes: Cursor, _ range: Range<Int>) -> UInt64 {
        var hash = DuplicateHash(seed: 0x5365_6E4D_4C, salt: 0)
        hash.mix(bytes, range)
        return hash.value
    }

    private func yield<S: FrameSink>(
        _ value: Value, _ record: SenMLResolved, _ bytes: Cursor, _ at: CodecPlace,
        isSum: Bool = false, _ sink: inout S
    ) throws(Rejection) {
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        let entry = work.names.begin()
        let stream = record.isOwn ? record.name.stream : 0
        if bytes.byte(0) != 0x2F, work.path.count > 0 {
            let path = work.path.cursor(count: work.path.count)
            work.names.append(path, 0..<path.count)
            if path.byte(path.count &- 1) != 0x2F, stream < bytes.count {
                work.names.append(0x2F)
            }
        }
        work.names.append(bytes, stream..<bytes.count)
        if stream == bytes.count, record.unit == nil {
            for byte in SenMLResolved.unnamed { work.names.append(byte) }
        }
        if isSum { for byte in SenMLResolved.sumSuffix { work.names.append(byte) } }
        var unitCount = 0
        if let unit = record.unit {
            if unit.isPlain {
                work.names.append(cursor, unit.range)
                unitCount = unit.range.count
            } else {
                var text = JSONText.Bytes(cursor, unit)
                while let byte = text.next() {
                    work.names.append(byte)
                    unitCount &+= 1
                }
            }
            if isSum, unitCount > 0 {
                for byte in SenMLResolved.perTime { work.names.append(byte) }
                unitCount &+= SenMLResolved.perTime.count
            }
        }
        guard let discriminator = work.names.end(entry, unitCount: unitCount) else {
            throw .oversized
        }
        yield(value, discriminator, SenMLMoment(record.time), at, &sink)
    }

    @inline(__always)
    func yield<S: FrameSink>(
        _ value: Value, _ discriminator: UInt64, _ moment: SenMLMoment, _ at: CodecPlace,
        _ sink: inout S
    ) {
        sink.reading(
            output: at.output, discriminator: discriminator, value: value,
            quality: value.kind == .none ? .missing : [], at: moment.milliseconds)
        if moment.isRelative { sink.timeIsRelative() }
    }

    // MARK: Tree

    private func show<S: FrameSink>(
        _ record: SenMLRecord, _ state: SenMLState, _ value: Value?, _ sum: Value?, _ time: Value,
        _ name: Cursor, _ sink: inout S
    ) {
        let all = record.range
        func text(_ string: JSONString) -> String {
            var bytes: [UInt8] = []
            var source = JSONText.Bytes(cursor, string)
            while let byte = source.next() { bytes.append(byte) }
            return String(decoding: bytes, as: UTF8.self)
        }
        sink.openObject("", at: all.lowerBound, machine: self)
        let words = String(decoding: name.bytes(0..<name.count), as: UTF8.self)
        sink.leaf("n", record.text(.name)?.range ?? all, .text(words), self)
        if let unit = record.text(.unit) ?? state.baseUnit {
            sink.leaf("u", record.text(.unit)?.range ?? all, .text(text(unit)), self)
        }
        if let value { sink.leaf("v", all, value.kind == .none ? .null : .number(value), self) }
        if let string = record.text(.text) {
            sink.leaf("vs", string.range, .text(text(string)), self)
        }
        if let boolean = record.number(.boolean) {
            sink.leaf("vb", all, .boolean(boolean.bits != 0), self)
        }
        if let data = record.text(.data) {
            var bytes: [UInt8] = []
            if state.isBinary {
                bytes = cursor.bytes(data.range)
            } else {
                var source = Base64(cursor, data.range)
                while let byte = source.next() { bytes.append(byte) }
            }
            sink.leaf("vd", data.range, .bytes(bytes), self)
        }
        if let sum { sink.leaf("s", all, sum.kind == .none ? .null : .number(sum), self) }
        sink.leaf("t", all, time.kind == .none ? .null : .number(time), self)
        let isRelative = time.approximate.magnitude < SenMLResolved.firstAbsolute
        sink.leaf("t_relative", all, .boolean(isRelative), self)
        if let update = record.number(.updateTime) { sink.leaf("ut", all, .number(update), self) }
        if let version = state.version {
            sink.leaf("bver", all, .number(.decimal(version)), self)
        }
        sink.close()
    }
}

extension BytePlane {
    /// Adds a device's name; a slash, which identities cannot have, becomes a colon.
    func appendIdentity(_ bytes: Cursor, _ range: Range<Int>) {
        let start = count
        append(bytes, range)
        for i in 0..<max(0, count &- start) where bytes.byte(range.lowerBound &+ i) == 0x2F {
            set(0x3A, at: start &+ i)
        }
    }
}

/// What the readings of one record share.
struct SenMLResolved {
    var name: SenMLName
    /// The record is of the device that the frame is filed under.
    var isOwn: Bool
    var unit: JSONString?
    var time: Value

    /// Times below 2^28 seconds are relative to now (RFC 8428 section 4.5.3).
    static let firstAbsolute = 268_435_456.0
    /// The device's name is the sensor's, and no unit tells what it measures.
    static let unnamed = StaticBytes("value")
    static let sumSuffix = StaticBytes("_sum")
    /// A sum is over time: `·s`.
    static let perTime = StaticBytes("·s")
}

/// Bytes of a word of this program, walked without making an array.
struct StaticBytes: Sequence, IteratorProtocol, Sendable {
    private let word: StaticString
    private var offset = 0

    init(_ word: StaticString) { self.word = word }

    var count: Int { word.utf8CodeUnitCount }

    mutating func next() -> UInt8? {
        guard let byte = Cursor.byte(offset, of: word) else { return nil }
        offset &+= 1
        return byte
    }
}
