// What the codecs make of a payload for the stores behind them: whose it is, what the streams are called,
// when it was measured; and the doors that exchanges use.

import Model
import Testing

@testable import Formats

@Suite("Meaning of built-in codecs")
struct CodecMeaningTests {
    private struct Outcome {
        var device: String
        var isGlobal: Bool
        var readings: [(name: String, value: Value, unit: String, quantity: String)]
        var frame: DecodedFrame
    }

    private func decode(
        _ name: String, _ payload: [UInt8], _ context: FrameContext? = nil
    ) throws -> Outcome {
        let decoder = Decoder(try Fixtures.format(name))
        var frame = DecodedFrame()
        if let context {
            var envelope: [UInt8] = []
            context.encode(payload.span, into: &envelope)
            try decoder.decode(envelope: envelope.span, direction: .up, into: &frame)
        } else {
            try decoder.decode(payload.span, direction: .up, into: &frame)
        }
        return Outcome(
            device: decoder.identityText(), isGlobal: frame.isIdentityGlobal,
            readings: frame.readings.map {
                let words = decoder.describe($0)
                return (words.name, $0.value, words.unit, words.quantity)
            }, frame: frame)
    }

    private func context(device: String = "", path: String = "") -> FrameContext {
        var context = FrameContext()
        context.device = Array(device.utf8)
        context.path = Array(path.utf8)
        return context
    }

    // MARK: SenML

    @Test(
        "a name is cut where the device's identity ends",
        arguments: [
            ("urn:dev:mac:0024befffe804ff1/alarm", "urn:dev:mac:0024befffe804ff1", "alarm"),
            ("urn:dev:ow:10e2073a0108006:voltage", "urn:dev:ow:10e2073a0108006", "voltage"),
            ("urn:imei:869029652881082/v/1", "urn:imei:869029652881082", "v/1"),
            ("urn:dev:ow:10e2073a01080063", "urn:dev:ow:10e2073a01080063", "value"),
            ("temperature", "", "temperature"), ("/3303/0/5700", "", "3303/0/5700"),
            ("2001:db8::3", "", "2001:db8::3"),
        ])
    func names(name: String, device: String, stream: String) throws {
        let found = try decode("senml-json", Array("[{\"n\":\"\(name)\",\"v\":1}]".utf8))
        #expect(found.device == device)
        #expect(found.isGlobal == !device.isEmpty)
        #expect(found.readings.map(\.name) == [stream])
    }

    @Test("a base name that ends in a separator names the device")
    func baseName() throws {
        let text = "[{\"bn\":\"meter-7:\",\"n\":\"flow\",\"u\":\"m3/s\",\"v\":0.5}]"
        let found = try decode("senml-json", Array(text.utf8))
        #expect(found.device == "meter-7")
        #expect(found.readings.first?.name == "flow")
        // Streams carry the symbol, whatever the frame writes.
        #expect(found.readings.first?.unit == "m³/s")
        #expect(found.readings.first?.quantity == "flow")
    }

    @Test("records of other devices in one pack keep their whole names")
    func twoDevices() throws {
        let text = "[{\"n\":\"urn:imei:1/a\",\"v\":1},{\"n\":\"urn:imei:2/a\",\"v\":2}]"
        let found = try decode("senml-json", Array(text.utf8))
        #expect(found.device == "urn:imei:1")
        #expect(found.readings.map(\.name) == ["a", "urn:imei:2/a"])
    }

    @Test("the conversation's device and path win")
    func conversation() throws {
        let text = Array("[{\"bn\":\"urn:imei:1/\",\"n\":\"a\",\"v\":1}]".utf8)
        let found = try decode("senml-json", text, context(device: "ep1", path: "/dp"))
        #expect(found.device == "ep1")
        #expect(found.isGlobal)
        #expect(found.readings.map(\.name) == ["dp/a"])
        let absolute = Array("[{\"n\":\"/3303/0/5700\",\"v\":21.50}]".utf8)
        let lwm2m = try decode("senml-json", absolute, context(device: "ep1", path: "/3303/0"))
        #expect(lwm2m.readings.map(\.name) == ["3303/0/5700"])
        #expect(lwm2m.readings.first?.quantity == "temperature")
        #expect(lwm2m.readings.first?.unit == "°C")
        #expect(lwm2m.readings.first?.value == .decimal(2150, exponent: -2))
    }

