// The thin wrapper: values come back as they were bound, errors say what and why, a failed
// transaction leaves nothing, settings are what they say.

import SQLite
import TestSupport
import Testing

@Suite struct SQLiteTests {
    private let folder = TemporaryFolder()
    private var path: String { folder.path + "/t.db" }

    @Test("gives back every value as it was bound")
    func values() throws {
        let database = try Database(path: path, mode: .readWriteCreate)
        try database.execute("CREATE TABLE t(i INTEGER, d REAL, s TEXT, b BLOB, n)")
        let insert = try database.prepare("INSERT INTO t VALUES(?1, ?2, ?3, ?4, ?5)")
        let integers: [Int64] = [.min, -1, 0, 1, .max]
        let doubles: [Double] = [
            -.infinity, -0.1, 0, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
        ]
        let texts = ["", "a", "zero\u{0}inside", "温度 °C", String(repeating: "x", count: 5000)]
        let blobs: [[UInt8]] = [
            [], [0], [0, 1, 0], Array(0...255), .init(repeating: 7, count: 70_000),
        ]
        for i in 0..<5 {
            try insert.bind(integers[i], at: 1)
            try insert.bind(doubles[i], at: 2)
            try insert.bind(texts[i], at: 3)
            try insert.bind(blobs[i], at: 4)
            try insert.bindNull(at: 5)
            try insert.run()
            #expect(database.lastInsertRowID == Int64(i + 1))
            #expect(database.changes == 1)
        }
        let select = try database.prepare("SELECT i, d, s, b, n FROM t ORDER BY rowid")
        for i in 0..<5 {
            let isRow = try select.step()
            #expect(isRow)
            #expect(select.int64(0) == integers[i])
            #expect(select.double(1) == doubles[i])
            #expect(select.text(2) == texts[i])
            #expect(select.blob(3) == blobs[i])
            #expect(select.withBlob(3) { $0.count } == blobs[i].count)
            let isNull = (select.isNull(3), select.isNull(4), select.isNull(9))
            #expect(isNull == (false, true, true))
        }
        let isRow = try select.step()
        #expect(!isRow)
    }

    @Test("an empty blob is a blob and an empty text is a text")
    func empty() throws {
        let database = try Database(path: path, mode: .readWriteCreate)
        let select = try database.prepare("SELECT typeof(?1), typeof(?2)")
        try select.bind([UInt8](), at: 1)
        try select.bind("", at: 2)
        _ = try select.step()
        #expect(select.text(0) == "blob")
        #expect(select.text(1) == "text")
    }

    @Test("a transaction that fails leaves nothing and the statements usable")
    func rollback() throws {
        let database = try Database(path: path, mode: .readWriteCreate)
        try database.execute("CREATE TABLE t(k INTEGER PRIMARY KEY)")
        let insert = try database.prepare("INSERT INTO t VALUES(?1)")
        let failure = #expect(throws: SQLiteError.self) {
            try database.transaction { () throws(SQLiteError) in
                for key in [1, 2, 2] {
                    try insert.bind(key, at: 1)
                    try insert.run()
                }
            }
        }
        #expect(failure?.isConstraint == true)
        #expect(failure?.what == "INSERT INTO t VALUES(?1)")
        #expect(database.isInTransaction == false)
        let count = try database.transaction { () throws(SQLiteError) in
            try insert.bind(2, at: 1)
            try insert.run()
            return try database.setting(pragma: "user_version")
        }
        #expect(count == "0")
        let rows = try database.prepare("SELECT count(*) FROM t")
        _ = try rows.step()
        #expect(rows.int(0) == 1)
    }

    @Test("durable settings are what the file says after reopening", arguments: [true, false])
    func settings(exclusive: Bool) throws {
        var settings = DurableSettings(locking: exclusive ? .exclusive : .normal)
        settings.maximumPages = 300
        do {
            let database = try Database(path: path, mode: .readWriteCreate)
            try database.applyDurableSettings(settings)
            try database.execute("CREATE TABLE t(b BLOB)")
        }
        let database = try Database(path: path, mode: .readWriteCreate)
        try database.applyDurableSettings(settings)
        let expected = [
            "journal_mode": "wal", "synchronous": "2", "secure_delete": "0", "page_size": "4096",
            "auto_vacuum": "0", "locking_mode": exclusive ? "exclusive" : "normal",
            "max_page_count": "300", "trusted_schema": "0", "cell_size_check": "1",
        ]
        for (pragma, value) in expected {
            let read = try database.setting(pragma: pragma)
            #expect(read == value, "\(pragma)")
        }
        _ = try database.checkpoint()
        #expect(TemporaryFolder.list(folder.path).contains("t.db-shm") != exclusive)
    }

    @Test("a setting that does not take is an error that names it")
    func settingRefused() throws {
        let database = try Database(path: ":memory:", mode: .readWriteCreate)
        let failure = #expect(throws: SQLiteError.self) {
            try database.applyDurableSettings(DurableSettings(locking: .exclusive))
        }
        #expect(failure?.what.hasPrefix("PRAGMA ") == true)
    }

    @Test("errors are told apart: full, read-only, cannot open, damaged, busy")
    func errors() throws {
        let full = try Database(path: path, mode: .readWriteCreate)
        var settings = DurableSettings(locking: .exclusive)
        settings.maximumPages = 8
        try full.applyDurableSettings(settings)
        try full.execute("CREATE TABLE t(b BLOB)")
        var failure = #expect(throws: SQLiteError.self) {
            try full.execute("INSERT INTO t VALUES(zeroblob(100000))")
        }
        #expect(failure?.isFull == true)
        failure = #expect(throws: SQLiteError.self) {
            let second = try Database(path: path, mode: .readWriteCreate)
            try second.execute("INSERT INTO t VALUES(1)")
        }
        #expect(failure?.isBusy == true)
        failure = #expect(throws: SQLiteError.self) {
            _ = try Database(path: folder.path + "/no/such/folder/x.db", mode: .readWriteCreate)
        }
        #expect(failure?.isCannotOpen == true)

        let other = folder.path + "/o.db"
        TemporaryFolder.write(Array(repeating: 0x41, count: 8192), to: other)
        failure = #expect(throws: SQLiteError.self) {
            let damaged = try Database(path: other, mode: .readWriteCreate)
            try damaged.execute("SELECT * FROM sqlite_master")
        }
        #expect(failure?.isDamaged == true)

        let third = folder.path + "/r.db"
        do {
            let database = try Database(path: third, mode: .readWriteCreate)
            try database.execute("CREATE TABLE t(b)")
        }
        failure = #expect(throws: SQLiteError.self) {
            let database = try Database(path: third, mode: .readOnly)
            try database.execute("INSERT INTO t VALUES(1)")
        }
        #expect(failure?.isReadOnly == true)
        #expect(failure?.description.isEmpty == false)
    }
}
