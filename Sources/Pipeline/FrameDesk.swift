// What each frame reads and writes, in one structure that the intake lends out once a receive: each use of
// a property of a class is checked at run time (exclusivity), which took a seventh of a frame when these
// were properties of the stage. The hot path: nothing here allocates once the tables are warm, except on
// the first appearance of a device, a stream or an output list; nothing here calls another stage. On the
// intake's queue.

import Catalog
import Exchanges
import Formats
package import Model
import Spool

struct FrameDesk: ~Copyable {
    typealias SourceState = IntakeStage.SourceState
    typealias FormatState = IntakeStage.FormatState

    let clock: Clock
    let clockSetAfter: Timestamp
    var counters: IntakeCounters
    var catalog: CatalogTable
    var recent: RecentFrames
    var lists: OutputLists
    var journal: JournalBuffer
    var pending = PendingAnswers()
    var frame = DecodedFrame()
    /// Readings of this turn and those that the ring had no room for.
    var outgoing: [Reading] = []
    var firstJournaledAt: Instant?
    var firstWaitingAt: Instant?
    var countersDirtySince: Instant?
    var isReplaying = false
    /// A frame of the quarantine is being taken in: its device is admitted, nobody is answered.
    var isReleasing = false

    init(
        clock: Clock, settings: IntakeSettings, counters: IntakeCounters,
        catalog: consuming CatalogTable, journal: JournalBuffer, seed: UInt64
    ) {
        self.clock = clock
        clockSetAfter = settings.clockSetAfter
        self.counters = counters
        self.catalog = catalog
        self.journal = journal
        recent = RecentFrames(
            capacity: settings.duplicateSlots,
            windowMilliseconds: settings.duplicateWindowMilliseconds)
        lists = OutputLists(seed: seed)
        frame.keysAhead = recent.ahead
        outgoing.reserveCapacity(4096)
        askAhead()
    }

    /// Frames ask for their devices where the catalog has them now.
    private mutating func askAhead() {
        let addresses = catalog.addresses
        frame.devicesAhead = DevicesAhead(
            rows: addresses.sightings, notes: addresses.habits, mask: addresses.mask,
            seed: addresses.seed)
    }

    /// A datagram of so many bytes: a frame, or part of a conversation that counts its frames itself.
    mutating func arrived(_ bytes: Int, isFrame: Bool) {
        counters.datagrams &+= 1
        counters.bytesReceived &+= UInt64(bytes)
        if isFrame { counters.framesReceived &+= 1 }
    }

    // MARK: Format

    enum Step {
        case taken
        case refused(Rejection)
        /// `frame` is part of a body: the stage takes it.
        case part(FramePart, FormatState)
    }

    /// Takes datagrams in, from number `next` on, up to one that is not taken: what that came to, or nil
    /// when it is none for here (empty, or cut); `next` is its number, or the count.
    mutating func accept(
        _ arrivals: Span<Arrival>, from next: inout Int, in slab: Span<UInt8>, slotBytes: Int,
        _ state: SourceState, _ search: inout FormatSearch, source: Int
    ) -> Step? {
        while next < arrivals.count {
            let arrival = arrivals[next]
            guard arrival.count > 0, !arrival.isTruncated else { return nil }
            search = FormatSearch(only: nil)
            let step = accept(
                slab.extracting(next &* slotBytes..<next &* slotBytes &+ arrival.count), state,
                &search, at: arrival.receivedAt,
                answerTo: .datagram(source: source, to: arrival.from), isDatagram: true)
            guard case .taken = step else { return step }
            next &+= 1
        }
        return nil
    }

    /// Takes the frame in by the next of the source's formats that accepts it. `isDatagram`: it has just
    /// arrived as one and is not counted yet.
    mutating func accept(
        _ bytes: Span<UInt8>, _ state: SourceState, _ search: inout FormatSearch,
        at receivedAt: Timestamp, answerTo recipient: Recipient, isDatagram: Bool
    ) -> Step {
        if isDatagram { arrived(bytes.count, isFrame: true) }
        while let format = decode(bytes, state, &search, at: receivedAt) {
            if format.assembles, let part = frame.part { return .part(part, format) }
            do throws(Rejection) {
                _ = try take(
                    bytes, state, format, at: receivedAt, answerTo: recipient, isEnvelope: false,
                    mayBeAgain: true)
                return .taken
            } catch {
                search.refused(by: error)
                if error == .noIdentity, state.source.triesAll { continue }
                return .refused(error)
            }
        }
        return .refused(search.reason)
    }

