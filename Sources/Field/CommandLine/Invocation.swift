// Turns arguments into a verb with its flags' values, by the program's table. GNU long options:
// `--rate=N`, `--rate N`, `--` ends the options, a lone `-` is an operand, options and operands
// may be
// mixed. Errors are thrown in words that say what to do.

/// A parsed command line.
package struct Invocation: Sendable {
    package var verb: Verb
    package var operands: [String]
    private var values: [String: [String]]

    package init(verb: Verb, operands: [String], values: [String: [String]]) {
        self.verb = verb
        self.operands = operands
        self.values = values
    }

    package func has(_ name: String) -> Bool { values[checked(name)] != nil }

    /// The last value given, nil when the flag was not given.
    package func text(_ name: String) -> String? { values[checked(name)]?.last }

    package func texts(_ name: String) -> [String] { values[checked(name)] ?? [] }

    /// What `--lang` says; nil where the locale decides.
    package var language: Language? { values["lang"]?.last.flatMap { Language.named($0) } }

    /// Same as `text`, with an error when the flag is not there.
    package func required(_ name: String) throws(UsageError) -> String {
        guard let text = text(name) else {
            throw UsageError("--\(name)", "is needed", "add \(synopsis(name))")
        }
        return text
    }

    package func integer(
        _ name: String, in range: ClosedRange<Int>, default fallback: Int
    )
        throws(UsageError) -> Int
    {
        guard let text = text(name) else { return fallback }
        guard let number = Int(text), range.contains(number) else {
            throw UsageError(
                "--\(name) \(text)", "is not a whole number in \(Invocation.words(range))",
                "write for example --\(name)=\(fallback)")
        }
        return number
    }

    /// A share between 0 and 1, also written as `12%`.
    package func share(_ name: String, default fallback: Double = 0) throws(UsageError) -> Double {
        guard let text = text(name) else { return fallback }
        let percent = text.hasSuffix("%")
        let number = Double(percent ? String(text.dropLast()) : text).map {
            percent ? $0 / 100 : $0
        }
        guard let number, number >= 0, number <= 1 else {
            throw UsageError(
                "--\(name) \(text)", "is not a share between 0 and 1",
                "write for example --\(name)=0.05 or --\(name)=5%")
        }
        return number
    }

    /// A number of at least `least`, or nil for `max`.
    package func speed(_ name: String, default fallback: Double?) throws(UsageError) -> Double? {
        guard let text = text(name) else { return fallback }
        if text == "max" { return nil }
        guard let number = Double(text), number.isFinite, number > 0 else {
            throw UsageError(
                "--\(name) \(text)", "is neither a number above 0 nor `max`",
                "write for example --\(name)=10 or --\(name)=max")
        }
        return number
    }

    /// Milliseconds of `500ms`, `20s`, `5m`, `2h`, `7d`, or of a plain number of seconds.
    package func duration(_ name: String, default fallback: Int64) throws(UsageError) -> Int64 {
        guard let text = text(name) else { return fallback }
        guard let milliseconds = Invocation.milliseconds(text) else {
            throw UsageError(
                "--\(name) \(text)", "is not a duration",
                "write a number with ms, s, m, h or d, for example --\(name)=20s")
        }
        return milliseconds
    }

    package static func milliseconds(_ text: String) -> Int64? {
        let units: [(String, Double)] = [
            ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
        ]
        let unit = units.first { text.hasSuffix($0.0) }
        let digits = text.dropLast(unit?.0.count ?? 0)
        guard let number = Double(digits), number >= 0 else { return nil }
        let result = number * (unit?.1 ?? 1000)
        return result <= 1e15 ? Int64(result) : nil
    }

    private static func words(_ range: ClosedRange<Int>) -> String {
        range.upperBound == .max
            ? "at least \(range.lowerBound)" : "\(range.lowerBound)…\(range.upperBound)"
    }

    private func synopsis(_ name: String) -> String {
        verb.flags.first { $0.name == name }?.synopsis ?? "--\(name)"
    }

    // A verb that asks for a flag missing in its own table is a programmer's error.
    private func checked(_ name: String) -> String {
        precondition(
            verb.flags.contains { $0.name == name }, "flag \(name) is not in \(verb.name)'s table")
        return name
    }
}

/// What a command line asks for.
package enum Request: Sendable {
    case run(Invocation)
    /// Help of one verb, or of the whole program.
    case help(Verb?)
    case version
    case manualPage
    case completions(Completions.Shell)
}

