// Check values by tables, eight bytes a step, against the definition, a bit a step.

import Model
import Testing

@testable import Formats

@Suite("Check values")
struct ChecksumTests {
    /// Polynomial, start, reflection and final xor (G. Cook, "Catalogue of parametrised CRC algorithms with
    /// 16 bits").
    private static let kinds: [(name: String, UInt16, UInt16, Bool, UInt16)] = [
        ("crc16-modbus", 0x8005, 0xFFFF, true, 0),
        ("crc16-ccitt", 0x1021, 0xFFFF, false, 0),
        ("crc16-x25", 0x1021, 0xFFFF, true, 0xFFFF),
        ("crc16-arc", 0x8005, 0, true, 0),
        ("crc16-xmodem", 0x1021, 0, false, 0),
        ("crc16-en13757", 0x3D65, 0, false, 0xFFFF),
    ]

    private func plain(
        _ bytes: ArraySlice<UInt8>, _ polynomial: UInt16, _ start: UInt16, _ isReflected: Bool,
        _ final: UInt16
    ) -> UInt16 {
        func reversed<T: FixedWidthInteger>(_ word: T) -> T {
            (0..<T.bitWidth).reduce(0) { $0 << 1 | (word >> T($1) & 1) }
        }
        var crc = isReflected ? reversed(start) : start
        for byte in bytes {
            crc ^= UInt16(isReflected ? reversed(byte) : byte) << 8
            for _ in 0..<8 { crc = crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ polynomial }
        }
        return (isReflected ? reversed(crc) : crc) ^ final
    }

    @Test("are what their definition says, for every length and place", arguments: kinds.indices)
    func byTables(row: Int) throws {
        let (name, polynomial, start, isReflected, final) = ChecksumTests.kinds[row]
        let found = ChecksumRule.kinds.first { $0.name == name }?.kind
        guard case .crc16(let rule) = found else {
            Issue.record("no \(name)")
            return
        }
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix64(seed: seed)
        let bytes = (0..<90).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        for from in 0..<9 {
            for end in from...bytes.count {
                let sum = Cursor.over(bytes.span) { $0.crc16(from..<end, rule: rule) }
                let expected = plain(bytes[from..<end], polynomial, start, isReflected, final)
                #expect(sum == expected, "\(name) \(from)..<\(end), seed \(seed)")
            }
        }
        let outside = Cursor.over(bytes.span) { $0.crc16(80..<91, rule: rule) }
        #expect(outside == nil)
    }

    @Test("every named CRC is in this list, but for the one of HJ 212")
    func all() {
        for kind in ChecksumRule.kinds {
            guard case .crc16 = kind.kind else { continue }
            #expect(ChecksumTests.kinds.contains { $0.name == kind.name }, "\(kind.name)")
        }
    }
}
