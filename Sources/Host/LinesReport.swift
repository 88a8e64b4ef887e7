// Lines in words: for /status, `sluice status` and /metrics.

import Exchanges
import Formats
import Model
import Pipeline

enum LinesReport {
    /// Rows that status shows of each kind; the dead devices come first.
    private static let limit = 256

    /// A row a line: those that were opened, and those that we cannot open.
    static func lines(_ statistics: IntakeStatistics, _ now: Instant) -> [JSON] {
        var rows: [JSON] = []
        for report in statistics.lines.prefix(limit) {
            let state = statistics.lineStates[report.source]
            let dead = report.devices.filter(\.isDead)
            rows.append(
                .object(
                    [
                        ("source", .string(statistics.sources[report.source].name)),
                        ("line", .string(report.name)),
                        ("place", .string(state?.place ?? "")), ("isOpen", .boolean(true)),
                        ("isRegistered", .boolean(report.isRegistered)),
                        ("lastAnswerMsAgo", integer(report.lastAnswerMillisecondsAgo)),
                        ("nextPollMs", integer(report.nextPollMilliseconds)),
                    ] + counts(report.counts) + [
                        ("heartbeats", .unsigned(report.heartbeats)),
                        ("echoes", .unsigned(report.echoes)),
                        ("paired", .unsigned(report.paired)),
                        ("devicesDead", .integer(Int64(dead.count))),
                        (
                            "dead",
                            .string(dead.prefix(16).map(\.name).joined(separator: " "))
                        ),
                    ]))
        }
        for (number, state) in statistics.lineStates.sorted(by: { $0.key < $1.key })
        where !state.isOpen {
            rows.append(
                .object([
                    ("source", .string(statistics.sources[number].name)), ("line", .string("")),
                    ("place", .string(state.place)), ("isOpen", .boolean(false)),
                    ("attempts", .unsigned(state.attempts)),
                    (
                        "nextAttemptMs",
                        state.nextAttempt.map { .integer($0.milliseconds(since: now)) } ?? .null
                    ),
                    ("lastError", .string(state.lastError ?? "connecting")),
                ]))
        }
        return rows
    }

    /// A row a polled device.
    static func devices(_ statistics: IntakeStatistics) -> [JSON] {
        var rows: [(isDead: Bool, json: JSON)] = []
        for line in statistics.lines {
            for device in line.devices {
                let row: [(String, JSON)] =
                    [
                        ("source", .string(statistics.sources[line.source].name)),
                        ("line", .string(line.name)), ("device", .string(device.name)),
                        ("isDead", .boolean(device.isDead)),
                        ("lastAnswerMsAgo", integer(device.lastAnswerMillisecondsAgo)),
                        ("nextPollMs", integer(device.nextPollMilliseconds)),
                    ] + counts(device.counts)
                rows.append((device.isDead, .object(row)))
            }
        }
        let dead = rows.filter(\.isDead)
        return (dead + rows.filter { !$0.isDead }).prefix(limit).map(\.json)
    }

    private static func integer(_ value: Int64?) -> JSON { value.map { .integer($0) } ?? .null }

    private static func counts(_ counts: PollCounts) -> [(String, JSON)] {
        [
            ("sent", .unsigned(counts.sent)), ("answered", .unsigned(counts.answered)),
            ("timedOut", .unsigned(counts.timedOut)),
            ("exceptions", .unsigned(counts.exceptions)),
            ("mismatched", .unsigned(counts.mismatched)), ("skipped", .unsigned(counts.skipped)),
        ]
    }

    /// Name, help and rows of the counters over all lines of each source.
    static func metrics(
        _ statistics: IntakeStatistics
    ) -> [(name: String, help: String, rows: [MetricsText.Row<UInt64>])] {
        guard !statistics.lines.isEmpty else { return [] }
        func rows(_ value: (PollCounts) -> UInt64) -> [MetricsText.Row<UInt64>] {
            statistics.sources.indices.map { number in
                let lines = statistics.lines.filter { $0.source == number }
                return (
                    [("source", statistics.sources[number].name)],
                    lines.reduce(0) { $0 &+ value($1.counts) }
                )
            }
        }
        return [
            ("polls_sent_total", "Requests sent to polled devices.", rows(\.sent)),
            ("polls_answered_total", "Polls that were answered.", rows(\.answered)),
            ("polls_timed_out_total", "Polls without an answer in time.", rows(\.timedOut)),
            ("polls_exception_total", "Devices that answered they cannot.", rows(\.exceptions)),
            ("polls_mismatched_total", "Answers to nothing asked.", rows(\.mismatched)),
        ]
    }
}
