// The end of a simulation: waits until nothing is held, stops the gateway as Host stops it, and looks
// whether the laws held: in the ledger, in the store, and after one more start.

import Model
import Pipeline
import Spool
import Store
import TestSupport
import Uplink

extension Simulation {
    /// Asked again until nothing is held; then the gateway stops as Host stops it.
    func finish() {
        guard let gateway else { return plan(milliseconds: 500) { [unowned self] in finish() } }
        if gateway.isWithoutDisk {
            // What its journal held of the run before waits for the next start.
            do { try crash() } catch { fault("\(error)") }
            return plan(milliseconds: 500) { [unowned self] in finish() }
        }
        // One of the last two was asked for after a round that found every device content.
        if let last = ledgers.all.last, ledgersSeen > ledgersAtFinish + 1, unheard.isEmpty,
            last.readingsHeld == 0, !isStopping,
            last.intake.readingsPublished == last.spool.readingsReceived
        {
            isStopping = true
            let isEnd = Collected<Bool>()
            let ledgers = ledgers
            gateway.post(.intake) {
                gateway.intake.flush()
                gateway.intake.mark(.cut)
                gateway.intake.mark(
                    .probe(
                        LedgerProbe {
                            ledgers.append($0)
                            isEnd.append(true)
                        }))
            }
            return waitForEnd(isEnd)
        }
        ledgersAtFinish = unheard.isEmpty ? ledgersSeen : Int.max - 1
        gateway.cutSoon()
        askLedger()
        plan(milliseconds: 1000) { [unowned self] in finish() }
    }

    private func waitForEnd(_ isEnd: Collected<Bool>) {
        plan(milliseconds: 100) { [unowned self] in
            if isEnd.all.isEmpty { waitForEnd(isEnd) } else { isDone = true }
        }
    }

    func checkEnd() throws {
        guard let gateway, let ledger = ledgers.all.last else { return fault("no ledger") }
        let counters = ledger.intake
        figures.connections += Int(gateway.uplink?.status.connections ?? 0)
        figures.evicted = Int(ledger.spool.readingsEvicted)
        figures.probes = ledgersSeen
        figures.duplicates = Int(counters.framesDuplicate)
        figures.rejected = Int(counters.framesRejected)
        figures.dropped = Int(counters.readingsDropped)
        figures.answered = answered.count
        if ledger.readingsHeld != 0 { fault("\(ledger.readingsHeld) readings are still held") }
        if counters.readingsDecoded
            != ledger.spool.readingsAcknowledged + ledger.spool.readingsRejected
            + ledger.spool.readingsEvicted + counters.readingsDropped
        {
            fault("decoded is not acknowledged + evicted + dropped: \(describe(ledger))")
        }
        // A full disk may have had room for a part and not for the one before it: its frames were not
        // answered.
        if counters[.journalDamaged] > figures.notRemembered {
            fault("\(counters[.journalDamaged]) frames of the journal are lost")
        }
        try checkStore(
            acknowledged: ledger.spool.readingsAcknowledged,
            evicted: ledger.spool.readingsEvicted)
        try checkQuarantine(ledger.spool.readingsRejected, of: gateway)
        try checkRestart(after: ledger, of: gateway)
    }

    /// A gateway that started without its disk does not know what came before (Sources/DECISIONS.md), nor
    /// does one after a crash what a full disk had no room for.
    private var mayRepeat: Bool { figures.startsWithoutDisk > 0 || figures.notRemembered > 0 }

