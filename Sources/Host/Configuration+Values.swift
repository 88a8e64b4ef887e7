// From checked single values to the configuration, and the checks of how values relate.

import Catalog
import Formats
import Glibc
import Model
import Store

extension Configuration {
    init(_ values: KeyValues, _ reader: inout ConfigurationReader) {
        self.init()
        gateway = values.text("gateway")
        formats = values.text("formats")
        formatsMark = values.place("formats")
        sourcesMark = values.place("sources")
        keys = credential(values.text("keys"), at: values.place("keys"), &reader)
        for group in values.groups("sources") {
            guard let source = Source(group, &reader) else { continue }
            check(source, at: group, &reader)
            sources.append(source)
        }
        if sources.count > Configuration.maximumSources {
            reader.complain(
                values.place("sources"), "more than \(Configuration.maximumSources) sources",
                "let several devices share a source")
        }
        batch.interval = values.number("batch.interval") ?? batch.interval
        batch.readings = values.number("batch.readings").map { Int($0) } ?? batch.readings
        batch.bucket = values.number("batch.bucket") ?? batch.bucket
        spool.directory = directory(
            values.text("spool.directory"), "STATE_DIRECTORY", "/var/lib/sluice")
        spool.maximumBytes =
            values.number("spool.maximumBytes").map { Int($0) } ?? spool.maximumBytes
        spool.duplicateWindow = values.number("spool.duplicateWindow") ?? spool.duplicateWindow
        spool.maximumAge = values.number("spool.maxAge")
        if case .hostPort(let address) = values["store.address"] { store.address = address }
        uplink = Uplink(values, &reader)
        admin = Admin(values, &reader, of: "sluice")
        if let http = admin.http, http.port != 0,
            let source = sources.first(where: {
                $0.lines.place == nil && $0.listen.transport == .tcp
                    && $0.listen.endpoint.isTakenWhere(http)
            })
        {
            reader.complain(
                values.place("admin.http"),
                "source \"\(source.name)\" listens on \(source.listen.description) already",
                "choose another port")
        }
        limits.devices = values.number("limits.devices").map { Int($0) } ?? limits.devices
        limits.streams = values.number("limits.streams").map { Int($0) } ?? limits.streams
    }

    /// Sources share the low bits of connection numbers.
    static let maximumSources = 1024

    private func check(
        _ source: Source, at group: KeyValues, _ reader: inout ConfigurationReader
    ) {
        if let other = sources.first(where: { $0.name == source.name }) {
            let isElsewhere = other.mark.file != source.mark.file
            reader.complain(
                group.place("sources.name"),
                "two sources are named \"\(source.name)\""
                    + (isElsewhere ? ", the other at \(other.mark.text)" : ""),
                "give each its own name")
        }
        if let other = sources.first(where: { $0.listens(whereDoes: source) }) {
            reader.complain(
                group.place("sources.listen"),
                "source \"\(other.name)\" listens on \(other.listen.description) already",
                "choose another port")
        }
        checkExposure(
            of: source.listen.endpoint, named: source.listen.description,
            isExposed: source.isExposed, at: group.place("sources.listen"), &reader)
    }
}

/// The file behind `credential:NAME`: what systemd handed over (LoadCredential=), else, for a check by
/// hand, what it would hand over. Any other text is a path already.
private func credential(
    _ text: String, at place: Mark, _ reader: inout ConfigurationReader
) -> String {
    let scheme = "credential:"
    guard text.hasPrefix(scheme) else { return text }
    let name = String(text.dropFirst(scheme.count))
    guard !name.isEmpty, !name.contains("/"), name != ".." else {
        reader.complain(
            place, "\"\(text)\" names no credential", "write \"credential:sluice.keys\"")
        return ""
    }
    // Safety: read at start, before threads that might change the environment; copied at once.
    let handed = unsafe getenv("CREDENTIALS_DIRECTORY").map { unsafe String(cString: $0) }
    let path = "\(handed ?? "/etc/credstore")/\(name)"
    // Safety: Swift lends a NUL-terminated copy of the path.
    if unsafe access(path, F_OK) != 0 {
        reader.complain(
            place, "there is no credential \(name)",
            "put the file at /etc/credstore/\(name), mode 0600, and restart: the unit hands over"
                + " what its LoadCredential= names")
    }
    return path
}

/// Complains about an address that others can reach when nobody said that they may.
private func checkExposure(
    of endpoint: Endpoint, named name: String, isExposed: Bool, at place: Mark,
    _ reader: inout ConfigurationReader
) {
    guard !endpoint.isLoopback, !isExposed else { return }
    reader.complain(
        place, "\(name) can be reached from other machines",
        "listen on 127.0.0.1, or write exposed: true beside it if that is meant")
}

extension Configuration.Source {
    /// Exactly one of listen, connect and tty.
    private static func listen(
        _ group: KeyValues, _ line: Configuration.LinePlace?, _ reader: inout ConfigurationReader
    ) -> ListenAddress? {
        let keys = ["listen", "connect", "tty"].filter {
            group.places["sources.\($0)"] != nil
        }
        if keys.isEmpty {
            reader.complain(
                group.start, "no \"listen\" here",
                "say where the source listens, or what it opens: connect or tty")
        }
        if keys.count > 1 {
            reader.complain(
                group.place("sources.\(keys[1])"),
                "a source has one of listen, connect and tty, not several", "make two sources")
            return nil
        }
        if line != nil {
            return ListenAddress(transport: .tcp, endpoint: .ipv4(0x7F00_0001, port: 0))
        }
        guard case .listen(let listen) = group["sources.listen"] else { return nil }
        return listen
    }

