// `sluice replay`: feeds a capture to a gateway with its own timing. The verb reads flags and
// prints;
// `ReplayRun` does the work.

import Formats
import Host
package import Model

enum ReplayVerb {
    static let verb = Verb(
        "replay", "feeds a capture to a gateway",
        details: [
            "Sends what devices sent in a capture to the gateway at --to, each original endpoint "
                + "from a socket of its own, each TCP connection as a connection of its own, in "
                + "the capture's timing. Answers are counted and timed.",
            "A capture is a pcap or pcapng file, a .slcap file of `sluice capture`, or text: a "
                + "frame a line in hex, before it a time, a direction (RX and TX as the gateway "
                + "sees them) and an ADDRESS:PORT of the device where they are known.",
            "With --to udp:// the capture's datagrams are sent, with --to tcp:// its streams.",
            "With --diff nothing is sent: the capture is decoded with two versions of the formats "
                + "(folders, or single files), and every reading that they read differently is "
                + "listed.",
            "With --devices N every device becomes N devices, whose frames carry identities of "
                + "their own and check values that hold.",
            "A damaged capture is replayed as far as it can be read; the exit status is then 1.",
        ],
        operands: "CAPTURE", operandCount: 1...1,
        flags: [
            .value("to", "URL", "the gateway: udp://HOST:PORT or tcp://HOST:PORT"),
            .values(
                "diff", ["OLD", "NEW"],
                "list what two versions of the formats read differently; send nothing"),
            .value("speed", "N|max", "times the original speed", default: "1"),
            .value("loop", "N", "play it N times", default: "1"),
            .value("port", "N", "only conversations with this server port"),
            .value(
                "from", "client|server|both",
                "whose bytes to send: of the side that opened, of the other, or of both in their "
                    + "order, as a source with \"pairing\" hears them",
                default: "client"),
            .value("devices", "N", "play each device as N devices", default: "1"),
            .value(
                "format", "NAME", "with --diff: only these formats; else the one that fits best",
                repeatable: true),
            .value(
                "formats", "DIR", "for --devices: the format files", default: "protocols nearby"),
            .value("keys", "FILE", "for --diff and --devices: keys of meters that encipher"),
            .value("wait", "DURATION", "how long to wait for the last answers", default: "2s"),
            .toggle("answers", "list each answer with the time that it took"),
            .toggle("json", "print the summary as JSON, each answer in it"),
        ],
        examples: [
            Example(
                "meters of a captured night, ten times as fast",
                "sluice replay night.pcapng --to udp://127.0.0.1:9645 --speed 10"),
            Example(
                "what a new decoder would change",
                "sluice replay night.pcapng --diff protocols new/water.json5"),
        ]
    ) { invocation, console throws(UsageError) in
        let path = invocation.operands[0]
        if invocation.has("diff") { return try diff(invocation, path, console) }
        let target = try Target(invocation.required("to"))
        let copies = try invocation.integer("devices", in: 1...100_000, default: 1)
        let port = try invocation.integer("port", in: 1...65_535, default: 0)
        let from = invocation.text("from") ?? "client"
        guard let sides = ReplayPlan.Sides(rawValue: from) else {
            throw UsageError(
                "--from \(from)", "is neither client nor server nor both", "write one of them")
        }
        var plan = ReplayPlan(target: target)
        plan.speed = try invocation.speed("speed", default: 1)
        plan.loops = try invocation.integer("loop", in: 1...1_000_000_000, default: 1)
        plan.sides = sides
        plan.serverPort = port == 0 ? nil : UInt16(port)
        plan.waitMilliseconds = try invocation.duration("wait", default: 2000)
        guard
            var capture = read(
                path, plan.serverPort, linesAreStream: target.isStream, console)
        else { return .foundWrong }
        if copies > 1 {
            let count = capture.deliveries.count
            guard count * copies <= CaptureScaling.maximumDeliveries else {
                throw UsageError(
                    "--devices \(copies)", "\(Words.grouped(count * copies)) frames are too many",
                    "write at most \(CaptureScaling.maximumDeliveries / max(1, count))")
            }
            let folder = try Places.formats(invocation.text("formats"))
            guard let library = Places.library(folder, console: console),
                let keys = Places.keys(invocation.text("keys"), console: console)
            else { return .foundWrong }
            var scaling = CaptureScaling(library, keys: keys, copies: copies)
            capture = scaling.scaled(capture)
            console.complain(
                console.language(
                    .replayIdentities,
                    console.language.count(scaling.framesRewritten, .nounFrame),
                    Words.grouped(scaling.framesKept)))
        }
        // Ctrl-C ends the sending, and what was sent is said.
        Interrupts.block()
        return run(
            capture, plan, console, asJSON: invocation.has("json"),
            announces: invocation.text("speed") == nil,
            lists: invocation.has("answers"))
    }

