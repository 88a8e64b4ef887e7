// What the explaining path says of frames that are refused: where the fault stands, what was expected,
// and every byte of the input, whatever was done to it.

import Formats
import Model
import Testing

struct ExplanationTests {
    /// A refused frame and what must be said of it.
    struct Case: Sendable, CustomTestStringConvertible {
        var what: String
        var format: String
        var hex: String
        var rejection: Rejection
        var at: Int
        /// What follows the rejection's general meaning.
        var reason: String

        var testDescription: String { "\(format), \(what)" }
    }

    static let meter = "6861010000000068910833333633593334338d16"
    static let modbus = "110304cca07fffb4f0"
    static let sensor =
        "534c010100a1b2c3d4e5f6070000000701a1fd8c697b086a11d700018bcd02640e14"
        + String(repeating: "00", count: 28) + "7c90"

    static func changed(_ hex: String, _ at: Int, _ byte: String) -> String {
        let place = hex.index(hex.startIndex, offsetBy: 2 * at)
        return hex[..<place] + byte + hex[hex.index(place, offsetBy: 2)...]
    }

    static let cases = [
        Case(
            what: "wrong checksum", format: "dlt645", hex: changed(meter, 18, "8e"),
            rejection: .badChecksum, at: 18, reason: "8e found, 8d expected over 0–17"),
        Case(
            what: "wrong checksum behind a preamble", format: "dlt645",
            hex: "fefe" + changed(meter, 18, "8e"), rejection: .badChecksum, at: 20,
            reason: "8e found, 8d expected over 2–19"),
        Case(
            what: "cut", format: "dlt645", hex: String(meter.prefix(32)), rejection: .truncated,
            at: 16, reason: "4 bytes more expected"),
        Case(
            what: "cut before its length", format: "dlt645", hex: String(meter.prefix(12)),
            rejection: .truncated, at: 6, reason: "at least 2 bytes more expected"),
        Case(
            what: "wrong end", format: "dlt645", hex: changed(meter, 19, "17"),
            rejection: .badEnd, at: 19, reason: "17 found, 16 expected"),
        Case(
            what: "wrong first start", format: "dlt645", hex: changed(meter, 0, "67"),
            rejection: .badHeader, at: 0, reason: "67 found, 68 expected"),
        Case(
            what: "wrong second start", format: "dlt645", hex: changed(meter, 7, "69"),
            rejection: .badHeader, at: 7, reason: "69 found, 68 expected"),
        Case(
            what: "bytes behind the end", format: "dlt645", hex: meter + "0000",
            rejection: .badLength, at: 20, reason: "2 bytes behind the end of the frame"),
        Case(
            what: "wrong checksum", format: "modbus-rtu", hex: changed(modbus, 8, "f1"),
            rejection: .badChecksum, at: 7, reason: "b4f1 found, b4f0 expected over 0–6"),
        Case(
            what: "cut", format: "modbus-rtu", hex: String(modbus.prefix(12)),
            rejection: .truncated, at: 6, reason: "3 bytes more expected"),
        Case(
            what: "announces too much", format: "modbus-rtu", hex: changed(modbus, 2, "ff"),
            rejection: .badLength, at: 1, reason: "260 bytes announced, at most 256"),
        Case(
            what: "wrong checksum", format: "sluice-reference", hex: changed(sensor, 31, "65"),
            rejection: .badChecksum, at: 62, reason: "7c90 found, ed50 expected over 0–61"),
        Case(
            what: "cut", format: "sluice-reference", hex: String(sensor.prefix(80)),
            rejection: .truncated, at: 40, reason: "24 bytes more expected"),
        Case(
            what: "wrong start", format: "sluice-reference", hex: changed(sensor, 1, "4d"),
            rejection: .badHeader, at: 1, reason: "4d found, 4c expected"),
    ]

    @Test("says where a refused frame is wrong and what was expected", arguments: cases)
    func faults(_ row: Case) throws {
        let decoder = Decoder(try Fixtures.format(row.format))
        let bytes = try #require(HexText.bytes(row.hex))
        let explanation = decoder.explain(bytes, direction: .up)
        #expect(explanation.rejection == row.rejection)
        #expect(explanation.rejectedAt == row.at)
        #expect(explanation.reason == row.rejection.reason + ": " + row.reason)
        #expect(gaps(explanation, bytes.count).isEmpty)
    }

