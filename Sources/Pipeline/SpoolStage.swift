// The spool's stage: makes journal parts and epochs durable in the order in which they come, then
// tells
// the intake (answers may leave), the batcher (the ring may be drained) and the uplink (there is
// work).
// Owned by one serial queue, the only one that waits for the disk.
//
// When the disk refuses, jobs wait in their order and are tried again; nothing is answered
// meanwhile and
// the intake's bound on bytes in flight stops the sources. When it goes on refusing, or was not
// there
// from the start, the stage goes on in memory (SpoolStage+Memory.swift).

package import Catalog
package import Model
package import Spool
import Uplink

package final class SpoolStage {
    /// nil while it cannot be opened.
    package private(set) var spool: Spool?
    package internal(set) var trouble: String?
    var catalog: CatalogFile?
    /// Opens what could not be opened at the start; told whether what cannot be read is lost.
    private let storage: ((_ givesUp: Bool) throws -> (Spool, CatalogFile))?
    private let begun: Instant
    /// How this run's numbers stand in a spool that came late.
    private var offsets: SpoolOffsets?
    /// When a refused job is to be tried again.
    private var deadline: Instant?
    private var tendedAt: Instant?
    /// What was covered when the last early cut was asked for.
    private var askedForCutAt: UInt64?

    let clock: Clock
    let settings: SpoolStageSettings
    let ports: SpoolPorts
    /// Divisions of rejected batches since the store last took one (SpoolStage+Rejection.swift).
    var divisionsInVain = 0
    var lanes: LaneBoundary
    package internal(set) var isPaced = false
    var waiting: [SpoolJob] = []
    var memory = SpoolMemory()
    var forecaster = SpoolForecaster()
    package private(set) var commitTimes = CommitTimes()
    var waits = WaitMemory()
    private var wall = SteadyWall()
    /// Bytes of quarantined frames in `waiting`; above the limit they are let go, being counted
    /// already.
    private var quarantineBytes = 0
    private static let quarantineBytesWaiting = 8 << 20
    private static let retryMilliseconds: Int64 = 1000
    static let tendMilliseconds: Int64 = 60_000

    package init(
        spool: Spool, catalog: consuming CatalogFile, clock: Clock,
        settings: SpoolStageSettings = SpoolStageSettings(), ports: SpoolPorts
    ) {
        self.spool = spool
        self.catalog = catalog
        self.clock = clock
        self.settings = settings
        self.ports = ports
        lanes = LaneBoundary(spool.counters.lastSequence)
        waits.note(spool.counters.lastSequence, at: clock.now())
        storage = nil
        begun = clock.now()
        lookAtWater()
    }

    /// Begins without a spool, for `reason`; `storage` is tried from time to time.
    package init(
        reason: String,
        storage: @escaping (_ givesUp: Bool) throws -> (Spool, CatalogFile), clock: Clock,
        settings: SpoolStageSettings = SpoolStageSettings(), ports: SpoolPorts
    ) {
        self.storage = storage
        self.clock = clock
        self.settings = settings
        self.ports = ports
        begun = clock.now()
        trouble = reason
        lanes = LaneBoundary(0)
        memory.isOn = true
    }

    package func take(_ job: SpoolJob) {
        if memory.isOn {
            keep(job)
            if deadline == nil { retryLater() }
            return
        }
        if case .quarantine(let frames) = job {
            guard quarantineBytes < SpoolStage.quarantineBytesWaiting else {
                spool?.countNotQuarantined(frames.count)
                return
            }
            quarantineBytes += frames.reduce(0) { $0 + $1.bytes.count }
        }
        waiting.append(job)
        if deadline == nil {
            work()
            tend()
        } else {
            loseIfLong()
        }
    }

    package func timer() {
        guard let due = deadline else { return tend() }
        guard clock.now() >= due else { return ports.wakeAt(due) }
        deadline = nil
        if memory.isOn {
            heal()
        } else {
            work()
        }
    }

    /// Nothing is stored or answered.
    package var isInMemory: Bool { memory.isOn }

    /// Readings of epochs that wait in memory for the disk.
    package var readingsWaiting: UInt64 {
        waiting.reduce(memory.readings) { sum, job in
            guard case .cut(let cut) = job else { return sum }
            return cut.batches.reduce(sum) { $0 &+ UInt64($1.readings) }
        }
    }

    // MARK: For the uplink

    package func acknowledge(_ sequences: [UInt64]) {
        divisionsInVain = 0
        do { try spool?.acknowledge(sequences) } catch { report(error) }
        lookAtWater()
    }

    package func entries(afterDevice: UInt32, afterStream: UInt32, limit: Int) -> [CatalogEntry] {
        do {
            return try catalog?.entries(
                afterDevice: afterDevice, afterStream: afterStream, limit: limit) ?? []
        } catch {
            report(error)
            return []
        }
    }

    // MARK: Work

    private func work() {
        var done = 0
        var hasReordered = false
        while done < waiting.count {
            do {
                done += try performNext(at: done)
                if trouble != nil { report(nil) }
                memory.refusedSince = nil
            } catch {
                if !hasReordered, isFull(error), bringForwardCut(after: done) {
                    hasReordered = true
                    continue
                }
                refused(error, after: done)
                break
            }
        }
        waiting.removeFirst(done)
        loseIfLong()
        lookAtWater()
    }

    /// Performs the job at `place` and those that share its transaction; answers how many.
    private func performNext(at place: Int) throws -> Int {
        guard let spool else { throw SpoolError.full }
        // Parts that wait side by side share one commit: one fdatasync for all of them.
        var parts: [JournalPart] = []
        while place + parts.count < waiting.count,
            case .part(let part) = waiting[place + parts.count]
        {
            parts.append(part)
        }
        if !parts.isEmpty {
            try store(parts, in: spool)
            return parts.count
        }
        // Likewise the catalog's news, which a gateway's first seconds bring faster than the disk takes.
        var additions: [CatalogAdditions] = []
        while place + additions.count < waiting.count,
            case .entries(let new) = waiting[place + additions.count]
        {
            additions.append(new)
        }
        if !additions.isEmpty {
            try catalog?.append(lots: additions)
            ports.catalogGrew()
            return additions.count
        }
        // Likewise what strangers send: one transaction for all that wait side by side.
        var aside: [QuarantinedFrame] = []
        var jobs = 0
        while place + jobs < waiting.count, case .quarantine(let frames) = waiting[place + jobs] {
            aside += frames
            jobs += 1
        }
        if jobs > 0 {
            // Its own file: what it refuses keeps nothing else waiting.
            do { try spool.quarantine(aside) } catch { spool.countNotQuarantined(aside.count) }
            quarantineBytes -= aside.reduce(0) { $0 + $1.bytes.count }
            return jobs
        }
        try perform(waiting[place])
        return 1
    }

    private func perform(_ job: SpoolJob) throws {
        switch job {
        case .entries, .part, .quarantine:
            preconditionFailure("these are stored together in performNext")
        case .cut(let cut):
            try store(cut)
            ports.cutStored()
        case .probe(let probe): answer(probe, awaiting: 0)
        case .released(let number): _ = try spool?.forget(number)
        }
    }

    private func store(_ parts: [JournalPart], in spool: Spool) throws {
        let begun = clock.now()
        try append(parts, to: spool)
        commitTimes.note(clock.now().nanoseconds &- begun.nanoseconds)
        for part in parts {
            if memory.releasedUpTo > 0 {
                memory.withheld = part.nextPosition
            } else {
                ports.committed(part.nextPosition)
            }
        }
        // Early, and once: what a cut covers makes room.
        let covered = spool.coveredPosition(intake: Int(parts[0].intake))
        if covered != askedForCutAt, spool.uncoveredBytes > spool.settings.maximumBytes / 4 {
            askedForCutAt = covered
            ports.needsCut()
        }
    }

    /// With those that a full disk did not take before.
    private func append(_ parts: [JournalPart], to spool: Spool) throws {
        if !memory.parts.isEmpty {
            do throws(SpoolError) {
                try spool.append(moved(memory.parts + parts))
                return memory.removeParts(areStored: true)
            } catch {
                guard error == .full else { throw error }
            }
        }
        let stored = moved(parts)
        do throws(SpoolError) {
            try spool.append(stored)
            // Positions only rise: what is not there now will not be.
            memory.removeParts(areStored: false)
        } catch {
            // A cut that was brought forward holds their readings already.
            let covered = spool.coveredPosition(intake: Int(stored[0].intake))
            guard error == .full, stored.allSatisfy({ $0.nextPosition <= covered }) else {
                throw error
            }
            for part in parts { memory.add(part, limit: settings.journalBytesWaiting) }
        }
    }

    func moved(_ parts: [JournalPart]) -> [JournalPart] {
        offsets.map { offsets in parts.map { $0.moved(by: offsets) } } ?? parts
    }

    /// Makes one cut durable, with what memory had to let go before it.
    func store(_ cut: EpochCut) throws {
        guard let spool else { throw SpoolError.full }
        var stored = offsets?.applied(to: cut) ?? cut
        if memory.shed.batches > 0 { stored.shed = memory.shed }
        try spool.commit(stored)
        memory.shed = ShedReadings()
        lanes.note(spool.counters.lastSequence, at: clock.now())
        waits.note(spool.counters.lastSequence, at: clock.now())
        if !cut.batches.isEmpty { ports.batchesAvailable() }
        // Frames that were not stored are in batches now: answers for what came after them may
        // leave.
        if memory.releasedUpTo > 0, (cut.covered.first ?? 0) >= memory.releasedUpTo {
            memory.releasedUpTo = 0
            if let position = memory.withheld { ports.committed(position) }
            memory.withheld = nil
        }
    }

    /// No room for the journal: the first cut that waits holds the readings of all parts before
    /// it and lets
    /// them go. The catalog's entries go before it, as ever, and so do probes: their ledgers were taken
    /// before it.
    private func bringForwardCut(after done: Int) -> Bool {
        let place = waiting[done...].firstIndex {
            if case .cut = $0 { true } else { false }
        }
        guard let place, place > done else {
            ports.needsCut()
            return false
        }
        var first: [SpoolJob] = []
        var rest: [SpoolJob] = []
        for job in waiting[done..<place] {
            switch job {
            case .entries, .probe: first.append(job)
            case .part, .cut, .quarantine, .released: rest.append(job)
            }
        }
        waiting.replaceSubrange(done...place, with: first + [waiting[place]] + rest)
        return true
    }

    private func isFull(_ error: any Error) -> Bool { (error as? SpoolError) == .full }

    private func refused(_ error: any Error, after done: Int) {
        report(error)
        if memory.refusedSince == nil { memory.refusedSince = clock.now() }
        retryLater()
        // A probe must not wait for the disk: it reports what waits.
        answerProbes(after: done)
    }

    func retryLater() {
        let due = clock.now().adding(milliseconds: SpoolStage.retryMilliseconds)
        deadline = due
        ports.wakeAt(due)
    }

    private func loseIfLong() {
        guard let since = memory.refusedSince else { return }
        let bytes = waiting.reduce(0) { sum, job in
            if case .part(let part) = job { sum + part.bytes.count } else { sum }
        }
        let isLong = clock.now().milliseconds(since: since) >= settings.patienceMilliseconds
        guard isLong || bytes > settings.journalBytesWaiting else { return }
        memory.isOn = true
        let jobs = waiting
        waiting.removeAll()
        quarantineBytes = 0
        for job in jobs { keep(job) }
    }

    // MARK: A spool that comes late

    /// True when there is a spool.
    func attach() -> Bool {
        if spool != nil { return true }
        guard let storage else { return false }
        do {
            let waited = clock.now().milliseconds(since: begun)
            let (spool, catalog) = try storage(waited >= settings.readPatienceMilliseconds)
            offsets = try spool.join()
            self.spool = spool
            self.catalog = catalog
            lanes = LaneBoundary(spool.counters.lastSequence)
            waits = WaitMemory()
            waits.note(spool.counters.lastSequence, at: clock.now())
            ports.opened(spool)
            return true
        } catch {
            report(error)
            return false
        }
    }

    // MARK: From time to time

    /// What is not bound to a job: age, expiry, samples for the forecast. Called when something
    /// happens
    /// anyway; an idle spool has nothing to do.
    package func tend() {
        let now = clock.now()
        let isSteady = wall.look(now, clock.wall())
        if let tendedAt, now.milliseconds(since: tendedAt) < SpoolStage.tendMilliseconds { return }
        tendedAt = now
        guard let spool else { return }
        do {
            if isSteady {
                try spool.expire(now: clock.wall())
                if let age = settings.maximumAgeMilliseconds {
                    let limit = clock.wall().milliseconds &- age
                    try spool.evict(olderThan: Timestamp(milliseconds: limit))
                }
            }
        } catch {
            report(error)
        }
        if spool.retryUnreadable() { ports.batchesAvailable() }
        forecaster.note(spool.details, at: now)
    }

    /// What the spool does from here at the rate of the last hour.
    package var forecast: SpoolForecast {
        guard let spool else { return SpoolForecast() }
        return forecaster.forecast(spool.details, at: clock.now())
    }

    // MARK: Probes and trouble

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

    func answer(_ probe: LedgerProbe, awaiting: UInt64) {
        var ledger = probe.ledger
        ledger.readingsAwaitingSpool = awaiting
        if let offsets {
            ledger.intake = ledger.intake.adding(offsets.counters)
            ledger.readingsConsumed &+= offsets.counters.readingsPublished
            ledger.readingsSealed &+= offsets.counters.readingsPublished
        }
        ledger.spool = spool?.counters ?? SpoolCounters()
        ledger.spool.readingsReceived &+= memory.shed.readings.total
        ledger.spool.readingsEvicted &+= memory.shed.readings.total
        probe.reply(ledger)
    }

    func report(_ error: (any Error)?) {
        let text = error.map { ($0 as? SpoolError)?.description ?? "\($0)" }
        guard text != trouble else { return }
        trouble = text
        ports.trouble(text)
    }
}
