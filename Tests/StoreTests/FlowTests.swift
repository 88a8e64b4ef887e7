// What the store lets gateways send, which readings it refuses, and how long it keeps them.

import Batches
import Model
import Store
import Synchronization
import TestSupport
import Testing
import Uplink

/// A monotonic clock that takes `step` milliseconds at each look.
private final class SlowClock: Sendable {
    private let state = Mutex<(now: UInt64, step: UInt64)>((1_000_000_000, 0))

    func setStep(milliseconds: UInt64) { state.withLock { $0.step = milliseconds * 1_000_000 } }

    func now() -> Instant {
        state.withLock { state in
            state.now += state.step
            return Instant(nanoseconds: state.now)
        }
    }
}

private func credit(_ frames: [UplinkFrame]) -> Int? {
    for case .acknowledgement(let answer) in frames { return Int(answer.credit) }
    return nil
}

@Suite("Store flow")
struct FlowTests {
    let folder = TemporaryFolder()

    @Test("slow commits halve the credit down to one, quick ones give it back one by one")
    func latency() throws {
        let clock = SlowClock()
        var settings = StoreSettings()
        settings.now = { clock.now() }
        let store = try Store(directory: folder.path, settings: settings)
        var gateway = try Gateway(store)
        #expect(gateway.welcome?.credit == 8)
        _ = try gateway.send([.entries(definitions(1))])
        clock.setStep(milliseconds: 600)
        var seen: [Int?] = []
        for sequence in UInt64(1)...4 {
            seen.append(credit(try gateway.send([frame(sequence, [reading(1, .decimal(1))])])))
        }
        #expect(seen == [4, 2, 1, 1])
        #expect(store.status.lastCommitMilliseconds == 600)
        clock.setStep(milliseconds: 1)
        seen = []
        for sequence in UInt64(5)...12 {
            seen.append(credit(try gateway.send([frame(sequence, [reading(1, .decimal(1))])])))
        }
        #expect(seen == [2, 3, 4, 5, 6, 7, 8, 8])
    }

    @Test(
        "the credit shrinks with the disk and with the number of gateways, and ends at the reserve")
    func disk() throws {
        var settings = StoreSettings()
        settings.flow.reserveBytes = 100
        settings.flow.shared = 16
        let store = try Store(directory: folder.path, settings: settings)
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(1))])
        for (free, expected) in [(1000, 8), (400, 8), (250, 4), (101, 1), (99, 0)] {
            store.noteFree(bytes: free)
            let answers = try gateway.send([.ping(token: 1)])
            guard case .pong(_, _, let credit)? = answers.first else {
                Issue.record("no pong")
                return
            }
            #expect(Int(credit) == expected, "\(free) bytes free")
        }
        #expect(
            try gateway.verdicts([frame(1, [reading(1, .decimal(1))])]) == [.storageFull],
            "who sends all the same is told to keep it")
        store.noteFree(bytes: nil)
        var others: [Gateway] = []
        for number in 0..<31 { others.append(try Gateway(store, name: "gw-\(number)-more")) }
        #expect(store.status.gateways == 32 && store.status.credit == 1)
        #expect(try gateway.verdicts([frame(1, [reading(1, .decimal(1))])]) == [.stored])
        for other in others { other.session.ended() }
        #expect(store.status.credit == 8)
    }

    @Test(
        "a reading outside the store's times rejects its batch, by name, and nothing of it is kept")
    func rules() throws {
        var settings = StoreSettings()
        settings.rules.maximumAhead = 1000
        settings.rules.maximumAge = 10_000
        let store = try Store(directory: folder.path, settings: settings)
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(1))])
        let good = reading(1, .decimal(1))
        let cases: [(Int64, VerdictReason)] = [
            (1000, .stored), (1001, .refusedReading), (-10_000, .stored),
            (-10_001, .refusedReading), (.max - noon.milliseconds, .refusedReading),
            (.min + 1_000_000, .refusedReading),
        ]
        var sequence: UInt64 = 0
        for (offset, expected) in cases {
            sequence += 1
            let verdicts = try gateway.verdicts([
                frame(sequence, [good, reading(2, .decimal(2), at: offset)])
            ])
            #expect(verdicts == [expected], "\(offset)")
        }
        #expect(try StoreReader(directory: folder.path).counts().readings == 4)
    }

    @Test(
        "what is older than the retention goes, what is younger stays, and no sequence comes twice")
    func retention() throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(20))])
        let day: Int64 = 86_400_000
        for sequence in UInt64(1)...30 {
            let readings = (1...UInt32(40)).map {
                reading($0, .decimal(Int64(sequence)), at: (Int64(sequence) - 31) * day)
            }
            #expect(try gateway.verdicts([frame(sequence, readings)]) == [.stored])
        }
        while try store.settle(rows: 100) {}
        let cutoff = Timestamp(milliseconds: noon.milliseconds - 10 * day - day / 2)
        var passes = 0
        while try store.prune(before: cutoff, rows: 37) { passes += 1 }
        let reader = try StoreReader(directory: folder.path)
        let rows = try reader.query(QueryFilter(limit: .max))
        #expect(rows.count == 10 * 40 && rows.allSatisfy { $0.observedAt >= cutoff })
        #expect(passes > 20)
        #expect(try reader.counts().batches == 30, "they arrived just now")
        let later = Timestamp(milliseconds: noon.milliseconds + day)
        while try store.prune(before: later, rows: 1000) {}
        #expect(try reader.query(QueryFilter(limit: .max)).isEmpty)
        var again = try Gateway(store)
        let repeated = (1...UInt32(40)).map { reading($0, .decimal(3), at: -28 * day) }
        #expect(try again.verdicts([frame(3, repeated)]) == [.duplicate])
    }
}
