// What the admin endpoint tells: /health, /ledger, /status, /metrics. Each answer is gathered by asking
// the stages in turn through their mailboxes; nothing is stopped for it. The ledger comes from a probe
// that passes through all stages, so its numbers belong to one place in the stream.

import Exchanges
package import Formats
package import Model
import Pipeline
import Spool
import Uplink

package enum LedgerReport {
    /// The ledger in the words of design.md section 2; `unaccounted` is computed here and now.
    package static func json(_ ledger: Ledger) -> JSON {
        func reasons(_ prefix: String) -> JSON {
            .object(
                ledger.intake.named.filter { $0.name.hasPrefix(prefix + ".") }.map {
                    (String($0.name.dropFirst(prefix.count + 1)), .unsigned($0.value))
                })
        }
        return .object([
            ("datagrams", .unsigned(ledger.intake.datagrams)),
            ("bytesReceived", .unsigned(ledger.intake.bytesReceived)),
            ("bytesSkipped", .unsigned(ledger.intake.bytesSkipped)),
            ("kernelDrops", .unsigned(ledger.intake.kernelDrops)),
            ("framesReceived", .unsigned(ledger.intake.framesReceived)),
            ("framesDecoded", .unsigned(ledger.intake.framesDecoded)),
            ("framesDuplicate", .unsigned(ledger.intake.framesDuplicate)),
            ("framesControl", .unsigned(ledger.intake.framesControl)),
            ("framesRejected", .unsigned(ledger.intake.framesRejected)),
            ("framesAnswered", .unsigned(ledger.intake.framesAnswered)),
            ("bodiesGivenUp", .unsigned(ledger.intake.bodiesGivenUp)),
            ("rejected", reasons("rejected")),
            ("readingsDecoded", .unsigned(ledger.intake.readingsDecoded)),
            ("readingsDropped", .unsigned(ledger.intake.readingsDropped)),
            ("dropped", reasons("dropped")),
            ("readingsPublished", .unsigned(ledger.intake.readingsPublished)),
            ("readingsHeld", .unsigned(ledger.readingsHeld)),
            ("readingsInBuckets", .unsigned(ledger.readingsInBuckets)),
            ("readingsAwaitingSpool", .unsigned(ledger.readingsAwaitingSpool)),
            ("readingsInSpool", .unsigned(ledger.spool.readingsPending)),
            ("readingsAcknowledged", .unsigned(ledger.spool.readingsAcknowledged)),
            ("readingsEvicted", .unsigned(ledger.spool.readingsEvicted)),
            ("readingsRejected", .unsigned(ledger.spool.readingsRejected)),
            ("batchesPending", .unsigned(ledger.spool.batchesPending)),
            ("batchesAcknowledged", .unsigned(ledger.spool.batchesAcknowledged)),
            ("lastSequence", .unsigned(ledger.spool.lastSequence)),
            ("unaccounted", .unsigned(ledger.unaccounted)),
        ])
    }
}

/// One line when the session with the store begins or ends; on the uplink's queue.
final class UplinkLog {
    private let store: String
    private var last = ForwarderState.stopped
    private var lastError: String?

    init(store: String) { self.store = store }

    func changed(to status: ForwarderStatus) {
        defer { last = status.state }
        if status.state == .streaming {
            lastError = nil
            return Log.state("uplink: connected to store \(store)", .store(store))
        }
        // A store that stays away is one line, not one an attempt.
        guard status.state == .waiting, let error = status.lastError, error != lastError else {
            return
        }
        lastError = error
        Log.warning(
            "uplink: store \(store): \(error): trying again", .store(store), .reason(error))
    }
}

final class GatewayReports: Sendable {
    let gateway: String
    let software: String
    let startedAt: Timestamp
    let clock: Clock
    private let storeAddress: String?
    private let sources: [Configuration.Source]
    private let endpoints: [Endpoint]
    let intake: Mailbox<IntakeJob>
    private let spool: Mailbox<SpoolWork>
    private let uplink: Mailbox<UplinkJob>
    private let formats: FormatReloader
    private let configuration: ConfigurationWatch
    private let spoolMaximumBytes: Int
    let ringCapacity: Int

