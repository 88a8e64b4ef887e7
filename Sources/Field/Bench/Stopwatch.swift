// Measures what is compared in one run: the cases take turns, so that a machine that gets slower or
// faster does so for all of them. Owned by the bench verb, on the main thread.

import Host

/// Something to be measured.
struct BenchCase {
    var name: String
    /// Does the work `count` times.
    var run: (_ count: Int) -> Void
}

struct BenchResult {
    /// Median over the rounds.
    var nanoseconds: Double
    /// Median of the rounds' ratios to the first case.
    var ratio: Double
    /// Nil when the program does not count allocations.
    var allocations: Double?
}

enum Stopwatch {
    private static let rounds = 15
    private static let roundNanoseconds = 20_000_000.0

    /// Results in the order of `cases`.
    static func measure(
        _ cases: [BenchCase], allocations: (@Sendable () -> UInt64)?
    ) -> [BenchResult] {
        let runs = cases.map { count(for: $0) }
        let allocations = allocations.flatMap { counts($0) ? $0 : nil }
        var times = cases.map { _ in [Double]() }
        for _ in 0..<rounds {
            for (i, entry) in cases.enumerated() {
                times[i].append(time(entry, runs[i]) / Double(runs[i]))
            }
        }
        return cases.enumerated().map { i, entry in
            let ratios = zip(times[i], times[0]).map { $0 / $1 }
            let made = allocations.map { counter in
                let before = counter()
                entry.run(runs[i])
                return Double(counter() - before) / Double(runs[i])
            }
            return BenchResult(
                nanoseconds: median(times[i]), ratio: median(ratios), allocations: made)
        }
    }

    /// A counter that does not see an allocation is none.
    private static func counts(_ counter: @Sendable () -> UInt64) -> Bool {
        let before = counter()
        let made = [UInt64](repeating: before, count: 1000)
        return counter() > before && made.last == before
    }

    private static func count(for entry: BenchCase) -> Int {
        var count = 64
        while count < 1 << 24 {
            let spent = time(entry, count)
            if spent > roundNanoseconds / 4 {
                return max(1, Int(Double(count) * roundNanoseconds / spent))
            }
            count *= 4
        }
        return count
    }

    private static func time(_ entry: BenchCase, _ count: Int) -> Double {
        let start = SendingClock.threadNanoseconds
        entry.run(count)
        return max(1, SendingClock.threadNanoseconds - start)
    }

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
    }
}
