// What a spool may use, and what it says when it cannot go on.

package import Model
package import SQLite

/// Limits of a spool; the defaults suit a gateway with some GB of flash.
package struct SpoolSettings: Sendable {
    /// Most bytes that the spool takes on disk, or what the device has when that is less. Above
    /// seven
    /// eighths batches are evicted, lowest priority first, oldest first.
    package var maximumBytes = 1 << 30
    /// A file that reached this many bytes is followed by a new one; nil: a sixteenth of the
    /// quota, 64 MB
    /// at most.
    package var segmentBytes: Int?
    /// Covered journal frames are kept this long (ms of arrival time) to refill the duplicate
    /// memory after a restart.
    package var duplicateWindow: Int64 = 120_000
    /// Bytes of journal above which covered parts go earlier.
    package var journalRetainBytes = 32 << 20
    /// Quarantine: most entries and most bytes; the oldest go first, counted.
    package var quarantineEntries = 10_000
    package var quarantineBytes = 16 << 20

    package init() {}

    /// Bytes of log after which it is copied into the file.
    func logBytes(limit: Int) -> Int { min(max(limit / 256, 64 << 10), 4 << 20) }

    /// Room for one log and its copying.
    func ballastBytes(limit: Int) -> Int {
        limit < 4 << 20 ? 0 : logBytes(limit: limit) * 2
    }

    func segmentBytes(limit: Int) -> Int {
        segmentBytes ?? min(max(limit / 16, 128 << 10), 64 << 20)
    }
}

/// Why the spool could not do what it was asked for. After each of these the spool is as it was
/// before the call and can be asked again.
package enum SpoolError: Error, Hashable, Sendable {
    /// Another process owns the directory; `pid` is 0 when it has not yet written its number.
    case inUse(directory: String, pid: Int32)
    /// The directory cannot be made, entered or written: path and the system's sentence.
    case directory(path: String, reason: String)
    /// The directory cannot be used now, for a reason that may pass: read-only, full, failing.
    case storage(path: String, reason: String)
    /// The quota or the device is full and nothing is left that may be evicted.
    case full
    /// Structure of the file is damaged: which operation found it.
    case damaged(what: String)
    /// Written by a newer version.
    case layout(path: String, found: Int)
    /// SQLite refused: I/O, read-only, locked.
    case database(SQLiteError)

    init(_ error: SQLiteError) {
        if error.isFull {
            self = .full
        } else if error.isDamaged {
            self = .damaged(what: error.description)
        } else {
            self = .database(error)
        }
    }

    /// The device may do tomorrow what it does not do now.
    package var mayPass: Bool {
        switch self {
        case .storage, .full, .database, .damaged: true
        case .inUse, .directory, .layout: false
        }
    }

    /// What, why, what to do.
    package var description: String {
        switch self {
        case .inUse(let directory, let pid):
            "spool \(directory): in use by process \(pid): stop it, or use another directory"
        case .directory(let path, let reason):
            "spool \(path): \(reason): make it a directory that this user may write"
        case .storage(let path, let reason):
            "spool \(path): \(reason): check the device and its mount options"
        case .full:
            "spool: no space left: free the device or raise spool.maximumBytes"
        case .damaged(let what):
            "spool: damaged: \(what): restart to set the file aside, see sluice spool check"
        case .layout(let path, let found):
            "spool \(path): layout \(found) is newer than this program: install that version again"
        case .database(let error):
            "spool: \(error.description): check the device and its mount options"
        }
    }
}

/// One number for each lane.
package struct ByPriority: Hashable, Sendable {
    package var alarm: UInt64 = 0
    package var live: UInt64 = 0
    package var backlog: UInt64 = 0

    package init() {}

    package subscript(priority: Priority) -> UInt64 {
        get {
            switch priority {
            case .alarm: alarm
            case .live: live
            case .backlog: backlog
            }
        }
        set {
            switch priority {
            case .alarm: alarm = newValue
            case .live: live = newValue
            case .backlog: backlog = newValue
            }
        }
    }

    package var total: UInt64 { alarm &+ live &+ backlog }
}

/// Finer counts than `SpoolCounters`, for the status page and the forecast. What is held is counted
/// from the rows at open; what happened is kept in the file's ledger.
package struct SpoolDetails: Hashable, Sendable {
    package var batchesPending = ByPriority()
    package var readingsPending = ByPriority()
    package var bytesPending = ByPriority()
    package var readingsEvicted = ByPriority()
    package var batchesEvicted: UInt64 = 0
    /// Of those evicted: older than the store takes.
    package var readingsTooOld: UInt64 = 0
    /// Of those rejected: in rows that could not be read back.
    package var readingsDamaged: UInt64 = 0
    /// Raw frames for the quarantine that were let go because it could not be written.
    package var framesNotQuarantined: UInt64 = 0
    package var batchesRejected: UInt64 = 0
    /// Set aside because their CRC did not match; their readings count as rejected.
    package var batchesDamaged: UInt64 = 0
    package var journalParts: UInt64 = 0
    package var journalBytes: UInt64 = 0
    /// Entries (frames and batches) that are in quarantine now.
    package var quarantineEntries: UInt64 = 0
    package var quarantineBytes: UInt64 = 0
    /// Entries that had to leave quarantine for newer ones, ever.
    package var quarantineEvicted: UInt64 = 0
    /// Files of batches and journal.
    package var segments: UInt64 = 0
    /// Bytes on disk in all, and how many there may be before batches are evicted (the quota's
    /// seven
    /// eighths, or the device's).
    package var bytesUsed: UInt64 = 0
    package var bytesAllowed: UInt64 = 0
    /// Since the start: bytes handed in, bytes written to the device for them (at most), flushes.
    package var bytesStored: UInt64 = 0
    package var bytesWritten: UInt64 = 0
    package var flushes: UInt64 = 0

    package init() {}
}
