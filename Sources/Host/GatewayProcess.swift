// The gateway: builds the stages, gives each its queue, carries what they say to one another, and takes
// back from the journal what the last run had not yet put into batches. Owned by the program; built on
// the main thread while the queues are still inactive, so nothing runs beside the recovery.
//
// Queues: intake, batch, spool, uplink, admin. A stage is touched only by the handlers of its own queue;
// everything else reaches it through a mailbox or a poke.

import Batches
import CLinux
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

    private static let ringCapacity = 1 << 16
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
    let watch: ConfigurationWatch

    /// Opens everything and recovers; nothing is taken in before `start`.
    package init(
        _ configuration: Configuration, software: String, clock: Clock = .real
    )
        throws(StartError)
    {
        self.configuration = configuration
        self.clock = clock
        let copies = FormatCopies(
            spool: configuration.spool.directory, of: configuration.formats)
        let loaded = try copies.load()
        let library = loaded.library
        do throws(Complaints) {
            keys = configuration.keys.isEmpty ? .none : try DeviceKeys(file: configuration.keys)
        } catch {
            throw StartError(error.all.map(\.description).joined(separator: "\n"))
        }
        let wrong = configuration.complaints(about: library)
        guard wrong.isEmpty else {
            throw StartError((loaded.complaints + wrong).map(\.description).joined(separator: "\n"))
        }
        let sources = try GatewayProcess.sources(configuration, library)
        let disk = try GatewayDisk(configuration)
        warnings = loaded.warnings + disk.warnings
        let seed = randomBits()

        let sockets: IntakeSockets
        let inherited = InheritedSockets()
        do throws(HostError) {
            sockets = try IntakeSockets(
                sources: configuration.sources, queue: intakeQueue, clock: clock,
                inherited: inherited)
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
            loaded, directory: configuration.formats, copies: copies, sources: sources,
            clock: clock, intake: intake.mailbox)
        watch = ConfigurationWatch(configuration, reloads: inherited.reloads, clock: clock)
        reports = GatewayReports(
            gateway: configuration.gateway, software: software, startedAt: clock.wall(),
            clock: clock, storeAddress: configuration.store.address?.description,
            sources: configuration.sources, endpoints: sockets.endpoints, intake: intake.mailbox,
            spool: spool.mailbox, uplink: uplink.mailbox, formats: reloader,
            configuration: watch, spoolMaximumBytes: configuration.spool.maximumBytes,
            ringCapacity: GatewayProcess.ringCapacity)
        reports.serve(on: admin)

        let ring = Ring(capacity: GatewayProcess.ringCapacity)
        let notes = SideNotes()
        // Lanes of streams that are known already; new ones are told as they appear.
        notes.append(lanesOf: disk.contents.entries)
        let counters = disk.spool?.recoveredCounters().first ?? IntakeCounters()
        batch.stage = makeBatchStage(ring: ring, notes: notes, disk: disk, counters: counters)
        intake.stage = makeIntakeStage(
            sources: sources, library: library, ring: ring, notes: notes, disk: disk,
            counters: counters, seed: seed, answers: sockets.answers)
        spool.stage = makeSpoolStage(disk)
        spool.toUplink = uplink.mailbox
        spool.toIntake = intake.mailbox
        guard let stored = disk.spool else {
            // Batches are told apart by the spool's incarnation: none are sent before it is known.
            uplink.makeStage = { [unowned self] in
                makeUplinkStage(incarnation: $0, software: software, seed)
            }
            return
        }
        uplink.stage = makeUplinkStage(
            incarnation: stored.incarnation, software: software, seed)
        let said = stored.warnings.count
        try recover(stored)
        warnings += stored.warnings.dropFirst(said)
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

    /// Stops taking in, makes everything durable, answers it, closes the spool in order; `done` runs on the
    /// spool's queue. What is not yet acknowledged by the store stays in the spool.
    package func stop(done: @escaping @Sendable () -> Void) {
        uplink.mailbox.post(.event(.stop))
        let (intake, spool) = (intake.mailbox, spool.mailbox)
        // Behind the probe the intake has been told of every commit.
        intake.post(
            .stop(LedgerProbe { _ in intake.post(.close { spool.post(.close(done)) }) }))
    }

    /// Closes what still listens after `stop` is done.
    package func close() {
        on(adminQueue) { admin.stop() }
        on(uplinkQueue) { uplink.end() }
    }

    /// To be called before `stop`: what the sources are bound to stays open.
    func keepSockets() { on(intakeQueue) { intake.sockets.keepOpen() } }

    /// After `stop`: this process begins anew, as the same program with the same arguments and the sockets
    /// that were kept. Returns only when that fails.
    func startAnew() -> HostError {
        let kept = on(intakeQueue) { intake.sockets.kept }
        // Safety: the shim reads `count` entries of the array that it is lent.
        let result = unsafe kept.withUnsafeBufferPointer {
            unsafe sluice_start_anew($0.baseAddress, UInt32($0.count), UInt32(watch.reloads + 1))
        }
        return HostError("start anew with other settings", result: result)
    }

    /// Answers when every stage has had its turn: a probe goes from the intake through ring, batcher and
    /// spool, and its answer through the uplink's queue. A stage that hangs keeps the answer.
    var pulse: @Sendable (@escaping @Sendable () -> Void) -> Void {
        let (intake, uplink) = (intake.mailbox, uplink.mailbox)
        return { answer in
            let probe = LedgerProbe { _ in uplink.post(.status { _ in answer() }) }
            intake.post(.mark(.probe(probe)))
        }
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
            let triesAll = source.formats.isEmpty && source.exchange == nil
            if triesAll {
                formats = library.formatsByEvidence
                // In a stream, what any bytes could be would swallow what is something.
                if source.lines.place != nil || source.listen.transport != .udp {
                    formats.removeAll { $0.evidence == 0 }
                }
            }
            let (lines, faults) = source.lineSettings(formats)
            if let fault = faults.first { throw StartError(fault.description) }
            var described = IntakeSource(
                name: source.name, formats: formats, policy: source.devices,
                timeRule: TimeRule(
                    maximumAgeMilliseconds: source.timestamps.maximumAge,
                    maximumAheadMilliseconds: source.timestamps.maximumAhead,
                    drops: source.timestamps.action == .drop))
            described.triesAll = triesAll
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
                firstPosition: disk.spool?.nextPosition(intake: 0) ?? 0),
            counters: counters, seed: seed,
            ports: IntakePorts(
                toSpool: { jobs.post(.job($0)) }, note: { notes.append($0) },
                lanes: { notes.append($0) }, pokeBatcher: { poke() }, answers: answers,
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
            revisions: (disk.spool?.restoredRevisions ?? []).map { ($0.bucketStart, $0.revision) })
        let toIntake = intake.mailbox
        let roomAgain = intake.roomPoke
        let jobs = spool.mailbox
        return BatchStage(
            settings: settings, clock: clock, consumer: ring.takeConsumer(), epoch: epoch,
            epochNumber: disk.spool?.lastEpoch ?? 0, counted: counters.readingsPublished,
            notes: notes,
            ports: BatchPorts(
                toSpool: { jobs.post(.job($0)) }, requestCut: { toIntake.post(.mark(.cut)) },
                roomAgain: { roomAgain() },
                wakeAt: { [unowned batch] in batch.timer.wake(at: $0) }))
    }

    private func makeSpoolStage(_ disk: GatewayDisk) -> SpoolStage {
        let toIntake = intake.mailbox
        let toBatch = batch.mailbox
        let toUplink = uplink.mailbox
        var settings = SpoolStageSettings()
        settings.memoryBytes = min(settings.memoryBytes, configuration.spool.maximumBytes / 8)
        settings.maximumAgeMilliseconds = configuration.spool.maximumAge
        let ports = SpoolPorts(
            committed: { toIntake.post(.committed($0)) },
            released: { toIntake.post(.released($0)) },
            cutStored: { toBatch.post(.cutStored) },
            needsCut: { toIntake.post(.mark(.cut)) },
            catalogGrew: { toUplink.post(.event(.batchesAvailable)) },
            batchesAvailable: { toUplink.post(.event(.batchesAvailable)) },
            opened: { spool in
                for warning in spool.warnings { Log.warning(warning) }
                toUplink.post(.begin(incarnation: spool.incarnation))
            },
            trouble: { text in
                guard let text else { return Log.state("spool: the disk takes data again") }
                Log.state("spool: \(text)", .reason(text))
            },
            wakeAt: { [unowned spool] in spool.timer.wake(at: $0) },
            paced: { isPaced in
                toIntake.post(.paced(isPaced))
                Log.state(
                    isPaced
                        ? "spool: above its high water: devices are asked for patience"
                        : "spool: below its low water: devices are welcome again")
            })
        guard let stored = disk.spool else {
            let configuration = configuration
            return SpoolStage(
                reason: disk.trouble,
                storage: { givesUp in
                    let (spool, catalog, _, _) = try GatewayDisk.open(
                        configuration, givesUp: givesUp)
                    return (spool, catalog)
                }, clock: clock, settings: settings, ports: ports)
        }
        return SpoolStage(
            spool: stored, catalog: disk.takeCatalog(), clock: clock, settings: settings,
            ports: ports)
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
        guard stored.hasUncovered else { return }
        intake.mark(.cut)
        while batch.turn() {}
    }
}

