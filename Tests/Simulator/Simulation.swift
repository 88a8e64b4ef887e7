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
//   disk       the power goes at any write, flush or truncation, also of a start, and of what was not
//              flushed any part is there; in half of the seeds calls fail or are cut short, once and in
//              bursts, nothing can be written for seconds, or files grow no more (Simulation+Disk.swift)
//   store      killed between any two calls, or the power goes within one; in a quarter of the
//              seeds it refuses old readings, whose batches are divided
// Not simulated here: the room that statvfs tells (SpoolMachineTests), a store whose disk refuses, several
// intakes.
//
// Laws: each probe's ledger balances, also after each restart; when all is calm everything drains;
// what was answered is in the store once, or counted as evicted where a seed gives the spool or its memory
// too little room; nothing is in the store twice; nothing that was never sent.

import Model
import Pipeline
import Spool
import Store
import TestSupport
import Uplink

package final class Simulation {
    package internal(set) var faults: [String] = []
    package internal(set) var figures = SimulationFigures()

    var random: SplitMix64
    let time = VirtualTime()
    let folder = TemporaryFolder(inMemory: true)
    let mutation: Mutation
    var knobs = GatewayKnobs()
    var agenda: [(at: UInt64, order: Int, what: () -> Void)] = []
    var order = 0
    var isDone = false
    let calmAt: UInt64 = 20_000_000_000
    let mean: Int
    let disk: FaultyDisk
    let storeDisk: FaultyDisk
    var temper = DiskTemper.sound

    // Gateway
    var gateway: SimulatedGateway?
    var graveyard: [AnyObject] = []
    var generation = 0
    let ledgers = Collected<Ledger>()
    var ledgersSeen = 0
    var ledgersAtFinish = Int.max - 1
    var isStopping = false
    /// Told of faults as they happen, for a look at one seed.
    package var trace: ((String) -> Void)?
    /// Where each crash leaves a copy of the gateway's disk, for a look at one seed.
    package var keep: String?

    // Devices
    struct Key: Hashable {
        var device: Int
        var sequence: UInt32
    }
    struct Device {
        var connection: ConnectionID?
        var sequence: UInt32 = 0
    }
    var devices: [Device]
    var sent: [Key: ReferenceFrame] = [:]
    var implausible: Set<Key> = []
    /// The store's rule refuses their readings.
    var refused: Set<Key> = []
    var storeSettings = StoreSettings()
    /// Nothing passes between gateway and store until then.
    var partitionedUntil: UInt64 = 0
    /// Waiting for an answer that the device has not heard.
    var unheard: Set<Key> = []
    /// The gateway let an answer go.
    var answered: Set<Key> = []
    var owners: [ConnectionID: Int] = [:]
    var connectionNumber: UInt64 = 0

    // Network and store
    final class Link {
        let session: StoreSession
        var isOpen = true
        var swallows = false
        /// Its store is gone.
        var isDead = false
        var free: UInt64 = 0
        init(_ session: StoreSession) { self.session = session }
    }
    var link: Link?
    var connectAttempt = 0
    var store: Store!
    var storeDirectory: String
    var storeJobs: [() -> Void] = []

    package init(seed: UInt64, mutation: Mutation = .none) throws {
        random = SplitMix64(seed: seed)
        self.mutation = mutation
        mean = 150 + random.below(400)
        devices = Array(repeating: Device(), count: 3 + random.below(5))
        knobs.ring = 1 << random.within(10...13)
        knobs.interval = Int64(random.within(300...4000))
        knobs.readings = random.within(50...1000)
        knobs.mutation = mutation
        if random.chance(0.6) { temper = DiskTemper.allCases[random.below(5)] }
        if random.chance(0.3) {
            // As little as a cut or two.
            knobs.memoryBytes = random.within(50...1500)
            knobs.quota = random.within(600_000...2_000_000)
        }
        disk = FaultyDisk(folder.path + "/gateway")
        storeDisk = FaultyDisk(folder.path + "/store")
        disk.track()
        storeDisk.track()
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

    func note(_ what: @autoclosure () -> String) { trace?("\(time.milliseconds) ms: \(what())") }

    func plan(milliseconds: Int, _ what: @escaping () -> Void) {
        plan(at: time.nanoseconds + UInt64(milliseconds) * 1_000_000, what)
    }

    func plan(at: UInt64, _ what: @escaping () -> Void) {
        order += 1
        agenda.append((at, order, what))
    }

    /// Runs until everything has drained, or a law is broken.
    package func run() throws {
        for device in devices.indices { planNext(of: device) }
        planProbe()
        planStore()
        planPartition()
        planDisk()
        note("disk \(temper), \(knobs)")
        plan(at: calmAt) { [unowned self] in healDisk() }
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

    func step() throws {
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

    func planProbe() {
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
        let made = try makeGateway(in: directory)
        gateway = made
        note(
            "gateway starts, replays \(made.replayed), remembers \(made.remembered), "
                + "\(made.spool?.warnings ?? ["no disk"])"
        )
        figures.replayed += made.replayed
        if made.isWithoutDisk { figures.startsWithoutDisk += 1 }
        if generation > 1 { askLedger() }
    }

    func makeGateway(in directory: String) throws -> SimulatedGateway {
        try SimulatedGateway(
            directory: directory, knobs: knobs, time: time, seed: random.next(),
            outside: SimulatedGateway.Outside(
                answer: { [unowned self] in answer($0, to: $1) },
                connect: { [unowned self] in connect() },
                close: { [unowned self] in drop(telling: false) },
                send: { [unowned self] in send($0) },
                later: { [unowned self] in plan(milliseconds: $0, $1) },
                trouble: { [unowned self] what in note("spool: \(what ?? "well")") }))
    }

    /// The process is killed between two jobs, its disk as it was; or the power goes.
    func crash() throws {
        guard let dead = gateway else { return }
        let directory = folder.path + "/gateway-\(generation)"
        if random.chance(0.5) {
            TemporaryFolder.copy(dead.directory, to: directory)
        } else {
            figures.torn += 1
            disk.crash(after: 0, in: dead.directory, to: directory, seed: random.next()) {}
        }
        try crash(leaving: directory)
    }

    func keepDisk(_ directory: String, _ name: String) {
        if let keep { TemporaryFolder.copy(directory, to: keep + "/" + name) }
    }

    func crash(leaving directory: String) throws {
        guard let dead = gateway else { return }
        figures.crashes += 1
        note("gateway dies, leaves \(directory)")
        keepDisk(directory, "\(figures.crashes)-at-\(time.milliseconds)")
        figures.connections += Int(dead.uplink?.status.connections ?? 0)
        figures.notRemembered += dead.stage.framesNotRemembered
        graveyard.append(dead)
        gateway = nil
        drop(telling: false)
        for device in devices.indices { devices[device].connection = nil }
        planStart(in: directory)
    }

    /// A service manager starts it again and again.
    private func planStart(in directory: String) {
        plan(milliseconds: random.below(3000)) { [unowned self] in
            if !isCalm, random.chance(0.1) { return planStart(in: crashAtStart(in: directory)) }
            do { try startGateway(in: directory) } catch {
                if isCalm || temper == .sound { return fault("no start: \(error)") }
                figures.failedStarts += 1
                note("no start: \(error)")
                planStart(in: directory)
            }
        }
    }
}
