// The fence around memory: every unsafe load and store of Formats stands here, in BytePlane.swift and
// in Tables.swift, each behind its own bounds check, so that the rest of the room is memory-safe
// whatever a frame holds. One unaligned 8-byte load decodes a header about four times faster than
// byte-wise `Span` access (design.md section 8). Owned by one decoder, used on its queue only.
//
// Invariant: a `Cursor` lives no longer than the call it is made for (frames) or than its `BytePlane`
// (scratch).

import Glibc
import Model

/// Borrowed bytes with checked loads of 1 to 8 bytes; nil when a load would leave the bytes.
@safe struct Cursor {
    /// For the fence only.
    let base: UnsafePointer<UInt8>
    let count: Int

    /// For the fence only.
    init(base: UnsafePointer<UInt8>, count: Int) {
        // Safety: the callers below lend `count` bytes for the time of one call.
        unsafe self.base = base
        self.count = count
    }

    /// Calls `body` with a cursor over `bytes`; the cursor must not outlive the call.
    @inline(__always)
    static func over<R, E: Error>(
        _ bytes: Span<UInt8>, _ body: (Cursor) throws(E) -> R
    ) throws(E) -> R {
        // Safety: the buffer is valid for the closure's duration, in which the cursor lives.
        try unsafe bytes.withUnsafeBufferPointer { (buffer) throws(E) -> R in
            guard let base = buffer.baseAddress else {
                return try body(Cursor.empty)
            }
            return try body(unsafe Cursor(base: base, count: buffer.count))
        }
    }

    /// No bytes: every load fails its bounds check before it touches memory.
    static var empty: Cursor {
        // Safety: count 0 lets no load through, so the address is never read; 8 is not null.
        unsafe Cursor(base: UnsafePointer(bitPattern: 8)!, count: 0)
    }

    @inline(__always)
    func byte(_ offset: Int) -> UInt8? {
        guard offset >= 0, offset < count else { return nil }
        // Safety: 0 <= offset < count, checked in the line above.
        return unsafe base[offset]
    }

    /// `width` (1...8) bytes, most significant first.
    @inline(__always)
    func big(_ offset: Int, width: Int) -> UInt64? {
        guard offset >= 0, width >= 1, width <= 8, offset <= count &- width else { return nil }
        if count >= 8 {
            let from = min(offset, count &- 8)
            // Safety: 0 <= from and from + 8 <= count, from the lines above.
            let word = unsafe UnsafeRawPointer(base + from).loadUnaligned(as: UInt64.self)
            let behind =
                UInt64(bigEndian: word) &<< UInt64(truncatingIfNeeded: 8 &* (offset &- from))
            return behind &>> UInt64(truncatingIfNeeded: 64 &- 8 &* width)
        }
        var word: UInt64 = 0
        for i in 0..<width {
            // Safety: offset + i < offset + width <= count, checked at the start.
            word = word << 8 | UInt64(unsafe base[offset &+ i])
        }
        return word
    }

    /// Eight bytes; nil when they would leave the bytes.
    @inline(__always)
    func word(_ at: Int, isLittle: Bool) -> UInt64? {
        guard at >= 0, at <= count &- 8 else { return nil }
        // Safety: 0 <= at and at + 8 <= count, from the line above.
        let word = unsafe UnsafeRawPointer(base + at).loadUnaligned(as: UInt64.self)
        return isLittle ? UInt64(littleEndian: word) : UInt64(bigEndian: word)
    }

    /// Whether no byte of `range` has its highest bit set; false when the range leaves the bytes.
    @inline(__always)
    func isASCII(_ range: Range<Int>) -> Bool {
        var at = range.lowerBound
        while at < range.upperBound {
            let width = min(8, range.upperBound &- at)
            guard let word = big(at, width: width), word & 0x8080_8080_8080_8080 == 0 else {
                return false
            }
            at &+= width
        }
        return true
    }

