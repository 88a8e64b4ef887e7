// The catalog in memory: which devices and streams there are, and their numbers.
// Owned by the one intake queue; the status page gets copies. Never stored itself: `takeAdditions` yields
// what is new for the CatalogFile, which must hold it before a batch that uses the numbers is stored.
// Two kinds of names:
//   durable: a device's identity text and (device, stream name) decide the number, for ever;
//   passing: (scope, short key) of a local identity and (format, output, discriminator) are caches that
//            spare the hot path all strings. They start empty and refill on first use through the slow
//            verbs; `forgetPassingNames` empties them when sources or formats were reloaded, and local
//            identities are learned anew when the table of devices has grown.
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
    /// Usual time between two reports in ms, by what came since the start; nil before there were two.
    package var periodMilliseconds: Int64?

    package init(
        device: Device, streams: Int, lastSeenAt: Timestamp?, periodMilliseconds: Int64? = nil
    ) {
        self.device = device
        self.streams = streams
        self.lastSeenAt = lastSeenAt
        self.periodMilliseconds = periodMilliseconds
    }
}

package struct CatalogTable: ~Copyable {
    package let limits: CatalogLimits
    /// Restored entries that contradicted others and were left out.
    package private(set) var contradictions = 0

    private var devices: DeviceRows
    private var streams: StreamRows
    private var outputs: OutputEntries
    private var highestDevice: UInt32
    private var highestStream: UInt32
    private var additions = CatalogAdditions()
    /// Places + 1 of devices.
    private var placesByLocalKey: FixedTable<LocalKey>

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
        devices = DeviceRows(seed: seed)
        streams = StreamRows(seed: seed, capacity: 0)
        outputs = OutputEntries(seed: seed)
        placesByLocalKey = FixedTable(seed: seed)
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
    ) -> SeenDevice? {
        let place =
            scope == 0
            ? devices.place(of: key)
            : placesByLocalKey.value(for: LocalKey(key, scope: scope)).map { Int($0 &- 1) }
        guard let place else { return nil }
        return devices.see(place, at: seenAt)
    }

    /// Keeps a note with a device, which comes with its next frame.
    package mutating func note(_ note: FrameNote, of device: SeenDevice) {
        devices.note(note, of: device)
    }

    /// No device has a note any more.
    package mutating func forgetNotes() { devices.forgetNotes() }

    /// Where devices lie, until the next is entered.
    package var addresses: CatalogAddresses { devices.addresses }

    /// The stream that `output` of format number `format` feeds for `device`. Nil: not known by these
    /// numbers; call `addStream`, which knows it by name.
    package func stream(
        _ device: DeviceID, format: UInt16, output: UInt16, discriminator: UInt64
    ) -> StreamID? {
        outputs.row(device.rawValue, format, output, discriminator, streams)
            .map { StreamID(outputs[$0].stream) }
    }

    // MARK: Slow path, once a device or stream and process

    /// The device with this identity text, if the catalog has it; from then on `device` finds it under
    /// (key, scope). `identity` is the whole text: for a local identity `source:identity`, where the
    /// source's name holds no colon.
    package mutating func device(
        _ key: DeviceKey, scope: UInt32, identity: String, seenAt: Timestamp
    ) -> SeenDevice? {
        guard let whole = DeviceKey(identity), let place = devices.place(of: whole)
        else { return nil }
        if scope != 0 { remember(place, LocalKey(key, scope: scope)) }
        return devices.see(place, at: seenAt)
    }

    /// The device with this identity text, entered when it is new. Throws `noIdentity` for text
    /// outside `[A-Za-z0-9._:-]{1,64}`, `catalogFull` at the limit.
    package mutating func addDevice(
        _ key: DeviceKey, scope: UInt32, identity: String, format: String, at: Timestamp
    ) throws(Rejection) -> SeenDevice {
        if let known = device(key, scope: scope, identity: identity, seenAt: at) { return known }
        guard let whole = DeviceKey(identity) else { throw .noIdentity }
        guard devices.count < limits.devices, highestDevice < .max else { throw .catalogFull }
        let device = Device(
            id: DeviceID(highestDevice + 1), identity: identity, format: format, firstSeenAt: at)
        let row = insert(device, whole)
        let place = devices.place(ofRow: row)
        if scope != 0 { remember(place, LocalKey(key, scope: scope)) }
        additions.append(device)
        return devices.see(place, at: at)
    }

    /// The stream called `name` of `device`, entered when it is new; from then on `stream` finds it
    /// under these numbers. A stream keeps its unit for ever: the same name with another unit is
    /// another stream, called `name:unit`. Quantity and priority follow the latest call. Throws
    /// `catalogFull` at the limit. `device` is one of this table's.
    package mutating func addStream(
        _ device: DeviceID, format: UInt16, output: UInt16, discriminator: UInt64, name: String,
        quantity: String, unit: String, priority: Priority
    ) throws(Drop) -> StreamID {
        guard let deviceRow = devices.row(of: device) else {
            preconditionFailure("device \(device.rawValue) is not in the catalog")
        }
        var wanted = Stream(
            id: StreamID(0), device: device, name: name, quantity: quantity, unit: unit,
            priority: priority)
        var row = streams.row(device, name)
        while let found = row, streams[found].unit != unit {
            wanted.name += ":" + unit
            row = streams.row(device, wanted.name)
        }
        if let row {
            wanted.id = streams[row].id
            if streams[row] != wanted {
                streams.replace(row, by: wanted)
                streams.add(row, to: &additions)
            }
        } else {
            guard streams.count < limits.streams, highestStream < .max else { throw .catalogFull }
            wanted.id = StreamID(highestStream + 1)
            insert(wanted, deviceRow)
            streams.add(streams.count - 1, to: &additions)
        }
        // Many numbers may stand for one name; a cache that outgrows its names starts again.
        if outputs.count >= max(limits.streams, streams.count) * 2 { outputs.removeAll() }
        outputs.set(
            wanted.id.rawValue, device.rawValue, format, output, discriminator, streams)
        return wanted.id
    }

    /// Call after sources or formats were loaded anew: their numbers may now mean others.
    package mutating func forgetPassingNames() {
        placesByLocalKey.removeAll()
        outputs.removeAll()
        forgetNotes()
    }

    /// New and changed entries since the last call, each device before its streams.
    package mutating func takeAdditions() -> CatalogAdditions {
        defer { additions = CatalogAdditions() }
        return additions
    }

    package var hasAdditions: Bool { !additions.isEmpty }

    // MARK: For people

    package func device(_ id: DeviceID) -> Device? { devices.row(of: id).map { devices[$0] } }

    package func stream(_ id: StreamID) -> Stream? {
        streams.row(of: id.rawValue).map { streams[$0] }
    }

    /// Devices with numbers above `after`, in order, at most `limit`.
    package func summaries(after: DeviceID, limit: Int) -> [DeviceSummary] {
        devices.summaries(after: after, limit: limit)
    }

    /// All streams of a device in order of their numbers; looks at every stream of the table.
    package func streams(of device: DeviceID) -> [Stream] { streams.all(of: device) }

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
                devices.place(of: key) == nil, device.id.rawValue > devices.lastNumber
            {
                _ = insert(device, key)
            } else {
                contradictions += 1
            }
            highestDevice = max(highestDevice, device.id.rawValue)
        }
        for stream in restoredStreams {
            if let deviceRow = devices.row(of: stream.device),
                streams.row(stream.device, stream.name) == nil,
                stream.id.rawValue > streams.lastNumber
            {
                insert(stream, deviceRow)
            } else {
                contradictions += 1
            }
            highestStream = max(highestStream, stream.id.rawValue)
        }
    }

    /// Appends a device with the highest number so far and returns its row.
    private mutating func insert(_ device: Device, _ key: DeviceKey) -> Int {
        highestDevice = max(highestDevice, device.id.rawValue)
        let moves = devices.moves
        let row = devices.append(device, key)
        // They are learned anew, as after a start.
        if devices.moves != moves { placesByLocalKey.removeAll() }
        return row
    }

    /// Appends a stream with the highest number so far.
    private mutating func insert(_ stream: Stream, _ deviceRow: Int) {
        streams.append(stream)
        devices.addStream(to: deviceRow)
        highestStream = max(highestStream, stream.id.rawValue)
    }

    private mutating func remember(_ place: Int, _ key: LocalKey) {
        if placesByLocalKey.count >= max(limits.devices, devices.count) * 2 {
            placesByLocalKey.removeAll()
        }
        placesByLocalKey.set(UInt32(place + 1), for: key)
    }
}

/// The key of an identity that is unique only within its source. Of plain integers: equality of another
/// module's type is called through its witness table.
private struct LocalKey: FixedKey {
    let high: UInt64
    let low: UInt64
    let scope: UInt32

    static let empty = LocalKey(DeviceKey.empty, scope: 0)

    init(_ key: DeviceKey, scope: UInt32) {
        high = key.high
        low = key.low
        self.scope = scope
    }

    func hash(seed: UInt64) -> UInt64 { foldedHash(high, low &+ UInt64(scope) << 32, seed: seed) }
}
