// One intake with nothing behind it: the ports only take notes. The test plays the spool and the
// batcher.

import Catalog
import Formats
import Model
import Pipeline
import Ring
import Simulator
import Spool

final class IntakeRig {
    let time = VirtualTime()
    private(set) var stage: IntakeStage!
    private(set) var parts: [JournalPart] = []
    private(set) var entries: [CatalogEntry] = []
    private(set) var quarantined: [QuarantinedFrame] = []
    private(set) var released: [Int64] = []
    private(set) var notes: [MarkNote] = []
    private(set) var answers: [(bytes: [UInt8], to: Recipient)] = []
    /// Called in the middle of an answer, as by a host whose device does not read.
    var onAnswer: ((Recipient) -> Void)?
    private(set) var pokes = 0
    private(set) var timer: Instant?
    private var consumer: Consumer

    init(
        sources: [IntakeSource] = [IntakeRig.source()],
        settings: IntakeSettings = IntakeRig.settings(),
        library: FormatLibrary = Formats.library, ring capacity: Int = 1 << 12,
        limits: CatalogLimits = CatalogLimits(devices: 1000, streams: 10_000),
        restoring: [CatalogEntry] = [], firstPosition: UInt64 = 0
    ) {
        let ring = Ring(capacity: capacity)
        consumer = ring.takeConsumer()
        let highest = restoring.reduce(into: (UInt32(0), UInt32(0))) { highest, entry in
            switch entry {
            case .device(let device): highest.0 = max(highest.0, device.id.rawValue)
            case .stream(let stream): highest.1 = max(highest.1, stream.id.rawValue)
            }
        }
        stage = IntakeStage(
            sources: sources, library: library, settings: settings, clock: time.clock,
            catalog: CatalogTable(limits: limits, seed: 1, restoring: restoring, highest: highest),
            producer: ring.takeProducer(),
            journal: JournalBuffer(
                intake: 0, capacity: settings.commitBytes, firstPosition: firstPosition),
            counters: IntakeCounters(), seed: 1,
            ports: IntakePorts(
                toSpool: { [unowned self] in note($0) },
                note: { [unowned self] in notes.append($0) },
                lanes: { _ in }, pokeBatcher: { [unowned self] in pokes += 1 },
                answers: Answers { [unowned self] in
                    answers.append(($0, $1))
                    onAnswer?($1)
                },
                wakeAt: { [unowned self] in timer = min(timer ?? $0, $0) }))
    }

    static func source(
        _ formats: [String] = ["sluice-reference"], policy: DevicePolicy = .accept,
        timeRule: TimeRule = TimeRule()
    ) -> IntakeSource {
        IntakeSource(
            name: "test", formats: formats.map(Formats.named), policy: policy, timeRule: timeRule)
    }

    /// Small tables, so that a test may make many rigs.
    static func settings(_ change: (inout IntakeSettings) -> Void = { _ in }) -> IntakeSettings {
        var settings = IntakeSettings()
        settings.duplicateSlots = 1 << 10
        change(&settings)
        return settings
    }

    private func note(_ job: SpoolJob) {
        switch job {
        case .entries(let new): entries += new
        case .part(let part): parts.append(part)
        case .quarantine(let frames): quarantined += frames
        case .released(let number): released.append(number)
        case .cut, .probe: preconditionFailure("an intake sends no such job")
        }
    }

    var counters: IntakeCounters { stage.counters }

    func datagram(_ bytes: [UInt8], isTruncated: Bool = false, port: UInt16 = 7) {
        stage.datagram(
            bytes.span, source: 0, from: Endpoint.ipv4(0x7F00_0001, port: port), at: time.wall,
            isTruncated: isTruncated)
    }

    func datagram(_ frame: ReferenceFrame) { datagram(frame.bytes) }

    func stream(_ bytes: [UInt8], connection: UInt64 = 1) -> StreamProgress {
        stage.stream(
            bytes.span, source: 0, connection: ConnectionID(connection),
            from: Endpoint.ipv4(0x7F00_0001, port: 7), at: time.wall)
    }

    func endTurn(kernelDrops: UInt64 = 0) { stage.endTurn(source: 0, kernelDrops: kernelDrops) }

    /// The disk took everything that was handed over.
    func commit() { stage.committed(upTo: parts.last?.nextPosition ?? 0) }

    /// Lets time pass; the timer fires once when it is due, as the host fires it.
    func pass(milliseconds: Int64) {
        time.advance(milliseconds: milliseconds)
        guard let due = timer, due <= time.now else { return }
        timer = nil
        stage.timer()
    }

    /// The batcher takes everything.
    func drain() -> [Reading] {
        var all: [Reading] = []
        _ = consumer.drain(.max) { span in
            for i in span.indices { all.append(span[i]) }
        }
        return all
    }
}
