// The characters of JSON strings as UTF-8 bytes, read one by one from the frame with escapes
// resolved, and the check that bytes are UTF-8 (RFC 3629). Nothing allocated.

enum UTF8Check {
    /// Bytes of the well-formed character at `at`; nil when there is none.
    static func length(_ cursor: Cursor, _ at: Int, _ end: Int) -> Int? {
        guard at < end, let first = cursor.byte(at) else { return nil }
        let count: Int
        var low: UInt8 = 0x80
        var high: UInt8 = 0xBF
        switch first {
        case 0..<0x80: return 1
        case 0xC2...0xDF: count = 2
        case 0xE0:
            count = 3
            low = 0xA0
        case 0xED:
            count = 3
            high = 0x9F
        case 0xE1...0xEF: count = 3
        case 0xF0:
            count = 4
            low = 0x90
        case 0xF1...0xF3: count = 4
        case 0xF4:
            count = 4
            high = 0x8F
        default: return nil
        }
        guard at &+ count <= end, let second = cursor.byte(at &+ 1), second >= low, second <= high
        else { return nil }
        for i in 2..<max(2, count) {
            guard let byte = cursor.byte(at &+ i), byte & 0xC0 == 0x80 else { return nil }
        }
        return count
    }

    static func isGood(_ cursor: Cursor, _ range: Range<Int>) -> Bool {
        var at = range.lowerBound
        while at < range.upperBound {
            guard let count = length(cursor, at, range.upperBound) else { return false }
            at &+= count
        }
        return true
    }
}

enum JSONText {
    /// Bytes of the escape at `at` (a backslash), surrogate pairs taken together; nil when it is none.
    static func escape(_ cursor: Cursor, _ at: Int, _ end: Int) -> Int? {
        guard at &+ 1 < end, let kind = cursor.byte(at &+ 1) else { return nil }
        switch kind {
        case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74: return 2
        case 0x75:
            guard let unit = unit(cursor, at, end) else { return nil }
            switch unit {
            case 0xD800..<0xDC00:
                guard let low = self.unit(cursor, at &+ 6, end), low >= 0xDC00, low < 0xE000
                else { return nil }
                return 12
            case 0xDC00..<0xE000: return nil
            default: return 6
            }
        default: return nil
        }
    }

    /// Value of `\uXXXX` at `at`.
    static func unit(_ cursor: Cursor, _ at: Int, _ end: Int) -> UInt32? {
        guard at &+ 6 <= end, cursor.byte(at) == 0x5C, cursor.byte(at &+ 1) == 0x75 else {
            return nil
        }
        var value: UInt32 = 0
        for i in 2..<6 {
            guard let digit = BytePlane.nibble(cursor.byte(at &+ i)) else { return nil }
            value = value << 4 | UInt32(digit)
        }
        return value
    }

    /// The bytes of a string that was checked before.
    struct Bytes {
        private let cursor: Cursor
        private var position: Int
        private let end: Int
        private let isPlain: Bool
        /// UTF-8 bytes of an escape that are still to come, first in the low byte.
        private var pending: UInt32 = 0
        private var pendingCount = 0

        init(_ cursor: Cursor, _ string: JSONString) {
            self.cursor = cursor
            position = string.range.lowerBound
            end = string.range.upperBound
            isPlain = string.isPlain
        }

        mutating func next() -> UInt8? {
            if pendingCount > 0 {
                let byte = UInt8(truncatingIfNeeded: pending)
                pending >>= 8
                pendingCount &-= 1
                return byte
            }
            guard position < end, let byte = cursor.byte(position) else { return nil }
            guard byte == 0x5C, !isPlain, let kind = cursor.byte(position &+ 1) else {
                position &+= 1
                return byte
            }
            guard kind == 0x75 else {
                position &+= 2
                switch kind {
                case 0x62: return 0x08
                case 0x66: return 0x0C
                case 0x6E: return 0x0A
                case 0x72: return 0x0D
                case 0x74: return 0x09
                default: return kind
                }
            }
            var scalar = unit(cursor, position, end) ?? 0xFFFD
            position &+= 6
            if scalar >= 0xD800, scalar < 0xDC00, let low = unit(cursor, position, end) {
                scalar = 0x1_0000 &+ (scalar &- 0xD800) << 10 &+ (low & 0x3FF)
                position &+= 6
            }
            encode(scalar)
            return next()
        }

        private mutating func encode(_ scalar: UInt32) {
            switch scalar {
            case 0..<0x80:
                pending = scalar
                pendingCount = 1
            case 0x80..<0x800:
                pending = 0xC0 | scalar >> 6 | (0x80 | scalar & 63) << 8
                pendingCount = 2
            case 0x800..<0x1_0000:
                pending = 0xE0 | scalar >> 12 | (0x80 | scalar >> 6 & 63) << 8
                pending |= (0x80 | scalar & 63) << 16
                pendingCount = 3
            default:
                pending = 0xF0 | scalar >> 18 | (0x80 | scalar >> 12 & 63) << 8
                pending |= (0x80 | scalar >> 6 & 63) << 16 | (0x80 | scalar & 63) << 24
                pendingCount = 4
            }
        }
    }
}

extension Cursor {
    /// Whether a JSON string is exactly the ASCII of `text`.
    func holds(_ text: StaticString, _ string: JSONString) -> Bool {
        if string.isPlain { return holds(text, string.range) }
        var bytes = JSONText.Bytes(self, string)
        var count = 0
        while let byte = bytes.next() {
            guard isByte(byte, of: text, at: count) else { return false }
            count &+= 1
        }
        return count == text.utf8CodeUnitCount
    }
}
