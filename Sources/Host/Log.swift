// Lines for the journal: one for a change of state, never one for a frame. Where stderr is the journal
// ($JOURNAL_STREAM, systemd.exec(5)) each is an entry with fields of its own; where the journal takes
// none, a line with the priority of sd-daemon(3); elsewhere logfmt. From any thread; never blocks on the
// journal.

import CLinux
import Glibc

package enum Log {
    package enum Level: Int, Sendable, CaseIterable {
        case error = 3
        case warning = 4
        case notice = 5

        fileprivate var name: String {
            switch self {
            case .error: "error"
            case .warning: "warning"
            case .notice: "notice"
            }
        }
    }

    /// What a line is about, for `journalctl SLUICE_SOURCE=meters`. Values as they are; the line itself has
    /// no control characters.
    package enum Detail: Hashable, Sendable {
        case source(String)
        case reason(String)
        case store(String)
        case place(String)

        fileprivate var field: (name: String, value: String) {
            switch self {
            case .source(let value): ("SLUICE_SOURCE", value)
            case .reason(let value): ("SLUICE_REASON", value)
            case .store(let value): ("SLUICE_STORE", value)
            case .place(let value): ("SLUICE_PLACE", value)
            }
        }
    }

    private static let writer: LogWriter = {
        // Safety: read once, before threads that might change the environment; nobody does.
        let stream = unsafe getenv("JOURNAL_STREAM").map { unsafe String(cString: $0) }
        let program = CommandLine.arguments.first?.split(separator: "/").last.map(String.init)
        return LogWriter(journalStream: stream, program: program ?? "sluiced")
    }()

    package static func state(_ text: String, _ details: Detail...) {
        writer.write(.notice, text, details)
    }
    package static func warning(_ text: String, _ details: Detail...) {
        writer.write(.warning, text, details)
    }
    package static func error(_ text: String, _ details: Detail...) {
        writer.write(.error, text, details)
    }
}

/// Writes lines to one place.
package struct LogWriter: Sendable {
    private let program: String
    private let descriptor: Int32
    private let journal: JournalSocket?

    /// `journalStream`: what the service manager says that stderr is; `descriptor`: what it is.
    package init(
        journalStream: String?, program: String, descriptor: Int32 = 2,
        socket: String = "/run/systemd/journal/socket"
    ) {
        self.program = program
        self.descriptor = descriptor
        let isJournal = journalStream.map { LogWriter.names($0, descriptor) } ?? false
        journal = isJournal ? JournalSocket(path: socket) : nil
    }

    /// `DEVICE:INODE` of the descriptor: a variable that was inherited with another stderr names another.
    private static func names(_ stream: String, _ descriptor: Int32) -> Bool {
        var (device, inode) = (UInt64(0), UInt64(0))
        // Safety: both numbers live across the call, which fills them.
        guard unsafe sluice_file_identity(descriptor, &device, &inode) == 0 else { return false }
        return stream == "\(device):\(inode)"
    }

    /// Longer lines are cut: a datagram has to fit into a socket's buffer.
    private static let longest = 16_384

    package func write(_ level: Log.Level, _ text: String, _ details: [Log.Detail] = []) {
        let line = LogWriter.printable(text)
        guard let journal else { return send("level=\(level.name) \(line)\n") }
        var entry = JournalEntry()
        entry.add("MESSAGE", line)
        entry.add("PRIORITY", "\(level.rawValue)")
        entry.add("SYSLOG_FACILITY", "3")
        entry.add("SYSLOG_IDENTIFIER", program)
        for detail in details {
            let field = detail.field
            entry.add(field.name, Array(field.value.utf8.prefix(LogWriter.longest)))
        }
        if !journal.send(entry) { send("<\(level.rawValue)>\(line)\n") }
    }

    /// A line stays a line, whatever a device calls itself: no control characters, and none that turn the
    /// order of what follows round.
    package static func printable(_ text: String) -> String {
        var out = String.UnicodeScalarView()
        var count = 0
        for scalar in text.unicodeScalars {
            count += scalar.utf8.count
            if count > longest { break }
            switch scalar.value {
            case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069: out.append("·")
            default: out.append(scalar)
            }
        }
        return String(out)
    }

    private func send(_ line: String) {
        let bytes = Array(line.utf8)
        var sent = 0
        while sent < bytes.count {
            // Safety: the pointer is used within the call and `sent` is below the count.
            let n = unsafe bytes.withUnsafeBufferPointer { all -> Int in
                guard let base = all.baseAddress else { return 0 }
                // The journal's stream is a socket, which may be full; what it does not take is lost.
                return unsafe Int(
                    sluice_send(descriptor, base + sent, UInt64(bytes.count - sent)))
            }
            if n <= 0 { return }
            sent += n
        }
    }
}
