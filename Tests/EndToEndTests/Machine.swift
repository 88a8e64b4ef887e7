// What tests need of the machine beside processes: mounts, network namespaces, a compiler. Where it does
// not allow them, the test is skipped by name.

import Field
import Glibc

enum Machine {
    /// Runs `sh -c`; its status and both outputs.
    @discardableResult
    static func run(_ script: String) -> (status: Int32, output: String) {
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

    static let canMount: Bool = {
        guard geteuid() == 0, let folder = try? Folder() else { return false }
        let path = folder.path + "/m"
        return run("mkdir \(path) && mount -t tmpfs -o size=1m tmpfs \(path) && umount \(path)")
            .status == 0
    }()

    static let canMakeNetworks: Bool = {
        guard geteuid() == 0 else { return false }
        let name = "sluice-probe-\(getpid())"
        return run("ip netns add \(name) && ip netns del \(name)").status == 0
    }()

    static let canCompile: Bool = run("command -v cc >/dev/null").status == 0
}

/// A namespace with one line to it, for the life of the value. This end is `.1`, the far end `.2`.
final class FarNetwork {
    let name: String
    private let near: String
    let farAddress: String

    init() throws {
        let number = 1 + Int(getpid()) % 250
        name = "sluice-\(getpid())"
        near = "slv\(getpid())"
        farAddress = "10.213.\(number).2"
        let made = Machine.run(
            """
            set -e; ip netns add \(name)
            ip link add \(near) type veth peer name far0 netns \(name)
            ip addr add 10.213.\(number).1/24 dev \(near); ip link set \(near) up
            ip -n \(name) addr add \(farAddress)/24 dev far0; ip -n \(name) link set far0 up
            ip -n \(name) link set lo up
            """)
        guard made.status == 0 else {
            throw DistrictError(what: "netns", why: made.output, remedy: "run as root")
        }
    }

    deinit { Machine.run("ip link del \(near); ip netns del \(name)") }

    func set(up: Bool) { Machine.run("ip link set \(near) \(up ? "up" : "down")") }
}

/// A small disk of its own, for the life of the value.
final class SmallDisk {
    let path: String

    init(_ path: String, megabytes: Int) throws {
        self.path = path
        let made = Machine.run(
            "mkdir -p \(path) && mount -t tmpfs -o size=\(megabytes)m tmpfs \(path)")
        guard made.status == 0 else {
            throw DistrictError(what: path, why: made.output, remedy: "run as root")
        }
    }

    deinit { Machine.run("umount -l \(path)") }
}
