// The one table of keys: what it lists is read, what is read it lists; what is printed from it is what is
// committed.

import Formats
import Glibc
import Host
import Testing

@Suite struct ConfigurationTableTests {
    /// A key, a file with a place (%) for it, a value that is not its standard, and what stands there
    /// without it.
    struct Row {
        var path: String
        var base: String
        var setting: String
        var otherwise = ""

        init(_ path: String, _ base: String, _ setting: String, _ otherwise: String = "") {
            self.path = path
            self.base = base
            self.setting = setting
            self.otherwise = otherwise
        }
    }

    private static func source(_ key: String, _ setting: String, _ more: String = "") -> Row {
        Row(
            "sources.\(key)",
            "{ sources: [ { name: \"a\", listen: \"udp://127.0.0.1:9001\", \(more) % } ] }", setting
        )
    }

    private static func tty(_ key: String, _ setting: String) -> Row {
        Row("sources.\(key)", "{ sources: [ { name: \"a\", tty: \"/dev/a\", % } ] }", setting)
    }

    private static func inside(_ group: String, _ key: String, _ setting: String) -> Row {
        let names = group.split(separator: ".")
        let open = names.map { "\($0): { " }.joined()
        let close = String(repeating: " }", count: names.count)
        return Row("\(group).\(key)", "{ \(open)%\(close) }", "\(key): \(setting)")
    }

    private static func pattern(_ group: String, _ around: (String) -> String) -> [Row] {
        let settings = [
            ("hex", "\"fe\""), ("ascii", "\"RE\""), ("length", "12"), ("end", "\"0d\""),
            ("characters", "\"digits\""),
        ]
        return settings.map { key, value in
            // A pattern needs something to be one.
            let more = key == "length" ? "ascii: \"a\"," : "length: 9,"
            return Row(
                "\(group).\(key)",
                "{ sources: [ { name: \"a\", listen: \"tcp://127.0.0.1:1\", \(around("\(more) %")) } ] }",
                "\(key): \(value)")
        }
    }

    private static func poll(_ key: String, _ setting: String) -> Row {
        source("poll.\(key)", "poll: { \(setting) }")
    }

    private static func request(_ key: String, _ setting: String) -> Row {
        source("poll.requests.\(key)", "poll: { requests: [ { request: \"r\", \(setting) } ] }")
    }

    private static let sources: [Row] =
        [
            Row(
                "sources.name", "{ sources: [ { listen: \"udp://127.0.0.1:9001\", % } ] }",
                "name: \"b\"", "name: \"a\""),
            Row(
                "sources.listen", "{ sources: [ { name: \"a\", % } ] }",
                "listen: \"udp://127.0.0.1:9002\"", "listen: \"udp://127.0.0.1:9001\""),
            Row(
                "sources.connect", "{ sources: [ { name: \"a\", % } ] }",
                "connect: \"tcp://192.0.2.7:502\"", "connect: \"tcp://192.0.2.7:503\""),
            Row(
                "sources.tty", "{ sources: [ { name: \"a\", % } ] }", "tty: \"/dev/b\"",
                "tty: \"/dev/a\""),
            source("exposed", "exposed: true"), source("formats", "formats: [\"x\"]"),
            source("exchange", "exchange: \"semtech\""),
            source("paths", "paths: { \"/t\": \"x\" }", "exchange: \"coap\","),
            source("observe", "observe: [\"/3/0\"]", "exchange: \"lwm2m\","),
            source("topics", "topics: { \"a/+\": \"x\" }", "exchange: \"mqtt-sn\","),
            source("devices", "devices: \"reject\""), source("unnamed", "unnamed: \"d\""),
            source("receiveBuffer", "receiveBuffer: \"1MB\""),
            source("moderation", "moderation: \"1ms\""),
            source("idleTimeout", "idleTimeout: \"2h\""),
            source("firstFrameTimeout", "firstFrameTimeout: \"5s\""),
            source("connections", "connections: 7"),
            source("connectionsPerAddress", "connectionsPerAddress: 3"),
            source("timestamps.maximumAge", "timestamps: { maximumAge: \"2d\" }"),
            source("timestamps.maximumAhead", "timestamps: { maximumAhead: \"0\" }"),
            source("timestamps.action", "timestamps: { action: \"drop\" }"),
            tty("baud", "baud: 2400"), tty("parity", "parity: \"even\""),
            tty("dataBits", "dataBits: 7"), tty("stopBits", "stopBits: 2"),
            tty("rs485", "rs485: true"), source("pairing", "pairing: true"),
            source(
                "registration.required", "registration: { ascii: \"a\", required: false }"),
            poll("timeout", "timeout: \"2s\""), poll("retries", "retries: 1"),
            poll("gap", "gap: \"1s\""), poll("deadAfter", "deadAfter: 4"),
            poll("backoff", "backoff: \"1m\""),
            source("poll.requests.request", "poll: { requests: [ { request: \"r\" } ] }"),
            request("format", "format: \"x\""), request("interval", "interval: \"2m\""),
            request("parameters", "parameters: { a: 1 }"), request("lines", "lines: [\"d\"]"),
        ] + pattern("sources.registration") { "registration: { \($0) }" }
        + pattern("sources.heartbeats") { "heartbeats: [ { \($0) } ]" }

