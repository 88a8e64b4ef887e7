// Figures on real recordings, printed and not asserted; every batch must come back bit for bit.
// Run: SLUICE_FIGURES=DIR swift test -c release --filter Figures   (DIR holds *.csv.gz)

import Batches
import Glibc
import Model
import Testing

/// Streams numbered in order of appearance, values as the doubles that their text parses to.
private func load(_ path: String) throws -> [Reading]? {
    guard let file = unsafe fopen(path, "rb") else { return nil }
    // Safety: opened above, closed once, here.
    defer { unsafe fclose(file) }
    var packed: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        // Safety: the buffer is `block`, whose count is passed.
        let count = unsafe fread(&block, 1, block.count, file)
        if count == 0 { break }
        packed.append(contentsOf: block[0..<count])
    }
    let text = try Gzip.expand(packed, limit: 1 << 30)
    var numbers: [Substring: UInt32] = [:]
    var result: [Reading] = []
    for line in text.split(separator: 10).dropFirst() {
        let fields = Substring(decoding: line, as: UTF8.self).split(separator: ",")
        guard fields.count == 3, let time = Int64(fields[1]), let value = Double(fields[2]) else {
            continue
        }
        let number = numbers[fields[0]] ?? UInt32(numbers.count + 1)
        numbers[fields[0]] = number
        result.append(
            reading(stream: number, kind: .double, bits: value.bitPattern, observed: time))
    }
    return result
}

private func environment(_ name: String) -> String? {
    // Safety: the environment is not changed while tests run.
    guard let text = unsafe getenv(name) else { return nil }
    return unsafe String(cString: text)
}

@Suite("Figures", .serialized, .enabled(if: environment("SLUICE_FIGURES") != nil))
struct FiguresTests {
    private static let files = [
        "air_beijing", "lorawan_grenoble", "machines_traffic_nab", "water_alicante_a",
    ]

    @Test(
        "bytes a reading on real recordings",
        arguments: [BatchEffort.stored, .fast, .normal, .best])
    func recordings(effort: BatchEffort) throws {
        let folder = environment("SLUICE_FIGURES") ?? ""
        for size in [1_000, 10_000, 100_000] {
            var product = 1.0
            var count = 0.0
            for file in FiguresTests.files {
                guard let all = try load("\(folder)/\(file).csv.gz") else { continue }
                let bytes = try measure(file, all, size: size, effort: effort)
                product *= bytes
                count += 1
            }
            if count > 0 {
                print("\(effort) \(size): geometric mean \(rounded(pow(product, 1 / count)))")
            }
        }
    }

    private func measure(
        _ name: String, _ all: [Reading], size: Int, effort: BatchEffort
    ) throws -> Double {
        let clock = ContinuousClock()
        var encoder = BatchEncoder()
        let possible = max(1, all.count / size)
        let batches = min(possible, size == 1_000 ? 12 : size == 10_000 ? 6 : 2)
        var (bytes, readings) = (0, 0)
        var (encoding, decoding) = (Duration.zero, Duration.zero)
        for index in 0..<batches {
            let from = possible * index / batches * size
            let part = Array(all[from..<min(all.count, from + size)])
            var batch: SealedBatch?
            encoding += clock.measure {
                batch = encoder.encode(
                    part.span, bucketStart: part[0].observedAt, bucketMilliseconds: 60_000,
                    revision: 0, priority: .live, effort: effort)
            }
            let sealed = try #require(batch)
            var decoded: DecodedBatch?
            try decoding += clock.measure { decoded = try BatchCodec.decode(sealed.bytes) }
            #expect(decoded?.readings == grouped(part))
            bytes += sealed.bytes.count
            readings += part.count
        }
        let each = Double(bytes) / Double(readings)
        let encode = encoding / readings
        let decode = decoding / readings
        print(
            "\(effort) \(size) \(name): \(rounded(each)) B, encode \(nanoseconds(encode)) ns,",
            "decode \(nanoseconds(decode)) ns")
        return each
    }

    private func rounded(_ v: Double) -> Double { (v * 1000).rounded() / 1000 }
    private func nanoseconds(_ d: Duration) -> Int64 { d.components.attoseconds / 1_000_000_000 }
}
