// What an epoch holds: memory by its readings and by nothing else, given back after a burst; and the order
// in which readings leave it.

import Model
import Testing

@testable import Batches

@Suite("Memory of epochs")
struct EpochMemoryTests {
    private static let now: Int64 = 1_700_000_040_000

    /// `count` readings of `streams` streams in turn, spread over `buckets` minutes.
    private func fill(_ epoch: inout Epoch, _ count: Int, streams: Int, buckets: Int) {
        for i in 0..<count {
            epoch.add(
                reading(
                    stream: UInt32(1 + i % streams), bits: UInt64(i % 97),
                    observed: EpochMemoryTests.now - Int64(i % buckets) * 60_000,
                    received: EpochMemoryTests.now),
                priority: .live)
        }
    }

    @Test(
        "holds 32 bytes a reading, whatever the number of streams and buckets",
        arguments: [(1, 1), (1000, 1), (100_000, 1), (100_000, 2000), (7, 2880)])
    func bytes(_ streams: Int, _ buckets: Int) {
        var settings = EpochSettings()
        settings.effort = .fast
        var epoch = Epoch(settings: settings)
        fill(&epoch, 100_000, streams: streams, buckets: buckets)
        let (count, capacity) = (epoch.readingCount, epoch.capacityBytes)
        #expect(count == 100_000)
        // A segment of 128 KB may be open; a run of one reading takes 8 bytes, 16 after growing.
        let runs = buckets == 1 ? 1024 : 16 * count
        #expect(capacity <= 32 * count + (128 << 10) + runs)
    }

    @Test("gives back what a burst took when a quieter epoch ends")
    func burst() {
        var settings = EpochSettings()
        settings.effort = .fast
        var epoch = Epoch(settings: settings)
        fill(&epoch, 120_000, streams: 100_000, buckets: 40)
        let full = epoch.capacityBytes
        #expect(full >= 32 * 120_000)
        let sealed = epoch.seal()
        #expect(sealed.reduce(0) { $0 + $1.info.readings } == 120_000)
        let kept = epoch.capacityBytes
        #expect(kept <= 2 * full, "sorting needs no more than the readings")
        fill(&epoch, 500, streams: 100, buckets: 2)
        _ = epoch.seal()
        let quiet = epoch.capacityBytes
        #expect(quiet <= 256 << 10, "\(quiet) bytes after a quiet epoch")
        // And the next burst finds an epoch as good as new.
        fill(&epoch, 30_000, streams: 10, buckets: 3)
        let again = epoch.seal().reduce(0) { $0 + $1.info.readings }
        #expect(again == 30_000)
    }

    @Test("keeps the readings of a stream together when a bucket becomes several batches")
    func wholeStreams() throws {
        var settings = EpochSettings()
        settings.effort = .fast
        settings.readingsPerBatch = 2000
        var epoch = Epoch(settings: settings)
        fill(&epoch, 9000, streams: 450, buckets: 1)
        let batches = epoch.seal()
        #expect(batches.count == 5)
        var seen: Set<UInt32> = []
        for batch in batches {
            let readings = try BatchCodec.decode(batch.bytes).readings
            #expect(readings.count <= 2000)
            let streams = Set(readings.map(\.stream.rawValue))
            #expect(seen.isDisjoint(with: streams))
            seen.formUnion(streams)
        }
        #expect(seen.count == 450)
    }

    @Test("a stream that alone exceeds a batch goes on in the next, in its order")
    func longStream() throws {
        var settings = EpochSettings()
        settings.readingsPerBatch = 1000
        var epoch = Epoch(settings: settings)
        for i in 0..<3500 {
            epoch.add(
                reading(
                    stream: 5, bits: UInt64(i), observed: EpochMemoryTests.now,
                    received: EpochMemoryTests.now), priority: .live)
        }
        var bits: [UInt64] = []
        for batch in epoch.seal() {
            let readings = try BatchCodec.decode(batch.bytes).readings
            #expect(readings.count <= 1000)
            bits += readings.map(\.bits)
        }
        #expect(bits == (0..<3500).map(UInt64.init))
    }

    @Test("sorts like a plain stable sort, few and many, near and far numbers")
    func order() {
        for seed in UInt64(1)...30 {
            var random = SplitMix64(seed: seed)
            let count = [1, 2, 511, 512, 513, 3000, 9000][random.below(7)]
            let spread = [1, 7, 2048, 100_000, Int(UInt32.max)][random.below(5)]
            let streams = (0..<count).map { _ in UInt32(random.below(spread)) }
            var order = StreamOrder()
            order.begin(count + 20)
            // Keys of other buckets on both sides stay where they are.
            let others = log(repeatElement(9, count: 10))
            order.set(others, 0..<10, at: 0)
            order.set(others, 0..<10, at: count + 10)
            order.set(log(streams), 0..<count, at: 10)
            order.sort(10..<10 + count)
            let expected = (0..<count).sorted { (streams[$0], $0) < (streams[$1], $1) }
            #expect((0..<count).map { order.place(10 + $0) } == expected, "seed \(seed)")
            #expect((0..<10).allSatisfy { order.place($0) == $0 }, "seed \(seed)")
            #expect((0..<10).allSatisfy { order.place(count + 10 + $0) == $0 }, "seed \(seed)")
        }
    }

    private func log(_ streams: some Sequence<UInt32>) -> ReadingLog {
        var log = ReadingLog()
        for stream in streams { log.append(reading(stream: stream, bits: 0, observed: 0)) }
        return log
    }

    @Test("a log that grew by segments holds every reading at its place")
    func log() {
        var log = ReadingLog()
        for round in 0..<3 {
            let count = [10_000, 4096, 1][round]
            for i in 0..<count {
                log.append(reading(stream: UInt32(i + 1), bits: UInt64(i), observed: Int64(i)))
            }
            let isRight = (0..<count).allSatisfy { log[$0].bits == UInt64($0) }
            #expect(isRight)
            log.removeAll()
            let capacity = log.capacity
            #expect(capacity == (count + 4095) / 4096 * 4096)
        }
    }
}
