// The ledger's table from the daemon's JSON: `unaccounted` last, zeros left out, nothing invented.

import Field
import Testing

@Suite("Ledger report") struct LedgerReportTests {
    private let text = """
        {"framesReceived": 1234567, "framesDecoded": 1234566, "unaccounted": 0,
         "rejected": {"truncated": 0, "bad-checksum": 1}, "readingsHeld": 0}
        """

    @Test("unaccounted is the last line, zeros are left out, reasons are named")
    func table() throws {
        let console = Console.captured()
        try #require(LedgerReport(text)).write(to: console, all: false)
        let lines = console.output.split(separator: "\n").map(String.init)
        #expect(
            lines == [
                "counter                    count", "framesReceived         1,234,567",
                "framesDecoded          1,234,566", "rejected.bad-checksum          1",
                "readingsHeld                   0", "unaccounted                    0",
            ])
    }

    @Test("a ledger without unaccounted says unknown, not 0")
    func unknown() throws {
        let console = Console.captured()
        let report = try #require(LedgerReport("{\"framesReceived\": 1}"))
        report.write(to: console, all: false)
        #expect(console.output.hasSuffix("unaccounted     unknown\n"))
        #expect(report.number("unaccounted") == nil)
    }

    @Test("what is no JSON object is no ledger", arguments: ["", "[]", "7", "{", "<html>"])
    func noLedger(text: String) { #expect(LedgerReport(text) == nil) }
}
