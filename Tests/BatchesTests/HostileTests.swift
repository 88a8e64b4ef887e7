// Batches come from disks and networks: nothing in them may trap, hang, or take memory that their
// limits do not allow.

import Batches
import Model
import Testing

@Suite("Hostile batches")
struct HostileTests {
    private static func small() -> [Reading] {
        var random = SplitMix64(seed: 11)
        return readings(.mixed, count: 40, &random) + readings(.sleepers, count: 30, &random)
            + readings(.decimals, count: 30, &random)
    }

    @Test("refuses a batch cut after any byte")
    func truncation() {
        let bytes = encoded(HostileTests.small())
        for count in 0..<bytes.count {
            let cut = Array(bytes.prefix(count))
            #expect(throws: BatchError.self, "cut at \(count)") { try BatchCodec.decode(cut) }
            #expect(throws: BatchError.self, "cut at \(count)") { try BatchCodec.info(cut) }
        }
    }

    @Test("refuses a batch with any one bit turned")
    func bitFlips() {
        let bytes = encoded(HostileTests.small())
        for bit in 0..<bytes.count * 8 {
            var turned = bytes
            turned[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: BatchError.self, "bit \(bit)") { try BatchCodec.decode(turned) }
        }
    }

    @Test("names what is wrong with the first bytes")
    func reasons() {
        let bytes = encoded(HostileTests.small())
        func reason(_ change: (inout [UInt8]) -> Void, reseal: Bool = true) -> BatchError? {
            var changed = bytes
            change(&changed)
            do throws(BatchError) {
                _ = try BatchCodec.decode(reseal ? resealed(changed) : changed)
                return nil
            } catch { return error }
        }
        #expect(reason { $0 = [] } == .truncated)
        #expect(reason { $0[0] = 1 } == .badVersion(1))
        #expect(reason { $0[0] = 3 } == .badVersion(3))
        #expect(reason { $0[1] = 0 } == .badMagic)
        #expect(reason { $0[4] = 1 } == .unsupported(flags: 1))
        #expect(reason { $0[4] = 4 } == .unsupported(flags: 4))
        #expect(reason { $0[5] = 3 } == .malformed(at: 5))
        #expect(reason({ $0[20] ^= 1 }, reseal: false) == .badChecksum)
        #expect(reason { $0.insert(0, at: $0.count - 4) } != nil)
    }

    @Test("survives every byte replaced under a right checksum")
    func everyByte() {
        let bytes = encoded(HostileTests.small(), effort: .stored)
        for offset in 6..<bytes.count - 4 {
            for value in [UInt8(0), 1, 0x7F, 0x80, 0xFF] {
                var changed = bytes
                changed[offset] = value
                check(resealed(changed))
            }
        }
    }

