// One frame on its way in: which format accepts it, is it new, whose is it, what does it say. On the
// intake's queue, the hot path: nothing here allocates once the tables are warm, except on the first
// appearance of a device or a stream.

import Catalog
import Exchanges
import Formats
import Model
import Spool

extension IntakeStage {
    // MARK: One frame

    /// Decodes with the source's formats in their order; the first that accepts wins, unless what it reads
    /// is not plausible and another's reading is (`IntakeStage+Choice.swift`). Returns true when the frame
    /// was decoded, a control frame or a duplicate.
    @discardableResult
    func accept(
        _ bytes: Span<UInt8>, source: Int, only: Int?, at receivedAt: Timestamp,
        answerTo recipient: Recipient
    ) -> Bool {
        var reason = Rejection.noFormat
        let state = sources[source]
        for index in state.formats.indices where only == nil || only == index {
            let format = state.formats[index]
            do throws(Rejection) {
                try format.decoder.decode(bytes, direction: .up, into: &frame)
            } catch {
                reason = IntakeStage.worse(reason, error)
                continue
            }
            do throws(Rejection) {
                var chosen = format
                if only == nil, index &+ 1 < state.formats.count, !format.isChecked,
                    !isPlausible(format, state, at: receivedAt)
                {
                    chosen = try plausible(bytes, state, instead: index, at: receivedAt)
                }
                try take(bytes, state, chosen, at: receivedAt, answerTo: recipient)
                return true
            } catch {
                if error == .noIdentity, state.source.triesAll {
                    reason = IntakeStage.worse(reason, error)
                    continue
                }
                refuse(error, bytes, source: source, at: receivedAt)
                return false
            }
        }
        refuse(reason, bytes, source: source, at: receivedAt)
        return false
    }

    /// Of two formats' reasons, the one of the format that understood more of the frame.
    static func worse(_ a: Rejection, _ b: Rejection) -> Rejection {
        func rank(_ r: Rejection) -> Int {
            switch r {
            case .noFormat: 0
            case .badHeader, .badLength, .unknownType, .badType: 1
            case .truncated, .oversized: 2
            case .badEnd, .badEscape, .badVersion, .noIdentity: 3
            default: 4
            }
        }
        return rank(b) > rank(a) ? b : a
    }

    /// Takes a decoded frame in: duplicate, device, readings, journal, answer. `mayBeAgain` false: the
    /// sender says that this message is no repetition.
    @discardableResult
    func take(
        _ bytes: Span<UInt8>, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp, answerTo recipient: Recipient, isEnvelope: Bool = false,
        mayBeAgain: Bool = true
    ) throws(Rejection) -> FrameOutcome {
        if format.assembles, let part = frame.part {
            return try takePart(
                part, bytes, state, format, at: receivedAt, answerTo: recipient,
                isEnvelope: isEnvelope)
        }
        let head = frame.head
        if head.isControl {
            counters.framesControl &+= 1
            touchCounters()
            answerNow(to: recipient)
            return .control
        }
        // What the journal holds was new when it came. The memory keeps a key for one to two windows,
        // at replay perhaps longer than it did then: it must not refuse what was answered.
        if let key = head.duplicateKey,
            recent.containsOrInsert(
                key, at: receivedAt,
                window: head.isKeyOfMessage
                    ? IntakeStage.messageWindow : format.duplicateWindow),
            !isReplaying, mayBeAgain || !head.isKeyOfMessage
        {
            counters.framesDuplicate &+= 1
            touchCounters()
            answerNow(to: recipient)
            return .duplicate
        }
        let device: DeviceID
        do throws(Rejection) {
            device = try deviceID(head, state, format, at: receivedAt)
        } catch {
            if let key = head.duplicateKey { recent.remove(key) }
            throw error
        }
        counters.framesDecoded &+= 1
        takeReadings(of: device, state, format, at: receivedAt)
        guard !isReplaying else { return .taken }
        keep(bytes, format, at: receivedAt, isEnvelope: isEnvelope)
        if frame.answer.count > 0 { answerKept(frame.answer, to: recipient) }
        return .taken
    }

