// The simulation over many seeds, and the tests of the simulation: rules broken on purpose must be
// noticed. `SEED=n` runs one seed and prints its figures.

import Glibc
import Testing

/// Seeds that found something once; they run always.
private let keptSeeds: [UInt64] = []

private let seeds: [UInt64] = {
    // Safety: getenv's text is copied at once; nobody writes the environment meanwhile.
    guard let text = unsafe getenv("SEED") else { return Array(1...20) + keptSeeds }
    // Safety: as above.
    let ends = unsafe String(cString: text).split(separator: "-").compactMap { UInt64($0) }
    guard let first = ends.first, let last = ends.last, first <= last else { return [] }
    return Array(first...last)
}()

@Suite("Pipeline under simulated faults")
struct SimulationTests {
    @Test("what was answered is stored once and the ledger balances", arguments: seeds)
    func laws(seed: UInt64) throws {
        let simulation = try Simulation(seed: seed)
        try simulation.run()
        if seeds.count == 1 { print(simulation.figures) }
        #expect(simulation.faults.isEmpty, "SEED=\(seed): \(simulation.faults.prefix(3))")
    }

    @Test("the faults do happen")
    func faultsHappen() throws {
        var crashes = 0
        var replayed = 0
        var crashesOfStore = 0
        var torn = 0
        var partitions = 0
        var quarantined = 0
        for seed in UInt64(100)..<106 {
            let simulation = try Simulation(seed: seed)
            try simulation.run()
            let figures = simulation.figures
            #expect(simulation.faults.isEmpty, "SEED=\(seed): \(simulation.faults.prefix(3))")
            #expect(figures.duplicates > 0 && figures.rejected > 0 && figures.answered > 20)
            #expect(figures.stored > 100 && figures.probes > 5)
            crashes += figures.crashes
            replayed += figures.replayed
            crashesOfStore += figures.crashesOfStore
            torn += figures.torn
            partitions += figures.partitions
            quarantined += figures.quarantined
        }
        #expect(crashes > 3 && replayed > 10 && crashesOfStore > 0)
        #expect(torn > 0 && partitions > 3 && quarantined > 0)
    }

    @Test(
        "the simulation notices a broken rule",
        arguments: [
            Mutation.answersBeforeCommit, .cutCoversTooMuch, .forgetsDuplicates, .forgetsWhenSent,
            .cutBeforeJournal, .storeAnswersBeforeCommit,
        ])
    func mutants(mutation: Mutation) throws {
        var tried: UInt64 = 0
        var faults: [String] = []
        while faults.isEmpty, tried < 100 {
            tried += 1
            let simulation = try Simulation(seed: tried, mutation: mutation)
            try simulation.run()
            faults = simulation.faults
        }
        if seeds.count == 1 { print(mutation, tried, faults.first ?? "") }
        #expect(!faults.isEmpty, "\(mutation) was not noticed within \(tried) seeds")
    }
}
