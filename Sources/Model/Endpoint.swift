// The other end of a socket, in fixed width. It serves to answer, never to identify a device (RFC 4787:
// mappings move).

/// An IPv4 or IPv6 address and port; IPv4 is kept as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
package struct Endpoint: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64
    package var port: UInt16
    package var scope: UInt32

    package init(high: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
        self.high = high
        self.low = low
        self.port = port
        self.scope = scope
    }

    package static func ipv4(_ address: UInt32, port: UInt16) -> Endpoint {
        Endpoint(high: 0, low: 0x0000_FFFF_0000_0000 | UInt64(address), port: port)
    }

    package var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }
    package var isLoopback: Bool {
        isIPv4 ? (low >> 24) & 0xFF == 127 : (high == 0 && low == 1)
    }

    /// `192.0.2.7:9001` or `[2001:db8:0:0:0:0:0:1]:9001`.
    package var description: String {
        if isIPv4 {
            let a = UInt32(truncatingIfNeeded: low)
            return "\(a >> 24).\(a >> 16 & 255).\(a >> 8 & 255).\(a & 255):\(port)"
        }
        var groups: [String] = []
        for shift in stride(from: 48, through: 0, by: -16) {
            groups.append(String(high >> UInt64(shift) & 0xFFFF, radix: 16))
        }
        for shift in stride(from: 48, through: 0, by: -16) {
            groups.append(String(low >> UInt64(shift) & 0xFFFF, radix: 16))
        }
        return "[\(groups.joined(separator: ":"))]:\(port)"
    }
}
