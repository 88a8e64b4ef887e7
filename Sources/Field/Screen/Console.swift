// Where a program's words go: stdout and stderr, or arrays in tests. Owned by the thread that runs
// the
// verb. stdout is collected and written in large pieces; a reader that went away (EPIPE) ends
// output
// silently, as for any filter.

import Glibc

package final class Console {
    /// Columns to fill; 80 when unknown.
    package let width: Int
    /// Somebody looks at stdout, `width` columns of it.
    package let isTerminal: Bool
    package let usesColour: Bool
    /// Progress is shown on stderr only when somebody looks.
    package let showsProgress: Bool
    package private(set) var output = ""
    /// What `write(bytes:)` was given, when captured.
    package private(set) var binary: [UInt8] = []
    package private(set) var complaints: [String] = []
    /// In which the tool speaks.
    package var language = Language.english
    private let isCaptured: Bool
    private let destination: Int32
    private var hasProgressLine = false
    /// Nobody reads stdout any more (EPIPE), or it failed.
    package private(set) var isOutputGone = false
    /// errno of a failed write to stdout; nil when all went out or the reader just went away.
    package private(set) var outputFailure: Int32?

    private init(
        width: Int, usesColour: Bool, showsProgress: Bool, isCaptured: Bool,
        destination: Int32 = STDOUT_FILENO, isTerminal: Bool = false
    ) {
        self.isTerminal = isTerminal
        self.destination = destination
        self.width = width
        self.usesColour = usesColour
        self.showsProgress = showsProgress
        self.isCaptured = isCaptured
    }

    /// The process's own stdout and stderr.
    package static func standard() -> Console {
        let out = isatty(STDOUT_FILENO) == 1
        let noColour = environment("NO_COLOR").map { !$0.isEmpty } ?? false
        let dumb = environment("TERM") == "dumb"
        let console = Console(
            width: out ? terminalWidth() : 80, usesColour: out && !noColour && !dumb,
            showsProgress: isatty(STDERR_FILENO) == 1 && !dumb, isCaptured: false,
            isTerminal: out)
        console.language = Language.ofEnvironment(environment)
        return console
    }

    /// Keeps what is written, for tests.
    package static func captured(width: Int = 80, isTerminal: Bool = false) -> Console {
        Console(
            width: width, usesColour: false, showsProgress: false, isCaptured: true,
            isTerminal: isTerminal)
    }

    /// Writes its output to a descriptor that stays its caller's, for tests of failed output.
    package static func writing(to descriptor: Int32) -> Console {
        Console(
            width: 80, usesColour: false, showsProgress: false, isCaptured: false,
            destination: descriptor)
    }

    package func write(_ text: String) {
        output += text
        if !isCaptured, output.utf8.count > 1 << 16 { flush() }
    }

    package func line(_ text: String = "") { write(text + "\n") }

    package func flush() {
        guard !isCaptured, !output.isEmpty else { return }
        clearProgress()
        if !isOutputGone, let code = Console.send(output, to: destination) {
            isOutputGone = true
            if code != EPIPE { outputFailure = code }
        }
        output = ""
    }

    /// Bytes that are no text, after what is already on stdout.
    package func write(bytes: [UInt8]) {
        guard !isCaptured else {
            binary += bytes
            return
        }
        flush()
        guard !isOutputGone, let code = Console.send(bytes, to: destination) else { return }
        isOutputGone = true
        if code != EPIPE { outputFailure = code }
    }

    /// One line on stderr, after what is already on stdout.
    package func complain(_ text: String) {
        complaints.append(text)
        guard !isCaptured else { return }
        flush()
        clearProgress()
        _ = Console.send(text + "\n", to: STDERR_FILENO)
    }

    /// Replaces the progress line; nothing when nobody looks.
    package func progress(_ text: String) {
        guard showsProgress, !isCaptured else { return }
        _ = Console.send("\r\u{1B}[2K" + text, to: STDERR_FILENO)
        hasProgressLine = true
    }

    package func clearProgress() {
        guard hasProgressLine else { return }
        hasProgressLine = false
        _ = Console.send("\r\u{1B}[2K", to: STDERR_FILENO)
    }

    package func bold(_ text: String) -> String { styled(text, "1") }
    package func dim(_ text: String) -> String { styled(text, "2") }
    package func red(_ text: String) -> String { styled(text, "31") }
    package func green(_ text: String) -> String { styled(text, "32") }
    package func yellow(_ text: String) -> String { styled(text, "33") }

    /// The complaint about output that did not go out, for a program's end.
    package var outputComplaint: String? {
        outputFailure.map {
            "standard output: \(Files.words($0)): free space or write elsewhere"
        }
    }

    private func styled(_ text: String, _ code: String) -> String {
        usesColour ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }

    package static func environment(_ name: String) -> String? {
        // Safety: getenv returns nil or a C string; it is copied before anything can change it, and
        // no thread of these programs calls setenv.
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    private static func terminalWidth() -> Int {
        var size = winsize()
        // Safety: TIOCGWINSZ writes one winsize into the variable that lives across the call.
        let result = unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size)
        return result == 0 && size.ws_col >= 40 ? Int(size.ws_col) : 80
    }

    /// Nil when all went out, else errno.
    private static func send(_ text: String, to descriptor: Int32) -> Int32? {
        send(Array(text.utf8), to: descriptor)
    }

    private static func send(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        var offset = 0
        while offset < bytes.count {
            // Safety: the pointer is used only inside the closure, for the bytes that are left.
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.write(
                    descriptor, buffer.baseAddress! + offset, bytes.count - offset)
            }
            if count > 0 {
                offset += count
            } else if errno != EINTR {
                return count == 0 ? EIO : errno
            }
        }
        return nil
    }
}
