// Streams of a source: what accepted connections and lines that we opened have in common. Owner:
// IntakeSockets; on the intake's queue only. Limits: time to the first frame, time between frames,
// unfinished bytes; each refusal is counted by its reason. One coarse timer, only while there are
// connections. How they come about: TCPSource (they connect to us), LineSource (we open them).

import CLinux
import Dispatch
import Glibc
import Model
import Pipeline

class StreamSource {
    /// How long a device that has closed its side may wait for its last answers.
    private static let farewell: Int64 = 10_000

    let number: Int
    /// The intake, or a recording before it.
    final var door: any IntakeDoor
    let clock: Clock
    let slab: StreamSlab
    let maximumFrame: Int
    let maximumPendingBytes = 16 << 20
    var pendingBytes = 0
    final var statistics: SourceStatistics
    let limits: Configuration.Source
    let loop: SocketLoop
    private let numbers: ConnectionNumbers
    private(set) var connections: [ConnectionID: StreamConnection] = [:]
    private var waiting: [StreamConnection] = []
    private var dirty: [StreamConnection] = []
    private var timer: (any DispatchSourceTimer)?
    /// The door has been called since the last end of a turn.
    private var needsEndTurn = false
    /// Time while we took nothing in is no fault of the devices.
    private var grace: Instant
    private var isPaced = false

    init(
        limits: Configuration.Source,
        statistics: SourceStatistics, slab: StreamSlab, door: any IntakeDoor, loop: SocketLoop,
        numbers: ConnectionNumbers, clock: Clock, number: Int
    ) {
        self.number = number
        self.limits = limits
        self.statistics = statistics
        self.slab = slab
        self.door = door
        self.loop = loop
        self.numbers = numbers
        self.clock = clock
        maximumFrame = door.maximumFrame(source: number)
        grace = clock.now()
    }

    func start() throws(HostError) {}

    func stop() {
        waiting = []
        dirty = []
        for connection in Array(connections.values) { end(connection) }
        endTurn()
    }

    // MARK: what the kinds do differently

    /// A connection is over and forgotten.
    func didEnd(_ connection: StreamConnection) {}
    /// The coarse timer is needed though there is no connection.
    var keepsTimer: Bool { false }
    func willSweep() {}
    /// A device that has closed its side may wait for answers.
    var answersAfterEnd: Bool { true }
    /// How long a connection may bring no complete frame at first.
    var firstFrameTimeout: Int64 { limits.firstFrameTimeout }

    // MARK: beginning

    /// Takes a connection or tty in; nil when the loop cannot watch it.
    @discardableResult
    func adopt(_ descriptor: consuming Descriptor, from: Endpoint) -> StreamConnection? {
        let connection = StreamConnection(
            descriptor, id: numbers.next(source: number), from: from, source: self, now: clock.now()
        )
        guard let token = try? loop.add(connection.descriptor, connection, for: .readable) else {
            statistics[.tooManyConnections] &+= 1
            return nil
        }
        connection.token = token
        connections[connection.id] = connection
        if isPaced { watch(connection, forRoomToSend: false) }
        statistics.connections = connections.count
        statistics.connectionsAccepted &+= 1
        startTimer()
        door.lineOpened(connection.id, source: number)
        return connection
    }

    // MARK: ending

    /// The device closed its side, or the connection failed.
    func readEnded(_ connection: StreamConnection) {
        let unconsumed = connection.end(at: clock.now())
        door.connectionEnded(connection.id, source: number, unconsumed: unconsumed)
        // A device that has sent frames may wait for their answers after it closed its own side.
        needsEndTurn = true
        if connection.hasSentFrame, answersAfterEnd {
            watch(connection, forRoomToSend: !connection.isOwedNothing)
        } else {
            end(connection)
        }
    }

    func refuse(_ connection: StreamConnection, _ reason: Refusal) {
        guard connections[connection.id] != nil else { return }
        statistics[reason] &+= 1
        end(connection)
    }

    func end(_ connection: StreamConnection) {
        guard connections.removeValue(forKey: connection.id) != nil else { return }
        if connection.endedAt == nil {
            let unconsumed = connection.end(at: clock.now())
            door.connectionEnded(connection.id, source: number, unconsumed: unconsumed)
            needsEndTurn = true
        }
        if let token = connection.token { loop.remove(connection.descriptor, token) }
        connection.token = nil
        statistics.connections = connections.count
        didEnd(connection)
        if connections.isEmpty, !keepsTimer { stopTimer() }
    }

