// What M-Bus records become: names, units, values, times; and streams of frames of three forms.

import Model
import Testing

@testable import Formats

@Suite("M-Bus")
struct MBusTests {
    /// A long frame of meter ACW 09011523, medium 7, around records.
    static func frame(_ records: String, header: String = "231501097704140701000000") -> [UInt8] {
        let body = [0x08, 0x01, 0x72] + (HexText.bytes(header + records) ?? [])
        let sum = body.reduce(UInt8(0)) { $0 &+ $1 }
        return [0x68, UInt8(body.count), UInt8(body.count), 0x68] + body + [sum, 0x16]
    }

    private struct Found: Equatable {
        var name: String
        var unit: String
        var value: String
        var at: String?
    }

    private static func readings(_ bytes: [UInt8], _ format: Format) throws -> [Found] {
        let decoder = Decoder(format)
        var frame = DecodedFrame()
        try decoder.decode(bytes.span, direction: .up, into: &frame)
        return frame.readings.map {
            let words = decoder.describe($0)
            return Found(
                name: words.name, unit: words.unit, value: $0.value.description,
                at: $0.observedAt?.iso8601)
        }.filter { $0.name != "meter_status" }
    }

    @Test(
        "a record's quantity, scale, storage, tariff, subunit and function make stream and value",
        arguments: [
            ("0413 39300000", "volume_total", "m³", "12.345"),
            ("0403 e8030000", "energy_total", "Wh", "1000"),
            ("0406 e8030000", "energy_total", "Wh", "1000000"),
            ("04fb00 0a000000", "energy_total", "Wh", "1000000"),
            ("04fb09 01000000", "energy_j_total", "J", "1000000000"),
            ("8c1003 21430000", "energy_t1", "Wh", "4321"),
            ("4c13 01000000", "volume_s1", "m³", "0.001"),
            ("8440 13 01000000", "volume_u1", "m³", "0.001"),
            ("948001 ae25 09000000", "power_s32_max_v25", "W", "9000"),
            ("23 2b 010000", "power_min", "W", "1"),
            ("02 fdc8fc01 7d09", "voltage_l1", "V", "242.9"),
            ("02 fdc8ff02 7d09", "voltage_l2", "V", "242.9"),
            ("04 933c 01000000", "volume_backward", "m³", "0.001"),
            ("04 9370 40420f00", "volume_total", "m³", "0.001000000"),
            ("04 937d 05000000", "volume_total", "m³", "5"),
            ("01 26 05", "operating_time", "s", "18000"),
            ("01 27 05", "operating_time", "s", "432000"),
            ("02 43 0a00", "volume_flow", "m³/h", "0.0600"),
            ("02 4b 0a00", "volume_flow", "m³/h", "0.036000"),
            ("05 5b 0000c841", "flow_temperature", "°C", "25.0"),
            ("02 5b feff", "flow_temperature", "°C", "-2"),
            ("0a 5a 01f0", "flow_temperature", "°C", "-0.1"),
            ("01 fd17 ff", "error_flags", "", "255"),
            ("0d 13 c3 563412", "volume_total", "m³", "123.456"),
            ("0d 13 d3 563412", "volume_total", "m³", "-123.456"),
            ("0d 13 e2 3930", "volume_total", "m³", "12.345"),
            ("02 fc03485225 74 2215", "text_percent_rh", "%", "54.10"),
            ("42 fc03485225 74 2215", "text_percent_rh_s1", "%", "54.10"),
            ("34 2b 01000000", "power_error", "W", "1"),
        ])
    func stream(record: String, name: String, unit: String, value: String) throws {
        let format = try Fixtures.format("mbus")
        let found = try Self.readings(Self.frame(record.filter { $0 != " " }), format)
        #expect(found == [Found(name: name, unit: unit, value: value)])
    }

    @Test(
        "names, versions, dates, texts and records without data are no readings",
        arguments: [
            "0c78 23150109", "03fd0e 010000", "426c bf1c", "0013", "0806", "0dfd11 03414243",
            "02ff68 0000", "0c7b 00000000", "04fd6e 01000000",
        ])
    func silent(record: String) throws {
        let format = try Fixtures.format("mbus")
        #expect(try Self.readings(Self.frame(record.filter { $0 != " " }), format) == [])
    }

