// The lock-free ring between an intake and the batcher: one producer, one consumer, a fixed number of
// 32-byte slots. This file is the only home of acquire and release.
// Owned by: whoever opened it; its ends belong to the intake's queue (`Producer`) and to the batch queue
// (`Consumer`). The ends are noncopyable and taken once, so a second producer does not compile.
// Invariants, with positions that rise for ever (modulo 2^64) and are masked only to address a slot:
//   drained ≤ published ≤ drained + capacity
//   slots in drained..<published belong to the consumer, all others to the producer
//   a position's slot is (position + bias) modulo the capacity; the bias changes only while the ring is
//   empty, so that a ring through which much passes and in which little waits touches little memory
// Public and inlinable on purpose: only so the compiler takes these few instructions into their callers
// in other modules; as calls they cost 2.7 times a plain queue in C instead of 1.1 (`sluice bench ring`).
// Concrete on purpose: the thread sanitizer does not see into unspecialised generics, nor into
// initialize/move. Tests/RingTests/tsan.sh weakens each ordering of this file in turn and demands that
// the sanitizer reports it, so an ordering that nothing needs is found as well as one that is missing.

public import Model
public import Synchronization

/// A single-producer single-consumer ring of readings (after Aeron's SPSC ring and Disruptor).
/// Its slab is allocated once; pages that were never written cost no memory, and few are ever written
/// while the consumer keeps up (`startOver`).
@safe public final class Ring: Sendable {
    public static let capacities = 2...(1 << 24)

    /// Slots: a power of two in `capacities`.
    public let capacity: Int
    @usableFromInline let mask: UInt64
    // Safety: ownership of each slot passes between the ends by the two positions below (invariants
    // above), so the pointer may be shared; it is never changed and lives as long as the ring.
    @usableFromInline nonisolated(unsafe) let slots: UnsafeMutablePointer<Reading>

    // Each position has its 64-byte line and the neighbours that the prefetcher pairs with it to itself.
    private let linesBefore = [16 of UInt64](repeating: 0)
    /// End of what the consumer may read. Stored by the producer only.
    @usableFromInline let published: Atomic<UInt64>
    /// From positions to slots. Stored by the producer only, while the ring is empty.
    @usableFromInline let bias = Atomic<UInt64>(0)
    private let linesBetween = [16 of UInt64](repeating: 0)
    /// End of what the producer may overwrite. Stored by the consumer only.
    @usableFromInline let drained: Atomic<UInt64>
    private let linesAfter = [16 of UInt64](repeating: 0)

    private let producerTaken = Atomic<Bool>(false)
    private let consumerTaken = Atomic<Bool>(false)

    /// An empty ring. `position` is where both positions start; other than 0 only in tests.
    public init(capacity: Int, startingAt position: UInt64 = 0) {
        precondition(
            Ring.capacities.contains(capacity) && capacity & (capacity - 1) == 0,
            "ring capacity \(capacity) is no power of two in \(Ring.capacities)")
        self.capacity = capacity
        mask = UInt64(capacity - 1)
        // Safety: freed in deinit only. Reading is trivial, so a slot needs no initialisation before
        // it is assigned, and none is read before: slots are read only behind `published`.
        unsafe slots = UnsafeMutablePointer<Reading>.allocate(capacity: capacity)
        published = Atomic(position)
        drained = Atomic(position)
    }

    deinit {
        // Safety: both ends hold the ring, so none is left; allocated in init.
        unsafe slots.deallocate()
    }

    /// The writing end; once.
    public func takeProducer() -> Producer {
        // Relaxed: only the exchange itself must be atomic; whatever hands the ring to a thread orders.
        let wasTaken = producerTaken.exchange(true, ordering: .relaxed)
        precondition(!wasTaken, "the ring has one producer")
        // Relaxed: nobody has published yet, so this is the value of init, and so is `drained`.
        let position = published.load(ordering: .relaxed)
        return Producer(ring: self, at: position)
    }

    /// The reading end; once.
    public func takeConsumer() -> Consumer {
        // Relaxed: as in takeProducer.
        let wasTaken = consumerTaken.exchange(true, ordering: .relaxed)
        precondition(!wasTaken, "the ring has one consumer")
        // Relaxed: nobody has drained yet, so this is the value of init; the first drain acquires.
        let position = drained.load(ordering: .relaxed)
        return Consumer(ring: self, at: position)
    }
}

/// The writing end of a ring. Full is a result, not an error: the caller suspends its sources.
public struct Producer: ~Copyable, Sendable {
    @usableFromInline let ring: Ring
    // Both with the bias, so that adding it is on nobody's way to a slot.
    /// Where the next reading goes; `ring.published`, which only this end stores, and the bias.
    @usableFromInline var next: UInt64
    /// `ring.drained` as last seen, and the bias; the truth is never behind it.
    @usableFromInline var drained: UInt64
    /// Equals `ring.bias`.
    @usableFromInline var bias: UInt64 = 0

    fileprivate init(ring: Ring, at position: UInt64) {
        self.ring = ring
        next = position
        drained = position
    }

    public var capacity: Int { ring.capacity }

    /// Free slots now; the consumer may make it more at any time, nobody makes it less.
    public var free: Int {
        // Relaxed: a figure; publish acquires for itself before it writes into a slot.
        let held = next &- bias &- ring.drained.load(ordering: .relaxed)
        return ring.capacity - Int(truncatingIfNeeded: held)
    }

