// The one table of a program: its verbs and flags with their words. Parsing (`Invocation`),
// `--help`
// (`Help`), manual pages (`ManualPage`) and later completions all read this table, so they cannot
// disagree. Values only; nothing here runs. Used on the main thread of the three programs.

/// One long option of a verb.
package struct Flag: Sendable {
    /// Without the leading `--`.
    package var name: String
    /// What stands for the value in help (`N`, `FILE`); nil for a switch.
    package var placeholder: String?
    package var isRepeatable: Bool
    /// How many arguments it takes: `--diff OLD NEW` takes two.
    package var valueCount = 1
    /// One sentence without a full stop, starting lower case.
    package var help: String
    /// What holds when the flag is not given; empty when there is nothing to say.
    package var fallback: String

    private init(
        name: String, placeholder: String?, isRepeatable: Bool, help: String, fallback: String
    ) {
        self.name = name
        self.placeholder = placeholder
        self.isRepeatable = isRepeatable
        self.help = help
        self.fallback = fallback
    }

    package static func toggle(_ name: String, _ help: String) -> Flag {
        Flag(name: name, placeholder: nil, isRepeatable: false, help: help, fallback: "")
    }

    package static func value(
        _ name: String, _ placeholder: String, _ help: String, default fallback: String = "",
        repeatable: Bool = false
    ) -> Flag {
        Flag(
            name: name, placeholder: placeholder, isRepeatable: repeatable, help: help,
            fallback: fallback)
    }

    /// A flag with several values, one argument each: `--diff OLD NEW`.
    package static func values(_ name: String, _ placeholders: [String], _ help: String) -> Flag {
        var flag = Flag(
            name: name, placeholder: placeholders.joined(separator: " "), isRepeatable: false,
            help: help, fallback: "")
        flag.valueCount = placeholders.count
        return flag
    }

    /// `--rate N`
    package var synopsis: String {
        placeholder.map { "--\(name) \($0)" } ?? "--\(name)"
    }
}

/// An example for help and manual page: what it is for and the line to type.
package struct Example: Sendable {
    package var purpose: String
    package var line: String

    package init(_ purpose: String, _ line: String) {
        self.purpose = purpose
        self.line = line
    }
}

/// One verb of a program; a program without verbs has one with an empty name.
package struct Verb: Sendable {
    package var name: String
    /// One line for the list of verbs, without a full stop.
    package var summary: String
    /// Paragraphs for help and manual page.
    package var details: [String]
    /// Operands as they appear in the synopsis: `HEX…`.
    package var operands: String
    package var operandCount: ClosedRange<Int>
    package var flags: [Flag]
    package var examples: [Example]
    /// Hidden verbs work and are in no list.
    package var isHidden: Bool
    /// Runs the verb and returns the exit status; usage mistakes are thrown.
    package var run: @Sendable (Invocation, Console) throws(UsageError) -> RunStatus

    package init(
        _ name: String, _ summary: String, details: [String] = [], operands: String = "",
        operandCount: ClosedRange<Int> = 0...0, flags: [Flag] = [], examples: [Example] = [],
        isHidden: Bool = false,
        run: @escaping @Sendable (Invocation, Console) throws(UsageError) -> RunStatus
    ) {
        self.name = name
        self.summary = summary
        self.details = details
        self.operands = operands
        self.operandCount = operandCount
        self.flags = flags
        self.examples = examples
        self.isHidden = isHidden
        self.run = run
    }
}

/// A program with its verbs.
package struct Program: Sendable {
    package var name: String
    package var summary: String
    package var details: [String]
    /// Section of its manual page: 1 for commands, 8 for daemons.
    package var section: Int
    package var verbs: [Verb]

    package init(
        name: String, summary: String, details: [String] = [], section: Int, verbs: [Verb]
    ) {
        self.name = name
        self.summary = summary
        self.details = details
        self.section = section
        self.verbs = verbs
    }

    /// The only verb when the program has no verbs to name.
    package var soleVerb: Verb? { verbs.count == 1 && verbs[0].name.isEmpty ? verbs[0] : nil }

    package func verb(_ name: String) -> Verb? { verbs.first { $0.name == name } }

    package static let version = "0.1.0"
    /// Of the version, for manual pages.
    package static let date = "2026-11-22"

    /// Flags that every verb understands.
    package static let commonFlags: [Flag] = [
        .toggle("help", "print this help and exit"),
        .toggle("version", "print the version and exit"),
    ]

    private static let languageFlag = Flag.value(
        "lang", "en|zh", "language of what it says", default: "the locale's")

    /// All that a verb understands; a daemon, whose verb has no name, logs in one language.
    package static func flags(_ verb: Verb) -> [Flag] {
        verb.flags + commonFlags + (verb.name.isEmpty ? [] : [languageFlag])
    }
}

/// What a program tells its caller (contracts.md).
package enum RunStatus: Int32, Sendable {
    case done = 0
    /// Ran and found something wrong.
    case foundWrong = 1
    /// Was called wrongly.
    case wrongUsage = 2
    /// `sluiced --plan --exit-code`: a reload changes something; something needs a restart.
    case reloadChanges = 3
    case restartNeeded = 4
}

/// A mistake in how a program was called, in the three parts in which it is printed.
package struct UsageError: Error, Hashable, Sendable {
    package var what: String
    package var why: String
    package var remedy: String

    package init(_ what: String, _ why: String, _ remedy: String) {
        self.what = what
        self.why = why
        self.remedy = remedy
    }

    /// `sluice: --rat: no such flag: did you mean --rate?`
    package func line(program: String, in language: Language = .english) -> String {
        let parts = [program, what, why, remedy].filter { !$0.isEmpty }
        return language == .chinese
            ? parts.map { ErrorWords.chinese($0) ?? $0 }.joined(separator: "：")
            : parts.joined(separator: ": ")
    }
}
