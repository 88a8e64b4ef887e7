// The duplicate memory and the answers that wait, each against a plain model.

import Model
import Simulator
import Testing

@testable import Pipeline

@Suite("Recent frames")
struct RecentFramesTests {
    private let window: Int64 = 1000

    @Test("a key is known for at least the window while few are new", arguments: 1...12)
    func model(seed: Int) {
        var random = SplitMix64(seed: UInt64(seed))
        let capacity = 1 << random.within(4...9)
        var recent = RecentFrames(capacity: capacity, windowMilliseconds: window)
        // When each key was inserted last, and how many keys were inserted before that.
        var inserted: [UInt64: (at: Int64, number: Int)] = [:]
        var now: Int64 = 5000
        var count = 0
        for _ in 0..<5000 {
            now += Int64(random.below(60))
            // The highest bit keeps clear of the value that marks a removed key.
            let key = UInt64(random.below(capacity * 2)) &* 0x9E37_79B9 >> 1
            let isKnown = recent.containsOrInsert(key, at: Timestamp(milliseconds: now))
            if let last = inserted[key] {
                let isYoung = now - last.at < window && count - last.number < capacity / 2 - 1
                if isYoung { #expect(isKnown, "seed \(seed): key \(key) forgotten early") }
                let isOld = now - last.at >= 2 * window + 120
                if isOld { #expect(!isKnown, "seed \(seed): key \(key) kept for too long") }
            } else {
                #expect(!isKnown, "seed \(seed): key \(key) was never there")
            }
            if !isKnown {
                count += 1
                inserted[key] = (now, count)
            }
        }
        #expect(count > 1000)
    }

    @Test("a removed key is new again and the others stay known")
    func removed() {
        var recent = RecentFrames(capacity: 16, windowMilliseconds: window)
        let now = Timestamp(milliseconds: 0)
        // Equal low bits: one run of neighbours.
        let keys: [UInt64] = [3, 19, 35, 51]
        for key in keys { _ = recent.containsOrInsert(key, at: now) }
        recent.remove(19)
        for key in [3, 35, 51] as [UInt64] {
            let isKnown = recent.containsOrInsert(key, at: now)
            #expect(isKnown)
        }
        let isKnown = recent.containsOrInsert(19, at: now)
        #expect(!isKnown)
    }

    @Test("the table never fills up: removals and insertions for ever end")
    func neverFull() {
        var recent = RecentFrames(capacity: 8, windowMilliseconds: .max)
        for key in UInt64(1)...2000 {
            let isKnown = recent.containsOrInsert(key, at: Timestamp(milliseconds: 0))
            #expect(!isKnown)
            recent.remove(key)
        }
    }

    @Test("a clock that jumps back forgets nothing early; keys 0 and 1 share a place")
    func clockAndZero() {
        var recent = RecentFrames(capacity: 64, windowMilliseconds: window)
        let start: Int64 = 1_000_000
        _ = recent.containsOrInsert(0, at: Timestamp(milliseconds: start))
        for back in [-500_000, -499_500, 0] as [Int64] {
            let now = Timestamp(milliseconds: start + back)
            let isKnown = recent.containsOrInsert(0, at: now)
            #expect(isKnown, "\(back) ms")
        }
        for now in [Int64.min, .max, 0, .min] {
            _ = recent.containsOrInsert(7, at: Timestamp(milliseconds: now))
        }
    }
}

@Suite("Pending answers")
struct PendingAnswersTests {
    @Test("leave in order, each when its position is durable, and once", arguments: 1...8)
    func model(seed: Int) {
        var random = SplitMix64(seed: UInt64(seed))
        var pending = PendingAnswers()
        var sent: [[UInt8]] = []
        let port = Answers { bytes, _ in sent.append(bytes) }
        var waiting: [(needs: UInt64, bytes: [UInt8])] = []
        var expected: [[UInt8]] = []
        var position: UInt64 = 0
        var committed: UInt64 = 0
        for _ in 0..<6000 {
            // More comes than goes for a while, so that the buffer is compacted in its middle.
            if random.chance(0.9) {
                position += UInt64(random.below(3))
                let bytes = random.bytes(random.below(20))
                pending.append(bytes, to: .connection(ConnectionID(1)), needs: position)
                waiting.append((position, bytes))
            } else {
                let step = UInt64(random.below(12))
                committed = max(committed, min(position, committed + step))
                let due = waiting.prefix { $0.needs <= committed }
                let flushes = port.flushes
                let count = pending.release(upTo: committed, through: port)
                #expect(count == due.count, "seed \(seed)")
                #expect(port.flushes == flushes + (due.isEmpty ? 0 : 1), "seed \(seed)")
                expected += due.map(\.bytes)
                waiting.removeFirst(due.count)
            }
            #expect(pending.count == waiting.count, "seed \(seed)")
        }
        _ = pending.release(upTo: .max, through: port)
        #expect(sent == expected + waiting.map(\.bytes), "seed \(seed)")
        #expect(pending.count == 0 && pending.byteCount == 0)
    }
}

@Suite("Recent frames of a device that seldom speaks")
struct SeldomTests {
    @Test("the same frame an hour later is new, every hour, whatever came in between")
    func hourly() {
        var recent = RecentFrames(capacity: 64, windowMilliseconds: 600_000)
        for hour in 0..<200 {
            let now = Timestamp(milliseconds: 1_795_000_000_000 + Int64(hour) * 3_600_000)
            let isKnown = recent.containsOrInsert(7, at: now)
            #expect(!isKnown, "hour \(hour)")
            let repeated = recent.containsOrInsert(
                7, at: Timestamp(milliseconds: now.milliseconds + 15_000))
            #expect(repeated)
            // A neighbour who speaks at another minute must not keep the key alive either.
            if hour % 3 == 0 {
                _ = recent.containsOrInsert(
                    UInt64(1000 + hour), at: Timestamp(milliseconds: now.milliseconds + 700_000))
            }
        }
    }

    @Test(
        "after a silence of hours or days a frame is new, wherever the stored times have gone round to"
    )
    func silence() {
        for window in [1000, 29_000, 120_000, 600_000, 7 * 86_400_000] as [Int64] {
            var at: Int64 = 1_795_000_000_000
            var recent = RecentFrames(capacity: 64, windowMilliseconds: window)
            for step in 1...400 {
                // Steps of a part of the window to many times the circle, and neighbours in between.
                at += window + 200 + window / 16 * Int64(step * step * step % 7919)
                let now = Timestamp(milliseconds: at)
                let isKnown = recent.containsOrInsert(77, at: now)
                #expect(!isKnown, "window \(window), step \(step)")
                let again = recent.containsOrInsert(77, at: now)
                #expect(again)
                let later = Timestamp(milliseconds: at + window / 2)
                _ = recent.containsOrInsert(UInt64(1000 + step), at: later)
                let inWindow = recent.containsOrInsert(77, at: later)
                #expect(inWindow, "window \(window), step \(step)")
                at += window / 2
            }
        }
    }

    @Test("a format's own window ends before the longest one")
    func window() {
        var recent = RecentFrames(capacity: 64, windowMilliseconds: 600_000)
        func at(_ seconds: Int64) -> Timestamp { Timestamp(milliseconds: seconds * 1000) }
        _ = recent.containsOrInsert(7, at: at(0), window: 120_000)
        let inside = recent.containsOrInsert(7, at: at(119), window: 120_000)
        let outside = recent.containsOrInsert(7, at: at(125), window: 120_000)
        #expect(inside && !outside)
    }
}
