// What the README shows is what a person gets: the explained frame, and the configurations, which must
// be sound as they stand there. (The demonstration's session is held by EndToEndTests.)

import Field
import Formats
import Testing

@Suite("README") struct ReadmeTests {
    private static let root = String(
        #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 })

    private func text() throws -> String {
        String(decoding: try Files.read(ReadmeTests.root + "/README.md"), as: UTF8.self)
    }

    /// The fenced blocks of a language, in their order.
    private func blocks(_ language: String) throws -> [String] {
        try text().components(between: "```\(language)\n", and: "\n```")
    }

    @Test("an explained frame looks as the README shows it")
    func explained() throws {
        let sessions = try blocks("text").filter { $0.hasPrefix("$ sluice decode") }
        #expect(!sessions.isEmpty)
        for session in sessions {
            let lines = session.split(separator: "\n", omittingEmptySubsequences: false)
            let words = lines[0].dropFirst(2).split(separator: " ").map(String.init)
            let console = Console.captured()
            #expect(Programs.sluice().run(words, console: console) == .done)
            #expect(console.output == lines.dropFirst().joined(separator: "\n") + "\n")
        }
    }

    @Test("the configurations of the README are sound")
    func configurations() throws {
        let found = try blocks("json5")
        let whole = try #require(found.first { $0.contains("gateway:") })
        let sources = found.filter { !$0.contains("gateway:") }
        #expect(!sources.isEmpty)
        let folder = try Files.makeTemporaryFolder("sluice-readme")
        defer { Files.removeTree(folder) }
        let all = whole.replacing(
            "\n  ],\n  spool", with: "\n" + sources.joined(separator: "\n") + "\n  ],\n  spool",
            maxReplacements: 1)
        #expect(all != whole)
        try Files.write(Array(all.utf8), to: folder + "/gateway.json5")
        let console = Console.captured()
        let status = Programs.gateway.run(
            ["sluiced", "--config", folder + "/gateway.json5", "--check"], console: console)
        #expect(status == .done, "\(console.complaints)")
    }
}

extension String {
    fileprivate func components(between open: String, and close: String) -> [String] {
        split(separator: open, omittingEmptySubsequences: false).dropFirst().compactMap {
            $0.split(separator: close, maxSplits: 1, omittingEmptySubsequences: false).first
                .map(String.init)
        }
    }
}

@Suite("Pasted commands") struct PastedCommandTests {
    /// Words of a line as a shell has them, as far as our examples need it: blanks and single quotes.
    private func words(_ line: String) -> [String] {
        line.split(separator: "'", omittingEmptySubsequences: false).enumerated().flatMap {
            $0.offset.isMultiple(of: 2)
                ? $0.element.split(separator: " ").map(String.init) : [String($0.element)]
        }
    }

    /// What the program's own table makes of a command; nil when it takes it.
    private func complaint(_ line: String) -> String? {
        var words = words(line)
        guard let name = words.first?.split(separator: "/").last.map(String.init),
            let program = Programs.all.first(where: { $0.name == name })
        else { return "no program of ours" }
        words.removeFirst()
        do {
            _ = try program.parse(words)
            return nil
        } catch {
            return error.line(program: name)
        }
    }

    @Test("each example of help and manual pages is a command that its program takes")
    func examples() {
        var count = 0
        for program in Programs.all {
            for verb in program.verbs {
                for example in verb.examples {
                    // The last command of a pipe, without what the shell does.
                    for part in example.line.split(separator: "|") {
                        let command = String(part.split { $0 == ">" || $0 == "<" }[0])
                            .trimmingPrefix { $0 == " " }
                        guard command.hasPrefix("sluice") else { continue }
                        #expect(complaint(String(command)) == nil, "\(example.line)")
                        count += 1
                    }
                }
            }
        }
        #expect(count > 15)
    }

    @Test("each command that the README shows is one that its program takes")
    func readme() throws {
        let root = String(
            #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 })
        let text = String(decoding: try Files.read(root + "/README.md"), as: UTF8.self)
        var commands = text.matches(of: /`(sluiced? [^`\n]+)`/).map { String($0.output.1) }
        commands += text.split(separator: "\n").filter { $0.hasPrefix("$ sluice") }.map {
            String($0.dropFirst(2))
        }
        // `sluice batch encode|decode` stands for two.
        let all = commands.flatMap { command -> [String] in
            guard let bar = command.firstRange(of: "\\|") else { return [command] }
            let before = command[..<bar.lowerBound]
            let head = before.split(separator: " ").dropLast().joined(separator: " ")
            return [String(before), head + " " + command[bar.upperBound...]]
        }
        #expect(all.count > 20)
        for command in all { #expect(complaint(command) == nil, "\(command)") }
    }
}
