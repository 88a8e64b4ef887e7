// The link-layer frames of a capture file: classic pcap (both byte orders, µs and ns;
// Internet-Draft
// draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng: section, interface, enhanced,
// simple
// and the obsolete packet block). Pure functions over the file's bytes. A damaged file yields what
// stands before the damage and the place where it begins; nothing is allocated by a length that the
// file announces.

/// Where a capture file stops making sense.
package struct CaptureDamage: Error, Hashable, Sendable {
    package var file: String
    /// Offset in the file of the structure that is damaged.
    package var offset: Int
    package var what: String
    /// Link-layer frames read before it.
    package var framesRead: Int
    /// Nothing in the file is a capture's: it is of another kind.
    package var isForeign = false

    /// `night.pcap: offset 1234: record is cut: 17 frames before it were read`
    package var description: String {
        "\(file): offset \(offset): \(what): \(Words.count(framesRead, "frame")) before it read"
    }
}

/// One link-layer frame: bytes of the file, not yet looked into.
package struct LinkFrame: Hashable, Sendable {
    /// From 1, as capture tools count.
    package var number: Int
    /// Nanoseconds since 1970.
    package var time: Int64
    /// LINKTYPE_ number of the tcpdump.org registry.
    package var linkType: UInt32
    package var bytes: Range<Int>
    /// Less than the wire had: the capture's snap length cut it.
    package var isCut: Bool
}

