// Remembers which frames were accepted lately, so that a retransmission is answered again and counted
// `duplicate` instead of stored twice. Owned by the intake; filled from the retained journal at start.
//
// Two generations of an open-addressing set of 64-bit keys (seeded hashes made by the decoder). A key
// is found while it is in either; the older generation is dropped when the younger is half full or
// `window` has passed. So a key is remembered for at least min(window, capacity / 2 newer frames) and
// memory is flat: 2 × capacity × 8 bytes. A key of 0 is stored as 1.

package import Model

package struct RecentFrames {
    private var young: [UInt64]
    private var old: [UInt64]
    private var youngCount = 0
    private var turnedAt: Timestamp?
    private let mask: Int
    private let windowMilliseconds: Int64

    /// `capacity`: slots of one generation, a power of two.
    package init(capacity: Int, windowMilliseconds: Int64) {
        precondition(capacity > 1 && capacity & (capacity - 1) == 0)
        young = Array(repeating: 0, count: capacity)
        old = Array(repeating: 0, count: capacity)
        mask = capacity - 1
        self.windowMilliseconds = windowMilliseconds
    }

    /// True when `key` was inserted within the window; otherwise inserts it.
    package mutating func containsOrInsert(_ key: UInt64, at now: Timestamp) -> Bool {
        let key = key == 0 ? 1 : key
        turnIfDue(at: now)
        let place = slot(of: key, in: young)
        if young[place] == key { return true }
        if old[slot(of: key, in: old)] == key { return true }
        young[place] = key
        youngCount += 1
        return false
    }

    /// Forgets a key whose frame was refused after all, so that its repetition is not a duplicate.
    /// Linear probing cannot leave a hole in a run: the slot keeps a key that no frame has.
    package mutating func remove(_ key: UInt64) {
        let key = key == 0 ? 1 : key
        let place = slot(of: key, in: young)
        if young[place] == key { young[place] = RecentFrames.removed }
    }

    private static let removed = UInt64.max

    private mutating func turnIfDue(at now: Timestamp) {
        guard let since = turnedAt else {
            turnedAt = now
            return
        }
        // A wall clock that jumped backwards restarts the window; it never forgets early.
        if now < since { turnedAt = now }
        let isOver = now.milliseconds &- since.milliseconds >= windowMilliseconds
        guard isOver || youngCount > mask / 2 else { return }
        swap(&young, &old)
        for i in young.indices { young[i] = 0 }
        youngCount = 0
        turnedAt = now
    }

    private func slot(of key: UInt64, in table: [UInt64]) -> Int {
        var i = Int(truncatingIfNeeded: key ^ key >> 32) & mask
        while table[i] != 0, table[i] != key { i = (i &+ 1) & mask }
        return i
    }
}
