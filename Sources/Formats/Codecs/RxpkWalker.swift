// Walks the `rxpk` array of a Semtech PUSH_DATA packet by packet without allocating.

import Model

struct RxpkWalker {
    private var pull: JSONPull
    private var hasBegun = false
    private var isInPackets = false

    init(_ cursor: Cursor, _ body: Range<Int>) { pull = JSONPull(cursor, body) }

    /// The next packet; nil at the end of the body, which then has been checked to its last byte.
    mutating func next() throws(Rejection) -> SemtechPacket? {
        if !hasBegun {
            hasBegun = true
            guard case .beginObject = try pull.next() else { throw .malformed }
        }
        while true {
            let token = try pull.next()
            switch token {
            case .end: return nil
            case .endArray where isInPackets && pull.depth == 1: isInPackets = false
            case .beginObject where isInPackets: return try packet()
            case .key(let key) where !isInPackets:
                let value = try pull.next()
                if pull.cursor.holds("rxpk", key) {
                    guard case .beginArray = value else { throw .malformed }
                    isInPackets = true
                } else {
                    try pull.skip(value)
                }
            case .endObject where !isInPackets: break
            default: throw .malformed
            }
        }
    }

    private mutating func packet() throws(Rejection) -> SemtechPacket {
        var packet = SemtechPacket()
        while true {
            switch try pull.next() {
            case .endObject: return packet
            case .key(let key):
                let value = try pull.next()
                switch value {
                case .number(let number): take(key, number, &packet)
                case .string(let text):
                    if pull.cursor.holds("data", key) { packet.data = text.range }
                default: try pull.skip(value)
                }
            default: throw .malformed
            }
        }
    }

    private func take(_ key: JSONString, _ number: Value, _ packet: inout SemtechPacket) {
        let cursor = pull.cursor
        if cursor.holds("stat", key) {
            packet.crc = SemtechPacket.CRC(rawValue: Int8(clamping: number.mantissa)) ?? .none
        } else if cursor.holds("size", key) {
            packet.size = number.exponent == 0 ? Int(number.mantissa) : nil
        } else if cursor.holds("rssi", key) {
            packet.rssi = number
        } else if cursor.holds("lsnr", key) {
            packet.snr = number
        } else if cursor.holds("freq", key) {
            packet.frequency = number
        }
    }
}
