// The highest rate at which nothing is lost, by search: trials at rates that rise until frames are lost,
// then between the last two. The same search over a bare poll + recvmmsg sink gives the yardstick of the
// same run. Arithmetic here; `LoadSearchRun` sends. Owned by the tool's main thread.

import Formats
import Host
import Model

/// Which rate to try next. Values only, so that a test can play any receiver.
package struct RateSearch: Sendable {
    package private(set) var lossless = 0.0
    package private(set) var lossy: Double?
    package private(set) var trials = 0
    private let start: Double
    private var passed: [Double] = []
    /// The search ends when the two bounds are this near, or after so many trials.
    private static let resolution = 1.08
    private static let maximumTrials = 24
    /// Below this a receiver is broken, not slow.
    private static let least = 200.0

    package init(start: Double) { self.start = max(RateSearch.least, start) }

    /// Nil when the search is over.
    package var next: Double? {
        guard trials < RateSearch.maximumTrials else { return nil }
        guard let lossy else { return lossless == 0 ? start : lossless * 2 }
        if lossless == 0 { return lossy > RateSearch.least ? lossy / 4 : nil }
        return lossy / lossless > RateSearch.resolution ? (lossy * lossless).squareRoot() : nil
    }

    package mutating func take(_ rate: Double, isLossless: Bool) {
        trials += 1
        if isLossless {
            passed.append(rate)
            lossless = max(lossless, rate)
        } else {
            lossy = min(lossy ?? rate, rate)
            // A trial that passed at a rate that fails, or above it, was luck.
            lossless = min(lossless, passed.filter { $0 < rate }.max() ?? rate / 2)
        }
    }

    /// The sender cannot go faster: what it reached is the bound.
    package mutating func end(at rate: Double) {
        trials = RateSearch.maximumTrials
        lossless = max(lossless, rate)
    }
}

package struct RateFigures: Sendable {
    package var framesPerSecond = 0.0
    /// The sender was at its end before the receiver.
    package var isSenderBound = false
    package var trials: [(rate: Double, frames: Int, lost: Int)] = []

    var json: JSON {
        .object([
            ("framesPerSecond", .literal(Words.fixed(framesPerSecond, 0))),
            ("isSenderBound", .boolean(isSenderBound)),
            (
                "trials",
                .array(
                    trials.map { trial in
                        .object([
                            ("framesPerSecond", .literal(Words.fixed(trial.rate, 0))),
                            ("frames", .integer(Int64(trial.frames))),
                            ("lost", .integer(Int64(trial.lost))),
                        ])
                    })
            ),
        ])
    }
}

/// The bare sink in a process of its own.
final class BareSink {
    let target: Target
    private let child: ChildProcess
    private let asker: DatagramSender
    private let poller: Poller

    init() throws(DistrictError) {
        guard let port = FreePort.pick(isStream: false) else {
            throw DistrictError(
                what: "ports", why: "none is free on 127.0.0.1", remedy: "end other programs")
        }
        target = Target(isStream: false, endpoint: .ipv4(0x7F00_0001, port: port))
        let path = Places.programFolder + "/sluice"
        do throws(SpawnError) {
            child = try ChildProcess(
                name: "sluice sink", path: path, arguments: ["sink", "--port", "\(port)"],
                log: "/dev/null")
        } catch {
            throw DistrictError(what: path, why: error.why, remedy: "build all programs")
        }
        do throws(SendingError) {
            asker = try DatagramSender(to: target.endpoint)
            poller = try Poller()
            try poller.add(asker, token: 0)
        } catch {
            throw DistrictError(what: error.what, why: Files.words(error.code), remedy: "try again")
        }
        let limit = SendingClock.now + 10_000_000_000
        while count() == nil {
            guard child.isRunning, SendingClock.now < limit else {
                throw DistrictError(
                    what: "sluice sink", why: "does not answer", remedy: "try again")
            }
        }
    }

    func close() { child.stop(9) }

    var cpuSeconds: Double? { child.threadSeconds }

    /// Datagrams that came so far; nil when no answer came in 200 ms.
    func count() -> UInt64? {
        _ = asker.send(Array("SLcount?".utf8))
        let limit = SendingClock.now + 200_000_000
        while SendingClock.now < limit {
            if case .bytes(let bytes) = asker.receive(), bytes.count == 8 {
                return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
            }
            _ = poller.wait(nanoseconds: 20_000_000)
        }
        return nil
    }
}

/// Searches over one receiver.
struct LoadSearchRun {
    /// What of the frames sent has not come, once nothing moves any more.
    typealias Lost = (_ sent: Int) throws(DistrictError) -> Int

    let plan: LoadPlan
    let name: String
    let console: Console
    private(set) var figures = RateFigures()
    /// Frames sent in all trials; the next trial's frames are others.
    private(set) var framesUsed = 0
    private(set) var summary = LoadSummary()

