// How a spool begins: the newest segment that can be read says what there is. What is damaged is copied
// row by row into a new segment and set aside. A device that does not read is something else: a card that
// answers again after a second must not cost what it holds. Then nothing is changed, and nothing begins
// before the caller gives up.

import Model
internal import SQLite

struct SpoolOpening {
    let settings: SpoolSettings
    /// What cannot be read is lost.
    let givesUp: Bool
    private(set) var segment: Segment?
    private(set) var state = SpoolState()
    private(set) var warnings: [String] = []
    private(set) var quarantine: QuarantineFile?
    /// A newer segment was lost whole: what is on disk goes back in time.
    private var isBehind = false
    private var highest = 0
    /// Segments of whose logs something was left out.
    private var mended: Set<Int> = []

    private init(_ settings: SpoolSettings, givesUp: Bool) {
        self.settings = settings
        self.givesUp = givesUp
    }

    /// Tries a device that does not read three times at once.
    static func opened(
        _ files: SpoolFiles, _ settings: SpoolSettings, givesUp: Bool, tries: Int = 3
    ) throws(SpoolError) -> SpoolOpening {
        var opening = SpoolOpening(settings, givesUp: givesUp)
        do throws(SpoolError) {
            try opening.open(files)
            return opening
        } catch {
            guard tries > 1, case .database(let error) = error, error.isIO || error.isCannotOpen
            else { throw error }
        }
        return try opened(files, settings, givesUp: givesUp, tries: tries - 1)
    }

    private mutating func open(_ files: SpoolFiles) throws(SpoolError) {
        let numbers = try files.segments()
        highest = numbers.last ?? 0
        for number in numbers { try mendLog(of: number, files) }
        for number in numbers.reversed() where segment == nil {
            try take(number, files, isOldest: number == numbers.first)
        }
        if let found = segment {
            removeUnlisted(numbers, newest: found.number, files)
        } else {
            state = SpoolState()
            var generator = SystemRandomNumberGenerator()
            state.incarnation = (0..<16).map { _ in UInt8.random(in: 0...255, using: &generator) }
            segment = try begin(highest + 1, files)
            files.note(lastSequence: 0)
        }
        try openQuarantine(files)
    }

    /// Takes a segment for the newest, or sets it aside.
    private mutating func take(
        _ number: Int, _ files: SpoolFiles, isOldest: Bool
    ) throws(SpoolError) {
        let path = files.path(ofSegment: number)
        let isMended = mended.contains(number)
        do throws(SpoolError) {
            guard let found = try Segment.open(path: path, number: number) else {
                // Sequences were given out, and there is no other file that they can be from.
                if isMended || (isOldest && files.notedLastSequence() > 0) {
                    throw .damaged(what: "segment \(number): its log cannot be read")
                }
                // Its first transaction never came to its end: the one before it goes on.
                return files.remove(path)
            }
            var isSound = !isMended
            do throws(SQLiteError) {
                try found.check()
            } catch {
                guard error.isDamaged else { throw SpoolError(error) }
                isSound = false
            }
            let image = try read(found, files, isMended: isMended)
            state = image.state
            let noted = files.notedLastSequence()
            if noted > state.tally.counters.lastSequence, !isBehind {
                state.tally.counters.lastSequence = noted
                isBehind = true
                warnings.append(
                    "segment \(number): its log has lost its end: what was stored last is not there"
                )
            }
            if isBehind {
                // What the lost segment had given out is skipped: none holds as many.
                state.tally.counters.lastSequence &+= 1 << 20
            }
            let (before, said) = (warnings, image.warnings)
            warnings = []
            if !isSound || image.isDamaged {
                try salvage(found, files)
            } else if isBehind {
                try follow(found, files)
            } else {
                segment = found
            }
            warnings = before + warnings + said
            do throws(SQLiteError) {
                try segment?.file.setClean(false)
            } catch {
                throw SpoolError(error)
            }
        } catch {
            guard let what = loss(error) else { throw error }
            segment = nil
            let bad = try files.setAside(path)
            isBehind = true
            warnings.append("\(what): set aside as \(bad), nothing in it can be read")
        }
    }

    /// What was found of a segment that cannot be used; nil: perhaps it can be later.
    private func loss(_ error: SpoolError) -> String? {
        switch error {
        case .damaged(let what): what
        case .database(let failure) where givesUp && failure.isIO: failure.description
        default: nil
        }
    }

    /// Before SQLite sees it: pages of its log that are damaged are left out, not everything behind them.
    /// What they held is then missed row by row: by the newest segment's own numbers, by an older one's
    /// list.
    private mutating func mendLog(of number: Int, _ files: SpoolFiles) throws(SpoolError) {
        let path = files.path(ofSegment: number)
        let log = path + "-wal"
        let size = files.size(log)
        guard size > 0, size <= SpoolOpening.logBytesLooked else { return }
        guard let bytes = files.bytes(of: log, limit: SpoolOpening.logBytesLooked) else {
            if givesUp { return }
            throw .storage(path: log, reason: "cannot be read")
        }
        guard let found = SegmentLog(bytes)?.mended else { return }
        guard files.keep(bytes, besides: path), files.replace(log, by: found.bytes) else {
            if !givesUp { throw .storage(path: log, reason: "is damaged and cannot be mended now") }
            warnings.append(
                "segment \(number): its log is damaged and cannot be mended now: what lies behind the"
                    + " damage is not there")
            return
        }
        warnings.append(
            "segment \(number): \(found.bad) pages of its log are damaged: left out, and"
                + " \(found.transactions) transactions behind them read all the same")
        if found.bad > 0 { mended.insert(number) }
    }

