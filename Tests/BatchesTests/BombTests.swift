// What may come out of a batch: bounded by the readings that it states, whatever it was squeezed to. Honest
// batches stay below, bombs are refused by name before anything of their size is made.

import Batches
import Model
import Testing

@Suite("Expansion")
struct BombTests {
    /// The least `expandedBytesPerReading` at which a batch is taken, beside the usual base.
    private func need(_ bytes: [UInt8]) -> Int {
        var (low, high) = (0, 1024)
        while low < high {
            let middle = (low + high) / 2
            let limits = BatchLimits(expandedBytesPerReading: middle)
            if (try? BatchCodec.decode(bytes, limits: limits)) != nil {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return low
    }

    @Test(
        "honest batches of every habit and effort stay below the limit", arguments: Habit.allCases)
    func honest(habit: Habit) {
        var random = SplitMix64(seed: 41)
        var most = 0
        for effort in BatchEffort.allCases {
            for size in [1, 60, 2000] {
                let input = readings(habit, count: size, &random)
                most = max(most, need(encoded(input, effort: effort)))
            }
        }
        print("expanded bytes a reading beside 4,096, \(habit): \(most)")
        #expect(most <= BatchLimits().expandedBytesPerReading)
    }

    @Test("a day of one value a second expands ten thousand times and is taken")
    func constant() throws {
        let input = (0..<86_400).map { reading(stream: 1, bits: 230, observed: Int64($0) * 1000) }
        let bytes = encoded(input)
        let ratio = input.count * MemoryLayout<Reading>.stride / bytes.count
        print("a day of one value: \(bytes.count) bytes, \(ratio) times")
        #expect(ratio > 10_000)
        let isSame = try BatchCodec.decode(bytes).readings == input
        #expect(isSame)
    }

    /// A batch that states so many readings, then a first section that announces `size` expanded bytes.
    private func bomb(readings: Int, size: UInt64, isCoded: Bool) -> [UInt8] {
        var bytes: [UInt8] = [2, 0x53, 0x4C, 0x42, isCoded ? 2 : 0, 1]
        put(UInt64(readings), &bytes)
        bytes += [0, 0, 0, 0, 0]
        put(size << 2 | 1, &bytes)
        let packed = [UInt8](repeating: 0x55, count: Int(size) / 1000 + 1)
        put(UInt64(packed.count), &bytes)
        return resealed(bytes + packed + [0, 0, 0, 0])
    }

    private func put(_ value: UInt64, _ bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    @Test("a bomb is refused by name before it is expanded")
    func bombs() {
        let cases: [(readings: Int, size: UInt64, BatchError?)] = [
            (1, 4160, nil), (1, 4161, .expandsTooFar), (1, 1 << 20, .expandsTooFar),
            (10, 60 << 20, .expandsTooFar), (1000, 68_096, nil), (1000, 68_097, .expandsTooFar),
            (1_000_000, 65 << 20, .tooLarge), (1_000_001, 100, .tooLarge),
        ]
        for isCoded in [false, true] {
            for (readings, size, expected) in cases {
                var error: BatchError?
                do throws(BatchError) {
                    _ = try BatchCodec.decode(
                        bomb(readings: readings, size: size, isCoded: isCoded))
                } catch let thrown { error = thrown }
                if let expected {
                    #expect(error == expected, "\(readings) readings, \(size) bytes")
                } else if case .malformed? = error {
                    // Within the limits, and then found to be no deflate stream.
                } else {
                    Issue.record("\(readings) readings, \(size) bytes: \(error as Any)")
                }
            }
        }
    }
}
