// The spool when room is short: what goes, in which order, and that it is counted.

import Glibc
import Model
import SQLite
import TestSupport
import Testing

@testable import Spool

extension SpoolTests {
    // MARK: Room

    @Test("over the quota the lowest lane goes first, oldest first, counted by lane")
    func eviction() throws {
        var settings = SpoolSettings()
        settings.maximumBytes = 1 << 20
        let spool = try Spool(directory: path, settings: settings)
        let size = 8 << 10
        try spool.commit(cut(1, (0..<20).map { _ in batch(size, .alarm) }))
        for epoch in 2...80 {
            try spool.commit(
                cut(UInt64(epoch), [batch(size, .live), batch(size, readings: 2, .backlog)]))
            #expect(spool.counters.unaccounted == 0)
        }
        #expect(spool.details.readingsEvicted.alarm == 0)
        #expect(spool.details.readingsEvicted.backlog > 0)
        let live = try spool.lease(lane: .live, after: 0, limit: 99, maximumBytes: 1 << 30)
        let backlog = try spool.lease(lane: .backlog, after: 0, limit: 99, maximumBytes: 1 << 30)
        #expect(spool.details.readingsEvicted.live == UInt64(79 - live.count))
        #expect(spool.details.readingsEvicted.backlog == UInt64(2 * (79 - backlog.count)))
        // The newest stay.
        #expect(live.last?.sequence == 20 + 157)
        #expect(TemporaryFolder.read(path + "/segment-00000001.db").count <= 1 << 20)
        #expect(try spool.evictIfOver() == 0)
    }

    @Test("a full spool says so, changes nothing and goes on after room was made")
    func full() throws {
        var settings = SpoolSettings()
        settings.maximumBytes = 1 << 20
        let spool = try Spool(directory: path, settings: settings)
        var buffer = JournalBuffer(intake: 0, capacity: 1000)
        var failure: SpoolError?
        var refused: JournalPart?
        // The uncovered journal is never evicted, so it fills the quota.
        while failure == nil {
            let part = part(&buffer, frames: 100, size: 500)
            do throws(SpoolError) { try spool.append([part]) } catch {
                failure = error
                refused = part
            }
        }
        #expect(failure == .full)
        let last = try #require(refused)
        #expect(spool.nextPosition(intake: 0) == last.firstPosition)
        #expect(try replay(spool).frames.count == Int(last.firstPosition))
        // Cut: the covered journal makes room by itself.
        try spool.commit(cut(1, [], covered: [last.firstPosition]))
        try spool.append([last])
        #expect(spool.nextPosition(intake: 0) == last.nextPosition)
        #expect(try replay(spool).lost == [0])
    }

    @Test("quarantine is bounded by number and bytes; the oldest go, counted")
    func quarantine() throws {
        var settings = SpoolSettings()
        settings.quarantineEntries = 5
        settings.quarantineBytes = 1000
        func frame(_ n: UInt8, _ size: Int) -> QuarantinedFrame {
            QuarantinedFrame(
                source: "udp", reason: .unknownDevice, receivedAt: Timestamp(milliseconds: 5),
                bytes: [UInt8](repeating: n, count: size))
        }
        do {
            let spool = try Spool(directory: path, settings: settings)
            try spool.quarantine((0..<7).map { frame($0, 10) })
            var entries = try spool.quarantined(after: 0, limit: 99)
            #expect(entries.map { $0.bytes.first } == [2, 3, 4, 5, 6])
            #expect(entries.map(\.isIntact) == [Bool](repeating: true, count: 5))
            #expect(entries.first?.reason == "unknown-device")
            try spool.quarantine([frame(9, 980)])
            entries = try spool.quarantined(after: 0, limit: 99)
            #expect(entries.map { $0.bytes.first } == [5, 6, 9])
            #expect(spool.details.quarantineEvicted == 5)
        }
        let spool = try Spool(directory: path, settings: settings)
        #expect(spool.details.quarantineEntries == 3)
        #expect(spool.details.quarantineBytes == 1000)
        #expect(spool.details.quarantineEvicted == 5)
    }
}
