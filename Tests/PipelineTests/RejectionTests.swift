// A store that refuses single readings, a spool that divides the batches that hold them, and the way back
// out of the quarantine: the real spool, stage, forwarder's verdicts and store, no sockets.

import Batches
import Catalog
import Model
import Pipeline
import Simulator
import Spool
import Store
import TestSupport
import Testing
import Uplink

/// A spool's stage and a session with a store; batches are carried by hand.
private final class Road {
    let folder = TemporaryFolder()
    let time = VirtualTime()
    private(set) var stage: SpoolStage!
    private(set) var spool: Spool!
    var store: Store
    private var session: StoreSession
    private var reader = FrameReader(side: .peer)
    private(set) var rounds = 0
    private var epoch: UInt64 = 0
    var spoolFolder: String

    init(rules: ReadingRules = ReadingRules()) throws {
        var settings = StoreSettings()
        settings.rules = rules
        spoolFolder = folder.path + "/spool"
        store = try Store(directory: folder.path, settings: settings)
        session = store.openSession()
        try openSpool()
        try openSession()
    }

    func openSpool() throws {
        stage = nil
        spool = nil
        spool = try Spool(directory: spoolFolder)
        stage = SpoolStage(
            spool: spool, catalog: try CatalogFile(directory: spoolFolder), clock: time.clock,
            ports: SpoolPorts(
                committed: { _ in }, cutStored: {}, catalogGrew: {}, batchesAvailable: {},
                trouble: { _ in }, wakeAt: { _ in }))
    }

    /// The same directory as the power going off at this moment would leave it.
    func crash() throws {
        let copy = folder.path + "/spool-\(rounds)-\(epoch)"
        TemporaryFolder.copy(spoolFolder, to: copy)
        spoolFolder = copy
        try openSpool()
    }

    func replaceStore(rules: ReadingRules) throws {
        var settings = StoreSettings()
        settings.rules = rules
        session.ended()
        store = try Store(directory: folder.path, settings: settings)
        try openSession()
    }

    private func openSession() throws {
        session = store.openSession()
        reader = FrameReader(side: .peer)
        _ = try talk([
            .hello(
                Hello(
                    role: .gateway, incarnation: Incarnation(high: 1, low: 1), name: "gw",
                    software: "test")),
            .entries(
                [
                    .device(
                        Device(
                            id: DeviceID(1), identity: "meter", format: "f",
                            firstSeenAt: Timestamp(milliseconds: 0)))
                ]
                    + (1...20).map {
                        .stream(
                            Stream(
                                id: StreamID($0), device: DeviceID(1), name: "s\($0)", quantity: "",
                                unit: "", priority: .live))
                    }),
        ])
    }

    private func talk(_ frames: [UplinkFrame]) throws -> [UplinkFrame] {
        let (reply, _) = session.receive(frames.flatMap { $0.encoded() }, now: time.wall)
        reader.append(reply)
        var all: [UplinkFrame] = []
        while let frame = try reader.next() { all.append(frame) }
        return all
    }

    func cut(_ readings: [Reading], bytes: [UInt8]? = nil) {
        let sealed = BatchCodec.encode(
            readings, bucketStart: time.wall, bucketMilliseconds: 60_000, revision: 0,
            priority: .live)
        epoch += 1
        stage.take(
            .cut(
                EpochCut(
                    epoch: epoch,
                    batches: [
                        CutBatch(
                            bytes: bytes ?? sealed.bytes, readings: readings.count, priority: .live,
                            bucketStart: time.wall, revision: 0,
                            firstObservedAt: sealed.info.firstObservedAt,
                            lastObservedAt: sealed.info.lastObservedAt)
                    ], covered: [0], counters: [IntakeCounters()], revisions: [])))
    }

    /// Sends what the spool lends and brings the verdicts back, once; false when nothing waits.
    func round() throws -> Bool {
        let leased = stage.lease(excluding: [], room: LeaseRoom(8), maximumBytes: 1 << 20)
        guard !leased.isEmpty else { return false }
        rounds += 1
        for batch in leased {
            let answers = try talk([
                .batch(
                    BatchFrame(
                        sequence: batch.sequence, priority: batch.priority,
                        readings: batch.readings, crc: CRC32.of(batch.bytes), bytes: batch.bytes))
            ])
            for case .acknowledgement(let answer) in answers {
                for entry in answer.entries {
                    switch entry.reason.verdict {
                    case .accepted: stage.acknowledge([entry.sequence])
                    case .rejected:
                        stage.reject(
                            entry.sequence, reason: entry.reason.code,
                            isDivisible: entry.reason.isDivisible)
                    case .retry: break
                    }
                }
            }
        }
        return true
    }

