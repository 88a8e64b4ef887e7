// Reads configuration files into values by the key table. Strict: unknown keys, wrong kinds and values
// out of range are complaints with file, line and column; all of them are collected before any is
// thrown. Several files are one: groups are merged key by key, lists of groups appended, and
// everything else may be said once.

import Formats
import Glibc
import Model

/// A value that passed its key's check.
enum KeyValue {
    case text(String)
    case number(Int64)
    case flag(Bool)
    case listen(ListenAddress)
    case endpoint(Endpoint)
    case hostPort(HostPort)
    case texts([PlacedText])
    case routes([PlacedRoute])
    case node(JSONNode)
    case groups([KeyValues])
}

/// Where something stands in which file, for complaints. No part of what is decided: configurations that
/// say the same are equal wherever they say it, so all marks are.
package struct Mark: Hashable, Sendable {
    package var file = ""
    package var line = 1
    package var column = 1

    package init() {}

    init(file: String, line: Int, column: Int) {
        self.file = file
        self.line = line
        self.column = column
    }

    var text: String { "\(file):\(line):\(column)" }

    func complaint(_ what: String, _ suggestion: String) -> Complaint {
        Complaint(file: file, line: line, column: column, what: what, suggestion: suggestion)
    }

    package static func == (_: Mark, _: Mark) -> Bool { true }
    package func hash(into _: inout Hasher) {}
}

/// The values of one group and of the groups in it, by path.
struct KeyValues {
    /// Paths that may be asked for.
    fileprivate let known: Set<String>
    private var values: [String: KeyValue] = [:]
    /// Where the keys stand that the file has; those with their standard value are not here.
    fileprivate(set) var places: [String: Mark] = [:]
    fileprivate(set) var start: Mark

    fileprivate init(known: Set<String>, start: Mark) {
        self.known = known
        self.start = start
    }

    /// Asking for a key that is not in the table is a programmer's error.
    fileprivate(set) subscript(_ path: String) -> KeyValue? {
        get {
            precondition(known.contains(path), "\(path) is not in the key table")
            return values[path]
        }
        set { values[path] = newValue }
    }

    func text(_ path: String) -> String {
        if case .text(let text) = self[path] { return text }
        return ""
    }

    /// A count, a duration in milliseconds or a size in bytes; nil when it was left out.
    func number(_ path: String) -> Int64? {
        if case .number(let number) = self[path] { return number }
        return nil
    }

    func flag(_ path: String) -> Bool {
        if case .flag(let flag) = self[path] { return flag }
        return false
    }

    func texts(_ path: String) -> [PlacedText] {
        if case .texts(let texts) = self[path] { return texts }
        return []
    }

    func groups(_ path: String) -> [KeyValues] {
        if case .groups(let groups) = self[path] { return groups }
        return []
    }

    func place(_ path: String) -> Mark { places[path] ?? start }
}

/// A configuration file: its path and its bytes.
package struct ConfigurationFile: Sendable {
    package var path: String
    package var bytes: [UInt8]

    package init(path: String, bytes: [UInt8]) {
        self.path = path
        self.bytes = bytes
    }
}

struct ConfigurationReader {
    let files: [String]
    let keys: [Key]
    private let known: Set<String>
    private var complaints: [Complaint] = []

    init(files: [String], keys: [Key]) {
        self.files = files
        self.keys = keys
        known = Set(keys.map(\.path))
    }

    /// nil when a text is no JSON5 object. `texts` in the order of `files`.
    mutating func read(_ texts: [[UInt8]]) -> KeyValues? {
        var whole: JSONNode?
        for (number, text) in texts.enumerated() {
            do throws(Complaint) {
                if text.allSatisfy({ $0 == 0x20 || (0x09...0x0D).contains($0) }) {
                    throw Mark(file: files[number], line: 1, column: 1).complaint(
                        "the file is empty", "write { } for the settings that hold without a file")
                }
                let node = try JSONNode.parse(text, file: files[number], number: UInt16(number))
                whole = whole.map { merged($0, node, "") } ?? node
            } catch {
                complaints.append(error)
            }
        }
        guard let whole, complaints.isEmpty else { return nil }
        var values = KeyValues(known: known, start: mark(whole))
        readGroup(whole, "", into: &values)
        return values
    }

    func finish() throws(Complaints) {
        guard complaints.isEmpty else {
            let order = Dictionary(uniqueKeysWithValues: files.enumerated().map { ($1, $0) })
            throw Complaints(
                all: complaints.sorted {
                    (order[$0.file] ?? 0, $0.line, $0.column)
                        < (order[$1.file] ?? 0, $1.line, $1.column)
                })
        }
    }

    mutating func complain(_ place: Mark, _ what: String, _ suggestion: String) {
        complaints.append(place.complaint(what, suggestion))
    }

