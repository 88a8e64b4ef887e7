// Lines for the journal: one for a change of state, never one for a frame. logfmt on stderr; under
// systemd the priority prefix of sd-daemon(3) comes first. From any thread.

import Glibc

package enum Log {
    package enum Level: Int, Sendable {
        case error = 3
        case warning = 4
        case notice = 5
    }

    // Safety: read once, before threads that might change the environment; nobody does.
    private static let isUnderSystemd = unsafe getenv("JOURNAL_STREAM") != nil

    package static func state(_ text: String) { write(.notice, text) }
    package static func warning(_ text: String) { write(.warning, text) }
    package static func error(_ text: String) { write(.error, text) }

    private static func write(_ level: Level, _ text: String) {
        // What came from outside may hold control characters: a line stays one line.
        let line = String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 ? "·" : $0 }))
        let name = level == .error ? "error" : level == .warning ? "warning" : "notice"
        let prefix = isUnderSystemd ? "<\(level.rawValue)>" : "level=\(name) "
        let bytes = Array((prefix + line + "\n").utf8)
        var sent = 0
        while sent < bytes.count {
            // Safety: the pointer is used within the call and `sent` is below the count.
            let n = unsafe bytes.withUnsafeBytes {
                unsafe write_(2, $0.baseAddress?.advanced(by: sent), bytes.count - sent)
            }
            if n <= 0 { return }
            sent += n
        }
    }
}

// `Log.write` hides the system's name.
private func write_(_ fd: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    guard let bytes = unsafe bytes else { return 0 }
    // Safety: the caller's buffer has `count` bytes.
    return unsafe Glibc.write(fd, bytes, count)
}
