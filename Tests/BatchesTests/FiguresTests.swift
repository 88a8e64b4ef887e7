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

/// CPU time of this thread in nanoseconds: other work on the machine does not count.
private func cpu(_ work: () throws -> Void) rethrows -> Int64 {
    func now() -> Int64 {
        var time = timespec()
        // Safety: clock_gettime writes the one timespec it is given.
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
    let start = now()
    try work()
    return now() - start
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
        var encoder = BatchEncoder()
        let possible = max(1, all.count / size)
        let batches = min(possible, size == 1_000 ? 12 : size == 10_000 ? 6 : 2)
        var (bytes, readings) = (0, 0)
        var (encoding, decoding) = (Int64(0), Int64(0))
        for index in 0..<batches {
            let from = possible * index / batches * size
            let part = Array(all[from..<min(all.count, from + size)])
            var batch: SealedBatch?
            encoding += cpu {
                batch = encoder.encode(
                    part.span, bucketStart: part[0].observedAt, bucketMilliseconds: 60_000,
                    revision: 0, priority: .live, effort: effort)
            }
            let sealed = try #require(batch)
            var decoded: DecodedBatch?
            try decoding += cpu { decoded = try BatchCodec.decode(sealed.bytes) }
            #expect(decoded?.readings == grouped(part))
            bytes += sealed.bytes.count
            readings += part.count
        }
        let each = Double(bytes) / Double(readings)
        print(
            "\(effort) \(size) \(name): \(rounded(each)) B,",
            "encode \(encoding / Int64(readings)) ns, decode \(decoding / Int64(readings)) ns")
        return each
    }

    private func rounded(_ v: Double) -> Double { (v * 1000).rounded() / 1000 }

    /// A gateway's epoch: 20 streams a device, one frame each, arriving over 10 seconds.
    @Test("nanoseconds and bytes a reading through an epoch")
    func epoch() {
        var random = SplitMix64(seed: 1)
        var input: [Reading] = []
        var levels = (0..<20_000).map { _ in 20_000 + random.below(4000) }
        for frame in 0..<1_000 {
            let t = 1_700_000_040_000 + Int64(frame) * 10
            for output in 0..<20 {
                let stream = frame * 20 + output
                levels[stream] = output * 1000 + random.below(100)
                input.append(
                    reading(
                        stream: UInt32(stream + 1), exponent: Int8(-(output % 4)),
                        bits: UInt64(levels[stream]), quality: 0x40, observed: t))
            }
        }
        var epoch = Epoch()
        for round in 0..<4 {
            let adding = cpu { epoch.add(input.span) }
            var bytes = 0
            let sealing = cpu { bytes = epoch.seal().reduce(0) { $0 + $1.bytes.count } }
            let count = Int64(input.count)
            print(
                "epoch \(round): add \(adding / count) ns, seal \(sealing / count) ns,",
                "\(rounded(Double(bytes) / Double(count))) B")
        }
    }
}
