// The terminal of `sluice top`: raw keys in, whole screens out. Owned by the tool's main thread. What it
// changes (line discipline, alternate screen, cursor) is put back by `close`, which runs on every way
// out; Ctrl-C and Ctrl-Z come in as keys and signals that end the tool are asked for by its owner.

import Glibc

package struct Terminal: ~Copyable {
    package struct Size: Hashable, Sendable {
        package var columns: Int
        package var rows: Int

        package init(columns: Int, rows: Int) {
            self.columns = columns
            self.rows = rows
        }
    }

    package enum Key: Hashable, Sendable {
        case character(Character)
        case enter, escape, backspace, interrupt, up, down, pageUp, pageDown
    }

    private let before: termios

    /// Takes the terminal over; nil when stdin or stdout is none.
    package init?() {
        var state = termios()
        // Safety: tcgetattr writes one struct into the variable that lives across the call.
        guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1,
            unsafe tcgetattr(STDIN_FILENO, &state) == 0
        else { return nil }
        before = state
        state.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG | IEXTEN)
        state.c_iflag &= ~tcflag_t(IXON | ICRNL)
        // Safety: tcsetattr only reads the struct.
        _ = unsafe tcsetattr(STDIN_FILENO, TCSANOW, &state)
        // The alternate screen, without a cursor and without wrapping.
        Terminal.write("\u{1B}[?1049h\u{1B}[?25l\u{1B}[?7l\u{1B}[2J")
    }

    deinit {
        Terminal.write("\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l")
        var state = before
        // Safety: as in init.
        _ = unsafe tcsetattr(STDIN_FILENO, TCSADRAIN, &state)
    }

    package consuming func close() {}

    /// As it is now; 80 × 24 where it does not say.
    package var size: Size {
        var size = winsize()
        // Safety: TIOCGWINSZ writes one winsize into the variable that lives across the call.
        let result = unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size)
        guard result == 0, size.ws_col >= 20, size.ws_row >= 5 else {
            return Size(columns: 80, rows: 24)
        }
        return Size(columns: Int(size.ws_col), rows: Int(size.ws_row))
    }

    /// Keys that come within the time; nil when the terminal is gone.
    package func keys(milliseconds: Int32) -> [Key]? {
        var ready = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        // Safety: poll reads and writes the one struct that lives across the call.
        guard unsafe poll(&ready, 1, milliseconds) > 0 else { return [] }
        var bytes = [UInt8](repeating: 0, count: 256)
        // Safety: the pointer is used only inside the closure and never past the buffer's count.
        let count = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe read(STDIN_FILENO, buffer.baseAddress!, buffer.count)
        }
        guard count > 0 else { return count < 0 && errno == EINTR ? [] : nil }
        return Terminal.keys(Array(bytes[..<count]))
    }

    /// Bytes as keys; sequences that mean nothing here are passed over.
    package static func keys(_ bytes: [UInt8]) -> [Key] {
        var keys: [Key] = []
        var rest = String(decoding: bytes, as: UTF8.self)[...]
        let sequences: [(String, Key)] = [
            ("\u{1B}[A", .up), ("\u{1B}[B", .down), ("\u{1B}OA", .up), ("\u{1B}OB", .down),
            ("\u{1B}[5~", .pageUp), ("\u{1B}[6~", .pageDown),
        ]
        while let first = rest.first {
            if let (text, key) = sequences.first(where: { rest.hasPrefix($0.0) }) {
                keys.append(key)
                rest = rest.dropFirst(text.count)
                continue
            }
            rest = rest.dropFirst()
            switch first {
            case "\u{3}": keys.append(.interrupt)
            case "\r", "\n": keys.append(.enter)
            case "\u{7F}", "\u{8}": keys.append(.backspace)
            case "\u{1B}":
                guard rest.first == "[" || rest.first == "O" else {
                    keys.append(.escape)
                    continue
                }
                rest = rest.dropFirst()
                rest = rest.drop { $0.isNumber || $0 == ";" }.dropFirst()
            default: if first >= " " { keys.append(.character(first)) }
            }
        }
        return keys
    }

    /// The whole screen at once, so that nothing flickers.
    package func show(_ lines: [String]) {
        var text = "\u{1B}[H"
        for (i, line) in lines.enumerated() {
            // Erased before it is written: behind a full line the cursor stands on its last column.
            text += "\u{1B}[2K" + line + (i + 1 < lines.count ? "\r\n" : "")
        }
        Terminal.write(text + (lines.count < size.rows ? "\r\n\u{1B}[J" : ""))
    }

    private static func write(_ text: String) {
        let bytes = Array(text.utf8)
        var offset = 0
        while offset < bytes.count {
            // Safety: the pointer is used only inside the closure, for the bytes that are left.
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.write(
                    STDOUT_FILENO, buffer.baseAddress! + offset, bytes.count - offset)
            }
            if count > 0 {
                offset += count
            } else if errno != EINTR {
                return
            }
        }
    }
}
