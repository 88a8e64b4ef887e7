// The other end of a socket, in fixed width. It serves to answer, never to identify a device (RFC 4787:
// mappings move).

/// An IPv4 or IPv6 address and port; IPv4 is kept as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
public struct Endpoint: Hashable, Sendable {
    public var high: UInt64
    public var low: UInt64
    public var port: UInt16
    public var scope: UInt32

    public init(high: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
        self.high = high
        self.low = low
        self.port = port
        self.scope = scope
    }

    public static func ipv4(_ address: UInt32, port: UInt16) -> Endpoint {
        Endpoint(high: 0, low: 0x0000_FFFF_0000_0000 | UInt64(address), port: port)
    }

    public var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }
    public var isLoopback: Bool {
        isIPv4 ? (low >> 24) & 0xFF == 127 : (high == 0 && low == 1)
    }

    /// `192.0.2.7:9001` or `[2001:db8:0:0:0:0:0:1]:9001`.
    public var description: String {
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