extension Program {
    /// Parses the arguments after the program's name.
    package func parse(_ arguments: [String]) throws(UsageError) -> Request {
        var rest = arguments[...]
        var verb: Verb
        if let soleVerb {
            verb = soleVerb
        } else {
            guard let first = rest.popFirst() else { return .help(nil) }
            switch first {
            case "--help", "-h", "help":
                guard let name = rest.first else { return .help(nil) }
                return .help(try named(name))
            case "--version": return .version
            case "--man": return .manualPage
            case "--completions": return try completions(rest.first)
            default: verb = try named(first)
            }
        }
        var operands: [String] = []
        var values: [String: [String]] = [:]
        while let argument = rest.popFirst() {
            if argument == "--" {
                operands += rest
                break
            }
            guard argument.hasPrefix("-"), argument != "-" else {
                operands.append(argument)
                continue
            }
            if argument == "-h" || argument == "--help" { return .help(verb) }
            if argument == "--version" { return .version }
            if argument == "--man" { return .manualPage }
            if argument == "--completions" { return try completions(rest.first) }
            let (flag, value) = try read(argument, of: verb, rest: &rest)
            if values[flag.name] != nil, !flag.isRepeatable, flag.placeholder != nil {
                throw UsageError(
                    "--\(flag.name)", "is given twice", "keep one of them")
            }
            values[flag.name, default: []].append(value)
            for _ in 1..<flag.valueCount {
                guard let next = rest.popFirst() else {
                    throw UsageError(
                        "--\(flag.name)", "needs \(flag.valueCount) values",
                        "write \(flag.synopsis)")
                }
                values[flag.name, default: []].append(next)
            }
        }
        try check(operands, of: verb)
        if let given = values["lang"]?.first, Language.named(given) == nil {
            throw UsageError("--lang \(given)", "is not spoken here", "write en or zh")
        }
        return .run(Invocation(verb: verb, operands: operands, values: values))
    }

    private func completions(_ shell: String?) throws(UsageError) -> Request {
        guard let shell = shell.flatMap({ Completions.Shell(rawValue: $0) }) else {
            throw UsageError(
                "--completions", shell == nil ? "needs a shell" : "knows no such shell",
                "write bash, zsh or fish")
        }
        return .completions(shell)
    }

    private func named(_ name: String) throws(UsageError) -> Verb {
        if let verb = verb(name) { return verb }
        let near = Nearest.of(name, among: verbs.filter { !$0.isHidden }.map(\.name))
        throw UsageError(
            name, name.hasPrefix("-") ? "no such flag before a verb" : "no such verb",
            near.map { "did you mean `\(self.name) \($0)`?" }
                ?? "`\(self.name) --help` lists the verbs")
    }

    private func read(
        _ argument: String, of verb: Verb, rest: inout ArraySlice<String>
    ) throws(UsageError) -> (Flag, String) {
        let helpLine = "`\(name)\(verb.name.isEmpty ? "" : " " + verb.name) --help` lists the flags"
        guard argument.hasPrefix("--") else {
            let near = Nearest.of(String(argument.dropFirst()), among: verb.flags.map(\.name))
            throw UsageError(
                argument, "flags have two dashes",
                near.map { "did you mean --\($0)?" } ?? helpLine)
        }
        let parts = argument.dropFirst(2).split(
            separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let written = String(parts[0])
        let known = Program.flags(verb)
        guard let flag = known.first(where: { $0.name == written }) else {
            let all = Program.flags(verb).map(\.name)
            throw UsageError(
                "--\(written)", "no such flag",
                Nearest.of(written, among: all).map { "did you mean --\($0)?" } ?? helpLine)
        }
        guard flag.placeholder != nil else {
            guard parts.count == 1 else {
                throw UsageError("--\(written)", "takes no value", "write --\(written) alone")
            }
            return (flag, "")
        }
        if parts.count == 2 { return (flag, String(parts[1])) }
        guard let value = rest.popFirst() else {
            throw UsageError("--\(written)", "needs a value", "write \(flag.synopsis)")
        }
        return (flag, value)
    }

    private func check(_ operands: [String], of verb: Verb) throws(UsageError) {
        let prefix = "`\(name)\(verb.name.isEmpty ? "" : " " + verb.name) --help` shows how"
        if operands.count > verb.operandCount.upperBound {
            throw UsageError(
                operands[verb.operandCount.upperBound], "is one operand too many", prefix)
        }
        if operands.count < verb.operandCount.lowerBound {
            throw UsageError(
                verb.name.isEmpty ? name : verb.name, "needs \(verb.operands)", prefix)
        }
    }
}
