// The gateway's side of the uplink: one TCP connection at a time to a store that is named by host
// and port. Owner: the uplink stage; on its queue only. Names are resolved on a queue of their own,
// because getaddrinfo blocks. Decisions (when to connect again) are the forwarder's.

import CLinux
package import Dispatch
package import Model

package final class UplinkConnection: ByteStreamOwner {
    package enum Event {
        case connected
        /// No address could be reached; the last reason.
        case failed(HostError)
        case received([UInt8])
        /// Everything that was sent has left; there is room for more.
        case drained
        /// The connection moves, however slowly.
        case progressed
        /// nil: the store closed.
        case closed(HostError?)
    }

    private struct Resolved: Sendable {
        var attempt: UInt64
        var endpoints: [Endpoint]
    }

    private let loop: SocketLoop
    private let clock: Clock
    private let handler: (Event) -> Void
    private let resolver = DispatchQueue(label: "sluice.resolve")
    private var mailbox: Mailbox<Resolved>?
    private var stream: ByteStream?
    private var connecting: Connecting?
    private var candidates: [Endpoint] = []
    private var candidate = Endpoint.ipv4(0, port: 0)
    private var attempt: UInt64 = 0
    private var name = ""
    private var deadline: (any DispatchSourceTimer)?

    /// `handler` runs on `queue`, never from within a call of this object's own functions.
    package init(
        queue: DispatchQueue, clock: Clock = .real, handler: @escaping (Event) -> Void
    ) throws(HostError) {
        self.clock = clock
        self.handler = handler
        loop = try SocketLoop(queue: queue)
        mailbox = Mailbox(queue) { [weak self] in self?.resolved($0) }
    }

    package var isConnected: Bool { stream != nil }
    package var unsentBytes: Int { stream?.unsentBytes ?? 0 }

    /// Starts to connect; ends with `connected` or `failed` within `timeout` milliseconds.
    /// A connection or attempt that there is ends without an event.
    package func connect(to address: HostPort, timeout: Int64 = 10_000) {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        close()
        name = "store \(address.description)"
        startDeadline(timeout)
        let attempt = attempt
        guard let mailbox else { return }
        if let endpoint = address.endpoint {
            return mailbox.post(Resolved(attempt: attempt, endpoints: [endpoint]))
        }
        resolver.async {
            mailbox.post(Resolved(attempt: attempt, endpoints: resolve(address)))
        }
    }

    /// False when there is no connection; the bytes are then not sent. The caller bounds what it
    /// sends by `unsentBytes` and credit.
    @discardableResult
    package func send(_ bytes: [UInt8]) -> Bool {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        guard let stream, stream.isOpen else { return false }
        stream.send(bytes)
        return true
    }

    /// Ends the connection or the attempt, without an event.
    package func close() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        attempt &+= 1
        stream?.close()
        stream = nil
        connecting?.stop(loop)
        connecting = nil
        candidates = []
        stopDeadline()
    }

    /// For good.
    package func stop() {
        close()
        mailbox = nil
        loop.close()
    }

    // MARK: connecting

    private func resolved(_ answer: Resolved) {
        guard answer.attempt == attempt else { return }
        candidates = answer.endpoints
        tryNext(
            HostError("connect to \(name)", why: "the name has no address", advice: "check DNS"))
    }

    private func tryNext(_ lastError: HostError) {
        var error = lastError
        while !candidates.isEmpty {
            candidate = candidates.removeFirst()
            var to = candidate.raw
            do {
                // Safety: `to` outlives the call, which only reads it.
                let descriptor = try Descriptor(
                    unsafe sluice_tcp_connect(&to), "connect to \(name)")
                connecting = try Connecting(descriptor, loop) { [weak self] in
                    self?.settled($0)
                }
                return
            } catch let failure {
                error = failure
            }
        }
        fail(error)
    }

    private func settled(_ result: Int32) {
        guard let settled = connecting else { return }
        connecting = nil
        guard let descriptor = settled.stop(loop) else { return }
        guard result == 0 else {
            return tryNext(HostError("connect to \(name)", result: result))
        }
        // A port of this machine on which nobody listens can be given to our own end, which then
        // talks to itself and keeps the store from its port (TCP simultaneous open).
        guard descriptor.localEndpoint != candidate else {
            return tryNext(HostError("connect to \(name)", why: "nobody listens there"))
        }
        do {
            stream = try ByteStream(
                descriptor, name: name, isServer: false, loop: loop, owner: self, clock: clock)
        } catch {
            return fail(error)
        }
        stopDeadline()
        handler(.connected)
    }

    private func fail(_ error: HostError) {
        close()
        handler(.failed(error))
    }

    private func startDeadline(_ timeout: Int64) {
        let timer = DispatchSource.makeTimerSource(queue: loop.queue)
        timer.schedule(deadline: .now() + .milliseconds(Int(timeout)), leeway: .milliseconds(100))
        timer.setEventHandler { [weak self] in
            guard let self else { return }
            fail(HostError("connect to \(name)", why: "no answer in \(timeout) ms"))
        }
        timer.activate()
        deadline = timer
    }

    private func stopDeadline() {
        deadline?.cancel()
        deadline = nil
    }

    // MARK: the open connection

    func received(_ bytes: [UInt8], on stream: ByteStream) { handler(.received(bytes)) }
    func drained(_ stream: ByteStream) { handler(.drained) }
    func progressed(_ stream: ByteStream) { handler(.progressed) }

    func ended(_ stream: ByteStream, error: HostError?) {
        guard stream === self.stream else { return }
        close()
        handler(.closed(error))
    }
}

/// A connection that is being made: writable means settled.
final class Connecting: SocketHandler {
    private var descriptor: Descriptor?
    private var token: SocketToken?
    private let settled: (Int32) -> Void

    init(
        _ descriptor: consuming Descriptor, _ loop: SocketLoop,
        _ settled: @escaping (Int32) -> Void
    ) throws(HostError) {
        self.settled = settled
        self.descriptor = nil
        token = try loop.add(descriptor, self, for: .writable)
        self.descriptor = consume descriptor
    }

    func visit(_ readiness: Readiness) -> Found {
        guard let taken = descriptor.take() else { return Found() }
        let result = sluice_connect_result(taken.number)
        descriptor = consume taken
        settled(result)
        return Found()
    }

    @discardableResult
    func stop(_ loop: SocketLoop) -> Descriptor? {
        guard let token, let taken = descriptor.take() else { return nil }
        self.token = nil
        loop.remove(taken, token)
        return taken
    }
}

/// Up to eight addresses of a name; blocks.
func resolve(_ address: HostPort) -> [Endpoint] {
    var found = [sluice_endpoint](repeating: sluice_endpoint(), count: 8)
    // Safety: the shim writes at most `count` entries into the array it is lent.
    let count = unsafe found.withUnsafeMutableBufferPointer {
        unsafe sluice_resolve(address.host, address.port, $0.baseAddress, UInt32($0.count))
    }
    return found.prefix(max(0, Int(count))).map { Endpoint($0) }
}
