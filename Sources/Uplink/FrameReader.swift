// Bytes to frames, piece by piece as a connection delivers them (layouts and limits:
// protocols/uplink.md). Owned by one connection's end, on its queue. Never traps; holds at most one
// frame and the piece that was appended last; an announced length only decides how long to wait.

import Model

/// What is wrong with received bytes. After any of these the connection cannot be read further.
package enum WireError: Error, Hashable, Sendable {
    case version(UInt8)
    /// A type that is not known, or not allowed in this direction or at this moment.
    case unexpected(kind: UInt8)
    case tooLong(kind: UInt8, length: UInt32)
    case badHeader
    case badChecksum
    /// The body does not have the form of its type; offset within the body.
    case malformed(kind: UInt8, at: Int)

    package var description: String {
        switch self {
        case .version(let version): "protocol version \(version), spoken here: 1"
        case .unexpected(let kind): "frame type \(kind) is not expected here"
        case .tooLong(let kind, let length): "frame type \(kind) announces \(length) bytes"
        case .badHeader: "frame header with bits that must be zero"
        case .badChecksum: "frame with a wrong CRC-32"
        case .malformed(let kind, let at): "frame type \(kind) is malformed at byte \(at)"
        }
    }
}

/// Takes received bytes and gives frames.
package struct FrameReader {
    package enum Side: Sendable {
        /// A gateway or reader, which takes what a store sends.
        case peer
        /// A store, which takes hello first and then the rest.
        case store
    }

    private let side: Side
    private var bytes: [UInt8] = []
    private var start = 0
    private var isFirst = true
    private var failure: WireError?

    package init(side: Side) { self.side = side }

    /// Bytes held that make no frame yet.
    package var held: Int { bytes.count - start }

    /// Call `next` until nil after each append, so that no more than a frame is held.
    package mutating func append(_ piece: [UInt8]) {
        if start > 0, start == bytes.count || start >= 1 << 16 {
            bytes.removeSubrange(0..<start)
            start = 0
        }
        bytes += piece
    }

    /// The next whole frame; nil until more bytes come. After an error, the same error again.
    package mutating func next() throws(WireError) -> UplinkFrame? {
        if let failure { throw failure }
        do throws(WireError) {
            return try read()
        } catch {
            failure = error
            bytes = []
            start = 0
            throw error
        }
    }

    private mutating func read() throws(WireError) -> UplinkFrame? {
        // The version decides how to read the rest, so it is judged before anything else.
        guard held >= 1 else { return nil }
        guard bytes[start] == UplinkProtocol.version else { throw .version(bytes[start]) }
        guard held >= UplinkProtocol.headerBytes else { return nil }
        var header = ByteReader(bytes, from: start + 1)
        guard let type = try? header.u8(), let zero = try? header.u16(),
            let length = try? header.u32(), let announced = try? header.u32()
        else { return nil }
        guard zero == 0 else { throw .badHeader }
        guard let kind = UplinkFrame.Kind(rawValue: type), isExpected(kind) else {
            throw .unexpected(kind: type)
        }
        guard length <= UInt32(kind.largestBody) else {
            throw .tooLong(kind: type, length: length)
        }
        let end = start + UplinkProtocol.headerBytes + Int(length)
        guard bytes.count >= end else { return nil }
        var crc = CRC32()
        crc.update(bytes.span.extracting(start..<start + 8))
        crc.update(bytes.span.extracting(start + UplinkProtocol.headerBytes..<end))
        guard crc.value == announced else { throw .badChecksum }
        let body = Array(bytes[start + UplinkProtocol.headerBytes..<end])
        start = end
        isFirst = false
        return try UplinkFrame(kind: kind, body: body)
    }

    private func isExpected(_ kind: UplinkFrame.Kind) -> Bool {
        switch (side, kind) {
        case (_, .goodbye): true
        case (.store, .hello): isFirst
        case (.store, .entries), (.store, .batch), (.store, .query), (.store, .ping): !isFirst
        case (.peer, .welcome): isFirst
        case (.peer, .acknowledgement), (.peer, .rows), (.peer, .pong): !isFirst
        default: false
        }
    }
}
