// The gateway: builds the stages, gives each its queue, carries what they say to one another, and takes
// back from the journal what the last run had not yet put into batches. Owned by the program; built on
// the main thread while the queues are still inactive, so nothing runs beside the recovery.
//
// Queues: intake, batch, spool, uplink, admin. A stage is touched only by the handlers of its own queue;
// everything else reaches it through a mailbox or a poke.

import Batches
import Catalog
import Dispatch
import Formats
package import Model
import Pipeline
import Ring
import Spool
import Synchronization
import Uplink

/// What kept the gateway from starting: what, why, what to do.
package struct StartError: Error, Sendable {
    package var description: String
    package init(_ description: String) { self.description = description }
}

package final class GatewayProcess {
    /// Where each source is bound, in the order of the configuration.
    package let endpoints: [Endpoint]
    /// Where the status page is served over HTTP, when it is.
    package let httpEndpoint: Endpoint?
    /// What an operator should read once at start.
    package private(set) var warnings: [String]

    private let configuration: Configuration
    private let clock: Clock
    private let intakeQueue = GatewayProcess.sleepingQueue("sluice.intake")
    private let batchQueue = GatewayProcess.sleepingQueue("sluice.batch")
    private let spoolQueue = GatewayProcess.sleepingQueue("sluice.spool")
    private let uplinkQueue = GatewayProcess.sleepingQueue("sluice.uplink")
    private let adminQueue = GatewayProcess.sleepingQueue("sluice.admin")

    private static let queuesKept = Mutex<[DispatchQueue]>([])

    /// An `init` that throws lets go of its queues, and libdispatch ends the process when an inactive one
    /// is released, before the error is said. So they are kept for good: a program makes one gateway.
    private static func sleepingQueue(_ label: String) -> DispatchQueue {
        let queue = DispatchQueue(label: label, attributes: .initiallyInactive)
        queuesKept.withLock { $0.append(queue) }
        return queue
    }

    private let intake: IntakeActor
    private let batch: BatchActor
    private let spool: SpoolActor
    private let uplink: UplinkActor
    private let admin: AdminServer
    private let reports: GatewayReports
    private let keys: DeviceKeys
    let reloader: FormatReloader

    /// Opens everything and recovers; nothing is taken in before `start`.
    package init(
        _ configuration: Configuration, software: String, clock: Clock = .real
    )
        throws(StartError)
    {
        self.configuration = configuration
        self.clock = clock
        let library: FormatLibrary
        do throws(Complaints) {
            library = try FormatLibrary(directory: configuration.formats)
        } catch {
            throw StartError(error.all.map(\.description).joined(separator: "\n"))
        }
        do throws(Complaints) {
            keys = configuration.keys.isEmpty ? .none : try DeviceKeys(file: configuration.keys)
        } catch {
            throw StartError(error.all.map(\.description).joined(separator: "\n"))
        }
        let sources = try GatewayProcess.sources(configuration, library)
        let disk = try GatewayDisk(configuration)
        warnings = disk.warnings
        let seed = randomBits()

        let sockets: IntakeSockets
        do throws(HostError) {
            sockets = try IntakeSockets(
                sources: configuration.sources, queue: intakeQueue, clock: clock,
                inherited: InheritedSockets())
        } catch {
            throw StartError(error.description)
        }
        endpoints = sockets.endpoints

        intake = IntakeActor(queue: intakeQueue, sockets: sockets)
        batch = BatchActor(queue: batchQueue)
        spool = SpoolActor(queue: spoolQueue)
        uplink = UplinkActor(
            queue: uplinkQueue, address: configuration.store.address, clock: clock)
        do throws(HostError) {
            try uplink.open()
            admin = try AdminServer(
                socket: configuration.admin.socket, http: configuration.admin.http,
                queue: adminQueue, clock: clock)
        } catch {
            throw StartError(error.description)
        }
        httpEndpoint = admin.httpEndpoint
        reloader = FormatReloader(
            library, directory: configuration.formats, sources: sources, clock: clock,
            intake: intake.mailbox)
        reports = GatewayReports(
            gateway: configuration.gateway, software: software, startedAt: clock.wall(),
            clock: clock, storeAddress: configuration.store.address?.description,
            sources: configuration.sources, endpoints: sockets.endpoints, intake: intake.mailbox,
            spool: spool.mailbox, uplink: uplink.mailbox, formats: reloader,
            spoolMaximumBytes: configuration.spool.maximumBytes)
        reports.serve(on: admin)

        let ring = Ring(capacity: 1 << 16)
        let notes = SideNotes()
        // Lanes of streams that are known already; new ones are told as they appear.
        notes.append(lanesOf: disk.contents.entries)
        let counters = disk.spool.recoveredCounters().first ?? IntakeCounters()
        batch.stage = makeBatchStage(ring: ring, notes: notes, disk: disk, counters: counters)
        intake.stage = makeIntakeStage(
            sources: sources, library: library, ring: ring, notes: notes, disk: disk,
            counters: counters, seed: seed, answers: sockets.answers)
        uplink.stage = makeUplinkStage(
            incarnation: disk.spool.incarnation, software: software, seed)
        spool.stage = makeSpoolStage(disk)
        spool.toUplink = uplink.mailbox
        spool.toIntake = intake.mailbox
        try recover(disk.spool)
        warnings += disk.spool.warnings.dropFirst(disk.warnings.count)
    }

    /// Begins to take in, to forward and to answer questions.
    package func start() throws(StartError) {
        for queue in [batchQueue, spoolQueue, uplinkQueue, adminQueue, intakeQueue] {
            queue.activate()
        }
        do throws(HostError) {
            try on(intakeQueue) { () throws(HostError) in try intake.start() }
            try on(adminQueue) { () throws(HostError) in try admin.start() }
        } catch {
            throw StartError(error.description)
        }
        warnings += on(intakeQueue) { intake.sockets.warnings }
        if configuration.store.address != nil { uplink.mailbox.post(.event(.start)) }
    }

    /// Stops taking in, makes everything durable, closes the spool in order; `done` runs on the spool's
    /// queue. What is not yet acknowledged by the store stays in the spool.
    package func stop(done: @escaping @Sendable () -> Void) {
        uplink.mailbox.post(.event(.stop))
        let spool = spool.mailbox
        intake.mailbox.post(
            .stop(LedgerProbe { _ in spool.post(.close(done)) }))
    }

    /// Closes what still listens after `stop` is done.
    package func close() {
        on(adminQueue) { admin.stop() }
        on(uplinkQueue) { uplink.end() }
    }

    /// Sends a probe of the ledger through all stages.
    var probe: @Sendable (@escaping @Sendable (Ledger) -> Void) -> Void {
        let mailbox = intake.mailbox
        return { mailbox.post(.mark(.probe(LedgerProbe(reply: $0)))) }
    }

    // MARK: Building

    private static func sources(
        _ configuration: Configuration, _ library: FormatLibrary
    ) throws(StartError) -> [IntakeSource] {
        var sources: [IntakeSource] = []
        for source in configuration.sources {
            var formats: [Format] = []
            for name in source.formats {
                guard let format = library.format(named: name) else {
                    let known = library.formats.map(\.name).sorted().joined(separator: " ")
                    throw StartError(
                        "source \(source.name): no format \"\(name)\" in "
                            + "\(configuration.formats): write one of \(known)")
                }
                formats.append(format)
            }
            let (lines, faults) = source.lineSettings(formats)
            if let fault = faults.first { throw StartError(fault) }
            var described = IntakeSource(
                name: source.name, formats: formats, policy: source.devices,
                timeRule: TimeRule(
                    maximumAgeMilliseconds: source.timestamps.maximumAge,
                    maximumAheadMilliseconds: source.timestamps.maximumAhead,
                    drops: source.timestamps.action == .drop))
            described.lines = lines
            described.unnamed = source.deviceOfUnnamedFrames
            try source.addExchange(to: &described, library)
            sources.append(described)
        }
        return sources
    }

    private func makeIntakeStage(
        sources: [IntakeSource], library: FormatLibrary, ring: Ring, notes: SideNotes,
        disk: GatewayDisk, counters: IntakeCounters, seed: UInt64, answers: AnswerSender
    ) -> IntakeStage {
        var settings = IntakeSettings()
        settings.duplicateWindowMilliseconds = configuration.spool.duplicateWindow
        settings.keys = keys
        let jobs = spool.mailbox
        let poke = batch.poke
        return IntakeStage(
            sources: sources, library: library, settings: settings, clock: clock,
            catalog: CatalogTable(
                limits: CatalogLimits(
                    devices: configuration.limits.devices, streams: configuration.limits.streams),
                seed: seed, restoring: disk.contents.entries,
                highest: (disk.contents.highestDevice, disk.contents.highestStream)),
            producer: ring.takeProducer(),
            journal: JournalBuffer(
                intake: 0, capacity: settings.commitBytes,
                firstPosition: disk.spool.nextPosition(intake: 0)),
            counters: counters, seed: seed,
            ports: IntakePorts(
                toSpool: { jobs.post(.job($0)) }, note: { notes.append($0) },
                lanes: { notes.append(lanesOf: $0) }, pokeBatcher: { poke() }, answers: answers,
                wakeAt: { [unowned intake] in intake.timer.wake(at: $0) }))
    }

    private func makeBatchStage(
        ring: Ring, notes: SideNotes, disk: GatewayDisk, counters: IntakeCounters
    ) -> BatchStage {
        var settings = BatchSettings()
        settings.intervalMilliseconds = configuration.batch.interval
        settings.readings = configuration.batch.readings
        var buckets = EpochSettings()
        buckets.bucketMilliseconds = configuration.batch.bucket
        var epoch = Epoch(settings: buckets)
        epoch.restore(
            revisions: disk.spool.restoredRevisions.map { ($0.bucketStart, $0.revision) })
        let toIntake = intake.mailbox
        let roomAgain = intake.roomPoke
        let jobs = spool.mailbox
        return BatchStage(
            settings: settings, clock: clock, consumer: ring.takeConsumer(), epoch: epoch,
            epochNumber: disk.spool.lastEpoch, counted: counters.readingsPublished, notes: notes,
            ports: BatchPorts(
                toSpool: { jobs.post(.job($0)) }, requestCut: { toIntake.post(.mark(.cut)) },
                roomAgain: { roomAgain() },
                wakeAt: { [unowned batch] in batch.timer.wake(at: $0) }))
    }

    private func makeSpoolStage(_ disk: GatewayDisk) -> SpoolStage {
        let toIntake = intake.mailbox
        let toBatch = batch.mailbox
        let toUplink = uplink.mailbox
        return SpoolStage(
            spool: disk.spool, catalog: disk.takeCatalog(), clock: clock,
            ports: SpoolPorts(
                committed: { toIntake.post(.committed($0)) },
                cutStored: { toBatch.post(.cutStored) },
                catalogGrew: { toUplink.post(.event(.batchesAvailable)) },
                batchesAvailable: { toUplink.post(.event(.batchesAvailable)) },
                trouble: { text in
                    Log.state(text.map { "spool: \($0)" } ?? "spool: the disk takes data again")
                },
                wakeAt: { [unowned spool] in spool.timer.wake(at: $0) },
                paced: { isPaced in
                    toIntake.post(.paced(isPaced))
                    Log.state(
                        isPaced
                            ? "spool: above its high water: devices are asked for patience"
                            : "spool: below its low water: devices are welcome again")
                }))
    }

    private func makeUplinkStage(
        incarnation: [UInt8], software: String, _ seed: UInt64
    ) -> UplinkStage {
        guard let incarnation = Incarnation(incarnation) else {
            preconditionFailure("the spool makes 16 bytes")
        }
        var settings = ForwarderSettings(
            gateway: configuration.gateway, incarnation: incarnation, software: software)
        configuration.uplink.apply(to: &settings)
        let jobs = spool.mailbox
        let log = UplinkLog(store: configuration.store.address?.description ?? "–")
        return UplinkStage(
            forwarder: Forwarder(settings: settings, seed: seed), clock: clock,
            ports: UplinkPorts(
                connect: { [unowned uplink] in uplink.connect() },
                close: { [unowned uplink] in uplink.close() },
                send: { [unowned uplink] in uplink.send($0) },
                lease: {
                    jobs.post(.lease(excluding: $0, room: $1, maximumBytes: $2))
                },
                needEntries: { jobs.post(.needEntries(afterDevice: $0, afterStream: $1)) },
                acknowledged: { jobs.post(.acknowledged($0)) },
                rejected: { jobs.post(.rejected($0, reason: $1, isDivisible: $2)) },
                state: { log.changed(to: $0) },
                wakeAt: { [unowned uplink] in uplink.timer.wake(at: $0) }))
    }

    // MARK: Recovery

    /// Decodes the uncovered journal again and cuts, so that the next start need not.
    private func recover(_ stored: Spool) throws(StartError) {
        guard let intake = intake.stage, let batch = batch.stage else { return }
        let lost: [UInt64]
        do throws(SpoolError) {
            lost = try stored.recover { frame, bytes in
                intake.replay(
                    bytes, source: frame.source, receivedAt: frame.receivedAt,
                    isCovered: frame.isCovered)
                while !intake.publishReplayed() { _ = batch.turn() }
            }
        } catch {
            throw StartError(error.description)
        }
        intake.lostAtReplay(lost.first ?? 0)
        guard stored.nextPosition(intake: 0) > stored.coveredPosition(intake: 0) else { return }
        intake.mark(.cut)
        while batch.turn() {}
    }
}

