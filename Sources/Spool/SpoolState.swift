// Everything that the spool keeps in memory. It is read from the newest segment at open
// (SpoolImage.swift),
// changed when a transaction is durable, and written whole into a segment that is begun; so
// whatever
// happens to a file, the next one starts from here.

import Model

/// One row of a journal table.
struct RetainedPart {
    var segment: Int
    var row: Int64
    let intake: Int
    let firstPosition: UInt64
    let frameCount: Int
    let newestReceivedAt: Timestamp
    let size: Int
    /// The CRC did not match; the numbers above are only what the columns say.
    let isDamaged: Bool
    /// Below what is covered, and yet in no batch (`CutState.stranded`).
    var isStranded = false

    var end: UInt64 { firstPosition &+ UInt64(frameCount) }

    func isCovered(by covered: [UInt64]) -> Bool {
        intake < covered.count && end <= covered[intake] && !isStranded
    }
}

/// The counters of the spool that are kept in step with its rows.
struct Tally: Hashable {
    var counters = SpoolCounters()
    var details = SpoolDetails()

    typealias Path = any WritableKeyPath<Tally, UInt64> & Sendable

    /// Kept in the ledger table: what happened (read back at open) and, for people, what is held.
    static let persisted: [(name: String, path: Path, isRestored: Bool)] = [
        ("spool.readingsReceived", \.counters.readingsReceived, true),
        ("spool.readingsAcknowledged", \.counters.readingsAcknowledged, true),
        ("spool.readingsEvicted", \.counters.readingsEvicted, true),
        ("spool.readingsRejected", \.counters.readingsRejected, true),
        ("spool.readingsPending", \.counters.readingsPending, false),
        ("spool.batchesAcknowledged", \.counters.batchesAcknowledged, true),
        ("spool.batchesPending", \.counters.batchesPending, false),
        ("spool.lastSequence", \.counters.lastSequence, true),
        ("spool.readingsEvicted.alarm", \.details.readingsEvicted.alarm, true),
        ("spool.readingsEvicted.live", \.details.readingsEvicted.live, true),
        ("spool.readingsEvicted.backlog", \.details.readingsEvicted.backlog, true),
        ("spool.batchesEvicted", \.details.batchesEvicted, true),
        ("spool.readingsTooOld", \.details.readingsTooOld, true),
        ("spool.batchesRejected", \.details.batchesRejected, true),
        ("spool.batchesDamaged", \.details.batchesDamaged, true),
        ("spool.readingsDamaged", \.details.readingsDamaged, true),
    ]

    mutating func addPending(_ batch: PendingBatch) {
        counters.readingsPending &+= batch.readings
        counters.batchesPending &+= 1
        details.readingsPending[batch.lane] &+= batch.readings
        details.batchesPending[batch.lane] &+= 1
        details.bytesPending[batch.lane] &+= UInt64(batch.size)
    }

    mutating func removePending(_ batch: PendingBatch) {
        counters.readingsPending &-= batch.readings
        counters.batchesPending &-= 1
        details.readingsPending[batch.lane] &-= batch.readings
        details.batchesPending[batch.lane] &-= 1
        details.bytesPending[batch.lane] &-= UInt64(batch.size)
    }

    /// Nothing pending, for a count that starts again.
    mutating func clearPending() {
        counters.readingsPending = 0
        counters.batchesPending = 0
        details.readingsPending = ByPriority()
        details.batchesPending = ByPriority()
        details.bytesPending = ByPriority()
    }
}

/// A segment that is no longer written.
struct OlderSegment {
    let number: Int
    /// Of the file and its log.
    var bytes: Int
    /// Something in it could not be read: it is kept as `.bad` when it has served.
    var isDamaged = false
}

struct SpoolState {
    var incarnation: [UInt8] = []
    var cut = CutState()
    var tally = Tally()
    /// Parts that are not covered, or that the duplicate memory may need, in the order of their
    /// commits.
    var retained: [RetainedPart] = []
    var pending = PendingIndex()
    /// Rising numbers.
    var older: [OlderSegment] = []
    /// For each intake the counters of its newest readable part.
    var newest: [IntakeCounters] = []
    var nextPositions: [UInt64] = []

    mutating func reach(_ position: UInt64, ofIntake intake: Int) {
        nextPositions.fill(upTo: intake, with: 0)
        nextPositions[intake] = max(nextPositions[intake], position)
    }

    /// For each intake the end of its newest part.
    var partEnds: [UInt64] {
        var ends: [UInt64] = []
        for part in retained {
            ends.fill(upTo: part.intake, with: 0)
            ends[part.intake] = max(ends[part.intake], part.end)
        }
        return ends
    }

    mutating func markStranded() {
        for place in retained.indices {
            let part = retained[place]
            retained[place].isStranded =
                part.intake == 0
                && cut.stranded(part.firstPosition..<max(part.firstPosition, part.end)) != nil
        }
    }

    /// Rows of the journal in a segment that may still be needed; nil when none is.
    func journalRows(inSegment number: Int) -> ClosedRange<Int64>? {
        var range: ClosedRange<Int64>?
        for part in retained where part.segment == number {
            let from = min(range?.lowerBound ?? part.row, part.row)
            range = from...max(range?.upperBound ?? part.row, part.row)
        }
        return range
    }

    /// The numbers of the ledger table that the spool starts from, and the sums of the intakes.
    var ledger: [(name: String, value: UInt64)] {
        var all: [(name: String, value: UInt64)] = []
        for (name, path, _) in Tally.persisted { all.append((name, tally[keyPath: path])) }
        return all + cut.ledger
    }
}

extension CutState {
    /// What a cut says in the ledger table.
    var ledger: [(name: String, value: UInt64)] {
        var sums = IntakeCounters().named
        for counters in counters {
            for (index, entry) in counters.named.enumerated() { sums[index].value &+= entry.value }
        }
        for (intake, position) in covered.enumerated() {
            sums.append(("covered.\(intake)", position))
        }
        sums.append(("epoch", epoch))
        return sums
    }
}
