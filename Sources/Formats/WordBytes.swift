// Eight bytes at a time: what the reads do to whole words instead of byte after byte (SIMD within a
// register; H. S. Warren, "Hacker's Delight", 2nd ed., chapter 2-18). Pure functions.

extension UInt64 {
    /// Each byte less the byte of `other` at its place, modulo 256.
    @inline(__always)
    func subtractingBytes(_ other: UInt64) -> UInt64 {
        let top: UInt64 = 0x8080_8080_8080_8080
        return ((self | top) &- (other & ~top)) ^ ((self ^ ~other) & top)
    }

    /// Each byte plus the byte of `other` at its place, modulo 256.
    @inline(__always)
    func addingBytes(_ other: UInt64) -> UInt64 {
        let top: UInt64 = 0x8080_8080_8080_8080
        return ((self & ~top) &+ (other & ~top)) ^ ((self ^ other) & top)
    }

    /// Modulo 256.
    @inline(__always)
    var sumOfBytes: UInt8 {
        let even = self & 0x00FF_00FF_00FF_00FF
        let odd = self >> 8 & 0x00FF_00FF_00FF_00FF
        return UInt8(truncatingIfNeeded: ((even &+ odd) &* 0x0001_0001_0001_0001) >> 48)
    }

    @inline(__always)
    var xorOfBytes: UInt8 {
        var word = self ^ self >> 32
        word ^= word >> 16
        return UInt8(truncatingIfNeeded: word ^ word >> 8)
    }

    /// The eight hex digits (`0`...`9`, `a`...`f`) of a word, most significant first.
    @inline(__always)
    init(hexDigitsOf word: UInt32) {
        var n = UInt64(word)
        n = (n | n << 16) & 0x0000_FFFF_0000_FFFF
        n = (n | n << 8) & 0x00FF_00FF_00FF_00FF
        n = (n | n << 4) & 0x0F0F_0F0F_0F0F_0F0F
        let letters = (n &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        self = n &+ 0x3030_3030_3030_3030 &+ letters &* 39
    }

    /// The number that sixteen packed decimal digits are; nil when a nibble is no digit. Pairs, then
    /// fours, then eights.
    @inline(__always)
    var packedDecimal: UInt64? {
        let eight = self & 0x8888_8888_8888_8888
        let over =
            eight & ((self & 0x4444_4444_4444_4444) << 1 | (self & 0x2222_2222_2222_2222) << 2)
        guard over == 0 else { return nil }
        var t = self &- 6 &* (self >> 4 & 0x0F0F_0F0F_0F0F_0F0F)
        t = (t & 0x00FF_00FF_00FF_00FF) &+ 100 &* (t >> 8 & 0x00FF_00FF_00FF_00FF)
        t = (t & 0x0000_FFFF_0000_FFFF) &+ 10_000 &* (t >> 16 & 0x0000_FFFF_0000_FFFF)
        return (t & 0xFFFF_FFFF) &+ 100_000_000 &* (t >> 32)
    }
}
