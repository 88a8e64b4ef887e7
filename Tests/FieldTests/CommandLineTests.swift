// The flag table: parsing, help, manual page, suggestions, exit status.

import Field
import Testing

private let program = Program(
    name: "probe", summary: "a program for tests", section: 1,
    verbs: [
        Verb(
            "load", "sends frames", operands: "[FILE]", operandCount: 0...1,
            flags: [
                .value("rate", "N", "frames a second", default: "100"),
                .value("loss", "P", "share that is lost"),
                .value("note", "TEXT", "kept", repeatable: true), .toggle("json", "print JSON"),
            ]
        ) { invocation, console throws(UsageError) in
            console.line("\(try invocation.integer("rate", in: 1...1000, default: 100))")
            return invocation.has("json") ? .foundWrong : .done
        },
        Verb("ledger", "prints the ledger") { _, _ in .done },
        Verb("secret", "is in no list", isHidden: true) { _, _ in .done },
    ])

@Suite("Command line") struct CommandLineTests {
    private func run(_ arguments: String...) -> (RunStatus, out: String, err: [String]) {
        let console = Console.captured()
        let status = program.run(["/usr/bin/probe"] + arguments, console: console)
        return (status, console.output, console.complaints)
    }

    @Test("takes a value after = and as the next argument, and the same means the same")
    func values() {
        for arguments in [["--rate=7"], ["--rate", "7"], ["file", "--rate", "7"]] {
            let console = Console.captured()
            #expect(
                program.run(["probe", "load"] + arguments, console: console) == .done)
            #expect(console.output == "7\n")
        }
    }

    @Test("an empty value and a value that begins with dashes are values")
    func oddValues() throws {
        guard case .run(let invocation) = try program.parse(["load", "--note=", "--note", "--x"])
        else {
            Issue.record("not a run")
            return
        }
        #expect(invocation.texts("note") == ["", "--x"])
    }

    @Test("-- ends the flags and a lone dash is an operand")
    func operands() throws {
        for (arguments, operand) in [(["load", "--", "--rate"], "--rate"), (["load", "-"], "-")] {
            guard case .run(let invocation) = try program.parse(arguments) else {
                Issue.record("not a run")
                return
            }
            #expect(invocation.operands == [operand])
        }
    }

    @Test(
        "wrong usage is status 2 and one line that names what, why and what to do",
        arguments: [
            (["lod"], "probe: lod: no such verb: did you mean `probe load`?"),
            (["xyzzy"], "probe: xyzzy: no such verb: `probe --help` lists the verbs"),
            (["load", "--rat=1"], "probe: --rat: no such flag: did you mean --rate?"),
            (["load", "--rtae", "1"], "probe: --rtae: no such flag: did you mean --rate?"),
            (["load", "--hlep"], "probe: --hlep: no such flag: did you mean --help?"),
            (["load", "-json"], "probe: -json: flags have two dashes: did you mean --json?"),
            (["load", "--json=1"], "probe: --json: takes no value: write --json alone"),
            (["load", "--rate"], "probe: --rate: needs a value: write --rate N"),
            (
                ["load", "--rate=0"],
                "probe: --rate 0: is not a whole number in 1…1000: write for example --rate=100"
            ),
            (["load", "--rate=1", "--rate=2"], "probe: --rate: is given twice: keep one of them"),
            (
                ["load", "a", "b"],
                "probe: b: is one operand too many: `probe load --help` shows how"
            ),
        ])
    func wrongUsage(arguments: [String], complaint: String) {
        let console = Console.captured()
        #expect(program.run(["probe"] + arguments, console: console) == .wrongUsage)
        #expect(console.complaints == [complaint])
        #expect(console.output.isEmpty)
    }

    @Test("the exit status of a verb is the program's")
    func status() {
        #expect(run("load", "--json").0 == .foundWrong)
        #expect(run("ledger").0 == .done)
        #expect(run("secret").0 == .done)
    }

    @Test("help names every visible verb, every flag, and no line is wider than 80 columns")
    func help() {
        for program in Programs.all {
            let texts =
                [Help.text(program)] + program.verbs.map { Help.text($0, of: program) }
            for line in texts.flatMap({ $0.split(separator: "\n") })
            where !line.contains("  sluice") {
                #expect(line.count <= 80, "\(line)")
            }
            for verb in program.verbs where !verb.isHidden {
                #expect(Help.text(program).contains(verb.name))
                let text = Help.text(verb, of: program)
                for flag in verb.flags { #expect(text.contains(flag.synopsis)) }
            }
        }
        #expect(!Help.text(program).contains("secret"))
    }

    @Test("--help and --version of every verb end with status 0")
    func helpRuns() {
        for program in Programs.all {
            for verb in program.verbs {
                let prefix = [program.name] + (verb.name.isEmpty ? [] : [verb.name])
                for flag in ["--help", "--version", "--man"] {
                    let console = Console.captured()
                    #expect(program.run(prefix + [flag], console: console) == .done)
                    #expect(!console.output.isEmpty)
                }
            }
        }
    }

    @Test("no request in a manual page begins by accident")
    func manualPage() {
        for program in Programs.all {
            let page = ManualPage.text(program)
            let requests: Set = [
                ".TH", ".SH", ".SS", ".B", ".br", ".PP", ".TP", ".nf", ".fi", ".RS", ".RE",
            ]
            for line in page.split(separator: "\n") where line.hasPrefix(".") {
                #expect(requests.contains(String(line.prefix { $0 != " " })), "\(line)")
            }
            #expect(page.hasPrefix(".TH "))
        }
    }

    @Test("durations have units", arguments: [("500ms", 500), ("2", 2000), ("1.5m", 90_000)])
    func durations(text: String, milliseconds: Int64) {
        #expect(Invocation.milliseconds(text) == milliseconds)
        #expect(Invocation.milliseconds("-" + text) == nil)
    }

    @Test("the nearest word is near or none")
    func nearest() {
        #expect(Nearest.of("connectoins", among: ["connections", "rate"]) == "connections")
        #expect(Nearest.of("dup", among: ["duplicate"]) == "duplicate")
        #expect(Nearest.of("zzz", among: ["rate"]) == nil)
        #expect(Nearest.of("", among: ["rate"]) == nil)
    }
}

@Suite("Tables") struct TableTests {
    @Test("columns line up for Chinese text, numbers to the right, no blanks at line ends")
    func alignment() {
        var table = Table([("device", .left), ("value", .right), ("unit", .left)])
        table.add(["水表", "1.5", "m³"])
        table.add(["meter-1", "230", ""])
        #expect(
            table.lines() == [
                "device   value  unit", "水表       1.5  m³", "meter-1    230",
            ])
    }

    @Test("control characters of devices do not reach the terminal")
    func controls() {
        #expect(Table.printable("a\u{1B}[2Jb\u{7F}\u{9B}") == "a·[2Jb··")
    }

    @Test(
        "numbers for people",
        arguments: [(1234567.0, 0, "1234567"), (0.005, 2, "0.01"), (-1.25, 1, "-1.3")])
    func numbers(number: Double, places: Int, text: String) {
        #expect(Words.fixed(number, places) == text)
    }

    @Test("thousands are grouped")
    func grouped() {
        #expect(Words.grouped(1_234_567) == "1,234,567")
        #expect(Words.grouped(-999) == "-999")
        #expect(Words.grouped(Int64.min) == "-9,223,372,036,854,775,808")
    }
}
