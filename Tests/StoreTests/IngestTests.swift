// What the store does with batches: once, exactly, on disk before it answers, whatever is sent.

import Batches
import Model
import SQLite
import Store
import TestSupport
import Testing
import Uplink

@Suite("Store ingest")
struct IngestTests {
    let folder = TemporaryFolder()

    func store(_ settings: StoreSettings = StoreSettings()) throws -> Store {
        try Store(directory: folder.path, settings: settings)
    }

    @Test("stores a batch once, however often it is sent, on any connection")
    func idempotent() throws {
        let store = try store()
        var gateway = try Gateway(store)
        let batch = frame(4, [reading(1, .decimal(2305, exponent: -1)), reading(2, .decimal(7))])
        #expect(
            try gateway.verdicts([.entries(definitions(1)), batch, batch]) == [.stored, .duplicate])
        #expect(try gateway.verdicts([batch]) == [.duplicate])
        var second = try Gateway(store)
        #expect(second.welcome?.committed == CommittedSet(through: 0, runs: [4...4]))
        #expect(second.welcome?.knownDevice == 1 && second.welcome?.knownStream == 2)
        #expect(try second.verdicts([batch]) == [.duplicate])
        let counts = try StoreReader(directory: folder.path).counts()
        #expect(counts.readings == 2 && counts.batches == 1 && counts.readingsInBatches == 2)
    }

    @Test("an older connection of the same gateway is told that it was replaced")
    func replaced() throws {
        let store = try store()
        var old = try Gateway(store)
        var new = try Gateway(store)
        #expect(try old.send([.entries(definitions(1))]).goodbye == .replaced)
        #expect(old.isClosed)
        #expect(
            try new.verdicts([.entries(definitions(1)), frame(1, [reading(1, .decimal(1))])]) == [
                .stored
            ])
    }

    @Test("everything acknowledged is there after a crash at that moment", arguments: [1, 2, 3])
    func crash(seed: Int) throws {
        let store = try store()
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(3))])
        var acknowledged: [UInt64] = []
        for sequence in UInt64(1)...20 {
            let readings = (0..<UInt32(10)).map {
                reading(1 + $0 % 6, .decimal(Int64(sequence)), at: Int64($0) * 1000)
            }
            let verdicts = try gateway.verdicts([frame(sequence, readings)])
            if verdicts == [.stored] { acknowledged.append(sequence) }
            if sequence % UInt64(4 + seed) == 0 { _ = try store.settle(rows: 17 * seed) }
            // The power goes: what is on disk now, with no close.
            let copy = folder.path + "/copy-\(sequence)"
            TemporaryFolder.copy(folder.path, to: copy)
            let revived = try Store(directory: copy, settings: StoreSettings())
            var again = try Gateway(revived)
            #expect(again.welcome?.committed.through == sequence)
            #expect(try again.verdicts([frame(sequence, readings)]) == [.duplicate])
            let reader = try StoreReader(directory: copy)
            let counts = try reader.counts()
            #expect(
                counts.readings == 10 * acknowledged.count && counts.batches == acknowledged.count)
            #expect(try reader.duplicates().total == 0)
        }
        #expect(acknowledged.count == 20)
    }

    @Test("goes on after being abandoned and opened again: numbers rise, nothing is repeated")
    func reopen() throws {
        for round in UInt64(0)..<4 {
            let store = try store()
            var gateway = try Gateway(store)
            #expect(gateway.welcome?.committed.through == round)
            let batch = frame(round + 1, [reading(1, .decimal(Int64(round)), at: Int64(round))])
            #expect(try gateway.verdicts([.entries(definitions(1)), batch]) == [.stored])
            if round == 1 { while try store.settle() {} }
        }
        let rows = try StoreReader(directory: folder.path).query(QueryFilter())
        #expect(rows.map(\.value) == (0..<4).map { .decimal($0) })
        #expect(Set(rows.map(\.position.row)).count == 4)
    }

    @Test("rejects what is no batch, with its reason, and takes the next")
    func hostile() throws {
        let store = try store()
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(1))])
        let good = BatchCodec.encode(
            [reading(1, .decimal(5))], bucketStart: noon, bucketMilliseconds: 60_000, revision: 0,
            priority: .live
        ).bytes
        func verdict(_ frame: UplinkFrame) throws -> [VerdictReason] {
            try gateway.verdicts([frame])
        }
        #expect(try verdict(frame(1, bytes: [], readings: 0)) == [.unreadable])
        #expect(try verdict(frame(1, bytes: [1, 2, 3], readings: 1)) == [.unreadable])
        #expect(try verdict(frame(1, bytes: good, readings: 2)) == [.unreadable])
        for count in good.indices {
            #expect(
                try verdict(frame(1, bytes: Array(good[..<count]), readings: 1)) == [.unreadable])
        }
        for place in good.indices {
            var flipped = good
            flipped[place] ^= 0x10
            let got = try verdict(frame(1, bytes: flipped, readings: 1))
            #expect(got.count == 1 && got[0].verdict == .rejected, "byte \(place)")
        }
        let damaged = UplinkFrame.batch(
            BatchFrame(sequence: 1, priority: .live, readings: 1, crc: 1, bytes: good))
        #expect(try verdict(damaged) == [.damaged])
        #expect(try verdict(frame(1, [reading(3, .decimal(5))])) == [.unknownStream])
        #expect(try verdict(frame(1, bytes: good, readings: 1)) == [.stored])
        #expect(try verdict(frame(1, [reading(1, .decimal(6))])) == [.sequenceReused])
        #expect(try StoreReader(directory: folder.path).counts().readings == 1)
    }

    @Test("holds to its limits of batch size and of readings after expansion")
    func limits() throws {
        var settings = StoreSettings()
        settings.largestBatch = 2000
        settings.batchLimits.maximumReadings = 100
        let store = try store(settings)
        var gateway = try Gateway(store)
        #expect(gateway.welcome?.largestBatch == 2000)
        _ = try gateway.send([.entries(definitions(1))])
        let long = [UInt8](repeating: 1, count: 2001)
        #expect(try gateway.verdicts([frame(1, bytes: long, readings: 1)]) == [.tooLarge])
        let many = (0..<101).map { reading(1, .decimal(1), at: Int64($0)) }
        #expect(try gateway.verdicts([frame(1, many)]) == [.tooLarge])
    }

    @Test("random bytes after hello end the session and never the store")
    func randomBytes() throws {
        let store = try store()
        var state: UInt64 = 5
        for _ in 0..<300 {
            var gateway = try Gateway(store)
            let bytes = (0..<64).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 33)
            }
            let answers = try gateway.send(bytes: [1] + bytes)
            #expect(answers.goodbye == .malformed && gateway.isClosed)
        }
        let session = store.openSession()
        let (reply, close) = session.receive([9], now: noon)
        #expect(close && !reply.isEmpty)
    }

    @Test("a full store says retry, keeps nothing of the call, and takes it when there is room")
    func full() throws {
        var settings = StoreSettings()
        settings.maximumPages = 60
        var sequence: UInt64 = 0
        var batch = frame(1, [reading(1, .decimal(0))])
        do {
            let store = try store(settings)
            var gateway = try Gateway(store)
            _ = try gateway.send([.entries(definitions(1))])
            var got: [VerdictReason] = []
            repeat {
                sequence += 1
                let readings = (0..<2000).map {
                    reading(1, .decimal(Int64($0)), at: Int64(sequence) * 10_000 + Int64($0))
                }
                batch = frame(sequence, readings)
                got = try gateway.verdicts([batch])
            } while got == [.stored] && sequence < 100
            #expect(got == [.storageFull])
            #expect(sequence > 1 && sequence < 100)
            // What was rolled back is not remembered as stored.
            #expect(try gateway.verdicts([batch, batch]) == [.storageFull, .storageFull])
            var other = try Gateway(store)
            #expect(other.welcome?.committed.through == sequence - 1)
            #expect(try other.verdicts([batch]) == [.storageFull])
            gateway = other
            let answers = try gateway.send([.ping(token: 1)])
            guard case .pong(_, _, let credit)? = answers.first else {
                Issue.record("no pong")
                return
            }
            #expect(credit == 0, "a store that cannot write gives no credit")
            let counts = try StoreReader(directory: folder.path).counts()
            #expect(counts.batches == Int(sequence) - 1)
            #expect(counts.readings == 2000 * (Int(sequence) - 1))
        }
        let store = try store()
        var gateway = try Gateway(store)
        #expect(gateway.welcome?.committed.through == sequence - 1)
        #expect(try gateway.verdicts([batch]) == [.stored])
    }

    @Test("definitions that cannot be written end the session, so that they are sent again")
    func definitionsLost() throws {
        let store = try store()
        // Another program holds the write lock.
        let other = try Database(
            path: folder.path + "/" + Store.fileName, mode: .readWriteCreate)
        try other.execute("BEGIN IMMEDIATE")
        var gateway = try Gateway(store)
        let answers = try gateway.send([
            .entries(definitions(1)), frame(1, [reading(1, .decimal(1))]),
        ])
        #expect(answers.goodbye == .unavailable)
        #expect(
            answers.contains { frame in
                if case .acknowledgement(let answer) = frame {
                    answer.entries.map(\.reason) == [.busy]
                } else {
                    false
                }
            })
        try other.execute("ROLLBACK")
        var again = try Gateway(store)
        #expect(again.welcome?.knownDevice == 0)
        #expect(
            try again.verdicts([.entries(definitions(1)), frame(1, [reading(1, .decimal(1))])])
                == [.stored])
    }

    @Test("definitions may come again and may change words; another device under a number may not")
    func redefinition() throws {
        let store = try store()
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(2)), frame(1, [reading(1, .decimal(1))])])
        var again = try Gateway(store)
        let better = Stream(
            id: StreamID(1), device: DeviceID(1), name: "voltage", quantity: "voltage", unit: "mV",
            priority: .alarm)
        #expect(try again.send([.entries(definitions(2) + [.stream(better)])]).isEmpty)
        let rows = try StoreReader(directory: folder.path).query(QueryFilter())
        #expect(rows.map(\.unit) == ["mV"])
        #expect(try again.send([.entries(definitions(1, prefix: "other-"))]).goodbye == .conflict)
        #expect(again.isClosed)
        let counts = try StoreReader(directory: folder.path).counts()
        #expect(counts.devices == 2, "nothing of the contradiction stays")
        var orphan = try Gateway(store, incarnation: 2)
        #expect(try orphan.send([.entries([.stream(better)])]).goodbye == .malformed)
    }

    @Test("two gateways and two incarnations keep their numbers apart")
    func apart() throws {
        let store = try store()
        var a = try Gateway(store, name: "a")
        var b = try Gateway(store, name: "b")
        for (gateway, value) in [(0, Int64(10)), (1, 20)] {
            let frames = [
                UplinkFrame.entries(definitions(1)), frame(1, [reading(1, .decimal(value))]),
            ]
            let got = gateway == 0 ? try a.verdicts(frames) : try b.verdicts(frames)
            #expect(got == [.stored])
        }
        // The same gateway made anew: its first number is another device, sequence 1 another batch.
        var renewed = try Gateway(store, name: "a", incarnation: 2)
        #expect(renewed.welcome?.knownDevice == 0 && renewed.welcome?.committed.through == 0)
        #expect(
            try renewed.verdicts([
                .entries(definitions(1, prefix: "x")), frame(1, [reading(1, .decimal(30))]),
            ]) == [.stored])
        let reader = try StoreReader(directory: folder.path)
        let rows = try reader.query(QueryFilter())
        #expect(
            Set(rows.map { "\($0.gateway) \($0.device) \($0.value.mantissa)" })
                == ["a meter-1 10", "b meter-1 20", "a x1 30"])
        #expect(try reader.query(QueryFilter(gateway: "b")).count == 1)
        let devices = try reader.devices()
        #expect(devices.map(\.identity) == ["meter-1", "x1", "meter-1"])
        #expect(devices.map(\.readings) == [1, 1, 1] && devices.map(\.streams) == [2, 2, 2])
    }

    @Test("refuses a file of another program, and a reader cannot write")
    func foreign() throws {
        do {
            let other = try Database(
                path: folder.path + "/" + Store.fileName, mode: .readWriteCreate)
            try other.execute("CREATE TABLE t(x); PRAGMA user_version = 9")
        }
        #expect(throws: StoreError.self) { try store() }
        #expect(throws: StoreError.self) { try StoreReader(directory: folder.path) }
        let empty = TemporaryFolder()
        #expect(throws: StoreError.self) { try StoreReader(directory: empty.path) }
        let good = TemporaryFolder()
        let sound = try Store(directory: good.path, settings: StoreSettings())
        var reader = try Gateway(sound, role: .reader)
        #expect(try reader.send([.entries(definitions(1))]).goodbye == .malformed)
    }
}

