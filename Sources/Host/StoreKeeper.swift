// Keeps the store open, and tidy while nobody speaks: opens it (again and again while the disk does not let
// it), opens it anew when damage was met, settles and prunes in idle moments, looks after the disk. Owner:
// StoreProcess; everything on the store's queue. Invariant: without a store no session speaks for one.

import Dispatch
import Formats
import Glibc
import Model
import Store

final class StoreKeeper {
    private static let quietMilliseconds: Int64 = 300
    /// Where gateways never fall silent together, settling comes in between at least this often.
    private static let longestMilliseconds: Int64 = 5000
    /// Pruning begins anew so long after it found nothing more.
    private static let pruneMilliseconds: Int64 = 600_000
    private static let freeMilliseconds: Int64 = 5000
    /// Between two attempts to open a file that cannot be opened.
    private static let openMilliseconds: Int64 = 1000
    /// While writes fail, they are tried so often.
    private static let probeMilliseconds: Int64 = 1000

    private let configuration: StoreConfiguration
    private let clock: Clock
    private let queue: DispatchQueue
    private(set) var store: Store?
    /// Why there is none.
    private var failure: String?
    /// What was lost at openings of this process.
    private var salvages: [StoreSalvageReport] = []
    /// The store is closed: whoever speaks for it must go.
    var willClose: (() -> Void)?

    /// Damage that a store met which could not be opened anew since.
    private var pendingSuspect: String?

    private var quietSince: Instant
    private var settledAt: Instant
    private var prunedAt: Instant?
    /// Nil once stopped.
    private lazy var timer: StageTimer? = StageTimer(queue: queue) { [unowned self] in act() }

    init(
        _ configuration: StoreConfiguration, queue: DispatchQueue, clock: Clock
    ) throws(StoreError) {
        self.configuration = configuration
        self.queue = queue
        self.clock = clock
        quietSince = clock.now()
        settledAt = quietSince
        do throws(StoreError) { try open(suspect: nil) } catch {
            guard error.mayPass else { throw error }
            tell(error)
        }
    }

    // MARK: For the process

    func postpone() {
        quietSince = clock.now()
        timer?.wake(at: quietSince.adding(milliseconds: StoreKeeper.quietMilliseconds))
    }

    /// Ends the turn of all sessions, then looks whether the file is still sound.
    func endTurn() {
        guard let store else { return }
        store.endTurn()
        if store.isDamaged { timer?.wake(at: clock.now()) }
    }

    /// The last word: a timer that fires later would find nobody, and the database may be closed
    /// by then. On the queue, so that no handler is under way.
    func stop() { timer = nil }

    var status: StoreStatus {
        var status = store?.status ?? StoreStatus(failure: failure ?? "closed")
        status.salvages = salvages.filter { isThere($0.file) }
        return status
    }

    // MARK: Opening

    private func open(suspect: String?) throws(StoreError) {
        var settings = StoreSettings()
        settings.rules = configuration.readings
        settings.now = clock.now
        let opened = try Store(
            directory: configuration.data, settings: settings, suspect: suspect)
        opened.noteFree(bytes: freeBytes(in: configuration.data))
        if let salvage = opened.salvage {
            salvages.append(salvage)
            Log.error(salvage.description)
        }
        if failure != nil { Log.state("store: open again") }
        failure = nil
        store = opened
    }

    private func tell(_ error: StoreError) {
        if failure == nil {
            Log.error(
                "store \(configuration.data): \(error.description): nothing is taken in, trying on")
        }
        failure = error.description
    }

    private func reopen() {
        var suspect: String?
        if let old = store {
            suspect = old.status.failure
            Log.error("store: damage met: \(suspect ?? ""): opening it anew")
            willClose?()
            store = nil
        } else {
            suspect = pendingSuspect
        }
        do throws(StoreError) {
            try open(suspect: suspect)
            pendingSuspect = nil
        } catch {
            // The next attempt must know as well.
            pendingSuspect = suspect
            tell(error)
        }
    }

    // MARK: Time

    private func act() {
        guard let store, !store.isDamaged else {
            reopen()
            timer?.wake(
                at: clock.now().adding(
                    milliseconds: store == nil
                        ? StoreKeeper.openMilliseconds : StoreKeeper.quietMilliseconds))
            return
        }
        if store.isFailing {
            store.noteFree(bytes: freeBytes(in: configuration.data))
            store.probeIfDue()
            return timer?.wake(
                at: clock.now().adding(milliseconds: StoreKeeper.probeMilliseconds)) ?? ()
        }
        settle(store)
    }

    private func settle(_ store: Store) {
        let quiet = quietSince.adding(milliseconds: StoreKeeper.quietMilliseconds)
        let due = min(quiet, settledAt.adding(milliseconds: StoreKeeper.longestMilliseconds))
        guard clock.now() >= due else {
            timer?.wake(at: due)
            return
        }
        settledAt = clock.now()
        // While gateways speak this comes every five seconds at least; while none does, the next wake
        // looks whether the disk has room again.
        store.noteFree(bytes: freeBytes(in: configuration.data))
        var next = clock.now().adding(milliseconds: StoreKeeper.freeMilliseconds)
        do throws(StoreError) {
            let isMore = try store.settle()
            if try isMore ? true : prune(store) { next = clock.now() }
        } catch {
            Log.warning("store: settling readings: \(error.description): trying again later")
            if store.isDamaged { next = clock.now() }
        }
        timer?.wake(at: next)
    }

    private func prune(_ store: Store) throws(StoreError) -> Bool {
        guard let retention = configuration.retention else { return false }
        let now = clock.now()
        if let prunedAt, now.milliseconds(since: prunedAt) < StoreKeeper.pruneMilliseconds {
            return false
        }
        let cutoff = Timestamp(milliseconds: clock.wall().milliseconds - retention)
        if try store.prune(before: cutoff) { return true }
        prunedAt = now
        return false
    }
}

/// Damaged files that were set aside stay until somebody has looked at them.
private func isThere(_ path: String) -> Bool {
    // Safety: Swift lends a NUL-terminated copy of `path`.
    unsafe access(path, F_OK) == 0
}