    private static func read(
        _ path: String, _ serverPort: UInt16?, linesAreStream: Bool, _ console: Console
    ) -> Capture? {
        do throws(FileError) {
            let capture = Capture(
                try Files.read(path), file: path, serverPort: serverPort,
                linesAreStream: linesAreStream)
            guard capture.damage?.isForeign != true else {
                console.complain(console.language(.noCapture, path))
                return nil
            }
            return capture
        } catch {
            let why = console.language.error(error.why)
            console.complain(console.language(.cannotRead, error.path, why))
            return nil
        }
    }

    private static func diff(
        _ invocation: Invocation, _ path: String, _ console: Console
    ) throws(UsageError) -> RunStatus {
        guard invocation.text("to") == nil else {
            throw UsageError("--diff --to", "exclude one another", "keep one of them")
        }
        let port = try invocation.integer("port", in: 1...65_535, default: 0)
        guard let sides = ReplayPlan.Sides(rawValue: invocation.text("from") ?? "client") else {
            throw UsageError("--from", "is neither client nor server nor both", "write one of them")
        }
        let versions = invocation.texts("diff")
        guard let old = try Places.version(versions[0], console),
            let new = try Places.version(versions[1], console),
            let keys = Places.keys(invocation.text("keys"), console: console),
            let capture = read(
                path, port == 0 ? nil : UInt16(port), linesAreStream: false, console)
        else { return .foundWrong }
        let names = invocation.texts("format")
        for name in names where old.format(named: name) == nil && new.format(named: name) == nil {
            throw UsageError(
                "--format \(name)", "no such format in \(versions.joined(separator: " and "))",
                Nearest.of(name, among: (old.formats + new.formats).map(\.name))
                    .map { "did you mean \($0)?" } ?? "see `sluice formats`")
        }
        let comparison = FormatComparison(
            capture, old: old, new: new, keys: keys, only: names, sides: sides,
            serverPort: port == 0 ? nil : UInt16(port))
        if let damage = capture.damage {
            let damage = console.language.error(damage.description)
            console.complain(console.language(.restNotCompared, damage))
        }
        if invocation.has("json") {
            console.line(comparison.json(capture).text(pretty: true))
        } else {
            comparison.write(to: console)
        }
        notes(capture, console)
        return capture.damage == nil ? .done : .foundWrong
    }

    private static func run(
        _ capture: Capture, _ plan: ReplayPlan, _ console: Console, asJSON: Bool,
        announces: Bool, lists: Bool
    ) -> RunStatus {
        let summary: ReplaySummary
        do throws(SendingError) {
            var run = try ReplayRun(capture, plan)
            run.language = console.language
            if announces, let words = run.announcement { console.complain(words) }
            summary = try run.play { console.progress($0) }
        } catch {
            let language = console.language
            console.complain(
                language(
                    .isListening, plan.target.description, language.error(error.what),
                    language.error(Files.words(error.code))))
            return .foundWrong
        }
        console.clearProgress()
        if let damage = capture.damage {
            let damage = console.language.error(damage.description)
            console.complain(console.language(.restNotReplayed, damage))
        }
        if asJSON {
            console.line(summary.json(capture).text())
        } else {
            print(summary, console)
            if lists { list(summary, console) }
        }
        notes(capture, console)
        let isAttempted = summary.framesSent + summary.framesUnsent + summary.refused > 0
        if !isAttempted, capture.damage == nil {
            let other = plan.target.isStream ? "udp" : "tcp"
            console.complain(console.language(.nothingSent, other))
        }
        if isAttempted, summary.framesSent == 0 || summary.refused * 2 >= summary.framesSent {
            console.complain(console.language(.nobodyListens, plan.target.description))
        }
        if summary.isInterrupted { console.complain(console.language(.interrupted)) }
        let isWhole =
            !summary.isInterrupted && summary.framesSent > 0 && summary.framesUnsent == 0
            && summary.refused == 0
        return isWhole && capture.damage == nil ? .done : .foundWrong
    }