package struct CaptureFile: Sendable {
    package private(set) var frames: [LinkFrame] = []
    package private(set) var damage: CaptureDamage?

    /// Larger records are damage: no link layer of ours comes near.
    static let maximumFrame = 1 << 20

    private static let starts: [[UInt8]] = [
        [0xD4, 0xC3, 0xB2, 0xA1], [0x4D, 0x3C, 0xB2, 0xA1], [0x0A, 0x0D, 0x0D, 0x0A],
    ]

    /// The file begins as pcap and pcapng do.
    static func isKnown(_ bytes: [UInt8]) -> Bool {
        let first = Array(bytes.prefix(4))
        return starts.contains { $0 == first || $0 == first.reversed() }
    }

    /// The file is cut inside of such a beginning.
    private static func mayBecomeKnown(_ bytes: [UInt8]) -> Bool {
        (2..<4).contains(bytes.count)
            && starts.contains { $0.starts(with: bytes) || $0.reversed().starts(with: bytes) }
    }

    package init(_ bytes: [UInt8], file: String) {
        guard CaptureFile.isKnown(bytes) || CaptureFile.mayBecomeKnown(bytes) else {
            damage = CaptureDamage(
                file: file, offset: 0,
                what: bytes.isEmpty ? "is empty" : "is neither pcap nor pcapng", framesRead: 0,
                isForeign: true)
            return
        }
        do throws(Damage) {
            let magic = try FileBytes(bytes, isBig: false).u32(0)
            switch magic {
            case 0xA1B2_C3D4: try readClassic(bytes, isBig: false, ticks: 1000)
            case 0xA1B2_3C4D: try readClassic(bytes, isBig: false, ticks: 1)
            case 0xD4C3_B2A1: try readClassic(bytes, isBig: true, ticks: 1000)
            case 0x4D3C_B2A1: try readClassic(bytes, isBig: true, ticks: 1)
            case 0x0A0D_0D0A: try readBlocks(bytes)
            default: preconditionFailure("isKnown knows each of these")
            }
        } catch {
            damage = CaptureDamage(
                file: file, offset: min(error.offset, bytes.count), what: error.what,
                framesRead: frames.count)
        }
    }

    private struct Damage: Error {
        var offset: Int
        var what: String
    }

    /// Integers of the file in its byte order; reading past the end is damage.
    private struct FileBytes {
        let bytes: [UInt8]
        let isBig: Bool

        init(_ bytes: [UInt8], isBig: Bool) {
            self.bytes = bytes
            self.isBig = isBig
        }

        func u16(_ offset: Int) throws(Damage) -> UInt16 {
            try need(offset, 2)
            let a = UInt16(bytes[offset])
            let b = UInt16(bytes[offset + 1])
            return isBig ? a << 8 | b : b << 8 | a
        }

        func u32(_ offset: Int) throws(Damage) -> UInt32 {
            let first = UInt32(try u16(offset))
            let second = UInt32(try u16(offset + 2))
            return isBig ? first << 16 | second : second << 16 | first
        }

        func need(_ offset: Int, _ count: Int) throws(Damage) {
            if offset + count > bytes.count {
                throw Damage(offset: offset, what: "the file ends inside a structure")
            }
        }
    }

    // MARK: pcap

    private mutating func readClassic(
        _ bytes: [UInt8], isBig: Bool, ticks: Int64
    )
        throws(Damage)
    {
        let file = FileBytes(bytes, isBig: isBig)
        // The upper bits tell about frame check sequences (draft-ietf-opsawg-pcap section 4).
        let linkType = try file.u32(20) & 0xFFFF
        var offset = 24
        while offset < bytes.count {
            let seconds = Int64(try file.u32(offset))
            let fraction = Int64(try file.u32(offset + 4))
            let captured = Int(try file.u32(offset + 8))
            let original = Int(try file.u32(offset + 12))
            guard captured <= CaptureFile.maximumFrame else {
                throw Damage(offset: offset, what: "a record claims \(captured) bytes")
            }
            guard offset + 16 + captured <= bytes.count else {
                throw Damage(offset: offset, what: "the last record is cut")
            }
            let start = offset + 16
            append(
                time: seconds * 1_000_000_000 + fraction * ticks, linkType: linkType,
                bytes: start..<start + captured, original: original)
            offset = start + captured
        }
    }

    private mutating func append(
        time: Int64, linkType: UInt32, bytes: Range<Int>, original: Int
    ) {
        frames.append(
            LinkFrame(
                number: frames.count + 1, time: time, linkType: linkType, bytes: bytes,
                isCut: bytes.count < original))
    }

    // MARK: pcapng

    private struct Interface {
        var linkType: UInt32
        var snapLength: Int
        var resolution: UInt8 = 6
        var offsetSeconds: Int64 = 0
    }

    private mutating func readBlocks(_ bytes: [UInt8]) throws(Damage) {
        var isBig = false
        var interfaces: [Interface] = []
        var lastTime: Int64 = 0
        var offset = 0
        while offset < bytes.count {
            var file = FileBytes(bytes, isBig: isBig)
            let type = try file.u32(offset)
            if type == 0x0A0D_0D0A {
                // A section begins; its own byte order mark says how to read it.
                isBig = try FileBytes(bytes, isBig: true).u32(offset + 8) == 0x1A2B_3C4D
                file = FileBytes(bytes, isBig: isBig)
                guard try file.u32(offset + 8) == 0x1A2B_3C4D else {
                    throw Damage(offset: offset, what: "a section has no byte order mark")
                }
                interfaces = []
            }
            let length = Int(try file.u32(offset + 4))
            guard length >= 12, length.isMultiple(of: 4) else {
                throw Damage(offset: offset, what: "a block claims \(length) bytes")
            }
            guard offset + length <= bytes.count else {
                throw Damage(offset: offset, what: "the last block is cut")
            }
            guard try file.u32(offset + length - 4) == UInt32(length) else {
                throw Damage(offset: offset, what: "a block's two lengths differ")
            }
            let body = offset + 8..<offset + length - 4
            switch type {
            case 1: interfaces.append(try interface(file, body))
            case 2, 6:
                lastTime = try packet(file, body, interfaces, isOld: type == 2)
            case 3: try simplePacket(file, body, interfaces, time: lastTime)
            default: break
            }
            offset += length
        }
    }

    private func interface(_ file: FileBytes, _ body: Range<Int>) throws(Damage) -> Interface {
        guard body.count >= 8 else {
            throw Damage(offset: body.lowerBound, what: "an interface block is too short")
        }
        var result = Interface(
            linkType: UInt32(try file.u16(body.lowerBound)),
            snapLength: Int(try file.u32(body.lowerBound + 4)))
        var at = body.lowerBound + 8
        while at + 4 <= body.upperBound {
            let code = try file.u16(at)
            let length = Int(try file.u16(at + 2))
            if code == 0 { break }
            guard at + 4 + length <= body.upperBound else {
                throw Damage(offset: at, what: "an option is longer than its block")
            }
            if code == 9, length >= 1 { result.resolution = file.bytes[at + 4] }
            if code == 14, length >= 8 {
                let first = UInt64(try file.u32(at + 4))
                let second = UInt64(try file.u32(at + 8))
                let bits = file.isBig ? first << 32 | second : second << 32 | first
                result.offsetSeconds = Int64(bitPattern: bits)
            }
            at += 4 + (length + 3) / 4 * 4
        }
        return result
    }

    private mutating func packet(
        _ file: FileBytes, _ body: Range<Int>, _ interfaces: [Interface], isOld: Bool
    ) throws(Damage) -> Int64 {
        guard body.count >= 20 else {
            throw Damage(offset: body.lowerBound, what: "a packet block is too short")
        }
        let number =
            isOld ? Int(try file.u16(body.lowerBound)) : Int(try file.u32(body.lowerBound))
        guard number < interfaces.count else {
            throw Damage(offset: body.lowerBound, what: "a packet of an unknown interface")
        }
        let high = UInt64(try file.u32(body.lowerBound + 4))
        let low = UInt64(try file.u32(body.lowerBound + 8))
        let captured = Int(try file.u32(body.lowerBound + 12))
        let original = Int(try file.u32(body.lowerBound + 16))
        guard captured <= body.count - 20, captured <= CaptureFile.maximumFrame else {
            throw Damage(offset: body.lowerBound, what: "a packet is longer than its block")
        }
        let time = CaptureFile.nanoseconds(high << 32 | low, interfaces[number])
        let start = body.lowerBound + 20
        append(
            time: time, linkType: interfaces[number].linkType, bytes: start..<start + captured,
            original: original)
        return time
    }

    private mutating func simplePacket(
        _ file: FileBytes, _ body: Range<Int>, _ interfaces: [Interface], time: Int64
    ) throws(Damage) {
        guard body.count >= 4, let first = interfaces.first else {
            throw Damage(offset: body.lowerBound, what: "a simple packet without an interface")
        }
        let original = Int(try file.u32(body.lowerBound))
        let snap = first.snapLength == 0 ? Int.max : first.snapLength
        let captured = min(original, snap, body.count - 4)
        let start = body.lowerBound + 4
        append(
            time: time, linkType: first.linkType, bytes: start..<start + captured,
            original: original)
    }

    /// Ticks of `if_tsresol` as nanoseconds, 0 where they do not fit 64 bits.
    private static func nanoseconds(_ ticks: UInt64, _ interface: Interface) -> Int64 {
        let exponent = Int(interface.resolution & 0x7F)
        var result: UInt64
        if interface.resolution & 0x80 != 0 {
            guard exponent < 64 else { return 0 }
            let fraction = ticks & ((1 << UInt64(exponent)) - 1)
            let product = fraction.multipliedFullWidth(by: 1_000_000_000)
            // fraction < 2^exponent, so the quotient is below 10^9 and fits.
            let nanos =
                exponent == 0
                ? 0 : (UInt64(1) << UInt64(exponent)).dividingFullWidth(product).quotient
            let (whole, overflow) = (ticks >> UInt64(exponent)).multipliedReportingOverflow(
                by: 1_000_000_000)
            result = overflow ? 0 : whole &+ nanos
        } else if exponent <= 9 {
            var factor: UInt64 = 1
            for _ in exponent..<9 { factor *= 10 }
            let (product, overflow) = ticks.multipliedReportingOverflow(by: factor)
            result = overflow ? 0 : product
        } else {
            result = ticks
            for _ in 9..<min(exponent, 30) { result /= 10 }
        }
        let (offset, tooFar) = interface.offsetSeconds.multipliedReportingOverflow(
            by: 1_000_000_000)
        guard !tooFar, let base = Int64(exactly: result) else { return 0 }
        let (sum, overflow) = base.addingReportingOverflow(offset)
        return overflow ? 0 : sum
    }
}
