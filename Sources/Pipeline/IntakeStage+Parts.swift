// Frames that are parts of one body. On the intake's queue; not the hot path: a part is copied.
//
// The ledger: each part is a frame received and decoded, journaled and answered like any other, without
// readings; the one that completes the body brings the readings of the whole. If the whole cannot be
// read, that one is refused, so nobody is told that it was kept. A body that is given up is no frame: it
// has a count of its own (`bodiesGivenUp`), and its parts go to the quarantine as `incomplete`. That it was
// given up is in the journal as well, so that a replay comes to the same state and counts it once.

import Exchanges
import Formats
import Model
import Spool

extension IntakeStage {
    /// Takes the part in that `frame` was decoded to.
    func takePart(
        _ part: FramePart, _ bytes: Span<UInt8>, _ state: SourceState, _ format: FormatState,
        at receivedAt: Timestamp, answerTo recipient: Recipient, isEnvelope: Bool
    ) throws(Rejection) -> FrameOutcome {
        let device = try hot.deviceID(frame.head, state, format, at: receivedAt)
        let own = frame.answer
        let key = BodyAssembly.Key(
            format: format.journalNumber, device: frame.device, part: part.key)
        let step = hold(
            part, key, bytes, format, at: receivedAt, isEnvelope: isEnvelope)
        if !bodies.givenUp.isEmpty { giveUp() }
        var answer: [UInt8] = []
        switch step {
        case .tooLarge: throw .oversized
        case .duplicate(let again):
            counters.framesDuplicate &+= 1
            touchCounters()
            answerNow(own, to: recipient)
            if state.exchange == nil { answerNow(again, to: recipient) }
            return .duplicate
        case .held: counters.framesDecoded &+= 1
        case .complete:
            do throws(Rejection) {
                answer = try readWhole(key, format)
            } catch {
                bodies.take(back: part.part, of: key)
                throw error
            }
            counters.framesDecoded &+= 1
            hot.takeReadings(of: device, state, format, at: receivedAt)
            bodies.finish(key, last: part.part, answer: answer, at: clock.now())
        }
        wakeForBodies()
        guard !isReplaying else { return .taken }
        hot.keep(bytes, format, at: receivedAt, isEnvelope: isEnvelope)
        hot.answerKept(own, to: recipient)
        if state.exchange == nil { hot.answerKept(answer, to: recipient) }
        return .taken
    }

    /// At start, a part that a cut covers: its readings are in a batch if it completed its body.
    func rememberPart(
        _ part: FramePart, _ bytes: Span<UInt8>, _ format: FormatState, at receivedAt: Timestamp,
        isEnvelope: Bool
    ) {
        let key = BodyAssembly.Key(
            format: format.journalNumber, device: frame.device, part: part.key)
        let step = hold(part, key, bytes, format, at: receivedAt, isEnvelope: isEnvelope)
        if !bodies.givenUp.isEmpty { giveUp() }
        guard case .complete = step else { return wakeForBodies() }
        let answer = try? readWhole(key, format)
        bodies.finish(key, last: part.part, answer: answer ?? [], at: clock.now())
        wakeForBodies()
    }

    /// At start: the last run gave up the body that this part belonged to.
    func forgetGivenUp(_ part: FramePart?, _ format: FormatState, isCovered: Bool) {
        if let part {
            bodies.remove(
                BodyAssembly.Key(
                    format: format.journalNumber, device: frame.device, part: part.key))
        }
        if !isCovered { counters.bodiesGivenUp &+= 1 }
    }

    /// Called at every timer: bodies whose time is over.
    func expireBodies() {
        guard let due = bodies.nextDue else { return }
        if due <= clock.now() {
            bodies.expire(at: clock.now())
            giveUp()
        }
        wakeForBodies()
    }

    // MARK: Helpers

    private func hold(
        _ part: FramePart, _ key: BodyAssembly.Key, _ bytes: Span<UInt8>, _ format: FormatState,
        at receivedAt: Timestamp, isEnvelope: Bool
    ) -> BodyAssembly.Step {
        let piece = BodyAssembly.Piece(
            frame: copy(bytes), isEnvelope: isEnvelope, receivedAt: receivedAt)
        // A restart does not begin the time anew: the journal keeps covered frames only so long.
        let age =
            isReplaying ? clock.wall().milliseconds &- receivedAt.milliseconds : nil
        return bodies.take(
            part, of: key, source: format.source, piece, age: age, at: clock.now())
    }

    /// Decodes the body of all parts into `frame`; what to answer for it, beyond what its first part was
    /// answered.
    private func readWhole(
        _ key: BodyAssembly.Key, _ format: FormatState
    ) throws(Rejection) -> [UInt8] {
        let pieces = bodies.body(key)?.inOrder ?? []
        guard let first = pieces.first else { throw .malformed }
        var whole: [UInt8] = []
        var firstAnswer: [UInt8] = []
        for (number, piece) in pieces.enumerated() {
            try decode(piece, format)
            guard let part = frame.part else { throw .malformed }
            if number == 0 { firstAnswer = frame.answer }
            whole += format.decoder.body(
                of: part, in: piece.frame.span, isEnvelope: piece.isEnvelope)
        }
        try format.decoder.decode(
            first.frame.span, whole: whole.span, direction: .up,
            isEnvelope: first.isEnvelope, into: &frame)
        return frame.answer == firstAnswer ? [] : frame.answer
    }

    private func decode(
        _ piece: BodyAssembly.Piece, _ format: FormatState
    ) throws(Rejection) {
        if piece.isEnvelope {
            try format.decoder.decode(envelope: piece.frame.span, direction: .up, into: &frame)
        } else {
            try format.decoder.decode(piece.frame.span, direction: .up, into: &frame)
        }
    }

    /// Counts what was given up, sets its frames aside, and says so in the journal.
    private func giveUp() {
        let lost = bodies.givenUp
        bodies.givenUp = []
        for body in lost {
            counters.bodiesGivenUp &+= 1
            touchCounters()
            let state = sources[body.source]
            let pieces = body.inOrder
            for piece in pieces {
                let plain = piece.isEnvelope ? Decoder.payload(ofEnvelope: piece.frame) : nil
                let payload = plain ?? piece.frame
                putAside(
                    payload.span, source: state.source.name, .incomplete,
                    at: piece.receivedAt)
            }
            guard !isReplaying, let first = pieces.first,
                let format = state.formats.first(where: { $0.journalNumber == body.key.format })
            else { continue }
            let number = format.journalNumber + (first.isEnvelope ? 3 : 2)
            journal.append(first.frame.span, source: number, receivedAt: first.receivedAt)
            if firstJournaledAt == nil { firstJournaledAt = clock.now() }
        }
    }

    private func wakeForBodies() {
        if let due = bodies.nextDue { ports.wakeAt(due) }
    }
}

extension JournalSource {
    /// Of a frame whose body was given up.
    private static let givenUp = "+incomplete"

    var isGivenUp: Bool { format.hasSuffix(JournalSource.givenUp) }

    var withGivenUp: JournalSource {
        JournalSource(name: name, format: format + JournalSource.givenUp)
    }

    var withoutGivenUp: JournalSource {
        guard isGivenUp else { return self }
        return JournalSource(
            name: name, format: String(format.dropLast(JournalSource.givenUp.count)))
    }
}
