// Room. The spool's share of the device is the quota, or what the device has left when that is
// less. Above
// seven eighths of it batches are evicted: lowest priority first, oldest first. Room comes back
// file by
// file, so a file of which little is still pending is copied into the newest and goes.

package import Model
internal import SQLite

extension Spool {
    /// Bytes of everything in the directory, logs and ballast as they may become.
    func usedBytes() throws(SQLiteError) -> Int {
        state.older.reduce(try segment.bytes()) { $0 + $1.bytes }
            + settings.logBytes(limit: quota) + settings.ballastBytes(limit: quota) + badBytes
            + Int(clamping: quarantineFile?.bytes ?? 0)
    }

    /// Bytes that the spool may take.
    func limit() -> Int {
        let free = files.freeBytes()
        guard free < quota, let used = try? usedBytes() else { return quota }
        let (all, isMore) = used.addingReportingOverflow(free)
        return isMore ? quota : min(quota, all)
    }

    /// Evicts when more than seven eighths of the limit are used; also done by every
    /// verb that adds. Answers the number of readings evicted.
    @discardableResult
    package func evictIfOver() throws(SpoolError) -> UInt64 {
        let before = state.tally.counters.readingsEvicted
        try makeRoom(0)
        return state.tally.counters.readingsEvicted &- before
    }

    /// Makes `incoming` bytes fit below seven eighths of the limit, as far as that can be had.
    func makeRoom(_ incoming: Int) throws(SpoolError) {
        let limit = limit()
        guard try used() + incoming > limit / 8 * 7 else { return }
        // Somewhat more than is asked for, or each verb would evict.
        try free(to: limit / 8 * 7 - incoming - limit / 32)
    }

    /// True when `incoming` bytes fit now; `share` eighths of the limit may be used.
    func fits(_ incoming: Int, eighths share: Int) throws(SpoolError) -> Bool {
        try used() + incoming <= limit() / 8 * share
    }

    private func used() throws(SpoolError) -> Int {
        do throws(SQLiteError) { return try usedBytes() } catch { throw SpoolError(error) }
    }

    /// Down to `target` bytes: files that were set aside, covered journal (only the duplicate
    /// memory needs
    /// it), then batches. The uncovered journal is never touched.
    private func free(to target: Int) throws(SpoolError) {
        releaseOlder()
        while badBytes > 0, try used() > target { removeOldestBad() }
        guard try used() > target else { return }
        dropCovered()
        releaseOlder()
        // Each round frees a file or finds that nothing can be freed.
        for _ in 0..<(state.older.count + 8) {
            guard try used() > target else { return }
            if let number = sparsest() {
                try compact(number)
            } else if try evictSome(used() - target) {
                releaseOlder()
            } else if try isMostlyDead() {
                try renew()
            } else {
                return
            }
        }
    }

    /// The older segment with the least in it, when copying that is cheaper than what it frees.
    private func sparsest() -> Int? {
        var best: (number: Int, share: Double)?
        let held = Set(unreadable.compactMap { state.pending[$0].map { Int($0.segment) } })
        for older in state.older
        where state.journalRows(inSegment: older.number) == nil && !held.contains(older.number) {
            let bytes = state.pending.share(ofSegment: older.number).bytes
            let share = Double(bytes) / Double(max(1, older.bytes))
            if share < best?.share ?? 0.6 { best = (older.number, share) }
        }
        return best?.number
    }

    private func isMostlyDead() throws(SpoolError) -> Bool {
        do throws(SQLiteError) {
            let bytes = try segment.bytes() - segment.initialBytes
            let journal = state.retained.reduce(0) {
                $0 + ($1.segment == segment.number ? $1.size : 0)
            }
            let live = state.pending.share(ofSegment: segment.number).bytes + journal
            return bytes > 64 << 10 && live < bytes / 2
        } catch {
            throw SpoolError(error)
        }
    }

    /// Copies what is pending in an older segment into the newest; then it can go.
    private func compact(_ number: Int) throws(SpoolError) {
        let batches = state.pending.batches(inSegment: number)
        let incoming = batches.reduce(0) { $0 + $1.bytes }
        try write(incoming: incoming) { (change: inout Change) throws(SQLiteError) in
            let old = try file(number)
            for batch in batches where state.pending[batch.sequence] != nil {
                switch try segment.copyBatch(batch.sequence, from: old) {
                case .row: change.moved.append(batch.sequence)
                case .damaged:
                    if try remove(batch, &change) { countDamaged(batch, &change) }
                case .unreadable: unreadable.insert(batch.sequence)
                }
            }
        }
        releaseOlder()
    }

