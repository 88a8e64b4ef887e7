// `sluice query`: readings of a store as a table, CSV or JSON.

import Formats
import Host
import Model
package import Uplink

enum QueryVerb {
    static let verb = Verb(
        "query", "prints readings of a store",
        details: [
            "Times are local unless they end in Z; a duration such as 2h means that long ago. The "
                + "table "
                + "shows local times with their zone, CSV and JSON show UTC."
        ],
        flags: [
            .value("store", "DIR|HOST:PORT", "the store's data folder or its address"),
            .value("device", "ID", "only this device"),
            .value("stream", "NAME", "only streams of this name"),
            .value("gateway", "NAME", "only of this gateway"),
            .value("from", "TIME", "observed at or after"),
            .value("to", "TIME", "observed before"),
            .value("limit", "N", "most rows", default: "1000"),
            .toggle("plot", "draw the numbers over their times, a plot a stream"),
            .toggle("csv", "print CSV (RFC 4180)"), .toggle("json", "print a JSON array"),
        ],
        examples: [
            Example(
                "what a meter said in the last two hours",
                "sluice query --store 127.0.0.1:9100 --device 202600000311 --from 2h"),
            Example(
                "a temperature's week as a picture",
                "sluice query --store 127.0.0.1:9100 --stream temperature --from 7d --plot"),
        ]
    ) { invocation, console throws(UsageError) in
        let place = try invocation.required("store")
        let now = Timestamp(milliseconds: SendingClock.wallMilliseconds)
        let filter = QueryFilter(
            gateway: invocation.text("gateway"), device: invocation.text("device"),
            stream: invocation.text("stream"), from: try time("from", invocation, now),
            to: try time("to", invocation, now),
            limit: try invocation.integer("limit", in: 1...Int.max, default: 1000))
        if invocation.has("csv"), invocation.has("json") {
            throw UsageError("--csv --json", "exclude one another", "keep one of them")
        }
        if invocation.has("plot") {
            if invocation.has("csv") || invocation.has("json") {
                throw UsageError("--plot", "excludes --csv and --json", "keep one of them")
            }
            return plot(place, filter, invocation.has("limit"), console)
        }
        var printer = ReadingPrinter(
            style: invocation.has("csv") ? .csv : invocation.has("json") ? .json : .table,
            console: console)
        var rows = 0
        do throws(QuestionError) {
            try StoreQuestion.ask(place, filter) {
                rows += 1
                printer.add($0)
            }
        } catch {
            printer.breakOff()
            console.fail("\(error.what): \(error.why): \(error.remedy)")
            return .foundWrong
        }
        printer.finish()
        if rows == filter.limit {
            console.complain(console.language(.stoppedAtLimit, "\(rows)"))
        }
        return .done
    }

    /// At most this many pictures; the rest is told.
    private static let maximumPlots = 8

    private static func plot(
        _ place: String, _ filter: QueryFilter, _ isLimited: Bool, _ console: Console
    ) -> RunStatus {
        var plots: [String: Plot] = [:]
        var order: [String] = []
        var more: Set<String> = []
        var filter = filter
        if !isLimited { filter.limit = 1_000_000 }
        do throws(QuestionError) {
            try StoreQuestion.ask(place, filter) { reading in
                let name = "\(reading.device) \(reading.stream)"
                if plots[name] == nil {
                    guard order.count < maximumPlots else {
                        more.insert(name)
                        return
                    }
                    order.append(name)
                    let unit = reading.unit.isEmpty ? "" : ", \(reading.unit)"
                    plots[name] = Plot(title: Table.printable(name + unit))
                }
                plots[name]?.add(reading.observedAt, reading.value.asDouble)
            }
        } catch {
            console.fail("\(error.what): \(error.why): \(error.remedy)")
            return .foundWrong
        }
        let rows = order.count > 2 ? 5 : 12
        for (i, name) in order.enumerated() {
            if i > 0 { console.line() }
            let lines = plots[name]?.lines(columns: console.width, rows: rows) ?? []
            for (k, line) in lines.enumerated() { console.line(k == 0 ? console.bold(line) : line) }
        }
        if order.isEmpty { console.line(console.language(.noReadings)) }
        if !more.isEmpty {
            console.complain(
                console.language(.notDrawn, console.language.count(more.count, .nounStream)))
        }
        return .done
    }

