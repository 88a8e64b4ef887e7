// Fixed-endian bytes for what goes on disk and on the wire. Everything is little-endian; a reader never
// traps on what it is given.

/// Appends little-endian integers, LEB128 varints and length-prefixed text to a byte array.
public struct ByteWriter {
    public private(set) var bytes: [UInt8] = []

    public init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    public mutating func u8(_ v: UInt8) { bytes.append(v) }
    public mutating func u16(_ v: UInt16) { integer(v) }
    public mutating func u32(_ v: UInt32) { integer(v) }
    public mutating func u64(_ v: UInt64) { integer(v) }
    public mutating func i64(_ v: Int64) { integer(UInt64(bitPattern: v)) }

    public mutating func varint(_ v: UInt64) {
        var rest = v
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// A varint length and the bytes.
    public mutating func blob(_ v: [UInt8]) {
        varint(UInt64(v.count))
        bytes.append(contentsOf: v)
    }

    public mutating func text(_ v: String) { blob(Array(v.utf8)) }
    public mutating func raw(_ v: some Sequence<UInt8>) { bytes.append(contentsOf: v) }

    public mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    /// Overwrites four bytes at `offset` that were written before.
    public mutating func patch(u32 v: UInt32, at offset: Int) {
        for i in 0..<4 { bytes[offset + i] = UInt8(truncatingIfNeeded: v >> UInt32(8 * i)) }
    }

    private mutating func integer<T: FixedWidthInteger>(_ v: T) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: v >> T(shift)))
        }
    }
}

/// The bytes ended early or a length was larger than its limit.
public struct ShortBytes: Error, Hashable, Sendable {
    public var offset: Int
    public init(offset: Int) { self.offset = offset }
}

/// Reads what `ByteWriter` wrote; every step is checked against the bytes that are there.
public struct ByteReader {
    public let bytes: [UInt8]
    public private(set) var offset: Int
    public let end: Int

    public init(_ bytes: [UInt8], from offset: Int = 0) {
        self.bytes = bytes
        self.offset = min(max(0, offset), bytes.count)
        end = bytes.count
    }

    public var remaining: Int { end - offset }

    public mutating func u8() throws(ShortBytes) -> UInt8 { try integer() }
    public mutating func u16() throws(ShortBytes) -> UInt16 { try integer() }
    public mutating func u32() throws(ShortBytes) -> UInt32 { try integer() }
    public mutating func u64() throws(ShortBytes) -> UInt64 { try integer() }
    public mutating func i64() throws(ShortBytes) -> Int64 { Int64(bitPattern: try integer()) }

    public mutating func varint() throws(ShortBytes) -> UInt64 {
        var result: UInt64 = 0
        for index in 0..<10 {
            let byte = try u8()
            if index == 9, byte > 1 { break }
            result |= UInt64(byte & 0x7F) << UInt64(7 * index)
            if byte < 0x80 { return result }
        }
        throw ShortBytes(offset: offset)
    }

    /// A varint length of at most `limit` and that many bytes.
    public mutating func blob(limit: Int) throws(ShortBytes) -> [UInt8] {
        let count = try varint()
        guard count <= UInt64(limit), count <= UInt64(remaining) else {
            throw ShortBytes(offset: offset)
        }
        return try raw(Int(count))
    }

    /// UTF-8 text of at most `limit` bytes; invalid sequences become U+FFFD.
    public mutating func text(limit: Int) throws(ShortBytes) -> String {
        String(decoding: try blob(limit: limit), as: UTF8.self)
    }

    public mutating func raw(_ count: Int) throws(ShortBytes) -> [UInt8] {
        guard count >= 0, count <= remaining else { throw ShortBytes(offset: offset) }
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    private mutating func integer<T: FixedWidthInteger>() throws(ShortBytes) -> T {
        let width = T.bitWidth / 8
        guard remaining >= width else { throw ShortBytes(offset: offset) }
        var v: T = 0
        for i in 0..<width { v |= T(truncatingIfNeeded: bytes[offset + i]) << T(8 * i) }
        offset += width
        return v
    }
}

/// CRC-32 as zlib and Ethernet have it (ISO 3309; polynomial 0xEDB88320 reflected, init and xorout
/// all ones), eight bytes a step. Here because journal, batches and uplink all carry it while zlib has
/// one importer.
public struct CRC32: Sendable {
    private var state: UInt32 = 0xFFFF_FFFF

    public init() {}

    public static func of(_ bytes: Span<UInt8>) -> UInt32 {
        var crc = CRC32()
        crc.update(bytes)
        return crc.value
    }

    public static func of(_ bytes: [UInt8]) -> UInt32 { of(bytes.span) }

    public var value: UInt32 { ~state }

    public mutating func update(_ bytes: Span<UInt8>) {
        let table = CRC32.table.span
        var c = state
        var i = 0
        while i &+ 8 <= bytes.count {
            let a =
                c
                ^ (UInt32(bytes[i]) | UInt32(bytes[i &+ 1]) << 8 | UInt32(bytes[i &+ 2]) << 16
                    | UInt32(bytes[i &+ 3]) << 24)
            c = table[1792 &+ Int(a & 255)] ^ table[1536 &+ Int(a >> 8 & 255)]
            c ^= table[1280 &+ Int(a >> 16 & 255)] ^ table[1024 &+ Int(a >> 24)]
            c ^= table[768 &+ Int(bytes[i &+ 4])] ^ table[512 &+ Int(bytes[i &+ 5])]
            c ^= table[256 &+ Int(bytes[i &+ 6])] ^ table[Int(bytes[i &+ 7])]
            i &+= 8
        }
        while i < bytes.count {
            c = table[Int((c ^ UInt32(bytes[i])) & 255)] ^ (c >> 8)
            i &+= 1
        }
        state = c
    }

    /// table[256·k + b]: the CRC of byte b followed by k zero bytes.
    private static let table: [UInt32] = {
        var t = [UInt32](repeating: 0, count: 2048)
        for b in 0..<256 {
            var c = UInt32(b)
            for _ in 0..<8 { c = c & 1 == 1 ? 0xEDB8_8320 ^ (c >> 1) : c >> 1 }
            t[b] = c
        }
        for k in 1..<8 {
            for b in 0..<256 {
                let before = t[256 * (k - 1) + b]
                t[256 * k + b] = t[Int(before & 255)] ^ (before >> 8)
            }
        }
        return t
    }()
}
