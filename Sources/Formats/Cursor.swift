// The fence around memory: the unsafe loads and stores of Formats stand here and, for tables of rows,
// in Tables.swift, each behind its own bounds check, so that the rest of the room is memory-safe
// whatever a frame holds. One unaligned 8-byte load decodes a header about four times faster than
// byte-wise `Span` access (design.md section 8). Owned by one decoder, used on its queue only.
//
// Invariants: a `Cursor` lives no longer than the call it is made for (frames) or than its
// `BytePlane` (scratch); slot numbers are masked, so none is out of range.

import Glibc
import Model

/// Borrowed bytes with checked loads of 1 to 8 bytes; nil when a load would leave the bytes.
@safe struct Cursor {
    fileprivate let base: UnsafePointer<UInt8>
    let count: Int

    fileprivate init(base: UnsafePointer<UInt8>, count: Int) {
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
        if offset <= count &- 8 {
            // Safety: offset + 8 <= count, checked in the line above.
            let word = unsafe UnsafeRawPointer(base + offset).loadUnaligned(as: UInt64.self)
            return UInt64(bigEndian: word) >> UInt64(truncatingIfNeeded: 64 &- 8 &* width)
        }
        var word: UInt64 = 0
        for i in 0..<width {
            // Safety: offset + i < offset + width <= count, checked at the start.
            word = word << 8 | UInt64(unsafe base[offset &+ i])
        }
        return word
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
        guard range.lowerBound >= 0, range.upperBound <= count else { return nil }
        var sum: UInt8 = 0
        for i in range {
            // Safety: range lies in 0..<count, checked above.
            sum &+= unsafe base[i]
        }
        return sum
    }

    func xor8(_ range: Range<Int>) -> UInt8? {
        guard range.lowerBound >= 0, range.upperBound <= count else { return nil }
        var sum: UInt8 = 0
        for i in range {
            // Safety: range lies in 0..<count, checked above.
            sum ^= unsafe base[i]
        }
        return sum
    }

    /// CRC over `range`; nil when the range leaves the bytes.
    func crc16(_ range: Range<Int>, rule: CRC16Rule) -> UInt16? {
        guard range.lowerBound >= 0, range.upperBound <= count else { return nil }
        var crc = rule.start
        var i = range.lowerBound
        while i &+ 8 <= range.upperBound {
            crc = rule.step8(crc, big(i, width: 8) ?? 0)
            i &+= 8
        }
        while i < range.upperBound {
            crc = rule.step(crc, byte(i) ?? 0)
            i &+= 1
        }
        return crc ^ rule.final
    }
}

/// Where a captured field keeps its value and the bytes it came from.
struct Slot {
    enum Kind: UInt8 {
        /// `decimal`: an integer times the power of ten in `exponent`.
        case integer, unsigned, double, none, bytes, time, decimal
    }

    /// Integer, bit pattern of a double or unsigned, or UTC milliseconds.
    var value: Int64 = 0
    /// Bytes of the field within its plane.
    var start: Int32 = 0
    var end: Int32 = 0
    /// Raw `Quality`.
    var quality: UInt16 = 0
    var kind = Kind.integer
    /// 0 = the frame, n = scratch plane n - 1.
    var plane: UInt8 = 0
    var exponent: Int8 = 0
}

/// A fixed file of slots. Not thread-safe; one a decoder.
@safe struct SlotFile {
    static let capacity = 1024
    /// Slot numbers compilers may hand out are below this; `none` is outside.
    static let none: UInt16 = 0xFFFF
    /// Four slots for the numbers of the request that a frame answers; compilers hand out those below.
    static let asked: UInt16 = 1020

    private let base: UnsafeMutablePointer<Slot>

    init() {
        // Safety: freshly allocated for exactly `capacity` slots and initialised at once.
        unsafe base = UnsafeMutablePointer<Slot>.allocate(capacity: SlotFile.capacity)
        unsafe base.initialize(repeating: Slot(), count: SlotFile.capacity)
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        // Safety: allocated in init; the owner calls this once and uses the file no more.
        unsafe base.deallocate()
    }

