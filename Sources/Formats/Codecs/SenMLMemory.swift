// What a decoder remembers of SenML packs, because devices send the same names again and again: which
// stream the bytes from a record's name to its value stand for, and which device a base name names. Two
// small tables of fixed size, each place holding what came last: a stranger's packs can only make it
// forget. What is remembered never decides: a record that is not known is read the long way, with the
// same outcome. Owned by one decoder, on its queue.

import Model

/// Up to 56 bytes to compare, eight at a time.
struct KnownBytes: BitwiseCopyable {
    static let counts = 8...56

    private var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (
        0, 0, 0, 0, 0, 0, 0
    )
    /// The last eight, which overlap the ones before unless the count is a multiple of eight.
    private var last: UInt64 = 0
    /// 0: nothing known.
    private(set) var count = 0

    init() {}

    /// The bytes of `range`, whose count must be one of `counts`.
    init(_ bytes: Cursor, _ range: Range<Int>) {
        func word(_ i: Int) -> UInt64 {
            8 &* i &+ 8 <= range.count ? bytes.big(range.lowerBound &+ 8 &* i, width: 8) ?? 0 : 0
        }
        words = (word(0), word(1), word(2), word(3), word(4), word(5), word(6))
        last = bytes.big(range.upperBound &- 8, width: 8) ?? 0
        count = range.count
    }

    /// The bytes. Slow path.
    var all: [UInt8] {
        let words = [
            words.0, words.1, words.2, words.3, words.4, words.5, words.6,
        ]
        var bytes = [UInt8](repeating: 0, count: count)
        for i in 0..<count & ~7 {
            bytes[i] = UInt8(truncatingIfNeeded: words[i >> 3] >> UInt64(56 - 8 * (i & 7)))
        }
        for i in 0..<min(8, count) {
            bytes[count - 8 + i] = UInt8(truncatingIfNeeded: last >> UInt64(56 - 8 * i))
        }
        return bytes
    }

    /// Whether they stand at `at`, ending before `end`.
    @inline(__always)
    func stand(_ bytes: Cursor, _ at: Int, _ end: Int) -> Bool {
        guard count >= 8, at <= end &- count, bytes.big(at, width: 8) == words.0,
            bytes.big(at &+ count &- 8, width: 8) == last
        else { return false }
        if count < 16 { return true }
        guard bytes.big(at &+ 8, width: 8) == words.1 else { return false }
        if count < 24 { return true }
        guard bytes.big(at &+ 16, width: 8) == words.2 else { return false }
        if count < 32 { return true }
        guard bytes.big(at &+ 24, width: 8) == words.3 else { return false }
        if count < 40 { return true }
        guard bytes.big(at &+ 32, width: 8) == words.4 else { return false }
        if count < 48 { return true }
        guard bytes.big(at &+ 40, width: 8) == words.5 else { return false }
        return count < 56 || bytes.big(at &+ 48, width: 8) == words.6
    }
}

/// The bytes `00 68 "humidity" 01 63 "%RH" 02` before a value, or `"n":"humidity","u":"%RH","v":`, and
/// their stream.
struct SenMLHead: BitwiseCopyable {
    var bytes = KnownBytes()
    var discriminator: UInt64 = 0
    /// Hash of the conversation's path.
    var path: UInt64 = 0
    /// Members of the map: name, perhaps unit, value.
    var pairs: UInt8 = 0
    /// Places of name and unit from the first byte; a unit at 0 is none.
    var name: UInt8 = 0
    var nameCount: UInt8 = 0
    var unit: UInt8 = 0
    var unitCount: UInt8 = 0
}

/// The table of heads: a value that costs nothing to pass on.
struct SenMLHeads {
    static let count = 512
    fileprivate let rows: FillingTable<SenMLHead>
    /// Number of the pack that used a row last.
    fileprivate let uses: FillingTable<UInt64>
    fileprivate var pack: UInt64 = 1

    fileprivate init() {
        rows = FillingTable(capacity: SenMLHeads.count)
        uses = FillingTable(capacity: SenMLHeads.count)
        for i in 0..<SenMLHeads.count {
            rows[i] = SenMLHead()
            uses[i] = 0
        }
    }

