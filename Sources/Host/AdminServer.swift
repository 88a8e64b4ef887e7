// Health, status, ledger and metrics over a Unix socket (mode 0600) and, when asked for, loopback
// TCP: HTTP/1.1, GET and HEAD, one request a connection. Owner: the process; on the admin queue
// only. Bounds: 8 KB a request, 32 connections, 5 s to ask, 10 s to answer.

import CLinux
package import Dispatch
package import Model

package struct AdminResponse: Sendable {
    package var status: Int
    package var contentType: String
    package var body: String

    package init(status: Int = 200, contentType: String = "text/plain", body: String) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    package static func json(_ text: String, status: Int = 200) -> AdminResponse {
        AdminResponse(status: status, contentType: "application/json", body: text)
    }
}

/// Where a route's answer goes: once, from any thread.
package struct AdminReply: Sendable {
    fileprivate let request: UInt64
    fileprivate let mailbox: Mailbox<(UInt64, AdminResponse)>

    package func callAsFunction(_ response: AdminResponse) { mailbox.post((request, response)) }
}

package final class AdminServer: ByteStreamOwner {
    /// `query` is what stands after `?`, as sent.
    package typealias Route = (_ query: String, _ reply: AdminReply) -> Void

    package struct Limits: Sendable {
        package var connections = 32
        package var requestTimeout: Int64 = 5000
        package var responseTimeout: Int64 = 10_000
        package init() {}
    }

    private final class Visitor {
        let number: UInt64
        let stream: ByteStream
        let isUnix: Bool
        let since: Instant
        var bytes: [UInt8] = []
        var isAsked = false
        var isAnswered = false
        var wantsBody = true

        init(number: UInt64, stream: ByteStream, isUnix: Bool, since: Instant) {
            self.number = number
            self.stream = stream
            self.isUnix = isUnix
            self.since = since
        }
    }

    /// Where HTTP is served, with the port that the kernel chose; nil: nowhere.
    package let httpEndpoint: Endpoint?
    private let loop: SocketLoop
    private let clock: Clock
    private let limits: Limits
    private let socketPath: String
    private var acceptors: [Acceptor] = []
    private var routes: [String: Route] = [:]
    /// Not for everyone on this machine: over the Unix socket only, whose mode says who may.
    private var privateRoutes: Set<String> = []
    private var visitors: [UInt64: Visitor] = [:]
    private var numbers: [ObjectIdentifier: UInt64] = [:]
    private var lastNumber: UInt64 = 0
    private var mailbox: Mailbox<(UInt64, AdminResponse)>?
    private var timer: (any DispatchSourceTimer)?

    /// Binds; answers nobody before `start`. An empty `socket` serves no Unix socket.
    package init(
        socket: String, http: Endpoint?, queue: DispatchQueue, limits: Limits = Limits(),
        clock: Clock = .real
    ) throws(HostError) {
        var unix: Descriptor?
        var tcp: Descriptor?
        if !socket.isEmpty {
            // Safety: Swift lends a NUL-terminated copy of `socket`.
            unix = try Descriptor(
                unsafe sluice_unix_listen(socket, 16), "serve status on \(socket)")
        }
        if let http {
            precondition(http.isLoopback, "the admin endpoint has no login")
            var at = http.raw
            // Safety: `at` outlives the call, which only reads it.
            tcp = try Descriptor(
                unsafe sluice_tcp_listen(&at, 16), "serve status on \(http.description)")
        }
        httpEndpoint = tcp?.localEndpoint
        socketPath = socket
        self.limits = limits
        self.clock = clock
        loop = try SocketLoop(queue: queue)
        mailbox = Mailbox(queue) { [weak self] in self?.answer($0.0, $0.1) }
        if let unix = unix.take() { addAcceptor(unix, isUnix: true) }
        if let tcp = tcp.take() { addAcceptor(tcp, isUnix: false) }
    }

    private func addAcceptor(_ descriptor: consuming Descriptor, isUnix: Bool) {
        acceptors.append(
            Acceptor(descriptor, isUnix: isUnix, loop: loop) { [weak self] taken, _ in
                self?.accept(taken, isUnix: isUnix)
            })
    }

    /// `path` such as `/health`. Before `start`; `route` runs on the admin queue and must not
    /// block.
    package func route(_ path: String, isPrivate: Bool = false, _ route: @escaping Route) {
        routes[path] = route
        if isPrivate { privateRoutes.insert(path) }
    }

    package func start() throws(HostError) {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        for acceptor in acceptors { try acceptor.start() }
    }

    /// Closes everything and removes the socket file.
    package func stop() {
        dispatchPrecondition(condition: .onQueue(loop.queue))
        for acceptor in acceptors { acceptor.stop() }
        acceptors = []
        for visitor in visitors.values { visitor.stream.close() }
        visitors = [:]
        numbers = [:]
        timer?.cancel()
        timer = nil
        mailbox = nil
        routes = [:]
        loop.close()
        // Safety: Swift lends a NUL-terminated copy of the path.
        if !socketPath.isEmpty { _ = unsafe sluice_unlink(socketPath) }
    }

    // MARK: connections

    private func accept(_ descriptor: consuming Descriptor, isUnix: Bool) {
        guard
            let stream = try? ByteStream(
                descriptor, name: "admin", isServer: true, loop: loop, owner: self, clock: clock)
        else { return }
        lastNumber &+= 1
        let visitor = Visitor(
            number: lastNumber, stream: stream, isUnix: isUnix, since: clock.now())
        visitors[lastNumber] = visitor
        numbers[ObjectIdentifier(stream)] = lastNumber
        // Further ones wait in the backlog until one leaves.
        if visitors.count >= limits.connections {
            for acceptor in acceptors { acceptor.listen(false) }
        }
        startTimer()
    }

    func received(_ bytes: [UInt8], on stream: ByteStream) {
        guard let number = numbers[ObjectIdentifier(stream)], let visitor = visitors[number],
            !visitor.isAsked
        else { return }
        visitor.bytes += bytes
        switch AdminRequest.parse(visitor.bytes) {
        case .incomplete: return
        case .refused(let status):
            visitor.isAsked = true
            answer(number, AdminResponse(status: status, body: AdminRequest.reason(status) + "\n"))
        case .request(let request):
            visitor.isAsked = true
            visitor.wantsBody = request.method == "GET"
            visitor.bytes = []
            serve(request, visitor)
        }
    }

    private func serve(_ request: AdminRequest, _ visitor: Visitor) {
        // A page in a browser can send requests here under a name of its own (DNS rebinding).
        guard visitor.isUnix || request.isForLoopback else {
            return answer(visitor.number, AdminResponse(status: 421, body: "use 127.0.0.1\n"))
        }
        guard let route = routes[request.path], let mailbox else {
            let known = routes.keys.sorted().joined(separator: " ")
            return answer(
                visitor.number, AdminResponse(status: 404, body: "not here; there is: \(known)\n"))
        }
        guard visitor.isUnix || !privateRoutes.contains(request.path) else {
            return answer(
                visitor.number, AdminResponse(status: 403, body: "over the Unix socket only\n"))
        }
        route(request.query, AdminReply(request: visitor.number, mailbox: mailbox))
    }

    private func answer(_ number: UInt64, _ response: AdminResponse) {
        guard let visitor = visitors[number], !visitor.isAnswered else { return }
        visitor.isAnswered = true
        let body = Array(response.body.utf8)
        let head =
            "HTTP/1.1 \(response.status) \(AdminRequest.reason(response.status))\r\n"
            + "Content-Type: \(response.contentType); charset=utf-8\r\n"
            + "Content-Length: \(body.count)\r\nConnection: close\r\n"
            + "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            + "Content-Security-Policy: \(StatusPage.policy)\r\nReferrer-Policy: no-referrer\r\n\r\n"
        visitor.stream.send(Array(head.utf8) + (visitor.wantsBody ? body : []))
        visitor.stream.closeWhenSent()
    }

    func drained(_ stream: ByteStream) {}
    func progressed(_ stream: ByteStream) {}

    func ended(_ stream: ByteStream, error: HostError?) {
        guard let number = numbers.removeValue(forKey: ObjectIdentifier(stream)) else { return }
        visitors[number] = nil
        for acceptor in acceptors { acceptor.listen(true) }
        if visitors.isEmpty {
            timer?.cancel()
            timer = nil
        }
    }

    // MARK: time

    private func startTimer() {
        guard timer == nil else { return }
        let shortest = min(limits.requestTimeout, limits.responseTimeout)
        let interval = Int(max(20, min(1000, shortest / 4)))
        let timer = DispatchSource.makeTimerSource(queue: loop.queue)
        timer.schedule(
            deadline: .now() + .milliseconds(interval), repeating: .milliseconds(interval),
            leeway: .milliseconds(interval / 2))
        timer.setEventHandler { [weak self] in self?.sweep() }
        timer.activate()
        self.timer = timer
    }

    private func sweep() {
        for acceptor in acceptors { acceptor.listen(true) }
        let now = clock.now()
        for visitor in Array(visitors.values) {
            let waited = now.milliseconds(since: visitor.since)
            if visitor.isAnswered {
                if now.milliseconds(since: visitor.stream.lastMoved) >= limits.responseTimeout {
                    visitor.stream.close()
                    ended(visitor.stream, error: nil)
                }
            } else if !visitor.isAsked, waited >= limits.requestTimeout {
                answer(visitor.number, AdminResponse(status: 408, body: "too slow\n"))
            } else if visitor.isAsked, waited >= limits.requestTimeout + limits.responseTimeout {
                answer(visitor.number, AdminResponse(status: 503, body: "no answer in time\n"))
            }
        }
    }
}
