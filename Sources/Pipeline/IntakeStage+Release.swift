// Two wishes that reach the intake from behind: an operator releases a frame of the quarantine, and the
// spool asks the devices for patience. On the intake's queue.

package import Model

/// A frame that comes back from the quarantine.
package struct ReleasedFrame: Sendable {
    /// Its entry.
    package var number: Int64
    /// Name of the source at which it arrived.
    package var source: String
    package var receivedAt: Timestamp
    package var bytes: [UInt8]

    package init(number: Int64, source: String, receivedAt: Timestamp, bytes: [UInt8]) {
        self.number = number
        self.source = source
        self.receivedAt = receivedAt
        self.bytes = bytes
    }
}

extension IntakeStage {
    /// Takes a frame in as it would have been when it arrived, but that its device is admitted: from
    /// now on the device is known and its frames are taken. It counts as received once more; nobody is
    /// answered. The entry leaves the quarantine behind the journal part that holds the frame.
    package func release(_ frame: ReleasedFrame) -> ReleaseOutcome {
        guard let number = sources.firstIndex(where: { $0.source.name == frame.source }) else {
            return .refused("there is no source \(frame.source)")
        }
        guard hasRoom else { return .refused("the intake has no room: try again") }
        let before = counters
        hot.isReleasing = true
        counters.framesReceived &+= 1
        let isGood = accept(
            frame.bytes.span, source: number, only: nil, at: frame.receivedAt,
            answerTo: .connection(ConnectionID(0)))
        hot.isReleasing = false
        finishTurn()
        guard isGood else {
            let reason = Rejection.allCases.first { counters[$0] != before[$0] }
            return .refused(reason?.code ?? "no format takes it")
        }
        handOver()
        updateDeadline()
        ports.toSpool(.released(frame.number))
        return counters.framesDuplicate == before.framesDuplicate ? .taken : .duplicate
    }

    /// The spool is above its high water (true), or below its low water again. Conversations then tell
    /// their devices to come later (CoAP 5.03 with Max-Age, MQTT-SN congestion); the host lets TCP's
    /// windows close. Datagrams without a conversation have no such word and are taken as before.
    package func setPaced(_ isPaced: Bool) { self.isPaced = isPaced }
}
