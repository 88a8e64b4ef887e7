// Text lines of a descriptor as they come, for tools in a pipe. Owned by one thread. A line is at
// most `limit` bytes: what goes beyond is an error, so that an endless line cannot fill the memory.

import Glibc

package struct LineReader {
    private let descriptor: Int32
    private let path: String
    private let limit: Int
    private var buffer: [UInt8] = []
    /// What of the buffer was handed out.
    private var start = 0
    /// How far the buffer was searched for a line feed.
    private var searched = 0
    private var isAtEnd = false

    /// The descriptor stays its caller's. `path` is its name in errors.
    package init(descriptor: Int32, path: String, limit: Int = 1 << 20) {
        self.descriptor = descriptor
        self.path = path
        self.limit = limit
    }

    /// The next line without its line feed, nil at the end; bytes that are not UTF-8 are replaced.
    /// `waiting` is called before each read, which may block.
    package mutating func next(waiting: () -> Void) throws(FileError) -> String? {
        while true {
            while searched < buffer.count {
                searched += 1
                if buffer[searched - 1] == 0x0A { return take(upTo: searched - 1) }
            }
            if isAtEnd { return start < buffer.count ? take(upTo: buffer.count) : nil }
            guard buffer.count - start <= limit else {
                throw FileError(path: path, why: "a line is longer than \(limit) bytes")
            }
            waiting()
            try fill()
        }
    }

    private mutating func take(upTo end: Int) -> String {
        let line = String(decoding: buffer[start..<end], as: UTF8.self)
        start = min(end + 1, buffer.count)
        return line
    }

    private mutating func fill() throws(FileError) {
        buffer.removeFirst(start)
        searched -= start
        start = 0
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // Safety: the pointer is used only inside the closure and never past the piece's count.
            let count = unsafe piece.withUnsafeMutableBytes { bytes in
                unsafe Glibc.read(descriptor, bytes.baseAddress!, bytes.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileError(path: path, why: Files.lastError()) }
            if count == 0 { isAtEnd = true }
            buffer += piece[..<count]
            return
        }
    }
}
