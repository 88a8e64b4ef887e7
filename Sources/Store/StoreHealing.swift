// How the store begins with a file that may be damaged, and how it finds out that a disk which failed takes
// writes again. On the store's queue.

import Model
internal import SQLite

struct OpenedStore: ~Copyable {
    var database: Database
    var salvage: StoreSalvageReport?
}

extension Store {
    /// Opens the file, or makes it; what is damaged is copied into a new one (StoreSalvage). `suspect`:
    /// damage was met while the store ran, so the file is copied however it looks now.
    static func open(
        _ files: StoreFiles, _ settings: StoreSettings, suspect: String?
    ) throws(StoreError) -> OpenedStore {
        do throws(SQLiteError) {
            if files.isExchangeBroken, isMarked(files.new) { try files.finishExchange() }
            files.remove(files.new)
            if let suspect {
                let error = SQLiteError(code: 11, what: "store", message: suspect)
                let report = try StoreSalvage.run(files, damage: error)
                return OpenedStore(database: try Store.database(files, settings), salvage: report)
            }
        } catch { throw .sqlite(error) }
        let isUnclean = !files.endedCleanly && files.size(files.main) <= Store.mostChecked
        do throws(StoreError) {
            do throws(SQLiteError) {
                let database = try Store.database(files, settings)
                try StoreTables.look(database)
                if isUnclean { try Store.check(database) }
                return OpenedStore(database: database, salvage: nil)
            } catch { throw .sqlite(error) }
        } catch {
            guard case .sqlite(let damage) = error, damage.isDamaged else { throw error }
            do throws(SQLiteError) {
                let report = try StoreSalvage.run(files, damage: damage)
                return OpenedStore(database: try Store.database(files, settings), salvage: report)
            } catch { throw .sqlite(error) }
        }
    }

    /// Bytes of a file that is checked whole after an unclean end: a second, cold. What is damaged in a
    /// larger one is found when it is met.
    private static let mostChecked = 64 << 20

    /// A new file that was copied to its end.
    private static func isMarked(_ path: String) -> Bool {
        guard let database = try? Database(path: path, mode: .readWrite),
            (try? StoreTables.check(database)) != nil
        else { return false }
        return true
    }

    private static func database(
        _ files: StoreFiles, _ settings: StoreSettings
    ) throws(SQLiteError) -> Database {
        let database = try Database(path: files.main, mode: .readWriteCreate)
        database.setBusyTimeout(milliseconds: 1000)
        var durable = DurableSettings(locking: .normal)
        durable.walAutocheckpoint = 4000
        durable.maximumPages = settings.maximumPages
        try database.applyDurableSettings(durable)
        try database.execute("PRAGMA cache_size=-\(settings.cacheKilobytes)")
        return database
    }

    private static func check(_ database: borrowing Database) throws(SQLiteError) {
        let check = try database.prepare("PRAGMA quick_check(1)")
        let text = try check.step() ? check.text(0) : ""
        guard text == "ok" else {
            throw SQLiteError(code: 11, what: "check", message: text)
        }
    }

    /// A query met damage: the file has to be opened anew.
    func noteRead(_ error: SQLiteError) {
        if error.isDamaged { lastFailure = error }
    }

    /// After a failed write: tries one that nobody waits for, at most once a second, so that the credit
    /// comes back when the disk does. The gateways' batches stay where they are meanwhile.
    package func probeIfDue() {
        guard let failure = lastFailure, !failure.isDamaged, !database.isInTransaction else {
            return
        }
        if let now = settings.now?() {
            if let probedAt, now.milliseconds(since: probedAt) < 1000 { return }
            probedAt = now
        }
        do throws(SQLiteError) {
            // As much as a batch may take, so that it fails where a batch would.
            try database.transaction { () throws(SQLiteError) in
                try database.execute(
                    """
                    CREATE TABLE probe(bytes BLOB); INSERT INTO probe VALUES(zeroblob(262144));
                    DROP TABLE probe
                    """)
            }
            healed()
        } catch { lastFailure = error }
    }
}
