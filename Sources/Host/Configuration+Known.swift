// Which values of a configuration file are ours, for texts that go to others: what stands under one of our
// keys and is of its kind. From the key tables.

extension Configuration {
    /// A value of the gateway's configuration stands at `path` (`sources.listen`): its own key, or an
    /// entry of a mapping of names.
    package static func knows(_ path: String) -> Bool { kind(at: path) != nil }

    /// The names of what stands under `path` are the operator's own: topics, paths, parameters.
    package static func isMapping(_ path: String) -> Bool {
        switch kind(at: path) {
        case .routes, .node: true
        default: false
        }
    }

    /// `text` could be meant for the key at `path`: a password in the place of a duration is not.
    package static func fits(_ text: String, at path: String) -> Bool {
        switch kind(at: path) {
        case nil, .count, .flag, .node, .group, .groups: return false
        case .name: return HostPort(text + ":1") != nil
        case .path: return text.isEmpty || text.contains("/") || text.hasPrefix("credential:")
        case .duration: return parseDuration(text) != nil
        case .size: return parseSize(text) != nil
        case .word(let words): return words.contains(text)
        case .listen, .connect, .endpoint, .hostPort:
            return text.split(separator: "/").last.flatMap { HostPort(String($0)) } != nil
        case .names, .texts, .routes, .text: return true
        }
    }

    private static func kind(at path: String) -> KeyKind? {
        for key in keys {
            if key.path == path { return key.kind }
            if case .routes = key.kind, path.hasPrefix(key.path + ".") { return key.kind }
        }
        return nil
    }
}