    init(
        gateway: String, software: String, startedAt: Timestamp, clock: Clock,
        storeAddress: String?, sources: [Configuration.Source], endpoints: [Endpoint],
        intake: Mailbox<IntakeJob>, spool: Mailbox<SpoolWork>, uplink: Mailbox<UplinkJob>,
        formats: FormatReloader, configuration: ConfigurationWatch, spoolMaximumBytes: Int,
        ringCapacity: Int
    ) {
        self.ringCapacity = ringCapacity
        self.spoolMaximumBytes = spoolMaximumBytes
        self.gateway = gateway
        self.software = software
        self.startedAt = startedAt
        self.clock = clock
        self.storeAddress = storeAddress
        self.sources = sources
        self.endpoints = endpoints
        self.intake = intake
        self.spool = spool
        self.uplink = uplink
        self.formats = formats
        self.configuration = configuration
    }

    func serve(on admin: AdminServer) {
        admin.route("/ledger") { [self] _, reply in
            probe { reply(.json(LedgerReport.json($0).text(pretty: true) + "\n")) }
        }
        admin.route("/status") { [self] _, reply in
            gather { reply(.json(self.statusJSON($0).text(pretty: true) + "\n")) }
        }
        admin.route("/health") { [self] _, reply in
            gather { gathered in
                let reasons = self.reasons(gathered)
                reply(
                    .json(
                        JSON.object([
                            ("isHealthy", .boolean(reasons.isEmpty)),
                            ("reasons", .array(reasons.map { .string($0) })),
                        ]).text() + "\n", status: reasons.isEmpty ? 200 : 503))
            }
        }
        admin.route("/metrics") { [self] _, reply in
            gather {
                reply(
                    AdminResponse(
                        contentType: MetricsText.contentType, body: self.metrics($0)))
            }
        }
        admin.route("/") { _, reply in
            reply(AdminResponse(contentType: "text/html", body: StatusPage.html))
        }
        // Over the socket only: it shows where things are, and compiles the formats.
        admin.route("/plan", isPrivate: true) { [self] _, reply in
            let running = configuration.running
            formats.preview { preview in
                reply(
                    .json(
                        JSON.object([("configuration", running.json), ("formats", preview)])
                            .text(pretty: true) + "\n"))
            }
        }
        QuarantineRoutes(spool: spool).serve(on: admin)
        serveRecordings(on: admin)
        serveDevices(on: admin)
        // Cuts the open epoch now, for tests and for an operator who will not wait.
        admin.route("/cut") { [self] _, reply in
            intake.post(.mark(.cut))
            probe { _ in reply(.json("{\"isCut\": true}\n")) }
        }
    }

    // MARK: Gathering

    struct Gathered: Sendable {
        var ledger = Ledger()
        var statistics: IntakeStatistics
        var spool: SpoolReport
        var uplink: ForwarderStatus
    }

    private func probe(_ reply: @escaping @Sendable (Ledger) -> Void) {
        intake.post(.mark(.probe(LedgerProbe(reply: reply))))
    }

    private func gather(_ reply: @escaping @Sendable (Gathered) -> Void) {
        let (intake, spool, uplink) = (intake, spool, uplink)
        intake.post(
            .statistics { statistics in
                spool.post(
                    .details { report in
                        uplink.post(
                            .status { status in
                                let part = Gathered(
                                    statistics: statistics, spool: report, uplink: status)
                                intake.post(
                                    .mark(
                                        .probe(
                                            LedgerProbe { ledger in
                                                var whole = part
                                                whole.ledger = ledger
                                                reply(whole)
                                            })))
                            })
                    })
            })
    }

    // MARK: Saying

