// The ring's protocol as a model, and an explorer that walks every interleaving of its steps and every
// value that a load may return under C11's rules for release, acquire and relaxed (ISO C11 5.1.2.4; a
// load may see any store that is not older than one it saw or knows of). Data races are found by
// happens-before clocks, as the thread sanitizer does, but over all runs of a small ring and not over
// those that a machine happens to make. RingModelTests.swift holds the model against the ring.

/// What a mutant does otherwise than the ring.
enum RingMutation: String, CaseIterable {
    case none
    // One ordering weakened to relaxed.
    case publishRelaxed, seePublishedRelaxed, drainRelaxed, seeDrainedRelaxed
    // The steps in another order, or a wrong bound.
    case publishBeforeWriting, drainBeforeReading, oneTooMany
    // The producer starts over though readings wait; the consumer takes the bias before the position.
    case startOverTooEarly, seeBiasTooEarly
}

/// A small ring with one producer of `count` readings in batches of `batch` and a consumer that drains
/// at most `most` at a time.
struct RingModel: Hashable {
    private static let none = -1

    /// A store to a position: its value and what happened before it.
    private struct Store: Hashable {
        var value: UInt64
        var clocks: Clocks
    }

    /// How many steps of each end are known to have happened.
    private struct Clocks: Hashable {
        var producer = 0
        var consumer = 0

        mutating func join(_ other: Clocks) {
            producer = max(producer, other.producer)
            consumer = max(consumer, other.consumer)
        }
    }

    private struct Slot: Hashable {
        var value = RingModel.none
        /// Step numbers of the last write and the last read.
        var written = 0
        var read = 0
    }

    /// An end of the ring between two steps.
    private struct End: Hashable {
        var position: UInt64
        /// Number of the other end's store that was seen last.
        var seen = 0
        /// From positions to slots, and the number of the store that it was seen in.
        var bias: UInt64 = 0
        var biasSeen = 0
        var clocks = Clocks()
        /// Steps done in the batch under way; -1 between batches.
        var done = RingModel.none
        var size = 0
    }

    /// What broke; empty when nothing did.
    enum Fault: Error, Hashable {
        case race(String)
        case wrong(expected: Int, found: Int)
    }

    private var slots: [Slot]
    private var published: [Store]
    private var drained: [Store]
    private var biases = [Store(value: 0, clocks: Clocks())]
    private var producer: End
    private var consumer: End
    private var sent = 0
    private var received = 0

    private let capacity: UInt64
    private let count: Int
    private let batch: Int
    private let most: Int
    private let mutation: RingMutation

    init(
        capacity: Int, count: Int, batch: Int, most: Int, startingAt position: UInt64,
        mutation: RingMutation = .none
    ) {
        self.capacity = UInt64(capacity)
        self.count = count
        self.batch = batch
        self.most = most
        self.mutation = mutation
        slots = Array(repeating: Slot(), count: capacity)
        published = [Store(value: position, clocks: Clocks())]
        drained = [Store(value: position, clocks: Clocks())]
        producer = End(position: position)
        consumer = End(position: position)
    }

    /// All readings went through.
    var isDone: Bool { received == count }

    /// Every state that one step of either end can lead to.
    func successors() throws(Fault) -> [RingModel] {
        var next: [RingModel] = []
        try produce(into: &next)
        try consume(into: &next)
        return next
    }

    // MARK: The producer

    private func produce(into next: inout [RingModel]) throws(Fault) {
        if producer.done == RingModel.none {
            guard sent < count else { return }
            // Producer.hasRoom: the stores that the load may return.
            for index in producer.seen..<drained.count {
                var state = self
                state.producer.clocks.producer += 1
                state.producer.seen = index
                if mutation != .seeDrainedRelaxed {
                    state.producer.clocks.join(drained[index].clocks)
                }
                if let over = state.startingOver(seen: drained[index].value) { next.append(over) }
                let size = min(batch, count - sent)
                let held = producer.position &- drained[index].value
                let room = Int(capacity) - Int(truncatingIfNeeded: held)
                guard size <= room + (mutation == .oneTooMany ? 1 : 0) else {
                    // Full: seen, and the caller comes again.
                    if state != self { next.append(state.forgettingSteps(of: self)) }
                    continue
                }
                state.producer.size = size
                state.producer.done = 0
                next.append(state)
            }
            return
        }
        var state = self
        state.producer.clocks.producer += 1
        let publishesFirst = mutation == .publishBeforeWriting
        let storesAt = publishesFirst ? 0 : producer.size
        if producer.done == storesAt {
            let value = producer.position &+ UInt64(producer.size)
            let clocks = mutation == .publishRelaxed ? Clocks() : state.producer.clocks
            state.published.append(Store(value: value, clocks: clocks))
        } else {
            let offset = producer.done - (publishesFirst ? 1 : 0)
            try state.write(at: producer.position &+ UInt64(offset), value: sent + offset)
        }
        state.producer.done += 1
        if state.producer.done > producer.size {
            state.producer.position = producer.position &+ UInt64(producer.size)
            state.sent += producer.size
            state.producer.done = RingModel.none
        }
        next.append(state)
    }