    @inline(__always)
    subscript(_ index: UInt16) -> Slot {
        // Safety: the mask keeps the index below capacity (1024).
        get { unsafe base[Int(index & 1023)] }
        nonmutating set { unsafe base[Int(index & 1023)] = newValue }
    }

    @inline(__always)
    func value(_ index: UInt16) -> Int64 {
        // Safety: the mask keeps the index below capacity (1024).
        unsafe base[Int(index & 1023)].value
    }

    @inline(__always)
    func setValue(_ value: Int64, at index: UInt16) {
        // Safety: the mask keeps the index below capacity (1024).
        unsafe base[Int(index & 1023)] = Slot(value: value)
    }

    /// Makes the first `count` slots read as zero.
    func clear(_ count: Int) {
        // Safety: count is cut to capacity; Slot is trivial.
        unsafe base.update(repeating: Slot(), count: min(max(0, count), SlotFile.capacity))
    }
}

/// Scratch bytes of a fixed capacity for transformed regions and text carriers.
@safe final class BytePlane {
    enum Map {
        /// Byte i of the plane is byte i of the plane below.
        case same
        /// Byte i was the two text bytes at base + 2·i of the plane below.
        case hex(base: Int)
        /// Bytes 3·i to 3·i + 2 were the four characters at base + 4·i.
        case base64(base: Int)
        /// Bytes from base on of the plane below, each escape byte and its code being one byte here.
        case escaped(base: Int, escape: UInt8)
        /// The bytes of the plane below without the two check bytes behind each block.
        case spread(Spread)
    }

    /// Blocks of `first`, then of `then` bytes, from `base` on, two foreign bytes behind each.
    struct Spread {
        var base: Int
        var first: Int
        var then: Int

        /// Where byte `i` of the content stands.
        func origin(_ i: Int) -> Int {
            base &+ i &+ (i < first ? 0 : 2 &* (1 &+ (i &- first) / then))
        }
    }