    func countDamaged(_ batch: PendingBatch, _ change: inout Change) {
        change.tally.counters.readingsRejected &+= batch.readings
        change.tally.details.batchesDamaged &+= 1
        change.tally.details.readingsDamaged &+= batch.readings
        warn("batch \(batch.sequence) damaged: \(batch.readings) readings lost")
    }

    /// Evicts batches of the lowest lane that has any, oldest first; false when there is none.
    private func evictSome(_ bytes: Int) throws(SpoolError) -> Bool {
        var victims: [PendingBatch] = []
        var sum = 0
        for lane in Priority.allCases.reversed() where sum < bytes {
            state.pending.forEach(lane) { batch in
                victims.append(batch)
                sum += batch.bytes
                return sum < bytes
            }
        }
        if victims.isEmpty { return false }
        try evict(victims, isTooOld: false)
        return true
    }

    func evict(_ victims: [PendingBatch], isTooOld: Bool) throws(SpoolError) {
        try write(incoming: 0) { (change: inout Change) throws(SQLiteError) in
            for batch in victims {
                guard try remove(batch, &change) else { continue }
                change.tally.counters.readingsEvicted &+= batch.readings
                change.tally.details.readingsEvicted[batch.lane] &+= batch.readings
                change.tally.details.batchesEvicted &+= 1
                if isTooOld { change.tally.details.readingsTooOld &+= batch.readings }
            }
        }
    }

    /// Evicts batches whose newest observation is before `time`: the store would refuse them.
    /// Answers the
    /// number of their readings.
    @discardableResult
    package func evict(olderThan time: Timestamp) throws(SpoolError) -> UInt64 {
        let seconds = UInt32(clamping: time.milliseconds / 1000)
        let old = state.pending.batches().filter { $0.observedSeconds < seconds }
        if old.isEmpty { return 0 }
        try evict(old, isTooOld: true)
        releaseOlder()
        return old.reduce(0) { $0 &+ $1.readings }
    }

    // MARK: Files

    /// Unlinks older segments of which nothing is needed; a damaged one is set aside.
    func releaseOlder() {
        let needed = Set(state.retained.map(\.segment))
        let free = state.older.filter {
            !needed.contains($0.number) && state.pending.share(ofSegment: $0.number).batches == 0
        }
        if free.isEmpty { return }
        for older in free {
            openFiles.removeAll { $0.number == older.number }
            let path = files.path(ofSegment: older.number)
            if older.isDamaged, let bad = try? files.setAside(path) {
                badBytes += files.bytes(of: bad)
            } else {
                files.remove(path)
            }
            state.older.removeAll { $0.number == older.number }
        }
        files.sync()
    }

    func markDamaged(_ number: Int) {
        for place in state.older.indices where state.older[place].number == number {
            state.older[place].isDamaged = true
        }
    }

    func countBadFiles() {
        badBytes = ((try? files.badFiles()) ?? []).reduce(0) { $0 + $1.bytes }
    }

    private func removeOldestBad() {
        guard let oldest = (try? files.badFiles())?.first else { return badBytes = 0 }
        files.remove(oldest.path)
        warn("\(oldest.path): removed, its room was needed")
        badBytes = max(0, badBytes - oldest.bytes)
        if badBytes == 0 { countBadFiles() }
    }

    /// The device is full though the quota is not: what is kept for this moment is given up, and
    /// room is
    /// made.
    func relieve(_ incoming: Int) throws(SpoolError) {
        if isRelieving { throw .full }
        let hadBallast = files.releaseBallast()
        let needed = incoming + settings.logBytes(limit: quota)
        let available = files.freeBytes()
        // Somebody else's room, and they gave it back.
        if available > 2 * needed { return }
        let target: Int
        do throws(SQLiteError) {
            target = try usedBytes() - (needed - min(needed, available)) - incoming
        } catch {
            throw SpoolError(error)
        }
        isRelieving = true
        defer { isRelieving = false }
        do throws(SpoolError) {
            try free(to: max(0, target))
        } catch {
            if !hadBallast { throw error }
        }
    }

    /// Room for the next full device, when there is plenty now.
    func makeBallast() {
        let bytes = settings.ballastBytes(limit: quota)
        guard bytes > 0, files.size(files.ballast) < bytes, files.freeBytes() / 8 > bytes else {
            return
        }
        files.makeBallast(bytes)
    }
}
