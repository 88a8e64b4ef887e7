// What the spool's stage is asked and what it tells.

package import Catalog
package import Model
package import Spool

/// A question that passes through all stages behind the readings before it; the reply is the
/// ledger as
/// of that place.
package struct LedgerProbe: Sendable {
    package var ledger = Ledger()
    package let reply: @Sendable (Ledger) -> Void

    package init(reply: @escaping @Sendable (Ledger) -> Void) { self.reply = reply }
}

package enum SpoolJob: Sendable {
    case entries(CatalogAdditions)
    case part(JournalPart)
    case cut(EpochCut)
    case quarantine([QuarantinedFrame])
    case probe(LedgerProbe)
    /// An entry of the quarantine was taken in by the intake; its frame is in a part before this
    /// job.
    case released(Int64)
}

package struct SpoolPorts {
    /// Every frame before the position is durable.
    package var committed: (UInt64) -> Void
    /// Frames before the position that are not durable will not be stored: no answers for them.
    package var released: (UInt64) -> Void
    package var cutStored: () -> Void
    /// A cut is wanted now: the journal has no room before one.
    package var needsCut: () -> Void
    /// The catalog has new entries, the spool new batches.
    package var catalogGrew: () -> Void
    package var batchesAvailable: () -> Void
    /// A spool that could not be opened at the start is there now.
    package var opened: (Spool) -> Void
    /// The disk refused (text for people), or works again (nil).
    package var trouble: (String?) -> Void
    /// Asks for a call of `timer()` at that time or somewhat later; an earlier wish still holds.
    package var wakeAt: (Instant) -> Void
    /// The spool is above its high water, or below its low water again.
    package var paced: (Bool) -> Void

    package init(
        committed: @escaping (UInt64) -> Void, released: @escaping (UInt64) -> Void = { _ in },
        cutStored: @escaping () -> Void, needsCut: @escaping () -> Void = {},
        catalogGrew: @escaping () -> Void, batchesAvailable: @escaping () -> Void,
        opened: @escaping (Spool) -> Void = { _ in }, trouble: @escaping (String?) -> Void,
        wakeAt: @escaping (Instant) -> Void, paced: @escaping (Bool) -> Void = { _ in }
    ) {
        self.paced = paced
        self.committed = committed
        self.released = released
        self.cutStored = cutStored
        self.needsCut = needsCut
        self.catalogGrew = catalogGrew
        self.batchesAvailable = batchesAvailable
        self.opened = opened
        self.trouble = trouble
        self.wakeAt = wakeAt
    }
}

package struct SpoolStageSettings: Sendable {
    /// After this long without a disk the stage goes on in memory.
    package var patienceMilliseconds: Int64 = 5000
    /// What the device has not read this long after a start is taken for lost.
    package var readPatienceMilliseconds: Int64 = 30_000
    /// Bytes of journal that wait for the disk above which it does so at once.
    package var journalBytesWaiting = 2 << 20
    /// Bytes of batches kept in memory meanwhile; above it the lowest priority is let go, oldest
    /// first,
    /// counted.
    package var memoryBytes = 16 << 20
    /// `spool.maxAge`: batches whose newest reading is older are evicted; nil: never.
    package var maximumAgeMilliseconds: Int64?

    package init() {}
}