    @Test("base values are added exactly, in decimal")
    func baseValues() throws {
        let text = "[{\"bn\":\"a\",\"bv\":20.1,\"v\":0.02},{\"v\":-0.1},{\"bs\":1.5,\"s\":2}]"
        let found = try decode("senml-json", Array(text.utf8))
        #expect(
            found.readings.map(\.value) == [
                .decimal(2012, exponent: -2), .decimal(200, exponent: -1),
                .decimal(201, exponent: -1), .decimal(35, exponent: -1),
            ])
        #expect(found.readings.map(\.name) == ["a", "a", "a", "a_sum"])
    }

    @Test("times below 2^28 count from the frame's arrival")
    func times() throws {
        let text =
            "[{\"n\":\"a\",\"v\":1,\"t\":-300.5},{\"n\":\"a\",\"v\":1},"
            + "{\"n\":\"a\",\"v\":1,\"t\":1320078429.25}]"
        let found = try decode("senml-json", Array(text.utf8))
        let arrival = Timestamp(milliseconds: 1_800_000_000_000)
        #expect(
            found.frame.readings.map { $0.observed(arrival)?.milliseconds } == [
                1_799_999_699_500, nil, 1_320_078_429_250,
            ])
    }

    @Test("CBOR maps give readings by their keys, of the source when nobody else is known")
    func cborKeys() throws {
        // {"t": 21.5, "p": {1: -4, "ok": true, "x": "text"}, "l": [1, 4([-1, 273])], -1: 7}
        let hex = "a46174f94d606170a30123626f6bf561786474657874616c8201c4822019011120" + "07"
        let found = try decode("cbor", try #require(HexText.bytes(hex)))
        #expect(found.device.isEmpty)
        #expect(found.readings.map(\.name) == ["t", "p.1", "p.ok", "l.0", "l.1"])
        #expect(
            found.readings.map(\.value) == [
                .double(21.5), .decimal(-4), .boolean(true), .decimal(1),
                .decimal(273, exponent: -1),
            ])
        let own = try decode("cbor", [0xA1, 0x61, 0x61, 1], context(device: "ep"))
        #expect(own.device == "ep")
    }

    // MARK: LwM2M

    @Test("the object model gives TLV its types, by the path that was asked")
    func tlv() throws {
        func tlv(_ hex: String, _ path: String) throws -> Outcome {
            try decode(
                "lwm2m-tlv", try #require(HexText.bytes(hex)), context(device: "ep", path: path))
        }
        for hex in ["c009", "c309010203"] {
            let odd = try tlv(hex, "/3/0")
            #expect(odd.readings.map(\.value) == [.none], "no integer has this length")
            #expect(odd.frame.readings.map(\.quality) == [.missing])
        }
        let battery = try tlv("c10964", "/3/0")
        #expect(battery.readings.map(\.name) == ["3/0/9"])
        #expect(battery.readings.first?.quantity == "battery_level")
        #expect(battery.readings.first?.value == .decimal(100))
        let temperature = try tlv("e4164441ac0000", "/3303/1/5700")
        #expect(temperature.readings.map(\.name) == ["3303/1/5700"])
        #expect(temperature.readings.first?.value == .double(21.5))
        let voltages = try tlv("88070842000ed842011388", "/3/0")
        #expect(voltages.readings.map(\.name) == ["3/0/7/0", "3/0/7/1"])
        #expect(voltages.readings.map(\.value) == [.decimal(3800), .decimal(5000)])
        #expect(voltages.readings.first?.unit == "mV")
        #expect(try tlv("c10964", "/10250/0").readings.isEmpty, "an unknown resource stays raw")
        let dated = try tlv("e4164441ac0000e4158e6921a2c0", "/3303/0")
        let date: Int64 = 0x6921_A2C0 * 1000
        #expect(dated.frame.readings.first?.observedAt?.milliseconds == date)
    }

    @Test("plain text is read by the type of its resource")
    func text() throws {
        let path = context(device: "ep", path: "/3303/0/5700")
        let number = try decode("lwm2m-text", Array("21.50".utf8), path)
        #expect(number.readings.map(\.name) == ["3303/0/5700"])
        #expect(number.readings.first?.value == .decimal(2150, exponent: -2))
        let units = context(device: "ep", path: "/3303/0/5701")
        #expect(try decode("lwm2m-text", Array("1".utf8), units).readings.isEmpty)
        let state = context(device: "ep", path: "/3342/0/5500")
        #expect(
            try decode("lwm2m-text", Array("1".utf8), state).readings[0].value == .boolean(true))
    }

    // MARK: Doors

    @Test("a CoAP message that was written parses to what was written", arguments: [5, 6])
    func coap(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for _ in 0..<500 {
            var bytes: [UInt8] = []
            let token = CoAPToken(
                bits: random.next() >> 32, count: UInt8.random(in: 4...8, using: &random))
            var writer = CoAPWriter(
                kind: .confirmable, code: .content,
                messageID: .random(in: 0...65535, using: &random),
                token: token, to: &bytes)
            var expected: [(UInt32, Int)] = []
            var number: UInt32 = 0
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                number += UInt32.random(in: 0...700, using: &random)
                let count = Int.random(in: 0...300, using: &random)
                writer.option(number, Array(repeating: 7, count: count), to: &bytes)
                expected.append((number, count))
            }
            let payload = Int.random(in: 0...40, using: &random)
            writer.payload(Array(repeating: 9, count: payload), to: &bytes)
            let message = try CoAPMessage(bytes.span)
            #expect(message.tokenValue == token, "seed \(seed)")
            #expect(message.payload.count == payload)
            var found: [(UInt32, Int)] = []
            message.forEachOption(in: bytes.span) {
                found.append(($0.number, $0.value.count))
                return true
            }
            #expect(found.elementsEqual(expected, by: ==), "seed \(seed)")
        }
    }

    @Test("numbers of options take as few bytes as they need")
    func optionNumbers() throws {
        for (number, count) in [(UInt32(0), 0), (1, 1), (255, 1), (256, 2), (65_536, 3), (.max, 4)]
        {
            var bytes: [UInt8] = []
            var writer = CoAPWriter(kind: .nonConfirmable, code: .get, messageID: 1, to: &bytes)
            writer.option(CoAPOptionNumber.size1, uint: number, to: &bytes)
            let message = try CoAPMessage(bytes.span)
            #expect(message.size1 == number)
            #expect(message.options.count == count + 2, "one byte of head, one of extended delta")
        }
    }

    @Test("an object list keeps root, formats, versions; a link without end is refused")
    func links() throws {
        let text =
            "</lwm2m>;rt=\"oma.lwm2m\";ct=\"112 11542\", </lwm2m/3/0>,</lwm2m/3303>;ver=1.1,</x>"
        let list = try ObjectList(Array(text.utf8).span)
        #expect(list.root == "/lwm2m")
        #expect(list.contentFormats == [112, 11542])
        #expect(list.entries.map(\.path) == ["/3/0", "/3303"])
        #expect(list.entries.last?.version == "1.1")
        #expect(throws: Rejection.malformed) { try ObjectList(Array("</3/0".utf8).span) }
        #expect(throws: Rejection.malformed) { try ObjectList(Array("</3>;a=\"b".utf8).span) }
        let many = Array(repeating: "</3/0>", count: 513).joined(separator: ",")
        #expect(throws: Rejection.oversized) { try ObjectList(Array(many.utf8).span) }
    }

    @Test("packets of a gateway are walked with their base64")
    func packets() throws {
        let json =
            "{\"stat\":{\"rxnb\":1},\"rxpk\":[{\"stat\":1,\"rssi\":-106,\"lsnr\":5.5,"
            + "\"data\":\"gJQWPxyBXraLAUyeAQ==\"},{\"stat\":-1,\"data\":\"\"}]}"
        let bytes: [UInt8] = [2, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8] + Array(json.utf8)
        let message = try SemtechMessage(bytes.span)
        #expect(message.gateway == 0x0102_0304_0506_0708)
        var packets: [SemtechPacket] = []
        try message.forEachPacket(in: bytes.span) {
            packets.append($0)
            return true
        }
        #expect(packets.map(\.crc) == [.ok, .bad])
        #expect(packets[0].snr == .decimal(55, exponent: -1))
        var data: [UInt8] = []
        #expect(SemtechMessage.appendBase64(packets[0].data, of: bytes.span, to: &data))
        let found = LoRaWANHeader(data.span)
        let header = try #require(found)
        #expect(header.device == 0x1C3F_1694)
        #expect(header.frameCount == 46686)
    }

    @Test(
        "JSON that the grammar does not allow is refused",
        arguments: [
            "01", "1.", ".5", "-", "+1", "1e", "\"\\x\"", "\"\\ud800\"", "\"\u{1}\"", "[1,]",
            "{\"a\"}",
            "{\"a\":1,}", "[1 2]", "nul", "tru", "{} {}", "", "\"", "[", "{\"a\":",
        ])
    func json(text: String) {
        let bytes = Array(text.utf8)
        Cursor.over(bytes.span) { cursor in
            var pull = JSONPull(cursor, 0..<cursor.count)
            #expect(throws: Rejection.self) {
                while true { if case .end = try pull.next() { return } }
            }
        }
    }

    @Test("decimal text keeps its digits")
    func decimals() {
        func value(_ text: String) -> Value? {
            let bytes = Array(text.utf8)
            return Cursor.over(bytes.span) { JSONPull.number($0, 0..<$0.count) }
        }
        #expect(value("120.10") == .decimal(12010, exponent: -2))
        #expect(value("0.14e1") == .decimal(14, exponent: -1))
        #expect(value("1.320078429e+09") == .decimal(1_320_078_429))
        #expect(value("-0") == .decimal(0))
        #expect(value("1e300")?.kind == .double)
        #expect(value("1e9999")?.kind == Value.Kind.none)
        #expect(value("1e-9999")?.approximate == 0)
        #expect(value("123456789012345678901234567890")?.approximate ?? 0 > 1.2e29)
    }
}
