// Bodies to frames, every field checked against the bytes that are there and its limit; bytes left
// over are a fault (protocols/uplink.md). Nothing is reserved for an announced count.

import Model

extension UplinkFrame {
    /// Reads a body whose checksum was right.
    init(kind: Kind, body: [UInt8]) throws(WireError) {
        var reader = ByteReader(body)
        do throws(ShortBytes) {
            self = try UplinkFrame.read(kind, &reader)
        } catch {
            throw .malformed(kind: kind.rawValue, at: error.offset)
        }
        guard reader.remaining == 0 else {
            throw .malformed(kind: kind.rawValue, at: reader.offset)
        }
    }

    private static func read(
        _ kind: Kind, _ reader: inout ByteReader
    ) throws(ShortBytes) -> UplinkFrame {
        switch kind {
        case .hello: return .hello(try reader.hello())
        case .welcome: return .welcome(try reader.welcome())
        case .entries:
            var entries: [CatalogEntry] = []
            for _ in 0..<(try reader.u16()) { entries.append(try reader.entry()) }
            return .entries(entries)
        case .batch: return .batch(try reader.batch())
        case .acknowledgement: return .acknowledgement(try reader.acknowledgement())
        case .ping: return .ping(token: try reader.u64())
        case .pong:
            return .pong(
                token: try reader.u64(), storeTime: try reader.timestamp(),
                credit: try reader.u16())
        case .query: return .query(try reader.query())
        case .rows: return .rows(try reader.rows())
        case .goodbye:
            // A code of a later version still parts in peace.
            let code = Goodbye.Code(rawValue: try reader.u8()) ?? .closing
            return .goodbye(Goodbye(code, try reader.clean(limit: UplinkProtocol.reasonBytes)))
        }
    }
}

extension ByteReader {
    fileprivate var fault: ShortBytes { ShortBytes(offset: offset) }

    fileprivate mutating func timestamp() throws(ShortBytes) -> Timestamp {
        Timestamp(milliseconds: try i64())
    }

