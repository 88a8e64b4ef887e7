// What configuration files say beyond what holds without them, as a list of settings in one spelling: so
// that two configurations can be compared and a difference shown to a person. Made when files are read.

package import Formats
import Model

/// One setting that is not its standard.
package struct Setting: Hashable, Sendable {
    /// The source that has it; empty: the gateway.
    package var source: String
    /// From the top or within the source: `batch.interval`, `poll.requests[2].interval`.
    package var key: String
    /// JSON5 text.
    package var value: String
}

/// All settings of a configuration. Like marks they are no part of what is decided, only its spelling.
package struct Settings: Hashable, Sendable {
    /// The file that was read first.
    package var file = ""
    package var all: [Setting] = []

    package init() {}

    package static func == (_: Settings, _: Settings) -> Bool { true }
    package func hash(into _: inout Hasher) {}

    package var json: JSON {
        .object([
            ("file", .string(file)),
            (
                "settings",
                .array(
                    all.map {
                        .object([
                            ("source", .string($0.source)), ("key", .string($0.key)),
                            ("value", .string($0.value)),
                        ])
                    })
            ),
        ])
    }

    /// What a daemon answered; nil when it is something else.
    package init?(_ node: JSONNode?) {
        guard let file = node?["file"]?.string, let rows = node?["settings"]?.array else {
            return nil
        }
        self.file = file
        for row in rows {
            guard let source = row["source"]?.string, let key = row["key"]?.string,
                let value = row["value"]?.string
            else { return nil }
            all.append(Setting(source: source, key: key, value: value))
        }
    }

    init(_ values: KeyValues, _ reader: ConfigurationReader) {
        file = reader.files.first ?? ""
        add(values, reader, under: "", source: "", shown: "")
    }

    private mutating func add(
        _ values: KeyValues, _ reader: ConfigurationReader, under parent: String, source: String,
        shown: String
    ) {
        for key in reader.keys where key.parent == parent {
            switch key.kind {
            case .group:
                add(
                    values, reader, under: key.path, source: source,
                    shown: "\(shown)\(key.name).")
            case .groups where key.path == "sources":
                for group in values.groups(key.path) {
                    add(
                        group, reader, under: key.path, source: group.text("sources.name"),
                        shown: "")
                }
            case .groups:
                for (number, group) in values.groups(key.path).enumerated() {
                    add(
                        group, reader, under: key.path, source: source,
                        shown: "\(shown)\(key.name)[\(number + 1)].")
                }
            default:
                guard key.path != "sources.name", values.places[key.path] != nil,
                    let value = values[key.path]
                else { continue }
                let text = Settings.text(value, key)
                if text == reader.standard(of: key).map({ Settings.text($0, key) }) { continue }
                all.append(Setting(source: source, key: shown + key.name, value: text))
            }
        }
    }

    private static func text(_ value: KeyValue, _ key: Key) -> String {
        func quoted(_ text: String) -> String { JSON.string(text).text() }
        switch value {
        case .text(let text): return quoted(text)
        case .flag(let flag): return flag ? "true" : "false"
        case .number(let number):
            switch key.kind {
            case .duration: return quoted(durationText(number))
            case .size: return quoted(sizeText(Int(number)))
            default: return "\(number)"
            }
        case .listen(let listen): return quoted(listen.description)
        case .endpoint(let endpoint): return quoted(endpoint.description)
        case .hostPort(let address):
            if case .connect = key.kind { return quoted("tcp://\(address.description)") }
            return quoted(address.description)
        case .texts(let texts):
            return "[" + texts.map { quoted($0.text) }.joined(separator: ", ") + "]"
        case .routes(let routes):
            let all = routes.map { "\(quoted($0.name)): \(quoted($0.format))" }
            return "{ " + all.joined(separator: ", ") + " }"
        case .node(let node): return text(node)
        case .groups: return ""
        }
    }

    private static func text(_ node: JSONNode) -> String {
        switch node.content {
        case .null: "null"
        case .boolean(let flag): flag ? "true" : "false"
        case .number(let text): text
        case .string(let text): JSON.string(text).text()
        case .array(let nodes): "[" + nodes.map(text).joined(separator: ", ") + "]"
        case .object(let members):
            "{ "
                + members.map { "\(JSON.string($0.key).text()): \(text($0.value))" }
                .joined(separator: ", ") + " }"
        }
    }
}
