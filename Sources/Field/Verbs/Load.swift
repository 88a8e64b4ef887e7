// `sluice load`: flags and result of a load run; `LoadRun` sends, `LoadJudge` asks gateway and
// store.

import Formats
import Host
import Model

enum LoadVerb {
    static let verb = Verb(
        "load", "loads a gateway with made-up devices and checks what arrived",
        details: [
            "Devices send 64-byte frames of the format sluice-reference over UDP, or TCP where --to or "
                + "--tcp says so, at a steady rate that a slow gateway does not slow down. With "
                + "--answers some frames ask for an answer and are repeated, byte for byte, until "
                + "they get it; latencies count from when a frame was due.",
            "With --local and --rate max the highest rate without loss is searched for, with a part "
                + "of the frames; the rest is sent at that rate. The same search over a bare poll "
                + "and recvmmsg receiver gives the yardstick of the same run.",
            "--shape says how devices report: all in turn; sensors each minute; meters that wake and "
                + "send the day's hourly values at once; alarms in bursts; or all of these. Their "
                + "times lie in the past, a minute or an hour apart. With --awake an answer that "
                + "comes later finds the device asleep, which repeats when it wakes.",
            "--compare holds the results of two runs (files of --json) against one another; the exit "
                + "status is 1 where a figure is worse than its threshold allows.",
            "With --local a store and a gateway are started as separate processes with temporary "
                + "state; at the end the store's content is compared with what was answered and "
                + "the "
                + "ledger must balance. --kill-gateway and --kill-store end them with kill -9 on "
                + "the "
                + "way and start them again.",
        ],
        flags: [
            .toggle("local", "start a gateway and a store of its own"),
            .value("to", "URL", "a gateway's source: udp://HOST:PORT"),
            .value("admin", "SOCKET", "with --to: the gateway's admin socket, for its ledger"),
            .value("frames", "N", "frames to send", default: "100000"),
            .value("rate", "N|max", "frames a second", default: "20000"),
            .value("devices", "N", "devices that send", default: "1000"),
            .value("connections", "N", "sockets that the devices share", default: "1"),
            .value("answers", "P", "share of frames that ask for an answer", default: "0"),
            .value("retry", "DURATION", "wait before the first repetition; doubles", default: "1s"),
            .value("tries", "N", "times a frame is sent at most", default: "60"),
            .value("loss", "P", "share of frames lost on the way", default: "0"),
            .value("duplicate", "P", "share of frames delivered twice", default: "0"),
            .value("reorder", "P", "share of frames overtaken by the next", default: "0"),
            .value("seed", "N", "the same seed gives the same run", default: "1"),
            .value("burst", "N", "frames handed over together", default: "1"),
            .value("kill-gateway", "N", "with --local: kill -9 the gateway N times", default: "0"),
            .value("kill-store", "N", "with --local: kill -9 the store N times", default: "0"),
            .toggle("netns", "with --local: in network namespaces"),
            .value("uplink", "BITS", "with --netns: bits a second to the store", default: "128000"),
            .value("packet-loss", "P", "with --netns: share of packets lost", default: "0.02"),
            .toggle("yardstick", "with --local: then the same to a bare receiver, for the ratio"),
            .value("interval", "DURATION", "with --local: batch interval", default: "10s"),
            .value(
                "format", "NAME",
                "format of the frames: "
                    + LoadFormat.allCases.map(\.rawValue).joined(separator: ", "),
                default: "sluice-reference"),
            .value(
                "shape", LoadShape.allCases.map(\.rawValue).joined(separator: "|"),
                "how devices report", default: "steady"),
            .value("awake", "DURATION", "how long a device listens after it sent (PSM)"),
            .value("formats", "DIR", "folder of the format files", default: "protocols nearby"),
            .value("drain", "DURATION", "how long the store may take at the end", default: "120s"),
            .toggle("tcp", "with --local: over TCP"),
            .value("delay", "P", "share of frames that come late", default: "0"),
            .value("delay-by", "DURATION", "how late they come", default: "5s"),
            .value(
                "rebind", "P", "share of frames before which the device's port becomes another",
                default: "0"),
            .values("compare", ["OLD", "NEW"], "compare two results; send nothing"),
            .value(
                "threshold", "KEY=P", "with --compare: how much worse a figure may be",
                repeatable: true),
            .toggle("keep", "with --local: leave the temporary folder"),
            .toggle("json", "print the result as JSON"),
        ],
        examples: [
            Example(
                "the figure of the release notes",
                "sluice load --local --frames 400000 --rate 20000 --devices 10000 --json"),
            Example(
                "nothing answered is lost",
                "sluice load --local --answers 1 --kill-gateway 2 --kill-store 1"),
        ]
    ) { invocation, console throws(UsageError) in
        if invocation.has("compare") { return try LoadComparison.run(invocation, console) }
        var job = try LoadJob(invocation)
        do throws(DistrictError) {
            return try job.run(console)
        } catch {
            console.fail("\(error.what): \(error.why): \(error.remedy)")
            return .foundWrong
        }
    }
}

