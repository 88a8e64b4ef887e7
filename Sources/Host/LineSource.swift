// A source whose line we open ourselves: a TCP connection to a serial gateway or Modbus server, or a
// tty. It holds one line at a time and opens it again when it is lost. Owner: IntakeSockets; on the
// intake's queue only. When to try again is Redial's decision.

import CLinux
import Dispatch
import Exchanges
import Glibc
package import Model
import Pipeline

/// What a line that we open is doing, for status.
package struct LineState: Sendable {
    package var place: String
    package var isOpen = false
    /// Attempts since the start, those that succeeded among them.
    package var attempts: UInt64 = 0
    package var lastError: String?
    package var nextAttempt: Instant?
}

final class LineSource: StreamSource {
    private static let connectTimeout: Int64 = 10_000

    private let place: Configuration.LinePlace
    private var redial: Redial
    private var connector: LineConnector?
    private var attemptTimer: (any DispatchSourceTimer)?
    private var isStopped = false
    private(set) var state: LineState

    init(
        _ place: Configuration.LinePlace, limits: Configuration.Source,
        statistics: SourceStatistics, slab: StreamSlab, door: any IntakeDoor, loop: SocketLoop,
        numbers: ConnectionNumbers, clock: Clock, number: Int
    ) {
        self.place = place
        redial = Redial(seed: randomBits())
        state = LineState(place: place.description)
        super.init(
            limits: limits, statistics: statistics, slab: slab, door: door, loop: loop,
            numbers: numbers, clock: clock, number: number)
    }

    override func start() throws(HostError) { open() }

    override func stop() {
        isStopped = true
        attemptTimer?.cancel()
        attemptTimer = nil
        connector?.close()
        connector = nil
        super.stop()
    }

    // MARK: opening

    private func open() {
        guard !isStopped else { return }
        state.attempts &+= 1
        state.nextAttempt = nil
        switch place {
        case .tty(let tty):
            do throws(HostError) {
                opened(try tty.open(), at: Endpoint.ipv4(0, port: 0))
            } catch { failed(error) }
        case .connect(let address):
            let connector = LineConnector(loop: loop, timeout: LineSource.connectTimeout) {
                [weak self] result in
                self?.settled(result)
            }
            self.connector = connector
            connector.connect(to: address)
        }
    }

    private func settled(_ error: HostError?) {
        guard let connector else { return }
        self.connector = nil
        if let descriptor = connector.take() {
            opened(descriptor, at: connector.endpoint)
        } else {
            failed(error ?? HostError("connect", why: "it failed"))
        }
    }

    private func opened(_ descriptor: consuming Descriptor, at endpoint: Endpoint) {
        guard !isStopped else { return }
        redial.opened(clock.now())
        state.isOpen = true
        if state.lastError != nil {
            Log.state(
                "source \(limits.name): \(place.description) is open", .source(limits.name),
                .place(place.description))
        }
        state.lastError = nil
        if adopt(descriptor, from: endpoint) == nil {
            failed(HostError("watch \(place.description)", why: "no descriptor left"))
        }
    }

    private func failed(_ error: HostError) {
        let words = error.description
        // A line that stays away is one warning, not one an attempt.
        if words != state.lastError {
            warn(words)
        }
        state.lastError = words
        tryLater()
    }

    private func warn(_ words: String) {
        Log.warning(
            "source \(limits.name): \(words): trying again", .source(limits.name),
            .place(place.description), .reason(words))
    }

    private func tryLater() {
        state.isOpen = false
        guard !isStopped else { return }
        let now = clock.now()
        let at = redial.failed(now)
        state.nextAttempt = at
        let timer = DispatchSource.makeTimerSource(queue: loop.queue)
        timer.schedule(
            deadline: .now() + .milliseconds(Int(at.milliseconds(since: now))),
            leeway: .milliseconds(50))
        timer.setEventHandler { [weak self] in self?.open() }
        timer.activate()
        attemptTimer = timer
    }

    // MARK: of all streams

    override func didEnd(_ connection: StreamConnection) {
        guard state.isOpen else { return }
        if state.lastError == nil, !isStopped {
            let words = "\(place.description): the line was closed"
            warn(words)
            state.lastError = words
        }
        tryLater()
    }

    override var answersAfterEnd: Bool { false }
    /// It was we who opened it: the other side may be silent for as long as between frames.
    override var firstFrameTimeout: Int64 { limits.idleTimeout }
}

/// One attempt to connect to a host by name or number; ends with one call of `settled`.
final class LineConnector {
    private let loop: SocketLoop
    private let timeout: Int64
    private let settled: (HostError?) -> Void
    private static let resolver = DispatchQueue(label: "sluice.resolve.lines")
    private var mailbox: Mailbox<[Endpoint]>?
    private var candidates: [Endpoint] = []
    private(set) var endpoint = Endpoint.ipv4(0, port: 0)
    private var connecting: Connecting?
    private var descriptor: Descriptor?
    private var deadline: (any DispatchSourceTimer)?
    private var name = ""

    init(loop: SocketLoop, timeout: Int64, settled: @escaping (HostError?) -> Void) {
        self.loop = loop
        self.timeout = timeout
        self.settled = settled
    }

    func connect(to address: HostPort) {
        name = "connect to tcp://\(address.description)"
        let mailbox = Mailbox<[Endpoint]>(loop.queue) { [weak self] in
            self?.candidates = $0
            self?.tryNext("the name has no address")
        }
        self.mailbox = mailbox
        startDeadline()
        if let endpoint = address.endpoint { return mailbox.post([endpoint]) }
        LineConnector.resolver.async { mailbox.post(resolve(address)) }
    }

    /// The connection, once, when there is one.
    func take() -> Descriptor? { descriptor.take() }

    func close() {
        mailbox = nil
        connecting?.stop(loop)
        connecting = nil
        candidates = []
        deadline?.cancel()
        deadline = nil
    }

    private func tryNext(_ reason: String) {
        var failure = HostError(name, why: reason)
        while !candidates.isEmpty {
            endpoint = candidates.removeFirst()
            var to = endpoint.raw
            do throws(HostError) {
                // Safety: `to` outlives the call, which only reads it.
                let opened = try Descriptor(unsafe sluice_tcp_connect(&to), name)
                connecting = try Connecting(opened, loop) { [weak self] in self?.answered($0) }
                return
            } catch { failure = error }
        }
        finish(failure)
    }

    private func answered(_ result: Int32) {
        guard let connecting else { return }
        self.connecting = nil
        guard let opened = connecting.stop(loop) else { return }
        guard result == 0 else { return tryNext(HostError(name, result: result).why) }
        // See UplinkConnection: a port on which nobody listens may be given to our own end.
        guard opened.localEndpoint != endpoint else { return tryNext("nobody listens there") }
        descriptor = consume opened
        finish(nil)
    }

    private func finish(_ error: HostError?) {
        close()
        settled(error)
    }

    private func startDeadline() {
        let timer = DispatchSource.makeTimerSource(queue: loop.queue)
        timer.schedule(deadline: .now() + .milliseconds(Int(timeout)), leeway: .milliseconds(100))
        timer.setEventHandler { [weak self] in
            guard let self else { return }
            finish(HostError(name, why: "no answer in \(timeout) ms"))
        }
        timer.activate()
        deadline = timer
    }
}
