// Wireless M-Bus telegrams in the three shapes that receivers hand on, and what keys open.

import Glibc
import Model
import Testing

@testable import Formats

@Suite("wireless M-Bus")
struct WirelessMBusTests {
    /// OMS volume 2, annex N: security profile B, format A with check values.
    private static let annexN = bytes(
        "434493157856341233037ac98c2075900f002c25b30a000021924d4fba372fb66e017a75002007109058475f"
            + "4bc9d1281df878b80a1b0f98b629024aac7279429398bfc549233c0140829b93baa1")
    private static let annexKey = "000102030405060708090a0b0c0d0e0f"
    /// Not enciphered, without check values.
    private static let plain = bytes("1844a73260891320ee037ab20000000413881300000259d107")

    private static func bytes(_ hex: String) -> [UInt8] { HexText.bytes(hex) ?? [] }

    /// EN 13757-4: polynomial 3D65, bit by bit.
    private static func crc(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        var c: UInt16 = 0
        for byte in bytes {
            c ^= UInt16(byte) << 8
            for _ in 0..<8 { c = c & 0x8000 != 0 ? c << 1 ^ 0x3D65 : c << 1 }
        }
        return [UInt8(~c >> 8), UInt8(~c & 255)]
    }

    private static func formatA(_ bytes: [UInt8]) -> [UInt8] {
        var result = Array(bytes.prefix(10)) + crc(bytes.prefix(10))
        for at in stride(from: 10, to: bytes.count, by: 16) {
            let block = bytes[at..<min(at + 16, bytes.count)]
            result += block + crc(block)
        }
        return result
    }

    /// Format B: the length byte counts the check values.
    private static func formatB(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        guard bytes.count > 126 else {
            bytes[0] += 2
            return bytes + crc(bytes)
        }
        bytes[0] += 4
        return bytes[..<126] + crc(bytes[..<126]) + bytes[126...] + crc(bytes[126...])
    }

    /// A telegram with so many more records of one byte.
    private static func long(_ count: Int) -> [UInt8] {
        var bytes = plain
        for i in 0..<count { bytes += [0x01, 0x13, UInt8(i)] }
        bytes[0] = UInt8(bytes.count - 1)
        return bytes
    }

    private static func rejection(
        _ decoder: Decoder, _ bytes: [UInt8], _ frame: inout DecodedFrame
    ) -> Rejection? {
        do throws(Rejection) {
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            return nil
        } catch { return error }
    }

    @Test("reads the same from all shapes of a telegram", arguments: [0, 3, 30, 34, 35, 60, 70])
    func shapes(extra: Int) throws {
        let decoder = Decoder(try Fixtures.format("wmbus"))
        let bytes = Self.long(extra)
        var frame = DecodedFrame()
        try decoder.decode(bytes.span, direction: .up, into: &frame)
        let expected = frame.readings.map(\.value)
        #expect(expected.count == 3 + extra)
        for shape in [Self.formatA(bytes), Self.formatB(bytes)] {
            try decoder.decode(shape.span, direction: .up, into: &frame)
            #expect(frame.readings.map(\.value) == expected)
            #expect(decoder.identityText() == "LUG.20138960.03")
            let tree = decoder.explain(shape, direction: .up)
            #expect(tree.root.children.contains { $0.name == "dll_crc" })
        }
    }

    @Test("a field is shown at the bytes where it stands, check values between")
    func offsets() throws {
        let decoder = Decoder(try Fixtures.format("wmbus"))
        let bytes = Self.formatA(Self.long(4))
        let tree = decoder.explain(bytes, direction: .up)
        let records = tree.root.children.first { $0.name == "records" }?.children ?? []
        for (i, record) in records.filter({ $0.value == .object }).dropFirst(2).enumerated() {
            let value = try #require(record.children.first { $0.name == "value" })
            #expect(bytes[value.bytes.lowerBound] == UInt8(i))
        }
    }

