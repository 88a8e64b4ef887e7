// Three network namespaces for `load --local --netns`: the devices' (this process moves into it), the
// gateway's, the store's, with a thin uplink between the last two (tbf) and loss on both ways (nft). A
// holder process keeps each of the other two while its daemon is killed and started again; a
// namespace without a name goes with its last process, and its links with it. Owned by the tool's
// main thread.
//
//   devices 10.77.0.1 ─ slgw ══ slnb ─ 10.77.0.2 gateway 10.77.1.1 ─ slup ══ slst ─ 10.77.1.2 store

import Glibc
import Host
import Model

package final class NetworkSpaces {
    package struct Settings: Sendable {
        /// Of the uplink, bits a second.
        package var bitsPerSecond = 128_000
        /// Share of packets lost between devices and gateway, and on the uplink's way to the store.
        package var loss = 0.02

        package init() {}
    }

    package enum Side: Sendable { case gateway, store }

    /// The machine forbids it, or has not what it takes.
    package struct Forbidden: Error, Hashable, Sendable {
        package var why: String
    }

    package static let gatewayAddress: UInt32 = 0x0A4D_0002
    package static let storeAddress = "10.77.1.2"
    private static let tools = ["ip", "tc", "nft", "nsenter"]

    private let gateway: ChildProcess
    private let store: ChildProcess
    /// Absolute path of `nsenter`.
    private let nsenter: String

    /// Moves this thread into a namespace of its own and ties the others to it. What the commands
    /// said is in `log`.
    package init(_ settings: Settings, programs: String, log: String) throws(Forbidden) {
        for tool in NetworkSpaces.tools where NetworkSpaces.path(of: tool) == nil {
            throw Forbidden(why: "there is no \(tool) (iproute2, nftables, util-linux)")
        }
        nsenter = NetworkSpaces.path(of: "nsenter") ?? ""
        do throws(SendingError) {
            try OwnNetwork.enter()
        } catch {
            throw Forbidden(why: "\(error.what): \(Files.words(error.code))")
        }
        gateway = try NetworkSpaces.holder(programs, log)
        store = try NetworkSpaces.holder(programs, log)
        try NetworkSpaces.awaitOwn(gateway)
        try NetworkSpaces.awaitOwn(store)
        let script = NetworkSpaces.script(
            settings, gateway: gateway.pid, store: store.pid, nsenter: nsenter)
        let shell: ChildProcess
        do throws(SpawnError) {
            shell = try ChildProcess(
                name: "sh", path: "/bin/sh", arguments: ["-ec", script], log: log)
        } catch {
            throw Forbidden(why: "\(error.program): \(error.why)")
        }
        let limit = SendingClock.now + 10_000_000_000
        while shell.isRunning, SendingClock.now < limit { SendingClock.sleep(milliseconds: 2) }
        guard shell.exitCode == 0 else {
            let said = (try? Files.read(log, limit: 1 << 20)).map {
                String(decoding: $0, as: UTF8.self).split(separator: "\n").suffix(2)
                    .joined(separator: ", ")
            }
            throw Forbidden(why: "links cannot be made: \(said ?? "")")
        }
    }

    /// `program` with `arguments` as started in a namespace.
    package func command(
        _ side: Side, _ program: String, _ arguments: [String]
    ) -> (path: String, arguments: [String]) {
        let pid = side == .gateway ? gateway.pid : store.pid
        return (nsenter, ["--net=/proc/\(pid)/ns/net", "--", program] + arguments)
    }

    package func close() {
        gateway.stop(SIGKILL)
        store.stop(SIGKILL)
    }

    private static func path(of tool: String) -> String? {
        let folders = (Console.environment("PATH") ?? "").split(separator: ":").map(String.init)
        return (folders + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]).map { "\($0)/\(tool)" }
            .first { $0.hasPrefix("/") && Files.exists($0) }
    }

    private static func holder(
        _ programs: String, _ log: String
    ) throws(Forbidden) -> ChildProcess {
        do throws(SpawnError) {
            return try ChildProcess(
                name: "sluice netns", path: "\(programs)/sluice", arguments: ["netns"], log: log)
        } catch {
            throw Forbidden(why: "\(error.program): \(error.why)")
        }
    }

    /// Until the holder is in a namespace that is not ours.
    private static func awaitOwn(_ holder: ChildProcess) throws(Forbidden) {
        let limit = SendingClock.now + 10_000_000_000
        while SendingClock.now < limit, holder.isRunning {
            let theirs = Files.linkTarget("/proc/\(holder.pid)/ns/net")
            if let theirs, theirs != Files.linkTarget("/proc/self/ns/net") { return }
            SendingClock.sleep(milliseconds: 2)
        }
        throw Forbidden(why: "a namespace cannot be held")
    }

    /// Runs in the devices' namespace.
    static func script(
        _ settings: Settings, gateway: Int32, store: Int32, nsenter: String
    ) -> String {
        let share = Int((settings.loss * 10_000).rounded())
        func dropping(_ device: String) -> String {
            share == 0
                ? ""
                : """
                nft add table inet sluice
                nft add chain inet sluice in '{ type filter hook input priority 0; }'
                nft add rule inet sluice in iifname \(device) numgen random mod 10000 '<' \
                \(share) drop

                """
        }
        // Bytes that may leave at once, and how long a packet may wait before it is dropped.
        let burst = max(4096, settings.bitsPerSecond / 80)
        return """
            PATH=$PATH:/usr/sbin:/sbin
            ip link set lo up
            ip link add slgw type veth peer name slnb netns \(gateway)
            ip address add 10.77.0.1/24 dev slgw
            ip link set slgw up
            \(nsenter) --net=/proc/\(gateway)/ns/net /bin/sh -e <<'gateway'
            ip link set lo up
            ip address add 10.77.0.2/24 dev slnb
            ip link set slnb up
            ip link add slup type veth peer name slst netns \(store)
            ip address add 10.77.1.1/24 dev slup
            ip link set slup up
            tc qdisc add dev slup root tbf rate \(settings.bitsPerSecond)bit burst \(burst) \
            latency 1s
            \(dropping("slnb"))gateway
            \(nsenter) --net=/proc/\(store)/ns/net /bin/sh -e <<'store'
            ip link set lo up
            ip address add 10.77.1.2/24 dev slst
            ip link set slst up
            \(dropping("slst"))store
            """
    }
}

enum NetworkVerb {
    /// Holds a namespace until it is killed.
    static let verb = Verb("netns", "holds a namespace for `load --netns`", isHidden: true) {
        _, console throws(UsageError) in
        do throws(SendingError) {
            try OwnNetwork.enter()
        } catch {
            console.fail("\(error.what): \(Files.words(error.code))")
            return .foundWrong
        }
        Interrupts.block()
        while !Interrupts.wait(milliseconds: 3_600_000) { continue }
        return .done
    }
}
