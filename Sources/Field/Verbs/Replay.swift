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
            .toggle("json", "print the summary as JSON"),
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
                "\(Words.count(scaling.framesRewritten, "frame")) with other identities, "
                    + "\(Words.grouped(scaling.framesKept)) as they were")
        }
        // Ctrl-C ends the sending, and what was sent is said.
        Interrupts.block()
        return run(
            capture, plan, console, asJSON: invocation.has("json"),
            announces: invocation.text("speed") == nil)
    }

    private static func read(
        _ path: String, _ serverPort: UInt16?, linesAreStream: Bool, _ console: Console
    ) -> Capture? {
        do throws(FileError) {
            return Capture(
                try Files.read(path), file: path, serverPort: serverPort,
                linesAreStream: linesAreStream)
        } catch {
            console.complain(
                "sluice: \(error.path): cannot be read: \(error.why): name a capture file")
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
            console.complain("sluice: \(damage.description): the rest cannot be compared")
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
        announces: Bool
    ) -> RunStatus {
        let summary: ReplaySummary
        do throws(SendingError) {
            var run = try ReplayRun(capture, plan)
            if announces, let words = run.announcement { console.complain(words) }
            summary = try run.play { console.progress($0) }
        } catch {
            console.complain(
                "sluice: \(plan.target.description): \(error.what): \(Files.words(error.code)): "
                    + "is the gateway listening there?")
            return .foundWrong
        }
        console.clearProgress()
        if let damage = capture.damage {
            console.complain("sluice: \(damage.description): the rest cannot be replayed")
        }
        if asJSON { console.line(summary.json(capture).text()) } else { print(summary, console) }
        notes(capture, console)
        let isAttempted = summary.framesSent + summary.framesUnsent + summary.refused > 0
        if !isAttempted, capture.damage == nil {
            let other = plan.target.isStream ? "udp" : "tcp"
            console.complain(
                "sluice: nothing was sent: the capture holds no such bytes: try --to \(other)://…, "
                    + "--port or --from server")
        }
        if isAttempted, summary.framesSent == 0 || summary.refused * 2 >= summary.framesSent {
            console.complain(
                "sluice: \(plan.target.description): nobody listens there: start the gateway or "
                    + "name another --to")
        }
        if summary.isInterrupted { console.complain("sluice: interrupted: the rest was not sent") }
        let isWhole =
            !summary.isInterrupted && summary.framesSent > 0 && summary.framesUnsent == 0
            && summary.refused == 0
        return isWhole && capture.damage == nil ? .done : .foundWrong
    }

    private static func print(_ summary: ReplaySummary, _ console: Console) {
        let what = summary.isStream ? "stream piece" : "datagram"
        let senders = summary.isStream ? "connection" : "endpoint"
        console.line(
            "sent \(Words.count(summary.framesSent, what)) "
                + "(\(Words.count(summary.bytesSent, "byte"))) from "
                + "\(Words.count(summary.senders, senders)) in "
                + "\(Words.fixed(summary.wallSeconds, 2)) s")
        console.line(
            "received \(Words.count(summary.latencies.count, "answer")), "
                + summary.latencies.words)
        if summary.framesUnsent > 0 {
            console.line(
                console.red("not sent: \(Words.count(summary.framesUnsent, what))")
                    + " (connection refused or closed by the gateway)")
        }
        if summary.refused > 0 {
            console.line(
                console.red("refused: \(Words.count(summary.refused, what))")
                    + " (nobody listens at that port)")
        }
    }

    private static func notes(_ capture: Capture, _ console: Console) {
        let c = capture.counters
        let notes: [(Int, String)] = [
            (c.foreign, "frames that are neither UDP nor TCP over IP"),
            (c.malformed, "malformed frames"), (c.cut, "frames cut by the capture's snap length"),
            (c.fragmentsLost, "datagrams with missing fragments"),
            (c.segmentsRepeated, "repeated TCP segments, used once"),
            (c.segmentsOutOfOrder, "TCP segments out of order, put in order"),
            (c.linesPassedOver, "lines that hold no frame"),
            (c.bytesMissing, "bytes of streams that the capture does not hold"),
        ]
        for (count, words) in notes where count > 0 {
            console.complain("capture: \(Words.grouped(count)) \(words)")
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
