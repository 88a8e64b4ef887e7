// Gateway, devices, network and store under one deterministic scheduler: a seed decides everything.
// The stages, the spool, the catalog, the forwarder and the store are the real ones, on real files;
// time, sockets and queues are variables. Each step runs one job of a queue drawn at random, or lets
// time pass to the next event, sometimes while jobs wait (a slow disk, a busy core).
//
// Faults that must be survived, until the world becomes calm:
//   devices    frames lost, doubled, corrupted, cut, noise of any length, answers lost, connections
//              that break within a frame, device clocks that are wrong, the gateway's clock stepped
//   gateway    killed between any two jobs, its disk as it was at that moment
//   uplink     connects refused, connections broken or swallowing bytes both ways, delays of seconds,
//              partitions in which nothing arrives and no connection is made
//   disk       the power goes while a job of the spool writes: any part of the pages of its log is there
//   store      killed between any two calls, its disk as it was at that moment; in a quarter of the
//              seeds it refuses old readings, whose batches are divided
// Not simulated here: a disk that refuses (SpoolStageTests), several intakes.
//
// Laws: each probe's ledger balances, also after each restart; when all is calm everything drains;
// what was answered is in the store once; nothing is in the store twice; nothing that was never sent.

import Model
import Pipeline
import Spool
import Store
import TestSupport
import Uplink

struct SimulationFigures {
    var crashes = 0
    var torn = 0
    var partitions = 0
    var quarantined = 0
    var crashesOfStore = 0
    var replayed = 0
    var probes = 0
    var duplicates: UInt64 = 0
    var rejected: UInt64 = 0
    var dropped: UInt64 = 0
    var answered = 0
    var stored = 0
    var connections: UInt64 = 0
    var steps = 0
}

final class Simulation {
    var faults: [String] = []
    var figures = SimulationFigures()

    var random: SplitMix64
    let time = VirtualTime()
    let folder = TemporaryFolder()
    let mutation: Mutation
    private var knobs = GatewayKnobs()
    private var agenda: [(at: UInt64, order: Int, what: () -> Void)] = []
    private var order = 0
    var isDone = false
    private let calmAt: UInt64 = 20_000_000_000
    private let mean: Int

    // Gateway
    var gateway: SimulatedGateway?
    var graveyard: [AnyObject] = []
    private var generation = 0
    let ledgers = Collected<Ledger>()
    var ledgersSeen = 0
    var ledgersAtFinish = Int.max - 1
    var isStopping = false

    // Devices
    struct Key: Hashable {
        var device: Int
        var sequence: UInt32
    }
    private struct Device {
        var connection: ConnectionID?
        var sequence: UInt32 = 0
    }
    private var devices: [Device]
    var sent: [Key: ReferenceFrame] = [:]
    var implausible: Set<Key> = []
    /// The store's rule refuses their readings.
    var refused: Set<Key> = []
    private var storeSettings = StoreSettings()
    /// Nothing passes between gateway and store until then.
    private var partitionedUntil: UInt64 = 0
    /// Waiting for an answer that the device has not heard.
    var unheard: Set<Key> = []
    /// The gateway let an answer go.
    var answered: Set<Key> = []
    private var owners: [ConnectionID: Int] = [:]
    private var connectionNumber: UInt64 = 0

    // Network and store
    private final class Link {
        let session: StoreSession
        var isOpen = true
        var swallows = false
        /// Its store is gone.
        var isDead = false
        var free: UInt64 = 0
        init(_ session: StoreSession) { self.session = session }
    }
    private var link: Link?
    private var connectAttempt = 0
    private var store: Store!
    var storeDirectory: String
    private var storeJobs: [() -> Void] = []

    init(seed: UInt64, mutation: Mutation = .none) throws {
        random = SplitMix64(seed: seed)
        self.mutation = mutation
        mean = 150 + random.below(400)
        devices = Array(repeating: Device(), count: 3 + random.below(5))
        knobs.ring = 1 << random.within(10...13)
        knobs.interval = Int64(random.within(300...4000))
        knobs.readings = random.within(50...1000)
        knobs.mutation = mutation
        storeDirectory = folder.path + "/store"
        try makeDirectory(storeDirectory)
        if random.chance(0.25) { storeSettings.rules.maximumAge = 43_200_000 }
        store = try Store(directory: storeDirectory, settings: storeSettings)
        try makeDirectory(folder.path + "/gateway")
        try startGateway(in: folder.path + "/gateway")
    }

