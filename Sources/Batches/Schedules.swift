// Schedules: the times of streams. Streams that came in the same frames have the same column of
// (observedAt, receivedAt) and share one schedule; a stream that some frames lack has a schedule that
// selects rows of another. Owned by the batch encoder; scratch is kept from batch to batch.
// Invariant: a selecting schedule's parent has its own clock, so a decoder needs no recursion.

import Model

/// Times of one or more streams. Rows are those of its first stream in the grouping.
struct Schedule {
    var rows: Range<Int>
    /// Index of the schedule whose rows it selects, or nil when it has its own clock.
    var parent: Int?
    /// (skip, take) pairs over the parent's rows.
    var selection: [(skip: Int, take: Int)]
}

struct ScheduleFinder {
    private(set) var schedules: [Schedule] = []
    /// Schedule of each stream.
    private(set) var ofStream: [Int] = []
    private var byHash: [UInt64: Int] = [:]

    mutating func find(_ g: borrowing Grouping) {
        schedules.removeAll(keepingCapacity: true)
        ofStream.removeAll(keepingCapacity: true)
        byHash.removeAll(keepingCapacity: true)
        for stream in 0..<g.streams.count {
            let rows = g.rows(stream)
            if let last = ofStream.last, isEqual(g, schedules[last].rows, rows) {
                ofStream.append(last)
                continue
            }
            let key = hash(g, rows)
            if let known = byHash[key], isEqual(g, schedules[known].rows, rows) {
                ofStream.append(known)
            } else {
                byHash[key] = schedules.count
                ofStream.append(schedules.count)
                schedules.append(Schedule(rows: rows, parent: nil, selection: []))
            }
        }
        findParents(g)
    }

    private func isEqual(_ g: borrowing Grouping, _ a: Range<Int>, _ b: Range<Int>) -> Bool {
        guard a.count == b.count else { return false }
        let offset = b.lowerBound - a.lowerBound
        for i in a {
            if g.observed[i] != g.observed[i &+ offset] || g.received[i] != g.received[i &+ offset]
            {
                return false
            }
        }
        return true
    }

    private func hash(_ g: borrowing Grouping, _ rows: Range<Int>) -> UInt64 {
        var h = UInt64(rows.count)
        for i in rows {
            h = (h ^ UInt64(bitPattern: g.observed[i])) &* 0x9E37_79B9_7F4A_7C15
            h = (h ^ (h >> 29) ^ UInt64(bitPattern: g.received[i])) &* 0xBF58_476D_1CE4_E5B9
            h ^= h >> 32
        }
        return h
    }

    /// Neighbours looked at for a parent; devices register their streams one after another.
    private static let reach = 8
    /// Shorter columns cost less than a selection.
    private static let shortest = 4

    /// Longest first, so that a parent's own fate is known before it is asked.
    private mutating func findParents(_ g: borrowing Grouping) {
        let order = schedules.indices.filter { schedules[$0].rows.count >= ScheduleFinder.shortest }
            .sorted {
                (-schedules[$0].rows.count, $0) < (-schedules[$1].rows.count, $1)
            }
        guard let longest = order.first else { return }
        for index in order.dropFirst() {
            let rows = schedules[index].rows
            var budget = ownCost(g, rows)
            let near =
                max(
                    0, index - ScheduleFinder.reach)...min(
                    schedules.count - 1, index + ScheduleFinder.reach)
            for candidate in near.contains(longest) ? Array(near) : Array(near) + [longest] {
                guard candidate != index, schedules[candidate].parent == nil,
                    schedules[candidate].rows.count > rows.count,
                    let selection = select(g, rows, from: schedules[candidate].rows, budget: budget)
                else { continue }
                budget = selection.count * 2
                schedules[index].parent = candidate
                schedules[index].selection = selection
            }
        }
    }

    /// Bytes that a clock of its own would take, roughly: one for each change of the step.
    private func ownCost(_ g: borrowing Grouping, _ rows: Range<Int>) -> Int {
        var changes = 4
        var last: Int64 = 0
        for i in rows.dropFirst() {
            let step = g.observed[i] &- g.observed[i &- 1]
            if step != last { changes += 1 }
            last = step
        }
        return changes
    }

    /// The rows of `parent` that are `rows`, in order; nil when they are not or cost over `budget`.
    private func select(
        _ g: borrowing Grouping, _ rows: Range<Int>, from parent: Range<Int>, budget: Int
    ) -> [(skip: Int, take: Int)]? {
        var result: [(skip: Int, take: Int)] = []
        var row = rows.lowerBound
        var skip = 0
        var take = 0
        for i in parent {
            if row == rows.upperBound { break }
            if g.observed[i] == g.observed[row] && g.received[i] == g.received[row] {
                take += 1
                row += 1
            } else {
                if take > 0 {
                    result.append((skip, take))
                    if result.count * 2 >= budget { return nil }
                    skip = 0
                    take = 0
                }
                skip += 1
                if parent.upperBound - i - 1 < rows.upperBound - row { return nil }
            }
        }
        guard row == rows.upperBound else { return nil }
        result.append((skip, take))
        return result.count * 2 < budget ? result : nil
    }
}
