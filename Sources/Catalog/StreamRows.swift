// The catalog's streams in memory: 12 bytes each, the words that many share kept once, and two indexes that
// hold row numbers only, by name and by output. Owned by the CatalogTable. A gateway with 10,000 devices
// has 50,000 streams of five kinds: as structures with three strings each they took 13 MB.
// Invariants: rows are in order of their numbers; an index is at most half full and every number in it is
// a row (an output's entry) + 1, 0 marks an empty place.

import Model

/// An open-addressing index of rows whose keys stand in the rows themselves. The owner finds the place.
struct RowIndex {
    private(set) var slots: [UInt32]
    private(set) var count = 0

    init(capacity: Int = 0) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = [UInt32](repeating: 0, count: size)
    }

    var mask: Int { slots.count &- 1 }
    var isFull: Bool { (count &+ 1) &* 2 > slots.count }

    @inline(__always)
    subscript(slot: Int) -> UInt32 { slots[slot] }

    mutating func fill(_ slot: Int, with row: Int) {
        precondition(slots[slot] == 0)
        slots[slot] = UInt32(row + 1)
        count += 1
    }

    /// Twice the size, for the owner to fill again.
    mutating func grow() {
        slots = [UInt32](repeating: 0, count: slots.count * 2)
        count = 0
    }

    mutating func fill(hash: UInt64, with row: Int) {
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != 0 { slot = (slot &+ 1) & mask }
        fill(slot, with: row)
    }
}

struct StreamRows {
    private struct Row {
        var id: UInt32
        var device: UInt32
        var words: UInt32
    }

    private let seed: UInt64
    private var rows: [Row] = []
    private var words: [StreamWords] = []
    /// Hash of the name, for each of `words`.
    private var nameHashes: [UInt64] = []
    private var numberOfWords: [StreamWords: UInt32] = [:]
    private var byName: RowIndex

    init(seed: UInt64, capacity: Int) {
        self.seed = seed
        byName = RowIndex(capacity: capacity)
        rows.reserveCapacity(capacity)
    }

    var count: Int { rows.count }
    var lastNumber: UInt32 { rows.last?.id ?? 0 }

    subscript(row: Int) -> Stream {
        let found = rows[row]
        return words[Int(found.words)].stream(StreamID(found.id), of: DeviceID(found.device))
    }

    /// The row's entry for the file.
    func add(_ row: Int, to additions: inout CatalogAdditions) {
        let found = rows[row]
        additions.append(
            StreamID(found.id), of: DeviceID(found.device), words[Int(found.words)],
            number: found.words)
    }

    /// The row of a number; without gaps among the numbers the first guess is right.
    func row(of id: UInt32) -> Int? {
        let guess = Int(id) - 1
        if guess >= 0, guess < rows.count, rows[guess].id == id { return guess }
        let row = rows.firstRow { $0.id >= id }
        return row < rows.count && rows[row].id == id ? row : nil
    }

    func device(ofNumber id: UInt32) -> UInt32? { row(of: id).map { rows[$0].device } }

    /// The row of the stream called `name`; names are found by hash and compared in full.
    func row(_ device: DeviceID, _ name: String) -> Int? {
        let nameHash = StreamRows.hash(name)
        var slot = Int(truncatingIfNeeded: hash(device.rawValue, nameHash)) & byName.mask
        while byName[slot] != 0 {
            let row = Int(byName[slot] - 1)
            let number = Int(rows[row].words)
            if rows[row].device == device.rawValue, nameHashes[number] == nameHash,
                words[number].name == name
            {
                return row
            }
            slot = (slot &+ 1) & byName.mask
        }
        return nil
    }

    /// Appends a stream with the highest number so far, of a name that its device does not have yet.
    mutating func append(_ stream: Stream) {
        precondition(stream.id.rawValue > lastNumber, "numbers rise")
        let number = number(of: StreamWords(stream))
        rows.append(
            Row(id: stream.id.rawValue, device: stream.device.rawValue, words: number))
        if byName.isFull {
            byName.grow()
            for row in rows.indices { enter(row) }
        } else {
            enter(rows.count - 1)
        }
    }

