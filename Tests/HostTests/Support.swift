// What the Host tests share: a door that frames by a length byte, state that can be awaited, and
// plain blocking client sockets on loopback (10 s limit each, so that a failure ends).

import Dispatch
import Glibc
import Host
import Model
import Pipeline
import Synchronization
import Testing

/// State that other queues change and a test awaits.
final class Watched<State: Sendable>: Sendable {
    private struct Waiter: Sendable {
        let number: Int
        let isDone: @Sendable (State) -> Bool
        let resume: @Sendable () -> Void
    }

    private struct Inside: Sendable {
        var state: State
        var waiters: [Waiter] = []
        var lastNumber = 0
    }

    private let inside: Mutex<Inside>

    init(_ state: State) { inside = Mutex(Inside(state: state)) }

    var now: State { inside.withLock { $0.state } }

    func update(_ change: @Sendable (inout State) -> Void) {
        let ready = inside.withLock { inside -> [Waiter] in
            change(&inside.state)
            let state = inside.state
            let ready = inside.waiters.filter { $0.isDone(state) }
            inside.waiters.removeAll { $0.isDone(state) }
            return ready
        }
        for waiter in ready { waiter.resume() }
    }

    /// Waits for the event; records an issue when it has not come within 30 s.
    @discardableResult
    func wait(
        until isDone: @escaping @Sendable (State) -> Bool,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async -> State {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let number = inside.withLock { inside -> Int? in
                if isDone(inside.state) { return nil }
                inside.lastNumber += 1
                inside.waiters.append(
                    Waiter(number: inside.lastNumber, isDone: isDone) { continuation.resume() })
                return inside.lastNumber
            }
            guard let number else { return continuation.resume() }
            watchdog.asyncAfter(deadline: .now() + .seconds(30)) { [weak self] in
                self?.giveUp(number, sourceLocation)
            }
        }
        return now
    }

    private func giveUp(_ number: Int, _ place: SourceLocation) {
        let late = inside.withLock { inside -> Waiter? in
            let late = inside.waiters.first { $0.number == number }
            inside.waiters.removeAll { $0.number == number }
            return late
        }
        guard let late else { return }
        Issue.record("the awaited event did not come", sourceLocation: place)
        late.resume()
    }
}

private let watchdog = DispatchQueue(label: "test.watchdog")

struct DoorState: Sendable {
    struct Datagram: Sendable {
        var bytes: [UInt8]
        var source: Int
        var from: Endpoint
        var receivedAt: Timestamp
        var isTruncated: Bool
    }

    var hasRoom = true
    var datagrams: [Datagram] = []
    var datagramCount = 0
    var frames: [[UInt8]] = []
    var connections: [ConnectionID] = []
    var ended: [(connection: ConnectionID, unconsumed: Int)] = []
    var turns = 0
    var kernelDrops: UInt64 = 0
    /// Take this many more frames, then report a suspension.
    var roomForFrames = Int.max
}

/// Stream frames are one length byte and that many bytes; a zero length byte is noise.
final class FakeDoor: IntakeDoor {
    let state = Watched(DoorState())
    let longestFrame: Int
    let keepsBytes: Bool

    init(longestFrame: Int = 255, keepsBytes: Bool = true) {
        self.longestFrame = longestFrame
        self.keepsBytes = keepsBytes
    }

    var hasRoom: Bool {
        let now = state.now
        return now.hasRoom && now.roomForFrames > 0
    }

    func datagram(
        _ bytes: Span<UInt8>, source: Int, from: Endpoint, at receivedAt: Timestamp,
        isTruncated: Bool
    ) {
        let copy = keepsBytes ? bytes.indices.map { bytes[$0] } : []
        state.update {
            $0.datagramCount += 1
            guard self.keepsBytes else { return }
            $0.datagrams.append(
                .init(
                    bytes: copy, source: source, from: from, receivedAt: receivedAt,
                    isTruncated: isTruncated))
        }
    }

    func stream(
        _ bytes: Span<UInt8>, source: Int, connection: ConnectionID, from: Endpoint,
        at receivedAt: Timestamp
    ) -> StreamProgress {
        var room = state.now.roomForFrames
        var at = 0
        var found: [[UInt8]] = []
        while at < bytes.count, room > 0 {
            let length = Int(bytes[at])
            if length == 0 {
                at += 1
                continue
            }
            guard at + 1 + length <= bytes.count else { break }
            found.append((1...length).map { bytes[at + $0] })
            at += 1 + length
            room -= 1
        }
        let frames = found
        let left = room
        state.update {
            $0.frames += frames
            for _ in frames { $0.connections.append(connection) }
            if $0.roomForFrames != Int.max { $0.roomForFrames = left }
        }
        return StreamProgress(consumed: at, frames: frames.count, isSuspended: left == 0)
    }

