// Remembers which frames were accepted lately, so that a retransmission is answered again and counted
// `duplicate` instead of stored twice. Owned by the intake; filled from the retained journal at start.
//
// Two generations of an open-addressing set of 64-bit keys (seeded hashes made by the decoder), a word a
// key. The older generation is dropped when the younger is half full or the longest window has passed. So
// a key is known for its format's window unless more than capacity / 2 newer frames came meanwhile, and
// never longer; memory is flat: 2 × capacity × 8 bytes. The generations take turns four slots at a time,
// so that both sets of slots of a key lie in one cache line of 64 bytes: a frame waits for memory once.
//
//     word: bits 20..63 the lower 44 bits of the mixed key | 0..19 its time in units (below)
//     slot: the upper log2(capacity) bits of the mixed key, then linear probing; word 0 is empty
//
// With the 2^18 slots of a gateway that is 62 bits of a key's 64: at 20,000 keyed frames a second without
// pause one in thirteen years is taken for a repetition of another.

package import Formats
package import Model

package struct RecentFrames {
    private var words: [UInt64]
    /// Words before the first that begins a cache line.
    private let skew: Int
    /// 0 or 4: where in a cache line the younger generation's slots lie.
    private var young = 0
    private var youngCount = 0
    private var turnedAt: Timestamp?
    private let mask: Int
    /// From a mixed key to its slot.
    private let slotShift: UInt64
    private let longestWindow: Int64
    /// Milliseconds to units of time: 1 ms, or 128 ms and more where windows are long, so that the longest
    /// is an eighth of the times' circle at most.
    private let unitShift: Int64
    /// Where keys will be looked up.
    package let ahead: KeysAhead

    /// `capacity`: slots of one generation, a power of two. `windowMilliseconds`: the longest that a key
    /// is known, whatever its format says.
    package init(capacity: Int, windowMilliseconds: Int64) {
        precondition(capacity > 1 && capacity & (capacity - 1) == 0)
        let words = [UInt64](repeating: 0, count: 2 * max(4, capacity) + 7)
        // Safety: only the address's number is used. The array is never copied and never grows, so that
        // it stays where it is; if it moved, slots would cross cache lines, no more.
        let base = unsafe words.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) }
        skew = Int(64 - base % 64) / 8 % 8
        ahead = KeysAhead(
            base: base + UInt(8 * skew), factor: RecentFrames.factor, lines: max(1, capacity / 4))
        self.words = words
        mask = capacity - 1
        slotShift = UInt64(64 - mask.nonzeroBitCount)
        longestWindow = windowMilliseconds
        var shift: Int64 = windowMilliseconds > 30_000 ? 7 : 0
        while windowMilliseconds &>> shift >= 1 << (timeBits - 3) { shift += 1 }
        unitShift = shift
    }

    /// True when `key` was inserted within `window` milliseconds (nil: the longest window); otherwise
    /// inserts it.
    package mutating func containsOrInsert(
        _ key: UInt64, at now: Timestamp, window: Int64? = nil
    ) -> Bool {
        turnIfDue(at: now)
        let mixed = RecentFrames.mixed(key)
        let time = units(now)
        let longest = min(window ?? longestWindow, longestWindow)
        let limit = longest &>> unitShift &+ 1
        let place = place(mixed, young)
        let word = mixed &<< timeBits | time
        let found = words[place]
        if found != 0 {
            if RecentFrames.age(found, time) <= limit { return true }
            words[place] = word
            return false
        }
        let before = words[self.place(mixed, young ^ 4)]
        if before != 0, RecentFrames.age(before, time) <= limit { return true }
        words[place] = word == 0 || word == removed ? word ^ 1 : word
        youngCount += 1
        return false
    }

    /// Forgets a key that was just inserted: its frame was refused after all, so its repetition is no
    /// duplicate. Linear probing cannot leave a hole in a run: the slot keeps a key that no frame has.
    package mutating func remove(_ key: UInt64) {
        let place = place(RecentFrames.mixed(key), young)
        if words[place] != 0 { words[place] = removed }
    }

    /// Where the key is or would be put in the generation that lies at `half`.
    @inline(__always)
    private func place(_ mixed: UInt64, _ half: Int) -> Int {
        let tag = mixed &<< timeBits
        var slot = Int(truncatingIfNeeded: mixed &>> slotShift)
        while true {
            let place = skewed(slot, half)
            let word = words[place]
            if word == 0 || (word ^ tag) &>> timeBits == 0 && word != removed { return place }
            slot = (slot &+ 1) & mask
        }
    }

    @inline(__always)
    private func skewed(_ slot: Int, _ half: Int) -> Int {
        (slot & ~3) &* 2 &+ (slot & 3) &+ half &+ skew
    }

    private mutating func clear(_ half: Int) {
        for slot in 0...mask { words[skewed(slot, half)] = 0 }
    }

    /// An odd factor gives each key another value, and its upper bits depend on all of them.
    @inline(__always)
    private static func mixed(_ key: UInt64) -> UInt64 { key &* factor }
    private static let factor: UInt64 = 0x9E37_79B9_7F4A_7C15

    private func units(_ time: Timestamp) -> UInt64 {
        UInt64(bitPattern: time.milliseconds &>> unitShift) & (1 << timeBits - 1)
    }

    /// Units since the word's time. Signed: a wall clock that jumped backwards never forgets early. Words
    /// older than half the circle would look young again: `turnIfDue` lets them go before.
    @inline(__always)
    private static func age(_ word: UInt64, _ now: UInt64) -> Int64 {
        Int64(bitPattern: (now &- word) &<< (64 - timeBits)) &>> Int64(64 - timeBits)
    }

    private mutating func turnIfDue(at now: Timestamp) {
        guard let since = turnedAt else {
            turnedAt = now
            return
        }
        if now < since { turnedAt = now }
        let age = now.milliseconds &- since.milliseconds
        guard age >= longestWindow || youngCount > mask / 2 else { return }
        young ^= 4
        clear(young)
        // After a long silence, before what was young is half the times' circle old (18 hours in units of
        // 128 ms), within the window that it would still stand here.
        let units = age &>> unitShift &+ longestWindow &>> unitShift &+ 2
        if units >= 1 << (timeBits - 1) { clear(young ^ 4) }
        youngCount = 0
        turnedAt = now
    }
}

private let timeBits: UInt64 = 20
/// A word whose key was removed. No key has it: the one that would is stored with another time.
private let removed = UInt64.max
