// What status says of the uplink, with the time that the backlog still needs; and its settings from the
// configuration. Values only.

package import Formats
package import Model
package import Uplink

package enum UplinkReport {
    /// `bytesPending`: of the spool, for the estimate. `wall`: this machine's, of `now`.
    package static func json(
        _ uplink: ForwarderStatus, store: String?, bytesPending: UInt64, now: Instant,
        wall: Timestamp
    ) -> JSON {
        func seconds(until: Instant?) -> JSON {
            until.map { .integer($0.milliseconds(since: now) / 1000) } ?? .null
        }
        return .object([
            ("store", store.map { .string($0) } ?? .null),
            ("state", .string(uplink.state.rawValue)),
            ("stateSeconds", .integer(now.milliseconds(since: uplink.since) / 1000)),
            ("inFlight", .integer(Int64(uplink.inFlight))),
            ("backlogInFlight", .integer(Int64(uplink.backlogInFlight))),
            ("delayed", .integer(Int64(uplink.delayed))),
            ("credit", .integer(Int64(uplink.credit))),
            ("nextAttemptSeconds", seconds(until: uplink.nextAttempt)),
            ("pacedSeconds", seconds(until: uplink.pacedUntil)),
            ("backlogPacedSeconds", seconds(until: uplink.backlogPacedUntil)),
            ("backlogBytesPerSecond", .integer(Int64(uplink.backlogBytesPerSecond))),
            (
                "drainedInSeconds",
                drainSeconds(uplink, bytesPending: bytesPending).map { .integer($0) } ?? .null
            ),
            (
                "storeClockAheadMs",
                clockAhead(uplink, now: now, wall: wall).map { .integer($0) } ?? .null
            ),
            ("lastError", uplink.lastError.map { .string($0) } ?? .null),
            ("connections", .unsigned(uplink.connections)),
            ("batchesSent", .unsigned(uplink.batchesSent)),
            ("batchesAcknowledged", .unsigned(uplink.batchesAcknowledged)),
            ("batchesRejected", .unsigned(uplink.batchesRejected)),
            ("retries", .unsigned(uplink.retries)),
            ("bytesSent", .unsigned(uplink.bytesSent)),
            ("bytesReceived", .unsigned(uplink.bytesReceived)),
        ])
    }

    /// How much later the store's clock is than `wall`, off by a journey at most; nil: it has not told.
    package static func clockAhead(
        _ uplink: ForwarderStatus, now: Instant, wall: Timestamp
    ) -> Int64? {
        guard let told = uplink.storeTime, let at = uplink.storeTimeAt else { return nil }
        return told.milliseconds &+ now.milliseconds(since: at) &- wall.milliseconds
    }

    /// While the backlog drains, almost all that is pending is backlog, and it goes at the rate of the
    /// last minute. 0: nothing waits; nil: it does not drain now.
    package static func drainSeconds(_ uplink: ForwarderStatus, bytesPending: UInt64) -> Int64? {
        if bytesPending == 0 { return 0 }
        guard uplink.backlogBytesPerSecond > 0 else { return nil }
        return Int64(clamping: bytesPending / UInt64(uplink.backlogBytesPerSecond))
    }
}

extension Configuration {
    static let uplinkKeys: [Key] = [
        Key("uplink", .group, "{}", "What the way to the store may cost."),
        Key(
            "uplink.inFlight", .count(1...64), "8",
            "Batches that may wait for the store's answer at the same time."),
        Key(
            "uplink.bytesPerSecond", .size(128...(1 << 32)), "",
            "For live batches and backlog together; alarms never wait. When it is left out, no limit."
        ).shown("\"64KB\""),
        Key(
            "uplink.bytesPerDay", .size(1024...(1 << 44)), "",
            "In any 24 hours since the start; then only alarms go. When it is left out, no limit."
        ).shown("\"20MB\""),
        Key("uplink.backlog", .group, "{}", "What waited out an outage, behind what is fresh."),
        Key(
            "uplink.backlog.bytesPerSecond", .size(128...(1 << 32)), "",
            "For the backlog alone; when it is left out, what the others leave."
        ).shown("\"32KB\""),
        Key(
            "uplink.backlog.windows", .texts, "[]",
            "Times of the day (UTC) when it may go: [\"22:00-06:00\"]; empty: always."),
        Key(
            "uplink.firstBackoff", .duration(10...60_000), "\"1s\"",
            "Longest wait before the second attempt to connect; it doubles with each failure."),
        Key(
            "uplink.longestBackoff", .duration(10...3_600_000), "\"60s\"",
            "Longest wait before any attempt to connect."),
    ]

    package struct Uplink: Hashable, Sendable {
        package var inFlight = 8
        package var pace = PaceSettings()
        package var firstBackoff: Int64 = 1000
        package var longestBackoff: Int64 = 60_000
        package init() {}

        func apply(to settings: inout ForwarderSettings) {
            settings.inFlight = inFlight
            settings.pace = pace
            settings.firstBackoffMilliseconds = firstBackoff
            settings.longestBackoffMilliseconds = max(firstBackoff, longestBackoff)
        }
    }
}

extension Configuration.Uplink {
    init(_ values: KeyValues, _ reader: inout ConfigurationReader) {
        self.init()
        func number(_ name: String) -> Int? { values.number("uplink.\(name)").map { Int($0) } }
        inFlight = number("inFlight") ?? inFlight
        pace.bytesPerSecond = number("bytesPerSecond") ?? 0
        pace.bytesPerDay = number("bytesPerDay") ?? 0
        pace.backlogBytesPerSecond = number("backlog.bytesPerSecond") ?? 0
        for placed in values.texts("uplink.backlog.windows") {
            guard let window = DayWindow(placed.text) else {
                reader.complain(
                    placed.place, "\"\(Shown.text(placed.text))\" is no time of the day",
                    "write \"22:00-06:00\", in UTC")
                continue
            }
            pace.backlogWindows.append(window)
        }
        firstBackoff = values.number("uplink.firstBackoff") ?? firstBackoff
        longestBackoff = values.number("uplink.longestBackoff") ?? longestBackoff
    }
}
