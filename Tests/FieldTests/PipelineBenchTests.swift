// `sluice bench pipeline` as a person and as CI uses it: its keys, its words, and the committed ceiling of
// allocations a frame, which is a count and no time.

import CBench
import Field
import Testing

@Suite("Bench of the pipeline") struct PipelineBenchTests {
    private func run(
        _ arguments: [String], counting: Bool = true
    ) -> (status: RunStatus, console: Console) {
        let console = Console.captured()
        let program = Programs.sluice(allocations: counting ? sluice_allocations : nil)
        return (program.run(["sluice", "bench"] + arguments, console: console), console)
    }

    @Test("stays below its ceiling of allocations a frame and says what a reading costs")
    func ceiling() {
        let result = run([
            "pipeline", "--devices", "1500", "--frames", "4000", "--late", "8", "--check", "--json",
        ])
        #expect(result.status == .done, "\(result.console.complaints)")
        for key in [
            "\"nsPerReading\"", "\"readingsPerSecond\"", "\"bytesPerReading\"",
            "\"allocationsPerFrame\"", "\"ratioToFewDevices\"", "\"devices\": 1500",
            "\"frames\": 4000", "by hand", "gzip",
        ] { #expect(result.console.output.contains(key), "\(key)") }
    }

    @Test("a check without a counter fails: it would see nothing")
    func withoutCounter() {
        let result = run(
            ["pipeline", "--devices", "1000", "--frames", "1000", "--check"], counting: false)
        #expect(result.status == .foundWrong)
        #expect(result.console.complaints.contains { $0.contains("no count") })
    }

    @Test("says what it does not take")
    func wrong() {
        #expect(run(["pipeline", "file"]).status == .wrongUsage)
        #expect(run(["pipeline", "--devices", "0"]).status == .wrongUsage)
        #expect(run(["pipeline", "--effort", "much"]).status == .wrongUsage)
    }
}
