// `{ codec: "mbus-meter" }`: the eight bytes by which M-Bus names a meter (EN 13757-3 chapter 5.6), which
// become the identity `ACW.09011523.07`: manufacturer, number on the label, medium.
// `{ codec: "mbus-fixed" }`: the fixed data structure of old meters behind CI 73 (chapter 5.9).
//
//   meter   id 4 BCD LE, manufacturer u16 LE (three letters of five bits), version, medium
//   fixed   id 4 BCD LE, access, status, 2 bytes of medium and units, two counters of 4 bytes
//
// Letters that are none (a manufacturer that never asked for its code) stand as four hex digits.

import Model

/// Where the parts of a meter's address lie; wired and wireless order them differently.
struct MBusAddress {
    var id: Int
    var manufacturer: Int
    var version: Int
    var medium: Int

    /// Behind CI 72.
    init(header at: Int) {
        (id, manufacturer, version, medium) = (at, at &+ 4, at &+ 6, at &+ 7)
    }

    /// In the link layer of wireless M-Bus.
    init(link at: Int) {
        (manufacturer, id, version, medium) = (at, at &+ 2, at &+ 6, at &+ 7)
    }

    /// Calls `body` with each byte of the identity.
    func identity(_ bytes: Cursor, _ body: (UInt8) -> Void) {
        let code = UInt16(truncatingIfNeeded: bytes.little(manufacturer, width: 2) ?? 0)
        let letters = MBusAddress.letters(code)
        if (0..<3).allSatisfy({ letters[$0] >= 0x41 && letters[$0] <= 0x5A }), code < 0x8000 {
            for i in 0..<3 { body(letters[i]) }
        } else {
            for i in 0..<4 {
                let nibble = code >> UInt16(12 &- 4 &* i) & 15
                body(Machine.digit(UInt8(truncatingIfNeeded: nibble)))
            }
        }
        body(0x2E)
        for i in 0..<4 {
            let byte = bytes.byte(id &+ 3 &- i) ?? 0
            body(Machine.digit(byte >> 4))
            body(Machine.digit(byte & 15))
        }
        body(0x2E)
        let type = bytes.byte(medium) ?? 0
        body(Machine.digit(type >> 4))
        body(Machine.digit(type & 15))
    }

    /// Three letters of five bits each, the first on top; A is 1.
    static func letters(_ code: UInt16) -> [3 of UInt8] {
        [
            UInt8(truncatingIfNeeded: code >> 10 & 31) &+ 64,
            UInt8(truncatingIfNeeded: code >> 5 & 31) &+ 64,
            UInt8(truncatingIfNeeded: code & 31) &+ 64,
        ]
    }

    func key(_ bytes: Cursor) -> DeviceKey {
        var text: [16 of UInt8] = InlineArray(repeating: 0)
        var count = 0
        identity(bytes) { byte in
            if count < 16 { text[count] = byte }
            count &+= 1
        }
        let span = text.span
        return DeviceKey(text: span.extracting(0..<min(16, count))) ?? .empty
    }

    func explain<S: FrameSink>(_ machine: Machine, _ sink: inout S) {
        let bytes = machine.cursor
        let code = UInt16(truncatingIfNeeded: bytes.little(manufacturer, width: 2) ?? 0)
        let letters = MBusAddress.letters(code)
        let text = String(decoding: (0..<3).map { letters[$0] }, as: UTF8.self)
        let name = (
            "id", id..<id &+ 4, FieldValue.bytes(bytes.bytes(id..<id &+ 4).reversed())
        )
        let maker = (
            "manufacturer", manufacturer..<manufacturer &+ 2, FieldValue.text(text)
        )
        for (word, range, value) in id < manufacturer ? [name, maker] : [maker, name] {
            sink.leaf(word, range, value, machine)
        }
        for (word, at) in [("version", version), ("medium", medium)] {
            sink.leaf(
                word, at..<at &+ 1, .number(.decimal(Int64(bytes.byte(at) ?? 0))), machine)
        }
    }
}

extension Machine {
    mutating func mbusMeter<S: FrameSink>(_ sink: inout S) throws(Rejection) {
        guard position <= limit &- 8 else { throw .truncated }
        let address = MBusAddress(header: position)
        if S.explains { address.explain(self, &sink) }
        try identify(address, &sink)
        position &+= 8
    }

    func identify<S: FrameSink>(_ address: MBusAddress, _ sink: inout S) throws(Rejection) {
        if !work.isIdentified { address.identity(cursor) { work.identity.append($0) } }
        try endIdentity(&sink)
    }

