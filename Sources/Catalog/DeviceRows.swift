// The catalog's devices in memory: what a frame touches in 32 bytes, the rest in 16, identity texts one
// behind another. Owned by the CatalogTable.
// Invariants: rows are in order of their numbers; the index holds row + 1 under the key of each identity.

import Model

struct DeviceRows {
    /// What the hot path touches of a device.
    struct Sighting {
        let high: UInt64
        let low: UInt64
        let id: DeviceID
        /// At most 65,535 are counted.
        var streams: UInt16
        /// Usual time between two reports in units of 4 s, 0 while it is not known, 73 h at most.
        var period: UInt16
        var at: Timestamp
        static let never = Timestamp(milliseconds: .min)

        /// The mean of gaps, of which a new one weighs a quarter: one report that was lost doubles no
        /// period.
        static func period(_ old: UInt16, after gap: Int64) -> UInt16 {
            let new = min(gap / 4000, Int64(UInt16.max))
            return UInt16(truncatingIfNeeded: old == 0 ? new : (Int64(old) &* 3 &+ new &+ 2) / 4)
        }
    }

    private struct Words {
        var textAt: Int
        var format: UInt32
        var count: UInt32
        var firstSeenAt: Timestamp
    }

    private let seed: UInt64
    private(set) var sightings: [Sighting] = []
    private var words: [Words] = []
    private var texts: [UInt8] = []
    private var formats: [String] = []
    private var index: RowIndex

    init(seed: UInt64, capacity: Int) {
        self.seed = seed
        index = RowIndex(capacity: capacity)
    }

    var count: Int { sightings.count }
    var lastNumber: UInt32 { sightings.last?.id.rawValue ?? 0 }

    /// The row of the device with this key of a whole identity.
    func row(_ high: UInt64, _ low: UInt64) -> Int? {
        var slot = Int(truncatingIfNeeded: foldedHash(high, low, seed: seed)) & index.mask
        while index[slot] != 0 {
            let row = Int(index[slot] &- 1)
            if sightings[row].high == high, sightings[row].low == low { return row }
            slot = (slot &+ 1) & index.mask
        }
        return nil
    }

    func row(of id: DeviceID) -> Int? {
        let guess = Int(id.rawValue) - 1
        if guess >= 0, guess < sightings.count, sightings[guess].id == id { return guess }
        let row = sightings.firstRow { $0.id >= id }
        return row < sightings.count && sightings[row].id == id ? row : nil
    }

    mutating func see(_ row: Int, at time: Timestamp) -> DeviceID {
        // Frames within 4 s are one report.
        let gap = time.milliseconds &- sightings[row].at.milliseconds
        if gap >= 4000, sightings[row].at != Sighting.never {
            sightings[row].period = Sighting.period(sightings[row].period, after: gap)
        }
        sightings[row].at = time
        return sightings[row].id
    }

    mutating func addStream(to row: Int) {
        if sightings[row].streams < .max { sightings[row].streams &+= 1 }
    }

    subscript(row: Int) -> Device {
        let found = words[row]
        return Device(
            id: sightings[row].id,
            identity: String(
                decoding: texts[found.textAt..<found.textAt + Int(found.count)], as: UTF8.self),
            format: formats[Int(found.format)], firstSeenAt: found.firstSeenAt)
    }

    /// Appends a device with the highest number so far and returns its row.
    mutating func append(_ device: Device, _ key: DeviceKey) -> Int {
        precondition(device.id.rawValue > lastNumber, "numbers rise")
        sightings.append(
            Sighting(
                high: key.high, low: key.low, id: device.id, streams: 0, period: 0,
                at: Sighting.never))
        let textAt = texts.count
        texts.append(contentsOf: device.identity.utf8)
        var format = formats.firstIndex(of: device.format) ?? formats.count
        if format == formats.count {
            formats.append(device.format)
            format = formats.count - 1
        }
        words.append(
            Words(
                textAt: textAt, format: UInt32(format), count: UInt32(texts.count - textAt),
                firstSeenAt: device.firstSeenAt))
        if index.isFull {
            index.grow()
            for row in sightings.indices { enter(row) }
        } else {
            enter(sightings.count - 1)
        }
        return sightings.count - 1
    }

    private mutating func enter(_ row: Int) {
        let found = sightings[row]
        index.fill(hash: foldedHash(found.high, found.low, seed: seed), with: row)
    }
}
