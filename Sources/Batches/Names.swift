// Stream names inside a batch (flag bit 0), for `sluice batch`: a gateway's batches have numbers only, a
// file that travels alone says what they stand for. Names like `device/quantity` repeat both halves, so
// each half stands once. Values only.
//
//     varint devices, varint quantities, so many lines of bytes each ended by 0A,
//     for each stream in rising order of number: zigzag (device - device of the stream before; -1 before
//     the first), then for each: zigzag (quantity - 1 - quantity before, -1 before the first); 0 is none

package import Model

extension BatchCodec {
    /// A batch of its own with the names of its streams: `names[i]` is that of stream number i.
    /// Names hold no line feed and every stream has one: else a programmer's error.
    package static func encode(
        _ readings: [Reading], names: [[UInt8]], effort: BatchEffort = .best
    ) -> [UInt8] {
        var used = [Bool](repeating: false, count: names.count)
        for reading in readings { used[Int(reading.stream.rawValue)] = true }
        let first = readings.map(\.observedAt).min() ?? Timestamp(milliseconds: 0)
        var encoder = BatchEncoder()
        return encoder.encode(
            readings.span, bucketStart: first, bucketMilliseconds: 0, revision: 0, priority: .live,
            effort: effort, names: names.indices.filter { used[$0] }.map { names[$0] }
        ).bytes
    }

    /// A batch and the names of its streams in rising order of number; a batch without names has none.
    package static func decodeNamed(
        _ bytes: [UInt8], limits: BatchLimits = BatchLimits()
    ) throws(BatchError) -> (batch: DecodedBatch, names: [[UInt8]]) {
        try decode(bytes, limits: limits, withNames: true)
    }
}

enum Names {
    private static let slash = UInt8(ascii: "/")
    private static let lineFeed: UInt8 = 0x0A

    static func encoded(_ names: [[UInt8]]) -> [UInt8] {
        var devices: [[UInt8]: Int] = [:]
        var quantities: [[UInt8]: Int] = [:]
        var lines: (devices: [UInt8], quantities: [UInt8]) = ([], [])
        var pairs: [(device: Int, quantity: Int)] = []
        for name in names {
            precondition(!name.contains(lineFeed), "a name has one line")
            let cut = name.lastIndex(of: slash)
            let device = Array(name[..<(cut ?? name.count)])
            let number = devices[device] ?? devices.count
            if number == devices.count {
                devices[device] = number
                lines.devices += device + [lineFeed]
            }
            var which = 0
            if let cut {
                let quantity = Array(name[(cut + 1)...])
                which = quantities[quantity] ?? quantities.count + 1
                if which > quantities.count {
                    quantities[quantity] = which
                    lines.quantities += quantity + [lineFeed]
                }
            }
            pairs.append((number, which))
        }
        var bytes: [UInt8] = []
        bytes.putVarint(UInt64(devices.count))
        bytes.putVarint(UInt64(quantities.count))
        bytes += lines.devices + lines.quantities
        var last = -1
        for pair in pairs {
            bytes.putZigzag(Int64(pair.device - last))
            last = pair.device
        }
        last = -1
        for pair in pairs {
            bytes.putZigzag(Int64(pair.quantity - 1 - last))
            last = pair.quantity
        }
        return bytes
    }

    /// The names of `count` streams; together at most `limit` bytes.
    static func decoded(
        _ bytes: [UInt8], count: Int, limit: Int
    ) throws(BatchError) -> [[UInt8]] {
        var reader = SectionReader(bytes)
        let devices = try reader.count(limit: bytes.count)
        let quantities = try reader.count(limit: bytes.count)
        var lines: [[UInt8]] = []
        for _ in 0..<devices + quantities {
            var line: [UInt8] = []
            while true {
                let byte = try reader.byte()
                if byte == lineFeed { break }
                line.append(byte)
            }
            lines.append(line)
        }
        var names: [[UInt8]] = []
        var left = limit
        var last: Int64 = -1
        for _ in 0..<count {
            last = last &+ (try reader.signed())
            guard last >= 0, last < Int64(devices) else { throw .malformed(at: reader.offset) }
            left -= lines[Int(last)].count
            guard left >= 0 else { throw .tooLarge }
            names.append(lines[Int(last)])
        }
        last = -1
        for i in 0..<count {
            last = last &+ 1 &+ (try reader.signed())
            guard last >= 0, last <= Int64(quantities) else { throw .malformed(at: reader.offset) }
            guard last > 0 else { continue }
            let quantity = lines[devices + Int(last) - 1]
            left -= quantity.count + 1
            guard left >= 0 else { throw .tooLarge }
            names[i] += [slash] + quantity
        }
        guard reader.remaining == 0 else { throw .malformed(at: reader.offset) }
        return names
    }
}
