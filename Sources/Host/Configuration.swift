// What the operator decides, as plain values. Read once at start and at reload
// (ConfigurationReader), never on the data path. Durations are milliseconds, sizes bytes.

package import Catalog
package import Exchanges
package import Formats
package import Model
package import Store

/// Where the parts of a list stand.
package struct Marks: Hashable, Sendable {
    var all: [Mark] = []

    package init() {}

    package static func == (_: Marks, _: Marks) -> Bool { true }
    package func hash(into _: inout Hasher) {}
}

/// An endpoint to listen on, `udp://127.0.0.1:9001`.
package struct ListenAddress: Hashable, Sendable {
    package enum Transport: String, Sendable { case udp, tcp }

    package var transport: Transport
    package var endpoint: Endpoint

    package init(transport: Transport, endpoint: Endpoint) {
        self.transport = transport
        self.endpoint = endpoint
    }

    package var description: String { "\(transport.rawValue)://\(endpoint.description)" }
}

/// A host, by name or number, and a port.
package struct HostPort: Hashable, Sendable {
    package var host: String
    package var port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// `store.example:9100`, `192.0.2.7:9100` or `[2001:db8::1]:9100`.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[colon...].dropFirst())
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil
        }
        let isName = host.utf8.allSatisfy { byte in
            DeviceKey.isAllowed(byte) || byte == 0x25
        }
        guard !host.isEmpty, host.utf8.count <= 253, isName else { return nil }
        self.init(host: String(host), port: port)
    }

    package var description: String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// The address, when `host` is a number or `localhost`.
    package var endpoint: Endpoint? { Endpoint(host: host, port: port) }
}

package struct Configuration: Hashable, Sendable {
    package struct Source: Hashable, Sendable {
        package var name: String
        /// Of no meaning where `lines.place` says what we open ourselves.
        package var listen: ListenAddress
        /// Names of formats in the order in which they are tried; empty: all there are.
        package var formats: [String] = []
        package var formatMarks = Marks()
        package var mark = Mark()
        /// The conversation that its datagrams belong to; nil: each is a frame.
        package var exchange: ExchangeKind?
        package var paths: [Route] = []
        package var topics: [Route] = []
        package var observe: [String] = []
        package var devices = DevicePolicy.accept
        /// Identity of the device whose frames name none; empty: such frames are refused.
        package var unnamed = ""
        /// The operator has said that others than this machine may reach it.
        package var isExposed = false
        package var receiveBuffer = 4 << 20
        /// Longest absence from the sockets while traffic flows.
        package var moderation: Int64 = 5
        package var idleTimeout: Int64 = 3_600_000
        package var firstFrameTimeout: Int64 = 10_000
        package var connections = 12_000
        package var connectionsPerAddress = 12_000
        package var timestamps = Timestamps()
        package var lines = Lines()

        package init(name: String, listen: ListenAddress) {
            self.name = name
            self.listen = listen
        }
    }

    /// A path or topic filter and the name of its format.
    package struct Route: Hashable, Sendable {
        package var name: String
        package var format: String
        package var mark = Mark()
    }

    /// The window in which a device's own time is believed.
    package struct Timestamps: Hashable, Sendable {
        package enum Action: String, Sendable, CaseIterable { case flag, drop }
        package var maximumAge: Int64 = 30 * 86_400_000
        package var maximumAhead: Int64 = 300_000
        package var action = Action.flag
        package init() {}
    }

    package struct Batch: Hashable, Sendable {
        package var interval: Int64 = 10_000
        package var readings = 50_000
        /// Width of a bucket of event time.
        package var bucket: Int64 = 60_000
        package init() {}
    }

    package struct Spool: Hashable, Sendable {
        package var directory = ""
        package var maximumBytes = 1 << 30
        package var duplicateWindow: Int64 = 600_000
        /// nil: batches wait for as long as there is room.
        package var maximumAge: Int64?
        package init() {}
    }

    package struct Store: Hashable, Sendable {
        /// nil: batches stay in the spool.
        package var address: HostPort?
        package init() {}
    }

    package struct Admin: Hashable, Sendable {
        /// Path of the Unix socket; empty: none.
        package var socket = ""
        /// Loopback address for the same over TCP; nil: none.
        package var http: Endpoint?
        package init() {}
    }

    package struct Limits: Hashable, Sendable {
        package var devices = 100_000
        package var streams = 1_000_000
        package init() {}
    }

    /// Name of this gateway, `[A-Za-z0-9._-]{1,64}`.
    package var gateway = "gateway"
    /// Directory of the format files; empty: `protocols` where the programs look for it.
    package var formats = ""
    /// File with the keys of meters that encipher; empty: none.
    package var keys = ""
    package var sources: [Source] = []
    package var batch = Batch()
    package var spool = Spool()
    package var store = Store()
    package var uplink = Uplink()
    package var admin = Admin()
    package var limits = Limits()
    /// Where `formats` and `sources` stand.
    package var formatsMark = Mark()
    package var sourcesMark = Mark()
    /// What the files say, for comparing.
    package var settings = Settings()

    package init() {}

    /// What runs without a file: loopback only.
    package static var `default`: Configuration {
        guard let standard = try? parse(Array("{}".utf8), file: "default") else {
            preconditionFailure("the key table's defaults do not pass their own checks")
        }
        return standard
    }

    /// Reads and checks a file and those in `conf.d` beside it. Throws all complaints at once, in order
    /// of their place.
    package static func load(_ path: String) throws(Complaints) -> Configuration {
        try parse(ConfigurationFile.read(path))
    }

    package static func parse(_ text: [UInt8], file: String) throws(Complaints) -> Configuration {
        try parse([ConfigurationFile(path: file, bytes: text)])
    }

    /// At least one file; what they say is put together.
    package static func parse(_ files: [ConfigurationFile]) throws(Complaints) -> Configuration {
        var reader = ConfigurationReader(files: files.map(\.path), keys: Configuration.keys)
        let values = reader.read(files.map(\.bytes))
        var configuration = values.map { Configuration($0, &reader) } ?? Configuration()
        try reader.finish()
        if let values { configuration.settings = Settings(values, reader) }
        return configuration
    }
}

/// Settings of `sluice-store`.
package struct StoreConfiguration: Hashable, Sendable {
    package var listen: Endpoint = .ipv4(0x7F00_0001, port: 9100)
    package var isExposed = false
    package var data = ""
    package var gateways = 1024
    /// Readings older than this go (ms); nil: they stay.
    package var retention: Int64?
    package var readings = ReadingRules()
    package var admin = Configuration.Admin()

    package init() {}

    package static var `default`: StoreConfiguration {
        guard let standard = try? parse(Array("{}".utf8), file: "default") else {
            preconditionFailure("the key table's defaults do not pass their own checks")
        }
        return standard
    }

    package static func load(_ path: String) throws(Complaints) -> StoreConfiguration {
        try parse(ConfigurationFile(reading: path).bytes, file: path)
    }

    package static func parse(
        _ text: [UInt8], file: String
    ) throws(Complaints)
        -> StoreConfiguration
    {
        var reader = ConfigurationReader(files: [file], keys: StoreConfiguration.keys)
        let values = reader.read([text])
        let configuration = values.map { StoreConfiguration($0, &reader) } ?? StoreConfiguration()
        try reader.finish()
        return configuration
    }
}
