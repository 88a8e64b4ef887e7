// AES-128, the only cryptography of Sluice: the block cipher both ways (FIPS 197), and of the modes of
// operation CBC and CTR (SP 800-38A) and CMAC (SP 800-38B), as wireless M-Bus needs them. Values only:
// no allocation, nothing unsafe, any queue.
//
// A block is two big-endian words, so that byte 0 of the standards is the top byte of `high`. Tables are
// looked up by secret bytes: who can time the caches of this process may learn a key. That needs code
// running on the gateway, where the key file could be read as well (DECISIONS.md).

/// Sixteen bytes, the first in the top byte of `high`.
struct Block128: Hashable, BitwiseCopyable, Sendable {
    var high: UInt64 = 0
    var low: UInt64 = 0

    static func ^ (a: Block128, b: Block128) -> Block128 {
        Block128(high: a.high ^ b.high, low: a.low ^ b.low)
    }

    /// Byte `i` (0...15).
    @inline(__always)
    subscript(_ i: Int) -> UInt8 {
        get {
            UInt8(truncatingIfNeeded: (i < 8 ? high : low) >> UInt64(56 &- 8 &* (i & 7)))
        }
        set {
            let shift = UInt64(56 &- 8 &* (i & 7))
            if i < 8 {
                high = high & ~(0xFF << shift) | UInt64(newValue) << shift
            } else {
                low = low & ~(0xFF << shift) | UInt64(newValue) << shift
            }
        }
    }

    fileprivate func word(_ i: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: (i < 2 ? high : low) >> (i & 1 == 0 ? 32 : 0))
    }

    fileprivate init(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) {
        high = UInt64(a) << 32 | UInt64(b)
        low = UInt64(c) << 32 | UInt64(d)
    }

    init(high: UInt64 = 0, low: UInt64 = 0) {
        self.high = high
        self.low = low
    }

    /// Doubled in GF(2^128) with the polynomial of SP 800-38B section 5.3.
    fileprivate var doubled: Block128 {
        Block128(high: high << 1 | low >> 63, low: low << 1 ^ (high >> 63 == 1 ? 0x87 : 0))
    }
}

/// One expanded key.
struct AES128: Sendable {
    /// FIPS 197 section 5.2: eleven round keys of four words.
    private var schedule: [44 of UInt32] = InlineArray(repeating: 0)

    init(key: Block128) {
        for i in 0..<4 { schedule[i] = key.word(i) }
        var constant: UInt8 = 1
        for i in 4..<44 {
            var word = schedule[i &- 1]
            if i % 4 == 0 {
                word = AES128.substitute(word << 8 | word >> 24) ^ UInt32(constant) << 24
                constant = AES128.double(constant)
            }
            schedule[i] = schedule[i &- 4] ^ word
        }
    }

    // MARK: Block cipher

    /// FIPS 197 section 5.1.
    func encrypt(_ block: Block128) -> Block128 {
        var s = block ^ round(0)
        for number in 1..<10 { s = AES128.mixed(s, AES128.forward, 1) ^ round(number) }
        return AES128.substituted(s, AES128.box, 1) ^ round(10)
    }

    /// FIPS 197 section 5.3: the rounds of `encrypt` undone one by one.
    func decrypt(_ block: Block128) -> Block128 {
        var s = AES128.substituted(block ^ round(10), AES128.inverseBox, 3) ^ round(9)
        for number in stride(from: 8, through: 0, by: -1) {
            s = AES128.substituted(AES128.unmixed(s), AES128.inverseBox, 3) ^ round(number)
        }
        return s
    }

    // MARK: Modes

    /// CBC: the plain block of `cipher`, whose predecessor (or initialisation vector) is `before`.
    func plain(_ cipher: Block128, after before: Block128) -> Block128 {
        decrypt(cipher) ^ before
    }

    /// CTR: the key stream for `counter`; the next counter is `counter.low + 1` of the last 64 bits.
    func stream(_ counter: Block128) -> Block128 { encrypt(counter) }

    /// CMAC of `count` bytes that `byte` gives (SP 800-38B section 6.2).
    func cmac(_ count: Int, _ byte: (Int) -> UInt8) -> Block128 {
        let one = encrypt(Block128()).doubled
        var state = Block128()
        let blocks = max(1, (count &+ 15) / 16)
        for b in 0..<blocks {
            var block = Block128()
            let there = min(16, count &- 16 &* b)
            for i in 0..<max(0, there) { block[i] = byte(16 &* b &+ i) }
            if b == blocks &- 1 {
                if there == 16 {
                    block = block ^ one
                } else {
                    block[max(0, there)] = 0x80
                    block = block ^ one.doubled
                }
            }
            state = encrypt(state ^ block)
        }
        return state
    }

