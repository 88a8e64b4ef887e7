// Sections: the byte columns of a batch, each deflated on its own. Here are their numbers, the checked
// reader over one expanded section, and how a group of sections becomes bytes and back.
// Invariant: the reader never touches a byte beyond its section, whatever the bytes say.

/// The sections of a batch of planes, in the order in which they are written. A coded batch has the
/// first three and the coded one.
enum Section: Int, CaseIterable {
    /// Tables and the columns of streams and schedules.
    case head
    /// First values of columns.
    case firsts
    /// What is rare: selections, runs of shapes, misfits of decimals.
    case odd
    /// Residuals that did not fit the width of their column.
    case escapes
    /// Residuals of times: one byte each; top plane of wider columns; their lower planes.
    case timeBytes, timeHigh, timeLow
    /// Residuals of values, likewise; those of one byte in four groups by activity.
    case bytes0, bytes1, bytes2, bytes3, high, low
}

extension [UInt8] {
    mutating func putVarint(_ v: UInt64) {
        var rest = v
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(truncatingIfNeeded: rest))
    }

    mutating func putZigzag(_ v: Int64) { putVarint(zigzag(v)) }

    /// `count` varints, the numbers that `value` gives for 0, 1 and so on.
    @inline(__always)
    mutating func putVarints(_ count: Int, _ value: (Int) -> UInt64) {
        var next = 0
        while next < count {
            let end = Swift.min(next &+ 256, count)
            append(addingCapacity: 10 &* (end &- next)) { output in
                for i in next..<end {
                    var rest = value(i)
                    while rest >= 0x80 {
                        output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                        rest &>>= 7
                    }
                    output.append(UInt8(truncatingIfNeeded: rest))
                }
            }
            next = end
        }
    }
}

/// 0, -1, 1, -2 … to 0, 1, 2, 3 …
@inline(__always)
func zigzag(_ v: Int64) -> UInt64 { UInt64(bitPattern: (v &<< 1) ^ (v &>> 63)) }

@inline(__always)
func unzigzag(_ z: UInt64) -> Int64 { Int64(bitPattern: (z &>> 1) ^ (0 &- (z & 1))) }

/// Reads one expanded section.
struct SectionReader {
    let bytes: [UInt8]
    private(set) var offset: Int

    init(_ bytes: [UInt8], from offset: Int = 0) {
        self.bytes = bytes
        self.offset = offset
    }

    var remaining: Int { bytes.count - offset }

    mutating func byte() throws(BatchError) -> UInt8 {
        guard offset < bytes.count else { throw .malformed(at: offset) }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func varint() throws(BatchError) -> UInt64 {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 70 {
            let next = try byte()
            if shift == 63, next > 1 { break }
            result |= UInt64(next & 0x7F) &<< shift
            if next < 0x80 { return result }
            shift += 7
        }
        throw .malformed(at: offset)
    }

    mutating func signed() throws(BatchError) -> Int64 { unzigzag(try varint()) }

    /// A varint of at most `limit`.
    mutating func count(limit: Int) throws(BatchError) -> Int {
        let at = offset
        let v = try varint()
        guard v <= UInt64(max(0, limit)) else { throw .malformed(at: at) }
        return Int(v)
    }

    /// The offset of the next `count` bytes, which are taken.
    mutating func take(_ count: Int) throws(BatchError) -> Int {
        guard count >= 0, count <= remaining else { throw .malformed(at: offset) }
        defer { offset += count }
        return offset
    }
}

/// How the bytes of one section are stored: low two bits of the section's varint.
private enum Storage: UInt64 {
    case plain = 0
    case deflated = 1
    /// The bytes stand in front of the next section's, in its deflate stream.
    case joined = 2
}

/// Below this many expanded bytes one deflate stream for all is tried: a stream's own Huffman table
/// costs 40 to 80 bytes.
private let joinBelow = 6_000

extension Deflater {
    /// A section of more bytes is mostly that of a batch of thousands of streams with few readings each,
    /// where zlib would take more time than all else: it searches less. First values hardly repeat: of
    /// 50,000 the level 3 makes 0.5 % more bytes in 40 % of the time, of the rest level 5 makes 6 % more
    /// in 55 %.
    private static let long = 1 << 14

