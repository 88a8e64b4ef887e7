// What SQLite refused, in one type for all rooms that keep files. Codes are SQLite's extended
// result codes (https://www.sqlite.org/rescode.html); the low byte is the primary code.

/// An operation that SQLite refused. `what` names the operation (`open /var/lib/…`, the SQL text),
/// `message` is SQLite's own sentence.
package struct SQLiteError: Error, Hashable, Sendable {
    /// Extended result code.
    package var code: Int32
    package var what: String
    package var message: String

    package init(code: Int32, what: String, message: String) {
        self.code = code
        self.what = what
        self.message = message
    }

    package var primaryCode: Int32 { code & 0xFF }

    /// No space on the device, or the file is at `max_page_count` (SQLITE_FULL).
    package var isFull: Bool { primaryCode == 13 }
    /// Another connection holds a lock (SQLITE_BUSY, SQLITE_LOCKED).
    package var isBusy: Bool { primaryCode == 5 || primaryCode == 6 }
    /// The file or its file system cannot be written (SQLITE_READONLY).
    package var isReadOnly: Bool { primaryCode == 8 }
    /// The device failed: read, write, fsync (SQLITE_IOERR).
    package var isIO: Bool { primaryCode == 10 }
    /// The file could not be opened or created (SQLITE_CANTOPEN).
    package var isCannotOpen: Bool { primaryCode == 14 }
    /// The file is no database or its structure is damaged (SQLITE_CORRUPT, SQLITE_NOTADB).
    package var isDamaged: Bool { primaryCode == 11 || primaryCode == 26 }
    /// A UNIQUE, CHECK, NOT NULL or foreign key rule was broken (SQLITE_CONSTRAINT).
    package var isConstraint: Bool { primaryCode == 19 }

    /// The device, the file or the memory is at fault, not the rows or the statement.
    package var isOfStorage: Bool {
        isFull || isBusy || isReadOnly || isIO || isCannotOpen || isDamaged || primaryCode == 7
    }

    package var description: String { "\(what): \(message) (SQLite \(code))" }
}
