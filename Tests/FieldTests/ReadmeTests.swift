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
