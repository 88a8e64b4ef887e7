// Compares what a store holds with what devices of any format sent: each reading as often as it was
// sent, none that nobody sent. Keeps a line for each distinct reading. What a frame says is read with the
// daemon's own decoder; FieldTests hold that against the values that the frames were made of.

import Formats
import Model
import Store
import Uplink

struct ContentAudit {
    private struct Count {
        /// How often it may be there, must be there, is there.
        var most = 0
        var least = 0
        var seen = 0
    }

    private var counts: [String: Count] = [:]
    private let plan: LoadPlan
    private let source: String
    private let decoder: Decoder
    private(set) var readings = 0
    private(set) var strange = 0
    /// The first of them: `device stream value time`.
    private(set) var strangeExample: String?
    /// Frames are at most this many, so that memory stays bounded.
    static let maximumFrames = 1_000_000

    init(_ plan: LoadPlan, source: String, library: FormatLibrary, answered: [UInt32]) {
        self.plan = plan
        self.source = source
        let name = plan.format.contentFormat
        guard let format = library.format(named: name) else {
            preconditionFailure("the gateway loaded \(name) from the same folder")
        }
        decoder = Decoder(format)
        let known = Set(answered)
        let population = plan.population
        for index in 0..<plan.frames {
            let isNeeded = known.contains(population.sequence(index))
            for key in keys(index, population) {
                counts[key, default: Count()].most += 1
                if isNeeded { counts[key, default: Count()].least += 1 }
            }
        }
    }

    /// `device stream value time` of each reading of a frame; the time only where the frame has one.
    private func keys(_ index: Int, _ population: Population) -> [String] {
        let bytes = plan.format.frame(index, asks: false, of: population)
            .dropFirst(plan.format.contentOffset)
        var frame = DecodedFrame()
        guard (try? decoder.decode(Array(bytes).span, direction: .up, into: &frame)) != nil else {
            return []
        }
        let name = decoder.identityText()
        let isLocal = decoder.format.identityIsLocal && !frame.isIdentityGlobal
        let device = isLocal ? "\(source):\(name)" : name
        return frame.readings.map { reading in
            let time = reading.isTimeRelative ? nil : reading.observedAt
            return ContentAudit.key(
                device, plan.format.streamPrefix + decoder.describe(reading).name, reading.value,
                time)
        }
    }

    private static func key(
        _ device: String, _ stream: String, _ value: Value, _ time: Timestamp?
    ) -> String {
        "\(device) \(stream) \(value.description) \(time.map { "\($0.milliseconds)" } ?? "")"
    }

    mutating func take(_ reading: StoredReading) {
        readings += 1
        let timed = ContentAudit.key(
            reading.device, reading.stream, reading.value, reading.observedAt)
        let plain = ContentAudit.key(reading.device, reading.stream, reading.value, nil)
        if counts[timed] != nil {
            counts[timed]?.seen += 1
        } else if counts[plain] != nil {
            counts[plain]?.seen += 1
        } else {
            strange += 1
            if strangeExample == nil { strangeExample = timed }
        }
    }

    fileprivate var example: String { counts.keys.min() ?? "nothing" }

    var repeated: Int { counts.values.reduce(0) { $0 + max(0, $1.seen - $1.most) } }
    var missing: Int { counts.values.reduce(0) { $0 + max(0, $1.least - $1.seen) } }
    /// Distinct readings that the frames of the run carry.
    var expected: Int { counts.values.reduce(0) { $0 + $1.most } }

    static func run(
        _ folder: String, _ plan: LoadPlan, _ answered: [UInt32], source: String,
        library: FormatLibrary, into outcome: inout LoadOutcome
    ) throws(QuestionError) {
        var audit = ContentAudit(plan, source: source, library: library, answered: answered)
        try StoreQuestion.ask(folder, QueryFilter(limit: .max)) { audit.take($0) }
        outcome.readingsInStore = audit.readings
        outcome.duplicatesInStore = audit.repeated
        outcome.readingsStrange = audit.strange
        outcome.answeredMissing = audit.missing
        outcome.readingsExpected = audit.expected
        if let strange = audit.strangeExample {
            outcome.strangeExample = "\(strange), expected for example \(audit.example)"
        }
    }
}
