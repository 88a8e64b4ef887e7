// One connection to one SQLite file. Noncopyable and not Sendable: a single owner on a single queue
// (opened without SQLite's mutexes), which also shuts out the WAL-reset race that needs two
// connections (reliability.md section 1). All methods only borrow, so a class keeps it as `let
// database: Database` beside the `let` statements it prepared. Closing waits for nothing:
// statements that outlive the connection keep it alive inside SQLite (sqlite3_close_v2).

internal import CSQLite

/// A SQLite file, open until the value is destroyed.
@safe package struct Database: ~Copyable {
    package enum Mode: Sendable {
        /// Created when it is missing.
        case readWriteCreate
        /// Must exist.
        case readWrite
        /// Must exist; nothing is written beside it except a WAL index when it is in WAL mode.
        case readOnly
    }

    private let handle: OpaquePointer

    /// SQLite refuses it where somebody in the process was faster, and then only costs more.
    private static let isConfigured = csqlite_configure() == SQLITE_OK

    /// `path` is a plain path, never a URI. The parent directory must exist.
    package init(path: String, mode: Mode) throws(SQLiteError) {
        // Safety: the handle is open and from here on owned by this value alone.
        unsafe handle = try Database.open(path, mode)
    }

    deinit {
        // Safety: `handle` is open until here and nobody else closes it.
        _ = unsafe sqlite3_close_v2(handle)
    }

    /// Runs SQL text of one or more statements without parameters; rows are ignored.
    package func execute(_ sql: String) throws(SQLiteError) {
        // Safety: `handle` is open while self is; no callback, no message pointer.
        let code = unsafe sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(code, sql) }
    }

    /// Compiles one statement, to be kept and used many times.
    package func prepare(_ sql: String) throws(SQLiteError) -> Statement {
        var prepared: OpaquePointer?
        // Safety: `handle` is open while self is; SQLite copies the text.
        let code = unsafe sqlite3_prepare_v3(
            handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil)
        guard code == SQLITE_OK else { throw error(code, sql) }
        guard let prepared = unsafe prepared else {
            throw SQLiteError(code: SQLITE_MISUSE, what: sql, message: "no statement in the text")
        }
        return unsafe Statement(handle: prepared)
    }

    /// BEGIN IMMEDIATE, `body`, COMMIT; ROLLBACK when either throws, after which the connection and
    /// its statements can be used again. Not nested.
    package func transaction<T>(_ body: () throws(SQLiteError) -> T) throws(SQLiteError) -> T {
        try execute("BEGIN IMMEDIATE")
        do throws(SQLiteError) {
            let result = try body()
            try execute("COMMIT")
            return result
        } catch {
            // SQLite has rolled back by itself after some errors (full disk, I/O).
            if isInTransaction { try? execute("ROLLBACK") }
            throw error
        }
    }

    /// True between BEGIN and COMMIT or ROLLBACK.
    package var isInTransaction: Bool {
        // Safety: `handle` is open while self is.
        unsafe sqlite3_get_autocommit(handle) == 0
    }

    package var lastInsertRowID: Int64 {
        // Safety: `handle` is open while self is.
        unsafe sqlite3_last_insert_rowid(handle)
    }

    /// Rows inserted, changed or deleted by the statement that ran last.
    package var changes: Int {
        // Safety: `handle` is open while self is.
        Int(unsafe sqlite3_changes64(handle))
    }

    /// What a pragma says now, as text; empty when it answers nothing.
    package func setting(pragma: String) throws(SQLiteError) -> String {
        let statement = try prepare("PRAGMA \(pragma)")
        return try statement.step() ? statement.text(0) : ""
    }

    /// How long a statement waits for another connection's lock; 0 (the default) fails at once.
    package func setBusyTimeout(milliseconds: Int32) {
        // Safety: `handle` is open while self is.
        _ = unsafe sqlite3_busy_timeout(handle, milliseconds)
    }

    /// When true, the last close leaves the WAL for the next open instead of copying it (a fast
    /// stop).
    package func setNoCheckpointOnClose(_ enabled: Bool) {
        // Safety: `handle` is open while self is.
        _ = unsafe csqlite_set_no_checkpoint_on_close(handle, enabled ? 1 : 0)
    }

    /// Copies the WAL into the file and empties it; false when readers kept it from finishing.
    @discardableResult
    package func checkpoint() throws(SQLiteError) -> Bool {
        let statement = try prepare("PRAGMA wal_checkpoint(TRUNCATE)")
        return try statement.step() && statement.int64(0) == 0
    }

    /// Copies what it can of the WAL into the file without waiting, so that the WAL's place is used again;
    /// answers the number of frames that it held. Unlike SQLite's own automatic one it says when the
    /// device fails.
    package func copyLog() throws(SQLiteError) -> Int {
        let statement = try prepare("PRAGMA wal_checkpoint(PASSIVE)")
        return try statement.step() ? max(0, statement.int(2)) : 0
    }

    /// Pages written to the log (in WAL mode) since the file was opened.
    package var pagesWritten: Int {
        var current: Int32 = 0
        var highest: Int32 = 0
        // Safety: `handle` is open while self is; both numbers outlive the call.
        _ = unsafe sqlite3_db_status(
            handle, SQLITE_DBSTATUS_CACHE_WRITE, &current, &highest, 0)
        return Int(current)
    }

    private static func open(_ path: String, _ mode: Mode) throws(SQLiteError) -> OpaquePointer {
        _ = isConfigured
        let access =
            switch mode {
            case .readWriteCreate: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
            case .readWrite: SQLITE_OPEN_READWRITE
            case .readOnly: SQLITE_OPEN_READONLY
            }
        var opened: OpaquePointer?
        // Safety: `opened` outlives the call; SQLite copies the path.
        var code = unsafe sqlite3_open_v2(
            path, &opened, access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
        // Safety: called only with the handle that was just opened.
        if code == SQLITE_OK { code = unsafe csqlite_set_defensive(opened) }
        guard code == SQLITE_OK, let opened = unsafe opened else {
            let error = unsafe SQLiteError(code: code, what: "open \(path)", handle: opened)
            // Safety: SQLite wants a handle closed that it returned with an error; nil is allowed.
            _ = unsafe sqlite3_close_v2(opened)
            throw error
        }
        return unsafe opened
    }

    private func error(_ code: Int32, _ what: String) -> SQLiteError {
        unsafe SQLiteError(code: code, what: what, handle: handle)
    }
}

extension SQLiteError {
    /// The error that `handle` reported last; `code` when there is no handle.
    init(code: Int32, what: String, handle: OpaquePointer?) {
        guard let handle = unsafe handle else {
            // Safety: a constant text for each code.
            let text = unsafe sqlite3_errstr(code)
            // Safety: ends with zero, lives for ever.
            self.init(
                code: code, what: what,
                message: unsafe text.map { unsafe String(cString: $0) } ?? "")
            return
        }
        // Safety: the caller's handle is open; the text is copied before the next call on it.
        let text = unsafe sqlite3_errmsg(handle)
        // Safety: as above; ends with zero.
        self.init(
            code: code, what: what, message: unsafe text.map { unsafe String(cString: $0) } ?? "")
    }
}
