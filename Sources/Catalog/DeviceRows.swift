// The catalog's devices in memory: what a frame touches in one place of a hash table, 32 bytes and 4 beside
// them; the rest in rows, identity texts one behind another. Owned by the CatalogTable.
// Invariants: rows are in order of their numbers; each row has one place and each used place one row; at
// most two thirds of the places are used, so every probe ends soon. Places move when the table grows.

package import Model

/// What the intake remembers with a device: the output list of its frames and the stream that it counts
/// the others from. The catalog does not know what a list is; 0 is none.
package struct FrameNote: Hashable {
    package var list: UInt16
    package var first: UInt32

    package init(list: UInt16, first: UInt32) {
        self.list = list
        self.first = first
    }

    package static let none = FrameNote(list: 0, first: 0)
}

/// A device of which a frame has just come.
package struct SeenDevice {
    package let id: DeviceID
    package let note: FrameNote
    /// Good until the next device is entered.
    let place: Int
}

struct DeviceRows {
    /// What a frame touches of its device, 32 bytes.
    private struct Sighting {
        let key: DeviceKey
        var at = Sighting.never
        /// 0: the place is free.
        let id: UInt32
        /// Of the device's note.
        var first: UInt32 = 0

        static let never = Timestamp(milliseconds: .min)
        static let free = Sighting(DeviceKey.empty, DeviceID(0))

        init(_ key: DeviceKey, _ id: DeviceID) {
            self.key = key
            self.id = id.rawValue
        }

        @inline(__always)
        func isOf(_ other: DeviceKey) -> Bool { key.high == other.high && key.low == other.low }
    }

    /// The same, apart so that two sightings take a cache line.
    private struct Habit {
        /// Usual time between two reports in units of 4 s, 0 while it is not known, 73 h at most.
        var period: UInt16 = 0
        /// Of the device's note.
        var list: UInt16 = 0

        /// The mean of gaps, of which a new one weighs a quarter: one report that was lost doubles no
        /// period.
        mutating func reported(after gap: Int64) {
            let new = min(gap / 4000, Int64(UInt16.max))
            period = UInt16(
                truncatingIfNeeded: period == 0 ? new : (Int64(period) &* 3 &+ new &+ 2) / 4)
        }
    }

    private struct Row {
        var id: UInt32
        var place: UInt32
        var textAt: UInt32
        var textCount: UInt16
        /// At most 65,535 are counted.
        var streams: UInt16
        var format: UInt32
        var firstSeenAt: Timestamp
    }

    private let seed: UInt64
    private var sightings: [Sighting]
    private var habits: [Habit]
    private var rows: [Row] = []
    private var texts: [UInt8] = []
    private var formats: [String] = []
    /// How often the table has grown.
    private(set) var moves = 0

    init(seed: UInt64) {
        self.seed = seed
        sightings = Array(repeating: Sighting.free, count: 16)
        habits = Array(repeating: Habit(), count: 16)
    }

    var count: Int { rows.count }
    var lastNumber: UInt32 { rows.last?.id ?? 0 }
    private var mask: Int { sightings.count &- 1 }

