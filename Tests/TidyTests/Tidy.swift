// The rules of tidiness as functions from a file's text to complaints, without I/O, so that the tests
// can show each rule a text that violates it. The arrows between rooms are read from Package.swift: there
// is one table. What may be done where (Dispatch, clocks, orderings) is listed here, with its reason.

/// The arrows of Package.swift.
struct Arrows {
    /// Room or program → what it may import.
    var rooms: [String: [String]] = [:]
    /// System libraries and C targets.
    var libraries: [String] = []

    init(package text: String) {
        let call = /(?:room|program)\(\s*"([A-Za-z-]+)",\s*\[([^\]]*)\]/
        for match in text.matches(of: call) {
            let names = match.2.matches(of: /"([^"]+)"/).map { String($0.1) }
            rooms[String(match.1)] = names
        }
        for match in text.matches(of: /\.(?:systemLibrary|target)\(name: "(\w+)"/) {
            libraries.append(String(match.1))
        }
    }

    /// The rooms from bottom to top (design.md section 3): a room may only import rooms before it.
    static let ladder = [
        "Model", "SQLite", "Formats", "Exchanges", "Catalog", "Ring", "Batches", "Spool", "Uplink",
        "Pipeline", "Store", "Host", "Field", "sluiced", "sluice", "sluice-store",
    ]

    /// Arrows that point up, rooms off the ladder, libraries that have not exactly one importer.
    var complaints: [String] {
        var all: [String] = []
        for room in Arrows.ladder where rooms[room] == nil { all.append("\(room) is no target") }
        for room in rooms.keys.sorted() {
            guard let rank = Arrows.ladder.firstIndex(of: room) else {
                all.append("\(room) has no place on the ladder")
                continue
            }
            for name in rooms[room] ?? [] where !libraries.contains(name) {
                if !Arrows.ladder[..<rank].contains(name) {
                    all.append("\(room) → \(name) points up")
                }
            }
        }
        for library in libraries {
            let importers = rooms.keys.filter { rooms[$0]?.contains(library) == true }.sorted()
            if importers.count != 1 {
                all.append("\(library) has \(importers.count) importers: \(importers)")
            }
        }
        return all
    }
}

/// A Swift file, each line split into its code, with the contents of strings left out, and its comment.
struct SourceFile {
    struct Line {
        var text: String
        var code: String
        var comment: String
    }

    /// From the package root: `Sources/Ring/Ring.swift`.
    let path: String
    let lines: [Line]

    init(path: String, text: String) {
        self.path = path
        var isInText = false
        var parts = text.split(separator: "\n", omittingEmptySubsequences: false)
        if parts.last?.isEmpty == true { parts.removeLast() }
        lines = parts.map { SourceFile.split(String($0), &isInText) }
    }

    var isSource: Bool { path.hasPrefix("Sources/") }
    var room: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
    var isMain: Bool { path.hasSuffix("/main.swift") }

    /// `isInText`: whether the line begins inside a string of several lines.
    private static func split(_ text: String, _ isInText: inout Bool) -> Line {
        var code = ""
        var rest = Substring(text)
        var isInString = false
        while let character = rest.first {
            if rest.hasPrefix("\"\"\""), !isInString {
                isInText.toggle()
                rest = rest.dropFirst(3)
                continue
            }
            rest = rest.dropFirst()
            if isInText { continue }
            if isInString {
                if character == "\\" {
                    rest = rest.dropFirst()
                } else if character == "\"" {
                    isInString = false
                    code.append(character)
                }
                continue
            }
            if character == "/", rest.first == "/" {
                return Line(text: text, code: code, comment: "/" + rest)
            }
            if character == "\"" { isInString = true }
            code.append(character)
        }
        return Line(text: text, code: code, comment: "")
    }
}

/// One rule about files.
enum Rule: String, CaseIterable, Sendable {
    case arrows = "imports only what Package.swift lists"
    case systemModules = "Dispatch in Host and main files, Foundation nowhere"
    case hostOnly = "sockets, clocks and signals in Host only"
    case mainLength = "main files of at most 60 lines"
    case safety = "each unsafe expression below a Safety comment"
    case orderings = "orderings in Ring only, each with the comment that names its pair"
    case names = "no type is called by a forbidden synonym"
    case length = "at most 500 lines"
    case columns = "at most 100 columns"

    func complaints(about file: SourceFile, arrows: Arrows) -> [String] {
        let found: [(line: Int, what: String)]
        switch self {
        case .arrows: found = Rule.wrongArrows(file, arrows)
        case .systemModules: found = Rule.wrongModules(file)
        case .hostOnly: found = Rule.wrongCalls(file)
        case .mainLength: found = Rule.tooLong(file, file.isMain ? 60 : .max)
        case .safety: found = Rule.unexplainedUnsafe(file)
        case .orderings: found = Rule.unexplainedOrderings(file)
        case .names: found = Rule.wrongNames(file)
        case .length: found = Rule.tooLong(file, 500)
        case .columns: found = Rule.tooWide(file)
        }
        return found.map { "\(file.path):\($0.line + 1): \($0.what)" }
    }

