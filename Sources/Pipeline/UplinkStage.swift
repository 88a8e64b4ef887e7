// The uplink's stage: runs the forwarder's state machine and performs its effects. Owned by one serial
// queue. The spool is reached through ports that hop to its queue and back; the socket belongs to Host.

package import Model
package import Uplink

package struct UplinkPorts {
    package var connect: () -> Void
    package var close: () -> Void
    package var send: ([UInt8]) -> Void
    /// Asks the spool for batches; the answer comes back as `leased`.
    package var lease: (_ excluding: [UInt64], _ room: LeaseRoom, _ maximumBytes: Int) -> Void
    /// Asks the catalog for entries; the answer comes back as `entries`.
    package var needEntries: (_ afterDevice: UInt32, _ afterStream: UInt32) -> Void
    package var acknowledged: ([UInt64]) -> Void
    package var rejected: (_ sequence: UInt64, _ reason: String, _ isDivisible: Bool) -> Void
    /// The session's state changed; for the log and for status.
    package var state: (ForwarderStatus) -> Void
    /// Asks for a call of `timer()` at that time or somewhat later; an earlier wish still holds.
    package var wakeAt: (Instant) -> Void

    package init(
        connect: @escaping () -> Void, close: @escaping () -> Void,
        send: @escaping ([UInt8]) -> Void,
        lease: @escaping (_ excluding: [UInt64], _ room: LeaseRoom, _ maximumBytes: Int) -> Void,
        needEntries: @escaping (_ afterDevice: UInt32, _ afterStream: UInt32) -> Void,
        acknowledged: @escaping ([UInt64]) -> Void,
        rejected: @escaping (_ sequence: UInt64, _ reason: String, _ isDivisible: Bool) -> Void,
        state: @escaping (ForwarderStatus) -> Void, wakeAt: @escaping (Instant) -> Void
    ) {
        self.connect = connect
        self.close = close
        self.send = send
        self.lease = lease
        self.needEntries = needEntries
        self.acknowledged = acknowledged
        self.rejected = rejected
        self.state = state
        self.wakeAt = wakeAt
    }
}

package final class UplinkStage {
    private var forwarder: Forwarder
    private let clock: Clock
    private let ports: UplinkPorts
    private var effects: [Forwarder.Effect] = []

    package init(forwarder: Forwarder, clock: Clock, ports: UplinkPorts) {
        self.forwarder = forwarder
        self.clock = clock
        self.ports = ports
    }

    package var status: ForwarderStatus { forwarder.status(at: clock.now()) }

    package func step(_ event: Forwarder.Event) {
        effects.removeAll(keepingCapacity: true)
        forwarder.wall = clock.wall()
        forwarder.step(event, now: clock.now(), into: &effects)
        for effect in effects {
            switch effect {
            case .connect: ports.connect()
            case .close: ports.close()
            case .send(let bytes): ports.send(bytes)
            case .lease(let excluding, let room, let maximumBytes):
                ports.lease(excluding, room, maximumBytes)
            case .needEntries(let device, let stream): ports.needEntries(device, stream)
            case .acknowledged(let sequences): ports.acknowledged(sequences)
            case .rejected(let sequence, let reason, let isDivisible):
                ports.rejected(sequence, reason, isDivisible)
            case .state: ports.state(forwarder.status)
            }
        }
        if let due = forwarder.deadline { ports.wakeAt(due) }
    }

    package func timer() {
        guard let due = forwarder.deadline else { return }
        if clock.now() >= due { step(.timer) } else { ports.wakeAt(due) }
    }
}
