// Tidiness of the sources: every rule of Tidy.swift over every file of Sources and Tests, and for every
// rule texts that it must refuse, so that no rule is blind.

import Glibc
import Testing

@Suite("Tidy") struct TidyTests {
    @Test("the arrows of Package.swift point down, and each library has one importer")
    func ladder() {
        #expect(package.rooms.count == Arrows.ladder.count)
        #expect(package.libraries.count == 5)
        #expect(package.complaints == [])
    }

    @Test("every file keeps", arguments: Rule.allCases)
    func rule(_ rule: Rule) {
        #expect(sources.count > 30)
        let complaints = sources.flatMap { rule.complaints(about: $0, arrows: package) }
        #expect(complaints == [])
    }

    @Test("an arrow up, a room off the ladder and a second importer are seen")
    func ladderFails() {
        func arrows(_ rooms: [String: [String]]) -> [String] {
            var all = package
            all.rooms.merge(rooms) { _, new in new }
            return all.complaints
        }
        #expect(arrows(["Ring": ["Model", "Batches"]]) == ["Ring → Batches points up"])
        #expect(arrows(["Model": ["Model"]]) == ["Model → Model points up"])
        #expect(arrows(["Attic": ["Model"]]) == ["Attic has no place on the ladder"])
        #expect(
            arrows(["Store": ["Model", "CSQLite"]])
                == ["CSQLite has 2 importers: [\"SQLite\", \"Store\"]"])
        #expect(arrows(["Batches": []]) == ["CZlib has 0 importers: []"])
        #expect(Arrows(package: "").complaints.count == Arrows.ladder.count)
    }

    @Test("a text that violates a rule is refused at its line", arguments: violations)
    fileprivate func refuses(_ row: Violation) {
        let file = SourceFile(path: row.path, text: row.text)
        let complaints = row.rule.complaints(about: file, arrows: package)
        #expect(complaints.count == 1)
        #expect(complaints.first?.hasPrefix("\(row.path):\(row.line): ") == true)
    }

    @Test("every rule has a text that violates it")
    func complete() {
        #expect(Set(violations.map(\.rule)) == Set(Rule.allCases))
    }

    @Test("a text that only looks like a violation passes every rule", arguments: innocent)
    fileprivate func passes(_ row: Innocent) {
        let file = SourceFile(path: row.path, text: row.text)
        #expect(Rule.allCases.flatMap { $0.complaints(about: file, arrows: package) } == [])
    }
}

// MARK: Fixtures

private struct Violation: Sendable, CustomTestStringConvertible {
    var rule: Rule
    var path: String
    var text: String
    var line = 1
    var testDescription: String { "\(rule.rawValue): \(String(text.prefix(50)).debugDescription)" }
}

private struct Innocent: Sendable, CustomTestStringConvertible {
    var path: String
    var text: String
    var testDescription: String { String(text.prefix(50)).debugDescription }
}

private let violations: [Violation] = [
    Violation(rule: .arrows, path: "Sources/Ring/A.swift", text: "import Spool"),
    Violation(
        rule: .arrows, path: "Sources/Ring/A.swift", text: "// a\npackage import Spool", line: 2),
    Violation(rule: .arrows, path: "Sources/Ring/A.swift", text: "@testable import Host"),
    Violation(rule: .arrows, path: "Sources/Ring/A.swift", text: "import struct Spool.Spool"),
    Violation(rule: .arrows, path: "Sources/Spool/A.swift", text: "internal import CSQLite"),
    Violation(rule: .arrows, path: "Sources/Model/A.swift", text: "import NIOCore"),
    Violation(rule: .arrows, path: "Sources/Attic/A.swift", text: ""),
    Violation(rule: .systemModules, path: "Sources/Field/A.swift", text: "import Dispatch"),
    Violation(rule: .systemModules, path: "Sources/Host/A.swift", text: "import Foundation"),
    Violation(
        rule: .systemModules, path: "Sources/Formats/A.swift", text: "import FoundationEssentials"),
    Violation(
        rule: .hostOnly, path: "Sources/Field/A.swift", text: "let s = unsafe socket(1, 2, 0)"),
    Violation(rule: .hostOnly, path: "Sources/Spool/A.swift", text: "clock_gettime(0, &t)"),
    Violation(rule: .hostOnly, path: "Sources/Batches/A.swift", text: "let c = ContinuousClock()"),
    Violation(
        rule: .mainLength, path: "Sources/sluice/main.swift",
        text: String(repeating: "run()\n", count: 61), line: 61),
    Violation(rule: .safety, path: "Sources/Ring/A.swift", text: "let a = unsafe b[0]"),
    Violation(rule: .safety, path: "Sources/Ring/A.swift", text: "nonisolated(unsafe) var a = 0"),
    Violation(
        rule: .safety, path: "Sources/Ring/A.swift",
        text: "// Safety: far\n" + String(repeating: "a()\n", count: 16) + "unsafe b()", line: 18),
    Violation(
        rule: .safety, path: "Sources/Ring/A.swift", text: "let a = \"// Safety: no\"; unsafe b()"),
    Violation(
        rule: .orderings, path: "Sources/Host/A.swift",
        text: "// Relaxed: a figure.\na.load(ordering: .relaxed)", line: 2),
    Violation(rule: .orderings, path: "Sources/Ring/A.swift", text: "a.load(ordering: .relaxed)"),
    Violation(
        rule: .orderings, path: "Sources/Ring/A.swift",
        text: "// Relaxed: wrong word.\na.load(ordering: .acquiring)", line: 2),
    Violation(
        rule: .orderings, path: "Sources/Ring/A.swift",
        text: "// Release: names nothing.\na.store(1, ordering: .releasing)", line: 2),
    Violation(
        rule: .orderings, path: "Sources/Ring/A.swift",
        text: "// Acquire: pairs with b.\n\na.load(ordering: .acquiring)", line: 3),
    Violation(
        rule: .orderings, path: "Sources/Ring/A.swift",
        text: "// Acquire: pairs with b.\na.load(ordering: .sequentiallyConsistent)", line: 2),
    Violation(rule: .names, path: "Sources/Host/A.swift", text: "package struct UDPListener {"),
    Violation(rule: .names, path: "Sources/Host/A.swift", text: "private enum Messages {}"),
    Violation(rule: .names, path: "Sources/Spool/A.swift", text: "final class DeadLetterBox {}"),
    Violation(rule: .names, path: "Sources/Spool/A.swift", text: "typealias Queue = [Int]"),
    Violation(
        rule: .length, path: "Tests/RingTests/A.swift",
        text: String(repeating: "a()\n", count: 501), line: 501),
    Violation(
        rule: .columns, path: "Tests/RingTests/A.swift", text: String(repeating: "a", count: 101)),
    Violation(
        rule: .columns, path: "Sources/Ring/A.swift",
        text: "a()\n// " + String(repeating: "a", count: 106), line: 2),
]