    // MARK: Scheduler

    var isCalm: Bool { time.nanoseconds >= calmAt }

    func fault(_ what: String) { faults.append("at \(time.milliseconds) ms: \(what)") }

    func plan(milliseconds: Int, _ what: @escaping () -> Void) {
        plan(at: time.nanoseconds + UInt64(milliseconds) * 1_000_000, what)
    }

    private func plan(at: UInt64, _ what: @escaping () -> Void) {
        order += 1
        agenda.append((at, order, what))
    }

    /// Runs until everything has drained, or a law is broken.
    func run() throws {
        for device in devices.indices { planNext(of: device) }
        planProbe()
        planStore()
        planPartition()
        plan(at: calmAt + 1_000_000_000) { [unowned self] in finish() }
        while !isDone, faults.isEmpty {
            figures.steps += 1
            if figures.steps > 500_000 || time.milliseconds > 900_000 {
                return fault("did not drain")
            }
            // What is on its way to the disk is the most interesting thing to lose.
            let share = gateway?.waitingQueues.contains(.spool) == true ? 0.006 : 0.001
            if !isCalm, gateway != nil, random.chance(share) { try crash() }
            if !isCalm, random.chance(0.0004) { try crashStore() }
            try step()
            look()
        }
        if faults.isEmpty { try checkEnd() }
    }

    private func step() throws {
        var queues = gateway?.waitingQueues.map { $0.rawValue } ?? []
        if !storeJobs.isEmpty { queues.append(-1) }
        if !queues.isEmpty, !random.chance(isCalm ? 0 : 0.03) {
            let drawn = queues[random.below(queues.count)]
            if let queue = SimulatedGateway.Queue(rawValue: drawn) {
                if queue == .spool, !isCalm, random.chance(0.003), let gateway {
                    try crashWithin(gateway)
                } else {
                    gateway?.runFirst(of: queue)
                }
            } else {
                let job = storeJobs.removeFirst()
                job()
            }
            return
        }
        let next = agenda.indices.min {
            (agenda[$0].at, agenda[$0].order) < (agenda[$1].at, agenda[$1].order)
        }
        let timer = gateway?.nextTimer?.nanoseconds ?? .max
        let at = next.map { agenda[$0].at } ?? .max
        guard min(at, timer) < .max else { return fault("nothing will ever happen") }
        time.nanoseconds = max(time.nanoseconds, min(at, timer))
        if timer <= at {
            gateway?.fireTimers()
        } else if let next {
            let event = agenda.remove(at: next)
            event.what()
        }
    }

    func look() {
        let all = ledgers.all
        for ledger in all[ledgersSeen...] where ledger.unaccounted != 0 {
            fault("unaccounted \(ledger.unaccounted): \(describe(ledger))")
        }
        ledgersSeen = all.count
    }

    func describe(_ ledger: Ledger) -> String {
        let named = ledger.intake.named.filter { $0.value > 0 }.map { "\($0.name) \($0.value)" }
        return named.joined(separator: ", ") + ", consumed \(ledger.readingsConsumed), in buckets "
            + "\(ledger.readingsInBuckets), sealed \(ledger.readingsSealed), \(ledger.spool)"
    }

    private func planProbe() {
        plan(milliseconds: 100 + random.below(1500)) { [unowned self] in
            askLedger()
            if random.chance(0.1), !isCalm {
                time.stepWall(to: Int64(random.within(-3000...3000)))
            }
            planProbe()
        }
    }

    func askLedger() {
        let ledgers = ledgers
        gateway?.probe { ledgers.append($0) }
    }

    // MARK: Gateway

    func startGateway(in directory: String) throws {
        generation += 1
        let made = try SimulatedGateway(
            directory: directory, knobs: knobs, time: time, seed: random.next(),
            outside: SimulatedGateway.Outside(
                answer: { [unowned self] in answer($0, to: $1) },
                connect: { [unowned self] in connect() },
                close: { [unowned self] in drop(telling: false) },
                send: { [unowned self] in send($0) },
                later: { [unowned self] in plan(milliseconds: $0, $1) }))
        gateway = made
        figures.replayed += made.replayed
        if generation > 1 { askLedger() }
    }

    /// The process is gone between two jobs; the disk is as it was.
    private func crash() throws {
        guard let dead = gateway else { return }
        let directory = folder.path + "/gateway-\(generation)"
        TemporaryFolder.copy(dead.directory, to: directory)
        try crash(leaving: directory)
    }

