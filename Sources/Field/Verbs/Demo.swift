// `sluice demo`: the whole path at work without any configuration: a store and a gateway on
// loopback with
// temporary state, captures of a made-up street replayed into them, and what arrived.

import Formats
import Host
import Model
import Uplink

enum DemoVerb {
    static let verb = Verb(
        "demo", "shows water, electricity and air sensors arriving in a store",
        details: [
            "Starts sluice-store and sluiced on loopback with temporary state, replays the "
                + "captures "
                + "fixtures/captures/demo-*.pcap (flow sensors on water meters, electricity "
                + "meters over "
                + "UDP and behind a TCP concentrator, temperature and humidity sensors), waits "
                + "until the "
                + "store has acknowledged everything, and prints what it holds and the ledger.",
            "The captures are from 21 November 2026: the demo's gateway believes device times up "
                + "to "
                + "ten years old, where others flag them after 30 days.",
            "--keep leaves both programs running until Ctrl-C.",
        ],
        flags: [
            .toggle("keep", "leave both programs running until Ctrl-C"),
            .toggle("json", "print everything as one JSON object"),
            .value("captures", "DIR", "folder of demo-*.pcap", default: "fixtures/captures nearby"),
            .value("formats", "DIR", "folder of the format files", default: "protocols nearby"),
        ]
    ) { invocation, console throws(UsageError) in
        let formats = try Places.formats(invocation.text("formats"))
        guard
            let captures = invocation.text("captures")
                ?? Places.find("fixtures/captures", orInstalled: "/usr/share/sluice/captures")
        else {
            throw UsageError(
                "captures", "no folder fixtures/captures at or above here", "add --captures DIR")
        }
        // Ctrl-C must not leave the two programs behind.
        Interrupts.block()
        let demo = Demo(
            captures: captures, formats: formats, keeps: invocation.has("keep"),
            asJSON: invocation.has("json"), console: console)
        do throws(DistrictError) {
            return try demo.run()
        } catch {
            console.fail("\(error.what): \(error.why): \(error.remedy)")
            return .foundWrong
        }
    }
}

private struct Demo {
    let captures: String
    let formats: String
    let keeps: Bool
    let asJSON: Bool
    let console: Console
    private var language: Language { console.language }

    /// A capture, what it shows, and the index of the source that takes it.
    private static let scenes: [(file: String, what: Phrase, source: Int)] = [
        ("demo-water.pcap", .demoWater, 0),
        ("demo-environment.pcap", .demoEnvironment, 0),
        ("demo-electricity-udp.pcap", .demoElectricityUDP, 1),
        ("demo-electricity-tcp.pcap", .demoElectricityTCP, 2),
    ]

    func run() throws(DistrictError) -> RunStatus {
        var settings = LocalDistrict.Settings(
            sources: [
                DistrictSource(
                    name: "nbiot", isStream: false, formats: ["dragino-sw3l-nb", "dragino-s31-nb"]),
                DistrictSource(name: "meters-udp", isStream: false, formats: ["dlt645"]),
                DistrictSource(name: "meters-tcp", isStream: true, formats: ["dlt645"]),
            ], formats: formats)
        settings.prefix = "sluice-demo"
        settings.batchInterval = "1s"
        settings.maximumAge = "3650d"
        settings.servesHTTP = true
        let district = try LocalDistrict(settings)
        defer { district.close() }
        say(language(.demoStore, "\(district.storeEndpoint)", district.storeFolder))
        say(language(.demoGateway, district.spoolFolder))
        say("")
        if console.isOutputGone { return .done }
        var sent: [JSON] = []
        var bytes = 0
        for scene in Demo.scenes {
            let (words, count) = try play(scene, district.targets[scene.source])
            try district.checkInterrupt()
            // Nobody looks any more: both programs are ended by the defer above.
            if console.isOutputGone { return .done }
            sent.append(words)
            bytes += count
        }
        console.progress(language(.loadWaiting))
        guard let ledger = try district.ledgerWhenDrained(milliseconds: 30_000, .bytes(bytes))
        else {
            throw DistrictError(
                what: "sluiced", why: "does not answer", remedy: district.lastLines("gateway.log"))
        }
        console.clearProgress()
        let rows = try stored(district)
        let isSound =
            ledger.number("unaccounted") == 0 && ledger.number("readingsHeld") == 0
            && !rows.isEmpty && ledger.number("readingsAcknowledged") == UInt64(rows.count)
        report(district, sent, rows, ledger, isSound)
        if keeps { waitForEnd(district) }
        return isSound ? .done : .foundWrong
    }

