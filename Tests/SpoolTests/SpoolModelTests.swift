// The spool against plain arrays, under random operations from a printed seed: after every step,
// and after every restart (closed in order, or killed: a copy of the directory as it is at that
// moment), what the spool says is what the arrays say.

import Model
import TestSupport
import Testing

@testable import Spool

private struct ModelFrame: Equatable {
    var intake: Int
    var position: UInt64
    var source: String
    var time: Int64
    var bytes: [UInt8]
}

private struct Model {
    var frames: [ModelFrame] = []
    var covered: [UInt64] = [0, 0, 0]
    var pending: [(sequence: UInt64, batch: CutBatch)] = []
    var counters = SpoolCounters()
    var quarantined: [[UInt8]] = []
    var epoch: UInt64 = 0
    var revisions: [BucketRevision] = []
}

@Suite struct SpoolModelTests {
    @Test("says what a plain array says, step by step and after every restart", arguments: 1...12)
    func model(seed: Int) throws {
        var run = try Run(seed: UInt64(seed))
        for _ in 0..<120 { try run.step() }
    }

    private struct Run {
        let seed: UInt64
        var random: SplitMix64
        let folder = TemporaryFolder()
        var generation = 0
        var spool: Spool?
        var model = Model()
        var buffers: [JournalBuffer]
        var clock: Int64 = 1_000_000
        let sources = ["a", "b"].map { JournalSource(name: $0, format: "f-" + $0) }

        init(seed: UInt64) throws {
            self.seed = seed
            random = SplitMix64(seed: seed)
            spool = try Spool(directory: folder.path + "/0")
            buffers = (0..<3).map { JournalBuffer(intake: UInt8($0), capacity: 4096) }
        }

        mutating func step() throws {
            // A restart must be the last to let the old spool go: no binding of it here.
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<40: try append(#require(spool))
            case 40..<60: try cut(#require(spool))
            case 60..<75: try acknowledge(#require(spool))
            case 75..<80: try reject(#require(spool))
            case 80..<85: try quarantine(#require(spool))
            case 85..<93: try restart(isKilled: true)
            default: try restart(isKilled: false)
            }
            try check()
        }

        private mutating func append(_ spool: Spool) throws {
            var parts: [JournalPart] = []
            for intake in 0..<3 where Bool.random(using: &random) {
                for _ in 0..<Int.random(in: 0...20, using: &random) {
                    clock += Int64.random(in: 0...5000, using: &random)
                    let count = Int.random(in: 0...300, using: &random)
                    let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
                    let source = Int.random(in: 0...1, using: &random)
                    model.frames.append(
                        ModelFrame(
                            intake: intake, position: buffers[intake].nextPosition,
                            source: sources[source].name, time: clock, bytes: bytes))
                    buffers[intake].append(
                        bytes.span, source: UInt16(source),
                        receivedAt: Timestamp(milliseconds: clock))
                }
                parts.append(buffers[intake].take(sources: sources, counters: IntakeCounters()))
            }
            try spool.append(parts)
        }

        private mutating func cut(_ spool: Spool) throws {
            model.epoch += 1
            var batches: [CutBatch] = []
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let count = Int.random(in: 0...9000, using: &random)
                batches.append(
                    CutBatch(
                        bytes: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) },
                        readings: Int.random(in: 0...500, using: &random),
                        priority: Priority.allCases.randomElement(using: &random) ?? .live,
                        bucketStart: Timestamp(milliseconds: clock), revision: 3,
                        firstObservedAt: Timestamp(milliseconds: clock - 5),
                        lastObservedAt: Timestamp(milliseconds: clock)))
            }
            for intake in 0..<3 {
                let end = buffers[intake].nextPosition
                model.covered[intake] = .random(in: model.covered[intake]...end, using: &random)
            }
            model.revisions = [
                BucketRevision(
                    bucketStart: Timestamp(milliseconds: clock), revision: UInt32(model.epoch))
            ]
            let sequences = try spool.commit(
                EpochCut(
                    epoch: model.epoch, batches: batches, covered: model.covered,
                    counters: model.covered.map { _ in IntakeCounters() },
                    revisions: model.revisions))
            #expect(
                sequences.map(Array.init) ?? []
                    == batches.indices.map {
                        model.counters.lastSequence + UInt64($0) + 1
                    })
            for batch in batches {
                model.counters.lastSequence += 1
                model.counters.readingsReceived += UInt64(batch.readings)
                model.pending.append((model.counters.lastSequence, batch))
            }
        }

