// Writes one CoAP message (RFC 7252 section 3) to the end of bytes that the caller owns and reuses;
// nothing is allocated once they have grown. Options must come in the order of their numbers.

/// Order of calls: `init`, options by rising number, at most one payload.
package struct CoAPWriter {
    /// Number of the option written last.
    private var previous: UInt32 = 0

    /// Header and token.
    package init(
        kind: CoAPMessage.Kind, code: CoAPCode, messageID: UInt16, token: CoAPToken = .none,
        to bytes: inout [UInt8]
    ) {
        bytes.append(0x40 | kind.rawValue << 4 | token.count)
        bytes.append(code.rawValue)
        bytes.append(UInt8(truncatingIfNeeded: messageID >> 8))
        bytes.append(UInt8(truncatingIfNeeded: messageID))
        for i in 0..<Int(token.count) {
            let shift = UInt64(8 &* (Int(token.count) &- 1 &- i))
            bytes.append(UInt8(truncatingIfNeeded: token.bits >> shift))
        }
    }

    /// An option with an opaque or text value. A number below that of the option before is a
    /// programmer's error.
    package mutating func option(
        _ number: UInt32, _ value: some Collection<UInt8>, to bytes: inout [UInt8]
    ) {
        start(number, count: value.count, to: &bytes)
        bytes.append(contentsOf: value)
    }

    /// An option with an unsigned value in as few bytes as it needs (RFC 7252 section 3.2).
    package mutating func option(_ number: UInt32, uint: UInt32, to bytes: inout [UInt8]) {
        let count = (39 &- uint.leadingZeroBitCount) / 8
        start(number, count: count, to: &bytes)
        for i in (0..<count).reversed() {
            bytes.append(UInt8(truncatingIfNeeded: uint >> UInt32(8 &* i)))
        }
    }

    /// Marker and payload; nothing when the payload is empty.
    package func payload(_ value: some Collection<UInt8>, to bytes: inout [UInt8]) {
        guard !value.isEmpty else { return }
        bytes.append(0xFF)
        bytes.append(contentsOf: value)
    }

    private mutating func start(_ number: UInt32, count: Int, to bytes: inout [UInt8]) {
        precondition(number >= previous && number <= 0xFFFF, "options out of order")
        precondition(count <= 0xFFFF, "option too long")
        let delta = number &- previous
        previous = number
        bytes.append(CoAPWriter.nibble(delta) << 4 | CoAPWriter.nibble(UInt32(count)))
        CoAPWriter.extend(delta, to: &bytes)
        CoAPWriter.extend(UInt32(count), to: &bytes)
    }

    private static func nibble(_ value: UInt32) -> UInt8 {
        value < 13 ? UInt8(value) : value < 269 ? 13 : 14
    }

    private static func extend(_ value: UInt32, to bytes: inout [UInt8]) {
        if value >= 269 {
            bytes.append(UInt8(truncatingIfNeeded: (value &- 269) >> 8))
            bytes.append(UInt8(truncatingIfNeeded: value &- 269))
        } else if value >= 13 {
            bytes.append(UInt8(truncatingIfNeeded: value &- 13))
        }
    }
}