    // MARK: Imports

    /// Modules of the toolchain that any room may import.
    private static let toolchain = ["Swift", "Glibc", "Synchronization"]

    private static func imports(_ file: SourceFile) -> [(line: Int, module: String)] {
        file.lines.indices.compactMap { line in
            let words = file.lines[line].code.split(separator: " ")
            guard let at = words.firstIndex(of: "import"), at + 1 < words.count,
                words[..<at].allSatisfy({ modifiers.contains($0) || $0.hasPrefix("@") })
            else { return nil }
            // `import struct Glibc.tm` imports Glibc.
            let isKind = kinds.contains(words[at + 1]) && at + 2 < words.count
            let name = words[at + (isKind ? 2 : 1)].prefix { $0 != "." }
            return (line, String(name))
        }
    }

    private static let modifiers: [Substring] = [
        "public", "package", "internal", "fileprivate", "private",
    ]
    private static let kinds: [Substring] = ["struct", "class", "enum", "protocol", "func", "let"]

    private static func wrongArrows(
        _ file: SourceFile, _ arrows: Arrows
    ) -> [(line: Int, what: String)] {
        guard file.isSource else { return [] }
        guard let allowed = arrows.rooms[file.room] else {
            return [(0, "\(file.room) is no room of Package.swift")]
        }
        return imports(file).compactMap { line, module in
            let isForeign =
                !arrows.rooms.keys.contains(module) && !arrows.libraries.contains(module)
            // Rule systemModules judges the modules of the system.
            if isForeign && (toolchain + ["Dispatch"]).contains(module) { return nil }
            if isForeign && module.hasPrefix("Foundation") { return nil }
            return allowed.contains(module) ? nil : (line, "\(file.room) may not import \(module)")
        }
    }

    /// Who may import Dispatch: Host owns the queues; main files start them.
    private static func mayDispatch(_ file: SourceFile) -> Bool {
        file.room == "Host" || file.isMain
    }

    private static func wrongModules(_ file: SourceFile) -> [(line: Int, what: String)] {
        guard file.isSource else { return [] }
        return imports(file).compactMap { line, module in
            if module.hasPrefix("Foundation") { return (line, "imports \(module)") }
            if module == "Dispatch" && !mayDispatch(file) { return (line, "imports Dispatch") }
            return nil
        }
    }

    private static let hostCalls: Set<String> = [
        "socket", "socketpair", "accept4", "recv", "recvfrom", "recvmsg", "recvmmsg", "sendto",
        "sendmsg", "sendmmsg", "setsockopt", "getaddrinfo", "epoll_create1", "clock_gettime",
        "gettimeofday", "sigaction", "signal", "signalfd", "timerfd_create",
    ]
    private static let hostTypes: Set<String> = ["ContinuousClock", "SuspendingClock"]

    private static func wrongCalls(_ file: SourceFile) -> [(line: Int, what: String)] {
        guard file.isSource, file.room != "Host" else { return [] }
        // A function of the file's own by that name is another.
        let own = file.lines.flatMap { line in
            let all = words(line.code)
            return zip(all, all.dropFirst()).filter { $0.0.text == "func" }.map(\.1.text)
        }
        let calls = hostCalls.subtracting(own)
        var found: [(line: Int, what: String)] = []
        for (line, content) in file.lines.enumerated() {
            for word in words(content.code) {
                let isCall =
                    calls.contains(word.text) && word.after == "(" && word.before != "."
                if isCall || hostTypes.contains(word.text) {
                    found.append((line, "\(word.text) belongs to Host"))
                }
            }
        }
        return found
    }

    // MARK: Comments that must be there

    /// A `// Safety:` holds for as many lines: a body at most.
    private static let safetyReach = 16

    private static func unexplainedUnsafe(_ file: SourceFile) -> [(line: Int, what: String)] {
        guard file.isSource else { return [] }
        var safeUntil = -1
        var found: [(line: Int, what: String)] = []
        for (line, content) in file.lines.enumerated() {
            if content.comment.contains("Safety:") { safeUntil = line + safetyReach }
            let isUnsafe = words(content.code).contains { $0.text == "unsafe" && $0.before != "@" }
            if isUnsafe && line > safeUntil {
                found.append((line, "unsafe without // Safety: above"))
            }
        }
        return found
    }

    /// Each ordering, how its comment begins, and what it must name. There is no stronger one.
    private static let orderingComments: [(ordering: String, opening: String, names: String)] = [
        ("relaxed", "// Relaxed:", ""), ("acquiring", "// Acquire:", "pairs with"),
        ("releasing", "// Release:", "pairs with"),
    ]

