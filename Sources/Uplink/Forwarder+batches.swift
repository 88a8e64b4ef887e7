// How the forwarder moves batches while it is streaming: lease, define, send, take verdicts. See
// Forwarder.swift for owner and invariants. Strictly serial towards the host: after welcome entries
// until there are none; then lease, entries until there are none, send, lease ...

import Model

extension Forwarder {
    mutating func welcomed(_ welcome: Welcome, _ now: Instant, _ effects: inout [Effect]) {
        counters.storeTime = welcome.storeTime
        counters.storeTimeAt = now
        credit = Int(welcome.credit)
        largestBatch = min(Int(welcome.largestBatch), UplinkProtocol.largestBatch)
        // The highest that the store knows is sent again, so that it can tell another catalog.
        (knownDevice, knownStream) = (welcome.knownDevice, welcome.knownStream)
        tellsAllSince = tellsAll ? now : nil
        sentDevice = !tellsAll && knownDevice > 0 ? knownDevice - 1 : 0
        sentStream = !tellsAll && knownStream > 0 ? knownStream - 1 : 0
        tellsAll = false
        let arrived = unsure.filter { welcome.committed.contains($0.sequence) }
        unsure.removeAll()
        settle(arrived, now, &effects)
    }

    /// The next definitions begin with the catalog's first.
    private mutating func tellAll(_ now: Instant) {
        if tellsAllSince != nil { return }
        tellsAllSince = now
        (sentDevice, sentStream) = (0, 0)
        request?.isStale = true
    }

    /// Asks the host for definitions that the store does not have.
    mutating func needEntries(_ effects: inout [Effect]) {
        guard request == nil else { return }
        request = Request(kind: .entries)
        effects.append(.needEntries(afterDevice: sentDevice, afterStream: sentStream))
    }

    mutating func entriesCame(
        _ entries: [CatalogEntry], _ now: Instant, _ effects: inout [Effect]
    ) {
        guard let answered = request, answered.kind == .entries else { return }
        request = nil
        guard case .streaming = phase else { return }
        guard !answered.isStale, !entries.isEmpty else {
            if answered.isStale {
                needEntries(&effects)
            } else {
                defined(now, &effects)
            }
            return
        }
        let (device, stream) = (sentDevice, sentStream)
        for entry in entries {
            switch entry {
            case .device(let new): sentDevice = max(sentDevice, new.id.rawValue)
            case .stream(let new): sentStream = max(sentStream, new.id.rawValue)
            }
        }
        outgoing += FrameEncoding.entries(entries)
        if (device, stream) == (sentDevice, sentStream) {
            // A host that repeats itself must not keep the batches waiting for ever.
            defined(now, &effects)
        } else {
            needEntries(&effects)
        }
    }

    /// The store has every definition that the host has.
    private mutating func defined(_ now: Instant, _ effects: inout [Effect]) {
        guard sentDevice >= knownDevice, sentStream >= knownStream else {
            let text = "the store knows device \(knownDevice) and stream \(knownStream), "
            fail(
                text + "the catalog here does not: it needs a new incarnation", closing: true, now,
                &effects)
            return
        }
        sendHeld(now)
        pump(now, &effects)
    }

    /// Leases when there is room for more and something may be there.
    mutating func pump(_ now: Instant, _ effects: inout [Effect]) {
        guard case .streaming = phase, request == nil, mayHaveMore, room > 0 else { return }
        mayHaveMore = false
        let laneRoom = laneRoom(now)
        request = Request(kind: .lease, room: laneRoom)
        effects.append(
            .lease(
                excluding: inFlight.map(\.sequence) + delayed.map(\.sequence), room: laneRoom,
                maximumBytes: settings.leaseBytes))
    }

    /// What of the room each lane may take, by the window and by the pace.
    private mutating func laneRoom(_ now: Instant) -> LeaseRoom {
        let all = room
        let taken = (inFlight + unsentLanes).reduce(into: (ordinary: 0, backlog: 0)) { sum, one in
            if one.lane != .alarm { sum.ordinary += 1 }
            if one.lane == .backlog { sum.backlog += 1 }
        }
        let most = window >= 4 ? window - 1 : window
        var ordinary = min(all, max(0, most - taken.ordinary))
        var backlog = min(ordinary, max(0, max(1, window / 2) - taken.backlog))
        if let due = pace.ordinaryWaits(now: now) {
            (ordinary, backlog) = (0, 0)
            pacedUntil = due
        } else if let due = pace.backlogWaits(now: now, wall: wall) {
            backlog = 0
            pacedUntil = due
        } else {
            pacedUntil = nil
            // A rate is kept batch by batch.
            if settings.pace.bytesPerSecond > 0 { ordinary = min(ordinary, 1) }
            if settings.pace.backlogBytesPerSecond > 0 { backlog = min(backlog, 1) }
            backlog = min(backlog, ordinary)
        }
        return LeaseRoom(all: all, ordinary: ordinary, backlog: backlog)
    }

    /// Delayed batches keep their place: it is counted for the lane in which they were sent.
    private var unsentLanes: [InFlight] {
        delayed.map {
            InFlight(
                sequence: $0.sequence, readings: 0, lane: $0.lane, bytes: 0,
                sentAt: Instant(nanoseconds: 0))
        }
    }

