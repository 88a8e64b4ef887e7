// The gateway's own stages on one thread, stepped in turn, with nothing behind them: frames from memory
// go through decoder, duplicate check, catalog, validation, journal buffer, ring, buckets and batch coder;
// a part of the journal counts as durable at once, a batch as stored. For `sluice bench pipeline` and the
// test of its ceiling. Owned by the bench, on the main thread.
//
// The devices are made up: each sends its 64-byte reference frame in its turn, 20,000 frames of all a
// second; temperature, humidity, pressure, CO2 and battery drift slowly with a little noise; their clocks
// tell whole seconds. A share of the frames may be late: their times lie hours to days back.

import Batches
import Catalog
import Formats
import Model
import Pipeline
import Ring
import Spool
import Synchronization

/// What passed through a rig.
struct PipelineCounts {
    var readings = 0
    var batches = 0
    var bytes = 0
}

/// Frames that follow one another without end, made in slabs.
struct PipelineFrames {
    static let slab = 4096
    private static let framesASecond = 20_000
    /// 2026-11-21T10:00:00Z.
    private static let start: Int64 = 1_795_255_200_000

    let devices: Int
    /// Of 1,024 frames so many are late.
    let late: Int
    private(set) var bytes = [UInt8](repeating: 0, count: ReferenceFrame.size * slab)
    private(set) var next = 0

    init(devices: Int, late: Int) {
        self.devices = devices
        self.late = late
    }

    /// Wall time when frame `index` arrives.
    static func arrival(_ index: Int) -> Int64 {
        start + Int64(index) * 1000 / Int64(framesASecond)
    }

    /// Fills the slab with the next `count` frames.
    mutating func refill(_ count: Int) {
        for i in 0..<count { write(next + i, at: i * ReferenceFrame.size) }
        next += count
    }

    private mutating func write(_ index: Int, at base: Int) {
        let (turn, device) = index.quotientAndRemainder(dividingBy: devices)
        var random = SplitMix64(seed: UInt64(index))
        let r = random.next()
        var observed = PipelineFrames.arrival(index) / 1000 * 1000
        if Int(r >> 54) < late { observed -= 1000 * Int64(600 + random.next() % 160_000) }
        bytes[base] = 0x53
        bytes[base + 1] = 0x4C
        bytes[base + 2] = 1
        put(Population.identity(device), 8, at: base + 4)
        put(UInt64(index & 0xFFFF_FFFF), 4, at: base + 12)
        put(UInt64(bitPattern: observed), 6, at: base + 16)
        let values = PipelineFrames.values(device, turn, r)
        put(values[0], 2, at: base + 22)
        put(values[1], 2, at: base + 24)
        put(values[2], 4, at: base + 26)
        put(values[3], 2, at: base + 30)
        put(values[4], 2, at: base + 32)
        let crc = ReferenceFrame.crc16(bytes.span.extracting(base..<base + 62))
        bytes[base + 62] = UInt8(crc & 255)
        bytes[base + 63] = UInt8(crc >> 8)
    }

    /// A device's level, a slow wave, and noise of a few digits.
    private static func values(_ device: Int, _ turn: Int, _ r: UInt64) -> [5 of UInt64] {
        let own = UInt64(truncatingIfNeeded: device &* 2_654_435_761)
        func wave(_ period: Int, _ height: Int) -> UInt64 {
            let phase = (turn + device) % period
            return UInt64(min(phase, period - phase) * 2 * height / period)
        }
        return [
            1500 + own % 900 + wave(600, 120) + r % 4,
            4000 + own >> 8 % 2000 + wave(500, 300) + r >> 4 % 8,
            99_000 + own >> 4 % 3000 + wave(2000, 600) + r >> 8 % 8,
            420 + own >> 12 % 300 + wave(300, 90) + r >> 12 % 16,
            3600 - wave(20_000, 400) - r >> 18 % 2,
        ]
    }

    private mutating func put(_ value: UInt64, _ width: Int, at base: Int) {
        for i in 0..<width {
            bytes[base + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - i)))
        }
    }
}

final class PipelineRig {
    /// Readings of an epoch: `batch.readings` of the daemon when nothing is configured.
    static let readingsPerEpoch = 50_000
    private static let framesPerTurn = 64

    var frames: PipelineFrames
    private(set) var counts = PipelineCounts()
    private let codes: Bool
    private let time = RigTime()
    private let outbox = Outbox()
    private let intake: IntakeStage
    /// Nil without the codec.
    private let batch: BatchStage?
    private var consumer: Consumer?
    private var epoch = Epoch()
    private var inEpoch = 0
    private var arrivals = [Arrival](
        repeating: Arrival(
            from: .ipv4(0, port: 0), receivedAt: Timestamp(milliseconds: 0), count: 0,
            isTruncated: false), count: PipelineRig.framesPerTurn)

