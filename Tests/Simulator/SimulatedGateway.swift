// A gateway of the simulation: the real stages over a real spool and catalog, wired as Host wires
// them (GatewayProcess, StageActors), with plain lists of jobs in place of dispatch queues. Owned by
// the simulation, which runs one job at a time. A crash is: this object is abandoned with its lists,
// its directory is copied, and a new one is made over the copy.

import Batches
import Catalog
import Formats
import Model
package import Pipeline
import Ring
import Spool
import Uplink

/// A rule that is broken on purpose, to see that the laws notice.
package enum Mutation: CaseIterable, Sendable {
    case none
    /// Answers leave when their journal part is handed over, not when it is durable.
    case answersBeforeCommit
    /// A cut says that it covers the frames of the next turn as well.
    case cutCoversTooMuch
    /// A restart does not refill the duplicate memory.
    case forgetsDuplicates
    /// The spool forgets batches when they are lent to the uplink.
    case forgetsWhenSent
    /// Frames that a failing disk did not take are answered all the same.
    case answersWithoutDisk
    /// The store answers and then finds that it could not commit.
    case storeAnswersBeforeCommit
    /// A cut may reach the spool before the journal of its frames (a bug that this simulation found).
    case cutBeforeJournal
}

/// What the simulation may turn for each seed.
struct GatewayKnobs {
    var ring = 2048
    var interval: Int64 = 2000
    var readings = 500
    var duplicateWindow: Int64 = 120_000
    /// `spool.maximumBytes`, and what memory holds while there is no disk.
    var quota = 64 << 20
    var memoryBytes = 1 << 20
    var mutation = Mutation.none
}

final class SimulatedGateway {
    enum Queue: Int, CaseIterable { case intake, batch, spool, uplink }

    struct Outside {
        var answer: ([UInt8], Recipient) -> Void
        var connect: () -> Void
        var close: () -> Void
        var send: ([UInt8]) -> Void
        var later: (_ milliseconds: Int, @escaping () -> Void) -> Void
        var trouble: (String?) -> Void
    }

    let directory: String
    /// nil until it can be opened.
    var spool: Spool? { stage?.spool }
    let isWithoutDisk: Bool
    private(set) var jobs: [[() -> Void]]
    private(set) var timers: [Instant?]
    /// Frames that the recovery decoded again.
    private(set) var replayed = 0
    /// Frames that it only remembers.
    private(set) var remembered = 0
    private(set) var intake: IntakeStage!
    private(set) var batch: BatchStage!
    private(set) var stage: SpoolStage!
    private(set) var uplink: UplinkStage?

    // The sockets: datagrams and a connection's bytes that nobody has read yet.
    private var datagrams: [([UInt8], Endpoint, isTruncated: Bool)] = []
    private var connections: [(id: ConnectionID, bytes: [UInt8])] = []
    private var isVisitDue = false
    private var isPokeDue = false
    private var isRoomPokeDue = false
    private var kernelDrops: UInt64 = 0

    private let time: VirtualTime
    private let outside: Outside
    private let knobs: GatewayKnobs
    private static let socketSlots = 64

    /// Starts over what is in `directory`, exactly as GatewayProcess.init does.
    init(
        directory: String, knobs: GatewayKnobs, time: VirtualTime, seed: UInt64, outside: Outside
    ) throws {
        self.directory = directory
        self.time = time
        self.outside = outside
        self.knobs = knobs
        jobs = Array(repeating: [], count: Queue.allCases.count)
        timers = Array(repeating: nil, count: Queue.allCases.count)
        var found: (Spool, CatalogFile)?
        // As without a disk; not drawn at random, which would be another simulation each time.
        var contents = CatalogFile.Contents.unknown
        contents.highestDevice = (1 << 21) + UInt32(seed & 0xFFFFF)
        contents.highestStream = (1 << 21) + UInt32(seed >> 20 & 0xFFFFF)
        do {
            let (spool, file, there) = try SimulatedGateway.open(directory, knobs)
            (found, contents) = ((spool, file), there)
        } catch let error as SpoolError where error.mayPass {
        } catch let error as CatalogFileError where error.mayPass {}
        isWithoutDisk = found == nil
        let spool = found?.0
        let counters = spool?.recoveredCounters().first ?? IntakeCounters()
        let ring = Ring(capacity: knobs.ring)
        let notes = SideNotes()
        batch = makeBatch(ring, notes, counters, spool)
        intake = makeIntake(ring, notes, counters, contents, seed, spool)
        stage = makeSpool(found, seed)
        guard let spool else { return }
        uplink = makeUplink(spool.incarnation, seed)
        try recover(spool)
        post(.uplink) { [unowned self] in uplink?.step(.start) }
    }