    func reasons(_ gathered: Gathered) -> [String] {
        var reasons: [String] = []
        if gathered.ledger.unaccounted != 0 {
            reasons.append("unaccounted \(gathered.ledger.unaccounted): this is a bug: report it")
        }
        if let trouble = gathered.spool.trouble { reasons.append("spool: \(trouble)") }
        if gathered.spool.isInMemory {
            reasons.append(
                "nothing is stored or answered: \(gathered.spool.readingsInMemory) readings are in"
                    + " memory only")
        }
        if gathered.statistics.isWithoutRoom {
            reasons.append("intake has no room: sources are held back")
        }
        return reasons
    }

    private func statusJSON(_ gathered: Gathered) -> JSON {
        let now = clock.now()
        let reasons = reasons(gathered)
        return .object([
            ("gateway", .string(gateway)), ("software", .string(software)),
            ("startedAt", .string(startedAt.iso8601)), ("now", .string(clock.wall().iso8601)),
            ("isHealthy", .boolean(reasons.isEmpty)),
            ("reasons", .array(reasons.map { .string($0) })),
            ("sources", .array(sourcesJSON(gathered.statistics))),
            ("lines", .array(LinesReport.lines(gathered.statistics, now))),
            ("polledDevices", .array(LinesReport.devices(gathered.statistics))),
            (
                "intake",
                .object([
                    ("visits", .unsigned(gathered.statistics.visits)),
                    ("wakes", .unsigned(gathered.statistics.wakes)),
                    ("isWithoutRoom", .boolean(gathered.statistics.isWithoutRoom)),
                    ("ringFree", .integer(Int64(gathered.statistics.levels.ringFree))),
                    (
                        "readingsUnpublished",
                        .integer(Int64(gathered.statistics.levels.readingsUnpublished))
                    ),
                    ("journalBytes", .integer(Int64(gathered.statistics.levels.journalBytes))),
                    ("answersWaiting", .integer(Int64(gathered.statistics.levels.answersWaiting))),
                    ("devices", .integer(Int64(gathered.statistics.levels.devices))),
                    ("streams", .integer(Int64(gathered.statistics.levels.streams))),
                ])
            ),
            ("formats", formats.json), ("configuration", configuration.json),
            ("spool", SpoolReporter.json(gathered.spool, maximumBytes: spoolMaximumBytes)),
            (
                "uplink",
                UplinkReport.json(
                    gathered.uplink, store: storeAddress,
                    bytesPending: gathered.spool.details.bytesPending.total, now: now,
                    wall: clock.wall())
            ),
            ("process", processJSON()),
            ("ledger", LedgerReport.json(gathered.ledger)),
        ])
    }

    private func processJSON() -> JSON {
        let usage = ProcessUsage.now()
        return .object([
            ("cpuSeconds", .double(Double(usage.cpuMicroseconds) / 1e6)),
            ("rssKb", .unsigned(usage.rssKb)), ("peakRssKb", .unsigned(usage.peakRssKb)),
        ])
    }

    private func sourcesJSON(_ statistics: IntakeStatistics) -> [JSON] {
        statistics.sources.enumerated().map { number, source in
            .object([
                ("name", .string(source.name)),
                (
                    "listen",
                    .string(
                        sources[number].lines.place?.description
                            ?? "\(sources[number].listen.transport.rawValue)://"
                            + source.endpoint.description)
                ),
                ("formats", .array(sources[number].formats.map { .string($0) })),
                ("exchange", sources[number].exchange.map { .string($0.rawValue) } ?? .null),
                ("visits", .unsigned(source.visits)), ("datagrams", .unsigned(source.datagrams)),
                ("bytesReceived", .unsigned(source.bytesReceived)),
                ("kernelDrops", .unsigned(source.kernelDrops)),
                ("bufferBytes", .integer(Int64(source.bufferBytes))),
                ("connections", .integer(Int64(source.connections))),
                ("connectionsAccepted", .unsigned(source.connectionsAccepted)),
                (
                    "connectionsRefused",
                    .object(Refusal.allCases.map { ($0.code, .unsigned(source[$0])) })
                ),
                ("answersLost", .unsigned(source.answersLost)),
            ])
        }
    }
}
