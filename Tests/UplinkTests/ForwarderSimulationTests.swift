// The forwarder against a simulated spool, catalog, network and store under virtual time; one seed
// decides all. Faults that it must survive: refused connects, connections cut at any byte,
// half-open connections (bytes vanish both ways), lost answers after a commit, retry and rejected
// verdicts, falling and vanishing credit, a store that is restored without its last definitions'
// acknowledgement, answers of the host that come after the connection is gone, catalogs and spools
// that grow meanwhile.

import Model
import Testing
import Uplink

private struct World {
    enum Happening {
        case event(Forwarder.Event, connection: Int?)
        case toStore([UInt8], connection: Int)
        case timer
        case growth
    }

    var random: Random
    var forwarder: Forwarder
    var now: Int64 = 1000
    var agenda: [(at: Int64, order: Int, what: Happening)] = []
    var order = 0
    let calmAt: Int64

    // Gateway
    var spool: [UInt64] = []
    var lastSequence: UInt64 = 0
    var streams: UInt32 = 0
    var needed: [UInt64: UInt32] = [:]
    var finished: Set<UInt64> = []

    // Connection
    var connection = 0
    var isOpen = false
    var isHalfOpen = false
    var reader = FrameReader(side: .store)
    var credit = 0
    /// What the forwarder was told and has sent, read off the bytes at its end.
    var toldReader = FrameReader(side: .peer)
    var sentReader = FrameReader(side: .store)
    var toldCredit = 0
    var outstanding: Set<UInt64> = []
    var lineFree: Int64 = 0

    // Store
    var committed: Set<UInt64> = []
    var poisoned: Set<UInt64> = []
    var rejected: Set<UInt64> = []
    var knownStreams: UInt32 = 0
    var duplicates = 0
    var faults: [String] = []

    init(seed: UInt64, calmAt: Int64) {
        random = Random(seed: seed)
        var settings = ForwarderSettings(
            gateway: "g", incarnation: Incarnation(high: 1, low: seed), software: "simulation")
        settings.inFlight = 1 + random.below(8)
        forwarder = Forwarder(settings: settings, seed: seed)
        self.calmAt = calmAt
    }

    var isCalm: Bool { now >= calmAt }

    mutating func plan(_ delay: Int64, _ what: Happening) {
        order += 1
        agenda.append((now + delay, order, what))
    }

    mutating func run(until end: Int64) {
        plan(0, .event(.start, connection: nil))
        plan(1, .growth)
        while faults.isEmpty {
            let timer = forwarder.deadline.map { Int64($0.nanoseconds / 1_000_000) }
            let next = agenda.indices.min {
                (agenda[$0].at, agenda[$0].order) < (agenda[$1].at, agenda[$1].order)
            }
            let nextAt = next.map { agenda[$0].at } ?? .max
            guard min(nextAt, timer ?? .max) <= end else { return }
            if let timer, timer < nextAt {
                now = max(now, timer)
                step(.timer)
            } else if let next {
                let happening = agenda.remove(at: next)
                now = max(now, happening.at)
                perform(happening.what)
            }
        }
    }

    mutating func perform(_ what: Happening) {
        switch what {
        case .event(let event, let on):
            if let on, on != connection || !isOpen, !isConnectResult(event) { return }
            if case .disconnected = event { isOpen = false }
            if case .received = event, isHalfOpen { return }
            if case .connected = event { isOpen = true }
            if case .received(let bytes) = event { told(bytes) }
            step(event)
        case .toStore(let bytes, let on):
            guard on == connection, isOpen, !isHalfOpen else { return }
            storeReceives(bytes)
        case .timer: step(.timer)
        case .growth: grow()
        }
    }

    func isConnectResult(_ event: Forwarder.Event) -> Bool {
        switch event {
        case .connected, .connectFailed: true
        default: false
        }
    }

    /// New streams and batches, until calm.
    mutating func grow() {
        guard !isCalm else { return }
        streams += UInt32(random.below(3))
        for _ in 0..<random.below(4) {
            lastSequence += 1
            let place = spool.isEmpty ? 0 : random.below(spool.count + 1)
            spool.insert(lastSequence, at: place)
            needed[lastSequence] = streams
            if random.chance(3) { poisoned.insert(lastSequence) }
        }
        plan(Int64(1 + random.below(3000)), .growth)
        step(.batchesAvailable)
    }