    private static func open(
        _ directory: String, _ knobs: GatewayKnobs, _ givesUp: Bool = false
    ) throws -> (Spool, CatalogFile, CatalogFile.Contents) {
        var settings = SpoolSettings()
        settings.duplicateWindow = knobs.duplicateWindow
        settings.maximumBytes = knobs.quota
        let spool = try Spool(directory: directory, settings: settings, givesUp: givesUp)
        let (file, contents, _) = try CatalogFile.recovering(
            directory: directory, isNew: spool.counters.lastSequence == 0)
        return (spool, file, contents)
    }

    // MARK: Queues

    func post(_ queue: Queue, _ job: @escaping () -> Void) { jobs[queue.rawValue].append(job) }

    var waitingQueues: [Queue] { Queue.allCases.filter { !jobs[$0.rawValue].isEmpty } }

    func runFirst(of queue: Queue) {
        let job = jobs[queue.rawValue].removeFirst()
        job()
    }

    /// The earliest timer.
    var nextTimer: Instant? { timers.compactMap { $0 }.min() }

    /// Posts the handlers of all timers that are due.
    func fireTimers() {
        for queue in Queue.allCases {
            guard let due = timers[queue.rawValue], due <= time.now else { continue }
            timers[queue.rawValue] = nil
            post(queue) { [unowned self] in
                switch queue {
                case .intake:
                    intake.timer()
                    lookForRoom()
                case .batch: batch.timer()
                case .spool: stage.timer()
                case .uplink: uplink?.timer()
                }
            }
        }
    }

    private func wake(_ queue: Queue, at due: Instant) {
        if let armed = timers[queue.rawValue], armed <= due { return }
        timers[queue.rawValue] = due
    }

    // MARK: Sockets

    func receive(datagram: [UInt8], from: Endpoint, isTruncated: Bool) {
        guard datagrams.count < SimulatedGateway.socketSlots else {
            kernelDrops += 1
            return
        }
        datagrams.append((datagram, from, isTruncated))
        visitSoon()
    }

    func receive(stream: [UInt8], on id: ConnectionID) {
        if let at = connections.firstIndex(where: { $0.id == id }) {
            connections[at].bytes += stream
        } else {
            connections.append((id, stream))
        }
        visitSoon()
    }

    func connectionEnded(_ id: ConnectionID) {
        post(.intake) { [unowned self] in
            guard let at = connections.firstIndex(where: { $0.id == id }) else { return }
            let left = connections.remove(at: at)
            intake.connectionEnded(id, source: 1, unconsumed: left.bytes.count)
        }
    }

    private func visitSoon() {
        guard !isVisitDue else { return }
        isVisitDue = true
        post(.intake) { [unowned self] in
            isVisitDue = false
            visit()
        }
    }

    private func visit() {
        if intake.hasRoom {
            var taken = 0
            while taken < min(32, datagrams.count), intake.hasRoom {
                let (bytes, from, isTruncated) = datagrams[taken]
                intake.datagram(
                    bytes.span, source: 0, from: from, at: time.wall, isTruncated: isTruncated)
                taken += 1
            }
            datagrams.removeFirst(taken)
            intake.endTurn(source: 0, kernelDrops: kernelDrops)
            kernelDrops = 0
            if !datagrams.isEmpty, intake.hasRoom { visitSoon() }
        }
        for at in connections.indices where !connections[at].bytes.isEmpty {
            let bytes = connections[at].bytes
            let progress = intake.stream(
                bytes.span, source: 1, connection: connections[at].id,
                from: Endpoint.ipv4(1, port: 1), at: time.wall)
            connections[at].bytes.removeFirst(progress.consumed)
        }
        intake.endTurn(source: 1, kernelDrops: 0)
    }

    private func lookForRoom() {
        if intake.roomAgain(),
            !datagrams.isEmpty || connections.contains(where: { !$0.bytes.isEmpty })
        {
            visitSoon()
        }
    }

    // MARK: Questions

    func probe(_ reply: @escaping @Sendable (Ledger) -> Void) {
        post(.intake) { [unowned self] in intake.mark(.probe(LedgerProbe(reply: reply))) }
    }

