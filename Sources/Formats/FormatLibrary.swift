// Loads format files: reads them, resolves `extends`, compiles, runs their embedded tests. Fails
// closed: one bad file and nothing is loaded, with all complaints of all files. Used at start and at
// reload only.

import Glibc
import Model

/// A format file as it was read.
package struct FormatText: Sendable {
    package var file: String
    package var bytes: [UInt8]

    package init(file: String, bytes: [UInt8]) {
        self.file = file
        self.bytes = bytes
    }
}

/// All formats of a gateway, compiled and with their embedded tests passed.
package final class FormatLibrary: Sendable {
    package let formats: [Format]
    let sources: [FormatSource]

    /// Loads every `*.json5` of `directory` in the order of their names. Throws all complaints of all
    /// files at once.
    package convenience init(directory: String) throws(Complaints) {
        let read = try FormatLibrary.texts(in: directory)
        guard read.unreadable.isEmpty else { throw Complaints(all: read.unreadable) }
        try self.init(texts: read.texts, base: [])
    }

    /// A library without formats, to load others beside.
    package convenience init() { self.init(formats: [], sources: []) }

    /// The format files of a folder in the order of their names, and those that cannot be read.
    package static func texts(
        in directory: String
    ) throws(Complaints) -> (texts: [FormatText], unreadable: [Complaint]) {
        var texts: [FormatText] = []
        var complaints: [Complaint] = []
        for file in try FormatLibrary.files(in: directory) {
            if let bytes = FileBytes.read(file, limit: JSONNode.maximumBytes + 1) {
                texts.append(FormatText(file: file, bytes: bytes))
            } else {
                complaints.append(FormatLibrary.unreadable(file))
            }
        }
        return (texts, complaints)
    }

    /// Loads one text, for tests and for the tools. `library`: formats that it may extend or nest.
    package convenience init(
        text: String, file: String, library: FormatLibrary? = nil
    ) throws(Complaints) {
        try self.init(
            texts: [FormatText(file: file, bytes: Array(text.utf8))], base: library?.sources ?? [])
    }

    /// Loads several texts that may extend and nest one another.
    package convenience init(texts: [(file: String, text: String)]) throws(Complaints) {
        try self.init(
            texts: texts.map { FormatText(file: $0.file, bytes: Array($0.text.utf8)) }, base: [])
    }

    package static func files(in directory: String) throws(Complaints) -> [String] {
        let folder = directory + (directory.hasSuffix("/") ? "" : "/")
        return try names(in: directory).map { folder + $0 }
    }

    static func unreadable(_ file: String) -> Complaint {
        Complaint(
            file: file, line: 1, column: 1, what: "cannot be read",
            suggestion: "check that it exists and may be read")
    }

    private init(
        texts: [FormatText], base: [FormatSource]
    ) throws(Complaints) {
        var loader = FormatLoader(base: base)
        for text in texts { loader.parse(text.bytes, file: text.file) }
        formats = loader.compile()
        sources = base + loader.own
        if !loader.complaints.isEmpty { throw Complaints(all: loader.complaints) }
    }

    /// What a reload puts together.
    init(formats: [Format], sources: [FormatSource]) {
        self.formats = formats
        self.sources = sources
    }

    package func format(named name: String) -> Format? { formats.first { $0.name == name } }

    /// The formats that accept `frame` as it is, for `--format auto`. Slow path: tries all.
    package func accepting(_ frame: [UInt8], direction: Direction) -> [Format] {
        var result = DecodedFrame()
        return formats.filter { format in
            do throws(Rejection) {
                try Decoder(format).decode(frame.span, direction: direction, into: &result)
                return true
            } catch { return false }
        }
    }

    /// Frames of the format's own tests that are accepted, device to server, for measuring.
    package func exampleFrames(of format: Format) -> [[UInt8]] {
        let tests = sources.last { $0.name == format.name }?.root["tests"]?.array ?? []
        return tests.filter { $0["error"] == nil && $0["direction"]?.string != "down" }
            .compactMap { $0["hex"]?.string.flatMap(HexText.bytes) }
    }

    private static func names(in directory: String) throws(Complaints) -> [String] {
        // Safety: opendir's result is checked for nil; entries are read until readdir gives nil and
        // each is used before the next call; closedir is called once.
        guard let handle = unsafe opendir(directory) else {
            throw Complaints(all: [
                Complaint(
                    file: directory, line: 1, column: 1, what: "no such folder",
                    suggestion: "name the folder that holds the format files")
            ])
        }
        var names: [String] = []
        while true {
            guard let entry = unsafe readdir(handle) else { break }
            // Safety: d_name is a NUL-terminated array inside the entry.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { text in
                    unsafe String(cString: text)
                }
            }
            if name.hasSuffix(".json5"), !name.hasPrefix(".") { names.append(name) }
        }
        // Safety: handle came from opendir and is not used again.
        unsafe closedir(handle)
        return names.sorted()
    }
}

