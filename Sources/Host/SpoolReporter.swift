// The spool in /status: what it holds by lane, what became of it, and what it does from here.

import Formats
import Model
import Pipeline
import Spool

enum SpoolReporter {
    static func json(_ report: SpoolReport, maximumBytes: Int) -> JSON {
        let spool = report.details
        return .object([
            ("maximumBytes", .integer(Int64(maximumBytes))),
            ("trouble", report.trouble.map { .string($0) } ?? .null),
            ("isInMemory", .boolean(report.isInMemory)),
            ("readingsInMemory", .unsigned(report.readingsInMemory)),
            ("batchesPending", lanes(spool.batchesPending)),
            ("readingsPending", lanes(spool.readingsPending)),
            ("bytesPending", lanes(spool.bytesPending)),
            ("readingsEvicted", lanes(spool.readingsEvicted)),
            ("readingsTooOld", .unsigned(spool.readingsTooOld)),
            ("readingsDamaged", .unsigned(spool.readingsDamaged)),
            ("batchesDamaged", .unsigned(spool.batchesDamaged)),
            ("journalParts", .unsigned(spool.journalParts)),
            ("journalBytes", .unsigned(spool.journalBytes)),
            ("quarantineEntries", .unsigned(spool.quarantineEntries)),
            ("framesNotQuarantined", .unsigned(spool.framesNotQuarantined)),
            ("segments", .unsigned(spool.segments)),
            ("usedBytes", .unsigned(spool.bytesUsed)),
            ("allowedBytes", .unsigned(spool.bytesAllowed)),
            ("writtenBytes", .unsigned(spool.bytesWritten)),
            ("flushes", .unsigned(spool.flushes)),
            ("forecast", forecast(report.forecast)),
        ])
    }

    private static func forecast(_ forecast: SpoolForecast) -> JSON {
        .object([
            ("text", .string(forecast.text)),
            ("untilFullSeconds", forecast.secondsUntilFull.map { .integer($0) } ?? .null),
            ("shedFirst", forecast.shedFirst.map { .string("\($0)") } ?? .null),
            ("flashBytesPerDay", forecast.flashBytesPerDay.map { .unsigned($0) } ?? .null),
            ("flushesPerDay", forecast.flushesPerDay.map { .unsigned($0) } ?? .null),
            ("observedSeconds", .integer(forecast.observedSeconds)),
        ])
    }

    private static func lanes(_ counts: ByPriority) -> JSON {
        .object([
            ("alarm", .unsigned(counts.alarm)), ("live", .unsigned(counts.live)),
            ("backlog", .unsigned(counts.backlog)),
        ])
    }
}
