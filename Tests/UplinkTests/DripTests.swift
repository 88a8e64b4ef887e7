// A store whose answers come one byte a second: what it has said counts in the end, and nothing more is
// sent meanwhile than it gave credit for.

import Model
import Testing
import Uplink

@Suite struct DripTests {
    @Test("row 11: answers of one byte a second settle each batch once, with no more in flight")
    func drip() throws {
        var script = Script(inFlight: 4)
        try script.open(credit: 4)
        var waiting = (1...12).map { batch(UInt64($0)) }
        var stored: [UInt64] = []
        var acknowledged: [UInt64] = []
        var dripping: [UInt8] = []
        var seconds = 0
        func handle(_ effects: [Forwarder.Effect]) throws {
            for effect in effects {
                switch effect {
                case .lease(let excluding, let room, _):
                    let free = waiting.filter { !excluding.contains($0.sequence) }
                    let some = Array(free.prefix(room.all))
                    try handle(script.step(.leased(some)))
                case .needEntries: try handle(script.step(.entries([])))
                case .acknowledged(let sequences):
                    acknowledged += sequences
                    waiting.removeAll { sequences.contains($0.sequence) }
                case .close:
                    // What was said and did not arrive is lost; the next welcome tells what is stored.
                    dripping = []
                    script.reader = FrameReader(side: .store)
                case .connect:
                    try handle(script.step(.connected))
                    _ = try script.sent()
                    let committed = CommittedSet(
                        through: UInt64(stored.max() ?? 0), runs: [])
                    try handle(script.welcome(credit: 4, committed: committed))
                default: break
                }
            }
        }
        // The first lease was asked for when it opened.
        try handle(script.step(.leased(Array(waiting.prefix(4)))))
        while acknowledged.count < 12, seconds < 3600 {
            seconds += 1
            script.wait(milliseconds: 1000)
            for sequence in sequences(try script.sent()) where !stored.contains(sequence) {
                stored.append(sequence)
                dripping += FrameEncoding.acknowledgement(
                    [Acknowledgement.Entry(sequence: sequence, reason: .stored, detail: "")],
                    credit: 4)
            }
            if !dripping.isEmpty {
                try handle(script.step(.received([dripping.removeFirst()])))
            }
            if let deadline = script.forwarder.deadline, deadline <= script.now {
                try handle(script.step(.timer))
            }
            #expect(stored.count - acknowledged.count <= 4)
        }
        #expect(acknowledged.sorted() == Array(1...12))
        #expect(seconds < 3600, "\(seconds) s")
    }
}
