// Which batches are lent to the uplink first. A batch's priority is what its streams say; its
// lane is
// backlog also when it is live and has waited for longer than a minute: after an outage what is
// fresh
// goes before what has waited, so that nobody looks at old values while new ones queue. On the
// spool
// queue.

internal import Model
import Spool
package import Uplink

/// Up to which sequence batches are old enough to be backlog. What was there at start is.
struct LaneBoundary {
    static let freshMilliseconds: Int64 = 60_000

    private(set) var lastOld: UInt64
    /// Newest sequence at the times of cuts that are not a minute ago; one a second at most.
    private var recent: [(at: Instant, last: UInt64)] = []

    init(_ lastSequence: UInt64) { lastOld = lastSequence }

    mutating func note(_ lastSequence: UInt64, at now: Instant) {
        age(to: now)
        if let newest = recent.last, now.milliseconds(since: newest.at) < 1000 {
            recent[recent.count - 1].last = lastSequence
        } else {
            recent.append((now, lastSequence))
        }
    }

    mutating func age(to now: Instant) {
        let old = recent.prefix { now.milliseconds(since: $0.at) >= LaneBoundary.freshMilliseconds }
        if let last = old.last?.last { lastOld = max(lastOld, last) }
        recent.removeFirst(old.count)
    }
}

extension SpoolStage {
    /// Batches that are not in `excluding`: alarms first, then fresh ones, then the backlog, within
    /// the room of each lane and, but for the first, within `maximumBytes`.
    package func lease(
        excluding: [UInt64], room: LeaseRoom, maximumBytes: Int
    ) -> [OutgoingBatch] {
        guard let spool else { return [] }
        tend()
        lanes.age(to: clock.now())
        let excluded = Set(excluding)
        let old = lanes.lastOld
        var leased: [OutgoingBatch] = []
        var bytes = 0
        func lend(
            _ priority: Priority, after: UInt64, upTo: UInt64, isBacklog: Bool, limit: Int
        ) throws -> Int {
            let limit = min(limit, room.all - leased.count)
            guard limit > 0, bytes < maximumBytes else { return 0 }
            let found = try spool.lease(
                lane: priority, after: after, excluding: excluded, limit: limit,
                maximumBytes: maximumBytes - bytes
            ).filter { $0.sequence <= upTo }
            bytes = found.reduce(bytes) { $0 + $1.bytes.count }
            leased += found.map {
                OutgoingBatch(
                    sequence: $0.sequence, priority: $0.priority,
                    readings: UInt32(clamping: $0.readings), bytes: $0.bytes, isBacklog: isBacklog)
            }
            return found.count
        }
        do {
            _ = try lend(.alarm, after: 0, upTo: .max, isBacklog: false, limit: room.all)
            var ordinary = room.ordinary
            ordinary -= try lend(
                .live, after: old, upTo: .max, isBacklog: false, limit: ordinary)
            var backlog = min(room.backlog, ordinary)
            backlog -= try lend(.live, after: 0, upTo: old, isBacklog: true, limit: backlog)
            _ = try lend(.backlog, after: 0, upTo: .max, isBacklog: true, limit: backlog)
        } catch {
            report(error)
        }
        if spool.hasUnreadable {
            ports.wakeAt(clock.now().adding(milliseconds: SpoolStage.tendMilliseconds))
        }
        return leased
    }

    /// As many of each lane as of all.
    package func lease(excluding: [UInt64], limit: Int, maximumBytes: Int) -> [OutgoingBatch] {
        lease(excluding: excluding, room: LeaseRoom(limit), maximumBytes: maximumBytes)
    }
}