    // MARK: room

    func wait(_ connection: StreamConnection) { waiting.append(connection) }

    /// Offers the bytes that were kept, oldest connection first; false when there is no room again.
    func roomAgain() -> Bool {
        grace = clock.now()
        let kept = waiting
        waiting = []
        var found = Found()
        for (i, connection) in kept.enumerated() where connections[connection.id] != nil {
            connection.roomAgain(&found)
            if found.hasNoRoom {
                waiting.append(contentsOf: kept[(i + 1)...])
                break
            }
        }
        needsEndTurn = true
        endTurn()
        return !found.hasNoRoom
    }

    /// Leaves what devices send in their windows, or reads again. A line that we poll is as patient as
    /// its polling.
    func setPaced(_ wish: Bool) {
        guard limits.lines.requests.isEmpty, wish != isPaced else { return }
        isPaced = wish
        grace = clock.now()
        for connection in connections.values {
            watch(connection, forRoomToSend: !connection.isOwedNothing)
        }
    }

    /// After the last connection of a visit.
    func endTurn() {
        guard needsEndTurn else { return }
        needsEndTurn = false
        door.endTurn(source: number, kernelDrops: 0)
    }

    func countRead(_ bytes: Int) {
        needsEndTurn = true
        statistics.visits &+= 1
        statistics.bytesReceived &+= UInt64(bytes)
    }

    // MARK: answers

    /// False: the connection is gone, or was closed because it does not read.
    func answer(_ bytes: Span<UInt8>, to id: ConnectionID) -> Bool {
        guard let connection = connections[id] else { return false }
        guard connection.append(bytes) else {
            statistics.answersLost &+= 1
            refuse(connection, .answersNotRead)
            return false
        }
        if !connection.isDirty {
            connection.isDirty = true
            dirty.append(connection)
        }
        return true
    }

    func flushAnswers() {
        for connection in dirty {
            connection.isDirty = false
            if connections[connection.id] != nil { connection.flush() }
        }
        dirty.removeAll(keepingCapacity: true)
    }

    func watch(_ connection: StreamConnection, forRoomToSend: Bool) {
        guard let token = connection.token else { return }
        var interest: Readiness = connection.endedAt == nil && !isPaced ? .readable : []
        if forRoomToSend { interest.insert(.writable) }
        guard interest != connection.interest else { return }
        connection.interest = interest
        loop.change(connection.descriptor, token, to: interest)
    }

    // MARK: time

    func startTimer() {
        guard timer == nil else { return }
        let shortest = min(1000, max(40, min(limits.firstFrameTimeout, limits.idleTimeout) / 4))
        let interval = DispatchTimeInterval.milliseconds(Int(shortest))
        let timer = DispatchSource.makeTimerSource(queue: loop.queue)
        timer.schedule(
            deadline: .now() + interval, repeating: interval,
            leeway: .milliseconds(Int(shortest) / 2))
        timer.setEventHandler { [weak self] in self?.sweep() }
        timer.activate()
        self.timer = timer
    }

    func stopTimer() {
        timer?.cancel()
        timer = nil
    }

    /// Ends what is overdue.
    private func sweep() {
        let now = clock.now()
        willSweep()
        guard !loop.isWithoutRoom, !isPaced else { return }
        for connection in Array(connections.values) {
            if let endedAt = connection.endedAt {
                if now.milliseconds(since: endedAt) >= StreamSource.farewell { end(connection) }
                continue
            }
            let elapsed = now.milliseconds(since: max(connection.since, grace))
            if connection.hasSentFrame {
                if elapsed >= limits.idleTimeout { refuse(connection, .idle) }
            } else if elapsed >= firstFrameTimeout {
                refuse(connection, .noFirstFrame)
            }
        }
        endTurn()
    }
}

/// Gives each connection of an intake its number; the source is in its low bits.
final class ConnectionNumbers {
    private var last: UInt64 = 0

    func next(source: Int) -> ConnectionID {
        last &+= 1
        return ConnectionID(last << 10 | UInt64(source))
    }

    static func source(of connection: ConnectionID) -> Int { Int(connection.rawValue & 1023) }
}
