// Starting the daemons that demo, load and the end-to-end tests play with. The caller waits for the
// process it started.

import CLinux
import Glibc

package enum Spawning {
    /// Starts `path`; `arguments` begins with the program's own name. stdout and stderr go to the
    /// descriptor `output`, which stays the caller's. Started on the main thread, the process gets
    /// SIGTERM when this one dies, even by kill -9. Throws errno in words of the caller.
    package static func start(
        _ path: String, _ arguments: [String], output: Int32
    ) throws(SendingError) -> Int32 {
        // Safety: strdup's copies live until they are freed below, after the call that reads them;
        // the list ends with the nil it needs.
        var texts: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) }
        unsafe texts.append(nil)
        defer {
            for i in unsafe texts.indices { unsafe free(texts[i]) }
        }
        let result = unsafe sluice_sending_spawn(path, texts, output)
        guard result > 0 else { throw SendingError("start \(path)", code: -result) }
        return result
    }
}