    private static let gateway: [Row] =
        [
            Row("gateway", "{ % }", "gateway: \"b\""), Row("formats", "{ % }", "formats: \"/f\""),
            Row("keys", "{ % }", "keys: \"/k\""), inside("batch", "interval", "\"1s\""),
            inside("batch", "readings", "1000"), inside("batch", "bucket", "\"2m\""),
            inside("spool", "directory", "\"/s\""), inside("spool", "maximumBytes", "\"64MB\""),
            inside("spool", "duplicateWindow", "\"1h\""), inside("spool", "maxAge", "\"90d\""),
            inside("store", "address", "\"a.example:9100\""), inside("admin", "socket", "\"/a\""),
            inside("admin", "http", "\"127.0.0.1:9180\""), inside("limits", "devices", "5"),
            inside("limits", "streams", "6"), inside("uplink", "inFlight", "4"),
            inside("uplink", "bytesPerSecond", "\"64KB\""),
            inside("uplink", "bytesPerDay", "\"20MB\""),
            inside("uplink.backlog", "bytesPerSecond", "\"32KB\""),
            inside("uplink.backlog", "windows", "[\"22:00-06:00\"]"),
            inside("uplink", "firstBackoff", "\"2s\""),
            inside("uplink", "longestBackoff", "\"30s\""),
        ] + sources

    private static let store: [Row] = [
        Row("listen", "{ % }", "listen: \"127.0.0.1:9101\""),
        Row("exposed", "{ % }", "exposed: true"),
        Row("data", "{ % }", "data: \"/d\""), Row("gateways", "{ % }", "gateways: 5"),
        Row("retention", "{ % }", "retention: \"30d\""),
        inside("readings", "maximumAge", "\"30d\""), inside("readings", "maximumAhead", "\"1h\""),
        inside("admin", "socket", "\"/a\""), inside("admin", "http", "\"127.0.0.1:9180\""),
    ]

