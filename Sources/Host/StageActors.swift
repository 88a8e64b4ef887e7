// Each stage with its queue: mailbox, timer and what else belongs to it. An actor's `stage` is set once,
// before its queue is activated, and touched by the handlers of its own queue only.

import Dispatch
import Formats
import Model
import Pipeline
import Spool
import Uplink

enum IntakeJob: Sendable {
    case committed(UInt64)
    /// Will not be stored: no answers.
    case released(UInt64)
    case mark(MarkNote.Purpose)
    case replaceFormats([Format])
    case statistics(@Sendable (IntakeStatistics) -> Void)
    case release(ReleasedFrame, @Sendable (ReleaseOutcome) -> Void)
    case paced(Bool)
    case record(RecordingAsk, AdminReply)
    case devices(DevicesAsk, AdminReply)
    /// Nothing more is taken in, everything is handed over, then the probe. Answers go on leaving.
    case stop(LedgerProbe)
    /// The last job, once what `stop` handed over is durable and answered.
    case close(@Sendable () -> Void)
}

struct IntakeStatistics: Sendable {
    var sources: [SourceStatistics]
    var visits: UInt64
    var wakes: UInt64
    var isWithoutRoom: Bool
    var levels: IntakeLevels
    var lines: [LineReport]
    var lineStates: [Int: LineState]
}

final class IntakeActor {
    var stage: IntakeStage?
    let sockets: IntakeSockets
    private(set) lazy var mailbox = Mailbox<IntakeJob>(queue) { [unowned self] in take($0) }
    private(set) lazy var roomPoke = Poke(queue) { [unowned self] in lookForRoom() }
    private(set) lazy var timer = StageTimer(queue: queue) { [unowned self] in
        stage?.timer()
        lookForRoom()
    }
    private let queue: DispatchQueue
    private var isStopped = false

    init(queue: DispatchQueue, sockets: IntakeSockets) {
        self.queue = queue
        self.sockets = sockets
    }

    func start() throws(HostError) {
        guard let stage else { return }
        try sockets.start(door: stage)
    }

    private func take(_ job: IntakeJob) {
        guard let stage else { return }
        switch job {
        case .committed(let position):
            stage.committed(upTo: position)
            lookForRoom()
        case .released(let position):
            stage.released(upTo: position)
            lookForRoom()
        case .mark(let purpose): stage.mark(purpose)
        case .replaceFormats(let formats): stage.replaceFormats(formats)
        case .release(let frame, let reply): reply(stage.release(frame))
        case .paced(let isPaced):
            stage.setPaced(isPaced)
            if !isStopped { sockets.setPaced(isPaced) }
        case .statistics(let reply):
            let counts = sockets.loopCounts
            reply(
                IntakeStatistics(
                    sources: isStopped ? [] : sockets.statistics(), visits: counts.visits,
                    wakes: counts.wakes, isWithoutRoom: sockets.isWithoutRoom,
                    levels: stage.levels, lines: stage.lineReports(),
                    lineStates: isStopped ? [:] : sockets.lineStates()))
        case .record(let ask, let reply):
            reply(
                isStopped
                    ? AdminResponse(status: 503, body: "the gateway is ending\n")
                    : sockets.record(ask, of: stage))
        case .devices(let ask, let reply): reply(DevicesReport.answer(ask, stage))
        case .stop(let probe):
            guard !isStopped else { return }
            isStopped = true
            sockets.stopReading()
            stage.flush()
            stage.mark(.cut)
            stage.mark(.probe(probe))
        case .close(let done):
            sockets.stop()
            done()
        }
    }

    private func lookForRoom() {
        // Also when stopped: marks that the ring had no room for go on their way.
        guard let stage else { return }
        let hasRoom = stage.roomAgain()
        if !isStopped, hasRoom, sockets.isWithoutRoom { sockets.roomAgain() }
    }
}

enum BatchJob: Sendable {
    case cutStored
}

final class BatchActor {
    var stage: BatchStage?
    private(set) lazy var mailbox = Mailbox<BatchJob>(queue) { [unowned self] _ in
        stage?.cutStored()
        turn()
    }
    private(set) lazy var poke = Poke(queue) { [unowned self] in turn() }
    private(set) lazy var timer = StageTimer(queue: queue) { [unowned self] in stage?.timer() }
    private let queue: DispatchQueue

    init(queue: DispatchQueue) { self.queue = queue }

    private func turn() {
        if stage?.turn() == true { poke() }
    }
}

enum SpoolWork: Sendable {
    case job(SpoolJob)
    case lease(excluding: [UInt64], room: LeaseRoom, maximumBytes: Int)
    case needEntries(afterDevice: UInt32, afterStream: UInt32)
    case acknowledged([UInt64])
    case rejected(UInt64, reason: String, isDivisible: Bool)
    case details(@Sendable (SpoolReport) -> Void)
    case quarantined(after: Int64, limit: Int, @Sendable ([QuarantineEntry]) -> Void)
    case release(Int64, @Sendable (ReleaseOutcome) -> Void)
    case close(@Sendable () -> Void)
}