    private static func unexplainedOrderings(_ file: SourceFile) -> [(line: Int, what: String)] {
        guard file.isSource else { return [] }
        var found: [(line: Int, what: String)] = []
        for (line, content) in file.lines.enumerated() where content.code.contains("ordering:") {
            if file.room != "Ring" {
                found.append((line, "an ordering outside Ring"))
                continue
            }
            let ordering = content.code.split(separator: "ordering: .").dropFirst().first ?? ""
            let name = ordering.prefix { $0.isLetter }
            guard let rule = orderingComments.first(where: { $0.ordering == name }) else {
                found.append((line, "ordering \(name) has no argument for it"))
                continue
            }
            let comment = commentAbove(line, file)
            if !comment.hasPrefix(rule.opening) || !comment.contains(rule.names) {
                found.append((line, "\(name) needs \(rule.opening) \(rule.names) … above"))
            }
        }
        return found
    }

    /// The comment lines directly above a line, joined.
    private static func commentAbove(_ line: Int, _ file: SourceFile) -> String {
        var comment: [String] = []
        var above = line - 1
        while above >= 0, !file.lines[above].comment.isEmpty,
            file.lines[above].code.allSatisfy(\.isWhitespace)
        {
            comment.insert(file.lines[above].comment, at: 0)
            above -= 1
        }
        return comment.joined(separator: " ")
    }

    // MARK: Names and sizes

    /// The "not" column of design.md section 2: words that no type's name may hold.
    private static let forbiddenWords: Set<String> = [
        "Listener", "Packet", "Message", "Schema", "Parser", "Sample", "Topic", "Registry", "Chunk",
        "Exporter", "Discard", "Letter", "Checkpoint", "Tick",
    ]
    /// Words of the same column that are good in a compound (`FieldNode`) and never alone.
    private static let forbiddenNames: Set<String> = [
        "Node", "Record", "Input", "Index", "Window", "Flush", "Queue", "Status", "Server", "Trace",
        "Time", "Series", "WAL",
    ]
    /// Types that name a foreign thing by its own word.
    private static let exceptions: [String: String] = [
        "PacketReader": "packets of a pcap file, which calls them so",
        "CoAPMessage": "RFC 7252 calls them so", "MQTTSNMessage": "MQTT-SN 1.2 calls them so",
        "TopicKind": "topic id types of MQTT-SN 1.2",
        "SemtechMessage": "datagrams of PROTOCOL.TXT", "SemtechPacket": "its rxpk",
    ]
    private static let declarations: Set<String> = [
        "struct", "class", "enum", "actor", "protocol", "typealias",
    ]

    private static func wrongNames(_ file: SourceFile) -> [(line: Int, what: String)] {
        guard file.isSource else { return [] }
        var found: [(line: Int, what: String)] = []
        for (line, content) in file.lines.enumerated() {
            let all = words(content.code)
            for (keyword, name) in zip(all, all.dropFirst())
            where declarations.contains(keyword.text) && name.text.first?.isUppercase == true {
                if exceptions[name.text] != nil { continue }
                if forbiddenNames.contains(name.text)
                    || !forbiddenWords.isDisjoint(with: humps(name.text))
                {
                    found.append((line, "type \(name.text) is called by a forbidden synonym"))
                }
            }
        }
        return found
    }

    private static func tooLong(_ file: SourceFile, _ limit: Int) -> [(line: Int, what: String)] {
        file.lines.count > limit ? [(limit, "has \(file.lines.count) lines, not \(limit)")] : []
    }

    /// Code keeps to 100 columns, which `swift format` sees to; the last word of a comment or of a
    /// string may stand out by eight.
    private static func tooWide(_ file: SourceFile) -> [(line: Int, what: String)] {
        file.lines.indices.compactMap { line in
            let content = file.lines[line]
            let isCode = content.comment.isEmpty && !content.text.contains("\"")
            let limit = isCode ? 100 : 108
            return content.text.count > limit ? (line, "\(content.text.count) columns") : nil
        }
    }

    // MARK: Words

    private struct Word {
        var text: String
        var before: Character?
        var after: Character?
    }

    private static func words(_ code: String) -> [Word] {
        var all: [Word] = []
        var rest = Substring(code)
        var before: Character?
        while let character = rest.first {
            let word = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
            if word.isEmpty {
                before = character
                rest = rest.dropFirst()
            } else {
                rest = rest.dropFirst(word.count)
                all.append(Word(text: String(word), before: before, after: rest.first))
                before = word.last
            }
        }
        return all
    }

    /// `UDPLetterBoxes` → UDP, Letter, Boxes; plurals without their s as well.
    private static func humps(_ name: String) -> [String] {
        let all = name.matches(of: /[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+/).map { String($0.0) }
        return all + all.filter { $0.hasSuffix("s") }.map { String($0.dropLast()) }
    }
}
