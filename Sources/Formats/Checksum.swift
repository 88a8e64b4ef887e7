// Check values over a byte range: sum8, xor8 and the CRC-16 family with any polynomial, start value,
// reflection and final xor. Rules are made at load; computing allocates nothing.

/// A CRC-16 by eight tables, eight bytes a step (R. Williams, "A painless guide to CRC error detection
/// algorithms"; M. Kounavis, F. Berry, "Novel table lookup-based algorithms": slicing by 8). The
/// tables belong to the process: rules exist only in `ChecksumRule.kinds`.
struct CRC16Rule: Sendable {
    let start: UInt16
    let final: UInt16
    let isReflected: Bool
    /// table[256·k + b]: the CRC of byte b followed by k zero bytes.
    let table: CRCTable

    init(polynomial: UInt16, start: UInt16, isReflected: Bool, final: UInt16) {
        self.start = start
        self.final = final
        self.isReflected = isReflected
        let reversed = CRC16Rule.reverse(polynomial)
        var table: [UInt16] = (0..<256).map { byte in
            var c = isReflected ? UInt16(byte) : UInt16(byte) << 8
            for _ in 0..<8 {
                if isReflected {
                    c = c & 1 == 1 ? (c >> 1) ^ reversed : c >> 1
                } else {
                    c = c & 0x8000 != 0 ? (c << 1) ^ polynomial : c << 1
                }
            }
            return c
        }
        for i in 256..<2048 {
            let c = table[i - 256]
            table.append(
                isReflected ? (c >> 8) ^ table[Int(c & 255)] : (c << 8) ^ table[Int(c >> 8)])
        }
        self.table = CRCTable(table)
    }

    @inline(__always)
    func step(_ crc: UInt16, _ byte: UInt8) -> UInt16 {
        isReflected
            ? (crc >> 8) ^ table[Int((crc ^ UInt16(byte)) & 255)]
            : (crc << 8) ^ table[Int((crc >> 8) ^ UInt16(byte))]
    }

    /// Eight bytes at once, the first of them most significant in `word`.
    @inline(__always)
    func step8(_ crc: UInt16, _ word: UInt64) -> UInt16 {
        let mixed = word ^ UInt64(isReflected ? crc.byteSwapped : crc) << 48
        var result: UInt16 = 0
        var k = 0
        while k < 8 {
            result ^= table[256 &* k &+ Int(mixed >> UInt64(8 &* k) & 255)]
            k &+= 1
        }
        return result
    }

    /// The first two to eight bytes at once, the last of them least significant in `word`: a register of
    /// zeros that meets zeros stays as it is, so that the word is as good as one of eight bytes.
    @inline(__always)
    func first(_ word: UInt64, count: Int) -> UInt16 {
        let top = UInt64(truncatingIfNeeded: 8 &* count &- 16)
        return step8(0, word ^ UInt64(isReflected ? start.byteSwapped : start) &<< top)
    }

    private static func reverse(_ v: UInt16) -> UInt16 {
        var result: UInt16 = 0
        for i in 0..<16 where v >> UInt16(i) & 1 == 1 { result |= 1 << UInt16(15 - i) }
        return result
    }
}

/// What is summed, how, and where the sum stands. Offsets count from the frame's first byte after the
/// preamble; negative ones from its end (0 as `to` is the end itself).
struct ChecksumRule: Sendable {
    enum Kind: Sendable {
        case sum8
        case xor8
        case crc16(CRC16Rule)
        /// HJ 212-2017 annex A: each byte meets the shifted register's low half, the high half is lost.
        case crcHJ212(CRC16Rule)
    }

    var kind: Kind
    var from: Int
    var to: Int
    var at: Int
    var isLittleEndian: Bool
    /// Stands as hex digits, most significant first, in either case.
    var isText = false

    /// Bytes of the value itself.
    var valueWidth: Int {
        switch kind {
        case .sum8, .xor8: 1
        case .crc16, .crcHJ212: 2
        }
    }

    /// Bytes that it takes in the frame.
    var width: Int { isText ? 2 * valueWidth : valueWidth }