    @Test("finds telegrams of format A in a stream, however it is cut")
    func stream() throws {
        let decoder = Decoder(try Fixtures.format("wmbus"))
        let one = Self.formatA(Self.long(5))
        for count in 0..<one.count {
            let search = decoder.search(Array(one.prefix(count)).span, direction: .up)
            #expect(search == .needsMore(skip: 0), "\(count) bytes")
        }
        let two = one + Self.annexN
        #expect(decoder.search(two.span, direction: .up) == .frame(skip: 0, count: one.count))
        #expect(
            decoder.search(Self.annexN.span, direction: .up)
                == .frame(skip: 0, count: Self.annexN.count))
        #expect(
            decoder.search((Self.plain + one).span, direction: .up)
                == .frame(skip: 0, count: Self.plain.count))
    }

    @Test("no flipped bit of an authenticated telegram is accepted")
    func flips() throws {
        let decoder = Decoder(
            try Fixtures.format("wmbus"), keys: try #require(DeviceKeys(every: Self.annexKey)))
        var frame = DecodedFrame()
        #expect(Self.rejection(decoder, Self.annexN, &frame) == nil)
        for bit in 0..<Self.annexN.count * 8 {
            var bytes = Self.annexN
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(Self.rejection(decoder, bytes, &frame) != nil, "bit \(bit)")
        }
    }

    @Test("what mode 7 authenticates cannot be changed even when the link's check values fit")
    func authentication() throws {
        let decoder = Decoder(
            try Fixtures.format("wmbus"), keys: try #require(DeviceKeys(every: Self.annexKey)))
        var frame = DecodedFrame()
        let bare = Self.bytes(
            "434493157856341233038c2075900f002c25b30a000021924d4f2fb66e017a75002007109058475f4bc91d"
                + "f878b80a1b0f98b629024aac727942bfc549233c0140829b93")
        #expect(Self.rejection(decoder, bare, &frame) == nil)
        #expect(frame.readings.count == 3)
        // From the message counter to the end; the maker's bytes before are not covered.
        for at in 17..<bare.count {
            var bytes = bare
            bytes[at] ^= 0x10
            let rejection = Self.rejection(decoder, bytes, &frame)
            // Another CI or mode is another message, of which nothing but the status is read.
            if at == 30 || at == 34 {
                #expect(rejection == nil && frame.readings.count <= 1)
            } else {
                #expect(rejection != nil, "byte \(at)")
            }
        }
    }

    @Test("without a key the payload is left alone, and the frame says so")
    func noKey() throws {
        let decoder = Decoder(try Fixtures.format("wmbus"))
        var frame = DecodedFrame()
        #expect(Self.rejection(decoder, Self.annexN, &frame) == nil)
        #expect(frame.isSealed)
        #expect(frame.device == DeviceKey("ELS.12345678.03"))
        #expect(frame.readings.count == 1)
        #expect(Self.rejection(decoder, Self.plain, &frame) == nil)
        #expect(!frame.isSealed)
    }

    @Test("each meter's own key is used, and that of nobody else")
    func ownKeys() throws {
        let text = """
            { keys: { "ELS.12345678.03": "\(Self.annexKey)", "*": "ffffffffffffffffffffffffffffffff" } }
            """
        let keys = try DeviceKeys(text: Array(text.utf8), file: "keys")
        let format = try Fixtures.format("wmbus")
        var frame = DecodedFrame()
        #expect(Self.rejection(Decoder(format, keys: keys), Self.annexN, &frame) == nil)
        let other = try DeviceKeys(
            text: Array("{ keys: { \"ELS.12345679.03\": \"\(Self.annexKey)\" } }".utf8),
            file: "keys")
        #expect(Self.rejection(Decoder(format, keys: other), Self.annexN, &frame) == nil)
        #expect(frame.isSealed)
    }

    // MARK: Compact frames

    /// A telegram without transport header: CI and what follows.
    private static func telegram(_ rest: [UInt8]) -> [UInt8] {
        [UInt8(9 + rest.count)] + plain[1..<10] + rest
    }

    private static func low(_ crc: [UInt8]) -> [UInt8] { [crc[1], crc[0]] }

    @Test("a compact frame reads as the full frame that it abbreviates")
    func compact() throws {
        let decoder = Decoder(try Fixtures.format("wmbus"))
        var frame = DecodedFrame()
        let full = Self.bytes("02ff20" + "0100" + "0413" + "39300000" + "4413" + "10270000")
        try decoder.decode(Self.telegram([0x78] + full).span, direction: .up, into: &frame)
        let expected = frame.readings.map(\.value)
        #expect(expected.map(\.description) == ["12.345", "10.000"])
        let heads = Self.bytes("02ff20" + "0413" + "4413")
        let data = Self.bytes("0100" + "39300000" + "10270000")
        let compact = [0x79] + Self.low(Self.crc(heads)) + Self.low(Self.crc(full)) + data
        try decoder.decode(Self.telegram(compact).span, direction: .up, into: &frame)
        #expect(frame.readings.map(\.value) == expected)
        // Any other signature, check value or data: accepted, not read.
        for at in 1..<compact.count {
            var changed = compact
            changed[at] ^= 4
            try decoder.decode(Self.telegram(changed).span, direction: .up, into: &frame)
            #expect(frame.readings.isEmpty, "byte \(at)")
        }
        let signatures = Machine.compactHeads.map { Self.crc($0) }
        #expect(signatures.contains([0xA8, 0xED]) && Set(signatures).count == signatures.count)
    }

    // MARK: Key files

    @Test(
        "says what is wrong with a key file, at its place and without the key",
        arguments: [
            ("{ keys: { \"A.1.2\": \"00ff\" } }", "1:20"),
            ("{ keys: { \"A b\": \"00\" } }", "1:11"),
            ("{ key: {} }", "1:3"), ("[]", "1:1"), ("{ keys: ", "1:9"),
        ])
    func badKeys(text: String, place: String) {
        do throws(Complaints) {
            _ = try DeviceKeys(text: Array(text.utf8), file: "keys")
            Issue.record("accepted \(text)")
        } catch {
            #expect(error.all[0].description.hasPrefix("keys:\(place):"), "\(error.all[0])")
            #expect(error.all.allSatisfy { !$0.description.contains("00ff") })
        }
    }

    @Test("a key file that others may read is refused; keys are never printed")
    func fileMode() throws {
        let path = "/tmp/sluice-keys-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        let text = Array("{ keys: { \"*\": \"\(Self.annexKey)\" } }".utf8)
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        defer { unsafe unlink(path) }
        let written = unsafe text.withUnsafeBytes {
            unsafe write(descriptor, $0.baseAddress, $0.count)
        }
        #expect(written == text.count)
        close(descriptor)
        let keys = try DeviceKeys(file: path)
        #expect(keys.count == 1)
        var dumped = "\(keys) \(String(reflecting: keys))"
        dump(keys, to: &dumped)
        #expect(!dumped.contains("0001"))
        for mode in [0o640, 0o604, 0o620] as [mode_t] {
            #expect(unsafe chmod(path, mode) == 0)
            #expect(throws: Complaints.self) { try DeviceKeys(file: path) }
        }
    }
}
