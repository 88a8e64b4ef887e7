// How a file is opened that must keep what it acknowledged. Values and reasons: reliability.md
// section 4 (synchronous=FULL lost 0 of 60 acknowledged commits in power cuts, NORMAL 16 of 40).
// Each setting is read back after it was set; one that did not take is an error, not a surprise at
// the next power cut.

package struct DurableSettings: Sendable {
    package enum Locking: String, Sendable {
        /// No `-shm` file, and no second process can open the file.
        case exclusive
        /// Other processes may read meanwhile (SQL for everyone).
        case normal
    }

    package var locking: Locking
    /// Pages in the WAL before it is copied into the file (× 4096 bytes); 0: the owner does it, and so
    /// hears of a device that fails meanwhile.
    package var walAutocheckpoint = 2000
    /// The WAL file is cut back to this many bytes after a checkpoint.
    package var journalSizeLimit = 8 << 20
    /// Pages (× 4096 bytes) beyond which writes fail with `isFull`; nil leaves SQLite's own limit.
    package var maximumPages: Int?
    /// Pages kept in memory. What we write is read once, if at all.
    package var cacheKilobytes = 512

    package init(locking: Locking) { self.locking = locking }
}

extension Database {
    /// Sets everything, reads it back, and throws a `SQLiteError` with `what` = the pragma for a
    /// setting that did not take (an existing file of another page size, a `:memory:` file). Call
    /// first after opening, before any table is made.
    package func applyDurableSettings(_ settings: DurableSettings) throws(SQLiteError) {
        // Locking before the first look into the file, else SQLite makes the -shm file of the WAL;
        // page size before the first page.
        try set(
            "locking_mode", settings.locking.rawValue.uppercased(),
            reads: settings.locking.rawValue)
        try set("page_size", "4096", reads: "4096")
        try set("auto_vacuum", "NONE", reads: "0")
        try set("journal_mode", "WAL", reads: "wal")
        try set("synchronous", "FULL", reads: "2")
        try set("secure_delete", "OFF", reads: "0")
        try set(
            "wal_autocheckpoint", String(settings.walAutocheckpoint),
            reads: String(settings.walAutocheckpoint))
        try set(
            "journal_size_limit", String(settings.journalSizeLimit),
            reads: String(settings.journalSizeLimit))
        try set("mmap_size", "0", reads: "0")
        try set(
            "cache_size", "-\(settings.cacheKilobytes)", reads: "-\(settings.cacheKilobytes)")
        try set("cell_size_check", "ON", reads: "1")
        try set("trusted_schema", "OFF", reads: "0")
        if let pages = settings.maximumPages {
            try set("max_page_count", String(pages), reads: String(pages))
        }
    }

    private func set(
        _ pragma: String, _ value: String, reads expected: String
    ) throws(SQLiteError) {
        try execute("PRAGMA \(pragma)=\(value)")
        let read = try setting(pragma: pragma)
        // A build of SQLite without mmap answers nothing, which is as good as 0.
        guard read == expected || (pragma == "mmap_size" && read.isEmpty) else {
            throw SQLiteError(
                code: 1, what: "PRAGMA \(pragma)=\(value)", message: "the file says \"\(read)\"")
        }
    }
}
