// What an intake is told at start: its sources, its limits, and how it reaches the other stages.

package import Catalog
package import Exchanges
package import Formats
package import Model
import Ring
import Spool

/// One source as the intake sees it.
package struct IntakeSource {
    package var name: String
    package var formats: [Format]
    package var policy: DevicePolicy
    package var timeRule: TimeRule
    package var lines = LineSettings()
    /// Identity of the device whose frames name none; empty: such frames are refused.
    package var unnamed = ""
    /// Nobody chose the formats: all there are. A frame in which one finds no device may be another's.
    package var triesAll = false
    /// The conversation that its datagrams belong to; nil: each is a frame by itself. Its `formats` are
    /// set by the intake.
    package var exchange: ExchangeSettings?

    package init(name: String, formats: [Format], policy: DevicePolicy, timeRule: TimeRule) {
        self.name = name
        self.formats = formats
        self.policy = policy
        self.timeRule = timeRule
    }
}

/// Of bodies that come in several frames and are not yet whole.
package struct BodyLimits: Sendable {
    package var bodies = 64
    /// Of all together.
    package var bytes = 256 << 10
    /// From the first part of a body to its last. At most `spool.duplicateWindow`: so long the journal
    /// keeps the parts that a cut covers.
    package var milliseconds: Int64 = 120_000

    package init() {}
}

extension Timestamp {
    /// A wall clock before this is taken as not yet set: 2025-01-01T00:00:00Z.
    static let clockSetAfter = Timestamp(milliseconds: 1_735_689_600_000)
}

package struct IntakeSettings: Sendable {
    /// A group commit happens at this many bytes, …
    package var commitBytes = 64 << 10
    /// … this long after the first frame that waits for an answer, …
    package var commitAnswerMilliseconds: Int64 = 20
    /// … or this long after the first that does not (design.md section 4, Answers).
    package var commitMilliseconds: Int64 = 250
    /// Counters of refused frames are made durable at least this often.
    package var countersMilliseconds: Int64 = 10_000
    /// Journal bytes handed over and not yet durable, above which the intake has no room.
    package var journalBytesInFlight = 4 << 20
    package var answersWaiting = 65_536
    package var duplicateSlots = 1 << 18
    package var duplicateWindowMilliseconds: Int64 = 120_000
    package var clockSetAfter = Timestamp.clockSetAfter
    package var bodies = BodyLimits()
    /// Of meters that encipher.
    package var keys = DeviceKeys.none

    package init() {}
}

/// How full the intake's bounds are.
package struct IntakeLevels: Sendable {
    package var ringFree: Int
    package var readingsUnpublished: Int
    /// Collected or handed over, not yet durable.
    package var journalBytes: Int
    package var answersWaiting: Int
    package var devices: Int
    package var streams: Int
    /// Registered clients and open sessions of all exchanges.
    package var clients: Int
}

/// What travels beside a mark in the ring: why it was put there and the intake's counters at its place.
package struct MarkNote: Sendable {
    package enum Purpose: Sendable {
        case cut
        case probe(LedgerProbe)
    }

    package var purpose: Purpose
    package var counters: IntakeCounters

    package init(purpose: Purpose, counters: IntakeCounters) {
        self.purpose = purpose
        self.counters = counters
    }
}

/// How the intake reaches the other stages. The closures hop to the other stage's queue.
package struct IntakePorts {
    package var toSpool: (SpoolJob) -> Void
    /// Puts a note where the batcher finds it when it drains the mark; called before publishing it.
    package var note: (MarkNote) -> Void
    /// Tells the batcher of new or changed streams that are not live, before their readings are published.
    package var lanes: ([Stream]) -> Void
    package var pokeBatcher: () -> Void
    package var answers: any AnswerPort
    /// Asks for a call of `timer()` at that time or somewhat later; an earlier wish still holds.
    package var wakeAt: (Instant) -> Void

    package init(
        toSpool: @escaping (SpoolJob) -> Void, note: @escaping (MarkNote) -> Void,
        lanes: @escaping ([Stream]) -> Void, pokeBatcher: @escaping () -> Void,
        answers: any AnswerPort,
        wakeAt: @escaping (Instant) -> Void
    ) {
        self.toSpool = toSpool
        self.note = note
        self.lanes = lanes
        self.pokeBatcher = pokeBatcher
        self.answers = answers
        self.wakeAt = wakeAt
    }
}
