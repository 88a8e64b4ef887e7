// The hash table of the hot path: open addressing with linear probing over fixed-width keys, values are
// numbers from 1 (0 marks an empty slot). No removal of single keys, no strings, no allocation while
// looking up. Seeded with a number that differs per process, so that nobody outside knows which keys
// collide. Owned by the CatalogTable that holds it.
// Invariants: the number of slots is a power of two; at most half of them are in use, so every
// probe ends soon.

import Model

/// A key of 64-bit words.
protocol FixedKey: Equatable {
    static var empty: Self { get }
    func hash(seed: UInt64) -> UInt64
}

struct FixedTable<Key: FixedKey> {
    private struct Slot {
        var key: Key
        var value: UInt32
    }

    private(set) var count = 0
    private var slots: [Slot]
    private let seed: UInt64

    init(seed: UInt64, capacity: Int = 0) {
        self.seed = seed
        slots = FixedTable.emptySlots(for: capacity)
    }

    /// The number under `key`, or nil.
    func value(for key: Key) -> UInt32? {
        let value = slots[place(of: key)].value
        return value == 0 ? nil : value
    }

    /// Puts `value`, which is not 0, under `key`, in place of what is there.
    mutating func set(_ value: UInt32, for key: Key) {
        precondition(value != 0, "0 marks an empty slot")
        if (count + 1) * 2 > slots.count { grow() }
        let place = place(of: key)
        if slots[place].value == 0 { count += 1 }
        slots[place] = Slot(key: key, value: value)
    }

    mutating func removeAll() {
        slots = FixedTable.emptySlots(for: 0)
        count = 0
    }

    /// The slot that holds `key` or, when there is none, where it would go.
    private func place(of key: Key) -> Int {
        let mask = slots.count &- 1
        var i = Int(truncatingIfNeeded: key.hash(seed: seed)) & mask
        while slots[i].value != 0 && slots[i].key != key { i = (i &+ 1) & mask }
        return i
    }

    private mutating func grow() {
        let old = slots
        slots = [Slot](repeating: Slot(key: .empty, value: 0), count: old.count * 2)
        for slot in old where slot.value != 0 { slots[place(of: slot.key)] = slot }
    }

    private static func emptySlots(for capacity: Int) -> [Slot] {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        return [Slot](repeating: Slot(key: .empty, value: 0), count: size)
    }
}
