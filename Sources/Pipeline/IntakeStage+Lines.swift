// Lines in the intake: what comes in on a polled connection or tty, on one that names itself, or on one
// that carries both directions. The stage performs what the pollers decide; their requests leave
// through the port of answers. On the intake's queue.

import Exchanges
import Formats
import Model

extension IntakeStage {
    // MARK: Life of a line

    package func lineOpened(_ connection: ConnectionID, source: Int) {
        let settings = sources[source].source.lines
        guard settings.isUsed else { return }
        let line = IntakeLine(
            connection, source: source, isRegistered: !settings.needsRegistration)
        desk.lines[connection] = line
        if line.isRegistered { begin(line) }
        tell(line)
    }

    /// Tells the poller what happened.
    private func tell(_ line: IntakeLine) {
        while !line.happened.isEmpty { step(line, line.happened.removeFirst()) }
    }

    /// The line that the connection is, nil where it is a plain stream.
    @inline(__always)
    func line(_ connection: ConnectionID, source: Int) -> IntakeLine? {
        sources[source].source.lines.isUsed ? desk.lines[connection] : nil
    }

    func lineEnded(_ connection: ConnectionID) {
        guard let line = desk.lines.removeValue(forKey: connection) else { return }
        _ = line.poller?.step(.closed, now: clock.now())
        // A line that comes back goes on where it was: its dead devices are dead still.
        if let poller = line.poller,
            sources[line.source].source.lines.plan.requests.isEmpty == false
        {
            desk.rest[LineKey(source: line.source, name: line.name)] = poller
        }
        desk.wakes.set(connection.rawValue, nil)
    }

    /// The line's devices may be asked from now on.
    private func begin(_ line: IntakeLine) {
        let plan = sources[line.source].source.lines.plan
        guard !plan.requests.isEmpty else { return }
        let known = desk.rest.removeValue(forKey: LineKey(source: line.source, name: line.name))
        line.poller = known ?? LinePoller(plan.forLine(line.name))
        line.happened.append(.opened)
    }

    // MARK: Polling

    /// Lines whose time has come. Called at every timer of the intake.
    func pollLines() {
        let now = clock.now()
        while let key = desk.wakes.takeDue(now) {
            guard let line = desk.lines[ConnectionID(key)] else { continue }
            // Answers could not be taken in now; what is under way may be waiting in the kernel.
            step(line, hasRoom ? .timer : .heldUp)
            if !hasRoom { desk.wakes.set(key, now.adding(milliseconds: 100)) }
        }
        wakeForLines()
    }

    func wakeForLines() {
        if let at = desk.wakes.earliest() { ports.wakeAt(at) }
    }

    func step(_ line: IntakeLine, _ event: LinePoller.Event) {
        guard line.poller != nil else { return }
        let effect = line.poller?.step(event, now: clock.now()) ?? LinePoller.Effect()
        if line.poller?.inFlight == nil { line.flight = nil }
        desk.wakes.set(line.connection.rawValue, effect.wakeAt)
        if let number = effect.send { send(number, effect.transaction, on: line) }
        wakeForLines()
    }

    private func send(_ number: Int, _ transaction: UInt16, on line: IntakeLine) {
        guard let request = line.poller?.plan.requests[number] else { return }
        let bytes = request.request.bytes(request.arguments, transaction: transaction)
        let decoder = sources[line.source].formats[request.format].decoder
        // The library has tried every request, with other parameters.
        guard (try? decoder.decode(bytes.span, direction: .down, into: &frame)) != nil else {
            return
        }
        line.flight = IntakeLine.Flight(
            format: request.format, asked: frame.asked, bytes: bytes)
        // What is left of an earlier exchange is no part of this one.
        line.stale = max(0, line.kept - line.begun)
        ports.answers.answer(bytes.span, to: .connection(line.connection))
        ports.answers.flush()
    }

    // MARK: Bytes

