// `sluice formats`: what the format files describe: frames, readings, answers, and what one frame costs at
// most. On the main thread; a folder with a bad file is refused with all complaints.

import Formats

enum FormatsVerb {
    static let verb = Verb(
        "formats", "lists and checks the format files",
        details: [
            "Loads every file, which runs its own test frames. The cost is the most instructions of "
                + "the decoder that one frame can take, whatever its bytes.",
            "With names, only these formats.",
        ],
        operands: "NAME…", operandCount: 0...Int.max,
        flags: [
            .toggle("json", "print one JSON array"),
            .value("formats", "DIR", "folder of the format files", default: "protocols nearby"),
        ],
        examples: [Example("what the gateway can read", "sluice formats")]
    ) { invocation, console throws(UsageError) in
        let folder = try Places.formats(invocation.text("formats"))
        guard let library = Places.library(folder, console: console) else { return .foundWrong }
        var formats = library.formats.sorted { $0.name < $1.name }
        for name in invocation.operands where library.format(named: name) == nil {
            throw UsageError(
                name, "no such format in \(folder)",
                Nearest.of(name, among: formats.map(\.name)).map { "did you mean \($0)?" }
                    ?? "run sluice formats for the list")
        }
        if !invocation.operands.isEmpty {
            formats.removeAll { !invocation.operands.contains($0.name) }
        }
        if invocation.has("json") {
            console.line(JSON.array(formats.map(json)).text(pretty: true))
        } else {
            table(formats).write(to: console)
        }
        return .done
    }

    private static func table(_ formats: [Format]) -> Table {
        var table = Table([
            ("format", .left), ("longest", .right), ("cost", .right), ("readings", .right),
            ("answers", .left), ("title", .left),
        ])
        for format in formats {
            table.add([
                format.name, String(format.maximumFrame), String(format.costBound),
                String(format.outputs.count), format.answers ? "yes" : "", format.title,
            ])
        }
        return table
    }

    private static func json(_ format: Format) -> JSON {
        .object([
            ("format", .string(format.name)), ("title", .string(format.title)),
            ("maximumFrameBytes", .integer(Int64(format.maximumFrame))),
            ("costInstructions", .integer(Int64(format.costBound))),
            ("outputs", .integer(Int64(format.outputs.count))),
            ("answers", .boolean(format.answers)),
        ])
    }
}