    func content(of batch: [UInt8]) -> [Reading]? { try? BatchCodec.decode(batch).readings }

    func cutSoon() { post(.batch) { [unowned self] in batch.requestCut() } }

    // MARK: Building

    private func makeBatch(
        _ ring: Ring, _ notes: SideNotes, _ counters: IntakeCounters, _ spool: Spool?
    ) -> BatchStage {
        var settings = BatchSettings()
        settings.intervalMilliseconds = knobs.interval
        settings.readings = knobs.readings
        var epoch = Epoch(settings: EpochSettings())
        epoch.restore(
            revisions: (spool?.restoredRevisions ?? []).map { ($0.bucketStart, $0.revision) })
        return BatchStage(
            settings: settings, clock: time.clock, consumer: ring.takeConsumer(), epoch: epoch,
            epochNumber: spool?.lastEpoch ?? 0, counted: counters.readingsPublished, notes: notes,
            ports: BatchPorts(
                toSpool: { [unowned self] job in
                    var job = job
                    if knobs.mutation == .cutCoversTooMuch, case .cut(var cut) = job {
                        cut.covered[0] += 4
                        job = .cut(cut)
                    }
                    post(.spool) { [unowned self] in stage.take(job) }
                },
                requestCut: { [unowned self] in
                    post(.intake) { [unowned self] in intake.mark(.cut) }
                },
                roomAgain: { [unowned self] in
                    guard !isRoomPokeDue else { return }
                    isRoomPokeDue = true
                    post(.intake) { [unowned self] in
                        isRoomPokeDue = false
                        lookForRoom()
                    }
                },
                wakeAt: { [unowned self] in wake(.batch, at: $0) }))
    }

    private func pokeBatcher() {
        guard !isPokeDue else { return }
        isPokeDue = true
        post(.batch) { [unowned self] in
            isPokeDue = false
            if batch.turn() { pokeBatcher() }
        }
    }

    private func makeIntake(
        _ ring: Ring, _ notes: SideNotes, _ counters: IntakeCounters,
        _ contents: CatalogFile.Contents, _ seed: UInt64, _ spool: Spool?
    ) -> IntakeStage {
        var settings = IntakeSettings()
        settings.duplicateWindowMilliseconds = knobs.duplicateWindow
        settings.duplicateSlots = 1 << 12
        let format = Formats.named("sluice-reference")
        let rule = TimeRule(drops: true)
        return IntakeStage(
            sources: ["datagrams", "streams"].map {
                IntakeSource(name: $0, formats: [format], policy: .accept, timeRule: rule)
            },
            library: Formats.library, settings: settings, clock: time.clock,
            catalog: CatalogTable(
                limits: CatalogLimits(devices: 1000, streams: 10_000), seed: seed,
                restoring: contents.entries,
                highest: (contents.highestDevice, contents.highestStream)),
            producer: ring.takeProducer(),
            journal: JournalBuffer(
                intake: 0, capacity: settings.commitBytes,
                firstPosition: spool?.nextPosition(intake: 0) ?? 0),
            counters: counters, seed: seed,
            ports: IntakePorts(
                toSpool: { [unowned self] job in
                    if knobs.mutation == .answersBeforeCommit, case .part(let part) = job {
                        post(.intake) { [unowned self] in
                            intake.committed(upTo: part.nextPosition)
                        }
                    }
                    if knobs.mutation == .cutBeforeJournal, case .part = job {
                        outside.later(200) { [unowned self] in
                            post(.spool) { [unowned self] in stage.take(job) }
                        }
                        return
                    }
                    post(.spool) { [unowned self] in stage.take(job) }
                },
                note: { notes.append($0) }, lanes: { notes.append($0) },
                pokeBatcher: { [unowned self] in pokeBatcher() }, answers: Answers(outside.answer),
                wakeAt: { [unowned self] in wake(.intake, at: $0) }))
    }

    private func makeSpool(_ found: (Spool, CatalogFile)?, _ seed: UInt64) -> SpoolStage {
        var settings = SpoolStageSettings()
        settings.memoryBytes = knobs.memoryBytes
        let ports = spoolPorts(seed)
        if let (spool, file) = found {
            return SpoolStage(
                spool: spool, catalog: file, clock: time.clock, settings: settings, ports: ports)
        }
        return SpoolStage(
            reason: "no disk",
            storage: { [directory, knobs] givesUp in
                let (spool, file, _) = try SimulatedGateway.open(directory, knobs, givesUp)
                return (spool, file)
            }, clock: time.clock, settings: settings, ports: ports)
    }