    func lineStream(
        _ bytes: Span<UInt8>, _ line: IntakeLine, at receivedAt: Timestamp
    ) -> StreamProgress {
        var progress = StreamProgress(
            consumed: min(line.stale, bytes.count), frames: 0, isSuspended: false)
        skipped(progress.consumed)
        line.stale = 0
        line.kept = 0
        line.begun = 0
        while progress.consumed < bytes.count {
            guard hasRoom else {
                progress.isSuspended = true
                break
            }
            let rest = bytes.extracting(progress.consumed...)
            let taken = lineBytes(rest, line, at: receivedAt, &progress.frames)
            progress.consumed += taken
            if taken == 0 {
                line.happened.append(.heard)
                break
            }
        }
        line.kept = bytes.count - progress.consumed
        line.begun = begun(bytes.extracting(progress.consumed...), line)
        // What was read belongs to what was asked before; only now may the next request leave.
        tell(line)
        return progress
    }

    /// How many of the bytes that are kept may be the beginning of a heartbeat or registration.
    private func begun(_ kept: Span<UInt8>, _ line: IntakeLine) -> Int {
        let patterns = sources[line.source].source.lines.patterns
        guard !patterns.isEmpty else { return 0 }
        let at = patterns.partial(kept, in: 0..<kept.count, isNamed: line.isRegistered)
        return at.map { kept.count - $0 } ?? 0
    }

    /// Takes what stands first; 0 when more bytes are needed.
    private func lineBytes(
        _ rest: Span<UInt8>, _ line: IntakeLine, at receivedAt: Timestamp, _ frames: inout Int
    ) -> Int {
        if let echo = echo(rest, line) { return echo }
        let patterns = sources[line.source].source.lines.patterns
        guard line.isRegistered else {
            return take(rest, patterns, line, in: 0..<1, &frames)
                ?? (patterns.partial(rest, in: 0..<1, isNamed: false) != nil ? 0 : skip(1))
        }
        let (search, format) = find(rest, on: line)
        switch search {
        case .frame(let skip, let count):
            // A heartbeat stands before the frame, never in it.
            if let taken = take(rest, patterns, line, in: 0..<skip, &frames) { return taken }
            skipped(skip)
            let whole = rest.extracting(skip..<skip + count)
            if lineFrame(whole, line, format, at: receivedAt) { frames += 1 }
            return skip + count
        case .rejected(let skip, let advance, let reason):
            if let taken = take(rest, patterns, line, in: 0..<skip + 1, &frames) { return taken }
            skipped(skip)
            counters.framesReceived &+= 1
            counters.bytesReceived &+= UInt64(advance)
            refuse(reason, rest.extracting(skip...), source: line.source, at: receivedAt)
            return skip + advance
        case .needsMore(let skip):
            let reach = min(skip + 1, rest.count)
            if let taken = take(rest, patterns, line, in: 0..<reach, &frames) { return taken }
            let keep = patterns.partial(rest, in: 0..<skip, isNamed: true) ?? skip
            return self.skip(keep)
        }
    }

    private func skip(_ count: Int) -> Int {
        skipped(count)
        return count
    }

    /// The request in flight as it comes back from a two-wire adapter.
    private func echo(_ rest: Span<UInt8>, _ line: IntakeLine) -> Int? {
        guard let flight = line.flight, flight.mayEcho else { return nil }
        let reach = min(rest.count, flight.bytes.count)
        for i in 0..<reach where rest[i] != flight.bytes[i] {
            line.flight?.mayEcho = false
            return nil
        }
        guard reach == flight.bytes.count else { return 0 }
        line.flight?.mayEcho = false
        line.echoes &+= 1
        return skip(reach)
    }