@Suite("Sequence set")
struct SequenceSetTests {
    @Test("is the set of what was inserted, in runs that never touch", arguments: 0..<20)
    func model(seed: Int) throws {
        var state = UInt64(seed) &* 77 &+ 1
        var set = SequenceSet()
        var plain: Set<UInt64> = []
        var disk: [UInt64: UInt64] = [:]
        for _ in 0..<400 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let number = 1 + (state >> 33) % 300
            let change = set.insert(number)
            #expect((change == nil) == plain.contains(number))
            plain.insert(number)
            if let change {
                for first in change.removedFirsts { disk[first] = nil }
                disk[change.run.lowerBound] = change.run.upperBound
            }
        }
        for number in UInt64(0)...302 {
            #expect(set.contains(number) == plain.contains(number))
        }
        let runs = disk.sorted { $0.key < $1.key }.map { $0.key...$0.value }
        #expect(runs == set.runs, "the table says the same")
        #expect(SequenceSet(runs: runs) == set)
        for number in plain where !set.told.contains(number) {
            #expect(set.runs.count > 128, "only old runs are left out")
        }
        for number in UInt64(1)...302 where set.told.contains(number) {
            #expect(plain.contains(number))
        }
        #expect(SequenceSet(runs: [1...3, 4...5]) == nil)
    }
}