    /// The row of the known head that begins at `at` and ends before `end`; -1 when it is not known.
    @inline(__always)
    func find(_ bytes: Cursor, _ at: Int, _ end: Int, path: UInt64) -> Int {
        let place = SenMLHeads.place(bytes, at, end)
        guard place >= 0, rows[place].path == path, rows[place].bytes.stand(bytes, at, end) else {
            return -1
        }
        return place
    }

    // Of a row that `find` found.

    @inline(__always)
    func pairs(_ place: Int) -> UInt8 { rows[place].pairs }
    @inline(__always)
    func count(_ place: Int) -> Int { rows[place].bytes.count }
    @inline(__always)
    func hasUnit(_ place: Int) -> Bool { rows[place].unit > 0 }
    /// Bytes of name and unit.
    @inline(__always)
    func counts(_ place: Int) -> (name: Int, unit: Int) {
        (Int(rows[place].nameCount), Int(rows[place].unitCount))
    }

    /// Keeps the row until the next pack, for the words of its stream, and tells the stream.
    @inline(__always)
    func use(_ place: Int) -> UInt64 {
        uses[place] = pack
        return rows[place].discriminator
    }

    fileprivate func isInUse(_ place: Int) -> Bool { uses[place] == pack }

    /// Where the head that begins at `at` is kept; -1 when it is none that could be.
    @inline(__always)
    fileprivate static func place(_ bytes: Cursor, _ at: Int, _ end: Int) -> Int {
        guard at <= end &- 8, let first = bytes.big(at, width: 8) else { return -1 }
        var hash = first
        if first >> 56 == 0 {
            // CBOR: the label, then the count of a short name.
            let count = Int(first >> 48 & 0xFF) &- 0x60
            guard count >= 1, count <= 23, at &+ 2 &+ count <= end else { return -1 }
            if count < 6 {
                hash = first >> UInt64(truncatingIfNeeded: 48 &- 8 &* count)
            } else if count > 6 {
                hash &*= 0x9E37_79B9_7F4A_7C15
                hash ^= bytes.big(at &+ count &- 6, width: 8) ?? 0
            }
        } else {
            guard at <= end &- 16, let second = bytes.big(at &+ 8, width: 8) else { return -1 }
            hash = (hash &* 0x9E37_79B9_7F4A_7C15) ^ second
        }
        return Int((hash &* 0xE703_7ED1_A0B4_28DB) >> 55)
    }
}

/// A base name that names a device.
struct SenMLBaseName: BitwiseCopyable {
    var bytes = KnownBytes()
    var hash: UInt64 = 0
    /// Of the device's key.
    var high: UInt64 = 0
    var low: UInt64 = 0
    var hasSlash = false
}

/// A handle: copies share the memory.
struct SenMLMemory {
    private static let baseCount = 256

    private struct State: BitwiseCopyable {
        var bases: FillingTable<SenMLBaseName>?
        var heads: SenMLHeads?
        var pathHash: UInt64 = 0
        var isOn = true
    }

    private let state = Cell(State())
    /// The conversation's path of the pack read last.
    private let path = BytePlane(capacity: 512)

    @inline(__always)
    private var bases: FillingTable<SenMLBaseName>? { state.value.bases }
    /// Nil when nothing is known.
    @inline(__always)
    var heads: SenMLHeads? { state.value.heads }
    /// False for decoders that take each frame as the first.
    @inline(__always)
    var isOn: Bool {
        get { state.value.isOn }
        nonmutating set { state.value.isOn = newValue }
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        heads?.rows.deallocate()
        heads?.uses.deallocate()
        bases?.deallocate()
        path.deallocate()
        state.deallocate()
    }

    /// A pack begins that came through a conversation with this path. The path's hash; 0 without one.
    func begin(_ path: BytePlane) -> UInt64 {
        state.value.heads?.pack &+= 1
        self.path.clear()
        var hash: UInt64 = 0
        if path.count > 0 {
            let bytes = path.cursor(count: path.count)
            self.path.append(bytes, 0..<bytes.count)
            hash = Machine.hash(bytes, 0..<bytes.count)
        }
        state.value.pathHash = hash
        return hash
    }

