// The head of one M-Bus data record (EN 13757-3 chapter 6): DIF, DIFEs, VIF, VIFEs, and where its data
// lie. Read from a cursor without allocation; whatever the bytes say, it ends within the region.
//
//   DIF      bits 0-3 coding, 4-5 function, 6 storage's lowest bit, 7 more follows
//   DIFE     bits 0-3 storage, 4-5 tariff, 6 subunit, 7 more follows; at most ten
//   VIF      bits 0-6 quantity and scale, 7 more follows; FD and FB name further tables; 7C has its unit
//            as text behind it, before the VIFEs
//   VIFE     70-77 and 7D scale; FC and FF give the next ones another meaning; at most ten

import Model

struct MBusRecord {
    /// DIF and DIFEs; VIF, text and VIFEs; data without the byte that counts them.
    var difs: Range<Int>
    var vifs: Range<Int>
    var data = 0..<0
    /// The unit's text (VIF 7C), last character first.
    var text = 0..<0

    var function: UInt8
    var storage: UInt64
    var tariff: UInt64 = 0
    var subunit: UInt64 = 0
    /// Bits 0-3 of the DIF.
    var coding: UInt8
    /// The byte that counts variable data (LVAR), when `coding` is 13.
    var variable: UInt8 = 0

    var unit = MBusUnit(kind: .reserved)
    /// Power of ten that VIFEs add.
    var scale = 0
    /// The last two VIFEs that do not scale, 7 bits each in a byte, 0 none.
    var qualifiers: UInt16 = 0
    var hasExtensions = false

    static let maximumExtensions = 10

    init(_ bytes: Cursor, _ from: Int, _ limit: Int) throws(Rejection) {
        var at = from
        var byte = try MBusRecord.next(bytes, &at, limit)
        coding = byte & 15
        function = byte >> 4 & 3
        storage = UInt64(byte >> 6 & 1)
        difs = from..<at
        vifs = at..<at
        var count: UInt64 = 0
        while byte & 0x80 != 0 {
            guard count < UInt64(MBusRecord.maximumExtensions) else { throw .malformed }
            byte = try MBusRecord.next(bytes, &at, limit)
            storage |= UInt64(byte & 15) << (1 &+ 4 &* count)
            tariff |= UInt64(byte >> 4 & 3) << (2 &* count)
            subunit |= UInt64(byte >> 6 & 1) << count
            count &+= 1
        }
        // Coding 15 is for the special functions, which are no records.
        guard coding != 15 else { throw .malformed }
        difs = from..<at
        try readUnit(bytes, &at, limit)
        vifs = difs.upperBound..<at
        try readExtent(bytes, &at, limit)
    }

    /// Where the record ends.
    var end: Int { data.upperBound }

    private static func next(
        _ bytes: Cursor, _ at: inout Int, _ limit: Int
    ) throws(Rejection) -> UInt8 {
        guard at < limit, let byte = bytes.byte(at) else { throw .truncated }
        at &+= 1
        return byte
    }

    // MARK: Value information

    private mutating func readUnit(
        _ bytes: Cursor, _ at: inout Int, _ limit: Int
    ) throws(Rejection) {
        var byte = try MBusRecord.next(bytes, &at, limit)
        var isForeign = false
        switch byte {
        case 0xFD:
            byte = try MBusRecord.next(bytes, &at, limit)
            unit = MBusUnit.extensionFD(byte & 0x7F)
        case 0xFB:
            byte = try MBusRecord.next(bytes, &at, limit)
            unit = MBusUnit.extensionFB(byte & 0x7F)
        default:
            unit = MBusUnit.primary(byte & 0x7F)
            if unit.kind == .textUnit {
                let count = Int(try MBusRecord.next(bytes, &at, limit))
                guard at <= limit &- count else { throw .truncated }
                text = at..<at &+ count
                at &+= count
            }
            isForeign = unit.kind == .manufacturerSpecific
        }
        try readExtensions(bytes, &at, limit, more: byte & 0x80 != 0, isForeign: isForeign)
    }

    private mutating func readExtensions(
        _ bytes: Cursor, _ at: inout Int, _ limit: Int, more: Bool, isForeign: Bool
    ) throws(Rejection) {
        var more = more
        var isForeign = isForeign
        var isOfOtherTable = false
        var count = 0
        while more {
            guard count < MBusRecord.maximumExtensions else { throw .malformed }
            let byte = try MBusRecord.next(bytes, &at, limit)
            more = byte & 0x80 != 0
            count &+= 1
            hasExtensions = true
            let code = byte & 0x7F
            if !isForeign, !isOfOtherTable {
                switch code {
                case 0x70...0x77:
                    scale &+= Int(code & 7) &- 6
                    continue
                case 0x7D:
                    scale &+= 3
                    continue
                case 0x7C: isOfOtherTable = true
                case 0x7F: isForeign = true
                // Compatible with no table that we have: kept for the name.
                default: break
                }
            } else {
                isOfOtherTable = false
            }
            qualifiers = qualifiers << 8 | UInt16(byte & 0x7F | (code == 0 ? 0x80 : 0))
        }
    }

    // MARK: Data

