// `sluiced --plan`: what a reload and a restart would change, asked of the running daemon over its admin
// socket, or compared with another file. Changes nothing.

import Formats
import Host
import Model

struct DaemonPlan {
    private let next: Configuration
    private let path: String
    private let invocation: Invocation
    private let console: Console

    init(
        _ next: Configuration, _ path: String, _ invocation: Invocation, _ console: Console
    ) {
        self.next = next
        self.path = path
        self.invocation = invocation
        self.console = console
    }

    func run() throws(UsageError) -> RunStatus {
        if invocation.has("check") {
            throw UsageError("--plan", "does not go with --check", "use one of them")
        }
        // A file that could not start is no plan.
        guard isSound() else { return .foundWrong }
        guard let plan = invocation.text("against").map(planAgainst) ?? planOfDaemon() else {
            return .foundWrong
        }
        if invocation.has("json") { writeJSON(plan) } else { write(plan) }
        guard invocation.has("exit-code") else { return .done }
        return plan.needsRestart ? .restartNeeded : plan.reloadChanges ? .reloadChanges : .done
    }

    private func isSound() -> Bool {
        do throws(Complaints) {
            let library = try FormatLibrary(directory: next.formats)
            let wrong = next.complaints(about: library)
            if !wrong.isEmpty { throw Complaints(all: wrong) }
            if !next.keys.isEmpty { _ = try DeviceKeys(file: next.keys) }
            return true
        } catch {
            // Formats that are no good are part of the plan: the old ones stay.
            let own = error.all.filter { !$0.file.hasPrefix(next.formats) }
            if own.isEmpty { return true }
            _ = DaemonVerbs.complain(Complaints(all: own), "sluiced", console)
            return false
        }
    }

    private func planAgainst(_ file: String) -> ConfigurationPlan? {
        do throws(Complaints) {
            return ConfigurationPlan(from: try Configuration.load(file).settings, to: next)
        } catch {
            _ = DaemonVerbs.complain(error, "sluiced", console)
            return nil
        }
    }

    private func planOfDaemon() -> ConfigurationPlan? {
        let socket = invocation.text("admin") ?? next.admin.socket
        guard let text = ask("/plan", socket), let status = ask("/status", socket) else {
            return nil
        }
        guard let answer = try? JSONNode.parse(Array(text.utf8), file: "plan"),
            let running = Settings(answer["configuration"])
        else {
            console.complain(
                "sluiced: \(socket): an answer that is no plan: is the daemon of this version?")
            return nil
        }
        let spool = (try? JSONNode.parse(Array(status.utf8), file: "status"))?["spool"]
        return ConfigurationPlan(
            from: running, to: next, formats: answer["formats"]?["changes"],
            usedBytes: spool?["usedBytes"]?.integer)
    }

    private func ask(_ route: String, _ socket: String) -> String? {
        do throws(HostError) {
            let answer = try adminGet(socket: socket, route: route)
            if answer.status == 200 { return answer.body }
            console.complain(
                "sluiced: \(socket): answered \(answer.status) for \(route): is the daemon of this "
                    + "version?")
        } catch {
            console.complain(
                "sluiced: \(error.description), or compare with a file by --against FILE")
        }
        return nil
    }

    // MARK: Saying

    private func write(_ plan: ConfigurationPlan) {
        if !plan.changes.isEmpty {
            var table = Table([
                ("what", .left), ("change", .left), ("takes", .left), ("detail", .left),
            ])
            for change in plan.changes {
                table.add([
                    change.subject, change.what, DaemonPlan.words(change.effect), change.detail,
                ])
            }
            for line in table.lines() { console.line(line) }
        }
        func count(_ effect: ConfigurationPlan.Effect) -> Int {
            plan.changes.count { $0.effect == effect }
        }
        let (reload, restart) = (count(.reload), count(.restart))
        var words: [String] = []
        if reload > 0 { words.append("\(Words.count(reload, "change")) by a reload") }
        if restart > 0 { words.append("\(Words.count(restart, "change")) by a restart") }
        console.line(
            "sluiced: \(path): "
                + (words.isEmpty
                    ? "neither a reload nor a restart would change anything"
                    : words.joined(separator: ", ")))
    }

    private static func words(_ effect: ConfigurationPlan.Effect) -> String {
        switch effect {
        case .reload: "a reload"
        case .restart: "a restart"
        case .never: "nothing"
        }
    }

    private func writeJSON(_ plan: ConfigurationPlan) {
        let changes = plan.changes.map { change -> JSON in
            .object([
                ("what", .string(change.subject)), ("change", .string(change.what)),
                ("effect", .string(change.effect.rawValue)), ("detail", .string(change.detail)),
            ])
        }
        console.line(
            JSON.object([
                ("reloadChanges", .boolean(plan.reloadChanges)),
                ("needsRestart", .boolean(plan.needsRestart)), ("changes", .array(changes)),
            ]).text(pretty: true))
    }
}
