// At start: frames that the last run had journaled. Those that a cut covers only refill the
// duplicate
// memory; the others are decoded again, under the policy of the time when they were taken in.

import Formats
package import Model
package import Spool

extension IntakeStage {
    // MARK: Recovery

    /// A frame of the journal, at start. Frames that a cut covers only refill the duplicate memory;
    /// the others are decoded again. They are in `framesReceived` already.
    package func replay(
        _ bytes: Span<UInt8>, source: JournalSource, receivedAt: Timestamp, isCovered: Bool
    ) {
        isReplaying = true
        defer { isReplaying = false }
        let wasGivenUp = source.isGivenUp
        let isEnvelope = source.withoutGivenUp.hasContext
        let source = source.withoutGivenUp.withoutContext
        let number = sources.firstIndex { $0.source.name == source.name }
        let format = number.flatMap { n in
            sources[n].source.formats.firstIndex { $0.name == source.format }
        }
        guard let number, let format else {
            if !isCovered { goneAtReplay(bytes, source: source, at: receivedAt) }
            return
        }
        if wasGivenUp {
            let format = sources[number].formats[format]
            let isRead = (try? replayed(bytes, format.decoder, isEnvelope)) != nil
            return forgetGivenUp(isRead ? frame.part : nil, format, isCovered: isCovered)
        }
        if isCovered {
            let decoder = sources[number].formats[format].decoder
            guard (try? replayed(bytes, decoder, isEnvelope)) != nil else { return }
            if let part = frame.part, sources[number].formats[format].assembles {
                return rememberPart(
                    part, bytes, sources[number].formats[format], at: receivedAt,
                    isEnvelope: isEnvelope)
            }
            if let key = frame.duplicateKey {
                let window =
                    frame.isKeyOfMessage
                    ? IntakeStage.messageWindow : sources[number].formats[format].duplicateWindow
                _ = hot.recent.containsOrInsert(key, at: receivedAt, window: window)
            }
            return
        }
        let state = sources[number]
        do throws(Rejection) {
            try replayed(bytes, state.formats[format].decoder, isEnvelope)
            try take(
                bytes, state, state.formats[format], at: receivedAt,
                answerTo: .connection(ConnectionID(0)), isEnvelope: isEnvelope)
        } catch {
            refuse(error, bytes, source: number, at: receivedAt)
        }
    }

    private func replayed(
        _ bytes: Span<UInt8>, _ decoder: Decoder, _ isEnvelope: Bool
    ) throws(Rejection) {
        if isEnvelope {
            try decoder.decode(envelope: bytes, direction: .up, into: &frame)
        } else {
            try decoder.decode(bytes, direction: .up, into: &frame)
        }
    }

    /// Publishes what `replay` yielded; false while the ring is full.
    package func publishReplayed() -> Bool {
        postEntries()
        postSetAside()
        publish()
        return publishedTo == outgoing.count
    }

    /// Uncovered frames that the spool could not read back.
    package func lostAtReplay(_ count: UInt64) { counters[.journalDamaged] &+= count }

    func goneAtReplay(_ bytes: Span<UInt8>, source: JournalSource, at time: Timestamp) {
        counters[.formatGone] &+= 1
        putAside(bytes, source: source.name, .formatGone, at: time)
    }
}

extension JournalSource {
    /// Of frames that are kept with what their conversation knew.
    private static let mark = "+context"

    var hasContext: Bool { format.hasSuffix(JournalSource.mark) }

    var withContext: JournalSource {
        JournalSource(name: name, format: format + JournalSource.mark)
    }

    var withoutContext: JournalSource {
        guard hasContext else { return self }
        return JournalSource(
            name: name, format: String(format.dropLast(JournalSource.mark.count)))
    }
}
