// What the machine refused, in words that say what to do. Errors of the outside world; nothing here
// is a programmer's mistake.

import CLinux
import Glibc

/// A system call that failed, or an address that cannot be used.
package struct HostError: Error, Hashable, Sendable {
    /// What was tried: `listen on udp://127.0.0.1:9001`.
    package var what: String
    /// errno, or 0 when there is none.
    package var code: Int32
    package var why: String
    /// What to do about it; empty when there is nothing to suggest.
    package var advice: String

    package init(_ what: String, why: String, advice: String = "") {
        self.what = what
        code = 0
        self.why = why
        self.advice = advice
    }

    /// `result` is a negative errno as the C shim returns it.
    package init(_ what: String, result: Int32, advice: String? = nil) {
        self.what = what
        code = -result
        why = HostError.text(of: -result)
        self.advice = advice ?? HostError.advice(for: -result)
    }

    /// `listen on udp://0.0.0.0:80: Permission denied: give this user the right …`
    package var description: String {
        "\(what): \(why)" + (advice.isEmpty ? "" : ": \(advice)")
    }

    private static func text(of code: Int32) -> String {
        var bytes = [CChar](repeating: 0, count: 128)
        // Safety: the shim writes at most `count` bytes, with a NUL, into the array it is lent.
        unsafe bytes.withUnsafeMutableBufferPointer {
            unsafe sluice_error_text(code, $0.baseAddress, UInt32($0.count))
        }
        return String(
            decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func advice(for code: Int32) -> String {
        switch code {
        case EADDRINUSE: "another process has it: see `ss -lnptu`, or choose another port"
        case EACCES, EPERM: "give this user the right; a port below 1024 needs it too"
        case ENOENT: "its folder is missing: make it, or choose another path"
        case ENOTDIR: "a part of that path is a file: choose another path"
        case ENAMETOOLONG: "choose a shorter path"
        case EROFS, ENOSPC, EDQUOT: "choose a folder on a disk that takes data"
        case EADDRNOTAVAIL: "this machine has no such address: see `ip address`"
        case EMFILE, ENFILE: "raise LimitNOFILE in the unit"
        case EEXIST: "a file that is no socket has this name: remove it or choose another path"
        default: ""
        }
    }
}
