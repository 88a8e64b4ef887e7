// The frame of protocols/reference-sensor.json5, made for sending: the one format whose devices exist
// in this harness only. Everything in a frame follows from its number and the seed, so that the audit
// can say what the store must hold without keeping what was sent.
//
//   0 "SL" | 2 version 1 | 3 flags (bit 0: wants an answer) | 4 device id 8 | 12 sequence u32
//   16 time u48 ms | 22 temperature s16 | 24 humidity u16 | 26 pressure u32 | 30 CO2 u16
//   32 battery u16 | 34 reserved 28 | 62 CRC-16/Modbus, low byte first
//   answer: "SL" 81 00 | sequence u32 | 00 00 | CRC-16/Modbus, low byte first

import Glibc
import Model

/// The population's arithmetic: which device sends frame `index`, when, and what.
package struct Population: Sendable {
    package var devices: Int
    /// Device time of each device's first frame, ms since 1970.
    package var startMilliseconds: Int64
    /// Between two frames of a device; at least a millisecond, so that each frame has its own time.
    package var periodMilliseconds: Double
    package var seed: UInt64
    let traffic: Traffic
    /// The finest time that a frame can carry.
    private let granularity: Int64

    package init(
        devices: Int, startMilliseconds: Int64, rate: Double?, seed: UInt64,
        shape: LoadShape = .steady, frames: Int = 0, granularity: Int64 = 1
    ) {
        self.devices = devices
        self.startMilliseconds = startMilliseconds
        periodMilliseconds = max(1, rate.map { Double(devices) * 1000 / $0 } ?? 1)
        self.seed = seed
        self.granularity = granularity
        traffic = Traffic(shape, devices: devices, frames: frames)
    }

    package func device(_ index: Int) -> Int { traffic.place(index).device }

    /// Unique over the population, rising with each device.
    package func sequence(_ index: Int) -> UInt32 { UInt32(truncatingIfNeeded: index + 1) }

    /// Times of steady devices go on from the start of the run, as its clock does; those of the others,
    /// and coarse ones, end there: nothing is observed in the future.
    private var isForward: Bool { traffic.shape == .steady && granularity == 1 }

    package func observedAt(_ index: Int) -> Int64 {
        let (device, round) = traffic.place(index)
        if isForward { return startMilliseconds + Int64(Double(round) * periodMilliseconds) }
        let part = traffic.part(of: device)
        let end = startMilliseconds / granularity * granularity
        return end - Int64(part.rounds - round) * traffic.step(part, granularity: granularity)
    }

    /// The frame of a device that carries a time; nil when none does.
    package func index(device: Int, observedAt time: Int64) -> Int? {
        let part = traffic.part(of: device)
        if isForward {
            let near = Int(Double(time - startMilliseconds) / periodMilliseconds)
            return (near - 1...near + 1).first {
                $0 >= 0 && startMilliseconds + Int64(Double($0) * periodMilliseconds) == time
            }.map { traffic.index(device: device, round: $0) }
        }
        let step = traffic.step(part, granularity: granularity)
        let (back, rest) = (startMilliseconds / granularity * granularity - time)
            .quotientAndRemainder(dividingBy: step)
        let round = part.rounds - Int(clamping: back)
        return rest == 0 && round >= 0 ? traffic.index(device: device, round: round) : nil
    }

    /// Identity bytes of a device; the label shows them as 16 hex digits.
    package static func identity(_ device: Int) -> UInt64 {
        0x00E1_0000_0000_0000 | UInt64(device)
    }

    /// The device of an identity text, nil when it is none of ours.
    package func device(identity: String) -> Int? {
        guard let number = UInt64(identity, radix: 16) else { return nil }
        let device = Int(truncatingIfNeeded: number & 0xFFFF_FFFF)
        return Population.identity(device) == number && device < devices ? device : nil
    }

    /// Mantissas of the readings of frame `index`, in the order of `Population.streams`: over their whole
    /// ranges for steady devices, else as sensors in a city have them.
    package func values(_ index: Int) -> [5 of Int64] {
        var random = SplitMix64(seed: seed ^ UInt64(index) &* 0x2545_F491_4F6C_DD1D)
        let r = random.next()
        if traffic.shape != .steady { return cityValues(index, r) }
        return [
            Int64(1500 + r % 1000), Int64(4000 + (r >> 10) % 3000),
            Int64(100_000 + (r >> 22) % 3000),
            Int64(400 + (r >> 34) % 800), Int64(3100 + (r >> 45) % 500),
        ]
    }

    /// A day's course with a device's own level and little noise; the battery falls by the frame.
    private func cityValues(_ index: Int, _ r: UInt64) -> [5 of Int64] {
        let (device, round) = traffic.place(index)
        let own = Double((UInt64(device) &* 0x9E37_79B9_7F4A_7C15) >> 54) / 1024
        let day = Double(observedAt(index) % 86_400_000) / 86_400_000
        let course = sin((day - 0.375) * 2 * .pi)
        func noise(_ shift: UInt64, _ width: Double) -> Double {
            (Double((r >> shift) & 1023) / 1023 - 0.5) * width
        }
        let temperature = 1800 + own * 400 + course * 450 + noise(0, 12)
        return [
            Int64(temperature), Int64(6200 - own * 800 - course * 900 + noise(10, 60)),
            Int64(101_300 + own * 200 - course * 90 + noise(20, 30)),
            Int64(520 + own * 150 + course * 70 + noise(30, 20)),
            Int64(3600 - own * 100 - Double(min(round, 2000)) / 20),
        ]
    }

    /// Names of the streams and the power of ten of their values.
    package static let streams: [(name: String, exponent: Int8)] = [
        ("temperature", -2), ("humidity", -2), ("pressure", 0), ("co2", 0), ("battery", -3),
    ]
}

