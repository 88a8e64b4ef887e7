// What happened in a simulation: said at its end, so that nobody takes a run without faults for a proof.

package struct SimulationFigures: Sendable {
    package var crashes = 0
    /// Of the crashes: the power went.
    package var torn = 0
    /// Episodes of a disk that refuses, and calls that it refused.
    package var troubles = 0
    package var refusals = 0
    package var failedStarts = 0
    package var startsWithoutDisk = 0
    package var evicted = 0
    /// Frames that the gateway had not been able to write down when it crashed.
    package var notRemembered = 0
    /// Readings stored again because of these, and of starts without a disk.
    package var repeated = 0
    package var partitions = 0
    package var quarantined = 0
    package var crashesOfStore = 0
    package var replayed = 0
    package var probes = 0
    package var duplicates = 0
    package var rejected = 0
    package var dropped = 0
    package var answered = 0
    package var stored = 0
    package var connections = 0
    package var steps = 0

    package init() {}

    private static var named: [(WritableKeyPath<SimulationFigures, Int>, String)] {
        [
            (\.crashes, "crashes"), (\.torn, "power cuts"), (\.troubles, "disk troubles"),
            (\.refusals, "refused calls"), (\.failedStarts, "failed starts"),
            (\.startsWithoutDisk, "starts without a disk"), (\.evicted, "evicted"),
            (\.notRemembered, "not remembered"),
            (\.repeated, "repeated"),
            (\.crashesOfStore, "crashes of the store"),
            (\.partitions, "partitions"), (\.connections, "connections"), (\.replayed, "replayed"),
            (\.answered, "answered"), (\.duplicates, "duplicates"), (\.rejected, "refused"),
            (\.dropped, "dropped"), (\.quarantined, "quarantined"), (\.stored, "stored"),
            (\.probes, "probes"), (\.steps, "steps"),
        ]
    }

    package mutating func add(_ other: SimulationFigures) {
        for (path, _) in SimulationFigures.named { self[keyPath: path] += other[keyPath: path] }
    }

    /// Each figure with its name.
    package var summary: String {
        SimulationFigures.named.map { "\(self[keyPath: $0]) \($1)" }.joined(separator: ", ")
    }
}

extension Simulation {
    /// Seeds that found something once, and what that was; they run always.
    package static let keptSeeds: [(seed: UInt64, found: String)] = [
        (72_690, "a new frame's head over an older log's page brought the older log back"),
        (4, "5 s without a disk, later a crash: frames that nobody had written down came twice"),
        (24, "a full disk: the cut went before its frames' journal, which was let go"),
        (50, "two devices that observe at one moment: the test counted them as one"),
        (529, "as 24, behind a cut that was brought forward"),
        (535, "a crash between the quarantine's entry and the spool's: an entry stands twice"),
        (1157, "a probe that waited was answered behind a cut that was brought forward"),
        (1620, "a device that did not read at a start: what it held was taken for lost"),
        (6092, "two runs without their disk: a range too wide waited, numbers were not told"),
        (6499, "a frame of the log torn over an older log: the older one was read again"),
        (7985, "set aside whole, a crash, divided and set aside again"),
        (10_497, "a crash right after a late spool was joined: frames counted twice"),
        (12_082, "numbers of a run without its disk: a stream before its device, for ever"),
        (292, "as 24, with a crash while the journal still waited behind its cut"),
    ]
}