    /// Another quantity or priority for the stream of a row, whose name and unit stay.
    mutating func replace(_ row: Int, by stream: Stream) {
        rows[row].words = number(of: StreamWords(stream))
    }

    func all(of device: DeviceID) -> [Stream] {
        rows.indices.filter { rows[$0].device == device.rawValue }.map { self[$0] }
    }

    private mutating func enter(_ row: Int) {
        let found = rows[row]
        byName.fill(hash: hash(found.device, nameHashes[Int(found.words)]), with: row)
    }

    private mutating func number(of new: StreamWords) -> UInt32 {
        if let known = numberOfWords[new] { return known }
        let number = UInt32(words.count)
        words.append(new)
        nameHashes.append(StreamRows.hash(new.name))
        numberOfWords[new] = number
        return number
    }

    private func hash(_ device: UInt32, _ nameHash: UInt64) -> UInt64 {
        foldedHash(UInt64(device) << 32, nameHash, seed: seed)
    }

    /// FNV-1a, 64 bits; the index's hash adds the seed.
    private static func hash(_ name: String) -> UInt64 {
        name.utf8.reduce(0xCBF2_9CE4_8422_2325) {
            ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3
        }
    }
}

/// Passing names: which stream an output of a format feeds, without its device, which the stream knows.
struct OutputEntry {
    let discriminator: UInt64
    var stream: UInt32
    let format: UInt16
    let output: UInt16

    @inline(__always)
    func isOf(_ format: UInt16, _ output: UInt16, _ discriminator: UInt64) -> Bool {
        self.output == output && self.format == format && self.discriminator == discriminator
    }
}

struct OutputEntries {
    private let seed: UInt64
    private var entries: [OutputEntry] = []
    private var index = RowIndex()

    init(seed: UInt64) { self.seed = seed }

    var count: Int { entries.count }

    @inline(__always)
    subscript(row: Int) -> OutputEntry { entries[row] }

    mutating func removeAll() {
        entries = []
        index = RowIndex()
    }

    /// The entry of an output of `device`.
    func row(
        _ device: UInt32, _ format: UInt16, _ output: UInt16, _ discriminator: UInt64,
        _ streams: borrowing StreamRows
    ) -> Int? {
        let hash = hash(device, format, output, discriminator)
        var slot = Int(truncatingIfNeeded: hash) & index.mask
        while index[slot] != 0 {
            let row = Int(index[slot] &- 1)
            if entries[row].isOf(format, output, discriminator),
                streams.device(ofNumber: entries[row].stream) == device
            {
                return row
            }
            slot = (slot &+ 1) & index.mask
        }
        return nil
    }

    mutating func set(
        _ stream: UInt32, _ device: UInt32, _ format: UInt16, _ output: UInt16,
        _ discriminator: UInt64, _ streams: borrowing StreamRows
    ) {
        if let row = row(device, format, output, discriminator, streams) {
            entries[row].stream = stream
            return
        }
        entries.append(
            OutputEntry(
                discriminator: discriminator, stream: stream, format: format, output: output))
        guard index.isFull else {
            index.fill(
                hash: hash(device, format, output, discriminator), with: entries.count - 1)
            return
        }
        index.grow()
        for (row, entry) in entries.enumerated() {
            guard let device = streams.device(ofNumber: entry.stream) else { continue }
            index.fill(
                hash: hash(device, entry.format, entry.output, entry.discriminator), with: row)
        }
    }

    /// The outputs of a frame lie side by side, so that one frame touches few cache lines.
    @inline(__always)
    private func hash(
        _ device: UInt32, _ format: UInt16, _ output: UInt16, _ discriminator: UInt64
    ) -> UInt64 {
        foldedHash(UInt64(device) << 16 | UInt64(format), discriminator, seed: seed)
            &+ UInt64(output)
    }
}

extension Array {
    /// The first row of a sorted array that `isAtOrAfter`; `count` when there is none.
    func firstRow(_ isAtOrAfter: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = low + (high - low) / 2
            if isAtOrAfter(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
