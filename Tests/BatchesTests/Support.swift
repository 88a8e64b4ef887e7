// What the tests of Batches share: seeded randomness, readings of every shape, and the plain model
// that a decoded batch is compared with.

import Batches
import Model

extension SplitMix64 {
    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
    mutating func pick<T>(_ items: [T]) -> T { items[below(items.count)] }
}

/// A reading whose fields are whatever is asked, also combinations that no decoder makes.
func reading(
    stream: UInt32, kind: Value.Kind = .decimal, exponent: Int8 = 0, bits: UInt64 = 0,
    quality: UInt16 = 0, observed: Int64 = 0, received: Int64? = nil
) -> Reading {
    Reading(
        stream: StreamID(stream), value: Value(kind: kind, exponent: exponent, bits: bits),
        quality: Quality(rawValue: quality), observedAt: Timestamp(milliseconds: observed),
        receivedAt: Timestamp(milliseconds: received ?? observed))
}

/// What a codec must give back: streams rising, each in order of arrival.
func grouped(_ readings: [Reading]) -> [Reading] {
    var byStream: [UInt32: [Reading]] = [:]
    for reading in readings { byStream[reading.stream.rawValue, default: []].append(reading) }
    return byStream.keys.sorted().flatMap { byStream[$0] ?? [] }
}

func encoded(_ readings: [Reading], effort: BatchEffort = .normal) -> [UInt8] {
    BatchCodec.encode(
        readings, bucketStart: Timestamp(milliseconds: 1_700_000_000_000),
        bucketMilliseconds: 60_000, revision: 7, priority: .live, effort: effort
    ).bytes
}

/// Bytes with their last four replaced by the right checksum.
func resealed(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.count >= 4 else { return bytes }
    var result = Array(bytes.dropLast(4))
    let crc = CRC32.of(result)
    for shift in stride(from: UInt32(0), to: 32, by: 8) {
        result.append(UInt8(truncatingIfNeeded: crc >> shift))
    }
    return result
}

private let oddDoubles: [UInt64] = [
    0, 1 << 63, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000, 0x7FF8_0000_0000_0000,
    0x7FF8_0000_DEAD_BEEF, 0xFFF4_0000_0000_0001, 1, 0x000F_FFFF_FFFF_FFFF, 0x7FEF_FFFF_FFFF_FFFF,
    (0.1).bitPattern, (-0.1).bitPattern, (1e17).bitPattern, (9_007_199_254_740_993.0).bitPattern,
    (0.1 + 0.2).bitPattern, Double(Float(0.1)).bitPattern, (1e-17).bitPattern, (1e300).bitPattern,
]
private let oddTimes: [Int64] = [.min, .min + 1, -1, 0, 1, .max - 1, .max, 1_700_000_000_000]

/// One generator for each habit of devices, and some that no device has.
enum Habit: CaseIterable {
    case frames, sleepers, decimals, mixed, chaos, constant, oddDoubles, oddTimes, many, singles
}

func readings(_ habit: Habit, count: Int, _ random: inout SplitMix64) -> [Reading] {
    let start: Int64 = 1_700_000_000_000
    var result: [Reading] = []
    var level: [Int64] = (0..<40).map { _ in Int64(random.below(100_000)) }
    for i in 0..<count {
        let stream = UInt32(1 + random.below(12))
        let t = start + Int64(i) * 1000
        switch habit {
        case .frames:
            let row = i / 8
            if random.below(20) == 0 { continue }
            level[i % 8] += Int64(random.below(7)) - 3
            result.append(
                reading(
                    stream: UInt32(100 + i % 8), exponent: Int8(-(i % 3)),
                    bits: UInt64(bitPattern: level[i % 8]), quality: 0x40,
                    observed: start + Int64(row) * 10_000 + Int64(row % 5)))
        case .sleepers:
            let received = start + Int64(i / 24) * 60_000 + Int64(random.below(900))
            result.append(
                reading(
                    stream: UInt32(i / 24 % 9), bits: UInt64(i),
                    observed: start + Int64(i % 24 - 24) * 3_600_000, received: received))
        case .decimals:
            let v = Double(random.below(4000) - 2000) / 100
            let isOdd = random.below(50) == 0
            result.append(
                reading(
                    stream: stream, kind: .double,
                    bits: (isOdd ? v * 1.000000000000001 : v).bitPattern, observed: t))
        case .mixed:
            let kind = random.pick(Value.Kind.allCases)
            result.append(
                reading(
                    stream: stream, kind: kind, exponent: kind == .decimal ? -2 : 0,
                    bits: kind == .boolean ? UInt64(i & 1) : UInt64(random.below(500)),
                    quality: UInt16(random.below(4)), observed: t, received: t + 120))
        case .chaos:
            result.append(
                reading(
                    stream: UInt32(truncatingIfNeeded: random.next()),
                    kind: random.pick(Value.Kind.allCases),
                    exponent: Int8(truncatingIfNeeded: random.next()),
                    bits: random.next() >> UInt64(random.below(64)),
                    quality: UInt16(truncatingIfNeeded: random.next()),
                    observed: Int64(bitPattern: random.next()),
                    received: Int64(bitPattern: random.next())))
        case .constant:
            result.append(reading(stream: stream, bits: 42, observed: start))
        case .oddDoubles:
            result.append(
                reading(
                    stream: stream % 3, kind: .double, exponent: random.below(9) == 0 ? 5 : 0,
                    bits: random.pick(oddDoubles), observed: t))
        case .oddTimes:
            result.append(
                reading(
                    stream: stream % 2, bits: UInt64(i), observed: random.pick(oddTimes),
                    received: random.pick(oddTimes)))
        case .many:
            result.append(
                reading(stream: UInt32(i / 3 + 1), bits: UInt64(i % 50), observed: t / 3 * 3))
        case .singles:
            let single = Double(Float(Double(random.below(300) - 150) / 10))
            result.append(
                reading(
                    stream: stream % 4, kind: .double, bits: single.bitPattern,
                    observed: start + Int64(i) * 60_000 + Int64(random.below(2000))))
        }
    }
    return result.isEmpty ? [reading(stream: 1)] : result
}
