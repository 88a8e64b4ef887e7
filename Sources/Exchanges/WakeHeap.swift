// Many wishes to be woken, one timer: a binary heap of times. A key's newest wish counts; older ones are
// passed over when they come up.

package import Model

package struct WakeHeap {
    private struct Entry {
        var at: Instant
        var key: UInt64
    }

    private var entries: [Entry] = []
    private var wishes: [UInt64: Instant] = [:]

    package init() {}

    /// Sets, moves or (nil) removes the wish of `key`.
    package mutating func set(_ key: UInt64, _ at: Instant?) {
        guard wishes[key] != at else { return }
        wishes[key] = at
        guard let at else { return }
        entries.append(Entry(at: at, key: key))
        rise(entries.count - 1)
        // Wishes that moved leave entries behind.
        if entries.count > 64, entries.count > wishes.count * 4 { rebuild() }
    }

    /// The earliest wish.
    package mutating func earliest() -> Instant? {
        while let first = entries.first, wishes[first.key] != first.at { removeFirst() }
        return entries.first?.at
    }

    /// Takes the earliest wish when it is due.
    package mutating func takeDue(_ now: Instant) -> UInt64? {
        guard let at = earliest(), at <= now, let key = entries.first?.key else { return nil }
        removeFirst()
        wishes[key] = nil
        return key
    }

    private mutating func rebuild() {
        entries = wishes.map { Entry(at: $0.value, key: $0.key) }
            .sorted { ($0.at, $0.key) < ($1.at, $1.key) }
    }

    private mutating func removeFirst() {
        let last = entries.removeLast()
        guard !entries.isEmpty else { return }
        entries[0] = last
        sink(0)
    }

    private mutating func rise(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard entries[child].at < entries[parent].at else { return }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < entries.count {
                if entries[child].at < entries[least].at { least = child }
            }
            guard least != parent else { return }
            entries.swapAt(parent, least)
            parent = least
        }
    }
}
