// The sockets of a load run, over UDP and TCP, behind one face: frames of one size out, answers in. One
// thread. Classes because arrays cannot hold noncopyable senders.

import Host
import Model

class LoadSocket {
    /// How many of `count` frames the kernel took, or -errno.
    func send(_ bytes: [UInt8], from offset: Int, size: Int, count: Int) -> Int {
        preconditionFailure("a kind of socket sends")
    }
    /// One answer's bytes; nil when there is none.
    func receive(into buffer: inout [UInt8]) -> Int? { nil }
    func pendingError() -> SendingError? { nil }
    /// There may be room again.
    func isWritable(_ poller: borrowing Poller) {}
    /// Everything that was taken is on its way.
    var isFlushed: Bool { true }
    /// Wants `isWritable` though the poller does not say so.
    var needsCare: Bool { false }
}

final class DatagramSocket: LoadSocket {
    private let sender: DatagramSender

    init(_ target: Target, _ poller: borrowing Poller, token: UInt32) throws(SendingError) {
        sender = try DatagramSender(to: target.endpoint, bufferBytes: 4 << 20)
        super.init()
        try poller.add(sender, token: token)
    }

    override func send(_ bytes: [UInt8], from offset: Int, size: Int, count: Int) -> Int {
        sender.send(bytes, from: offset, size: size, count: count)
    }

    override func pendingError() -> SendingError? { sender.pendingError() }

    override func receive(into buffer: inout [UInt8]) -> Int? { sender.receive(into: &buffer) }
}

/// A connection; one that breaks is opened again, and what it had not sent is lost with it.
final class StreamSocket: LoadSocket {
    private static let maximumOutbox = 1 << 20
    private static let answerSize = ReferenceFrame.answerSize
    private let target: Target
    private let token: UInt32
    private let link: Link
    private var outbox: [UInt8] = []
    private var inbox: [UInt8] = []
    private var isConnected = false
    /// The poller tells of room.
    private var isWatched = true
    private(set) var reconnects = 0

    /// The sender while there is one.
    private final class Link {
        var sender: StreamSender?
        init(_ sender: consuming StreamSender) { self.sender = consume sender }
    }

    init(_ target: Target, _ poller: borrowing Poller, token: UInt32) throws(SendingError) {
        self.target = target
        self.token = token
        let sender = try StreamSender(to: target.endpoint)
        try poller.add(sender, token: token)
        link = Link(sender)
        super.init()
    }

    override var isFlushed: Bool { outbox.isEmpty }

    override var needsCare: Bool { !outbox.isEmpty || link.sender == nil }

    override func send(_ bytes: [UInt8], from offset: Int, size: Int, count: Int) -> Int {
        guard outbox.count < StreamSocket.maximumOutbox else { return -11 }
        outbox += bytes[offset..<offset + size * count]
        flush()
        return count
    }

    override func isWritable(_ poller: borrowing Poller) {
        if link.sender == nil {
            // Opened again at the pace of the turns; refused while the gateway is away.
            guard let sender = try? StreamSender(to: target.endpoint),
                (try? poller.add(sender, token: token)) != nil
            else { return }
            link.sender = consume sender
            isWatched = true
            reconnects += 1
            return
        }
        if !isConnected {
            if failed() { return end() }
            isConnected = true
        }
        flush()
        watch(poller)
    }

    private func failed() -> Bool {
        link.sender?.connectError() != nil
    }

    private func flush() {
        guard isConnected, !outbox.isEmpty else { return }
        do throws(SendingError) {
            let sent = try link.sender?.send(outbox) ?? 0
            outbox.removeFirst(sent)
        } catch {
            end()
        }
    }

    private func watch(_ poller: borrowing Poller) {
        // Fails only for a descriptor that is not in the set, which an open one is.
        let wanted = !outbox.isEmpty
        if link.sender != nil, wanted != isWatched {
            isWatched = wanted
            try? poller.watch(link.sender!, token: token, writable: !outbox.isEmpty)
        }
    }

    private func end() {
        link.sender = nil
        isConnected = false
        outbox = []
        inbox = []
    }

    override func receive(into buffer: inout [UInt8]) -> Int? {
        let size = StreamSocket.answerSize
        if inbox.count < size, let received = link.sender?.receive() {
            switch received {
            case .bytes(let bytes): inbox += bytes
            case .nothing: break
            case .ended: end()
            }
        }
        guard inbox.count >= size else { return nil }
        for i in 0..<size { buffer[i] = inbox[i] }
        inbox.removeFirst(size)
        return size
    }
}
