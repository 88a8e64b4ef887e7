// The one table of configuration keys: what may stand in the file, what it means, what it may be
// and what it is when it is left out. The reader checks against it and the commented default file
// and the manual are printed from it.

import Catalog
import Exchanges
import Formats
import Model

/// What a value may be.
enum KeyKind {
    /// `[A-Za-z0-9._-]{1,64}`
    case name
    case path
    case duration(ClosedRange<Int64>)
    case size(ClosedRange<Int>)
    case count(ClosedRange<Int>)
    case flag
    case word([String])
    /// `udp://…` or `tcp://…`
    case listen
    /// A numeric address and port.
    case endpoint
    /// A host and port.
    case hostPort
    case names
    /// Text in quotes, any characters, at most 256 bytes each.
    case texts
    /// `{ "text": "name" }`, in the order of the file.
    case routes
    /// `tcp://HOST:PORT`
    case connect
    case text
    /// An object that its owner reads.
    case node
    case group
    case groups
}

struct Key {
    /// Names from the top, joined by dots: `batch.interval`.
    let path: String
    let kind: KeyKind
    /// JSON5 text of the value that holds when the key is left out; empty: there is none.
    let standard: String
    let about: String
    var isRequired = false
    /// JSON5 text that the default file shows where nothing holds without the key.
    private(set) var sample = ""

    func shown(_ sample: String) -> Key {
        var key = self
        key.sample = sample
        return key
    }

    init(_ path: String, _ kind: KeyKind, _ standard: String, _ about: String) {
        self.path = path
        self.kind = kind
        self.standard = standard
        self.about = about
    }

    static func required(_ path: String, _ kind: KeyKind, _ about: String) -> Key {
        var key = Key(path, kind, "", about)
        key.isRequired = true
        return key
    }

    /// Whether its text ends with a port.
    var hasPort: Bool {
        switch kind {
        case .listen, .endpoint, .hostPort, .connect: true
        default: false
        }
    }

    var parent: String { path.split(separator: ".").dropLast().joined(separator: ".") }
    var name: String { path.split(separator: ".").last.map(String.init) ?? path }
}

private let second: Int64 = 1000
private let day: Int64 = 86_400_000

extension Configuration {
    static let keys: [Key] = ownKeys + uplinkKeys + lineKeys