/// What the spool's stage says about itself.
struct SpoolReport: Sendable {
    var details = SpoolDetails()
    var trouble: String?
    var forecast = SpoolForecast()
    /// Nothing is stored or answered: readings are kept in memory.
    var isInMemory = false
    var readingsInMemory: UInt64 = 0
    var oldestWaitSeconds = 0.0
    var commitTimes = CommitTimes()
}

final class SpoolActor {
    var stage: SpoolStage?
    var toUplink: Mailbox<UplinkJob>?
    var toIntake: Mailbox<IntakeJob>?
    private(set) lazy var mailbox = Mailbox<SpoolWork>(queue) { [unowned self] in take($0) }
    private(set) lazy var timer = StageTimer(queue: queue) { [unowned self] in stage?.timer() }
    private let queue: DispatchQueue

    /// Entries a request of the uplink gets; it asks again for more.
    private static let entriesPerRequest = 2000

    init(queue: DispatchQueue) { self.queue = queue }

    private func take(_ work: SpoolWork) {
        guard let stage else { return }
        switch work {
        case .job(let job): stage.take(job)
        case .lease(let excluding, let room, let maximumBytes):
            let leased = stage.lease(
                excluding: excluding, room: room, maximumBytes: maximumBytes)
            toUplink?.post(.event(.leased(leased)))
        case .needEntries(let device, let stream):
            let entries = stage.entries(
                afterDevice: device, afterStream: stream, limit: SpoolActor.entriesPerRequest)
            toUplink?.post(.event(.entries(entries)))
        case .acknowledged(let sequences): stage.acknowledge(sequences)
        case .rejected(let sequence, let reason, let isDivisible):
            stage.reject(sequence, reason: reason, isDivisible: isDivisible)
        case .details(let reply):
            stage.tend()
            reply(
                SpoolReport(
                    details: stage.spool?.details ?? SpoolDetails(), trouble: stage.trouble,
                    forecast: stage.forecast, isInMemory: stage.isInMemory,
                    readingsInMemory: stage.readingsWaiting,
                    oldestWaitSeconds: stage.oldestWaitSeconds, commitTimes: stage.commitTimes))
        case .quarantined(let number, let limit, let reply):
            reply(stage.quarantined(after: number, limit: limit))
        case .release(let number, let reply): release(number, stage, reply)
        case .close(let done):
            stage.spool?.close()
            self.stage = nil
            done()
        }
    }
}

extension SpoolActor {
    /// A frame goes back to the intake, everything else is the spool's own.
    private func release(
        _ number: Int64, _ stage: SpoolStage, _ reply: @escaping @Sendable (ReleaseOutcome) -> Void
    ) {
        guard let entry = stage.quarantinedFrame(number), let toIntake else {
            return reply(stage.release(number))
        }
        let frame = ReleasedFrame(
            number: number, source: entry.source, receivedAt: entry.receivedAt, bytes: entry.bytes)
        toIntake.post(.release(frame, reply))
    }
}

enum UplinkJob: Sendable {
    case event(Forwarder.Event)
    /// The spool is open: its incarnation is known.
    case begin(incarnation: [UInt8])
    case status(@Sendable (ForwarderStatus) -> Void)
}

final class UplinkActor {
    var stage: UplinkStage?
    /// For a spool that is opened later.
    var makeStage: ((_ incarnation: [UInt8]) -> UplinkStage)?
    private let queue: DispatchQueue
    private let address: HostPort?
    private let clock: Clock
    private var connection: UplinkConnection?
    /// The kernel has not taken everything that was sent.
    private var isHeldUp = false
    private(set) lazy var mailbox = Mailbox<UplinkJob>(queue) { [unowned self] in take($0) }
    private(set) lazy var timer = StageTimer(queue: queue) { [unowned self] in stage?.timer() }

    init(queue: DispatchQueue, address: HostPort?, clock: Clock) {
        self.queue = queue
        self.address = address
        self.clock = clock
    }

    func open() throws(HostError) {
        connection = try UplinkConnection(queue: queue, clock: clock) { [unowned self] event in
            switch event {
            case .connected: stage?.step(.connected)
            case .failed(let error): stage?.step(.connectFailed(error.description))
            case .received(let bytes): stage?.step(.received(bytes))
            case .progressed: stage?.step(.progressed)
            case .drained:
                // What the kernel takes at once says nothing of the peer: a ping into a dead connection
                // would put its end off.
                if isHeldUp { stage?.step(.progressed) }
                isHeldUp = false
            case .closed(let error):
                stage?.step(.disconnected(error?.description ?? "the store closed"))
            }
        }
    }

    func connect() {
        guard let address else { return }
        connection?.connect(to: address)
    }

    func close() { connection?.close() }

    /// For good.
    func end() {
        connection?.stop()
        connection = nil
        stage = nil
    }

    func send(_ bytes: [UInt8]) {
        connection?.send(bytes)
        isHeldUp = (connection?.unsentBytes ?? 0) > 0
    }

    private func take(_ job: UplinkJob) {
        switch job {
        case .event(let event): stage?.step(event)
        case .begin(let incarnation):
            guard stage == nil, let makeStage else { return }
            stage = makeStage(incarnation)
            if address != nil { stage?.step(.start) }
        case .status(let reply): reply(stage?.status ?? ForwarderStatus())
        }
    }
}