    /// `codes` false: the buckets are emptied instead of encoded. `format` is the reference sensor's.
    init(
        _ library: FormatLibrary, _ format: Format, devices: Int, late: Int, codes: Bool,
        effort: BatchEffort = .normal
    ) {
        self.codes = codes
        frames = PipelineFrames(devices: devices, late: late)
        let ring = Ring(capacity: 1 << 15)
        let notes = SideNotes()
        let settings = IntakeSettings()
        let outbox = outbox
        intake = IntakeStage(
            sources: [
                IntakeSource(
                    name: "bench", formats: [format], policy: .accept, timeRule: TimeRule())
            ],
            library: library, settings: settings, clock: time.clock,
            catalog: CatalogTable(
                limits: CatalogLimits(devices: devices, streams: devices * 8), seed: 1,
                restoring: []),
            producer: ring.takeProducer(),
            journal: JournalBuffer(intake: 0, capacity: settings.commitBytes),
            counters: IntakeCounters(), seed: 1,
            ports: IntakePorts(
                toSpool: { outbox.take($0) }, note: { notes.append($0) },
                lanes: { notes.append($0) }, pokeBatcher: {}, answers: outbox,
                wakeAt: { _ in }))
        guard codes else {
            batch = nil
            consumer = ring.takeConsumer()
            return
        }
        var open = BatchSettings()
        // The bench asks for its cuts itself: an epoch that is cut because it is full is encoded with
        // less effort.
        open.readings = .max
        var buckets = EpochSettings()
        buckets.effort = effort
        batch = BatchStage(
            settings: open, clock: time.clock, consumer: ring.takeConsumer(),
            epoch: Epoch(settings: buckets), epochNumber: 0, counted: 0, notes: notes,
            ports: BatchPorts(
                toSpool: { outbox.take($0) }, requestCut: { outbox.wantsCut = true },
                roomAgain: {}, wakeAt: { _ in }))
    }

    /// Takes the slab's first `count` frames in.
    func run(_ count: Int) {
        let first = frames.next - count
        let bytes = frames.bytes
        let slab = bytes.span
        var done = 0
        while done < count {
            let turn = min(PipelineRig.framesPerTurn, count - done)
            let now = PipelineFrames.arrival(first + done + turn - 1)
            time.set(now)
            let arrival = Arrival(
                from: .ipv4(0x7F00_0001, port: 7), receivedAt: Timestamp(milliseconds: now),
                count: ReferenceFrame.size, isTruncated: false)
            for i in 0..<turn { arrivals[i] = arrival }
            intake.datagrams(
                arrivals.span.extracting(first: turn),
                in: slab.extracting(
                    done * ReferenceFrame.size..<(done + turn) * ReferenceFrame.size),
                slotBytes: ReferenceFrame.size, source: 0)
            intake.endTurn(source: 0, kernelDrops: 0)
            if outbox.position > 0 { intake.committed(upTo: outbox.position) }
            done += turn
            inEpoch += turn * Population.streams.count
            if inEpoch >= PipelineRig.readingsPerEpoch {
                cut()
            } else if inEpoch / 16_384 != (inEpoch - turn * 5) / 16_384 {
                drain()
            }
        }
        counts.readings += count * Population.streams.count
    }

    private func drain() {
        if let batch {
            while batch.turn() {}
        } else {
            _ = consumer?.drain(.max) { epoch.add($0) }
        }
    }

    /// Ends the epoch and encodes it.
    func cut() {
        inEpoch = 0
        guard let batch else {
            drain()
            epoch.removeAll()
            return
        }
        batch.requestCut()
        precondition(outbox.wantsCut, "the batcher asks for its cut")
        outbox.wantsCut = false
        intake.mark(.cut)
        drain()
        batch.cutStored()
        counts.batches += outbox.batches
        counts.bytes += outbox.bytes
        outbox.batches = 0
        outbox.bytes = 0
    }

    /// Each device once, so that the catalog knows them all, and one whole epoch.
    func warmUp() {
        let wanted = max(frames.devices, 2 * PipelineRig.readingsPerEpoch / 5)
        var left = wanted
        while left > 0 {
            let count = min(left, PipelineFrames.slab)
            frames.refill(count)
            run(count)
            left -= count
        }
        cut()
        counts = PipelineCounts()
    }

    /// What is wrong when not every frame became its readings; nil when all is well.
    var complaint: String? {
        let counters = intake.counters
        let wanted = UInt64(frames.next * Population.streams.count)
        guard counters.framesDecoded == UInt64(frames.next), counters.readingsPublished == wanted
        else {
            return "\(frames.next) frames gave \(counters.framesDecoded) decoded and "
                + "\(counters.readingsPublished) readings"
        }
        return nil
    }
}

/// The spool that stores at once, and the answers that nobody reads.
private final class Outbox: AnswerPort {
    var position: UInt64 = 0
    var batches = 0
    var bytes = 0
    var wantsCut = false

    func take(_ job: SpoolJob) {
        switch job {
        case .part(let part): position = part.nextPosition
        case .cut(let cut):
            batches += cut.batches.count
            for batch in cut.batches { bytes += batch.bytes.count }
        case .entries, .quarantine, .probe, .released: break
        }
    }

    func answer(_ bytes: Span<UInt8>, to recipient: Recipient) {}
    func flush() {}
}

/// The rig's time moves with its frames. Locked only because clocks may be read from any thread.
private final class RigTime: Sendable {
    private let wall = Mutex<Int64>(0)

    func set(_ milliseconds: Int64) { wall.withLock { $0 = milliseconds } }

    private var milliseconds: Int64 { wall.withLock { $0 } }

    var clock: Clock {
        Clock(
            now: { Instant(nanoseconds: UInt64(self.milliseconds) &* 1_000_000) },
            wall: { Timestamp(milliseconds: self.milliseconds) })
    }
}
