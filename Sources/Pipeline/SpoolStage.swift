// The spool's stage: makes journal parts and epochs durable in the order in which they come, then tells
// the intake (answers may leave), the batcher (the ring may be drained) and the uplink (there is work).
// Owned by one serial queue, the only one that waits for the disk.
//
// When the disk refuses, jobs wait in their order and are tried again; nothing is answered meanwhile and
// the intake's bound on bytes in flight stops the sources.

package import Catalog
package import Model
package import Spool
import Uplink

/// A question that passes through all stages behind the readings before it; the reply is the ledger as
/// of that place.
package struct LedgerProbe: Sendable {
    package var ledger = Ledger()
    package let reply: @Sendable (Ledger) -> Void

    package init(reply: @escaping @Sendable (Ledger) -> Void) { self.reply = reply }
}

package enum SpoolJob: Sendable {
    case entries([CatalogEntry])
    case part(JournalPart)
    case cut(EpochCut)
    case quarantine([QuarantinedFrame])
    case probe(LedgerProbe)
    /// An entry of the quarantine was taken in by the intake; its frame is in a part before this job.
    case released(Int64)
}

package struct SpoolPorts {
    /// Every frame before the position is durable.
    package var committed: (UInt64) -> Void
    package var cutStored: () -> Void
    /// The catalog has new entries, the spool new batches.
    package var catalogGrew: () -> Void
    package var batchesAvailable: () -> Void
    /// The disk refused (text for people), or works again (nil).
    package var trouble: (String?) -> Void
    /// Asks for a call of `timer()` at that time or somewhat later; an earlier wish still holds.
    package var wakeAt: (Instant) -> Void
    /// The spool is above its high water, or below its low water again.
    package var paced: (Bool) -> Void

    package init(
        committed: @escaping (UInt64) -> Void, cutStored: @escaping () -> Void,
        catalogGrew: @escaping () -> Void, batchesAvailable: @escaping () -> Void,
        trouble: @escaping (String?) -> Void, wakeAt: @escaping (Instant) -> Void,
        paced: @escaping (Bool) -> Void = { _ in }
    ) {
        self.paced = paced
        self.committed = committed
        self.cutStored = cutStored
        self.catalogGrew = catalogGrew
        self.batchesAvailable = batchesAvailable
        self.trouble = trouble
        self.wakeAt = wakeAt
    }
}

package final class SpoolStage {
    package let spool: Spool
    private let catalog: CatalogFile
    /// When a refused job is to be tried again.
    private var deadline: Instant?
    package private(set) var trouble: String?

    let clock: Clock
    let ports: SpoolPorts
    /// Divisions of rejected batches since the store last took one (SpoolStage+Rejection.swift).
    var divisionsInVain = 0
    var lanes: LaneBoundary
    package internal(set) var isPaced = false
    private var waiting: [SpoolJob] = []
    /// Bytes of quarantined frames in `waiting`; above the limit they are let go, being counted already.
    private var quarantineBytes = 0
    private static let quarantineBytesWaiting = 8 << 20
    private static let retryMilliseconds: Int64 = 1000

    package init(spool: Spool, catalog: consuming CatalogFile, clock: Clock, ports: SpoolPorts) {
        self.spool = spool
        self.catalog = catalog
        self.clock = clock
        self.ports = ports
        lanes = LaneBoundary(spool.counters.lastSequence)
        lookAtWater()
    }

    package func take(_ job: SpoolJob) {
        if case .quarantine(let frames) = job {
            guard quarantineBytes < SpoolStage.quarantineBytesWaiting else { return }
            quarantineBytes += frames.reduce(0) { $0 + $1.bytes.count }
        }
        waiting.append(job)
        if deadline == nil { work() }
    }

    package func timer() {
        guard let due = deadline else { return }
        guard clock.now() >= due else { return ports.wakeAt(due) }
        deadline = nil
        work()
    }

    /// Readings of epochs that wait in memory for the disk.
    package var readingsWaiting: UInt64 {
        waiting.reduce(0) { sum, job in
            guard case .cut(let cut) = job else { return sum }
            return cut.batches.reduce(sum) { $0 &+ UInt64($1.readings) }
        }
    }

    // MARK: For the uplink

    package func acknowledge(_ sequences: [UInt64]) {
        divisionsInVain = 0
        do { try spool.acknowledge(sequences) } catch { report(error) }
        lookAtWater()
    }

    package func entries(afterDevice: UInt32, afterStream: UInt32, limit: Int) -> [CatalogEntry] {
        do {
            return try catalog.entries(
                afterDevice: afterDevice, afterStream: afterStream, limit: limit)
        } catch {
            report(error)
            return []
        }
    }

    // MARK: Work

    private func work() {
        var done = 0
        while done < waiting.count {
            // Parts that wait side by side share one commit: one fdatasync for all of them.
            var parts: [JournalPart] = []
            while done + parts.count < waiting.count,
                case .part(let part) = waiting[done + parts.count]
            {
                parts.append(part)
            }
            // Likewise what strangers send: one transaction for all that wait side by side.
            var aside: [QuarantinedFrame] = []
            var asideJobs = 0
            while parts.isEmpty, done + asideJobs < waiting.count,
                case .quarantine(let frames) = waiting[done + asideJobs]
            {
                aside += frames
                asideJobs += 1
            }
            do {
                if asideJobs > 0 {
                    try spool.quarantine(aside)
                    done += asideJobs
                    quarantineBytes -= aside.reduce(0) { $0 + $1.bytes.count }
                } else if parts.isEmpty {
                    try perform(waiting[done])
                    done += 1
                } else {
                    try spool.append(parts)
                    done += parts.count
                    for part in parts {
                        ports.committed(part.nextPosition)
                    }
                }
                if trouble != nil { report(nil) }
            } catch {
                report(error)
                let due = clock.now().adding(milliseconds: SpoolStage.retryMilliseconds)
                deadline = due
                ports.wakeAt(due)
                // A probe must not wait for the disk: it reports what waits.
                answerProbes(after: done)
                break
            }
        }
        waiting.removeFirst(done)
        lookAtWater()
    }

    private func perform(_ job: SpoolJob) throws {
        switch job {
        case .entries(let entries):
            try catalog.append(entries)
            ports.catalogGrew()
        case .part, .quarantine:
            preconditionFailure("parts and quarantine are stored together in work()")
        case .cut(let cut):
            try spool.commit(cut)
            lanes.note(spool.counters.lastSequence, at: clock.now())
            ports.cutStored()
            if !cut.batches.isEmpty { ports.batchesAvailable() }
        case .probe(let probe): answer(probe, awaiting: 0)
        case .released(let number): try spool.forget(number)
        }
    }

    private func answerProbes(after done: Int) {
        var kept: [SpoolJob] = []
        var awaiting: UInt64 = 0
        for job in waiting[done...] {
            switch job {
            case .probe(let probe): answer(probe, awaiting: awaiting)
            case .cut(let cut):
                awaiting = cut.batches.reduce(awaiting) { $0 &+ UInt64($1.readings) }
                kept.append(job)
            default: kept.append(job)
            }
        }
        waiting.replaceSubrange(done..., with: kept)
    }

    private func answer(_ probe: LedgerProbe, awaiting: UInt64) {
        var ledger = probe.ledger
        ledger.readingsAwaitingSpool = awaiting
        ledger.spool = spool.counters
        probe.reply(ledger)
    }

    func report(_ error: (any Error)?) {
        let text = error.map { "\($0)" }
        guard text != trouble else { return }
        trouble = text
        ports.trouble(text)
    }
}
