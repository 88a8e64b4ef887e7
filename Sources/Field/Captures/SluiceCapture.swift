// Our own capture format, `.slcap`: what a gateway took in as it saw it, datagrams and pieces of streams,
// without link, IP and TCP headers made up around them. Every record has a check value, so a file that
// was cut or changed yields what stands before the damage. Pure functions over bytes.
//
//   header   0 "SLCAP" 0D 0A 1A | 8 version u16 = 1 | 10 reserved 6
//   record   0 length of what follows, without the check value, u32 | 4 kind (0 datagram, 1 opened,
//            2 bytes, 3 closed) | 5 flags (bit 0: to the server; bit 1: of a stream) | 6 length of the
//            note u16 | 8 time i64, ns since 1970 | 16 client 18 | 34 server 18 (address as IPv6, port
//            u16) | 52 note, UTF-8 | payload | CRC-32 (IEEE 802.3) of the record from its length on
//   Integers little-endian; addresses in network order.

import Model

enum SluiceCapture {
    static let magic: [UInt8] = [0x53, 0x4C, 0x43, 0x41, 0x50, 0x0D, 0x0A, 0x1A]
    static let headerSize = 16
    private static let fixedSize = 48
    /// A datagram, or a piece of a stream, with its note.
    static let maximumRecord = 1 << 20

    static var header: [UInt8] { magic + [1, 0] + [UInt8](repeating: 0, count: 6) }

    /// One record. A payload or note that is too long for one is cut.
    static func record(_ delivery: CapturedDelivery, _ conversation: Conversation) -> [UInt8] {
        let note = Array(delivery.note.utf8.prefix(4096))
        let payload = delivery.bytes.prefix(maximumRecord - fixedSize - note.count)
        var out: [UInt8] = []
        out.reserveCapacity(payload.count + note.count + fixedSize + 8)
        append(UInt32(fixedSize + note.count + payload.count), to: &out)
        out.append(code(delivery.kind))
        out.append((delivery.isToServer ? 1 : 0) | (conversation.isStream ? 2 : 0))
        out += [UInt8(note.count & 255), UInt8(note.count >> 8)]
        append(UInt64(bitPattern: delivery.time), to: &out)
        append(conversation.client, to: &out)
        append(conversation.server, to: &out)
        out += note
        out += payload
        append(CRC32.of(out[...]), to: &out)
        return out
    }

    static func read(_ bytes: [UInt8], file: String) -> Capture {
        var reader = Reader(bytes: bytes)
        let damage = reader.run()
        return Capture(
            deliveries: reader.deliveries, conversations: reader.conversations,
            counters: CaptureCounters(frames: reader.deliveries.count),
            damage: damage.map {
                CaptureDamage(
                    file: file, offset: $0.offset, what: $0.what,
                    framesRead: reader.deliveries.count)
            })
    }

    private struct Reader {
        let bytes: [UInt8]
        var deliveries: [CapturedDelivery] = []
        var conversations: [Conversation] = []
        /// Datagrams of the same two ends, and the connection that is open between them.
        private var open: [Conversation: Int] = [:]

        init(bytes: [UInt8]) { self.bytes = bytes }

        mutating func run() -> (offset: Int, what: String)? {
            guard bytes.count >= headerSize else { return (bytes.count, "the header is cut") }
            guard bytes[8] == 1, bytes[9] == 0 else {
                return (8, "is of a version that is not known here")
            }
            var at = headerSize
            while at < bytes.count {
                guard at + 4 <= bytes.count else { return (at, "the last record is cut") }
                let length = Int(number(at, 4))
                guard length >= fixedSize, length <= maximumRecord else {
                    return (at, "a record claims \(length) bytes")
                }
                let end = at + 4 + length
                guard end + 4 <= bytes.count else { return (at, "the last record is cut") }
                guard UInt64(CRC32.of(bytes[at..<end])) == number(end, 4) else {
                    return (at, "a record's check value is wrong")
                }
                guard take(at + 4, end) else { return (at, "a record makes no sense") }
                at = end + 4
            }
            return nil
        }

        private mutating func take(_ at: Int, _ end: Int) -> Bool {
            let noteLength = Int(number(at + 2, 2))
            guard let kind = kind(bytes[at]), noteLength <= end - at - fixedSize else {
                return false
            }
            let flags = bytes[at + 1]
            let conversation = Conversation(
                isStream: flags & 2 != 0, client: endpoint(at + 12), server: endpoint(at + 30))
            guard (kind == .datagram) != conversation.isStream else { return false }
            if kind == .opened { open[conversation] = nil }
            let number: Int
            if let known = open[conversation] {
                number = known
            } else {
                number = conversations.count
                conversations.append(conversation)
                open[conversation] = number
            }
            let note = bytes[at + fixedSize..<at + fixedSize + noteLength]
            deliveries.append(
                CapturedDelivery(
                    kind: kind, time: Int64(bitPattern: self.number(at + 4, 8)),
                    number: deliveries.count + 1, conversation: number,
                    isToServer: flags & 1 != 0,
                    bytes: Array(bytes[at + fixedSize + noteLength..<end]),
                    note: String(decoding: note, as: UTF8.self)))
            return true
        }

        private func kind(_ code: UInt8) -> CapturedDelivery.Kind? {
            switch code {
            case 0: .datagram
            case 1: .opened
            case 2: .bytes
            case 3: .closed
            default: nil
            }
        }

        private func number(_ at: Int, _ width: Int) -> UInt64 {
            var value: UInt64 = 0
            for i in (0..<width).reversed() { value = value << 8 | UInt64(bytes[at + i]) }
            return value
        }

        private func endpoint(_ at: Int) -> Endpoint {
            var high: UInt64 = 0
            var low: UInt64 = 0
            for i in 0..<8 {
                high = high << 8 | UInt64(bytes[at + i])
                low = low << 8 | UInt64(bytes[at + 8 + i])
            }
            return Endpoint(high: high, low: low, port: UInt16(number(at + 16, 2)))
        }
    }

    private static func code(_ kind: CapturedDelivery.Kind) -> UInt8 {
        switch kind {
        case .datagram: 0
        case .opened: 1
        case .bytes: 2
        case .closed: 3
        }
    }

    private static func append(_ endpoint: Endpoint, to out: inout [UInt8]) {
        for word in [endpoint.high, endpoint.low] {
            for shift in stride(from: 56, through: 0, by: -8) {
                out.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
            }
        }
        append(endpoint.port, to: &out)
    }

    private static func append(_ value: some FixedWidthInteger, to out: inout [UInt8]) {
        for shift in stride(from: 0, to: value.bitWidth, by: 8) {
            out.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }
}

/// CRC-32 of IEEE 802.3 (reflected, polynomial EDB88320).
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { start in
        var value = UInt32(start)
        for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
        return value
    }

    static func of(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        var value = UInt32.max
        for byte in bytes { value = value >> 8 ^ table[Int((value ^ UInt32(byte)) & 255)] }
        return ~value
    }
}