    func keep(
        _ bytes: Span<UInt8>, _ format: FormatState, at receivedAt: Timestamp, isEnvelope: Bool
    ) {
        let number = isEnvelope ? format.envelopeNumber : format.journalNumber
        journal.append(bytes, source: number, receivedAt: receivedAt)
        if firstJournaledAt == nil { firstJournaledAt = clock.now() }
    }

    /// Answers the frame that was just journaled: with the commit that holds it.
    func answerKept(_ answer: [UInt8], to recipient: Recipient) {
        guard answer.count > 0, !isReleasing else { return }
        if firstWaitingAt == nil { firstWaitingAt = clock.now() }
        pending.append(answer, to: recipient, needs: journal.nextPosition)
    }

    func takeReadings(
        of device: DeviceID, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp
    ) {
        IntakeStage.take(
            frame.readings, of: device, format, state.timeRule, at: receivedAt,
            clockIsSet: receivedAt >= settings.clockSetAfter, into: &outgoing, &catalog, &counters)
    }

    /// The stage's state is borrowed once a frame here: each use of a class's property is checked at run
    /// time, which took 330 instructions a reading.
    private static func take(
        _ readings: [DecodedReading], of device: DeviceID, _ format: FormatState,
        _ timeRule: TimeRule, at receivedAt: Timestamp, clockIsSet: Bool,
        into outgoing: inout [Reading], _ catalog: inout CatalogTable,
        _ counters: inout IntakeCounters
    ) {
        let ruleTable = format.rules
        let rules = ruleTable.span
        let decodedReadings = readings.span
        let before = outgoing.count
        for place in decodedReadings.indices {
            let decoded = decodedReadings[place]
            var quality = decoded.quality
            do throws(Drop) {
                let observedAt = try validate(
                    value: decoded.value, quality: &quality,
                    observedAt: decoded.observed(receivedAt), receivedAt: receivedAt,
                    rule: rules[Int(decoded.output)],
                    timeRule: timeRule, gatewayClockIsSet: clockIsSet)
                let stream = try streamID(device, format, decoded, place: place, &catalog)
                outgoing.append(
                    Reading(
                        stream: stream, value: decoded.value, quality: quality,
                        observedAt: observedAt, receivedAt: receivedAt))
            } catch {
                counters[error] &+= 1
            }
        }
        counters.readingsDecoded &+= UInt64(readings.count)
        counters.readingsPublished &+= UInt64(outgoing.count &- before)
    }

    // MARK: Catalog, slow paths

    func deviceID(
        _ head: DecodedFrame.Head, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp
    ) throws(Rejection) -> DeviceID {
        var scope = head.isIdentityGlobal ? 0 : format.scope
        let isUnnamed = head.device == .empty && !state.source.unnamed.isEmpty
        if isUnnamed { scope = format.sourceScope }
        let isLocal = scope != 0
        if head.device == .empty && !isLocal { throw .noIdentity }
        if let known = catalog.device(head.device, scope: scope, seenAt: receivedAt) {
            return known
        }
        let text = format.decoder.identityText()
        let identity =
            isUnnamed
            ? state.source.unnamed
            : isLocal ? text.isEmpty ? state.source.name : state.source.name + ":" + text : text
        if let known = catalog.device(
            head.device, scope: scope, identity: identity, seenAt: receivedAt)
        {
            return known
        }
        // At replay the frame was taken in once, under the policy of its time.
        if !isReplaying, !isReleasing {
            switch state.source.policy {
            case .accept: break
            case .quarantine: throw .quarantined
            case .reject: throw .unknownDevice
            }
        }
        return try catalog.addDevice(
            head.device, scope: scope, identity: identity,
            format: format.format.name, at: receivedAt)
    }

