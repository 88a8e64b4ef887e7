// The disks of a simulation (CFaults): what fails, what is full, and what is left when the power goes;
// and a store that answers before it has committed (a mutant).
//
// A power cut may come at any write, flush or truncation of any file that SQLite keeps. What was flushed is
// there; each write since then is there, is not, or is there in part.

import Model
import Pipeline
import Spool
import Store
import TestSupport

/// How the gateway's disk behaves in a seed.
enum DiskTemper: CaseIterable {
    case sound
    /// Single calls fail, and bursts of them.
    case flaky
    /// Nothing can be written for a while: it fails, is read-only or full.
    case absent
    /// Files grow no more for a while; what is freed may be used again.
    case full
    case all
}

extension Simulation {
    // MARK: Refusals

    /// From time to time something is refused, until it is well again.
    func planDisk() {
        guard temper != .sound else { return }
        plan(milliseconds: 200 + random.below(6000)) { [unowned self] in
            guard !isCalm else { return }
            figures.troubles += 1
            let last = breakDisk()
            plan(milliseconds: last) { [unowned self] in
                healDisk()
                planDisk()
            }
        }
    }

    func healDisk() {
        note("disk is well again, \(disk.failed - figures.refusals) calls refused")
        figures.refusals = disk.failed
        disk.heal()
    }

    /// Answers for how many milliseconds.
    private func breakDisk() -> Int {
        var kind = temper
        if kind == .all { kind = [.flaky, .absent, .full][random.below(3)] }
        switch kind {
        case .sound, .all: return 0
        case .flaky:
            let operations: [(FaultyDisk.Operation, Int32)] = [
                (.write, FaultyDisk.Code.write), (.flush, FaultyDisk.Code.flush),
                (.flush, FaultyDisk.Code.flush), (.truncate, FaultyDisk.Code.truncate),
                (.open, FaultyDisk.Code.cannotOpen), (.read, FaultyDisk.Code.read),
            ]
            let (operation, code) = operations[random.below(operations.count)]
            let effects: [FaultyDisk.Effect] = [.nothing, .all, .half]
            note("disk: \(operation) will fail")
            disk.fail(
                operation, code, after: random.below(12),
                times: random.chance(0.5) ? 1 : random.within(2...20),
                effect: effects[random.below(3)])
            return random.within(500...4000)
        case .absent:
            let codes = [FaultyDisk.Code.flush, FaultyDisk.Code.readOnly, FaultyDisk.Code.full]
            note("disk: nothing can be written")
            disk.failAll(codes[random.below(3)])
            return random.within(100...14_000)
        case .full:
            note("disk: full")
            disk.bound(random.below(60_000))
            return random.within(500...9000)
        }
    }

    // MARK: Power cuts

    /// The power goes while the spool's queue performs its next job, and nobody was told of it.
    func crashWithin(_ dead: SimulatedGateway) throws {
        figures.torn += 1
        // A cut that goes before its journal, and the journal, may be parts of one job.
        figures.notRemembered += dead.stage.framesNotRemembered
        if dead.stage.trouble != nil { figures.notRemembered += 1 }
        let after = folder.path + "/gateway-torn-\(figures.crashes)"
        disk.crash(
            after: random.below(24), in: dead.directory, to: after, seed: random.next()
        ) {
            dead.runFirst(of: .spool)
        }
        try crash(leaving: after)
    }

    /// The power goes while the gateway starts; nil when the start failed before.
    func crashAtStart(in directory: String) -> String {
        figures.torn += 1
        let after = folder.path + "/gateway-start-\(figures.torn)"
        disk.crash(after: random.below(90), in: directory, to: after, seed: random.next()) {
            do { graveyard.append(try makeGateway(in: directory)) } catch {
                figures.failedStarts += 1
            }
        }
        return after
    }

    /// The store gets bytes. The power may go meanwhile; with a rule broken it has answered all the same.
    func storeReceives(
        _ bytes: [UInt8], _ session: StoreSession
    ) throws -> (
        reply: [UInt8], close: Bool
    ) {
        let isMutant = mutation == .storeAnswersBeforeCommit && !isCalm && random.chance(0.2)
        if isMutant {
            let before = folder.path + "/store-uncommitted-\(figures.crashesOfStore)"
            TemporaryFolder.copy(storeDirectory, to: before)
            let answer = session.receive(bytes, now: time.trueWall)
            try crashStore(leaving: before, isConnected: true)
            return answer
        }
        guard !isCalm, random.chance(0.01) else {
            return session.receive(bytes, now: time.trueWall)
        }
        let after = folder.path + "/store-torn-\(figures.crashesOfStore)"
        storeDisk.crash(
            after: random.below(12), in: storeDirectory, to: after, seed: random.next()
        ) {
            _ = session.receive(bytes, now: time.trueWall)
        }
        try crashStore(leaving: after, isConnected: false)
        return ([], false)
    }
}