    /// Whether `count` readings can be published now. Looks at the consumer's position only when the
    /// one seen last does not suffice, so that its cache line stays where it is.
    @inlinable @inline(__always)
    public mutating func hasRoom(for count: Int) -> Bool {
        if count <= ring.capacity &- Int(truncatingIfNeeded: next &- drained) { return true }
        // Acquire: pairs with the release at the end of Consumer.drain(); its reads of the slots
        // happen before they are overwritten here.
        drained = ring.drained.load(ordering: .acquiring) &+ bias
        return count <= ring.capacity &- Int(truncatingIfNeeded: next &- drained)
    }

    /// Goes back to the slab's begin if the ring is empty, unless it is near it: worth a look at the
    /// consumer's position once in many readings.
    public mutating func startOver() {
        guard next & ring.mask >= UInt64(max(1, ring.capacity / 16)) else { return }
        // Acquire: pairs with the release at the end of Consumer.drain(), as in hasRoom.
        let position = ring.drained.load(ordering: .acquiring)
        guard position == next &- bias else { return }
        (next, drained, bias) = (0, 0, 0 &- position)
        // Relaxed: the consumer looks at it only behind a position that is published after this, and has
        // nothing left that was published before.
        ring.bias.store(bias, ordering: .relaxed)
    }

    /// Publishes all of `readings` or none: false when they do not fit now. More than `capacity`
    /// readings never fit; a ring is sized above its intake's largest frame.
    @inlinable @inline(__always)
    public mutating func publish(_ readings: Span<Reading>) -> Bool {
        guard hasRoom(for: readings.count) else { return false }
        let mask = ring.mask
        for i in readings.indices {
            let slot = Int(truncatingIfNeeded: (next &+ UInt64(i)) & mask)
            // Safety: slot ≤ mask < capacity, and hasRoom says that the producer owns it.
            unsafe ring.slots[slot] = readings[i]
        }
        advance(by: readings.count)
        return true
    }

    /// Publishes one reading; false when the ring is full.
    @inlinable @inline(__always)
    public mutating func publish(_ reading: Reading) -> Bool {
        guard hasRoom(for: 1) else { return false }
        // Safety: as in publish(Span).
        unsafe ring.slots[Int(truncatingIfNeeded: next & ring.mask)] = reading
        advance(by: 1)
        return true
    }

    @inlinable @inline(__always)
    mutating func advance(by count: Int) {
        next &+= UInt64(truncatingIfNeeded: count)
        // Release: pairs with the acquire in Consumer.drain(); the slots' bytes happen before.
        ring.published.store(next &- bias, ordering: .releasing)
    }
}

/// The reading end of a ring.
public struct Consumer: ~Copyable, Sendable {
    @usableFromInline let ring: Ring
    /// The oldest reading not yet drained; equals `ring.drained`, which only this end stores.
    @usableFromInline var position: UInt64
    /// `ring.published` as last seen; the truth is never behind it.
    @usableFromInline var published: UInt64
    /// That of the positions before `published`.
    @usableFromInline var bias: UInt64 = 0

    fileprivate init(ring: Ring, at position: UInt64) {
        self.ring = ring
        self.position = position
        published = position
    }

    public var capacity: Int { ring.capacity }

    /// Readings that wait now; the producer may make it more at any time, nobody makes it less.
    public var available: Int {
        // Relaxed: a figure; drain acquires for itself before it reads a slot.
        Int(truncatingIfNeeded: ring.published.load(ordering: .relaxed) &- position)
    }

    /// Hands the oldest readings to `body`, at most `maximum`, in order, in at most two spans (two
    /// where they wrap round the slab's end), and frees their slots when `body` has seen them all.
    /// Returns how many; 0 without calling `body` when the ring is empty.
    @inlinable @inline(__always)
    public mutating func drain(_ maximum: Int, _ body: (Span<Reading>) -> Void) -> Int {
        let wanted = UInt64(truncatingIfNeeded: max(0, maximum))
        var waiting = published &- position
        if waiting < wanted {
            // Acquire: pairs with the release in Producer.advance(); the slots' bytes happen before.
            published = ring.published.load(ordering: .acquiring)
            // Relaxed: behind the acquire, so no older than what was published. No newer either, while any
            // of it waits: the producer changes it only when it has seen the ring empty.
            bias = ring.bias.load(ordering: .relaxed)
            waiting = published &- position
        }
        let count = Int(truncatingIfNeeded: min(waiting, wanted))
        guard count > 0 else { return 0 }
        let first = Int(truncatingIfNeeded: (position &+ bias) & ring.mask)
        let beforeEnd = ring.capacity &- first
        if count <= beforeEnd {
            body(span(from: first, count: count))
        } else {
            body(span(from: first, count: beforeEnd))
            body(span(from: 0, count: count &- beforeEnd))
        }
        position &+= UInt64(truncatingIfNeeded: count)
        // Release: pairs with the acquire in Producer.hasRoom(); body's reads of the slots happen
        // before the producer overwrites them.
        ring.drained.store(position, ordering: .releasing)
        return count
    }

    @inlinable @inline(__always)
    @_lifetime(borrow self)
    func span(from slot: Int, count: Int) -> Span<Reading> {
        // Safety: slot + count ≤ capacity in both calls of drain, the readings were published, and
        // they are not overwritten before drain stores its position; the ring outlives self.
        let slots = unsafe UnsafeBufferPointer(start: ring.slots + slot, count: count)
        let span = unsafe slots.span
        // Safety: the span's bytes belong to the ring, which self keeps.
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