    func connectionEnded(_ connection: ConnectionID, source: Int, unconsumed: Int) {
        state.update { $0.ended.append((connection, unconsumed)) }
    }

    func endTurn(source: Int, kernelDrops: UInt64) {
        state.update {
            $0.turns += 1
            $0.kernelDrops += kernelDrops
        }
    }

    func maximumFrame(source: Int) -> Int { longestFrame }
}

extension FakeDoor: @unchecked Sendable {}

/// Sockets of an intake with a fake door, on loopback ports that the kernel chooses.
final class Rig {
    let queue = DispatchQueue(label: "test.intake")
    let door: FakeDoor
    let sockets: IntakeSockets

    init(_ sources: [Configuration.Source], door: FakeDoor = FakeDoor()) throws {
        self.door = door
        sockets = try IntakeSockets(sources: sources, queue: queue)
        try queue.sync { try sockets.start(door: door) }
    }

    deinit { queue.sync { sockets.stop() } }

    var port: UInt16 { sockets.endpoints[0].port }
    var statistics: SourceStatistics { queue.sync { sockets.statistics()[0] } }

    func giveRoom() {
        queue.sync {
            door.state.update {
                $0.hasRoom = true
                $0.roomForFrames = Int.max
            }
            sockets.roomAgain()
        }
    }
}

func udpSource(_ name: String = "u") -> Configuration.Source {
    .init(name: name, listen: .init(transport: .udp, endpoint: .ipv4(0x7F00_0001, port: 0)))
}

func tcpSource(_ name: String = "t") -> Configuration.Source {
    .init(name: name, listen: .init(transport: .tcp, endpoint: .ipv4(0x7F00_0001, port: 0)))
}

/// A blocking client socket.
final class Client {
    let fd: Int32

    init(udp port: UInt16) { fd = Client.connected(SOCK_DGRAM.rawValue, port) }
    init(tcp port: UInt16) { fd = Client.connected(SOCK_STREAM.rawValue, port) }

    init?(unix path: String) {
        fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // Safety: the copy is bounded by the field; the struct is lent for the call as sockaddr.
        let result = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe withUnsafeMutableBytes(of: &pointer.pointee.sun_path) { path_ in
                for (i, byte) in path.utf8.enumerated().prefix(path_.count - 1) {
                    unsafe path_[i] = byte
                }
            }
            return unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        Client.limit(fd)
        if result != 0 { return nil }
    }

    deinit { close(fd) }

    private static func connected(_ kind: UInt32, _ port: UInt16) -> Int32 {
        let fd = socket(AF_INET, Int32(kind), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        // Safety: the struct is lent for the call, rebound to the type that connect names.
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        precondition(result == 0, "cannot connect to port \(port)")
        limit(fd)
        return fd
    }

    private static func limit(_ fd: Int32) {
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        // Safety: the option's value is lent for the call with its own size.
        _ = unsafe setsockopt(
            fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        // Safety: the array is lent for the call with its own count.
        unsafe Glibc.send(fd, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// What one call brings; nil at the end of the stream or after 10 s.
    func receive() -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        // Safety: as in `send`.
        let count = unsafe recv(fd, &bytes, bytes.count, 0)
        return count > 0 ? Array(bytes[..<count]) : nil
    }

    /// Everything until the other side closes.
    func receiveAll() -> [UInt8] {
        var all: [UInt8] = []
        while let bytes = receive() { all += bytes }
        return all
    }

    /// True when the other side has closed (0 bytes or a reset), false after 10 s of silence.
    func awaitClose() -> Bool {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while true {
            // Safety: as in `send`.
            let count = unsafe recv(fd, &bytes, bytes.count, 0)
            if count == 0 { return true }
            if count < 0 { return errno != EAGAIN }
        }
    }

    func shutDownSending() { _ = shutdown(fd, Int32(SHUT_WR)) }
}

/// A fresh folder, removed with the value.
final class TemporaryFolder {
    let path: String

    init() {
        path = "/tmp/sluice-host-\(getpid())-\(randomBits())"
        // Safety: here and below Swift lends NUL-terminated copies of the paths.
        _ = unsafe mkdir(path, 0o700)
    }

    deinit {
        for name in ["a.sock", "lock", "c.json5"] { _ = unsafe unlink(path + "/" + name) }
        _ = unsafe rmdir(path)
    }
}

extension Client {
    static func sendByte(to fd: Int32) {
        let byte: [UInt8] = [1]
        // Safety: the array is lent for the call with its own count.
        _ = unsafe Glibc.send(fd, byte, 1, Int32(MSG_NOSIGNAL))
    }
}
