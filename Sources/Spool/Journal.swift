// Accepted frames on their way to disk. A `JournalBuffer` is owned by one intake on its queue:
// appending allocates nothing while the buffer is below its capacity. `take` hands everything over
// as one `JournalPart`, which the spool stores as one row. A part stands alone: it carries the
// sources that its frames name, so replay does not depend on today's configuration.
//
// Part, layout 1, little-endian:
//
//     0  u8 layout = 1 | 1 u8 intake | 2 u16 zero | 4 u32 frames | 8 u64 first position
//     16 i64 receivedAt of the first frame | 24 i64 newest receivedAt
//     32 u32 offset of the trailer | 36 u32 zero
//     40 frames, each: varint source | varint zigzag(receivedAt − that of the frame before, the
//                      first: 0) | varint length | bytes
//     trailer: varint sources, each: varint length, name | varint length, format
//              varint length, counters (CounterCoding.swift)

package import Model

/// A source as it was when its frames were journaled.
package struct JournalSource: Hashable, Sendable {
    package var name: String
    package var format: String

    package init(name: String, format: String) {
        self.name = name
        self.format = format
    }
}

/// Frames `firstPosition..<firstPosition + frameCount` of one intake. Positions number an intake's
/// journaled frames from 0 and never fall; gaps are allowed.
package struct JournalPart: Sendable {
    package let intake: UInt8
    package let firstPosition: UInt64
    package let frameCount: Int
    package let newestReceivedAt: Timestamp
    package let bytes: [UInt8]
    /// The intake's counters when the part was taken; also in `bytes`.
    package let counters: IntakeCounters

    package var nextPosition: UInt64 { firstPosition &+ UInt64(frameCount) }

    /// The same frames where the spool counts them.
    package func moved(by offsets: SpoolOffsets) -> JournalPart {
        let first = firstPosition &+ offsets.position
        let sums = counters.adding(offsets.counters)
        var moved = bytes
        // The counters end the part.
        var own = ByteWriter()
        own.blob(CounterCoding.encode(counters))
        moved.removeLast(min(own.bytes.count, moved.count - JournalBuffer.headerSize))
        var new = ByteWriter()
        new.blob(CounterCoding.encode(sums))
        moved += new.bytes
        for i in 0..<8 { moved[8 + i] = UInt8(truncatingIfNeeded: first >> UInt64(8 * i)) }
        return JournalPart(
            intake: intake, firstPosition: first, frameCount: frameCount,
            newestReceivedAt: newestReceivedAt, bytes: moved, counters: sums)
    }
}

