// Gateways of the tests: a UDP socket that answers each datagram with its first byte, and a TCP
// socket
// that keeps what each connection brought. Each runs on one thread of its own until `stop`.

import Dispatch
import Glibc
import Synchronization

final class LoopbackServer: Sendable {
    struct Heard: Sendable {
        /// Datagrams, or whole connections, with the sender's port.
        var pieces: [(port: UInt16, bytes: [UInt8])] = []
    }

    let port: UInt16
    private let descriptor: Int32
    private let isStream: Bool
    private let heard = Mutex(Heard())
    private let isStopping = Atomic(false)
    private let ended = DispatchSemaphore(value: 0)

    init(isStream: Bool, answers: Bool = true) {
        self.isStream = isStream
        let kind = isStream ? SOCK_STREAM : SOCK_DGRAM
        let descriptor = socket(AF_INET, Int32(kind.rawValue), 0)
        var here = sockaddr_in()
        here.sin_family = sa_family_t(AF_INET)
        here.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        // Safety: both calls get the address of one variable that lives across them, and its size.
        let bound = unsafe withUnsafeMutablePointer(to: &here) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                let result = unsafe bind(descriptor, address, length)
                _ = unsafe getsockname(descriptor, address, &length)
                return result
            }
        }
        precondition(bound == 0, "the loopback has a free port")
        self.descriptor = descriptor
        port = UInt16(bigEndian: here.sin_port)
        if isStream { listen(descriptor, 64) }
        // A receive must end now and then to see that it shall stop.
        var wait = timeval(tv_sec: 0, tv_usec: 20_000)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
        let thread = DispatchQueue(label: "loopback")
        thread.async { [self] in
            while !isStopping.load(ordering: .relaxed) {
                if isStream { acceptOne() } else { _ = receiveOne(answers: answers) }
            }
            // What was sent before `stop` is still in the socket.
            while !isStream, receiveOne(answers: answers) { continue }
            ended.signal()
        }
    }

    var pieces: [(port: UInt16, bytes: [UInt8])] { heard.withLock { $0.pieces } }

    func stop() {
        // Relaxed: only the flag itself is passed; the semaphore orders the end.
        isStopping.store(true, ordering: .relaxed)
        ended.wait()
        close(descriptor)
    }

    private func receiveOne(answers: Bool) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 2048)
        var from = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        // Safety: buffer and address live across the calls with the sizes that are passed.
        let count = unsafe withUnsafeMutablePointer(to: &from) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                let count = unsafe recvfrom(descriptor, &bytes, 2048, 0, address, &length)
                if count > 0, answers {
                    _ = unsafe sendto(descriptor, bytes, 1, 0, address, length)
                }
                return count
            }
        }
        guard count >= 0 else { return false }
        let piece = (UInt16(bigEndian: from.sin_port), Array(bytes[..<count]))
        heard.withLock { $0.pieces.append(piece) }
        return true
    }

    private func acceptOne() {
        let connection = accept(descriptor, nil, nil)
        guard connection >= 0 else { return }
        var all: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 2048)
        while true {
            // Safety: the buffer lives across the call with the size that is passed.
            let count = unsafe recv(connection, &bytes, 2048, 0)
            if count <= 0 { break }
            all += bytes[..<count]
        }
        close(connection)
        heard.withLock { $0.pieces.append((0, all)) }
    }
}
