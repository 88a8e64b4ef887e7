// Frames to bytes (layouts: protocols/uplink.md). Texts longer than their limit are cut at a
// character and lists are split by `FrameEncoding.entries` and `.rows`, so that what is sent is
// always within the limits that the other end enforces.

package import Model

extension UplinkFrame {
    /// The frame's number on the wire.
    package enum Kind: UInt8, Sendable, CaseIterable {
        case hello = 0x01
        case entries = 0x02
        case batch = 0x03
        case query = 0x04
        case ping = 0x05
        case welcome = 0x81
        case acknowledgement = 0x82
        case rows = 0x83
        case pong = 0x84
        case goodbye = 0xFF

        /// Most bytes of its body.
        package var largestBody: Int {
            switch self {
            case .hello, .goodbye: 512
            case .query: 1024
            case .welcome: 4096
            case .ping: 8
            case .pong: 18
            case .batch: UplinkProtocol.largestBatch + 17
            case .entries, .acknowledgement, .rows: UplinkProtocol.largestBody
            }
        }
    }

    package var kind: Kind {
        switch self {
        case .hello: .hello
        case .welcome: .welcome
        case .entries: .entries
        case .batch: .batch
        case .acknowledgement: .acknowledgement
        case .ping: .ping
        case .pong: .pong
        case .query: .query
        case .rows: .rows
        case .goodbye: .goodbye
        }
    }

    /// Header and body. Lists must be within their limits (`FrameEncoding` splits them).
    package func encoded() -> [UInt8] {
        var body = ByteWriter()
        write(into: &body)
        precondition(body.bytes.count <= kind.largestBody, "BUG: a frame beyond its limit")
        var frame = ByteWriter(capacity: UplinkProtocol.headerBytes + body.bytes.count)
        frame.u8(UplinkProtocol.version)
        frame.u8(kind.rawValue)
        frame.u16(0)
        frame.u32(UInt32(body.bytes.count))
        var crc = CRC32()
        crc.update(frame.bytes.span)
        crc.update(body.bytes.span)
        frame.u32(crc.value)
        frame.raw(body.bytes)
        return frame.bytes
    }

    private func write(into body: inout ByteWriter) {
        switch self {
        case .hello(let hello):
            body.u8(hello.role.rawValue)
            body.u8(0)
            body.raw(hello.incarnation.bytes)
            body.limited(hello.name, UplinkProtocol.nameBytes)
            body.limited(hello.software, UplinkProtocol.nameBytes)
        case .welcome(let welcome): body.welcome(welcome)
        case .entries(let entries):
            body.u16(UInt16(entries.count))
            for entry in entries { body.entry(entry) }
        case .batch(let batch):
            body.u64(batch.sequence)
            body.u8(batch.priority.rawValue)
            body.u32(batch.readings)
            body.u32(batch.crc)
            body.raw(batch.bytes)
        case .acknowledgement(let acknowledgement): body.acknowledgement(acknowledgement)
        case .ping(let token): body.u64(token)
        case .pong(let token, let storeTime, let credit):
            body.u64(token)
            body.i64(storeTime.milliseconds)
            body.u16(credit)
        case .query(let query): body.query(query)
        case .rows(let rows): body.rows(rows)
        case .goodbye(let goodbye):
            body.u8(goodbye.code.rawValue)
            body.limited(goodbye.reason, UplinkProtocol.reasonBytes)
        }
    }
}

/// Splitting of lists over frames.
package enum FrameEncoding {
    /// Frames for all entries, in their order.
    package static func entries(_ entries: [CatalogEntry]) -> [UInt8] {
        var bytes: [UInt8] = []
        split(entries, size: 600) { bytes += UplinkFrame.entries($0).encoded() }
        return bytes
    }

    /// Frames for the rows of one answer; the last is marked as the end.
    package static func rows(_ rows: [StoredReading], token: UInt32, hasMore: Bool) -> [UInt8] {
        var parts: [[StoredReading]] = []
        split(rows, size: 560) { parts.append($0) }
        if parts.isEmpty { parts = [[]] }
        var bytes: [UInt8] = []
        for (number, part) in parts.enumerated() {
            let isEnd = number == parts.count - 1
            bytes += UplinkFrame.rows(
                Rows(token: token, hasMore: isEnd && hasMore, isEnd: isEnd, rows: part)
            ).encoded()
        }
        return bytes
    }

    /// Frames for any number of verdicts; for none a frame that only tells the credit.
    package static func acknowledgement(
        _ entries: [Acknowledgement.Entry], credit: UInt16
    ) -> [UInt8] {
        if entries.isEmpty {
            return UplinkFrame.acknowledgement(Acknowledgement(credit: credit, entries: []))
                .encoded()
        }
        var bytes: [UInt8] = []
        split(entries, size: 120) {
            bytes += UplinkFrame.acknowledgement(Acknowledgement(credit: credit, entries: $0))
                .encoded()
        }
        return bytes
    }

    /// `size`: most bytes that one element can take on the wire.
    private static func split<T>(_ all: [T], size: Int, _ body: ([T]) -> Void) {
        let most = UplinkProtocol.largestBody / size - 1
        var start = 0
        while start < all.count {
            let end = min(all.count, start + most)
            body(Array(all[start..<end]))
            start = end
        }
    }
}