    private static func time(
        _ name: String, _ invocation: Invocation, _ now: Timestamp
    ) throws(UsageError) -> Timestamp? {
        guard let text = invocation.text(name) else { return nil }
        guard let time = LocalTime.parse(text, now: now) else {
            throw UsageError(
                "--\(name) \(text)", "is no time", "write 2026-11-21T10:00, with Z for UTC, or 2h")
        }
        return time
    }
}

/// Prints stored readings in one of three styles.
package struct ReadingPrinter {
    package enum Style: Sendable { case table, csv, json }

    private let style: Style
    private let console: Console
    private var table: Table
    private var rows = 0

    package init(style: Style, console: Console) {
        self.style = style
        self.console = console
        let language = console.language
        table = Table([
            (language(.headDevice), .left), (language(.headStream), .left),
            (language(.headObserved), .left), (language(.headValue), .right),
            (language(.headUnit), .left), (language(.headQuality), .left),
        ])
    }

    package mutating func add(_ reading: StoredReading) {
        switch style {
        case .table:
            table.add([
                reading.device, reading.stream, LocalTime.text(reading.observedAt),
                reading.value.description, reading.unit, reading.quality.description,
            ])
            // Rows of a long answer appear while it comes; widths hold for one part.
            if table.rows.count == 5000 { flushTable() }
        case .csv:
            if rows == 0 { writeHeader() }
            let value = reading.value.kind == .none ? "" : reading.value.description
            let cells = [
                reading.gateway, reading.device, reading.stream, reading.quantity,
                reading.observedAt.iso8601, value, reading.unit, reading.quality.description,
            ]
            console.write(cells.map(ReadingPrinter.quoted).joined(separator: ",") + "\r\n")
        case .json:
            console.write((rows == 0 ? "[" : ",\n") + ReadingPrinter.json(reading).text())
        }
        rows += 1
    }

    package mutating func finish() {
        switch style {
        case .table:
            if rows == 0 { console.line(console.language(.noReadings)) } else { flushTable() }
        case .csv: if rows == 0 { writeHeader() }
        case .json: console.line(rows == 0 ? "[]" : "]")
        }
    }

    /// Instead of `finish` when the answer broke off: what came is shown, and nothing that reads
    /// as a whole or an empty answer; a JSON array stays open.
    package mutating func breakOff() {
        if style == .table { flushTable() }
        if style == .json, rows > 0 { console.line() }
    }

    private func writeHeader() {
        console.write("gateway,device,stream,quantity,observed_at,value,unit,quality\r\n")
    }

    private mutating func flushTable() {
        guard !table.rows.isEmpty else { return }
        table.write(to: console)
        table.rows = []
    }

    private static func quoted(_ text: String) -> String {
        let needsQuotes = text.unicodeScalars.contains {
            $0 == "," || $0 == "\"" || $0 == "\n" || $0 == "\r"
        }
        guard needsQuotes else { return text }
        var out = "\""
        for scalar in text.unicodeScalars {
            if scalar == "\"" { out += "\"\"" } else { out.unicodeScalars.append(scalar) }
        }
        return out + "\""
    }

    static func json(_ reading: StoredReading) -> JSON {
        .object([
            ("gateway", .string(reading.gateway)), ("device", .string(reading.device)),
            ("stream", .string(reading.stream)), ("quantity", .string(reading.quantity)),
            ("observedAt", .string(reading.observedAt.iso8601)),
            ("receivedAt", .string(reading.receivedAt.iso8601)), ("value", JSON(reading.value)),
            ("unit", .string(reading.unit)), ("quality", .string(reading.quality.description)),
        ])
    }
}
