// The vectors of the built-in codecs, and what must hold for every frame of them when it is cut or changed.

import Model
import Testing

@testable import Formats

@Suite("Built-in codecs")
struct CodecVectorTests {
    static let files = [
        ("cbor", 71), ("senml-cbor", 19), ("senml-json", 24), ("lwm2m-tlv", 18), ("coap", 48),
        ("lwm2m-register", 28), ("mqtt-sn", 43), ("semtech-udp", 34),
    ]

    @Test("every row of the vectors decodes as expected", arguments: files)
    func vectors(name: String, count: Int) throws {
        let bytes = Repository.bytes("fixtures/vectors/\(name).jsonl")
        let report = VectorRunner(try Fixtures.library.get()).run(bytes, name: name)
        #expect(report.rows.count == count)
        #expect(report.passed == count)
        for row in report.rows {
            if case .failed(let differences) = row.verdict {
                Issue.record("\(row.id): \(differences.joined(separator: "; "))")
            }
        }
    }

    private func rows(_ name: String) throws -> [[UInt8]] {
        try Repository.bytes("fixtures/vectors/\(name).jsonl").split(separator: 0x0A).map {
            let node = try JSONNode.parse(Array($0), file: name)
            return HexText.bytes(node["hex"]?.string ?? "") ?? []
        }
    }

    @Test("a frame cut at any byte ends, and both paths say the same of it", arguments: files)
    func truncation(name: String, count: Int) throws {
        let decoder = Decoder(try Fixtures.format(name))
        var frame = DecodedFrame()
        for row in try rows(name) where row.count < 600 {
            for end in 0..<row.count { agree(decoder, Array(row[..<end]), &frame) }
        }
    }

    @Test("a cut message of a format that ends itself is refused")
    func cutIsRefused() throws {
        // CoAP and SenML in JSON are left out: a payload may be shorter, blanks may be missing.
        let whole = [
            ("cbor", "a26161016162820203"),
            (
                "senml-cbor",
                "83a4006b74656d706572617475726502fb4037800000000000016343656c216e7572"
                    + "6e3a6465763a6b706e3a322fa20064646f6f7204f5a200646e616d6503656d65746572"
            ),
            ("lwm2m-tlv", "e4164441ac0000"), ("mqtt-sn", "130ca01be140ccf8aa5f3558e578398a669066"),
            ("semtech-udp", "02595602df3cb5cc9db1142d"),
        ]
        for (name, hex) in whole {
            let decoder = Decoder(try Fixtures.format(name))
            var frame = DecodedFrame()
            let bytes = try #require(HexText.bytes(hex))
            #expect(refusal(decoder, bytes, &frame) == nil, "\(name)")
            for end in 0..<bytes.count {
                let cut = Array(bytes[..<end])
                #expect(refusal(decoder, cut, &frame) != nil, "\(name) cut at \(end)")
            }
        }
    }

    @Test("frames with random damage never trap, and both paths agree", arguments: files)
    func damage(name: String, count: Int) throws {
        let seed = UInt64(count) &+ 77
        var random = SplitMix64(seed: seed)
        let decoder = Decoder(try Fixtures.format(name))
        var frame = DecodedFrame()
        for row in try rows(name) where !row.isEmpty && row.count < 600 {
            for _ in 0..<30 {
                var bytes = row
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let at = Int.random(in: 0..<bytes.count, using: &random)
                    if Bool.random(using: &random), bytes.count > 1 {
                        bytes.remove(at: at)
                    } else {
                        bytes[at] = .random(in: 0...255, using: &random)
                    }
                }
                agree(decoder, bytes, &frame)
            }
        }
    }

    private func refusal(
        _ decoder: Decoder, _ bytes: [UInt8], _ frame: inout DecodedFrame
    ) -> Rejection? {
        do throws(Rejection) {
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            return nil
        } catch { return error }
    }

    private func agree(_ decoder: Decoder, _ bytes: [UInt8], _ frame: inout DecodedFrame) {
        let hot = refusal(decoder, bytes, &frame)
        let answer = frame.answer
        let (explanation, explained) = decoder.explained(bytes, direction: .up)
        #expect(explanation.rejection == hot, "\(decoder.format.name) \(FieldNode.hex(bytes))")
        guard hot == nil else { return }
        #expect(frame.readings.count == explained.readings.count)
        #expect(frame.readings.count <= Machine.maximumReadings)
        #expect(frame.device == explained.device)
        #expect(answer == explained.answer)
        for reading in explained.readings { #expect(!decoder.describe(reading).name.isEmpty) }
    }

    @Test("nothing deep, long or endless costs more than it is worth")
    func hostile() throws {
        var frame = DecodedFrame()
        let deep: [(String, [UInt8])] = [
            ("cbor", Array(repeating: 0x81, count: 8000)),
            ("cbor", Array(repeating: 0xC1, count: 8000)),
            ("cbor", Array(repeating: 0x9F, count: 8000)),
            ("cbor", Array(repeating: 0xA1, count: 8000)),
            ("senml-cbor", [0x81, 0xA1, 0x09] + Array(repeating: 0x81, count: 8000)),
            ("senml-json", Array("[{\"x\":".utf8) + Array(repeating: 0x5B, count: 8000)),
            ("lwm2m-json", Array(repeating: 0x5B, count: 8000)),
        ]
        for (name, bytes) in deep {
            let decoder = Decoder(try Fixtures.format(name))
            let found = refusal(decoder, bytes, &frame)
            #expect(
                found == .tooDeep || found == .malformed, "\(name): \(String(describing: found))")
        }
        // More records than a frame may have readings.
        let record = Array("{\"n\":\"a\",\"v\":1}".utf8)
        let many =
            [0x5B] + Array(repeatElement(record, count: 513).joined(separator: [0x2C])) + [0x5D]
        #expect(refusal(Decoder(try Fixtures.format("senml-json")), many, &frame) == .oversized)
    }
}
