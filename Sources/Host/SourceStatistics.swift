// What a source counts about itself, for /metrics and /status. The ledger's counters are the
// intake's; these say how the sockets behave.

package import Model

/// Why a connection was refused or closed by us.
package enum Refusal: UInt8, CaseIterable, Sendable {
    /// The source has as many connections as it may have.
    case tooManyConnections = 0
    /// This address has as many connections as it may have.
    case tooManyFromAddress = 1
    /// No complete frame came within `firstFrameTimeout`.
    case noFirstFrame = 2
    /// No bytes that made a frame came within `idleTimeout`.
    case idle = 3
    /// More bytes than the longest frame, and no frame in them.
    case noFrameFound = 4
    /// All connections together hold more unfinished bytes than the source may.
    case tooManyPendingBytes = 5
    /// The device does not read its answers.
    case answersNotRead = 6

    package var code: String {
        switch self {
        case .tooManyConnections: "too-many-connections"
        case .tooManyFromAddress: "too-many-from-address"
        case .noFirstFrame: "no-first-frame"
        case .idle: "idle"
        case .noFrameFound: "no-frame-found"
        case .tooManyPendingBytes: "too-many-pending-bytes"
        case .answersNotRead: "answers-not-read"
        }
    }
}

/// Counters of one source since the start; those that belong to the other kind stay 0.
package struct SourceStatistics: Sendable {
    package var name: String
    /// Where it is bound, with the port that the kernel chose.
    package var endpoint: Endpoint
    /// Visits that looked into a socket of this source.
    package var visits: UInt64 = 0
    package var datagrams: UInt64 = 0
    package var bytesReceived: UInt64 = 0
    package var kernelDrops: UInt64 = 0
    /// Datagrams that the kernel cut because they exceeded the slot.
    package var truncated: UInt64 = 0
    /// Size of the kernel's receive buffer in bytes and what the configuration asked for.
    package var bufferBytes = 0
    package var bufferBytesWanted = 0
    package var connections = 0
    package var connectionsAccepted: UInt64 = 0
    package private(set) var refusedByReason = [UInt64](
        repeating: 0, count: Refusal.allCases.count)
    /// Answers that the socket did not take.
    package var answersLost: UInt64 = 0

    package init(name: String, endpoint: Endpoint) {
        self.name = name
        self.endpoint = endpoint
    }

    package subscript(reason: Refusal) -> UInt64 {
        get { refusedByReason[Int(reason.rawValue)] }
        set { refusedByReason[Int(reason.rawValue)] = newValue }
    }
}
