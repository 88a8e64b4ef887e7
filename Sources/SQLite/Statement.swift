// A prepared statement: bind, step, read columns, reset. Noncopyable, on its connection's queue.
// All methods only borrow; SQLite keeps the state. Bound blobs and texts are copied by SQLite while
// binding and freed by `run()` or `reset()`, so nothing of the caller's is kept.

internal import CSQLite

/// One compiled SQL statement, finalised when the value is destroyed. Parameters count from 1,
/// columns from 0, as in SQLite.
@safe package struct Statement: ~Copyable {
    private let handle: OpaquePointer

    // Safety: the caller hands over a statement that nobody else finalises.
    @unsafe init(handle: OpaquePointer) { unsafe self.handle = handle }

    deinit {
        // Safety: `handle` is valid until here and nobody else finalises it.
        _ = unsafe sqlite3_finalize(handle)
    }

    // MARK: Parameters

    package func bind(_ value: Int64, at index: Int) throws(SQLiteError) {
        // Safety: `handle` is valid while self is.
        try check(unsafe sqlite3_bind_int64(handle, Int32(truncatingIfNeeded: index), value))
    }

    package func bind(_ value: Int, at index: Int) throws(SQLiteError) {
        try bind(Int64(value), at: index)
    }

    package func bind(_ value: Double, at index: Int) throws(SQLiteError) {
        // Safety: `handle` is valid while self is.
        try check(unsafe sqlite3_bind_double(handle, Int32(truncatingIfNeeded: index), value))
    }

    package func bind(_ value: String, at index: Int) throws(SQLiteError) {
        var text = value
        let code = text.withUTF8 { bytes in
            // Safety: `bytes` is valid for the call and SQLite copies it.
            unsafe csqlite_bind_text(
                handle, Int32(truncatingIfNeeded: index), bytes.baseAddress, UInt64(bytes.count))
        }
        try check(code)
    }

    package func bind(_ bytes: [UInt8], at index: Int) throws(SQLiteError) {
        try bind(bytes.span, at: index)
    }

    /// A blob of the borrowed bytes.
    package func bind(_ bytes: Span<UInt8>, at index: Int) throws(SQLiteError) {
        // Safety: `buffer` is valid for the call and SQLite copies it.
        let code = unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe csqlite_bind_blob(
                handle, Int32(truncatingIfNeeded: index), buffer.baseAddress, UInt64(buffer.count))
        }
        try check(code)
    }

    package func bindNull(at index: Int) throws(SQLiteError) {
        // Safety: `handle` is valid while self is.
        try check(unsafe sqlite3_bind_null(handle, Int32(truncatingIfNeeded: index)))
    }

    // MARK: Running

    /// True: a row is there to be read. False: done. After an error the statement is reset, so that
    /// a ROLLBACK is not held up.
    package func step() throws(SQLiteError) -> Bool {
        // Safety: `handle` is valid while self is.
        let code = unsafe sqlite3_step(handle)
        switch code {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default:
            let failure = error(code)
            reset()
            throw failure
        }
    }

    /// Steps to the end without looking at rows, then resets.
    package func run() throws(SQLiteError) {
        while try step() {}
        reset()
    }

    /// As `run`, but bound values stay until they are bound anew or `reset`: for many rows of numbers.
    package func runOn() throws(SQLiteError) {
        while try step() {}
        // Safety: `handle` is valid while self is. The code repeats that of the last step.
        _ = unsafe sqlite3_reset(handle)
    }

    /// Ready to be bound and stepped again; bound values are released.
    package func reset() {
        // Safety: `handle` is valid while self is. The code repeats the error of the last step.
        _ = unsafe sqlite3_reset(handle)
        // Safety: as above.
        _ = unsafe sqlite3_clear_bindings(handle)
    }

    // MARK: Columns of the current row

    package func int64(_ column: Int) -> Int64 {
        // Safety: `handle` is valid while self is; SQLite answers 0 for a column that is not there.
        unsafe sqlite3_column_int64(handle, Int32(truncatingIfNeeded: column))
    }

    package func int(_ column: Int) -> Int { Int(int64(column)) }

    package func double(_ column: Int) -> Double {
        // Safety: `handle` is valid while self is; SQLite answers 0 for a column that is not there.
        unsafe sqlite3_column_double(handle, Int32(truncatingIfNeeded: column))
    }

    /// Invalid UTF-8 becomes U+FFFD; NULL is empty.
    package func text(_ column: Int) -> String {
        // Safety: `handle` is valid while self is.
        guard let start = unsafe sqlite3_column_text(handle, Int32(truncatingIfNeeded: column))
        else { return "" }
        // Safety: asked after column_text, as SQLite's manual wants.
        let count = Int(unsafe sqlite3_column_bytes(handle, Int32(truncatingIfNeeded: column)))
        // Safety: SQLite keeps `count` bytes at `start` until the next step; copied here.
        return unsafe String(
            decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    /// A copy of the blob; NULL is empty.
    package func blob(_ column: Int) -> [UInt8] {
        withBlob(column) { span in
            // Safety: the buffer is copied within the call.
            unsafe span.withUnsafeBufferPointer { unsafe Array($0) }
        }
    }

    /// Lends the blob in SQLite's own memory to `body`, without a copy; NULL is empty.
    package func withBlob<T>(_ column: Int, _ body: (Span<UInt8>) -> T) -> T {
        // Safety: `handle` is valid while self is.
        let start = unsafe sqlite3_column_blob(handle, Int32(truncatingIfNeeded: column))
        // Safety: asked after column_blob, as SQLite's manual wants.
        let count = Int(unsafe sqlite3_column_bytes(handle, Int32(truncatingIfNeeded: column)))
        // Safety: SQLite keeps `count` bytes at `start` until the next step or reset; `body` cannot
        // keep the span.
        let buffer = unsafe UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count)
        // Safety: bytes need no alignment.
        return body(unsafe buffer.bindMemory(to: UInt8.self).span)
    }

    package func isNull(_ column: Int) -> Bool {
        // Safety: `handle` is valid while self is.
        unsafe sqlite3_column_type(handle, Int32(truncatingIfNeeded: column)) == SQLITE_NULL
    }

    private func check(_ code: Int32) throws(SQLiteError) {
        guard code == SQLITE_OK else { throw error(code) }
    }

    private func error(_ code: Int32) -> SQLiteError {
        // Safety: `handle` is valid while self is; its text is copied at once.
        let sql = unsafe sqlite3_sql(handle).map { unsafe String(cString: $0) } ?? ""
        // Safety: a statement keeps its connection alive (close_v2).
        return unsafe SQLiteError(code: code, what: sql, handle: sqlite3_db_handle(handle))
    }
}
