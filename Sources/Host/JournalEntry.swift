// One entry for systemd's journal in its native form (systemd.io, JOURNAL_NATIVE_PROTOCOL), and the
// datagram socket that takes it. An entry is a value; the socket may be used from any thread and never
// blocks.
//
//     NAME=value\n                                       a value without a line feed
//     NAME\n <its length, 64 bits, little-endian> value\n  any value

import CLinux
import Glibc

package struct JournalEntry: Hashable, Sendable {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// `name`: capitals, digits and `_`, beginning with a capital, at most 64 bytes; the journal passes
    /// over others.
    package mutating func add(_ name: String, _ value: String) { add(name, Array(value.utf8)) }

    package mutating func add(_ name: String, _ value: [UInt8]) {
        precondition(JournalEntry.isName(name), "\(name) is no name of a field")
        bytes += Array(name.utf8)
        if value.contains(0x0A) {
            bytes.append(0x0A)
            for shift in stride(from: 0, to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: UInt64(value.count) >> UInt64(shift)))
            }
        } else {
            bytes.append(0x3D)
        }
        bytes += value
        bytes.append(0x0A)
    }

    private static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, (0x41...0x5A).contains(first), name.utf8.count <= 64
        else { return false }
        return name.utf8.allSatisfy {
            (0x41...0x5A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F
        }
    }
}

/// Where entries go.
final class JournalSocket: Sendable {
    private let descriptor: Int32
    private let path: String

    /// Kept for the life of the process: nobody closes a log. nil where there is no descriptor left.
    init?(path: String) {
        descriptor = sluice_unix_datagram_open()
        self.path = path
        if descriptor < 0 { return nil }
    }

    /// False when the journal is away or takes no more now.
    func send(_ entry: JournalEntry) -> Bool {
        // Safety: Swift lends a NUL-terminated copy of `path` and the array's own bytes for the call.
        unsafe entry.bytes.withUnsafeBufferPointer {
            unsafe sluice_unix_datagram_send(descriptor, path, $0.baseAddress, UInt64($0.count))
                == 0
        }
    }
}
