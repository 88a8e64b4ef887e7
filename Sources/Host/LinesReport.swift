// Lines in words: for /status, `sluice status` and /metrics.

import Exchanges
import Formats
import Model
import Pipeline

enum LinesReport {
    /// Devices of a line that status names one by one; beyond that the dead ones are counted.
    private static let devicesNamed = 256
    private static let linesNamed = 256

    /// What a line that we open is doing.
    static func state(_ state: LineState?, _ now: Instant) -> JSON {
        guard let state else { return .null }
        return .object([
            ("place", .string(state.place)), ("isOpen", .boolean(state.isOpen)),
            ("attempts", .unsigned(state.attempts)),
            (
                "nextAttemptMs",
                state.nextAttempt.map { .integer($0.milliseconds(since: now)) } ?? .null
            ),
            ("lastError", state.lastError.map { .string($0) } ?? .null),
        ])
    }

    static func lines(_ reports: [LineReport]) -> [JSON] {
        reports.prefix(linesNamed).map { report in
            .object(
                [
                    ("name", .string(report.name)),
                    ("isRegistered", .boolean(report.isRegistered)),
                    ("heartbeats", .unsigned(report.heartbeats)),
                    ("echoes", .unsigned(report.echoes)),
                    ("lastAnswerMsAgo", integer(report.lastAnswerMillisecondsAgo)),
                    ("nextPollMs", integer(report.nextPollMilliseconds)),
                    ("polls", counts(report.counts)),
                    (
                        "devicesDead",
                        .integer(Int64(report.devices.count { $0.isDead }))
                    ),
                    ("devices", .array(report.devices.prefix(devicesNamed).map(device))),
                ])
        }
    }

    private static func device(_ device: LineReport.DeviceReport) -> JSON {
        .object([
            ("name", .string(device.name)), ("isDead", .boolean(device.isDead)),
            ("lastAnswerMsAgo", integer(device.lastAnswerMillisecondsAgo)),
            ("nextPollMs", integer(device.nextPollMilliseconds)),
            ("polls", counts(device.counts)),
        ])
    }

    private static func integer(_ value: Int64?) -> JSON { value.map { .integer($0) } ?? .null }

    private static func counts(_ counts: PollCounts) -> JSON {
        .object([
            ("sent", .unsigned(counts.sent)), ("answered", .unsigned(counts.answered)),
            ("timedOut", .unsigned(counts.timedOut)),
            ("exceptions", .unsigned(counts.exceptions)),
            ("mismatched", .unsigned(counts.mismatched)), ("skipped", .unsigned(counts.skipped)),
        ])
    }

    /// Name, help and rows of the counters over all lines of each source.
    static func metrics(
        _ statistics: IntakeStatistics
    ) -> [(name: String, help: String, rows: [(String, UInt64)])] {
        guard !statistics.lines.isEmpty else { return [] }
        func rows(_ value: (PollCounts) -> UInt64) -> [(String, UInt64)] {
            statistics.sources.indices.map { number in
                let lines = statistics.lines.filter { $0.source == number }
                return (
                    "{source=\"\(statistics.sources[number].name)\"}",
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