    private func play(
        _ scene: (file: String, what: Phrase, source: Int), _ target: Target
    ) throws(DistrictError) -> (JSON, bytes: Int) {
        let path = "\(captures)/\(scene.file)"
        let bytes: [UInt8]
        do throws(FileError) {
            bytes = try Files.read(path)
        } catch {
            throw DistrictError(what: path, why: error.why, remedy: "add --captures DIR")
        }
        let capture = Capture(bytes, file: path)
        var plan = ReplayPlan(target: target)
        plan.speed = nil
        plan.waitMilliseconds = 400
        do throws(SendingError) {
            var run = try ReplayRun(capture, plan)
            let summary = try run.play { _ in }
            let what: Phrase = summary.isStream ? .nounPiece : .nounDatagram
            say(
                language(
                    .demoReplayed, scene.file, language.count(summary.framesSent, what),
                    language(scene.what)))
            let words = JSON.object([
                ("capture", .string(scene.file)), ("shows", .string(Language.english(scene.what))),
                ("sent", summary.json(capture)),
            ])
            return (words, summary.bytesSent)
        } catch {
            throw DistrictError(
                what: target.description, why: Files.words(error.code),
                remedy: "see the gateway's log")
        }
    }

    private func stored(_ district: LocalDistrict) throws(DistrictError) -> [StoredReading] {
        var rows: [StoredReading] = []
        do throws(QuestionError) {
            try StoreQuestion.ask(district.storeEndpoint, QueryFilter(limit: 100_000)) {
                rows.append($0)
            }
        } catch {
            throw DistrictError(what: error.what, why: error.why, remedy: error.remedy)
        }
        return rows
    }

    private func report(
        _ district: LocalDistrict, _ sent: [JSON], _ rows: [StoredReading],
        _ ledger: LedgerReport, _ isSound: Bool
    ) {
        let status = district.statusAddress
        if asJSON {
            let root = JSON.object([
                ("replayed", .array(sent)), ("readings", .array(rows.map(ReadingPrinter.json))),
                (
                    "ledger",
                    .object(
                        ledger.lines.map { line in
                            (
                                line.name,
                                UInt64(line.value).map(JSON.unsigned) ?? .string(line.value)
                            )
                        })
                ), ("status", .string(status)), ("isSound", .boolean(isSound)),
            ])
            console.line(root.text(pretty: true))
            return
        }
        say("")
        say(
            console.bold(
                language(.demoInStore, language.count(rows.count, .nounReading))))
        lastOfEach(rows).write(to: console)
        say("")
        say(console.bold(language(.demoLedger)))
        ledger.write(to: console, all: false)
        say("")
        say(language(keeps ? .demoPage : .demoPageGone, status))
    }

    private func lastOfEach(_ rows: [StoredReading]) -> Table {
        var table = Table([
            (language(.headDevice), .left), (language(.headStream), .left),
            (language(.headReadings), .right), (language(.headObserved), .left),
            (language(.headValue), .right), (language(.headUnit), .left),
        ])
        // Rows come in the order of streams, then of time.
        var i = 0
        var lines: [[String]] = []
        while i < rows.count {
            var end = i + 1
            while end < rows.count, rows[end].position.stream == rows[i].position.stream {
                end += 1
            }
            let last = rows[end - 1]
            lines.append([
                last.device, last.stream, String(end - i), LocalTime.text(last.observedAt),
                last.value.description, last.unit,
            ])
            i = end
        }
        for line in lines.sorted(by: { ($0[0], $0[1]) < ($1[0], $1[1]) }) { table.add(line) }
        return table
    }

    private func waitForEnd(_ district: LocalDistrict) {
        if !asJSON {
            say(language(.demoSockets, district.adminSocket, "\(district.storeEndpoint)"))
            for (source, target) in zip(district.settings.sources, district.targets) {
                say(language(.demoSource, source.name, target.description))
            }
            say(language(.demoRunning))
        }
        console.flush()
        if console.isOutputGone { return }
        while !Interrupts.wait(milliseconds: 60_000) { continue }
    }

    private func say(_ text: String) {
        guard !asJSON else { return }
        console.line(text)
        console.flush()
    }
}