    private mutating func readExtent(
        _ bytes: Cursor, _ at: inout Int, _ limit: Int
    ) throws(Rejection) {
        var count = 0
        switch coding {
        case 1...4: count = Int(coding)
        case 5: count = 4
        case 6, 14: count = 6
        case 7: count = 8
        case 9...12: count = Int(coding) &- 8
        case 13:
            variable = try MBusRecord.next(bytes, &at, limit)
            switch variable {
            case 0x00...0xBF: count = Int(variable)
            case 0xC0...0xC9, 0xD0...0xD9, 0xE0...0xEF: count = Int(variable & 15)
            case 0xF0...0xF4: count = 4 &* (Int(variable) &- 0xEC)
            case 0xF5: count = 48
            case 0xF6: count = 64
            default: throw .malformed
            }
        default: break
        }
        guard at <= limit &- count else { throw .truncated }
        data = at..<at &+ count
    }
}

/// What the data of a record say.
struct MBusValue {
    enum Kind {
        /// The record carries no data.
        case none
        /// × 10^(unit's exponent + scale).
        case integer
        case double
        /// Digits that are none.
        case badDigits
        /// Variable-length text, last character first.
        case text
        /// Local milliseconds since 1970, and whether a time of day belongs to it.
        case date, datetime
        /// Milliseconds of the day.
        case time
        /// A date that is none, or one that means every year.
        case noDate
        /// Bytes without a meaning that is known.
        case bytes
    }

    var kind: Kind
    var number: Int64 = 0
    var real = 0.0

    init(_ kind: Kind, _ number: Int64 = 0) {
        self.kind = kind
        self.number = number
    }

    init(_ record: MBusRecord, _ bytes: Cursor) {
        let data = record.data
        let kind = record.unit.kind
        if kind == .manufacturerSpecific {
            self.init(.bytes)
            return
        }
        switch record.coding {
        case 0, 8: self.init(.none)
        case 5:
            let bits = UInt32(truncatingIfNeeded: bytes.little(data.lowerBound, width: 4) ?? 0)
            self.init(.double)
            real = Double(Float(bitPattern: bits))
            if !real.isFinite { self.kind = .none }
        case 9...12, 14: self.init(digits: bytes, data, isSigned: true)
        case 13: self.init(variable: record.variable, bytes, data)
        default:
            if kind == .date || kind == .datetime || kind == .batteryChange,
                let date = MBusValue(calendar: bytes, data)
            {
                self = date
            } else {
                self.init(integer: bytes, data)
            }
        }
    }

    private init(variable: UInt8, _ bytes: Cursor, _ data: Range<Int>) {
        switch variable {
        case 0x00...0xBF: self.init(.text)
        case 0xC0...0xCF: self.init(digits: bytes, data, isSigned: false)
        case 0xD0...0xDF:
            self.init(digits: bytes, data, isSigned: false)
            number = 0 &- number
        default:
            if data.count <= 8 { self.init(integer: bytes, data) } else { self.init(.bytes) }
        }
    }

    /// Two's complement, low byte first.
    private init(integer bytes: Cursor, _ data: Range<Int>) {
        guard !data.isEmpty, let word = bytes.little(data.lowerBound, width: data.count) else {
            self.init(.integer)
            return
        }
        let shift = UInt64(64 &- 8 &* data.count)
        self.init(.integer, Int64(bitPattern: word << shift) >> Int64(shift))
    }

    /// Two digits a byte, low byte first; F on top means minus.
    private init(digits bytes: Cursor, _ data: Range<Int>, isSigned: Bool) {
        var value: Int64 = 0
        var isNegative = false
        for i in data.reversed() {
            let byte = bytes.byte(i) ?? 0
            var high = byte >> 4
            if isSigned, high == 15, i == data.upperBound &- 1 {
                isNegative = true
                high = 0
            }
            guard high <= 9, byte & 15 <= 9 else {
                self.init(.badDigits)
                return
            }
            // At most nine bytes: eighteen digits fit.
            value = value &* 100 &+ Int64(high &* 10 &+ byte & 15)
        }
        self.init(.integer, isNegative ? 0 &- value : value)
    }

    // MARK: Calendar (types G, F, I and J of EN 13757-3 annex A)

    private init?(calendar bytes: Cursor, _ data: Range<Int>) {
        func byte(_ i: Int) -> Int { Int(bytes.byte(data.lowerBound &+ i) ?? 0) }
        switch data.count {
        case 2: self.init(byte(0), byte(1), century: 0, hour: 0, minute: 0, second: 0, .date)
        case 3:
            let (second, minute, hour) = (byte(0) & 63, byte(1) & 63, byte(2) & 31)
            guard second < 60, minute < 60, hour < 24 else {
                self.init(.noDate)
                return
            }
            self.init(.time, Int64((hour &* 60 &+ minute) &* 60 &+ second) &* 1000)
        case 4 where byte(0) & 0x80 != 0, 6 where byte(1) & 0x80 != 0: self.init(.noDate)
        case 4:
            self.init(
                byte(2), byte(3), century: byte(1) >> 5 & 3, hour: byte(1) & 31,
                minute: byte(0) & 63, second: 0, .datetime)
        case 6:
            self.init(
                byte(3), byte(4), century: 0, hour: byte(2) & 31, minute: byte(1) & 63,
                second: byte(0) & 63, .datetime)
        default: return nil
        }
    }

    /// Day and month bytes hold the year's seven bits on top.
    private init(
        _ low: Int, _ high: Int, century: Int, hour: Int, minute: Int, second: Int, _ kind: Kind
    ) {
        let year = low >> 5 | (high >> 4) << 3
        let base = century > 0 ? 1900 &+ 100 &* century : (year > 80 ? 1900 : 2000)
        guard year <= 99,
            let time = Timestamp(
                year: base &+ year, month: high & 15, day: low & 31, hour: hour, minute: minute,
                second: second)
        else {
            self.init(.noDate)
            return
        }
        self.init(kind, time.milliseconds)
    }
}
