// When frames are repeated: slots of 10 ms over 41 s, so that adding and taking cost the same however
// many frames wait. Later times wait for the last slot.

struct RetryWheel {
    private static let slotNanoseconds: Int64 = 10_000_000
    private static let slotCount: Int64 = 4096
    private var slots: [[UInt32]]
    /// Slot number, ever rising, that is due next.
    private var next: Int64

    init(now: Int64) {
        slots = [[UInt32]](repeating: [], count: Int(RetryWheel.slotCount))
        next = now / RetryWheel.slotNanoseconds
    }

    mutating func add(_ sequence: UInt32, at time: Int64) {
        let slot = time / RetryWheel.slotNanoseconds + 1
        let kept = min(max(slot, next), next + RetryWheel.slotCount - 1)
        slots[Int(kept % RetryWheel.slotCount)].append(sequence)
    }

    /// Everything whose time has come, oldest slot first; each is given once.
    mutating func due(_ now: Int64) -> [UInt32] {
        var all: [UInt32] = []
        let current = now / RetryWheel.slotNanoseconds
        // After a long sleep one turn of the wheel visits every slot.
        next = max(next, current - RetryWheel.slotCount + 1)
        while next <= current {
            let place = Int(next % RetryWheel.slotCount)
            if !slots[place].isEmpty {
                all += slots[place]
                slots[place].removeAll()
            }
            next += 1
        }
        return all
    }
}