    /// Where the table lies, for asking ahead (`CatalogTable.addresses`).
    var addresses: CatalogAddresses {
        // Safety: only the addresses' numbers are used, to ask the cache for what lies there.
        unsafe CatalogAddresses(
            sightings: sightings.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) },
            habits: habits.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) },
            mask: UInt64(mask), seed: seed)
    }

    // MARK: Hot path

    /// The place of the device with this key of a whole identity.
    @inline(__always)
    func place(of key: DeviceKey) -> Int? {
        var place = home(of: key)
        while sightings[place].id != 0 {
            if sightings[place].isOf(key) { return place }
            place = (place &+ 1) & mask
        }
        return nil
    }

    /// Where a key's places begin.
    @inline(__always)
    private func home(of key: DeviceKey) -> Int {
        Int(truncatingIfNeeded: foldedHash(key.high, key.low, seed: seed)) & mask
    }

    @inline(__always)
    mutating func see(_ place: Int, at time: Timestamp) -> SeenDevice {
        // Frames within 4 s are one report.
        let gap = time.milliseconds &- sightings[place].at.milliseconds
        if gap >= 4000, sightings[place].at != Sighting.never {
            habits[place].reported(after: gap)
        }
        sightings[place].at = time
        return SeenDevice(
            id: DeviceID(sightings[place].id),
            note: FrameNote(list: habits[place].list, first: sightings[place].first),
            place: place)
    }

    /// Changes the note of a device, unless another stands at its place by now.
    mutating func note(_ note: FrameNote, of device: SeenDevice) {
        guard sightings[device.place].id == device.id.rawValue else { return }
        sightings[device.place].first = note.first
        habits[device.place].list = note.list
    }

    mutating func forgetNotes() {
        for place in habits.indices { habits[place].list = 0 }
    }

    // MARK: By number

    func row(of id: DeviceID) -> Int? {
        let guess = Int(id.rawValue) - 1
        if guess >= 0, guess < rows.count, rows[guess].id == id.rawValue { return guess }
        let row = rows.firstRow { $0.id >= id.rawValue }
        return row < rows.count && rows[row].id == id.rawValue ? row : nil
    }

    mutating func addStream(to row: Int) {
        if rows[row].streams < .max { rows[row].streams &+= 1 }
    }

    subscript(row: Int) -> Device {
        let found = rows[row]
        let text = Int(found.textAt)..<Int(found.textAt) + Int(found.textCount)
        return Device(
            id: DeviceID(found.id), identity: String(decoding: texts[text], as: UTF8.self),
            format: formats[Int(found.format)], firstSeenAt: found.firstSeenAt)
    }

    /// Devices with numbers above `after`, in order, at most `limit`.
    func summaries(after: DeviceID, limit: Int) -> [DeviceSummary] {
        let first = rows.firstRow { $0.id > after.rawValue }
        let end = first + min(max(0, limit), rows.count - first)
        return (first..<end).map { row in
            let place = Int(rows[row].place)
            let (at, period) = (sightings[place].at, habits[place].period)
            return DeviceSummary(
                device: self[row], streams: Int(rows[row].streams),
                lastSeenAt: at == Sighting.never ? nil : at,
                periodMilliseconds: period == 0 ? nil : Int64(period) * 4000)
        }
    }

    /// Appends a device with the highest number so far, of a key that none has yet, and returns its row.
    mutating func append(_ device: Device, _ key: DeviceKey) -> Int {
        precondition(device.id.rawValue > lastNumber, "numbers rise")
        let textAt = texts.count
        texts.append(contentsOf: device.identity.utf8)
        var format = formats.firstIndex(of: device.format) ?? formats.count
        if format == formats.count {
            formats.append(device.format)
            format = formats.count - 1
        }
        if (rows.count + 1) * 3 > sightings.count * 2 { grow() }
        let place = enter(Sighting(key, device.id), Habit())
        rows.append(
            Row(
                id: device.id.rawValue, place: UInt32(place),
                textAt: UInt32(textAt), textCount: UInt16(texts.count - textAt), streams: 0,
                format: UInt32(format), firstSeenAt: device.firstSeenAt))
        return rows.count - 1
    }

    func place(ofRow row: Int) -> Int { Int(rows[row].place) }

    private mutating func enter(_ sighting: Sighting, _ habit: Habit) -> Int {
        var place = home(of: sighting.key)
        while sightings[place].id != 0 { place = (place &+ 1) & mask }
        sightings[place] = sighting
        habits[place] = habit
        return place
    }

    /// Twice the places.
    private mutating func grow() {
        let (oldSightings, oldHabits) = (sightings, habits)
        sightings = Array(repeating: Sighting.free, count: oldSightings.count * 2)
        habits = Array(repeating: Habit(), count: oldHabits.count * 2)
        for row in rows.indices {
            let place = Int(rows[row].place)
            rows[row].place = UInt32(enter(oldSightings[place], oldHabits[place]))
        }
        moves += 1
    }
}

/// Numbers of the addresses where the catalog keeps its devices, and how it finds a place there: a whole
/// identity's hash (`foldedHash` of its key's words) and `mask`, in steps of 32 and of 4 bytes.
package struct CatalogAddresses {
    package let sightings: UInt
    package let habits: UInt
    package let mask: UInt64
    package let seed: UInt64
}
