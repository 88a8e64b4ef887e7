// The lock-free ring between an intake and the batcher: one producer, one consumer, a fixed number of
// 32-byte slots. This file is the only home of acquire and release.
// Owned by: whoever opened it; its ends belong to the intake's queue (`Producer`) and to the batch queue
// (`Consumer`). The ends are noncopyable and taken once, so a second producer does not compile.
// Invariants, with positions that rise for ever (modulo 2^64) and are masked only to address a slot:
//   drained ≤ published ≤ drained + capacity
//   slots of positions in drained..<published belong to the consumer, all others to the producer
// Positions of one segment (`capacity` / 32 of them) lie side by side in the slab, segments where the
// producer put them: on the place that was drained last, so that a ring through which much passes and in
// which little waits touches little memory. `places` says where; the producer writes an entry before it
// publishes the segment's first position, and again only after the consumer has drained all of the
// segment: `capacity` positions begin in one segment and end in another, so one more than fits is there.
// Public and inlinable on purpose: only so the compiler takes these few instructions into their callers
// in other modules; as calls they cost 2.7 times a plain queue in C instead of 1.1 (`sluice bench ring`).
// Concrete on purpose: the thread sanitizer does not see into unspecialised generics, nor into
// initialize/move. Tests/RingTests/tsan.sh weakens each ordering of this file in turn and demands that
// the sanitizer reports it, so an ordering that nothing needs is found as well as one that is missing.

public import Model
public import Synchronization

/// A single-producer single-consumer ring of readings (after Aeron's SPSC ring and Disruptor).
/// Its slab is allocated once; pages that were never written cost no memory, and few are ever written while
/// the consumer keeps up.
@safe public final class Ring: Sendable {
    public static let capacities = 2...(1 << 24)

    /// Slots: a power of two in `capacities`.
    public let capacity: Int
    /// Slots of a segment, a power of two.
    @usableFromInline let segment: UInt64
    private let segmentShift: UInt64
    private let placesMask: UInt64
    // Safety: ownership of each slot passes between the ends by the two positions below (invariants
    // above), so the pointer may be shared; it is never changed and lives as long as the ring.
    @usableFromInline nonisolated(unsafe) let slots: UnsafeMutablePointer<Reading>
    /// The first slot of each segment, by its positions.
    // Safety: as for `slots`.
    @usableFromInline nonisolated(unsafe) let places: UnsafeMutablePointer<UInt32>

