// The journal buffer and its parts: what goes in comes out, and nothing in a part can hurt.

import Model
import Testing

@testable import Spool

@Suite struct JournalTests {
    struct Entry: Equatable {
        var position: UInt64
        var source: String
        var time: Int64
        var bytes: [UInt8]
        var isCovered: Bool
    }

    static func entries(_ part: StoredPart, coveredBefore covered: UInt64 = 0) -> ([Entry], Bool) {
        var found: [Entry] = []
        let isWhole = part.forEach(coveredBefore: covered) { frame, bytes in
            found.append(
                Entry(
                    position: frame.position, source: frame.source.name,
                    time: frame.receivedAt.milliseconds, bytes: copied(bytes),
                    isCovered: frame.isCovered))
        }
        return (found, isWhole)
    }

    @Test("gives back frames, sources, times and counters as they were", arguments: 0..<20)
    func roundTrip(seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed))
        let sources = ["udp", "tcp-1", "tty"].map { JournalSource(name: $0, format: "dlt645") }
        var buffer = JournalBuffer(intake: 3, capacity: 1 << 12, firstPosition: 900)
        var counters = IntakeCounters()
        var position: UInt64 = 900
        for _ in 0..<5 {
            var expected: [Entry] = []
            for _ in 0..<Int.random(in: 0...60, using: &random) {
                let count = Int.random(in: 0...200, using: &random)
                let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
                let source = Int.random(in: 0..<3, using: &random)
                // Jumps of the clock in both directions, up to the ends of the range.
                let time = Int64.random(in: .min ... .max, using: &random)
                buffer.append(
                    bytes.span, source: UInt16(source), receivedAt: Timestamp(milliseconds: time))
                expected.append(
                    Entry(
                        position: position, source: sources[source].name, time: time, bytes: bytes,
                        isCovered: position < 930))
                position += 1
                counters.framesReceived += 1
            }
            #expect(buffer.nextPosition == position)
            #expect(buffer.count == expected.count)
            counters[.badChecksum] += 7
            counters[.missing] = .max
            let part = buffer.take(sources: sources, counters: counters)
            #expect(part.frameCount == expected.count)
            #expect(part.nextPosition == position)
            #expect(buffer.isEmpty && buffer.firstPosition == position)
            let stored = try #require(StoredPart(part.bytes), "seed \(seed)")
            #expect(stored.intake == 3)
            #expect(stored.newestReceivedAt == part.newestReceivedAt)
            #expect(part.newestReceivedAt.milliseconds == expected.map(\.time).max() ?? 0)
            let (found, isWhole) = JournalTests.entries(stored, coveredBefore: 930)
            #expect(isWhole)
            #expect(found == expected, "seed \(seed)")
            #expect(same(stored.counters, counters))
        }
    }

    @Test("a frame costs three bytes beside its own")
    func overhead() {
        var buffer = JournalBuffer(intake: 0, capacity: 64 << 10)
        let frame = [UInt8](repeating: 1, count: 100)
        for _ in 0..<600 {
            buffer.append(frame.span, source: 1, receivedAt: Timestamp(milliseconds: 1))
        }
        #expect(buffer.byteCount == JournalBuffer.headerSize + 600 * 103)
    }

    @Test("a part cut at any byte or with any byte changed never traps")
    func hostile() {
        var buffer = JournalBuffer(intake: 0, capacity: 1024)
        for i in 0..<5 {
            let frame = [UInt8](repeating: UInt8(i), count: i * 3)
            buffer.append(frame.span, source: 0, receivedAt: Timestamp(milliseconds: Int64(i)))
        }
        let sources = [JournalSource(name: "a", format: "b")]
        let bytes = buffer.take(sources: sources, counters: IntakeCounters()).bytes
        for end in 0..<bytes.count {
            let cut = StoredPart(Array(bytes[..<end]))
            #expect(cut == nil, "cut at \(end)")
        }
        for offset in bytes.indices {
            for value: UInt8 in [0, 1, 0x7F, 0x80, 0xFF] {
                var changed = bytes
                changed[offset] = value
                guard let part = StoredPart(changed) else { continue }
                let (found, _) = JournalTests.entries(part)
                #expect(found.count <= bytes.count)
            }
        }
    }

    @Test("state of a cut comes back, cut at any byte it is refused")
    func cutState() throws {
        var state = CutState()
        state.epoch = 77
        state.covered = [0, 5, 1 << 40]
        state.counters = [IntakeCounters(), IntakeCounters(), IntakeCounters()]
        state.counters[1].framesDecoded = 5
        state.revisions = [
            BucketRevision(bucketStart: Timestamp(milliseconds: -60_000), revision: 1),
            BucketRevision(bucketStart: Timestamp(milliseconds: 1 << 41), revision: .max),
        ]
        let bytes = state.encode()
        let back = try #require(CutState.decode(bytes))
        #expect(back.epoch == 77)
        #expect(back.covered == state.covered)
        #expect(back.revisions == state.revisions)
        #expect(same(back.counters[1], state.counters[1]))
        for end in 0..<bytes.count { #expect(CutState.decode(Array(bytes[..<end])) == nil) }
    }

    @Test("every named counter survives")
    func everyCounter() throws {
        var counters = IntakeCounters()
        for (index, entry) in counters.named.enumerated() {
            counters.set(entry.name, to: UInt64(index * 1000 + 1))
        }
        let back = try #require(CounterCoding.decode(CounterCoding.encode(counters)))
        #expect(same(back, counters))
        #expect(CounterCoding.encode(counters).count <= CounterCoding.maximumSize)
    }
}

func same(_ a: IntakeCounters, _ b: IntakeCounters) -> Bool {
    a.named.elementsEqual(b.named) { $0.name == $1.name && $0.value == $1.value }
}

func copied(_ span: Span<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    for i in 0..<span.count { bytes.append(span[i]) }
    return bytes
}
