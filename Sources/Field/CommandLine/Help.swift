// Help and manual pages from the flag table. Help is wrapped at 80 columns; manual pages are roff
// with
// the `man` macros only, so that groff and mandoc both read them.

package enum Help {
    package static let width = 80

    /// `sluice --help`: the list of verbs.
    package static func text(_ program: Program) -> String {
        if let verb = program.soleVerb { return text(verb, of: program) }
        var out = "\(program.name): \(program.summary)\n\n"
        out += "Usage: \(program.name) VERB [FLAGS] [OPERANDS]\n"
        for paragraph in program.details { out += "\n" + wrapped(paragraph, indent: 0) }
        out += "\nVerbs:\n"
        let visible = program.verbs.filter { !$0.isHidden }
        let column = (visible.map { $0.name.count }.max() ?? 0) + 4
        for verb in visible { out += entry(verb.name, verb.summary, column: column) }
        out += "\n`\(program.name) VERB --help` explains one verb, `\(program.name) --man` is the "
        out +=
            "manual page,\n`\(program.name) --completions bash|zsh|fish` the shell's completions.\n"
        return out + closing
    }

    /// `sluice load --help`.
    package static func text(_ verb: Verb, of program: Program) -> String {
        var out = "\(title(verb, program)): \(verb.summary)\n\n"
        out += wrapped("Usage: " + synopsis(verb, program), indent: 0, hanging: 7)
        let details = verb.details + (program.soleVerb == nil ? [] : program.details)
        for paragraph in details { out += "\n" + wrapped(paragraph, indent: 0) }
        let flags = Program.flags(verb)
        out += "\nFlags:\n"
        let column = min(26, (flags.map { $0.synopsis.count }.max() ?? 0) + 4)
        for flag in flags { out += entry(flag.synopsis, words(flag), column: column) }
        if !verb.examples.isEmpty {
            out += "\nExamples:\n"
            for example in verb.examples { out += "  \(example.line)\n      \(example.purpose)\n" }
        }
        return out + closing
    }

    private static let closing =
        "\nExit status: 0 done, 1 ran and found something wrong, 2 wrong usage.\n"

    static func title(_ verb: Verb, _ program: Program) -> String {
        verb.name.isEmpty ? program.name : "\(program.name) \(verb.name)"
    }

    static func synopsis(_ verb: Verb, _ program: Program) -> String {
        let parts = [title(verb, program), "[FLAGS]", verb.operands].filter { !$0.isEmpty }
        return parts.joined(separator: " ")
    }

    static func words(_ flag: Flag) -> String {
        flag.fallback.isEmpty ? flag.help : "\(flag.help) (default: \(flag.fallback))"
    }

    private static func entry(_ head: String, _ words: String, column: Int) -> String {
        let lines = wrapped(words, indent: column).dropLast()
        if head.count + 4 > column { return "  \(head)\n\(lines)\n" }
        let gap = String(repeating: " ", count: column - 2 - head.count)
        return "  \(head)\(gap)\(lines.dropFirst(column))\n"
    }

    /// `text` broken at blanks so that no line is longer than `width`; ends with a line feed.
    static func wrapped(_ text: String, indent: Int, hanging: Int = 0) -> String {
        var lines: [String] = []
        var line = String(repeating: " ", count: indent)
        var hasWord = false
        for word in text.split(separator: " ") {
            if hasWord, line.count + 1 + word.count > width {
                lines.append(line)
                line = String(repeating: " ", count: indent + hanging)
                hasWord = false
            }
            line += (hasWord ? " " : "") + word
            hasWord = true
        }
        lines.append(line)
        return lines.joined(separator: "\n") + "\n"
    }
}

/// The manual page of a program: every visible verb with every flag.
package enum ManualPage {
    package static func text(_ program: Program) -> String {
        var out = ".TH \(program.name.uppercased()) \(program.section) \(Program.date) "
        out += "\"Sluice \(Program.version)\" \"Sluice\"\n"
        out += ".SH NAME\n\(escaped(program.name)) \\- \(escaped(program.summary))\n.SH SYNOPSIS\n"
        let visible = program.verbs.filter { !$0.isHidden }
        for (i, verb) in visible.enumerated() {
            if i > 0 { out += ".br\n" }
            out += ".B \(escaped(Help.title(verb, program)))\n"
            out += escaped("[FLAGS] \(verb.operands)".trimmingBlanks) + "\n"
        }
        out += ".SH DESCRIPTION\n"
        for (i, paragraph) in program.details.enumerated() {
            out += (i > 0 ? ".PP\n" : "") + escaped(paragraph) + "\n"
        }
        if program.details.isEmpty { out += escaped(sentence(program.summary)) + "\n" }
        if let verb = program.soleVerb {
            out += flags(verb)
        } else {
            out += ".SH VERBS\n"
            for verb in visible {
                out += ".SS \(escaped(Help.title(verb, program)))\n"
                out += escaped(sentence(verb.summary)) + "\n"
                for paragraph in verb.details { out += ".PP\n\(escaped(paragraph))\n" }
                out += flags(verb)
                for example in verb.examples {
                    out += ".PP\n\(escaped(sentence(example.purpose)))\n.PP\n"
                    out += ".nf\n.RS\n\(escaped(example.line))\n.RE\n.fi\n"
                }
            }
        }
        out += ".SH EXIT STATUS\n0 done, 1 ran and found something wrong, 2 wrong usage.\n"
        return out
    }

    private static func flags(_ verb: Verb) -> String {
        var out = ""
        for flag in Program.flags(verb) {
            out += ".TP\n.B \(escaped(flag.synopsis))\n\(escaped(sentence(Help.words(flag))))\n"
        }
        return out
    }

    private static func sentence(_ text: String) -> String {
        text.prefix(1).uppercased() + text.dropFirst() + "."
    }

    /// Backslashes and dashes as roff wants them; a leading dot or quote is no request.
    static func escaped(_ text: String) -> String {
        var out = ""
        for character in text {
            switch character {
            case "\\": out += "\\e"
            case "-": out += "\\-"
            case "…": out += "..."
            case "→": out += "\\(->"
            default: out.append(character)
            }
        }
        return out.hasPrefix(".") || out.hasPrefix("'") ? "\\&" + out : out
    }
}

extension String {
    var trimmingBlanks: String {
        var text = self[...]
        while text.last == " " { text.removeLast() }
        while text.first == " " { text.removeFirst() }
        return String(text)
    }
}
