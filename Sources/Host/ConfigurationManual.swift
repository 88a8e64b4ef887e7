// What is printed from the key table: the commented default file, and the entries of the manual page.
// Values only; asked for by `--defaults` and `--man-config`, and by the tests that hold the committed
// files to them.

/// One key as the manual page tells it.
package struct KeyEntry: Sendable {
    /// Names from the top, joined by dots.
    package var path: String
    /// What may be written: `a duration from "100ms" to "1h"`.
    package var values: String
    /// JSON5 text of what holds when the key is left out; empty: nothing does.
    package var standard: String
    package var isRequired: Bool
    /// An object or a list of objects, whose own keys follow.
    package var isGroup: Bool
    package var about: String
}

extension Configuration {
    package static var entries: [KeyEntry] { Key.ordered(keys, under: "").map(\.entry) }
}

extension StoreConfiguration {
    package static var entries: [KeyEntry] { Key.ordered(keys, under: "").map(\.entry) }
}

extension Key {
    /// Each group before its own keys, single keys before groups.
    fileprivate static func ordered(_ keys: [Key], under parent: String) -> [Key] {
        let own = keys.filter { $0.parent == parent }
        return own.filter { !$0.isGroup }
            + own.filter(\.isGroup).flatMap { [$0] + ordered(keys, under: $0.path) }
    }

    fileprivate var isGroup: Bool {
        switch kind {
        case .group, .groups: true
        default: false
        }
    }

    fileprivate var entry: KeyEntry {
        KeyEntry(
            path: path, values: values, standard: isGroup ? "" : standard, isRequired: isRequired,
            isGroup: isGroup, about: about)
    }

    /// The range, where there is one, with a capital letter.
    fileprivate var limits: String {
        switch kind {
        case .count(let r): "\(r.lowerBound) to \(r.upperBound)"
        case .duration(let r): "\(durationText(r.lowerBound)) to \(durationText(r.upperBound))"
        case .size(let r): "\(sizeText(r.lowerBound)) to \(sizeText(r.upperBound))"
        default: ""
        }
    }

    /// What may be written, for people.
    fileprivate var values: String {
        switch kind {
        case .name: "a name: letters, digits, . _ -, at most 64"
        case .path: "a path"
        case .duration(let r):
            "a duration from \"\(durationText(r.lowerBound))\" to \"\(durationText(r.upperBound))\""
        case .size(let r):
            "a size from \"\(sizeText(r.lowerBound))\" to \"\(sizeText(r.upperBound))\""
        case .count(let r): "a whole number from \(r.lowerBound) to \(r.upperBound)"
        case .flag: "true or false"
        case .word(let words): words.map { "\"\($0)\"" }.joined(separator: " or ")
        case .listen: "\"udp://ADDRESS:PORT\" or \"tcp://ADDRESS:PORT\", numeric"
        case .endpoint: "\"ADDRESS:PORT\", numeric"
        case .hostPort: "\"HOST:PORT\""
        case .names: "a list of names"
        case .texts: "a list of texts"
        case .routes: "an object { \"text\": \"format\" }"
        case .connect: "\"tcp://HOST:PORT\""
        case .text: "text of at most 1024 bytes"
        case .node: "an object { name: value }"
        case .group: "an object"
        case .groups: "a list of objects"
        }
    }
}

/// Sources that together have every key a source may have, for the default file.
private struct ExampleSource {
    let about: String
    /// What each has, without "sources."; groups stand with what is in them.
    let keys: [String]
    /// JSON5 texts that say more than the standard.
    let values: [String: String]

