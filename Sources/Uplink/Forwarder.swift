// The gateway's end of the uplink as a value: events in, effects out, no sockets, no clock. Owned
// by the uplink queue. Invariants: a batch is acknowledged to the spool only when the store said
// so for a batch that was sent; never more in flight than credit and settings allow; a batch
// leaves only after the definitions of its streams; one request to the host (lease or entries) at
// a time; whatever is in flight when a connection ends stays in the spool and is leased again.

package import Model

package struct Forwarder {
    enum Phase {
        case stopped
        case waiting(until: Instant)
        case connecting(since: Instant)
        case greeting(since: Instant)
        case streaming
    }

    struct InFlight {
        var sequence: UInt64
        var readings: UInt32
        var lane: Priority
        var bytes: Int
        var sentAt: Instant
    }

    /// A batch that the store answered with `retry`. `until` nil: it may be leased (and its
    /// attempts are remembered).
    struct Retry {
        var sequence: UInt64
        var lane: Priority
        var attempts: Int
        var until: Instant?
    }

    /// The one thing asked of the host; `isStale`: by a connection that has ended since, or from a place
    /// in the catalog that is not gone on from.
    struct Request {
        enum Kind { case lease, entries }
        var kind: Kind
        var isStale = false
        /// Of a lease.
        var room = LeaseRoom(0)
    }

    package let settings: ForwarderSettings
    var counters = ForwarderStatus()
    var phase = Phase.stopped
    var random: SplitMix64
    var reader = FrameReader(side: .peer)
    var outgoing: [UInt8] = []

    var inFlight: [InFlight] = []
    /// In flight when a connection ended: the next welcome may say that they arrived.
    var unsure: [InFlight] = []
    var retries: [Retry] = []
    /// Leased, waiting for their definitions.
    var held: [OutgoingBatch] = []
    var request: Request?
    var mayHaveMore = true
    /// A lane was kept short in the last lease: it may have more when room comes.
    var isLaneFull = false
    /// When to lease again because the pace allows more.
    var pacedUntil: Instant?
    var pace: Pace
    var backlogRate = RecentRate()
    /// The wall clock, for the windows of the backlog; set before each step.
    package var wall = Timestamp(milliseconds: 0)
    var credit = 0
    var largestBatch = UplinkProtocol.largestBatch
    var sentDevice: UInt32 = 0
    var sentStream: UInt32 = 0
    /// The store missed a definition below the highest that it knows, and is told the catalog from its
    /// beginning; once a connection. Numbers do not always rise: a run that began without its disk took
    /// some at random. What was sent before is not judged by what the store did not know yet.
    var tellsAllSince: Instant?
    /// The store ended the last connection over a definition: the next one tells the catalog from its
    /// beginning.
    var tellsAll = false
    /// What the store knew at the welcome: the host's catalog must have it too.
    var knownDevice: UInt32 = 0
    var knownStream: UInt32 = 0

    var lastReceived = Instant(nanoseconds: 0)
    var lastProgress = Instant(nanoseconds: 0)
    var pingIsOut = false
    var pingToken: UInt64 = 0
    /// Doublings of the timeouts: connections in a row that timed out with batches in flight.
    var patience = 0

    /// `seed`: for the jitter; different on every gateway.
    package init(settings: ForwarderSettings, seed: UInt64) {
        self.settings = settings
        random = SplitMix64(seed: seed)
        pace = Pace(settings.pace)
    }

    /// One event; effects are appended in the order in which they are to be performed. `now` never
    /// falls.
    package mutating func step(_ event: Event, now: Instant, into effects: inout [Effect]) {
        switch event {
        case .start: if case .stopped = phase { connect(now, &effects) }
        case .stop: stop(now, &effects)
        case .connected: if case .connecting = phase { greet(now, &effects) }
        case .connectFailed(let reason):
            if case .connecting = phase { fail(reason, closing: false, now, &effects) }
        case .disconnected(let reason):
            switch phase {
            case .connecting, .greeting, .streaming: fail(reason, closing: false, now, &effects)
            case .stopped, .waiting: break
            }
        case .received(let bytes): received(bytes, now, &effects)
        case .progressed: lastProgress = now
        case .leased(let batches): leased(batches, now, &effects)
        case .entries(let entries): entriesCame(entries, now, &effects)
        case .batchesAvailable:
            mayHaveMore = true
            pump(now, &effects)
        case .timer: timer(now, &effects)
        }
        flush(&effects)
    }

    /// When to step with `timer` next; nil: only an event wakes the forwarder.
    package var deadline: Instant? {
        switch phase {
        case .stopped: nil
        case .waiting(let until): until
        case .connecting(let since), .greeting(let since):
            since.adding(milliseconds: settings.connectTimeoutMilliseconds)
        case .streaming:
            [
                pingIsOut ? silenceDeadline : pingDeadline, acknowledgementDeadline, retryDeadline,
                pacedUntil,
            ].compactMap(\.self).min()
        }
    }

    package func status(at now: Instant) -> ForwarderStatus {
        var (status, pace, rate) = (status, pace, backlogRate)
        status.backlogBytesPerSecond = rate.bytesPerSecond(now: now)
        status.pacedUntil = pace.ordinaryWaits(now: now)
        status.backlogPacedUntil =
            status.pacedUntil ?? pace.backlogWaits(now: now, wall: wall)
        return status
    }

    package var status: ForwarderStatus {
        var status = counters
        status.inFlight = inFlight.count
        status.backlogInFlight = inFlight.count { $0.lane == .backlog }
        status.delayed = retries.count { $0.until != nil }
        if case .streaming = phase { status.credit = credit } else { status.credit = 0 }
        if case .waiting(let until) = phase { status.nextAttempt = until }
        return status
    }

    // MARK: Connection

    private mutating func connect(_ now: Instant, _ effects: inout [Effect]) {
        enter(.connecting(since: now), .connecting, now, &effects)
        effects.append(.connect)
    }

    private mutating func greet(_ now: Instant, _ effects: inout [Effect]) {
        counters.connections &+= 1
        reader = FrameReader(side: .peer)
        pingIsOut = false
        lastReceived = now
        lastProgress = now
        send(
            .hello(
                Hello(
                    role: .gateway, incarnation: settings.incarnation, name: settings.gateway,
                    software: settings.software)))
        enter(.greeting(since: now), .greeting, now, &effects)
    }

    private mutating func stop(_ now: Instant, _ effects: inout [Effect]) {
        switch phase {
        case .stopped: return
        case .waiting: break
        case .connecting: effects.append(.close)
        case .greeting, .streaming:
            send(.goodbye(Goodbye(.closing, "gateway stops")))
            flush(&effects)
            effects.append(.close)
        }
        forgetConnection()
        enter(.stopped, .stopped, now, &effects)
    }

    /// Ends the connection or attempt and waits for the next.
    mutating func fail(
        _ reason: String, closing: Bool, _ now: Instant, _ effects: inout [Effect]
    ) {
        flush(&effects)
        if closing { effects.append(.close) }
        forgetConnection()
        counters.lastError = reason
        counters.lastErrorAt = now
        counters.failuresInARow += 1
        let wait = backoff(counters.failuresInARow)
        enter(.waiting(until: now.adding(milliseconds: wait)), .waiting, now, &effects)
    }

    private mutating func forgetConnection() {
        unsure += inFlight
        inFlight.removeAll()
        held.removeAll()
        request?.isStale = true
        mayHaveMore = true
        outgoing.removeAll()
    }

    private mutating func enter(
        _ next: Phase, _ state: ForwarderState, _ now: Instant, _ effects: inout [Effect]
    ) {
        phase = next
        guard counters.state != state else { return }
        counters.state = state
        counters.since = now
        effects.append(.state(state))
    }

    private mutating func received(
        _ bytes: [UInt8], _ now: Instant, _ effects: inout [Effect]
    ) {
        switch phase {
        case .greeting, .streaming: break
        case .stopped, .waiting, .connecting: return
        }
        counters.bytesReceived &+= UInt64(bytes.count)
        lastReceived = now
        pingIsOut = false
        reader.append(bytes)
        do throws(WireError) {
            while let frame = try reader.next() {
                guard take(frame, now, &effects) else { return }
            }
        } catch {
            let code: Goodbye.Code
            if case .version = error { code = .version } else { code = .malformed }
            send(.goodbye(Goodbye(code, error.description)))
            fail("store: " + error.description, closing: true, now, &effects)
        }
    }

    /// False when the connection is over.
    private mutating func take(
        _ frame: UplinkFrame, _ now: Instant, _ effects: inout [Effect]
    ) -> Bool {
        switch frame {
        case .welcome(let welcome):
            welcomed(welcome, now, &effects)
            enter(.streaming, .streaming, now, &effects)
            needEntries(&effects)
        case .acknowledgement(let acknowledgement):
            acknowledged(acknowledgement, now, &effects)
        case .pong(_, let storeTime, let newCredit):
            counters.failuresInARow = 0
            counters.storeTime = storeTime
            counters.storeTimeAt = now
            credit = Int(newCredit)
            pump(now, &effects)
        case .goodbye(let goodbye):
            let text = "store said goodbye: \(goodbye.code.word): \(goodbye.reason)"
            if goodbye.code == .malformed { tellsAll = tellsAllSince == nil }
            fail(text, closing: true, now, &effects)
            return false
        case .hello, .entries, .batch, .ping, .query, .rows:
            // Rows without a query; the others the reader does not let through.
            fail("store: a frame that is not expected here", closing: true, now, &effects)
            return false
        }
        return true
    }

    // MARK: Time

    private mutating func timer(_ now: Instant, _ effects: inout [Effect]) {
        switch phase {
        case .stopped: break
        case .waiting(let until): if now >= until { connect(now, &effects) }
        case .connecting, .greeting:
            guard let deadline, now >= deadline else { return }
            fail("no answer from the store", closing: true, now, &effects)
        case .streaming:
            if let due = acknowledgementDeadline, now >= due {
                patience = min(patience + 1, 5)
                fail("a batch got no answer in time", closing: true, now, &effects)
            } else if pingIsOut, now >= silenceDeadline {
                if !inFlight.isEmpty { patience = min(patience + 1, 5) }
                fail("the store is silent", closing: true, now, &effects)
            } else {
                if !pingIsOut, now >= pingDeadline {
                    pingIsOut = true
                    pingToken &+= 1
                    send(.ping(token: pingToken))
                }
                endDelays(now)
                if let due = pacedUntil, now >= due {
                    pacedUntil = nil
                    mayHaveMore = true
                }
                pump(now, &effects)
            }
        }
    }

    private var pingDeadline: Instant {
        lastReceived.adding(milliseconds: settings.pingAfterMilliseconds)
    }

    private var silenceDeadline: Instant {
        let limit = settings.silenceLimitMilliseconds << (inFlight.isEmpty ? 0 : patience)
        return max(lastReceived, lastProgress).adding(milliseconds: limit)
    }

    private var acknowledgementDeadline: Instant? {
        guard let oldest = inFlight.first else { return nil }
        let limit = settings.acknowledgementTimeoutMilliseconds << patience
        // Other answers are progress too, yet no batch is left behind for ever.
        return min(
            max(oldest.sentAt, lastProgress).adding(milliseconds: limit),
            oldest.sentAt.adding(milliseconds: limit * 8))
    }

    private var retryDeadline: Instant? { retries.compactMap(\.until).min() }

    /// Milliseconds to wait after the n-th failure in a row (n from 1): full jitter, see
    /// M. Brooker, "Exponential Backoff And Jitter" (AWS, 2015), at least 100 ms.
    mutating func backoff(_ failures: Int) -> Int64 {
        let doublings = min(max(0, failures - 1), 16)
        let least = min(100, settings.firstBackoffMilliseconds)
        let most = max(
            least,
            min(
                settings.longestBackoffMilliseconds,
                settings.firstBackoffMilliseconds << Int64(doublings)))
        return least + Int64(random.next() % UInt64(most - least + 1))
    }

    // MARK: Sending

    mutating func send(_ frame: UplinkFrame) { outgoing += frame.encoded() }

    /// Hands what was written in this step to the host in one piece.
    private mutating func flush(_ effects: inout [Effect]) {
        guard !outgoing.isEmpty else { return }
        counters.bytesSent &+= UInt64(outgoing.count)
        effects.append(.send(outgoing))
        outgoing = []
    }
}