    /// Text in which control characters became U+FFFD, for it is shown to people.
    fileprivate mutating func clean(limit: Int) throws(ShortBytes) -> String {
        let read = try text(limit: limit)
        guard read.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F || $0 == 0xC2 }) else {
            return read
        }
        var result = ""
        for scalar in read.unicodeScalars {
            let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            result.unicodeScalars.append(isControl ? "\u{FFFD}" : scalar)
        }
        return result
    }

    fileprivate mutating func flags(_ most: UInt8) throws(ShortBytes) -> UInt8 {
        let flags = try u8()
        guard flags <= most else { throw fault }
        return flags
    }

    fileprivate mutating func priority() throws(ShortBytes) -> Priority {
        guard let priority = Priority(rawValue: try u8()) else { throw fault }
        return priority
    }

    fileprivate mutating func hello() throws(ShortBytes) -> Hello {
        guard let role = PeerRole(rawValue: try u8()), try u8() == 0,
            let incarnation = Incarnation(try raw(16))
        else { throw fault }
        let name = try text(limit: UplinkProtocol.nameBytes)
        guard UplinkProtocol.isName(name) else { throw fault }
        return Hello(
            role: role, incarnation: incarnation, name: name,
            software: try clean(limit: UplinkProtocol.nameBytes))
    }

    fileprivate mutating func welcome() throws(ShortBytes) -> Welcome {
        let storeTime = try timestamp()
        let credit = try u16()
        let largest = try u32()
        let device = try u32()
        let stream = try u32()
        let through = try u64()
        let count = try u16()
        guard Int(count) <= UplinkProtocol.committedRuns else { throw fault }
        var runs: [ClosedRange<UInt64>] = []
        var last = through
        for _ in 0..<count {
            let lower = try u64()
            let upper = try u64()
            // Rising and never touching: at least one sequence lies between two runs.
            let (gap, overflow) = last.addingReportingOverflow(1)
            guard !overflow, lower > gap, upper >= lower else { throw fault }
            runs.append(lower...upper)
            last = upper
        }
        return Welcome(
            storeTime: storeTime, credit: credit, largestBatch: largest, knownDevice: device,
            knownStream: stream, committed: CommittedSet(through: through, runs: runs))
    }

    fileprivate mutating func entry() throws(ShortBytes) -> CatalogEntry {
        switch try u8() {
        case 1:
            let id = try u32()
            let firstSeenAt = try timestamp()
            let identity = try clean(limit: UplinkProtocol.nameBytes)
            let format = try clean(limit: UplinkProtocol.nameBytes)
            guard id > 0, !identity.isEmpty else { throw fault }
            return .device(
                Device(
                    id: DeviceID(id), identity: identity, format: format, firstSeenAt: firstSeenAt))
        case 2:
            let id = try u32()
            let device = try u32()
            let lane = try priority()
            let name = try clean(limit: UplinkProtocol.streamNameBytes)
            let quantity = try clean(limit: UplinkProtocol.nameBytes)
            let unit = try clean(limit: UplinkProtocol.nameBytes)
            guard id > 0, device > 0, !name.isEmpty else { throw fault }
            return .stream(
                Stream(
                    id: StreamID(id), device: DeviceID(device), name: name, quantity: quantity,
                    unit: unit, priority: lane))
        default: throw fault
        }
    }

    fileprivate mutating func batch() throws(ShortBytes) -> BatchFrame {
        let sequence = try u64()
        let lane = try priority()
        let readings = try u32()
        let crc = try u32()
        // SQLite's integers end at 2^63 - 1.
        guard sequence > 0, sequence <= UInt64(Int64.max) else { throw fault }
        return BatchFrame(
            sequence: sequence, priority: lane, readings: readings, crc: crc,
            bytes: try raw(remaining))
    }

    fileprivate mutating func acknowledgement() throws(ShortBytes) -> Acknowledgement {
        let credit = try u16()
        let count = try u16()
        guard Int(count) <= UplinkProtocol.acknowledgementEntries else { throw fault }
        var entries: [Acknowledgement.Entry] = []
        for _ in 0..<count {
            let sequence = try u64()
            let verdict = try u8()
            guard let reason = VerdictReason(rawValue: try u8()),
                reason.verdict.rawValue == verdict
            else { throw fault }
            entries.append(
                Acknowledgement.Entry(
                    sequence: sequence, reason: reason,
                    detail: try clean(limit: UplinkProtocol.detailBytes)))
        }
        return Acknowledgement(credit: credit, entries: entries)
    }

    fileprivate mutating func query() throws(ShortBytes) -> Query {
        let token = try u32()
        let set = try flags(7)
        let from = try timestamp()
        let to = try timestamp()
        let limit = try u32()
        let gateway = try text(limit: UplinkProtocol.nameBytes)
        let device = try text(limit: UplinkProtocol.nameBytes)
        let stream = try text(limit: UplinkProtocol.streamNameBytes)
        let after = try position()
        let filter = QueryFilter(
            gateway: gateway.isEmpty ? nil : gateway, device: device.isEmpty ? nil : device,
            stream: stream.isEmpty ? nil : stream, from: set & 1 == 0 ? nil : from,
            to: set & 2 == 0 ? nil : to, limit: Int(limit))
        return Query(token: token, filter: filter, after: set & 4 == 0 ? nil : after)
    }

    fileprivate mutating func rows() throws(ShortBytes) -> Rows {
        let token = try u32()
        let hasMore = try flags(1) == 1
        let isEnd = try flags(1) == 1
        _ = try position()
        let count = try u16()
        var rows: [StoredReading] = []
        for _ in 0..<count { rows.append(try row()) }
        return Rows(token: token, hasMore: hasMore, isEnd: isEnd, rows: rows)
    }

    private mutating func row() throws(ShortBytes) -> StoredReading {
        let gateway = try clean(limit: UplinkProtocol.nameBytes)
        let device = try clean(limit: UplinkProtocol.nameBytes)
        let stream = try clean(limit: UplinkProtocol.streamNameBytes)
        let quantity = try clean(limit: UplinkProtocol.nameBytes)
        let unit = try clean(limit: UplinkProtocol.nameBytes)
        let place = try position()
        let receivedAt = try timestamp()
        guard let kind = Value.Kind(rawValue: try u8()) else { throw fault }
        let exponent = Int8(bitPattern: try u8())
        let bits = try u64()
        return StoredReading(
            gateway: gateway, device: device, stream: stream, quantity: quantity, unit: unit,
            position: place, receivedAt: receivedAt,
            value: Value(kind: kind, exponent: exponent, bits: bits),
            quality: Quality(rawValue: try u16()), batchSequence: try u64(), revision: try u32())
    }

    private mutating func position() throws(ShortBytes) -> RowPosition {
        RowPosition(stream: try u64(), observedAt: try timestamp(), row: try u64())
    }
}
