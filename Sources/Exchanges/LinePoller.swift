// Asks the devices of one line in turn: a state machine without I/O, `step(event, now) -> effect`. Owned
// by the intake's line. Half duplex: one request is in flight at most. Each request keeps its own
// grid of the monotonic clock, so no delay adds up. A device that stays silent is dead: it is tried
// again after doubling times and never keeps the others waiting.
//
// After a time-out the answer may still come. Where it could be taken for the answer to another
// request of the same device (no transaction number), that device is left alone for one more
// time-out, while others are asked.

import Formats
package import Model

package struct LinePoller: Sendable {
    package enum Event: Sendable {
        case opened
        case closed
        /// The answer to the request in flight; `exception`: the device says that it cannot.
        case answered(isException: Bool)
        /// A frame that answers something else, or nothing at all.
        case mismatched
        /// Bytes came that are no whole frame yet.
        case heard
        /// The intake could take nothing in: what came in that time may still wait.
        case heldUp
        case timer
    }

    package struct Effect: Hashable, Sendable {
        /// Number of the request to send now, and what it carries back.
        package var send: Int?
        package var transaction: UInt16 = 0
        /// When to step with `timer`; nil: not before another event.
        package var wakeAt: Instant?

        package init() {}
    }

    private struct Device {
        var name: String
        var requests: [Int] = []
        var failures = 0
        var isDead = false
        var backoff: Int64 = 0
        var retryAt = Instant(nanoseconds: 0)
        /// No other request before: an answer may be under way.
        var heldUntil = Instant(nanoseconds: 0)
        var lastAnswerAt: Instant?
        var counts = PollCounts()
    }

    private struct Turn {
        var device: Int
        var interval: UInt64
        var dueAt: Instant
    }

    private struct Flight {
        var request: Int
        var attempt: Int
        var sentAt: Instant
        var deadline: Instant
    }

    package let plan: PollPlan
    package private(set) var counts = PollCounts()
    package private(set) var lastAnswerAt: Instant?
    package private(set) var isOpen = false
    private var devices: [Device] = []
    private var turns: [Turn] = []
    private var flight: Flight?
    /// A request that is to be repeated as soon as the line is free.
    private var repeating: (request: Int, attempt: Int)?
    /// The line is to be silent until then.
    private var freeAt = Instant(nanoseconds: 0)
    private var hasBegun = false
    private var transaction: UInt16 = 0
    private var livePolls = 0

    package init(_ plan: PollPlan) {
        self.plan = plan
        livePolls = plan.settings.livePollsPerAttempt
        for (number, request) in plan.requests.enumerated() {
            let name = request.device
            let device = devices.firstIndex { $0.name == name } ?? devices.count
            if device == devices.count { devices.append(Device(name: name)) }
            devices[device].requests.append(number)
            turns.append(
                Turn(
                    device: device,
                    interval: UInt64(max(1, request.intervalMilliseconds)) * 1_000_000,
                    dueAt: Instant(nanoseconds: 0)))
        }
    }

    /// Number of the request in flight.
    package var inFlight: Int? { flight?.request }

    package mutating func step(_ event: Event, now: Instant) -> Effect {
        switch event {
        case .opened: open(now)
        case .closed: close(now)
        case .answered(let isException): answered(isException, now)
        case .mismatched: mismatched()
        case .heard: heard(now)
        case .heldUp: return heldUp(now)
        case .timer: break
        }
        if let flight, flight.deadline <= now { timedOut(flight, now) }
        var effect = Effect()
        if isOpen, flight == nil, freeAt <= now, let next = next(now) {
            send(next.request, attempt: next.attempt, now)
            effect.send = next.request
            effect.transaction = transaction
        }
        effect.wakeAt = wakeAt
        return effect
    }

    // MARK: Events

    /// Nothing is sent, and what was sent gets its time anew.
    private mutating func heldUp(_ now: Instant) -> Effect {
        flight?.deadline = now.adding(milliseconds: plan.settings.timeoutMilliseconds)
        var effect = Effect()
        effect.wakeAt = wakeAt
        return effect
    }

    private mutating func open(_ now: Instant) {
        isOpen = true
        guard !hasBegun else { return }
        hasBegun = true
        for number in turns.indices { turns[number].dueAt = now }
    }

    private mutating func close(_ now: Instant) {
        isOpen = false
        // Nobody was asked for nothing: it is due again at once.
        if let request = flight?.request ?? repeating?.request { turns[request].dueAt = now }
        flight = nil
        repeating = nil
    }

    private mutating func answered(_ isException: Bool, _ now: Instant) {
        guard let done = flight else { return mismatched() }
        flight = nil
        repeating = nil
        freeAt = now.adding(nanoseconds: plan.settings.gapNanoseconds)
        lastAnswerAt = now
        let number = turns[done.request].device
        count(number) { counts in
            if isException { counts.exceptions &+= 1 } else { counts.answered &+= 1 }
        }
        devices[number].failures = 0
        devices[number].isDead = false
        devices[number].backoff = 0
        devices[number].lastAnswerAt = now
        // An earlier attempt may be answered as well.
        if done.attempt > 0 { hold(done.request, now) }
    }

    private mutating func mismatched() {
        if let flight {
            count(turns[flight.request].device) { $0.mismatched &+= 1 }
        } else {
            counts.mismatched &+= 1
        }
    }

    /// A long answer at a low speed is not cut off while it comes.
    private mutating func heard(_ now: Instant) {
        guard let begun = flight else { return }
        let timeout = UInt64(plan.settings.timeoutMilliseconds) * 1_000_000
        let quiet = max(50_000_000, plan.settings.byteNanoseconds &* 10)
        let latest = begun.sentAt.adding(nanoseconds: timeout &* 3)
        flight?.deadline = max(begun.deadline, min(now.adding(nanoseconds: quiet), latest))
    }

    private mutating func timedOut(_ late: Flight, _ now: Instant) {
        flight = nil
        let number = turns[late.request].device
        count(number) { $0.timedOut &+= 1 }
        freeAt = max(freeAt, now.adding(nanoseconds: plan.settings.gapNanoseconds))
        if late.attempt < plan.settings.retries, !devices[number].isDead {
            repeating = (late.request, late.attempt + 1)
            return
        }
        hold(late.request, now)
        devices[number].failures += 1
        guard devices[number].isDead || devices[number].failures >= plan.settings.deadAfter else {
            return
        }
        let shortest = devices[number].requests.map { turns[$0].interval / 1_000_000 }.min() ?? 1000
        let first = max(1000, Int64(clamping: shortest))
        let doubled = devices[number].isDead ? devices[number].backoff &* 2 : first
        devices[number].isDead = true
        devices[number].backoff = min(doubled, plan.settings.longestBackoffMilliseconds)
        devices[number].retryAt = now.adding(milliseconds: devices[number].backoff)
    }

    private mutating func hold(_ request: Int, _ now: Instant) {
        guard !plan.requests[request].request.hasTransaction else { return }
        devices[turns[request].device].heldUntil = now.adding(
            milliseconds: plan.settings.timeoutMilliseconds)
    }

    // MARK: Sending

    /// What to send now: a repetition, else the live request that is due longest, or a dead device's
    /// turn when nothing live is due or enough live ones went before it.
    private func next(_ now: Instant) -> (request: Int, attempt: Int)? {
        if let repeating { return repeating }
        var live: Int?
        var dead: Int?
        for (number, turn) in turns.enumerated() where turn.dueAt <= now {
            let device = devices[turn.device]
            guard device.heldUntil <= now else { continue }
            if device.isDead {
                guard device.retryAt <= now else { continue }
                let best = dead.map { devices[turns[$0].device].retryAt }
                if best == nil || device.retryAt < best! { dead = number }
            } else if live == nil || turn.dueAt < turns[live!].dueAt {
                live = number
            }
        }
        if let dead, live == nil || livePolls >= plan.settings.livePollsPerAttempt {
            return (dead, 0)
        }
        return live.map { ($0, 0) }
    }

    private mutating func send(_ request: Int, attempt: Int, _ now: Instant) {
        let number = turns[request].device
        repeating = nil
        transaction &+= 1
        livePolls = devices[number].isDead ? 0 : min(livePolls + 1, 1 << 20)
        count(number) { $0.sent &+= 1 }
        if attempt == 0 { advance(request, now) }
        let bytes = UInt64(plan.requests[request].request.byteCount)
        let deadline =
            now.adding(milliseconds: plan.settings.timeoutMilliseconds)
            .adding(nanoseconds: bytes &* plan.settings.byteNanoseconds)
        flight = Flight(request: request, attempt: attempt, sentAt: now, deadline: deadline)
    }

    /// The next point of the request's grid behind now.
    private mutating func advance(_ request: Int, _ now: Instant) {
        let turn = turns[request]
        let late = now.nanoseconds &- min(now.nanoseconds, turn.dueAt.nanoseconds)
        let missed = late / turn.interval
        count(turn.device) { $0.skipped &+= missed }
        turns[request].dueAt = turn.dueAt.adding(nanoseconds: (missed &+ 1) &* turn.interval)
    }

    private mutating func count(_ device: Int, _ change: (inout PollCounts) -> Void) {
        change(&counts)
        change(&devices[device].counts)
    }

    // MARK: Looking

    package var wakeAt: Instant? {
        guard isOpen else { return nil }
        if let flight { return flight.deadline }
        if repeating != nil { return freeAt }
        return turns.map { max(freeAt, readyAt($0)) }.min()
    }

    private func readyAt(_ turn: Turn) -> Instant {
        let device = devices[turn.device]
        let due = max(turn.dueAt, device.heldUntil)
        return device.isDead ? max(due, device.retryAt) : due
    }

    /// The devices of the line in the order of the plan, for status.
    package var polled: [PolledDevice] {
        devices.map { device in
            PolledDevice(
                name: device.name, isDead: device.isDead, counts: device.counts,
                lastAnswerAt: device.lastAnswerAt,
                nextAt: device.requests.map { readyAt(turns[$0]) }.min())
        }
    }

    package var deadDevices: Int { devices.count { $0.isDead } }
}