/// One run from flags to verdict.
private struct LoadJob {
    private var plan: LoadPlan
    private let isLocal: Bool
    private let kills: (gateway: Int, store: Int)
    private let interval: String
    private let formats: String
    private let admin: String?
    private let drain: Int64
    private let asJSON: Bool
    private let keeps: Bool
    private let hasYardstick: Bool
    private var spaces: NetworkSpaces.Settings?

    init(_ invocation: Invocation) throws(UsageError) {
        isLocal = invocation.has("local")
        let to = invocation.text("to")
        guard isLocal != (to != nil) else {
            throw UsageError(
                "load", isLocal ? "--local and --to exclude one another" : "needs a gateway",
                "write either --local or --to udp://HOST:PORT")
        }
        let nowhere = Target(isStream: false, endpoint: .ipv4(0x7F00_0001, port: 9))
        var target = nowhere
        if let to { target = try Target(to) }
        if invocation.has("tcp") {
            guard isLocal else {
                throw UsageError("--tcp", "goes with --local", "write --to tcp://HOST:PORT")
            }
            target.isStream = true
        }
        plan = LoadPlan(target: target)
        try LoadJob.readTraffic(invocation, &plan, isLocal: isLocal)
        plan.frames = try invocation.integer("frames", in: 1...100_000_000, default: plan.frames)
        plan.rate = try invocation.speed("rate", default: 20_000)
        plan.devices = try invocation.integer("devices", in: 1...1_000_000, default: plan.devices)
        plan.connections = try invocation.integer("connections", in: 1...4096, default: 1)
        plan.answers = try invocation.share("answers")
        plan.retryMilliseconds = max(1, try invocation.duration("retry", default: 1000))
        plan.tries = try invocation.integer("tries", in: 1...1_000_000, default: 60)
        plan.loss = try invocation.share("loss")
        plan.duplicate = try invocation.share("duplicate")
        plan.reorder = try invocation.share("reorder")
        plan.delay = try invocation.share("delay")
        plan.delayMilliseconds = try invocation.duration("delay-by", default: 5000)
        plan.rebind = try invocation.share("rebind")
        if plan.rebind > 0, target.isStream {
            throw UsageError("--rebind", "is of UDP", "leave --rebind or TCP out")
        }
        plan.seed = UInt64(try invocation.integer("seed", in: 0...Int.max, default: 1))
        plan.burst = try invocation.integer("burst", in: 1...128, default: 1)
        kills = (
            try invocation.integer("kill-gateway", in: 0...1000, default: 0),
            try invocation.integer("kill-store", in: 0...1000, default: 0)
        )
        if !isLocal, kills != (0, 0) {
            throw UsageError("--kill-…", "only processes of --local are killed", "add --local")
        }
        interval = invocation.text("interval") ?? "10s"
        _ = try invocation.duration("interval", default: 0)
        formats = isLocal ? try Places.formats(invocation.text("formats")) : ""
        admin = invocation.text("admin")
        drain = try invocation.duration("drain", default: 120_000)
        asJSON = invocation.has("json")
        keeps = invocation.has("keep")
        try LoadJob.check(plan)
        hasYardstick = invocation.has("yardstick")
        for flag in ["netns", "yardstick"] where invocation.has(flag) && !isLocal {
            throw UsageError("--\(flag)", "goes with --local", "add --local")
        }
        if invocation.has("netns") {
            var settings = NetworkSpaces.Settings()
            settings.bitsPerSecond = try invocation.integer(
                "uplink", in: 1000...10_000_000_000, default: settings.bitsPerSecond)
            settings.loss = try invocation.share("packet-loss", default: settings.loss)
            spaces = settings
        }
    }