enum ReferenceFrame {
    static let size = 64
    static let answerSize = 12

    static func write(
        into frame: inout [UInt8], index: Int, asks: Bool, of population: Population
    ) {
        precondition(frame.count == size, "a reference frame has 64 bytes")
        for i in 34..<62 { frame[i] = 0 }
        frame[0] = 0x53
        frame[1] = 0x4C
        frame[2] = 1
        frame[3] = asks ? 1 : 0
        let values = population.values(index)
        put(Population.identity(population.device(index)), 8, into: &frame, at: 4)
        put(UInt64(population.sequence(index)), 4, into: &frame, at: 12)
        put(UInt64(bitPattern: population.observedAt(index)), 6, into: &frame, at: 16)
        put(UInt64(bitPattern: values[0]), 2, into: &frame, at: 22)
        put(UInt64(bitPattern: values[1]), 2, into: &frame, at: 24)
        put(UInt64(bitPattern: values[2]), 4, into: &frame, at: 26)
        put(UInt64(bitPattern: values[3]), 2, into: &frame, at: 30)
        put(UInt64(bitPattern: values[4]), 2, into: &frame, at: 32)
        let crc = crc16(frame, 62)
        frame[62] = UInt8(crc & 255)
        frame[63] = UInt8(crc >> 8)
    }

    /// The sequence that an answer is for; nil when the bytes are no answer.
    static func answered(by bytes: [UInt8], count: Int) -> UInt32? {
        guard count == answerSize, bytes.count >= answerSize, bytes[0] == 0x53, bytes[1] == 0x4C,
            bytes[2] == 0x81, bytes[3] == 0,
            crc16(bytes, 10) == UInt16(bytes[10]) | UInt16(bytes[11]) << 8
        else { return nil }
        var sequence: UInt32 = 0
        for i in 4..<8 { sequence = sequence << 8 | UInt32(bytes[i]) }
        return sequence
    }

    private static func put(_ value: UInt64, _ width: Int, into frame: inout [UInt8], at: Int) {
        for i in 0..<width {
            frame[at + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - i)))
        }
    }

    /// CRC-16/Modbus (polynomial 0x8005 reflected, init FFFF) of the first `count` bytes.
    static func crc16(_ bytes: [UInt8], _ count: Int) -> UInt16 {
        crc16(bytes.span.extracting(0..<count))
    }

    static func crc16(_ bytes: Span<UInt8>) -> UInt16 {
        var crc: UInt16 = 0xFFFF
        for i in 0..<bytes.count {
            crc = crc >> 8 ^ table[Int(UInt8(truncatingIfNeeded: crc) ^ bytes[i])]
        }
        return crc
    }

    private static let table: [UInt16] = (0..<256).map { byte in
        var crc = UInt16(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xA001 : crc >> 1 }
        return crc
    }
}

/// Whole frames, for tests.
package enum ReferenceFrames {
    package static func frame(_ index: Int, asks: Bool, of population: Population) -> [UInt8] {
        var frame = [UInt8](repeating: 0, count: ReferenceFrame.size)
        ReferenceFrame.write(into: &frame, index: index, asks: asks, of: population)
        return frame
    }

    package static func answered(by bytes: [UInt8]) -> UInt32? {
        ReferenceFrame.answered(by: bytes, count: bytes.count)
    }
}
