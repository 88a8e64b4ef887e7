// A batch that the store rejects is divided until the readings at fault are found: the good halves
// go on at once, a reading that is rejected alone goes to the quarantine with the frames that may
// have
// brought it. Also the way back: entries of the quarantine that an operator releases. On the spool
// queue.
//
// A store that takes nothing at all must not turn a spool into single readings: after
// `divisionsInVainLimit` divisions without one accepted batch in between, batches are set aside
// whole.

import Batches
import Model
package import Spool

/// What became of an entry that an operator released.
package enum ReleaseOutcome: Hashable, Sendable {
    /// Waits for the uplink again, under the sequence that it had.
    case pending(sequence: UInt64)
    /// Of a frame: its readings are taken in now.
    case taken
    /// Of a frame: it was taken in before.
    case duplicate
    case noSuchEntry
    /// Why it stays where it is.
    case refused(String)
}

extension SpoolStage {
    static let divisionsInVainLimit = 64
    private static let framesKept = 8

    package func reject(_ sequence: UInt64, reason: String, isDivisible: Bool = true) {
        guard let spool else { return }
        do {
            guard isDivisible, divisionsInVain < SpoolStage.divisionsInVainLimit,
                let batch = try spool.pendingBatch(sequence),
                let content = SpoolStage.content(of: batch)
            else {
                _ = try spool.reject(sequence, reason: reason)
                return
            }
            if let reading = content.readings.first, content.readings.count == 1 {
                let frames = spool.frames(
                    receivedAt: reading.receivedAt, limit: SpoolStage.framesKept)
                _ = try spool.reject(
                    sequence, reason: reason,
                    as: QuarantinedReading(batch: batch.bytes, frames: frames),
                    receivedAt: reading.receivedAt)
                return
            }
            divisionsInVain += 1
            if try spool.divide(sequence, into: SpoolStage.halves(content)) {
                lanes.note(spool.counters.lastSequence, at: clock.now())
                ports.batchesAvailable()
            }
        } catch {
            report(error)
        }
    }

    /// nil when these bytes are not what this program encodes.
    private static func content(of batch: SpooledBatch) -> DecodedBatch? {
        guard let content = try? BatchCodec.decode(batch.bytes),
            content.readings.count == batch.readings,
            content.readings.allSatisfy({ Value.Kind(rawValue: $0.kind) != nil })
        else { return nil }
        return content
    }

    private static func halves(_ content: DecodedBatch) -> [CutBatch] {
        let middle = content.readings.count / 2
        return [content.readings[..<middle], content.readings[middle...]].map { half in
            let sealed = BatchCodec.encode(
                Array(half), bucketStart: content.info.bucketStart,
                bucketMilliseconds: content.info.bucketMilliseconds,
                revision: content.info.revision, priority: content.info.priority)
            return CutBatch(bytes: sealed.bytes, info: sealed.info)
        }
    }

    // MARK: Quarantine

    package func quarantined(after number: Int64, limit: Int) -> [QuarantineEntry] {
        do { return try spool?.quarantined(after: number, limit: limit) ?? [] } catch {
            report(error)
            return []
        }
    }

    /// The frame of an entry, for the intake to take; nil when it is none.
    package func quarantinedFrame(_ number: Int64) -> QuarantineEntry? {
        guard let entry = try? spool?.quarantined(number: number), entry.kind == .frame,
            entry.isIntact
        else { return nil }
        return entry
    }

    /// Makes a batch or reading of the quarantine pending again.
    package func release(_ number: Int64) -> ReleaseOutcome {
        guard let spool else { return .refused("the spool cannot be read now") }
        do {
            let outcome = try spool.released(number)
            if case .pending = outcome { ports.batchesAvailable() }
            return outcome
        } catch {
            report(error)
            return .refused("\(error)")
        }
    }
}

extension Spool {
    /// Makes a batch or reading of the quarantine pending again; for the daemon, and for the tool
    /// while no daemon runs.
    package func released(_ number: Int64) throws(SpoolError) -> ReleaseOutcome {
        guard let entry = try quarantined(number: number) else { return .noSuchEntry }
        guard entry.isIntact else { return .refused("its bytes are damaged") }
        let bytes: [UInt8]
        switch entry.kind {
        case .batch: bytes = entry.bytes
        case .reading:
            guard let reading = QuarantinedReading(entry.bytes) else {
                return .refused("its bytes are no reading")
            }
            bytes = reading.batch
        case .frame: return .refused("a frame is released by the running daemon")
        case .journal: return .refused("a part of the journal holds nothing whole")
        }
        guard let sequence = UInt64(entry.source), let info = try? BatchCodec.info(bytes),
            info.readings == entry.readings
        else { return .refused("its bytes are no batch") }
        guard try release(number, as: CutBatch(bytes: bytes, info: info), sequence: sequence)
        else { return .refused("a batch of its sequence is pending") }
        return .pending(sequence: sequence)
    }
}

extension CutBatch {
    init(bytes: [UInt8], info: BatchInfo) {
        self.init(
            bytes: bytes, readings: info.readings, priority: info.priority,
            bucketStart: info.bucketStart, revision: info.revision,
            firstObservedAt: info.firstObservedAt, lastObservedAt: info.lastObservedAt)
    }
}