    func crash(leaving directory: String) throws {
        guard let dead = gateway else { return }
        figures.crashes += 1
        figures.connections += dead.uplink.status.connections
        graveyard.append(dead)
        gateway = nil
        drop(telling: false)
        for device in devices.indices { devices[device].connection = nil }
        plan(milliseconds: random.below(3000)) { [unowned self] in
            do { try startGateway(in: directory) } catch { fault("no start: \(error)") }
        }
    }

    // MARK: Devices

    private func planNext(of device: Int) {
        plan(milliseconds: 1 + random.below(2 * mean)) { [unowned self] in
            guard !isCalm else { return }
            sendNew(from: device)
            planNext(of: device)
        }
    }

    private func speaksStream(_ device: Int) -> Bool { device % 3 == 2 }

    private func sendNew(from device: Int) {
        devices[device].sequence += 1
        let key = Key(device: device, sequence: devices[device].sequence)
        var frame = ReferenceFrame(
            device: 0xA000 + UInt64(device), sequence: key.sequence,
            time: time.trueWall.milliseconds, wantsAnswer: random.chance(0.6))
        if random.chance(0.03) {
            frame.time -= 40 * 86_400_000
            implausible.insert(key)
        } else if random.chance(0.1) {
            // Yesterday's value, delivered now.
            frame.time -= 86_400_000
            if storeSettings.rules.maximumAge != nil { refused.insert(key) }
        }
        sent[key] = frame
        if frame.wantsAnswer { unheard.insert(key) }
        transmit(key)
    }

    private func transmit(_ key: Key) {
        guard let frame = sent[key] else { return }
        if speaksStream(key.device) {
            transmitStream(frame.bytes, from: key.device)
        } else {
            transmitDatagrams(frame.bytes, from: key.device)
        }
        guard unheard.contains(key) else { return }
        plan(milliseconds: 500 + random.below(1500)) { [unowned self] in
            if unheard.contains(key) { transmit(key) }
        }
    }

    private func transmitDatagrams(_ bytes: [UInt8], from device: Int) {
        var bytes = bytes
        let copies = isCalm ? 1 : random.chance(0.12) ? 0 : random.chance(0.1) ? 2 : 1
        if !isCalm, random.chance(0.05) { bytes[random.below(bytes.count)] ^= 1 << random.below(8) }
        for _ in 0..<copies {
            deliver(bytes, from: device, isTruncated: !isCalm && random.chance(0.01))
        }
        if !isCalm, random.chance(0.04) {
            deliver(random.bytes(random.below(200)), from: device, isTruncated: false)
        }
    }

    private func deliver(_ bytes: [UInt8], from device: Int, isTruncated: Bool) {
        plan(milliseconds: random.below(60)) { [unowned self] in
            gateway?.receive(
                datagram: bytes, from: Endpoint.ipv4(UInt32(device), port: 9),
                isTruncated: isTruncated)
        }
    }

    private func transmitStream(_ bytes: [UInt8], from device: Int) {
        guard let gateway else { return }
        var bytes = bytes
        if devices[device].connection == nil {
            connectionNumber += 1
            devices[device].connection = ConnectionID(connectionNumber)
            owners[ConnectionID(connectionNumber)] = device
        }
        guard let id = devices[device].connection else { return }
        if !isCalm {
            if random.chance(0.05) { bytes[random.below(64)] ^= 1 << random.below(8) }
            if random.chance(0.1) { bytes = random.bytes(random.below(40)) + bytes }
            if random.chance(0.08) {
                gateway.receive(stream: Array(bytes.prefix(random.below(64))), on: id)
                gateway.connectionEnded(id)
                devices[device].connection = nil
                return
            }
        }
        let cut = random.below(bytes.count)
        gateway.receive(stream: Array(bytes[..<cut]), on: id)
        gateway.receive(stream: Array(bytes[cut...]), on: id)
    }

    private func answer(_ bytes: [UInt8], to recipient: Recipient) {
        let device: Int
        switch recipient {
        case .datagram(_, let endpoint): device = Int(endpoint.low & 0xFFFF)
        case .connection(let id): device = owners[id] ?? -1
        }
        let sequence = bytes.dropFirst(4).prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let key = Key(device: device, sequence: sequence)
        guard let frame = sent[key], frame.wantsAnswer, frame.answer == bytes else {
            return fault("an answer to nobody: \(bytes)")
        }
        answered.insert(key)
        guard isCalm || !random.chance(0.2) else { return }
        plan(milliseconds: random.below(60)) { [unowned self] in unheard.remove(key) }
    }

