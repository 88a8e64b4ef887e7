// Keys of frames tell apart what differs, whichever lane of the hash a byte goes through.

import Testing

@testable import Formats

@Suite("Duplicate keys")
struct DuplicateHashTests {
    @Test("the key of a frame changes with every bit and with its length")
    func frameKeys() {
        var keys = Set<UInt64>()
        var count = 0
        func key(_ bytes: [UInt8], seed: UInt64 = 5) -> UInt64 {
            Cursor.over(bytes.span) { cursor in
                var hash = DuplicateHash(seed: seed, salt: 1)
                hash.mixFrame(cursor, seed: seed)
                return hash.value
            }
        }
        for length in [1, 8, 63, 64, 65, 95, 96, 97, 128, 160] {
            var bytes = [UInt8](repeating: 0, count: length)
            #expect(key(bytes) == key(bytes))
            #expect(key(bytes) != key(bytes, seed: 6))
            keys.insert(key(bytes))
            for bit in 0..<8 * length {
                bytes[bit / 8] ^= 1 << UInt8(bit % 8)
                keys.insert(key(bytes))
                bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            }
            count += 1 + 8 * length
            // Words that change places are other bytes.
            for i in bytes.indices { bytes[i] = UInt8(i / 8) }
            keys.insert(key(bytes))
            count += length > 8 ? 1 : 0
            guard length >= 64 else { continue }
            for i in 0..<8 { bytes.swapAt(i, i + 8) }
            keys.insert(key(bytes))
            for i in 0..<8 { bytes.swapAt(i, i + 32) }
            keys.insert(key(bytes))
            count += 2
        }
        #expect(keys.count == count)
    }
}
