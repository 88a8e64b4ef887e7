// What one step of an exchange asks for: frames for the formats, datagrams to send, when to be
// woken. Owned by the intake, which lends the same storage to every step, so that a datagram
// allocates nothing once the arrays have grown. A step that yields frames is followed by `settle`
// with their outcomes: only then the exchange knows what to answer.
//
// Invariants: every range lies in `bytes` or in the datagram of the step; sends are in the order in
// which they must leave.

package import Model

/// What the formats and the catalog made of a carried frame.
package enum FrameOutcome: Hashable, Sendable {
    /// Not yet offered.
    case open
    /// Decoded; durable with the next commit.
    case taken
    /// Known already; durable with the next commit at the latest.
    case duplicate
    /// Decoded, and by nature nothing to keep.
    case control
    case refused(Rejection)

    /// True when the device may be told that the frame arrived: after the next commit.
    package var isKept: Bool { self == .taken || self == .duplicate || self == .control }
}

/// Which formats may decode a frame.
package enum FormatChoice: Hashable, Sendable {
    /// Those that the operator listed at the source, in their order.
    case listed
    /// One of the source's formats, by its place.
    case one(Int)
}

/// A frame that came inside a conversation.
package struct CarriedFrame: Sendable {
    /// Where its bytes stand: in `Effects.bytes` when `isAssembled`, else in the step's datagram.
    package var payload: Range<Int>
    package var isAssembled: Bool
    package var formats: FormatChoice
    /// Identity text of the device when the conversation knows it, else empty.
    package var device: [UInt8]
    /// Resource path or topic name, else empty.
    package var path: [UInt8]
    /// Sender and message id as one number: the same datagram sent again has the same, also after
    /// a restart. 0: the conversation has none.
    package var messageKey: UInt64
    /// False: the device says that this is the first time, so an equal key means an id used anew.
    package var mayBeAgain = true
    /// Set by the intake before `settle`.
    package var outcome = FrameOutcome.open
}

/// A datagram to send.
package struct Sending: Hashable, Sendable {
    package var to: Endpoint
    /// In `Effects.bytes`.
    package var bytes: Range<Int>
    /// True: it tells the device that a frame is kept, so it leaves after the commit that holds every
    /// frame taken so far. False: at once.
    package var needsCommit: Bool
}

package struct Effects: Sendable {
    package enum Verdict: Hashable, Sendable {
        /// Each of `frames` counts for itself.
        case frames
        /// The datagram belongs to the conversation and carries no frame.
        case control
        /// Sent again by the device; answered again.
        case duplicate
        case rejected(Rejection)
    }

    package var verdict = Verdict.control
    package var frames: [CarriedFrame] = []
    package var sendings: [Sending] = []
    package var bytes: [UInt8] = []
    /// Call `timer` then, or somewhat later.
    package var wakeAt: Instant?

    package init() {
        bytes.reserveCapacity(4096)
        sendings.reserveCapacity(16)
        frames.reserveCapacity(16)
    }

    /// Before every datagram and timer.
    package mutating func removeAll() {
        verdict = .control
        frames.removeAll(keepingCapacity: true)
        sendings.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
        wakeAt = nil
    }

    mutating func wake(at instant: Instant) {
        if let known = wakeAt, known <= instant { return }
        wakeAt = instant
    }

    /// Sends what was appended to `bytes` since `start`.
    mutating func send(from start: Int, to endpoint: Endpoint, needsCommit: Bool) {
        sendings.append(
            Sending(to: endpoint, bytes: start..<bytes.count, needsCommit: needsCommit))
    }
}
