// Row 8 of the fault list for the log: a page of it that is damaged costs what stood on it, not everything
// that was stored after it; and what a power cut tore is still left out whole.

import Model
import TestSupport
import Testing

@testable import Spool

@Suite struct SegmentLogTests {
    private let folder = TemporaryFolder(inMemory: true)
    private static let head = 32
    private static let frame = 24 + 4096

    private struct Content {
        var path: String
        var bodies: [UInt64: [UInt8]] = [:]
        var frames: UInt64 = 0
        var log: [UInt8] = []
        /// Where each transaction's frames end, in frames.
        var ends: [Int] = []
    }

    /// A spool that was killed with all that it has in its log.
    private func killed(_ random: inout SplitMix64, epochs: Int = 30) throws -> Content {
        var content = Content(path: folder.path + "/killed")
        let spool = try Spool(directory: folder.path + "/sound")
        let log = folder.path + "/sound/segment-00000001.db-wal"
        var buffer = JournalBuffer(intake: 0, capacity: 1 << 14)
        var counters = IntakeCounters()
        func end() {
            content.ends.append((TemporaryFolder.read(log).count) / SegmentLogTests.frame)
        }
        end()
        for epoch in 1...epochs {
            for i in 0..<20 {
                buffer.append(
                    [UInt8](repeating: UInt8(i), count: 64).span, source: 0,
                    receivedAt: Timestamp(milliseconds: 1))
            }
            counters.framesReceived += 20
            counters.framesDecoded += 20
            let sources = [JournalSource(name: "udp", format: "f")]
            try spool.append([buffer.take(sources: sources, counters: counters)])
            end()
            let bodies = Priority.allCases.map { _ in noise(1500, &random) }
            let given = try spool.commit(
                EpochCut(
                    epoch: UInt64(epoch),
                    batches: zip(bodies, Priority.allCases).map { body, lane in
                        CutBatch(
                            bytes: body, readings: 10, priority: lane,
                            bucketStart: Timestamp(milliseconds: 0), revision: 0,
                            firstObservedAt: Timestamp(milliseconds: 0),
                            lastObservedAt: Timestamp(milliseconds: 0))
                    }, covered: [buffer.nextPosition - 10], counters: [counters],
                    revisions: []))
            end()
            for (sequence, body) in zip(try #require(given), bodies) {
                content.bodies[sequence] = body
            }
        }
        content.frames = buffer.nextPosition
        TemporaryFolder.copy(folder.path + "/sound", to: content.path)
        content.log = TemporaryFolder.read(content.path + "/segment-00000001.db-wal")
        try #require(content.ends.last == content.log.count / SegmentLogTests.frame)
        return content
    }

    private func opened(
        _ content: Content, log: [UInt8], _ name: String
    ) throws -> (Spool, [UInt64: [UInt8]]) {
        let path = folder.path + "/" + name
        TemporaryFolder.copy(content.path, to: path)
        TemporaryFolder.write(log, to: path + "/segment-00000001.db-wal")
        let spool = try Spool(directory: path)
        var found: [UInt64: [UInt8]] = [:]
        for lane in Priority.allCases {
            for batch in try spool.lease(lane: lane, after: 0, limit: .max, maximumBytes: 1 << 30) {
                found[batch.sequence] = batch.bytes
            }
        }
        return (spool, found)
    }