    // MARK: Parts

    private func round(_ number: Int) -> Block128 {
        let i = 4 &* number
        return Block128(schedule[i], schedule[i &+ 1], schedule[i &+ 2], schedule[i &+ 3])
    }

    /// SubBytes and ShiftRows: row r of column c comes from column c + r × step.
    private static func substituted(
        _ s: Block128, _ box: FixedTable<UInt8>, _ step: Int
    ) -> Block128 {
        var result = Block128()
        for column in 0..<4 {
            for row in 0..<4 {
                let from = 4 &* ((column &+ row &* step) & 3) &+ row
                result[4 &* column &+ row] = box[Int(s[from])]
            }
        }
        return result
    }

    /// SubBytes, ShiftRows and MixColumns by one table.
    private static func mixed(_ s: Block128, _ t: FixedTable<UInt32>, _ step: Int) -> Block128 {
        Block128(
            column(s, t, 0, step), column(s, t, 1, step), column(s, t, 2, step),
            column(s, t, 3, step))
    }

    @inline(__always)
    private static func column(
        _ s: Block128, _ t: FixedTable<UInt32>, _ c: Int, _ step: Int
    ) -> UInt32 {
        let a = t[Int(s[4 &* c])]
        let b = t[Int(s[4 &* ((c &+ step) & 3) &+ 1])]
        let d = t[Int(s[4 &* ((c &+ 2 &* step) & 3) &+ 2])]
        let e = t[Int(s[4 &* ((c &+ 3 &* step) & 3) &+ 3])]
        return a ^ (b >> 8 | b << 24) ^ (d >> 16 | d << 16) ^ (e >> 24 | e << 8)
    }

    /// InvMixColumns.
    private static func unmixed(_ s: Block128) -> Block128 { mixed(s, AES128.backward, 0) }

    private static func substitute(_ word: UInt32) -> UInt32 {
        var result: UInt32 = 0
        for shift in stride(from: UInt32(0), to: 32, by: 8) {
            result |= UInt32(box[Int(word >> shift & 255)]) << shift
        }
        return result
    }

    private static func double(_ b: UInt8) -> UInt8 { b << 1 ^ (b >> 7 == 1 ? 0x1B : 0) }

    // MARK: Tables, computed from their definitions at first use

    private static func multiply(_ a: UInt8, _ b: UInt8) -> UInt8 {
        var (a, b, product) = (a, b, UInt8(0))
        while b > 0 {
            if b & 1 == 1 { product ^= a }
            a = double(a)
            b >>= 1
        }
        return product
    }

    /// FIPS 197 section 5.1.1: the inverse in GF(2^8), then the affine transformation.
    private static let boxBytes: [UInt8] = (0..<256).map { x in
        let x = UInt8(x)
        let inverse = (0..<256).map { UInt8($0) }.first { multiply(x, $0) == 1 } ?? 0
        func turned(_ n: UInt8) -> UInt8 { inverse << n | inverse >> (8 - n) }
        return inverse ^ turned(1) ^ turned(2) ^ turned(3) ^ turned(4) ^ 0x63
    }

    private static let box = FixedTable(boxBytes)

    private static let inverseBox: FixedTable<UInt8> = {
        var inverse = [UInt8](repeating: 0, count: 256)
        for (i, b) in boxBytes.enumerated() { inverse[Int(b)] = UInt8(i) }
        return FixedTable(inverse)
    }()

    /// A substituted byte times column (2, 1, 1, 3) of MixColumns.
    private static let forward = FixedTable(
        boxBytes.map { b in
            UInt32(double(b)) << 24 | UInt32(b) << 16 | UInt32(b) << 8 | UInt32(double(b) ^ b)
        })

    /// A byte times column (14, 9, 13, 11) of InvMixColumns.
    private static let backward = FixedTable(
        (0..<256).map { x in
            let b = UInt8(x)
            return UInt32(multiply(b, 14)) << 24 | UInt32(multiply(b, 9)) << 16
                | UInt32(multiply(b, 13)) << 8 | UInt32(multiply(b, 11))
        })
}
