// The catalog in memory: which devices and streams there are, and their numbers.
// Owned by the one intake queue; the status page gets copies. Never stored itself: `takeAdditions` yields
// what is new for the CatalogFile, which must hold it before a batch that uses the numbers is stored.
// Two kinds of names:
//   durable: a device's identity text and (device, stream name) decide the number, for ever;
//   passing: (scope, short key) of a local identity and (format, output, discriminator) are caches that
//            spare the hot path all strings. They start empty and refill on first use through the slow
//            verbs; `forgetPassingNames` empties them when sources or formats were reloaded.
// Invariants: rows are in order of their numbers; numbers rise from 1 and are never given twice.

package import Model

/// How many devices and streams may be entered. What the file holds beyond that is kept all the same.
package struct CatalogLimits: Hashable, Sendable {
    package var devices: Int
    package var streams: Int

    package init(devices: Int, streams: Int) {
        self.devices = devices
        self.streams = streams
    }
}

/// A device for the status page and `sluice devices`.
package struct DeviceSummary: Hashable, Sendable {
    package var device: Device
    /// Streams of the device.
    package var streams: Int
    /// Arrival of its latest frame since the start of the process, nil when there was none.
    package var lastSeenAt: Timestamp?
}

package struct CatalogTable: ~Copyable {
    /// What the hot path touches of a device: 16 bytes.
    private struct Sighting {
        var id: DeviceID
        var streams: UInt32
        var at: Timestamp
        static let never = Timestamp(milliseconds: .min)
    }

    /// The stream that a place of the device's frames fed last; 0: none yet.
    private struct Latest {
        var discriminator: UInt64 = 0
        var stream: UInt32 = 0
        var format: UInt16 = 0
        var output: UInt16 = 0
    }

    /// Places of a frame that are remembered, a device.
    private static let places = 8

    package let limits: CatalogLimits
    /// Restored entries that contradicted others and were left out.
    package private(set) var contradictions = 0

    private var devices: [Device] = []
    private var sightings: [Sighting] = []
    /// `places` entries for each row of `devices`.
    private var latest: [Latest] = []
    private var streams: [Stream] = []
    private var highestDevice: UInt32
    private var highestStream: UInt32
    private var additions: [CatalogEntry] = []

    // Values are rows + 1 of devices, numbers of streams, rows + 1 of streams.
    private var rowsByIdentity: FixedTable<IdentityKey>
    private var rowsByLocalKey: FixedTable<IdentityKey>
    private var numbersByOutput: FixedTable<OutputKey>
    private var rowsByName: FixedTable<NameKey>

    /// A table that knows `entries` (any order). Entries come from a file and may contradict one
    /// another: number 0, a number or identity twice, a stream without its device; such an entry is
    /// left out and counted. New numbers lie above all in `entries` and above `highest`, the highest
    /// numbers that are known to have been given.
    package init(
        limits: CatalogLimits, seed: UInt64, restoring entries: [CatalogEntry],
        highest: (device: UInt32, stream: UInt32) = (0, 0)
    ) {
        self.limits = limits
        highestDevice = highest.device
        highestStream = highest.stream
        rowsByIdentity = FixedTable(seed: seed)
        rowsByLocalKey = FixedTable(seed: seed)
        numbersByOutput = FixedTable(seed: seed)
        rowsByName = FixedTable(seed: seed, capacity: entries.count)
        restore(entries)
    }

    package var deviceCount: Int { devices.count }
    package var streamCount: Int { streams.count }

    // MARK: Hot path

    /// The device with `key`, and notes that it was seen. `scope` is 0 for a key made from the whole
    /// identity, the source's number for a key that is unique only within its source. Nil: not known
    /// by this key; ask `device(identity:)` before calling the device unknown when `scope` is not 0.
    package mutating func device(
        _ key: DeviceKey, scope: UInt32, seenAt: Timestamp
    ) -> DeviceID? {
        let known = IdentityKey(key, scope: scope)
        let found =
            scope == 0 ? rowsByIdentity.value(for: known) : rowsByLocalKey.value(for: known)
        guard let found else { return nil }
        let row = Int(found &- 1)
        sightings[row].at = seenAt
        return sightings[row].id
    }

    /// The stream that `output` of format number `format` feeds for `device`. Nil: not known by these
    /// numbers; call `addStream`, which knows it by name.
    package func stream(
        _ device: DeviceID, format: UInt16, output: UInt16, discriminator: UInt64
    ) -> StreamID? {
        let key = OutputKey(
            device, format: format, output: output, discriminator: discriminator)
        return numbersByOutput.value(for: key).map { StreamID($0) }
    }

    /// As `stream(_:format:output:discriminator:)`, for the reading at `place` of a device's frame. A
    /// device's frames mostly have the same readings at the same places, and their streams stand side
    /// by side here: two cache lines a frame instead of one a reading.
    package mutating func stream(
        _ device: DeviceID, place: Int, format: UInt16, output: UInt16, discriminator: UInt64
    ) -> StreamID? {
        let row = Int(device.rawValue) - 1
        // Numbers without gaps are rows; other devices go the longer way.
        guard place < CatalogTable.places, row >= 0, row < sightings.count,
            sightings[row].id == device
        else {
            return stream(device, format: format, output: output, discriminator: discriminator)
        }
        let at = row * CatalogTable.places + place
        let hint = latest[at]
        if hint.stream != 0, hint.output == output, hint.format == format,
            hint.discriminator == discriminator
        {
            return StreamID(hint.stream)
        }
        let found = stream(device, format: format, output: output, discriminator: discriminator)
        if let found {
            latest[at] = Latest(
                discriminator: discriminator, stream: found.rawValue, format: format,
                output: output)
        }
        return found
    }

    // MARK: Slow path, once a device or stream and process

    /// The device with this identity text, if the catalog has it; from then on `device` finds it under
    /// (key, scope). `identity` is the whole text: for a local identity `source:identity`, where the
    /// source's name holds no colon.
    package mutating func device(
        _ key: DeviceKey, scope: UInt32, identity: String, seenAt: Timestamp
    ) -> DeviceID? {
        guard let whole = DeviceKey(identity),
            let found = rowsByIdentity.value(for: IdentityKey(whole, scope: 0))
        else { return nil }
        if scope != 0 { remember(found, IdentityKey(key, scope: scope)) }
        let row = Int(found &- 1)
        sightings[row].at = seenAt
        return sightings[row].id
    }

    /// The device with this identity text, entered when it is new. Throws `noIdentity` for text
    /// outside `[A-Za-z0-9._:-]{1,64}`, `catalogFull` at the limit.
    package mutating func addDevice(
        _ key: DeviceKey, scope: UInt32, identity: String, format: String, at: Timestamp
    ) throws(Rejection) -> DeviceID {
        if let known = device(key, scope: scope, identity: identity, seenAt: at) { return known }
        guard let whole = DeviceKey(identity) else { throw .noIdentity }
        guard devices.count < limits.devices, highestDevice < .max else { throw .catalogFull }
        let device = Device(
            id: DeviceID(highestDevice + 1), identity: identity, format: format, firstSeenAt: at)
        let row = insert(device, whole)
        if scope != 0 { remember(row, IdentityKey(key, scope: scope)) }
        sightings[Int(row - 1)].at = at
        additions.append(.device(device))
        return device.id
    }

    /// The stream called `name` of `device`, entered when it is new; from then on `stream` finds it
    /// under these numbers. A stream keeps its unit for ever: the same name with another unit is
    /// another stream, called `name:unit`. Quantity and priority follow the latest call. Throws
    /// `catalogFull` at the limit. `device` is one of this table's.
    package mutating func addStream(
        _ device: DeviceID, format: UInt16, output: UInt16, discriminator: UInt64, name: String,
        quantity: String, unit: String, priority: Priority
    ) throws(Drop) -> StreamID {
        guard let deviceRow = deviceRow(device) else {
            preconditionFailure("device \(device.rawValue) is not in the catalog")
        }
        var wanted = Stream(
            id: StreamID(0), device: device, name: name, quantity: quantity, unit: unit,
            priority: priority)
        var row = streamRow(device, name)
        while let found = row, streams[found].unit != unit {
            wanted.name += ":" + unit
            row = streamRow(device, wanted.name)
        }
        if let row {
            wanted.id = streams[row].id
            if streams[row] != wanted {
                streams[row] = wanted
                additions.append(.stream(wanted))
            }
        } else {
            guard streams.count < limits.streams, highestStream < .max else { throw .catalogFull }
            wanted.id = StreamID(highestStream + 1)
            insert(wanted, deviceRow)
            additions.append(.stream(wanted))
        }
        // Many numbers may stand for one name; a cache that outgrows its names starts again.
        if numbersByOutput.count >= max(limits.streams, streams.count) * 2 {
            numbersByOutput.removeAll()
        }
        let key = OutputKey(
            device, format: format, output: output, discriminator: discriminator)
        numbersByOutput.set(wanted.id.rawValue, for: key)
        return wanted.id
    }

    /// Call after sources or formats were loaded anew: their numbers may now mean others.
    package mutating func forgetPassingNames() {
        rowsByLocalKey.removeAll()
        numbersByOutput.removeAll()
        for index in latest.indices { latest[index] = Latest() }
    }

    /// New and changed entries since the last call, each device before its streams.
    package mutating func takeAdditions() -> [CatalogEntry] {
        defer { additions = [] }
        return additions
    }

    package var hasAdditions: Bool { !additions.isEmpty }

    // MARK: For people

    package func device(_ id: DeviceID) -> Device? { deviceRow(id).map { devices[$0] } }

    package func stream(_ id: StreamID) -> Stream? {
        let row = streams.firstRow { $0.id >= id }
        return row < streams.count && streams[row].id == id ? streams[row] : nil
    }

    /// Devices with numbers above `after`, in order, at most `limit`.
    package func summaries(after: DeviceID, limit: Int) -> [DeviceSummary] {
        let first = devices.firstRow { $0.id > after }
        let end = first + min(max(0, limit), devices.count - first)
        return (first..<end).map { row in
            let sighting = sightings[row]
            return DeviceSummary(
                device: devices[row], streams: Int(sighting.streams),
                lastSeenAt: sighting.at == Sighting.never ? nil : sighting.at)
        }
    }

    /// All streams of a device in order of their numbers; looks at every stream of the table.
    package func streams(of device: DeviceID) -> [Stream] {
        streams.filter { $0.device == device }
    }

    // MARK: Rows

    private mutating func restore(_ entries: [CatalogEntry]) {
        var restoredDevices: [Device] = []
        var restoredStreams: [Stream] = []
        for entry in entries {
            switch entry {
            case .device(let device): restoredDevices.append(device)
            case .stream(let stream): restoredStreams.append(stream)
            }
        }
        restoredDevices.sort { $0.id < $1.id }
        restoredStreams.sort { $0.id < $1.id }
        for device in restoredDevices {
            if let key = DeviceKey(device.identity),
                rowsByIdentity.value(for: IdentityKey(key, scope: 0)) == nil,
                device.id.rawValue > (devices.last?.id.rawValue ?? 0)
            {
                _ = insert(device, key)
            } else {
                contradictions += 1
            }
            highestDevice = max(highestDevice, device.id.rawValue)
        }
        for stream in restoredStreams {
            if let deviceRow = deviceRow(stream.device),
                streamRow(stream.device, stream.name) == nil,
                stream.id.rawValue > (streams.last?.id.rawValue ?? 0)
            {
                insert(stream, deviceRow)
            } else {
                contradictions += 1
            }
            highestStream = max(highestStream, stream.id.rawValue)
        }
    }

    /// Appends a device with the highest number so far and returns its row + 1.
    private mutating func insert(_ device: Device, _ key: DeviceKey) -> UInt32 {
        devices.append(device)
        sightings.append(Sighting(id: device.id, streams: 0, at: Sighting.never))
        latest.append(contentsOf: repeatElement(Latest(), count: CatalogTable.places))
        highestDevice = max(highestDevice, device.id.rawValue)
        let row = UInt32(devices.count)
        rowsByIdentity.set(row, for: IdentityKey(key, scope: 0))
        return row
    }

    /// Appends a stream with the highest number so far.
    private mutating func insert(_ stream: Stream, _ deviceRow: Int) {
        streams.append(stream)
        sightings[deviceRow].streams += 1
        highestStream = max(highestStream, stream.id.rawValue)
        var key = NameKey(device: stream.device, name: stream.name)
        while rowsByName.value(for: key) != nil { key.attempt += 1 }
        rowsByName.set(UInt32(streams.count), for: key)
    }

    private mutating func remember(_ row: UInt32, _ key: IdentityKey) {
        if rowsByLocalKey.count >= max(limits.devices, devices.count) * 2 {
            rowsByLocalKey.removeAll()
        }
        rowsByLocalKey.set(row, for: key)
    }

    private func deviceRow(_ id: DeviceID) -> Int? {
        let row = devices.firstRow { $0.id >= id }
        return row < devices.count && devices[row].id == id ? row : nil
    }

    /// The row of the stream called `name`. Names are found by hash and compared in full; two names of
    /// one hash lie under consecutive attempts.
    private func streamRow(_ device: DeviceID, _ name: String) -> Int? {
        var key = NameKey(device: device, name: name)
        while let found = rowsByName.value(for: key) {
            let row = Int(found - 1)
            if streams[row].device == device && streams[row].name == name { return row }
            key.attempt += 1
        }
        return nil
    }
}