    /// Longer logs are left to SQLite.
    private static let logBytesLooked = 256 << 20

    private func read(
        _ found: Segment, _ files: SpoolFiles, isMended: Bool
    ) throws(SpoolError) -> SpoolImage {
        do throws(SQLiteError) {
            return try SpoolImage(found, files, isMended: isMended, givesUp: givesUp)
        } catch {
            // A missing table or a sum that overflows: not what this program wrote.
            throw error.primaryCode == 1
                ? .damaged(what: error.description) : SpoolError(error)
        }
    }

    /// Copies what can be read of `found` into a new segment and sets it aside.
    private mutating func salvage(
        _ found: Segment, _ files: SpoolFiles
    ) throws(SpoolError) {
        let number = highest + 1
        let path = files.path(ofSegment: number)
        var copy = SegmentCopy(from: found.file, state: state, givesUp: givesUp)
        do throws(SpoolError) {
            segment = try Segment.create(
                path: path, number: number, incarnation: state.incarnation
            ) { (new: Segment) throws(SQLiteError) in
                try copy.run(into: new)
            }
        } catch .full {
            // No room for a copy: its rows are read by key where they are.
            files.remove(path)
            files.releaseBallast()
            return try follow(found, files)
        } catch {
            files.remove(path)
            throw error
        }
        files.sync()
        state = copy.state
        let bad = try files.setAside(found.file.path)
        warnings.append(
            "segment \(found.number) damaged: \(copy.copied) of its batches and parts copied, set"
                + " aside as \(bad)")
        warnings += copy.warnings
    }

    /// Goes on in a new segment; `found` is one of the older.
    private mutating func follow(_ found: Segment, _ files: SpoolFiles) throws(SpoolError) {
        found.file.database.setNoCheckpointOnClose(true)
        state.older.append(
            OlderSegment(
                number: found.number, bytes: files.bytes(of: found.file.path), isDamaged: true))
        segment = try begin(highest + 1, files)
    }

    private func begin(
        _ number: Int, _ files: SpoolFiles
    ) throws(SpoolError) -> Segment {
        let state = state
        let made = try Segment.create(
            path: files.path(ofSegment: number), number: number, incarnation: state.incarnation
        ) { (new: Segment) throws(SQLiteError) in
            try new.put(state)
        }
        files.sync()
        return made
    }

    /// A segment that the newest does not know has served; only its unlinking was missed.
    private func removeUnlisted(
        _ numbers: [Int], newest: Int, _ files: SpoolFiles
    ) {
        let listed = Set(state.older.map(\.number))
        for number in numbers where number < newest && !listed.contains(number) {
            files.remove(files.path(ofSegment: number))
        }
    }

    /// Its own file: whatever is wrong with it keeps nothing from starting, but that a newer version
    /// wrote it.
    private mutating func openQuarantine(_ files: SpoolFiles) throws(SpoolError) {
        let path = files.path + "/quarantine.db"
        guard files.exists(path) else { return }
        do throws(SQLiteError) {
            quarantine = try QuarantineFile(path: path)
        } catch {
            if error.code == QuarantineFile.newer {
                throw .layout(path: path, found: Int(error.message) ?? 0)
            }
            guard error.isDamaged || !error.isOfStorage || givesUp else {
                return warnings.append("quarantine: \(error.description): it is tried again")
            }
            if let bad = try? files.setAside(path) {
                warnings.append("quarantine: \(error.description): set aside as \(bad)")
            }
        }
    }
}

/// Copies rows of a damaged segment.
struct SegmentCopy {
    private let old: SegmentFile
    private let givesUp: Bool
    private(set) var state: SpoolState
    private(set) var copied = 0
    private(set) var warnings: [String] = []

    init(from old: SegmentFile, state: SpoolState, givesUp: Bool) {
        self.old = old
        self.state = state
        self.givesUp = givesUp
    }

    mutating func run(into new: Segment) throws(SQLiteError) {
        for batch in state.pending.batches(inSegment: old.number) {
            switch try new.copyBatch(batch.sequence, from: old) {
            case .row:
                state.pending.move(batch.sequence, toSegment: new.number)
                copied += 1
            case .unreadable(let error) where !givesUp: throw error
            case .damaged, .unreadable: lose(batch)
            }
        }
        for place in state.retained.indices where state.retained[place].segment == old.number {
            if state.retained[place].isDamaged { continue }
            switch try new.copyPart(state.retained[place], from: old) {
            case .row(let row):
                state.retained[place].segment = new.number
                state.retained[place].row = row
                copied += 1
            case .unreadable(let error) where !givesUp: throw error
            case .damaged, .unreadable: break
            }
        }
        try new.put(state)
    }

    private mutating func lose(_ batch: PendingBatch) {
        state.pending.remove(batch.sequence)
        state.tally.removePending(batch)
        state.tally.counters.readingsRejected &+= batch.readings
        state.tally.details.batchesDamaged &+= 1
        state.tally.details.readingsDamaged &+= batch.readings
        warnings.append("batch \(batch.sequence) damaged: \(batch.readings) readings lost")
    }
}
