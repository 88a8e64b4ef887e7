// Single readers under the fuzzer: what comes from the store and from gateways, and texts. Where a
// check value guards the content, the target computes it, or nothing behind it would be reached.

import Batches
import Formats
import Model
import Uplink

extension Subject {
    struct Reader {
        let name: String
        let make: () -> Subject
    }

    static var readers: [Reader] {
        [
            Reader(name: "envelope", make: envelopes),
            Reader(name: "batch", make: batches),
            Reader(name: "uplink", make: uplink),
            Reader(name: "uplink-bytes", make: uplinkBytes),
            Reader(name: "query-answer", make: queryAnswers),
            Reader(name: "line-pattern", make: linePatterns),
            Reader(name: "poller", make: poller),
            Reader(name: "json", make: json),
            Reader(name: "format-file", make: formatFiles),
            Reader(name: "guess", make: guessing),
        ] + hostReaders
    }

    private static func batches() -> Subject {
        // Small, so that a bomb is one soon.
        let limits = BatchLimits(maximumReadings: 20_000, maximumExpandedBytes: 1 << 20)
        return Subject { bytes in
            _ = try? BatchCodec.decode(bytes, limits: limits)
            let sum = CRC32.of(bytes)
            let tail = (0..<4).map { UInt8(truncatingIfNeeded: sum >> UInt32(8 * $0)) }
            guard let batch = try? BatchCodec.decode(bytes + tail, limits: limits) else { return }
            law(batch.readings.count == batch.info.readings, "another count than announced")
            law(batch.readings.count <= limits.maximumReadings, "more readings than the limit")
            // What can be read can be written, and read back.
            guard !batch.readings.contains(where: \.isMark), !batch.readings.isEmpty else { return }
            let again = BatchCodec.encode(
                batch.readings, bucketStart: batch.info.bucketStart,
                bucketMilliseconds: batch.info.bucketMilliseconds,
                revision: batch.info.revision, priority: batch.info.priority, effort: .fast)
            let copy = try? BatchCodec.decode(again.bytes, limits: limits)
            law(copy?.readings == batch.readings, "a batch that does not come back")
        }
    }

    /// Frames without their headers: u8 kind, u16 LE count, body.
    private static func uplink() -> Subject {
        Subject { bytes in
            for side in [FrameReader.Side.peer, .store] {
                var reader = FrameReader(side: side)
                var at = 0
                while at + 3 <= bytes.count {
                    let count = Int(bytes[at + 1]) | Int(bytes[at + 2]) << 8
                    let end = min(bytes.count, at + 3 + count)
                    reader.append(frame(kind: bytes[at], Array(bytes[at + 3..<end])))
                    guard read(&reader) else { break }
                    at = end
                }
            }
        }
    }

    private static func uplinkBytes() -> Subject {
        Subject { bytes in
            for side in [FrameReader.Side.peer, .store] {
                var reader = FrameReader(side: side)
                for start in stride(from: 0, to: bytes.count, by: 7) {
                    reader.append(Array(bytes[start..<min(start + 7, bytes.count)]))
                    guard read(&reader) else { break }
                }
            }
        }
    }

    /// All frames that are there. False: the connection is over.
    private static func read(_ reader: inout FrameReader) -> Bool {
        while true {
            do throws(WireError) {
                guard let frame = try reader.next() else { return true }
                law(frame.encoded().count >= UplinkProtocol.headerBytes, "a frame without a header")
            } catch { return false }
        }
    }

    static func frame(kind: UInt8, _ body: [UInt8]) -> [UInt8] {
        var head: [UInt8] = [UplinkProtocol.version, kind, 0, 0]
        head += (0..<4).map { UInt8(truncatingIfNeeded: body.count >> (8 * $0)) }
        let sum = CRC32.of(head + body)
        return head + (0..<4).map { UInt8(truncatingIfNeeded: sum >> UInt32(8 * $0)) } + body
    }

    /// A store that answers a reader: after a good welcome, as `uplink`.
    private static func queryAnswers() -> Subject {
        let welcome = UplinkFrame.welcome(
            Welcome(
                storeTime: Timestamp(milliseconds: 0), credit: 4, largestBatch: 1 << 20,
                knownDevice: 0, knownStream: 0, committed: CommittedSet(through: 0, runs: []))
        ).encoded()
        let filter = QueryFilter(limit: 100)
        return Subject { bytes in
            var client = QueryClient(filter: filter, name: "fuzz", software: "fuzz")
            guard !client.opening.isEmpty, (try? client.receive(welcome)) != nil else { return }
            var at = 0
            var rows = 0
            while at + 3 <= bytes.count, !client.isDone {
                let count = Int(bytes[at + 1]) | Int(bytes[at + 2]) << 8
                let end = min(bytes.count, at + 3 + count)
                let whole = frame(kind: bytes[at], Array(bytes[at + 3..<end]))
                guard let answer = try? client.receive(whole) else { return }
                rows += answer.rows.count
                law(rows <= 100, "more rows than asked for")
                at = end
            }
        }
    }

    private static func json() -> Subject {
        Subject { bytes in _ = try? JSONNode.parse(bytes, file: "fuzz") }
    }
}
