// Epochs against a plain model: a dictionary of arrays. What is added is in exactly one bucket, what is
// sealed is exactly what was added, and no two batches of a bucket share a revision.

import Batches
import Model
import Testing

private let now: Int64 = 1_700_000_040_000

private func settings(_ change: (inout EpochSettings) -> Void = { _ in }) -> EpochSettings {
    var settings = EpochSettings()
    settings.effort = .fast
    change(&settings)
    return settings
}

/// Key of a bucket as the model computes it, without any of the epoch's shortcuts.
private struct Key: Hashable {
    var start: Int64
    var width: Int64
    var priority: Priority

    init(_ reading: Reading, _ priority: Priority, _ settings: EpochSettings) {
        let observed = reading.observedAt.milliseconds
        let lag = Double(reading.receivedAt.milliseconds) - Double(observed)
        let isHistory =
            lag > Double(settings.backMilliseconds) || lag < -Double(settings.aheadMilliseconds)
        width = isHistory ? 0 : settings.bucketMilliseconds
        start =
            isHistory
            ? 0 : observed.flooredDivision(by: settings.bucketMilliseconds).quotient * width
        self.priority = priority
    }

    init(_ info: BatchInfo) {
        start = info.bucketStart.milliseconds
        width = info.bucketMilliseconds
        priority = info.priority
    }
}

@Suite("Epochs")
struct EpochTests {
    @Test("seals exactly what was added, bucket by bucket, for random traffic over many epochs")
    func againstModel() throws {
        for seed in UInt64(1)...12 {
            var random = SplitMix64(seed: seed)
            let settings = settings {
                $0.readingsPerBatch = 1 + random.below(200)
                $0.bucketMilliseconds = [1000, 60_000, 3_600_000][random.below(3)]
            }
            var epoch = Epoch(settings: settings)
            epoch.setPriority(.alarm, of: StreamID(3))
            epoch.setPriority(.backlog, of: StreamID(9))
            var seen: Set<[Int64]> = []
            for round in 0..<6 {
                var model: [Key: [Reading]] = [:]
                var count = 0
                for _ in 0..<random.below(8) {
                    let turn = traffic(
                        1 + random.below(120), at: now + Int64(round) * 10_000, &random)
                    epoch.add(turn.span)
                    for reading in turn {
                        let stream = reading.stream.rawValue
                        let priority: Priority =
                            stream == 3 ? .alarm : stream == 9 ? .backlog : .live
                        model[Key(reading, priority, settings), default: []].append(reading)
                    }
                    count += turn.count
                    let held = epoch.readingCount
                    #expect(held == count, "seed \(seed)")
                }
                let oldest = epoch.oldest
                #expect(oldest == model.values.joined().map(\.observedAt).min())
                let batches = epoch.seal()
                try compare(batches, model, limit: settings.readingsPerBatch, seed: seed)
                for batch in batches {
                    let info = batch.info
                    let key = [
                        info.bucketStart.milliseconds, info.bucketMilliseconds,
                        Int64(info.revision),
                    ]
                    #expect(seen.insert(key).inserted, "seed \(seed): \(key) twice")
                }
                let left = epoch.readingCount
                #expect(left == 0)
            }
        }
    }

    private func compare(
        _ batches: [SealedBatch], _ model: [Key: [Reading]], limit: Int, seed: UInt64
    ) throws {
        var sealed: [Key: [Reading]] = [:]
        for batch in batches {
            let decoded = try BatchCodec.decode(batch.bytes)
            #expect(decoded.info == batch.info)
            #expect(decoded.readings.count <= limit)
            sealed[Key(batch.info), default: []] += decoded.readings
        }
        #expect(sealed.count == model.count, "seed \(seed)")
        for (key, readings) in model {
            #expect(grouped(sealed[key] ?? []) == grouped(readings), "seed \(seed), \(key)")
        }
    }

