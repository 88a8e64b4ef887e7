// Row 8 of the fault list: files as a failing disk leaves them. What one damage costs: never more
// than
// what is in its file, of that file only the rows on its pages, and never the start, the intake
// or the ledger.

import Model
import TestSupport
import Testing

@testable import Spool

@Suite struct SpoolSalvageTests {
    private let folder = TemporaryFolder()
    private var settings: SpoolSettings {
        var settings = SpoolSettings()
        settings.segmentBytes = 100_000
        return settings
    }

    /// What was in a spool before it was damaged.
    private struct Content {
        var path: String
        var bodies: [UInt64: [UInt8]] = [:]
        var segments: [UInt64: Int] = [:]
        var frames: UInt64 = 0
        var covered: UInt64 = 0
        var newest = 0
    }

    private func killed(_ random: inout SplitMix64) throws -> Content {
        var content = Content(path: folder.path + "/killed")
        let spool = try Spool(directory: folder.path + "/sound", settings: settings)
        var buffer = JournalBuffer(intake: 0, capacity: 1 << 14)
        let counters = IntakeCounters()
        for epoch in 1...40 {
            for i in 0..<20 {
                let frame = [UInt8](repeating: UInt8(i), count: 64)
                buffer.append(frame.span, source: 0, receivedAt: Timestamp(milliseconds: 1))
            }
            let sources = [JournalSource(name: "udp", format: "f")]
            try spool.append([buffer.take(sources: sources, counters: counters)])
            let bodies = Priority.allCases.map { _ in noise(2000, &random) }
            let cut = EpochCut(
                epoch: UInt64(epoch),
                batches: zip(bodies, Priority.allCases).map { body, lane in
                    CutBatch(
                        bytes: body, readings: 10, priority: lane,
                        bucketStart: Timestamp(milliseconds: 0), revision: 0,
                        firstObservedAt: Timestamp(milliseconds: 0),
                        lastObservedAt: Timestamp(milliseconds: 0))
                }, covered: [buffer.nextPosition - 10], counters: [counters], revisions: [])
            guard let sequences = try spool.commit(cut) else { continue }
            for (sequence, body) in zip(sequences, bodies) { content.bodies[sequence] = body }
            // Most of the oldest are acknowledged.
            if epoch > 10 {
                let oldest = try spool.lease(
                    lane: .live, after: 0, limit: 1, maximumBytes: 1 << 20)
                try spool.acknowledge(oldest.map(\.sequence))
                for batch in oldest { content.bodies[batch.sequence] = nil }
            }
        }
        for batch in spool.state.pending.batches() {
            content.segments[batch.sequence] = Int(batch.segment)
        }
        content.frames = buffer.nextPosition
        content.covered = spool.coveredPosition(intake: 0)
        content.newest = spool.segment.number
        TemporaryFolder.copy(folder.path + "/sound", to: content.path)
        return content
    }

