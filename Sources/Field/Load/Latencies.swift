// Latencies of one run: every one is kept, percentiles are exact (nearest rank).

import Formats

package struct Latencies: Sendable {
    private var nanoseconds: [Int64] = []

    package init() {}

    package var count: Int { nanoseconds.count }

    package mutating func add(_ latency: Int64) { nanoseconds.append(latency) }

    /// Milliseconds at rank ⌈share · n⌉, nil without any.
    package func milliseconds(_ shares: [Double]) -> [Double?] {
        let sorted = nanoseconds.sorted()
        return shares.map { share in
            guard !sorted.isEmpty else { return nil }
            let rank = Int((share * Double(sorted.count)).rounded(.up))
            return Double(sorted[min(sorted.count, max(1, rank)) - 1]) / 1e6
        }
    }

    package var words: String { words(.english) }

    /// `p50 1.2 ms, p99 3.4 ms, max 5.6 ms`
    package func words(
        _ language: Language,
        _ shares: KeyValuePairs<String, Double> = ["p50": 0.5, "p99": 0.99, "max": 1]
    ) -> String {
        zip(shares, milliseconds(shares.map(\.value))).map { share, value in
            value.map { language(.latencyPart, share.key, Words.fixed($0, 2)) }
                ?? "\(share.key) –"
        }.joined(separator: ", ")
    }

    var json: JSON {
        let values = milliseconds([0.5, 0.9, 0.99, 0.999, 1]).map { value -> JSON in
            value.map { .literal(Words.fixed($0, 3)) } ?? .null
        }
        return .object(
            zip(["p50", "p90", "p99", "p999", "max"], values).map { ($0, $1) })
    }
}
