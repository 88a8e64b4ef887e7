// Laws of the batch codec: what is encoded comes back bit for bit, stream by stream in order.

import Batches
import Model
import Testing

@Suite("Batch codec")
struct CodecTests {
    @Test("gives back every reading of every habit bit for bit", arguments: Habit.allCases)
    func roundTrip(habit: Habit) throws {
        for seed in UInt64(1)...30 {
            var random = SplitMix64(seed: seed)
            let count = [1, 2, 3, 5, 17, 100, 1000][random.below(7)]
            let input = readings(habit, count: count, &random)
            let effort = random.pick(BatchEffort.allCases)
            let batch = try BatchCodec.decode(encoded(input, effort: effort))
            #expect(batch.readings == grouped(input), "habit \(habit), seed \(seed)")
            #expect(batch.info.readings == input.count)
        }
    }

    @Test("gives back every mixture of habits")
    func mixtures() throws {
        for seed in UInt64(100)...140 {
            var random = SplitMix64(seed: seed)
            var input: [Reading] = []
            for _ in 0..<(2 + random.below(4)) {
                let count = 1 + random.below(300)
                input += readings(random.pick(Habit.allCases), count: count, &random)
            }
            let batch = try BatchCodec.decode(encoded(input))
            #expect(batch.readings == grouped(input), "seed \(seed)")
        }
    }

    @Test("a missing value costs the doubles beside it nothing, wherever it stands")
    func missing() throws {
        let prices = (0..<200).map { n in
            reading(
                stream: 1, kind: .double, bits: (Double(2_150 + n % 7) / 100).bitPattern,
                observed: Int64(n))
        }
        let none = reading(stream: 1, kind: .none, quality: 1, observed: 200)
        let first = encoded([none] + prices).count
        let last = encoded(prices + [none]).count
        #expect(first < last + 20 && last < first + 20, "\(first) and \(last) bytes")
        #expect(try BatchCodec.decode(encoded([none] + prices)).readings == [none] + prices)
    }

    @Test("one encoder used for many batches gives what a fresh one gives")
    func reuse() throws {
        var encoder = BatchEncoder()
        var random = SplitMix64(seed: 9)
        for _ in 0..<60 {
            let count = 1 + random.below(400)
            let input = readings(random.pick(Habit.allCases), count: count, &random)
            let again = encoder.encode(
                input.span, bucketStart: Timestamp(milliseconds: 1_700_000_000_000),
                bucketMilliseconds: 60_000, revision: 7, priority: .live, effort: .normal)
            #expect(again.bytes == encoded(input))
        }
    }

    @Test("10,000 streams of one reading, and one stream of 10,000")
    func extremes() throws {
        var random = SplitMix64(seed: 3)
        let wide = (0..<10_000).map { i in
            reading(
                stream: UInt32(10_000 - i), exponent: -1, bits: UInt64(200 + random.below(50)),
                observed: 1_700_000_000_000 + Int64(i / 20) * 13)
        }
        let deep = (0..<10_000).map { i in
            reading(
                stream: 5, exponent: -1, bits: UInt64(200 + random.below(50)),
                observed: 1_700_000_000_000 + Int64(i) * 1000)
        }
        #expect(try BatchCodec.decode(encoded(wide)).readings == grouped(wide))
        #expect(try BatchCodec.decode(encoded(deep)).readings == deep)
    }

    @Test("every exponent from -128 to 127 comes back")
    func exponents() throws {
        let input = (-128...127).map {
            reading(stream: 1, exponent: Int8($0), bits: UInt64.max, observed: 5)
        }
        #expect(try BatchCodec.decode(encoded(input)).readings == input)
    }

    @Test("the header says what went in", arguments: [0, 60_000, Int64.max], Priority.allCases)
    func header(width: Int64, priority: Priority) throws {
        for start in [Int64.min, -60_000, 0, 1_700_000_040_000, Int64.max] {
            let input = [
                reading(stream: 1, observed: .max), reading(stream: 2, observed: .min),
                reading(stream: 1, observed: 17),
            ]
            let batch = BatchCodec.encode(
                input, bucketStart: Timestamp(milliseconds: start), bucketMilliseconds: width,
                revision: .max, priority: priority)
            let expected = BatchInfo(
                bucketStart: Timestamp(milliseconds: start), bucketMilliseconds: width,
                revision: .max, readings: 3, firstObservedAt: Timestamp(milliseconds: .min),
                lastObservedAt: Timestamp(milliseconds: .max), priority: priority)
            #expect(batch.info == expected)
            #expect(try BatchCodec.info(batch.bytes) == expected)
            #expect(try BatchCodec.decode(batch.bytes).info == expected)
        }
    }

    @Test("the same readings give the same bytes")
    func deterministic() {
        var random = SplitMix64(seed: 77)
        let input = readings(.mixed, count: 500, &random)
        #expect(encoded(input) == encoded(input))
    }

    @Test("streams of one device share their times: eight cost little more than one")
    func sharedTimes() {
        var random = SplitMix64(seed: 5)
        func frames(_ streams: Int) -> [Reading] {
            (0..<500).flatMap { row in
                let t = 1_700_000_000_000 + Int64(row) * 5000 + Int64(random.below(5000))
                return (0..<streams).map { reading(stream: UInt32($0 + 1), bits: 7, observed: t) }
            }
        }
        let one = encoded(frames(1)).count
        let eight = encoded(frames(8)).count
        #expect(eight < one + 60)
    }

    @Test("doubles that are decimals cost what the decimals cost")
    func decimals() {
        var random = SplitMix64(seed: 6)
        var level = 2000
        var doubles: [Reading] = []
        var integers: [Reading] = []
        for i in 0..<2000 {
            level += random.below(9) - 4
            let t = 1_700_000_000_000 + Int64(i) * 1000
            doubles.append(
                reading(
                    stream: 1, kind: .double, bits: (Double(level) / 100).bitPattern, observed: t))
            integers.append(
                reading(stream: 1, exponent: -2, bits: UInt64(level), observed: t))
        }
        #expect(encoded(doubles).count <= encoded(integers).count + 8)
    }

    @Test("a mark is refused as a programmer's error")
    func mark() async {
        await #expect(processExitsWith: .failure) {
            _ = BatchCodec.encode(
                [Reading(markCovering: 1)], bucketStart: Timestamp(milliseconds: 0),
                bucketMilliseconds: 60_000, revision: 0, priority: .live)
        }
    }
}
