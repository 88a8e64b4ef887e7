// What an operator is told about the disk and the way behind it: how long commits take, and how long the
// oldest batch has waited. Counted on the spool's queue; bounded memory.

import Model
import Spool

/// How long commits of the journal took, since the start.
package struct CommitTimes: Hashable, Sendable {
    /// Upper ends of the classes; what took longer is in the last one.
    package static let boundsMilliseconds = [
        1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 2500, 10_000,
    ]

    /// Commits by class, one more than there are bounds.
    package private(set) var counts = [UInt64](
        repeating: 0, count: CommitTimes.boundsMilliseconds.count + 1)
    package private(set) var nanoseconds: UInt64 = 0

    package init() {}

    package var count: UInt64 { counts.reduce(0, &+) }

    package mutating func note(_ taken: UInt64) {
        nanoseconds &+= taken
        let place = CommitTimes.boundsMilliseconds.firstIndex { taken <= UInt64($0) * 1_000_000 }
        counts[place ?? CommitTimes.boundsMilliseconds.count] &+= 1
    }
}

/// When sequences were stored, coarsely: 128 places at most, the older the fewer.
struct WaitMemory {
    private static let limit = 128
    private var places: [(last: UInt64, at: Instant)] = []

    /// Every batch up to `last` has been stored by `now`.
    mutating func note(_ last: UInt64, at now: Instant) {
        if let newest = places.last, newest.last >= last { return }
        places.append((last, now))
        guard places.count > WaitMemory.limit else { return }
        // Every other one of the older half goes: its batches count from the next one that stays.
        let half = WaitMemory.limit / 2
        let kept = places[..<half].enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
        places = kept + places[half...]
    }

    /// When `sequence` was stored, or a little after; nil when that is not known.
    func stored(_ sequence: UInt64) -> Instant? {
        places.first { $0.last >= sequence }?.at
    }
}

extension SpoolStage {
    /// How long the oldest pending batch has waited in this run; 0 when none waits.
    package var oldestWaitSeconds: Double {
        guard let spool, let oldest = spool.oldestPending, let since = waits.stored(oldest)
        else { return 0 }
        return Double(clock.now().milliseconds(since: since)) / 1000
    }
}