    // MARK: Network

    private func connect() {
        connectAttempt += 1
        let attempt = connectAttempt
        let isRefused = !isCalm && random.chance(0.3)
        let away = partitionedUntil > time.nanoseconds ? partitionedUntil - time.nanoseconds : 0
        plan(milliseconds: Int(away / 1_000_000) + random.below(100)) { [unowned self] in
            guard attempt == connectAttempt, let gateway else { return }
            if isRefused { return gateway.tellUplink(.connectFailed("refused")) }
            link = Link(store.openSession())
            gateway.tellUplink(.connected)
        }
    }

    /// Ends the connection; the store learns of it somewhat later.
    private func drop(telling: Bool) {
        connectAttempt += 1
        guard let ended = link else { return }
        link = nil
        ended.isOpen = false
        plan(milliseconds: random.below(2000)) { ended.session.ended() }
        if telling { gateway?.tellUplink(.disconnected("broken")) }
    }

    private func send(_ bytes: [UInt8]) {
        guard let link else { return }
        if !isCalm, random.chance(0.03) {
            // Part arrives, then the connection breaks or goes silent.
            carry(Array(bytes.prefix(random.below(bytes.count + 1))), on: link)
            if random.chance(0.6) {
                plan(milliseconds: random.below(300)) { [unowned self] in
                    if self.link === link { drop(telling: true) }
                }
            }
            link.swallows = true
            return
        }
        carry(bytes, on: link)
    }

    private func carry(_ bytes: [UInt8], on link: Link) {
        guard !link.swallows, !bytes.isEmpty else { return }
        plan(at: nextFree(of: link)) { [unowned self] in
            storeJobs.append { [unowned self] in arrive(bytes, on: link) }
        }
    }

    /// Bytes of one connection keep their order.
    private func nextFree(of link: Link) -> UInt64 {
        var delay = random.below(40)
        if !isCalm, random.chance(0.01) { delay += random.below(5000) }
        link.free =
            max(link.free, partitionedUntil, time.nanoseconds + UInt64(delay) * 1_000_000) + 1
        return link.free
    }

    private func arrive(_ bytes: [UInt8], on link: Link) {
        // Bytes that were under way when the gateway closed still arrive; a session that ended
        // takes nothing.
        guard !link.isDead else { return }
        let (reply, closes): ([UInt8], Bool)
        do { (reply, closes) = try storeReceives(bytes, link.session) } catch {
            return fault("the store: \(error)")
        }
        if !isCalm, random.chance(0.02) { link.swallows = true }
        guard !link.swallows, link.isOpen else { return }
        plan(at: nextFree(of: link)) { [unowned self] in
            guard self.link === link, !link.swallows else { return }
            if !reply.isEmpty { gateway?.tellUplink(.received(reply)) }
            if closes { drop(telling: true) }
        }
    }

    // MARK: Store

    private func crashStore() throws {
        let directory = folder.path + "/store-\(figures.crashesOfStore)"
        TemporaryFolder.copy(storeDirectory, to: directory)
        try crashStore(leaving: directory, isConnected: false)
    }

    func crashStore(leaving directory: String, isConnected: Bool) throws {
        figures.crashesOfStore += 1
        graveyard.append(store)
        storeDirectory = directory
        storeJobs.removeAll()
        store = try Store(directory: directory, settings: storeSettings)
        if isConnected {
            // The answer that is on its way still arrives.
            let left = link
            left?.isDead = true
            return plan(milliseconds: 6000) { [unowned self] in
                if let left, link === left { drop(telling: true) }
            }
        }
        if random.chance(0.5) {
            drop(telling: true)
        } else {
            link?.swallows = true
        }
    }

    private func planPartition() {
        plan(milliseconds: 1000 + random.below(12_000)) { [unowned self] in
            guard !isCalm else { return }
            figures.partitions += 1
            partitionedUntil = time.nanoseconds + UInt64(random.below(8000)) * 1_000_000
            planPartition()
        }
    }

    private func planStore() {
        plan(milliseconds: 500 + random.below(3000)) { [unowned self] in
            storeJobs.append { [unowned self] in
                do { _ = try store.settle(rows: 100) } catch { fault("settling: \(error)") }
            }
            planStore()
        }
    }
}
