// From arguments to exit status, the same for the three programs. Called once on the main thread by the
// main files; everything here and below is nonisolated, so that nothing inherits the main actor.

extension Program {
    /// Parses and runs. `arguments` begins with the program's own path, as C's argv does.
    /// Output that could not be written makes the status 1: a half-written file must not pass
    /// for a whole one.
    package func run(_ arguments: [String], console: Console) -> RunStatus {
        let status = perform(arguments, console)
        console.flush()
        guard let complaint = console.outputComplaint else { return status }
        console.complain("\(name): \(complaint)")
        return status == .done ? .foundWrong : status
    }

    private func perform(_ arguments: [String], _ console: Console) -> RunStatus {
        do throws(UsageError) {
            switch try parse(Array(arguments.dropFirst())) {
            case .run(let invocation):
                if let language = invocation.language { console.language = language }
                return try invocation.verb.run(invocation, console)
            case .help(let verb?): console.write(Help.text(verb, of: self))
            case .help(nil): console.write(Help.text(self))
            case .version: console.write("\(name) \(Program.version)\n")
            case .manualPage: console.write(ManualPage.text(self))
            case .completions(let shell): console.write(Completions.text(self, for: shell))
            }
            return .done
        } catch {
            // What is wrong may stand before the language that was asked for.
            let asked = zip(arguments, arguments.dropFirst() + [""]).contains {
                $0 == "--lang=zh" || ($0 == "--lang" && $1 == "zh")
            }
            console.complain(error.line(program: name, in: asked ? .chinese : console.language))
            return .wrongUsage
        }
    }
}