        private mutating func acknowledge(_ spool: Spool) throws {
            let chosen = model.pending.filter { _ in Bool.random(using: &random) }
            try spool.acknowledge(chosen.map(\.sequence))
            for (sequence, batch) in chosen {
                model.pending.removeAll { $0.sequence == sequence }
                model.counters.readingsAcknowledged += UInt64(batch.readings)
                model.counters.batchesAcknowledged += 1
            }
        }

        private mutating func reject(_ spool: Spool) throws {
            guard let (sequence, batch) = model.pending.randomElement(using: &random) else {
                return
            }
            try spool.reject(sequence, reason: "because")
            model.pending.removeAll { $0.sequence == sequence }
            model.counters.readingsRejected += UInt64(batch.readings)
            model.quarantined.append(batch.bytes)
        }

        private mutating func quarantine(_ spool: Spool) throws {
            let bytes = (0..<50).map { _ in UInt8.random(in: 0...255, using: &random) }
            try spool.quarantine([
                QuarantinedFrame(
                    source: "a", reason: .quarantined, receivedAt: Timestamp(milliseconds: clock),
                    bytes: bytes)
            ])
            model.quarantined.append(bytes)
        }

        /// Killed: the directory as it is now, while the old spool is still open.
        private mutating func restart(isKilled: Bool) throws {
            if isKilled {
                let old = folder.path + "/\(generation)"
                generation += 1
                TemporaryFolder.copy(old, to: folder.path + "/\(generation)")
            } else {
                spool?.close()
            }
            spool = nil
            let restarted = try Spool(directory: folder.path + "/\(generation)")
            #expect(restarted.warnings.isEmpty, "seed \(seed)")
            #expect(restarted.restoredRevisions == model.revisions)
            #expect(restarted.lastEpoch == model.epoch)
            for intake in 0..<3 {
                #expect(restarted.nextPosition(intake: intake) == buffers[intake].nextPosition)
            }
            spool = restarted
        }

        private func check() throws {
            let spool = try #require(spool)
            let comment: Comment = "seed \(seed)"
            var counters = model.counters
            counters.batchesPending = UInt64(model.pending.count)
            counters.readingsPending = model.pending.reduce(0) { $0 + UInt64($1.batch.readings) }
            #expect(spool.counters == counters, comment)
            #expect(spool.counters.unaccounted == 0, comment)
            for lane in Priority.allCases {
                let expected = model.pending.filter { $0.batch.priority == lane }
                let leased = try spool.lease(
                    lane: lane, after: 0, limit: 999, maximumBytes: 1 << 30)
                #expect(leased.map(\.sequence) == expected.map(\.sequence), comment)
                #expect(leased.map(\.bytes) == expected.map(\.batch.bytes), comment)
                #expect(leased.map(\.readings) == expected.map(\.batch.readings), comment)
                let bytes = UInt64(expected.reduce(0) { $0 + $1.batch.bytes.count })
                #expect(spool.details.bytesPending[lane] == bytes, comment)
            }
            let entries = try spool.quarantined(after: 0, limit: 999)
            #expect(entries.map(\.bytes) == model.quarantined, comment)
            try checkJournal(spool, comment)
        }

        private func checkJournal(_ spool: Spool, _ comment: Comment) throws {
            var retained: [ModelFrame] = []
            var wrong = 0
            let lost = try spool.recover { frame, bytes in
                retained.append(
                    ModelFrame(
                        intake: frame.intake, position: frame.position, source: frame.source.name,
                        time: frame.receivedAt.milliseconds, bytes: copied(bytes)))
                if frame.source.format != "f-" + frame.source.name { wrong += 1 }
                if frame.isCovered != (frame.position < model.covered[frame.intake]) { wrong += 1 }
            }
            #expect(wrong == 0, comment)
            #expect(lost.allSatisfy { $0 == 0 }, comment)
            // Whatever is uncovered or within the duplicate window must be there; whatever is there
            // is right and in order.
            let window = SpoolSettings().duplicateWindow
            for intake in 0..<3 {
                let all = model.frames.filter { $0.intake == intake }
                let kept = retained.filter { $0.intake == intake }
                let first = kept.first?.position ?? UInt64(all.count)
                #expect(kept == Array(all.dropFirst(Int(first))), comment)
                let needed = all.first {
                    $0.position >= model.covered[intake] || $0.time >= clock - window
                }
                if let needed { #expect(first <= needed.position, comment) }
            }
        }
    }
}