    private static func print(_ summary: ReplaySummary, _ console: Console) {
        let language = console.language
        let what: Phrase = summary.isStream ? .nounPiece : .nounDatagram
        let senders: Phrase = summary.isStream ? .nounConnection : .nounEndpoint
        console.line(
            language(
                .replaySent, language.count(summary.framesSent, what),
                language.count(summary.bytesSent, .nounByte),
                language.count(summary.senders, senders), Words.fixed(summary.wallSeconds, 2)))
        console.line(
            language(
                .replayAnswers, language.count(summary.latencies.count, .nounAnswer),
                summary.latencies.words(language)))
        if summary.framesUnsent > 0 {
            let count = language.count(summary.framesUnsent, what)
            console.line(
                console.red(language(.replayUnsent, count)) + language(.replayUnsentWhy))
        }
        if summary.refused > 0 {
            let count = language.count(summary.refused, what)
            console.line(
                console.red(language(.replayRefused, count)) + language(.replayRefusedWhy))
        }
    }

    /// An answer belongs to what was sent last on its socket.
    private static func list(_ summary: ReplaySummary, _ console: Console) {
        let language = console.language
        var table = Table([
            (language(.headFrame), .right), (language(.headEndpoint), .left),
            (language(.headMilliseconds), .right), (language(.headBytes), .left),
        ])
        for answer in summary.answers {
            let shown = FieldNode.hex(Array(answer.bytes.prefix(24)))
            table.add([
                "\(answer.number)", answer.client.description,
                Words.fixed(Double(answer.nanoseconds) / 1e6, 2),
                answer.bytes.count > 24 ? shown + "…" : shown,
            ])
        }
        if !summary.answers.isEmpty { table.write(to: console) }
    }

    private static func notes(_ capture: Capture, _ console: Console) {
        let c = capture.counters
        let notes: [(Int, Phrase)] = [
            (c.foreign, .noteForeign), (c.malformed, .noteMalformed), (c.cut, .noteCut),
            (c.fragmentsLost, .noteFragments), (c.segmentsRepeated, .noteRepeated),
            (c.segmentsOutOfOrder, .noteDisordered), (c.linesPassedOver, .noteLines),
            (c.bytesMissing, .noteMissing),
        ]
        for (count, phrase) in notes where count > 0 {
            console.complain(
                console.language(.captureNote, Words.grouped(count), console.language(phrase)))
        }
    }
}

/// Where replay and load send: `udp://127.0.0.1:9001`.
package struct Target: Hashable, Sendable {
    package var isStream: Bool
    package var endpoint: Endpoint

    package init(isStream: Bool, endpoint: Endpoint) {
        self.isStream = isStream
        self.endpoint = endpoint
    }

    package init(_ text: String) throws(UsageError) {
        let wrong = UsageError(
            "--to \(text)", "is no target", "write udp://HOST:PORT or tcp://HOST:PORT")
        guard text.hasPrefix("udp://") || text.hasPrefix("tcp://") else { throw wrong }
        isStream = text.hasPrefix("tcp://")
        let rest = text.dropFirst(6)
        guard let colon = rest.lastIndex(of: ":"),
            let port = UInt16(rest[rest.index(after: colon)...]), port > 0
        else { throw wrong }
        var host = String(rest[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty else { throw wrong }
        do throws(SendingError) {
            endpoint = try Endpoint.resolve(host: host, port: port)
        } catch {
            throw UsageError("--to \(text)", "the host \(host) is not known", "check its name")
        }
    }

    package var description: String {
        (isStream ? "tcp://" : "udp://") + endpoint.description
    }
}
