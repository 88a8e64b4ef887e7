// Base64 text as bytes (RFC 4648), for payloads that travel as text.

import Model

extension BytePlane {
    /// Writes the bytes that the Base64 text in `range` (RFC 4648, either alphabet, padding or not)
    /// stands for, from offset 0. Nil when it is none or does not fit; otherwise the count of bytes.
    func decodeBase64(_ source: Cursor, _ range: Range<Int>, below: UInt8) -> Int? {
        guard range.lowerBound >= 0, range.upperBound <= source.count else { return nil }
        var end = range.upperBound
        while end > range.lowerBound, range.upperBound &- end < 2, source.byte(end &- 1) == 0x3D {
            end &-= 1
        }
        let digits = end &- range.lowerBound
        guard digits % 4 != 1, digits / 4 * 3 + 2 < capacity else { return nil }
        map = .base64(base: range.lowerBound)
        self.below = below
        var word: UInt32 = 0
        var written = 0
        for i in 0..<digits {
            guard let six = BytePlane.sextet(source.byte(range.lowerBound &+ i)) else { return nil }
            word = word << 6 | six
            guard i % 4 == 3 || i &+ 1 == digits else { continue }
            let taken = i % 4 &+ 1
            word <<= UInt32(6 &* (4 &- taken))
            for k in 0..<taken &- 1 {
                put(UInt8(truncatingIfNeeded: word >> UInt32(16 &- 8 &* k)), at: written)
                written &+= 1
            }
            word = 0
        }
        return written
    }

    private static func sextet(_ byte: UInt8?) -> UInt32? {
        switch byte {
        case .some(let b) where b >= 0x41 && b <= 0x5A: UInt32(b &- 0x41)
        case .some(let b) where b >= 0x61 && b <= 0x7A: UInt32(b &- 0x61) &+ 26
        case .some(let b) where b >= 0x30 && b <= 0x39: UInt32(b &- 0x30) &+ 52
        case 0x2B, 0x2D: 62
        case 0x2F, 0x5F: 63
        default: nil
        }
    }
}
