// A store file that was damaged while nobody looked: row 8 of the fault list, on the store's side. The
// laws: the store opens; every reading that is left is one that was there, once; kept and lost make the
// sum; what was lost whole is taken when it comes again; the damaged file stays.

import Batches
import Model
import SQLite
import Store
import TestSupport
import Testing
import Uplink

/// SplitMix64 (Steele, Lea, Flood 2014).
private struct Dice {
    var state: UInt64

    mutating func below(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) >> 1) % bound
    }
}

@Suite("Store salvage")
struct StoreSalvageTests {
    let folder = TemporaryFolder()
    private var file: String { folder.path + "/" + Store.fileName }

    private static let gateways = ["north", "south"]
    private static let batches: UInt64 = 12
    private static let perBatch = 100
    private static let all = gateways.count * Int(batches) * perBatch

    private static func readings(of sequence: UInt64) -> [Reading] {
        (0..<UInt32(StoreSalvageTests.perBatch)).map {
            reading(1 + $0 % 20, .decimal(Int64(sequence)), at: Int64(sequence) * 1000 + Int64($0))
        }
    }

    /// A store's file, closed in order: three quarters settled, in the order in which they came.
    private static let filled: [UInt8] = {
        let folder = TemporaryFolder()
        do {
            let store = try Store(directory: folder.path, settings: StoreSettings())
            for name in gateways {
                var gateway = try Gateway(store, name: name)
                _ = try gateway.send([.entries(definitions(10, prefix: name))])
                for sequence in 1...batches {
                    #expect(
                        try gateway.verdicts([frame(sequence, readings(of: sequence))]) == [.stored]
                    )
                }
            }
            for _ in 0..<3 { _ = try store.settle(rows: all / 4) }
        } catch { Issue.record("\(error)") }
        return TemporaryFolder.read(folder.path + "/" + Store.fileName)
    }()

    private func fill() { TemporaryFolder.write(StoreSalvageTests.filled, to: file) }

    /// A reading as it can be told from all others here.
    private func text(_ row: StoredReading) -> String {
        "\(row.gateway) \(row.device) \(row.stream) \(row.observedAt.milliseconds) \(row.value)"
    }

    private func stored(_ directory: String) throws -> [StoredReading] {
        try StoreReader(directory: directory).query(QueryFilter(limit: .max))
    }

    @Test(
        "row 8, the store: 60 damaged files, each costs what is in its ruined pages",
        arguments: 1...60)
    func damage(seed: Int) throws {
        fill()
        let before = Set(try stored(folder.path).map(text))
        #expect(before.count == StoreSalvageTests.all)
        var dice = Dice(state: UInt64(seed))
        var bytes = TemporaryFolder.read(file)
        let pages = bytes.count / 4096
        // The first page is a test of its own.
        for _ in 0..<1 + dice.below(4) {
            let page = 4096 * (1 + dice.below(pages - 1))
            switch dice.below(4) {
            case 0: for place in page..<page + 4096 { bytes[place] = 0 }
            case 1:
                for place in page..<page + 4096 { bytes[place] = UInt8(dice.below(256)) }
            case 2:
                let other = 4096 * (1 + dice.below(pages - 1))
                for place in 0..<4096 { bytes.swapAt(page + place, other + place) }
            default:
                bytes[page] = 0x55
            }
        }
        if dice.below(8) == 0 { bytes.removeLast(4096 * (1 + dice.below(pages / 2))) }
        TemporaryFolder.write(bytes, to: file)
        let suspect = "told by the test"
        let store = try Store(
            directory: folder.path, settings: StoreSettings(), suspect: suspect)
        let report = try #require(store.salvage)
        #expect(report.damage == suspect && report.file == file + ".bad-1")
        #expect(TemporaryFolder.read(report.file) == bytes)
        try expectSound(store, before, report, seed: seed)
    }

    private func expectSound(
        _ store: Store, _ before: Set<String>, _ report: StoreSalvageReport, seed: Int
    ) throws {
        let after = try stored(folder.path)
        let named = after.filter {
            !$0.gateway.hasPrefix("salvaged") && !$0.device.hasPrefix("salvaged")
                && !$0.stream.hasPrefix("stream-")
        }
        for row in named { #expect(before.contains(text(row)), "seed \(seed): \(text(row))") }
        #expect(Set(after.map(\.position.row)).count == after.count, "seed \(seed)")
        #expect(report.readings == after.count, "seed \(seed): every row can be found by name")
        if let lost = report.readingsLost {
            // Less where the rows that tell of the last ones were lost with them.
            #expect(lost + after.count <= StoreSalvageTests.all, "seed \(seed): \(report)")
        }
        // The gateways come again: they define anew, what was forgotten is taken, nothing comes twice.
        var taken = 0
        for name in StoreSalvageTests.gateways {
            var gateway = try Gateway(store, name: name)
            #expect(gateway.welcome?.knownDevice == 0 && gateway.welcome?.knownStream == 0)
            _ = try gateway.send([.entries(definitions(10, prefix: name))])
            #expect(!gateway.isClosed)
            for sequence in UInt64(1)...StoreSalvageTests.batches + 1 {
                let verdicts = try gateway.verdicts([frame(sequence, Self.readings(of: sequence))])
                let isNew = gateway.welcome?.committed.contains(sequence) == false
                #expect(verdicts == [isNew ? .stored : .duplicate], "seed \(seed): \(sequence)")
                if isNew { taken += 1 }
            }
        }
        #expect(taken >= report.batchesForgotten + 2)
        while try store.settle() {}
        let end = try stored(folder.path)
        #expect(end.count == report.readings + taken * StoreSalvageTests.perBatch)
        #expect(Set(end.map(\.position.row)).count == end.count, "seed \(seed)")
        let check = try Database(path: file, mode: .readOnly).setting(pragma: "integrity_check")
        #expect(check == "ok", "seed \(seed)")
    }

    @Test("row 8, the store: damage that is met at the start is salvaged without being told")
    func metAtStart() throws {
        fill()
        let sound = TemporaryFolder.read(file)
        let tables = ["batches", "fresh_readings", "settled_readings", "streams", "committed"]
        var roots: [Int] = []
        do {
            let database = try Database(path: file, mode: .readOnly)
            for table in tables {
                let query = try database.prepare(
                    "SELECT rootpage FROM sqlite_master WHERE name = ?")
                try query.bind(table, at: 1)
                #expect(try query.step())
                roots.append(query.int(0))
            }
        }
        for (table, root) in zip(tables, roots) {
            var bytes = sound
            let page = 4096 * (root - 1)
            for place in page..<page + 4096 { bytes[place] = 0xA5 }
            TemporaryFolder.write(bytes, to: file)
            let store = try Store(directory: folder.path, settings: StoreSettings())
            let report = try #require(store.salvage, "\(table)")
            #expect(report.readings + (report.readingsLost ?? 0) == StoreSalvageTests.all)
            if table != "fresh_readings", table != "settled_readings" {
                #expect(report.readingsLost == 0, "\(table)")
            }
            var gateway = try Gateway(store, name: "north")
            _ = try gateway.send([.entries(definitions(10, prefix: "north"))])
            let next = frame(StoreSalvageTests.batches + 1, Self.readings(of: 99))
            #expect(try gateway.verdicts([next]) == [.stored], "\(table)")
        }
        #expect(TemporaryFolder.list(folder.path).filter { $0.hasSuffix(".bad-5") }.count == 1)
    }

    @Test(
        "row 8, the store: a file without its first page, or of noise, is set aside, and a new one begins"
    )
    func noHeader() throws {
        fill()
        let sound = TemporaryFolder.read(file)
        for bytes in [
            [UInt8](repeating: 0, count: 4096) + sound.dropFirst(4096),
            (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 3) }, Array(sound.prefix(300)),
        ] {
            TemporaryFolder.write(bytes, to: file)
            let store = try Store(directory: folder.path, settings: StoreSettings())
            let report = try #require(store.salvage)
            #expect(report.readings == 0 && report.readingsLost == nil)
            #expect(TemporaryFolder.read(report.file) == bytes)
            var gateway = try Gateway(store)
            #expect(
                try gateway.verdicts([
                    .entries(definitions(1)), frame(1, [reading(1, .decimal(1))]),
                ])
                    == [.stored])
        }
    }

    @Test(
        "row 8, the store: damage in a log that was not copied yet costs what follows it, no more")
    func damagedLog() throws {
        // The store is abandoned with everything in its log.
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(10))])
        for sequence in UInt64(1)...20 {
            #expect(
                try gateway.verdicts([frame(sequence, Self.readings(of: sequence))]) == [.stored])
        }
        let log = TemporaryFolder.read(file + "-wal")
        for share in [0, 10, 1000, log.count / 2, log.count - 100] {
            let copy = folder.path + "/copy-\(share)"
            try makeDirectory(copy)
            var bytes = log
            for place in share..<min(log.count, share + 50) { bytes[place] ^= 0xFF }
            TemporaryFolder.write(
                TemporaryFolder.read(file), to: copy + "/" + Store.fileName)
            TemporaryFolder.write(bytes, to: copy + "/" + Store.fileName + "-wal")
            let again = try Store(directory: copy, settings: StoreSettings())
            var renewed = try Gateway(again)
            _ = try renewed.send([.entries(definitions(10))])
            for sequence in UInt64(1)...20 {
                let verdicts = try renewed.verdicts([frame(sequence, Self.readings(of: sequence))])
                #expect(verdicts == [.stored] || verdicts == [.duplicate], "\(share): \(sequence)")
            }
            let reader = try StoreReader(directory: copy)
            #expect(try reader.counts().readings == 20 * StoreSalvageTests.perBatch)
            #expect(try reader.duplicates().total == 0)
        }
    }

    @Test("a salvage that is cut off leaves the old file or the new one, whole")
    func cutOff() throws {
        fill()
        var bytes = TemporaryFolder.read(file)
        for place in 4096 * 5..<4096 * 6 { bytes[place] = 0 }
        TemporaryFolder.write(bytes, to: file)
        let disk = FaultyDisk(folder.path)
        var failures = 0
        for skip in stride(from: 0, to: 400, by: 9) {
            disk.fail(.write, FaultyDisk.Code.full, after: skip, times: .max)
            do {
                _ = try Store(
                    directory: folder.path, settings: StoreSettings(), suspect: "test")
                break
            } catch {
                // Put into its place already: what failed came after.
                if TemporaryFolder.list(folder.path).contains("store.sqlite.bad-1") { break }
                failures += 1
                guard case .sqlite(let reason) = error else {
                    Issue.record("\(error)")
                    return
                }
                #expect(reason.isFull || reason.primaryCode == 1, "\(reason)")
                #expect(TemporaryFolder.read(file) == bytes, "the damaged file is as it was")
            }
        }
        disk.heal()
        #expect(failures > 3)
        // Between the two names: the old one is set aside, the new one not yet in its place.
        let store = try Store(directory: folder.path, settings: StoreSettings(), suspect: "test")
        let count = try #require(store.salvage).readings
        let half = folder.path + "/half"
        try makeDirectory(half)
        TemporaryFolder.write(TemporaryFolder.read(file), to: half + "/store.sqlite.new")
        TemporaryFolder.write(bytes, to: half + "/store.sqlite.bad-1")
        TemporaryFolder.write([1, 2, 3], to: half + "/store.sqlite-wal")
        let finished = try Store(directory: half, settings: StoreSettings())
        #expect(finished.salvage == nil)
        #expect(try StoreReader(directory: half).counts().readings == count)
    }
}
