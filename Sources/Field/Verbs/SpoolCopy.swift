// A stopped daemon's spool looked into without being touched: a copy is opened as the daemon opens its
// own, with all that mends, so what is said of it is what the next start would do. Needs as much room in
// the temporary folder as the spool takes.

import Host
import Model
import Spool

/// A copy of a spool's folder, removed with the object.
final class SpoolCopy {
    let folder: String

    /// Refuses the folder of a running daemon, whose files change while they are copied.
    init(of place: String) throws(FileError) {
        let lock = place + "/lock"
        if Files.exists(lock), Files.isWritable(lock) {
            do throws(HostError) {
                _ = try FileLock(path: lock)
            } catch {
                throw FileError(path: place, why: error.description)
            }
        }
        folder = try Files.makeTemporaryFolder("sluice-spool")
        // The lock names a process; the copy gets one of its own.
        // Folders are not the spool's: the gateway keeps copies of its formats there.
        for name in Files.names(in: place)
        where name != "lock" && !Files.isFolder("\(place)/\(name)") {
            try Files.write(try Files.read("\(place)/\(name)"), to: "\(folder)/\(name)")
        }
    }

    deinit { Files.removeTree(folder) }
}

/// What reading everything in a spool found.
struct SpoolCheck {
    var batches = 0
    var readings = 0
    var frames = 0
    var framesLost: UInt64 = 0
    var details = SpoolDetails()
    var warnings: [String] = []
    var unaccounted: UInt64 = 0

    var isSound: Bool {
        warnings.isEmpty && framesLost == 0 && details.batchesDamaged == 0 && unaccounted == 0
    }

    /// Reads every frame of the journal and every batch that waits. What cannot be read is taken out
    /// of the spool, so it had better be a copy.
    init(_ spool: Spool) throws(SpoolError) {
        var read = 0
        framesLost = try spool.recover { _, _ in read += 1 }.reduce(0, &+)
        frames = read
        for lane in Priority.allCases {
            var after: UInt64 = 0
            while true {
                let part = try spool.lease(
                    lane: lane, after: after, limit: 64, maximumBytes: 8 << 20)
                guard let last = part.last else { break }
                after = last.sequence
                batches += part.count
                readings += part.reduce(0) { $0 + $1.readings }
            }
        }
        details = spool.details
        warnings = spool.warnings
        unaccounted = spool.counters.unaccounted.magnitude
    }
}
