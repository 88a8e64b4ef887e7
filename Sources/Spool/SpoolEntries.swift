// What goes through the spool's door. Values only: they cross queues.

package import Model

/// A sealed batch on its way into the spool. The spool never looks into `bytes`.
package struct CutBatch: Hashable, Sendable {
    package var bytes: [UInt8]
    package var readings: Int
    package var priority: Priority
    package var bucketStart: Timestamp
    package var revision: UInt32
    package var firstObservedAt: Timestamp
    package var lastObservedAt: Timestamp

    package init(
        bytes: [UInt8], readings: Int, priority: Priority, bucketStart: Timestamp, revision: UInt32,
        firstObservedAt: Timestamp, lastObservedAt: Timestamp
    ) {
        self.bytes = bytes
        self.readings = readings
        self.priority = priority
        self.bucketStart = bucketStart
        self.revision = revision
        self.firstObservedAt = firstObservedAt
        self.lastObservedAt = lastObservedAt
    }
}

/// The last revision that a bucket was sealed with, kept so that a restart does not use it again.
package struct BucketRevision: Hashable, Sendable {
    package var bucketStart: Timestamp
    package var revision: UInt32

    package init(bucketStart: Timestamp, revision: UInt32) {
        self.bucketStart = bucketStart
        self.revision = revision
    }
}

/// Readings of batches that were let go in memory while the spool could not be written.
package struct ShedReadings: Hashable, Sendable {
    package var readings = ByPriority()
    package var batches: UInt64 = 0

    package init() {}
}

/// Everything that one cut makes durable together.
package struct EpochCut: Sendable {
    package var epoch: UInt64
    package var batches: [CutBatch]
    /// For each intake the first position that is not in a batch of this or an earlier epoch.
    package var covered: [UInt64]
    /// For each intake its counters as of `covered`.
    package var counters: [IntakeCounters]
    package var revisions: [BucketRevision]
    /// Batches of this and earlier epochs that are no longer there to be stored; they are counted
    /// as
    /// received and evicted.
    package var shed: ShedReadings?

    package init(
        epoch: UInt64, batches: [CutBatch], covered: [UInt64], counters: [IntakeCounters],
        revisions: [BucketRevision]
    ) {
        self.epoch = epoch
        self.batches = batches
        self.covered = covered
        self.counters = counters
        self.revisions = revisions
    }
}

/// Where the counts of a run that joined its spool late begin there.
package struct SpoolOffsets: Sendable {
    package var position: UInt64
    package var epoch: UInt64
    package var counters: IntakeCounters

    package func applied(to cut: EpochCut) -> EpochCut {
        var cut = cut
        cut.epoch &+= epoch
        cut.covered = cut.covered.map { $0 &+ position }
        cut.counters = cut.counters.map { $0.adding(counters) }
        return cut
    }
}

extension IntakeCounters {
    /// Each counter with its counterpart added.
    package func adding(_ other: IntakeCounters) -> IntakeCounters {
        var sum = self
        let mine = named
        for (place, entry) in other.named.enumerated() {
            sum.set(entry.name, to: entry.value &+ mine[place].value)
        }
        return sum
    }
}

/// A pending batch lent to the uplink; it stays in the spool until its verdict.
package struct SpooledBatch: Hashable, Sendable {
    package var sequence: UInt64
    package var priority: Priority
    package var readings: Int
    package var bucketStart: Timestamp
    package var revision: UInt32
    package var firstObservedAt: Timestamp
    package var lastObservedAt: Timestamp
    package var bytes: [UInt8]
}

/// A raw frame that is set aside with its reason, to be looked at and decoded again.
package struct QuarantinedFrame: Hashable, Sendable {
    package var source: String
    package var reason: Rejection
    package var receivedAt: Timestamp
    package var bytes: [UInt8]

    package init(source: String, reason: Rejection, receivedAt: Timestamp, bytes: [UInt8]) {
        self.source = source
        self.reason = reason
        self.receivedAt = receivedAt
        self.bytes = bytes
    }
}

/// An entry of the quarantine as it is listed: a frame, or a batch that the store rejected or whose
/// CRC did not match.
package struct QuarantineEntry: Hashable, Sendable {
    package enum Kind: String, Sendable {
        case frame
        case batch
        /// One reading that the store rejected: `QuarantinedReading`.
        case reading
        /// A part of the journal whose CRC did not match.
        case journal
    }

    package var number: Int64
    package var kind: Kind
    /// The source's name; of a batch or reading its sequence, of a journal part `intake:position`.
    package var source: String
    /// A `Rejection`'s code, or the store's words.
    package var reason: String
    package var receivedAt: Timestamp
    package var readings: Int
    package var bytes: [UInt8]
    /// False: the bytes are not what was stored.
    package var isIntact: Bool
}
