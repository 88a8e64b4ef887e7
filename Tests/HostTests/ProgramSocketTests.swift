// Sockets between programs: uplink to store, the admin endpoint, the lock, mailboxes.

import Dispatch
import Glibc
import Host
import Model
import Testing

/// Sends back what it is told; closes after "bye".
private final class EchoSession: StoreSessionDoor {
    let ends: Watched<Int>
    init(ends: Watched<Int>) { self.ends = ends }

    func receive(_ bytes: [UInt8]) -> (reply: [UInt8], close: Bool) {
        (bytes, bytes.suffix(3) == Array("bye".utf8)[...])
    }

    func ended() { ends.update { $0 += 1 } }
}

private final class StoreRig {
    let queue = DispatchQueue(label: "test.store")
    let ends = Watched(0)
    let server: StoreServer

    init(limits: StoreServer.Limits = .init()) throws {
        let ends = ends
        server = try StoreServer(
            listen: .ipv4(0x7F00_0001, port: 0), queue: queue, limits: limits
        ) { _ in EchoSession(ends: ends) }
        try queue.sync { try server.start() }
    }

    deinit { queue.sync { server.stop() } }
}

private struct UplinkState: Sendable {
    var connects = 0
    var failures: [HostError] = []
    var bytes: [UInt8] = []
    var closes = 0
}

private final class UplinkRig {
    let queue = DispatchQueue(label: "test.uplink")
    let state = Watched(UplinkState())
    let uplink: UplinkConnection

    init() throws {
        let state = state
        uplink = try UplinkConnection(queue: queue) { event in
            switch event {
            case .connected: state.update { $0.connects += 1 }
            case .failed(let error): state.update { $0.failures.append(error) }
            case .received(let bytes): state.update { $0.bytes += bytes }
            case .progressed, .drained: break
            case .closed: state.update { $0.closes += 1 }
            }
        }
    }

    deinit { queue.sync { uplink.stop() } }

    func connect(_ host: String, _ port: UInt16) {
        queue.sync { uplink.connect(to: HostPort(host: host, port: port)) }
    }
}