    /// Appends the sections: for each a varint (size × 4 + storage), for a deflated one a varint of
    /// its deflated size, and its bytes.
    mutating func write(
        _ sections: [[UInt8]], effort: BatchEffort, into output: inout [UInt8]
    ) {
        let start = output.count
        for (number, section) in sections.enumerated() {
            write(section, Section(rawValue: number), effort: effort, into: &output)
        }
        let total = sections.reduce(0) { $0 + $1.count }
        guard total < joinBelow, effort != .stored else { return }
        var joined: [UInt8] = []
        joined.reserveCapacity(total + 64)
        var all: [UInt8] = []
        all.reserveCapacity(total)
        for section in sections { all.append(contentsOf: section) }
        for section in sections.dropLast() {
            joined.putVarint(UInt64(section.count) << 2 | Storage.joined.rawValue)
        }
        let last = sections.last?.count ?? 0
        write(all, .head, announced: last, effort: effort, into: &joined)
        guard joined.count < output.count - start else { return }
        output.removeLast(output.count - start)
        output.append(contentsOf: joined)
    }

    private mutating func write(
        _ section: [UInt8], _ kind: Section?, announced: Int? = nil, effort: BatchEffort,
        into output: inout [UInt8]
    ) {
        let size = UInt64(announced ?? section.count) << 2
        var best: [UInt8] = []
        var limit = section.count
        for (level, strategy) in Deflater.tries(effort, kind, section.count) {
            var packed: [UInt8] = []
            packed.reserveCapacity(limit)
            if let count = compress(
                section, level: level, strategy: strategy, limit: limit, into: &packed)
            {
                best = packed
                limit = count
            }
        }
        if best.isEmpty {
            output.putVarint(size | Storage.plain.rawValue)
            output.append(contentsOf: section)
        } else {
            output.putVarint(size | Storage.deflated.rawValue)
            output.putVarint(UInt64(best.count))
            output.append(contentsOf: best)
        }
    }

    private static func tries(
        _ effort: BatchEffort, _ kind: Section?, _ count: Int
    ) -> [(Int32, Strategy)] {
        // Fewer bytes than a deflate block's own: nothing to win.
        guard count > 8 else { return [] }
        switch effort {
        case .stored: return []
        case .fast: return [(1, .standard)]
        case .normal:
            guard count > Deflater.long else { return [(6, .standard)] }
            return [(kind == .firsts ? 3 : 5, .standard)]
        case .deflated, .best: return [(9, .standard), (9, .filtered), (9, .huffman), (9, .runs)]
        }
    }
}

extension SectionReader {
    /// The expanded sections written by `Deflater.write`, from this reader's place to `end`. `stated`:
    /// bytes that the readings which the batch states may take.
    mutating func sections(
        _ wanted: Int, end: Int, limits: BatchLimits, stated: Int
    ) throws(BatchError) -> [[UInt8]] {
        var inflater = Inflater()
        var result: [[UInt8]] = []
        var pending: [Int] = []
        var total = 0
        while result.count + pending.count < wanted {
            let at = offset
            let word = try varint()
            guard let storage = Storage(rawValue: word & 3) else { throw .malformed(at: at) }
            guard word >> 2 <= UInt64(limits.maximumExpandedBytes - total) else { throw .tooLarge }
            let size = Int(word >> 2)
            total += size
            guard total <= stated else { throw .expandsTooFar }
            let isLast = result.count + pending.count == wanted - 1
            if storage == .joined {
                guard !isLast else { throw .malformed(at: at) }
                pending.append(size)
                continue
            }
            pending.append(size)
            let expanded = try expand(
                storage, count: pending.reduce(0, +), end: end, limits: limits,
                inflater: &inflater)
            var from = 0
            for part in pending {
                result.append(pending.count == 1 ? expanded : Array(expanded[from..<from + part]))
                from += part
            }
            pending.removeAll()
        }
        guard offset <= end else { throw .malformed(at: offset) }
        return result
    }

    private mutating func expand(
        _ storage: Storage, count: Int, end: Int, limits: BatchLimits, inflater: inout Inflater
    ) throws(BatchError) -> [UInt8] {
        let at = offset
        if storage == .plain {
            guard count <= end - offset else { throw .malformed(at: at) }
            let from = try take(count)
            return Array(bytes[from..<from + count])
        }
        let packed = try self.count(limit: end - offset)
        guard packed <= end - offset else { throw .malformed(at: at) }
        // Before the allocation: what deflate cannot have made is not given room.
        guard count / max(1, limits.maximumRatio) <= packed else { throw .tooLarge }
        let from = try take(packed)
        guard let expanded = inflater.expand(bytes, from..<from + packed, count: count) else {
            throw .malformed(at: at)
        }
        return expanded
    }
}
