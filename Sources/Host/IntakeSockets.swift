// All sources of one intake: opens them, visits them, sends their answers. The door for whoever
// wires a gateway. Owner: GatewayProcess; after `init` everything on the intake's queue. Bound at
// init, so that a port that is taken is an error at start; nothing is read before `start`.

import CLinux
package import Dispatch
package import Model
package import Pipeline

package final class IntakeSockets {
    /// Give it to the intake before `start`.
    package let answers = AnswerSender()
    /// Where each source is bound, in the order of the configuration; port 0 for lines that we open.
    package let endpoints: [Endpoint]
    /// What an operator should know: buffers that the kernel made smaller than wanted.
    package private(set) var warnings: [String] = []

    private let sources: [Configuration.Source]
    private let loop: SocketLoop
    private let clock: Clock
    private var unopened: [OpenedSource]
    private var datagramSources: [UDPSource] = []
    private var streamSources: [StreamSource] = []
    private let numbers = ConnectionNumbers()
    private var isReading = true
    private var keepsOpen = false
    /// What `stop` kept open.
    private(set) var kept: [sluice_handed] = []
    private(set) var recording: Recording?
    private var lastRecording: UInt64 = 0
    /// Where everything goes when nobody records.
    private var plainDoor: (any IntakeDoor)?

    /// Binds every source. `queue` is serial and the intake's own: it is blocked for up to
    /// `moderation` of the sources (the shortest counts) while traffic flows.
    package init(
        sources: [Configuration.Source], queue: DispatchQueue, clock: Clock = .real,
        inherited: InheritedSockets? = nil
    ) throws(HostError) {
        precondition(sources.count <= Configuration.maximumSources)
        self.sources = sources
        self.clock = clock
        var opened: [OpenedSource] = []
        var endpoints: [Endpoint] = []
        for (number, source) in sources.enumerated() {
            guard source.lines.place == nil else {
                endpoints.append(.ipv4(0, port: 0))
                continue
            }
            opened.append(try OpenedSource(source, number: number, inherited))
            endpoints.append(opened[opened.count - 1].endpoint)
        }
        self.endpoints = endpoints
        unopened = opened
        for socket in inherited?.untaken() ?? [] {
            warnings.append(
                "systemd opened \(socket), and no source listens there: name it as a source's "
                    + "`listen`, or take it out of sluiced.socket")
        }
        let absence = sources.map(\.moderation).min() ?? 0
        loop = try SocketLoop(
            queue: queue,
            moderation: absence == 0
                ? .off : Moderation(longestAbsence: UInt64(absence) * 1_000_000))
    }

    /// Begins to take in. On the intake's queue, once.
    package func start(door: any IntakeDoor) throws(HostError) {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        plainDoor = door
        let longest = sources.indices.map { door.maximumFrame(source: $0) }.max() ?? 0
        let slab = try UDPSlab(slotBytes: UDPSlab.slotBytes(forFrame: longest))
        let streamSlab = StreamSlab(maximumFrame: longest)
        for opened in unopened {
            let source = sources[opened.number]
            guard let descriptor = opened.take() else { continue }
            let statistics = SourceStatistics(name: source.name, endpoint: opened.endpoint)
            switch source.listen.transport {
            case .udp:
                let udp = UDPSource(
                    descriptor, number: opened.number, wanted: source.receiveBuffer,
                    statistics: statistics, slab: slab, door: door, clock: clock,
                    drops: opened.drops)
                warnAboutBuffer(of: udp)
                loop.watch(bufferBytes: udp.statistics.bufferBytes)
                datagramSources.append(udp)
                answers.attach(udp)
                try udp.start(in: loop)
            case .tcp:
                let tcp = TCPSource(
                    descriptor, limits: source, statistics: statistics, slab: streamSlab,
                    door: door, loop: loop, numbers: numbers, clock: clock, number: opened.number)
                streamSources.append(tcp)
                answers.attach(tcp)
                try tcp.start()
            }
        }
        unopened = []
        for (number, source) in sources.enumerated() {
            guard let place = source.lines.place else { continue }
            let line = LineSource(
                place, limits: source,
                statistics: SourceStatistics(name: source.name, endpoint: endpoints[number]),
                slab: streamSlab, door: door, loop: loop, numbers: numbers, clock: clock,
                number: number)
            streamSources.append(line)
            answers.attach(line)
            try line.start()
        }
        loop.didVisit = { [weak self] in self?.endTurns() }
        loop.willRest = { [weak self] in self?.refreshDrops() }
    }

    /// The intake has room again. On its queue; harmless when nothing waits.
    package func roomAgain() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        guard loop.isWithoutRoom else { return }
        for source in streamSources where !source.roomAgain() { return }
        loop.roomAgain()
    }

    /// Whether streams are read; datagrams always are. On the intake's queue.
    package func setPaced(_ isPaced: Bool) {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        for source in streamSources { source.setPaced(isPaced) }
    }

    package var isWithoutRoom: Bool { loop.isWithoutRoom }

    /// From now on `stop` keeps what the sources are bound to open, for the program that follows in this
    /// process. On the intake's queue.
    func keepOpen() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        keepsOpen = true
    }

    /// Where a source of `next` listens and none of these does: what the kernel says of it, if it would not
    /// have it.
    static func faults(
        of next: [Configuration.Source], besides running: [Configuration.Source]
    ) -> [String] {
        var faults: [String] = []
        for (number, source) in next.enumerated() where source.lines.place == nil {
            let isHeld = running.contains {
                $0.lines.place == nil && $0.listen.transport == source.listen.transport
                    && $0.listen.endpoint == source.listen.endpoint
            }
            if isHeld { continue }
            do throws(HostError) {
                _ = try OpenedSource(source, number: number, nil)
            } catch {
                faults.append(error.description)
            }
        }
        return faults
    }

    private func keep(_ descriptor: borrowing Descriptor, drops: UInt32, number: Int) {
        let fd = sluice_keep_open(descriptor.number)
        guard fd >= 0, kept.count < InheritedSockets.most else { return }
        kept.append(
            sluice_handed(
                fd: fd, drops: drops,
                has_any_port: sources[number].listen.endpoint.port == 0 ? 1 : 0))
    }

    /// From now on nothing is read; answers still leave. On the intake's queue.
    package func stopReading() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        guard isReading else { return }
        isReading = false
        endRecording()
        refreshDrops()
        loop.close()
    }

    /// Closes every socket and connection. On the intake's queue.
    package func stop() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        stopReading()
        if keepsOpen {
            for source in datagramSources {
                keep(source.descriptor, drops: source.dropsSeen, number: source.number)
            }
            for case let source as TCPSource in streamSources {
                keep(source.listener, drops: 0, number: source.number)
            }
        }
        for source in streamSources { source.stop() }
        answers.detachAll()
        datagramSources = []
        streamSources = []
    }

    /// Counters of all sources in the order of the configuration. On the intake's queue.
    package func statistics() -> [SourceStatistics] {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        refreshDrops()
        let all =
            datagramSources.map { ($0.number, $0.statistics) }
            + streamSources.map { ($0.number, $0.statistics) }
        return all.sorted { $0.0 < $1.0 }.map(\.1)
    }

    /// What each line that we open is doing, by the source's number.
    package func lineStates() -> [Int: LineState] {
        var states: [Int: LineState] = [:]
        for case let line as LineSource in streamSources { states[line.number] = line.state }
        return states
    }

    /// Visits to the sockets and wakes from rest. On the intake's queue.
    package var loopCounts: (visits: UInt64, wakes: UInt64) { (loop.visits, loop.wakes) }

    private func endTurns() {
        for source in streamSources { source.endTurn() }
        if recording != nil { endForgottenRecording() }
    }

    // MARK: recording

    var sourceNames: [String] { sources.map(\.name) }

    func begin(_ filter: RecordingFilter, only: Int?, of stage: IntakeStage) -> Recording {
        lastRecording &+= 1
        let begun = Recording(
            stage, number: lastRecording, filter: filter, only: only, servers: endpoints,
            clock: clock)
        recording = begun
        answers.recording = begun
        setDoor(begun)
        return begun
    }

    func endRecording() {
        guard recording != nil else { return }
        recording = nil
        answers.recording = nil
        if let plainDoor { setDoor(plainDoor) }
    }

    func endForgottenRecording() {
        if recording?.isForgotten == true { endRecording() }
    }

    private func setDoor(_ door: any IntakeDoor) {
        for source in datagramSources { source.door = door }
        for source in streamSources { source.door = door }
    }

    private func refreshDrops() {
        for source in datagramSources { source.refreshDrops() }
    }

    private func warnAboutBuffer(of source: UDPSource) {
        let statistics = source.statistics
        // The kernel counts its own bookkeeping and therefore doubles what it is asked for.
        guard statistics.bufferBytes < 2 * statistics.bufferBytesWanted else { return }
        let wanted = sizeText(statistics.bufferBytesWanted)
        warnings.append(
            "source \(statistics.name): the kernel gives \(statistics.bufferBytes / 2) of "
                + "\(wanted) receive buffer: bursts may be lost: run "
                + "`sysctl -w net.core.rmem_max=\(statistics.bufferBytesWanted)`, or give the "
                + "service CAP_NET_ADMIN")
    }
}

