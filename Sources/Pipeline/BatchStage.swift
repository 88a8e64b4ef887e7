// The batcher: drains the ring into the buckets of the open epoch and seals them at a cut. Owned by one
// serial queue. A cut is asked for by time or by the number of readings, travels through the intake as a
// mark and takes effect where the mark stands in the ring: what is before it is in this epoch, what is
// after it in the next.

package import Batches
package import Model
package import Ring
import Spool
import Synchronization

package struct BatchSettings: Sendable {
    /// `batch.interval`: longest time that a reading waits in an open bucket.
    package var intervalMilliseconds: Int64 = 10_000
    /// `batch.readings`: an epoch is cut early at this many.
    package var readings = 400_000
    /// Epochs handed to the spool and not yet stored, above which the ring is left alone.
    package var cutsInFlight = 2
    /// As in `IntakeSettings`.
    package var clockSetAfter = Timestamp.clockSetAfter
    /// While the clock is not set, an epoch stays open so long that its readings get their true times.
    package var clockPatienceMilliseconds: Int64 = 300_000

    package init() {}
}

package struct BatchPorts {
    package var toSpool: (SpoolJob) -> Void
    /// Asks the intake to end its turn with a mark for a cut.
    package var requestCut: () -> Void
    /// Room appeared in the ring after it had been found crowded.
    package var roomAgain: () -> Void
    /// Asks for a call of `timer()` at that time or somewhat later; an earlier wish still holds.
    package var wakeAt: (Instant) -> Void

    package init(
        toSpool: @escaping (SpoolJob) -> Void, requestCut: @escaping () -> Void,
        roomAgain: @escaping () -> Void, wakeAt: @escaping (Instant) -> Void
    ) {
        self.toSpool = toSpool
        self.requestCut = requestCut
        self.roomAgain = roomAgain
        self.wakeAt = wakeAt
    }
}

/// What travels from the intake to the batcher beside the ring: notes of marks, in their order, and the
/// lanes of new streams. Written before the ring is published, read after it was found published; the
/// lock is taken once a cut and once a turn.
package final class SideNotes: Sendable {
    private let notes = Mutex<[MarkNote]>([])
    private let lanes = Mutex<[Stream]>([])

    package init() {}

    package func append(_ note: MarkNote) { notes.withLock { $0.append(note) } }

    package func append(lanesOf entries: [CatalogEntry]) {
        let streams = entries.compactMap { entry -> Stream? in
            guard case .stream(let stream) = entry, stream.priority != .live else { return nil }
            return stream
        }
        append(streams)
    }

    package func append(_ streams: [Stream]) {
        if !streams.isEmpty { lanes.withLock { $0 += streams } }
    }

    func takeLanes() -> [Stream] {
        lanes.withLock { lanes in
            if lanes.isEmpty { return [] }
            defer { lanes.removeAll() }
            return lanes
        }
    }

    func removeFirst() -> MarkNote {
        notes.withLock { notes in
            precondition(!notes.isEmpty, "every mark in the ring has its note")
            return notes.removeFirst()
        }
    }
}

