// Laws of columns: whatever a sensor's series looks like it comes back in every effort, and what two
// columns share is paid for once. Names travel with a batch that travels alone.

import Batches
import Model
import Testing

/// Series as devices make them.
enum Series: CaseIterable {
    case drift, constant, counter, noise, floats, steps, bursts, wide, wrapping

    func next(_ last: Int64, _ row: Int, _ random: inout SplitMix64) -> Int64 {
        switch self {
        case .drift: last &+ Int64(random.below(7)) &- 3
        case .constant: random.below(400) == 0 ? last &+ 1 : last
        case .counter: last &+ (random.below(3) == 0 ? Int64(random.below(90)) : 0)
        case .noise: Int64(random.below(5_000))
        case .floats: Int64(bitPattern: random.next() >> 12)
        case .steps: last &+ Int64(random.below(5)) &* 250
        case .bursts: row % 4 == 0 ? last &+ Int64(random.below(60)) : last
        case .wide: last &+ Int64(random.below(1 << 40))
        case .wrapping: Int64(bitPattern: random.next())
        }
    }
}

/// Devices of `width` quantities each that report together, with gaps, late and repeated frames.
private func recording(_ series: [Series], rows: Int, _ random: inout SplitMix64) -> [Reading] {
    var values = [Int64](repeating: 1_000, count: series.count * 3)
    var result: [Reading] = []
    for row in 0..<rows {
        for device in 0..<3 {
            if random.below(30) == 0 { continue }
            var t = 1_700_000_000_000 + Int64(row) * 300_000 + Int64(random.below(3)) * 1000
            if random.below(50) == 0 { t -= 3_600_000 }
            for (i, one) in series.enumerated() {
                let stream = device * series.count + i
                values[stream] = one.next(values[stream], row, &random)
                let isDouble = i % 2 == 0 && abs(values[stream]) < 1 << 50
                let bits =
                    isDouble
                    ? (Double(values[stream]) / 100).bitPattern
                    : UInt64(bitPattern: values[stream])
                result.append(
                    reading(
                        stream: UInt32(stream), kind: isDouble ? .double : .decimal,
                        exponent: isDouble ? 0 : -2, bits: bits, observed: t))
            }
        }
    }
    return result
}

@Suite("Columns")
struct CoderTests {
    @Test("every mixture of series comes back in every effort", arguments: BatchEffort.allCases)
    func mixtures(effort: BatchEffort) throws {
        for seed in UInt64(1)...25 {
            var random = SplitMix64(seed: seed)
            let series = (0..<1 + random.below(5)).map { _ in random.pick(Series.allCases) }
            let rows = [2, 9, 40, 300][random.below(4)]
            let input = recording(series, rows: rows, &random)
            guard !input.isEmpty else { continue }
            let isSame =
                try BatchCodec.decode(encoded(input, effort: effort)).readings == grouped(input)
            #expect(isSame, "\(effort), seed \(seed), \(series), \(rows) rows")
        }
    }

    private func size(_ columns: [[Int64]], effort: BatchEffort = .normal) -> Int {
        var input: [Reading] = []
        for row in columns[0].indices {
            for (stream, column) in columns.enumerated() {
                input.append(
                    reading(
                        stream: UInt32(stream), bits: UInt64(bitPattern: column[row]),
                        observed: 1_700_000_000_000 + Int64(row) * 60_000))
            }
        }
        return encoded(input, effort: effort).count
    }

    private func walk(_ count: Int, step: Int64 = 1) -> [Int64] {
        var random = SplitMix64(seed: 17)
        var value: Int64 = 20_000
        return (0..<count).map { _ in
            value += (Int64(random.below(41)) - 20) * step
            return value
        }
    }

    @Test("a column that repeats another costs next to nothing", arguments: [1, 5])
    func copies(others: Int) {
        let column = walk(500)
        let noise = (0..<others).map { n in
            column.indices.map { Int64(($0 * 7_919 + n * 31) % 977) }
        }
        let one = size([column] + noise)
        #expect(size([column] + noise + [column]) < one + 16)
    }

    @Test("a factor that all steps share costs nothing")
    func factors() {
        #expect(size([walk(800, step: 250)]) < size([walk(800)]) + 8)
    }

    @Test("the range coder needs fewer bytes than deflate at its best for a meter's counter")
    func coderIsSmaller() {
        var random = SplitMix64(seed: 23)
        var total: Int64 = 100_000
        let column = (0..<2_000).map { _ in
            if random.below(3) == 0 { total += Int64(random.below(1 + random.below(60))) }
            return total
        }
        #expect(size([column]) * 100 < size([column], effort: .deflated) * 95)
    }

    // MARK: Names

    private func named(_ names: [String], seed: UInt64 = 3) -> ([Reading], [[UInt8]]) {
        var random = SplitMix64(seed: seed)
        let input = (0..<names.count * 5).map {
            reading(
                stream: UInt32($0 % names.count), kind: .double,
                bits: (Double(random.below(900)) / 10).bitPattern, observed: Int64($0) * 1000)
        }
        return (input, names.map { Array($0.utf8) })
    }

    @Test(
        "names come back, whatever is in them",
        arguments: [
            ["a"], [""], ["a/b"], ["/", "//", "a/"], ["x/1", "x/2", "y/1", "z"], ["水表/流量", "a,b"],
        ])
    func names(_ names: [String]) throws {
        let (input, bytes) = named(names)
        for effort in BatchEffort.allCases {
            let batch = BatchCodec.encode(input, names: bytes, effort: effort)
            let (decoded, back) = try BatchCodec.decodeNamed(batch)
            #expect(back == bytes)
            #expect(decoded.readings == grouped(input))
        }
    }

    @Test("a store refuses a batch with names, and one without has none")
    func namesElsewhere() throws {
        let (input, bytes) = named(["p/q"])
        let batch = BatchCodec.encode(input, names: bytes)
        #expect(throws: BatchError.unsupported(flags: 3)) { try BatchCodec.decode(batch) }
        #expect(try BatchCodec.decodeNamed(encoded(input)).names.isEmpty)
    }

    @Test("survives names that are damaged under a right checksum")
    func damagedNames() {
        let (input, bytes) = named(["s1/t", "s1/h", "s2/t", "s2/h", "s3"])
        for effort in [BatchEffort.stored, .best] {
            let batch = BatchCodec.encode(input, names: bytes, effort: effort)
            for offset in 6..<batch.count - 4 {
                for value in [UInt8(0), 1, 0x0A, 0x7F, 0x80, 0xFF] {
                    var changed = batch
                    changed[offset] = value
                    guard let (decoded, names) = try? BatchCodec.decodeNamed(resealed(changed))
                    else { continue }
                    let streams = Set(decoded.readings.map(\.stream)).count
                    #expect(names.isEmpty || names.count == streams)
                }
            }
        }
    }
}