    mutating func step(_ event: Forwarder.Event) {
        var effects: [Forwarder.Effect] = []
        forwarder.step(
            event, now: Instant(nanoseconds: UInt64(now) * 1_000_000), into: &effects)
        for effect in effects { perform(effect) }
    }

    mutating func perform(_ effect: Forwarder.Effect) {
        switch effect {
        case .connect:
            connection += 1
            reader = FrameReader(side: .store)
            isHalfOpen = false
            isOpen = false
            toldReader = FrameReader(side: .peer)
            sentReader = FrameReader(side: .store)
            toldCredit = 0
            outstanding = []
            let fails = !isCalm && random.chance(30)
            plan(
                Int64(random.below(200)),
                .event(fails ? .connectFailed("refused") : .connected, connection: connection))
        case .close:
            isOpen = false
            connection += 1
        case .send(let bytes): transmit(bytes)
        case .lease(let excluded, let room, _):
            let found = spool.filter { !excluded.contains($0) }.prefix(room.ordinary)
            let batches = found.map { number in
                OutgoingBatch(
                    sequence: number, priority: .live, readings: 1,
                    bytes: [UInt8(truncatingIfNeeded: number)])
            }
            plan(hostDelay(), .event(.leased(batches), connection: nil))
        case .needEntries(_, let after):
            let upper = min(streams, after + 1 + UInt32(random.below(5)))
            var entries: [CatalogEntry] = []
            if after < upper {
                for number in (after + 1)...upper { entries.append(entry(number)) }
            }
            plan(hostDelay(), .event(.entries(entries), connection: nil))
        case .acknowledged(let sequences):
            for number in sequences {
                if !committed.contains(number) { faults.append("\(number) was never committed") }
                if !finished.insert(number).inserted { faults.append("\(number) finished twice") }
                spool.removeAll { $0 == number }
            }
        case .rejected(let number, _, _):
            if !rejected.contains(number) { faults.append("\(number) was never rejected") }
            if !finished.insert(number).inserted { faults.append("\(number) finished twice") }
            spool.removeAll { $0 == number }
        case .state: break
        }
    }

    /// Mostly prompt, sometimes so slow that the connection has been replaced meanwhile.
    mutating func hostDelay() -> Int64 {
        Int64(random.chance(10) ? random.below(5000) : random.below(50))
    }

    func entry(_ number: UInt32) -> CatalogEntry {
        .stream(
            Stream(
                id: StreamID(number), device: DeviceID(1), name: "s\(number)", quantity: "",
                unit: "", priority: .live))
    }

    mutating func told(_ bytes: [UInt8]) {
        toldReader.append(bytes)
        while let frame = try? toldReader.next() {
            switch frame {
            case .welcome(let welcome): toldCredit = Int(welcome.credit)
            case .pong(_, _, let credit): toldCredit = Int(credit)
            case .acknowledgement(let answer):
                toldCredit = Int(answer.credit)
                outstanding.subtract(answer.entries.map(\.sequence))
            default: break
            }
        }
    }

    /// The credit is kept at the moment of sending; the store may lower it while batches travel.
    mutating func checkCredit(_ bytes: [UInt8]) {
        sentReader.append(bytes)
        while let frame = try? sentReader.next() {
            guard case .batch(let batch) = frame else { continue }
            if !outstanding.insert(batch.sequence).inserted { faults.append("sent twice") }
            if outstanding.count > toldCredit { faults.append("beyond the credit") }
        }
    }

    /// To the store in one or two pieces; before calm the connection may break in between.
    mutating func transmit(_ bytes: [UInt8]) {
        checkCredit(bytes)
        let cut = random.below(bytes.count + 1)
        // Bytes of one connection keep their order.
        lineFree = max(lineFree, now + Int64(random.below(100)))
        let delay = lineFree - now
        lineFree += 100
        plan(delay, .toStore(Array(bytes[0..<cut]), connection: connection))
        if !isCalm, random.chance(4) {
            plan(delay, .event(.disconnected("cut"), connection: connection))
        } else if !isCalm, random.chance(2) {
            isHalfOpen = true
        }
        plan(delay + 100, .toStore(Array(bytes[cut...]), connection: connection))
    }

