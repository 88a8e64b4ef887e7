// A TCP source: its listening socket and all connections that were made to it. Owner: IntakeSockets; on
// the intake's queue only. Limits of its own: connections in all and per address.

import CLinux
import Dispatch
import Glibc
import Model
import Pipeline

final class TCPSource: StreamSource, SocketHandler {
    private static let acceptsPerVisit = 64

    let listener: Descriptor
    private var listenerToken: SocketToken?
    private var countByAddress: [EndpointAddress: Int] = [:]
    private var isListenerPaused = false

    init(
        _ listener: consuming Descriptor, limits: Configuration.Source,
        statistics: SourceStatistics, slab: StreamSlab, door: any IntakeDoor, loop: SocketLoop,
        numbers: ConnectionNumbers, clock: Clock, number: Int
    ) {
        self.listener = listener
        super.init(
            limits: limits, statistics: statistics, slab: slab, door: door, loop: loop,
            numbers: numbers, clock: clock, number: number)
    }

    override func start() throws(HostError) {
        listenerToken = try loop.add(listener, self, for: .readable)
    }

    override func stop() {
        if let listenerToken { loop.remove(listener, listenerToken) }
        listenerToken = nil
        super.stop()
    }

    // MARK: accepting

    func visit(_ readiness: Readiness) -> Found {
        var found = Found()
        while found.units < TCPSource.acceptsPerVisit {
            var from = sluice_endpoint()
            // Safety: `from` outlives the call, which fills it when it succeeds.
            let result = unsafe sluice_accept(listener.number, &from)
            if result == -ECONNABORTED { continue }
            guard let descriptor = Descriptor(result) else {
                // No descriptor left: the waiting connection would wake us for ever.
                if result != -EAGAIN { pauseListener() }
                return found
            }
            found.units += 1
            accept(descriptor, from: Endpoint(from))
        }
        found.hasMore = true
        return found
    }

    private func accept(_ descriptor: consuming Descriptor, from: Endpoint) {
        let fromAddress = countByAddress[from.address] ?? 0
        guard connections.count < limits.connections else {
            statistics[.tooManyConnections] &+= 1
            return
        }
        guard fromAddress < limits.connectionsPerAddress else {
            statistics[.tooManyFromAddress] &+= 1
            return
        }
        countByAddress[from.address] = fromAddress + 1
        if adopt(descriptor, from: from) == nil { forget(from.address) }
    }

    private func forget(_ address: EndpointAddress) {
        let left = (countByAddress[address] ?? 1) - 1
        countByAddress[address] = left > 0 ? left : nil
    }

    private func pauseListener() {
        guard let listenerToken, !isListenerPaused else { return }
        isListenerPaused = true
        loop.change(listener, listenerToken, to: [])
        startTimer()
    }

    // MARK: of all streams

    override func didEnd(_ connection: StreamConnection) { forget(connection.from.address) }

    override var keepsTimer: Bool { isListenerPaused }

    /// A polled line says nothing by itself, so its silence is no fault, unless it is to say its name.
    override var firstFrameTimeout: Int64 {
        let lines = limits.lines
        let isSilent = !lines.requests.isEmpty && !lines.needsRegistration
        return isSilent ? limits.idleTimeout : limits.firstFrameTimeout
    }

    override func willSweep() {
        guard isListenerPaused, let listenerToken else { return }
        isListenerPaused = false
        loop.change(listener, listenerToken, to: .readable)
        if connections.isEmpty { stopTimer() }
    }
}
