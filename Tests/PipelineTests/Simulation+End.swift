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
        figures.connections += gateway.uplink.status.connections
        figures.probes = ledgersSeen
        figures.duplicates = counters.framesDuplicate
        figures.rejected = counters.framesRejected
        figures.dropped = counters.readingsDropped
        figures.answered = answered.count
        if ledger.readingsHeld != 0 { fault("\(ledger.readingsHeld) readings are still held") }
        if counters.readingsDecoded
            != ledger.spool.readingsAcknowledged + ledger.spool.readingsRejected
            + counters.readingsDropped
        {
            fault("decoded is not acknowledged + dropped: \(describe(ledger))")
        }
        if counters.framesRejected > 0, counters[.journalDamaged] > 0 {
            fault("\(counters[.journalDamaged]) frames of the journal are lost")
        }
        try checkStore(acknowledged: ledger.spool.readingsAcknowledged)
        try checkQuarantine(ledger.spool.readingsRejected, of: gateway)
        try checkRestart(after: ledger, of: gateway)
    }

    private func checkStore(acknowledged: UInt64) throws {
        struct Place: Hashable {
            var device: String
            var stream: String
            var observedAt: Int64
        }
        let reader = try StoreReader(directory: storeDirectory)
        let rows = try reader.query(QueryFilter(limit: 1_000_000))
        let duplicates = try reader.duplicates()
        if duplicates.total != 0 { fault("duplicates in the store: \(duplicates)") }
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
        for (key, frame) in sent {
            var least = answered.contains(key) ? 1 : 0
            if implausible.contains(key) || refused.contains(key) { least = 0 }
            for stream in ReferenceFrame.streams {
                let place = Place(device: frame.identity, stream: stream, observedAt: frame.time)
                let count = found[place, default: 0]
                explained += count
                if count < least { fault("answered and lost: \(key) \(stream)") }
                if count > 1 { fault("stored \(count) times: \(key) \(stream)") }
                if count > 0, implausible.contains(key) { fault("dropped and stored: \(key)") }
                if count > 0, refused.contains(key) { fault("refused and stored: \(key)") }
            }
        }
        if explained != rows.count { fault("\(rows.count - explained) readings were never sent") }
    }

    /// After an orderly stop there is nothing to decode again, and the counts are the same.
    private func checkRestart(after ledger: Ledger, of stopped: SimulatedGateway) throws {
        stopped.spool.close()
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
}