    func readings(_ count: Int, poison: Set<Int>) -> [Reading] {
        (0..<count).map { index in
            let received = Timestamp(milliseconds: time.wall.milliseconds + Int64(index % 1000))
            let observed =
                poison.contains(index)
                ? Timestamp(milliseconds: time.wall.milliseconds + 86_400_000) : received
            return Reading(
                stream: StreamID(UInt32(1 + index % 20)), value: .decimal(Int64(index)),
                quality: [], observedAt: observed, receivedAt: received)
        }
    }

    static var rules: ReadingRules {
        var rules = ReadingRules()
        rules.maximumAhead = 3_600_000
        return rules
    }
}

@Suite("Rejected batches")
struct RejectionTests {
    @Test("row 13: one reading among 10,000 is found; the other 9,999 arrive, within few batches")
    func poison() throws {
        let road = try Road(rules: Road.rules)
        road.cut(road.readings(10_000, poison: [7321]))
        while try road.round() {}
        let stored = try StoreReader(directory: road.folder.path)
        #expect(try stored.counts().readings == 9999)
        #expect(try stored.duplicates().total == 0)
        let counters = road.spool.counters
        #expect(counters.readingsAcknowledged == 9999 && counters.readingsRejected == 1)
        #expect(counters.unaccounted == 0 && counters.readingsPending == 0)
        // 10,000 is halved 14 times at most; the halves of one round go together.
        #expect(road.rounds <= 15)
        let entries = try road.spool.quarantined(after: 0, limit: 10)
        #expect(entries.count == 1 && entries[0].kind == .reading && entries[0].readings == 1)
        #expect(entries[0].reason == "refused-reading" && entries[0].isIntact)
        let reading = try #require(QuarantinedReading(entries[0].bytes))
        let content = try BatchCodec.decode(reading.batch)
        #expect(content.readings.map(\.value) == [.decimal(7321)])
    }

    @Test(
        "any number of bad readings are found, also with a power cut at every round",
        arguments: 1...6)
    func several(seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed))
        let count = 1 + Int(random.next() % 400)
        let bad = Set((0..<(1 + random.next() % 9)).map { _ in Int(random.next() % UInt64(count)) })
        let road = try Road(rules: Road.rules)
        road.cut(road.readings(count, poison: bad))
        while try road.round() { try road.crash() }
        let stored = try StoreReader(directory: road.folder.path)
        #expect(try stored.counts().readings == count - bad.count, "SEED=\(seed)")
        #expect(try stored.duplicates().total == 0, "SEED=\(seed)")
        let entries = try road.spool.quarantined(after: 0, limit: 100)
        let found = try entries.map {
            try BatchCodec.decode(try #require(QuarantinedReading($0.bytes)).batch).readings
        }
        #expect(
            Set(found.flatMap { $0 }.map(\.bits)) == Set(bad.map { UInt64($0) }), "SEED=\(seed)")
        #expect(road.spool.counters.unaccounted == 0, "SEED=\(seed)")
    }

    @Test("a released reading is pending under its old sequence, and arrives once")
    func released() throws {
        let road = try Road(rules: Road.rules)
        road.cut(road.readings(100, poison: [42]))
        while try road.round() {}
        let entry = try #require(try road.spool.quarantined(after: 0, limit: 1).first)
        let sequence = try #require(UInt64(entry.source))
        #expect(road.stage.release(entry.number) == .pending(sequence: sequence))
        #expect(road.stage.release(entry.number) == .noSuchEntry, "only once")
        #expect(road.spool.counters.unaccounted == 0 && road.spool.counters.readingsRejected == 0)
        // The store has not changed its mind: it comes back.
        while try road.round() {}
        let again = try #require(try road.spool.quarantined(after: 0, limit: 1).first)
        #expect(again.source == entry.source)
        try road.replaceStore(rules: ReadingRules())
        #expect(road.stage.release(again.number) == .pending(sequence: sequence))
        try road.crash()
        while try road.round() {}
        let stored = try StoreReader(directory: road.folder.path)
        #expect(try stored.counts().readings == 100)
        #expect(try stored.duplicates().total == 0)
        #expect(road.spool.counters.readingsAcknowledged == 100)
        #expect(road.spool.counters.unaccounted == 0)
        #expect(road.spool.details.quarantineEntries == 0)
    }

    @Test("a store that takes nothing gets whole batches set aside after 64 divisions")
    func hopeless() throws {
        var rules = ReadingRules()
        rules.maximumAge = 0
        let road = try Road(rules: rules)
        for _ in 0..<3 { road.cut(road.readings(1000, poison: [])) }
        road.time.advance(milliseconds: 5000)
        while try road.round() {}
        let counters = road.spool.counters
        #expect(counters.readingsRejected == 3000 && counters.unaccounted == 0)
        #expect(road.spool.details.quarantineEntries < 200)
        #expect(try StoreReader(directory: road.folder.path).counts().readings == 0)
    }

    @Test("bytes that this program does not understand are set aside whole, and released whole")
    func unreadable() throws {
        let road = try Road()
        road.cut(road.readings(10, poison: []), bytes: [UInt8](repeating: 7, count: 50))
        while try road.round() {}
        let entry = try #require(try road.spool.quarantined(after: 0, limit: 1).first)
        #expect(entry.kind == .batch && entry.reason == "unreadable" && entry.readings == 10)
        #expect(road.stage.release(entry.number) == .refused("its bytes are no batch"))
    }

    @Test("a rejected reading is kept with the frames that arrived in its millisecond")
    func rawFrame() throws {
        let road = try Road(rules: Road.rules)
        var buffer = JournalBuffer(intake: 0, capacity: 4096)
        let times: [Int64] = [0, 3, 3, 9]
        for (index, offset) in times.enumerated() {
            buffer.append(
                [UInt8(index), 0xAA].span, source: 0,
                receivedAt: Timestamp(milliseconds: road.time.wall.milliseconds + offset))
        }
        road.stage.take(
            .part(
                buffer.take(
                    sources: [JournalSource(name: "door", format: "f")],
                    counters: IntakeCounters())))
        road.cut(road.readings(5, poison: [3]))
        while try road.round() {}
        let entry = try #require(try road.spool.quarantined(after: 0, limit: 1).first)
        let reading = try #require(QuarantinedReading(entry.bytes))
        #expect(reading.frames.map(\.bytes) == [[1, 0xAA], [2, 0xAA]])
        #expect(reading.frames.allSatisfy { $0.source.name == "door" })
        #expect(QuarantinedReading(reading.bytes) == reading)
        for length in 0..<reading.bytes.count {
            #expect(QuarantinedReading(Array(reading.bytes[..<length])) == nil)
        }
    }

    @Test("fresh batches are lent before those that have waited for a minute, alarms before both")
    func lanes() throws {
        let road = try Road()
        road.cut(road.readings(1, poison: []))
        road.cut(road.readings(2, poison: []))
        road.time.advance(milliseconds: 59_999)
        func lent() -> [(UInt64, Bool)] {
            road.stage.lease(
                excluding: [], room: LeaseRoom(all: 8, ordinary: 7, backlog: 2),
                maximumBytes: 1 << 20
            ).map { ($0.sequence, $0.isBacklog) }
        }
        #expect(lent().map(\.0) == [1, 2] && lent().allSatisfy { !$0.1 })
        road.cut(road.readings(3, poison: []))
        road.time.advance(milliseconds: 1)
        #expect(lent().map(\.0) == [3, 1, 2])
        #expect(lent().map(\.1) == [false, true, true])
        // After a restart everything that was there is backlog.
        try road.crash()
        road.cut(road.readings(4, poison: []))
        #expect(lent().map(\.0) == [4, 1, 2], "the backlog has two places")
    }
}