    @Test("the meter's clock dates the frame, a due date its stored values, in the format's zone")
    func times() throws {
        let base = try Fixtures.library.get()
        let zoned = try FormatLibrary(
            text: "{ format: \"mbus-east\", extends: \"mbus\", zone: \"+08:00\" }", file: "x",
            library: base)
        // Clock 2014-03-13T14:26; storage 1 of 2013-12-31; storage 2 without a date.
        let bytes = Self.frame(
            "041301000000" + "441302000000" + "84011303000000" + "046d1a0ecd13" + "426cbf1c")
        let found = try Self.readings(bytes, zoned.formats[0])
        #expect(found.map(\.name) == ["volume_total", "volume_s1", "volume_s2"])
        #expect(
            found.map(\.at) == [
                "2014-03-13T06:26:00Z", "2013-12-30T16:00:00Z", "2014-03-13T06:26:00Z",
            ])
        let plain = try Self.readings(bytes, try Fixtures.format("mbus"))
        #expect(plain[0].at == "2014-03-13T14:26:00Z")
    }

    @Test("a clock that says it is wrong dates nothing, nor does the next due date")
    func noTimes() throws {
        let format = try Fixtures.format("mbus")
        let found = try Self.readings(
            Self.frame("041301000000" + "441302000000" + "046d9e0c4f31" + "42ec7ebf1c"), format)
        #expect(found.map(\.at) == [nil, nil])
    }

    @Test("ten extensions are read, eleven refused, for DIFs and VIFs alike")
    func chains() throws {
        let decoder = Decoder(try Fixtures.format("mbus"))
        var frame = DecodedFrame()
        func verdict(_ difes: Int, _ vifes: Int) -> Rejection? {
            func chain(_ n: Int) -> String {
                n == 0 ? "" : String(repeating: "80", count: n - 1) + "00"
            }
            let dif = difes == 0 ? "01" : "81"
            let vif = vifes == 0 ? "13" : "93"
            let bytes = Self.frame(dif + chain(difes) + vif + chain(vifes) + "05")
            do throws(Rejection) {
                try decoder.decode(bytes.span, direction: .up, into: &frame)
                return nil
            } catch { return error }
        }
        #expect(verdict(10, 0) == nil && verdict(0, 10) == nil && verdict(10, 10) == nil)
        #expect(verdict(11, 0) == .malformed)
        #expect(verdict(0, 11) == .malformed)
    }

    @Test("records cut at any byte inside an intact frame are refused, unless a record ends there")
    func cutRecords() throws {
        let decoder = Decoder(try Fixtures.format("mbus"))
        let records =
            "0c7823150109" + "0d7c084449202e747375630a353537363730414c3930" + "046d1a0ecd13"
        let all = HexText.bytes(records) ?? []
        let ends: Set = [0, 6, 6 + 22, all.count]
        var frame = DecodedFrame()
        for count in 0...all.count {
            let bytes = Self.frame(FieldNode.hex(Array(all.prefix(count))))
            var rejection: Rejection?
            do throws(Rejection) {
                try decoder.decode(bytes.span, direction: .up, into: &frame)
            } catch { rejection = error }
            #expect(rejection == (ends.contains(count) ? nil : .truncated), "\(count) bytes")
        }
    }

    @Test("an unfinished frame is waited for, whatever bytes it ends with at the moment")
    func splitStream() throws {
        let decoder = Decoder(try Fixtures.format("mbus"))
        // E5 and 10 … 16 inside look like frames of other forms.
        let bytes = Self.frame("0413e5e5e5e5" + "0713e510100516e5e51016" + "0413e5000000")
        for count in 1..<bytes.count {
            let search = decoder.search(Array(bytes.prefix(count)).span, direction: .up)
            #expect(search == .needsMore(skip: 0), "\(count) bytes")
        }
        let two = bytes + [0xE5] + bytes
        #expect(
            decoder.search(two.span, direction: .up) == .frame(skip: 0, count: bytes.count))
        let rest = Array(two.dropFirst(bytes.count))
        #expect(decoder.search(rest.span, direction: .up) == .frame(skip: 0, count: 1))
    }

    @Test("a maker without letters stands as hex in the identity")
    func strangeMaker() throws {
        let decoder = Decoder(try Fixtures.format("mbus"))
        var frame = DecodedFrame()
        let bytes = Self.frame("0413e5000000", header: "231501090000140701000000")
        try decoder.decode(bytes.span, direction: .up, into: &frame)
        #expect(decoder.identityText() == "0000.09011523.07")
        #expect(frame.device == DeviceKey("0000.09011523.07"))
    }
}