    fileprivate init?(_ group: KeyValues, _ reader: inout ConfigurationReader) {
        let lines = Configuration.Lines(group, &reader)
        guard let listen = Configuration.Source.listen(group, lines.place, &reader) else {
            return nil
        }
        self.init(name: group.text("sources.name"), listen: listen)
        self.lines = lines
        isExposed = group.flag("sources.exposed")
        unnamed = group.text("sources.unnamed")
        let listed = group.texts("sources.formats")
        formats = listed.map(\.text)
        formatMarks.all = listed.map(\.place)
        mark = group.start
        readExchange(group, &reader)
        devices =
            DevicePolicy(rawValue: group.text("sources.devices"))
            ?? (listen.endpoint.isLoopback ? .accept : .quarantine)
        receiveBuffer =
            group.number("sources.receiveBuffer").map { Int($0) } ?? receiveBuffer
        moderation = group.number("sources.moderation") ?? moderation
        idleTimeout = group.number("sources.idleTimeout") ?? idleTimeout
        firstFrameTimeout = group.number("sources.firstFrameTimeout") ?? firstFrameTimeout
        connections = group.number("sources.connections").map { Int($0) } ?? connections
        connectionsPerAddress =
            group.number("sources.connectionsPerAddress").map { Int($0) }
            ?? (listen.endpoint.isLoopback ? connections : min(64, connections))
        let ttyKeys = ["baud", "parity", "dataBits", "stopBits", "rs485"]
        if group.places["sources.tty"] == nil,
            let key = ttyKeys.first(where: { group.places["sources.\($0)"] != nil })
        {
            reader.complain(
                group.place("sources.\(key)"), "\"\(key)\" is for a serial line of this machine",
                "write tty: \"/dev/…\" instead of listen or connect, or leave it out")
        }
        if connectionsPerAddress > connections {
            reader.complain(
                group.place("sources.connectionsPerAddress"),
                "more connections from one address than in all (\(connections))",
                "raise \"connections\" or lower this")
        }
        let age = group.number("sources.timestamps.maximumAge")
        timestamps.maximumAge = age ?? timestamps.maximumAge
        let ahead = group.number("sources.timestamps.maximumAhead")
        timestamps.maximumAhead = ahead ?? timestamps.maximumAhead
        let action = group.text("sources.timestamps.action")
        timestamps.action = .init(rawValue: action) ?? timestamps.action
    }
}

extension Configuration.Source {
    /// Whether the kernel would refuse the second of the two.
    fileprivate func listens(whereDoes other: Configuration.Source) -> Bool {
        guard lines.place == nil, other.lines.place == nil,
            listen.transport == other.listen.transport
        else { return false }
        return listen.endpoint.isTakenWhere(other.listen.endpoint)
    }

    /// Who lists a format whose frames name no device means one device, and that is the source; without a
    /// list anything that looks like a frame would pass for its reading. In a conversation the device can
    /// be told.
    var deviceOfUnnamedFrames: String {
        unnamed.isEmpty && exchange == nil && !formats.isEmpty ? name : unnamed
    }
}

extension Configuration.Admin {
    init(_ values: KeyValues, _ reader: inout ConfigurationReader, of program: String) {
        self.init()
        socket = values.text("admin.socket")
        if socket.isEmpty {
            socket = directory("", "RUNTIME_DIRECTORY", "/run/\(program)") + "/admin.sock"
        }
        guard case .endpoint(let endpoint) = values["admin.http"] else { return }
        http = endpoint
        if !endpoint.isLoopback {
            reader.complain(
                values.place("admin.http"),
                "\(endpoint.description) can be reached from other machines",
                "listen on 127.0.0.1 and put a proxy with a login before it: there is none here")
        }
    }
}

extension StoreConfiguration {
    init(_ values: KeyValues, _ reader: inout ConfigurationReader) {
        self.init()
        if case .endpoint(let endpoint) = values["listen"] { listen = endpoint }
        isExposed = values.flag("exposed")
        checkExposure(
            of: listen, named: listen.description, isExposed: isExposed,
            at: values.place("listen"), &reader)
        data = directory(values.text("data"), "STATE_DIRECTORY", "/var/lib/sluice-store")
        gateways = values.number("gateways").map { Int($0) } ?? gateways
        retention = values.number("retention")
        readings.maximumAge = values.number("readings.maximumAge")
        readings.maximumAhead = values.number("readings.maximumAhead")
        admin = Configuration.Admin(values, &reader, of: "sluice-store")
    }
}

/// `chosen`, or the directory that systemd made for the service, or the usual place.
private func directory(_ chosen: String, _ variable: String, _ usual: String) -> String {
    if !chosen.isEmpty { return chosen }
    // Safety: getenv's text is copied at once; nothing in these programs calls setenv.
    if let text = unsafe getenv(variable), unsafe text[0] != 0 {
        let list = unsafe String(cString: text)
        return list.split(separator: ":").first.map(String.init) ?? list
    }
    return usual
}

extension Endpoint {
    /// Whether one socket cannot have this address when another has `other`; port 0 is any free one.
    fileprivate func isTakenWhere(_ other: Endpoint) -> Bool {
        port != 0 && port == other.port
            && (self == other
                || isIPv4 == other.isIPv4 && (isAnyAddress || other.isAnyAddress))
    }

    /// 0.0.0.0 or [::]: every address of this machine.
    fileprivate var isAnyAddress: Bool {
        self == .ipv4(0, port: port) || !isIPv4 && high == 0 && low == 0
    }
}