/// What is on disk at start. A disk that cannot be used now keeps nobody from starting: what is wrong with
/// it may pass. A wrong path, another daemon or a newer layout does not.
private final class GatewayDisk {
    let spool: Spool?
    let contents: CatalogFile.Contents
    let warnings: [String]
    /// Why there is no spool.
    let trouble: String
    private var catalog: CatalogFile?

    init(_ configuration: Configuration) throws(StartError) {
        do {
            let (spool, catalog, contents, warnings) = try GatewayDisk.open(configuration)
            self.spool = spool
            self.catalog = catalog
            self.contents = contents
            self.warnings = warnings
            trouble = ""
        } catch let error as SpoolError where error.mayPass {
            (spool, trouble) = (nil, error.description)
            (contents, warnings) = GatewayDisk.withoutDisk(trouble)
        } catch let error as SpoolError {
            throw StartError(error.description)
        } catch let error as CatalogFileError where error.mayPass {
            (spool, trouble) = (nil, GatewayDisk.sentence(error, configuration))
            (contents, warnings) = GatewayDisk.withoutDisk(trouble)
        } catch let error as CatalogFileError {
            throw StartError(GatewayDisk.sentence(error, configuration))
        } catch {
            throw StartError("\(error)")
        }
    }

    static func open(
        _ configuration: Configuration, givesUp: Bool = false
    ) throws -> (Spool, CatalogFile, CatalogFile.Contents, [String]) {
        var settings = SpoolSettings()
        settings.maximumBytes = configuration.spool.maximumBytes
        settings.duplicateWindow = configuration.spool.duplicateWindow
        let spool = try Spool(
            directory: configuration.spool.directory, settings: settings, givesUp: givesUp)
        // Numbers given again would make the store file new readings under old streams.
        let (catalog, contents, said) = try CatalogFile.recovering(
            directory: configuration.spool.directory,
            isNew: spool.counters.lastSequence == 0)
        var warnings = spool.warnings + said
        if contents.damagedRows > 0 {
            warnings.append("catalog: \(contents.damagedRows) damaged rows left out")
        }
        return (spool, catalog, contents, warnings)
    }

    private static func sentence(
        _ error: CatalogFileError, _ configuration: Configuration
    ) -> String {
        "catalog in \(configuration.spool.directory): \(error.description)"
    }

    /// Streams get numbers that none on the disk is likely to have.
    private static func withoutDisk(_ trouble: String) -> (CatalogFile.Contents, [String]) {
        (
            .unknown,
            [
                "\(trouble): taking in without a disk: nothing is answered before it takes data"
            ]
        )
    }

    func takeCatalog() -> CatalogFile {
        guard let file = catalog.take() else { preconditionFailure("the catalog is taken once") }
        return file
    }
}
