// Remembered shapes decode exactly as the program does: same readings, identity, keys, answers and
// refusals, for frames that vary in every byte.

import Model
import Testing

@testable import Formats

@Suite("Decoders that remember shapes")
struct PlanTests {
    /// Changes some bytes and makes the check value right again, where the format has one.
    private func varied(
        _ bytes: [UInt8], _ format: Format, _ random: inout SplitMix64
    ) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            bytes[at] = .random(in: 0...255, using: &random)
        }
        let rule = format.program.frames[0]
        guard rule.checksum >= 0 else { return bytes }
        let sum = format.program.checksums[rule.checksum]
        var begin = 0
        while rule.preamble >= 0, begin < min(rule.preambleMaximum, bytes.count),
            bytes[begin] == UInt8(truncatingIfNeeded: rule.preamble)
        {
            begin += 1
        }
        let mark = rule.delimiter >= 0 ? 1 : 0
        guard bytes.count > begin + 2 * mark,
            let places = sum.places(in: begin + mark..<bytes.count - mark)
        else { return bytes }
        let right = Cursor.over(bytes.span) { sum.wire($0, places.over) } ?? []
        for (i, byte) in right.enumerated() { bytes[places.field.lowerBound + i] = byte }
        return bytes
    }

    private func same(
        _ a: Decoder, _ b: Decoder, _ bytes: [UInt8], _ direction: Direction, _ note: String
    ) -> Bool {
        var first = DecodedFrame()
        var second = DecodedFrame()
        var errors: [Rejection?] = [nil, nil]
        do throws(Rejection) {
            try a.decode(bytes.span, direction: direction, into: &first)
        } catch { errors[0] = error }
        do throws(Rejection) {
            try b.decode(bytes.span, direction: direction, into: &second)
        } catch { errors[1] = error }
        #expect(errors[0] == errors[1], "\(note)")
        guard errors[0] == nil else { return false }
        #expect(first.device == second.device, "\(note)")
        #expect(a.identityText() == b.identityText(), "\(note)")
        #expect(first.isControl == second.isControl, "\(note)")
        #expect(first.duplicateKey == second.duplicateKey, "\(note)")
        #expect(first.answer == second.answer, "\(note)")
        #expect(first.readings.count == second.readings.count, "\(note)")
        for (x, y) in zip(first.readings, second.readings) {
            #expect(x.output == y.output && x.discriminator == y.discriminator, "\(note)")
            #expect(x.value == y.value && x.quality == y.quality, "\(note)")
            #expect(x.observedAt == y.observedAt, "\(note)")
        }
        return true
    }

    @Test("a plan yields what the program yields", arguments: [21, 22] as [UInt64])
    func agreement(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var planned = 0
        var formats = Set<String>()
        var accepted = 0
        for row in try Fixtures.rows() where row.bytes.count >= 16 {
            let plain = Decoder(row.format, seed: 1, remembersShapes: false)
            let clever = Decoder(row.format, seed: 1)
            for direction in [Direction.up, .down] {
                for _ in 0..<2 { _ = same(plain, clever, row.bytes, direction, row.id) }
                for _ in 0..<40 {
                    let bytes = varied(row.bytes, row.format, &random)
                    // Twice, so that the second run follows the plan of the first.
                    let note = "\(row.id) seed \(seed): \(FieldNode.hex(bytes))"
                    _ = same(plain, clever, bytes, direction, note)
                    if same(plain, clever, bytes, direction, note) { accepted += 1 }
                }
            }
            planned += clever.planCount
            if clever.planCount > 0 { formats.insert(row.format.name) }
        }
        #expect(planned > 1000, "shapes were remembered")
        #expect(formats.contains("jt808"), "also of frames between delimiters")
        #expect(accepted > 1000, "and followed")
    }

    @Test("a plan keeps the number that stands for no value, and a key of fields")
    func noValue() throws {
        let library = try FormatLibrary(
            text: """
                { format: "none", framing: { length: 24, maximum: 24 },
                  layout: [
                    { name: "device", type: "hex", bytes: 8 },
                    { name: "sequence", type: "u16be" },
                    { name: "a", type: "s16be", decimals: 1, missing: -32768,
                      quantity: "temperature", unit: "°C", reading: true },
                    { name: "b", type: "u16le", missing: 0xFFFF,
                      quantity: "co2", unit: "ppm", reading: true },
                    { name: "c", type: "u32be", quantity: "pressure", unit: "Pa", reading: true },
                    { name: "d", type: "s8", missing: -1,
                      quantity: "temperature", unit: "°C", reading: true },
                    { skip: 5 } ],
                  identity: "{device}", exchange: { duplicate: { key: ["device", "sequence"] } } }
                """, file: "none")
        let plain = Decoder(library.formats[0], seed: 1, remembersShapes: false)
        let clever = Decoder(library.formats[0], seed: 1)
        let words: [[UInt8]] = [
            [0x80, 0], [0xFF, 0xFF], [0x7F, 0xFF], [0, 0], [0xFF, 0x7F], [0, 1],
        ]
        for one in words {
            for other in words {
                let bytes =
                    [1, 2, 3, 4, 5, 6, 7, one[1]] + other + one + other + one + other
                    + [one[0], 0, 0, 0, 0, 0]
                #expect(same(plain, clever, bytes, .up, "\(one) \(other)"))
            }
        }
        #expect(clever.planCount == 1)
    }

    @Test("frames that end before a field, or say more bytes than they have, make no plan")
    func shortFrames() throws {
        let library = try FormatLibrary(
            text: """
                { format: "tail", framing: { length: "datagram", maximum: 200 },
                  layout: [
                    { name: "device", type: "hex", bytes: 8 },
                    { name: "tail", type: "hex", at: 30, bytes: "rest" } ],
                  identity: "{device}", exchange: { duplicate: { key: ["device", "tail"] } } }
                """, file: "tail")
        let told = try FormatLibrary(
            text: """
                { format: "told", framing: { length: "datagram", maximum: 200 },
                  layout: [
                    { name: "device", type: "hex", bytes: 8 },
                    { name: "count", type: "u24be" },
                    { name: "text", type: "hex", bytes: "count" },
                    { name: "a", type: "s16le", quantity: "temperature", unit: "°C",
                      reading: true } ],
                  identity: "{device}",
                  exchange: { duplicate: { key: ["device", "a", "a", "count"] } } }
                """, file: "told")
        for library in [library, told] {
            let plain = Decoder(library.formats[0], seed: 1, remembersShapes: false)
            let clever = Decoder(library.formats[0], seed: 1)
            var taken = 0
            for round in 0..<3 {
                for count in 1...60 {
                    for told: UInt8 in [0, 3, 40, 255] {
                        var bytes = [UInt8](repeating: UInt8(round + 1), count: count)
                        if count > 10 { bytes.replaceSubrange(8...10, with: [0, 0, told]) }
                        if count > 10, told == 255 { bytes[8] = 255 }
                        if same(plain, clever, bytes, .up, "\(count) \(told)") { taken += 1 }
                    }
                }
            }
            #expect(taken > 0)
            #expect(clever.planCount > 0, "short frames do not end remembering")
        }
    }

    @Test("strangers cannot make a decoder remember without end")
    func bounded() throws {
        let format = try #require(try Fixtures.library.get().format(named: "dlt645"))
        let decoder = Decoder(format)
        var frame = DecodedFrame()
        var random = SplitMix64(seed: 5)
        let good: [UInt8] = try #require(
            HexText.bytes("6812332817373368910833343433cccccccc5516"))
        for _ in 0..<2000 {
            let bytes = varied(good, format, &random)
            try? decoder.decode(bytes.span, direction: .up, into: &frame)
        }
        #expect(decoder.planCount <= 64)
    }
}
