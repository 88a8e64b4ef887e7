// Which ports of this network are bound, from /proc/net, and by whom where this user may see that.
// Untrusted text: lines that are odd are passed over.

import Host
package import Model

package struct BoundPorts: Sendable {
    package struct Row: Hashable, Sendable {
        package var isStream: Bool
        package var endpoint: Endpoint
        package var inode: UInt64
    }

    package private(set) var rows: [Row] = []

    package init() {}

    package static func now() -> BoundPorts {
        var ports = BoundPorts()
        for (file, isStream) in [("udp", false), ("udp6", false), ("tcp", true), ("tcp6", true)] {
            ports.add(System.text("/proc/net/\(file)") ?? "", isStream: isStream)
        }
        return ports
    }

    /// The rows of one table of proc_pid_net(5); of streams those that listen.
    package mutating func add(_ text: String, isStream: Bool) {
        for line in text.split(separator: "\n").dropFirst() {
            let words = line.split(separator: " ")
            guard words.count > 9, !isStream || words[3] == "0A",
                let endpoint = BoundPorts.endpoint(words[1]), let inode = UInt64(words[9])
            else { continue }
            rows.append(Row(isStream: isStream, endpoint: endpoint, inode: inode))
        }
    }

    /// `0100007F:2329` or 32 digits: words of four bytes as a little machine has them.
    static func endpoint(_ text: Substring) -> Endpoint? {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1], radix: 16),
            parts[0].utf8.count == 8 || parts[0].utf8.count == 32
        else { return nil }
        var words: [UInt64] = []
        var rest = parts[0]
        while !rest.isEmpty {
            guard let word = UInt32(rest.prefix(8), radix: 16) else { return nil }
            words.append(UInt64(word.byteSwapped))
            rest = rest.dropFirst(8)
        }
        if words.count == 1 { return .ipv4(UInt32(words[0]), port: port) }
        return Endpoint(
            high: words[0] << 32 | words[1], low: words[2] << 32 | words[3], port: port)
    }

    /// Who is in the way of `endpoint`: the same port at the same address, or at all of them.
    package func row(isStream: Bool, at endpoint: Endpoint) -> Row? {
        rows.first { row in
            guard row.isStream == isStream, row.endpoint.port == endpoint.port else { return false }
            let same = row.endpoint.high == endpoint.high && row.endpoint.low == endpoint.low
            return same || row.endpoint.isAnyAddress || endpoint.isAnyAddress
        }
    }

    /// `nginx (process 812)`, as far as this user may look at other processes.
    static func owner(of inode: UInt64) -> String? {
        let wanted = "socket:[\(inode)]"
        for name in Files.names(in: "/proc") where name.allSatisfy(\.isNumber) {
            let folder = "/proc/\(name)/fd"
            guard
                Files.names(in: folder).contains(where: {
                    Files.linkTarget("\(folder)/\($0)") == wanted
                })
            else { continue }
            let program = System.text("/proc/\(name)/comm")?.trimmedLine ?? "?"
            return "\(Table.printable(program)) (\(name))"
        }
        return nil
    }
}

extension Endpoint {
    fileprivate var isAnyAddress: Bool {
        high == 0 && (low == 0 || low == 0x0000_FFFF_0000_0000)
    }
}
