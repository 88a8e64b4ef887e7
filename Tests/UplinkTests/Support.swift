// Random frames and a small random generator for the uplink's tests. Everything comes from a seed.

import Model
import Uplink

struct Random {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    mutating func name(_ most: Int) -> String {
        let letters = Array("abcXYZ019._:-")
        return String((0..<1 + below(most)).map { _ in letters[below(letters.count)] })
    }

    mutating func text(_ most: Int) -> String {
        let letters: [Character] = ["a", "°", "²", "→", "😀", " ", "Ω"]
        var text = ""
        while true {
            let letter = letters[below(letters.count)]
            if text.utf8.count + letter.utf8.count > most || chance(10) { return text }
            text.append(letter)
        }
    }

    mutating func timestamp() -> Timestamp { Timestamp(milliseconds: Int64(bitPattern: next())) }

    mutating func position() -> RowPosition {
        RowPosition(stream: next(), observedAt: timestamp(), row: next())
    }

    mutating func entry() -> CatalogEntry {
        if chance(50) {
            return .device(
                Device(
                    id: DeviceID(UInt32(1 + below(1 << 30))), identity: name(60), format: text(60),
                    firstSeenAt: timestamp()))
        }
        return .stream(
            Stream(
                id: StreamID(UInt32(1 + below(1 << 30))), device: DeviceID(UInt32(1 + below(99))),
                name: name(120), quantity: text(64), unit: text(64),
                priority: Priority(rawValue: UInt8(below(3)))!))
    }

    mutating func row() -> StoredReading {
        StoredReading(
            gateway: name(60), device: name(60), stream: name(120), quantity: text(64),
            unit: text(64), position: position(), receivedAt: timestamp(),
            value: Value(
                kind: Value.Kind(rawValue: UInt8(below(5)))!,
                exponent: Int8(truncatingIfNeeded: next()), bits: next()),
            quality: Quality(rawValue: UInt16(truncatingIfNeeded: next())), batchSequence: next(),
            revision: UInt32(truncatingIfNeeded: next()))
    }

    /// A frame that a peer may send after hello, or hello itself.
    mutating func toStore(_ kind: Int) -> UplinkFrame {
        switch kind {
        case 0:
            return .hello(
                Hello(
                    role: chance(50) ? .gateway : .reader,
                    incarnation: Incarnation(high: next(), low: next()), name: name(60),
                    software: text(64)))
        case 1: return .entries((0..<below(6)).map { _ in entry() })
        case 2:
            let content = bytes(below(300))
            return .batch(
                BatchFrame(
                    sequence: 1 + next() >> 2, priority: Priority(rawValue: UInt8(below(3)))!,
                    readings: UInt32(below(1000)), crc: CRC32.of(content), bytes: content))
        case 3:
            return .query(
                Query(
                    token: UInt32(below(1000)),
                    filter: QueryFilter(
                        gateway: chance(50) ? name(60) : nil, device: chance(50) ? name(60) : nil,
                        stream: chance(50) ? name(120) : nil, from: chance(50) ? timestamp() : nil,
                        to: chance(50) ? timestamp() : nil, limit: below(100_000)),
                    after: chance(50) ? position() : nil))
        case 4: return .ping(token: next())
        default:
            return .goodbye(Goodbye(Goodbye.Code.allCases[below(7)], text(200)))
        }
    }

    /// A frame that a store may send.
    mutating func fromStore(_ kind: Int) -> UplinkFrame {
        switch kind {
        case 0:
            var runs: [ClosedRange<UInt64>] = []
            let through = UInt64(below(1000))
            var last = through
            for _ in 0..<below(128) {
                let lower = last + 2 + UInt64(below(50))
                last = lower + UInt64(below(50))
                runs.append(lower...last)
            }
            return .welcome(
                Welcome(
                    storeTime: timestamp(), credit: UInt16(below(65536)),
                    largestBatch: UInt32(below(1 << 22)), knownDevice: UInt32(below(1 << 31)),
                    knownStream: UInt32(below(1 << 31)),
                    committed: CommittedSet(through: through, runs: runs)))
        case 1:
            return .acknowledgement(
                Acknowledgement(
                    credit: UInt16(below(65536)),
                    entries: (0..<below(40)).map { _ in
                        Acknowledgement.Entry(
                            sequence: next(), reason: VerdictReason.allCases[below(11)],
                            detail: text(100))
                    }))
        case 2:
            return .rows(
                Rows(
                    token: UInt32(below(1000)), hasMore: chance(50), isEnd: chance(50),
                    rows: (0..<below(6)).map { _ in row() }))
        case 3:
            return .pong(token: next(), storeTime: timestamp(), credit: UInt16(below(65536)))
        default:
            return .goodbye(Goodbye(Goodbye.Code.allCases[below(7)], text(200)))
        }
    }
}

/// Everything that one piece of bytes yields, fed to a reader in the given pieces.
func frames(_ pieces: [[UInt8]], side: FrameReader.Side) throws -> [UplinkFrame] {
    var reader = FrameReader(side: side)
    var all: [UplinkFrame] = []
    for piece in pieces {
        reader.append(piece)
        while let frame = try reader.next() { all.append(frame) }
    }
    return all
}