package final class BatchStage {
    /// Counters for the ledger: each counted here, from what passed here.
    package private(set) var readingsConsumed: UInt64
    package private(set) var readingsSealed: UInt64
    /// When the open epoch is to be cut; nil while it is empty.
    private var deadline: Instant?
    /// Until when it may wait for a clock that is not set.
    private var clockDeadline = Instant(nanoseconds: 0)
    /// Wall less monotonic clock in ms, while the wall clock is not set.
    private var unsetOffset: Int64?
    /// The step that set it, until the epoch of that time is cut.
    private var clockStep: Int64?

    private let settings: BatchSettings
    private let clock: Clock
    private let ports: BatchPorts
    private let notes: SideNotes
    private var consumer: Consumer
    private var epoch: Epoch
    private var epochNumber: UInt64
    private var cutsInFlight = 0
    private var isCutRequested = false
    /// A cut is due and waits until the spool has stored an epoch.
    private var isCutHeldBack = false

    /// A turn drains at most this many readings, so that cuts and probes are served in between.
    private static let readingsPerTurn = 16_384
    private static let roomWorthTelling = 4096

    /// `counted`: readings published according to the restored ledger, all of them sealed then.
    package init(
        settings: BatchSettings, clock: Clock, consumer: consuming Consumer,
        epoch: consuming Epoch, epochNumber: UInt64, counted: UInt64, notes: SideNotes,
        ports: BatchPorts
    ) {
        self.settings = settings
        self.clock = clock
        self.consumer = consumer
        self.epoch = epoch
        self.epochNumber = epochNumber
        self.notes = notes
        self.ports = ports
        readingsConsumed = counted
        readingsSealed = counted
        unsetOffset = clock.wall() < settings.clockSetAfter ? offset : nil
    }

    /// Drains a bounded number of readings; true when more may be waiting.
    package func turn() -> Bool {
        // While the spool is behind, the epoch fills once more: probes go on passing, growth is bounded.
        guard !isSpoolBehind || epoch.readingCount < settings.readings else { return false }
        let drained = drain()
        // An intake that found no room left a nearly full ring, which takes such turns to drain.
        if drained >= BatchStage.roomWorthTelling { ports.roomAgain() }
        if epoch.readingCount > 0, deadline == nil, !isCutRequested, !isCutHeldBack {
            let due = clock.now().adding(milliseconds: settings.intervalMilliseconds)
            deadline = due
            clockDeadline = clock.now().adding(milliseconds: settings.clockPatienceMilliseconds)
            ports.wakeAt(due)
        }
        if epoch.readingCount >= settings.readings { requestCut() }
        return drained == BatchStage.readingsPerTurn
    }

    package func timer() {
        guard let due = deadline else { return }
        let now = clock.now()
        if now < due { return ports.wakeAt(due) }
        correctTimes()
        guard unsetOffset != nil, now < clockDeadline else { return requestCut() }
        let next = now.adding(milliseconds: settings.intervalMilliseconds)
        deadline = next
        ports.wakeAt(next)
    }

    // MARK: A clock that is not set

    private var offset: Int64 {
        clock.wall().milliseconds &- Int64(clamping: clock.now().nanoseconds / 1_000_000)
    }

    /// A gateway without a clock of its own begins at a wrong time. When the wall clock is set, its step
    /// beside the monotonic clock tells when the readings of the open epoch really came.
    private func correctTimes() {
        guard let before = unsetOffset else {
            // Some were on their way when it was set.
            if let clockStep {
                epoch.correct(by: clockStep, receivedBefore: settings.clockSetAfter)
            }
            return
        }
        let now = offset
        let isSet = clock.wall() >= settings.clockSetAfter
        // It may be stepped from one wrong time to another first.
        guard isSet || (now &- before).magnitude > 1000 else { return }
        epoch.correct(by: now &- before, receivedBefore: settings.clockSetAfter)
        unsetOffset = isSet ? nil : now
        clockStep = isSet ? now &- before : nil
    }

    /// Asks for a cut now (the daemon stops, a test wants to see its batches).
    package func requestCut() {
        guard !isCutRequested else { return }
        deadline = nil
        guard !isSpoolBehind else {
            isCutHeldBack = true
            return
        }
        isCutRequested = true
        ports.requestCut()
    }

    /// The spool stored an epoch: the ring may be drained again.
    package func cutStored() {
        cutsInFlight -= 1
        if isCutHeldBack, !isSpoolBehind {
            isCutHeldBack = false
            requestCut()
        }
    }

    private var isSpoolBehind: Bool { cutsInFlight >= settings.cutsInFlight }

    private func drain() -> Int {
        // Looked at first: what is there by now has its lanes noted.
        let available = min(consumer.available, BatchStage.readingsPerTurn)
        for stream in notes.takeLanes() { epoch.setPriority(stream.priority, of: stream.id) }
        return consumer.drain(available) { span in
            var start = 0
            for index in 0..<span.count where span[index].isMark {
                add(span.extracting(start..<index))
                passMark(covering: span[index].bits)
                start = index + 1
            }
            add(span.extracting(start..<span.count))
        }
    }

    private func add(_ readings: Span<Reading>) {
        guard readings.count > 0 else { return }
        epoch.add(readings)
        readingsConsumed &+= UInt64(readings.count)
    }

    private func passMark(covering position: UInt64) {
        let note = notes.removeFirst()
        switch note.purpose {
        case .cut: cut(covering: position, counters: note.counters)
        case .probe(var probe):
            probe.ledger.intake = note.counters
            probe.ledger.readingsConsumed = readingsConsumed
            probe.ledger.readingsInBuckets = UInt64(epoch.readingCount)
            probe.ledger.readingsSealed = readingsSealed
            ports.toSpool(.probe(probe))
        }
    }

    private func cut(covering position: UInt64, counters: IntakeCounters) {
        isCutRequested = false
        isCutHeldBack = false
        deadline = nil
        correctTimes()
        clockStep = nil
        // An epoch that filled before its time means load: then time is worth more than bytes.
        let sealed = epoch.seal(effort: epoch.readingCount >= settings.readings ? .fast : nil)
        let batches = sealed.map { batch in
            CutBatch(
                bytes: batch.bytes, readings: batch.info.readings, priority: batch.info.priority,
                bucketStart: batch.info.bucketStart, revision: batch.info.revision,
                firstObservedAt: batch.info.firstObservedAt,
                lastObservedAt: batch.info.lastObservedAt)
        }
        readingsSealed &+= batches.reduce(0) { $0 &+ UInt64($1.readings) }
        epochNumber += 1
        cutsInFlight += 1
        ports.toSpool(
            .cut(
                EpochCut(
                    epoch: epochNumber, batches: batches, covered: [position],
                    counters: [counters],
                    revisions: epoch.revisions.map {
                        BucketRevision(bucketStart: $0.bucketStart, revision: $0.revision)
                    })))
    }
}