    /// Takes a registration or heartbeat that begins in `range`, with the noise before it.
    private func take(
        _ rest: Span<UInt8>, _ patterns: LinePatterns, _ line: IntakeLine, in range: Range<Int>,
        _ frames: inout Int
    ) -> Int? {
        guard !patterns.isEmpty else { return nil }
        for at in range {
            guard let found = patterns.find(rest, at: at, isNamed: line.isRegistered) else {
                continue
            }
            skipped(at)
            counters.framesReceived &+= 1
            counters.framesControl &+= 1
            touchCounters()
            frames += 1
            switch found {
            case .heartbeat(let count):
                line.heartbeats &+= 1
                counters.bytesReceived &+= UInt64(count)
                return at + count
            case .registration(let count, let name):
                counters.bytesReceived &+= UInt64(count)
                let from = at + name.lowerBound
                let text = LinePattern.name(rest.extracting(from..<from + name.count))
                register(line, text ?? "")
                return at + count
            }
        }
        return nil
    }

    /// The line has said who it is. A line that names itself anew keeps what it is asked.
    private func register(_ line: IntakeLine, _ name: String) {
        guard !line.isRegistered || line.name.isEmpty else { return }
        let wasRegistered = line.isRegistered
        line.isRegistered = true
        line.name = name
        line.context.scope = Array(name.utf8)
        if !wasRegistered { begin(line) }
    }

    // MARK: Frames

    /// Looks for the answer that is awaited; on a line without one for whatever its formats find.
    private func find(_ rest: Span<UInt8>, on line: IntakeLine) -> (FrameSearch, Int) {
        if let flight = line.flight {
            let decoder = sources[line.source].formats[flight.format].decoder
            return (decoder.search(rest, direction: .up), flight.format)
        }
        let up = find(rest, source: line.source, known: connections[line.connection])
        guard sources[line.source].source.lines.hearsRequests else { return up }
        return IntakeStage.earlier(up, findRequest(rest, on: line))
    }

    private func findRequest(_ rest: Span<UInt8>, on line: IntakeLine) -> (FrameSearch, Int) {
        var best: (FrameSearch, Int) = (.needsMore(skip: rest.count), 0)
        for index in sources[line.source].formats.indices {
            let decoder = sources[line.source].formats[index].decoder
            best = IntakeStage.earlier(best, (decoder.search(rest, direction: .down), index))
        }
        return best
    }

    /// Of two searches the one that found a frame first; else the one that gives up fewer bytes.
    private static func earlier(
        _ a: (FrameSearch, Int), _ b: (FrameSearch, Int)
    ) -> (FrameSearch, Int) {
        func rank(_ search: FrameSearch) -> (Int, Int) {
            switch search {
            case .frame(let skip, _): (0, skip)
            case .needsMore(let skip): (1, skip)
            case .rejected(let skip, _, _): (2, skip)
            }
        }
        return rank(b.0) < rank(a.0) ? b : a
    }

    /// A frame of the line; true when it was taken in.
    private func lineFrame(
        _ bytes: Span<UInt8>, _ line: IntakeLine, _ number: Int, at receivedAt: Timestamp
    ) -> Bool {
        counters.framesReceived &+= 1
        counters.bytesReceived &+= UInt64(bytes.count)
        let format = sources[line.source].formats[number]
        if sources[line.source].source.lines.hearsRequests {
            return heardFrame(bytes, line, number, at: receivedAt)
        }
        let none: [4 of Int64] = [-1, -1, -1, -1]
        line.context.numbers = line.flight?.asked ?? none
        guard decode(bytes, line, format, at: receivedAt) else { return false }
        guard line.poller != nil, format.format.pairs else {
            // Nothing says what answers what: the next frame is the answer.
            let isGood = admit(bytes, line, format, at: receivedAt)
            if line.flight != nil { line.answered(isException: false) }
            return isGood
        }
        switch frame.pairing {
        case .answer, .exception:
            let isException = frame.pairing == .exception
            let isGood = admit(bytes, line, format, at: receivedAt)
            line.answered(isException: isException)
            return isGood
        case .mismatch, .unknown:
            refuse(.unasked, bytes, source: line.source, at: receivedAt)
            line.happened.append(.mismatched)
            return false
        }
    }

