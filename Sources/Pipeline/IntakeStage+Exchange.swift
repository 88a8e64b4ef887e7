// Datagrams of sources that lead a conversation (`exchange:`): the state machine of Exchanges
// decides, the stage performs. What it carries goes the way of every frame, in an envelope that
// says what the conversation knew, so that the journal can be replayed without it. On the intake's
// queue.
//
// The ledger: a datagram counts as so many frames as it carries, or as one that was control, a
// duplicate or refused. What tells a device that its frame is kept waits for the commit that holds
// it.

import Catalog
import Exchanges
import Formats
import Model
import Spool

/// Reused storage of the conversations of an intake.
struct ExchangeDesk {
    var effects = Effects()
    var context = FrameContext()
    var envelope: [UInt8] = []
    /// Datagrams were given to the port since its last flush.
    var hasSent = false
}

extension IntakeStage {
    /// How long a message's id means the same message: EXCHANGE_LIFETIME (RFC 7252 section 4.8.2).
    static let messageWindow: Int64 = 247_000

    /// Gives each exchange its view of the catalog. At start.
    func openExchanges() {
        for state in sources where state.source.policy == .reject {
            state.exchange?.isForbidden = { [unowned self] identity in
                guard let key = DeviceKey(text: identity.span) else { return true }
                return catalog.device(key, scope: 0, seenAt: clock.wall()) == nil
            }
        }
    }

    func converse(
        _ datagram: Span<UInt8>, _ exchange: Exchange, source: Int, from: Endpoint,
        at receivedAt: Timestamp, isCut: Bool
    ) {
        let now = clock.now()
        exchange.step(
            datagram, from: from, isCut: isCut, hasRoom: hasRoom && !isPaced, at: now,
            into: &talk.effects)
        switch talk.effects.verdict {
        case .frames:
            for number in talk.effects.frames.indices {
                let outcome = offer(number, datagram, source: source, from, at: receivedAt)
                talk.effects.frames[number].outcome = outcome
            }
            exchange.settle(at: now, into: &talk.effects)
        case .control:
            counters.framesReceived &+= 1
            counters.framesControl &+= 1
            touchCounters()
        case .duplicate:
            counters.framesReceived &+= 1
            counters.framesDuplicate &+= 1
            touchCounters()
        case .rejected(let reason):
            counters.framesReceived &+= 1
            refuse(reason, datagram, source: source, at: receivedAt)
        }
        send(source: source, answering: from)
        noteWake(source)
    }

    // MARK: Frames

    private func offer(
        _ number: Int, _ datagram: Span<UInt8>, source: Int, _ from: Endpoint,
        at receivedAt: Timestamp
    ) -> FrameOutcome {
        counters.framesReceived &+= 1
        let carried = talk.effects.frames[number]
        seal(carried, datagram)
        let state = sources[source]
        var search = FormatSearch(only: nil)
        let listed = state.source.exchange?.listed ?? 0
        for index in state.formats.indices {
            switch carried.formats {
            case .listed: if index >= listed { continue }
            case .one(let place): if index != place { continue }
            }
            let format = state.formats[index]
            // A second reference, not a copy: the desk itself must not be lent out meanwhile.
            let envelope = talk.envelope
            do throws(Rejection) {
                try format.decoder.decode(envelope: envelope.span, direction: .up, into: &frame)
            } catch {
                search.refused(by: error)
                continue
            }
            // The conversation answers; what the format would say stands alone elsewhere.
            frame.answer.removeAll(keepingCapacity: true)
            return admit(carried, datagram, source: source, format, from, at: receivedAt)
        }
        refuse(carried, search.reason, datagram, source: source, at: receivedAt)
        return .refused(search.reason)
    }

    private func admit(
        _ carried: CarriedFrame, _ datagram: Span<UInt8>, source: Int, _ format: FormatState,
        _ from: Endpoint, at receivedAt: Timestamp
    ) -> FrameOutcome {
        let envelope = talk.envelope
        do throws(Rejection) {
            return try take(
                envelope.span, sources[source], format, at: receivedAt,
                answerTo: .datagram(source: source, to: from), isEnvelope: true,
                mayBeAgain: carried.mayBeAgain)
        } catch {
            refuse(carried, error, datagram, source: source, at: receivedAt)
            return .refused(error)
        }
    }

    /// Puts the frame and what the conversation knows into the envelope.
    private func seal(_ carried: CarriedFrame, _ datagram: Span<UInt8>) {
        talk.context.removeAll()
        talk.context.device.append(contentsOf: carried.device)
        talk.context.path.append(contentsOf: carried.path)
        if carried.messageKey != 0 {
            for shift in 0..<8 {
                talk.context.key.append(
                    UInt8(truncatingIfNeeded: carried.messageKey >> UInt64(8 * shift)))
            }
        }
        if carried.isAssembled {
            let bytes = talk.effects.bytes
            talk.context.encode(bytes.span.extracting(carried.payload), into: &talk.envelope)
        } else {
            talk.context.encode(datagram.extracting(carried.payload), into: &talk.envelope)
        }
    }

    private func refuse(
        _ carried: CarriedFrame, _ reason: Rejection, _ datagram: Span<UInt8>, source: Int,
        at receivedAt: Timestamp
    ) {
        if carried.isAssembled {
            let bytes = talk.effects.bytes
            let payload = bytes.span.extracting(carried.payload)
            refuse(reason, payload, source: source, at: receivedAt)
        } else {
            let payload = datagram.extracting(carried.payload)
            refuse(reason, payload, source: source, at: receivedAt)
        }
    }

    // MARK: Sending

    private func send(source: Int, answering: Endpoint? = nil) {
        let bytes = talk.effects.bytes
        for sending in talk.effects.sendings {
            let recipient = Recipient.datagram(source: source, to: sending.to)
            if sending.needsCommit {
                hot.pending.append(
                    bytes[sending.bytes], to: recipient, needs: journal.nextPosition)
                // Behind frames that are not yet durable it waits as one of them.
                if !journal.isEmpty, hot.firstWaitingAt == nil { hot.firstWaitingAt = clock.now() }
            } else {
                ports.answers.answer(
                    bytes.span.extracting(sending.bytes), to: recipient)
                if sending.to == answering { counters.framesAnswered &+= 1 }
                talk.hasSent = true
            }
        }
    }

    /// The end of a turn: what does not wait for a commit leaves in one system call.
    func flushSendings() {
        guard talk.hasSent else { return }
        talk.hasSent = false
        ports.answers.flush()
    }

    // MARK: Time

    private func noteWake(_ source: Int) {
        guard let wish = talk.effects.wakeAt else { return }
        if let due = sources[source].exchangeDue, due <= wish { return }
        sources[source].exchangeDue = wish
        ports.wakeAt(wish)
    }

    /// Called at every timer of the intake: exchanges whose time has come.
    func exchangeTimers() {
        let now = clock.now()
        for number in sources.indices {
            guard let exchange = sources[number].exchange, let due = sources[number].exchangeDue
            else { continue }
            guard due <= now else {
                ports.wakeAt(due)
                continue
            }
            sources[number].exchangeDue = nil
            exchange.timer(at: now, into: &talk.effects)
            send(source: number)
            noteWake(number)
        }
        flushSendings()
    }
}
