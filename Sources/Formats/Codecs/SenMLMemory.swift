// What a decoder remembers of SenML packs, because devices send the same names again and again: which
// stream the bytes from a record's name to its value stand for, and which device a base name names. Two
// small tables of fixed size, each place holding what came last: a stranger's packs can only make it
// forget. What is remembered never decides: a record that is not known is read the long way, with the
// same outcome. Owned by one decoder, on its queue.

import Model

/// The bytes `00 68 "humidity" 01 63 "%RH" 02` before a value, and their stream.
struct SenMLHead: BitwiseCopyable {
    static let counts = 8...48

    /// Bytes from the first on; the last ones in `last`.
    var words: [6 of UInt64]
    var last: UInt64
    var discriminator: UInt64
    /// Hash of the conversation's path.
    var path: UInt64
    var count: UInt8
    /// Members of the map: name, perhaps unit, value.
    var pairs: UInt8
    /// Places of name and unit from the first byte.
    var name: UInt8
    var nameCount: UInt8
    var unit: UInt8
    var unitCount: UInt8
}

/// A base name that names a device.
struct SenMLBaseName: BitwiseCopyable {
    static let counts = 8...72

    var words: [9 of UInt64]
    var last: UInt64
    var hash: UInt64
    /// Of the device's key.
    var high: UInt64
    var low: UInt64
    var count: UInt8
    var device: UInt8
}

/// A handle: copies share the memory.
struct SenMLMemory {
    private static let headCount = 512
    private static let baseCount = 256

    private struct State: BitwiseCopyable {
        var heads: FillingTable<SenMLHead>?
        var bases: FillingTable<SenMLBaseName>?
        var isOn = true
    }

    private let state = Cell(State())

    @inline(__always)
    private var heads: FillingTable<SenMLHead>? { state.value.heads }
    @inline(__always)
    private var bases: FillingTable<SenMLBaseName>? { state.value.bases }

    /// False for decoders that take each frame as the first.
    var isOn: Bool {
        get { state.value.isOn }
        nonmutating set { state.value.isOn = newValue }
    }

    /// To be called once, by the owner's deinit.
    func deallocate() {
        heads?.deallocate()
        bases?.deallocate()
        state.deallocate()
    }

    // MARK: Heads

    /// Where the head of a record that begins at `at` is kept; nil when it is none that could be.
    @inline(__always)
    private static func place(_ cursor: Cursor, _ at: Int, _ end: Int) -> Int? {
        guard at <= end &- 8, let first = cursor.big(at, width: 8) else { return nil }
        // 00, then the count of a short name.
        let count = Int(first >> 48 & 0xFF) &- 0x60
        guard first >> 56 == 0, count >= 1, count <= 23, at &+ 2 &+ count <= end else { return nil }
        var hash = count >= 6 ? first : first >> UInt64(truncatingIfNeeded: 48 &- 8 &* count)
        if count > 6 {
            hash =
                (hash &* 0x9E37_79B9_7F4A_7C15)
                ^ (cursor.big(at &+ count &- 6, width: 8) ?? 0)
        }
        return Int((hash &* 0xE703_7ED1_A0B4_28DB) >> 55)
    }

    @inline(__always)
    func head(_ cursor: Cursor, _ at: Int, _ end: Int, path: UInt64) -> SenMLHead? {
        guard let heads, let place = SenMLMemory.place(cursor, at, end) else { return nil }
        let row = heads[place]
        let count = Int(row.count)
        guard count >= 8, at <= end &- count, row.path == path,
            cursor.big(at &+ count &- 8, width: 8) == row.last
        else { return nil }
        var i = 0
        while i < count >> 3 {
            guard cursor.big(at &+ i &* 8, width: 8) == row.words[i] else { return nil }
            i &+= 1
        }
        return row
    }

