// What a metered uplink may cost, and when the next batch may go. Values, owned by the forwarder on the
// uplink queue. Rules: an alarm never waits for the pace, but is counted; live batches wait for the
// uplink's rate and its bytes a day; backlog waits for these, for its own rate and for its windows.
// A batch goes when its time has come, whatever its size, and pushes the next by as long as it costs:
// so the mean is kept without cutting batches. Rates and days run on the monotonic clock; only the
// windows look at the wall clock. What was spent is forgotten at a restart.

internal import Model

/// Minutes of the day, UTC, in which the backlog may be sent; `end` is not in it. A window whose end is
/// not after its start goes over midnight.
package struct DayWindow: Hashable, Sendable {
    package var start: Int
    package var end: Int

    /// nil unless both are minutes of a day (end up to 1440).
    package init?(start: Int, end: Int) {
        guard (0..<1440).contains(start), (0...1440).contains(end), start != end else { return nil }
        self.start = start
        self.end = end
    }

    /// `22:00-06:30`.
    package init?(_ text: String) {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let start = DayWindow.minute(ends[0]),
            let end = DayWindow.minute(ends[1])
        else { return nil }
        self.init(start: start, end: end)
    }

    private static func minute(_ text: Substring) -> Int? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 }),
            let hour = Int(parts[0]), let minute = Int(parts[1]), (0...24).contains(hour),
            (0..<60).contains(minute), hour < 24 || minute == 0
        else { return nil }
        return hour * 60 + minute
    }

    func contains(_ minute: Int) -> Bool {
        start < end ? (start..<end).contains(minute) : minute >= start || minute < end
    }
}

package struct PaceSettings: Hashable, Sendable {
    /// Bytes a second that live and backlog may take together; 0: as many as the link takes.
    package var bytesPerSecond = 0
    /// Bytes of any 24 hours after which live and backlog wait; 0: no limit.
    package var bytesPerDay = 0
    /// Bytes a second of the backlog alone; 0: as many as the others leave.
    package var backlogBytesPerSecond = 0
    /// When the backlog may go; none: at any time.
    package var backlogWindows: [DayWindow] = []

    package init() {}
}

struct Pace {
    let settings: PaceSettings
    private var ordinaryFree = Instant(nanoseconds: 0)
    private var backlogFree = Instant(nanoseconds: 0)
    /// Bytes of the hours of the last day, by hour of the monotonic clock modulo 24.
    private var hours: [Int] = Array(repeating: 0, count: 24)
    private var hour: UInt64 = 0

    init(_ settings: PaceSettings) { self.settings = settings }

    private static let hourNanoseconds: UInt64 = 3_600_000_000_000

    mutating func sent(_ bytes: Int, isBacklog: Bool, now: Instant) {
        turn(to: now)
        hours[Int(hour % 24)] += bytes
        ordinaryFree = Pace.after(ordinaryFree, now, bytes, settings.bytesPerSecond)
        if isBacklog {
            backlogFree = Pace.after(backlogFree, now, bytes, settings.backlogBytesPerSecond)
        }
    }

    private static func after(_ free: Instant, _ now: Instant, _ bytes: Int, _ rate: Int) -> Instant
    {
        guard rate > 0 else { return free }
        return max(free, now).adding(nanoseconds: UInt64(bytes) * 1_000_000_000 / UInt64(rate))
    }

    private mutating func turn(to now: Instant) {
        let next = now.nanoseconds / Pace.hourNanoseconds
        guard next > hour else { return }
        for gone in 1...min(24, next - hour) { hours[Int((hour + gone) % 24)] = 0 }
        hour = next
    }

    /// When live and backlog may go on; nil: now.
    mutating func ordinaryWaits(now: Instant) -> Instant? {
        turn(to: now)
        if settings.bytesPerDay > 0, hours.reduce(0, +) >= settings.bytesPerDay {
            return Instant(nanoseconds: (hour + 1) * Pace.hourNanoseconds)
        }
        return ordinaryFree > now ? ordinaryFree : nil
    }

    /// When the backlog may go on, as far as it alone is concerned; nil: now.
    func backlogWaits(now: Instant, wall: Timestamp) -> Instant? {
        if !settings.backlogWindows.isEmpty {
            let (_, inDay) = wall.milliseconds.flooredDivision(by: 86_400_000)
            let minute = Int(inDay / 60_000)
            if !settings.backlogWindows.contains(where: { $0.contains(minute) }) {
                // The wall clock may be set meanwhile: look again at every minute.
                return now.adding(milliseconds: 60_000 - inDay % 60_000)
            }
        }
        return backlogFree > now ? backlogFree : nil
    }
}

/// Bytes a second over the last minute, for estimates.
struct RecentRate {
    private static let slotNanoseconds: UInt64 = 10_000_000_000
    private var slots: [Int] = Array(repeating: 0, count: 6)
    private var slot: UInt64 = 0
    private var since: Instant?

    private mutating func turn(to now: Instant) {
        let next = now.nanoseconds / RecentRate.slotNanoseconds
        guard next > slot else { return }
        for gone in 1...min(6, next - slot) { slots[Int((slot + gone) % 6)] = 0 }
        slot = next
    }

    mutating func add(_ bytes: Int, now: Instant) {
        turn(to: now)
        if slots.allSatisfy({ $0 == 0 }) { since = now }
        slots[Int(slot % 6)] += bytes
    }

    mutating func bytesPerSecond(now: Instant) -> Int {
        turn(to: now)
        let sum = slots.reduce(0, +)
        guard sum > 0, let since else { return 0 }
        let milliseconds = min(60_000, max(1000, now.milliseconds(since: since)))
        return Int(clamping: Int64(sum) * 1000 / milliseconds)
    }
}
