// What the catalog learnt and its file does not hold yet, on its way from the intake to the spool's queue.
// Owned by whoever holds it; a value. When ten thousand devices appear at once, sixty thousand entries
// wait for the disk: as entries with three strings each they took more memory than the catalog itself. So
// words that many streams share stand here once, and an entry is made when it is asked for.
// Invariant: devices come before streams, each in the order in which they were appended.

package import Model

package struct CatalogAdditions: Sequence, Sendable {
    private struct NewDevice {
        var id: UInt32
        var format: UInt16
        var identityCount: UInt16
        var firstSeenAt: Timestamp
    }

    private struct NewStream {
        var id: UInt32
        var device: UInt32
        /// Index in `words`.
        var words: UInt32
    }

    private var devices: [NewDevice] = []
    /// Identities of `devices`, one behind another.
    private var texts: [UInt8] = []
    private var formats: [String] = []
    private var streams: [NewStream] = []
    private var words: [StreamWords] = []
    /// From the table's number of words to `words`.
    private var numbers: [UInt32: UInt32] = [:]

    package var isEmpty: Bool { devices.isEmpty && streams.isEmpty }
    package var count: Int { devices.count + streams.count }
    package var underestimatedCount: Int { count }

    mutating func append(_ device: Device) {
        let format = formats.firstIndex(of: device.format) ?? formats.count
        if format == formats.count { formats.append(device.format) }
        let start = texts.count
        texts.append(contentsOf: device.identity.utf8)
        devices.append(
            NewDevice(
                id: device.id.rawValue, format: UInt16(format),
                identityCount: UInt16(texts.count - start), firstSeenAt: device.firstSeenAt))
    }

    /// `number`: what the table calls these words.
    mutating func append(
        _ id: StreamID, of device: DeviceID, _ stream: StreamWords, number: UInt32
    ) {
        var index = UInt32(words.count)
        if let known = numbers[number] {
            index = known
        } else {
            numbers[number] = index
            words.append(stream)
        }
        streams.append(NewStream(id: id.rawValue, device: device.rawValue, words: index))
    }

    /// Lanes of the streams that are not live, which the batcher must know.
    package var lanes: [Stream] {
        guard words.contains(where: { $0.priority != .live }) else { return [] }
        return streams.indices.map { stream($0) }.filter { $0.priority != .live }
    }

    package struct Iterator: IteratorProtocol {
        private let additions: CatalogAdditions
        private var row = 0
        private var textAt = 0

        fileprivate init(_ additions: CatalogAdditions) { self.additions = additions }

        package mutating func next() -> CatalogEntry? {
            defer { row += 1 }
            guard row < additions.devices.count else {
                let stream = row - additions.devices.count
                return stream < additions.streams.count ? .stream(additions.stream(stream)) : nil
            }
            let found = additions.devices[row]
            let identity = additions.texts[textAt..<textAt + Int(found.identityCount)]
            textAt += identity.count
            return .device(
                Device(
                    id: DeviceID(found.id), identity: String(decoding: identity, as: UTF8.self),
                    format: additions.formats[Int(found.format)], firstSeenAt: found.firstSeenAt))
        }
    }

    package func makeIterator() -> Iterator { Iterator(self) }

    private func stream(_ row: Int) -> Stream {
        words[Int(streams[row].words)].stream(
            StreamID(streams[row].id), of: DeviceID(streams[row].device))
    }
}

/// What many streams have in common.
struct StreamWords: Hashable {
    var name: String
    var quantity: String
    var unit: String
    var priority: Priority

    init(_ stream: Stream) {
        name = stream.name
        quantity = stream.quantity
        unit = stream.unit
        priority = stream.priority
    }

    func stream(_ id: StreamID, of device: DeviceID) -> Stream {
        Stream(
            id: id, device: device, name: name, quantity: quantity, unit: unit, priority: priority)
    }
}
