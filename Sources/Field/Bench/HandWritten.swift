// The yardstick of `sluice bench decode`: the decoder that somebody would write by hand for one vendor
// frame, doing the same work as the described format below (check value, identity, duplicate key, five
// exact readings with the device's time), with checked access to the bytes. Owned by the bench.

import Formats
import Model

enum VendorFrame {
    /// 40 bytes: A5, length, IMEI in 8 bytes, serial, Unix time, volume, flow, temperature, pressure,
    /// battery, 11 bytes reserved, sum8.
    static let count = 40

    static let description = """
        {
          format: "bench-vendor",
          title: "Frame of a water meter, for the bench",
          framing: {
            anchors: [{ at: 0, bytes: "a5" }],
            fields: [{ name: "length", at: 1, type: "u8" }],
            length: "length + 2",
            maximum: 64,
            checksum: { kind: "sum8", from: 0, to: -1, at: -1 },
            body: { from: 2, to: -1 },
          },
          layout: [
            { name: "imei", type: "digits", bytes: 8 },
            { name: "serial", type: "u16be" },
            { name: "time", type: "u32be", time: "unix", observed: true },
            { name: "volume", type: "u32be", decimals: 3, unit: "m³", reading: true },
            { name: "flow", type: "s16be", decimals: 2, unit: "m³/h", reading: true },
            { name: "temperature", type: "s16be", decimals: 1, unit: "°C", reading: true },
            { name: "pressure", type: "u16be", decimals: 3, unit: "MPa", reading: true },
            { name: "battery_voltage", type: "u16be", decimals: 3, unit: "V", reading: true },
            { skip: 11, note: "reserved" },
          ],
          identity: "{imei}",
          exchange: { duplicate: { key: "frame", windowSeconds: 600 } },
        }
        """

    /// Frame number `n`: same device class, values of their own.
    static func bytes(_ n: Int) -> [UInt8] {
        var bytes: [UInt8] = [0xA5, 38, 0xF8]
        for i in 0..<7 { bytes.append(UInt8((n / (i + 1)) % 10 << 4 | (n + i) % 10)) }
        func put(_ value: Int, _ width: Int) {
            for i in (0..<width).reversed() {
                bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i)))
            }
        }
        put(n & 0xFFFF, 2)
        put(1_763_000_000 + 60 * n, 4)
        put(1_234_567 + 17 * n, 4)
        put(-125 + n % 300, 2)
        put(215 - n % 90, 2)
        put(400 + n % 77, 2)
        put(3600 - n % 200, 2)
        for _ in 0..<11 { bytes.append(0) }
        bytes.append(bytes.reduce(0, &+))
        return bytes
    }

    /// Decodes by hand what `description` describes; false when the frame is not right.
    static func decode(_ bytes: Span<UInt8>, into frame: inout DecodedFrame) -> Bool {
        frame.removeAll()
        guard bytes.count == count, bytes[0] == 0xA5, bytes[1] == 38 else { return false }
        var sum: UInt8 = 0
        for i in 0..<39 { sum &+= bytes[i] }
        guard sum == bytes[39] else { return false }
        guard let device = identity(bytes) else { return false }
        frame.device = device
        let time = Timestamp(milliseconds: Int64(word(bytes, 12, 4)) * 1000)
        yield(&frame, 0, Int64(word(bytes, 16, 4)), -3, time)
        yield(&frame, 1, signed(word(bytes, 20, 2)), -2, time)
        yield(&frame, 2, signed(word(bytes, 22, 2)), -1, time)
        yield(&frame, 3, Int64(word(bytes, 24, 2)), -3, time)
        yield(&frame, 4, Int64(word(bytes, 26, 2)), -3, time)
        frame.duplicateKey = hash(bytes)
        return true
    }

    @inline(__always)
    private static func word(_ bytes: Span<UInt8>, _ at: Int, _ width: Int) -> UInt64 {
        var word: UInt64 = 0
        for i in 0..<width { word = word << 8 | UInt64(bytes[at + i]) }
        return word
    }

    @inline(__always)
    private static func signed(_ word: UInt64) -> Int64 { Int64(Int16(truncatingIfNeeded: word)) }

    @inline(__always)
    private static func yield(
        _ frame: inout DecodedFrame, _ output: UInt16, _ mantissa: Int64, _ exponent: Int8,
        _ time: Timestamp
    ) {
        frame.readings.append(
            DecodedReading(
                output: output, discriminator: 0, value: .decimal(mantissa, exponent: exponent),
                quality: Quality(), observedAt: time))
    }

    /// IMEI digits behind filling F nibbles.
    private static func identity(_ bytes: Span<UInt8>) -> DeviceKey? {
        var digits: [16 of UInt8] = .init(repeating: 0)
        var count = 0
        for place in 4..<20 {
            let byte = bytes[place >> 1]
            let nibble = place & 1 == 0 ? byte >> 4 : byte & 15
            if count == 0, nibble == 15 { continue }
            digits[count] = nibble < 10 ? 0x30 + nibble : 0x57 + nibble
            count += 1
        }
        return DeviceKey(text: digits.span.extracting(0..<count))
    }

    /// Multiply and fold over eight bytes at a time.
    private static func hash(_ bytes: Span<UInt8>) -> UInt64 {
        var state: UInt64 = 0xA076_1D64_78BD_642F
        for i in 0..<5 {
            let product = (state ^ word(bytes, 8 * i, 8)).multipliedFullWidth(
                by: 0xE703_7ED1_A0B4_28DB)
            state = product.high ^ product.low
        }
        return state
    }
}
