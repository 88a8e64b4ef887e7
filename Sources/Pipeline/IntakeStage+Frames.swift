// One frame on its way in: which format accepts it, is it new, whose is it, what does it say (all that in
// the FrameDesk), and what becomes of it when it is refused. On the intake's queue.

import Catalog
import Exchanges
import Formats
import Model
import Spool

extension IntakeStage {
    // MARK: One frame

    /// Datagrams of one receive, with one lend of the desk while nothing out of the ordinary is among
    /// them.
    package func datagrams(
        _ arrivals: Span<Arrival>, in slab: Span<UInt8>, slotBytes: Int, source: Int
    ) {
        let state = sources[source]
        let isConversation = state.exchange != nil
        var next = 0
        while next < arrivals.count {
            var search = FormatSearch(only: nil)
            let step =
                isConversation
                ? nil
                : hot.accept(
                    arrivals, from: &next, in: slab, slotBytes: slotBytes, state, &search,
                    source: source)
            guard next < arrivals.count else { return }
            let arrival = arrivals[next]
            let bytes = slab.extracting(
                next &* slotBytes..<next &* slotBytes &+ arrival.count)
            if let step {
                finish(
                    step, &search, bytes, state, source: source, at: arrival.receivedAt,
                    answerTo: .datagram(source: source, to: arrival.from))
            } else {
                datagram(
                    bytes, source: source, from: arrival.from, at: arrival.receivedAt,
                    isTruncated: arrival.isTruncated)
            }
            next += 1
        }
    }

    /// Decodes with the source's formats in their order; the first that accepts wins, unless what it reads
    /// is not plausible and another's reading is (`FrameDesk+Choice.swift`). Returns true when the frame
    /// was decoded, a control frame or a duplicate. `isDatagram`: it has just arrived as one and is not
    /// counted yet.
    @discardableResult
    func accept(
        _ bytes: Span<UInt8>, source: Int, only: Int?, at receivedAt: Timestamp,
        answerTo recipient: Recipient, isDatagram: Bool = false
    ) -> Bool {
        let state = sources[source]
        var search = FormatSearch(only: only)
        let step = hot.accept(
            bytes, state, &search, at: receivedAt, answerTo: recipient, isDatagram: isDatagram)
        return finish(
            step, &search, bytes, state, source: source, at: receivedAt, answerTo: recipient)
    }

    /// What the desk leaves to the stage: frames that were refused, and parts of bodies. As `accept`.
    @discardableResult
    private func finish(
        _ step: FrameDesk.Step, _ search: inout FormatSearch, _ bytes: Span<UInt8>,
        _ state: SourceState, source: Int, at receivedAt: Timestamp,
        answerTo recipient: Recipient
    ) -> Bool {
        var step = step
        while true {
            switch step {
            case .taken: return true
            case .refused(let reason):
                refuse(reason, bytes, source: source, at: receivedAt)
                return false
            case .part(let part, let format):
                do throws(Rejection) {
                    _ = try takePart(
                        part, bytes, state, format, at: receivedAt, answerTo: recipient,
                        isEnvelope: false)
                    return true
                } catch {
                    search.refused(by: error)
                    if error == .noIdentity, state.source.triesAll {
                        step = hot.accept(
                            bytes, state, &search, at: receivedAt, answerTo: recipient,
                            isDatagram: false)
                        continue
                    }
                    refuse(error, bytes, source: source, at: receivedAt)
                    return false
                }
            }
        }
    }

    /// Takes a decoded frame in: duplicate, device, readings, journal, answer. `mayBeAgain` false: the
    /// sender says that this message is no repetition.
    @discardableResult
    func take(
        _ bytes: Span<UInt8>, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp, answerTo recipient: Recipient, isEnvelope: Bool = false,
        mayBeAgain: Bool = true
    ) throws(Rejection) -> FrameOutcome {
        if format.assembles, let part = hot.frame.part {
            return try takePart(
                part, bytes, state, format, at: receivedAt, answerTo: recipient,
                isEnvelope: isEnvelope)
        }
        return try hot.take(
            bytes, state, format, at: receivedAt, answerTo: recipient, isEnvelope: isEnvelope,
            mayBeAgain: mayBeAgain)
    }

    // MARK: Helpers

    func refuse(
        _ reason: Rejection, _ bytes: Span<UInt8>, source: Int, at receivedAt: Timestamp
    ) {
        counters[reason] &+= 1
        touchCounters()
        // At replay the frame was taken in once: keep its bytes, its format has changed since.
        if reason == .quarantined || isReplaying {
            putAside(bytes, source: sources[source].source.name, reason, at: receivedAt)
        }
    }

    /// Keeps a frame's bytes for the quarantine. Between two journal parts at most 1 MB is kept (strangers
    /// may send faster than the disk writes); beyond that a frame is only counted.
    func putAside(
        _ bytes: Span<UInt8>, source: String, _ reason: Rejection, at receivedAt: Timestamp
    ) {
        guard isReplaying || setAsideBytes < 1 << 20 else { return }
        if !isReplaying, firstJournaledAt == nil { firstJournaledAt = clock.now() }
        setAsideBytes += bytes.count
        setAside.append(
            QuarantinedFrame(
                source: source, reason: reason, receivedAt: receivedAt, bytes: copy(bytes)))
    }

    func copy(_ bytes: Span<UInt8>) -> [UInt8] {
        var copy: [UInt8] = []
        copy.reserveCapacity(bytes.count)
        for i in 0..<bytes.count { copy.append(bytes[i]) }
        return copy
    }

    func skipped(_ count: Int) {
        counters.bytesSkipped &+= UInt64(count)
        counters.bytesReceived &+= UInt64(count)
    }

    func answerNow(_ answer: [UInt8], to recipient: Recipient) {
        hot.answerNow(answer, to: recipient)
    }

    func touchCounters() { hot.touchCounters() }

    /// Looks for a frame with the format that the connection is known to speak, or with each in turn:
    /// the one that finds a frame first; if none does, the one that skips least, so that no byte that
    /// may begin a frame is lost.
    func find(
        _ bytes: Span<UInt8>, source: Int, known: Int?
    ) -> (FrameSearch, Int) {
        let formats = sources[source].formats
        if let known { return (formats[known].decoder.search(bytes, direction: .up), known) }
        var waiting: (skip: Int, format: Int)?
        var rejected: (FrameSearch, Int)?
        var found: (FrameSearch, Int, skip: Int)?
        for index in formats.indices {
            let search = formats[index].decoder.search(bytes, direction: .up)
            switch search {
            case .frame(let skip, _):
                if skip < found?.skip ?? .max { found = (search, index, skip) }
            case .rejected: if rejected == nil { rejected = (search, index) }
            case .needsMore(let skip):
                if skip < waiting?.skip ?? .max { waiting = (skip, index) }
            }
        }
        if let found { return (found.0, found.1) }
        if let waiting { return (.needsMore(skip: waiting.skip), waiting.format) }
        return rejected ?? (.needsMore(skip: bytes.count), 0)
    }
}
