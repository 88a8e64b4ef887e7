// What a source says about its lines: where we open one ourselves, how a DTU names itself, what is
// polled. Plain values; `lineSettings` turns them into what the intake needs, once the formats are known.

import CLinux
package import Exchanges
package import Formats
import Model
package import Pipeline

extension Configuration {
    /// A serial line of this machine.
    package struct TTY: Hashable, Sendable {
        package enum Parity: String, Sendable, CaseIterable { case none, even, odd }

        package var path: String
        package var baud = 9600
        package var parity = Parity.none
        package var dataBits = 8
        package var stopBits = 1
        package var rs485 = false

        package init(path: String) { self.path = path }

        /// Bits on the wire for a byte: start, data, parity, stop.
        var bitsPerByte: Int { 1 + dataBits + (parity == .none ? 0 : 1) + stopBits }
    }

    /// A line that we open.
    package enum LinePlace: Hashable, Sendable {
        case connect(HostPort)
        case tty(TTY)

        package var description: String {
            switch self {
            case .connect(let address): "tcp://\(address.description)"
            case .tty(let tty): tty.path
            }
        }
    }

    /// One entry of `poll.requests`, with a list of values where several devices are asked the same.
    package struct PolledRequest: Hashable, Sendable {
        package var request = ""
        package var format = ""
        package var interval: Int64 = 60_000
        package var parameters: [Parameter] = []
        package var lines: [String] = []
        package var mark = Mark()

        package struct Parameter: Hashable, Sendable {
            package var name: String
            package var values: [ParameterValue]
        }

        package init() {}
    }

    package struct Lines: Hashable, Sendable {
        package var place: LinePlace?
        package var poll = PollSettings()
        package var requests: [PolledRequest] = []
        package var patterns = LinePatterns()
        package var needsRegistration = false
        package var hearsRequests = false

        package init() {}
    }
}

extension Configuration.TTY {
    func open() throws(HostError) -> Descriptor {
        var raw = sluice_tty()
        raw.baud = UInt32(baud)
        raw.data_bits = UInt32(dataBits)
        raw.stop_bits = UInt32(stopBits)
        raw.rs485 = rs485 ? 1 : 0
        switch parity {
        case .none: raw.parity = UInt32(SLUICE_PARITY_NONE)
        case .odd: raw.parity = UInt32(SLUICE_PARITY_ODD)
        case .even: raw.parity = UInt32(SLUICE_PARITY_EVEN)
        }
        // Safety: Swift lends a NUL-terminated copy of `path`; `raw` outlives the call.
        return try Descriptor(unsafe sluice_tty_open(path, &raw), "open \(path)")
    }
}

extension Configuration.Source {
    /// The most requests that a source's lists may multiply to.
    private static let maximumRequests = 4096

    /// Where it listens or what it opens.
    package var place: String { lines.place?.description ?? listen.description }

    /// Checks the source's poll plan against its formats and makes what the intake needs.
    package func lineSettings(
        _ formats: [Format]
    ) -> (settings: LineSettings, faults: [Complaint]) {
        var settings = LineSettings()
        settings.patterns = lines.patterns
        settings.needsRegistration = lines.needsRegistration
        settings.hearsRequests = lines.hearsRequests
        settings.plan.settings = lines.poll
        if case .tty(let tty) = lines.place {
            settings.plan.settings.setSpeed(baud: tty.baud, bitsPerByte: tty.bitsPerByte)
        }
        var faults: [Complaint] = []
        for wanted in lines.requests {
            do throws(RequestFault) {
                settings.plan.requests += try expand(wanted, formats)
            } catch {
                faults.append(
                    wanted.mark.complaint(
                        "poll of source \(name): \(error.what)",
                        error.suggestion.isEmpty ? "see the format's requests" : error.suggestion))
            }
        }
        if settings.plan.requests.count > Configuration.Source.maximumRequests {
            faults.append(
                mark.complaint(
                    "poll of source \(name): more than \(Configuration.Source.maximumRequests) "
                        + "requests", "use several sources"))
        }
        return (settings, faults)
    }

    private func expand(
        _ wanted: Configuration.PolledRequest, _ formats: [Format]
    ) throws(RequestFault) -> [PollRequest] {
        let number = try format(of: wanted, formats)
        guard let request = formats[number].request(named: wanted.request) else {
            let names = formats[number].requests.map(\.name)
            throw RequestFault(
                parameter: "",
                what: "format \(formats[number].name) has no request \"\(wanted.request)\"",
                suggestion: names.isEmpty
                    ? "it describes none" : "there are: \(names.joined(separator: ", "))")
        }
        var rows: [[(name: String, value: ParameterValue)]] = [[]]
        for parameter in wanted.parameters {
            guard rows.count * parameter.values.count <= Configuration.Source.maximumRequests
            else {
                throw RequestFault(
                    parameter: parameter.name, what: "its lists multiply to too many requests",
                    suggestion: "use several sources")
            }
            rows = rows.flatMap { row in
                parameter.values.map { row + [(parameter.name, $0)] }
            }
        }
        var all: [PollRequest] = []
        for row in rows {
            all.append(
                PollRequest(
                    format: number, request: request, arguments: try request.arguments(row),
                    intervalMilliseconds: wanted.interval, lines: wanted.lines))
        }
        return all
    }

