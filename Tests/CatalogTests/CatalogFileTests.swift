// The catalog's file: what comes back after a restart, and what a damaged or foreign file does.

import Catalog
import Glibc
import Model
import SQLite
import Testing

/// A temporary folder, removed with what is in it (one level).
private struct Folder: ~Copyable {
    let path: String

    init() {
        var random = SystemRandomNumberGenerator()
        path = "/tmp/sluice-catalog-\(random.next() as UInt64)"
        // Safety: each C call of this type borrows a string for the call.
        precondition(unsafe mkdir(path, 0o700) == 0)
    }

    deinit {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            // Safety: as in init.
            _ = unsafe unlink("\(path)/catalog.db\(suffix)")
        }
        // Safety: as in init.
        _ = unsafe rmdir(path)
    }

    var file: String { path + "/" + CatalogFile.fileName }

    /// Runs SQL on the file while no CatalogFile is open.
    func tamper(_ sql: String) throws {
        let database = try Database(path: file, mode: .readWriteCreate)
        try database.execute(sql)
    }
}

private func someEntries() throws -> [CatalogEntry] {
    var table = emptyTable()
    for d in 0..<5 {
        let device = try table.enter("meter-\(d)")
        for s in 0..<3 {
            _ = try table.enter(
                "stream_\(s)", of: device, output: UInt16(s), unit: "m³",
                priority: Priority.allCases[s])
        }
    }
    return Array(table.takeAdditions())
}

private func isDevice(_ entry: CatalogEntry) -> Bool {
    if case .device = entry { true } else { false }
}

@Suite("Catalog file") struct CatalogFileTests {
    @Test("gives back after a restart what was appended, and a table restored from it agrees")
    func roundTrip() throws {
        let folder = Folder()
        let entries = try someEntries()
        do {
            let file = try CatalogFile(directory: folder.path)
            #expect(try file.load().entries.isEmpty)
            try file.append(entries)
        }
        let file = try CatalogFile(directory: folder.path)
        let contents = try file.load()
        #expect(Set(contents.entries) == Set(entries))
        #expect(contents.entries.count == entries.count)
        #expect(contents.damagedRows == 0)
        #expect(contents.highestDevice == 5)
        #expect(contents.highestStream == 15)
        let counts = try file.counts()
        #expect([counts.devices, counts.streams] == [5, 15])
        var table = CatalogTable(
            limits: CatalogLimits(devices: 9, streams: 99), seed: 8,
            restoring: contents.entries)
        #expect(table.contradictions == 0)
        let device = try table.enter("meter-3")
        let stream = try table.enter("stream_2", of: device, unit: "m³", priority: .backlog)
        #expect(device.rawValue == 4)
        #expect(stream.rawValue == 12)
        let additions = table.takeAdditions()
        #expect(additions.isEmpty)
    }

    @Test("appending twice changes nothing, a changed stream takes the old one's place")
    func idempotent() throws {
        let folder = Folder()
        let entries = try someEntries()
        let file = try CatalogFile(directory: folder.path)
        try file.append(entries)
        try file.append(entries)
        try file.append([])
        let before = try file.load().entries
        #expect(before.count == 20)
        guard case .stream(var stream) = before[7] else {
            Issue.record("streams follow the five devices")
            return
        }
        stream.priority = .alarm
        try file.append([.stream(stream)])
        var after = before
        after[7] = .stream(stream)
        #expect(try file.load().entries == after)
    }

    @Test("appends all entries or none")
    func atomic() throws {
        let folder = Folder()
        do { _ = try CatalogFile(directory: folder.path) }
        try folder.tamper(
            """
            CREATE TRIGGER refuse BEFORE INSERT ON devices WHEN NEW.id = 77
            BEGIN SELECT RAISE(ABORT, 'refused'); END;
            """)
        let file = try CatalogFile(directory: folder.path)
        let entries = try someEntries()
        let last = CatalogEntry.device(
            Device(id: DeviceID(77), identity: "m", format: "f", firstSeenAt: day))
        #expect(throws: CatalogFileError.self) { try file.append(entries + [last]) }
        #expect(try file.load().entries.isEmpty)
        try file.append(entries)
        #expect(try file.load().entries.count == 20)
    }

