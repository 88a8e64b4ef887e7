// Entries of identifier, length and value: with and without a length, nested, unknown, hostile.

import Formats
import Model
import Testing

struct TLVTests {
    private func format(_ layout: String) throws -> Format {
        let text = """
            { format: "x", framing: { length: "datagram", maximum: 64 }, layout: [ \(layout) ] }
            """
        return try FormatLibrary(text: text, file: "x").formats[0]
    }

    private func json(_ format: Format, _ hex: String) -> String {
        let found = Decoder(format).explain(HexText.bytes(hex) ?? [], direction: .up)
        return found.rejection?.code ?? found.root.json.text()
    }

    private static let measured = """
        { tlv: { id: "u8", length: "u8" }, list: "extra", cases: [
            { match: 1, name: "mileage", layout: [
                { name: "km", type: "u32be", decimals: 1, reading: "mileage" } ] },
            { match: 2, layout: [ { tlv: { id: "u8", length: "u8" }, list: "inner", cases: [
                { match: 3, layout: [ { name: "deep", type: "u8" } ] } ] } ] } ] }
        """

    @Test("an entry that no case knows keeps its raw bytes; entries nest")
    func unknown() throws {
        let format = try format(Self.measured)
        #expect(
            json(format, "0104000000cc 7f02beef 0206 030109 0401aa 0200")
                == """
                {"extra":[{"id":1,"name":"mileage","km":20.4},{"id":127,"data":"beef"},\
                {"id":2,"inner":[{"id":3,"deep":9},{"id":4,"data":"aa"}]},{"id":2,"inner":[]}]}
                """)
    }

    @Test("a value never reads past its length, a length never past the region")
    func bounds() throws {
        let format = try format(Self.measured)
        #expect(json(format, "0103000000 0101aa") == "bad-length")
        #expect(json(format, "0104000000cc 7f03beef") == "truncated")
        #expect(json(format, "0104000000cc 7f") == "truncated")
        #expect(json(format, "0203 030209") == "bad-length")
    }

    @Test("a length may count identifier and length too; a smaller one is refused")
    func lengthInside() throws {
        let format = try format(
            """
            { tlv: { id: "u16le", length: "u16be", size: "length - 4" }, list: "all", cases: [
                { match: 0x0201, layout: [ { name: "v", type: "hex", bytes: "rest" } ] } ] }
            """)
        #expect(
            json(format, "0102 0006 aabb 0102 0004")
                == "{\"all\":[{\"id\":513,\"v\":\"aabb\"},{\"id\":513,\"v\":\"\"}]}")
        #expect(json(format, "0102 0003") == "truncated")
    }

    @Test("without a length the case knows the size, and an unknown identifier refuses the frame")
    func sizeless() throws {
        let format = try format(
            """
            { tlv: { id: [ { name: "channel", type: "u8" }, { name: "type", type: "u8" } ] },
              list: "channels", cases: [
                { match: 0x67, name: "temperature", layout: [
                    { name: "value", type: "s16be", decimals: 1,
                      reading: "temperature_{channel}", quantity: "temperature" } ] },
                { match: 0x68, name: "humidity", layout: [ { name: "value", type: "u8" } ] } ] }
            """)
        #expect(
            json(format, "0367 0110 0567 ffff 0668 32")
                == """
                {"channels":[{"channel":3,"type":103,"name":"temperature","value":27.2},\
                {"channel":5,"type":103,"name":"temperature","value":-0.1},\
                {"channel":6,"type":104,"name":"humidity","value":50}]}
                """)
        #expect(json(format, "0367 0110 0599 00") == "unknown-type")
        var frame = DecodedFrame()
        try Decoder(format).decode(
            [0x03, 0x67, 0x01, 0x10, 0x05, 0x67, 0, 1].span, direction: .up, into: &frame)
        #expect(frame.readings.map(\.discriminator) == [3, 5])
    }

    @Test("without a list the names of the cases make objects")
    func objects() throws {
        let format = try format(
            """
            { tlv: { id: "u8", length: "u8" }, count: 2, cases: [
                { match: 1, name: "a", layout: [ { name: "v", type: "u8" } ] },
                { match: 2, name: "b", layout: [ { name: "v", type: "u8" } ] } ] },
            { name: "after", type: "u8" }
            """)
        #expect(json(format, "010107 020108 09") == "{\"a\":{\"v\":7},\"b\":{\"v\":8},\"after\":9}")
    }

    @Test("more entries than the maximum refuse the frame")
    func tooMany() throws {
        let format = try format(
            """
            { tlv: { id: "u8", length: "u8" }, maximum: 3, cases: [ { match: 1, layout: [] } ] }
            """)
        #expect(json(format, "0100 0100 0100") == "{}")
        #expect(json(format, "0100 0100 0100 0100") == "bad-record")
    }
}