    init(_ plan: LoadPlan, name: String, console: Console) {
        self.plan = plan
        self.name = name
        self.console = console
        framesUsed = plan.firstFrame
    }

    mutating func run(frames: Int, start: Double, _ lost: Lost) throws(DistrictError) {
        var search = RateSearch(start: start)
        let end = framesUsed + frames
        var slow = 0
        while let rate = search.next, framesUsed < end {
            let wanted = min(Int(rate * 0.8), max(2000, frames / 6), end - framesUsed)
            guard wanted >= 100 else { break }
            let (achieved, missing) = try trial(rate, frames: wanted, lost)
            if missing == 0, achieved < rate * 0.93 {
                // Once may be another program's doing. What the sender did reach has held.
                slow += 1
                search.take(achieved, isLossless: true)
                guard slow > 2 else { continue }
                figures.isSenderBound = true
                search.end(at: achieved)
                break
            }
            slow = 0
            search.take(rate, isLossless: missing == 0)
        }
        figures.framesPerSecond = search.lossless
    }

    /// Sends the rest of `frames` at the rate that was found, less 10 % whenever it loses, until a run of
    /// that length lost nothing: a rate that held for moments only is not it.
    mutating func hold(until frames: Int, _ lost: Lost) throws(DistrictError) {
        var rate = figures.framesPerSecond
        var left = frames - (framesUsed - plan.firstFrame)
        while left > 0, rate > 0 {
            let isLast = figures.trials.count > 30
            let part = isLast ? left : max(1, min(left, max(20_000, frames / 5)))
            let (_, missing) = try trial(rate, frames: part, lost)
            if missing > 0 { rate *= 0.9 }
            left -= part
        }
        for _ in 0..<6 where figures.trials.last.map({ $0.lost > 0 }) ?? false {
            let (_, missing) = try trial(rate, frames: max(2000, frames / 20), lost)
            if missing > 0 { rate *= 0.9 }
        }
        figures.framesPerSecond = rate
    }

    /// Sends so many frames at a rate; what the sender reached, and how many did not arrive.
    mutating func trial(
        _ rate: Double, frames: Int, _ lost: Lost
    ) throws(DistrictError) -> (achieved: Double, lost: Int) {
        console.progress(console.language(.loadStep, name, Words.grouped(Int(rate))))
        var plan = plan
        plan.rate = rate
        plan.frames = frames
        plan.firstFrame = framesUsed
        // Hand over half a millisecond's frames together: one call a frame would bound the sender.
        plan.burst = max(1, min(128, Int(rate / 2000)))
        var run: LoadRun
        do throws(SendingError) {
            run = try LoadRun(plan)
        } catch {
            throw DistrictError(
                what: error.what, why: Files.words(error.code), remedy: "raise `ulimit -n`")
        }
        let sent = try run.play { _ throws(DistrictError) in
            if Interrupts.wait(milliseconds: 0) {
                throw DistrictError(
                    what: "interrupted", why: "both programs are being ended",
                    remedy: "run it again")
            }
        }
        framesUsed += frames
        summary.add(sent)
        let missing = try lost(sent.datagramsSent)
        figures.trials.append((rate, frames, missing))
        return (Double(frames) / max(0.001, sent.wallSeconds), missing)
    }
}

extension LoadSummary {
    /// The figures of several runs as of one; latencies are those of the last.
    mutating func add(_ other: LoadSummary) {
        framesSent += other.framesSent
        datagramsSent += other.datagramsSent
        framesLost += other.framesLost
        framesDuplicated += other.framesDuplicated
        framesReordered += other.framesReordered
        framesDelayed += other.framesDelayed
        framesRepeated += other.framesRepeated
        framesAsking += other.framesAsking
        framesAnswered += other.framesAnswered
        answersUnexpected += other.answersUnexpected
        framesUnanswered += other.framesUnanswered
        datagramsRefused += other.datagramsRefused
        answersUnheard += other.answersUnheard
        bytesSent += other.bytesSent
        rebinds += other.rebinds
        latencies = other.latencies
        wallSeconds += other.wallSeconds
        senderCpuSeconds += other.senderCpuSeconds
    }
}

enum SinkVerb {
    /// `sink` is the yardstick in C, which only the field tool's own program has.
    static func verb(_ sink: (@Sendable (UInt16) -> Int32)?) -> Verb {
        Verb(
            "sink", "the bare receiver of `load --rate max`",
            flags: [.value("port", "N", "where to receive")], isHidden: true
        ) { invocation, console throws(UsageError) in
            let port = try invocation.integer("port", in: 1...65_535, default: 9)
            guard let sink else { return .foundWrong }
            console.fail("sink: \(Files.words(-sink(UInt16(port))))")
            return .foundWrong
        }
    }
}