extension ByteWriter {
    /// Text cut at a character so that it has at most `limit` bytes.
    fileprivate mutating func limited(_ value: String, _ limit: Int) {
        if value.utf8.count <= limit {
            text(value)
            return
        }
        var cut = ""
        var count = 0
        for character in value.unicodeScalars {
            let width = String(character).utf8.count
            if count + width > limit { break }
            cut.unicodeScalars.append(character)
            count += width
        }
        text(cut)
    }

    fileprivate mutating func welcome(_ welcome: Welcome) {
        i64(welcome.storeTime.milliseconds)
        u16(welcome.credit)
        u32(welcome.largestBatch)
        u32(welcome.knownDevice)
        u32(welcome.knownStream)
        u64(welcome.committed.through)
        let runs = welcome.committed.runs.suffix(UplinkProtocol.committedRuns)
        u16(UInt16(runs.count))
        for run in runs {
            u64(run.lowerBound)
            u64(run.upperBound)
        }
    }

    fileprivate mutating func entry(_ entry: CatalogEntry) {
        switch entry {
        case .device(let device):
            u8(1)
            u32(device.id.rawValue)
            i64(device.firstSeenAt.milliseconds)
            limited(device.identity, UplinkProtocol.nameBytes)
            limited(device.format, UplinkProtocol.nameBytes)
        case .stream(let stream):
            u8(2)
            u32(stream.id.rawValue)
            u32(stream.device.rawValue)
            u8(stream.priority.rawValue)
            limited(stream.name, UplinkProtocol.streamNameBytes)
            limited(stream.quantity, UplinkProtocol.nameBytes)
            limited(stream.unit, UplinkProtocol.nameBytes)
        }
    }

    fileprivate mutating func acknowledgement(_ acknowledgement: Acknowledgement) {
        u16(acknowledgement.credit)
        u16(UInt16(acknowledgement.entries.count))
        for entry in acknowledgement.entries {
            u64(entry.sequence)
            u8(entry.reason.verdict.rawValue)
            u8(entry.reason.rawValue)
            limited(entry.detail, UplinkProtocol.detailBytes)
        }
    }

    fileprivate mutating func query(_ query: Query) {
        let filter = query.filter
        u32(query.token)
        u8((filter.from == nil ? 0 : 1) | (filter.to == nil ? 0 : 2) | (query.after == nil ? 0 : 4))
        i64(filter.from?.milliseconds ?? 0)
        i64(filter.to?.milliseconds ?? 0)
        u32(UInt32(clamping: filter.limit))
        limited(filter.gateway ?? "", UplinkProtocol.nameBytes)
        limited(filter.device ?? "", UplinkProtocol.nameBytes)
        limited(filter.stream ?? "", UplinkProtocol.streamNameBytes)
        position(query.after)
    }

    fileprivate mutating func rows(_ part: Rows) {
        u32(part.token)
        u8(part.hasMore ? 1 : 0)
        u8(part.isEnd ? 1 : 0)
        position(part.rows.last?.position)
        u16(UInt16(part.rows.count))
        for row in part.rows {
            limited(row.gateway, UplinkProtocol.nameBytes)
            limited(row.device, UplinkProtocol.nameBytes)
            limited(row.stream, UplinkProtocol.streamNameBytes)
            limited(row.quantity, UplinkProtocol.nameBytes)
            limited(row.unit, UplinkProtocol.nameBytes)
            position(row.position)
            i64(row.receivedAt.milliseconds)
            u8(row.value.kind.rawValue)
            u8(UInt8(bitPattern: row.value.exponent))
            u64(row.value.bits)
            u16(row.quality.rawValue)
            u64(row.batchSequence)
            u32(row.revision)
        }
    }

    private mutating func position(_ position: RowPosition?) {
        u64(position?.stream ?? 0)
        i64(position?.observedAt.milliseconds ?? 0)
        u64(position?.row ?? 0)
    }
}
