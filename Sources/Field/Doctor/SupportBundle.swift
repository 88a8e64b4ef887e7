// One file for whoever helps from far away: what the doctor found and what the daemon says, without what
// must not leave the gateway (`Redaction`). A few hundred kilobytes at most. On the main thread; takes
// three seconds more at most.

import Batches
import Formats
import Host
import Model

package struct SupportBundle {
    private let facts: DoctorFacts
    private var redaction = Redaction()
    private static let folder = "sluice-bundle"
    private static let logLines = "300"

    package init(_ facts: DoctorFacts) { self.facts = facts }

    /// The bytes of a tar.gz.
    package func archive() -> [UInt8] {
        var tar = TarArchive()
        for (name, text) in texts() {
            tar.add(
                "\(SupportBundle.folder)/\(name)", Array(text.utf8),
                seconds: facts.wall.milliseconds / 1000)
        }
        tar.end()
        return Gzip.compress(tar.bytes, level: 6)
    }

    /// Name and content, in the order of the names.
    package func texts() -> [(name: String, text: String)] {
        var redaction = redaction
        var files: [(String, String)] = []
        // First, because it says which secrets there are.
        let written = (try? ConfigurationFile.read(facts.configurationPath)) ?? []
        // What is no JSON5 is not shown: nothing of it can be told apart.
        let kept = written.map { file in
            JSON.object([
                ("file", .string(file.path)),
                ("content", redaction.configuration(file.bytes) ?? .null),
            ])
        }
        files.append(("configuration.json", JSON.array(kept).text(pretty: true)))
        if let path = facts.configuration?.keys, !path.isEmpty,
            let bytes = try? Files.read(path, limit: 4 << 20)
        {
            redaction.takeSecrets(of: bytes)
        }
        let findings = Diagnosis(facts).findings
        let console = Console.captured()
        DoctorReport.write(findings, to: console)
        files.append(("doctor.txt", Redaction.withoutQuotes(console.output)))
        files.append(
            ("doctor.json", DoctorReport.json(findings.map(\.unquoted)).text(pretty: true)))
        files.append(("versions.txt", versions()))
        files.append(("spool.txt", spool()))
        files += answers(redaction)
        if let log = log() { files.append(("log.txt", redaction.text(log, isLog: true))) }
        return files.map { ($0, redaction.text($1) + "\n") }.sorted { $0.0 < $1.0 }
    }

    /// What the daemon says, if it does, each within a second.
    private func answers(_ redaction: Redaction) -> [(String, String)] {
        guard case .answers = facts.daemon else { return [] }
        let socket = facts.socket
        let routes = [
            ("status.json", "/status"), ("ledger.json", "/ledger"), ("metrics.txt", "/metrics"),
        ]
        let asked = routes.map { (_, route) in
            Pending { () -> String? in
                do throws(HostError) {
                    return try adminGet(socket: socket, route: route, timeout: 1000).body
                } catch { return nil }
            }
        }
        let limit = SendingClock.now + 1_000_000_000
        return zip(routes, asked).compactMap { route, answer in
            (answer.value(until: limit) ?? nil).map { (route.0, $0) }
        }
    }

    private func versions() -> String {
        let system = System.text("/etc/os-release") ?? ""
        let daemon = facts.status?.software ?? "not running"
        return "tool \(Program.version)\ndaemon \(daemon)\nkernel \(facts.kernel)\n\n\(system)"
    }

    /// Names and sizes only.
    private func spool() -> String {
        Files.names(in: facts.folder).map { "\($0) \(Files.size("\(facts.folder)/\($0)"))" }
            .joined(separator: "\n")
    }

    private func log() -> String? {
        Command.output(
            "/usr/bin/journalctl",
            ["-u", "sluiced", "-n", SupportBundle.logLines, "--no-pager", "-o", "short-iso"],
            milliseconds: 1_500)
    }
}

extension Finding {
    /// Without what complaints quote of a configuration.
    fileprivate var unquoted: Finding {
        var finding = self
        finding.seen.values = seen.values.map(Redaction.withoutQuotes)
        return finding
    }
}
