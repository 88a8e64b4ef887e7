// The duplicate key of a whole frame. Each step of the hash waits for the one before it, so a frame that
// is long enough goes through four lanes side by side. Keys hold within one process only (`processSeed`):
// how they are made may change.

extension DuplicateHash {
    /// Mixes all bytes in; `seed` is the secret that this hash was begun with.
    mutating func mixFrame(_ bytes: Cursor, seed: UInt64) {
        let count = bytes.count
        guard count >= 64 else { return mix(bytes, 0..<count) }
        var second = DuplicateHash(seed: seed, salt: 2)
        var third = DuplicateHash(seed: seed, salt: 3)
        var fourth = DuplicateHash(seed: seed, salt: 4)
        var at = 0
        while at <= count &- 32 {
            mix(bytes.big(at, width: 8) ?? 0)
            second.mix(bytes.big(at &+ 8, width: 8) ?? 0)
            third.mix(bytes.big(at &+ 16, width: 8) ?? 0)
            fourth.mix(bytes.big(at &+ 24, width: 8) ?? 0)
            at &+= 32
        }
        mix(second.value)
        mix(third.value)
        mix(fourth.value)
        mix(bytes, at..<count)
        mix(UInt64(truncatingIfNeeded: count))
    }
}
