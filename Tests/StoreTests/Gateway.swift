// A gateway played by hand against a store session: definitions, batches, verdicts.

import Batches
import Model
import Store
import Testing
import Uplink

let noon = Timestamp(milliseconds: 1_795_000_000_000)

func reading(
    _ stream: UInt32, _ value: Value, at milliseconds: Int64 = 0, quality: Quality = [],
    delay: Int64 = 40
) -> Reading {
    let observed = noon.milliseconds &+ milliseconds
    return Reading(
        stream: StreamID(stream), value: value, quality: quality,
        observedAt: Timestamp(milliseconds: observed),
        receivedAt: Timestamp(milliseconds: observed &+ delay))
}

func frame(_ sequence: UInt64, _ readings: [Reading], revision: UInt32 = 0) -> UplinkFrame {
    let sealed = BatchCodec.encode(
        readings, bucketStart: noon, bucketMilliseconds: 60_000, revision: revision,
        priority: .live, effort: .fast)
    return frame(sequence, bytes: sealed.bytes, readings: readings.count)
}

func frame(_ sequence: UInt64, bytes: [UInt8], readings: Int) -> UplinkFrame {
    .batch(
        BatchFrame(
            sequence: sequence, priority: .live, readings: UInt32(readings),
            crc: CRC32.of(bytes), bytes: bytes))
}

/// `devices` devices named `<prefix>1`… with streams `voltage` and `current` each: stream numbers
/// 2d − 1 and 2d.
func definitions(_ devices: Int, prefix: String = "meter-") -> [CatalogEntry] {
    guard devices > 0 else { return [] }
    var all: [CatalogEntry] = []
    for number in 1...UInt32(devices) {
        all.append(
            .device(
                Device(
                    id: DeviceID(number), identity: "\(prefix)\(number)", format: "test",
                    firstSeenAt: noon)))
        for (offset, name, unit) in [(UInt32(1), "voltage", "V"), (0, "current", "A")] {
            all.append(
                .stream(
                    Stream(
                        id: StreamID(2 * number - offset), device: DeviceID(number), name: name,
                        quantity: name, unit: unit, priority: .live)))
        }
    }
    return all
}

/// One connection of a gateway.
struct Gateway {
    let session: StoreSession
    var reader = FrameReader(side: .peer)
    var isClosed = false

    init(
        _ store: Store, name: String = "gw-1", incarnation: UInt64 = 1, role: PeerRole = .gateway,
        withHello: Bool = true
    ) throws {
        session = store.openSession()
        welcome = nil
        if withHello { _ = try greet(name: name, incarnation: incarnation, role: role) }
    }

    mutating func greet(
        name: String, incarnation: UInt64 = 1, role: PeerRole = .gateway
    ) throws -> [UplinkFrame] {
        let hello = Hello(
            role: role, incarnation: Incarnation(high: 7, low: incarnation), name: name,
            software: "test")
        let answers = try send([.hello(hello)])
        if case .welcome(let got)? = answers.first { welcome = got }
        return answers
    }

    var welcome: Welcome?

    /// Sends frames in one piece; the store's answers.
    mutating func send(_ frames: [UplinkFrame]) throws -> [UplinkFrame] {
        try send(bytes: frames.flatMap { $0.encoded() })
    }

    mutating func send(bytes: [UInt8]) throws -> [UplinkFrame] {
        try frames(session.receive(bytes, now: noon))
    }

    /// What the session answers after a turn of many.
    mutating func frames() throws -> [UplinkFrame] { try frames(session.answer()) }

    mutating func answered() throws -> [VerdictReason] { try frames().verdicts }

    private mutating func frames(_ answer: (reply: [UInt8], close: Bool)) throws -> [UplinkFrame] {
        isClosed = isClosed || answer.close
        reader.append(answer.reply)
        var all: [UplinkFrame] = []
        while let frame = try reader.next() { all.append(frame) }
        return all
    }

    /// Verdicts by sequence in the order in which they came.
    mutating func verdicts(_ frames: [UplinkFrame]) throws -> [VerdictReason] {
        try send(frames).verdicts
    }
}

extension [UplinkFrame] {
    var verdicts: [VerdictReason] {
        flatMap { frame -> [VerdictReason] in
            if case .acknowledgement(let answer) = frame {
                answer.entries.map(\.reason)
            } else {
                []
            }
        }
    }

    var goodbye: Goodbye.Code? {
        for case .goodbye(let goodbye) in self { return goodbye.code }
        return nil
    }
}
