// The files of a store's directory by name: the database, a new one while a damaged one is copied, damaged
// ones that were set aside. Values; on whoever's queue opens the store.

internal import Glibc
internal import SQLite

struct StoreFiles {
    let directory: String
    var main: String { directory + "/" + Store.fileName }
    var new: String { main + ".new" }

    /// The last close left no log behind: everything is in the file.
    var endedCleanly: Bool { size(main + "-wal") == 0 }

    func size(_ path: String) -> Int {
        var status = stat()
        // Safety: Swift lends the text with its ending zero; `status` outlives the call.
        return unsafe lstat(path, &status) == 0 ? Int(status.st_size) : 0
    }

    private func exists(_ path: String) -> Bool {
        // Safety: Swift lends the text with its ending zero for the call; so below.
        unsafe access(path, F_OK) == 0
    }

    /// A database and what SQLite keeps beside it.
    func remove(_ path: String) {
        for name in [path, path + "-wal", path + "-shm", path + "-journal"] {
            // Safety: as above. What is not there need not be removed.
            _ = unsafe unlink(name)
        }
    }

    /// The old file becomes the first free `.bad-<n>`, the new one takes its place. Its log goes before
    /// the new file comes, which it would be copied into otherwise.
    func exchange() throws(SQLiteError) -> String {
        var number = 1
        while exists("\(main).bad-\(number)") { number += 1 }
        let bad = "\(main).bad-\(number)"
        try rename(main, bad)
        if exists(main + "-wal") { try rename(main + "-wal", bad + "-wal") }
        // Safety: as above.
        _ = unsafe unlink(main + "-shm")
        try takeNew()
        return bad
    }

    /// A crash broke an exchange off: the old file is set aside, the new one not yet in its place.
    var isExchangeBroken: Bool { !exists(main) && exists(new) }

    func finishExchange() throws(SQLiteError) {
        if exists(main + "-wal") {
            var number = 1
            while exists("\(main).bad-\(number + 1)") { number += 1 }
            try rename(main + "-wal", "\(main).bad-\(number)-wal")
        }
        // Safety: as above.
        _ = unsafe unlink(main + "-shm")
        try takeNew()
    }

    private func takeNew() throws(SQLiteError) {
        for end in ["-wal", "-shm"] {
            // Safety: as above. The new file was copied together and has no log.
            _ = unsafe unlink(new + end)
        }
        try rename(new, main)
        sync()
    }

    private func rename(_ from: String, _ to: String) throws(SQLiteError) {
        // Safety: as above, both texts.
        guard unsafe Glibc.rename(from, to) == 0 else {
            let reason = errno
            // Safety: strerror's text is copied at once.
            let text = unsafe strerror(reason).map { unsafe String(cString: $0) } ?? ""
            throw SQLiteError(
                code: reason == ENOSPC ? 13 : reason == EROFS ? 8 : 10, what: "rename \(from)",
                message: text)
        }
    }

    /// Makes names durable.
    private func sync() {
        // Safety: as above.
        let descriptor = unsafe open(directory, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        _ = close(descriptor)
    }
}
