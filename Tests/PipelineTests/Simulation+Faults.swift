// Faults of the simulation that tear what is being written: a power cut within a job of the spool or a
// call of the store, and a store that answers before it has committed (a mutant).

import Model
import Pipeline
import Spool
import Store
import TestSupport

/// What a disk holds when the power goes while a program writes to it.
enum TornDisk {
    /// The folder `after` as it would be if the power had gone between `before` and now. What is in the
    /// WAL beyond `before` was written and perhaps not flushed: a random part of its pages is there.
    static func tear(_ after: String, before: String, _ random: inout SplitMix64) {
        for name in TemporaryFolder.list(after) where name.hasSuffix("-wal") {
            let main = String(name.dropLast(4))
            let (old, new) = (
                TemporaryFolder.read(before + "/" + name), TemporaryFolder.read(after + "/" + name)
            )
            // A file that was copied back into, or a log that was begun anew: all of it is on disk.
            guard new.count > old.count, new.starts(with: old),
                TemporaryFolder.read(before + "/" + main)
                    == TemporaryFolder.read(after + "/" + main)
            else { continue }
            var torn = new
            let page = 4096 + 24
            var at = old.count
            while at < new.count {
                let end = min(at + page, new.count)
                if random.chance(0.4) {
                    let cut = at + random.below(end - at + 1)
                    for place in cut..<end { torn[place] = 0 }
                }
                at = end
            }
            if random.chance(0.3) { torn.removeLast(random.below(new.count - old.count + 1)) }
            TemporaryFolder.write(torn, to: after + "/" + name)
        }
    }
}

extension Simulation {
    /// The power goes while the spool's queue performs its next job: of what that wrote a random part is
    /// on disk, and nobody was told of it.
    func crashWithin(_ dead: SimulatedGateway) throws {
        figures.torn += 1
        let before = folder.path + "/before-\(figures.crashes)"
        let after = folder.path + "/torn-\(figures.crashes)"
        TemporaryFolder.copy(dead.directory, to: before)
        dead.runFirst(of: .spool)
        TemporaryFolder.copy(dead.directory, to: after)
        TornDisk.tear(after, before: before, &random)
        TemporaryFolder.remove(before)
        try crash(leaving: after)
    }

    /// The store gets bytes. With a rule broken, it answers and dies as if it had not committed.
    func storeReceives(
        _ bytes: [UInt8], _ session: StoreSession
    ) throws -> (
        reply: [UInt8], close: Bool
    ) {
        guard mutation == .storeAnswersBeforeCommit, !isCalm, random.chance(0.2) else {
            return session.receive(bytes, now: time.trueWall)
        }
        let before = folder.path + "/uncommitted-\(figures.crashesOfStore)"
        TemporaryFolder.copy(storeDirectory, to: before)
        let answer = session.receive(bytes, now: time.trueWall)
        try crashStore(leaving: before, isConnected: true)
        return answer
    }

    /// Readings that the store's rule refuses are in the gateway's quarantine, each once, alone or in a
    /// batch of such.
    func checkQuarantine(_ rejected: UInt64, of gateway: SimulatedGateway) throws {
        var found: [Int64: Int] = [:]
        var count: UInt64 = 0
        for entry in try gateway.spool.quarantined(after: 0, limit: 100_000)
        where entry.kind == .reading || entry.kind == .batch {
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
        for (key, frame) in sent where refused.contains(key) && answered.contains(key) {
            if found[frame.time, default: 0] != ReferenceFrame.streams.count {
                fault("refused and not in quarantine: \(key)")
            }
        }
    }
}
