// The poller of a line under virtual time: what is sent when, and what becomes of it.

import Exchanges
import Formats
import Model
import Testing

/// A line with simulated devices; the test plays the wire.
struct PollRig {
    var poller: LinePoller
    var now = Instant(nanoseconds: 1_000_000_000)
    /// When which request left, in milliseconds since the start.
    var sent: [(at: Int64, request: Int)] = []
    var transactions: [UInt16] = []
    /// Devices that answer, after so many milliseconds.
    var answersAfter: [Int: Int64] = [:]
    private var wakeAt: Instant?
    private var answerAt: Instant?

    static let start = Instant(nanoseconds: 1_000_000_000)

    init(_ plan: PollPlan) { poller = LinePoller(plan) }

    var milliseconds: Int64 { now.milliseconds(since: PollRig.start) }

    mutating func step(_ event: LinePoller.Event) {
        let effect = poller.step(event, now: now)
        wakeAt = effect.wakeAt
        guard let request = effect.send else { return }
        sent.append((milliseconds, request))
        transactions.append(effect.transaction)
        let device = Int(poller.plan.requests[request].device) ?? -1
        answerAt = answersAfter[device].map { now.adding(milliseconds: $0) }
    }

    /// Lets time pass, with the answers and timers that fall into it.
    mutating func run(milliseconds: Int64) {
        let end = now.adding(milliseconds: milliseconds)
        while true {
            let next = [wakeAt, answerAt].compactMap(\.self).filter { $0 <= end }.min()
            guard let next else { break }
            now = max(now, next)
            if let due = answerAt, due <= now {
                answerAt = nil
                step(.answered(isException: false))
            } else {
                wakeAt = nil
                step(.timer)
            }
        }
        now = end
    }

    func times(of request: Int) -> [Int64] { sent.filter { $0.request == request }.map(\.at) }
}

enum PollPlans {
    static let library: FormatLibrary = {
        let folder = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        do throws(Complaints) {
            return try FormatLibrary(directory: folder + "/protocols")
        } catch {
            preconditionFailure(error.all.map(\.description).joined(separator: "\n"))
        }
    }()

    static func request(
        _ device: Int64, start: Int64 = 0, interval: Int64 = 1000, format: String = "modbus-rtu"
    ) -> PollRequest {
        guard
            let request = library.format(named: format)?.request(named: "holding_registers"),
            let arguments = try? request.arguments([
                (format == "modbus-tcp" ? "unit" : "address", .number(device)),
                ("start", .number(start)), ("quantity", .number(10)),
            ])
        else { preconditionFailure(format) }
        return PollRequest(
            format: 0, request: request, arguments: arguments, intervalMilliseconds: interval)
    }

    static func plan(
        _ requests: [PollRequest], _ change: (inout PollSettings) -> Void = { _ in }
    ) -> PollPlan {
        var plan = PollPlan()
        plan.requests = requests
        plan.settings.timeoutMilliseconds = 200
        change(&plan.settings)
        return plan
    }
}

@Suite("Polling a line")
struct PollTests {
    @Test("asks on a grid that no answer's delay moves")
    func grid() {
        var rig = PollRig(PollPlans.plan([PollPlans.request(1)]))
        rig.answersAfter = [1: 137]
        rig.step(.opened)
        rig.run(milliseconds: 10_500)
        #expect(rig.times(of: 0) == (0...10).map { $0 * 1000 })
        #expect(rig.poller.counts.answered == 11)
        #expect(rig.poller.counts.skipped == 0)
    }

    @Test("has one request in flight at most, and each device gets its turn")
    func halfDuplex() {
        let plan = PollPlans.plan((1...20).map { PollPlans.request($0) })
        var rig = PollRig(plan)
        rig.answersAfter = Dictionary(uniqueKeysWithValues: (1...20).map { ($0, 30) })
        rig.step(.opened)
        rig.run(milliseconds: 59_900)
        for (before, after) in zip(rig.sent, rig.sent.dropFirst()) {
            #expect(after.at - before.at >= 30)
        }
        for number in 0..<20 { #expect(rig.times(of: number).count == 60) }
    }

    @Test("a busy line skips turns, counts them, and keeps the grid")
    func busy() {
        var rig = PollRig(PollPlans.plan([PollPlans.request(1, interval: 100)]))
        rig.answersAfter = [1: 150]
        rig.step(.opened)
        rig.run(milliseconds: 10_000)
        #expect(rig.times(of: 0).allSatisfy { $0 % 100 == 0 || $0 % 50 == 0 })
        #expect(rig.poller.counts.skipped > 20)
        #expect(
            rig.poller.counts.sent + rig.poller.counts.skipped >= 98,
            "every point of the grid was used or counted")
    }

