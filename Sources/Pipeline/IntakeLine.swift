// A line in the intake: a connection or tty whose bytes belong to a conversation. Owned by the intake's
// queue. Invariant: `flight` is set exactly while the poller has a request in flight.

import Exchanges
import Formats
import Model

final class IntakeLine {
    /// What was asked and how its answer is recognised.
    struct Flight {
        var format: Int
        var asked: [4 of Int64]
        var bytes: [UInt8]
        /// The request itself may still come back from a two-wire adapter.
        var mayEcho = true
    }

    let connection: ConnectionID
    let source: Int
    /// Set once it has said its name, at once where it need not.
    var isRegistered: Bool
    /// What it calls itself; scope of identities that count only on it.
    var name = ""
    var poller: LinePoller?
    var flight: Flight?
    /// Requests of another master that wait for their answers, oldest first.
    var heard: [(format: Int, asked: [4 of Int64])] = []
    var context = FrameContext()
    /// Bytes that the host keeps for it, and how many of them belong to an exchange that is over.
    var kept = 0
    var stale = 0
    /// Of the kept bytes the last so many may begin a heartbeat.
    var begun = 0
    /// For the poller, once all bytes at hand are looked at.
    var happened: [LinePoller.Event] = []
    var heartbeats: UInt64 = 0
    var echoes: UInt64 = 0
    /// Answers that found their request on a line that carries both directions.
    var paired: UInt64 = 0

    /// Requests of another master that may wait at the same time; the oldest is forgotten.
    static let heardLimit = 16

    init(_ connection: ConnectionID, source: Int, isRegistered: Bool) {
        self.connection = connection
        self.source = source
        self.isRegistered = isRegistered
    }

    /// The request in flight is answered; what else is at hand answers nothing.
    func answered(isException: Bool) {
        flight = nil
        happened.append(.answered(isException: isException))
    }

    func hear(_ format: Int, _ asked: [4 of Int64]) {
        if heard.count >= IntakeLine.heardLimit { heard.removeFirst() }
        heard.append((format, asked))
    }
}

/// A line over its connections.
struct LineKey: Hashable {
    var source: Int
    var name: String
}

/// All lines of an intake and when they want to be looked at.
final class LineDesk {
    var lines: [ConnectionID: IntakeLine] = [:]
    var wakes = WakeHeap()
    /// Pollers of lines that are down; strangers may give themselves any names.
    static let restLimit = 4096
    var rest: [LineKey: LinePoller] = [:]
    /// The envelope of the frame at hand.
    var envelope: [UInt8] = []
}
