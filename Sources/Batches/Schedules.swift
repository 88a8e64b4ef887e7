// Schedules and clocks: the times of streams. Streams that came in the same frames have the same
// column of (observedAt, receivedAt) and share one schedule. A schedule is all rows of a clock or a
// selection of them: the streams of a device that some of its frames lack share the device's clock.
// Owned by the batch encoder; scratch is kept from batch to batch.
// Invariant: every schedule is an ordered selection of its clock's rows.

import Model

/// Times of one or more streams.
struct Schedule {
    /// The rows of its first stream in the grouping.
    var rows: Range<Int>
    var clock: Int
    /// (skip, take) pairs over the clock's rows; empty for all of them.
    var selection: [(skip: Int, take: Int)] = []
}

/// A column of times: rows of the grouping, or a union made for several schedules.
struct ClockRows {
    var rows: Range<Int>
    var union: (observed: [Int64], received: [Int64])?
    var members: Int
}

struct ScheduleFinder {
    private(set) var schedules: [Schedule] = []
    private(set) var clocks: [ClockRows] = []
    /// Schedule of each stream.
    private(set) var ofStream: [UInt32] = []
    private var byHash: [UInt64: Int] = [:]

    mutating func find(_ g: borrowing Grouping) {
        schedules.removeAll(keepingCapacity: true)
        clocks.removeAll(keepingCapacity: true)
        ofStream.removeAll(keepingCapacity: true)
        byHash.removeAll(keepingCapacity: true)
        // The schedule of the stream before.
        var last = 0
        var lastRows = 0..<0
        for stream in 0..<g.streams.count {
            let rows = g.rows(stream)
            if isEqual(g, lastRows, rows) {
                ofStream.append(UInt32(last))
                continue
            }
            let key = hash(g, rows)
            if let known = byHash[key], isEqual(g, schedules[known].rows, rows) {
                last = known
            } else {
                last = schedules.count
                byHash[key] = last
                schedules.append(Schedule(rows: rows, clock: -1))
            }
            lastRows = schedules[last].rows
            ofStream.append(UInt32(last))
        }
        shareClocks(g)
        numberClocks()
        for index in schedules.indices { select(index, g) }
    }

    @inline(__always)
    private func isEqual(_ g: borrowing Grouping, _ a: Range<Int>, _ b: Range<Int>) -> Bool {
        guard a.count == b.count else { return false }
        let (o, r) = (g.observed.span, g.received.span)
        let offset = b.lowerBound - a.lowerBound
        for i in a where o[i] != o[i &+ offset] || r[i] != r[i &+ offset] { return false }
        return true
    }

    private func hash(_ g: borrowing Grouping, _ rows: Range<Int>) -> UInt64 {
        let (o, r) = (g.observed.span, g.received.span)
        var h = UInt64(rows.count)
        for i in rows {
            h = (h ^ UInt64(bitPattern: o[i])) &* 0x9E37_79B9_7F4A_7C15
            h = (h ^ (h >> 29) ^ UInt64(bitPattern: r[i])) &* 0xBF58_476D_1CE4_E5B9
            h ^= h >> 32
        }
        return h
    }

    // MARK: Sharing

    /// Neighbours looked at for a clock to share; devices register their streams one after another.
    private static let reach = 8
    /// Shorter columns cost less than a selection.
    private static let shortest = 4
    /// Estimated bytes of a time that does not follow from the one before, and of a selection's pair.
    private static let rowCost = 2
    private static let pairCost = 2

    /// Gives each schedule a clock, longest first: one that its neighbours have when that is cheaper.
    private mutating func shareClocks(_ g: borrowing Grouping) {
        let order = schedules.indices.sorted {
            (-schedules[$0].rows.count, $0) < (-schedules[$1].rows.count, $1)
        }
        for index in order {
            let rows = schedules[index].rows
            if rows.count >= ScheduleFinder.shortest, let clock = neighbour(of: index, g) {
                schedules[index].clock = clock
                clocks[clock].members += 1
            } else {
                schedules[index].clock = clocks.count
                clocks.append(ClockRows(rows: rows, union: nil, members: 1))
            }
        }
    }

    /// The clock that is cheapest to share with, made the union of both when it has to be.
    private mutating func neighbour(of index: Int, _ g: borrowing Grouping) -> Int? {
        let rows = schedules[index].rows
        var budget = ownCost(g, rows)
        var best: Int?
        var needsUnion = false
        var tried = -1
        let first = max(0, index - ScheduleFinder.reach)
        for near in first...min(schedules.count - 1, index + ScheduleFinder.reach) {
            let clock = schedules[near].clock
            guard clock >= 0, clock != tried else { continue }
            tried = clock
            let (cost, isUnion) = mergeCost(g, rows, with: clocks[clock], budget: budget)
            if cost < budget {
                budget = cost
                best = clock
                needsUnion = isUnion
            }
        }
        if let best, needsUnion { unite(best, rows, g) }
        return best
    }