    @Test("repeats an unanswered request, then leaves it until its next turn")
    func retries() {
        var rig = PollRig(
            PollPlans.plan([PollPlans.request(1, interval: 10_000)]) { $0.retries = 2 })
        rig.step(.opened)
        rig.run(milliseconds: 9000)
        #expect(rig.times(of: 0) == [0, 200, 400])
        #expect(rig.poller.counts.timedOut == 3)
    }

    @Test("keeps 3.5 characters of silence at the line's speed, at least what is configured")
    func gap() {
        var settings = PollSettings()
        settings.setSpeed(baud: 9600, bitsPerByte: 11)
        #expect(settings.gapNanoseconds / 1000 == 4010)
        settings.setSpeed(baud: 115_200, bitsPerByte: 10)
        #expect(settings.gapNanoseconds == 1_750_000)
        settings.gapMilliseconds = 40
        #expect(settings.gapNanoseconds == 40_000_000)
        var rig = PollRig(
            PollPlans.plan([PollPlans.request(1), PollPlans.request(2)]) {
                $0.gapMilliseconds = 40
            })
        rig.answersAfter = [1: 10, 2: 10]
        rig.step(.opened)
        rig.run(milliseconds: 500)
        #expect(rig.sent.map(\.at) == [0, 50])
    }

    @Test("dead devices are asked less and less, up to the limit, and starve nobody")
    func dead() {
        let plan = PollPlans.plan((1...10).map { PollPlans.request($0) }) {
            $0.retries = 1
            $0.deadAfter = 2
            $0.longestBackoffMilliseconds = 60_000
        }
        var rig = PollRig(plan)
        // 9 and 10 are silent.
        rig.answersAfter = Dictionary(uniqueKeysWithValues: (1...8).map { ($0, 20) })
        rig.step(.opened)
        rig.run(milliseconds: 600_000)
        for number in 0..<8 {
            let times = rig.times(of: number)
            #expect(times.count >= 590, "device \(number + 1) was asked \(times.count) times")
        }
        let silent = rig.times(of: 8)
        #expect(silent.count < 25, "the dead one was asked \(silent.count) times")
        let pauses = zip(silent, silent.dropFirst()).map { $1 - $0 }
        #expect((pauses.last ?? 0) >= 60_000 && (pauses.last ?? 0) < 62_000)
        #expect(pauses.dropFirst(4).prefix(5).elementsEqual(pauses.dropFirst(4).prefix(5).sorted()))
        let reports = rig.poller.polled
        #expect(reports.filter(\.isDead).map(\.name) == ["9", "10"])
        #expect(rig.poller.deadDevices == 2)
    }

