// The sending side: sockets of devices that the field tool plays. A sender is owned by one thread,
// never
// blocks and closes its socket when it goes. What the gateway answers is read with the same socket.

import CLinux
package import Model

/// A call on a sender's socket failed; `code` is errno.
package struct SendingError: Error, Hashable, Sendable {
    package var what: String
    package var code: Int32

    package init(_ what: String, code: Int32) {
        self.what = what
        self.code = code
    }
}

extension Endpoint {
    /// The endpoint of a host name or address; asks the resolver and may take seconds.
    package static func resolve(host: String, port: UInt16) throws(SendingError) -> Endpoint {
        var bytes = [UInt8](repeating: 0, count: 16)
        var scope: UInt32 = 0
        // Safety: the String is a C string for the call, which writes 16 bytes and the scope into
        // variables that live across it.
        let result = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            unsafe sluice_sending_resolve(host, buffer.baseAddress!, &scope)
        }
        guard result == 0 else { throw SendingError("resolve \(host)", code: -result) }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for i in 0..<8 {
            high = high << 8 | UInt64(bytes[i])
            low = low << 8 | UInt64(bytes[8 + i])
        }
        return Endpoint(high: high, low: low, port: port, scope: scope)
    }

    fileprivate var addressBytes: [UInt8] {
        var bytes: [UInt8] = []
        for word in [high, low] {
            for shift in stride(from: 56, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
            }
        }
        return bytes
    }
}

/// What one receive brought.
package enum Received: Hashable, Sendable {
    case bytes([UInt8])
    case nothing
    /// The other end closed, or the socket failed.
    case ended
}

/// One UDP socket connected to the gateway: one device's endpoint.
package struct DatagramSender: ~Copyable {
    fileprivate let descriptor: Int32

    package init(to endpoint: Endpoint, bufferBytes: Int32 = 0) throws(SendingError) {
        let address = endpoint.addressBytes
        // Safety: the array holds the 16 bytes that the call reads.
        let result = unsafe address.withUnsafeBufferPointer { buffer in
            unsafe sluice_sending_open_datagram(
                buffer.baseAddress!, endpoint.port, endpoint.scope, bufferBytes)
        }
        guard result >= 0 else { throw SendingError("open UDP socket", code: -result) }
        descriptor = result
    }

    deinit { sluice_sending_close(descriptor) }

    /// Nil when sent; ECONNREFUSED tells of an earlier datagram (nobody listens), EAGAIN of a full
    /// buffer.
    package func send(_ bytes: [UInt8]) -> SendingError? {
        let result = transmit(bytes, descriptor)
        return result < 0 ? SendingError("send", code: Int32(-result)) : nil
    }

    /// What the kernel heard of earlier datagrams and did not tell yet; asking takes it away.
    package func pendingError() -> SendingError? {
        let result = sluice_sending_connect_result(descriptor)
        return result < 0 ? SendingError("send", code: -result) : nil
    }

    /// Sends `count` datagrams of `size` bytes that follow one another in `bytes` from `offset`;
    /// returns how many the kernel took, or -errno. At most 256 a call.
    package func send(_ bytes: [UInt8], from offset: Int, size: Int, count: Int) -> Int {
        precondition(
            offset >= 0 && size > 0 && count >= 0 && offset + size * count <= bytes.count,
            "datagrams lie within the array")
        // Safety: the precondition above bounds every byte that the call reads.
        return unsafe bytes.withUnsafeBufferPointer { buffer in
            Int(
                unsafe sluice_sending_send_many(
                    descriptor, buffer.baseAddress! + offset, Int32(size), Int32(count)))
        }
    }

    package func receive() -> Received { HostReceive.bytes(descriptor, endsAtZero: false) }

    /// One datagram into `buffer` without an allocation; its length, nil when there is none.
    package func receive(into buffer: inout [UInt8]) -> Int? {
        precondition(!buffer.isEmpty, "a datagram needs room")
        // Safety: the buffer's count bounds what the call writes.
        let count = unsafe buffer.withUnsafeMutableBufferPointer { buffer in
            unsafe sluice_sending_receive(descriptor, buffer.baseAddress!, Int64(buffer.count))
        }
        return count >= 0 ? Int(count) : nil
    }
}