    /// Decodes with the next of the source's formats that accepts the frame. Nil: none does.
    @inline(__always)
    private mutating func decode(
        _ bytes: Span<UInt8>, _ state: SourceState, _ search: inout FormatSearch,
        at receivedAt: Timestamp
    ) -> FormatState? {
        let end = search.end ?? state.formatCount
        while search.next < end {
            let index = search.next
            let format = state.format(index)
            search.next &+= 1
            frame.devicesAhead.isOn = format.scope == 0
            do throws(Rejection) {
                try format.decoder.decode(bytes, direction: .up, into: &frame)
                if search.next < end, !format.isChecked,
                    !isPlausible(format, state, at: receivedAt)
                {
                    return try plausible(bytes, state, instead: index, at: receivedAt)
                }
                return format
            } catch {
                search.refused(by: error)
            }
        }
        return nil
    }

    // MARK: One frame

    /// Takes `frame`, which stands alone, in: duplicate, device, readings, journal, answer.
    mutating func take(
        _ bytes: Span<UInt8>, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp, answerTo recipient: Recipient, isEnvelope: Bool,
        mayBeAgain: Bool
    ) throws(Rejection) -> FrameOutcome {
        let head = frame.head
        if head.isControl {
            counters.framesControl &+= 1
            touchCounters()
            answerNow(frame.answer, to: recipient)
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
            answerNow(frame.answer, to: recipient)
            return .duplicate
        }
        let device: SeenDevice
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

    mutating func keep(
        _ bytes: Span<UInt8>, _ format: FormatState, at receivedAt: Timestamp, isEnvelope: Bool
    ) {
        let number = isEnvelope ? format.envelopeNumber : format.journalNumber
        journal.append(bytes, source: number, receivedAt: receivedAt)
        if firstJournaledAt == nil { firstJournaledAt = clock.now() }
    }

    mutating func takeReadings(
        of device: SeenDevice, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp
    ) {
        let isKnown = FrameDesk.take(
            frame.readings, of: device, format, state.timeRule, at: receivedAt,
            clockIsSet: receivedAt >= clockSetAfter, into: &outgoing, lists, &catalog, &counters)
        guard !isKnown else { return }
        if lists.isSpent { forgetLists() }
        let note = lists.note(frame.readings, of: device.id, format.number, catalog)
        if note != .none { catalog.note(note, of: device) }
    }

    /// Lists and the notes that name them go together.
    mutating func forgetLists() {
        lists.removeAll()
        catalog.forgetNotes()
    }

    /// False: a reading stood where the list of the device's frames has none or another.
    private static func take(
        _ readings: borrowing DecodedReadings, of device: SeenDevice, _ format: FormatState,
        _ timeRule: TimeRule, at receivedAt: Timestamp, clockIsSet: Bool,
        into outgoing: inout [Reading], _ lists: borrowing OutputLists,
        _ catalog: inout CatalogTable, _ counters: inout IntakeCounters
    ) -> Bool {
        guard !readings.isEmpty else { return true }
        let ruleTable = format.rules
        let rules = ruleTable.span
        let decodedReadings = readings.span
        let before = outgoing.count
        let places = lists.all.extracting(lists.range(device.note.list))
        var isKnown = true
        outgoing.append(addingCapacity: decodedReadings.count) { output in
            for place in decodedReadings.indices {
                var quality = decodedReadings[place].quality
                do throws(Drop) {
                    let observedAt = try validate(
                        value: decodedReadings[place].value, quality: &quality,
                        observedAt: decodedReadings[place].isTimeRelative
                            ? decodedReadings[place].observed(receivedAt)
                            : decodedReadings[place].observedAt,
                        receivedAt: receivedAt, rule: rules[Int(decodedReadings[place].output)],
                        timeRule: timeRule, gatewayClockIsSet: clockIsSet)
                    var known = OutputLists.Place.unknown
                    if place < places.count,
                        places[place].isOf(decodedReadings[place], format.number)
                    {
                        known = places[place].distance
                    }
                    let stream: StreamID
                    if OutputLists.Place.isNear(known) {
                        stream = StreamID(device.note.first &+ UInt32(bitPattern: known))
                    } else {
                        if known == OutputLists.Place.unknown, place < OutputLists.maximumPlaces {
                            isKnown = false
                        }
                        stream = try FrameDesk.stream(
                            device.id, format, decodedReadings[place], &catalog)
                    }
                    output.append(
                        Reading(
                            stream: stream, value: decodedReadings[place].value, quality: quality,
                            observedAt: observedAt, receivedAt: receivedAt))
                } catch {
                    counters[error] &+= 1
                }
            }
        }
        counters.readingsDecoded &+= UInt64(readings.count)
        counters.readingsPublished &+= UInt64(outgoing.count &- before)
        return isKnown
    }

    // MARK: Answers

    /// Answers the frame that was just journaled: with the commit that holds it.
    mutating func answerKept(_ answer: [UInt8], to recipient: Recipient) {
        guard answer.count > 0, !isReleasing else { return }
        if firstWaitingAt == nil { firstWaitingAt = clock.now() }
        pending.append(answer, to: recipient, needs: journal.nextPosition)
    }

    /// Answers a control frame or a retransmission: at once when all earlier frames are durable, else
    /// with the commit that makes them so.
    mutating func answerNow(_ answer: [UInt8], to recipient: Recipient) {
        guard answer.count > 0, !isReplaying, !isReleasing else { return }
        pending.append(answer, to: recipient, needs: journal.nextPosition)
        // Behind frames that are not yet durable it waits as one of them.
        if !journal.isEmpty, firstWaitingAt == nil { firstWaitingAt = clock.now() }
    }

    mutating func touchCounters() {
        if countersDirtySince == nil { countersDirtySince = clock.now() }
    }

    // MARK: Catalog, slow paths

    mutating func deviceID(
        _ head: DecodedFrame.Head, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp
    ) throws(Rejection) -> SeenDevice {
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
        let new = try catalog.addDevice(
            head.device, scope: scope, identity: identity,
            format: format.format.name, at: receivedAt)
        askAhead()
        return new
    }

    /// The stream of a reading by its numbers, or entered by its name.
    @inline(never)
    private static func stream(
        _ device: DeviceID, _ format: FormatState, _ reading: DecodedReading,
        _ catalog: inout CatalogTable
    ) throws(Drop) -> StreamID {
        if let known = catalog.stream(
            device, format: format.number, output: reading.output,
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
}

/// Which of a source's formats come next, and why those before it did not take the frame.
struct FormatSearch {
    var next: Int
    /// Behind the last that is asked; nil: the source's last.
    let end: Int?
    private(set) var reason = Rejection.noFormat

    init(only: Int?) {
        next = only ?? 0
        end = only.map { $0 + 1 }
    }

    /// Of two formats' reasons, the one of the format that understood more of the frame counts.
    mutating func refused(by other: Rejection) {
        if FormatSearch.rank(other) > FormatSearch.rank(reason) { reason = other }
    }

    private static func rank(_ reason: Rejection) -> Int {
        switch reason {
        case .noFormat: 0
        case .badHeader, .badLength, .unknownType, .badType: 1
        case .truncated, .oversized: 2
        case .badEnd, .badEscape, .badVersion, .noIdentity: 3
        default: 4
        }
    }
}

/// The desk's parts for what does not run once a frame.
extension IntakeStage {
    package internal(set) var counters: IntakeCounters {
        _read { yield hot.counters }
        _modify { yield &hot.counters }
    }

    var catalog: CatalogTable {
        _read { yield hot.catalog }
        _modify { yield &hot.catalog }
    }

    var journal: JournalBuffer {
        _read { yield hot.journal }
        _modify { yield &hot.journal }
    }

    var frame: DecodedFrame {
        _read { yield hot.frame }
        _modify { yield &hot.frame }
    }

    var outgoing: [Reading] {
        _read { yield hot.outgoing }
        _modify { yield &hot.outgoing }
    }

    var firstJournaledAt: Instant? {
        _read { yield hot.firstJournaledAt }
        _modify { yield &hot.firstJournaledAt }
    }

    var isReplaying: Bool {
        _read { yield hot.isReplaying }
        _modify { yield &hot.isReplaying }
    }
}