    /// Counters of the fixed structure: unit code, value.
    mutating func mbusFixed<S: FrameSink>(
        _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        guard position <= limit &- 16 else { throw .truncated }
        let from = position
        let status = cursor.byte(from &+ 5) ?? 0
        let types = [cursor.byte(from &+ 6) ?? 0, cursor.byte(from &+ 7) ?? 0] as [2 of UInt8]
        let medium = types[0] >> 6 | (types[1] >> 6) << 2
        if S.explains {
            sink.openObject("meter", at: from, machine: self)
            sink.leaf(
                "id", from..<from &+ 4, .bytes(cursor.bytes(from..<from &+ 4).reversed()), self)
            let numbers = [("access", 4, cursor.byte(from &+ 4) ?? 0), ("status", 5, status)]
            for (name, offset, number) in numbers {
                let range = from &+ offset..<from &+ offset &+ 1
                sink.leaf(name, range, .number(.decimal(Int64(number))), self)
            }
            sink.leaf("medium", from &+ 6..<from &+ 8, .number(.decimal(Int64(medium))), self)
            sink.close()
            sink.openList("counters", at: from &+ 8, machine: self)
        }
        if !work.isIdentified {
            for i in (0..<4).reversed() {
                let byte = cursor.byte(from &+ i) ?? 0
                work.identity.append(Machine.digit(byte >> 4))
                work.identity.append(Machine.digit(byte & 15))
            }
        }
        try endIdentity(&sink)
        for i in 0..<2 {
            let place = from &+ 8 &+ 4 &* i
            try counter(place, types[i] & 63, i, status, at, &sink)
        }
        if S.explains {
            sink.close()
            sink.leaf(
                "counters_stored", from &+ 5..<from &+ 6, .boolean(status & 2 != 0), self)
        }
        position = from &+ 16
    }

    private mutating func counter<S: FrameSink>(
        _ place: Int, _ code: UInt8, _ index: Int, _ status: UInt8, _ at: CodecPlace,
        _ sink: inout S
    ) throws(Rejection) {
        let value = MBusValue(fixed: cursor, place..<place &+ 4, isBinary: status & 1 == 1)
        if S.explains {
            sink.openObject("", at: place, machine: self)
            sink.leaf("unit_code", place..<place, .number(.decimal(Int64(code))), self)
            sink.leaf(
                "value", place..<place &+ 4,
                value.kind == .integer ? .number(.decimal(value.number)) : .null, self)
            sink.close()
        }
        // 3E: in the unit of the other counter, stored: no reading of its own.
        guard let unit = MBusUnit.fixed(code) else { return }
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        sink.reading(
            output: at.output,
            // The second counter as subunit 1, values of a due date as storage 1.
            discriminator: UInt64(unit.kind.rawValue) | UInt64(index) << 10
                | UInt64(status >> 1 & 1) << 30,
            value: value.kind == .integer
                ? .decimal(value.number &* unit.factor, exponent: Int8(clamping: unit.exponent))
                : .none,
            quality: value.kind == .integer ? [] : .badDigits, at: nil)
    }
}

extension MBusValue {
    init(fixed bytes: Cursor, _ range: Range<Int>, isBinary: Bool) {
        var number: Int64 = 0
        for i in range.reversed() {
            let byte = bytes.byte(i) ?? 0
            if isBinary {
                number = number << 8 | Int64(byte)
            } else if byte >> 4 <= 9, byte & 15 <= 9 {
                number = number &* 100 &+ Int64((byte >> 4) &* 10 &+ byte & 15)
            } else {
                self.init(.badDigits)
                return
            }
        }
        self.init(.integer, number)
    }
}

extension MBusUnit {
    /// Units of the fixed structure (EN 13757-3 table 7), in the streams' units; nil for those without
    /// a quantity.
    static func fixed(_ code: UInt8) -> MBusUnit? {
        switch code {
        case 0x02...0x0A: MBusUnit(kind: .energy, exponent: Int(code) - 0x02)
        case 0x0B...0x13: MBusUnit(kind: .energyJoule, exponent: Int(code) - 0x0B + 3)
        case 0x14...0x1C: MBusUnit(kind: .power, exponent: Int(code) - 0x14)
        case 0x1D...0x25: MBusUnit(kind: .powerJoule, exponent: Int(code) - 0x1D + 3)
        case 0x26...0x2E: MBusUnit(kind: .volume, exponent: Int(code) - 0x26 - 6)
        case 0x2F...0x37: MBusUnit(kind: .volumeFlow, exponent: Int(code) - 0x2F - 6)
        case 0x38: MBusUnit(kind: .flowTemperature, exponent: -3)
        case 0x39: MBusUnit(kind: .hca)
        default: nil
        }
    }
}
