// Shows times in the machine's zone with the zone's name; the calendar is libc's, so TZ and
// /etc/localtime hold as for every other tool.

import Glibc
package import Model

package enum LocalTime {
    /// `2026-11-21 18:00:00.250 CST`; milliseconds only when they are not zero.
    package static func text(_ timestamp: Timestamp) -> String {
        let (seconds, _) = timestamp.milliseconds.flooredDivision(by: 1000)
        var wanted = time_t(seconds)
        var parts = unsafe tm()
        // Safety: both variables live across the call; localtime_r writes only `parts`.
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