/// Collects one intake's accepted frames between two group commits.
package struct JournalBuffer: Sendable {
    static let headerSize = 40

    package let intake: UInt8
    /// Frames in the buffer.
    package private(set) var count = 0
    /// Position of the oldest frame in the buffer.
    package private(set) var firstPosition: UInt64
    private let capacity: Int
    private var bytes: [UInt8] = []
    private var firstReceivedAt = Timestamp(milliseconds: 0)
    private var lastReceivedAt = Timestamp(milliseconds: 0)
    private var newestReceivedAt = Timestamp(milliseconds: .min)

    /// `capacity` in bytes: what is kept allocated; the caller takes the part when `byteCount`
    /// nears it. A frame beyond it is still accepted and costs an allocation. `firstPosition`:
    /// after a restart `Spool.nextPosition(intake:)`.
    package init(intake: UInt8, capacity: Int, firstPosition: UInt64 = 0) {
        self.intake = intake
        self.capacity = max(capacity, JournalBuffer.headerSize)
        self.firstPosition = firstPosition
        start()
    }

    /// Bytes of the part so far, without its trailer.
    package var byteCount: Int { bytes.count }
    package var isEmpty: Bool { count == 0 }
    /// Position that the next frame gets.
    package var nextPosition: UInt64 { firstPosition &+ UInt64(count) }

    /// Adds one frame; `source` is its index in the table that `take` is given.
    package mutating func append(_ frame: Span<UInt8>, source: UInt16, receivedAt: Timestamp) {
        if count == 0 {
            firstReceivedAt = receivedAt
            lastReceivedAt = receivedAt
        }
        let delta = receivedAt.milliseconds &- lastReceivedAt.milliseconds
        let folded = UInt64(bitPattern: (delta << 1) ^ (delta >> 63))
        let size = frame.count
        if source < 0x80, folded < 0x4000, size < 0x4000 {
            short(frame, source: UInt64(source), folded)
        } else {
            varint(UInt64(source))
            varint(folded)
            varint(UInt64(size))
            // Safety: the span's buffer is valid for the call and copied.
            unsafe frame.withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
        }
        lastReceivedAt = receivedAt
        if newestReceivedAt < receivedAt { newestReceivedAt = receivedAt }
        count &+= 1
    }

    /// The usual frame, appended at once: a varint of one byte, two of up to two, its bytes.
    @inline(__always)
    private mutating func short(
        _ frame: Span<UInt8>, source: UInt64, _ delta: UInt64
    ) {
        let (deltaBits, deltaSize) = JournalBuffer.short(delta)
        let (countBits, countSize) = JournalBuffer.short(UInt64(frame.count))
        let word = source | deltaBits << 8 | countBits &<< UInt64(8 &+ 8 &* deltaSize)
        let head = 1 &+ deltaSize &+ countSize
        bytes.append(addingCapacity: frame.count &+ 8) { output in
            // Safety: eight bytes and the frame's fit into what was asked for; the head's five at most are
            // followed by the frame, which overwrites the rest of the word.
            unsafe output.withUnsafeMutableBufferPointer { room, written in
                let at = UnsafeMutableRawPointer(room.baseAddress!)
                unsafe at.storeBytes(of: word.littleEndian, as: UInt64.self)
                unsafe frame.withUnsafeBytes {
                    if let from = $0.baseAddress {
                        unsafe (at + head).copyMemory(from: from, byteCount: $0.count)
                    }
                }
                written = head &+ frame.count
            }
        }
    }

    /// Hands over all frames and starts anew behind them. `counters` must be those of the same
    /// moment: every frame of the part is counted in them, and none that comes later.
    package mutating func take(sources: [JournalSource], counters: IntakeCounters) -> JournalPart {
        let newest = count == 0 ? Timestamp(milliseconds: 0) : newestReceivedAt
        var trailer = ByteWriter()
        trailer.varint(UInt64(sources.count))
        for source in sources {
            trailer.text(source.name)
            trailer.text(source.format)
        }
        trailer.blob(CounterCoding.encode(counters))
        patch(UInt64(1) | UInt64(intake) << 8 | UInt64(UInt32(count)) << 32, at: 0)
        patch(firstPosition, at: 8)
        patch(UInt64(bitPattern: firstReceivedAt.milliseconds), at: 16)
        patch(UInt64(bitPattern: newest.milliseconds), at: 24)
        patch(UInt64(UInt32(bytes.count)), at: 32)
        bytes.append(contentsOf: trailer.bytes)
        // A small part leaves as an exact copy and the buffer stays; parts may wait for the disk,
        // and what
        // they hold is bounded by their bytes, not by the buffer's capacity.
        let isSmall = bytes.count < capacity / 2
        let part = JournalPart(
            intake: intake, firstPosition: firstPosition, frameCount: count,
            newestReceivedAt: newest, bytes: isSmall ? bytes.map(\.self) : bytes,
            counters: counters)
        firstPosition = nextPosition
        start(keepsBuffer: isSmall)
        return part
    }

    private mutating func start(keepsBuffer: Bool = false) {
        count = 0
        firstReceivedAt = Timestamp(milliseconds: 0)
        newestReceivedAt = Timestamp(milliseconds: .min)
        if keepsBuffer {
            bytes.removeAll(keepingCapacity: true)
        } else {
            bytes = []
            // Slack for the turn that reaches the capacity, and for the trailer.
            bytes.reserveCapacity(capacity + capacity / 4 + 1024)
        }
        bytes.append(contentsOf: repeatElement(0, count: JournalBuffer.headerSize))
    }

    /// A varint of at most two bytes. A function by itself: what a nested one would change is checked for
    /// exclusive access at run time.
    @inline(__always)
    private static func short(_ value: UInt64) -> (bits: UInt64, size: Int) {
        value < 0x80 ? (value, 1) : (value & 0x7F | 0x80 | (value >> 7) << 8, 2)
    }

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    private mutating func patch(_ value: UInt64, at offset: Int) {
        for i in 0..<8 { bytes[offset + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * i)) }
    }
}

