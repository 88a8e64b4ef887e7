// A catalog that is damaged: what can be read row by row goes into a new file, the old one is set
// aside as
// `.bad-<n>`. Numbers that may have been given are not given again: streams that were lost get
// new ones.

internal import Glibc
import Model
import SQLite

extension CatalogFile.Contents {
    /// Of a catalog that cannot be read: numbers begin at a random place far above those of any
    /// catalog
    /// that was not lost itself, low enough for tables by number.
    package static var unknown: CatalogFile.Contents {
        var contents = CatalogFile.Contents()
        contents.highestDevice = .random(in: 1 << 21..<1 << 23)
        contents.highestStream = .random(in: 1 << 21..<1 << 23)
        return contents
    }
}

extension CatalogFileError {
    /// The device may do tomorrow what it does not do now.
    package var mayPass: Bool {
        if case .sqlite = self { true } else { false }
    }
}

extension CatalogFile {
    /// Consecutive numbers without a row after which there are none.
    private static let gap = 100_000
    /// Numbers left out behind the highest that was found.
    private static let leap: UInt32 = 1 << 16

    /// Opens the catalog whatever state it is in. `isNew`: nobody knows numbers yet, so an empty
    /// catalog
    /// may begin at 1. Answers also what an operator should know.
    package static func recovering(
        directory: String, isNew: Bool
    ) throws(CatalogFileError) -> (CatalogFile, Contents, [String]) {
        do throws(CatalogFileError) {
            let file = try CatalogFile(directory: directory)
            let contents = try file.load()
            if contents.highestStream > 0 || isNew { return (file, contents, []) }
            return (
                file, .unknown,
                ["catalog: empty, but the spool holds batches: streams get new numbers"]
            )
        } catch .sqlite(let error) {
            guard error.isDamaged || error.primaryCode == 1 else { throw .sqlite(error) }
            let path = directory + "/" + fileName
            let found = salvaged(path)
            let bad = setAside(path)
            let file = try CatalogFile(directory: directory)
            try file.append(found.entries)
            return (
                file, found,
                [
                    "catalog: \(error.description): \(found.entries.count) rows saved, the file set"
                        + " aside as \(bad)"
                ]
            )
        }
    }

    /// What can be read by key.
    private static func salvaged(_ path: String) -> Contents {
        var contents = Contents()
        do throws(SQLiteError) {
            let database = try Database(path: path, mode: .readWrite)
            try database.execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA cell_size_check=ON")
            try readByKey(deviceSQL, database) { (row) in device(row, into: &contents) }
            try readByKey(streamSQL, database) { (row) in stream(row, into: &contents) }
        } catch {
            // Not even the schema: nothing more can be found.
        }
        if contents.highestStream == 0 { return .unknown }
        contents.highestDevice &+= leap
        contents.highestStream &+= leap
        return contents
    }

    private static func readByKey(
        _ sql: String, _ database: borrowing Database, _ body: (borrowing Statement) -> Void
    ) throws(SQLiteError) {
        let select = try database.prepare(sql)
        var misses = 0
        var key: Int64 = 0
        while misses < gap, key < Int64(UInt32.max) - Int64(leap) {
            key += 1
            misses += 1
            do throws(SQLiteError) {
                try select.bind(key, at: 1)
                if try select.step() {
                    body(select)
                    misses = 0
                }
            } catch {
                // Its page is ruined: the next one may stand on another.
            }
            select.reset()
        }
    }

    private static func setAside(_ path: String) -> String {
        var number = 1
        // Safety: Swift lends the texts with their ending zeros for the calls; so below.
        while unsafe access("\(path).bad-\(number)", F_OK) == 0 { number += 1 }
        let bad = "\(path).bad-\(number)"
        // Safety: as above. The log last, see the spool's own files.
        _ = unsafe rename(path, bad)
        // Safety: as above.
        _ = unsafe rename(path + "-wal", bad + "-wal")
        return bad
    }
}
