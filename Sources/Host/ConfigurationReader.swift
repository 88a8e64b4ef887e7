// Reads a configuration text against a key table. Strict: unknown keys, wrong kinds and values out
// of range are complaints with file, line and column; all of them are collected before any is
// thrown.

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
    case names([String])
    case node(JSONNode)
    case groups([KeyValues])
}

/// The values of one group and of the groups in it, by path.
struct KeyValues {
    /// Where the group starts, or where the key stands: for complaints about relations.
    struct Place: Hashable {
        let line: Int
        let column: Int
    }

    fileprivate(set) var values: [String: KeyValue] = [:]
    fileprivate(set) var places: [String: Place] = [:]
    fileprivate(set) var start = Place(line: 1, column: 1)

    func text(_ path: String) -> String {
        if case .text(let text) = values[path] { return text }
        return ""
    }

    /// A count, a duration in milliseconds or a size in bytes; nil when it was left out.
    func number(_ path: String) -> Int64? {
        if case .number(let number) = values[path] { return number }
        return nil
    }

    func flag(_ path: String) -> Bool {
        if case .flag(let flag) = values[path] { return flag }
        return false
    }

    func names(_ path: String) -> [String] {
        if case .names(let names) = values[path] { return names }
        return []
    }

    func groups(_ path: String) -> [KeyValues] {
        if case .groups(let groups) = values[path] { return groups }
        return []
    }

    func place(_ path: String) -> Place { places[path] ?? start }
}

struct ConfigurationReader {
    let file: String
    let keys: [Key]
    private var complaints: [Complaint] = []

    init(file: String, keys: [Key]) {
        self.file = file
        self.keys = keys
    }

    /// nil when the text is no JSON5 object.
    mutating func read(_ text: [UInt8]) -> KeyValues? {
        do {
            let node = try JSONNode.parse(text, file: file)
            var values = KeyValues()
            readGroup(node, "", into: &values)
            return values
        } catch {
            complaints.append(error)
            return nil
        }
    }

    func finish() throws(Complaints) {
        guard complaints.isEmpty else {
            throw Complaints(
                all: complaints.sorted { ($0.line, $0.column) < ($1.line, $1.column) })
        }
    }

    mutating func complain(_ place: KeyValues.Place, _ what: String, _ suggestion: String = "") {
        complaints.append(
            Complaint(
                file: file, line: place.line, column: place.column, what: what,
                suggestion: suggestion))
    }

    // MARK: walking

    private mutating func readGroup(_ node: JSONNode, _ path: String, into out: inout KeyValues) {
        let here = KeyValues.Place(line: node.line, column: node.column)
        guard let members = node.members else {
            let label = path.isEmpty ? "the configuration" : "\"\(path)\""
            complain(here, "\(label) is \(node.kindName)", "write an object: { … }")
            return
        }
        let known = keys.filter { $0.parent == path }
        for member in members where !known.contains(where: { $0.name == member.key }) {
            complainUnknown(member, among: known, of: path)
        }
        for key in known {
            if let member = members.first(where: { $0.key == key.name }) {
                out.places[key.path] = KeyValues.Place(
                    line: member.value.line, column: member.value.column)
                readValue(member.value, key, into: &out)
            } else if key.isRequired {
                complain(here, "no \"\(key.name)\" here", "add it: \(key.about)")
            } else if !key.standard.isEmpty {
                guard let node = try? JSONNode.parse(Array(key.standard.utf8), file: file) else {
                    preconditionFailure("default of \(key.path) is no JSON5")
                }
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
        let place = KeyValues.Place(line: member.line, column: member.column)
        // A name of another group is most likely in the wrong place.
        if let nearest, nearest.1 <= max(1, nearest.0.count / 3) {
            complain(place, "unknown key \"\(member.key)\"", "write \"\(nearest.0)\"")
        } else if let other = keys.filter({ $0.name == member.key })
            // Of several homes the one that is least deep.
            .min(by: { $0.path.split(separator: ".").count < $1.path.split(separator: ".").count })
        {
            let home = other.parent.isEmpty ? "the top level" : "\"\(other.parent)\""
            complain(place, "unknown key \"\(member.key)\" here", "it belongs into \(home)")
        } else {
            let names = known.map(\.name).joined(separator: ", ")
            complain(place, "unknown key \"\(member.key)\"", "known here: \(names)")
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
                var group = KeyValues()
                group.start = KeyValues.Place(line: element.line, column: element.column)
                readGroup(element, key.path, into: &group)
                groups.append(group)
            }
            out.values[key.path] = .groups(groups)
        case .node:
            guard node.members != nil else { return wrong(node, key, "an object: { … }") }
            out.values[key.path] = .node(node)
        case .names:
            guard let elements = node.array else { return wrong(node, key, "a list of names") }
            var names: [String] = []
            for element in elements {
                guard let name = element.string, isName(name) else {
                    wrong(element, key, "a name: letters, digits, . _ -, at most 64")
                    continue
                }
                names.append(name)
            }
            out.values[key.path] = .names(names)
        default:
            if let value = scalar(node, key) { out.values[key.path] = value }
        }
    }

    // MARK: single values

    private mutating func scalar(_ node: JSONNode, _ key: Key) -> KeyValue? {
        switch key.kind {
        case .name:
            if let text = node.string, isName(text) { return .text(text) }
            wrong(node, key, "a name: letters, digits, . _ -, at most 64")
        case .path:
            if let text = node.string, !text.utf8.contains(0), text.utf8.count < 4096 {
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
        case .names, .group, .groups, .node:
            preconditionFailure("no single value")
        }
        return nil
    }

    private mutating func wrong(_ node: JSONNode, _ key: Key, _ wanted: String) {
        let found: String
        switch node.content {
        case .string(let text): found = "\"\(text.prefix(60))\""
        case .number(let text): found = String(text.prefix(60))
        default: found = node.kindName
        }
        let place = KeyValues.Place(line: node.line, column: node.column)
        complain(place, "\"\(key.path)\" cannot be \(found)", "write \(wanted)")
    }

    private func isName(_ text: String) -> Bool {
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