    /// `width` (1...8) bytes, least significant first.
    @inline(__always)
    func little(_ offset: Int, width: Int) -> UInt64? {
        guard let word = big(offset, width: width) else { return nil }
        return word.byteSwapped >> UInt64(truncatingIfNeeded: 64 &- 8 &* width)
    }

    /// Where `byte` first stands in `range`, cut to what is there.
    func first(_ byte: UInt8, in range: Range<Int>) -> Int? {
        let range = range.clamped(to: 0..<count)
        guard !range.isEmpty else { return nil }
        // Safety: the range is inside 0..<count after clamping; memchr reads no further.
        let found = unsafe memchr(base + range.lowerBound, Int32(byte), range.count)
        guard let found = unsafe found else { return nil }
        return unsafe UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }

    /// The same bytes, ending before `end` at the latest.
    func upTo(_ end: Int) -> Cursor {
        // Safety: the count only shrinks.
        unsafe Cursor(base: base, count: min(count, max(0, end)))
    }

    /// The bytes of `range`, which must lie inside, as a cursor of their own; empty when it does not.
    @inline(__always)
    func part(_ range: Range<Int>) -> Cursor {
        guard range.lowerBound >= 0, range.upperBound <= count, !range.isEmpty else {
            return .empty
        }
        // Safety: the range lies in 0..<count, checked above; the part lives no longer than the whole.
        return unsafe Cursor(base: base + range.lowerBound, count: range.count)
    }

    /// The bytes of `range` cut to what is there; allocates, for the slow paths.
    func bytes(_ range: Range<Int>) -> [UInt8] {
        let range = range.clamped(to: 0..<count)
        // Safety: the range is inside 0..<count after clamping.
        return unsafe Array(UnsafeBufferPointer(start: base + range.lowerBound, count: range.count))
    }

    /// Sum of the bytes of `range` modulo 256; nil when the range leaves the bytes.
    func sum8(_ range: Range<Int>) -> UInt8? {
        fold(range, { $0.addingBytes($1) }, { $0.sumOfBytes })
    }

    func xor8(_ range: Range<Int>) -> UInt8? {
        fold(range, { $0 ^ $1 }, { $0.xorOfBytes })
    }

    /// All words of `range` put together, the last one filled up with zeros; nil when the range leaves
    /// the bytes.
    @inline(__always)
    private func fold(
        _ range: Range<Int>, _ both: (UInt64, UInt64) -> UInt64, _ whole: (UInt64) -> UInt8
    ) -> UInt8? {
        guard range.lowerBound >= 0, range.upperBound <= count else { return nil }
        var words: UInt64 = 0
        var at = range.lowerBound
        while at &+ 8 <= range.upperBound {
            words = both(words, eight(at))
            at &+= 8
        }
        if at < range.upperBound {
            words = both(words, big(at, width: range.upperBound &- at) ?? 0)
        }
        return whole(words)
    }

    /// Eight bytes from `at` on, the first of them most significant.
    @inline(__always)
    private func eight(_ at: Int) -> UInt64 {
        precondition(at >= 0 && at <= count &- 8)
        // Safety: the line above.
        return UInt64(bigEndian: unsafe UnsafeRawPointer(base + at).loadUnaligned(as: UInt64.self))
    }

    /// CRC over `range`; nil when the range leaves the bytes.
    func crc16(_ range: Range<Int>, rule: CRC16Rule) -> UInt16? {
        guard range.lowerBound >= 0, range.upperBound <= count else { return nil }
        var crc = rule.start
        var i = range.lowerBound
        let odd = range.count & 7
        if odd == 1 {
            crc = rule.step(crc, byte(i) ?? 0)
        } else if odd > 1 {
            crc = rule.first(big(i, width: odd) ?? 0, count: odd)
        }
        i &+= odd
        while i < range.upperBound {
            crc = rule.step8(crc, eight(i))
            i &+= 8
        }
        return crc ^ rule.final
    }
}
