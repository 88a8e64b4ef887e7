// Shell completions from the flag table, for bash, zsh and fish: verbs, flags, and the values of flags
// whose placeholder lists them (`client|server|both`). Files are completed where a value or operand names
// one. Pure text; printed by `--completions SHELL`.

package enum Completions {
    package enum Shell: String, CaseIterable, Sendable { case bash, zsh, fish }

    package static func text(_ program: Program, for shell: Shell) -> String {
        switch shell {
        case .bash: bash(program)
        case .zsh: zsh(program)
        case .fish: fish(program)
        }
    }

    /// What may stand for a flag's value.
    enum Values: Equatable {
        case words([String])
        case files, folders, other
    }

    static func values(_ flag: Flag) -> Values? {
        guard let placeholder = flag.placeholder else { return nil }
        let parts = placeholder.split(separator: "|").map(String.init)
        if parts.contains("DIR") { return parts.contains("HOST:PORT") ? .files : .folders }
        if placeholder == "FILE" || placeholder == "SOCKET" { return .files }
        if placeholder == "OLD NEW" || parts.contains("FILE") { return .files }
        let words = parts.filter { $0 == $0.lowercased() }
        return words.isEmpty ? .other : .words(words)
    }

    private static func flags(_ verb: Verb) -> [Flag] { Program.flags(verb) }

    private static func visible(_ program: Program) -> [Verb] {
        program.verbs.filter { !$0.isHidden }
    }

    /// Words that an operand may be: `ring|decode|codec [FILE…]`.
    static func operandWords(_ verb: Verb) -> [String] {
        let first = verb.operands.split(separator: " ").first.map(String.init) ?? ""
        let words = first.split(separator: "|").map(String.init)
        return words.count > 1 && words.allSatisfy { $0 == $0.lowercased() } ? words : []
    }

    // MARK: bash

    private static func bash(_ program: Program) -> String {
        let name = program.name.replacingAll("-", with: "_")
        var out = """
            # bash completion of \(program.name), made by `\(program.name) --completions bash`
            _\(name)() {
                local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
                COMPREPLY=()

            """
        if program.soleVerb == nil {
            let verbs = visible(program).map(\.name).joined(separator: " ")
            out += "    if ((COMP_CWORD == 1)); then\n"
            out += "        COMPREPLY=($(compgen -W '\(verbs) --help --version' -- \"$current\"))\n"
            out += "        return\n    fi\n    case ${COMP_WORDS[1]} in\n"
            for verb in visible(program) {
                out += "    \(verb.name))\n\(bash(verb, indent: "        "))        ;;\n"
            }
            out += "    esac\n"
        } else if let verb = program.soleVerb {
            out += bash(verb, indent: "    ")
        }
        return out + "}\ncomplete -F _\(name) \(program.name)\n"
    }

    private static func bash(_ verb: Verb, indent: String) -> String {
        var out = indent + "case $before in\n"
        for flag in flags(verb) {
            guard let values = values(flag) else { continue }
            let command: String
            switch values {
            case .words(let words):
                command = "compgen -W '\(words.joined(separator: " "))' -- \"$current\""
            case .files: command = "compgen -f -- \"$current\""
            case .folders: command = "compgen -d -- \"$current\""
            case .other: command = ""
            }
            let reply = command.isEmpty ? "" : "COMPREPLY=($(\(command))); "
            out += indent + "--\(flag.name)) \(reply)return ;;\n"
        }
        out += indent + "esac\n"
        let names = flags(verb).map { "--\($0.name)" }.joined(separator: " ")
        out += indent + "if [[ $current == -* ]]; then\n"
        out += indent + "    COMPREPLY=($(compgen -W '\(names)' -- \"$current\"))\n"
        out += indent + "else\n"
        let words = operandWords(verb)
        if words.isEmpty {
            out += indent + "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
        } else {
            let list = words.joined(separator: " ")
            out += indent + "    COMPREPLY=($(compgen -W '\(list)' -- \"$current\")"
            out += " $(compgen -f -- \"$current\"))\n"
        }
        return out + indent + "fi\n"
    }

    // MARK: zsh

    private static func zsh(_ program: Program) -> String {
        let name = program.name.replacingAll("-", with: "_")
        var out = "#compdef \(program.name)\n"
        out += "# zsh completion, made by `\(program.name) --completions zsh`\n"
        guard program.soleVerb == nil else {
            let body = program.soleVerb.map { zsh($0, indent: "    ") } ?? ""
            return out + "_\(name)() {\n\(body)}\n_\(name) \"$@\"\n"
        }
        out += "_\(name)() {\n    local -a verbs\n    verbs=(\n"
        for verb in visible(program) {
            out += "        '\(verb.name):\(zshText(verb.summary))'\n"
        }
        out +=
            "    )\n    if ((CURRENT == 2)); then\n        _describe verb verbs\n        return\n"
        out += "    fi\n    shift words\n    ((CURRENT--))\n    case $words[1] in\n"
        for verb in visible(program) {
            out += "    \(verb.name))\n\(zsh(verb, indent: "        "))        ;;\n"
        }
        return out + "    esac\n}\n_\(name) \"$@\"\n"
    }

    private static func zsh(_ verb: Verb, indent: String) -> String {
        var out = indent + "_arguments -s"
        for flag in flags(verb) {
            let repeats = flag.isRepeatable ? "*" : ""
            var spec = "\(repeats)--\(flag.name)[\(zshText(flag.help))]"
            if let values = values(flag) {
                let action: String
                switch values {
                case .words(let words): action = "(\(words.joined(separator: " ")))"
                case .files: action = "_files"
                case .folders: action = "_files -/"
                case .other: action = " "
                }
                for _ in 0..<flag.valueCount { spec += ":\(flag.name):\(action)" }
            }
            out += " \\\n\(indent)    '\(spec)'"
        }
        let words = operandWords(verb)
        if verb.operandCount.upperBound > 0 {
            let action = words.isEmpty ? "_files" : "(\(words.joined(separator: " ")))"
            out += " \\\n\(indent)    '*:operand:\(action)'"
        }
        return out + "\n"
    }

    /// Without what ends a specification: quotes, brackets, colons.
    private static func zshText(_ text: String) -> String {
        var out = ""
        for character in text {
            switch character {
            case "'": out += "’"
            case "[", "]", ":": out += "\\\(character)"
            default: out.append(character)
            }
        }
        return out
    }

    // MARK: fish

    private static func fish(_ program: Program) -> String {
        var out = "# fish completion of \(program.name), made by "
        out += "`\(program.name) --completions fish`\n"
        let verbs = visible(program).map(\.name).joined(separator: " ")
        for verb in visible(program) {
            var condition = ""
            if program.soleVerb == nil {
                out +=
                    "complete -c \(program.name) -f -n 'not __fish_seen_subcommand_from \(verbs)'"
                out += " -a \(verb.name) -d '\(fishText(verb.summary))'\n"
                condition = " -n '__fish_seen_subcommand_from \(verb.name)'"
            }
            for flag in flags(verb) {
                out += "complete -c \(program.name)\(condition) -l \(flag.name)"
                if let values = values(flag) {
                    switch values {
                    case .words(let words): out += " -x -a '\(words.joined(separator: " "))'"
                    case .files: out += " -r -F"
                    case .folders: out += " -x -a '(__fish_complete_directories)'"
                    case .other: out += " -x"
                    }
                }
                out += " -d '\(fishText(flag.help))'\n"
            }
            let words = operandWords(verb)
            if !words.isEmpty {
                out +=
                    "complete -c \(program.name)\(condition) -a '\(words.joined(separator: " "))'\n"
            }
        }
        return out
    }

    private static func fishText(_ text: String) -> String {
        var out = ""
        for character in text {
            if character == "'" || character == "\\" { out += "\\" }
            out.append(character)
        }
        return out
    }
}
