// One process a directory: flock on a file that names its holder.

import CLinux
import Glibc

/// Held until the value ends; the file stays, the lock does not.
package struct FileLock: ~Copyable {
    private let descriptor: Descriptor

    /// Throws with the holder's process number when another process has it.
    package init(path: String) throws(HostError) {
        var holder: Int32 = 0
        // Safety: Swift lends a NUL-terminated copy of `path`; `holder` outlives the call.
        let result = unsafe sluice_lock_file(path, &holder)
        if result == -EWOULDBLOCK {
            let process = holder > 0 ? "process \(holder)" : "another process"
            throw HostError(
                "lock \(path)", why: "\(process) is using it",
                advice: "stop it first, or choose another directory")
        }
        descriptor = try Descriptor(result, "lock \(path)")
    }
}