    private func damage(_ bytes: inout [UInt8], _ random: inout SplitMix64) {
        guard bytes.count > 4096 else { return }
        let pages = bytes.count / 4096
        func page() -> Int { Int.random(in: 0..<pages, using: &random) * 4096 }
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] ^=
                    1 << UInt8.random(in: 0...7, using: &random)
            }
        case 1:
            let start = page()
            for i in start..<start + 4096 { bytes[i] = 0 }
        case 2:
            let (a, b) = (page(), page())
            for i in 0..<4096 { bytes.swapAt(a + i, b + i) }
        case 3: bytes.removeLast(Int.random(in: 1...bytes.count / 2, using: &random))
        default:
            let start = page()
            for i in start..<start + 4096 { bytes[i] = UInt8.random(in: 0...255, using: &random) }
        }
    }

    @Test("row 8: 200 random damages, each costs rows of its own file only", arguments: 1...20)
    func damages(seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed))
        let content = try killed(&random)
        var survived = 0
        var hit = 0
        for round in 0..<10 {
            let comment: Comment = "seed \(seed) round \(round)"
            let path = folder.path + "/r\(round)"
            TemporaryFolder.copy(content.path, to: path)
            let names = TemporaryFolder.list(path).filter { $0.hasPrefix("segment-") }
                .filter { TemporaryFolder.read(path + "/" + $0).count > 4096 }
            let name = try #require(names.randomElement(using: &random))
            let number = try #require(Int(name.dropFirst(8).prefix(8)))
            var bytes = TemporaryFolder.read(path + "/" + name)
            damage(&bytes, &random)
            TemporaryFolder.write(bytes, to: path + "/" + name)

            let spool = try Spool(directory: path, settings: settings)
            var found: [UInt64: [UInt8]] = [:]
            for lane in Priority.allCases {
                for batch in try spool.lease(
                    lane: lane, after: 0, limit: .max, maximumBytes: 1 << 30)
                {
                    found[batch.sequence] = batch.bytes
                }
            }
            #expect(spool.counters.unaccounted == 0, comment)
            for (sequence, body) in content.bodies {
                if content.segments[sequence] != number {
                    // A damaged newest one may bring back what was acknowledged, never lose others.
                    #expect(found[sequence] == body, comment)
                } else {
                    hit += 1
                    if found[sequence] == body { survived += 1 }
                    #expect(found[sequence] == nil || found[sequence] == body, comment)
                }
            }
            if number != content.newest {
                #expect(found.count <= content.bodies.count, comment)
            }
            try goesOn(spool, comment)
        }
        print("row 8: seed \(seed): \(survived) of \(hit) batches in damaged files read back")
        #expect(survived * 2 > hit, "seed \(seed)")
    }

    /// The intake goes on, and what it stores is there after a restart.
    private func goesOn(_ spool: Spool, _ comment: Comment) throws {
        _ = try spool.recover { _, _ in }
        var buffer = JournalBuffer(
            intake: 0, capacity: 1024, firstPosition: spool.nextPosition(intake: 0))
        buffer.append([1, 2].span, source: 0, receivedAt: Timestamp(milliseconds: 2))
        let sources = [JournalSource(name: "udp", format: "f")]
        try spool.append([buffer.take(sources: sources, counters: IntakeCounters())])
        let batch = CutBatch(
            bytes: [9, 9, 9], readings: 1, priority: .alarm,
            bucketStart: Timestamp(milliseconds: 0), revision: 0,
            firstObservedAt: Timestamp(milliseconds: 0), lastObservedAt: Timestamp(milliseconds: 0))
        let given = try spool.commit(
            EpochCut(
                epoch: spool.lastEpoch + 1, batches: [batch], covered: [buffer.nextPosition],
                counters: [IntakeCounters()], revisions: []))
        let sequence = try #require(given?.lowerBound)
        #expect(sequence > 120, comment)
        TemporaryFolder.copy(spool.directory, to: spool.directory + "-again")
        let again = try Spool(directory: spool.directory + "-again", settings: settings)
        let leased = try again.lease(
            lane: .alarm, after: sequence - 1, limit: 1, maximumBytes: 1 << 20)
        #expect(leased.first?.bytes == [9, 9, 9], comment)
        #expect(again.counters.unaccounted == 0, comment)
        TemporaryFolder.remove(spool.directory + "-again")
    }

    @Test(
        "row 8: of a newest segment whose structure is ruined the readable rows are copied, .bad is kept"
    )
    func newest() throws {
        do {
            let spool = try Spool(directory: folder.path + "/s")
            for epoch in 1...60 {
                let body = [UInt8](repeating: UInt8(epoch), count: 3000)
                try spool.commit(
                    EpochCut(
                        epoch: UInt64(epoch),
                        batches: [
                            CutBatch(
                                bytes: body, readings: 2, priority: .live,
                                bucketStart: Timestamp(milliseconds: 0), revision: 0,
                                firstObservedAt: Timestamp(milliseconds: 0),
                                lastObservedAt: Timestamp(milliseconds: 0))
                        ], covered: [], counters: [], revisions: []))
            }
            try spool.acknowledge([1, 2, 3])
        }
        let file = folder.path + "/s/segment-00000001.db"
        var bytes = TemporaryFolder.read(file)
        for page in [20, 30] { for i in 0..<100 { bytes[page * 4096 + i] = 0xFF } }
        TemporaryFolder.write(bytes, to: file)
        let spool = try Spool(directory: folder.path + "/s")
        let leased = try spool.lease(lane: .live, after: 0, limit: 99, maximumBytes: 1 << 30)
        #expect(leased.count == 55)
        #expect(
            leased.allSatisfy {
                $0.bytes.allSatisfy { [sequence = $0.sequence] in $0 == UInt8(sequence) }
            })
        #expect(spool.counters.readingsAcknowledged == 6)
        #expect(spool.counters.readingsRejected == 4)
        #expect(spool.details.readingsDamaged == 4)
        #expect(spool.counters.lastSequence == 60)
        #expect(spool.counters.unaccounted == 0)
        #expect(TemporaryFolder.read(file + ".bad-1") == bytes)
        #expect(spool.warnings.first?.contains("55 of its batches and parts copied") == true)
    }

    @Test("row 8: frames of a damaged newest part are counted as received and lost")
    func newestPart() throws {
        let path = folder.path + "/s"
        var counters = IntakeCounters()
        do {
            let spool = try Spool(directory: path)
            var buffer = JournalBuffer(intake: 0, capacity: 1000)
            for round in 1...3 {
                for _ in 0..<5 {
                    buffer.append(
                        [UInt8](repeating: UInt8(round), count: 300).span, source: 0,
                        receivedAt: Timestamp(milliseconds: 1))
                }
                counters.framesReceived += 5
                let sources = [JournalSource(name: "udp", format: "f")]
                try spool.append([buffer.take(sources: sources, counters: counters)])
            }
            spool.close()
        }
        let file = path + "/segment-00000001.db"
        var bytes = TemporaryFolder.read(file)
        let needle = [UInt8](repeating: 3, count: 200)
        let found = try #require(
            (0..<bytes.count - 200).first { Array(bytes[$0..<$0 + 200]) == needle })
        bytes[found] ^= 1
        TemporaryFolder.write(bytes, to: file)
        let spool = try Spool(directory: path)
        var restored = try #require(spool.recoveredCounters().first)
        var back: UInt64 = 0
        let lost = try spool.recover { _, _ in back += 1 }
        #expect(back == 10 && lost == [5])
        restored.framesDecoded += back
        restored[.journalDamaged] += lost[0]
        #expect(restored.framesReceived == 15)
        #expect(restored.framesUnaccounted == 0)
    }
}
