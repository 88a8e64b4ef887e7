// `sluice ledger`: what the running daemon says of what it counted. Its JSON is shown as it comes,
// flattened to lines, so that a counter that it learns tomorrow is shown tomorrow.

import Formats
import Glibc
import Host
import Model

/// A ledger as the daemon printed it.
package struct LedgerReport: Sendable {
    /// `intake.framesReceived` and the number as written.
    package private(set) var lines: [(name: String, value: String)] = []
    package let text: String

    /// Nil when the text is no JSON object.
    package init?(_ text: String) {
        self.text = text
        guard let root = try? JSONNode.parse(Array(text.utf8), file: "ledger"),
            root.members != nil
        else { return nil }
        lines = Flattened.lines(root)
    }

    /// The number whose name is `name` or ends in `.name`.
    package func number(_ name: String) -> UInt64? {
        let line = lines.first { $0.name == name } ?? lines.first { $0.name.hasSuffix("." + name) }
        return line.flatMap { UInt64($0.value) }
    }

    /// Counters that are not 0, and always those that the two laws speak of; `unaccounted` last.
    package func write(to console: Console, all: Bool) {
        let language = console.language
        var table = Table([(language(.headCounter), .left), (language(.headCount), .right)])
        let always: Set = [
            "framesReceived", "framesDecoded", "framesDuplicate", "framesControl",
            "readingsDecoded", "readingsAcknowledged", "readingsHeld",
        ]
        for line in lines where line.name != "unaccounted" {
            let last = line.name.split(separator: ".").last.map(String.init) ?? line.name
            if !all, line.value == "0", !always.contains(last) { continue }
            let number = Int64(line.value)
            table.add([line.name, number.map { Words.grouped($0) } ?? line.value])
        }
        let value = number("unaccounted").map { Words.grouped($0) } ?? language(.unknown)
        table.add(["unaccounted", value])
        let printed = table.lines()
        for (i, line) in printed.enumerated() {
            if i == 0 {
                console.line(console.bold(line))
            } else if i == printed.count - 1 {
                console.line(value == "0" ? console.green(line) : console.red(line))
            } else {
                console.line(line)
            }
        }
    }
}

enum Flattened {
    /// Every scalar of a JSON tree with its path; strings as they are.
    static func lines(_ node: JSONNode, _ path: String = "") -> [(name: String, value: String)] {
        switch node.content {
        case .null: return [(path, "–")]
        case .boolean(let value): return [(path, value ? "true" : "false")]
        case .number(let text), .string(let text): return [(path, text)]
        case .array(let elements):
            return elements.enumerated().flatMap { lines($0.element, "\(path)[\($0.offset)]") }
        case .object(let members):
            return members.flatMap {
                lines($0.value, path.isEmpty ? $0.key : "\(path).\($0.key)")
            }
        }
    }
}

enum AdminVerbs {
    private static let adminFlag = Flag.value(
        "admin", "SOCKET", "the daemon's admin socket", default: "/run/sluice/admin.sock")

    static let ledger = Verb(
        "ledger", "prints the running daemon's ledger",
        details: [
            "Counters that are 0 are left out unless --all is given. The exit status is 1 when the "
                + "daemon cannot be asked or `unaccounted` is not 0."
        ],
        flags: [
            .toggle("all", "also counters that are 0"), .toggle("json", "print the daemon's JSON"),
            adminFlag,
        ]
    ) { invocation, console throws(UsageError) in
        guard let body = ask("/ledger", socket(invocation), console) else { return .foundWrong }
        guard let report = LedgerReport(body) else {
            console.complain(console.language(.noJSON, "ledger"))
            return .foundWrong
        }
        if invocation.has("json") {
            console.line(body.trimmingBlanks)
        } else {
            report.write(to: console, all: invocation.has("all"))
        }
        return report.number("unaccounted") == 0 ? .done : .foundWrong
    }

    static func socket(_ invocation: Invocation) -> String {
        if let given = invocation.text("admin") { return given }
        let folder = Console.environment("RUNTIME_DIRECTORY") ?? "/run/sluice"
        return folder + "/admin.sock"
    }

    static func ask(_ route: String, _ socket: String, _ console: Console) -> String? {
        do throws(HostError) {
            let answer = try adminGet(socket: socket, route: route)
            if answer.status == 200 { return answer.body }
            console.complain(
                console.language(.answeredFor, socket, "\(answer.status)", route))
        } catch {
            console.fail(error.description)
        }
        return nil
    }
}
