// Transactions. Whatever a device answers to one but "full", the segment is spent: after a failed
// flush
// nobody knows what the kernel kept, so nothing is written to it again, its log is left as it is,
// and the
// same content goes into a new segment that begins with everything the spool knows.

import Model
internal import SQLite

extension Spool {
    /// What a transaction changes in memory once it is durable.
    struct Change {
        var tally: Tally
        var covered: [UInt64]
        /// No longer pending.
        var gone: Set<UInt64> = []
        var added: [PendingBatch] = []
        /// Copied from older segments into this one.
        var moved: [UInt64] = []
        /// Indices in `retained` that go.
        var goneParts: Set<Int> = []
        var forgotten = 0
        var bytes = 0
    }

    /// Runs `body` in one transaction and takes over the change when it is durable. `incoming`
    /// bytes are
    /// expected to be added; there is room for them when the caller has asked for it.
    func write<T>(
        incoming: Int, _ body: (inout Change) throws(SQLiteError) -> T
    ) throws(SpoolError) -> T {
        if isSegmentSpent {
            try renew()
        } else if isSegmentFull(incoming) {
            do throws(SpoolError) { try renew() } catch .full {
                // No room for another file: this one takes more.
            }
        }
        do throws(SQLiteError) {
            return try transact(body)
        } catch {
            if error.isFull {
                try relieve(incoming)
            } else {
                try abandon(error)
            }
        }
        do throws(SQLiteError) {
            return try transact(body)
        } catch {
            if !error.isFull { isSegmentSpent = true }
            throw SpoolError(error)
        }
    }

    /// Writes something and waits until it is durable: does the device take data?
    package func touch() throws(SpoolError) {
        try write(incoming: 0) { (_: inout Change) throws(SQLiteError) in
            try segment.put(ledger: "spool.touched", state.cut.epoch)
        }
    }

    private func transact<T>(
        _ body: (inout Change) throws(SQLiteError) -> T
    ) throws(SQLiteError) -> T {
        var change = Change(tally: state.tally, covered: state.cut.covered)
        let result = try segment.file.database.transaction { () throws(SQLiteError) in
            let result = try body(&change)
            for (name, path, _) in Tally.persisted
            where change.tally[keyPath: path] != state.tally[keyPath: path] {
                try segment.put(ledger: name, change.tally[keyPath: path])
            }
            return result
        }
        change.tally.details.flushes &+= 1
        change.tally.details.bytesStored &+= UInt64(change.bytes)
        apply(change)
        copyLogIfLong()
        return result
    }

    private func apply(_ change: Change) {
        state.tally = change.tally
        framesForgotten += change.forgotten
        for batch in change.added { state.pending.insert(batch) }
        for sequence in change.moved {
            state.pending.move(sequence, toSegment: segment.number)
        }
        for sequence in change.gone { state.pending.remove(sequence) }
        if !change.goneParts.isEmpty {
            var index = -1
            state.retained.removeAll { _ in
                index += 1
                return change.goneParts.contains(index)
            }
        }
    }

    /// A device that fails here leaves pages in the file that nobody knows; the log still has
    /// them all.
    private func copyLogIfLong() {
        guard segment.pagesInLog * 4096 >= settings.logBytes(limit: quota) else {
            return
        }
        do throws(SQLiteError) {
            let pages = try segment.copyLog()
            writtenBefore &+= UInt64(pages) &* 4096
            state.tally.details.flushes &+= 2
        } catch {
            if error.isFull { return }
            isSegmentSpent = true
            warn("segment \(segment.number): \(error.description): going on in a new one")
        }
    }

    // MARK: A new segment

    private func isSegmentFull(_ incoming: Int) -> Bool {
        guard let bytes = try? segment.bytes() else { return true }
        let most = settings.segmentBytes(limit: quota)
        return bytes + incoming > max(most, segment.initialBytes + most / 4)
            && bytes > segment.initialBytes + most / 8
    }

    private func abandon(_ error: SQLiteError) throws(SpoolError) {
        warn("segment \(segment.number): \(error.description): going on in a new one")
        isSegmentSpent = true
        try renew()
    }

    /// Begins a segment with everything that is known; the one before becomes one of the older.
    func renew() throws(SpoolError) {
        let number = segment.number + 1
        let path = files.path(ofSegment: number)
        let old = segment
        var next = state
        next.older.append(
            OlderSegment(
                number: old.number, bytes: max(files.bytes(of: old.file.path), 4096),
                isDamaged: isSegmentSpent))
        // One that could not be made earlier has nothing in it that counts.
        files.remove(path)
        do throws(SpoolError) {
            segment = try Segment.create(
                path: path, number: number, incarnation: incarnation
            ) { (new: Segment) throws(SQLiteError) in
                try new.put(next)
            }
        } catch {
            files.remove(path)
            // A device that failed may have kept the file after all, and the next start would go
            // on from
            // it: so nothing may be added to the one before. A full one has not finished it.
            if error != .full { isSegmentSpent = true }
            throw error
        }
        files.sync()
        writtenBefore &+= UInt64(old.file.database.pagesWritten) &* 4120
        state = next
        state.tally.details.flushes &+= 3
        if isSegmentSpent {
            old.file.database.setNoCheckpointOnClose(true)
        } else {
            old.file.seal()
            state.older[state.older.count - 1].bytes = files.bytes(of: old.file.path)
        }
        isSegmentSpent = false
        openFiles.append(old.file)
        if openFiles.count > 4 { openFiles.removeFirst() }
        releaseOlder()
    }
}
