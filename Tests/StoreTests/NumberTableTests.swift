// Catalog numbers to rows: a dictionary is the model.

import Model
import TestSupport
import Testing

@testable import Store

@Suite("Number table")
struct NumberTableTests {
    @Test("holds what a dictionary holds, whatever the order, and never allocates by a number")
    func model() {
        for seed in UInt64(1)...20 {
            var random = SplitMix64(seed: seed)
            var table = NumberTable()
            var model: [UInt32: Int64] = [:]
            for _ in 0..<3000 {
                let number: UInt32 =
                    switch random.next() % 8 {
                    case 0: UInt32(truncatingIfNeeded: random.next())
                    case 1: UInt32(random.next() % 5000)
                    case 2: random.chance(0.5) ? .max : 0
                    default: UInt32(model.count + 1)
                    }
                let row = Int64(random.next() % 1_000_000) + 1
                table.set(row, for: number)
                model[number] = row
                let asked = UInt32(random.next() % 6000)
                #expect(table[asked] == model[asked], "seed \(seed), number \(asked)")
                #expect(table[number] == row, "seed \(seed), number \(number)")
            }
            #expect(table.count == model.count, "seed \(seed)")
            #expect(table.highest == model.keys.max(), "seed \(seed)")
            #expect(model.allSatisfy { table[$0.key] == $0.value }, "seed \(seed)")
            #expect(table.places < 20_000, "seed \(seed)")
        }
    }
}
