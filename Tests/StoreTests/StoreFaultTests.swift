// The store on a disk that fails: rows of the fault list in reliability.md, section 3, on its side. The law
// of all: what was acknowledged is on the disk, exactly once; what failed is taken when it comes again.

import Batches
import Model
import Store
import TestSupport
import Testing
import Uplink

@Suite("Store faults")
struct StoreFaultTests {
    let folder = TemporaryFolder()

    /// What the store owes after some verdicts.
    private struct Owed {
        var acknowledged: Set<UInt64> = []

        mutating func note(_ sequence: UInt64, _ verdicts: [VerdictReason]) {
            if verdicts == [.stored] || verdicts == [.duplicate] { acknowledged.insert(sequence) }
        }
    }

    private func readings(of sequence: UInt64) -> [Reading] {
        (0..<UInt32(10)).map {
            reading(1 + $0 % 6, .decimal(Int64(sequence)), at: Int64(sequence) * 100 + Int64($0))
        }
    }

    /// Everything that was acknowledged is in a copy of the disk, once, and everything else can come.
    private func check(
        _ owed: Owed, upTo last: UInt64, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        // Elsewhere: the disk of the copy does not fail.
        let other = TemporaryFolder()
        let copy = other.path + "/copy"
        TemporaryFolder.copy(folder.path, to: copy)
        let store = try Store(directory: copy, settings: StoreSettings())
        #expect(store.salvage == nil, sourceLocation: sourceLocation)
        var gateway = try Gateway(store)
        for sequence in owed.acknowledged {
            #expect(
                gateway.welcome?.committed.contains(sequence) == true, "\(sequence)",
                sourceLocation: sourceLocation)
        }
        _ = try gateway.send([.entries(definitions(3))])
        for sequence in UInt64(1)...last {
            let verdicts = try gateway.verdicts([frame(sequence, readings(of: sequence))])
            #expect(
                verdicts == [.stored] || verdicts == [.duplicate], sourceLocation: sourceLocation)
            if owed.acknowledged.contains(sequence) {
                #expect(verdicts == [.duplicate], sourceLocation: sourceLocation)
            }
        }
        let reader = try StoreReader(directory: copy)
        let counts = try reader.counts()
        #expect(counts.readings == 10 * Int(last), sourceLocation: sourceLocation)
        #expect(counts.batches == Int(last), sourceLocation: sourceLocation)
        #expect(try reader.duplicates().total == 0, sourceLocation: sourceLocation)
    }

    @Test(
        "rows 4 to 7, the store: while writes fail nothing is acknowledged, no credit; then it heals",
        arguments: [
            (FaultyDisk.Operation.write, FaultyDisk.Code.full), (.write, FaultyDisk.Code.write),
            (.write, FaultyDisk.Code.readOnly), (.flush, FaultyDisk.Code.flush),
        ])
    func outage(operation: FaultyDisk.Operation, code: Int32) throws {
        let disk = FaultyDisk(folder.path)
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(3))])
        var owed = Owed()
        for sequence in UInt64(1)...5 {
            owed.note(sequence, try gateway.verdicts([frame(sequence, readings(of: sequence))]))
        }
        #expect(owed.acknowledged.count == 5)
        disk.fail(operation, code)
        for sequence in UInt64(6)...10 {
            let verdicts = try gateway.verdicts([frame(sequence, readings(of: sequence))])
            #expect(verdicts.count == 1 && verdicts[0].verdict == .retry, "\(verdicts)")
            #expect(store.status.credit == 0 && store.status.failure != nil)
        }
        // It asks while the disk still fails, and hears of no credit.
        #expect(try pong(&gateway) == 0)
        try check(owed, upTo: 10)
        disk.heal()
        #expect(try pong(&gateway) == 1, "one batch to begin with")
        #expect(store.status.failure == nil)
        for sequence in UInt64(6)...10 {
            owed.note(sequence, try gateway.verdicts([frame(sequence, readings(of: sequence))]))
        }
        #expect(owed.acknowledged.count == 10)
        #expect(store.status.credit > 1)
        try check(owed, upTo: 10)
    }

    private func pong(_ gateway: inout Gateway) throws -> Int? {
        for case .pong(_, _, let credit) in try gateway.send([.ping(token: 1)]) {
            return Int(credit)
        }
        return nil
    }

    @Test("rows 5, 6, the store: each write, flush or truncation fails once, wholly, half or done")
    func eachCall() throws {
        var failed = 0
        let codes: [(FaultyDisk.Operation, Int32, StrideTo<Int>)] = [
            (.write, FaultyDisk.Code.write, stride(from: 0, to: 40, by: 8)),
            (.write, FaultyDisk.Code.full, stride(from: 3, to: 40, by: 8)),
            (.flush, FaultyDisk.Code.flush, stride(from: 0, to: 8, by: 2)),
            (.truncate, FaultyDisk.Code.truncate, stride(from: 0, to: 2, by: 1)),
        ]
        for (operation, code, skips) in codes {
            for effect in [FaultyDisk.Effect.nothing, .half, .all] {
                for skip in skips { failed += try round(operation, code, effect, skip: skip) }
            }
        }
        #expect(failed > 30)
    }

    private func round(
        _ operation: FaultyDisk.Operation, _ code: Int32, _ effect: FaultyDisk.Effect, skip: Int
    ) throws -> Int {
        TemporaryFolder.remove(folder.path)
        try makeDirectory(folder.path)
        let disk = FaultyDisk(folder.path)
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(3))])
        disk.fail(operation, code, after: skip, times: 1, effect: effect)
        var owed = Owed()
        for sequence in UInt64(1)...6 {
            owed.note(sequence, try gateway.verdicts([frame(sequence, readings(of: sequence))]))
            if sequence.isMultiple(of: 2) { _ = try? store.settle(rows: 12) }
        }
        try check(owed, upTo: 6)
        return disk.failed
    }

    // MARK: Turns

    @Test("one commit takes the batches of many gateways, and each hears of its own")
    func together() throws {
        let disk = FaultyDisk(folder.path)
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateways = try (0..<20).map { try Gateway(store, name: "gw-\($0)") }
        for place in gateways.indices { _ = try gateways[place].send([.entries(definitions(3))]) }
        let before = (store.status.commits, disk.calls(.flush))
        for gateway in gateways {
            gateway.session.take(frame(1, readings(of: 1)).encoded(), now: noon)
        }
        #expect(store.status.commits == before.0, "nothing is answered before the turn ends")
        store.endTurn()
        #expect(store.status.commits == before.0 + 1 && store.status.batches == 20)
        #expect(disk.calls(.flush) - before.1 == 1)
        for place in gateways.indices {
            #expect(try gateways[place].answered() == [.stored])
        }
        disk.fail(.flush, FaultyDisk.Code.flush, times: 1)
        for gateway in gateways {
            gateway.session.take(frame(2, readings(of: 2)).encoded(), now: noon)
        }
        store.endTurn()
        for place in gateways.indices {
            #expect(try gateways[place].answered() == [.storageFailed])
            #expect(try gateways[place].verdicts([frame(2, readings(of: 2))]) == [.stored])
        }
        #expect(try StoreReader(directory: folder.path).duplicates().acrossBatches == 0)
    }

    @Test(
        "what is wrong with one gateway's definitions takes nothing from its neighbours in a turn")
    func neighbours() throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var good = try Gateway(store, name: "good")
        var bad = try Gateway(store, name: "bad")
        _ = try bad.send([.entries(definitions(2))])
        good.session.take(
            [.entries(definitions(3)), frame(1, readings(of: 1))].flatMap { $0.encoded() },
            now: noon)
        bad.session.take(
            [.entries(definitions(1, prefix: "other-")), frame(1, readings(of: 1))]
                .flatMap { $0.encoded() }, now: noon)
        var late = try Gateway(store, name: "late", withHello: false)
        // Its welcome tells what is committed: the turn ends for all.
        _ = try late.greet(name: "good")
        #expect(late.welcome?.committed.through == 1)
        store.endTurn()
        #expect(try good.answered() == [.stored])
        let parting = try bad.frames()
        #expect(parting.goodbye == .conflict && bad.isClosed)
        let counts = try StoreReader(directory: folder.path).counts()
        #expect(counts.batches == 1 && counts.devices == 5)
    }
}

