// Sockets that were open before this program began: those that systemd opened and keeps (sd_listen_fds(3),
// systemd.socket(5)), and those that the program handed to itself when a reload started it anew. The kernel
// goes on filling them, so neither loses a datagram. A source takes the one that is bound where it listens.
// Owner: whoever starts the process; asked once, before the sources open.

import CLinux
import Model

/// A socket and the kernel's count of what it dropped on it before.
struct TakenSocket: ~Copyable {
    let descriptor: Descriptor
    let drops: UInt32
}

package final class InheritedSockets {
    static let most = 256

    private enum Kind { case udp, tcp }

    private final class Socket {
        let kind: Kind?
        let endpoint: Endpoint
        let drops: UInt32
        /// The source's port was 0: the kernel chose.
        let hasAnyPort: Bool
        let isOfSystemd: Bool
        var descriptor: Descriptor?

        init(_ number: Int32, handed: sluice_handed? = nil) {
            switch sluice_inherited_prepare(number) {
            case Int32(SLUICE_INHERITED_UDP): kind = .udp
            case Int32(SLUICE_INHERITED_TCP): kind = .tcp
            default: kind = nil
            }
            drops = handed?.drops ?? 0
            hasAnyPort = handed.map { $0.has_any_port != 0 } ?? false
            isOfSystemd = handed == nil
            if let open = Descriptor(number) {
                endpoint = open.localEndpoint
                descriptor = consume open
            } else {
                endpoint = .ipv4(0, port: 0)
                descriptor = nil
            }
        }

        var description: String {
            let scheme = kind.map { $0 == .udp ? "udp://" : "tcp://" } ?? "something at "
            return scheme + endpoint.description
        }
    }

    private let sockets: [Socket]
    /// How often a reload has started this program anew.
    package let reloads: Int

    /// Takes what this process was given; later calls find nothing.
    package init() {
        var handed = [sluice_handed](repeating: sluice_handed(), count: InheritedSockets.most)
        var reloads: UInt32 = 0
        // Safety: the shim writes at most `count` entries into the array that it is lent.
        let count = unsafe handed.withUnsafeMutableBufferPointer {
            unsafe sluice_handed_over($0.baseAddress, UInt32($0.count), &reloads)
        }
        self.reloads = Int(reloads)
        sockets =
            (0..<sluice_inherited_count()).map { Socket(3 + Int32($0)) }
            + handed.prefix(Int(count)).map { Socket($0.fd, handed: $0) }
    }

    package var count: Int { sockets.count }

    /// The one bound to `endpoint`, or to its port of every address.
    func take(_ transport: ListenAddress.Transport, at endpoint: Endpoint) -> TakenSocket? {
        let kind: Kind = transport == .udp ? .udp : .tcp
        let open = sockets.filter { $0.kind == kind && $0.descriptor != nil }
        let fitting = open.filter { $0.endpoint.port == endpoint.port }
        let found =
            fitting.first { $0.endpoint == endpoint }
            ?? fitting.first { $0.endpoint.isAnyAddress && endpoint.isAnyAddress }
            ?? (endpoint.port == 0
                ? open.first { $0.hasAnyPort && $0.endpoint.address == endpoint.address } : nil)
        guard let found, let descriptor = found.descriptor.take() else { return nil }
        return TakenSocket(descriptor: descriptor, drops: found.drops)
    }

    /// What systemd opened and no source listens on; nobody would read it.
    package func untaken() -> [String] {
        sockets.filter { $0.isOfSystemd && $0.descriptor != nil }.map(\.description)
    }
}

extension Endpoint {
    fileprivate var isAnyAddress: Bool { high == 0 && (low == 0 || low == 0xFFFF << 32) }
}
