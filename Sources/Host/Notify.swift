// What systemd is told (sd_notify(3)): one datagram to $NOTIFY_SOCKET, nothing when it is not set.
// May be called from any thread.

import CLinux

package enum Notify {
    /// Everything is open and taken in.
    package static func ready(status: String = "") {
        send(status.isEmpty ? "READY=1" : "READY=1\nSTATUS=\(oneLine(status))")
    }

    package static func reloading() {
        send("RELOADING=1\nMONOTONIC_USEC=\(sluice_monotonic_ns() / 1000)")
    }

    package static func stopping() { send("STOPPING=1") }
    package static func status(_ text: String) { send("STATUS=\(oneLine(text))") }

    /// To be called at least every `watchdogInterval`.
    package static func alive() { send("WATCHDOG=1") }

    /// Half of the unit's WatchdogSec in milliseconds; nil when it has none.
    package static var watchdogInterval: Int64? {
        let microseconds = sluice_watchdog_us()
        return microseconds == 0 ? nil : max(1, Int64(clamping: microseconds / 2000))
    }

    private static func send(_ text: String) {
        // Safety: Swift lends a NUL-terminated copy of `text` for the call.
        _ = unsafe sluice_notify(text)
    }

    /// A line break would begin another assignment.
    private static func oneLine(_ text: String) -> String {
        String(text.map { $0.isNewline ? " " : $0 })
    }
}