    /// A frame on a line that carries both directions: the answer to a request that waits, else a
    /// request, else whatever it says alone.
    private func heardFrame(
        _ bytes: Span<UInt8>, _ line: IntakeLine, _ number: Int, at receivedAt: Timestamp
    ) -> Bool {
        let format = sources[line.source].formats[number]
        for (i, request) in line.heard.enumerated() where request.format == number {
            line.context.numbers = request.asked
            guard tryDecode(bytes, line, format) else { break }
            guard frame.pairing == .answer || frame.pairing == .exception else { continue }
            line.heard.removeFirst(i + 1)
            line.paired &+= 1
            return admit(bytes, line, format, at: receivedAt)
        }
        if (try? format.decoder.decode(bytes, direction: .down, into: &frame)) != nil,
            frame.isRequest
        {
            line.hear(number, frame.asked)
            counters.framesControl &+= 1
            touchCounters()
            return true
        }
        line.context.numbers = [-1, -1, -1, -1]
        guard decode(bytes, line, format, at: receivedAt) else { return false }
        return admit(bytes, line, format, at: receivedAt)
    }

    private func decode(
        _ bytes: Span<UInt8>, _ line: IntakeLine, _ format: FormatState, at receivedAt: Timestamp
    ) -> Bool {
        line.context.encode(bytes, into: &desk.envelope)
        let envelope = desk.envelope
        do throws(Rejection) {
            try format.decoder.decode(envelope: envelope.span, direction: .up, into: &frame)
            return true
        } catch {
            refuse(error, bytes, source: line.source, at: receivedAt)
            return false
        }
    }

    private func tryDecode(
        _ bytes: Span<UInt8>, _ line: IntakeLine, _ format: FormatState
    ) -> Bool {
        line.context.encode(bytes, into: &desk.envelope)
        let envelope = desk.envelope
        return
            (try? format.decoder.decode(envelope: envelope.span, direction: .up, into: &frame))
            != nil
    }

    /// Takes the decoded frame in; the journal keeps its envelope.
    private func admit(
        _ bytes: Span<UInt8>, _ line: IntakeLine, _ format: FormatState, at receivedAt: Timestamp
    ) -> Bool {
        let envelope = desk.envelope
        do throws(Rejection) {
            try take(
                envelope.span, sources[line.source], format, at: receivedAt,
                answerTo: .connection(line.connection), isEnvelope: true)
            return true
        } catch {
            refuse(error, bytes, source: line.source, at: receivedAt)
            return false
        }
    }

    // MARK: Looking

    /// Every line with what became of its polls.
    package func lineReports() -> [LineReport] {
        let now = clock.now()
        return desk.lines.values.sorted { $0.connection.rawValue < $1.connection.rawValue }
            .map { report($0, now) }
    }

    private func report(_ line: IntakeLine, _ now: Instant) -> LineReport {
        LineReport(
            name: line.name, source: line.source, connection: line.connection,
            isRegistered: line.isRegistered, counts: line.poller?.counts ?? PollCounts(),
            heartbeats: line.heartbeats, echoes: line.echoes, paired: line.paired,
            lastAnswerMillisecondsAgo: line.poller?.lastAnswerAt.map {
                now.milliseconds(since: $0)
            },
            nextPollMilliseconds: line.poller?.wakeAt.map { $0.milliseconds(since: now) },
            devices: (line.poller?.polled ?? []).map { device in
                LineReport.DeviceReport(
                    name: device.name, isDead: device.isDead, counts: device.counts,
                    lastAnswerMillisecondsAgo: device.lastAnswerAt.map {
                        now.milliseconds(since: $0)
                    },
                    nextPollMilliseconds: device.nextAt.map { $0.milliseconds(since: now) })
            })
    }
}