    /// The named kinds of the language, in the order that messages list them.
    static let kinds: [(name: String, kind: Kind)] = [
        ("sum8", .sum8), ("xor8", .xor8),
        (
            "crc16-modbus",
            .crc16(.init(polynomial: 0x8005, start: 0xFFFF, isReflected: true, final: 0))
        ),
        (
            "crc16-ccitt",
            .crc16(.init(polynomial: 0x1021, start: 0xFFFF, isReflected: false, final: 0))
        ),
        (
            "crc16-x25",
            .crc16(.init(polynomial: 0x1021, start: 0xFFFF, isReflected: true, final: 0xFFFF))
        ),
        ("crc16-arc", .crc16(.init(polynomial: 0x8005, start: 0, isReflected: true, final: 0))),
        ("crc16-xmodem", .crc16(.init(polynomial: 0x1021, start: 0, isReflected: false, final: 0))),
        (
            "crc16-hj212",
            .crcHJ212(.init(polynomial: 0x8005, start: 0xFFFF, isReflected: true, final: 0))
        ),
        (
            "crc16-en13757",
            .crc16(.init(polynomial: 0x3D65, start: 0, isReflected: false, final: 0xFFFF))
        ),
    ]

    /// The value over `range`; nil when the range leaves the bytes.
    func value(_ cursor: Cursor, _ range: Range<Int>) -> UInt16? {
        switch kind {
        case .sum8: cursor.sum8(range).map(UInt16.init)
        case .xor8: cursor.xor8(range).map(UInt16.init)
        case .crc16(let rule): cursor.crc16(range, rule: rule)
        case .crcHJ212(let rule): cursor.crcHJ212(range, rule: rule)
        }
    }

    /// Where the check value of the frame `range` stands and over which bytes it is computed; nil
    /// when the frame is too short for them.
    func places(in range: Range<Int>) -> (field: Range<Int>, over: Range<Int>)? {
        let (start, end) = (range.lowerBound, range.upperBound)
        let low = from >= 0 ? start + from : end + from
        let high = to > 0 ? start + to : end + to
        let place = at >= 0 ? start + at : end + at
        guard low >= start, high <= end, low <= high, place >= start, place + width <= end else {
            return nil
        }
        return (place..<place + width, low..<high)
    }

    /// The check value over `range` as it stands on the wire; nil when the range leaves the bytes.
    func wire(_ cursor: Cursor, _ range: Range<Int>) -> [UInt8]? {
        guard let sum = value(cursor, range) else { return nil }
        let low = UInt8(truncatingIfNeeded: sum)
        let high = UInt8(truncatingIfNeeded: sum >> 8)
        if isText {
            let nibbles = [high >> 4, high & 15, low >> 4, low & 15]
            return nibbles.suffix(width).map(ChecksumRule.upperDigit)
        }
        if width == 1 { return [low] }
        return isLittleEndian ? [low, high] : [high, low]
    }

    /// Whether the frame `start..<end` carries the right value; nil when it is too short to tell.
    func holds(_ cursor: Cursor, start: Int, end: Int) -> Bool? {
        let low = from >= 0 ? start + from : end + from
        let high = to > 0 ? start + to : end + to
        let place = at >= 0 ? start + at : end + at
        guard low >= start, high <= end, low <= high, place >= start,
            place + width <= end, let expected = value(cursor, low..<high)
        else { return nil }
        if isText { return found(cursor, at: place) == expected }
        let found =
            isLittleEndian
            ? cursor.little(place, width: width) : cursor.big(place, width: width)
        return found.map { $0 == UInt64(expected) }
    }

    /// The value that stands as hex digits at `at`; nil when they are none.
    private func found(_ cursor: Cursor, at: Int) -> UInt16? {
        var result: UInt16 = 0
        for i in 0..<width {
            guard let nibble = BytePlane.nibble(cursor.byte(at + i)) else { return nil }
            result = result << 4 | UInt16(nibble)
        }
        return result
    }

    static func upperDigit(_ nibble: UInt8) -> UInt8 {
        nibble < 10 ? 0x30 + nibble : 0x37 + nibble
    }
}

extension Cursor {
    /// The check value of HJ 212 over `range`; nil when the range leaves the bytes.
    func crcHJ212(_ range: Range<Int>, rule: CRC16Rule) -> UInt16? {
        guard range.lowerBound >= 0, range.upperBound <= count else { return nil }
        var crc = rule.start
        for i in range { crc = rule.table[Int((crc >> 8 ^ UInt16(byte(i) ?? 0)) & 255)] }
        return crc
    }
}