    func mark(_ node: JSONNode) -> Mark {
        Mark(file: files[Int(node.file)], line: node.line, column: node.column)
    }

    func mark(_ member: JSONNode.Member) -> Mark {
        Mark(file: files[Int(member.value.file)], line: member.line, column: member.column)
    }

    /// What holds when the key is left out.
    func standard(of key: Key) -> KeyValue? {
        guard !key.standard.isEmpty,
            let node = try? JSONNode.parse(Array(key.standard.utf8), file: "standard")
        else { return nil }
        var reader = ConfigurationReader(files: ["standard"], keys: keys)
        var values = KeyValues(known: known, start: Mark())
        reader.readValue(node, key, into: &values)
        return values[key.path]
    }

    // MARK: several files

    private mutating func merged(
        _ first: JSONNode, _ more: JSONNode, _ path: String
    ) -> JSONNode {
        guard var members = first.members, let others = more.members else {
            // Which of the two is no object is said when it is read.
            return first.members == nil ? first : more
        }
        for other in others {
            let path = path.isEmpty ? other.key : "\(path).\(other.key)"
            guard let at = members.firstIndex(where: { $0.key == other.key }),
                let key = keys.first(where: { $0.path == path })
            else {
                members.append(other)
                continue
            }
            let before = members[at]
            var value = before.value
            switch key.kind {
            case .group: value = merged(before.value, other.value, path)
            case .groups:
                guard let some = before.value.array, let more = other.value.array else {
                    value = before.value.array == nil ? before.value : other.value
                    break
                }
                value = JSONNode(
                    content: .array(some + more), line: value.line, column: value.column,
                    file: value.file)
            default:
                complain(
                    mark(other), "\"\(path)\" is set already at \(mark(before).text)",
                    "keep one of the two")
            }
            members[at] = JSONNode.Member(
                key: before.key, line: before.line, column: before.column, value: value)
        }
        return JSONNode(
            content: .object(members), line: first.line, column: first.column, file: first.file)
    }

    // MARK: walking

    private mutating func readGroup(_ node: JSONNode, _ path: String, into out: inout KeyValues) {
        guard let members = node.members else {
            let label = path.isEmpty ? "the configuration" : "\"\(path)\""
            complain(mark(node), "\(label) is \(node.kindName)", "write an object: { … }")
            return
        }
        let known = keys.filter { $0.parent == path }
        for member in members where !known.contains(where: { $0.name == member.key }) {
            complainUnknown(member, among: known, of: path)
        }
        for key in known {
            if let member = members.first(where: { $0.key == key.name }) {
                out.places[key.path] = mark(member.value)
                readValue(member.value, key, into: &out)
            } else if key.isRequired {
                complain(mark(node), "no \"\(key.name)\" here", "add it: \(key.about)")
            } else if !key.standard.isEmpty {
                guard let node = try? JSONNode.parse(Array(key.standard.utf8), file: files[0])
                else { preconditionFailure("default of \(key.path) is no JSON5") }
                readValue(node, key, into: &out)
            }
        }
    }

    private mutating func complainUnknown(
        _ member: JSONNode.Member, among known: [Key], of path: String
    ) {
        let nearest =
            known.map { ($0.name, editDistance($0.name, member.key)) }
            .min { $0.1 < $1.1 }
        let place = mark(member)
        let shown = Shown.text(member.key)
        // A name of another group is most likely in the wrong place.
        if Shown.isSecretKey(member.key) {
            complain(
                place, "\"\(shown)\" would be a secret, and none stands in this file",
                "remove it; keys of meters stand in a file of their own, see \"keys\"")
        } else if let nearest, nearest.1 <= max(1, nearest.0.count / 3) {
            complain(place, "unknown key \"\(shown)\"", "write \"\(nearest.0)\"")
        } else if let other = keys.filter({ $0.name == member.key })
            // Of several homes the one that is least deep.
            .min(by: { $0.path.split(separator: ".").count < $1.path.split(separator: ".").count })
        {
            let home = other.parent.isEmpty ? "the top level" : "\"\(other.parent)\""
            complain(place, "unknown key \"\(shown)\" here", "it belongs into \(home)")
        } else {
            let names = known.map(\.name).joined(separator: ", ")
            complain(place, "unknown key \"\(shown)\"", "known here: \(names)")
        }
    }

