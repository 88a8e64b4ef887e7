// `sluice devices` and `sluice device ID`: who the running gateway knows, since when, heard when, and what
// a device said last. The catalog is the gateway's, the readings are the store's. On the main thread.

import Formats
import Host
import Model
import Uplink

enum DevicesVerb {
    private static let flags: [Flag] = [
        .value("store", "DIR|HOST:PORT", "where the last readings are", default: "the gateway's"),
        .toggle("json", "print JSON"),
        .value("admin", "SOCKET", "the daemon's admin socket", default: "/run/sluice/admin.sock"),
    ]

    static let list = Verb(
        "devices", "lists the devices that the gateway knows, or shows one",
        details: [
            "The longest silent come first. With an ID it shows that device, as `sluice device`. "
                + "--late judges each by its own period, which the gateway learns from its reports: "
                + "silent for three of them and a minute."
        ],
        operands: "[ID]", operandCount: 0...1,
        flags: [
            .value("silent", "DURATION", "only those not heard for longer"),
            .toggle("late", "only those silent beyond their own period"),
            .value("format", "NAME", "only devices of this format"),
        ] + flags,
        examples: [Example("who has not reported for two days", "sluice devices --silent 2d")]
    ) { invocation, console throws(UsageError) in
        if let identity = invocation.operands.first {
            return show(identity, invocation, console)
        }
        return try list(invocation, console)
    }

    static let one = Verb(
        "device", "shows one device: streams, last readings, when it was heard",
        details: [
            "With --watch it then shows what the device sends: its endpoint and when that changes, and "
                + "what becomes of each frame. A refused frame names no device: those count that come "
                + "from an endpoint at which this one was heard."
        ],
        operands: "ID", operandCount: 1...1,
        flags: [
            .value("watch", "DURATION", "then watch what it sends, until Ctrl-C at the latest")
        ] + flags,
        examples: [
            Example("a meter", "sluice device 202600000311"),
            Example(
                "does it reach us, from where, and is it understood",
                "sluice device 202600000311 --watch 10m"),
        ]
    ) { invocation, console throws(UsageError) in
        let watched = invocation.has("watch") ? try invocation.duration("watch", default: 0) : nil
        return show(invocation.operands[0], invocation, console, watching: watched)
    }

    /// Every device of the gateway, nil when it cannot be asked. Bounded to a hundred pages.
    static func all(_ socket: String) -> [StatusModel.SeenDevice]? {
        var devices: [StatusModel.SeenDevice] = []
        var after = 0
        for _ in 0..<100 {
            guard
                let answer = try? adminGet(
                    socket: socket, route: "/devices?after=\(after)&limit=1000", timeout: 5000),
                answer.status == 200,
                let root = try? JSONNode.parse(Array(answer.body.utf8), file: "devices")
            else { return nil }
            devices += (root["devices"]?.array ?? []).map { StatusModel.SeenDevice($0) }
            guard let next = root["after"]?.integer else { break }
            after = next
        }
        return devices
    }

    private static func list(
        _ invocation: Invocation, _ console: Console
    ) throws(UsageError) -> RunStatus {
        let socket = AdminVerbs.socket(invocation)
        let silent = try invocation.duration("silent", default: -1)
        // Says what is wrong when nobody answers.
        guard AdminVerbs.ask("/ledger", socket, console) != nil, let all = all(socket) else {
            return .foundWrong
        }
        let now = SendingClock.wallMilliseconds
        let format = invocation.text("format")
        let onlyLate = invocation.has("late")
        let rows = all.map { device in
            (
                device,
                now
                    - (device.lastSeenAt ?? device.firstSeenAt ?? Timestamp(milliseconds: now))
                    .milliseconds
            )
        }.filter { device, age in
            age > silent && (format == nil || device.format == format)
                && (!onlyLate || age > device.patience(.max))
        }
        .sorted { $0.1 > $1.1 }
        if invocation.has("json") {
            console.line(
                JSON.array(
                    rows.map { device, age in
                        .object([
                            ("device", .string(device.name)), ("format", .string(device.format)),
                            ("streams", .integer(Int64(device.streams))),
                            ("firstSeenAt", time(device.firstSeenAt)),
                            ("lastSeenAt", time(device.lastSeenAt)),
                            ("silentSeconds", .integer(max(0, age) / 1000)),
                            (
                                "periodSeconds",
                                device.periodMilliseconds.map { .integer($0 / 1000) } ?? .null
                            ),
                        ])
                    }
                ).text(pretty: true))
            return .done
        }
        guard !rows.isEmpty else {
            console.line(console.language(all.isEmpty ? .noDevices : .noSuchDevices))
            return .done
        }
        let language = console.language
        // A narrow terminal has no room for both times.
        let hasFirst = !console.isTerminal || console.width >= 110
        var table = Table(
            [
                (language(.headDevice), .left), (language(.headFormat), .left),
                (language(.headStreams), .right),
            ] + (hasFirst ? [(language(.headFirstSeen), .left)] : [])
                + [(language(.headLastSeen), .left), (language(.headSilent), .right)])
        for (device, age) in rows {
            table.add(
                [device.name, device.format, Words.grouped(device.streams)]
                    + (hasFirst ? [StatusScreen.time(device.firstSeenAt)] : [])
                    + [StatusScreen.time(device.lastSeenAt), language.span(age * 1_000_000)])
        }
        table.write(to: console)
        return .done
    }