    private static let ownKeys: [Key] = [
        Key("gateway", .name, "\"gateway\"", "Name of this gateway, as the store will know it."),
        Key(
            "formats", .path, "\"\"",
            "Directory of format files; empty: `protocols`, where the programs look for it."),
        Key(
            "keys", .path, "\"\"",
            "File with the keys of meters that encipher, readable by its owner only (mode 0600); "
                + "\"credential:NAME\" is what the unit's LoadCredential=NAME hands over."),
        Key(
            "sources", .groups,
            """
            [
                { name: "udp", listen: "udp://127.0.0.1:9001" },
                { name: "tcp", listen: "tcp://127.0.0.1:9001" },
              ]
            """,
            "Endpoints that are listened on."),
        .required("sources.name", .name, "Name of the source, unique."),
        Key(
            "sources.listen", .listen, "",
            "udp://ADDRESS:PORT or tcp://ADDRESS:PORT; IPv6 addresses stand in brackets. A source "
                + "has this, or \"connect\", or \"tty\"."),
        Key(
            "sources.exposed", .flag, "false",
            "Must be true for an address that others than this machine can reach."),
        Key(
            "sources.formats", .names, "[]",
            "Formats to try, in this order; empty: all there are."),
        Key(
            "sources.exchange", .word(ExchangeKind.allCases.map(\.rawValue)), "",
            "UDP: the conversation that devices lead: coap, lwm2m, mqtt-sn or semtech. When it is "
                + "left out, each datagram is a frame."),
        Key(
            "sources.paths", .routes, "{}",
            "coap, lwm2m: resources that take frames, and the format of each: { \"/t/r\": \"…\" }; "
                + "empty: every path, by Content-Format."),
        Key(
            "sources.observe", .texts, "[]",
            "lwm2m: paths to observe of every client that has them: [\"/3303/0/5700\"]."),
        Key(
            "sources.topics", .routes, "{}",
            "mqtt-sn: topic filters and the format of each; of other topics the source's formats "
                + "in order."),
        Key(
            "sources.devices", .word(DevicePolicy.allCases.map(\.rawValue)), "",
            "Frames of unknown devices: accept, quarantine or reject. When it is left out: accept "
                + "on loopback, quarantine on an exposed source."),
        Key(
            "sources.unnamed", .name, "",
            "What the device is called whose frames name none (CayenneLPP alone, some text layouts). "
                + "When it is left out: as the source, if that lists formats; in a conversation, and "
                + "where formats are not listed, such frames are refused."),
        Key(
            "sources.receiveBuffer", .size(4096...(1 << 30)), "\"4MB\"",
            "Kernel buffer of a UDP source; net.core.rmem_max may cap it."),
        Key(
            "sources.moderation", .duration(0...5), "\"5ms\"",
            "Longest absence from the sockets under traffic; \"0\" saves latency, costs CPU. A small "
                + "receive buffer shortens it."),
        Key(
            "sources.idleTimeout", .duration(100...7 * day), "\"1h\"",
            "A TCP connection without a complete frame for this long is closed."),
        Key(
            "sources.firstFrameTimeout", .duration(100...10 * 60 * second), "\"10s\"",
            "A TCP connection must bring its first complete frame within this time."),
        Key(
            "sources.connections", .count(1...65_536), "12000",
            "TCP connections at the same time."),
        Key(
            "sources.connectionsPerAddress", .count(1...65_536), "",
            "TCP connections from one address; when it is left out, as many as in all on loopback, "
                + "64 on an exposed source."),
        Key("sources.timestamps", .group, "{}", "When a device's own time is believed."),
        Key(
            "sources.timestamps.maximumAge", .duration(60 * second...3660 * day), "\"30d\"",
            "Readings older than this are doubtful."),
        Key(
            "sources.timestamps.maximumAhead", .duration(0...366 * day), "\"5m\"",
            "Readings further in the future than this are doubtful."),
        Key(
            "sources.timestamps.action", .word(Timestamps.Action.allCases.map(\.rawValue)),
            "\"flag\"", "flag: keep with the arrival time and a mark; drop: count and drop."),
        Key("batch", .group, "{}", "When readings become batches."),
        Key(
            "batch.interval", .duration(100...3600 * second), "\"10s\"",
            "Time between two cuts."),
        Key(
            "batch.readings", .count(100...1_000_000), "50000",
            "A cut comes early at this many readings."),
        Key(
            "batch.bucket", .duration(second...day), "\"60s\"",
            "Width of a bucket of event time."),
        Key("spool", .group, "{}", "Batches on disk until the store has them."),
        Key(
            "spool.directory", .path, "\"\"",
            "Its directory; empty: $STATE_DIRECTORY of the service, else /var/lib/sluice."),
        Key(
            "spool.maximumBytes", .size((8 << 20)...(1 << 44)), "\"1GB\"",
            "When it is full, the lowest priority goes first, oldest first, and is counted."),
        Key(
            "spool.duplicateWindow", .duration(0...7 * day), "\"10m\"",
            "The same frame again within this time is a retransmission."),
        Key(
            "spool.maxAge", .duration(3600 * second...36_500 * day), "",
            "Batches whose readings are all older are evicted as too old; when it is left out, they "
                + "wait while there is room."
        ).shown("\"90d\""),
        Key("store", .group, "{}", "The district store."),
        Key(
            "store.address", .hostPort, "",
            "HOST:PORT; when it is left out, batches stay in the spool."
        ).shown("\"store.example:9100\""),
        Key("admin", .group, "{}", "Health, status, ledger and metrics."),
        Key(
            "admin.socket", .path, "\"\"",
            "Unix socket; empty: in $RUNTIME_DIRECTORY of the service, else /run/sluice."),
        Key(
            "admin.http", .endpoint, "",
            "Loopback ADDRESS:PORT for the same over HTTP; when it is left out, none."
        ).shown("\"127.0.0.1:9180\""),
        Key("limits", .group, "{}", "Bounds of memory."),
        Key("limits.devices", .count(1...10_000_000), "100000", "Devices in the catalog."),
        Key("limits.streams", .count(1...100_000_000), "1000000", "Streams in the catalog."),
    ]

    /// The commented default file.
    package static func defaultText() -> String { DefaultFile("sluiced", keys).text }
}

extension StoreConfiguration {
    static let keys: [Key] = [
        Key("listen", .endpoint, "\"127.0.0.1:9100\"", "ADDRESS:PORT for gateways."),
        Key(
            "exposed", .flag, "false",
            "Must be true for an address that others than this machine can reach."),
        Key(
            "data", .path, "\"\"",
            "Directory of the database; empty: $STATE_DIRECTORY of the service, else "
                + "/var/lib/sluice-store."),
        Key("gateways", .count(1...65_536), "1024", "Gateways connected at the same time."),
        Key(
            "retention", .duration(3600 * second...36_500 * day), "",
            "Readings observed longer ago than this go; when it is left out, they stay."
        ).shown("\"3650d\""),
        Key("readings", .group, "{}", "Which readings are taken, by their time."),
        Key(
            "readings.maximumAge", .duration(60 * second...36_500 * day), "",
            "Readings observed longer ago than this are refused; when it is left out, none."
        ).shown("\"3650d\""),
        Key(
            "readings.maximumAhead", .duration(0...36_500 * day), "",
            "Readings observed further in the future are refused; when it is left out, none."
        ).shown("\"1h\""),
        Key("admin", .group, "{}", "Health, status and metrics."),
        Key(
            "admin.socket", .path, "\"\"",
            "Unix socket; empty: in $RUNTIME_DIRECTORY of the service, else /run/sluice-store."),
        Key(
            "admin.http", .endpoint, "",
            "Loopback ADDRESS:PORT for the same over HTTP; when it is left out, none."
        ).shown("\"127.0.0.1:9181\""),
    ]

    /// The commented default file.
    package static func defaultText() -> String { DefaultFile("sluice-store", keys).text }
}