    // MARK: Heads

    /// Name and unit of a stream that is known, as a frame with the pack's path has them; nil when it is
    /// not. Slow path.
    func words(_ discriminator: UInt64) -> (name: String, unit: String)? {
        guard let heads else { return nil }
        for place in 0..<SenMLHeads.count {
            let row = heads.rows[place]
            guard row.bytes.count > 0, row.discriminator == discriminator,
                row.path == state.value.pathHash
            else { continue }
            let bytes = row.bytes.all
            var name = path.cursor(count: path.count).bytes(0..<path.count)
            if let last = name.last, last != 0x2F { name.append(0x2F) }
            name += bytes[Int(row.name)...].prefix(Int(row.nameCount))
            let unit = bytes[Int(row.unit)...].prefix(Int(row.unitCount))
            return (String(decoding: name, as: UTF8.self), String(decoding: unit, as: UTF8.self))
        }
        return nil
    }

    /// `range`: the head; `name` and `unit` lie in it.
    func keep(
        _ bytes: Cursor, _ range: Range<Int>, name: Range<Int>, unit: Range<Int>?,
        discriminator: UInt64, path: UInt64
    ) {
        guard isOn, KnownBytes.counts.contains(range.count), range.upperBound <= bytes.count,
            path == state.value.pathHash
        else { return }
        let at = range.lowerBound
        let place = SenMLHeads.place(bytes, at, range.upperBound)
        guard place >= 0 else { return }
        let heads = self.heads ?? SenMLHeads()
        state.value.heads = heads
        // Its words are still wanted.
        if heads.isInUse(place) { return }
        var row = SenMLHead()
        row.bytes = KnownBytes(bytes, range)
        row.discriminator = discriminator
        row.path = path
        row.pairs = unit == nil ? 2 : 3
        row.name = UInt8(truncatingIfNeeded: name.lowerBound &- at)
        row.nameCount = UInt8(truncatingIfNeeded: name.count)
        if let unit {
            row.unit = UInt8(truncatingIfNeeded: unit.lowerBound &- at)
            row.unitCount = UInt8(truncatingIfNeeded: unit.count)
        }
        heads.rows[place] = row
    }

    // MARK: Base names

    @inline(__always)
    private static func place(ofBase bytes: Cursor, _ range: Range<Int>) -> Int? {
        guard KnownBytes.counts.contains(range.count), range.upperBound <= bytes.count,
            let last = bytes.big(range.upperBound &- 8, width: 8),
            let middle = bytes.big(range.lowerBound &+ (range.count &- 8) / 2, width: 8)
        else { return nil }
        let hash = (last &* 0x9E37_79B9_7F4A_7C15) ^ middle
        return Int((hash &* 0xE703_7ED1_A0B4_28DB) >> 56)
    }

    @inline(__always)
    func base(_ bytes: Cursor, _ range: Range<Int>) -> SenMLBaseName? {
        guard let bases, let place = SenMLMemory.place(ofBase: bytes, range) else { return nil }
        let row = bases[place]
        return row.bytes.count == range.count
            && row.bytes.stand(bytes, range.lowerBound, range.upperBound) ? row : nil
    }

    func keep(_ bytes: Cursor, _ range: Range<Int>, _ base: SenMLBase) {
        guard isOn, let place = SenMLMemory.place(ofBase: bytes, range) else { return }
        var row = SenMLBaseName()
        row.bytes = KnownBytes(bytes, range)
        row.hash = base.hash
        row.high = base.key.high
        row.low = base.key.low
        row.hasSlash = base.hasSlash
        if bases == nil {
            let fresh = FillingTable<SenMLBaseName>(capacity: SenMLMemory.baseCount)
            for i in 0..<SenMLMemory.baseCount { fresh[i] = SenMLBaseName() }
            state.value.bases = fresh
        }
        bases?[place] = row
    }
}