    /// The gateway's source; identities that hold within one source begin with it.
    private static let source = "load"

    private static func readTraffic(
        _ invocation: Invocation, _ plan: inout LoadPlan, isLocal: Bool
    ) throws(UsageError) {
        let name = invocation.text("format") ?? LoadFormat.reference.rawValue
        guard let format = LoadFormat.named(name) else {
            throw UsageError(
                "--format \(name)", "load makes no frames of it",
                Nearest.of(name, among: LoadFormat.allCases.map(\.rawValue))
                    .map { "did you mean \($0)?" } ?? "replay a capture")
        }
        let shapeName = invocation.text("shape") ?? LoadShape.steady.rawValue
        guard let shape = LoadShape(rawValue: shapeName) else {
            throw UsageError(
                "--shape \(shapeName)", "is no shape",
                "write one of \(LoadShape.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        (plan.format, plan.shape) = (format, shape)
        if invocation.has("awake") {
            plan.awakeMilliseconds = max(1, try invocation.duration("awake", default: 1000))
        }
        if plan.target.isStream, format.isDatagramOnly {
            throw UsageError("--format \(name)", "is of UDP", "leave TCP out")
        }
        let isSearch = isLocal && invocation.text("rate") == "max"
        if isSearch, shape != .steady || format != .reference {
            throw UsageError(
                "--rate max", "is searched with steady sluice-reference", "name a rate")
        }
    }

    /// What a format cannot do.
    private static func check(_ plan: LoadPlan) throws(UsageError) {
        let name = "--format \(plan.format.rawValue)"
        if plan.devices > plan.format.maximumDevices {
            throw UsageError(
                name, "has \(plan.format.maximumDevices) identities", "write fewer --devices")
        }
        if plan.answers > 0, !plan.format.canAnswer {
            throw UsageError("--answers", "\(name) has no answer here", "leave it out")
        }
        if plan.duplicate > 0 || plan.answers > 0, !plan.format.knowsDuplicates {
            throw UsageError("--duplicate", "\(name) tells no frame again", "leave it out")
        }
        if plan.shape == .mixed, plan.devices < 3 {
            throw UsageError("--shape mixed", "needs three devices", "write --devices 3")
        }
        guard plan.format != .reference else { return }
        if plan.frames > ContentAudit.maximumFrames {
            throw UsageError(
                "--frames \(plan.frames)", "are too many to compare",
                "write at most \(ContentAudit.maximumFrames)")
        }
        if plan.format == .senml, plan.frames / plan.connections > 60_000 {
            throw UsageError(
                "--connections \(plan.connections)", "message IDs of a socket would come again",
                "write at least \(plan.frames / 60_000 + 1)")
        }
    }

    mutating func run(_ console: Console) throws(DistrictError) -> RunStatus {
        guard isLocal else {
            plan.startMilliseconds = SendingClock.wallMilliseconds
            // Ctrl-C ends the sending and nothing else.
            Interrupts.block()
            var checkedAt = SendingClock.now
            let summary = try send(console) { sent throws(DistrictError) in
                guard SendingClock.now - checkedAt > 50_000_000 else { return }
                checkedAt = SendingClock.now
                guard Interrupts.wait(milliseconds: 0) else { return }
                throw DistrictError(
                    what: "interrupted", why: "\(Words.count(sent, "frame")) were sent",
                    remedy: "run it again")
            }
            var outcome = LoadOutcome()
            if let admin, let answer = try? adminGet(socket: admin, route: "/ledger") {
                outcome.take(LedgerReport(answer.body), since: nil)
            }
            let status = finish(summary, outcome, console)
            let counts = summary.counts
            guard counts.datagramsRefused > 0,
                counts.datagramsRefused >= counts.datagramsSent / 2
            else { return status }
            let target = plan.target.description
            console.complain(
                console.language(
                    .loadNobody, target,
                    console.language.count(counts.datagramsSent, .nounDatagram),
                    Words.grouped(counts.datagramsRefused)))
            return .foundWrong
        }
        var settings = LocalDistrict.Settings(
            sources: [
                DistrictSource(
                    name: LoadJob.source, isStream: plan.target.isStream,
                    formats: plan.format.sourceFormats, exchange: plan.format.exchange)
            ], formats: formats)
        settings.batchInterval = interval
        settings.prefix = "sluice-load"
        let searches = plan.rate == nil && kills == (0, 0) && !plan.target.isStream
        settings.storeYields = searches
        // Ctrl-C must not leave the two programs behind.
        Interrupts.block()
        let logs: String
        do throws(FileError) {
            logs = try Files.makeTemporaryFolder("sluice-netns")
        } catch {
            throw DistrictError(
                what: error.path, why: error.why, remedy: "set TMPDIR to a folder you can write to")
        }
        defer { Files.removeTree(logs) }
        if let spaces {
            do throws(NetworkSpaces.Forbidden) {
                settings.network = try NetworkSpaces(
                    spaces, programs: Places.programFolder, log: logs + "/log")
            } catch {
                return skip(error.why, console)
            }
        }
        let district = try LocalDistrict(settings)
        district.isKept = keeps
        defer { district.close() }
        plan.target = district.targets[0]
        let schedule = KillSchedule(frames: plan.frames, kills)
        var next = 0
        var checkedAt = SendingClock.now
        let before = district.ledger()
        let cpuBefore = district.gatewayCpuSeconds
        plan.startMilliseconds = SendingClock.wallMilliseconds
        var outcome = LoadOutcome()
        let summary =
            searches
            ? try search(district, console, &outcome)
            : try send(console) { sent throws(DistrictError) in
                if SendingClock.now - checkedAt > 100_000_000 {
                    checkedAt = SendingClock.now
                    try district.checkInterrupt()
                }
                while next < schedule.steps.count, sent >= schedule.steps[next].frame {
                    switch schedule.steps[next].victim {
                    case .gateway: try district.killGateway()
                    case .store: try district.killStore()
                    }
                    next += 1
                }
            }
        console.progress(console.language(.loadWaiting))
        let sent = summary.counts.datagramsSent
        let ledger = try district.ledgerWhenDrained(
            milliseconds: drain,
            plan.target.isStream ? .bytes(summary.counts.bytesSent) : .datagrams(sent),
            since: before)
        outcome.take(ledger, since: before)
        outcome.gatewayCpuSeconds = district.gatewayCpuSeconds - cpuBefore
        outcome.gatewayPeakRssKb = district.gatewayPeakRssKb
        outcome.uplinkBytes = district.uplinkBytes
        outcome.isThinned = spaces != nil
        if let ledger, spaces == nil, kills == (0, 0), !plan.target.isStream,
            let arrived = ledger.number("datagrams")
        {
            let base = before?.number("datagrams") ?? 0
            let seen = Int(clamping: arrived &- base &+ (outcome.kernelDrops ?? 0))
            outcome.datagramsMissing = max(0, sent - summary.counts.datagramsRefused - seen)
        }
        outcome.gatewayKills = kills.gateway
        outcome.storeKills = kills.store
        try district.awaitSettled(milliseconds: 30_000)
        district.stop()
        console.progress(console.language(.loadComparing))
        do throws(QuestionError) {
            if plan.format == .reference {
                try StoreAudit.run(district.storeFolder, plan, summary.answered, into: &outcome)
            } else if let library = Places.library(formats, console: console) {
                try ContentAudit.run(
                    district.storeFolder, plan, summary.answered, source: LoadJob.source,
                    library: library, into: &outcome)
            }
        } catch {
            throw DistrictError(what: error.what, why: error.why, remedy: error.remedy)
        }
        if hasYardstick { outcome.sinkCpuNsPerFrame = try yardstick(console) }
        return finish(summary, outcome, console)
    }

    private func skip(_ why: String, _ console: Console) -> RunStatus {
        console.complain(console.language(.loadSkipped, console.language.error(why)))
        if asJSON { console.line(JSON.object([("skipped", .string("netns"))]).text()) }
        return .done
    }

    /// What a frame costs a bare receiver that gets the same frames at the same rate, unharmed.
    private func yardstick(_ console: Console) throws(DistrictError) -> Double? {
        let sink = try BareSink()
        defer { sink.close() }
        var bare = plan.to(sink.target)
        (bare.loss, bare.duplicate, bare.reorder, bare.delay) = (0, 0, 0, 0)
        (bare.answers, bare.rebind) = (0, 0)
        var job = self
        job.plan = bare
        let (seen, before) = (sink.count() ?? 0, sink.cpuSeconds)
        _ = try job.send(console) { _ throws(DistrictError) in }
        SendingClock.sleep(milliseconds: 50)
        guard let count = sink.count(), count > seen, let before, let after = sink.cpuSeconds else {
            return nil
        }
        return (after - before) * 1e9 / Double(count - seen)
    }

    /// The search, the yardstick's search, and a run at what was found.
    private mutating func search(
        _ district: LocalDistrict, _ console: Console, _ outcome: inout LoadOutcome
    ) throws(DistrictError) -> (counts: LoadSummary, answered: [UInt32]) {
        let total = plan.frames
        // Times of their own for all frames, whatever the rates.
        plan.populationRate = .some(nil)
        var gateway = LoadSearchRun(plan, name: "gateway", console: console)
        func lost(_ sent: Int) throws(DistrictError) -> Int {
            try district.lostOf(sent)
        }
        district.beginTrials()
        try gateway.run(frames: total / 2, start: 10_000, lost)
        try gateway.hold(until: total, lost)
        let sink = try BareSink()
        defer { sink.close() }
        var bare = LoadSearchRun(plan.to(sink.target), name: "bare sink", console: console)
        var seen = sink.count() ?? 0
        func missed(_ sent: Int) -> Int {
            var last: UInt64 = 0
            for _ in 0..<50 {
                let count = sink.count() ?? last
                if count == last, count > 0 { break }
                last = count
                if count &- seen >= UInt64(sent) { break }
                SendingClock.sleep(milliseconds: 40)
            }
            let missing = sent - Int(last &- seen)
            seen = last
            return max(0, missing)
        }
        let start = max(10_000, gateway.figures.framesPerSecond)
        try bare.run(frames: total / 2, start: start, missed)
        try bare.hold(until: total, missed)
        outcome.search = (gateway.figures, bare.figures)
        plan.frames = gateway.framesUsed
        return (gateway.summary, [])
    }

    private func send(
        _ console: Console, _ everyTurn: (Int) throws(DistrictError) -> Void
    ) throws(DistrictError) -> (counts: LoadSummary, answered: [UInt32]) {
        var run: LoadRun
        do throws(SendingError) {
            run = try LoadRun(plan)
        } catch {
            throw DistrictError(
                what: error.what, why: Files.words(error.code),
                remedy: "fewer --connections, or raise `ulimit -n`")
        }
        var shownAt = SendingClock.now
        let total = plan.frames
        let summary = try run.play { sent throws(DistrictError) in
            try everyTurn(sent)
            let now = SendingClock.now
            if now - shownAt > 200_000_000 {
                shownAt = now
                console.progress(
                    console.language(
                        .loadProgress, "\(sent * 100 / total)", Words.grouped(sent)))
            }
        }
        return (summary, run.answered)
    }

    private func finish(
        _ sent: (counts: LoadSummary, answered: [UInt32]), _ outcome: LoadOutcome,
        _ console: Console
    ) -> RunStatus {
        console.clearProgress()
        let wrong = outcome.complaints(sent.counts, console.language)
        if asJSON {
            console.line(outcome.json(sent.counts).text(pretty: true))
        } else {
            outcome.write(sent.counts, plan, to: console)
        }
        for words in wrong { console.complain(console.language(.loadWrong, words)) }
        return wrong.isEmpty ? .done : .foundWrong
    }
}
