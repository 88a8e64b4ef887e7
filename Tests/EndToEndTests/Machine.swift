// What tests need of the machine beside processes: mounts, network namespaces, a compiler. Where it does
// not allow them, the test is skipped by name.

import Field
import Glibc
import TestSupport

enum Machine {
    static let canMount: Bool = {
        guard geteuid() == 0, let folder = try? Folder() else { return false }
        let path = folder.path + "/m"
        return Shell.run(
            "mkdir \(path) && mount -t tmpfs -o size=1m tmpfs \(path) && umount \(path)"
        )
        .status == 0
    }()

    static let canMakeNetworks: Bool = {
        guard geteuid() == 0 else { return false }
        let name = "sluice-probe-\(getpid())"
        return Shell.run("ip netns add \(name) && ip netns del \(name)").status == 0
    }()

    static let canCompile: Bool = Shell.has("cc")
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
        let made = Shell.run(
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

    deinit { Shell.run("ip link del \(near); ip netns del \(name)") }

    func set(up: Bool) { Shell.run("ip link set \(near) \(up ? "up" : "down")") }
}