    /// The format by name, or the first of the source that has such a request.
    private func format(
        of wanted: Configuration.PolledRequest, _ formats: [Format]
    ) throws(RequestFault) -> Int {
        if wanted.format.isEmpty {
            if let found = formats.firstIndex(where: { $0.request(named: wanted.request) != nil }) {
                return found
            }
            let names = formats.flatMap { $0.requests.map(\.name) }
            throw RequestFault(
                parameter: "", what: "no format of the source has a request \"\(wanted.request)\"",
                suggestion: names.isEmpty
                    ? "name a format that has requests"
                    : "there are: \(names.joined(separator: ", "))")
        }
        if let found = formats.firstIndex(where: { $0.name == wanted.format }) { return found }
        throw RequestFault(
            parameter: "", what: "format \"\(wanted.format)\" is none of the source's",
            suggestion: "there are: \(formats.map(\.name).joined(separator: ", "))")
    }
}

// MARK: From the file

extension Configuration.Lines {
    init(_ group: KeyValues, _ reader: inout ConfigurationReader) {
        self.init()
        place = Configuration.LinePlace(group)
        let poll = "sources.poll."
        self.poll.timeoutMilliseconds = group.number(poll + "timeout") ?? 1000
        self.poll.retries = group.number(poll + "retries").map { Int($0) } ?? self.poll.retries
        self.poll.gapMilliseconds = group.number(poll + "gap") ?? 0
        self.poll.deadAfter = group.number(poll + "deadAfter").map { Int($0) } ?? 3
        self.poll.longestBackoffMilliseconds = group.number(poll + "backoff") ?? 300_000
        requests = group.groups(poll + "requests").map { Configuration.PolledRequest($0, &reader) }
        hearsRequests = group.flag("sources.pairing")
        patterns.registration = LinePattern(group, "sources.registration", &reader)
        needsRegistration =
            patterns.registration != nil && group.flag("sources.registration.required")
        for heartbeat in group.groups("sources.heartbeats") {
            guard let pattern = LinePattern(heartbeat, "sources.heartbeats", &reader) else {
                reader.complain(
                    heartbeat.start, "a heartbeat without bytes",
                    "write { ascii: \"…\" } or { hex: \"…\" }")
                continue
            }
            patterns.heartbeats.append(pattern)
        }
        if hearsRequests, !requests.isEmpty {
            reader.complain(
                group.place("sources.pairing"), "a line is either polled or listened to",
                "remove \"pairing\" or the requests of \"poll\"")
        }
    }
}

extension Configuration.LinePlace {
    init?(_ group: KeyValues) {
        if case .hostPort(let address) = group["sources.connect"] {
            self = .connect(address)
            return
        }
        let path = group.text("sources.tty")
        guard !path.isEmpty else { return nil }
        var tty = Configuration.TTY(path: path)
        tty.baud = group.number("sources.baud").map { Int($0) } ?? tty.baud
        tty.parity = .init(rawValue: group.text("sources.parity")) ?? .none
        tty.dataBits = group.number("sources.dataBits").map { Int($0) } ?? 8
        tty.stopBits = group.number("sources.stopBits").map { Int($0) } ?? 1
        tty.rs485 = group.flag("sources.rs485")
        self = .tty(tty)
    }
}

extension Configuration.PolledRequest {
    fileprivate init(_ group: KeyValues, _ reader: inout ConfigurationReader) {
        self.init()
        let path = "sources.poll.requests."
        mark = group.start
        request = group.text(path + "request")
        format = group.text(path + "format")
        interval = group.number(path + "interval") ?? interval
        lines = group.texts(path + "lines").map(\.text)
        guard case .node(let node) = group[path + "parameters"] else { return }
        for member in node.members ?? [] {
            var values: [ParameterValue] = []
            for one in member.value.array ?? [member.value] {
                if let n = one.integer {
                    values.append(.number(Int64(n)))
                } else if let text = one.string {
                    values.append(.text(text))
                } else {
                    reader.complain(
                        reader.mark(one),
                        "\"\(member.key)\" cannot be \(one.kindName)",
                        "write a number, digits in quotes, or a list of these")
                }
            }
            parameters.append(Parameter(name: member.key, values: values))
        }
    }
}

extension LinePattern {
    /// Nil when the group describes none.
    fileprivate init?(
        _ group: KeyValues, _ path: String, _ reader: inout ConfigurationReader
    ) {
        self.init()
        func complain(_ key: String, _ what: String, _ suggestion: String) {
            reader.complain(group.place("\(path).\(key)"), what, suggestion)
        }
        func hex(_ key: String) -> [UInt8] {
            let text = group.text("\(path).\(key)")
            if let bytes = HexText.bytes(text) { return bytes }
            complain(key, "\"\(key)\" is no hex text", "write pairs of hex digits: \"68 65\"")
            return []
        }
        prefix = hex("hex") + Array(group.text("\(path).ascii").utf8)
        end = hex("end")
        length = group.number("\(path).length").map { Int($0) } ?? 0
        bytes = .init(rawValue: group.text("\(path).characters")) ?? .any
        if prefix.isEmpty, end.isEmpty, length == 0 { return nil }
        if length > 0, length < prefix.count + end.count {
            complain("length", "shorter than its own start and end", "count all bytes")
        }
        if prefix.count + end.count > LinePattern.longest {
            complain("hex", "a pattern of more than \(LinePattern.longest) bytes", "shorten it")
        }
    }
}
