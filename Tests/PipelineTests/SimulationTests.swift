// Some seeds of the simulation, and the tests of the simulation: rules broken on purpose must be
// noticed. `SEED=n` runs one seed and prints its figures. Tests/run has a thousand more, built in release
// (Tests/Simulate).

import Glibc
import Simulator
import Testing

private let seeds: [UInt64] = {
    // Safety: getenv's text is copied at once; nobody writes the environment meanwhile.
    guard let text = unsafe getenv("SEED") else {
        return Array(1...20) + Simulation.keptSeeds.map(\.seed)
    }
    // Safety: as above.
    let ends = unsafe String(cString: text).split(separator: "-").compactMap { UInt64($0) }
    guard let first = ends.first, let last = ends.last, first <= last else { return [] }
    return Array(first...last)
}()

@Suite("row 30: pipeline under simulated faults")
struct SimulationTests {
    @Test("what was answered is stored once and the ledger balances", arguments: seeds)
    func laws(seed: UInt64) throws {
        let simulation = try Simulation(seed: seed)
        try simulation.run()
        if seeds.count == 1 { print(simulation.figures.summary) }
        #expect(simulation.faults.isEmpty, "SEED=\(seed): \(simulation.faults.prefix(3))")
    }

    @Test("the faults do happen")
    func faultsHappen() throws {
        var sum = SimulationFigures()
        for seed in UInt64(100)..<112 {
            let simulation = try Simulation(seed: seed)
            try simulation.run()
            let figures = simulation.figures
            #expect(simulation.faults.isEmpty, "SEED=\(seed): \(simulation.faults.prefix(3))")
            #expect(figures.duplicates > 0 && figures.rejected > 0 && figures.answered > 20)
            #expect(figures.stored > 100 && figures.probes > 5)
            sum.add(figures)
        }
        #expect(sum.crashes > 3 && sum.replayed > 10 && sum.crashesOfStore > 0)
        #expect(sum.torn > 0 && sum.partitions > 3 && sum.quarantined > 0)
        #expect(sum.troubles > 3 && sum.refusals > 10)
    }

    @Test(
        "the simulation notices a broken rule",
        arguments: Mutation.allCases.filter { $0 != .none })
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
