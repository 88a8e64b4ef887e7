// The end of a turn: what was gathered leaves for the ring, the spool and the devices, each in as few
// steps as it can.

import Catalog
import Model
import Ring
import Spool

extension IntakeStage {
    func finishTurn() {
        postEntries()
        publish()
        flushSendings()
        if journal.byteCount >= settings.commitBytes { handOver() }
        handOverIfDue()
        if hot.pending.count > 0 {
            let wasFull = hot.pending.count >= settings.answersWaiting
            releaseAnswers()
            // The host may have stopped visiting in this turn; no commit will tell it of the room.
            if wasFull { ports.wakeAt(clock.now()) }
        }
    }

    /// Sends the answers that no commit holds back. They are taken out meanwhile: a port that ends a
    /// connection says so at once, and what it says goes to the desk, which must not be lent out then.
    func releaseAnswers() {
        var answers = PendingAnswers()
        swap(&answers, &hot.pending)
        let sent = answers.release(upTo: committed, through: ports.answers)
        swap(&answers, &hot.pending)
        if answers.count > 0 { hot.pending.append(answers) }
        counters.framesAnswered &+= UInt64(sent)
    }

    func postEntries() {
        if catalog.hasAdditions {
            let additions = catalog.takeAdditions()
            ports.lanes(additions.lanes)
            ports.toSpool(.entries(additions))
        }
    }

    func postSetAside() {
        guard !setAside.isEmpty else { return }
        ports.toSpool(.quarantine(setAside))
        setAside.removeAll()
        setAsideBytes = 0
    }

    /// Moves readings into the ring, whole turns while they fit, else as many as there is room for.
    func publish() {
        guard publishedTo < outgoing.count else { return }
        producer.startOver()
        let room = min(producer.free, outgoing.count - publishedTo)
        if room > 0 {
            let isPublished = producer.publish(
                hot.outgoing.span.extracting(publishedTo..<publishedTo + room))
            precondition(isPublished, "the producer has just said that there is room")
            publishedTo += room
            unpoked += room
            // The batcher need not run for every turn: it is told of the epoch's first reading, so that
            // its time begins, of marks, and when a good part of the ring waits.
            if isEpochNew || unpoked >= IntakeStage.readingsPerPoke || publishedTo < outgoing.count
            {
                pokeBatcher()
            }
        }
        if publishedTo == outgoing.count {
            outgoing.removeAll(keepingCapacity: true)
            publishedTo = 0
        }
    }

    func pokeBatcher() {
        isEpochNew = false
        unpoked = 0
        ports.pokeBatcher()
    }

    func handOverIfDue() {
        updateDeadline()
        guard let due = deadline else { return }
        if clock.now() >= due {
            handOver()
            deadline = nil
        } else {
            ports.wakeAt(due)
        }
    }

    func handOver() {
        postSetAside()
        firstJournaledAt = nil
        hot.firstWaitingAt = nil
        hot.countersDirtySince = nil
        let part = journal.take(sources: journalSources, counters: counters)
        bytesInFlight += part.bytes.count
        partsInFlight.append((part.nextPosition, part.bytes.count))
        ports.toSpool(.part(part))
    }

    func updateDeadline() {
        var next: Instant?
        func consider(_ start: Instant?, _ milliseconds: Int64) {
            guard let at = start?.adding(milliseconds: milliseconds) else { return }
            if next == nil || at < next! { next = at }
        }
        consider(hot.firstWaitingAt, settings.commitAnswerMilliseconds)
        consider(firstJournaledAt, settings.commitMilliseconds)
        consider(hot.countersDirtySince, settings.countersMilliseconds)
        deadline = next
    }
}
