// The intake: frames in, validated readings into the ring, accepted frames into the journal buffer.
// Owned by one serial queue, which makes every call. It waits for nothing: not for disk, not for the
// network. When the ring or the journal buffer has no room, `hasRoom` turns false and the host leaves
// the rest in the sockets.
//
// Order that makes the ledger exact: new catalog entries are posted to the spool before the readings
// that name them are published, and a journal part is handed over with the counters as they were
// after its last frame.

package import Catalog
import Exchanges
package import Formats
package import Model
package import Ring
package import Spool

package final class IntakeStage: IntakeDoor {
    /// When the oldest frame or counter that waits must be handed over; nil while nothing waits.
    var deadline: Instant?

    let settings: IntakeSettings
    let clock: Clock
    let ports: IntakePorts
    let sources: [SourceState]
    /// Every (source, format) pair, in the order of the numbers that the journal uses.
    let journalSources: [JournalSource]
    /// What each frame reads and writes.
    var hot: FrameDesk
    var producer: Producer
    /// Of `outgoing`, what the ring has had room for.
    var publishedTo = 0
    var unpoked = 0
    var isEpochNew = true
    /// Frames for the quarantine; they leave with the next journal part.
    var setAside: [QuarantinedFrame] = []
    var setAsideBytes = 0
    var connections: [ConnectionID: Int] = [:]
    let desk = LineDesk()
    var talk = ExchangeDesk()
    var bodies: BodyAssembly

    var committed: UInt64
    var bytesInFlight = 0
    var partsInFlight: [(end: UInt64, bytes: Int)] = []
    /// Conversations tell their devices to come later.
    package internal(set) var isPaced = false

    /// A source and its formats. Classes, so that the hot path passes one reference.
    final class SourceState {
        let source: IntakeSource
        let timeRule: TimeRule
        @exclusivity(unchecked) private var loaded: [FormatState]
        // Safety: reads copy the array, and a reload, which changes it between two turns, copies one in: no
        // access lasts longer than that, so none can overlap with another.
        var formats: [FormatState] {
            get { unsafe loaded }
            set { unsafe loaded = newValue }
        }
        /// Of `formats`, without counting references to the list.
        @inline(__always)
        func format(_ index: Int) -> FormatState {
            // Safety: as above; the read ends with this call.
            unsafe loaded[index]
        }
        var formatCount: Int {
            // Safety: as above.
            unsafe loaded.count
        }
        let maximumFrame: Int
        let exchange: Exchange?
        /// When the exchange wants its timer.
        var exchangeDue: Instant?

        init(source: IntakeSource, formats: [FormatState], seed: UInt64) {
            self.source = source
            timeRule = source.timeRule
            unsafe loaded = formats
            var longest = source.formats.map(\.maximumFrame).max() ?? 0
            if var settings = source.exchange {
                settings.formats = source.formats.map(\.name)
                longest = max(longest, settings.kind.maximumDatagram)
                exchange = Exchange(settings, seed: seed)
            } else {
                exchange = nil
            }
            maximumFrame = longest
        }
    }

    final class FormatState {
        let format: Format
        let decoder: Decoder
        /// The format's number in the library.
        let number: UInt16
        /// Value rules by output.
        let rules: [ValueRule]
        /// 0, or the source's number when identities are local to the source.
        let scope: UInt32
        /// Index of the source.
        let source: Int
        /// The source's number: where frames that name no device belong to one device.
        let sourceScope: UInt32
        /// Index in `journalSources`.
        let journalNumber: UInt16
        /// The same for frames that are journaled with their context.
        let envelopeNumber: UInt16
        /// Bodies are put together from their parts; the numbers of what is given up follow.
        let assembles: Bool
        let duplicateWindow: Int64
        /// `Format.isChecked`
        let isChecked: Bool
        let seed: UInt64
        let keys: DeviceKeys

        init(
            _ format: Format, number: Int, source: Int, journalNumber: Int, assembles: Bool,
            seed: UInt64, keys: DeviceKeys
        ) {
            self.format = format
            self.seed = seed
            self.keys = keys
            decoder = Decoder(format, seed: seed, keys: keys)
            self.number = UInt16(number)
            rules = format.outputs.map {
                ValueRule(
                    range: $0.range, dropsOutOfRange: $0.dropsOutOfRange,
                    dropsMissing: $0.dropsMissing)
            }
            sourceScope = UInt32(source + 1)
            scope = format.identityIsLocal ? sourceScope : 0
            self.source = source
            self.assembles = assembles
            self.journalNumber = UInt16(journalNumber)
            envelopeNumber = UInt16(journalNumber + 1)
            duplicateWindow = format.duplicateWindowMilliseconds
            isChecked = format.isChecked
        }
    }

    package init(
        sources: [IntakeSource], library: FormatLibrary, settings: IntakeSettings, clock: Clock,
        catalog: consuming CatalogTable, producer: consuming Producer, journal: JournalBuffer,
        counters: IntakeCounters, seed: UInt64, ports: IntakePorts
    ) {
        self.settings = settings
        self.clock = clock
        self.ports = ports
        committed = journal.nextPosition
        hot = FrameDesk(
            clock: clock, settings: settings, counters: counters, catalog: catalog,
            journal: journal, seed: seed)
        self.producer = producer
        bodies = BodyAssembly(limits: settings.bodies)
        var pairs: [JournalSource] = []
        var states: [SourceState] = []
        for (number, source) in sources.enumerated() {
            var formats: [FormatState] = []
            for format in source.formats {
                let inLibrary = library.formats.firstIndex { $0 === format } ?? 0
                formats.append(
                    FormatState(
                        format, number: inLibrary, source: number, journalNumber: pairs.count,
                        assembles: format.hasParts, seed: seed, keys: settings.keys))
                let plain = JournalSource(name: source.name, format: format.name)
                pairs += [plain, plain.withContext]
                if format.hasParts {
                    pairs += [plain.withGivenUp, plain.withContext.withGivenUp]
                }
            }
            states.append(
                SourceState(
                    source: source, formats: formats, seed: seed &+ UInt64(number) &* 0x9E37_79B9))
        }
        self.sources = states
        journalSources = pairs
        openExchanges()
    }

    // MARK: The door for the sockets

    /// Room for the longest frame's readings in the ring, and for its bytes in the journal.
    package var hasRoom: Bool {
        // Asking refreshes the producer's view of the other end, which changes nothing observable.
        // The turn's readings are not in the ring before it ends, and must fit as well.
        producer.hasRoom(for: outgoing.count - publishedTo + IntakeStage.readingsPerFrame)
            && bytesInFlight + journal.byteCount < settings.journalBytesInFlight
            && hot.pending.count < settings.answersWaiting
    }

    /// How full each of the intake's bounds is, for status.
    package var levels: IntakeLevels {
        IntakeLevels(
            ringFree: producer.free, readingsUnpublished: outgoing.count - publishedTo,
            journalBytes: bytesInFlight + journal.byteCount, answersWaiting: hot.pending.count,
            devices: catalog.deviceCount, streams: catalog.streamCount,
            clients: sources.reduce(0) { $0 + ($1.exchange?.clientCount ?? 0) })
    }

    /// No format yields more readings from one frame.
    static let readingsPerFrame = 512
    static let readingsPerPoke = 16_384

    package func maximumFrame(source: Int) -> Int { sources[source].maximumFrame }

    package func datagram(
        _ bytes: Span<UInt8>, source: Int, from: Endpoint, at receivedAt: Timestamp,
        isTruncated: Bool
    ) {
        if let exchange = sources[source].exchange {
            hot.arrived(bytes.count, isFrame: false)
            converse(
                bytes, exchange, source: source, from: from, at: receivedAt, isCut: isTruncated)
        } else if bytes.count == 0 || isTruncated {
            hot.arrived(bytes.count, isFrame: true)
            refuse(bytes.count == 0 ? .empty : .oversized, bytes, source: source, at: receivedAt)
        } else {
            accept(
                bytes, source: source, only: nil, at: receivedAt,
                answerTo: .datagram(source: source, to: from), isDatagram: true)
        }
    }

    package func stream(
        _ bytes: Span<UInt8>, source: Int, connection: ConnectionID, from: Endpoint,
        at receivedAt: Timestamp
    ) -> StreamProgress {
        if let line = line(connection, source: source) {
            return lineStream(bytes, line, at: receivedAt)
        }
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
                counters.bytesReceived &+= UInt64(advance)
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
        lineEnded(connection)
        guard unconsumed > 0 else { return }
        counters.framesReceived &+= 1
        counters.bytesReceived &+= UInt64(unconsumed)
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
        releaseAnswers()
    }

    /// Frames before `position` that are not durable yet will not be stored: their answers do not
    /// leave, and what was in flight with them makes room.
    package func released(upTo position: UInt64) {
        while let first = partsInFlight.first, first.end <= position {
            bytesInFlight -= first.bytes
            partsInFlight.removeFirst()
        }
        hot.pending.forget(upTo: position)
    }

    /// Ends the turn with a mark, for a cut or for a probe of the ledger.
    package func mark(_ purpose: MarkNote.Purpose) {
        finishTurn()
        // The part reaches the spool before the cut. A cut that was stored without it would leave,
        // after a crash, readings in a batch whose frame nobody remembers: repeated, it would be
        // stored again.
        if case .cut = purpose, !journal.isEmpty || !setAside.isEmpty { handOver() }
        ports.note(MarkNote(purpose: purpose, counters: counters))
        outgoing.append(Reading(markCovering: journal.nextPosition))
        publish()
        pokeBatcher()
        isEpochNew = true
    }

    package func timer() {
        publish()
        expireBodies()
        handOverIfDue()
        pollLines()
        exchangeTimers()
    }

    /// Everything that waits goes on its way: the last turn before the daemon stops.
    package func flush() {
        finishTurn()
        handOver()
        updateDeadline()
    }
}