    mutating func leased(
        _ batches: [OutgoingBatch], _ now: Instant, _ effects: inout [Effect]
    ) {
        guard let answered = request, answered.kind == .lease else { return }
        request = nil
        guard case .streaming = phase else { return }
        if answered.isStale {
            // Asked before the welcome told what had arrived: ask again.
            mayHaveMore = true
            needEntries(&effects)
            return
        }
        isLaneFull = answered.room.isNarrowed(by: batches)
        for batch in batches.prefix(room) where !isKnown(batch.sequence) {
            mayHaveMore = true
            if batch.bytes.count > largestBatch {
                counters.batchesRejected &+= 1
                let reason =
                    "too-large: \(batch.bytes.count) bytes, the store takes \(largestBatch)"
                effects.append(
                    .rejected(sequence: batch.sequence, reason: reason, isDivisible: true))
            } else {
                held.append(batch)
            }
        }
        if held.isEmpty { pump(now, &effects) } else { needEntries(&effects) }
    }

    private mutating func sendHeld(_ now: Instant) {
        // The credit may have fallen since the lease: what does not fit is leased again later.
        for batch in held.prefix(max(0, window - inFlight.count - delayed.count)) {
            send(
                .batch(
                    BatchFrame(
                        sequence: batch.sequence, priority: batch.priority,
                        readings: batch.readings, crc: CRC32.of(batch.bytes), bytes: batch.bytes)))
            counters.batchesSent &+= 1
            pace.sent(batch.bytes.count, isBacklog: batch.lane == .backlog, now: now)
            inFlight.append(
                InFlight(
                    sequence: batch.sequence, readings: batch.readings, lane: batch.lane,
                    bytes: batch.bytes.count, sentAt: now))
        }
        held.removeAll()
    }

    mutating func acknowledged(
        _ acknowledgement: Acknowledgement, _ now: Instant, _ effects: inout [Effect]
    ) {
        credit = Int(acknowledgement.credit)
        counters.failuresInARow = 0
        var accepted: [InFlight] = []
        for entry in acknowledgement.entries {
            // What is not in flight was answered before, or never sent: not believed.
            guard let place = inFlight.firstIndex(where: { $0.sequence == entry.sequence })
            else { continue }
            let batch = inFlight.remove(at: place)
            patience = 0
            lastProgress = now
            if isLaneFull { mayHaveMore = true }
            switch entry.reason.verdict {
            case .accepted: accepted.append(batch)
            case .retry: delay(batch, entry, now)
            case .rejected
            where entry.reason == .unknownStream && batch.sentAt <= tellsAllSince ?? now:
                tellAll(now)
                delay(batch, entry, now)
            case .rejected:
                forgetRetry(of: batch.sequence)
                counters.batchesRejected &+= 1
                let reason =
                    entry.detail.isEmpty
                    ? entry.reason.code : entry.reason.code + ": " + entry.detail
                effects.append(
                    .rejected(
                        sequence: batch.sequence, reason: reason,
                        isDivisible: entry.reason.isDivisible))
            }
        }
        settle(accepted, now, &effects)
        pump(now, &effects)
    }

    private mutating func settle(
        _ batches: [InFlight], _ now: Instant, _ effects: inout [Effect]
    ) {
        guard !batches.isEmpty else { return }
        for batch in batches {
            forgetRetry(of: batch.sequence)
            counters.batchesAcknowledged &+= 1
            counters.readingsAcknowledged &+= UInt64(batch.readings)
            if batch.lane == .backlog { backlogRate.add(batch.bytes, now: now) }
        }
        counters.lastAcknowledgedAt = now
        effects.append(.acknowledged(batches.map(\.sequence)))
    }

    // MARK: Room and delays

    /// Most batches in flight now. While timeouts repeat, one at a time (a slow link gets through).
    private var window: Int {
        let most = min(credit, settings.inFlight)
        return patience > 0 ? min(most, 1) : most
    }

    /// Delayed batches keep their place: a store that cannot write is not sent the whole spool.
    private var room: Int { max(0, window - inFlight.count - held.count - delayed.count) }

    private var delayed: [Retry] { retries.filter { $0.until != nil } }

    private func isKnown(_ sequence: UInt64) -> Bool {
        inFlight.contains { $0.sequence == sequence }
            || held.contains { $0.sequence == sequence }
            || retries.contains { $0.sequence == sequence && $0.until != nil }
    }

    private mutating func delay(
        _ batch: InFlight, _ entry: Acknowledgement.Entry, _ now: Instant
    ) {
        let sequence = batch.sequence
        counters.retries &+= 1
        counters.lastError = "store said retry: \(entry.reason.code): \(entry.detail)"
        counters.lastErrorAt = now
        var attempts = 1
        if let place = retries.firstIndex(where: { $0.sequence == sequence }) {
            attempts += retries.remove(at: place).attempts
        }
        let until = now.adding(milliseconds: backoff(attempts))
        retries.append(
            Retry(sequence: sequence, lane: batch.lane, attempts: attempts, until: until))
        // Batches that were evicted after a retry leave their attempts behind: only so many.
        while retries.count > 256, let old = retries.firstIndex(where: { $0.until == nil }) {
            retries.remove(at: old)
        }
    }

    private mutating func forgetRetry(of sequence: UInt64) {
        retries.removeAll { $0.sequence == sequence }
    }

    mutating func endDelays(_ now: Instant) {
        for place in retries.indices {
            guard let until = retries[place].until, until <= now else { continue }
            retries[place].until = nil
            mayHaveMore = true
        }
    }
}
