// The door of the room: one conversation kind for one source. Owned by the intake, on its queue. It
// does no I/O and knows no clock: each call is told the time and writes what it wants into the
// effects.
//
// Order of calls: `step` for a datagram; if its verdict is `frames`, the intake offers each frame
// to the formats, notes the outcomes and calls `settle`; `timer` when `wakeAt` has come.

package import Model

package final class Exchange {
    private enum Machine {
        case coap(CoAPServer)
        case mqttSN(MQTTSNGateway)
        case semtech(SemtechReceiver)
    }

    package let kind: ExchangeKind
    private let machine: Machine

    /// `seed`: for message ids, tokens and locations that nobody should guess.
    package init(_ settings: ExchangeSettings, seed: UInt64) {
        kind = settings.kind
        switch settings.kind {
        case .coap, .lwm2m: machine = .coap(CoAPServer(settings, seed: seed))
        case .mqttSN: machine = .mqttSN(MQTTSNGateway(settings))
        case .semtech: machine = .semtech(SemtechReceiver(settings))
        }
    }

    /// One datagram. `hasRoom` false: nothing can be taken in now; the device is told so where its
    /// protocol has words for it. `isCut`: the kernel cut it because it was too long.
    package func step(
        _ datagram: Span<UInt8>, from: Endpoint, isCut: Bool = false, hasRoom: Bool = true,
        at now: Instant, into effects: inout Effects
    ) {
        effects.removeAll()
        guard datagram.count > 0 else {
            effects.verdict = .rejected(.empty)
            return
        }
        let room = hasRoom
        switch machine {
        case .coap(let server):
            server.step(
                datagram, from: from, isCut: isCut, hasRoom: room, at: now, into: &effects)
        case .mqttSN(let gateway):
            guard !isCut else { return effects.verdict = .rejected(.oversized) }
            gateway.step(datagram, from: from, hasRoom: room, at: now, into: &effects)
        case .semtech(let receiver):
            guard !isCut else { return effects.verdict = .rejected(.oversized) }
            receiver.step(datagram, from: from, hasRoom: room, into: &effects)
        }
    }

    /// After every frame of the last step has its outcome: what is to be answered.
    package func settle(at now: Instant, into effects: inout Effects) {
        switch machine {
        case .coap(let server): server.settle(at: now, into: &effects)
        case .mqttSN(let gateway): gateway.settle(at: now, into: &effects)
        case .semtech(let receiver): receiver.settle(into: &effects)
        }
    }

    /// Retransmissions and expiries that are due.
    package func timer(at now: Instant, into effects: inout Effects) {
        effects.removeAll()
        switch machine {
        case .coap(let server): server.timer(at: now, into: &effects)
        case .mqttSN(let gateway): gateway.timer(at: now, into: &effects)
        case .semtech: break
        }
    }

    /// Registered clients or open sessions.
    package var clientCount: Int {
        switch machine {
        case .coap(let server): server.clientCount
        case .mqttSN(let gateway): gateway.clientCount
        case .semtech: 0
        }
    }

    /// Asked before a device is registered: true when the source's policy refuses it.
    package var isForbidden: ((_ identity: [UInt8]) -> Bool)? {
        didSet {
            switch machine {
            case .coap(let server): server.isForbidden = isForbidden
            case .mqttSN(let gateway): gateway.isForbidden = isForbidden
            case .semtech: break
            }
        }
    }
}
