// Which of a source's formats a datagram is of, when the first that accepts it has no check value and what
// it reads is not plausible: sisters of one maker accept each other's frames and see stored records where
// the other has its values. On the intake's queue. A good frame of the first format costs one look at
// its readings; sources with one format, and formats with check values, nothing.

import Catalog
import Formats
import Model

extension FrameDesk {
    /// Whether every reading of `frame` lies in its range, and its time where the source believes it.
    func isPlausible(
        _ format: FormatState, _ state: SourceState, at receivedAt: Timestamp
    ) -> Bool {
        for decoded in frame.readings {
            var quality = Quality()
            do throws(Drop) {
                _ = try validate(
                    value: decoded.value, quality: &quality,
                    observedAt: decoded.observed(receivedAt), receivedAt: receivedAt,
                    rule: format.rules[Int(decoded.output)], timeRule: state.timeRule,
                    gatewayClockIsSet: receivedAt >= clockSetAfter)
            } catch { return false }
            if quality.contains(.outOfRange) || quality.contains(.deviceClockImplausible) {
                return false
            }
        }
        return true
    }

    /// The first format behind `first` that names the device and whose readings are plausible; `first`
    /// itself when there is none. `frame` is decoded by it afterwards.
    mutating func plausible(
        _ bytes: Span<UInt8>, _ state: SourceState, instead first: Int, at receivedAt: Timestamp
    ) throws(Rejection) -> FormatState {
        for format in state.formats[(first &+ 1)...] {
            do throws(Rejection) {
                try format.decoder.decode(bytes, direction: .up, into: &frame)
            } catch { continue }
            let isNamed = frame.device != .empty && !frame.readings.isEmpty
            if isNamed, isPlausible(format, state, at: receivedAt) { return format }
        }
        let format = state.formats[first]
        try format.decoder.decode(bytes, direction: .up, into: &frame)
        return format
    }
}
