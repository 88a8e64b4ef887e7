// Commands of the machine for tests that need mounts or strace.

import Glibc

package enum Shell {
    /// Runs `sh -c`; its status and what it wrote to both outputs.
    @discardableResult
    package static func run(_ script: String) -> (status: Int32, output: String) {
        // Safety: Swift lends the texts with their ending zeros for the call.
        guard let pipe = unsafe popen("exec 2>&1; " + script, "r") else { return (-1, "") }
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // Safety: the array is valid for its own count during the call; the pipe is open.
            let n = unsafe fread(&part, 1, part.count, pipe)
            if n == 0 { break }
            all += part[..<n]
        }
        // Safety: opened above, closed once.
        let status = unsafe pclose(pipe)
        return (status, String(decoding: all, as: UTF8.self))
    }

    package static func has(_ program: String) -> Bool {
        run("command -v \(program) >/dev/null").status == 0
    }

    package static var isRoot: Bool { geteuid() == 0 }

    /// A tmpfs of `bytes`, for the life of the value; nil where it cannot be mounted.
    package final class SmallDisk {
        package let path: String

        package init?(_ path: String, bytes: Int) {
            self.path = path
            guard Shell.isRoot,
                Shell.run("mkdir -p '\(path)' && mount -t tmpfs -o size=\(bytes) tmpfs '\(path)'")
                    .status == 0
            else { return nil }
        }

        package func remount(_ options: String) -> Bool {
            Shell.run("mount -o remount,\(options) '\(path)'").status == 0
        }

        deinit { _ = Shell.run("umount -l '\(path)'") }
    }

    /// Where programs that belong to the tests are: beside them.
    package static var programs: String {
        let program = CommandLine.arguments[0]
        guard let slash = program.lastIndex(of: "/") else { return "." }
        return String(program[..<slash])
    }
}
