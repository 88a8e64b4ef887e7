// From a link-layer frame to the UDP datagram or TCP segment in it: link types Ethernet (with VLAN
// tags), Linux cooked v1 and v2, raw IP and loopback; IPv4 with fragments put together again, IPv6
// with extension headers and fragments. Everything is bounds-checked; what is not ours is counted.

import Model

/// The transport content of one IP packet.
struct TransportContent {
    enum Kind {
        case datagram
        case segment(sequence: UInt32, flags: UInt8)
    }

    var kind: Kind
    var from: Endpoint
    var to: Endpoint
    var payload: [UInt8]
}

/// TCP flags (RFC 9293 section 3.1).
enum SegmentFlags {
    static let fin: UInt8 = 0x01
    static let syn: UInt8 = 0x02
    static let rst: UInt8 = 0x04
    static let ack: UInt8 = 0x10
}

/// What was passed over while reading a capture.
package struct CaptureCounters: Hashable, Sendable {
    package var frames = 0
    /// Neither UDP nor TCP over IP, or a link type that is not known here.
    package var foreign = 0
    /// Headers that contradict themselves.
    package var malformed = 0
    /// Cut by the capture's snap length, so that the payload is not whole.
    package var cut = 0
    package var fragments = 0
    /// Fragments of datagrams that never became whole.
    package var fragmentsLost = 0
    package var segmentsRepeated = 0
    package var segmentsOutOfOrder = 0
    /// Bytes of streams that the capture does not hold.
    package var bytesMissing = 0
    /// Lines of a transcript that hold no frame.
    package var linesPassedOver = 0
}

/// Takes link-layer frames in order and yields transport content. Holds at most 256 unfinished
/// datagrams of at most 65,535 bytes.
struct PacketReader {
    private(set) var counters = CaptureCounters()
    private var fragments = FragmentTable()

    mutating func take(_ frame: LinkFrame, of file: [UInt8]) -> TransportContent? {
        counters.frames += 1
        let bytes = file[frame.bytes]
        guard let network = PacketReader.network(bytes, frame.linkType), let first = network.first
        else {
            counters.foreign += 1
            return nil
        }
        switch first >> 4 {
        case 4: return ipv4(network, isCut: frame.isCut)
        case 6: return ipv6(network, isCut: frame.isCut)
        default:
            counters.foreign += 1
            return nil
        }
    }

    mutating func finish() { counters.fragmentsLost += fragments.unfinished }

    // MARK: Link layers

    /// The IP packet in a link-layer frame; nil when there is none.
    private static func network(
        _ frame: ArraySlice<UInt8>, _ linkType: UInt32
    ) -> ArraySlice<
        UInt8
    >? {
        switch linkType {
        case 1: return tagged(frame, typeAt: 12)
        case 113: return tagged(frame, typeAt: 14)
        case 276:
            // Linux cooked v2 has the type first and the address last.
            guard let type = u16(frame, 0), isIP(type) else { return nil }
            return frame.dropFirst(20)
        case 0, 108: return frame.dropFirst(4)
        case 12, 14, 101, 228, 229: return frame
        default: return nil
        }
    }

    /// Skips VLAN tags (IEEE 802.1Q, 802.1ad), at most four.
    private static func tagged(_ frame: ArraySlice<UInt8>, typeAt: Int) -> ArraySlice<UInt8>? {
        var at = typeAt
        for _ in 0...4 {
            guard let type = u16(frame, at) else { return nil }
            switch type {
            case 0x8100, 0x88A8, 0x9100: at += 4
            default: return isIP(type) ? frame.dropFirst(at + 2) : nil
            }
        }
        return nil
    }

    private static func isIP(_ type: UInt16) -> Bool { type == 0x0800 || type == 0x86DD }

    // MARK: Network layers

