// The search for the highest rate without loss, against receivers of known speed; the comparison of two
// results; latencies' percentiles. A harness that cannot fail proves nothing.

import Field
import Formats
import Testing

@Suite("Load search and comparison") struct LoadSearchTests {
    @Test(
        "the search comes within a tenth of what a receiver takes",
        arguments: [300.0, 1000, 9_000, 10_000, 10_001, 47_000, 200_000, 900_000])
    func search(truth: Double) {
        for start in [500.0, 10_000, 100_000] {
            var search = RateSearch(start: start)
            while let rate = search.next { search.take(rate, isLossless: rate <= truth) }
            #expect(search.trials <= 24)
            #expect(search.lossless <= truth)
            #expect(search.lossless >= truth * 0.9, "\(truth) from \(start): \(search.lossless)")
        }
    }

    @Test("a receiver that loses at every rate has none, and the search ends")
    func never() {
        var search = RateSearch(start: 10_000)
        while let rate = search.next { search.take(rate, isLossless: false) }
        #expect(search.lossless == 0 && search.trials < 24)
    }

    @Test("one lucky trial above a rate that fails does not decide")
    func luck() {
        var search = RateSearch(start: 10_000)
        search.take(10_000, isLossless: true)
        search.take(16_000, isLossless: true)
        search.take(12_000, isLossless: false)
        #expect(search.lossless < 12_000)
    }

    private func json(_ text: String) throws -> JSONNode {
        try JSONNode.parse(Array(text.utf8), file: "result")
    }

    @Test("a figure that is worse than its threshold allows fails, one at the limit does not")
    func thresholds() throws {
        let old = try json(
            "{\"gatewayCpuNsPerFrame\": 1000, \"ratioToBareSink\": 0.5, "
                + "\"answerLatencyMs\": {\"p99\": 10}, \"unaccounted\": 0}")
        func isGood(_ text: String, _ thresholds: [String] = []) throws -> Bool {
            LoadComparison(
                old, try json(text), rules: try LoadComparison.rules(thresholds)
            ).isGood
        }
        let same = "\"ratioToBareSink\": 0.5, \"answerLatencyMs\": {\"p99\": 10}"
        #expect(try isGood("{\"gatewayCpuNsPerFrame\": 1250, \(same)}"))
        #expect(try !isGood("{\"gatewayCpuNsPerFrame\": 1251, \(same)}"))
        #expect(try isGood("{\"gatewayCpuNsPerFrame\": 900, \(same)}"))
        #expect(
            try !isGood("{\"gatewayCpuNsPerFrame\": 1101, \(same)}", ["gatewayCpuNsPerFrame=10%"]))
        #expect(try !isGood("{\(same)}"), "a figure that is gone is no improvement")
        #expect(
            try !isGood(
                "{\"gatewayCpuNsPerFrame\": 1, \"ratioToBareSink\": 0.3, "
                    + "\"answerLatencyMs\": {\"p99\": 10}}"))
        #expect(
            try !isGood(
                "{\"gatewayCpuNsPerFrame\": 1, \"ratioToBareSink\": 0.5, "
                    + "\"answerLatencyMs\": {\"p99\": 21}}"))
        for wrong in ["unaccounted", "duplicatesInStore", "answeredMissing", "framesUnanswered"] {
            #expect(
                try !isGood("{\"gatewayCpuNsPerFrame\": 1, \(same), \"\(wrong)\": 1}"), "\(wrong)")
        }
        for text in ["x", "=5", "x=", "x=-1", "x=many"] {
            #expect(throws: UsageError.self) { try LoadComparison.rules([text]) }
        }
    }

    @Test("percentiles are those of the nearest rank")
    func percentiles() {
        var latencies = Latencies()
        for i in (1...1000).shuffled() { latencies.add(Int64(i) * 1_000_000) }
        #expect(latencies.milliseconds([0.5, 0.9, 0.99, 0.999, 1]) == [500, 900, 990, 999, 1000])
    }
}
