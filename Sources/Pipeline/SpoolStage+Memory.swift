// The spool's stage without a disk: it takes in what it can. Frames are not journaled and not
// answered, so
// devices that repeat do so; their readings go on into buckets and batches, which are kept in
// memory up
// to a bound, the lowest priority and the oldest going first, counted as evicted. Every second
// the disk is
// tried; when it takes data again the batches go there in their order, and answers begin anew
// when a cut
// covers every frame that was not journaled: a device that asked twice meanwhile must not be told
// that its
// frame is safe before it is.

import Catalog
import Model
import Spool

struct SpoolMemory {
    var isOn = false
    /// When the disk refused first, without having worked since.
    var refusedSince: Instant?
    /// Frames before this position were not stored; 0: all were, or are in batches by now.
    var releasedUpTo: UInt64 = 0
    /// Not in the journal, while their readings are in batches: without a disk, or on a full one. They are
    /// written as soon as that can be done, or a crash would forget which frames they were, and one
    /// that its device repeats would be stored twice. The oldest go beyond the stage's bound.
    private(set) var parts: [JournalPart] = []
    private var partBytes = 0
    /// Frames of parts that went.
    private(set) var framesForgotten = 0
    /// Stored up to here, not told yet.
    var withheld: UInt64?
    /// Let go, and not yet written down.
    var shed = ShedReadings()
    var entries: [CatalogAdditions] = []
    var cuts: [EpochCut] = []
    var bytes = 0
    /// In `cuts`.
    var readings: UInt64 = 0

    mutating func add(_ part: JournalPart, limit: Int) {
        parts.append(part)
        partBytes += part.bytes.count
        while partBytes > limit, let first = parts.first {
            partBytes -= first.bytes.count
            framesForgotten += first.frameCount
            parts.removeFirst()
        }
    }

    /// They are in the journal, or will never be.
    mutating func removeParts(areStored: Bool) {
        if !areStored { framesForgotten += parts.reduce(0) { $0 + $1.frameCount } }
        parts.removeAll()
        partBytes = 0
    }

    mutating func add(_ cut: EpochCut) {
        bytes += cut.batches.reduce(0) { $0 + $1.bytes.count }
        readings = cut.batches.reduce(readings) { $0 &+ UInt64($1.readings) }
        // Small ones share a transaction later: an outage may last for days.
        if var last = cuts.last, last.batches.count + cut.batches.count <= 64 {
            last.epoch = cut.epoch
            last.covered = cut.covered
            last.counters = cut.counters
            last.revisions = cut.revisions
            last.batches += cut.batches
            cuts[cuts.count - 1] = last
        } else {
            cuts.append(cut)
        }
    }

    /// Lets go of batches until at most `limit` bytes are left.
    mutating func shed(to limit: Int) {
        for lane in Priority.allCases.reversed() {
            for place in cuts.indices {
                if bytes <= limit { return }
                var kept: [CutBatch] = []
                for batch in cuts[place].batches {
                    if bytes > limit, batch.priority == lane {
                        bytes -= batch.bytes.count
                        readings &-= UInt64(batch.readings)
                        shed.readings[lane] &+= UInt64(batch.readings)
                        shed.batches &+= 1
                    } else {
                        kept.append(batch)
                    }
                }
                cuts[place].batches = kept
            }
        }
    }

    mutating func removeFirst() {
        let cut = cuts.removeFirst()
        bytes -= cut.batches.reduce(0) { $0 + $1.bytes.count }
        readings = cut.batches.reduce(readings) { $0 &- UInt64($1.readings) }
    }
}

extension SpoolStage {
    /// A job while nothing can be stored.
    func keep(_ job: SpoolJob) {
        switch job {
        case .part(let part):
            memory.releasedUpTo = max(memory.releasedUpTo, part.nextPosition)
            memory.add(part, limit: settings.journalBytesWaiting)
            ports.released(part.nextPosition)
        case .cut(let cut):
            memory.add(cut)
            memory.shed(to: settings.memoryBytes)
            ports.cutStored()
        case .entries(let entries): memory.entries.append(entries)
        case .quarantine(let frames): spool?.countNotQuarantined(frames.count)
        case .probe(let probe): answer(probe, awaiting: memory.readings)
        // Its frame is not stored either: the entry stays.
        case .released: return
        }
    }

    /// Tries the disk with what memory holds.
    func heal() {
        guard attach() else { return retryLater() }
        do {
            if !memory.entries.isEmpty {
                try catalog?.append(lots: memory.entries)
                memory.entries.removeAll()
                ports.catalogGrew()
            }
            try storeParts()
            while let cut = memory.cuts.first {
                try store(cut)
                memory.removeFirst()
            }
            // Frames may come again when something can be written.
            try spool?.touch()
        } catch {
            report(error)
            return retryLater()
        }
        memory.isOn = false
        memory.refusedSince = nil
        report(nil)
        if memory.releasedUpTo > 0 { ports.needsCut() }
        lookAtWater()
    }

    /// The journal of the time without a disk. Where there is no room for it the cuts go without.
    private func storeParts() throws {
        guard let spool, !memory.parts.isEmpty else { return }
        do throws(SpoolError) {
            try spool.append(moved(memory.parts))
        } catch {
            if error == .full { return memory.removeParts(areStored: false) }
            throw error
        }
        memory.removeParts(areStored: true)
    }

    /// Frames whose readings are in batches and which the next start would not know for duplicates.
    package var framesNotRemembered: Int {
        let covered = spool?.coveredPosition(intake: 0) ?? 0
        let waiting = waiting.reduce(0) { sum, job in
            guard case .part(let part) = job, moved([part])[0].nextPosition <= covered else {
                return sum
            }
            return sum + part.frameCount
        }
        let forgotten = memory.framesForgotten + (spool?.framesForgotten ?? 0)
        return memory.parts.reduce(forgotten + waiting) { $0 + $1.frameCount }
    }
}
