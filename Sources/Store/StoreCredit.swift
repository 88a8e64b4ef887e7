// How many batches a gateway may have in flight: as many as the store commits quickly, has disk for, and
// can share out among its gateways. A value; owned by the store, on its queue. Rules: a commit slower
// than the target halves the credit, each quick one gives one back (additive increase, multiplicative
// decrease); after a write that failed there is none until one succeeds (Store.probe); below the reserve of
// disk there is none, up to four times the reserve it shrinks in proportion; all gateways together get at
// most `shared`, each at least one.

internal import Model

package struct CreditSettings: Sendable {
    /// Most batches that one gateway may have in flight.
    package var most: UInt16 = 8
    /// Batches of all gateways together.
    package var shared = 1024
    /// Commits slower than this (ms) halve the credit.
    package var slowCommitMilliseconds: Int64 = 500
    /// Below so much free disk (bytes) no batch is taken.
    package var reserveBytes = 64 << 20

    package init() {}
}

struct StoreCredit {
    let settings: CreditSettings
    /// Free bytes where the file lies, as last told; nil: not known.
    var freeBytes: Int?
    private var allowed: UInt16
    private var hasFailed = false
    private(set) var lastCommitMilliseconds: Int64 = 0

    init(_ settings: CreditSettings) {
        self.settings = settings
        allowed = settings.most
    }

    mutating func committed(milliseconds: Int64) {
        hasFailed = false
        lastCommitMilliseconds = milliseconds
        if milliseconds > settings.slowCommitMilliseconds {
            allowed = max(1, allowed / 2)
        } else if allowed < settings.most {
            allowed += 1
        }
    }

    mutating func failed() { hasFailed = true }

    /// A write succeeded that no gateway waited for: begin with one batch.
    mutating func healed() {
        hasFailed = false
        allowed = 1
    }

    var isDiskShort: Bool { (freeBytes ?? .max) < settings.reserveBytes }

    /// For each of so many gateways.
    func value(gateways: Int) -> UInt16 {
        guard !isDiskShort, !hasFailed else { return 0 }
        var value = min(Int(allowed), max(1, settings.shared / max(1, gateways)))
        if let free = freeBytes, settings.reserveBytes > 0, free / 4 < settings.reserveBytes {
            let above = Double(free - settings.reserveBytes) / Double(3 * settings.reserveBytes)
            value = max(1, min(value, Int(Double(settings.most) * above)))
        }
        return UInt16(clamping: value)
    }
}

/// Which readings the store takes, by their time; nil: no bound.
package struct ReadingRules: Hashable, Sendable {
    /// Observed at most so long before now (ms).
    package var maximumAge: Int64?
    /// Observed at most so long after now (ms).
    package var maximumAhead: Int64?

    package init() {}

    /// Why a reading is refused; nil: it is taken.
    func fault(_ reading: Reading, now: Timestamp) -> String? {
        let (ahead, overflow) = reading.observedAt.milliseconds
            .subtractingReportingOverflow(now.milliseconds)
        if let maximumAhead, overflow ? reading.observedAt > now : ahead > maximumAhead {
            return "stream \(reading.stream.rawValue): observed too far ahead"
        }
        if let maximumAge, overflow ? reading.observedAt < now : ahead < -maximumAge {
            return "stream \(reading.stream.rawValue): observed too long ago"
        }
        return nil
    }
}

/// For health and status pages.
package struct StoreStatus: Hashable, Sendable {
    package var gateways = 0
    package var credit: UInt16 = 0
    package var lastCommitMilliseconds: Int64 = 0
    package var freeBytes: Int?
    /// Transactions since the start, and batches that they brought.
    package var commits: UInt64 = 0
    package var batches: UInt64 = 0
    /// What the last write said, when it failed.
    package var failure: String?
    /// The failure is that the file is damaged: it has to be opened anew, which salvages it.
    package var isDamaged = false
    /// What was lost to damage.
    package var salvages: [StoreSalvageReport] = []

    /// Of a store that is not open.
    package init(failure: String) { self.failure = failure }

    init() {}
}