    @Test("every key of the table changes what is decided, and nothing else is read")
    func everyKeyArrives() throws {
        let keys = Configuration.entries.filter { !$0.isGroup }.map(\.path)
        #expect(Self.gateway.map(\.path).sorted() == keys.sorted())
        for row in Self.gateway {
            func parse(_ setting: String) throws -> Configuration {
                let text = row.base.replacing("%", with: setting)
                return try Configuration.parse(Array(text.utf8), file: row.path)
            }
            // Without a request, a timeout of requests is still a setting.
            let without =
                row.path.hasPrefix("sources.poll.requests.") && row.otherwise.isEmpty
                    && !row.path.hasSuffix(".request")
                ? "poll: { requests: [ { request: \"r\" } ] }"
                : row.path.hasSuffix("registration.required")
                    ? "registration: { ascii: \"a\" }" : row.otherwise
            #expect(try parse(row.setting) != parse(without), "\(row.path)")
        }
        let storeKeys = StoreConfiguration.entries.filter { !$0.isGroup }.map(\.path)
        #expect(Self.store.map(\.path).sorted() == storeKeys.sorted())
        for row in Self.store {
            let text = row.base.replacing("%", with: row.setting)
            #expect(
                try StoreConfiguration.parse(Array(text.utf8), file: row.path) != .default,
                "\(row.path)")
        }
    }

    @Test("the backlog's windows are those of the file")
    func windows() throws {
        func uplink(_ windows: String) throws -> Configuration.Uplink {
            let text = "{ uplink: { backlog: { windows: [\(windows)] } } }"
            return try Configuration.parse(Array(text.utf8), file: "c").uplink
        }
        let night = "\"22:00-06:00\""
        let both = try uplink("\(night), \"12:00-13:30\"")
        #expect(try both != uplink(night) && both != uplink("") && uplink("") != uplink(night))
    }

    @Test("every key says what it is for, what it may be and what it is when it is left out")
    func entries() {
        for entry in Configuration.entries + StoreConfiguration.entries {
            #expect(entry.about.hasSuffix(".") && entry.about.count > 10, "\(entry.path)")
            #expect(!entry.values.isEmpty, "\(entry.path)")
            #expect(!entry.isRequired || entry.standard.isEmpty, "\(entry.path)")
        }
    }

    @Test("several files are one: groups by key, sources in order, everything else once")
    func parts() throws {
        func file(_ path: String, _ text: String) -> ConfigurationFile {
            ConfigurationFile(path: path, bytes: Array(text.utf8))
        }
        let first = file(
            "a",
            "{ gateway: \"g\", batch: { interval: \"1s\" }, sources: [ { name: \"x\", tty: \"/x\" } ] }"
        )
        let second = file(
            "b",
            "{ batch: { readings: 1000 }, sources: [ { name: \"y\", tty: \"/y\" } ], "
                + "uplink: { inFlight: 2 } }"
        )
        let whole = try Configuration.parse([first, second, file("c", "{}")])
        #expect(
            whole.gateway == "g" && whole.batch.interval == 1000 && whole.batch.readings == 1000)
        #expect(whole.sources.map(\.name) == ["x", "y"] && whole.uplink.inFlight == 2)
        let twice = #expect(throws: Complaints.self) {
            _ = try Configuration.parse([first, file("c", "{\n  gateway: \"h\", batch: 3 }")])
        }
        #expect(
            twice?.all.map(\.description) == [
                "c:2:3: \"gateway\" is set already at a:1:3: keep one of the two"
            ])
        let kind = #expect(throws: Complaints.self) {
            _ = try Configuration.parse([first, file("c", "{ batch: 3 }")])
        }
        #expect(
            kind?.all.first?.description == "c:1:10: \"batch\" is a number: write an object: { … }")
    }

    /// Every setting that stands in a comment, taken out of it.
    private func uncommented(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            let indent = line.prefix { $0 == " " }
            let rest = line.dropFirst(indent.count)
            let isSetting = rest.hasPrefix("//") && rest.dropFirst(2).first != " "
            return indent + (isSetting ? rest.dropFirst(2) : rest)
        }.joined(separator: "\n")
    }

    @Test(
        "the default file says every key, changes nothing, and is valid with every comment taken away"
    )
    func defaultFile() throws {
        let text = Configuration.defaultText()
        #expect(try Configuration.parse(Array(text.utf8), file: "c") == .default)
        let full = try Configuration.parse(Array(uncommented(text).utf8), file: "c")
        #expect(full.sources.count == 8 && full.store.address != nil)
        for entry in Configuration.entries {
            let name = entry.path.split(separator: ".").last ?? ""
            #expect(uncommented(text).contains("\(name): "), "\(entry.path)")
        }
        let store = StoreConfiguration.defaultText()
        #expect(try StoreConfiguration.parse(Array(store.utf8), file: "c") == .default)
        let fullStore = try StoreConfiguration.parse(Array(uncommented(store).utf8), file: "c")
        #expect(fullStore.retention != nil && fullStore.admin.http != nil)
        for line in (text + store).split(separator: "\n") {
            #expect(line.utf8.count <= 100, "\(line)")
        }
    }

    @Test(
        "the default file under systemd/ is what the program prints",
        arguments: ["sluiced", "sluice-store"])
    func committed(program: String) throws {
        let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let path = "/\(folder)/systemd/\(program).json5"
        let text =
            program == "sluiced" ? Configuration.defaultText() : StoreConfiguration.defaultText()
        let isSame = FileBytes.read(path, limit: 1 << 20) == Array(text.utf8)
        #expect(isSame, "\(program) --defaults > systemd/\(program).json5")
    }
}
