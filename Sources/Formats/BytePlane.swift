// The fence around memory, third part: scratch bytes that a decoder writes. Each store stands behind its
// own bounds check. Owned by one decoder, used on its queue only.

import Model

/// Scratch bytes of a fixed capacity for transformed regions and text carriers. A handle: copies share
/// the bytes.
@safe struct BytePlane {
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
    private let mapped = Cell(Map.same)
    private let belowCell = Cell(UInt8(0))
    private let counted = Cell(0)

    var map: Map {
        get { mapped.value }
        nonmutating set { mapped.value = newValue }
    }
    /// Plane that this one was made from.
    var below: UInt8 {
        get { belowCell.value }
        nonmutating set { belowCell.value = newValue }
    }
    /// Bytes appended since `clear`, for planes that are filled by `append`.
    @inline(__always)
    private(set) var count: Int {
        get { counted.value }
        nonmutating set { counted.value = newValue }
    }

    init(capacity: Int) {
        self.capacity = max(1, capacity)
        // Safety: allocated for `capacity` bytes and initialised at once.
        unsafe base = UnsafeMutablePointer<UInt8>.allocate(capacity: self.capacity)
        unsafe base.initialize(repeating: 0, count: self.capacity)
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        // Safety: allocated in init; the owner calls this once and uses the plane no more.
        unsafe base.deallocate()
        mapped.deallocate()
        belowCell.deallocate()
        counted.deallocate()
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

    /// Adds the first `count` (0...16) bytes of `high` and `low`, most significant first.
    @inline(__always)
    func append(_ high: UInt64, _ low: UInt64, count added: Int) {
        guard added >= 0, added <= 16 else { return }
        guard count <= capacity &- 16 else {
            for i in 0..<added {
                let word = i < 8 ? high : low
                append(UInt8(truncatingIfNeeded: word >> UInt64(56 &- 8 &* (i & 7))))
            }
            return
        }
        // Safety: count + 16 <= capacity, checked above.
        let end = unsafe UnsafeMutableRawPointer(base + count)
        unsafe end.storeBytes(of: high.bigEndian, as: UInt64.self)
        unsafe end.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        count &+= added
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
        if count <= 16, capacity >= 16 {
            let bytes = cursor(count: 16)
            guard let high = bytes.big(0, width: 8), let low = bytes.big(8, width: 8) else {
                return nil
            }
            return DeviceKey(high, low, count: count)
        }
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
        let constant = UInt64(rule.constant) &* 0x0101_0101_0101_0101
        var i = range.lowerBound
        while rule.kind != .reverse, i &+ 8 <= range.upperBound {
            let word = source.big(i, width: 8) ?? 0
            let changed = rule.kind == .xor ? word ^ constant : word.subtractingBytes(constant)
            // Safety: i + 8 <= range.upperBound <= capacity, checked at the start.
            unsafe UnsafeMutableRawPointer(base + i).storeBytes(
                of: changed.bigEndian, as: UInt64.self)
            i &+= 8
        }
        while i < range.upperBound {
            let from = rule.kind == .reverse ? range.upperBound &- 1 &- (i &- range.lowerBound) : i
            let byte = source.byte(from) ?? 0
            // Safety: i < range.upperBound <= capacity, checked at the start.
            switch rule.kind {
            case .subtract: unsafe base[i] = byte &- rule.constant
            case .xor: unsafe base[i] = byte ^ rule.constant
            case .reverse: unsafe base[i] = byte
            }
            i &+= 1
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
