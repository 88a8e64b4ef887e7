// Remembers which frames were accepted lately, so that a retransmission is answered again and counted
// `duplicate` instead of stored twice. Owned by the intake; filled from the retained journal at start.
//
// Two generations of an open-addressing set of 64-bit keys (seeded hashes made by the decoder), each key
// with its time in units of 128 ms. The older generation is dropped when the younger is half full or the
// longest window has passed. So a key is known for its format's window unless more than
// capacity / 2 newer frames came meanwhile, and never longer; memory is flat: 2 × capacity × 12 bytes.
// A key of 0 is stored as 1.

package import Model

package struct RecentFrames {
    private struct Generation {
        var keys: [UInt64]
        var times: [UInt32]

        init(capacity: Int) {
            keys = Array(repeating: 0, count: capacity)
            times = Array(repeating: 0, count: capacity)
        }

        /// Where `key` is or would be put.
        func slot(of key: UInt64, mask: Int) -> Int {
            var i = Int(truncatingIfNeeded: key ^ key >> 32) & mask
            while keys[i] != 0, keys[i] != key { i = (i &+ 1) & mask }
            return i
        }

        mutating func clear() { for i in keys.indices { keys[i] = 0 } }
    }

    private var young: Generation
    private var old: Generation
    private var youngCount = 0
    private var turnedAt: Timestamp?
    private let mask: Int
    private let longestWindow: Int64

    /// `capacity`: slots of one generation, a power of two. `windowMilliseconds`: the longest that a key
    /// is known, whatever its format says.
    package init(capacity: Int, windowMilliseconds: Int64) {
        precondition(capacity > 1 && capacity & (capacity - 1) == 0)
        young = Generation(capacity: capacity)
        old = Generation(capacity: capacity)
        mask = capacity - 1
        longestWindow = windowMilliseconds
    }

    /// True when `key` was inserted within `window` milliseconds (nil: the longest window); otherwise
    /// inserts it.
    package mutating func containsOrInsert(
        _ key: UInt64, at now: Timestamp, window: Int64? = nil
    ) -> Bool {
        let key = key == 0 ? 1 : key
        turnIfDue(at: now)
        let time = RecentFrames.units(now)
        let longest = min(window ?? longestWindow, longestWindow)
        let limit = Int64(longest >> 7) &+ 1
        func isRecent(_ then: UInt32) -> Bool {
            // Signed: a wall clock that jumped backwards never forgets early.
            Int64(Int32(bitPattern: time &- then)) <= limit
        }
        let place = young.slot(of: key, mask: mask)
        if young.keys[place] == key {
            if isRecent(young.times[place]) { return true }
            young.times[place] = time
            return false
        }
        let before = old.slot(of: key, mask: mask)
        if old.keys[before] == key, isRecent(old.times[before]) { return true }
        young.keys[place] = key
        young.times[place] = time
        youngCount += 1
        return false
    }

    /// Forgets a key that was just inserted: its frame was refused after all, so its repetition is no
    /// duplicate. Linear probing cannot leave a hole in a run: the slot keeps a key that no frame has.
    package mutating func remove(_ key: UInt64) {
        let key = key == 0 ? 1 : key
        let place = young.slot(of: key, mask: mask)
        if young.keys[place] == key { young.keys[place] = RecentFrames.removed }
    }

    private static let removed = UInt64.max

    private static func units(_ time: Timestamp) -> UInt32 {
        UInt32(truncatingIfNeeded: time.milliseconds >> 7)
    }

    private mutating func turnIfDue(at now: Timestamp) {
        guard let since = turnedAt else {
            turnedAt = now
            return
        }
        if now < since { turnedAt = now }
        let age = now.milliseconds &- since.milliseconds
        guard age >= longestWindow || youngCount > mask / 2 else { return }
        swap(&young, &old)
        young.clear()
        youngCount = 0
        turnedAt = now
    }
}
