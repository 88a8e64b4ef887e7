// The intake: frames in, validated readings into the ring, accepted frames into the journal buffer.
// Owned by one serial queue, which makes every call. It waits for nothing: not for disk, not for the
// network. When the ring or the journal buffer has no room, `hasRoom` turns false and the host leaves
// the rest in the sockets.
//
// Order that makes the ledger exact: new catalog entries are posted to the spool before the readings
// that name them are published, and a journal part is handed over with the counters as they were
// after its last frame.

package import Catalog
package import Formats
package import Model
package import Ring
package import Spool

/// One source as the intake sees it.
package struct IntakeSource {
    package var name: String
    package var formats: [Format]
    package var policy: DevicePolicy
    package var timeRule: TimeRule

    package init(name: String, formats: [Format], policy: DevicePolicy, timeRule: TimeRule) {
        self.name = name
        self.formats = formats
        self.policy = policy
        self.timeRule = timeRule
    }
}

package struct IntakeSettings: Sendable {
    /// A group commit happens at this many bytes, …
    package var commitBytes = 64 << 10
    /// … this long after the first frame that waits for an answer, …
    package var commitAnswerMilliseconds: Int64 = 20
    /// … or this long after the first that does not (design.md section 4, Answers).
    package var commitMilliseconds: Int64 = 250
    /// Counters of refused frames are made durable at least this often.
    package var countersMilliseconds: Int64 = 10_000
    /// Journal bytes handed over and not yet durable, above which the intake has no room.
    package var journalBytesInFlight = 4 << 20
    package var answersWaiting = 65_536
    package var duplicateSlots = 1 << 18
    package var duplicateWindowMilliseconds: Int64 = 120_000
    /// Wall clock before this is taken as not yet set: 2025-01-01T00:00:00Z.
    package var clockSetAfter = Timestamp(milliseconds: 1_735_689_600_000)

    package init() {}
}

/// What travels beside a mark in the ring: why it was put there and the intake's counters at its place.
package struct MarkNote: Sendable {
    package enum Purpose: Sendable {
        case cut
        case probe(LedgerProbe)
    }

    package var purpose: Purpose
    package var counters: IntakeCounters
}

/// How the intake reaches the other stages. The closures hop to the other stage's queue.
package struct IntakePorts {
    package var toSpool: (SpoolJob) -> Void
    /// Puts a note where the batcher finds it when it drains the mark; called before publishing it.
    package var note: (MarkNote) -> Void
    /// Tells the batcher of new or changed entries, before their readings are published.
    package var lanes: ([CatalogEntry]) -> Void
    package var pokeBatcher: () -> Void
    package var answers: any AnswerPort
    /// Asks for a call of `timer()` at that time or somewhat later; an earlier wish still holds.
    package var wakeAt: (Instant) -> Void

    package init(
        toSpool: @escaping (SpoolJob) -> Void, note: @escaping (MarkNote) -> Void,
        lanes: @escaping ([CatalogEntry]) -> Void, pokeBatcher: @escaping () -> Void,
        answers: any AnswerPort,
        wakeAt: @escaping (Instant) -> Void
    ) {
        self.toSpool = toSpool
        self.note = note
        self.lanes = lanes
        self.pokeBatcher = pokeBatcher
        self.answers = answers
        self.wakeAt = wakeAt
    }
}

