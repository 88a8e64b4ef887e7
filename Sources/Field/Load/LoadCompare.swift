// `sluice load --compare OLD NEW`: two results of load runs beside one another, with thresholds, for CI.
// What must be 0 in the new one is checked whatever the old one says. Reads two files, nothing else.

package import Formats

package struct LoadComparison: Sendable {
    /// A figure that may be so much worse than before.
    package struct Rule: Hashable, Sendable {
        package var key: String
        /// 0.2: a fifth worse.
        package var share: Double
        package var isBetterWhenSmall: Bool

        package init(_ key: String, _ share: Double, isBetterWhenSmall: Bool = true) {
            self.key = key
            self.share = share
            self.isBetterWhenSmall = isBetterWhenSmall
        }
    }

    package struct Row: Sendable {
        package var key: String
        package var old: Double?
        package var new: Double?
        /// Nil where it is as it may be.
        package var complaint: String?
    }

    /// Absolute speed is the machine's; ratios to the yardstick of the same run are ours.
    package static let usual = [
        Rule("gatewayCpuNsPerFrame", 0.25), Rule("gatewayPeakRssKb", 0.25),
        Rule("uplinkBytesPerReading", 0.05), Rule("answerLatencyMs.p99", 1),
        Rule("ratioToBareSink", 0.25, isBetterWhenSmall: false),
    ]

    private static let mustBeZero = [
        "unaccounted", "duplicatesInStore", "readingsStrange", "answeredMissing", "answeredTwice",
        "framesUnanswered", "readingsHeld",
    ]

    package private(set) var rows: [Row] = []

    package init(_ old: JSONNode, _ new: JSONNode, rules: [Rule]) {
        func number(_ root: JSONNode, _ key: String) -> Double? {
            var node: JSONNode? = root
            for part in key.split(separator: ".") { node = node?[String(part)] }
            return node?.double
        }
        for key in LoadComparison.mustBeZero {
            let value = number(new, key)
            guard value != nil || number(old, key) != nil else { continue }
            let isWrong = value.map { $0 != 0 } ?? false
            rows.append(
                Row(
                    key: key, old: number(old, key), new: value,
                    complaint: isWrong ? "must be 0" : nil))
        }
        for rule in rules {
            let (before, after) = (number(old, rule.key), number(new, rule.key))
            guard before != nil || after != nil else { continue }
            var complaint: String?
            if let before, let after {
                let limit = before * (rule.isBetterWhenSmall ? 1 + rule.share : 1 - rule.share)
                let isWorse = rule.isBetterWhenSmall ? after > limit : after < limit
                if isWorse { complaint = "limit \(Words.fixed(limit, 3))" }
            } else if after == nil {
                complaint = "is gone"
            }
            rows.append(Row(key: rule.key, old: before, new: after, complaint: complaint))
        }
    }

    package var isGood: Bool { rows.allSatisfy { $0.complaint == nil } }

    /// The usual rules, those of `texts` (`KEY=20%`) instead or beside.
    package static func rules(_ texts: [String]) throws(UsageError) -> [Rule] {
        var rules = usual
        for text in texts {
            let halves = text.split(separator: "=", maxSplits: 1)
            let isPercent = text.hasSuffix("%")
            guard halves.count == 2,
                let share = Double(isPercent ? halves[1].dropLast() : halves[1]), share >= 0
            else {
                throw UsageError(
                    "--threshold \(text)", "is no key with a share",
                    "write for example gatewayCpuNsPerFrame=20%")
            }
            let key = String(halves[0])
            let at = rules.firstIndex { $0.key == key }
            var rule = at.map { rules[$0] } ?? Rule(key, 0)
            rule.share = isPercent ? share / 100 : share
            if let at { rules[at] = rule } else { rules.append(rule) }
        }
        return rules
    }

    static func run(_ invocation: Invocation, _ console: Console) throws(UsageError) -> RunStatus {
        let rules = try rules(invocation.texts("threshold"))
        var roots: [JSONNode] = []
        for path in invocation.texts("compare") {
            do {
                roots.append(try JSONNode.parse(try Files.read(path), file: path))
            } catch let error as FileError {
                console.fail("\(error.description): name a result of `load --json`")
                return .foundWrong
            } catch {
                console.fail("\(path): is no JSON: name a result of `load --json`")
                return .foundWrong
            }
        }
        let comparison = LoadComparison(roots[0], roots[1], rules: rules)
        if invocation.has("json") {
            console.line(comparison.json.text(pretty: true))
        } else {
            comparison.write(to: console)
        }
        if comparison.rows.isEmpty {
            console.fail("load: the files hold no figures: name results of `load --json`")
            return .foundWrong
        }
        return comparison.isGood ? .done : .foundWrong
    }

    private var json: JSON {
        func number(_ value: Double?) -> JSON { value.map { .double($0) } ?? .null }
        return .object([
            ("isGood", .boolean(isGood)),
            (
                "figures",
                .array(
                    rows.map { row in
                        .object([
                            ("key", .string(row.key)), ("old", number(row.old)),
                            ("new", number(row.new)),
                            ("complaint", row.complaint.map { .string($0) } ?? .null),
                        ])
                    })
            ),
        ])
    }

    private func write(to console: Console) {
        func text(_ value: Double?) -> String {
            guard let value else { return "–" }
            return value == value.rounded() && value.magnitude < 1e15
                ? Words.grouped(Int64(value)) : Words.fixed(value, 3)
        }
        var table = Table([
            ("figure", .left), ("old", .right), ("new", .right), ("ratio", .right), ("", .left),
        ])
        for row in rows {
            let ratio = zip2(row.old, row.new).flatMap { old, new in
                old == 0 ? nil : Words.fixed(new / old, 2)
            }
            table.add([
                row.key, text(row.old), text(row.new), ratio ?? "–", row.complaint ?? "ok",
            ])
        }
        let lines = table.lines()
        for (i, line) in lines.enumerated() {
            let isBad = i > 0 && rows[i - 1].complaint != nil
            console.line(i == 0 ? console.bold(line) : isBad ? console.red(line) : line)
        }
    }

    private func zip2(_ a: Double?, _ b: Double?) -> (Double, Double)? {
        guard let a, let b else { return nil }
        return (a, b)
    }
}