    /// Producer.startOver, from wherever in the slab, when the consumer was seen at `drained`.
    private func startingOver(seen drained: UInt64) -> RingModel? {
        guard drained == producer.position || mutation == .startOverTooEarly,
            (producer.position &+ producer.bias) & (capacity - 1) != 0
        else { return nil }
        var state = self
        state.producer.clocks.producer += 1
        state.producer.bias = 0 &- producer.position
        // Relaxed: who sees it knows of nothing before.
        state.biases.append(Store(value: state.producer.bias, clocks: state.producer.clocks))
        return state
    }

    private mutating func write(at position: UInt64, value: Int) throws(Fault) {
        let slot = Int(truncatingIfNeeded: (position &+ producer.bias) & (capacity - 1))
        guard slots[slot].read <= producer.clocks.consumer else {
            throw .race("slot \(slot) is overwritten while it is read")
        }
        slots[slot].value = value
        slots[slot].written = producer.clocks.producer
    }

    // MARK: The consumer

    private func consume(into next: inout [RingModel]) throws(Fault) {
        if consumer.done == RingModel.none {
            guard received < count else { return }
            // Consumer.drain: the stores that the load may return.
            for index in consumer.seen..<published.count {
                var state = self
                state.consumer.clocks.consumer += 1
                state.consumer.seen = index
                if mutation != .seePublishedRelaxed {
                    state.consumer.clocks.join(published[index].clocks)
                }
                let knows = mutation == .seeBiasTooEarly ? consumer.clocks : state.consumer.clocks
                let waiting = Int(truncatingIfNeeded: published[index].value &- consumer.position)
                if waiting > 0 {
                    state.consumer.size = min(most, waiting)
                    state.consumer.done = 0
                }
                // The stores that the load of the bias may return: none older than one it knows of.
                let oldest =
                    biases.lastIndex { $0.clocks.producer <= knows.producer } ?? 0
                for one in max(consumer.biasSeen, oldest)..<biases.count {
                    var state = state
                    state.consumer.biasSeen = one
                    state.consumer.bias = biases[one].value
                    if waiting > 0 {
                        next.append(state)
                    } else if state != self {
                        next.append(state.forgettingSteps(of: self))
                    }
                }
            }
            return
        }
        var state = self
        state.consumer.clocks.consumer += 1
        let drainsFirst = mutation == .drainBeforeReading
        let storesAt = drainsFirst ? 0 : consumer.size
        if consumer.done == storesAt {
            let value = consumer.position &+ UInt64(consumer.size)
            let clocks = mutation == .drainRelaxed ? Clocks() : state.consumer.clocks
            state.drained.append(Store(value: value, clocks: clocks))
        } else {
            let offset = consumer.done - (drainsFirst ? 1 : 0)
            try state.read(at: consumer.position &+ UInt64(offset), expected: received + offset)
        }
        state.consumer.done += 1
        if state.consumer.done > consumer.size {
            state.consumer.position = consumer.position &+ UInt64(consumer.size)
            state.received += consumer.size
            state.consumer.done = RingModel.none
        }
        next.append(state)
    }

    private mutating func read(at position: UInt64, expected: Int) throws(Fault) {
        let slot = Int(truncatingIfNeeded: (position &+ consumer.bias) & (capacity - 1))
        guard slots[slot].written <= consumer.clocks.producer else {
            throw .race("slot \(slot) is read while it is written")
        }
        guard slots[slot].value == expected else {
            throw .wrong(expected: expected, found: slots[slot].value)
        }
        slots[slot].read = consumer.clocks.consumer
    }

    /// A look that found nothing to do is no step that others could know of; without this, waiting would
    /// make new states for ever.
    private func forgettingSteps(of before: RingModel) -> RingModel {
        var state = self
        state.producer.clocks.producer = before.producer.clocks.producer
        state.consumer.clocks.consumer = before.consumer.clocks.consumer
        return state
    }
}

/// What a walk over all states found.
struct Exploration {
    var states = 0
    /// States in which all readings had arrived.
    var ends = 0
    var fault: RingModel.Fault?
    /// A state that leads nowhere though readings are missing.
    var isStuck = false

    /// Visits every state that `start` can lead to, until one is at fault.
    init(_ start: RingModel) {
        var seen: Set<RingModel> = [start]
        var open = [start]
        while let state = open.popLast() {
            states += 1
            do throws(RingModel.Fault) {
                let next = try state.successors().filter { $0 != state }
                if state.isDone { ends += 1 }
                if next.isEmpty, !state.isDone { isStuck = true }
                for one in next where seen.insert(one).inserted { open.append(one) }
            } catch {
                fault = error
                return
            }
        }
    }
}