// MARK: Keys
//
// Of plain integers: equality of another module's type is called through its witness table.

/// The key of a whole identity (scope 0), or of one that is unique only within its source.
private struct IdentityKey: FixedKey {
    let high: UInt64
    let low: UInt64
    let scope: UInt32

    static let empty = IdentityKey(DeviceKey.empty, scope: 0)

    init(_ key: DeviceKey, scope: UInt32) {
        high = key.high
        low = key.low
        self.scope = scope
    }

    func hash(seed: UInt64) -> UInt64 { foldedHash(high, low &+ UInt64(scope) << 32, seed: seed) }
}

/// One output of one format for one device.
private struct OutputKey: FixedKey {
    let device: UInt32
    let format: UInt16
    let output: UInt16
    let discriminator: UInt64

    static let empty = OutputKey(DeviceID(0), format: 0, output: 0, discriminator: 0)

    init(_ device: DeviceID, format: UInt16, output: UInt16, discriminator: UInt64) {
        self.device = device.rawValue
        self.format = format
        self.output = output
        self.discriminator = discriminator
    }

    /// The outputs of a frame lie side by side, so that one frame touches few cache lines.
    func hash(seed: UInt64) -> UInt64 {
        foldedHash(UInt64(device) << 16 | UInt64(format), discriminator, seed: seed)
            &+ UInt64(output)
    }
}

/// A stream's name as a hash; names are compared in full by the table.
private struct NameKey: FixedKey {
    let device: UInt32
    var attempt: UInt32 = 0
    let nameHash: UInt64

    static let empty = NameKey(device: DeviceID(0), name: "")

    init(device: DeviceID, name: String) {
        self.device = device.rawValue
        // FNV-1a, 64 bits; the table's hash adds the seed.
        nameHash = name.utf8.reduce(0xCBF2_9CE4_8422_2325) {
            ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3
        }
    }

    func hash(seed: UInt64) -> UInt64 {
        foldedHash(UInt64(device) << 32 | UInt64(attempt), nameHash, seed: seed)
    }
}

extension Array {
    /// The first row of a sorted array that `isAtOrAfter`; `count` when there is none.
    fileprivate func firstRow(_ isAtOrAfter: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = low + (high - low) / 2
            if isAtOrAfter(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
