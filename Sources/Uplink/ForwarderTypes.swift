// What goes into and comes out of the forwarder: settings, events, effects, status. Values only.

package import Model

/// A batch as the spool leases it out. It stays in the spool until `acknowledged` or `rejected`.
package struct OutgoingBatch: Hashable, Sendable {
    package var sequence: UInt64
    package var priority: Priority
    package var readings: UInt32
    package var bytes: [UInt8]
    /// It has waited so long that fresh batches go before it, whatever its priority.
    package var isBacklog: Bool

    package init(
        sequence: UInt64, priority: Priority, readings: UInt32, bytes: [UInt8],
        isBacklog: Bool = false
    ) {
        self.sequence = sequence
        self.priority = priority
        self.readings = readings
        self.bytes = bytes
        self.isBacklog = isBacklog
    }

    package var lane: Priority { isBacklog ? .backlog : priority }
}

/// How many batches may be leased, so that alarms find room behind live batches and these behind the
/// backlog.
package struct LeaseRoom: Hashable, Sendable {
    /// Of all lanes together.
    package var all: Int
    /// Live and backlog together.
    package var ordinary: Int
    package var backlog: Int

    package init(all: Int, ordinary: Int, backlog: Int) {
        self.all = all
        self.ordinary = ordinary
        self.backlog = backlog
    }

    /// As many of each lane as of all.
    package init(_ all: Int) { self.init(all: all, ordinary: all, backlog: all) }

    /// `batches` were lent, and a lane took all it was allowed: it may have more.
    func isNarrowed(by batches: [OutgoingBatch]) -> Bool {
        let ordinaryLent = batches.count { $0.lane != .alarm }
        let backlogLent = batches.count { $0.lane == .backlog }
        return ordinary < all && ordinaryLent >= ordinary
            || backlog < all && backlogLent >= backlog
    }
}

package struct ForwarderSettings: Hashable, Sendable {
    /// The gateway's name, `[A-Za-z0-9._:-]{1,64}`.
    package var gateway: String
    package var incarnation: Incarnation
    package var software: String
    /// Most batches in flight, whatever the store allows. From 4 on one place is kept for alarms; the
    /// backlog never takes more than half.
    package var inFlight = 8
    package var pace = PaceSettings()
    /// Most bytes asked of the spool at a time (one batch is always given).
    package var leaseBytes = 1 << 20
    package var connectTimeoutMilliseconds: Int64 = 30_000
    package var acknowledgementTimeoutMilliseconds: Int64 = 30_000
    package var pingAfterMilliseconds: Int64 = 10_000
    package var silenceLimitMilliseconds: Int64 = 30_000
    package var firstBackoffMilliseconds: Int64 = 1_000
    package var longestBackoffMilliseconds: Int64 = 60_000

    package init(gateway: String, incarnation: Incarnation, software: String) {
        precondition(UplinkProtocol.isName(gateway), "a gateway's name is [A-Za-z0-9._:-]{1,64}")
        self.gateway = gateway
        self.incarnation = incarnation
        self.software = software
    }
}

package enum ForwarderState: String, Sendable {
    /// Not started, or stopped.
    case stopped
    /// Between two attempts.
    case waiting
    case connecting
    /// Hello is sent, welcome has not come.
    case greeting
    /// Welcome: batches flow.
    case streaming
}

/// For `sluice status` and the health page.
package struct ForwarderStatus: Hashable, Sendable {
    package var state = ForwarderState.stopped
    package var since = Instant(nanoseconds: 0)
    /// When the next attempt begins, while waiting.
    package var nextAttempt: Instant?
    package var inFlight = 0
    /// Of these, of the backlog.
    package var backlogInFlight = 0
    /// Bytes a second of backlog that the store took during the last minute.
    package var backlogBytesPerSecond = 0
    /// When live batches, and when the backlog may go on; nil: they do not wait for the pace.
    package var pacedUntil: Instant?
    package var backlogPacedUntil: Instant?
    /// Batches that wait because the store said `retry`.
    package var delayed = 0
    package var credit = 0
    package var lastError: String?
    package var lastErrorAt: Instant?
    package var lastAcknowledgedAt: Instant?
    /// Attempts in a row that brought no answer.
    package var failuresInARow = 0
    /// Store's wall clock as last told, and when.
    package var storeTime: Timestamp?
    package var storeTimeAt: Instant?
    package var connections: UInt64 = 0
    package var batchesSent: UInt64 = 0
    package var batchesAcknowledged: UInt64 = 0
    package var readingsAcknowledged: UInt64 = 0
    package var batchesRejected: UInt64 = 0
    package var retries: UInt64 = 0
    package var bytesSent: UInt64 = 0
    package var bytesReceived: UInt64 = 0

    package init() {}
}

extension Forwarder {
    package enum Event: Sendable {
        case start
        /// Says goodbye and closes; `start` begins again.
        case stop
        case connected
        case connectFailed(String)
        /// The connection ended by itself. Never reported after the effect `close`.
        case disconnected(String)
        case received([UInt8])
        /// A write that the kernel had held up went on: the connection moves, however slowly.
        case progressed
        /// The answer to `lease`, alarms first; empty when there is nothing.
        case leased([OutgoingBatch])
        /// The answer to `needEntries`: some of the entries above the given numbers, in order, all
        /// missing devices before any stream; empty when there are none.
        case entries([CatalogEntry])
        /// The spool has something new.
        case batchesAvailable
        /// `deadline` has come.
        case timer
    }

    package enum Effect: Hashable, Sendable {
        /// Answer with `connected` or `connectFailed`.
        case connect
        /// Close now; nothing more of this connection is to be reported. What was given to `send`
        /// before may be flushed.
        case close
        case send([UInt8])
        /// Answer with `leased`. Only one `lease` or `needEntries` is ever outstanding, also across
        /// connections: each is to be answered even when the connection is gone.
        case lease(excluding: [UInt64], room: LeaseRoom, maximumBytes: Int)
        case needEntries(afterDevice: UInt32, afterStream: UInt32)
        /// On the store's disk: forget them. A sequence that the spool has evicted meanwhile is to
        /// be ignored.
        case acknowledged([UInt64])
        /// The store will never take these bytes. `isDivisible`: smaller batches of the same readings
        /// may fare better, and tell which reading is at fault.
        case rejected(sequence: UInt64, reason: String, isDivisible: Bool)
        case state(ForwarderState)
    }
}
