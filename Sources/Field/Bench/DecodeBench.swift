// `sluice bench decode`: what a frame costs from its bytes to readings, identity and duplicate key, as
// a ratio to a decoder written by hand for one vendor frame, in the same run.

import Formats
import Model

struct DecodeBench {
    private struct Entry {
        var name: String
        var format: String
        var decoder: Decoder?
        var frames: [[UInt8]]
    }

    private let entries: [Entry]
    private let allocations: (@Sendable () -> UInt64)?

    /// The three usual cases behind the yardstick.
    init(_ library: FormatLibrary, allocations: (@Sendable () -> UInt64)?) throws(Complaints) {
        self.allocations = allocations
        let vendor = (0..<64).map { VendorFrame.bytes($0) }
        var entries = [
            Entry(name: "by hand: vendor frame", format: "", decoder: nil, frames: vendor)
        ]
        let own = try FormatLibrary(text: VendorFrame.description, file: "bench-vendor")
        entries.append(
            Entry(
                name: "vendor frame", format: "bench-vendor", decoder: Decoder(own.formats[0]),
                frames: vendor))
        if let format = library.format(named: "dlt645") {
            entries.append(
                Entry(
                    name: "DL/T 645", format: format.name, decoder: Decoder(format),
                    frames: (0..<64).map(DecodeBench.meterFrame)))
        }
        if let format = library.format(named: "coap") {
            entries.append(
                Entry(
                    name: "CoAP with SenML-CBOR", format: format.name, decoder: Decoder(format),
                    frames: [DecodeBench.coapFrame]))
        }
        self.entries = entries
    }

    /// One format on given frames.
    init(_ format: Format, _ frames: [[UInt8]], allocations: (@Sendable () -> UInt64)?) {
        self.allocations = allocations
        entries = [
            Entry(
                name: "by hand: vendor frame", format: "", decoder: nil,
                frames: (0..<64).map { VendorFrame.bytes($0) }),
            Entry(name: format.name, format: format.name, decoder: Decoder(format), frames: frames),
        ]
    }

    struct Row {
        var name: String
        var format: String
        var bytes: Int
        var readings: Int
        var result: BenchResult
    }

    /// Nil with the reason when a frame is not accepted: a refusal is not what is measured.
    func run() -> Result<[Row], Refused> {
        var readings: [Int] = []
        for entry in entries {
            switch DecodeBench.check(entry.decoder, entry.frames) {
            case .success(let count): readings.append(count)
            case .failure(let refused): return .failure(refused)
            }
        }
        let results = Stopwatch.measure(
            entries.map { entry in
                BenchCase(name: entry.name) { DecodeBench.decode(entry.decoder, entry.frames, $0) }
            }, allocations: allocations)
        return .success(
            entries.indices.map { i in
                Row(
                    name: entries[i].name, format: entries[i].format,
                    bytes: entries[i].frames[0].count, readings: readings[i], result: results[i])
            })
    }

    struct Refused: Error {
        var format: String
        var why: String
    }

    /// Readings of the first frame, when all are accepted.
    private static func check(_ decoder: Decoder?, _ frames: [[UInt8]]) -> Result<Int, Refused> {
        var frame = DecodedFrame()
        var first = 0
        for (i, bytes) in frames.enumerated() {
            if let decoder {
                do throws(Rejection) {
                    try decoder.decode(bytes.span, direction: .up, into: &frame)
                } catch {
                    return .failure(Refused(format: decoder.format.name, why: error.reason))
                }
            } else if !VendorFrame.decode(bytes.span, into: &frame) {
                return .failure(Refused(format: "by hand", why: "the frame is not right"))
            }
            if i == 0 { first = frame.readings.count }
        }
        return .success(first)
    }

    private static func decode(_ decoder: Decoder?, _ frames: [[UInt8]], _ count: Int) {
        var frame = DecodedFrame()
        var next = 0
        guard let decoder else {
            for _ in 0..<count {
                let bytes = frames[next]
                _ = VendorFrame.decode(bytes.span, into: &frame)
                next = next + 1 == frames.count ? 0 : next + 1
            }
            return
        }
        for _ in 0..<count {
            let bytes = frames[next]
            try? decoder.decode(bytes.span, direction: .up, into: &frame)
            next = next + 1 == frames.count ? 0 : next + 1
        }
    }

    // MARK: Frames

    /// DL/T 645: positive active energy, total, with another value each.
    private static func meterFrame(_ n: Int) -> [UInt8] {
        func bcd(_ value: Int) -> UInt8 { UInt8(value / 10 % 10) << 4 | UInt8(value % 10) }
        var bytes: [UInt8] = [0x68]
        let address = 123_456_000 + n
        for i in 0..<6 {
            var rest = address
            for _ in 0..<i { rest /= 100 }
            bytes.append(bcd(rest % 100))
        }
        bytes += [0x68, 0x91, 8, 0x33, 0x33, 0x34, 0x33]
        var energy = 45_678 + 13 * n
        for _ in 0..<4 {
            bytes.append(bcd(energy % 100) &+ 0x33)
            energy /= 100
        }
        bytes.append(bytes.reduce(0, &+))
        return bytes + [0x16]
    }

    /// CON POST /up, Content-Format 112, five records: temperature, humidity, pressure, CO2, battery.
    private static let coapFrame: [UInt8] =
        HexText.bytes(
            "4402123401020304b275701170ff85a521781d75726e3a6465763a6d61633a30303234626566666665383034"
                + "6666313a221a69153ec0006b74656d7065726174757265016343656c02c4822119090ba3006868756d6964"
                + "697479016325524802c482201901e2a300687072657373757265016368506102c48220192794a30063636f"
                + "32016370706d02190264a300676261747465727901615602c48221190169") ?? []
}
