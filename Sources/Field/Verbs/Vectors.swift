// `sluice vectors`: runs vector files with the daemon's decoders. The comparing is VectorRunner's;
// this
// verb finds files and prints.

import Formats

enum VectorsVerb {
    static let verb = Verb(
        "vectors", "runs vector files: frames with expected values",
        details: [
            "A vector file (*.jsonl) holds one JSON object a line: a frame in hex and what it "
                + "must decode "
                + "to, or the error. A folder stands for its files. One line a file, then each "
                + "failing "
                + "row with what differed; the last line counts."
        ],
        operands: "PATH…", operandCount: 1...Int.max,
        flags: [
            .toggle("json", "print one JSON object"),
            .value("formats", "DIR", "folder of the format files", default: "protocols nearby"),
        ],
        examples: [Example("all vectors of a folder", "sluice vectors fixtures/vectors")]
    ) { invocation, console throws(UsageError) in
        let files = files(invocation.operands, console)
        let folder = try Places.formats(invocation.text("formats"))
        guard let library = Places.library(folder, console: console) else { return .foundWrong }
        let runner = VectorRunner(library)
        var reports: [VectorReport] = []
        var isWhole = files.count > 0 && console.complaints.isEmpty
        for path in files {
            do throws(FileError) {
                reports.append(runner.run(try Files.read(path), name: path))
            } catch {
                console.complain("sluice: \(error.path): cannot be read: \(error.why): check it")
                isWhole = false
                continue
            }
            if !invocation.has("json"), let report = reports.last { write(report, console) }
        }
        let passed = reports.reduce(0) { $0 + $1.passed }
        let failed = reports.reduce(0) { $0 + $1.failed }
        let skipped = reports.reduce(0) { $0 + $1.skipped }
        if invocation.has("json") {
            console.line(json(reports, passed, failed, skipped).text(pretty: true))
        } else {
            let tail = skipped > 0 ? ", \(skipped) skipped" : ""
            console.line("\(passed) passed, \(failed) failed\(tail)")
        }
        return isWhole && failed == 0 && passed + skipped > 0 ? .done : .foundWrong
    }

    /// A path that is not there stays in the list: reading it says why.
    private static func files(_ operands: [String], _ console: Console) -> [String] {
        var files: [String] = []
        for path in operands {
            if Files.isFolder(path) {
                let inside = Files.names(in: path).filter { $0.hasSuffix(".jsonl") }
                if inside.isEmpty {
                    console.complain(
                        "sluice: \(path): holds no *.jsonl file: name a folder of vectors")
                }
                files += inside.map { "\(path)/\($0)" }
            } else {
                files.append(path)
            }
        }
        return files
    }

    private static func write(_ report: VectorReport, _ console: Console) {
        let tail = report.skipped > 0 ? ", \(report.skipped) skipped" : ""
        let line = "\(report.file): \(report.passed) passed, \(report.failed) failed\(tail)"
        console.line(report.failed > 0 ? console.red(line) : line)
        for row in report.rows {
            guard case .failed(let differences) = row.verdict else { continue }
            console.line("  \(row.id) (line \(row.line))")
            for difference in differences { console.line("    \(Table.printable(difference))") }
        }
    }

    private static func json(
        _ reports: [VectorReport], _ passed: Int, _ failed: Int, _ skipped: Int
    ) -> JSON {
        let files = reports.map { report -> JSON in
            let failures = report.rows.compactMap { row -> JSON? in
                guard case .failed(let differences) = row.verdict else { return nil }
                return .object([
                    ("id", .string(row.id)), ("line", .integer(Int64(row.line))),
                    ("differences", .array(differences.map(JSON.string))),
                ])
            }
            return .object([
                ("file", .string(report.file)), ("passed", .integer(Int64(report.passed))),
                ("failed", .integer(Int64(report.failed))),
                ("skipped", .integer(Int64(report.skipped))), ("failures", .array(failures)),
            ])
        }
        return .object([
            ("passed", .integer(Int64(passed))), ("failed", .integer(Int64(failed))),
            ("skipped", .integer(Int64(skipped))), ("files", .array(files)),
        ])
    }
}
