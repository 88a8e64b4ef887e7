// The door of the batch codec: header, checksum, and what is inside in one drawing. Stateless; any
// queue. protocols/batch.md says the same byte by byte, with every column.
//
//     0      version u8 = 2
//     1..3   magic 53 4C 42 "SLB"
//     4      flags u8: bit 0 stream names follow the sections (`sluice batch`), bit 1 coded
//     5      priority u8
//     6..    varints: count, revision, zigzag bucketStart, bucketMilliseconds,
//            zigzag (firstObservedAt - bucketStart), lastObservedAt - firstObservedAt
//     ..     sections: head firsts odd, and coded: varint size, bytes of the range coder; else: escapes
//            timeBytes timeHigh timeLow bytes0 bytes1 bytes2 bytes3 high low; each that is not coded:
//            varint (size × 4 + storage), [varint deflated size], bytes
//     last 4 CRC-32 (ISO 3309), little-endian, over everything before it

package import Model

package enum BatchCodec {
    static let version: UInt8 = 2
    static let magic: [UInt8] = [0x53, 0x4C, 0x42]
    /// Fixed header, six one-byte varints, four empty sections, checksum.
    private static let minimumBytes = 6 + 6 + 4 + 4

    struct Flags: OptionSet {
        let rawValue: UInt8
        static let names = Flags(rawValue: 1)
        static let coded = Flags(rawValue: 2)
    }

    /// A batch of its own of 1...1,000,000 readings in order of arrival. The readings' count and
    /// times in its info are found here. A mark among them is a programmer's error.
    package static func encode(
        _ readings: [Reading], bucketStart: Timestamp, bucketMilliseconds: Int64,
        revision: UInt32, priority: Priority, effort: BatchEffort = .normal
    ) -> SealedBatch {
        var encoder = BatchEncoder()
        return encoder.encode(
            readings.span, bucketStart: bucketStart, bucketMilliseconds: bucketMilliseconds,
            revision: revision, priority: priority, effort: effort)
    }

    /// The readings back, bit for bit. Checks the checksum first, never traps, and allocates no more
    /// than `limits` and the bytes' own content justify.
    package static func decode(
        _ bytes: [UInt8], limits: BatchLimits = BatchLimits()
    ) throws(BatchError) -> DecodedBatch {
        try decode(bytes, limits: limits, withNames: false).batch
    }

    static func decode(
        _ bytes: [UInt8], limits: BatchLimits, withNames: Bool
    ) throws(BatchError) -> (batch: DecodedBatch, names: [[UInt8]]) {
        let (info, flags, body) = try header(bytes)
        guard withNames || !flags.contains(.names) else {
            throw .unsupported(flags: flags.rawValue)
        }
        guard info.readings <= limits.maximumReadings else { throw .tooLarge }
        var reader = SectionReader(bytes, from: body)
        let end = bytes.count - 4
        let stated = limits.allowed(readings: info.readings)
        let columns: ColumnDecoder
        let sections: [[UInt8]]
        if flags.contains(.coded) {
            sections = try reader.sections(3, end: end, limits: limits, stated: stated)
            let size = try reader.count(limit: end - reader.offset)
            let from = try reader.take(size)
            columns = ColumnDecoder(
                coded: Array(bytes[from..<from + size]), readings: info.readings, limits: limits)
        } else {
            sections = try reader.sections(
                Section.allCases.count, end: end, limits: limits, stated: stated)
            columns = ColumnDecoder(planes: sections)
        }
        let named =
            flags.contains(.names)
            ? try reader.sections(1, end: end, limits: limits, stated: .max)[0] : []
        guard reader.offset == end else { throw .malformed(at: reader.offset) }
        var decoder = BatchDecoder(sections, columns: columns, info: info)
        let batch = DecodedBatch(info: info, readings: try decoder.decode())
        guard flags.contains(.names) else { return (batch, []) }
        let names = try Names.decoded(
            named, count: decoder.streamCount, limit: limits.maximumExpandedBytes)
        return (batch, names)
    }

    /// What the header says; the checksum over the whole batch is checked, the content is not.
    package static func info(_ bytes: [UInt8]) throws(BatchError) -> BatchInfo {
        try header(bytes).info
    }

    static func putHeader(_ info: BatchInfo, flags: Flags, into output: inout [UInt8]) {
        output.append(version)
        output.append(contentsOf: magic)
        output.append(flags.rawValue)
        output.append(info.priority.rawValue)
        output.putVarint(UInt64(info.readings))
        output.putVarint(UInt64(info.revision))
        output.putZigzag(info.bucketStart.milliseconds)
        output.putVarint(UInt64(bitPattern: info.bucketMilliseconds))
        let first = info.firstObservedAt.milliseconds
        output.putZigzag(first &- info.bucketStart.milliseconds)
        output.putVarint(UInt64(bitPattern: info.lastObservedAt.milliseconds &- first))
    }

    static func putChecksum(into output: inout [UInt8]) {
        let crc = checksum(output, 0..<output.count)
        for shift in stride(from: UInt32(0), to: 32, by: 8) {
            output.append(UInt8(truncatingIfNeeded: crc >> shift))
        }
    }

    private static func header(
        _ bytes: [UInt8]
    ) throws(BatchError) -> (info: BatchInfo, flags: Flags, body: Int) {
        guard bytes.count >= minimumBytes else { throw .truncated }
        guard bytes[1] == magic[0], bytes[2] == magic[1], bytes[3] == magic[2] else {
            throw .badMagic
        }
        guard bytes[0] == version else { throw .badVersion(bytes[0]) }
        let end = bytes.count - 4
        var crc: UInt32 = 0
        for i in 0..<4 { crc |= UInt32(bytes[end + i]) << UInt32(8 * i) }
        guard crc == checksum(bytes, 0..<end) else { throw .badChecksum }
        guard bytes[4] < 4 else { throw .unsupported(flags: bytes[4]) }
        guard let priority = Priority(rawValue: bytes[5]) else { throw .malformed(at: 5) }
        var reader = SectionReader(bytes, from: 6)
        let count = try reader.varint()
        guard count > 0 else { throw .malformed(at: 6) }
        let revision = try reader.varint()
        let start = try reader.signed()
        let width = Int64(bitPattern: try reader.varint())
        let first = start &+ (try reader.signed())
        let last = first &+ Int64(bitPattern: try reader.varint())
        guard let revision = UInt32(exactly: revision), width >= 0, first <= last,
            reader.offset <= end
        else { throw .malformed(at: reader.offset) }
        let info = BatchInfo(
            bucketStart: Timestamp(milliseconds: start), bucketMilliseconds: width,
            revision: revision, readings: Int(clamping: count),
            firstObservedAt: Timestamp(milliseconds: first),
            lastObservedAt: Timestamp(milliseconds: last), priority: priority)
        return (info, Flags(rawValue: bytes[4]), reader.offset)
    }
}
