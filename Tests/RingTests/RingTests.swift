// The laws of the ring, on one thread against a plain array and between two threads. The orderings are
// the business of tsan.sh beside this file.

import Model
import Ring
import Testing

@Suite("Ring") struct RingTests {
    @Test("a reading is 32 bytes, two a cache line")
    func size() {
        #expect(MemoryLayout<Reading>.size == 32)
        #expect(MemoryLayout<Reading>.stride == 32)
    }

    @Test("a full ring says so and keeps what it holds")
    func full() {
        let ring = Ring(capacity: 4)
        var producer = ring.takeProducer()
        var consumer = ring.takeConsumer()
        for n in 0..<4 {
            let published = producer.publish(numberedReading(UInt64(n)))
            #expect(published)
        }
        let (free, published) = (producer.free, producer.publish(numberedReading(4)))
        #expect(free == 0)
        #expect(!published)
        #expect(consumer.take(9).bits == (0..<4).map { numberedReading($0).bits })
        let available = consumer.available
        #expect(available == 0)
    }

    @Test("a batch is published whole or not at all")
    func allOrNothing() {
        let ring = Ring(capacity: 4)
        var producer = ring.takeProducer()
        var consumer = ring.takeConsumer()
        let batch = (0..<3).map { numberedReading($0) }
        let (first, second) = (producer.publish(batch.span), producer.publish(batch.span))
        #expect(first)
        #expect(!second)
        let available = consumer.available
        #expect(available == 3)
        _ = consumer.take(1)
        _ = consumer.take(1)
        let third = producer.publish(batch.span)
        #expect(third)
        #expect(
            consumer.take(9).bits == ([2, 0, 1, 2] as [UInt64]).map { numberedReading($0).bits })
    }

    @Test("a batch larger than the ring never fits and an empty one always does")
    func extremes() {
        let ring = Ring(capacity: 2)
        var producer = ring.takeProducer()
        let large = (0..<3).map { numberedReading($0) }
        let none: [Reading] = []
        let tooLarge = producer.publish(large.span)
        #expect(!tooLarge)
        let exact = producer.publish(Array(large.prefix(2)).span)
        #expect(exact)
        let empty = producer.publish(none.span)
        #expect(empty)
        let room = (producer.hasRoom(for: 0), producer.hasRoom(for: 1))
        #expect(room == (true, false))
    }

    @Test("a drain hands over at most two spans and frees their slots only afterwards")
    func spans() {
        let ring = Ring(capacity: 8)
        var producer = ring.takeProducer()
        var consumer = ring.takeConsumer()
        let batch = (0..<6).map { numberedReading($0) }
        _ = producer.publish(batch.span)
        _ = consumer.take(6)
        _ = producer.publish(batch.span)
        var counts: [Int] = []
        var freeDuring: [Int] = []
        let drained = consumer.drain(8) {
            counts.append($0.count)
            freeDuring.append(producer.free)
        }
        #expect(drained == 6)
        #expect(counts == [2, 4])
        #expect(freeDuring == [2, 2])
        let free = producer.free
        #expect(free == 8)
    }

    @Test("an empty ring starts over at the slab's begin, one in which readings wait does not")
    func startsOver() {
        let ring = Ring(capacity: 8)
        var producer = ring.takeProducer()
        var consumer = ring.takeConsumer()
        var (found, spans): ([Reading], [Int]) = ([], [])
        // Without starting over the seven would wrap round the slab's end; if it were done while reading
        // 12 waits, reading 13 would overwrite it.
        let steps = [(0..<5, true), (5..<12, true), (12..<13, false), (13..<15, true)]
        for (numbers, drains) in steps {
            let batch = numbers.map { numberedReading(UInt64($0)) }
            let isIn = producer.publish(batch.span)
            #expect(isIn)
            if drains {
                _ = consumer.drain(.max) { span in
                    for i in span.indices { found.append(span[i]) }
                    spans.append(span.count)
                }
            }
            producer.startOver()
        }
        #expect(spans == [5, 7, 3])
        #expect(found == (0..<15).map { numberedReading($0) })
    }

    @Test("an empty ring and a maximum of nothing do not call the body", arguments: [-1, 0, 1])
    func nothing(maximum: Int) {
        let ring = Ring(capacity: 2)
        var producer = ring.takeProducer()
        var consumer = ring.takeConsumer()
        if maximum < 1 { _ = producer.publish(numberedReading(0)) }
        var calls = 0
        let drained = consumer.drain(maximum) { _ in calls += 1 }
        #expect(drained == 0)
        #expect(calls == 0)
    }

    @Test(
        "random turns agree with a plain array, also where positions pass 2^64",
        arguments: [2, 4, 8, 1024], [0, UInt64.max, UInt64.max - 777])
    func model(capacity: Int, start: UInt64) {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix64(seed: seed)
        let ring = Ring(capacity: capacity, startingAt: start)
        var producer = ring.takeProducer()
        var consumer = ring.takeConsumer()
        var model: [Reading] = []
        var next: UInt64 = 0
        for _ in 0..<3000 {
            if Bool.random(using: &random) {
                let size = Int.random(in: 0...capacity + 1, using: &random)
                let batch = (0..<size).map { numberedReading(next &+ UInt64($0)) }
                let fits = model.count + size <= capacity
                let published = producer.publish(batch.span)
                #expect(published == fits, "seed \(seed)")
                if fits {
                    model += batch
                    next &+= UInt64(size)
                }
            } else {
                let maximum = Int.random(in: 0...capacity + 1, using: &random)
                let expected = Array(model.prefix(maximum))
                let drained = consumer.take(maximum)
                #expect(drained == expected, "seed \(seed)")
                model.removeFirst(expected.count)
            }
            let figures = (producer.free, consumer.available)
            #expect(figures == (capacity - model.count, model.count), "seed \(seed)")
        }
    }

    @Test(
        "every reading crosses between two threads once, whole and in order",
        arguments: [(2, 2), (4, 3), (8, 8), (1024, 64)])
    func transfer(capacity: Int, largestBatch: Int) {
        let seed = UInt64.random(in: 0 ... .max)
        let wrong = Transfer(
            capacity: capacity, count: 50_000, largestBatch: largestBatch, seed: seed,
            start: UInt64.max - 25_000
        ).run()
        #expect(wrong == 0, "seed \(seed)")
    }

    @Test("a second producer, a second consumer and a wrong capacity are programmer errors")
    func misuse() async {
        await #expect(processExitsWith: .failure) {
            let ring = Ring(capacity: 2)
            _ = ring.takeProducer()
            _ = ring.takeProducer()
        }
        await #expect(processExitsWith: .failure) {
            let ring = Ring(capacity: 2)
            _ = ring.takeConsumer()
            _ = ring.takeConsumer()
        }
        await #expect(processExitsWith: .failure) { _ = Ring(capacity: 3) }
        await #expect(processExitsWith: .failure) { _ = Ring(capacity: 1) }
        await #expect(processExitsWith: .failure) { _ = Ring(capacity: 1 << 25) }
    }
}

extension Consumer {
    fileprivate mutating func take(_ maximum: Int) -> [Reading] {
        var taken: [Reading] = []
        let count = drain(maximum) { for i in $0.indices { taken.append($0[i]) } }
        precondition(count == taken.count)
        return taken
    }
}

extension [Reading] {
    fileprivate var bits: [UInt64] { map(\.bits) }
}
