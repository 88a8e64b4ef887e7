// The stages on real threads, wired as Host wires them: an intake, a batcher and a spool, each on its
// dispatch queue, with cuts and probes in flight through a small ring. For the thread sanitizer:
//     swift test --sanitize=thread --filter PipelineTests.ThreadsTests --scratch-path <another>
// The disk is a list, so that the run is about the crossings and not about fdatasync.

import Batches
import Catalog
import Dispatch
import Formats
import Model
import Pipeline
import Ring
import Simulator
import Spool
import Synchronization
import Testing

/// Everything that the three queues share is in the ring, in the notes and in the queues' blocks.
private final class Threads: @unchecked Sendable {
    // Safety: each stage and counter is touched on its own queue only; `settled` orders the end.
    var intake: IntakeStage!
    var batch: BatchStage!
    let intakeQueue = DispatchQueue(label: "test.intake")
    let batchQueue = DispatchQueue(label: "test.batch")
    let spoolQueue = DispatchQueue(label: "test.spool")

    // On the spool's queue.
    private var received = SpoolCounters()
    private var cuts = 0
    private var newestPart: UInt64 = 0
    private var uncoveredCuts = 0

    // On the intake's queue.
    private var sequence: UInt32 = 0
    private let frames: UInt32
    private var answers = 0
    private var isWaiting = false

    let ledgers = Collected<Ledger>()
    let isPoked = Atomic<Bool>(false)
    let settled = DispatchSemaphore(value: 0)

    init(frames: UInt32, ring capacity: Int) {
        self.frames = frames
        let ring = Ring(capacity: capacity)
        let notes = SideNotes()
        let clock = Clock(
            now: { Instant(nanoseconds: DispatchTime.now().uptimeNanoseconds) },
            wall: { Timestamp(milliseconds: VirtualTime.start) })
        var settings = BatchSettings()
        settings.readings = 5000
        settings.intervalMilliseconds = 3_600_000
        batch = BatchStage(
            settings: settings, clock: clock, consumer: ring.takeConsumer(),
            epoch: Epoch(settings: EpochSettings()), epochNumber: 0, counted: 0, notes: notes,
            ports: BatchPorts(
                toSpool: { [unowned self] in toSpool($0) },
                requestCut: { [unowned self] in
                    intakeQueue.async { self.intake.mark(.cut) }
                },
                roomAgain: { [unowned self] in
                    intakeQueue.async { self.feedIfRoom() }
                }, wakeAt: { _ in }))
        var intakeSettings = IntakeSettings()
        intakeSettings.duplicateSlots = 1 << 10
        intake = IntakeStage(
            sources: [IntakeRig.source()], library: Formats.library, settings: intakeSettings,
            clock: clock,
            catalog: CatalogTable(
                limits: CatalogLimits(devices: 100, streams: 1000), seed: 1, restoring: [],
                highest: (0, 0)),
            producer: ring.takeProducer(),
            journal: JournalBuffer(intake: 0, capacity: 1 << 16), counters: IntakeCounters(),
            seed: 1,
            ports: IntakePorts(
                toSpool: { [unowned self] in toSpool($0) }, note: { notes.append($0) },
                lanes: { notes.append($0) }, pokeBatcher: { [unowned self] in poke() },
                answers: Answers { [unowned self] _, _ in answers += 1 }, wakeAt: { _ in }))
    }

    // MARK: Batch queue

    /// Coalesces, as the host's does.
    private func poke() {
        // Acquiring and releasing: pairs with the store in the block, as a lock around the flag would.
        guard !isPoked.exchange(true, ordering: .acquiringAndReleasing) else { return }
        batchQueue.async {
            // Releasing: pairs with the exchange above; a poke after this is another turn.
            self.isPoked.store(false, ordering: .releasing)
            if self.batch.turn() { self.poke() }
            self.intakeQueue.async { self.feedIfRoom() }
        }
    }

    // MARK: Spool queue

    private func toSpool(_ job: SpoolJob) {
        spoolQueue.async { self.take(job) }
    }

    private func take(_ job: SpoolJob) {
        switch job {
        case .entries, .quarantine, .released: break
        case .part(let part):
            newestPart = part.nextPosition
            intakeQueue.async {
                self.intake.committed(upTo: part.nextPosition)
                self.feedIfRoom()
            }
        case .cut(let cut):
            cuts += 1
            if cut.covered[0] > newestPart { uncoveredCuts += 1 }
            for batch in cut.batches {
                received.readingsReceived += UInt64(batch.readings)
                received.readingsPending += UInt64(batch.readings)
            }
            batchQueue.async {
                self.batch.cutStored()
                if self.batch.turn() { self.poke() }
            }
        case .probe(let probe):
            var ledger = probe.ledger
            ledger.spool = received
            probe.reply(ledger)
        }
    }

    // MARK: Intake queue

    func start() {
        intakeQueue.async { self.feed() }
    }

    private func feedIfRoom() {
        guard isWaiting, intake.roomAgain() else { return }
        isWaiting = false
        feed()
    }

    /// One visit: up to a slab; comes again by itself while there is room.
    private func feed() {
        var taken = 0
        while sequence < frames, taken < 128, intake.hasRoom {
            let frame = ReferenceFrame(
                device: 1 + UInt64(sequence % 50), sequence: sequence,
                wantsAnswer: sequence % 3 == 0)
            intake.datagram(
                frame.bytes.span, source: 0, from: Endpoint.ipv4(1, port: 1),
                at: Timestamp(milliseconds: VirtualTime.start + Int64(sequence)),
                isTruncated: false)
            sequence += 1
            taken += 1
        }
        intake.endTurn(source: 0, kernelDrops: 0)
        if sequence % 1024 < 128 { probe() }
        if sequence == frames { return finish() }
        if taken < 128 {
            isWaiting = true
            poke()
        } else {
            intakeQueue.async { self.feed() }
        }
    }

    private func probe() {
        let ledgers = ledgers
        intake.mark(.probe(LedgerProbe { ledgers.append($0) }))
    }

    private func finish() {
        let ledgers = ledgers
        let settled = settled
        intake.flush()
        intake.mark(.cut)
        intake.mark(
            .probe(
                LedgerProbe {
                    ledgers.append($0)
                    settled.signal()
                }))
    }

    /// After `settled`: figures of the spool's and the intake's queue.
    func figures() -> (cuts: Int, uncovered: Int, answers: Int) {
        spoolQueue.sync {}
        let spool = spoolQueue.sync { (cuts, uncoveredCuts) }
        let answers = intakeQueue.sync { self.answers }
        return (spool.0, spool.1, answers)
    }
}

@Suite("Pipeline on real threads")
struct ThreadsTests {
    @Test("200,000 readings cross a small ring between cuts and probes and balance")
    func crossing() {
        let frames: UInt32 = 40_000
        let threads = Threads(frames: frames, ring: 2048)
        threads.start()
        #expect(threads.settled.wait(timeout: .now() + 120) == .success)
        let ledgers = threads.ledgers.all
        #expect(ledgers.count > 20)
        #expect(ledgers.allSatisfy { $0.unaccounted == 0 })
        let last = ledgers.last ?? Ledger()
        #expect(last.intake.framesDecoded == UInt64(frames))
        #expect(last.intake.readingsPublished == 200_000)
        #expect(last.readingsConsumed == 200_000 && last.readingsInBuckets == 0)
        #expect(last.spool.readingsReceived == 200_000)
        let (cuts, uncovered, answers) = threads.figures()
        #expect(cuts > 10)
        #expect(uncovered == 0, "a cut came to the spool before its journal")
        #expect(answers == Int(frames + 2) / 3)
    }
}