    private func checkStore(acknowledged: UInt64, evicted: UInt64) throws {
        struct Place: Hashable {
            var device: String
            var stream: String
            var observedAt: Int64
        }
        let reader = try StoreReader(directory: storeDirectory)
        let rows = try reader.query(QueryFilter(limit: 1_000_000))
        let duplicates = try reader.duplicates()
        // A repeat may even have arrived, by a clock that was set back, in the same millisecond.
        if duplicates.total != 0, !mayRepeat { fault("duplicates in the store: \(duplicates)") }
        if UInt64(rows.count) != acknowledged {
            fault("\(rows.count) readings stored, \(acknowledged) acknowledged")
        }
        figures.stored = rows.count
        var found: [Place: Int] = [:]
        for row in rows {
            let place = Place(
                device: row.device, stream: row.stream, observedAt: row.observedAt.milliseconds)
            found[place, default: 0] += 1
        }
        var explained = 0
        var missing: UInt64 = 0
        for (key, frame) in sent {
            var least = answered.contains(key) ? 1 : 0
            if implausible.contains(key) || refused.contains(key) { least = 0 }
            for stream in ReferenceFrame.streams {
                let place = Place(device: frame.identity, stream: stream, observedAt: frame.time)
                let count = found[place, default: 0]
                explained += count
                if count < least {
                    missing += 1
                    if missing > evicted { fault("answered and lost: \(key) \(stream)") }
                }
                if count > 1, mayRepeat { figures.repeated += count - 1 }
                if count > 1, !mayRepeat { fault("stored \(count) times: \(key) \(stream)") }
                if count > 0, implausible.contains(key) { fault("dropped and stored: \(key)") }
                if count > 0, refused.contains(key) { fault("refused and stored: \(key)") }
            }
        }
        if explained != rows.count { fault("\(rows.count - explained) readings were never sent") }
    }

    /// After an orderly stop there is nothing to decode again, and the counts are the same.
    private func checkRestart(after ledger: Ledger, of stopped: SimulatedGateway) throws {
        keepDisk(stopped.directory, "end")
        keepDisk(storeDirectory, "store")
        stopped.spool?.close()
        let directory = folder.path + "/gateway-end"
        TemporaryFolder.copy(stopped.directory, to: directory)
        graveyard.append(stopped)
        try startGateway(in: directory)
        guard let gateway else { return }
        if gateway.replayed != 0 { fault("\(gateway.replayed) frames replayed after a stop") }
        askLedger()
        let before = ledgersSeen
        while let queue = gateway.waitingQueues.first { gateway.runFirst(of: queue) }
        look()
        guard ledgersSeen > before, let again = ledgers.all.last else {
            return fault("no ledger after the restart")
        }
        let was = ledger.intake.named
        for (place, counter) in again.intake.named.enumerated()
        where counter.value != was[place].value {
            fault("\(counter.name) was \(was[place].value) and is \(counter.value)")
        }
    }

    /// Readings that the store's rule refuses are in the gateway's quarantine, each once, alone or in a
    /// batch of such.
    func checkQuarantine(_ rejected: UInt64, of gateway: SimulatedGateway) throws {
        var found: [Int64: Int] = [:]
        var count: UInt64 = 0
        var sources: Set<String> = []
        guard let spool = gateway.spool else { return fault("no spool at the end") }
        for entry in try spool.quarantined(after: 0, limit: 100_000)
        where entry.kind == .reading || entry.kind == .batch {
            // A crash may leave a batch in the spool as well, which then comes here again.
            guard sources.insert(entry.source).inserted else { continue }
            // Whole batches too: of a store that refused all of many in a row.
            let batch =
                entry.kind == .batch ? entry.bytes : QuarantinedReading(entry.bytes)?.batch ?? []
            guard entry.isIntact, let content = gateway.content(of: batch) else {
                return fault("entry \(entry.number) of the quarantine is damaged")
            }
            count += UInt64(content.count)
            for reading in content { found[reading.observedAt.milliseconds, default: 0] += 1 }
        }
        figures.quarantined = Int(count)
        if count != rejected { fault("\(rejected) readings rejected, \(count) in quarantine") }
        // Devices may observe at the same moment.
        var wanted: [Int64: (least: Int, most: Int)] = [:]
        for (key, frame) in sent where refused.contains(key) {
            let count = ReferenceFrame.streams.count
            wanted[frame.time, default: (0, 0)].most += count
            if answered.contains(key) { wanted[frame.time, default: (0, 0)].least += count }
        }
        for (time, bounds) in wanted.sorted(by: { $0.key < $1.key }) {
            let count = found[time, default: 0]
            if count < bounds.least, figures.evicted == 0 {
                fault("refused and not in quarantine: \(time)")
            }
            if count > bounds.most, !mayRepeat { fault("refused and in quarantine twice: \(time)") }
        }
    }
}