extension StoreFaultTests {
    @Test("a batch that states more than its frame, or would expand beyond it, is refused by name")
    func bombs() throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(1))])
        let many = BatchCodec.encode(
            (0..<50_000).map { reading(1, .decimal(1), at: Int64($0)) }, bucketStart: noon,
            bucketMilliseconds: 60_000, revision: 0, priority: .live
        ).bytes
        // A header of one reading before the sections of fifty thousand.
        let one = BatchCodec.encode(
            [reading(1, .decimal(1))], bucketStart: noon, bucketMilliseconds: 60_000, revision: 0,
            priority: .live
        ).bytes
        var bomb = Array(one.prefix(6)) + [1]
        bomb += [0, 0, 0, 0, 0] + [0x81, 0x80, 0x80, 2, 4, 0x55, 0x55, 0x55, 0x55]
        bomb += (0..<4).map { UInt8(truncatingIfNeeded: CRC32.of(bomb) >> UInt32(8 * $0)) }
        let cases: [([UInt8], Int, VerdictReason, String)] = [
            (many, 10, .unreadable, "50000 readings, announced 10"),
            (bomb, 1, .tooLarge, "expands beyond what 1 readings take"),
        ]
        for (bytes, announced, reason, detail) in cases {
            let answers = try gateway.send([frame(1, bytes: bytes, readings: announced)])
            guard case .acknowledgement(let answer)? = answers.first else {
                Issue.record("no answer")
                return
            }
            #expect(answer.entries.map(\.reason) == [reason] && answer.entries[0].detail == detail)
        }
        #expect(try gateway.verdicts([frame(1, bytes: many, readings: 50_000)]) == [.stored])
    }
}