    @Test("row 8: 120 damages of a log, each costs what stood on its pages", arguments: 1...6)
    func damages(seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed))
        let content = try killed(&random)
        // Of the newest transaction nobody knows whether it was torn, nor, when its end is what was hit, of
        // the one before it.
        let before = content.ends[content.ends.count - 3]
        var survived = 0
        for round in 0..<20 {
            var log = content.log
            // Not in the transaction that made the tables: without them there is no file.
            let at = Int.random(in: content.ends[0]..<before, using: &random)
            let start = SegmentLogTests.head + at * SegmentLogTests.frame
            switch round % 5 {
            case 0: log[start + 24 + Int.random(in: 0..<4096, using: &random)] ^= 0x10
            case 1: for i in start + 24..<start + 24 + 4096 { log[i] = 0 }
            case 2: log[start + Int.random(in: 8..<16, using: &random)] ^= 1
            case 3: log[start + Int.random(in: 16..<24, using: &random)] ^= 1
            default: for i in start..<start + SegmentLogTests.frame { log[i] = 0 }
            }
            let comment: Comment = "seed \(seed) round \(round), frame \(at)"
            let (spool, found) = try opened(content, log: log, "r\(round)")
            for (sequence, bytes) in found {
                #expect(bytes == content.bodies[sequence], comment)
            }
            // A page holds a batch and parts of its neighbours.
            #expect(content.bodies.count - found.count <= 12, comment)
            survived += found.count
            #expect(spool.counters.unaccounted == 0, comment)
            #expect(spool.counters.lastSequence >= 90, comment)
            #expect(
                spool.details.readingsDamaged
                    >= UInt64(10 * (content.bodies.count - found.count)), comment)
            #expect(!spool.warnings.isEmpty, "it is told")
            var frames = 0
            let lost = try spool.recover { _, _ in frames += 1 }
            #expect(frames + Int(lost[0]) >= 10, comment)
            TemporaryFolder.remove(spool.directory)
        }
        print("row 8: seed \(seed): \(survived) of \(20 * content.bodies.count) batches are there")
        #expect(survived * 100 > 97 * 20 * content.bodies.count)
    }

    @Test("row 8: a log whose header is damaged is read whole", arguments: 0..<32)
    func header(at: Int) throws {
        var random = SplitMix64(seed: 3)
        let content = try killed(&random, epochs: 6)
        var log = content.log
        log[at] ^= 0x40
        let (spool, found) = try opened(content, log: log, "h")
        #expect(found == content.bodies)
        #expect(spool.counters.unaccounted == 0 && !spool.warnings.isEmpty)
    }

    @Test("row 3: of a newest transaction that is torn nothing is taken, and nothing is told")
    func torn() throws {
        var random = SplitMix64(seed: 4)
        let content = try killed(&random, epochs: 6)
        // It is written when a cut is durable, which this one is not.
        try #require(Shell.run("rm '\(content.path)/last'").status == 0)
        let (from, to) = (content.ends[content.ends.count - 2], content.ends.last ?? 0)
        for frame in from..<to {
            for cut in [0, 10, 24, 2000, 4119] {
                var log = content.log
                let start = SegmentLogTests.head + frame * SegmentLogTests.frame
                for i in start + cut..<start + SegmentLogTests.frame { log[i] = 0 }
                // The last bytes of a page may have been zeros.
                if log == content.log { continue }
                #expect(SegmentLog(log)?.mended == nil, "frame \(frame) from \(cut)")
                if cut != 24 { continue }
                let (spool, found) = try opened(content, log: log, "t")
                #expect(found.count == content.bodies.count - 3)
                #expect(spool.details.readingsDamaged == 0)
                TemporaryFolder.remove(spool.directory)
            }
        }
        #expect(SegmentLog(content.log)?.mended == nil, "a sound one")
        #expect(SegmentLog(Array(content.log.prefix(from * SegmentLogTests.frame)))?.mended == nil)
    }

    @Test("row 3: a frame torn over one of an older log does not bring the older log back")
    func tornOverOlder() throws {
        var random = SplitMix64(seed: 6)
        let content = try killed(&random, epochs: 6)
        let older = content.log
        let newer = SegmentLogTests.resummed(older, salt: 7)
        let (from, to) = (content.ends[3], content.ends[4])
        for frame in from..<to {
            let start = SegmentLogTests.head + frame * SegmentLogTests.frame
            // The frames before it may be lost although it was written: sectors reach a disk in any order.
            for lost in 0...min(2, frame - from) {
                let gap = start - lost * SegmentLogTests.frame
                for cut in Array(0...24) + [2000, 4119] {
                    let log = Array(
                        newer[..<gap] + older[gap..<start] + newer[start..<(start + cut)]
                            + older[(start + cut)...])
                    #expect(
                        SegmentLog(log)?.mended == nil,
                        "frame \(frame) from \(cut), \(lost) before it lost")
                }
            }
        }
    }

    @Test("row 3: a newest transaction of old and new sectors does not bring the older log back")
    func sectorsOverOlder() throws {
        var random = SplitMix64(seed: 8)
        let content = try killed(&random, epochs: 6)
        let older = content.log
        let newer = SegmentLogTests.resummed(older, salt: 7)
        let to = content.ends[4]
        // What was before it had been flushed.
        let frames = try #require(SegmentLog(older)).frames
        let from = frames[..<(to - 1)].lastIndex { $0.isCommit }.map { $0 + 1 } ?? 0
        let first = SegmentLogTests.head + from * SegmentLogTests.frame
        let end = SegmentLogTests.head + to * SegmentLogTests.frame
        for round in 0..<1000 {
            var log = Array(newer[..<first] + older[first...])
            // Sectors of 512 bytes lie anywhere in a frame; heads may be parts of two.
            for sector in stride(from: first - first % 512, to: end, by: 512)
            where random.next() % 4 > UInt64(round % 4) {
                for at in max(first, sector)..<min(end, sector + 512) { log[at] = newer[at] }
            }
            // All of it may be there but for an old salt, and then it may come back.
            let whole = Array(newer[..<end])
            let mended = SegmentLog(log)?.mended?.bytes
            #expect(mended == nil || mended == whole, "round \(round)")
        }
    }

    /// The log as SQLite writes it when it begins again: other salts, other pages, other sums.
    private static func resummed(_ log: [UInt8], salt: UInt8) -> [UInt8] {
        var log = log
        var sum: (UInt32, UInt32) = (0, 0)
        func add(_ range: Range<Int>) {
            for at in stride(from: range.lowerBound, to: range.upperBound, by: 8) {
                let words = [at, at + 4].map { place in
                    (0..<4).reduce(UInt32(0)) { $0 | UInt32(log[place + $1]) << UInt32(8 * $1) }
                }
                sum.0 = sum.0 &+ words[0] &+ sum.1
                sum.1 = sum.1 &+ words[1] &+ sum.0
            }
        }
        func putSum(_ at: Int) {
            for i in 0..<4 {
                log[at + i] = UInt8(truncatingIfNeeded: sum.0 >> UInt32(24 - 8 * i))
                log[at + 4 + i] = UInt8(truncatingIfNeeded: sum.1 >> UInt32(24 - 8 * i))
            }
        }
        log[19] &+= salt
        add(0..<24)
        putSum(24)
        for start in stride(from: head, to: log.count, by: frame) {
            for i in 0..<8 { log[start + 8 + i] = log[16 + i] }
            for place in [24 + 1000, 24 + 3000] { log[start + place] ^= 0x55 }
            add(start..<start + 8)
            add(start + 24..<start + frame)
            putSum(start + 16)
        }
        return log
    }

    @Test("whatever the bytes of a log are, looking at it comes to an end")
    func hostile() throws {
        var random = SplitMix64(seed: 5)
        let content = try killed(&random, epochs: 3)
        for length in [0, 1, 31, 32, 33, 4151, 4152, 4153, 8272] {
            _ = SegmentLog(Array(content.log.prefix(length)))?.mended
        }
        for _ in 0..<200 {
            var log = content.log
            for _ in 0..<Int.random(in: 1...60, using: &random) {
                let at = Int.random(in: 0..<log.count / 4120, using: &random) * 4120
                let place = at + Int.random(in: 0..<80, using: &random)
                if place < log.count { log[place] = UInt8.random(in: 0...255, using: &random) }
            }
            guard let mended = SegmentLog(log)?.mended else { continue }
            #expect(mended.bytes.count <= log.count)
            // What was mended once is sound.
            #expect(SegmentLog(mended.bytes)?.mended == nil)
        }
    }
}
