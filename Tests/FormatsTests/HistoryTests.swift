// What a decoder decoded before changes nothing: a frame reads the same after any other frames. Found by
// the fuzzer in a frame of HJ 212 without QN, which got the answer that an earlier one's QN was due.

import Formats
import Model
import Testing

@Suite("History")
struct HistoryTests {
    /// All that a decoder says of a frame.
    private static func verdict(
        _ decoder: Decoder, _ bytes: [UInt8], _ direction: Direction
    ) -> String {
        var frame = DecodedFrame()
        do throws(Rejection) {
            try decoder.decode(bytes.span, direction: direction, into: &frame)
        } catch { return error.code }
        let readings = frame.readings.map {
            "\($0.output) \($0.discriminator) \($0.value) \($0.quality) "
                + String(describing: $0.observedAt)
        }
        return "\(frame.device) \(decoder.identityText()) \(frame.isControl) \(frame.isRequest) "
            + "\(frame.duplicateKey ?? 0) \(frame.answer) \(String(describing: frame.part)) \(readings)"
    }

    /// The row with parts of it gone, doubled or changed, and its check value right again.
    private static func changed(_ row: Fixtures.Row, _ random: inout SplitMix64) -> [UInt8] {
        var bytes = row.bytes
        guard bytes.count > 4 else { return bytes }
        for _ in 0...Int.random(in: 0..<2, using: &random) {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: bytes[at] = .random(in: 0...255, using: &random)
            case 1: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            default:
                let from = Int.random(in: 0..<bytes.count - 2, using: &random)
                bytes[at] = bytes[from]
            }
        }
        return row.format.mended(bytes)
    }

    @Test(
        "a frame reads the same whatever was decoded before it",
        arguments: [1, 2, 3, 4] as [UInt64])
    func history(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let rows = Dictionary(grouping: try Fixtures.rows(), by: \.format.name)
        for name in rows.keys.sorted() {
            guard let all = rows[name], let format = all.first?.format else { continue }
            var frames: [(bytes: [UInt8], direction: Direction, alone: String)] = []
            for _ in 0..<60 {
                let row = all[Int.random(in: 0..<all.count, using: &random)]
                let bytes =
                    Double.random(in: 0..<1, using: &random) < 0.3
                    ? row.bytes : Self.changed(row, &random)
                let alone = Decoder(format, seed: 1, remembersShapes: false)
                frames.append((bytes, row.direction, Self.verdict(alone, bytes, row.direction)))
            }
            for remembers in [false, true] {
                let decoder = Decoder(format, seed: 1, remembersShapes: remembers)
                for _ in 0..<300 {
                    let frame = frames[Int.random(in: 0..<frames.count, using: &random)]
                    #expect(
                        Self.verdict(decoder, frame.bytes, frame.direction) == frame.alone,
                        "seed \(seed), \(name), shapes \(remembers): \(frame.bytes)")
                }
            }
        }
    }

    @Test("a frame of HJ 212 without QN gets no answer, also behind one with QN")
    func withoutName() throws {
        let format = try Fixtures.format("hj212")
        func frame(_ text: String) -> [UInt8] {
            let segment =
                text + ";ST=31;CN=2051;PW=123456;MN=010000A8900016F000169DC0;Flag=5;"
                + "CP=&&DataTime=20261121170000;a21026-Avg=1.1&&"
            let digits = String(segment.utf8.count)
            let length = String(repeating: "0", count: 4 - digits.count) + digits
            return format.mended(Array(("##" + length + segment + "0000\r\n").utf8))
        }
        let decoder = Decoder(format)
        var decoded = DecodedFrame()
        try decoder.decode(frame("QN=20261121170000123").span, direction: .up, into: &decoded)
        #expect(!decoded.answer.isEmpty)
        try decoder.decode(frame("XN=20261121170000123").span, direction: .up, into: &decoded)
        #expect(decoded.answer.isEmpty)
        #expect(decoded.readings.count == 1)
    }
}