/// One TCP connection to the gateway. It is being opened when made; `Poller` says when it is
/// writable.
package struct StreamSender: ~Copyable {
    fileprivate let descriptor: Int32

    package init(to endpoint: Endpoint) throws(SendingError) {
        let address = endpoint.addressBytes
        // Safety: the array holds the 16 bytes that the call reads.
        let result = unsafe address.withUnsafeBufferPointer { buffer in
            unsafe sluice_sending_open_stream(
                buffer.baseAddress!, endpoint.port, endpoint.scope)
        }
        guard result >= 0 else { throw SendingError("connect", code: -result) }
        descriptor = result
    }

    deinit { sluice_sending_close(descriptor) }

    /// Nil when the connection is open; call once it is writable.
    package func connectError() -> SendingError? {
        let result = sluice_sending_connect_result(descriptor)
        return result < 0 ? SendingError("connect", code: -result) : nil
    }

    /// Number of bytes that the kernel took (0 when its buffer is full), or the error.
    package func send(_ bytes: [UInt8]) throws(SendingError) -> Int {
        let result = transmit(bytes, descriptor)
        if result >= 0 { return result }
        if result == -11 { return 0 }
        throw SendingError("send", code: Int32(-result))
    }

    package func receive() -> Received { HostReceive.bytes(descriptor, endsAtZero: true) }

    /// No more will be sent; answers may still come.
    package func finishSending() { _ = sluice_sending_shutdown(descriptor) }
}

private func transmit(_ bytes: [UInt8], _ descriptor: Int32) -> Int {
    // Safety: the buffer lives for the closure and its count bounds what the call reads; an empty
    // array has no base address, and nothing is read through the stand-in.
    unsafe bytes.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { return 0 }
        return Int(unsafe sluice_sending_send(descriptor, base, Int64(buffer.count)))
    }
}

private enum HostReceive {
    static func bytes(_ descriptor: Int32, endsAtZero: Bool) -> Received {
        var piece = [UInt8](repeating: 0, count: 65_536)
        // Safety: the buffer's count bounds what the call writes.
        let count = unsafe piece.withUnsafeMutableBufferPointer { buffer in
            unsafe sluice_sending_receive(descriptor, buffer.baseAddress!, Int64(buffer.count))
        }
        if count > 0 { return .bytes(Array(piece[..<Int(count)])) }
        if count == 0 { return endsAtZero ? .ended : .bytes([]) }
        // EAGAIN: nothing there. ECONNREFUSED on a datagram socket: the gateway is away just now.
        return count == -11 || (!endsAtZero && count == -111) ? .nothing : .ended
    }
}

/// Waits for many senders at once (epoll). Tokens are the caller's numbers.
package struct Poller: ~Copyable {
    package struct Ready: Hashable, Sendable {
        package var token: UInt32
        package var isReadable: Bool
        package var isWritable: Bool
    }

    private let descriptor: Int32

    package init() throws(SendingError) {
        descriptor = sluice_poller_open()
        guard descriptor >= 0 else { throw SendingError("open epoll", code: -descriptor) }
    }

    deinit { sluice_sending_close(descriptor) }

    package func add(_ sender: borrowing DatagramSender, token: UInt32) throws(SendingError) {
        try check(sluice_poller_add(descriptor, sender.descriptor, token, 1))
    }

    package func add(_ sender: borrowing StreamSender, token: UInt32) throws(SendingError) {
        try check(sluice_poller_add(descriptor, sender.descriptor, token, 3))
    }

    /// Whether to be told when the stream can take more bytes.
    package func watch(
        _ sender: borrowing StreamSender, token: UInt32, writable: Bool
    ) throws(SendingError) {
        try check(
            sluice_poller_change(descriptor, sender.descriptor, token, writable ? 3 : 1))
    }

    /// An ended stream would be ready for ever.
    package func remove(_ sender: borrowing StreamSender) {
        _ = sluice_poller_remove(descriptor, sender.descriptor)
    }

    /// Waits at most `nanoseconds` for at most 256 senders.
    package func wait(nanoseconds: Int64) -> [Ready] {
        var tokens = [UInt32](repeating: 0, count: 256)
        var events = [UInt32](repeating: 0, count: 256)
        // Safety: both arrays have the capacity that is passed and live across the call.
        let count = unsafe tokens.withUnsafeMutableBufferPointer { tokens in
            unsafe events.withUnsafeMutableBufferPointer { events in
                unsafe sluice_poller_wait(
                    descriptor, tokens.baseAddress!, events.baseAddress!, 256, nanoseconds)
            }
        }
        guard count > 0 else { return [] }
        return (0..<Int(count)).map {
            Ready(
                token: tokens[$0], isReadable: events[$0] & 1 != 0,
                isWritable: events[$0] & 2 != 0)
        }
    }

    private func check(_ result: Int32) throws(SendingError) {
        if result < 0 { throw SendingError("watch socket", code: -result) }
    }
}