    /// `range`: the head; `name` and `unit` lie in it.
    func keep(
        _ cursor: Cursor, _ range: Range<Int>, name: Range<Int>, unit: Range<Int>?,
        discriminator: UInt64, path: UInt64
    ) {
        guard isOn, SenMLHead.counts.contains(range.count), range.upperBound <= cursor.count,
            let place = SenMLMemory.place(cursor, range.lowerBound, range.upperBound)
        else { return }
        let at = range.lowerBound
        var row = SenMLMemory.noHead
        row.last = cursor.big(range.upperBound &- 8, width: 8) ?? 0
        for i in 0..<range.count >> 3 { row.words[i] = cursor.big(at &+ 8 &* i, width: 8) ?? 0 }
        row.discriminator = discriminator
        row.path = path
        row.count = UInt8(range.count)
        row.pairs = unit == nil ? 2 : 3
        row.name = UInt8(truncatingIfNeeded: name.lowerBound &- at)
        row.nameCount = UInt8(truncatingIfNeeded: name.count)
        if let unit {
            row.unit = UInt8(truncatingIfNeeded: unit.lowerBound &- at)
            row.unitCount = UInt8(truncatingIfNeeded: unit.count)
        }
        headTable()[place] = row
    }

    private static let noHead = SenMLHead(
        words: InlineArray(repeating: 0), last: 0, discriminator: 0, path: 0, count: 0, pairs: 0,
        name: 0, nameCount: 0, unit: 0, unitCount: 0)

    private func headTable() -> FillingTable<SenMLHead> {
        if let heads { return heads }
        let table = FillingTable<SenMLHead>(capacity: SenMLMemory.headCount)
        for i in 0..<SenMLMemory.headCount { table[i] = SenMLMemory.noHead }
        state.value.heads = table
        return table
    }

    // MARK: Base names

    @inline(__always)
    private static func place(ofBase cursor: Cursor, _ range: Range<Int>) -> Int? {
        guard SenMLBaseName.counts.contains(range.count), range.upperBound <= cursor.count,
            let last = cursor.big(range.upperBound &- 8, width: 8),
            let middle = cursor.big(range.lowerBound &+ (range.count &- 8) / 2, width: 8)
        else { return nil }
        let hash = (last &* 0x9E37_79B9_7F4A_7C15) ^ middle
        return Int((hash &* 0xE703_7ED1_A0B4_28DB) >> 56)
    }

    @inline(__always)
    func base(_ cursor: Cursor, _ range: Range<Int>) -> SenMLBaseName? {
        guard let bases, let place = SenMLMemory.place(ofBase: cursor, range) else { return nil }
        let row = bases[place]
        guard Int(row.count) == range.count,
            cursor.big(range.upperBound &- 8, width: 8) == row.last
        else { return nil }
        var i = 0
        while i < range.count >> 3 {
            guard cursor.big(range.lowerBound &+ i &* 8, width: 8) == row.words[i] else {
                return nil
            }
            i &+= 1
        }
        return row
    }

    func keep(_ cursor: Cursor, _ range: Range<Int>, _ base: SenMLBase) {
        guard isOn, let place = SenMLMemory.place(ofBase: cursor, range) else { return }
        var row = SenMLMemory.noBase
        row.last = cursor.big(range.upperBound &- 8, width: 8) ?? 0
        for i in 0..<range.count >> 3 {
            row.words[i] = cursor.big(range.lowerBound &+ 8 &* i, width: 8) ?? 0
        }
        row.hash = base.hash
        row.high = base.key.high
        row.low = base.key.low
        row.count = UInt8(range.count)
        row.device = UInt8(truncatingIfNeeded: base.device)
        baseTable()[place] = row
    }

    private static let noBase = SenMLBaseName(
        words: InlineArray(repeating: 0), last: 0, hash: 0, high: 0, low: 0, count: 0, device: 0)

    private func baseTable() -> FillingTable<SenMLBaseName> {
        if let bases { return bases }
        let table = FillingTable<SenMLBaseName>(capacity: SenMLMemory.baseCount)
        for i in 0..<SenMLMemory.baseCount { table[i] = SenMLMemory.noBase }
        state.value.bases = table
        return table
    }
}