    @Test("pages through its entries with each device before its streams", arguments: 1...21)
    func pages(limit: Int) throws {
        let folder = Folder()
        let file = try CatalogFile(directory: folder.path)
        try file.append(try someEntries())
        var (device, stream) = (0 as UInt32, 0 as UInt32)
        var seen: [CatalogEntry] = []
        while true {
            let page = try file.entries(afterDevice: device, afterStream: stream, limit: limit)
            #expect(page.count <= limit)
            if page.isEmpty { break }
            for entry in page {
                switch entry {
                case .device(let new): device = new.id.rawValue
                case .stream(let new):
                    #expect(new.device.rawValue <= device)
                    stream = new.id.rawValue
                }
            }
            seen += page
        }
        #expect(seen == (try file.load().entries))
        #expect(try file.entries(afterDevice: 0, afterStream: 0, limit: 0).isEmpty)
        #expect(try file.entries(afterDevice: .max, afterStream: .max, limit: 9).isEmpty)
    }

    @Test("leaves a damaged row out and never gives its number again")
    func damagedRow() throws {
        let folder = Folder()
        do {
            let file = try CatalogFile(directory: folder.path)
            try file.append(try someEntries())
        }
        try folder.tamper(
            """
            UPDATE devices SET identity = 'meter-X' WHERE id = 5;
            UPDATE devices SET format = 'other' WHERE id = 4;
            UPDATE streams SET priority = 9 WHERE id = 2;
            UPDATE streams SET device = -1 WHERE id = 3;
            UPDATE streams SET unit = 'kV' WHERE id = 4;
            INSERT INTO streams VALUES(99999999999, 1, 'far', 'q', '', 1, 0);
            """)
        let file = try CatalogFile(directory: folder.path)
        let contents = try file.load()
        #expect(contents.damagedRows == 6)
        #expect(contents.entries.count == 15)
        #expect(contents.entries.filter(isDevice).count == 3)
        #expect(contents.highestDevice == 5)
        var table = CatalogTable(
            limits: CatalogLimits(devices: 9, streams: 99), seed: 8,
            restoring: contents.entries,
            highest: (device: contents.highestDevice, stream: contents.highestStream))
        #expect(table.contradictions == 6)
        let back = try table.enter("meter-3")
        #expect(back.rawValue == 6)
        try file.append(lots: [table.takeAdditions()])
        #expect(try file.load().entries.filter(isDevice).count == 4)
        // Damaged rows in between do not end the pages early.
        let page = try file.entries(afterDevice: 5, afterStream: 1, limit: 1)
        #expect(page.count == 1)
    }

    @Test("people can read it with sqlite3")
    func view() throws {
        let folder = Folder()
        do {
            let file = try CatalogFile(directory: folder.path)
            try file.append(try someEntries())
        }
        let database = try Database(path: folder.file, mode: .readOnly)
        let rows = try database.prepare(
            "SELECT identity || ' ' || name || ' ' || unit || ' ' || priority FROM catalog"
                + " WHERE stream = 4")
        let found = try rows.step()
        #expect(found)
        #expect(rows.text(0) == "meter-1 stream_0 m³ alarm")
    }

    @Test("refuses a layout of a later version")
    func newerLayout() throws {
        let folder = Folder()
        try folder.tamper("CREATE TABLE x(y); PRAGMA user_version = 2;")
        #expect(throws: CatalogFileError.newerLayout(version: 2)) {
            try CatalogFile(directory: folder.path)
        }
    }

    @Test("says that a file is no database, and that a folder is not there")
    func foreignFile() throws {
        let folder = Folder()
        // Safety: the string is borrowed for the call.
        let descriptor = unsafe open(folder.file, O_CREAT | O_WRONLY, 0o600)
        let junk = [UInt8](repeating: 0x55, count: 8192)
        // Safety: junk has 8192 bytes and outlives the call.
        _ = unsafe write(descriptor, junk, junk.count)
        close(descriptor)
        do {
            _ = try CatalogFile(directory: folder.path)
            Issue.record("opened junk")
        } catch .sqlite(let error) {
            #expect(error.isDamaged)
        }
        do {
            _ = try CatalogFile(directory: folder.path + "/nowhere")
            Issue.record("opened nothing")
        } catch .sqlite(let error) {
            #expect(error.isCannotOpen)
        }
    }
}