    private static func streamID(
        _ device: DeviceID, _ format: FormatState, _ reading: DecodedReading, place: Int,
        _ catalog: inout CatalogTable
    ) throws(Drop) -> StreamID {
        if let known = catalog.stream(
            device, place: place, format: format.number, output: reading.output,
            discriminator: reading.discriminator)
        {
            return known
        }
        let words = format.decoder.describe(reading)
        return try catalog.addStream(
            device, format: format.number, output: reading.output,
            discriminator: reading.discriminator,
            name: words.name, quantity: words.quantity, unit: words.unit, priority: words.priority)
    }

    // MARK: Helpers

    func refuse(
        _ reason: Rejection, _ bytes: Span<UInt8>, source: Int, at receivedAt: Timestamp
    ) {
        counters[reason] &+= 1
        touchCounters()
        // At replay the frame was taken in once: keep its bytes, its format has changed since.
        if reason == .quarantined || isReplaying {
            putAside(bytes, source: sources[source].source.name, reason, at: receivedAt)
        }
    }

    /// Keeps a frame's bytes for the quarantine. Between two journal parts at most 1 MB is kept (strangers
    /// may send faster than the disk writes); beyond that a frame is only counted.
    func putAside(
        _ bytes: Span<UInt8>, source: String, _ reason: Rejection, at receivedAt: Timestamp
    ) {
        guard isReplaying || setAsideBytes < 1 << 20 else { return }
        if !isReplaying, firstJournaledAt == nil { firstJournaledAt = clock.now() }
        setAsideBytes += bytes.count
        setAside.append(
            QuarantinedFrame(
                source: source, reason: reason, receivedAt: receivedAt, bytes: copy(bytes)))
    }

    func copy(_ bytes: Span<UInt8>) -> [UInt8] {
        var copy: [UInt8] = []
        copy.reserveCapacity(bytes.count)
        for i in 0..<bytes.count { copy.append(bytes[i]) }
        return copy
    }

    func skipped(_ count: Int) {
        counters.bytesSkipped &+= UInt64(count)
        counters.bytesReceived &+= UInt64(count)
    }

    /// Answers a control frame or a retransmission: at once when all earlier frames are durable, else
    /// with the commit that makes them so.
    func answerNow(to recipient: Recipient) { answerNow(frame.answer, to: recipient) }

    func answerNow(_ answer: [UInt8], to recipient: Recipient) {
        guard answer.count > 0, !isReplaying, !isReleasing else { return }
        pending.append(answer, to: recipient, needs: journal.nextPosition)
        // Behind frames that are not yet durable it waits as one of them.
        if !journal.isEmpty, firstWaitingAt == nil { firstWaitingAt = clock.now() }
    }

    /// Looks for a frame with the format that the connection is known to speak, or with each in turn:
    /// the one that finds a frame first; if none does, the one that skips least, so that no byte that
    /// may begin a frame is lost.
    func find(
        _ bytes: Span<UInt8>, source: Int, known: Int?
    ) -> (FrameSearch, Int) {
        let formats = sources[source].formats
        if let known { return (formats[known].decoder.search(bytes, direction: .up), known) }
        var waiting: (skip: Int, format: Int)?
        var rejected: (FrameSearch, Int)?
        var found: (FrameSearch, Int, skip: Int)?
        for index in formats.indices {
            let search = formats[index].decoder.search(bytes, direction: .up)
            switch search {
            case .frame(let skip, _):
                if skip < found?.skip ?? .max { found = (search, index, skip) }
            case .rejected: if rejected == nil { rejected = (search, index) }
            case .needsMore(let skip):
                if skip < waiting?.skip ?? .max { waiting = (skip, index) }
            }
        }
        if let found { return (found.0, found.1) }
        if let waiting { return (.needsMore(skip: waiting.skip), waiting.format) }
        return rejected ?? (.needsMore(skip: bytes.count), 0)
    }
}
