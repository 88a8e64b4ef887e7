// What /metrics of the gateway tells. Cardinality is bounded by the configuration: labels are the source,
// the reason, the class and the place, never a device. The ledger's numbers of one answer belong to one
// place in the stream (a probe), so its laws hold in every scrape:
//
//     frames_received = frames_decoded + frames_duplicate + frames_control + Σ frames_rejected
//     readings_decoded = Σ readings_dropped + readings_acknowledged + readings_evicted
//                      + readings_rejected + Σ readings_held

import Model
import Pipeline
import Spool
import Uplink

extension GatewayReports {
    func metrics(_ gathered: Gathered) -> String {
        var out = MetricsText()
        writeProgram(gathered, to: &out)
        writeLedger(gathered.ledger, to: &out)
        writeIntake(gathered.statistics, to: &out)
        writeSpool(gathered, to: &out)
        writeUplink(gathered, to: &out)
        writeSources(gathered.statistics, to: &out)
        var process = MetricsText(prefix: "process_")
        let usage = ProcessUsage.now()
        process.counter(
            "cpu_seconds_total", "CPU time of user and system.",
            seconds: Double(usage.cpuMicroseconds) / 1e6)
        process.gauge("resident_memory_bytes", "Resident memory.", usage.rssKb &* 1024)
        process.gauge(
            "start_time_seconds", "When the process began, since 1970.",
            seconds: Double(startedAt.milliseconds) / 1000)
        return out.text + process.text
    }

    private func writeProgram(_ gathered: Gathered, to out: inout MetricsText) {
        out.gauge(
            "build_info", "Always 1: the program's version and the gateway's name.",
            [([("version", software), ("gateway", gateway)], 1)])
        out.gauge(
            "healthy", "1 when /health is green.", reasons(gathered).isEmpty ? 1 : 0)
    }

    private func writeLedger(_ ledger: Ledger, to out: inout MetricsText) {
        let intake = ledger.intake
        out.counter("datagrams_received_total", "Datagrams that arrived.", intake.datagrams)
        out.counter(
            "received_bytes_total", "Bytes of datagrams and streams.", intake.bytesReceived)
        out.counter(
            "skipped_bytes_total", "Bytes of streams that belonged to no frame.",
            intake.bytesSkipped)
        out.counter(
            "kernel_drops_total", "Datagrams that the kernel dropped before they could be read.",
            intake.kernelDrops)
        out.counter("frames_received_total", "Frames that arrived.", intake.framesReceived)
        out.counter(
            "frames_decoded_total", "Frames that were decoded and taken in.", intake.framesDecoded)
        out.counter(
            "frames_duplicate_total", "Retransmissions of frames taken in before.",
            intake.framesDuplicate)
        out.counter(
            "frames_control_total", "Frames without readings by nature.", intake.framesControl)
        out.counter(
            "frames_rejected_total", "Refused frames by reason.",
            Rejection.allCases.map { ([("reason", $0.code)], intake[$0]) })
        out.counter(
            "frames_answered_total", "Frames that got their protocol's answer.",
            intake.framesAnswered)
        out.counter(
            "bodies_given_up_total", "Bodies of several frames whose parts never all came.",
            intake.bodiesGivenUp)
        out.counter(
            "readings_decoded_total", "Readings in decoded frames.", intake.readingsDecoded)
        out.counter(
            "readings_dropped_total", "Readings dropped by reason.",
            Drop.allCases.map { ([("reason", $0.code)], intake[$0]) })
        out.gauge(
            "readings_held", "Readings on this gateway, by place.",
            [
                ([("place", "buckets")], ledger.readingsInBuckets),
                ([("place", "memory")], ledger.readingsAwaitingSpool),
                ([("place", "spool")], ledger.spool.readingsPending),
            ])
        out.counter(
            "readings_acknowledged_total", "Readings that the store has committed.",
            ledger.spool.readingsAcknowledged)
        out.counter(
            "readings_evicted_total", "Readings evicted from a full spool.",
            ledger.spool.readingsEvicted)
        out.counter(
            "readings_rejected_total", "Readings set aside that the store refused.",
            ledger.spool.readingsRejected)
        out.counter(
            "batches_acknowledged_total", "Batches that the store has committed.",
            ledger.spool.batchesAcknowledged)
        out.gauge(
            "ledger_unaccounted", "What the ledger does not explain; 0, or there is a bug.",
            ledger.unaccounted)
    }

    private func writeIntake(_ statistics: IntakeStatistics, to out: inout MetricsText) {
        let levels = statistics.levels
        out.gauge("ring_capacity_readings", "Places in the ring.", UInt64(ringCapacity))
        out.gauge(
            "ring_used_readings", "Readings in the ring, not yet in buckets.",
            UInt64(clamping: ringCapacity - levels.ringFree))
        out.gauge(
            "intake_held_back", "1 while sources are not read because there is no room.",
            statistics.isWithoutRoom ? 1 : 0)
        out.gauge(
            "journal_waiting_bytes", "Bytes of the journal on their way to the disk.",
            UInt64(clamping: levels.journalBytes))
        out.gauge(
            "answers_waiting", "Answers that wait for the commit of their frames.",
            UInt64(clamping: levels.answersWaiting))
        out.gauge("devices", "Devices in the catalog.", UInt64(clamping: levels.devices))
        out.gauge("streams", "Streams in the catalog.", UInt64(clamping: levels.streams))
        out.gauge(
            "clients", "Registered clients and open sessions of conversations.",
            UInt64(clamping: levels.clients))
    }

