// Two times that never mix: `Instant` is monotonic and drives timers, `Timestamp` is wall clock and
// labels readings. Only Host reads a real clock; everything else is handed a `Clock`.

/// Monotonic time in nanoseconds since an arbitrary start (CLOCK_MONOTONIC).
public struct Instant: Comparable, Hashable, Sendable {
    public var nanoseconds: UInt64

    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    /// Milliseconds from `earlier` to this instant; 0 when `earlier` is later.
    public func milliseconds(since earlier: Instant) -> Int64 {
        nanoseconds > earlier.nanoseconds
            ? Int64((nanoseconds - earlier.nanoseconds) / 1_000_000) : 0
    }

    public func adding(nanoseconds count: UInt64) -> Instant {
        Instant(nanoseconds: nanoseconds &+ count)
    }

    public func adding(milliseconds: Int64) -> Instant {
        Instant(nanoseconds: nanoseconds &+ UInt64(max(0, milliseconds)) &* 1_000_000)
    }
}

/// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z (POSIX, without leap seconds).
public struct Timestamp: Comparable, Hashable, Sendable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    public static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }

    /// The time of a proleptic Gregorian calendar date, or nil when a field is out of its range
    /// (leap second 60 included). Shape: year 1...9999, month 1...12, day as the month has.
    public init?(
        year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int, millisecond: Int = 0
    ) {
        guard (1...9999).contains(year), (1...12).contains(month), (0...23).contains(hour),
            (0...59).contains(minute), (0...59).contains(second), (0...999).contains(millisecond),
            day >= 1, day <= CivilDate.daysIn(month: month, year: year)
        else { return nil }
        let days = CivilDate(year: year, month: month, day: day).daysSinceEpoch
        let seconds = Int64(days) * 86_400 + Int64(hour * 3600 + minute * 60 + second)
        milliseconds = seconds * 1000 + Int64(millisecond)
    }

    /// ISO 8601 in UTC, `2026-11-21T10:00:00Z`, with `.mmm` only when it is not zero.
    public var iso8601: String { iso8601(offsetMinutes: 0) + "Z" }

    /// ISO 8601 local time at `offsetMinutes` east of UTC, without a zone suffix.
    public func iso8601(offsetMinutes: Int) -> String {
        let local = milliseconds &+ Int64(offsetMinutes) &* 60_000
        let (days, inDay) = local.flooredDivision(by: 86_400_000)
        let date = CivilDate(daysSinceEpoch: Int(days))
        func pad(_ n: Int, _ width: Int) -> String {
            let text = String(n)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        let second = Int(inDay / 1000)
        var text = "\(pad(date.year, 4))-\(pad(date.month, 2))-\(pad(date.day, 2))"
        text += "T\(pad(second / 3600, 2)):\(pad(second / 60 % 60, 2)):\(pad(second % 60, 2))"
        let millisecond = Int(inDay % 1000)
        return millisecond == 0 ? text : text + ".\(pad(millisecond, 3))"
    }
}

/// A day of the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date
/// algorithms": days_from_civil and civil_from_days).
public struct CivilDate: Hashable, Sendable {
    public var year: Int
    public var month: Int
    public var day: Int

    public init(year: Int, month: Int, day: Int) {
        self.year = year
        self.month = month
        self.day = day
    }

    public init(daysSinceEpoch: Int) {
        let z = daysSinceEpoch + 719_468
        let era = (z >= 0 ? z : z - 146_096) / 146_097
        let dayOfEra = z - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shifted + 2) / 5 + 1
        month = shifted < 10 ? shifted + 3 : shifted - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    public var daysSinceEpoch: Int {
        let y = month <= 2 ? year - 1 : year
        let era = (y >= 0 ? y : y - 399) / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    public static func daysIn(month: Int, year: Int) -> Int {
        switch month {
        case 2: (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

/// Where a stage gets its time from. Host's reads the machine's clocks, the simulator's is a variable.
public struct Clock: Sendable {
    public let now: @Sendable () -> Instant
    public let wall: @Sendable () -> Timestamp

    public init(now: @escaping @Sendable () -> Instant, wall: @escaping @Sendable () -> Timestamp) {
        self.now = now
        self.wall = wall
    }
}

extension Int64 {
    /// Quotient rounded towards minus infinity and the remainder in 0..<divisor; `divisor` > 0.
    public func flooredDivision(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (q, r) = quotientAndRemainder(dividingBy: divisor)
        return r < 0 ? (q - 1, r + divisor) : (q, r)
    }
}