    private func traffic(_ count: Int, at time: Int64, _ random: inout SplitMix64) -> [Reading] {
        (0..<count).map { i in
            let received = time + Int64(i)
            let observed =
                switch random.below(10) {
                case 0: received - Int64(random.below(200_000_000))
                case 1: received + Int64(random.below(1_200_000))
                case 2: random.pick([Int64.min, Int64.max, 0, -1])
                case 3: received - 48 * 3_600_000 + Int64(random.below(3)) - 1
                default: received - Int64(random.below(3000))
                }
            return reading(
                stream: UInt32(1 + random.below(12)), bits: random.next() & 0xFF,
                observed: observed, received: received)
        }
    }

    @Test("a late reading makes the next revision of its bucket")
    func lateReading() {
        var epoch = Epoch(settings: settings())
        var revisions: [UInt32] = []
        for epochNumber in 0..<4 {
            epoch.add(
                reading(stream: 1, observed: now, received: now + Int64(epochNumber) * 10_000),
                priority: .live)
            let batches = epoch.seal()
            #expect(batches.count == 1)
            #expect(batches.first?.info.bucketStart == Timestamp(milliseconds: now))
            revisions += batches.map(\.info.revision)
        }
        #expect(revisions == [0, 1, 2, 3])
    }

    @Test("times before the epoch of 1970 fall into buckets that begin before them")
    func negativeTimes() {
        var epoch = Epoch(settings: settings())
        epoch.add(reading(stream: 1, observed: -1), priority: .live)
        epoch.add(reading(stream: 1, observed: -60_000), priority: .live)
        epoch.add(reading(stream: 1, observed: -60_001), priority: .live)
        let starts = epoch.seal().map(\.info.bucketStart.milliseconds)
        #expect(starts == [-120_000, -60_000])
    }

    @Test("what lies outside the wheel goes to the history bucket, which counts its own revisions")
    func history() {
        var epoch = Epoch(settings: settings())
        for observed in [now - 48 * 3_600_000 - 1, now + 600_001, .min, .max] {
            epoch.add(reading(stream: 1, observed: observed, received: now), priority: .live)
        }
        epoch.add(reading(stream: 1, observed: now + 600_000, received: now), priority: .live)
        epoch.add(
            reading(stream: 1, observed: now - 48 * 3_600_000, received: now), priority: .live)
        let first = epoch.seal()
        #expect(first.map(\.info.isHistory) == [false, false, true])
        #expect(first.last?.info.readings == 4)
        epoch.add(reading(stream: 1, observed: 0, received: now), priority: .live)
        let second = epoch.seal()
        #expect(second.map(\.info.revision) == [1])
        #expect(second.map(\.info.bucketStart.milliseconds) == [0])
    }

    @Test("lanes are sealed apart, alarms first, and share the revisions of their bucket")
    func lanes() {
        var epoch = Epoch(settings: settings())
        epoch.setPriority(.backlog, of: StreamID(1))
        epoch.setPriority(.alarm, of: StreamID(2))
        let input = [1, 2, 3].map { reading(stream: $0, observed: now) }
        epoch.add(input.span)
        let batches = epoch.seal()
        #expect(batches.map(\.info.priority) == [.alarm, .live, .backlog])
        #expect(batches.map(\.info.revision) == [0, 1, 2])
        epoch.setPriority(.live, of: StreamID(1))
        epoch.add(input.span)
        let again = epoch.seal()
        #expect(again.map(\.info.priority) == [.alarm, .live])
        #expect(again.map(\.info.readings) == [1, 2])
    }

