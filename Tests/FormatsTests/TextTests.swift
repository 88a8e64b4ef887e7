// Fields whose size the bytes themselves tell, and texts in other encodings.

import Formats
import Model
import Testing

struct TextTests {
    private func json(_ layout: String, _ hex: String) throws -> String {
        let text = """
            { format: "x", framing: { length: "datagram", maximum: 64 }, layout: [ \(layout) ] }
            """
        let decoder = Decoder(try FormatLibrary(text: text, file: "x").formats[0])
        let bytes = HexText.bytes(hex) ?? []
        let found = decoder.explain(bytes, direction: .up)
        var frame = DecodedFrame()
        #expect(rejection(decoder, bytes, .up, into: &frame) == found.rejection)
        return found.rejection?.code ?? found.root.json.text()
    }

    @Test(
        "reads Chinese text; what is none becomes a replacement character",
        arguments: [
            ("b2e24131323334", "测A1234"), ("b5d8cfc2b3b5bfe242322d31370000", "地下车库B2-17"),
            ("", ""), ("000000", ""), ("41ff42", "A\u{FFFD}B"), ("b2", "\u{FFFD}"),
            // Four bytes: GB 18030 beyond GBK.
            ("8139ee39", "㐀"),
        ])
    func chinese(hex: String, expected: String) throws {
        let layout = "{ name: \"t\", type: \"gb18030\", bytes: \"rest\" }"
        #expect(try json(layout, "00" + hex).isEmpty == false)
        let lead = "{ skip: 1 }, "
        #expect(try json(lead + layout, "00" + hex) == "{\"t\":\"\(expected)\"}")
    }

    @Test("any bytes are some text, and never trap")
    func anyBytes() throws {
        var random = SplitMix64(seed: 0xB2)
        for _ in 0..<500 {
            let bytes = (0..<20).map { _ in UInt8.random(in: 0...255, using: &random) }
            let hex = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            #expect(try json("{ name: \"t\", type: \"gbk\", bytes: 20 }", hex).hasPrefix("{\"t\""))
        }
    }

    @Test(
        "reads texts up to their terminator",
        arguments: [
            ("414200 43", "{\"t\":\"AB\",\"after\":67}"), ("00 43", "{\"t\":\"\",\"after\":67}"),
            ("4142", "truncated"), ("414200", "truncated"),
        ])
    func terminated(hex: String, expected: String) throws {
        let layout = "{ name: \"t\", type: \"utf8\", until: 0 }, { name: \"after\", type: \"u8\" }"
        #expect(try json(layout, hex) == expected)
    }

    @Test(
        "reads varints of up to 64 bits",
        arguments: [
            ("varint", "00", "0"), ("varint", "7f", "127"), ("varint", "8001", "128"),
            ("varint", "ac02", "300"), ("varint", "ffffffffffffffffff01", "18446744073709551615"),
            ("zigzag", "01", "-1"), ("zigzag", "02", "1"), ("zigzag", "ac02", "150"),
            ("zigzag", "ffffffffffffffffff01", "-9223372036854775808"),
        ])
    func varints(type: String, hex: String, expected: String) throws {
        #expect(try json("{ name: \"v\", type: \"\(type)\" }", hex) == "{\"v\":\(expected)}")
    }

    @Test("a varint that is cut or too long refuses the frame")
    func badVarints() throws {
        let layout = "{ name: \"v\", type: \"varint\" }"
        #expect(try json(layout, "80") == "truncated")
        #expect(try json(layout, "ffffffffffffffffff02") == "malformed")
        #expect(try json(layout, "80808080808080808080") == "malformed")
    }

    @Test("bits with names are an object of booleans")
    func bits() throws {
        let layout = "{ name: \"s\", type: \"u16le\", flags: { low: 0, high: 15, gap: 3 } }"
        #expect(try json(layout, "0180") == "{\"s\":{\"low\":true,\"high\":true,\"gap\":false}}")
    }
}
