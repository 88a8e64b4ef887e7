// A connected stream socket between programs: store sessions, the uplink, admin requests. Owner:
// the server or client that made it; on that one's queue only. A server does not read while more
// than `highWater` waits to be sent, so a peer that does not read is bounded. A client bounds what
// it sends by `unsentBytes` and always reads: if both sides waited for the other to read, neither
// would.

import CLinux
import Glibc
import Model

protocol ByteStreamOwner: AnyObject {
    func received(_ bytes: [UInt8], on stream: ByteStream)
    /// The other side has closed or the connection failed; `error` is nil for a clean end.
    func ended(_ stream: ByteStream, error: HostError?)
    /// Everything has been sent.
    func drained(_ stream: ByteStream)
    /// Some of what was held up was sent.
    func progressed(_ stream: ByteStream)
}

final class ByteStream: SocketHandler {
    static let readBytes = 65_536
    static let highWater = 256 << 10

    private var descriptor: Descriptor?
    private let loop: SocketLoop
    private weak var owner: (any ByteStreamOwner)?
    private let name: String
    private let isServer: Bool
    private var token: SocketToken?
    private var interest: Readiness = .readable
    private var unsent: [UInt8] = []
    private var sent = 0
    private var closesWhenSent = false
    private let clock: Clock
    /// When bytes last went in either direction.
    private(set) var lastMoved: Instant

    /// `name` is for error texts.
    init(
        _ descriptor: consuming Descriptor, name: String, isServer: Bool, loop: SocketLoop,
        owner: any ByteStreamOwner, clock: Clock
    ) throws(HostError) {
        self.isServer = isServer
        self.loop = loop
        self.owner = owner
        self.name = name
        self.clock = clock
        lastMoved = clock.now()
        self.descriptor = nil
        token = try loop.add(descriptor, self, for: .readable)
        self.descriptor = consume descriptor
    }

    var unsentBytes: Int { unsent.count - sent }
    var isOpen: Bool { token != nil }

    /// Queues `bytes` and sends what the kernel takes now.
    func send(_ bytes: [UInt8]) {
        guard isOpen, !closesWhenSent, !bytes.isEmpty else { return }
        if unsentBytes == 0 { lastMoved = clock.now() }
        unsent.append(contentsOf: bytes)
        flush()
    }

    /// The owner is told that it ended when it has.
    func closeWhenSent() {
        closesWhenSent = true
        if unsentBytes == 0 { fail(nil) } else { watch() }
    }

    /// Without telling the owner.
    func close() {
        guard let token else { return }
        self.token = nil
        guard let taken = descriptor.take() else { return }
        loop.remove(taken, token)
        unsent = []
        sent = 0
    }

    func visit(_ readiness: Readiness) -> Found {
        var found = Found()
        if readiness.contains(.writable) { flush() }
        guard isOpen, readiness.contains(.readable) || readiness.contains(.hungUp) else {
            return found
        }
        if closesWhenSent {
            // It has been told all it will be told; what it still says is not read.
            if readiness.contains(.hungUp) { fail(nil) }
            return found
        }
        var bytes = [UInt8](repeating: 0, count: ByteStream.readBytes)
        let count = descriptor?.read(into: &bytes, at: 0) ?? 0
        if count == -Int(EAGAIN) { return found }
        guard count > 0 else {
            fail(count == 0 ? nil : HostError("read from \(name)", result: Int32(count)))
            return found
        }
        lastMoved = clock.now()
        found.units = count
        bytes.removeLast(bytes.count - count)
        owner?.received(bytes, on: self)
        return found
    }

    private func flush() {
        guard unsentBytes > 0 else { return watch() }
        let count = descriptor?.send(unsent, from: sent) ?? 0
        if count < 0, count != -Int(EAGAIN) {
            return fail(HostError("send to \(name)", result: Int32(count)))
        }
        if count > 0 { lastMoved = clock.now() }
        sent += max(0, count)
        if unsentBytes == 0 {
            unsent = []
            sent = 0
            if closesWhenSent { return fail(nil) }
            watch()
            owner?.drained(self)
        } else {
            if count > 0 { owner?.progressed(self) }
            if sent > ByteStream.highWater {
                unsent.removeFirst(sent)
                sent = 0
            }
            watch()
        }
    }

    private func watch() {
        guard let token, descriptor != nil else { return }
        var wanted: Readiness = []
        if unsentBytes > 0 { wanted.insert(.writable) }
        let mayRead = !isServer || unsentBytes <= ByteStream.highWater
        if mayRead, !closesWhenSent { wanted.insert(.readable) }
        guard wanted != interest else { return }
        interest = wanted
        guard let taken = descriptor.take() else { return }
        loop.change(taken, token, to: wanted)
        descriptor = consume taken
    }

    private func fail(_ error: HostError?) {
        guard isOpen else { return }
        close()
        owner?.ended(self, error: error)
    }
}

/// Accepts connections for a server.
final class Acceptor: SocketHandler {
    private let descriptor: Descriptor
    private let isUnix: Bool
    private let accepted: (consuming Descriptor, Endpoint) -> Void
    private var token: SocketToken?
    private var isPaused = false
    private let loop: SocketLoop

    init(
        _ descriptor: consuming Descriptor, isUnix: Bool, loop: SocketLoop,
        _ accepted: @escaping (consuming Descriptor, Endpoint) -> Void
    ) {
        self.descriptor = descriptor
        self.isUnix = isUnix
        self.loop = loop
        self.accepted = accepted
    }

    func start() throws(HostError) {
        token = try loop.add(descriptor, self, for: .readable)
    }

    func stop() {
        if let token { loop.remove(descriptor, token) }
        token = nil
    }

    /// False while descriptors are short or the server is full: a waiting connection must not wake
    /// us for ever.
    func listen(_ isListening: Bool) {
        guard let token, isListening == isPaused else { return }
        isPaused = !isListening
        loop.change(descriptor, token, to: isListening ? .readable : [])
    }

    func visit(_ readiness: Readiness) -> Found {
        var found = Found()
        while found.units < 16, !isPaused {
            var from = sluice_endpoint()
            // Safety: `from` outlives the call, which fills it when it succeeds.
            let result =
                isUnix
                ? sluice_unix_accept(descriptor.number)
                : unsafe sluice_accept(descriptor.number, &from)
            if result == -ECONNABORTED { continue }
            guard let connection = Descriptor(result) else {
                if result != -EAGAIN { listen(false) }
                return found
            }
            found.units += 1
            accepted(connection, Endpoint(from))
        }
        return found
    }
}
