// What is polled on a line: requests with their devices and intervals, and how patient the poller is.
// Plain values, made once from the configuration.

package import Formats
package import Model

/// One request that is sent again and again.
package struct PollRequest: Sendable {
    /// Number of the format in its source's list.
    package var format: Int
    package var request: FormatRequest
    /// As `FormatRequest.arguments` gave them.
    package var arguments: [ParameterValue]
    package var intervalMilliseconds: Int64
    /// Names of the lines that have the device; empty: every line of the source.
    package var lines: [String]

    package init(
        format: Int, request: FormatRequest, arguments: [ParameterValue],
        intervalMilliseconds: Int64, lines: [String] = []
    ) {
        self.format = format
        self.request = request
        self.arguments = arguments
        self.intervalMilliseconds = intervalMilliseconds
        self.lines = lines
    }

    /// What its device is called on the line.
    package var device: String { request.device(arguments) }
}

package struct PollSettings: Hashable, Sendable {
    /// From the end of the request to the answer.
    package var timeoutMilliseconds: Int64 = 1000
    /// Attempts after the first.
    package var retries = 2
    /// Silence between an answer and the next request.
    package var gapMilliseconds: Int64 = 0
    /// Time that a byte takes on the wire; 0 where the network carries it.
    package var byteNanoseconds: UInt64 = 0
    /// Polls in a row without answer that make a device dead.
    package var deadAfter = 3
    /// Longest time between two attempts to wake a dead device.
    package var longestBackoffMilliseconds: Int64 = 300_000
    /// Live polls that go before each attempt at a dead device while some are due.
    package var livePollsPerAttempt = 4

    package init() {}

    /// 3.5 characters of 11 bits at the line's speed (Modbus over serial line 1.02, section 2.5.1.1;
    /// above 19,200 baud the fixed 1.75 ms), or the configured silence when that is longer.
    package var gapNanoseconds: UInt64 {
        let characters = byteNanoseconds == 0 ? 0 : max(byteNanoseconds * 7 / 2, 1_750_000)
        return max(characters, UInt64(max(0, gapMilliseconds)) * 1_000_000)
    }

    /// Settings with the speed of a serial line: start, 8 data, parity or second stop, stop.
    package mutating func setSpeed(baud: Int, bitsPerByte: Int) {
        byteNanoseconds = UInt64(bitsPerByte) * 1_000_000_000 / UInt64(max(1, baud))
    }
}

package struct PollPlan: Sendable {
    package var requests: [PollRequest] = []
    package var settings = PollSettings()

    package init() {}

    /// The plan for the line of that name.
    package func forLine(_ name: String) -> PollPlan {
        var plan = self
        plan.requests = requests.filter { $0.lines.isEmpty || $0.lines.contains(name) }
        return plan
    }
}

/// What became of a line's or a device's polls since it was opened.
package struct PollCounts: Hashable, Sendable {
    /// Attempts that left, repetitions among them.
    package var sent: UInt64 = 0
    package var answered: UInt64 = 0
    /// Attempts without an answer in time.
    package var timedOut: UInt64 = 0
    /// Answers that say that the device cannot.
    package var exceptions: UInt64 = 0
    /// Answers that fit no request in flight: late ones, of another device, to another request.
    package var mismatched: UInt64 = 0
    /// Turns of the schedule that passed because the line was busy or the device dead.
    package var skipped: UInt64 = 0

    package init() {}
}

/// One device of a line as status shows it.
package struct PolledDevice: Sendable {
    package var name: String
    package var isDead: Bool
    package var counts: PollCounts
    package var lastAnswerAt: Instant?
    /// When it is asked next.
    package var nextAt: Instant?
}