    @Test("readings that come together fall into the buckets into which each falls alone")
    func together() {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix64(seed: seed)
        let settings = settings()
        let width = settings.bucketMilliseconds
        let places: [Int64] = [
            0, now, -now, 1 << 62, -1 << 62, (1 << 62) - width, .max, .min, now - now % width,
        ]
        let lags: [Int64] = [
            0, settings.backMilliseconds, -settings.aheadMilliseconds, width, .max, .min, 1 << 61,
        ]
        for _ in 0..<200 {
            var together = Epoch(settings: settings)
            var alone = Epoch(settings: settings)
            if random.below(2) == 0 {
                together.setPriority(.alarm, of: StreamID(2))
                alone.setPriority(.alarm, of: StreamID(2))
            }
            var readings: [Reading] = []
            var observed = places[random.below(places.count)]
            var lag = lags[random.below(lags.count)]
            for _ in 0..<8 {
                if random.below(4) == 0 { observed = places[random.below(places.count)] }
                if random.below(4) == 0 { lag = lags[random.below(lags.count)] }
                let at = observed &+ Int64(random.below(5) - 2)
                readings.append(
                    Reading(
                        stream: StreamID(UInt32(1 + random.below(3))),
                        value: .decimal(1, exponent: 0), quality: [],
                        observedAt: Timestamp(milliseconds: at),
                        receivedAt: Timestamp(
                            milliseconds: at &+ lag &+ Int64(random.below(3) - 1))))
            }
            together.add(readings.span)
            for reading in readings { alone.add([reading].span) }
            #expect(together.oldest == alone.oldest, "seed \(seed)")
            let (a, b) = (together.seal(), alone.seal())
            #expect(a.map(\.bytes) == b.map(\.bytes), "seed \(seed)")
        }
    }

    @Test("more buckets than allowed go to history and nothing is lost")
    func bucketLimit() {
        var epoch = Epoch(settings: settings { $0.maximumBuckets = 5 })
        for i in 0..<50 {
            let at = now - Int64(i) * 60_000
            epoch.add(reading(stream: 1, observed: at, received: now), priority: .live)
        }
        let (buckets, count) = (epoch.bucketCount, epoch.readingCount)
        #expect(buckets == 6)
        #expect(count == 50)
        let batches = epoch.seal()
        #expect(batches.map(\.info.readings).reduce(0, +) == 50)
        #expect(batches.last?.info.isHistory == true)
    }

    @Test("an empty epoch seals nothing")
    func empty() {
        var epoch = Epoch(settings: settings())
        let batches = epoch.seal()
        let oldest = epoch.oldest
        #expect(batches.isEmpty)
        #expect(oldest == nil)
    }

    @Test("restored revisions go on where the run before ended")
    func restore() {
        var before = Epoch(settings: settings())
        for _ in 0..<3 {
            before.add(reading(stream: 1, observed: now), priority: .live)
            before.add(reading(stream: 1, observed: 0, received: now), priority: .live)
            _ = before.seal()
        }
        var after = Epoch(settings: settings())
        after.restore(revisions: before.revisions.reversed())
        after.add(reading(stream: 1, observed: now), priority: .live)
        after.add(reading(stream: 1, observed: 0, received: now), priority: .live)
        after.add(reading(stream: 1, observed: now + 60_000), priority: .live)
        let batches = after.seal()
        #expect(batches.map(\.info.revision) == [3, 0, 3])
    }

    @Test("a bounded table of revisions never gives a pair twice, also across restores")
    func boundedRevisions() {
        for seed in UInt64(1)...20 {
            var random = SplitMix64(seed: seed)
            var revisions = Revisions(capacity: 4)
            var seen: Set<[Int64]> = []
            for _ in 0..<2_000 {
                let start: Int64? =
                    random.below(20) == 0 ? nil : Int64(random.below(12)) * 60_000
                let revision = revisions.next(start)
                #expect(seen.insert([start ?? -1, Int64(revision)]).inserted, "seed \(seed)")
                #expect(revisions.entries.count <= 5)
                if random.below(50) == 0 {
                    var again = Revisions(capacity: 4)
                    again.restore(revisions.entries)
                    revisions = again
                }
            }
        }
    }
}