/// What is on disk at start.
private final class GatewayDisk {
    let spool: Spool
    let contents: CatalogFile.Contents
    let warnings: [String]
    private var catalog: CatalogFile?

    init(_ configuration: Configuration) throws(StartError) {
        var settings = SpoolSettings()
        settings.maximumBytes = configuration.spool.maximumBytes
        settings.duplicateWindow = configuration.spool.duplicateWindow
        do throws(SpoolError) {
            spool = try Spool(directory: configuration.spool.directory, settings: settings)
        } catch {
            throw StartError(error.description)
        }
        do throws(CatalogFileError) {
            let file = try CatalogFile(directory: configuration.spool.directory)
            contents = try file.load()
            catalog = consume file
        } catch {
            throw StartError(
                "catalog in \(configuration.spool.directory): \(error.description): "
                    + "put a copy of catalog.db back, or move it away to begin a new one; "
                    + "stream numbers then start again"
            )
        }
        // Numbers given again would make the store file new readings under old streams.
        if contents.highestStream == 0, spool.counters.lastSequence > 0 {
            throw StartError(
                "catalog in \(configuration.spool.directory): empty, but the spool holds batches: "
                    + "put catalog.db back, or move the whole directory away to begin anew")
        }
        var warnings = spool.warnings
        if contents.damagedRows > 0 {
            warnings.append("catalog: \(contents.damagedRows) damaged rows left out")
        }
        self.warnings = warnings
    }

    func takeCatalog() -> CatalogFile {
        guard let file = catalog.take() else { preconditionFailure("the catalog is taken once") }
        return file
    }
}
