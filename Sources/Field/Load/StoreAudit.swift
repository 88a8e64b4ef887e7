// Compares what a store holds with what devices were told is safe: every reading of every answered
// frame exactly once and with its value. Holds one byte a frame.

import Model
import Store
package import Uplink

package struct StoreAudit: Sendable {
    private let population: Population
    private var seen: [UInt8]
    package private(set) var readings = 0
    package private(set) var repeated = 0
    /// Readings that no frame of this run carried, or with another value.
    package private(set) var strange = 0

    private static let whole: UInt8 = 0b1_1111
    private var twice: Set<Int> = []

    package init(_ population: Population, frames: Int) {
        self.population = population
        seen = [UInt8](repeating: 0, count: frames)
    }

    package mutating func take(_ reading: StoredReading) {
        readings += 1
        guard let device = population.device(identity: reading.device),
            let index = population.index(
                device: device, observedAt: reading.observedAt.milliseconds),
            let stream = Population.streams.firstIndex(where: { $0.name == reading.stream }),
            seen.indices.contains(index),
            reading.value
                == .decimal(
                    population.values(index)[stream],
                    exponent: Population.streams[stream].exponent)
        else {
            strange += 1
            return
        }
        let bit: UInt8 = 1 << UInt8(stream)
        if seen[index] & bit != 0 {
            repeated += 1
            twice.insert(index)
        }
        seen[index] |= bit
    }

    package var framesWhole: Int { seen.count { $0 == StoreAudit.whole } }

    /// Answered frames of which a reading is not there.
    package func missing(_ answered: [UInt32]) -> Int {
        answered.count { seen[Int($0) - 1] != StoreAudit.whole }
    }

    /// Answered frames of which a reading is there more often than once.
    package func repeated(_ answered: [UInt32]) -> Int {
        answered.count { twice.contains(Int($0) - 1) }
    }

    /// Reads a store's folder; complaints come back as words.
    static func run(
        _ folder: String, _ plan: LoadPlan, _ answered: [UInt32], into outcome: inout LoadOutcome
    ) throws(QuestionError) {
        var audit = StoreAudit(plan.population, frames: plan.frames)
        try StoreQuestion.ask(folder, QueryFilter(limit: .max)) { audit.take($0) }
        outcome.readingsInStore = audit.readings
        outcome.duplicatesInStore = audit.repeated
        outcome.readingsStrange = audit.strange
        outcome.framesInStore = audit.framesWhole
        outcome.answeredMissing = audit.missing(answered)
        outcome.answeredTwice = audit.repeated(answered)
    }
}