    /// Bytes that a clock of its own would take, roughly.
    private func ownCost(_ g: borrowing Grouping, _ rows: Range<Int>) -> Int {
        var changes = 2
        var last: Int64 = 0
        for i in rows.dropFirst() {
            let step = g.observed[i] &- g.observed[i &- 1]
            if step != last { changes += 1 }
            last = step
        }
        return changes * ScheduleFinder.rowCost
    }

    /// Walks both columns as one; a row of one alone costs a pair for those who lack it.
    private func mergeCost(
        _ g: borrowing Grouping, _ rows: Range<Int>, with clock: ClockRows, budget: Int
    ) -> (cost: Int, isUnion: Bool) {
        let (their, arrived) = (
            clock.union?.observed ?? g.observed, clock.union?.received ?? g.received
        )
        let (theirs, arrivals) = (their.span, arrived.span)
        let (o, r) = (g.observed.span, g.received.span)
        let end = clock.union?.observed.count ?? clock.rows.upperBound
        var a = rows.lowerBound
        var b = clock.union == nil ? clock.rows.lowerBound : 0
        var cost = ScheduleFinder.pairCost
        var matched = 0
        var isUnion = false
        var side = 0
        while a < rows.upperBound {
            if b < end, o[a] == theirs[b], r[a] == arrivals[b] {
                a &+= 1
                b &+= 1
                matched &+= 1
                side = 0
            } else if b < end, o[a] >= theirs[b] {
                if side != 1, matched > 0 { cost &+= ScheduleFinder.pairCost }
                side = 1
                b &+= 1
            } else {
                if side != 2 { cost &+= ScheduleFinder.pairCost &* clock.members }
                cost &+= ScheduleFinder.rowCost
                side = 2
                isUnion = true
                a &+= 1
                // Nothing in common so far: another device.
                if a &- rows.lowerBound == 16, matched < 4 { return (.max, true) }
            }
            if cost >= budget { return (.max, isUnion) }
        }
        return (cost, isUnion)
    }

    /// Makes the clock hold the rows too, by the same walk.
    private mutating func unite(_ clock: Int, _ rows: Range<Int>, _ g: borrowing Grouping) {
        let theirs = clocks[clock].union ?? (g.observed, g.received)
        let end = clocks[clock].union?.observed.count ?? clocks[clock].rows.upperBound
        var b = clocks[clock].union == nil ? clocks[clock].rows.lowerBound : 0
        var a = rows.lowerBound
        var union: (observed: [Int64], received: [Int64]) = ([], [])
        while a < rows.upperBound || b < end {
            let isOurs = a < rows.upperBound
            let isSame =
                isOurs && b < end && g.observed[a] == theirs.observed[b]
                && g.received[a] == theirs.received[b]
            if isSame || b < end && (!isOurs || g.observed[a] >= theirs.observed[b]) {
                union.observed.append(theirs.observed[b])
                union.received.append(theirs.received[b])
                b += 1
                if isSame { a += 1 }
            } else {
                union.observed.append(g.observed[a])
                union.received.append(g.received[a])
                a += 1
            }
        }
        clocks[clock].union = union
    }

    // MARK: Results

    /// Numbers clocks in the order in which schedules use them.
    private mutating func numberClocks() {
        var numbers = [Int](repeating: -1, count: clocks.count)
        var ordered: [ClockRows] = []
        ordered.reserveCapacity(clocks.count)
        for index in schedules.indices {
            let clock = schedules[index].clock
            if numbers[clock] < 0 {
                numbers[clock] = ordered.count
                ordered.append(clocks[clock])
            }
            schedules[index].clock = numbers[clock]
        }
        clocks = ordered
    }

    private mutating func select(_ index: Int, _ g: borrowing Grouping) {
        let rows = schedules[index].rows
        let clock = clocks[schedules[index].clock]
        if clock.union == nil && clock.rows.count == rows.count { return }
        let observed = clock.union?.observed ?? g.observed
        let received = clock.union?.received ?? g.received
        let all = clock.union.map { 0..<$0.observed.count } ?? clock.rows
        if all.count == rows.count { return }
        var pairs: [(skip: Int, take: Int)] = []
        var row = rows.lowerBound
        var skip = 0
        var take = 0
        for i in all where row < rows.upperBound {
            if observed[i] == g.observed[row] && received[i] == g.received[row] {
                take += 1
                row += 1
            } else {
                if take > 0 {
                    pairs.append((skip, take))
                    (skip, take) = (0, 0)
                }
                skip += 1
            }
        }
        precondition(row == rows.upperBound, "a schedule is a selection of its clock")
        pairs.append((skip, take))
        schedules[index].selection = pairs
    }
}
