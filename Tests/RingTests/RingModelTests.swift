// The ring's protocol over all interleavings: the sound one has no fault, every mutant has one. The model
// is a second statement of Ring.swift: `produce` of Producer.hasRoom, publish and advance, `consume` of
// Consumer.drain; its four orderings are the four that tsan.sh weakens in the ring itself.

import Testing

@Suite("Ring model") struct RingModelTests {
    @Test(
        "no interleaving loses, repeats or tears a reading",
        arguments: [
            (capacity: 2, count: 6, batch: 1, most: 1), (capacity: 2, count: 6, batch: 1, most: 2),
            (capacity: 4, count: 7, batch: 1, most: 3), (capacity: 4, count: 9, batch: 2, most: 3),
            (capacity: 8, count: 14, batch: 3, most: 5),
        ])
    func sound(capacity: Int, count: Int, batch: Int, most: Int) {
        // Both positions run over 2^64 on the way.
        for start in [0, UInt64.max - 2] {
            let walk = Exploration(
                RingModel(
                    capacity: capacity, count: count, batch: batch, most: most,
                    startingAt: start))
            #expect(walk.fault == nil)
            #expect(!walk.isStuck)
            #expect(walk.ends > 0)
            #expect(walk.states > 1000)
        }
    }

    @Test(
        "each weakened ordering and each wrong step is found",
        arguments: RingMutation.allCases.filter { $0 != .none })
    func mutants(mutation: RingMutation) {
        let walk = Exploration(
            RingModel(
                capacity: 2, count: 5, batch: 1, most: 2, startingAt: UInt64.max - 1,
                mutation: mutation))
        #expect(walk.fault != nil, "\(mutation): \(walk.states) states without a fault")
    }
}
