// Base64 text (RFC 4648 sections 4 and 5) read byte by byte from a frame: either alphabet, padding
// optional, nothing allocated.

struct Base64 {
    private let cursor: Cursor
    private var position: Int
    private let end: Int
    private var bits: UInt32 = 0
    private var bitCount = 0
    /// False once something was read that is no base64.
    private(set) var isGood = true

    init(_ cursor: Cursor, _ text: Range<Int>) {
        self.cursor = cursor
        position = text.lowerBound
        var end = text.upperBound
        var padding = 0
        while padding < 2, end > position, cursor.byte(end &- 1) == 0x3D {
            end &-= 1
            padding &+= 1
        }
        self.end = end
        // Four characters make three bytes; a rest of one character makes none.
        if (end &- position) & 3 == 1 { isGood = false }
        if padding > 0, (end &- position &+ padding) & 3 != 0 { isGood = false }
    }

    /// Bytes that the text not yet read stands for.
    var count: Int { (end &- position) &* 3 / 4 }

    mutating func next() -> UInt8? {
        while bitCount < 8 {
            guard isGood, position < end, let character = cursor.byte(position) else { return nil }
            guard let value = Base64.value(character) else {
                isGood = false
                return nil
            }
            position &+= 1
            bits = bits << 6 | UInt32(value)
            bitCount &+= 6
        }
        bitCount &-= 8
        return UInt8(truncatingIfNeeded: bits >> UInt32(bitCount))
    }

    private static func value(_ character: UInt8) -> UInt8? {
        switch character {
        case 0x41...0x5A: character &- 0x41
        case 0x61...0x7A: character &- 0x61 &+ 26
        case 0x30...0x39: character &- 0x30 &+ 52
        case 0x2B, 0x2D: 62
        case 0x2F, 0x5F: 63
        default: nil
        }
    }
}