    @Test("survives random mutations under a right checksum", arguments: Habit.allCases)
    func mutations(habit: Habit) {
        var random = SplitMix64(seed: 21)
        for round in 0..<1_000 {
            let size = round % 4 == 0 ? 3 : 60
            let effort = round % 2 == 0 ? BatchEffort.stored : .fast
            var bytes = encoded(readings(habit, count: size, &random), effort: effort)
            for _ in 0...random.below(4) {
                let offset = 6 + random.below(bytes.count - 10)
                switch random.below(4) {
                case 0: bytes[offset] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes[offset] ^= 1 << UInt8(random.below(8))
                case 2: bytes.remove(at: offset)
                default: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: offset)
                }
            }
            check(resealed(bytes))
        }
    }

    /// Either refused, or no more readings than the header and the limits say.
    private func check(_ bytes: [UInt8]) {
        let limits = BatchLimits(maximumReadings: 5_000, maximumExpandedBytes: 1 << 20)
        guard let batch = try? BatchCodec.decode(bytes, limits: limits) else { return }
        #expect(batch.readings.count == batch.info.readings)
        #expect(batch.readings.count <= limits.maximumReadings)
    }

    @Test("refuses more readings, more expanded bytes or a higher ratio than its limits")
    func limits() throws {
        // Values alternate so that every reading has a byte of its own, all of them alike.
        let input = (0..<200_000).map { reading(stream: 1, bits: UInt64($0 & 1), observed: 3) }
        for effort in [BatchEffort.normal, .deflated] {
            let bytes = encoded(input, effort: effort)
            #expect(bytes.count < 1_000)
            // Not inside #expect, which would print what was decoded.
            let count = try BatchCodec.decode(bytes).readings.count
            #expect(count == 200_000)
            for limits in [
                BatchLimits(maximumReadings: 199_999), BatchLimits(maximumExpandedBytes: 100_000),
                BatchLimits(maximumRatio: 100),
            ] {
                var error: BatchError?
                do throws(BatchError) {
                    _ = try BatchCodec.decode(bytes, limits: limits)
                } catch let thrown { error = thrown }
                #expect(error == .tooLarge, "\(effort), \(limits)")
            }
        }
    }

    @Test("a batch of one value repeated is small in every effort and comes back")
    func repeated() throws {
        for bits in [UInt64(0), 1, UInt64(1) << 63, .max] {
            let input = (0..<30_000).map {
                reading(stream: 1, bits: $0 % 3 == 0 ? bits : bits &+ 1, observed: Int64($0))
            }
            for effort in BatchEffort.allCases where effort != .stored {
                let bytes = encoded(input, effort: effort)
                let isSame = try BatchCodec.decode(bytes).readings == input
                #expect(isSame && bytes.count < 8_000, "\(bits), \(effort)")
            }
        }
    }

    /// Twenty prices, the last two an ulp beside their decimals.
    private static func misfits(stream: UInt32) -> [Reading] {
        (0..<20).map { n in
            let price = Double(2_150 + n) / 100
            return reading(
                stream: stream, kind: .double, bits: (n < 18 ? price : price.nextUp).bitPattern,
                observed: Int64(n))
        }
    }

    @Test("refuses doubles beside their decimals that are not of their stream")
    func misfitsBeyond() throws {
        // The first skips all but one of the stream's values; one more, and the second is of no value,
        // or of the next stream's.
        for streams in [UInt32(1), 2] {
            let input = (1...streams).flatMap { HostileTests.misfits(stream: $0) }
            let bytes = encoded(input, effort: .stored)
            let same = try BatchCodec.decode(bytes).readings == grouped(input)
            #expect(same)
            let places = bytes.indices.dropLast(2).filter {
                bytes[$0] == 18 && bytes[$0 + 1] != 0 && bytes[$0 + 2] == 0
            }
            #expect(!places.isEmpty)
            for place in places {
                var changed = bytes
                changed[place] = 19
                #expect(throws: BatchError.self) { try BatchCodec.decode(resealed(changed)) }
            }
        }
    }

    @Test("refuses tables of shapes and forms that are empty")
    func emptyTables() {
        // One stream, schedule and clock, no shapes, no time forms, no forms, one row, unit 0,
        // kind 0, clock 0, no selection, stride 0, stream 0, schedule 0, shape 1 and form 0.
        let head: [UInt8] = [1, 1, 1, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 1, 0]
        for mixed in [UInt8(0), 1] {
            var bytes: [UInt8] = [2, 0x53, 0x4C, 0x42, 2, 1, 1, 0, 0, 0, 0, 0]
            bytes += [UInt8(head.count << 2)] + head.dropLast(2) + [mixed, 0]
            bytes += [4, 0, 8, 0, 0, 0, 0, 0, 0, 0]
            #expect(throws: BatchError.self) { try BatchCodec.decode(resealed(bytes)) }
        }
    }

    @Test("refuses announced sizes that are not there before it allocates")
    func announcedSizes() {
        // Header of a good batch, then a head section that announces much more than there is.
        let bytes = encoded([reading(stream: 1, observed: 1_700_000_000_000)])
        var reader = 6
        for _ in 0..<6 {
            while bytes[reader] >= 0x80 { reader += 1 }
            reader += 1
        }
        for word: [UInt8] in [
            [0xFD, 0xFF, 0xFF, 0x7F, 4], [0xFC, 0xFF, 0xFF, 0x7F],
            [0xFD, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 4],
        ] {
            var changed = bytes
            changed.replaceSubrange(reader...reader, with: word)
            #expect(throws: BatchError.self) { try BatchCodec.decode(resealed(changed)) }
        }
    }

    @Test("noise is no batch")
    func noise() {
        var random = SplitMix64(seed: 31)
        for _ in 0..<2_000 {
            var bytes = Array(encoded([reading(stream: 1)]).prefix(6))
            for _ in 0..<random.below(120) {
                bytes.append(UInt8(truncatingIfNeeded: random.next()))
            }
            check(resealed(bytes + [0, 0, 0, 0]))
        }
    }
}