    mutating func reply(_ bytes: [UInt8]) {
        if !isCalm, random.chance(5) {
            // Committed, and the answer is lost with the connection.
            plan(1, .event(.disconnected("cut"), connection: connection))
            return
        }
        plan(100, .event(.received(bytes), connection: connection))
    }

    mutating func storeReceives(_ bytes: [UInt8]) {
        reader.append(bytes)
        while true {
            let frame: UplinkFrame?
            do throws(WireError) { frame = try reader.next() } catch {
                faults.append("the store cannot read: \(error)")
                return
            }
            guard let frame else { return }
            store(frame)
        }
    }

    mutating func store(_ frame: UplinkFrame) {
        switch frame {
        case .hello:
            credit = random.below(5)
            // Told in part, as after 128 runs.
            let told = random.chance(70) ? committed.sorted().prefix(50) : []
            var runs: [ClosedRange<UInt64>] = []
            for number in told {
                if let last = runs.last, last.upperBound + 1 == number {
                    runs[runs.count - 1] = last.lowerBound...number
                } else {
                    runs.append(number...number)
                }
            }
            let through = runs.first?.lowerBound == 1 ? runs.removeFirst().upperBound : 0
            reply(
                UplinkFrame.welcome(
                    Welcome(
                        storeTime: Timestamp(milliseconds: now), credit: UInt16(credit),
                        largestBatch: 1000, knownDevice: 0, knownStream: knownStreams,
                        committed: CommittedSet(through: through, runs: runs))
                ).encoded())
        case .entries(let entries):
            for case .stream(let stream) in entries {
                if stream.id.rawValue > knownStreams + 1 {
                    faults.append("a definition is missing")
                }
                knownStreams = max(knownStreams, stream.id.rawValue)
            }
        case .batch(let batch): storeBatch(batch)
        case .ping(let token):
            credit = random.below(5)
            if isCalm { credit = max(credit, 1) }
            reply(
                UplinkFrame.pong(
                    token: token, storeTime: Timestamp(milliseconds: now), credit: UInt16(credit)
                ).encoded())
        case .goodbye: break
        default: faults.append("not for a store: \(frame)")
        }
    }

    mutating func storeBatch(_ batch: BatchFrame) {
        if needed[batch.sequence, default: 0] > knownStreams {
            faults.append("\(batch.sequence) came before its definitions")
        }
        if finished.contains(batch.sequence) {
            faults.append("\(batch.sequence) sent after its end")
        }
        var reason = VerdictReason.stored
        if poisoned.contains(batch.sequence) {
            reason = .unreadable
            rejected.insert(batch.sequence)
        } else if !isCalm, random.chance(15) {
            reason = .storageFull
        } else if !committed.insert(batch.sequence).inserted {
            reason = .duplicate
            duplicates += 1
        }
        let new = isCalm ? 1 + random.below(5) : credit
        credit = max(credit, new)
        reply(
            FrameEncoding.acknowledgement(
                [Acknowledgement.Entry(sequence: batch.sequence, reason: reason)],
                credit: UInt16(credit)))
    }
}

@Suite("Forwarder under simulated faults")
struct ForwarderSimulationTests {
    @Test(
        "every batch ends exactly once, after the store's commit, within the credit",
        arguments: 0..<60)
    func law(seed: Int) {
        var world = World(seed: UInt64(seed), calmAt: 600_000)
        world.run(until: 4_000_000)
        #expect(world.faults.isEmpty, "seed \(seed): \(world.faults)")
        #expect(world.spool.isEmpty, "seed \(seed): \(world.spool.count) batches are left")
        #expect(world.finished.count == Int(world.lastSequence), "seed \(seed)")
        #expect(world.committed.union(world.rejected).count == Int(world.lastSequence))
    }

    @Test("the faults do happen: duplicates, retries and reconnects are seen")
    func faultsHappen() {
        var duplicates = 0
        var retries: UInt64 = 0
        var connections: UInt64 = 0
        for seed in 0..<20 {
            var world = World(seed: UInt64(seed), calmAt: 600_000)
            world.run(until: 4_000_000)
            duplicates += world.duplicates
            retries += world.forwarder.status.retries
            connections += world.forwarder.status.connections
        }
        #expect(duplicates > 10 && retries > 100 && connections > 100)
    }
}
