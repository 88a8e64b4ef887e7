// The store's side of the uplink: listens, gives each gateway's connection a session and carries
// bytes between them. Owner: sluice-store's process; everything on the store's queue, sessions
// included. A gateway that does not read its answers is not read from either.

import CLinux
package import Dispatch
package import Model

/// One gateway's conversation, whatever it speaks. On the store's queue.
package protocol StoreSessionDoor: AnyObject {
    /// Bytes as they came, in any cut; what to answer, and whether to close after that.
    func receive(_ bytes: [UInt8]) -> (reply: [UInt8], close: Bool)
    /// The connection is gone. Called once, also after `close`.
    func ended()
    /// Bytes that it holds of a frame that has not wholly arrived.
    var heldBytes: Int { get }
}

extension StoreSessionDoor {
    package var heldBytes: Int { 0 }
}

/// One that takes part in turns: what several say is taken first, then the turn is ended for all, then each
/// answers.
package protocol StoreTurnDoor: StoreSessionDoor {
    func take(_ bytes: [UInt8])
    /// After the turn's end; what to send, and whether to close after that.
    func answer() -> (reply: [UInt8], close: Bool)
}

package final class StoreServer: ByteStreamOwner {
    package struct Limits: Sendable {
        package var gateways = 256
        /// Bytes of unfinished frames of all gateways together; who goes beyond is cut off.
        package var heldBytes = 256 << 20
        /// Milliseconds without a byte in either direction after which a connection is closed.
        package var silence: Int64 = 120_000
        /// The same for a connection that has not sent anything yet.
        package var firstBytes: Int64 = 10_000
        package init() {}
    }

    package struct Statistics: Hashable, Sendable {
        package var connections = 0
        package var accepted: UInt64 = 0
        package var refused: UInt64 = 0
        package var silenced: UInt64 = 0
        package var bytesReceived: UInt64 = 0
    }

    package let endpoint: Endpoint
    package private(set) var statistics = Statistics()
    private let loop: SocketLoop
    private let limits: Limits
    private let clock: Clock
    private let makeSession: (Endpoint) -> any StoreSessionDoor
    private let endTurn: (() -> Void)?
    private var acceptor: Acceptor?
    private struct Session {
        let stream: ByteStream
        let door: any StoreSessionDoor
        var hasSpoken = false
        var held = 0
        /// Its answer waits for the end of the turn.
        var isInTurn = false
    }

    private var sessions: [ObjectIdentifier: Session] = [:]
    private var held = 0
    /// Those who have said something in this visit.
    private var turn: [ByteStream] = []
    private var timer: (any DispatchSourceTimer)?

    /// Binds; accepts nobody before `start`. `makeSession` runs on `queue`, `endTurn` as well: after each
    /// visit in which a `StoreTurnDoor` took something.
    package init(
        listen: Endpoint, queue: DispatchQueue, limits: Limits = Limits(), clock: Clock = .real,
        endTurn: (() -> Void)? = nil,
        makeSession: @escaping (Endpoint) -> any StoreSessionDoor
    ) throws(HostError) {
        self.limits = limits
        self.clock = clock
        self.makeSession = makeSession
        self.endTurn = endTurn
        loop = try SocketLoop(queue: queue)
        var at = listen.raw
        // Safety: `at` outlives the call, which only reads it.
        let result = unsafe sluice_tcp_listen(&at, 128)
        let descriptor = try Descriptor(
            result, "listen for gateways on \(listen.description)")
        endpoint = descriptor.localEndpoint
        loop.didVisit = { [weak self] in self?.visited() }
        acceptor = Acceptor(descriptor, isUnix: false, loop: loop) { [weak self] in
            self?.accept($0, from: $1)
        }
    }

    package func start() throws(HostError) {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        try acceptor?.start()
    }

    /// Closes the door and every connection.
    package func stop() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        acceptor?.stop()
        acceptor = nil
        closeConnections()
        timer?.cancel()
        timer = nil
        loop.close()
    }

    /// Gateways may come again at once.
    package func closeConnections() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        turn.removeAll()
        for session in Array(sessions.values) {
            session.stream.close()
            ended(session.stream, error: nil)
        }
    }

    private func accept(_ descriptor: consuming Descriptor, from: Endpoint) {
        guard sessions.count < limits.gateways,
            let stream = try? ByteStream(
                descriptor, name: "gateway \(from.description)", isServer: true, loop: loop,
                owner: self,
                clock: clock)
        else {
            statistics.refused &+= 1
            return
        }
        sessions[ObjectIdentifier(stream)] = Session(stream: stream, door: makeSession(from))
        statistics.accepted &+= 1
        statistics.connections = sessions.count
        startTimer()
    }

    func received(_ bytes: [UInt8], on stream: ByteStream) {
        guard let session = sessions[ObjectIdentifier(stream)] else { return }
        sessions[ObjectIdentifier(stream)]?.hasSpoken = true
        statistics.bytesReceived &+= UInt64(bytes.count)
        if endTurn != nil, let door = session.door as? any StoreTurnDoor {
            door.take(bytes)
            if !session.isInTurn {
                sessions[ObjectIdentifier(stream)]?.isInTurn = true
                turn.append(stream)
            }
        } else {
            let (reply, close) = session.door.receive(bytes)
            answer(stream, reply, close)
        }
    }

    /// The handlers of this visit have run.
    private func visited() {
        guard !turn.isEmpty else { return }
        endTurn?()
        let streams = turn
        turn.removeAll()
        for stream in streams {
            // Gone meanwhile: nobody waits for the answer.
            guard let session = sessions[ObjectIdentifier(stream)], stream.isOpen,
                let door = session.door as? any StoreTurnDoor
            else { continue }
            sessions[ObjectIdentifier(stream)]?.isInTurn = false
            let (reply, close) = door.answer()
            answer(stream, reply, close)
        }
    }

    private func answer(_ stream: ByteStream, _ reply: [UInt8], _ close: Bool) {
        guard let session = sessions[ObjectIdentifier(stream)] else { return }
        stream.send(reply)
        let holds = session.door.heldBytes
        held += holds - session.held
        sessions[ObjectIdentifier(stream)]?.held = holds
        if close {
            stream.closeWhenSent()
        } else if held > limits.heldBytes {
            statistics.refused &+= 1
            stream.close()
            ended(stream, error: nil)
        }
    }

    func drained(_ stream: ByteStream) {}
    func progressed(_ stream: ByteStream) {}

    func ended(_ stream: ByteStream, error: HostError?) {
        guard let session = sessions.removeValue(forKey: ObjectIdentifier(stream)) else { return }
        statistics.connections = sessions.count
        held -= session.held
        session.door.ended()
        if sessions.isEmpty {
            timer?.cancel()
            timer = nil
        }
    }

    /// One coarse timer, only while there are gateways.
    private func startTimer() {
        guard timer == nil else { return }
        let interval = Int(max(20, min(5000, limits.silence / 4, limits.firstBytes / 4)))
        let timer = DispatchSource.makeTimerSource(queue: loop.queue)
        timer.schedule(
            deadline: .now() + .milliseconds(interval), repeating: .milliseconds(interval),
            leeway: .milliseconds(interval / 2))
        timer.setEventHandler { [weak self] in self?.sweep() }
        timer.activate()
        self.timer = timer
    }

    private func sweep() {
        acceptor?.listen(true)
        let now = clock.now()
        for session in Array(sessions.values) {
            if session.stream.isOpen {
                let limit = session.hasSpoken ? limits.silence : limits.firstBytes
                guard now.milliseconds(since: session.stream.lastMoved) >= limit else { continue }
                statistics.silenced &+= 1
                session.stream.close()
            }
            ended(session.stream, error: nil)
        }
    }
}