    private mutating func readValue(_ node: JSONNode, _ key: Key, into out: inout KeyValues) {
        switch key.kind {
        case .group:
            readGroup(node, key.path, into: &out)
        case .groups:
            guard let elements = node.array else { return wrong(node, key, "a list: [ … ]") }
            var groups: [KeyValues] = []
            for element in elements {
                var group = KeyValues(known: known, start: mark(element))
                readGroup(element, key.path, into: &group)
                groups.append(group)
            }
            out[key.path] = .groups(groups)
        case .node:
            guard node.members != nil else { return wrong(node, key, "an object: { … }") }
            out[key.path] = .node(node)
        case .names:
            guard let elements = node.array else { return wrong(node, key, "a list of names") }
            var names: [PlacedText] = []
            for element in elements {
                guard let name = element.string, isName(name) else {
                    wrong(element, key, "a name: letters, digits, . _ -, at most 64")
                    continue
                }
                names.append(PlacedText(text: name, place: mark(element)))
            }
            out[key.path] = .texts(names)
        case .texts:
            if let texts = texts(node, key) { out[key.path] = .texts(texts) }
        case .routes:
            if let routes = routes(node, key) { out[key.path] = .routes(routes) }
        default:
            if let value = scalar(node, key) { out[key.path] = value }
        }
    }

    // MARK: single values

    private mutating func scalar(_ node: JSONNode, _ key: Key) -> KeyValue? {
        switch key.kind {
        case .name:
            if let text = node.string, isName(text) { return .text(text) }
            wrong(node, key, "a name: letters, digits, . _ -, at most 64")
        case .path:
            if let text = node.string, !text.utf8.contains(0), text.utf8.count < 4096,
                !Shown.isSecret(text)
            {
                return .text(text)
            }
            wrong(node, key, "a path in quotes")
        case .flag:
            if let flag = node.boolean { return .flag(flag) }
            wrong(node, key, "true or false")
        case .word(let words):
            if let text = node.string, words.contains(text) { return .text(text) }
            wrong(node, key, words.map { "\"\($0)\"" }.joined(separator: " or "))
        case .count(let range):
            if let number = node.integer, range.contains(number) { return .number(Int64(number)) }
            wrong(node, key, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        case .duration(let range):
            if let ms = node.string.flatMap(parseDuration), range.contains(ms) {
                return .number(ms)
            }
            let (low, high) = (durationText(range.lowerBound), durationText(range.upperBound))
            wrong(node, key, "a duration from \"\(low)\" to \"\(high)\"")
        case .size(let range):
            let size = node.integer ?? node.string.flatMap(parseSize)
            if let size, range.contains(size) { return .number(Int64(size)) }
            let (low, high) = (sizeText(range.lowerBound), sizeText(range.upperBound))
            wrong(node, key, "a size from \"\(low)\" to \"\(high)\"")
        case .listen:
            if let listen = node.string.flatMap(ListenAddress.init(text:)) {
                return .listen(listen)
            }
            wrong(node, key, "\"udp://ADDRESS:PORT\" or \"tcp://ADDRESS:PORT\", numeric")
        case .endpoint:
            if let at = node.string.flatMap({ HostPort($0)?.endpoint }) { return .endpoint(at) }
            wrong(node, key, "\"ADDRESS:PORT\" with a numeric address")
        case .hostPort:
            if let address = node.string.flatMap({ HostPort($0) }), address.port != 0 {
                return .hostPort(address)
            }
            wrong(node, key, "\"HOST:PORT\"")
        case .connect:
            if let text = node.string, text.hasPrefix("tcp://"),
                let address = HostPort(String(text.dropFirst(6))), address.port != 0
            {
                return .hostPort(address)
            }
            wrong(node, key, "\"tcp://HOST:PORT\"")
        case .text:
            if let text = node.string, text.utf8.count <= 1024 { return .text(text) }
            wrong(node, key, "text in quotes")
        case .names, .texts, .routes, .group, .groups, .node:
            preconditionFailure("no single value")
        }
        return nil
    }

    mutating func wrong(_ node: JSONNode, _ key: Key, _ wanted: String) {
        if key.path == "keys", node.members != nil || node.string.map(Shown.isSecret) == true {
            return complain(
                mark(node), "keys of meters do not stand in this file",
                "put them into a file of mode 0600 and write its path, or "
                    + "\"credential:sluice.keys\"")
        }
        let found: String
        switch node.content {
        case .string(let text): found = "\"\(Shown.text(text))\""
        case .number(let text): found = Shown.text(text)
        default: found = node.kindName
        }
        if key.hasPort, let port = node.string.flatMap(Shown.wrongPort) {
            return complain(
                mark(node), "\"\(key.path)\" cannot be \(found): there is no port \(port)",
                "write a port from 1 to 65535")
        }
        complain(mark(node), "\"\(key.path)\" cannot be \(found)", "write \(wanted)")
    }

    func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0 != 0x3A && DeviceKey.isAllowed($0) }
    }
}

extension ListenAddress {
    init?(text: String) {
        for transport in [Transport.udp, .tcp] where text.hasPrefix(transport.rawValue + "://") {
            let rest = String(text.dropFirst(transport.rawValue.count + 3))
            guard let endpoint = HostPort(rest)?.endpoint else { return nil }
            self.init(transport: transport, endpoint: endpoint)
            return
        }
        return nil
    }
}
