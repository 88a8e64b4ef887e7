// Writes captures: pcapng for Wireshark (draft-ietf-opsawg-pcapng), or our own format. In pcapng each
// datagram gets IP and UDP headers, each connection a handshake, numbered segments and an end, so that
// every tool follows it; what the gateway made of a frame stands in the packet's comment. Pure: bytes
// out, no files.

import Model

package struct CaptureWriter {
    package enum Form: Sendable { case pcapng, slcap }

    private let form: Form
    private var connections: [Conversation: Sequences] = [:]
    private var opened: UInt32 = 0

    /// Next numbers of both sides of a connection that is open.
    private struct Sequences {
        var client: UInt32 = 0
        var server: UInt32 = 0
    }

    private static let linkTypeRaw: UInt16 = 101
    /// One segment: what fits an IPv4 packet.
    private static let maximumSegment = 60_000

    package init(_ form: Form) { self.form = form }

    /// By the file's name: `.slcap` is ours, everything else pcapng.
    package static func form(of path: String) -> Form {
        path.hasSuffix(".slcap") ? .slcap : .pcapng
    }

    /// What the file begins with.
    package func header(comment: String) -> [UInt8] {
        guard form == .pcapng else { return SluiceCapture.header }
        var section: [UInt8] = le32(0x1A2B_3C4D) + le16(1) + le16(0)
        section += [UInt8](repeating: 255, count: 8)
        section += option(1, Array(comment.utf8)) + option(4, Array("sluice capture".utf8))
        section += le32(0)
        // if_tsresol 9: nanoseconds.
        let interface =
            le16(Self.linkTypeRaw) + le16(0) + le32(0) + option(2, Array("sluiced".utf8))
            + option(9, [9]) + le32(0)
        return block(0x0A0D_0D0A, section) + block(1, interface)
    }

    /// The delivery as packets or as a record; empty when there is nothing to write.
    package mutating func bytes(
        of delivery: CapturedDelivery, in conversation: Conversation
    ) -> [UInt8] {
        if form == .slcap { return SluiceCapture.record(delivery, conversation) }
        switch delivery.kind {
        case .datagram: return datagram(delivery, conversation)
        case .opened: return open(conversation, delivery.time)
        case .bytes: return segments(delivery, conversation)
        case .closed: return close(conversation, delivery)
        }
    }

    // MARK: Packets

    private func datagram(
        _ delivery: CapturedDelivery, _ conversation: Conversation
    ) -> [UInt8] {
        let ends = ends(conversation, isToServer: delivery.isToServer)
        let payload = delivery.bytes.prefix(65_000)
        let header = be16(ends.from.port) + be16(ends.to.port) + be16(UInt16(8 + payload.count))
        return packet(
            17, header: header, sumAt: 6, payload: payload, ends, delivery.time, delivery.note)
    }

    private mutating func open(_ conversation: Conversation, _ time: Int64) -> [UInt8] {
        guard connections[conversation] == nil else { return [] }
        // Ports are used again: another first number tells the connections apart.
        opened &+= 1
        var sequences = Sequences(client: opened &* 0x0101_0000, server: opened &* 0x0202_0000)
        let syn = SegmentFlags.syn
        var out = segment(conversation, sequences, isToServer: true, syn, [], time, "")
        sequences.client &+= 1
        out += segment(
            conversation, sequences, isToServer: false, syn | SegmentFlags.ack, [], time, "")
        sequences.server &+= 1
        out += segment(conversation, sequences, isToServer: true, SegmentFlags.ack, [], time, "")
        connections[conversation] = sequences
        return out
    }

    private mutating func segments(
        _ delivery: CapturedDelivery, _ conversation: Conversation
    ) -> [UInt8] {
        // A connection that was open before the capture began gets its handshake now.
        var out = open(conversation, delivery.time)
        var sequences = connections[conversation] ?? Sequences()
        var rest = delivery.bytes[...]
        var note = delivery.note
        while !rest.isEmpty {
            let part = rest.prefix(CaptureWriter.maximumSegment)
            rest = rest.dropFirst(part.count)
            out += segment(
                conversation, sequences, isToServer: delivery.isToServer,
                SegmentFlags.ack | 0x08, part, delivery.time, note)
            note = ""
            let count = UInt32(part.count)
            if delivery.isToServer {
                sequences.client &+= count
            } else {
                sequences.server &+= count
            }
        }
        connections[conversation] = sequences
        return out
    }

    private mutating func close(
        _ conversation: Conversation, _ delivery: CapturedDelivery
    ) -> [UInt8] {
        guard var sequences = connections.removeValue(forKey: conversation) else { return [] }
        let end = SegmentFlags.fin | SegmentFlags.ack
        var out = segment(
            conversation, sequences, isToServer: true, end, [], delivery.time, delivery.note)
        sequences.client &+= 1
        out += segment(conversation, sequences, isToServer: false, end, [], delivery.time, "")
        sequences.server &+= 1
        return out
            + segment(
                conversation, sequences, isToServer: true, SegmentFlags.ack, [], delivery.time, "")
    }

    private func segment(
        _ conversation: Conversation, _ sequences: Sequences, isToServer: Bool, _ flags: UInt8,
        _ payload: ArraySlice<UInt8>, _ time: Int64, _ note: String
    ) -> [UInt8] {
        let ends = ends(conversation, isToServer: isToServer)
        let number = isToServer ? sequences.client : sequences.server
        let acknowledged =
            flags & SegmentFlags.ack == 0
            ? 0 : isToServer ? sequences.server : sequences.client
        let header =
            be16(ends.from.port) + be16(ends.to.port) + be32(number) + be32(acknowledged)
            + [0x50, flags] + be16(65_535) + [0, 0, 0, 0]
        return packet(6, header: header, sumAt: 16, payload: payload, ends, time, note)
    }

    /// Both ends in one address family: a server that listens everywhere has no address to show.
    private func ends(
        _ conversation: Conversation, isToServer: Bool
    ) -> (from: Endpoint, to: Endpoint) {
        let client = conversation.client
        var server = conversation.server
        if client.isIPv4 != server.isIPv4 {
            server =
                client.isIPv4
                ? .ipv4(0, port: server.port) : Endpoint(high: 0, low: 0, port: server.port)
        }
        return isToServer ? (client, server) : (server, client)
    }

    /// The transport header without its sum (which stands at `sumAt`) and the payload in an IP packet, as
    /// an enhanced packet block.
    private func packet(
        _ number: UInt8, header: [UInt8], sumAt: Int, payload: ArraySlice<UInt8>,
        _ ends: (from: Endpoint, to: Endpoint), _ time: Int64, _ note: String
    ) -> [UInt8] {
        var transport = header
        if number == 17 { transport += [0, 0] }
        transport += payload
        let addresses = address(ends.from) + address(ends.to)
        let length = be16(UInt16(transport.count))
        let pseudo =
            ends.from.isIPv4
            ? addresses + [0, number] + length : addresses + [0, 0] + length + [0, 0, 0, number]
        var sum = CaptureWriter.sum(pseudo + transport)
        if number == 17, sum == 0 { sum = 0xFFFF }
        transport[sumAt] = UInt8(sum >> 8)
        transport[sumAt + 1] = UInt8(sum & 255)
        var network: [UInt8]
        if ends.from.isIPv4 {
            network =
                [0x45, 0] + be16(UInt16(20 + transport.count)) + [0, 0, 0x40, 0, 64, number, 0, 0]
            network += addresses
            let sum = CaptureWriter.sum(network)
            network[10] = UInt8(sum >> 8)
            network[11] = UInt8(sum & 255)
        } else {
            network = [0x60, 0, 0, 0] + length + [number, 64] + addresses
        }
        network += transport
        let nanoseconds = UInt64(bitPattern: time)
        var body = le32(0) + le32(UInt32(truncatingIfNeeded: nanoseconds >> 32))
        body += le32(UInt32(truncatingIfNeeded: nanoseconds))
        body += le32(UInt32(network.count)) + le32(UInt32(network.count)) + padded(network)
        if !note.isEmpty { body += option(1, Array(note.utf8.prefix(4096))) + le32(0) }
        return block(6, body)
    }

    private func address(_ endpoint: Endpoint) -> [UInt8] {
        if endpoint.isIPv4 { return be32(UInt32(truncatingIfNeeded: endpoint.low)) }
        return [endpoint.high, endpoint.low].flatMap {
            be32(UInt32($0 >> 32)) + be32(UInt32(truncatingIfNeeded: $0))
        }
    }

    /// The Internet checksum (RFC 1071).
    private static func sum(_ bytes: [UInt8]) -> UInt16 {
        var total: UInt32 = 0
        for i in stride(from: 0, to: bytes.count, by: 2) {
            let low = i + 1 < bytes.count ? UInt32(bytes[i + 1]) : 0
            total += UInt32(bytes[i]) << 8 | low
        }
        while total >> 16 != 0 { total = total & 0xFFFF + total >> 16 }
        return ~UInt16(total)
    }

    // MARK: Blocks

    private func block(_ type: UInt32, _ body: [UInt8]) -> [UInt8] {
        let padded = padded(body)
        let length = le32(UInt32(12 + padded.count))
        return le32(type) + length + padded + length
    }

    private func option(_ code: UInt16, _ value: [UInt8]) -> [UInt8] {
        le16(code) + le16(UInt16(value.count)) + padded(value)
    }

    private func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4)
    }

    private func be16(_ v: UInt16) -> [UInt8] { [UInt8(v >> 8), UInt8(v & 255)] }
    private func be32(_ v: UInt32) -> [UInt8] {
        be16(UInt16(v >> 16)) + be16(UInt16(truncatingIfNeeded: v))
    }
    private func le16(_ v: UInt16) -> [UInt8] { be16(v).reversed() }
    private func le32(_ v: UInt32) -> [UInt8] { be32(v).reversed() }
}