private let innocent: [Innocent] = [
    Innocent(path: "Sources/Ring/A.swift", text: "// import Spool\npackage import Model"),
    Innocent(path: "Sources/Ring/A.swift", text: "let a = \"import Spool\""),
    Innocent(path: "Sources/Ring/A.swift", text: "let a = \"\"\"\n    import Spool\n    \"\"\""),
    Innocent(path: "Sources/Host/A.swift", text: "package import Dispatch\nimport CLinux"),
    Innocent(path: "Sources/Spool/A.swift", text: "a.socket(1)\nlet signal = 2\nb(signal)"),
    Innocent(path: "Sources/Field/A.swift", text: "func socket() {}\nlet a = socket()"),
    Innocent(path: "Sources/Ring/A.swift", text: "// Safety: near.\n\nlet a = unsafe b[0]"),
    Innocent(
        path: "Sources/Ring/A.swift", text: "@unsafe func a() {}\n// unsafe\nlet b = \"unsafe\""),
    Innocent(
        path: "Sources/Ring/A.swift",
        text: "// Acquire: the bytes happen before;\n// pairs with b.\na.load(ordering: .acquiring)"
    ),
    Innocent(path: "Sources/Field/A.swift", text: "struct FieldNode {}\nenum RunStatus {}"),
    Innocent(
        path: "Sources/Field/A.swift", text: "let message = 1\nfunc parser() {}\nclass func a()"),
    Innocent(
        path: "Sources/sluice/main.swift", text: String(repeating: "a()\n", count: 60)),
    Innocent(path: "Tests/RingTests/A.swift", text: String(repeating: "a()\n", count: 500)),
]

// MARK: The files

private let root = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }
private let package = Arrows(package: read("\(root)/Package.swift"))
private let sources: [SourceFile] = ["Sources", "Tests"].flatMap { swiftFiles(below: $0) }

/// Every Swift file below a folder of the package, in order of names.
private func swiftFiles(below folder: String) -> [SourceFile] {
    // Safety: the string is borrowed for the call; closed below.
    guard let handle = unsafe opendir("\(root)/\(folder)") else { return [] }
    // Safety: opened above, closed once.
    defer { _ = unsafe closedir(handle) }
    var names: [String] = []
    // Safety: the handle is open; an entry is valid until the next call, and its name is copied.
    while let entry = unsafe readdir(handle) {
        // Safety: d_name is a member of the entry and ends with zero.
        let start = unsafe UnsafeRawPointer(entry) + MemoryLayout<dirent>.offset(of: \.d_name)!
        // Safety: as above.
        let name = unsafe String(cString: start.assumingMemoryBound(to: CChar.self))
        if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted().flatMap { name -> [SourceFile] in
        let path = "\(folder)/\(name)"
        if !name.hasSuffix(".swift") { return swiftFiles(below: path) }
        return [SourceFile(path: path, text: read("\(root)/\(path)"))]
    }
}

private func read(_ path: String) -> String {
    // Safety: the strings are borrowed for the call; closed below.
    guard let file = unsafe fopen(path, "r") else { return "" }
    // Safety: opened above, closed once.
    defer { _ = unsafe fclose(file) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        // Safety: at most part.count bytes are written into part.
        let count = unsafe fread(&part, 1, part.count, file)
        if count == 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += part[..<count]
    }
}