    @Test("a wrong check value or end hides no field of the frame")
    func fields() throws {
        let decoder = Decoder(try Fixtures.format("dlt645"))
        let good = try #require(HexText.bytes(Self.meter))
        let whole = decoder.explain(good, direction: .up).root.children
        for (at, name, note) in [
            (18, "checksum", "8d expected, over 0–17"), (19, "end", "16 expected"),
        ] {
            var bytes = good
            bytes[at] ^= 0x40
            let fields = decoder.explain(bytes, direction: .up).root.children
            #expect(fields.map(\.name) == whole.map(\.name))
            #expect(fields.filter(\.isContent) == whole.filter(\.isContent))
            let wrong = try #require(fields.first { $0.name == name })
            #expect(wrong.bytes == at..<at + 1)
            #expect(wrong.note == note)
        }
    }

    @Test("a cut frame shows the fields that are there and no part of one")
    func cut() throws {
        let decoder = Decoder(try Fixtures.format("dlt645"))
        let bytes = try #require(HexText.bytes(String(Self.meter.prefix(32))))
        let fields = decoder.explain(bytes, direction: .up).root.children
        #expect(fields.first { $0.name == "address" }?.value == .bytes([0, 0, 0, 0, 1, 0x61]))
        #expect(fields.last?.name == "not understood")
        #expect(fields.last?.bytes == 10..<16)
        #expect(fields.last?.isContent == false)
    }

    /// Found by the fuzzer: the length field of the meter's first frame stood behind the end.
    @Test("what is known of one nested frame is not shown at the next, which is cut before it")
    func nestedTwice() throws {
        let decoder = Decoder(try Fixtures.format("text-nested645"))
        let hex = FieldNode.hex(try #require(HexText.bytes(Self.meter))).uppercased()
        let text = "ID:021781257609+OK:\(hex)+OK:\(hex.prefix(8))"
        let bytes = Array(text.utf8)
        let explanation = decoder.explain(bytes, direction: .up)
        #expect(explanation.rejection == .truncated)
        var lengths = 0
        func look(_ node: FieldNode) {
            #expect(node.bytes.upperBound <= bytes.count, "\(node.name) at \(node.bytes)")
            if node.name == "data_length" { lengths += 1 }
            node.children.forEach(look)
        }
        look(explanation.root)
        #expect(lengths == 0, "the first frame's length is not of the bytes that are refused")
    }

    @Test("a computed field stands at the field that it comes from")
    func computed() throws {
        let decoder = Decoder(try Fixtures.format("dlt645"))
        let bytes = try #require(HexText.bytes(Self.meter))
        let fields = decoder.explain(bytes, direction: .up).root.children
        for name in ["from", "abnormal", "more", "function"] {
            #expect(fields.first { $0.name == name }?.bytes == 8..<8, "\(name)")
        }
        #expect(fields.map(\.bytes.lowerBound) == fields.map(\.bytes.lowerBound).sorted())
    }

    @Test("every byte is shown and the verdict is decode's, whatever is cut or flipped")
    func everyByte() throws {
        for row in try Fixtures.rows() {
            let decoder = Decoder(row.format)
            var frame = DecodedFrame()
            func check(_ bytes: [UInt8], _ what: @autoclosure () -> String) {
                let refusal = rejection(decoder, bytes, row.direction, into: &frame)
                let explanation = decoder.explain(bytes, direction: row.direction)
                let isSame = explanation.rejection == refusal
                let missing = gaps(explanation, bytes.count)
                let isInside = (0...bytes.count).contains(explanation.rejectedAt ?? 0)
                if !isSame || !missing.isEmpty || !isInside {
                    Issue.record("\(row.id) \(what()): \(explanation), unseen \(missing)")
                }
            }
            // Of long frames a sample: each change costs an explanation of the whole.
            let step = row.bytes.count > 64 ? row.bytes.count / 24 | 1 : 1
            for count in stride(from: 0, through: row.bytes.count, by: step) {
                check(Array(row.bytes[..<count]), "cut at \(count)")
            }
            for bit in stride(from: 0, to: row.bytes.count * 8, by: step * step) {
                var changed = row.bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                check(changed, "bit \(bit)")
            }
        }
    }

    /// Offsets that no leaf of the tree shows, and those that it shows beyond the bytes.
    private func gaps(_ explanation: Explanation, _ count: Int) -> [Int] {
        var isShown = [Bool](repeating: false, count: count)
        var beyond: [Int] = []
        func visit(_ node: FieldNode) {
            if node.bytes.upperBound > count { beyond.append(node.bytes.upperBound) }
            if node.children.isEmpty {
                for i in node.bytes.clamped(to: 0..<count) { isShown[i] = true }
            }
            for child in node.children { visit(child) }
        }
        for child in explanation.root.children { visit(child) }
        return isShown.indices.filter { !isShown[$0] } + beyond
    }
}
