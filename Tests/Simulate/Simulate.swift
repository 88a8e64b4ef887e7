// The simulation over many seeds, built in release: `simulate FIRST-LAST` runs them on all cores, says
// each seed that broke a law, and last a line `N seeds, M failed`. `simulate mutants` breaks a rule at a
// time and says after how many seeds the laws noticed; `simulate trace SEED [FOLDER]` says what happens in
// one, and keeps the gateway's disk at each crash. Exit 1 when a seed failed or a mutant was missed.

import Glibc
import Simulator

@main
enum Simulate {
    static func main() async {
        let arguments = CommandLine.arguments.dropFirst()
        guard let what = arguments.first else { usage() }
        if what == "mutants" { exit(await mutants() ? 0 : 1) }
        if what == "trace", let seed = arguments.dropFirst().first.flatMap({ UInt64($0) }) {
            exit(trace(seed, arguments.dropFirst(2).first) ? 0 : 1)
        }
        let ends = what.split(separator: "-").compactMap { UInt64($0) }
        guard let first = ends.first, let last = ends.last, first <= last else { usage() }
        exit(await seeds(first, last) ? 0 : 1)
    }

    private static func usage() -> Never {
        print("usage: simulate FIRST-LAST | trace SEED | mutants")
        exit(2)
    }

    private static var cores: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    // MARK: Seeds

    private struct Sum: Sendable {
        var seeds = 0
        var failed = 0
        var figures = SimulationFigures()
    }

    private static func seeds(_ first: UInt64, _ last: UInt64) async -> Bool {
        let start = ContinuousClock.now
        let cores = UInt64(cores)
        var all = Sum()
        await withTaskGroup(of: Sum.self) { group in
            for core in 0..<cores {
                group.addTask {
                    var sum = Sum()
                    if core == 0 {
                        for kept in Simulation.keptSeeds where !(first...last).contains(kept.seed) {
                            run(kept.seed, &sum)
                        }
                    }
                    var seed = first &+ core
                    while seed <= last {
                        run(seed, &sum)
                        seed += cores
                    }
                    return sum
                }
            }
            for await sum in group {
                all.seeds += sum.seeds
                all.failed += sum.failed
                all.figures.add(sum.figures)
            }
        }
        let seconds = (ContinuousClock.now - start).components.seconds
        print("simulation: \(all.figures.summary)")
        print("row 30: simulation: \(all.seeds) seeds, \(all.failed) failed, \(seconds) s")
        return all.failed == 0
    }

    private static func run(_ seed: UInt64, _ sum: inout Sum) {
        sum.seeds += 1
        do {
            let simulation = try Simulation(seed: seed)
            try simulation.run()
            sum.figures.add(simulation.figures)
            if simulation.faults.isEmpty { return }
            print("SEED=\(seed): \(simulation.faults.prefix(3))")
        } catch {
            print("SEED=\(seed): \(error)")
        }
        sum.failed += 1
    }

    /// One seed with what happened to it; `folder`, which must be there, gets the disk of each crash.
    private static func trace(_ seed: UInt64, _ folder: String?) -> Bool {
        do {
            let simulation = try Simulation(seed: seed)
            simulation.trace = { print($0) }
            simulation.keep = folder
            try simulation.run()
            for fault in simulation.faults { print(fault) }
            print("simulation: \(simulation.figures.summary)")
            return simulation.faults.isEmpty
        } catch {
            print("SEED=\(seed): \(error)")
            return false
        }
    }

    // MARK: Mutants

    private static func mutants() async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            for mutation in Mutation.allCases where mutation != .none {
                group.addTask { notices(mutation) }
            }
            return await group.allSatisfy { $0 }
        }
    }

    private static func notices(_ mutation: Mutation) -> Bool {
        for seed in UInt64(1)...100 {
            do {
                let simulation = try Simulation(seed: seed, mutation: mutation)
                try simulation.run()
                guard let fault = simulation.faults.first else { continue }
                print("simulation: \(mutation) noticed by seed \(seed): \(fault.prefix(90))")
                return true
            } catch {
                print("simulation: \(mutation), SEED=\(seed): \(error)")
                return false
            }
        }
        print("simulation: \(mutation) was not noticed within 100 seeds")
        return false
    }
}