    private func writeSpool(_ gathered: Gathered, to out: inout MetricsText) {
        let report = gathered.spool
        let details = report.details
        out.gauge("spool_used_bytes", "Bytes of the spool on disk.", details.bytesUsed)
        out.gauge(
            "spool_limit_bytes", "Bytes above which batches are evicted.", details.bytesAllowed)
        out.gauge(
            "spool_pending_bytes", "Bytes of batches that wait for the store, by class.",
            details.bytesPending.rows)
        out.gauge(
            "spool_pending_batches", "Batches that wait for the store, by class.",
            details.batchesPending.rows)
        out.gauge(
            "spool_pending_readings", "Readings that wait for the store, by class.",
            details.readingsPending.rows)
        out.counter(
            "spool_evicted_readings_total", "Readings evicted, by class.",
            details.readingsEvicted.rows)
        out.counter(
            "spool_damaged_batches_total", "Batches set aside because their rows are damaged.",
            details.batchesDamaged)
        out.gauge(
            "spool_oldest_wait_seconds",
            "How long the oldest batch has waited for the store, in this run; 0 when none waits.",
            seconds: report.oldestWaitSeconds)
        out.gauge("spool_segments", "Files of batches and journal.", details.segments)
        out.counter(
            "spool_written_bytes_total", "Bytes written to the device since the start.",
            details.bytesWritten)
        out.counter(
            "spool_flushes_total", "Flushes of the device since the start.", details.flushes)
        out.gauge(
            "spool_troubled", "1 while the disk refuses data.", report.trouble == nil ? 0 : 1)
        out.gauge(
            "spool_in_memory", "1 while nothing is stored or answered.", report.isInMemory ? 1 : 0)
        out.gauge(
            "quarantine_entries", "Frames and batches that are set aside.",
            details.quarantineEntries)
        if let seconds = report.forecast.secondsUntilFull {
            out.gauge(
                "spool_full_in_seconds", "Until batches are evicted, at the rate of the last hour.",
                seconds: Double(seconds))
        }
        out.histogram(
            "commit_seconds", "Time that a commit of the journal took: answers wait for it.",
            report.commitTimes)
    }

    private func writeUplink(_ gathered: Gathered, to out: inout MetricsText) {
        let uplink = gathered.uplink
        out.gauge(
            "uplink_connected", "1 while batches flow to the store.",
            uplink.state == .streaming ? 1 : 0)
        out.gauge(
            "uplink_in_flight_batches", "Batches sent and not answered.",
            UInt64(clamping: uplink.inFlight))
        out.gauge(
            "uplink_credit_batches", "Batches that the store would have in flight.",
            UInt64(clamping: uplink.credit))
        out.gauge(
            "uplink_delayed_batches", "Batches that wait because the store said retry.",
            UInt64(clamping: uplink.delayed))
        // The lag counts from the last answer, but nothing lags that does not wait.
        let pending = gathered.spool.details.batchesPending.total > 0
        let since = uplink.lastAcknowledgedAt.map { clock.now().milliseconds(since: $0) }
        let lag = pending ? since.map { Double($0) / 1000 } : 0
        out.gauge(
            "uplink_lag_seconds",
            "Since the store last took a batch while others wait; 0 when none waits.",
            seconds: lag ?? gathered.spool.oldestWaitSeconds)
        out.counter("uplink_connections_total", "Sessions with the store.", uplink.connections)
        out.counter("uplink_sent_batches_total", "Batches sent.", uplink.batchesSent)
        out.counter("uplink_retries_total", "Batches sent again.", uplink.retries)
        out.counter(
            "uplink_rejected_batches_total", "Batches that the store refused.",
            uplink.batchesRejected)
        out.counter("uplink_sent_bytes_total", "Bytes sent to the store.", uplink.bytesSent)
        out.counter(
            "uplink_received_bytes_total", "Bytes received from the store.", uplink.bytesReceived)
    }

    private func writeSources(_ statistics: IntakeStatistics, to out: inout MetricsText) {
        func rows(_ value: (SourceStatistics) -> UInt64) -> [MetricsText.Row<UInt64>] {
            statistics.sources.map { ([("source", $0.name)], value($0)) }
        }
        out.counter(
            "source_datagrams_total", "Datagrams of a source since the start.",
            rows(\.datagrams))
        out.counter(
            "source_received_bytes_total", "Bytes of a source since the start.",
            rows(\.bytesReceived))
        out.counter(
            "source_kernel_drops_total", "Datagrams of a source that the kernel dropped.",
            rows(\.kernelDrops))
        out.gauge(
            "source_receive_buffer_bytes", "The kernel's buffer of a UDP source.",
            rows { UInt64(clamping: $0.bufferBytes) })
        out.gauge(
            "source_connections", "Open connections of a source.",
            rows { UInt64(clamping: $0.connections) })
        out.counter(
            "source_connections_accepted_total", "Connections accepted since the start.",
            rows(\.connectionsAccepted))
        out.counter(
            "source_connections_refused_total", "Connections refused or closed, by reason.",
            statistics.sources.flatMap { source in
                Refusal.allCases.map {
                    ([("source", source.name), ("reason", $0.code)], source[$0])
                }
            })
        out.counter(
            "source_answers_lost_total", "Answers that could not be sent.", rows(\.answersLost))
        for (name, help, rows) in LinesReport.metrics(statistics) { out.counter(name, help, rows) }
    }
}