/// A frame that comes back from the journal; its bytes are lent beside it.
package struct JournaledFrame: Sendable {
    package var intake: Int
    package var position: UInt64
    package var source: JournalSource
    package var receivedAt: Timestamp
    /// True: its readings are in a batch already; it only refills the duplicate memory.
    package var isCovered: Bool
}

/// A part read back. Everything in it is checked; a part that does not hold together is nil.
struct StoredPart {
    /// 10^5 frames a second for 22,000 years; nothing that is added to a position overflows.
    static let positionLimit: UInt64 = 1 << 56

    let intake: Int
    let firstPosition: UInt64
    let frameCount: Int
    let newestReceivedAt: Timestamp
    let sources: [JournalSource]
    let counters: IntakeCounters
    /// Bytes of the whole part.
    var size: Int { reader.bytes.count }
    private let firstReceivedAt: Timestamp
    private let reader: ByteReader
    private let framesEnd: Int

    init?(_ bytes: [UInt8]) {
        do throws(ShortBytes) {
            var reader = ByteReader(bytes)
            guard try reader.u8() == 1 else { return nil }
            intake = Int(try reader.u8())
            _ = try reader.u16()
            frameCount = Int(try reader.u32())
            firstPosition = try reader.u64()
            firstReceivedAt = Timestamp(milliseconds: try reader.i64())
            newestReceivedAt = Timestamp(milliseconds: try reader.i64())
            framesEnd = Int(try reader.u32())
            _ = try reader.u32()
            // A frame takes at least three bytes, so the count is bounded by what is there.
            guard framesEnd >= JournalBuffer.headerSize, framesEnd <= bytes.count,
                frameCount <= (framesEnd - JournalBuffer.headerSize) / 3,
                firstPosition < StoredPart.positionLimit
            else { return nil }
            self.reader = reader
            var trailer = ByteReader(bytes, from: framesEnd)
            let count = try trailer.varint()
            guard count <= UInt64(trailer.remaining) else { return nil }
            var sources: [JournalSource] = []
            for _ in 0..<Int(count) {
                let name = try trailer.text(limit: 4096)
                sources.append(JournalSource(name: name, format: try trailer.text(limit: 4096)))
            }
            self.sources = sources
            let blob = try trailer.blob(limit: CounterCoding.maximumSize)
            guard let counters = CounterCoding.decode(blob) else { return nil }
            self.counters = counters
        } catch {
            return nil
        }
    }

    /// Calls `body` with each frame in order and its bytes; false when the frames do not hold
    /// together (then those before the fault were given).
    func forEach(
        coveredBefore covered: UInt64, _ body: (JournaledFrame, Span<UInt8>) -> Void
    ) -> Bool {
        var reader = reader
        var time = firstReceivedAt.milliseconds
        for index in 0..<frameCount {
            guard let source = try? reader.varint(), let zigzag = try? reader.varint(),
                let length = try? reader.varint(), reader.offset <= framesEnd,
                length <= UInt64(framesEnd - reader.offset), source < UInt64(sources.count)
            else { return false }
            time = time &+ (Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1))
            let start = reader.offset
            let end = start + Int(length)
            let position = firstPosition + UInt64(index)
            body(
                JournaledFrame(
                    intake: intake, position: position, source: sources[Int(source)],
                    receivedAt: Timestamp(milliseconds: time), isCovered: position < covered),
                reader.bytes.span.extracting(start..<end))
            reader = ByteReader(reader.bytes, from: end)
        }
        return reader.offset == framesEnd
    }
}