@Suite("Release of frames")
struct ReleaseTests {
    private func released(_ rig: IntakeRig, _ frame: QuarantinedFrame) -> ReleaseOutcome {
        rig.stage.release(
            ReleasedFrame(
                number: 5, source: frame.source, receivedAt: frame.receivedAt, bytes: frame.bytes))
    }

    @Test(
        "a frame of an unknown device is taken in when it is released, and the device is known then"
    )
    func admitted() throws {
        let rig = IntakeRig(sources: [IntakeRig.source(policy: .quarantine)])
        rig.datagram(ReferenceFrame(device: 9, sequence: 1))
        rig.endTurn()
        rig.pass(milliseconds: 300)
        let frame = try #require(rig.quarantined.first)
        #expect(rig.drain().isEmpty && rig.counters[.quarantined] == 1)
        #expect(released(rig, frame) == .taken)
        #expect(rig.released == [5] && rig.answers.isEmpty)
        let readings = rig.drain()
        #expect(readings.count == 5)
        #expect(readings.allSatisfy { $0.receivedAt == frame.receivedAt })
        // Its frames are taken from now on, and answered.
        rig.datagram(ReferenceFrame(device: 9, sequence: 2))
        rig.endTurn()
        rig.pass(milliseconds: 300)
        rig.commit()
        #expect(rig.drain().count == 5 && rig.answers.count == 1)
        #expect(rig.counters.framesDecoded == 2 && rig.counters.framesUnaccounted == 0)
        #expect(released(rig, frame) == .duplicate, "again it is known")
        #expect(rig.drain().isEmpty && rig.counters.framesUnaccounted == 0)
        // Others are still strangers.
        rig.datagram(ReferenceFrame(device: 10, sequence: 1))
        #expect(rig.counters[.quarantined] == 2)
    }

    @Test("a frame that no format takes stays where it is, with the reason")
    func refused() {
        let rig = IntakeRig()
        var frame = QuarantinedFrame(
            source: "test", reason: .quarantined, receivedAt: rig.time.wall, bytes: [1, 2, 3])
        #expect(released(rig, frame) == .refused("bad-header"))
        frame.source = "gone"
        #expect(released(rig, frame) == .refused("there is no source gone"))
        #expect(rig.released.isEmpty && rig.counters.framesUnaccounted == 0)
    }
}
