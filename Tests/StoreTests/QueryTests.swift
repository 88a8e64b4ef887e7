// What can be asked: every value exactly, filters, order, pages, duplicates, the view for people,
// and the same over the network.

import Batches
import Model
import SQLite
import Store
import TestSupport
import Testing
import Uplink

@Suite("Store query")
struct QueryTests {
    let folder = TemporaryFolder()

    static let values: [Value] = [
        .decimal(2305, exponent: -1), .decimal(-1, exponent: -2), .decimal(15, exponent: 2),
        .decimal(.max), .decimal(.min, exponent: -18), .double(0.1), .double(-0.0),
        .double(.infinity), .double(.leastNonzeroMagnitude), .double(3),
        Value(kind: .double, exponent: 0, bits: 0x7FF8_0000_0000_1234), .boolean(true), .code(.max),
        .none,
    ]

    @Test("gives back every value bit for bit, fresh and settled", arguments: [false, true])
    func exact(isSettled: Bool) throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        let readings = QueryTests.values.enumerated().map { index, value in
            reading(1, value, at: Int64(index), quality: Quality(rawValue: UInt16(index)))
        }
        #expect(
            try gateway.verdicts([.entries(definitions(1)), frame(9, readings, revision: 3)])
                == [.stored])
        if isSettled { while try store.settle(rows: 3) {} }
        let rows = try StoreReader(directory: folder.path).query(QueryFilter())
        #expect(rows.map(\.value) == QueryTests.values)
        #expect(rows.map(\.quality) == readings.map(\.quality))
        #expect(rows.map(\.observedAt) == readings.map(\.observedAt))
        #expect(rows.map(\.receivedAt) == readings.map(\.receivedAt))
        #expect(rows.allSatisfy { $0.batchSequence == 9 && $0.revision == 3 })
        #expect(
            rows.allSatisfy { $0.device == "meter-1" && $0.stream == "voltage" && $0.unit == "V" })
    }

    @Test("filters by device, stream and time, in order, over fresh and settled alike")
    func filters() throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        _ = try gateway.send([.entries(definitions(5))])
        for sequence in UInt64(1)...6 {
            let readings: [Reading] = (0..<100).map { (index: Int) -> Reading in
                let value = Int64(sequence) * 1000 + Int64(index)
                let at = Int64(index * 7 + Int(sequence)) * 1000
                return reading(UInt32(1 + index % 10), .decimal(value), at: at)
            }
            #expect(try gateway.verdicts([frame(sequence, readings)]) == [.stored])
            if sequence == 3 { while try store.settle() {} }
        }
        let reader = try StoreReader(directory: folder.path)
        let all = try reader.query(QueryFilter())
        #expect(all.count == 600)
        #expect(zip(all, all.dropFirst()).allSatisfy { $0.position < $1.position })
        let from = Timestamp(milliseconds: noon.milliseconds + 100_000)
        let to = Timestamp(milliseconds: noon.milliseconds + 400_000)
        let filters = [
            QueryFilter(device: "meter-3"), QueryFilter(device: "meter-3", stream: "current"),
            QueryFilter(stream: "voltage", from: from), QueryFilter(from: from, to: to),
            QueryFilter(device: "meter-1", to: to), QueryFilter(gateway: "nobody"),
            QueryFilter(gateway: "gw-1", device: "meter-2"), QueryFilter(limit: 0),
        ]
        for filter in filters {
            let expected = all.filter { matches($0, filter) }
            for limit in [1, 7, 1000] where filter.limit > 0 {
                var part = filter
                part.limit = limit
                #expect(try reader.query(part) == Array(expected.prefix(limit)), "\(part)")
                #expect(try overNetwork(store, part) == Array(expected.prefix(limit)), "\(part)")
            }
            if filter.limit == 0 { #expect(try reader.query(filter).isEmpty) }
        }
    }

    private func matches(_ row: StoredReading, _ filter: QueryFilter) -> Bool {
        if let gateway = filter.gateway, gateway != row.gateway { return false }
        if let device = filter.device, device != row.device { return false }
        if let stream = filter.stream, stream != row.stream { return false }
        if let from = filter.from, row.observedAt < from { return false }
        if let to = filter.to, row.observedAt >= to { return false }
        return true
    }

    /// The same query through a session, in pieces of 100 bytes.
    private func overNetwork(_ store: Store, _ filter: QueryFilter) throws -> [StoredReading] {
        var client = QueryClient(filter: filter, name: "reader", software: "test")
        let session = store.openSession()
        var toStore = client.opening
        var rows: [StoredReading] = []
        while !client.isDone {
            let (reply, close) = session.receive(toStore, now: noon)
            #expect(!close)
            toStore = []
            for start in stride(from: 0, to: reply.count, by: 100) {
                let got = try client.receive(Array(reply[start..<min(reply.count, start + 100)]))
                rows += got.rows
                toStore += got.send
            }
            if reply.isEmpty { break }
        }
        return rows
    }

    @Test("pages through many rows over the network without loss or repetition while rows settle")
    func pages() throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        let readings = (0..<24_000).map {
            reading(UInt32(1 + $0 % 4), .decimal(Int64($0)), at: Int64($0))
        }
        #expect(try gateway.verdicts([.entries(definitions(2)), frame(1, readings)]) == [.stored])
        var client = QueryClient(
            filter: QueryFilter(limit: 100_000), name: "reader", software: "test")
        let session = store.openSession()
        var toStore = client.opening
        var rows: [StoredReading] = []
        while !client.isDone {
            let (reply, _) = session.receive(toStore, now: noon)
            let got = try client.receive(reply)
            rows += got.rows
            toStore = got.send
            _ = try store.settle(rows: 5000)
        }
        #expect(rows.count == 24_000)
        #expect(Set(rows.map(\.value.mantissa)).count == 24_000)
        let (_, close) = session.receive(toStore, now: noon)
        #expect(close, "the reader said goodbye")
    }

    @Test("counts copies in other batches and within one apart")
    func duplicates() throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        let same = reading(1, .decimal(5))
        let double = reading(2, .double(0.5))
        let frames = [
            frame(1, [same, same, reading(1, .decimal(50, exponent: -1)), double]),
            frame(
                2,
                [
                    same, reading(1, .decimal(5), delay: 41),
                    reading(1, .decimal(5), quality: .stuck),
                ]),
            frame(3, [reading(2, .double(0.25)), double]),
        ]
        #expect(
            try gateway.verdicts([.entries(definitions(1))] + frames)
                == [.stored, .stored, .stored])
        let expected = StoreDuplicates(acrossBatches: 2, withinBatches: 1)
        #expect(try StoreReader(directory: folder.path).duplicates() == expected)
        _ = try store.settle(rows: 4)
        #expect(try StoreReader(directory: folder.path).duplicates() == expected)
        while try store.settle() {}
        #expect(try StoreReader(directory: folder.path).duplicates() == expected)
    }

    @Test("people read names, ISO times, REAL values and words of quality with plain SQL")
    func view() throws {
        let store = try Store(directory: folder.path, settings: StoreSettings())
        var gateway = try Gateway(store)
        let readings = [
            reading(1, .decimal(2305, exponent: -1), at: 7),
            reading(1, .none, at: 8, quality: [.missing, .noDeviceClock]),
        ]
        _ = try gateway.send([.entries(definitions(1)), frame(1, readings)])
        _ = try store.settle(rows: 1)
        let database = try Database(path: folder.path + "/" + Store.fileName, mode: .readOnly)
        let rows = try database.prepare(
            """
            SELECT device, stream, observed_at, value, unit, quality, received_ms, sequence
            FROM readings WHERE device = 'meter-1' AND observed_ms > 0 ORDER BY observed_ms
            """)
        var seen: [String] = []
        while try rows.step() {
            seen.append(
                (0..<8).map { rows.isNull($0) ? "NULL" : rows.text($0) }.joined(separator: " "))
        }
        let time = Timestamp(milliseconds: noon.milliseconds + 7).iso8601
        let received = noon.milliseconds + 47
        #expect(
            seen == [
                "meter-1 voltage \(time) 230.5 V good \(received) 1",
                "meter-1 voltage \(time.replacing("007Z", with: "008Z")) NULL V "
                    + "missing+no-device-clock \(received + 1) 1",
            ])
        let plan = try database.prepare(
            "EXPLAIN QUERY PLAN SELECT value FROM readings WHERE device = 'm' AND stream = 's' "
                + "AND observed_ms > 5")
        var steps = ""
        while try plan.step() { steps += plan.text(3) + "\n" }
        #expect(
            steps.contains("SEARCH r USING PRIMARY KEY (stream=? AND observed_at>?)"), "\(steps)")
    }
}

extension String {
    fileprivate func replacing(_ end: String, with other: String) -> String {
        hasSuffix(end) ? String(dropLast(end.count)) + other : self
    }
}
