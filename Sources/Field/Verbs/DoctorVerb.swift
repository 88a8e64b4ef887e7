// `sluice doctor`: what a colleague would look at first on a gateway, line by line, and all of it in one
// file for somebody far away. On the main thread.

package import Formats
import Host
import Model

enum DoctorVerb {
    static let standardConfiguration = "/etc/sluice/sluiced.json5"

    static let verb = Verb(
        "doctor", "looks at a gateway as a colleague would, and says what to do",
        details: [
            "One line a finding: ok, warning, problem, or unknown where this user may not look; below "
                + "it what to do. Configuration, daemon, versions, clock, the store's name and port, "
                + "disk, spool, rights, ports, receive buffers, ledger. Nothing is changed. It works "
                + "while the daemon is down or hangs, and ends within five seconds. The exit status "
                + "is 1 when there is a problem; warnings leave it 0.",
            "--bundle also writes a tar.gz for whoever helps: this report, status, ledger, metrics, "
                + "the configuration and the last lines of the log. Keys, secrets, comments, device "
                + "payloads and the addresses of strangers are left out. Look into it before you "
                + "send it.",
        ],
        flags: [
            .value(
                "config", "FILE", "the daemon's configuration", default: standardConfiguration),
            .value("admin", "SOCKET", "the daemon's admin socket", default: "the configuration's"),
            .value("bundle", "FILE", "write a support bundle (tar.gz)"),
            .toggle("json", "print JSON"),
        ],
        examples: [
            Example("what is wrong here?", "sluice doctor"),
            Example("for whoever helps", "sluice doctor --bundle east-7.tar.gz"),
        ]
    ) { invocation, console throws(UsageError) in
        let path = invocation.text("config") ?? standardConfiguration
        let examination = Examination(configurationPath: path, admin: invocation.text("admin"))
        let facts = examination.facts()
        let findings = Diagnosis(facts, invocation.has("json") ? .english : console.language)
            .findings
        if invocation.has("json") {
            console.line(DoctorReport.json(findings).text(pretty: true))
        } else {
            DoctorReport.write(findings, to: console)
        }
        var status = findings.contains { $0.level == .problem } ? RunStatus.foundWrong : .done
        if let target = invocation.text("bundle") {
            let bundle = SupportBundle(facts)
            let language = console.language
            do throws(FileError) {
                let bytes = bundle.archive()
                try Files.write(bytes, to: target, isPrivate: true)
                let said = Said(.bundleWritten, [target, Words.grouped(bytes.count)])
                console.complain(said.text(language))
            } catch {
                let why = language.error(error.why)
                console.complain(Said(.bundleFailed, [target, why]).text(language))
                status = .foundWrong
            }
        }
        return status
    }
}

/// Findings as a person or a program reads them.
package enum DoctorReport {
    /// Two columns and the words, none wider than the console; below a finding what to do about it.
    package static func write(_ findings: [Finding], to console: Console) {
        let language = console.language
        func text(_ phrase: DoctorPhrase) -> String { Said(phrase, []).text(language) }
        let levels = Finding.Level.allCases.map { Table.columns(text($0.phrase)) }.max() ?? 0
        let areas = Area.allCases.map { Table.columns(text($0.phrase)) }.max() ?? 0
        let start = levels + areas + 4
        let gap = String(repeating: " ", count: start)
        for finding in findings {
            let level = text(finding.level.phrase)
            let area = text(finding.area.phrase)
            let head =
                styled(level, finding.level, console) + padding(level, levels + 2)
                + area + padding(area, areas + 2)
            let seen = Table.printable(finding.seen.text(language))
            let parts = Table.wrapped(seen, console.width - start)
            for (i, part) in parts.enumerated() { console.line((i == 0 ? head : gap) + part) }
            guard let remedy = finding.remedy else { continue }
            let words = Table.printable(remedy.text(language))
            for (i, part) in Table.wrapped(words, console.width - start - 3).enumerated() {
                console.line(gap + (i == 0 ? "-> " : "   ") + part)
            }
        }
        func count(_ level: Finding.Level) -> String {
            "\(findings.filter { $0.level == level }.count)"
        }
        console.line()
        console.line(
            Said(.summary, [count(.problem), count(.warning), count(.unknown)]).text(language))
    }

    private static func padding(_ text: String, _ columns: Int) -> String {
        String(repeating: " ", count: max(0, columns - Table.columns(text)))
    }

    private static func styled(
        _ text: String, _ level: Finding.Level, _ console: Console
    ) -> String {
        switch level {
        case .ok: console.green(text)
        case .warning: console.yellow(text)
        case .problem: console.red(text)
        case .unknown: console.dim(text)
        }
    }

    /// In English, whatever the screen speaks; `code` is the same in every version.
    package static func json(_ findings: [Finding]) -> JSON {
        func count(_ level: Finding.Level) -> JSON {
            .integer(Int64(findings.filter { $0.level == level }.count))
        }
        return .object([
            ("isSound", .boolean(!findings.contains { $0.level == .problem })),
            ("problems", count(.problem)), ("warnings", count(.warning)),
            ("unknown", count(.unknown)),
            (
                "findings",
                .array(
                    findings.map { finding in
                        .object([
                            ("area", .string(finding.area.rawValue)),
                            ("level", .string(finding.level.rawValue)),
                            ("code", .string(finding.seen.phrase.rawValue)),
                            ("seen", .string(finding.seen.text(.english))),
                            (
                                "remedy",
                                finding.remedy.map { .string($0.text(.english)) } ?? .null
                            ),
                        ])
                    })
            ),
        ])
    }
}