/// Whole small files, for formats and vectors.
package enum FileBytes {
    /// At most `limit` bytes of the file; nil when it cannot be opened or read.
    package static func read(_ path: String, limit: Int) -> [UInt8]? {
        // Safety: open reads the NUL-terminated path that Swift makes for the call.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var result: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65_536)
        while result.count < limit {
            let room = min(block.count, limit - result.count)
            // Safety: the buffer holds at least `room` bytes for the length of the call.
            let count = unsafe block.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress, room)
            }
            if count < 0 {
                if errno == EINTR { continue }
                return nil
            }
            if count == 0 { break }
            result += block[..<count]
        }
        return result
    }
}

/// The steps of loading, with their complaints.
struct FormatLoader {
    let base: [FormatSource]
    var own: [FormatSource] = []
    var complaints: [Complaint] = []

    init(base: [FormatSource]) { self.base = base }

    mutating func parse(_ bytes: [UInt8], file: String) {
        let root: JSONNode
        do throws(Complaint) {
            root = try JSONNode.parse(bytes, file: file)
        } catch {
            complaints.append(error)
            return
        }
        guard let name = root["format"]?.string, !name.isEmpty else {
            complain(root, file, "no name", "write format: \"…\" first")
            return
        }
        if let other = own.first(where: { $0.name == name }) {
            complain(
                root["format"] ?? root, file,
                "format \"\(name)\" exists twice, also in \(other.file)", "rename one")
        }
        own.append(FormatSource(file: file, name: name, root: root, bytes: bytes))
    }

    /// Compiled formats; those with complaints are missing.
    mutating func compile() -> [Format] {
        let merged = own.compactMap { merge($0, depth: 0) }
        let known = base + merged
        var formats: [Format] = []
        var texts: [(Format, FormatSource)] = []
        for source in merged {
            var compiler = FormatCompiler(source) { name in known.last { $0.name == name } }
            guard let compiled = compiler.compile() else {
                complaints += compiler.complaints
                continue
            }
            let format = Format(
                name: source.name, title: source.root["title"]?.string ?? source.name,
                compiled: compiled)
            formats.append(format)
            texts.append((format, source))
        }
        for (format, source) in texts {
            complaints += EmbeddedTests.run(format, source.root["tests"], file: source.file)
            complaints += EmbeddedTests.tryRequests(
                format, source.root["requests"], file: source.file)
        }
        own = merged.map(\.asText)
        return formats
    }

    private mutating func complain(
        _ node: JSONNode, _ file: String, _ what: String, _ suggestion: String
    ) {
        complaints.append(
            Complaint(
                file: file, line: node.line, column: node.column, what: what, suggestion: suggestion
            ))
    }

    /// The source with what it inherits. Objects of these keys are merged member by member; tests are
    /// not inherited; every other key of the extending file replaces the base's.
    private mutating func merge(_ source: FormatSource, depth: Int) -> FormatSource? {
        guard !source.isWhole, let link = source.root["extends"] else { return source }
        guard let name = link.string, depth < 8,
            let found = (own + base).first(where: { $0.name == name && $0.name != source.name })
        else {
            complain(
                link, source.file, "unknown format \"\(link.string ?? "")\"",
                Suggestion.text(link.string ?? "", among: (own + base).map(\.name)))
            return nil
        }
        guard let base = merge(found, depth: depth + 1), base.root.members != nil else {
            return nil
        }
        return source.extending(base)
    }
}

extension JSONNode {
    /// A format's text over that of the format that it extends.
    func extending(_ base: JSONNode) -> JSONNode {
        var members = base.members ?? []
        members.removeAll { $0.key == "tests" || $0.key == "extends" }
        for member in self.members ?? [] {
            guard let at = members.firstIndex(where: { $0.key == member.key }) else {
                members.append(member)
                continue
            }
            let isMerged = ["framing", "constants", "tables", "inserts", "exchange", "requests"]
                .contains(
                    member.key)
            members[at] = isMerged ? JSONNode.overlay(members[at], member) : member
        }
        return JSONNode(content: .object(members), line: line, column: column)
    }

    private static func overlay(_ a: JSONNode.Member, _ b: JSONNode.Member) -> JSONNode.Member {
        guard var members = a.value.members, let others = b.value.members else { return b }
        for other in others {
            let at = members.firstIndex { $0.key == other.key }
            if case .null = other.value.content {
                // The variant goes without what the base has.
                if let at { members.remove(at: at) }
            } else if let at {
                members[at] = other
            } else {
                members.append(other)
            }
        }
        return JSONNode.Member(
            key: b.key, line: b.line, column: b.column,
            value: JSONNode(content: .object(members), line: b.value.line, column: b.value.column))
    }
}
