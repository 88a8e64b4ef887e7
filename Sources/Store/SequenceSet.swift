// Which sequences of one incarnation are on disk: runs, rising and never touching. A value; its
// owner is an incarnation's state on the store's queue, its mirror the table `committed`.

package import Uplink

/// An exact set of sequences that stays small while they come roughly in order.
package struct SequenceSet: Hashable, Sendable {
    /// What an insertion does to the runs on disk: rows that go, then the row that comes.
    package struct Change: Hashable, Sendable {
        package var removedFirsts: [UInt64]
        package var run: ClosedRange<UInt64>
    }

    package private(set) var runs: [ClosedRange<UInt64>] = []

    package init() {}

    /// Runs as they were stored: rising and apart, or nil.
    package init?(runs: [ClosedRange<UInt64>]) {
        for (a, b) in zip(runs, runs.dropFirst()) {
            guard a.upperBound < b.lowerBound, b.lowerBound - a.upperBound > 1 else { return nil }
        }
        self.runs = runs
    }

    package func contains(_ sequence: UInt64) -> Bool {
        let place = firstRun(endingAtOrAfter: sequence)
        return place < runs.count && runs[place].contains(sequence)
    }

    /// nil when it was there.
    package mutating func insert(_ sequence: UInt64) -> Change? {
        var place = firstRun(endingAtOrAfter: sequence)
        if place < runs.count, runs[place].contains(sequence) { return nil }
        var removed: [UInt64] = []
        var run = sequence...sequence
        if place > 0, runs[place - 1].upperBound == sequence - 1 {
            place -= 1
            removed.append(runs[place].lowerBound)
            run = runs[place].lowerBound...sequence
            runs.remove(at: place)
        }
        if place < runs.count, sequence < .max, runs[place].lowerBound == sequence + 1 {
            removed.append(runs[place].lowerBound)
            run = run.lowerBound...runs[place].upperBound
            runs.remove(at: place)
        }
        runs.insert(run, at: place)
        return Change(removedFirsts: removed, run: run)
    }

    /// For a welcome: all up to the first gap, and the newest runs above.
    package var told: CommittedSet {
        var above = runs[...]
        var through: UInt64 = 0
        if let first = above.first, first.lowerBound <= 1 {
            through = first.upperBound
            above = above.dropFirst()
        }
        return CommittedSet(
            through: through, runs: Array(above.suffix(UplinkProtocol.committedRuns)))
    }

    private func firstRun(endingAtOrAfter sequence: UInt64) -> Int {
        if let last = runs.last, last.upperBound < sequence { return runs.count }
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].upperBound < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
