// Prometheus text format 0.0.4: one family after another, each with HELP and TYPE, names by its
// conventions (https://prometheus.io/docs/practices/naming/): counters end in `_total`, seconds and bytes
// are the units.
// Values only; made anew for each answer.

import Pipeline
import Spool

struct MetricsText {
    static let contentType = "text/plain; version=0.0.4"

    /// Before each name but those that every program has.
    private let prefix: String
    private(set) var text = ""

    init(prefix: String = "sluice_") { self.prefix = prefix }

    typealias Row<Value> = (labels: [(name: String, value: String)], value: Value)

    mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        family(name, "counter", help, [([], "\(value)")])
    }

    mutating func counter(_ name: String, _ help: String, seconds: Double) {
        family(name, "counter", help, [([], "\(seconds)")])
    }

    mutating func counter(_ name: String, _ help: String, _ rows: [Row<UInt64>]) {
        family(name, "counter", help, rows.map { ($0.labels, "\($0.value)") })
    }

    mutating func gauge(_ name: String, _ help: String, _ value: UInt64) {
        family(name, "gauge", help, [([], "\(value)")])
    }

    mutating func gauge(_ name: String, _ help: String, seconds: Double) {
        family(name, "gauge", help, [([], "\(seconds)")])
    }

    mutating func gauge(_ name: String, _ help: String, _ rows: [Row<UInt64>]) {
        family(name, "gauge", help, rows.map { ($0.labels, "\($0.value)") })
    }

    mutating func histogram(_ name: String, _ help: String, _ times: CommitTimes) {
        head(name, "histogram", help)
        var sum: UInt64 = 0
        for (number, bound) in CommitTimes.boundsMilliseconds.enumerated() {
            sum &+= times.counts[number]
            row("\(name)_bucket", [("le", "\(Double(bound) / 1000)")], "\(sum)")
        }
        row("\(name)_bucket", [("le", "+Inf")], "\(times.count)")
        row("\(name)_sum", [], "\(Double(times.nanoseconds) / 1e9)")
        row("\(name)_count", [], "\(times.count)")
    }

    // MARK: Writing

    private mutating func family(
        _ name: String, _ type: String, _ help: String, _ rows: [Row<String>]
    ) {
        guard !rows.isEmpty else { return }
        head(name, type, help)
        for (labels, value) in rows { row(name, labels, value) }
    }

    private mutating func head(_ name: String, _ type: String, _ help: String) {
        text += "# HELP \(prefix)\(name) \(help)\n# TYPE \(prefix)\(name) \(type)\n"
    }

    private mutating func row(
        _ name: String, _ labels: [(name: String, value: String)], _ value: String
    ) {
        text += prefix + name
        if !labels.isEmpty {
            let inner = labels.map { "\($0.name)=\"\(MetricsText.escaped($0.value))\"" }
            text += "{" + inner.joined(separator: ",") + "}"
        }
        text += " \(value)\n"
    }

    private static func escaped(_ value: String) -> String {
        value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
            .replacing("\n", with: "\\n")
    }
}

extension ByPriority {
    /// A row a class.
    var rows: [MetricsText.Row<UInt64>] {
        [
            ([("class", "alarm")], alarm), ([("class", "live")], live),
            ([("class", "backlog")], backlog),
        ]
    }
}
