// What the spool will do if things go on as in the last hour: for status. Samples are taken at most once a
// minute and kept for an hour.

package import Model
import Spool

package struct SpoolForecast: Hashable, Sendable {
    /// Until batches are evicted; nil: not at this rate, or not known yet.
    package var secondsUntilFull: Int64?
    /// The lane that is evicted first then.
    package var shedFirst: Priority?
    /// Bytes written to the device a day, and flushes; nil: not known yet.
    package var flashBytesPerDay: UInt64?
    package var flushesPerDay: UInt64?
    /// How long was looked at.
    package var observedSeconds: Int64 = 0

    package init() {}

    /// `spool full in 31 h at this rate; backlog is shed first`.
    package var text: String {
        var parts: [String] = []
        if let seconds = secondsUntilFull {
            let lane = shedFirst.map { "; \($0) is shed first" } ?? ""
            parts.append("spool full in \(SpoolForecast.duration(seconds)) at this rate\(lane)")
        } else if observedSeconds > 0 {
            parts.append("spool does not fill at this rate")
        }
        if let bytes = flashBytesPerDay, let flushes = flushesPerDay {
            parts.append(
                "\(SpoolForecast.size(bytes)) and \(SpoolForecast.grouped(flushes)) flushes a day to "
                    + "flash")
        }
        return parts.joined(separator: "; ")
    }

    private static func size(_ bytes: UInt64) -> String {
        let megabytes = bytes / 1_000_000
        return megabytes < 10_000
            ? "\(grouped(megabytes)) MB" : "\(grouped(megabytes / 1000)) GB"
    }

    private static func grouped(_ number: UInt64) -> String {
        guard number >= 1000 else { return "\(number)" }
        let last = number % 1000
        return grouped(number / 1000) + "," + (last < 10 ? "00" : last < 100 ? "0" : "") + "\(last)"
    }

    static func duration(_ seconds: Int64) -> String {
        switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3600) h"
        default: "\(seconds / 86_400) d"
        }
    }
}

struct SpoolForecaster {
    private struct Reach {
        var at: Instant
        var pending: UInt64
        var written: UInt64
        var flushes: UInt64
    }

    private var samples: [Reach] = []
    private static let kept = 60
    /// Less says nothing about a day.
    private static let leastSeconds: Int64 = 30

    mutating func note(_ details: SpoolDetails, at now: Instant) {
        samples.append(SpoolForecaster.sample(details, now))
        if samples.count > SpoolForecaster.kept { samples.removeFirst() }
    }

    private static func sample(_ details: SpoolDetails, _ now: Instant) -> Reach {
        Reach(
            at: now, pending: details.bytesPending.total, written: details.bytesWritten,
            flushes: details.flushes)
    }

    func forecast(_ details: SpoolDetails, at now: Instant) -> SpoolForecast {
        var forecast = SpoolForecast()
        guard let first = samples.first else { return forecast }
        let seconds = now.milliseconds(since: first.at) / 1000
        guard seconds >= SpoolForecaster.leastSeconds else { return forecast }
        let last = SpoolForecaster.sample(details, now)
        forecast.observedSeconds = seconds
        func perDay(_ before: UInt64, _ after: UInt64) -> UInt64 {
            UInt64(Double(after &- min(before, after)) / Double(seconds) * 86_400)
        }
        forecast.flashBytesPerDay = perDay(first.written, last.written)
        forecast.flushesPerDay = perDay(first.flushes, last.flushes)
        let lowest = Priority.allCases.last { details.batchesPending[$0] > 0 }
        if last.pending > first.pending, details.bytesAllowed > details.bytesUsed {
            let rate = Double(last.pending - first.pending) / Double(seconds)
            let room = Double(details.bytesAllowed - details.bytesUsed)
            forecast.secondsUntilFull = Int64(min(room / rate, 1e15))
            forecast.shedFirst = lowest
        } else if details.bytesAllowed <= details.bytesUsed {
            forecast.secondsUntilFull = 0
            forecast.shedFirst = lowest
        }
        return forecast
    }
}

/// The wall clock is believed when it has gone on as the monotonic one does for ten minutes: a
/// clock that
/// jumps by years must not evict what waits.
struct SteadyWall {
    private var offset: Int64?
    private var since = Instant(nanoseconds: 0)
    private static let steadyMilliseconds: Int64 = 600_000
    private static let toleranceMilliseconds: Int64 = 60_000

    mutating func look(_ now: Instant, _ wall: Timestamp) -> Bool {
        let apart = wall.milliseconds &- Int64(clamping: now.nanoseconds / 1_000_000)
        if let offset, (apart &- offset).magnitude <= UInt64(SteadyWall.toleranceMilliseconds) {
            return now.milliseconds(since: since) >= SteadyWall.steadyMilliseconds
        }
        offset = apart
        since = now
        return false
    }
}