    // Each position has its 64-byte line and the neighbours that the prefetcher pairs with it to itself.
    private let linesBefore = [16 of UInt64](repeating: 0)
    /// End of what the consumer may read. Stored by the producer only.
    @usableFromInline let published: Atomic<UInt64>
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
        let segments = min(capacity, 32)
        segment = UInt64(capacity / segments)
        segmentShift = UInt64(segment.trailingZeroBitCount)
        placesMask = UInt64(2 * segments - 1)
        // Safety: freed in deinit only. Reading is trivial, so a slot needs no initialisation before
        // it is assigned, and none is read before: slots are read only behind `published`.
        unsafe slots = UnsafeMutablePointer<Reading>.allocate(capacity: capacity + Int(segment))
        unsafe places = UnsafeMutablePointer<UInt32>.allocate(capacity: 2 * segments)
        // Safety: just allocated. A position within a segment finds it at the slab's begin.
        unsafe places.initialize(repeating: 0, count: 2 * segments)
        published = Atomic(position)
        drained = Atomic(position)
    }

    deinit {
        // Safety: both ends hold the ring, so none is left; allocated in init.
        unsafe slots.deallocate()
        unsafe places.deallocate()
    }

    /// Which of `places` says where the segment of a position lies.
    @usableFromInline
    func entry(of position: UInt64) -> Int {
        Int(truncatingIfNeeded: position &>> segmentShift & placesMask)
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
    /// Where the next reading goes; equals `ring.published`, which only this end stores.
    @usableFromInline var position: UInt64
    /// `ring.drained` as last seen; the truth is never behind it.
    @usableFromInline var drained: UInt64
    /// The slot of `position`, unless a segment begins there.
    @usableFromInline var slot: Int
    /// First slots of segments that were drained; the last is the next to be used.
    private var spare: [UInt32] = []
    /// The first slot that no segment has had.
    private var unused: Int
    /// Segments before this position are in `spare` or in use again.
    private var reclaimed: UInt64

    fileprivate init(ring: Ring, at position: UInt64) {
        self.ring = ring
        self.position = position
        drained = position
        let offset = position & (ring.segment - 1)
        slot = Int(offset)
        unused = offset == 0 ? 0 : Int(ring.segment)
        reclaimed = position &- offset
        spare.reserveCapacity(ring.capacity / Int(ring.segment) + 1)
    }

    public var capacity: Int { ring.capacity }

    /// Free slots now; the consumer may make it more at any time, nobody makes it less.
    public var free: Int {
        // Relaxed: a figure; publish acquires for itself before it writes into a slot.
        let held = position &- ring.drained.load(ordering: .relaxed)
        return ring.capacity - Int(truncatingIfNeeded: held)
    }

    /// Whether `count` readings can be published now. Looks at the consumer's position only when the
    /// one seen last does not suffice, so that its cache line stays where it is.
    @inlinable @inline(__always)
    public mutating func hasRoom(for count: Int) -> Bool {
        if count <= ring.capacity &- Int(truncatingIfNeeded: position &- drained) { return true }
        look()
        return count <= ring.capacity &- Int(truncatingIfNeeded: position &- drained)
    }

    @inlinable @inline(__always)
    mutating func look() {
        // Acquire: pairs with the release at the end of Consumer.drain(); its reads of the slots
        // and of their segments' places happen before they are overwritten here.
        drained = ring.drained.load(ordering: .acquiring)
    }

    /// Slots left in the segment of `position`, which is given a place when it begins there.
    @inlinable @inline(__always)
    mutating func slotsLeft() -> Int {
        let offset = position & (ring.segment &- 1)
        if offset == 0 { beginSegment() }
        return Int(truncatingIfNeeded: ring.segment &- offset)
    }

    @usableFromInline
    mutating func beginSegment() {
        look()
        while drained &- reclaimed >= ring.segment {
            // Safety: an entry of the table, which only this end writes.
            spare.append(unsafe ring.places[ring.entry(of: reclaimed)])
            reclaimed &+= ring.segment
        }
        if let place = spare.popLast() {
            slot = Int(place)
        } else {
            // At most `capacity` positions before this one are not drained: they lie in no more segments
            // than fit, and one is left.
            precondition(unused <= ring.capacity)
            slot = unused
            unused += Int(ring.segment)
        }
        // Safety: an entry of the table; its segment of `capacity` * 2 positions ago was drained.
        unsafe ring.places[ring.entry(of: position)] = UInt32(slot)
    }

    /// Publishes all of `readings` or none: false when they do not fit now. More than `capacity`
    /// readings never fit; a ring is sized above its intake's largest frame.
    @inlinable @inline(__always)
    public mutating func publish(_ readings: Span<Reading>) -> Bool {
        guard hasRoom(for: readings.count) else { return false }
        var next = 0
        while next < readings.count {
            let part = min(slotsLeft(), readings.count &- next)
            for i in 0..<part {
                // Safety: within the segment, and hasRoom says that the producer owns it.
                unsafe ring.slots[slot &+ i] = readings[next &+ i]
            }
            next &+= part
            move(by: part)
        }
        announce()
        return true
    }

    /// Publishes one reading; false when the ring is full.
    @inlinable @inline(__always)
    public mutating func publish(_ reading: Reading) -> Bool {
        guard hasRoom(for: 1) else { return false }
        _ = slotsLeft()
        // Safety: as in publish(Span).
        unsafe ring.slots[slot] = reading
        move(by: 1)
        announce()
        return true
    }

    @inlinable @inline(__always)
    mutating func move(by count: Int) {
        slot &+= count
        position &+= UInt64(truncatingIfNeeded: count)
    }

    @inlinable @inline(__always)
    mutating func announce() {
        // Release: pairs with the acquire in Consumer.drain(); the slots' bytes and their
        // segments' places happen before.
        ring.published.store(position, ordering: .releasing)
    }
}

/// The reading end of a ring.
public struct Consumer: ~Copyable, Sendable {
    @usableFromInline let ring: Ring
    /// The oldest reading not yet drained; equals `ring.drained`, which only this end stores.
    @usableFromInline var position: UInt64
    /// `ring.published` as last seen; the truth is never behind it.
    @usableFromInline var published: UInt64

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

    /// Hands the oldest readings to `body`, at most `maximum`, in order, in a span a segment, and frees
    /// their slots when `body` has seen them all.
    /// Returns how many; 0 without calling `body` when the ring is empty.
    @inlinable @inline(__always)
    public mutating func drain(_ maximum: Int, _ body: (Span<Reading>) -> Void) -> Int {
        let wanted = UInt64(truncatingIfNeeded: max(0, maximum))
        var waiting = published &- position
        if waiting < wanted {
            // Acquire: pairs with the release in Producer.announce(); the slots' bytes happen before.
            published = ring.published.load(ordering: .acquiring)
            waiting = published &- position
        }
        let count = Int(truncatingIfNeeded: min(waiting, wanted))
        guard count > 0 else { return 0 }
        let end = position &+ UInt64(truncatingIfNeeded: count)
        while position != end {
            let offset = position & (ring.segment &- 1)
            let part = min(ring.segment &- offset, end &- position)
            // Safety: an entry of the table, written before its segment was published.
            let place = unsafe ring.places[ring.entry(of: position)]
            body(span(from: Int(place) &+ Int(offset), count: Int(part)))
            position &+= part
        }
        // Release: pairs with the acquire in Producer.hasRoom(); body's reads of the slots happen
        // before the producer overwrites them.
        ring.drained.store(position, ordering: .releasing)
        return count
    }

    @inlinable @inline(__always)
    @_lifetime(borrow self)
    func span(from slot: Int, count: Int) -> Span<Reading> {
        // Safety: the slots lie in one segment, the readings were published, and
        // they are not overwritten before drain stores its position; the ring outlives self.
        let slots = unsafe UnsafeBufferPointer(start: ring.slots + slot, count: count)
        let span = unsafe slots.span
        // Safety: the span's bytes belong to the ring, which self keeps.
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