    @Test("a line of dead devices only still tries each of them")
    func allDead() {
        var rig = PollRig(
            PollPlans.plan((1...5).map { PollPlans.request($0) }) { $0.deadAfter = 1 })
        rig.step(.opened)
        rig.run(milliseconds: 120_000)
        #expect(rig.poller.deadDevices == 5)
        for number in 0..<5 { #expect(rig.times(of: number).count > 5) }
    }

    @Test("a dead device that answers is alive at once, with all its requests")
    func revival() {
        let plan = PollPlans.plan([
            PollPlans.request(1), PollPlans.request(1, start: 100), PollPlans.request(2),
        ]) { $0.deadAfter = 1 }
        var rig = PollRig(plan)
        rig.answersAfter = [2: 10]
        rig.step(.opened)
        rig.run(milliseconds: 20_000)
        #expect(rig.poller.deadDevices == 1)
        rig.answersAfter[1] = 10
        rig.run(milliseconds: 20_000)
        #expect(rig.poller.deadDevices == 0)
        let before = rig.sent.count { $0.request == 1 }
        rig.run(milliseconds: 10_000)
        #expect(rig.sent.count { $0.request == 1 } - before == 10)
    }

    @Test("after a time-out the same device is asked nothing else while its answer may come")
    func lateAnswers() {
        // Two requests whose answers look alike; the first is answered only after its time-out.
        let plan = PollPlans.plan([
            PollPlans.request(1), PollPlans.request(1, start: 100), PollPlans.request(2),
        ]) { $0.retries = 0 }
        var rig = PollRig(plan)
        rig.answersAfter = [2: 10]
        rig.step(.opened)
        rig.run(milliseconds: 201)
        #expect(rig.sent.map(\.request) == [0, 2], "another device is asked meanwhile")
        rig.run(milliseconds: 150)
        rig.step(.mismatched)
        #expect(rig.poller.counts.mismatched == 1)
        rig.run(milliseconds: 100)
        #expect(rig.sent.map(\.request) == [0, 2, 1])
        #expect(rig.times(of: 1) == [400])
    }

    @Test("with a transaction number nothing waits for late answers")
    func transactions() {
        let plan = PollPlans.plan([
            PollPlans.request(1, format: "modbus-tcp"),
            PollPlans.request(1, start: 100, format: "modbus-tcp"),
        ]) { $0.retries = 0 }
        var rig = PollRig(plan)
        rig.step(.opened)
        rig.run(milliseconds: 300)
        #expect(rig.times(of: 1) == [200])
        #expect(Set(rig.transactions).count == rig.transactions.count)
    }

    @Test("a poll that the line's end cut off is due again when the line is back")
    func reopened() {
        var rig = PollRig(PollPlans.plan([PollPlans.request(1, interval: 900_000)]))
        rig.step(.opened)
        rig.step(.closed)
        rig.run(milliseconds: 5000)
        #expect(rig.sent.count == 1)
        #expect(rig.poller.counts.timedOut == 0, "a lost line is no fault of the device")
        rig.answersAfter = [1: 10]
        rig.step(.opened)
        rig.run(milliseconds: 5000)
        #expect(rig.times(of: 0) == [0, 5000])
    }

    @Test("bytes that still come keep a time-out away, but not for ever")
    func slowAnswer() {
        var rig = PollRig(PollPlans.plan([PollPlans.request(1)]) { $0.retries = 0 })
        rig.step(.opened)
        for _ in 0..<20 {
            rig.run(milliseconds: 20)
            rig.step(.heard)
        }
        #expect(rig.poller.counts.timedOut == 0)
        for _ in 0..<20 {
            rig.run(milliseconds: 20)
            rig.step(.heard)
        }
        #expect(rig.poller.counts.timedOut == 1)
    }

    @Test("without room nothing is sent and nobody is taken for dead")
    func heldUp() {
        var rig = PollRig(PollPlans.plan([PollPlans.request(1)]) { $0.retries = 0 })
        rig.step(.opened)
        for _ in 0..<50 {
            rig.now = rig.now.adding(milliseconds: 100)
            rig.step(.heldUp)
        }
        #expect(rig.sent.count == 1)
        #expect(rig.poller.counts.timedOut == 0)
        rig.step(.answered(isException: true))
        #expect(rig.poller.counts.exceptions == 1)
    }

    @Test("whatever happens in whatever order, one request is in flight and counts add up")
    func anyOrder() {
        for seed in UInt64(1)...60 {
            var random = SplitMix64(seed: seed)
            let plan = PollPlans.plan((1...6).map { PollPlans.request($0, interval: 300) }) {
                $0.retries = Int(seed % 3)
                $0.deadAfter = 2
                $0.longestBackoffMilliseconds = 5000
            }
            var poller = LinePoller(plan)
            var now = PollRig.start
            var sent: UInt64 = 0
            for _ in 0..<400 {
                let event: LinePoller.Event =
                    switch random.next() % 8 {
                    case 0: .opened
                    case 1: random.chance(0.1) ? .closed : .timer
                    case 2: .answered(isException: random.chance(0.2))
                    case 3: .mismatched
                    case 4: .heard
                    case 5: .heldUp
                    default: .timer
                    }
                let effect = poller.step(event, now: now)
                if effect.send != nil { sent += 1 }
                #expect(effect.send == nil || poller.inFlight == effect.send, "seed \(seed)")
                if poller.isOpen {
                    #expect(effect.wakeAt != nil, "an open line wants to be woken: seed \(seed)")
                }
                now = now.adding(milliseconds: Int64(random.next() % 150))
            }
            let counts = poller.counts
            #expect(counts.sent == sent, "seed \(seed)")
            #expect(
                counts.answered + counts.exceptions + counts.timedOut <= counts.sent,
                "seed \(seed)")
            let devices = poller.polled.map(\.counts)
            #expect(devices.reduce(0) { $0 + $1.sent } == sent, "seed \(seed)")
        }
    }
}
