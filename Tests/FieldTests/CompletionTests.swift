// Completions and manual pages of all programs, read by the tools that will read them: the three shells,
// mandoc and groff. Each is skipped by name where it is not installed.

import Host
import Testing

@testable import Field

@Suite("Completions and manual pages") struct CompletionTests {
    private static func tool(_ name: String) -> String? {
        ["/usr/bin/\(name)", "/bin/\(name)", "/usr/local/bin/\(name)"].first(where: Files.exists)
    }

    /// What a command printed, and its exit status.
    private func run(
        _ program: String, _ arguments: [String]
    ) throws -> (status: Int32, text: String) {
        let folder = try Files.makeTemporaryFolder("sluice-complete")
        defer { Files.removeTree(folder) }
        let log = folder + "/log"
        // The shell says the status: other tests of this process wait for children too.
        let child = try ChildProcess(
            name: program, path: "/bin/sh",
            arguments: ["-c", "\"$0\" \"$@\"; echo \"exit $?\"", program] + arguments, log: log)
        let limit = SendingClock.now + 60_000_000_000
        while SendingClock.now < limit {
            let text = String(decoding: try Files.read(log), as: UTF8.self)
            if text.hasSuffix("\n"), let line = text.split(separator: "\n").last,
                line.hasPrefix("exit "), let status = Int32(line.dropFirst(5))
            {
                return (status, String(text.dropLast(line.count + 1)))
            }
            SendingClock.sleep(milliseconds: 10)
        }
        child.stop(9)
        return (-1, "has not ended")
    }

    private func file<T>(
        _ text: String, name: String = "text", _ body: (String) throws -> T
    ) throws -> T {
        let folder = try Files.makeTemporaryFolder("sluice-complete")
        defer { Files.removeTree(folder) }
        try Files.write(Array(text.utf8), to: folder + "/" + name)
        return try body(folder + "/" + name)
    }

    @Test("each shell reads its completions without a complaint")
    func syntax() throws {
        for shell in Completions.Shell.allCases {
            guard let path = Self.tool(shell.rawValue) else { continue }
            for program in Programs.all {
                let text = Completions.text(program, for: shell)
                let read = try file(text) { try run(path, ["-n", $0]) }
                #expect(read.status == 0 && read.text.isEmpty, "\(shell): \(read.text)")
                for verb in program.verbs where !verb.isHidden {
                    for flag in verb.flags {
                        let name = shell == .fish ? "-l \(flag.name)" : "--\(flag.name)"
                        #expect(text.contains(name), "\(shell) \(verb.name) \(flag.name)")
                    }
                }
            }
        }
    }

    @Test(
        "bash completes verbs, flags, and the words that a flag takes",
        .enabled(if: tool("bash") != nil),
        arguments: [
            (["sluice", "rep"], ["replay"]), (["sluice", "replay", "--spe"], ["--speed"]),
            (["sluice", "replay", "--from", ""], ["client", "server", "both"]),
            (["sluice", "decode", "--direction", "u"], ["up"]),
            (["sluice", "bench", "co"], ["codec"]), (["sluiced", "--che"], ["--check"]),
            (["sluice", "load", "--rate", ""], ["max"]),
        ])
    func bash(words: [String], expected: [String]) throws {
        let program = try #require(Programs.all.first { $0.name == words[0] })
        let script =
            Completions.text(program, for: .bash)
            + "COMP_WORDS=(\(words.map { "'\($0)'" }.joined(separator: " ")))\n"
            + "COMP_CWORD=\(words.count - 1)\ncd \"$(dirname \"$0\")\"\n_\(program.name)\n"
            + "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
        let shown = try file(script) { try run(Self.tool("bash") ?? "", [$0]) }
        #expect(shown.text.split(separator: "\n").map(String.init) == expected)
    }

    private static let pages =
        Programs.all.map { ("\($0.name).\($0.section)", ManualPage.text($0)) } + [
            ("sluiced.conf.5", ConfigurationPage.gateway),
            ("sluice-store.conf.5", ConfigurationPage.store),
        ]

    @Test("mandoc finds nothing to remark in the manual pages", .enabled(if: tool("mandoc") != nil))
    func mandoc() throws {
        for (name, text) in Self.pages {
            // mandoc reads the section from what follows the path's last dot.
            let read = try file(text, name: name) {
                try run(Self.tool("mandoc") ?? "", ["-Tlint", "-Wwarning", $0])
            }
            #expect(read.status == 0 && read.text.isEmpty, "\(name): \(read)")
        }
    }

    @Test("groff formats the manual pages without a warning", .enabled(if: tool("groff") != nil))
    func groff() throws {
        for (name, text) in Self.pages {
            let read = try file(text) {
                try run(
                    Self.tool("bash") ?? "",
                    ["-c", "groff -man -ww -Tutf8 '\($0)' 2>&1 >/dev/null"])
            }
            #expect(read.status == 0 && read.text.isEmpty, "\(name): \(read.text)")
        }
    }

    @Test("--completions names the shells that it knows")
    func usage() {
        let console = Console.captured()
        let program = Programs.sluice()
        #expect(program.run(["sluice", "--completions", "fish"], console: console) == .done)
        #expect(console.output.hasPrefix("# fish completion of sluice"))
        #expect(program.run(["sluice", "--completions"], console: console) == .wrongUsage)
        #expect(program.run(["sluice", "--completions", "csh"], console: console) == .wrongUsage)
        #expect(
            console.complaints.last
                == "sluice: --completions: knows no such shell: write bash, zsh or fish")
    }
}