    private mutating func ipv4(_ packet: ArraySlice<UInt8>, isCut: Bool) -> TransportContent? {
        guard packet.count >= 20, let total = PacketReader.u16(packet, 2),
            let fragment = PacketReader.u16(packet, 6)
        else { return malformed(isCut) }
        let header = Int(packet[packet.startIndex] & 15) * 4
        // Segmentation offload leaves a length of 0: the frame's own length holds then.
        let length = total == 0 ? packet.count : Int(total)
        guard header >= 20, length >= header, packet.count >= header else {
            return malformed(isCut)
        }
        guard length <= packet.count else {
            counters.cut += 1
            return nil
        }
        let start = packet.startIndex
        let next = packet[start + 9]
        let from = PacketReader.address4(packet, start + 12)
        let to = PacketReader.address4(packet, start + 16)
        let content = packet[start + header..<start + length]
        let offset = Int(fragment & 0x1FFF) * 8
        let hasMore = fragment & 0x2000 != 0
        if offset == 0, !hasMore { return transport(content, next, from, to) }
        let name = FragmentTable.Name(
            from: from, to: to, number: next,
            identification: UInt32(
                PacketReader.u16(packet, 4) ?? 0))
        return whole(name, content, offset: offset, hasMore: hasMore)
    }

    private mutating func ipv6(_ packet: ArraySlice<UInt8>, isCut: Bool) -> TransportContent? {
        guard packet.count >= 40, let payload = PacketReader.u16(packet, 4) else {
            return malformed(isCut)
        }
        let start = packet.startIndex
        let length = payload == 0 ? packet.count : 40 + Int(payload)
        guard length <= packet.count else {
            counters.cut += 1
            return nil
        }
        let from = PacketReader.address6(packet, start + 8)
        let to = PacketReader.address6(packet, start + 24)
        var next = packet[start + 6]
        var content = packet[start + 40..<start + length]
        // Extension headers (RFC 8200 section 4), a handful at most in real traffic.
        for _ in 0..<8 {
            switch next {
            case 0, 43, 60, 51:
                guard content.count >= 8 else { return malformed(isCut) }
                let units = Int(content[content.startIndex + 1])
                let size = next == 51 ? (units + 2) * 4 : (units + 1) * 8
                guard content.count >= size else { return malformed(isCut) }
                next = content[content.startIndex]
                content = content.dropFirst(size)
            case 44:
                guard content.count >= 8, let field = PacketReader.u16(content, 2),
                    let high = PacketReader.u16(content, 4), let low = PacketReader.u16(content, 6)
                else { return malformed(isCut) }
                let name = FragmentTable.Name(
                    from: from, to: to, number: content[content.startIndex],
                    identification: UInt32(high) << 16 | UInt32(low))
                return whole(
                    name, content.dropFirst(8), offset: Int(field & 0xFFF8),
                    hasMore: field & 1 != 0)
            default: return transport(content, next, from, to)
            }
        }
        return malformed(isCut)
    }

    private mutating func whole(
        _ name: FragmentTable.Name, _ content: ArraySlice<UInt8>, offset: Int, hasMore: Bool
    ) -> TransportContent? {
        counters.fragments += 1
        guard
            let bytes = fragments.take(name, content, offset: offset, hasMore: hasMore)
        else { return nil }
        return transport(bytes[...], name.number, name.from, name.to)
    }

    // MARK: Transport layers

