// What a source's lines (connections, ttys) need besides formats: a poll plan, patterns of the DTU at
// their other end, both directions heard.

package import Exchanges

package struct LineSettings: Sendable {
    /// What is asked on each line; without requests nothing is.
    package var plan = PollPlan()
    package var patterns = LinePatterns()
    /// Nothing is understood before the line has said its name.
    package var needsRegistration = false
    /// Requests of another master are heard beside the answers, and pair with them.
    package var hearsRequests = false

    package init() {}

    /// Frames of the source belong to conversations.
    package var isUsed: Bool {
        !plan.requests.isEmpty || !patterns.isEmpty || hearsRequests
    }
}

/// One line as status shows it.
package struct LineReport: Sendable {
    /// What the line calls itself; empty when it has not said so.
    package var name: String
    package var source: Int
    package var connection: ConnectionID
    package var isRegistered: Bool
    package var counts: PollCounts
    package var heartbeats: UInt64
    /// Our own requests, heard back from a two-wire adapter.
    package var echoes: UInt64
    /// Answers that found the request of another master.
    package var paired: UInt64
    package var lastAnswerMillisecondsAgo: Int64?
    package var nextPollMilliseconds: Int64?
    package var devices: [DeviceReport]

    package struct DeviceReport: Sendable {
        package var name: String
        package var isDead: Bool
        package var counts: PollCounts
        package var lastAnswerMillisecondsAgo: Int64?
        package var nextPollMilliseconds: Int64?
    }
}
