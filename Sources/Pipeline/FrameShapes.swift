// Which streams a device's frames feed, without looking each of them up. A device's frames mostly yield the
// same outputs in the same order, and so do those of all devices of its kind; a device's streams were
// entered one behind another. A *shape* says for each place of a frame which output stands there and how
// far its stream's number lies behind that of the first place; with a device the catalog keeps the shape
// of its latest frame and that first stream (`FrameNote`). So a reading whose output the shape has at its
// place costs a comparison and an addition, and a frame of any device no more memory than the device.
// What a shape does not have is asked of the catalog, and its frame makes the shape of the next.
//
// Owned by the FrameDesk. Memory is bounded: shapes whose streams do not lie close together end before
// those, and when there are `maximumShapes` no more are made.

import Catalog
import Formats
import Model

struct FrameShapes {
    struct Place {
        let discriminator: UInt64
        let output: UInt16
        let format: UInt16
        /// Added to the note's stream.
        let distance: Int32

        @inline(__always)
        func isOf(_ reading: DecodedReading, _ format: UInt16) -> Bool {
            output == reading.output && discriminator == reading.discriminator
                && self.format == format
        }
    }

    private static let maximumShapes = 4096
    private static let maximumPlaces = 64
    /// Streams further apart belong to devices of histories of their own: each would be a shape.
    private static let farthest: Int32 = 127

    private var places: [Place] = []
    /// Where each shape's places end; shape 0 has none.
    private var ends: [Int32] = [0]
    /// Shapes by hash, open addressing; 0 is free.
    private var index = [UInt16](repeating: 0, count: 2 * FrameShapes.maximumShapes)
    private let seed: UInt64
    private var draft: [Place] = []

    init(seed: UInt64) { self.seed = seed }

    var count: Int { ends.count - 1 }

    mutating func removeAll() {
        places = []
        ends = [0]
        for slot in index.indices { index[slot] = 0 }
    }

    /// Places of a shape in `all`.
    @inline(__always)
    func range(_ shape: UInt16) -> Range<Int> {
        let shape = Int(shape)
        guard shape > 0, shape < ends.count else { return 0..<0 }
        return Int(ends[shape &- 1])..<Int(ends[shape])
    }

    @inline(__always)
    var all: Span<Place> {
        @_lifetime(borrow self) get { places.span }
    }

    /// The note of a frame whose `readings` fed `streams`, one each. None: there is no room for its shape.
    @inline(never)
    mutating func note(
        _ readings: DecodedReadings, _ format: UInt16, _ streams: ArraySlice<Reading>
    ) -> FrameNote {
        guard let first = streams.first?.stream.rawValue else { return .none }
        draft.removeAll(keepingCapacity: true)
        var hash = seed
        for (decoded, reading) in zip(readings, streams).prefix(FrameShapes.maximumPlaces) {
            let distance = Int64(reading.stream.rawValue) - Int64(first)
            guard distance.magnitude <= Int64(FrameShapes.farthest) else { break }
            let place = Place(
                discriminator: decoded.discriminator, output: decoded.output, format: format,
                distance: Int32(distance))
            draft.append(place)
            hash = foldedHash(
                hash ^ place.discriminator,
                UInt64(place.output) << 48 | UInt64(format) << 32
                    | UInt64(UInt32(bitPattern: place.distance)), seed: seed)
        }
        var slot = Int(truncatingIfNeeded: hash) & (index.count - 1)
        while index[slot] != 0 {
            let range = range(index[slot])
            if range.count == draft.count, zip(places[range], draft).allSatisfy(==) {
                return FrameNote(shape: index[slot], first: first)
            }
            slot = (slot + 1) & (index.count - 1)
        }
        guard count < FrameShapes.maximumShapes else { return .none }
        places += draft
        ends.append(Int32(places.count))
        index[slot] = UInt16(count)
        return FrameNote(shape: UInt16(count), first: first)
    }
}

extension FrameShapes.Place: Equatable {}
