// More inputs from each that libFuzzer makes: between two calls it reads thousands of counters, which
// takes longer than a frame. So a call tries the input and fifteen variants of it, each with one to four
// small changes that the input's own bytes draw: the same file always gives the same sixteen. What a
// variant reaches counts for its input.

struct Variants {
    /// Inputs a call tries.
    static let each = 16

    private var state: UInt64
    private(set) var bytes: [UInt8] = []
    private let longest: Int

    init(_ original: [UInt8]) {
        var sum: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in original { sum = (sum ^ UInt64(byte)) &* 0x0100_0000_01B3 }
        state = sum
        // As libFuzzer's own do, none grows beyond what one more small change makes of it.
        longest = original.count + 16
    }

    /// SplitMix64.
    private mutating func next(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        z ^= z >> 31
        return Int(truncatingIfNeeded: z >> 33) % max(1, bound)
    }

    /// Another variant in `bytes`.
    mutating func make(of original: [UInt8]) {
        bytes.removeAll(keepingCapacity: true)
        bytes.append(contentsOf: original)
        for _ in 0...next(4) { change() }
    }

    private static let edges: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x30, 0x39, 0x68, 0x99]

    private mutating func change() {
        guard !bytes.isEmpty else { return bytes.append(UInt8(next(256))) }
        let at = next(bytes.count)
        switch next(8) {
        case 0, 1: bytes[at] ^= 1 << UInt8(next(8))
        case 2: bytes[at] = UInt8(next(256))
        case 3: bytes[at] = Variants.edges[next(Variants.edges.count)]
        case 4: bytes[at] &+= next(2) == 0 ? 1 : 0xFF
        case 5: bytes.removeSubrange(at..<min(bytes.count, at + 1 + next(4)))
        case 6:
            guard bytes.count < longest else { return }
            bytes.insert(UInt8(next(256)), at: at)
        default:
            // A few bytes of one place at another, as they are.
            let count = min(1 + next(8), bytes.count - at)
            let to = next(bytes.count - count + 1)
            for i in 0..<count { bytes[to + i] = bytes[at + i] }
        }
    }
}