    private mutating func transport(
        _ content: ArraySlice<UInt8>, _ number: UInt8, _ from: Endpoint, _ to: Endpoint
    ) -> TransportContent? {
        guard number == 17 || number == 6 else {
            counters.foreign += 1
            return nil
        }
        guard let source = PacketReader.u16(content, 0),
            let destination = PacketReader.u16(content, 2)
        else { return malformed(false) }
        var from = from
        var to = to
        from.port = source
        to.port = destination
        let start = content.startIndex
        if number == 17 {
            guard let announced = PacketReader.u16(content, 4), content.count >= 8 else {
                return malformed(false)
            }
            let length = announced == 0 ? content.count : Int(announced)
            guard length >= 8, length <= content.count else { return malformed(false) }
            return TransportContent(
                kind: .datagram, from: from, to: to,
                payload: Array(content[start + 8..<start + length]))
        }
        guard content.count >= 20, let high = PacketReader.u16(content, 4),
            let low = PacketReader.u16(content, 6)
        else { return malformed(false) }
        let header = Int(content[start + 12] >> 4) * 4
        guard header >= 20, header <= content.count else { return malformed(false) }
        return TransportContent(
            kind: .segment(
                sequence: UInt32(high) << 16 | UInt32(low), flags: content[start + 13]),
            from: from, to: to, payload: Array(content[(start + header)...]))
    }

    private mutating func malformed(_ isCut: Bool) -> TransportContent? {
        if isCut { counters.cut += 1 } else { counters.malformed += 1 }
        return nil
    }

    private static func u16(_ bytes: ArraySlice<UInt8>, _ offset: Int) -> UInt16? {
        guard offset + 2 <= bytes.count else { return nil }
        let at = bytes.startIndex + offset
        return UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
    }

    private static func address4(_ bytes: ArraySlice<UInt8>, _ at: Int) -> Endpoint {
        var address: UInt32 = 0
        for i in 0..<4 { address = address << 8 | UInt32(bytes[at + i]) }
        return .ipv4(address, port: 0)
    }

    private static func address6(_ bytes: ArraySlice<UInt8>, _ at: Int) -> Endpoint {
        var high: UInt64 = 0
        var low: UInt64 = 0
        for i in 0..<8 {
            high = high << 8 | UInt64(bytes[at + i])
            low = low << 8 | UInt64(bytes[at + 8 + i])
        }
        return Endpoint(high: high, low: low, port: 0)
    }
}

/// IP fragments on their way to whole packets. The bytes that came first win where fragments
/// overlap.
struct FragmentTable {
    struct Name: Hashable {
        var from: Endpoint
        var to: Endpoint
        var number: UInt8
        var identification: UInt32
    }

    private struct Pieces {
        var parts: [(offset: Int, bytes: [UInt8])] = []
        var total: Int?
    }

    private static let maximumUnfinished = 256
    private static let maximumParts = 128
    private static let maximumBytes = 65_535
    private var unfinishedByName: [Name: Pieces] = [:]
    /// Oldest first, to give up the oldest when there are too many.
    private var order: [Name] = []
    private var lost = 0

    var unfinished: Int { unfinishedByName.count + lost }

    mutating func take(
        _ name: Name, _ content: ArraySlice<UInt8>, offset: Int, hasMore: Bool
    ) -> [UInt8]? {
        guard offset + content.count <= FragmentTable.maximumBytes else { return nil }
        if unfinishedByName[name] == nil {
            if order.count >= FragmentTable.maximumUnfinished {
                unfinishedByName[order.removeFirst()] = nil
                lost += 1
            }
            order.append(name)
        }
        var pieces = unfinishedByName[name] ?? Pieces()
        if pieces.parts.count < FragmentTable.maximumParts {
            pieces.parts.append((offset, Array(content)))
        }
        if !hasMore { pieces.total = offset + content.count }
        if let total = pieces.total, let bytes = FragmentTable.join(pieces.parts, total: total) {
            unfinishedByName[name] = nil
            order.removeAll { $0 == name }
            return bytes
        }
        unfinishedByName[name] = pieces
        return nil
    }

    private static func join(_ parts: [(offset: Int, bytes: [UInt8])], total: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: total)
        var isFilled = [Bool](repeating: false, count: total)
        for part in parts {
            for (i, byte) in part.bytes.enumerated() where part.offset + i < total {
                if !isFilled[part.offset + i] {
                    bytes[part.offset + i] = byte
                    isFilled[part.offset + i] = true
                }
            }
        }
        return isFilled.allSatisfy { $0 } ? bytes : nil
    }
}
