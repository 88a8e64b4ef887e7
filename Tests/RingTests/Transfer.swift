// Sends numbered readings through a ring from one thread to another and checks every one. Used by
// RingTests and by the thread sanitizer's driver (tsan/main.swift), so that both run the same code.
// Both sides take random batches and yield when the ring is full or empty; nothing sleeps.

import Glibc
import Model
import Ring
import Synchronization

/// Reading number `n`: every field follows from `n`, so a torn or stale slot is seen.
func numberedReading(_ n: UInt64) -> Reading {
    Reading(
        stream: StreamID(UInt32(truncatingIfNeeded: n)),
        value: Value(
            kind: n & 1 == 0 ? .decimal : .double, exponent: Int8(truncatingIfNeeded: n),
            bits: n &* 0x9E37_79B9_7F4A_7C15),
        quality: Quality(rawValue: UInt16(truncatingIfNeeded: n >> 3)),
        observedAt: Timestamp(milliseconds: Int64(bitPattern: n)),
        receivedAt: Timestamp(milliseconds: Int64(bitPattern: ~n)))
}

struct Transfer: Sendable {
    var capacity: Int
    var count: UInt64
    var largestBatch: Int
    var seed: UInt64
    var start: UInt64 = 0

    /// Readings that arrived wrong, missing or out of order: 0 when the ring is sound.
    func run() -> UInt64 {
        let ring = Ring(capacity: capacity, startingAt: start)
        let wrong = Atomic<UInt64>(0)
        // A thread of its own for each side: a pool may run one side after the other, which never ends.
        let consumer = Thread {
            // Relaxed: the join below orders.
            wrong.store(consume(from: ring), ordering: .relaxed)
        }
        let producer = Thread { produce(into: ring) }
        producer.join()
        consumer.join()
        // Relaxed: both sides have ended.
        return wrong.load(ordering: .relaxed)
    }

    private func produce(into ring: Ring) {
        var producer = ring.takeProducer()
        var random = SplitMix64(seed: seed)
        var batch: [Reading] = []
        var next: UInt64 = 0
        while next < count {
            let size = min(
                UInt64.random(in: 1...UInt64(largestBatch), using: &random), count - next)
            batch.removeAll(keepingCapacity: true)
            for n in next..<next + size { batch.append(numberedReading(n)) }
            if size & 1 == 1 { producer.startOver() }
            if size == 1 {
                while !producer.publish(batch[0]) { sched_yield() }
            } else {
                while !producer.publish(batch.span) { sched_yield() }
            }
            next += size
        }
    }

    private func consume(from ring: Ring) -> UInt64 {
        var consumer = ring.takeConsumer()
        var random = SplitMix64(seed: ~seed)
        var next: UInt64 = 0
        var wrong: UInt64 = 0
        while next < count {
            let maximum = Int.random(in: 1...largestBatch, using: &random)
            let before = next
            let drained = consumer.drain(maximum) { readings in
                for i in readings.indices {
                    if readings[i] != numberedReading(next) { wrong += 1 }
                    next += 1
                }
            }
            if drained != Int(next - before) { wrong += 1 }
            if drained == 0 { sched_yield() }
        }
        return wrong + UInt64(consumer.available)
    }
}

/// A POSIX thread; one that is not joined is a programmer error.
struct Thread: ~Copyable {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private let id: pthread_t

    init(_ run: @escaping @Sendable () -> Void) {
        var id = pthread_t()
        // Safety: the reference retained here is released by the thread, which runs once.
        let body = unsafe Unmanaged.passRetained(Body(run: run)).toOpaque()
        let status = unsafe pthread_create(
            &id, nil,
            { body in
                // Safety: the pointer is the one retained above, taken over once.
                unsafe Unmanaged<Body>.fromOpaque(body!).takeRetainedValue().run()
                return nil
            }, body)
        precondition(status == 0, "no thread: error \(status)")
        self.id = id
    }

    consuming func join() {
        let status = pthread_join(id, nil)
        precondition(status == 0, "no join: error \(status)")
    }
}
