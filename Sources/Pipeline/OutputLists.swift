// Which streams a device's frames feed, without looking each of them up. A device's frames mostly yield the
// same outputs in the same order, and so do those of all devices of its kind; a device's streams were
// entered one behind another. An *output list* says for each place of a frame which output stands there
// and how far its stream's number lies behind that of the first place; with a device the catalog keeps the
// list of its latest frame and that first stream (`FrameNote`). So a reading whose output the list has at
// its place costs a comparison and an addition, and a frame of any device no more memory than the device.
// What a list does not have is asked of the catalog, and its frame makes the list of the next.
//
// Owned by the FrameDesk. Memory is bounded: there are at most `maximumLists`; when frames have long asked
// for more, all are forgotten, with the devices' notes, and made anew of what comes then.

import Catalog
import Formats
import Model

struct OutputLists {
    struct Place: Equatable {
        let discriminator: UInt64
        let output: UInt16
        let format: UInt16
        /// Added to the note's stream.
        let distance: Int32

        /// The stream lies elsewhere (it was entered much later, say): the catalog knows.
        static let elsewhere = Int32.max
        /// A rule dropped the reading before it had a stream.
        static let unknown = Int32.min

        @inline(__always)
        static func isNear(_ distance: Int32) -> Bool {
            distance.magnitude <= OutputLists.farthest
        }

        @inline(__always)
        func isOf(_ reading: DecodedReading, _ format: UInt16) -> Bool {
            output == reading.output && discriminator == reading.discriminator
                && self.format == format
        }
    }

    private static let maximumLists = 4096
    /// Frames with more readings ask the catalog for the rest.
    static let maximumPlaces = 64
    /// Streams further apart belong to devices of histories of their own: each would be a list.
    private static let farthest = 127
    /// Frames that wanted a list when there was no room, before all begin anew.
    private static let patience = 1 << 16

    private var places: [Place] = []
    /// Where each list's places end; list 0 has none.
    private var ends: [Int32] = [0]
    /// Lists by hash, open addressing; 0 is free.
    private var index = [UInt16](repeating: 0, count: 2 * OutputLists.maximumLists)
    private let seed: UInt64
    private var draft: [Place] = []
    /// Streams of the frame whose list is made.
    private var fed: [Int64?] = []
    private var misses = 0

    init(seed: UInt64) { self.seed = seed }

    var count: Int { ends.count - 1 }

    /// Frames have asked long enough for more than there is room for. The notes of devices must be
    /// forgotten with the lists.
    var isSpent: Bool { misses >= OutputLists.patience }

    mutating func removeAll() {
        places = []
        ends = [0]
        misses = 0
        for slot in index.indices { index[slot] = 0 }
    }

    /// Places of a list in `all`.
    @inline(__always)
    func range(_ list: UInt16) -> Range<Int> {
        let list = Int(list)
        guard list > 0, list < ends.count else { return 0..<0 }
        return Int(ends[list &- 1])..<Int(ends[list])
    }

    @inline(__always)
    var all: Span<Place> {
        @_lifetime(borrow self) get { places.span }
    }

    /// The note of a device whose frame had these readings. None: there is no room for its list.
    @inline(never)
    mutating func note(
        _ readings: DecodedReadings, of device: DeviceID, _ format: UInt16,
        _ catalog: borrowing CatalogTable
    ) -> FrameNote {
        let count = min(readings.count, OutputLists.maximumPlaces)
        fed.removeAll(keepingCapacity: true)
        for place in 0..<count {
            let stream = catalog.stream(
                device, format: format, output: readings[place].output,
                discriminator: readings[place].discriminator)
            fed.append(stream.map { Int64($0.rawValue) })
        }
        let first = base()
        draft.removeAll(keepingCapacity: true)
        var hash = seed
        for place in 0..<count {
            let distance = fed[place].map { $0 - first }
            let isNear = distance.map { $0.magnitude <= OutputLists.farthest } ?? false
            let row = Place(
                discriminator: readings[place].discriminator, output: readings[place].output,
                format: format,
                distance: distance.map { isNear ? Int32($0) : Place.elsewhere } ?? Place.unknown)
            draft.append(row)
            hash = foldedHash(
                hash ^ row.discriminator,
                UInt64(row.output) << 48 | UInt64(format) << 32
                    | UInt64(UInt32(bitPattern: row.distance)), seed: seed)
        }
        return list(hash).map { FrameNote(list: $0, first: UInt32(first)) } ?? .none
    }

    /// The stream that most others of `fed` lie close to, of the first, the middle and the last place.
    private func base() -> Int64 {
        var best: (stream: Int64, near: Int) = (0, -1)
        for place in [0, fed.count / 2, fed.count - 1] {
            guard let candidate = fed[place], candidate != best.stream else { continue }
            let near = fed.count {
                $0.map { ($0 - candidate).magnitude <= OutputLists.farthest } ?? false
            }
            if near > best.near { best = (candidate, near) }
            if near == fed.count { break }
        }
        return best.stream
    }

    /// The number of the list that `draft` is, made when it is new; nil when there is no room.
    private mutating func list(_ hash: UInt64) -> UInt16? {
        var slot = Int(truncatingIfNeeded: hash) & (index.count - 1)
        while index[slot] != 0 {
            let range = range(index[slot])
            if range.count == draft.count, zip(places[range], draft).allSatisfy(==) {
                return index[slot]
            }
            slot = (slot + 1) & (index.count - 1)
        }
        guard count < OutputLists.maximumLists else {
            misses += 1
            return nil
        }
        places += draft
        ends.append(Int32(places.count))
        index[slot] = UInt16(count)
        return index[slot]
    }
}
