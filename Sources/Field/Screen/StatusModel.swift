// The daemon's state as `status` and `top` show it: numbers out of its JSON, rates out of two of them.
// Values only; members that a daemon does not tell are nil or 0.

package import Formats
package import Model

package struct StatusModel: Sendable {
    package struct Source: Sendable {
        package var name = ""
        package var listen = ""
        package var datagrams: UInt64 = 0
        package var bytes: UInt64 = 0
        package var drops: UInt64 = 0
        package var connections = 0
        package var refused: UInt64 = 0
        /// Bytes a second: datagrams for streams are none.
        package var bytesPerSecond = 0.0
        package var datagramsPerSecond = 0.0
    }

    package struct SeenDevice: Sendable {
        package var name: String
        package var format: String
        package var streams: Int
        package var firstSeenAt: Timestamp?
        package var lastSeenAt: Timestamp?
        /// Between two reports, where the gateway knows it.
        package var periodMilliseconds: Int64?

        package init(
            name: String, format: String, streams: Int, firstSeenAt: Timestamp?,
            lastSeenAt: Timestamp?, periodMilliseconds: Int64? = nil
        ) {
            self.name = name
            self.format = format
            self.streams = streams
            self.firstSeenAt = firstSeenAt
            self.lastSeenAt = lastSeenAt
            self.periodMilliseconds = periodMilliseconds
        }

        /// How long it may be silent: three periods and a minute, so that two lost reports are no alarm;
        /// `usual` while its period is not known.
        package func patience(_ usual: Int64) -> Int64 {
            periodMilliseconds.map { $0 * 3 + 60_000 } ?? usual
        }
    }

    package var gateway = ""
    package var software = ""
    package var startedAt: Timestamp?
    package var now: Timestamp?
    package var isHealthy = false
    package var reasons: [String] = []
    /// What the last reload found wrong in the files of configuration and formats.
    package var complaints: [String] = []
    package var sources: [Source] = []
    package var rejected: [(reason: String, count: UInt64, perSecond: Double)] = []
    package var devices: [SeenDevice] = []
    private var numbers: [String: UInt64] = [:]
    private var texts: [String: String] = [:]
    /// Milliseconds over which rates are taken, and whether that is since the daemon's start.
    package var spanMilliseconds: Int64 = 0
    package var isSinceStart = true
    private var earlier: [String: UInt64] = [:]

    package init(_ root: JSONNode, since previous: StatusModel? = nil) {
        for line in Flattened.lines(root) {
            if let number = UInt64(line.value) { numbers[line.name] = number }
            texts[line.name] = line.value
        }
        gateway = root["gateway"]?.string ?? ""
        software = root["software"]?.string ?? ""
        startedAt = root["startedAt"]?.string.flatMap { Timestamp(iso8601: $0) }
        now = root["now"]?.string.flatMap { Timestamp(iso8601: $0) }
        isHealthy = root["isHealthy"]?.boolean ?? false
        reasons = (root["reasons"]?.array ?? []).compactMap(\.string)
        complaints = ["configuration", "formats"].flatMap { file in
            (root[file]?["complaints"]?.array ?? []).compactMap(\.string)
        }
        let since = previous?.now ?? startedAt
        isSinceStart = previous == nil
        if let now, let since {
            spanMilliseconds = max(1, now.milliseconds &- since.milliseconds)
        }
        earlier = previous?.numbers ?? [:]
        for (i, node) in (root["sources"]?.array ?? []).enumerated() {
            sources.append(source(node, i))
        }
        for member in root["ledger"]?["rejected"]?.members ?? [] {
            let name = "ledger.rejected.\(member.key)"
            if count(name) > 0 { rejected.append((member.key, count(name), rate(name))) }
        }
        rejected.sort { ($0.perSecond, $0.count) > ($1.perSecond, $1.count) }
    }

    private func source(_ node: JSONNode, _ i: Int) -> Source {
        let path = "sources[\(i)]"
        var source = Source()
        source.name = node["name"]?.string ?? ""
        source.listen = node["listen"]?.string ?? ""
        source.datagrams = count("\(path).datagrams")
        source.bytes = count("\(path).bytesReceived")
        source.drops = count("\(path).kernelDrops")
        source.connections = Int(clamping: count("\(path).connections"))
        source.refused = (node["connectionsRefused"]?.members ?? []).reduce(0) {
            $0 &+ count("\(path).connectionsRefused.\($1.key)")
        }
        source.bytesPerSecond = rate("\(path).bytesReceived")
        source.datagramsPerSecond = rate("\(path).datagrams")
        return source
    }

    package func count(_ name: String) -> UInt64 { numbers[name] ?? 0 }
    package func has(_ name: String) -> Bool { numbers[name] != nil }
    package func text(_ name: String) -> String { texts[name] ?? "" }

    /// A second, over the span; 0 where a restart made the counter smaller.
    package func rate(_ name: String) -> Double {
        let before = earlier[name] ?? 0
        let after = count(name)
        guard after >= before, spanMilliseconds > 0 else { return 0 }
        return Double(after - before) * 1000 / Double(spanMilliseconds)
    }

    /// The sum of the three lanes of `spool.NAME`.
    package func lanes(_ name: String) -> UInt64 {
        ["alarm", "live", "backlog"].reduce(0) { $0 &+ count("spool.\(name).\($1)") }
    }

    /// Devices silent beyond their own period, or for so long where that is not known; longest first.
    package func silent(_ usual: Int64) -> [(device: SeenDevice, milliseconds: Int64)] {
        aged.filter { $0.milliseconds > $0.device.patience(usual) }
    }

    /// All devices and how long they have been silent, longest first.
    package var aged: [(device: SeenDevice, milliseconds: Int64)] {
        guard let now else { return [] }
        return devices.compactMap { device in
            guard let seen = device.lastSeenAt ?? device.firstSeenAt else { return nil }
            return (device, now.milliseconds &- seen.milliseconds)
        }.sorted { $0.1 > $1.1 }
    }

    package var hasPeriods: Bool { devices.contains { $0.periodMilliseconds != nil } }
}

