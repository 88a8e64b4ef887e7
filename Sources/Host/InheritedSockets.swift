// Sockets that systemd opened and keeps (sd_listen_fds(3), systemd.socket(5)): while the daemon is
// replaced the kernel goes on filling them, so a restart loses no datagram. A source takes the one that
// is bound where it listens. Owner: whoever starts the process; asked once, before the sources open.

import CLinux
import Model

package final class InheritedSockets {
    private enum Kind { case udp, tcp }

    private final class Socket {
        let kind: Kind?
        let endpoint: Endpoint
        var descriptor: Descriptor?

        init(_ number: Int32) {
            switch sluice_inherited_prepare(number) {
            case Int32(SLUICE_INHERITED_UDP): kind = .udp
            case Int32(SLUICE_INHERITED_TCP): kind = .tcp
            default: kind = nil
            }
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

    /// Takes what this process was given; later calls find nothing.
    package init() {
        sockets = (0..<sluice_inherited_count()).map { Socket(3 + Int32($0)) }
    }

    package var count: Int { sockets.count }

    /// The one bound to `endpoint`, or to its port of every address.
    func take(_ transport: ListenAddress.Transport, at endpoint: Endpoint) -> Descriptor? {
        let kind: Kind = transport == .udp ? .udp : .tcp
        let fitting = sockets.filter {
            $0.kind == kind && $0.endpoint.port == endpoint.port && $0.descriptor != nil
        }
        let found =
            fitting.first { $0.endpoint == endpoint }
            ?? fitting.first { $0.endpoint.isAnyAddress && endpoint.isAnyAddress }
        return found?.descriptor.take()
    }

    /// What no source listens on; nobody would read it.
    package func untaken() -> [String] {
        sockets.filter { $0.descriptor != nil }.map(\.description)
    }
}

extension Endpoint {
    fileprivate var isAnyAddress: Bool { high == 0 && (low == 0 || low == 0xFFFF << 32) }
}
