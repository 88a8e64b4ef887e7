// What the pipeline asks of its host and offers to it. Host implements the first kind with sockets and
// queues, the simulator with variables; the stages implement the second kind.

package import Model

/// A stream connection's number, unique within the process.
package struct ConnectionID: Hashable, Sendable {
    package var rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// Where an answer goes.
package enum Recipient: Hashable, Sendable {
    /// A datagram from source number `source` of the configuration.
    case datagram(source: Int, to: Endpoint)
    case connection(ConnectionID)
}

/// Sends answers to devices. Called on the intake's queue; `flush` ends a group of answers so that
/// they leave in one system call. Answers that cannot be sent are counted by the port, never retried:
/// the device repeats its frame.
package protocol AnswerPort: AnyObject {
    func answer(_ bytes: Span<UInt8>, to recipient: Recipient)
    func flush()
}

/// How far a stream connection's bytes were understood.
package struct StreamProgress: Hashable, Sendable {
    /// Bytes to drop from the front of the connection's buffer.
    package var consumed: Int
    /// Frames accepted in this call.
    package var frames: Int
    /// The intake has no room: keep the rest, stop reading, come again after `roomAgain`.
    package var isSuspended: Bool

    package init(consumed: Int, frames: Int, isSuspended: Bool) {
        self.consumed = consumed
        self.frames = frames
        self.isSuspended = isSuspended
    }
}

/// What a datagram came with. Its bytes are the first `count` of its slot in the host's slab.
package struct Arrival {
    package var from: Endpoint
    package var receivedAt: Timestamp
    package var count: Int
    /// The kernel cut it because it exceeded the slot.
    package var isTruncated: Bool

    package init(from: Endpoint, receivedAt: Timestamp, count: Int, isTruncated: Bool) {
        self.from = from
        self.receivedAt = receivedAt
        self.count = count
        self.isTruncated = isTruncated
    }
}

/// The door of an intake for the sockets of Host. All calls on the intake's queue. A turn is: any
/// number of `datagram`/`datagrams`/`stream` calls, then one `endTurn`.
package protocol IntakeDoor: AnyObject {
    /// False: leave what is in the socket where it is (the kernel's buffer and TCP's window hold the
    /// senders back) until the host is told `roomAgain`.
    var hasRoom: Bool { get }

    /// One datagram as received. `isTruncated`: the kernel cut it because it exceeded the slot.
    func datagram(
        _ bytes: Span<UInt8>, source: Int, from: Endpoint, at receivedAt: Timestamp,
        isTruncated: Bool)

    /// Datagrams in their order, each in its slot of `slab`, `slotBytes` apart from the first on.
    func datagrams(
        _ arrivals: Span<Arrival>, in slab: Span<UInt8>, slotBytes: Int, source: Int)

    /// All bytes of a connection that are not yet consumed, oldest first.
    func stream(
        _ bytes: Span<UInt8>, source: Int, connection: ConnectionID, from: Endpoint,
        at receivedAt: Timestamp
    ) -> StreamProgress

    /// A connection was accepted or made, or a tty opened.
    func lineOpened(_ connection: ConnectionID, source: Int)

    /// The connection ended with `unconsumed` bytes left over.
    func connectionEnded(_ connection: ConnectionID, source: Int, unconsumed: Int)

    /// `kernelDrops`: datagrams that the kernel dropped at this source since the last call.
    func endTurn(source: Int, kernelDrops: UInt64)

    /// Longest frame of the source's formats, for buffer sizes.
    func maximumFrame(source: Int) -> Int
}

extension IntakeDoor {
    package func lineOpened(_ connection: ConnectionID, source: Int) {}

    package func datagrams(
        _ arrivals: Span<Arrival>, in slab: Span<UInt8>, slotBytes: Int, source: Int
    ) {
        for i in arrivals.indices {
            datagram(
                slab.extracting(i &* slotBytes..<i &* slotBytes &+ arrivals[i].count),
                source: source, from: arrivals[i].from, at: arrivals[i].receivedAt,
                isTruncated: arrivals[i].isTruncated)
        }
    }
}