extension StatusModel.SeenDevice {
    package init(_ node: JSONNode) {
        name = node["device"]?.string ?? ""
        format = node["format"]?.string ?? ""
        periodMilliseconds = node["periodSeconds"]?.integer.map { Int64($0) * 1000 }
        streams = node["streams"]?.integer ?? node["streams"]?.array?.count ?? 0
        firstSeenAt = node["firstSeenAt"]?.string.flatMap { Timestamp(iso8601: $0) }
        lastSeenAt = node["lastSeenAt"]?.string.flatMap { Timestamp(iso8601: $0) }
    }
}

extension Timestamp {
    /// `2026-11-21T10:00:00.250Z`, as the daemon writes it.
    package init?(iso8601 text: String) {
        guard text.hasSuffix("Z"), let t = text.firstIndex(of: "T") else { return nil }
        let date = text[..<t].split(separator: "-").map { Int($0) }
        let halves = text[text.index(after: t)...].dropLast().split(separator: ".")
        let clock = (halves.first ?? "").split(separator: ":").map { Int($0) }
        guard date.count == 3, clock.count == 3, let year = date[0], let month = date[1],
            let day = date[2], let hour = clock[0], let minute = clock[1], let second = clock[2],
            let whole = Timestamp(
                year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        else { return nil }
        var milliseconds: Int64 = 0
        if halves.count > 1 {
            guard halves[1].count <= 9, let digits = Int64(halves[1].prefix(3)) else { return nil }
            milliseconds = digits * (halves[1].count == 1 ? 100 : halves[1].count == 2 ? 10 : 1)
        }
        self.init(milliseconds: whole.milliseconds + milliseconds)
    }
}