package final class IntakeStage: IntakeDoor {
    package private(set) var counters: IntakeCounters
    /// When the oldest frame or counter that waits must be handed over; nil while nothing waits.
    private var deadline: Instant?

    private let settings: IntakeSettings
    private let clock: Clock
    private let ports: IntakePorts
    private let sources: [SourceState]
    /// Every (source, format) pair, in the order of the numbers that the journal uses.
    private let journalSources: [JournalSource]
    private var catalog: CatalogTable
    private var producer: Producer
    private var recent: RecentFrames
    private var journal: JournalBuffer
    private var pending = PendingAnswers()
    private var frame = DecodedFrame()

    /// Readings of this turn and those that the ring had no room for, from `publishedTo` on.
    private var outgoing: [Reading] = []
    private var publishedTo = 0
    private var unpoked = 0
    private var isEpochNew = true
    private var setAside: [QuarantinedFrame] = []
    private var connections: [ConnectionID: Int] = [:]

    private var committed: UInt64
    private var bytesInFlight = 0
    private var partsInFlight: [(end: UInt64, bytes: Int)] = []
    private var firstJournaledAt: Instant?
    private var firstWaitingAt: Instant?
    private var countersDirtySince: Instant?
    private var isReplaying = false

    /// A source's decoders; `scope` separates devices whose identity is local to the source.
    private struct SourceState {
        let source: IntakeSource
        let decoders: [Decoder]
        let formatNumbers: [UInt16]
        /// Value rules by format, by output.
        let rules: [[ValueRule]]
        let scope: UInt32
        /// Index of the source's first format in `journalSources`.
        let journalBase: UInt16
        let maximumFrame: Int
    }

    package init(
        sources: [IntakeSource], library: FormatLibrary, settings: IntakeSettings, clock: Clock,
        catalog: consuming CatalogTable, producer: consuming Producer, journal: JournalBuffer,
        counters: IntakeCounters, seed: UInt64, ports: IntakePorts
    ) {
        self.settings = settings
        self.clock = clock
        self.ports = ports
        self.catalog = catalog
        self.producer = producer
        self.journal = journal
        self.counters = counters
        committed = journal.nextPosition
        recent = RecentFrames(
            capacity: settings.duplicateSlots,
            windowMilliseconds: settings.duplicateWindowMilliseconds)
        var pairs: [JournalSource] = []
        var states: [SourceState] = []
        for (number, source) in sources.enumerated() {
            let base = UInt16(pairs.count)
            pairs += source.formats.map { JournalSource(name: source.name, format: $0.name) }
            states.append(
                SourceState(
                    source: source, decoders: source.formats.map { Decoder($0, seed: seed) },
                    formatNumbers: source.formats.map { format in
                        UInt16(library.formats.firstIndex { $0 === format } ?? 0)
                    },
                    rules: source.formats.map { format in
                        format.outputs.map {
                            ValueRule(
                                range: $0.range, dropsOutOfRange: $0.dropsOutOfRange,
                                dropsMissing: $0.dropsMissing)
                        }
                    },
                    scope: UInt32(number + 1), journalBase: base,
                    maximumFrame: source.formats.map(\.maximumFrame).max() ?? 0))
        }
        self.sources = states
        journalSources = pairs
        outgoing.reserveCapacity(4096)
    }

    // MARK: The door for the sockets

    /// Room for the longest frame's readings in the ring, and for its bytes in the journal.
    package var hasRoom: Bool {
        // Asking refreshes the producer's view of the other end, which changes nothing observable.
        publishedTo == outgoing.count && producer.hasRoom(for: IntakeStage.readingsPerFrame)
            && bytesInFlight + journal.byteCount < settings.journalBytesInFlight
            && pending.count < settings.answersWaiting
    }

    /// No format yields more readings from one frame.
    private static let readingsPerFrame = 512
    private static let readingsPerPoke = 16_384

    package func maximumFrame(source: Int) -> Int { sources[source].maximumFrame }

    package func datagram(
        _ bytes: Span<UInt8>, source: Int, from: Endpoint, at receivedAt: Timestamp,
        isTruncated: Bool
    ) {
        counters.datagrams &+= 1
        counters.bytesReceived &+= UInt64(bytes.count)
        counters.framesReceived &+= 1
        if bytes.count == 0 {
            refuse(.empty, bytes, source: source, at: receivedAt)
        } else if isTruncated {
            refuse(.oversized, bytes, source: source, at: receivedAt)
        } else {
            accept(
                bytes, source: source, only: nil, at: receivedAt,
                answerTo: .datagram(source: source, to: from))
        }
    }

    package func stream(
        _ bytes: Span<UInt8>, source: Int, connection: ConnectionID, from: Endpoint,
        at receivedAt: Timestamp
    ) -> StreamProgress {
        var consumed = 0
        var accepted = 0
        while consumed < bytes.count {
            guard hasRoom else {
                return StreamProgress(consumed: consumed, frames: accepted, isSuspended: true)
            }
            let rest = bytes.extracting(consumed...)
            let (search, format) = find(rest, source: source, known: connections[connection])
            switch search {
            case .needsMore(let skip):
                skipped(skip)
                return StreamProgress(
                    consumed: consumed + skip, frames: accepted, isSuspended: false)
            case .rejected(let skip, let advance, let reason):
                skipped(skip)
                counters.framesReceived &+= 1
                refuse(reason, rest.extracting(skip...), source: source, at: receivedAt)
                consumed += skip + advance
            case .frame(let skip, let count):
                skipped(skip)
                counters.framesReceived &+= 1
                counters.bytesReceived &+= UInt64(count)
                let isGood = accept(
                    rest.extracting(skip..<skip + count), source: source, only: format,
                    at: receivedAt, answerTo: .connection(connection))
                if isGood {
                    accepted += 1
                    connections[connection] = format
                }
                consumed += skip + count
            }
        }
        return StreamProgress(consumed: consumed, frames: accepted, isSuspended: false)
    }

    package func connectionEnded(_ connection: ConnectionID, source: Int, unconsumed: Int) {
        connections[connection] = nil
        guard unconsumed > 0 else { return }
        counters.framesReceived &+= 1
        counters[.connectionEnded] &+= 1
        touchCounters()
    }

    package func endTurn(source: Int, kernelDrops: UInt64) {
        counters.kernelDrops &+= kernelDrops
        finishTurn()
    }

    // MARK: From the other stages

    /// The batcher freed room in the ring. True when the host may read again.
    package func roomAgain() -> Bool {
        publish()
        return hasRoom
    }

    /// Every frame before `position` is durable: answers may leave.
    package func committed(upTo position: UInt64) {
        committed = max(committed, position)
        while let first = partsInFlight.first, first.end <= committed {
            bytesInFlight -= first.bytes
            partsInFlight.removeFirst()
        }
        counters.framesAnswered &+= UInt64(
            pending.release(upTo: committed, through: ports.answers))
    }

    /// Ends the turn with a mark, for a cut or for a probe of the ledger.
    package func mark(_ purpose: MarkNote.Purpose) {
        finishTurn()
        ports.note(MarkNote(purpose: purpose, counters: counters))
        outgoing.append(Reading(markCovering: journal.nextPosition))
        publish()
        pokeBatcher()
        isEpochNew = true
    }

    package func timer() {
        publish()
        handOverIfDue()
    }

    /// Everything that waits goes on its way: the last turn before the daemon stops.
    package func flush() {
        finishTurn()
        handOver()
        updateDeadline()
    }

    // MARK: Recovery

    /// A frame of the journal, at start. Frames that a cut covers only refill the duplicate memory;
    /// the others are decoded again. They are in `framesReceived` already.
    package func replay(
        _ bytes: Span<UInt8>, source: JournalSource, receivedAt: Timestamp, isCovered: Bool
    ) {
        isReplaying = true
        defer { isReplaying = false }
        let number = sources.firstIndex { $0.source.name == source.name }
        let format = number.flatMap { n in
            sources[n].source.formats.firstIndex { $0.name == source.format }
        }
        guard let number, let format else {
            if !isCovered { goneAtReplay(bytes, source: source, at: receivedAt) }
            return
        }
        if isCovered {
            let decoder = sources[number].decoders[format]
            guard (try? decoder.decode(bytes, direction: .up, into: &frame)) != nil else { return }
            if let key = frame.duplicateKey { _ = recent.containsOrInsert(key, at: receivedAt) }
            return
        }
        accept(
            bytes, source: number, only: format, at: receivedAt,
            answerTo: .connection(ConnectionID(0)))
    }

    /// Publishes what `replay` yielded; false while the ring is full.
    package func publishReplayed() -> Bool {
        postEntries()
        publish()
        return publishedTo == outgoing.count
    }

    /// Uncovered frames that the spool could not read back.
    package func lostAtReplay(_ count: UInt64) { counters[.journalDamaged] &+= count }

    private func goneAtReplay(_ bytes: Span<UInt8>, source: JournalSource, at time: Timestamp) {
        counters[.formatGone] &+= 1
        setAside.append(
            QuarantinedFrame(
                source: source.name, reason: .formatGone, receivedAt: time, bytes: copy(bytes)))
    }

    // MARK: One frame

    /// Decodes with the source's formats in their order; the first that accepts wins. Returns true
    /// when the frame was decoded, a control frame or a duplicate.
    @discardableResult
    private func accept(
        _ bytes: Span<UInt8>, source: Int, only: Int?, at receivedAt: Timestamp,
        answerTo recipient: Recipient
    ) -> Bool {
        var reason = Rejection.noFormat
        let decoders = sources[source].decoders
        for index in decoders.indices where only == nil || only == index {
            do throws(Rejection) {
                try decoders[index].decode(bytes, direction: .up, into: &frame)
            } catch {
                reason = IntakeStage.worse(reason, error)
                continue
            }
            do throws(Rejection) {
                try take(bytes, source: source, format: index, at: receivedAt, recipient)
                return true
            } catch {
                refuse(error, bytes, source: source, at: receivedAt)
                return false
            }
        }
        refuse(reason, bytes, source: source, at: receivedAt)
        return false
    }

    /// Of two formats' reasons, the one of the format that understood more of the frame.
    private static func worse(_ a: Rejection, _ b: Rejection) -> Rejection {
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

    /// Takes a decoded frame in: duplicate, device, readings, journal, answer.
    private func take(
        _ bytes: Span<UInt8>, source: Int, format: Int, at receivedAt: Timestamp,
        _ recipient: Recipient
    ) throws(Rejection) {
        let state = sources[source]
        if frame.isControl {
            counters.framesControl &+= 1
            touchCounters()
            return answerNow(to: recipient)
        }
        if let key = frame.duplicateKey, recent.containsOrInsert(key, at: receivedAt) {
            counters.framesDuplicate &+= 1
            touchCounters()
            return answerNow(to: recipient)
        }
        let device: DeviceID
        do throws(Rejection) {
            device = try deviceID(state, format: format, at: receivedAt)
        } catch {
            if let key = frame.duplicateKey { recent.remove(key) }
            throw error
        }
        counters.framesDecoded &+= 1
        takeReadings(of: device, state, format: format, at: receivedAt)
        guard !isReplaying else { return }
        journal.append(
            bytes, source: state.journalBase + UInt16(format), receivedAt: receivedAt)
        if firstJournaledAt == nil { firstJournaledAt = clock.now() }
        if frame.answer.count > 0 {
            if firstWaitingAt == nil { firstWaitingAt = clock.now() }
            pending.append(frame.answer, to: recipient, needs: journal.nextPosition)
        }
    }

    private func takeReadings(
        of device: DeviceID, _ state: SourceState, format: Int, at receivedAt: Timestamp
    ) {
        let clockIsSet = receivedAt >= settings.clockSetAfter
        let rules = state.rules[format]
        counters.readingsDecoded &+= UInt64(frame.readings.count)
        for index in frame.readings.indices {
            let decoded = frame.readings[index]
            var quality = decoded.quality
            do throws(Drop) {
                let observedAt = try validate(
                    value: decoded.value, quality: &quality, observedAt: decoded.observedAt,
                    receivedAt: receivedAt, rule: rules[Int(decoded.output)],
                    timeRule: state.source.timeRule, gatewayClockIsSet: clockIsSet)
                let stream = try streamID(device, state, format: format, decoded)
                outgoing.append(
                    Reading(
                        stream: stream, value: decoded.value, quality: quality,
                        observedAt: observedAt, receivedAt: receivedAt))
                counters.readingsPublished &+= 1
            } catch {
                counters[error] &+= 1
            }
        }
    }

    // MARK: Catalog, slow paths

    private func deviceID(
        _ state: SourceState, format: Int, at receivedAt: Timestamp
    ) throws(Rejection) -> DeviceID {
        let isLocal = state.source.formats[format].identityIsLocal
        let scope = isLocal ? state.scope : 0
        if frame.device == .empty && !isLocal { throw .noIdentity }
        if let known = catalog.device(frame.device, scope: scope, seenAt: receivedAt) {
            return known
        }
        let text = state.decoders[format].identityText()
        let identity =
            isLocal ? text.isEmpty ? state.source.name : state.source.name + ":" + text : text
        if let known = catalog.device(
            frame.device, scope: scope, identity: identity, seenAt: receivedAt)
        {
            return known
        }
        // At replay the frame was taken in once, under the policy of its time.
        if !isReplaying {
            switch state.source.policy {
            case .accept: break
            case .quarantine: throw .quarantined
            case .reject: throw .unknownDevice
            }
        }
        return try catalog.addDevice(
            frame.device, scope: scope, identity: identity,
            format: state.source.formats[format].name, at: receivedAt)
    }

    private func streamID(
        _ device: DeviceID, _ state: SourceState, format: Int, _ reading: DecodedReading
    ) throws(Drop) -> StreamID {
        let number = state.formatNumbers[format]
        if let known = catalog.stream(
            device, format: number, output: reading.output, discriminator: reading.discriminator)
        {
            return known
        }
        let words = state.source.formats[format].describe(
            output: reading.output, discriminator: reading.discriminator)
        return try catalog.addStream(
            device, format: number, output: reading.output, discriminator: reading.discriminator,
            name: words.name, quantity: words.quantity, unit: words.unit, priority: words.priority)
    }

    // MARK: Helpers

    private func refuse(
        _ reason: Rejection, _ bytes: Span<UInt8>, source: Int, at receivedAt: Timestamp
    ) {
        counters[reason] &+= 1
        touchCounters()
        // At replay the frame was taken in once: keep its bytes, its format has changed since.
        if reason == .quarantined || isReplaying {
            setAside.append(
                QuarantinedFrame(
                    source: sources[source].source.name, reason: reason, receivedAt: receivedAt,
                    bytes: copy(bytes)))
        }
    }

    private func copy(_ bytes: Span<UInt8>) -> [UInt8] {
        var copy: [UInt8] = []
        copy.reserveCapacity(bytes.count)
        for i in 0..<bytes.count { copy.append(bytes[i]) }
        return copy
    }

    private func skipped(_ count: Int) {
        counters.bytesSkipped &+= UInt64(count)
        counters.bytesReceived &+= UInt64(count)
    }

    /// Answers a control frame or a retransmission: at once when all earlier frames are durable, else
    /// with the commit that makes them so.
    private func answerNow(to recipient: Recipient) {
        guard frame.answer.count > 0, !isReplaying else { return }
        pending.append(frame.answer, to: recipient, needs: journal.nextPosition)
    }

    /// Looks for a frame with the format that the connection is known to speak, or with each in turn:
    /// the one that finds a frame first; if none does, the one that skips least, so that no byte that
    /// may begin a frame is lost.
    private func find(
        _ bytes: Span<UInt8>, source: Int, known: Int?
    ) -> (FrameSearch, Int) {
        let decoders = sources[source].decoders
        if let known { return (decoders[known].search(bytes, direction: .up), known) }
        var waiting: (skip: Int, format: Int)?
        var rejected: (FrameSearch, Int)?
        var found: (FrameSearch, Int, skip: Int)?
        for index in decoders.indices {
            let search = decoders[index].search(bytes, direction: .up)
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

    private func finishTurn() {
        postEntries()
        publish()
        if journal.byteCount >= settings.commitBytes { handOver() }
        handOverIfDue()
        if pending.count > 0 {
            counters.framesAnswered &+= UInt64(
                pending.release(upTo: committed, through: ports.answers))
        }
    }

    private func postEntries() {
        if catalog.hasAdditions {
            let additions = catalog.takeAdditions()
            ports.lanes(additions)
            ports.toSpool(.entries(additions))
        }
        if !setAside.isEmpty {
            ports.toSpool(.quarantine(setAside))
            setAside.removeAll()
        }
    }

    /// Moves readings into the ring, whole turns while they fit, else as many as there is room for.
    private func publish() {
        guard publishedTo < outgoing.count else { return }
        let room = min(producer.free, outgoing.count - publishedTo)
        if room > 0 {
            let isPublished = producer.publish(
                outgoing.span.extracting(publishedTo..<publishedTo + room))
            precondition(isPublished, "the producer has just said that there is room")
            publishedTo += room
            unpoked += room
            // The batcher need not run for every turn: it is told of the epoch's first reading, so that
            // its time begins, of marks, and when a good part of the ring waits.
            if isEpochNew || unpoked >= IntakeStage.readingsPerPoke || publishedTo < outgoing.count
            {
                pokeBatcher()
            }
        }
        if publishedTo == outgoing.count {
            outgoing.removeAll(keepingCapacity: true)
            publishedTo = 0
        }
    }

    private func pokeBatcher() {
        isEpochNew = false
        unpoked = 0
        ports.pokeBatcher()
    }

    private func handOverIfDue() {
        updateDeadline()
        guard let due = deadline else { return }
        if clock.now() >= due {
            handOver()
            deadline = nil
        } else {
            ports.wakeAt(due)
        }
    }

    private func handOver() {
        firstJournaledAt = nil
        firstWaitingAt = nil
        countersDirtySince = nil
        let part = journal.take(sources: journalSources, counters: counters)
        bytesInFlight += part.bytes.count
        partsInFlight.append((part.nextPosition, part.bytes.count))
        ports.toSpool(.part(part))
    }

    private func touchCounters() {
        if countersDirtySince == nil { countersDirtySince = clock.now() }
    }

    private func updateDeadline() {
        var next: Instant?
        func consider(_ start: Instant?, _ milliseconds: Int64) {
            guard let at = start?.adding(milliseconds: milliseconds) else { return }
            if next == nil || at < next! { next = at }
        }
        consider(firstWaitingAt, settings.commitAnswerMilliseconds)
        consider(firstJournaledAt, settings.commitMilliseconds)
        consider(countersDirtySince, settings.countersMilliseconds)
        deadline = next
    }
}
