// Shows times in the machine's zone with the zone's name; the calendar is libc's, so TZ and
// /etc/localtime hold as for every other tool.

import Glibc
package import Model

package enum LocalTime {
    /// `2026-11-21 18:00:00.250 CST`; milliseconds only when they are not zero.
    package static func text(_ timestamp: Timestamp) -> String {
        let (seconds, _) = timestamp.milliseconds.flooredDivision(by: 1000)
        var wanted = time_t(seconds)
        // Safety: an all-zero tm has a null zone and is not read before localtime_r, which writes only
        // this variable; both live across the call.
        var parts = unsafe tm()
        guard unsafe localtime_r(&wanted, &parts) != nil else { return timestamp.iso8601 }
        let offset = unsafe parts.tm_gmtoff / 60
        // Safety: tm_zone points into libc's zone table, which lives as long as the process and is
        // changed only by tzset with another TZ, which no thread of these programs sets.
        let zone = unsafe parts.tm_zone.map { unsafe String(cString: $0) } ?? ""
        let local = timestamp.iso8601(offsetMinutes: offset)
        return local.replacingFirst("T", with: " ") + (zone.isEmpty ? "" : " " + zone)
    }
}

extension String {
    func replacingFirst(_ character: Character, with other: Character) -> String {
        guard let at = firstIndex(of: character) else { return self }
        return self[..<at] + String(other) + self[index(after: at)...]
    }
}

extension LocalTime {
    /// A time as people write it: `2026-11-21`, `2026-11-21T10:00`, `2026-11-21 10:00:30`, local
    /// unless it ends in `Z`; or a duration before `now`: `2h`, `30m`.
    package static func parse(_ text: String, now: Timestamp) -> Timestamp? {
        if let unit = text.last, "smhd".contains(unit), let ago = Invocation.milliseconds(text) {
            return Timestamp(milliseconds: now.milliseconds - ago)
        }
        let isUTC = text.hasSuffix("Z")
        let bare = isUTC ? String(text.dropLast()) : text
        let halves = bare.split(whereSeparator: { $0 == "T" || $0 == " " })
        let date = (halves.first ?? "").split(separator: "-").map { Int($0) }
        let clock = halves.count > 1 ? halves[1].split(separator: ":").map { Int($0) } : []
        guard (1...2).contains(halves.count), date.count == 3, clock.count <= 3,
            let year = date[0], let month = date[1], let day = date[2],
            !clock.contains(where: { $0 == nil })
        else { return nil }
        let parts = clock.compactMap { $0 } + [0, 0, 0]
        guard
            let utc = Timestamp(
                year: year, month: month, day: day, hour: parts[0], minute: parts[1],
                second: parts[2])
        else { return nil }
        if isUTC { return utc }
        // The zone's offset at that time; twice, because the first guess may lie across a change.
        let first = utc.milliseconds - offset(utc)
        return Timestamp(
            milliseconds: utc.milliseconds - offset(Timestamp(milliseconds: first)))
    }

    /// Milliseconds east of UTC at a time.
    private static func offset(_ timestamp: Timestamp) -> Int64 {
        var wanted = time_t(timestamp.milliseconds.flooredDivision(by: 1000).quotient)
        // Safety: an all-zero tm has a null zone and is not read before localtime_r, which writes only
        // this variable; both live across the call.
        var parts = unsafe tm()
        guard unsafe localtime_r(&wanted, &parts) != nil else { return 0 }
        return unsafe Int64(parts.tm_gmtoff) * 1000
    }
}
