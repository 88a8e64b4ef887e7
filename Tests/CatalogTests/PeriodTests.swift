// What the catalog learns of a device's habit to report.

import Catalog
import Model
import Testing

@Suite("Periods of devices") struct PeriodTests {
    /// What the table says of one device after frames at these seconds.
    private func period(_ seconds: [Int64]) throws -> Int64? {
        var table = emptyTable()
        let key = try #require(DeviceKey("a"))
        for second in seconds {
            let at = Timestamp(milliseconds: 1_700_000_000_000 + second * 1000)
            if table.device(key, scope: 0, seenAt: at) == nil {
                _ = try table.addDevice(key, scope: 0, identity: "a", format: "f", at: at)
            }
        }
        return table.summaries(after: DeviceID(0), limit: 9).first?.periodMilliseconds
    }

    @Test("a device's period is learnt from its reports, a burst of frames is one")
    func learns() throws {
        #expect(try period([0]) == nil)
        #expect(try period([0, 1, 2, 3]) == nil)
        #expect(try period([0, 60, 120, 180]) == 60_000)
        let hourly = try #require(try period([0, 1, 2, 3600, 3601, 7201]))
        #expect((3_590_000...3_600_000).contains(hourly))
        // A lost report does not double it; a new habit becomes known.
        let lost = try #require(try period([0, 60, 120, 180, 300]))
        #expect((60_000...80_000).contains(lost))
        let slower = try #require(try period([0, 60] + (1...12).map { 60 + $0 * 600 }))
        #expect((540_000...600_000).contains(slower))
        // Beyond what is kept, and a clock that went back.
        #expect(try period([0, 40 * 86_400]) == 65_535 * 4000)
        #expect(try period([600, 0]) == nil)
    }
}
