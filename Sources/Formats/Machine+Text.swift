// Reads whose size the bytes themselves tell: up to a terminator, varints (LEB128). And texts that are
// no UTF-8, for the tree only: iconv(3) of the C library turns GB 18030 into UTF-8.

import Glibc
import Model

extension Machine {
    /// Bytes up to `imm`, which is taken, too, but belongs to none.
    mutating func readUntil(_ op: Op) throws(Rejection) {
        let mark = UInt8(truncatingIfNeeded: op.imm)
        guard let end = cursor.first(mark, in: position..<max(position, limit)) else {
            throw overrun
        }
        slots[op.a] = Slot(
            value: 0, start: Int32(truncatingIfNeeded: position),
            end: Int32(truncatingIfNeeded: end), quality: 0, kind: .bytes, plane: plane)
        position = end &+ 1
    }

    /// Whether a whole entry stands next: `width` bytes, a length of x bytes, and as many bytes.
    func hasEntry(_ op: Op) -> Bool {
        let head = Int(op.width) &+ Int(op.x)
        let left = limit &- position
        guard left >= head else { return false }
        let at = position &+ Int(op.width)
        let length =
            op.flags.contains(.little)
            ? cursor.little(at, width: Int(op.x)) : cursor.big(at, width: Int(op.x))
        return (length ?? .max) <= UInt64(left &- head)
    }

    /// Seven bits a byte, lowest first, top bit set in all but the last. x = 1: zigzag, lowest bit is
    /// the sign. More than 64 bits refuse the frame.
    mutating func readVarint(_ op: Op) throws(Rejection) {
        let from = position
        var word: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            guard position < limit, let byte = cursor.byte(position) else { throw overrun }
            position &+= 1
            if shift == 63, byte > 1 { throw .malformed }
            word |= UInt64(byte & 127) << shift
            if byte < 128 { break }
            shift &+= 7
        }
        if op.x == 1 { word = word >> 1 ^ (0 &- (word & 1)) }
        var slot = Slot(
            value: Int64(bitPattern: word), start: Int32(truncatingIfNeeded: from),
            end: Int32(truncatingIfNeeded: position), quality: 0, kind: .integer, plane: plane)
        if op.x == 0, slot.value < 0 { slot.kind = .unsigned }
        slots[op.a] = slot
    }
}

/// GB 18030, of which GBK and GB 2312 are parts. Slow path.
enum GB18030 {
    /// The text without the blanks and zeros at its end. What is no GB 18030, or cannot be converted
    /// because the C library lacks the table, becomes U+FFFD.
    static func text(_ bytes: [UInt8]) -> String {
        var bytes = bytes
        while let last = bytes.last, last == 0 || last == 0x20 { bytes.removeLast() }
        if bytes.allSatisfy({ $0 < 0x80 }) { return String(decoding: bytes, as: UTF8.self) }
        // Safety: both names are NUL-terminated for the call; the result is compared with (iconv_t)-1.
        guard let converter = unsafe iconv_open("UTF-8", "GB18030"),
            UInt(bitPattern: converter) != UInt.max
        else { return fallback(bytes) }
        // Safety: the converter was opened above and is closed once.
        defer { unsafe _ = iconv_close(converter) }
        var output: [UInt8] = []
        var at = 0
        while at < bytes.count {
            // Safety: the converter is open until this function returns.
            let (taken, text) = unsafe convert(converter, bytes[at...])
            output += text
            at += taken
            if at < bytes.count {
                output += Array("\u{FFFD}".utf8)
                at += 1
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Converts as much as is valid: how many bytes that took, and what came out.
    private static func convert(
        _ converter: iconv_t, _ bytes: ArraySlice<UInt8>
    ) -> (taken: Int, text: [UInt8]) {
        var input = bytes.map { CChar(bitPattern: $0) }
        // No character needs more bytes in UTF-8 than twice those in GB 18030.
        var output = [CChar](repeating: 0, count: bytes.count * 2 + 8)
        var left = input.count
        var room = output.count
        // Safety: both buffers live for the call and iconv gets their exact sizes; it advances its own
        // copies of the pointers.
        unsafe input.withUnsafeMutableBufferPointer { source in
            unsafe output.withUnsafeMutableBufferPointer { target in
                var from = source.baseAddress
                var to = target.baseAddress
                unsafe _ = iconv(converter, &from, &left, &to, &room)
            }
        }
        let text = output[..<(output.count - room)].map { UInt8(bitPattern: $0) }
        return (input.count - left, text)
    }

    private static func fallback(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.map { $0 < 0x80 ? $0 : 0xFF }, as: UTF8.self)
    }
}