    private func spoolPorts(_ seed: UInt64) -> SpoolPorts {
        SpoolPorts(
            committed: { [unowned self] position in
                post(.intake) { [unowned self] in
                    intake.committed(upTo: position)
                    lookForRoom()
                }
            },
            released: { [unowned self] position in
                post(.intake) { [unowned self] in
                    if knobs.mutation == .answersWithoutDisk {
                        intake.committed(upTo: position)
                    }
                    intake.released(upTo: position)
                    lookForRoom()
                }
            },
            cutStored: { [unowned self] in
                post(.batch) { [unowned self] in
                    batch.cutStored()
                    if batch.turn() { pokeBatcher() }
                }
            },
            needsCut: { [unowned self] in
                post(.intake) { [unowned self] in intake.mark(.cut) }
            },
            catalogGrew: { [unowned self] in tellUplink(.batchesAvailable) },
            batchesAvailable: { [unowned self] in tellUplink(.batchesAvailable) },
            opened: { [unowned self] spool in
                let incarnation = spool.incarnation
                post(.uplink) { [unowned self] in
                    uplink = makeUplink(incarnation, seed)
                    uplink?.step(.start)
                }
            }, trouble: outside.trouble, wakeAt: { [unowned self] in wake(.spool, at: $0) },
            paced: { [unowned self] isPaced in
                post(.intake) { [unowned self] in intake.setPaced(isPaced) }
            })
    }

    func tellUplink(_ event: Forwarder.Event) {
        post(.uplink) { [unowned self] in uplink?.step(event) }
    }

    private func makeUplink(_ bytes: [UInt8], _ seed: UInt64) -> UplinkStage {
        guard let incarnation = Incarnation(bytes) else {
            preconditionFailure("the spool makes 16 bytes")
        }
        let settings = ForwarderSettings(
            gateway: "simulated", incarnation: incarnation, software: "simulation")
        return UplinkStage(
            forwarder: Forwarder(settings: settings, seed: seed), clock: time.clock,
            ports: UplinkPorts(
                connect: outside.connect, close: outside.close, send: outside.send,
                lease: { [unowned self] excluding, room, bytes in
                    post(.spool) { [unowned self] in
                        let leased = stage.lease(
                            excluding: excluding, room: room, maximumBytes: bytes)
                        if knobs.mutation == .forgetsWhenSent {
                            stage.acknowledge(leased.map(\.sequence))
                        }
                        tellUplink(.leased(leased))
                    }
                },
                needEntries: { [unowned self] device, stream in
                    post(.spool) { [unowned self] in
                        tellUplink(
                            .entries(
                                stage.entries(
                                    afterDevice: device, afterStream: stream, limit: 7)))
                    }
                },
                acknowledged: { [unowned self] sequences in
                    post(.spool) { [unowned self] in stage.acknowledge(sequences) }
                },
                rejected: { [unowned self] sequence, reason, isDivisible in
                    post(.spool) { [unowned self] in
                        stage.reject(sequence, reason: reason, isDivisible: isDivisible)
                    }
                },
                state: { _ in }, wakeAt: { [unowned self] in wake(.uplink, at: $0) }))
    }

    private func recover(_ spool: Spool) throws {
        let lost = try spool.recover { frame, bytes in
            if knobs.mutation == .forgetsDuplicates, frame.isCovered { return }
            if frame.isCovered { remembered += 1 } else { replayed += 1 }
            intake.replay(
                bytes, source: frame.source, receivedAt: frame.receivedAt,
                isCovered: frame.isCovered)
            while !intake.publishReplayed() { _ = batch.turn() }
        }
        intake.lostAtReplay(lost.first ?? 0)
        guard spool.hasUncovered else { return }
        intake.mark(.cut)
        while batch.turn() {}
    }
}

/// Hands answers over one by one.
package final class Answers: AnswerPort {
    private let send: ([UInt8], Recipient) -> Void
    package private(set) var flushes = 0

    package init(_ send: @escaping ([UInt8], Recipient) -> Void) { self.send = send }

    package func answer(_ bytes: Span<UInt8>, to recipient: Recipient) {
        send(copied(bytes), recipient)
    }
    package func flush() { flushes += 1 }
}
