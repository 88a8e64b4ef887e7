// Files as a failing disk leaves them: random bytes changed, pages swapped, zeroed or cut off, in
// the file and in its log. The spool may lose what is damaged and must say so; it must not trap,
// not hang, not refuse to start, and go on taking in.

import Model
import TestSupport
import Testing

@testable import Spool

@Suite struct SpoolDamageTests {
    private let folder = TemporaryFolder()

    /// A killed spool with journal, batches of all lanes, quarantine and cuts.
    private func killed(_ random: inout SplitMix64) throws -> String {
        let spool = try Spool(directory: folder.path + "/sound")
        var buffer = JournalBuffer(intake: 0, capacity: 1 << 14)
        for epoch in 1...12 {
            for i in 0..<40 {
                let frame = [UInt8](repeating: UInt8(i), count: 64)
                buffer.append(frame.span, source: 0, receivedAt: Timestamp(milliseconds: 1))
            }
            let sources = [JournalSource(name: "udp", format: "f")]
            try spool.append([buffer.take(sources: sources, counters: IntakeCounters())])
            let batches = Priority.allCases.map { lane in
                CutBatch(
                    bytes: (0..<2000).map { _ in UInt8.random(in: 0...255, using: &random) },
                    readings: 10, priority: lane, bucketStart: Timestamp(milliseconds: 0),
                    revision: 0, firstObservedAt: Timestamp(milliseconds: 0),
                    lastObservedAt: Timestamp(milliseconds: 0))
            }
            try spool.commit(
                EpochCut(
                    epoch: UInt64(epoch), batches: batches,
                    covered: [buffer.nextPosition - UInt64(epoch)], counters: [IntakeCounters()],
                    revisions: []))
        }
        try spool.reject(4, reason: "no")
        TemporaryFolder.copy(folder.path + "/sound", to: folder.path + "/killed")
        return folder.path + "/killed"
    }

    private func ruin(_ bytes: inout [UInt8], _ random: inout SplitMix64) {
        guard bytes.count > 4096 else { return }
        let pages = bytes.count / 4096
        func page() -> Int { Int.random(in: 0..<pages, using: &random) * 4096 }
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            for _ in 0..<Int.random(in: 1...20, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] =
                    UInt8.random(in: 0...255, using: &random)
            }
        case 1:
            let start = page()
            for i in start..<start + 4096 { bytes[i] = 0 }
        case 2:
            let (a, b) = (page(), page())
            for i in 0..<4096 { bytes.swapAt(a + i, b + i) }
        case 3: bytes.removeLast(Int.random(in: 1..<bytes.count, using: &random))
        default:
            // Within the heads of pages, where the structure is.
            for _ in 0..<5 {
                bytes[page() + Int.random(in: 0..<64, using: &random)] =
                    UInt8.random(in: 0...255, using: &random)
            }
        }
    }

    @Test("starts and goes on with a ruined file or log", arguments: 1...8)
    func ruined(seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed))
        let killed = try killed(&random)
        for round in 0..<12 {
            let path = folder.path + "/r\(round)"
            TemporaryFolder.copy(killed, to: path)
            let name = Bool.random(using: &random) ? ".db" : ".db-wal"
            let file = path + "/segment-00000001" + name
            var bytes = TemporaryFolder.read(file)
            ruin(&bytes, &random)
            TemporaryFolder.write(bytes, to: file)
            if Bool.random(using: &random) { TemporaryFolder.remove(path + "/lock") }

            let spool = try Spool(directory: path)
            try use(spool, "seed \(seed) round \(round)")
        }
    }

    @Test("a first log whose beginning is ruined is told and set aside, not taken for a new spool")
    func ruinedBeginning() throws {
        var random = SplitMix64(seed: 1)
        let path = try killed(&random)
        let log = path + "/segment-00000001.db-wal"
        var bytes = TemporaryFolder.read(log)
        // The second page of the log: SQLite goes by what is sound before it, which is nothing.
        for i in 6000..<6100 { bytes[i] ^= 0x5A }
        TemporaryFolder.write(bytes, to: log)
        let spool = try Spool(directory: path)
        #expect(!spool.warnings.isEmpty)
        #expect(TemporaryFolder.list(path).contains("segment-00000001.db.bad-1-wal"))
        try use(spool, "after its beginning was lost")
    }

    /// Every verb once. Damage that only shows now is a typed error, after which the next start
    /// helps.
    private func use(_ spool: Spool, _ comment: Comment) throws {
        do throws(SpoolError) {
            var frames = 0
            _ = try spool.recover { _, _ in frames += 1 }
            #expect(frames <= 480, comment)
            var leased: [UInt64] = []
            for lane in Priority.allCases {
                leased += try spool.lease(lane: lane, after: 0, limit: 99, maximumBytes: 1 << 30)
                    .map(\.sequence)
            }
            #expect(leased.count <= 36, comment)
            try spool.acknowledge(leased)
            _ = try spool.quarantined(after: 0, limit: 99)
            var buffer = JournalBuffer(
                intake: 0, capacity: 1024, firstPosition: spool.nextPosition(intake: 0))
            buffer.append([1, 2].span, source: 0, receivedAt: Timestamp(milliseconds: 2))
            let sources = [JournalSource(name: "udp", format: "f")]
            try spool.append([buffer.take(sources: sources, counters: IntakeCounters())])
            try spool.commit(
                EpochCut(
                    epoch: 99, batches: [], covered: [buffer.nextPosition],
                    counters: [IntakeCounters()], revisions: []))
        } catch {
            #expect(error.isDamage, "\(comment): \(error.description)")
        }
    }
}

extension SpoolError {
    fileprivate var isDamage: Bool {
        if case .damaged = self { true } else { false }
    }
}
