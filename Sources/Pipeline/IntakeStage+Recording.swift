// What a recording asks the intake about frames that it has just taken in: which format, whose. Decodes
// once more, so it costs only while somebody records; changes nothing that the stage relies on. On the
// intake's queue.

package import Catalog
import Formats
package import Model

/// A frame in words.
package struct RecordedFrame: Hashable, Sendable {
    package var format: String
    /// As the catalog calls the device; empty when the frame names none.
    package var device: String
}

extension IntakeStage {
    /// The frame in a datagram that `datagram` was just given, nil where no format of the source accepts
    /// it. `isCarried`: it came inside a conversation.
    package func recorded(
        _ bytes: Span<UInt8>, source: Int, isCarried: Bool
    ) -> RecordedFrame? {
        let state = sources[source]
        var scratch = DecodedFrame()
        for format in state.formats {
            do throws(Rejection) {
                if state.exchange != nil {
                    guard isCarried else { return nil }
                    let envelope = talk.envelope
                    try format.decoder.decode(
                        envelope: envelope.span, direction: .up, into: &scratch)
                } else {
                    try format.decoder.decode(bytes, direction: .up, into: &scratch)
                }
            } catch { continue }
            return RecordedFrame(
                format: format.format.name, device: name(of: scratch, state, format))
        }
        return nil
    }

    /// The frames in bytes that `stream` consumed, at most 64.
    package func recorded(stream bytes: Span<UInt8>, source: Int) -> [RecordedFrame] {
        var found: [RecordedFrame] = []
        var at = 0
        while at < bytes.count, found.count < 64 {
            switch find(bytes.extracting(at...), source: source, known: nil).0 {
            case .needsMore: return found
            case .rejected(let skip, let advance, _): at += skip + max(1, advance)
            case .frame(let skip, let count):
                let frame = bytes.extracting(at + skip..<at + skip + count)
                if let one = recorded(frame, source: source, isCarried: false) {
                    found.append(one)
                }
                at += skip + max(1, count)
            }
        }
        return found
    }

    /// See `deviceID`.
    private func name(
        of frame: DecodedFrame, _ state: SourceState, _ format: FormatState
    ) -> String {
        if frame.device == .empty, !state.source.unnamed.isEmpty { return state.source.unnamed }
        let text = format.decoder.identityText()
        guard !frame.isIdentityGlobal, format.scope != 0 else { return text }
        return text.isEmpty ? state.source.name : state.source.name + ":" + text
    }
}

// MARK: Devices, for people

extension IntakeStage {
    package var wall: Timestamp { clock.wall() }

    /// Devices with numbers above `after`, in order, at most `limit`.
    package func devices(after: DeviceID, limit: Int) -> [DeviceSummary] {
        catalog.summaries(after: after, limit: limit)
    }

    /// The devices of that name (of several formats, perhaps) with their streams. Looks at every device.
    package func device(
        called identity: String
    ) -> [(summary: DeviceSummary, streams: [Stream])] {
        var found: [(DeviceSummary, [Stream])] = []
        var after = DeviceID(0)
        while true {
            let page = catalog.summaries(after: after, limit: 10_000)
            guard let last = page.last else { return found }
            for summary in page where summary.device.identity == identity {
                found.append((summary, catalog.streams(of: summary.device.id)))
            }
            after = last.device.id
        }
    }
}