/// A source between bind and start.
private final class OpenedSource {
    let number: Int
    let endpoint: Endpoint
    /// What the kernel had dropped and an earlier start has counted.
    let drops: UInt32
    private var descriptor: Descriptor?

    init(
        _ source: Configuration.Source, number: Int, _ inherited: InheritedSockets?
    ) throws(HostError) {
        self.number = number
        if let taken = inherited?.take(source.listen.transport, at: source.listen.endpoint) {
            drops = taken.drops
            let open = taken.descriptor
            if source.listen.transport == .udp {
                sluice_udp_buffer(open.number, UInt32(source.receiveBuffer))
            }
            endpoint = open.localEndpoint
            descriptor = consume open
            return
        }
        drops = 0
        var at = source.listen.endpoint.raw
        let result: Int32
        // Safety: `at` outlives the calls, which only read it.
        switch source.listen.transport {
        case .udp: result = unsafe sluice_udp_open(&at, UInt32(source.receiveBuffer), 0)
        case .tcp: result = unsafe sluice_tcp_listen(&at, 1024)
        }
        let opened = try Descriptor(
            result, "source \(source.name): listen on \(source.listen.description)")
        endpoint = opened.localEndpoint
        descriptor = consume opened
    }

    func take() -> Descriptor? { descriptor.take() }
}