    static let all = [
        ExampleSource(
            about: "Datagrams.",
            keys: [
                "name", "listen", "exposed", "formats", "devices", "unnamed", "receiveBuffer",
                "moderation", "timestamps",
            ],
            values: [
                "name": "\"meters\"", "listen": "\"udp://127.0.0.1:9002\"",
                "devices": "\"accept\"", "unnamed": "\"gate-1\"",
            ]),
        ExampleSource(
            about: "Connections, such as of DTUs, which say who they are before they send frames.",
            keys: [
                "name", "listen", "idleTimeout", "firstFrameTimeout", "connections",
                "connectionsPerAddress", "registration", "heartbeats", "pairing",
            ],
            values: [
                "name": "\"dtus\"", "listen": "\"tcp://127.0.0.1:9002\"",
                "connectionsPerAddress": "64", "registration.ascii": "\"REG:\"",
                "registration.length": "16", "registration.end": "\"0d 0a\"",
                "registration.characters": "\"digits\"", "heartbeats.hex": "\"fe fe\"",
                "heartbeats.length": "2",
            ]),
        ExampleSource(
            about: "A serial line of this machine, on which meters are polled.",
            keys: [
                "name", "tty", "baud", "parity", "dataBits", "stopBits", "rs485", "formats", "poll",
            ],
            values: [
                "name": "\"bus\"", "tty": "\"/dev/ttyUSB0\"", "formats": "[\"modbus-rtu\"]",
                "poll.requests.request": "\"holding_registers\"",
                "poll.requests.format": "\"modbus-rtu\"",
                "poll.requests.parameters": "{ address: [1, 2], start: 0, quantity: 2 }",
            ]),
        ExampleSource(
            about: "A serial gateway or Modbus server that we connect to.",
            keys: ["name", "connect", "formats"],
            values: [
                "name": "\"plant\"", "connect": "\"tcp://192.0.2.7:502\"",
                "formats": "[\"modbus-tcp\"]",
            ]),
        ExampleSource(
            about: "Devices that speak LwM2M.",
            keys: ["name", "listen", "exchange", "paths", "observe"],
            values: [
                "name": "\"modules\"", "listen": "\"udp://127.0.0.1:5683\"",
                "exchange": "\"lwm2m\"", "paths": "{ \"/t/r\": \"dlt645\" }",
                "observe": "[\"/3303/0/5700\"]",
            ]),
        ExampleSource(
            about: "Devices that speak MQTT-SN.",
            keys: ["name", "listen", "exchange", "topics"],
            values: [
                "name": "\"radio\"", "listen": "\"udp://127.0.0.1:1884\"",
                "exchange": "\"mqtt-sn\"", "topics": "{ \"meters/+/t\": \"senml-json\" }",
            ]),
    ]
}

/// A JSON5 file in which every key stands with what holds without it, as a comment that becomes the setting
/// when its two slashes go.
struct DefaultFile {
    private(set) var text = ""
    private let keys: [Key]
    /// Keys that are explained already.
    private var told: Set<String> = []

    init(_ program: String, _ keys: [Key]) {
        self.keys = keys
        text = """
            // Configuration of \(program) (JSON5); its manual is \(program).conf(5).
            // Every key may be left out. To set one, take away the two slashes directly before it.
            // Durations: "250ms", "10s", "5m", "1h", "30d". Sizes: bytes, "64KB", "4MB", "1GB" (of 1024).

            """
        if program == "sluiced" {
            text += """
                // Files conf.d/*.json5 beside this one are read with it: groups are put together
                // key by key, sources are appended, and any other key may be set in one file only.

                """
        }
        text += "{\n"
        write(under: "", indent: "  ")
        text += "}\n"
    }

    /// `isExample`: groups are comments as well.
    private mutating func write(
        under parent: String, values: [String: String] = [:], indent: String,
        isExample: Bool = false, only names: [String]? = nil
    ) {
        let groupMark = isExample ? "//" : ""
        for key in keys where key.parent == parent && names?.contains(key.name) != false {
            // The name of a key within its source, as the examples have it.
            let inner = key.path.split(separator: ".").dropFirst().joined(separator: ".")
            if told.insert(key.path).inserted {
                prose(key.about + (key.limits.isEmpty ? "" : " \(key.limits)."), indent)
            }
            switch key.kind {
            case .group:
                text += "\(indent)\(groupMark)\(key.name): {\n"
                write(
                    under: key.path, values: values, indent: indent + "  ", isExample: isExample)
                text += "\(indent)\(groupMark)},\n"
            case .groups where !isExample: writeSources(key, indent)
            case .groups:
                text += "\(indent)//\(key.name): [ {\n"
                write(
                    under: key.path, values: values, indent: indent + "  ", isExample: isExample)
                text += "\(indent)//} ],\n"
            default:
                let value = values[inner] ?? (key.standard.isEmpty ? key.sample : key.standard)
                text += "\(indent)//\(key.name): \(value),\n"
            }
        }
    }

    private mutating func writeSources(_ key: Key, _ indent: String) {
        let standard = key.standard.split(separator: "\n").dropLast()
        text += "\(indent)\(key.name): \(standard.joined(separator: "\n"))\n"
        for example in ExampleSource.all {
            text += "\n"
            let inner = indent + "  "
            prose(example.about, inner)
            text += "\(inner)//{\n"
            write(
                under: key.path, values: example.values, indent: inner + "  ", isExample: true,
                only: example.keys)
            text += "\(inner)//},\n"
        }
        text += "\(indent)],\n"
    }

    private mutating func prose(_ words: String, _ indent: String) {
        var line = ""
        for word in words.split(separator: " ") {
            if !line.isEmpty, indent.count + 4 + line.count + word.count > 100 {
                text += "\(indent)// \(line)\n"
                line = ""
            }
            line += line.isEmpty ? String(word) : " \(word)"
        }
        if !line.isEmpty { text += "\(indent)// \(line)\n" }
    }
}