@Suite(.timeLimit(.minutes(1)))
struct StoreServerTests {
    @Test(
        "carries bytes both ways, four megabytes in order", arguments: ["127.0.0.1", "localhost"])
    func echo(host: String) async throws {
        let store = try StoreRig()
        let rig = try UplinkRig()
        rig.connect(host, store.server.endpoint.port)
        await rig.state.wait { $0.connects == 1 }
        let bytes = (0..<(4 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        rig.queue.sync { _ = rig.uplink.send(bytes) }
        let state = await rig.state.wait { $0.bytes.count >= bytes.count }
        // Compared outside the macro: it would look for the smallest difference of two long arrays.
        let isSame = state.bytes == bytes
        #expect(isSame, "\(state.bytes.count) of \(bytes.count) bytes")
        rig.queue.sync { _ = rig.uplink.send(Array("bye".utf8)) }
        await rig.state.wait { $0.closes == 1 }
        await store.ends.wait { $0 == 1 }
        #expect(rig.queue.sync { !rig.uplink.isConnected && !rig.uplink.send([1]) })
    }

    @Test("many gateways at once, each with its own session; beyond the limit they are refused")
    func many() async throws {
        var limits = StoreServer.Limits()
        limits.gateways = 8
        let store = try StoreRig(limits: limits)
        let clients = (0..<8).map { _ in Client(tcp: store.server.endpoint.port) }
        for (i, client) in clients.enumerated() { client.send([UInt8(i)]) }
        for (i, client) in clients.enumerated() { #expect(client.receive() == [UInt8(i)]) }
        #expect(Client(tcp: store.server.endpoint.port).awaitClose())
        #expect(store.queue.sync { store.server.statistics.refused } == 1)
        #expect(store.queue.sync { store.server.statistics.connections } == 8)
    }

    @Test("does not read from a gateway that does not read, and closes it in the end")
    func backpressure() async throws {
        var limits = StoreServer.Limits()
        limits.silence = 300
        let store = try StoreRig(limits: limits)
        let client = Client(tcp: store.server.endpoint.port)
        var timeout = timeval(tv_sec: 0, tv_usec: 100_000)
        // Safety: the option's value is lent for the call with its own size.
        _ = unsafe setsockopt(
            client.fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        let part = [UInt8](repeating: 1, count: 65_536)
        var sent = 0
        while sent < 256 << 20 {
            let count = client.send(part)
            guard count > 0 else { break }
            sent += count
        }
        // Bounded by the two kernel buffers and our own.
        #expect(sent < 64 << 20)
        await store.ends.wait { $0 == 1 }
        #expect(store.queue.sync { store.server.statistics.silenced } == 1)
    }

    @Test("closes a connection to the store that says nothing")
    func silentStranger() async throws {
        var limits = StoreServer.Limits()
        limits.firstBytes = 100
        let store = try StoreRig(limits: limits)
        let client = Client(tcp: store.server.endpoint.port)
        await store.ends.wait { $0 == 1 }
        #expect(store.queue.sync { store.server.statistics.silenced } == 1)
        _ = client.fd
    }

    @Test("a store that is not there is a failure with a reason, and can be tried again")
    func nobody() async throws {
        let port: UInt16
        do {
            let store = try StoreRig()
            port = store.server.endpoint.port
        }
        let rig = try UplinkRig()
        // Another loopback address: the kernel may have given the port of ours to the next test.
        rig.connect("127.61.7.3", port)
        let state = await rig.state.wait { $0.failures.count == 1 }
        #expect(state.failures[0].code == ECONNREFUSED)
        #expect(state.failures[0].what == "connect to store 127.61.7.3:\(port)")
        let store = try StoreRig()
        rig.connect("127.0.0.1", store.server.endpoint.port)
        await rig.state.wait { $0.connects == 1 }
    }

    @Test("a name without an address is a failure")
    func noName() async throws {
        let rig = try UplinkRig()
        rig.connect("no-such-host.invalid", 9)
        let state = await rig.state.wait { $0.failures.count == 1 }
        #expect(state.failures[0].why.contains("no address"))
    }

    @Test("an abandoned attempt says nothing")
    func abandoned() async throws {
        let store = try StoreRig()
        let rig = try UplinkRig()
        rig.queue.sync {
            rig.uplink.connect(to: HostPort(host: "localhost", port: 1))
            rig.uplink.close()
            rig.uplink.connect(to: HostPort(host: "localhost", port: 1))
            let port = store.server.endpoint.port
            rig.uplink.connect(to: HostPort(host: "127.0.0.1", port: port))
        }
        let state = await rig.state.wait { $0.connects == 1 }
        #expect(state.failures.isEmpty)
    }
}

private final class AdminRig {
    let queue = DispatchQueue(label: "test.admin")
    let folder = TemporaryFolder()
    let server: AdminServer
    var socket: String { folder.path + "/a.sock" }

    init(_ limits: AdminServer.Limits = .init()) throws {
        server = try AdminServer(
            socket: folder.path + "/a.sock", http: .ipv4(0x7F00_0001, port: 0), queue: queue,
            limits: limits)
        server.route("/health") { query, reply in
            reply(.json("{\"status\":\"ok\",\"query\":\"\(query)\"}"))
        }
        server.route("/big") { _, reply in
            reply(.init(body: String(repeating: "x", count: 3 << 20)))
        }
        server.route("/later") { _, reply in
            DispatchQueue(label: "test.other").async { reply(.init(status: 503, body: "later")) }
        }
        server.route("/never") { _, _ in }
        try queue.sync { try server.start() }
    }

    deinit { queue.sync { server.stop() } }

    func ask(_ text: String) -> String {
        let client = Client(tcp: server.httpEndpoint!.port)
        client.send(text)
        return String(decoding: client.receiveAll(), as: UTF8.self)
    }
}

@Suite(.timeLimit(.minutes(1)))
struct AdminTests {
    @Test("answers its routes over the socket, also later and large ones")
    func routes() throws {
        let rig = try AdminRig()
        let health = try adminGet(socket: rig.socket, route: "/health?a=1")
        #expect(health.status == 200)
        #expect(health.body == "{\"status\":\"ok\",\"query\":\"a=1\"}")
        #expect(try adminGet(socket: rig.socket, route: "/later").status == 503)
        #expect(try adminGet(socket: rig.socket, route: "/big").body.utf8.count == 3 << 20)
        #expect(try adminGet(socket: rig.socket, route: "/nothing").status == 404)
    }

    @Test(
        "refuses what is no small GET for loopback, with the right status",
        arguments: [
            ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
            ("GET /health HTTP/1.0\n\n", 200),
            ("HEAD /health HTTP/1.1\r\n\r\n", 200),
            ("GET /health HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
            ("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
            ("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("POST /health HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
            ("GET /nothing HTTP/1.1\r\n\r\n", 404),
            ("GET health HTTP/1.1\r\n\r\n", 400),
            ("GET /health\r\n\r\n", 400),
            ("\r\n\r\n", 400),
            ("GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET /\u{1}\u{7F} HTTP/1.1\r\n\r\n", 400),
            ("GET /hé HTTP/1.1\r\n\r\n", 400),
            ("GET /AAA HTTP/1.1\r\n\r\n", 431),
            ("AAA", 431),
        ])
    func hostile(request: String, status: Int) throws {
        let rig = try AdminRig()
        // A run of As stands for more bytes than a request may have.
        let answer = rig.ask(
            request.split(separator: "AAA", omittingEmptySubsequences: false)
                .joined(separator: String(repeating: "A", count: 9000)))
        #expect(answer.hasPrefix("HTTP/1.1 \(status) "), "\(answer.prefix(80))")
        #expect(answer.contains("Connection: close\r\n"))
        #expect(rig.ask("GET /health HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 200 "))
    }

    @Test("a HEAD has the length but not the body")
    func head() throws {
        let rig = try AdminRig()
        let answer = rig.ask("HEAD /health HTTP/1.1\r\n\r\n")
        #expect(answer.hasSuffix("\r\n\r\n"))
        #expect(answer.contains("Content-Length: 26\r\n"))
    }

    @Test("ends slow askers and answers for routes that never do")
    func slow() throws {
        var limits = AdminServer.Limits()
        limits.requestTimeout = 100
        limits.responseTimeout = 100
        let rig = try AdminRig(limits)
        #expect(rig.ask("GET /hea").hasPrefix("HTTP/1.1 408 "))
        #expect(rig.ask("GET /never HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 503 "))
    }

    @Test("serves when a request comes in single bytes, and survives one that goes away")
    func pieces() throws {
        let rig = try AdminRig()
        let client = Client(tcp: rig.server.httpEndpoint!.port)
        for byte in Array("GET /health HTTP/1.1\r\n\r\n".utf8) { client.send([byte]) }
        #expect(client.receiveAll().starts(with: Array("HTTP/1.1 200".utf8)))
        for _ in 0..<40 {
            let gone = Client(tcp: rig.server.httpEndpoint!.port)
            gone.send("GET /health HTTP/1.1\r\n\r\n")
        }
        #expect(try adminGet(socket: rig.socket, route: "/health").status == 200)
    }

    @Test(
        "the socket is for its owner only, a stale one is replaced, a live one and a file are not")
    func socketFile() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/a.sock"
        let queue = DispatchQueue(label: "test.socket")
        func open() throws(HostError) -> AdminServer {
            try AdminServer(socket: path, http: nil, queue: queue)
        }
        do {
            // A process that died leaves its file.
            let first = try open()
            var status = stat()
            // Safety: Swift lends a NUL-terminated copy of the path; `status` outlives the call.
            #expect(unsafe lstat(path, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
            #expect(throws: HostError.self) { _ = try open() }
            leaveBehind(first, queue)
        }
        let error = #expect(throws: HostError.self) {
            _ = try adminGet(socket: folder.path + "/none.sock", route: "/health")
        }
        #expect(error?.advice.isEmpty == false)
        let second = try open()
        queue.sync { second.stop() }
        #expect(unsafe access(path, F_OK) != 0)
        // Safety: as above.
        let file = unsafe Glibc.open(path, O_CREAT | O_WRONLY, 0o600)
        close(file)
        let refused = #expect(throws: HostError.self) { _ = try open() }
        #expect(refused?.code == EEXIST)
        #expect(unsafe access(path, F_OK) == 0)
    }

    /// Stops the server and puts a dead socket file back where it was.
    private func leaveBehind(_ server: AdminServer, _ queue: DispatchQueue) {
        queue.sync { server.stop() }
    }
}

@Suite(.timeLimit(.minutes(1)))
struct SmallPartsTests {
    @Test("a second process is told who holds the lock")
    func lock() throws {
        let folder = TemporaryFolder()
        do {
            let held = try FileLock(path: folder.path + "/lock")
            let error = #expect(throws: HostError.self) {
                _ = try FileLock(path: folder.path + "/lock")
            }
            #expect(error?.why.contains("process \(getpid())") == true)
            _ = consume held
        }
        _ = try FileLock(path: folder.path + "/lock")
    }

    @Test("a mailbox delivers everything from many threads, each thread's in order")
    func mailbox() async {
        let seen = Watched([Int]())
        let mailbox = Mailbox<Int>(DispatchQueue(label: "test.mail")) { item in
            seen.update { $0.append(item) }
        }
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            for i in 0..<1000 { mailbox.post(thread * 1000 + i) }
        }
        let all = await seen.wait { $0.count == 4000 }
        for thread in 0..<4 {
            #expect(
                all.filter { $0 / 1000 == thread } == Array(thread * 1000..<thread * 1000 + 1000))
        }
    }

    @Test("the clocks run forward and the process knows what it uses")
    func clocks() {
        let first = Clock.real.now()
        #expect(Clock.real.now() >= first)
        #expect(Clock.real.wall().milliseconds > 1_700_000_000_000)
        let usage = ProcessUsage.now()
        #expect(usage.rssKb > 0 && usage.peakRssKb > 0 && usage.cpuMicroseconds > 0)
        #expect(randomBits() != randomBits())
    }

    @Test("signals arrive as events")
    func signals() async throws {
        let seen = Watched([ProcessSignal]())
        let signals = try Signals(DispatchQueue(label: "test.signals")) { signal in
            seen.update { $0.append(signal) }
        }
        kill(getpid(), SIGHUP)
        let all = await seen.wait { !$0.isEmpty }
        #expect(all == [.hangUp])
        withExtendedLifetime(signals) {}
    }

    @Test("systemd is told over its socket, one assignment a line")
    func notify() async {
        let folder = TemporaryFolder()
        let path = folder.path + "/a.sock"
        let receiver = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(receiver) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // Safety: the copy is bounded by the field; the struct is lent for the call as sockaddr.
        unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe withUnsafeMutableBytes(of: &pointer.pointee.sun_path) { field in
                for (i, byte) in path.utf8.enumerated() { unsafe field[i] = byte }
            }
            _ = unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(receiver, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        // Safety: no other test of this process reads or sets the variable.
        _ = unsafe setenv("NOTIFY_SOCKET", path, 1)
        Notify.ready(status: "two\nlines")
        _ = unsafe unsetenv("NOTIFY_SOCKET")
        var bytes = [UInt8](repeating: 0, count: 256)
        // Safety: the array is lent for the call with its own count.
        let count = unsafe recv(receiver, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        #expect(
            String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
                == "READY=1\nSTATUS=two lines")
    }
}