    private let base: UnsafeMutablePointer<UInt8>
    let capacity: Int
    var map = Map.same
    /// Plane that this one was made from.
    var below: UInt8 = 0
    /// Bytes appended since `clear`, for planes that are filled by `append`.
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = max(1, capacity)
        // Safety: allocated for `capacity` bytes and initialised at once; freed in deinit.
        unsafe base = UnsafeMutablePointer<UInt8>.allocate(capacity: self.capacity)
        unsafe base.initialize(repeating: 0, count: self.capacity)
    }

    deinit {
        // Safety: allocated in init, freed once.
        unsafe base.deallocate()
    }

    func cursor(count: Int) -> Cursor {
        // Safety: capacity bytes are initialised; the plane outlives the decode call.
        unsafe Cursor(base: UnsafePointer(base), count: min(max(0, count), capacity))
    }

    func clear() { count = 0 }

    func setMap(_ map: Map, below: UInt8) {
        self.map = map
        self.below = below
    }

    /// Adds a byte; what does not fit is left out, which the count no longer tells from full.
    @inline(__always)
    func append(_ byte: UInt8) {
        guard count < capacity else { return }
        // Safety: count < capacity, checked in the line above.
        unsafe base[count] = byte
        count &+= 1
    }

    /// Adds the bytes of `range`, which must lie in `bytes`; what does not fit is left out.
    @inline(__always)
    func append(_ bytes: Cursor, _ range: Range<Int>) {
        guard range.lowerBound >= 0, range.upperBound <= bytes.count else { return }
        let wanted = min(range.count, capacity &- count)
        // Words as long as both sides have eight bytes, whatever stands in the last ones.
        guard range.lowerBound <= bytes.count &- ((wanted &+ 7) & ~7),
            count <= capacity &- ((wanted &+ 7) & ~7)
        else {
            for i in 0..<max(0, wanted) { append(bytes.byte(range.lowerBound &+ i) ?? 0) }
            return
        }
        var i = 0
        while i < wanted {
            // Safety: lowerBound + i + 8 <= bytes.count and count + i + 8 <= capacity, checked
            // above; planes never overlap the bytes that are put on them.
            let word = unsafe UnsafeRawPointer(bytes.base + range.lowerBound + i)
                .loadUnaligned(as: UInt64.self)
            unsafe UnsafeMutableRawPointer(base + count + i).storeBytes(of: word, as: UInt64.self)
            i &+= 8
        }
        count &+= wanted
    }

    /// Adds bytes whose content does not matter until it is set; what does not fit is left out.
    @inline(__always)
    func extend(_ more: Int) { count = min(capacity, count &+ max(0, more)) }

    /// Changes eight appended bytes, the least significant first.
    @inline(__always)
    func setWord(_ word: UInt64, at index: Int) {
        guard index >= 0, index <= count &- 8 else { return }
        // Safety: 0 <= index, index + 8 <= count <= capacity, checked in the line above.
        unsafe UnsafeMutableRawPointer(base + index)
            .storeBytes(of: word.littleEndian, as: UInt64.self)
    }

    /// Changes an appended byte.
    @inline(__always)
    func set(_ byte: UInt8, at index: Int) {
        guard index >= 0, index < count else { return }
        // Safety: 0 <= index < count <= capacity, checked in the line above.
        unsafe base[index] = byte
    }

    /// Forgets what was appended behind the first `count` bytes.
    func cut(to count: Int) { self.count = min(self.count, max(0, count)) }

    /// Writes a byte at any place of the plane; outside of it nothing.
    func put(_ byte: UInt8, at index: Int) {
        guard index >= 0, index < capacity else { return }
        // Safety: 0 <= index < capacity, checked in the line above.
        unsafe base[index] = byte
    }

    /// The appended bytes as text.
    var text: String { String(decoding: cursor(count: count).bytes(0..<count), as: UTF8.self) }

    /// The key of the appended bytes; nil when they are no identity.
    var deviceKey: DeviceKey? {
        // Safety: count <= capacity bytes are initialised; the span does not leave the call.
        let buffer = unsafe UnsafeBufferPointer(start: base, count: count)
        return unsafe DeviceKey(text: buffer.span)
    }

    /// Writes `range` of `source`, changed byte by byte, to the same offsets of the plane. False when
    /// the range does not fit.
    func transform(_ source: Cursor, _ range: Range<Int>, rule: TransformRule, below: UInt8) -> Bool
    {
        guard range.lowerBound >= 0, range.upperBound <= min(source.count, capacity) else {
            return false
        }
        map = .same
        self.below = below
        for i in range {
            let from = rule.kind == .reverse ? range.upperBound &- 1 &- (i &- range.lowerBound) : i
            let byte = source.byte(from) ?? 0
            // Safety: i < range.upperBound <= capacity, checked at the start.
            switch rule.kind {
            case .subtract: unsafe base[i] = byte &- rule.constant
            case .xor: unsafe base[i] = byte ^ rule.constant
            case .reverse: unsafe base[i] = byte
            }
        }
        return true
    }

    /// Writes the bytes that the hex text in `range` stands for, from offset 0. Nil when it is no hex
    /// text or does not fit; otherwise the count of bytes.
    func decodeHex(_ source: Cursor, _ range: Range<Int>, below: UInt8) -> Int? {
        guard range.lowerBound >= 0, range.upperBound <= source.count, range.count % 2 == 0,
            range.count / 2 <= capacity
        else { return nil }
        map = .hex(base: range.lowerBound)
        self.below = below
        for i in 0..<range.count / 2 {
            let at = range.lowerBound &+ 2 &* i
            guard let high = BytePlane.nibble(source.byte(at)),
                let low = BytePlane.nibble(source.byte(at &+ 1))
            else { return nil }
            // Safety: i < range.count / 2 <= capacity, checked at the start.
            unsafe base[i] = high << 4 | low
        }
        return range.count / 2
    }

    /// Empties the plane, to be filled by `append` from what `map` says of the plane `below`.
    func begin(_ map: Map, below: UInt8) {
        self.map = map
        self.below = below
        count = 0
    }

    static func nibble(_ byte: UInt8?) -> UInt8? {
        switch byte {
        case .some(let b) where b >= 0x30 && b <= 0x39: b &- 0x30
        case .some(let b) where b >= 0x41 && b <= 0x46: b &- 0x37
        case .some(let b) where b >= 0x61 && b <= 0x66: b &- 0x57
        default: nil
        }
    }
}