    private static func time(_ time: Timestamp?) -> JSON {
        time.map { .string($0.iso8601) } ?? .null
    }

    // MARK: One device

    private static func show(
        _ identity: String, _ invocation: Invocation, _ console: Console,
        watching milliseconds: Int64? = nil
    ) -> RunStatus {
        let socket = AdminVerbs.socket(invocation)
        let answer: (status: Int, body: String)
        do throws(HostError) {
            answer = try adminGet(
                socket: socket, route: "/devices?id=\(AdminQuery.encoded(identity))")
        } catch {
            console.fail(error.description)
            return .foundWrong
        }
        guard answer.status == 200,
            let root = try? JSONNode.parse(Array(answer.body.utf8), file: "device"),
            let found = root["devices"]?.array, !found.isEmpty
        else {
            let near = Nearest.of(identity, among: (all(socket) ?? []).map(\.name))
            console.complain(
                near.map { console.language(.unknownDevice, identity, $0) }
                    ?? console.language(.unknownDeviceList, identity))
            return .foundWrong
        }
        let readings = last(identity, found, invocation, socket, console)
        if invocation.has("json") {
            var members: [(String, JSON)] = [
                ("device", .string(identity)),
                ("catalog", .array(found.map(JSON.init(node:)))),
                ("lastReadings", readings.map { .array($0.map(ReadingPrinter.json)) } ?? .null),
            ]
            if let milliseconds {
                guard
                    let seen = watch(identity, milliseconds, socket, console, shows: false)
                else { return .foundWrong }
                members.append(("watched", seen.json))
            }
            console.line(JSON.object(members).text(pretty: true))
        } else {
            for node in found { print(node, console) }
            guard let readings else { return .foundWrong }
            console.line()
            if readings.isEmpty {
                console.line(console.language(.noReadingsYet))
            } else {
                var printer = ReadingPrinter(style: .table, console: console)
                for reading in readings { printer.add(reading) }
                printer.finish()
            }
            if let milliseconds {
                console.line()
                guard let seen = watch(identity, milliseconds, socket, console, shows: true) else {
                    return .foundWrong
                }
                console.line(seen.summary(console.language))
            }
        }
        return readings == nil ? .foundWrong : .done
    }

    private static func print(_ node: JSONNode, _ console: Console) {
        let device = StatusModel.SeenDevice(node)
        let now = SendingClock.wallMilliseconds
        let language = console.language
        console.line(console.bold("\(device.name), \(device.format)"))
        var table = Table([("", .left), ("", .left)])
        table.add([language(.headFirstSeen), device.firstSeenAt.map { LocalTime.text($0) } ?? "–"])
        table.add([
            language(.headLastSeen),
            device.lastSeenAt.map {
                let gone = language.span((now - $0.milliseconds) * 1_000_000)
                return language(.ago, LocalTime.text($0), gone)
            } ?? language(.notSinceStart),
        ])
        table.add([
            language(.headPeriod),
            device.periodMilliseconds.map { language(.everySpan, language.span($0 * 1_000_000)) }
                ?? language(.unknownPeriod),
        ])
        table.add([language(.headStreams), Words.grouped(device.streams)])
        for line in table.lines().dropFirst() { console.line(line) }
    }

    /// The newest reading of each stream; nil, after complaining, when the store cannot be asked.
    private static func last(
        _ identity: String, _ found: [JSONNode], _ invocation: Invocation, _ socket: String,
        _ console: Console
    ) -> [StoredReading]? {
        var place = invocation.text("store") ?? ""
        if place.isEmpty {
            let status = try? adminGet(socket: socket, route: "/status")
            let root = status.flatMap {
                try? JSONNode.parse(Array($0.body.utf8), file: "status")
            }
            place = root?["uplink"]?["store"]?.string ?? ""
        }
        guard !place.isEmpty else {
            console.complain(console.language(.noStore))
            return nil
        }
        let seen = found.compactMap { StatusModel.SeenDevice($0) }.compactMap {
            $0.lastSeenAt ?? $0.firstSeenAt
        }.map(\.milliseconds).max()
        // A week of a device's readings; what a silent device said is as old as it is silent.
        let from = (seen ?? SendingClock.wallMilliseconds) - 7 * 86_400_000
        var newest: [String: StoredReading] = [:]
        do throws(QuestionError) {
            try StoreQuestion.ask(
                place,
                QueryFilter(
                    gateway: nil, device: identity, stream: nil,
                    from: Timestamp(milliseconds: from), to: nil, limit: 1_000_000)
            ) { reading in
                if newest[reading.stream].map({ $0.observedAt <= reading.observedAt }) ?? true {
                    newest[reading.stream] = reading
                }
            }
        } catch {
            console.fail("\(error.what): \(error.why): \(error.remedy)")
            return nil
        }
        return newest.values.sorted { $0.stream < $1.stream }
    }
}

extension JSON {
    /// A parsed value, to be printed again.
    init(node: JSONNode) {
        switch node.content {
        case .null: self = .null
        case .boolean(let value): self = .boolean(value)
        case .number(let text): self = .literal(text)
        case .string(let text): self = .string(text)
        case .array(let elements): self = .array(elements.map(JSON.init(node:)))
        case .object(let members):
            self = .object(members.map { ($0.key, JSON(node: $0.value)) })
        }
    }
}
