// Places of a stream that a search passes over, and check values that are put right.

import Model
import Testing

@testable import Formats

struct FramerStartsTests {
    @Test(
        "a place that a search passes over is one that judging refuses",
        arguments: [31, 32] as [UInt64])
    func passedOver(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let rows = try Fixtures.rows()
        var passed = 0
        for format in try Fixtures.library.get().formats
        where format.program.frames[0].delimiter < 0 {
            let mine = rows.filter { $0.format.name == format.name }
            for direction in [Direction.up, .down] {
                let stream = noise(mine, using: &random)
                passed += check(format, stream, direction, seed)
                // The last bytes of a stream, where anchors and lengths are cut.
                for count in 0..<8 {
                    passed += check(format, Array(stream.prefix(count)), direction, seed)
                }
            }
        }
        #expect(passed > 1000, "seed \(seed)")
    }

    private func noise(
        _ rows: [Fixtures.Row], using random: inout SplitMix64
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < 400 {
            if let row = rows.randomElement(using: &random), Bool.random(using: &random) {
                bytes += row.bytes.prefix(Int.random(in: 0...80, using: &random))
            } else {
                bytes += (0..<20).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
        }
        return bytes
    }

    /// How many places are passed over.
    private func check(
        _ format: Format, _ stream: [UInt8], _ direction: Direction, _ seed: UInt64
    ) -> Int {
        let decoder = Decoder(format)
        let rule = format.program.frames[0]
        var passed = 0
        Cursor.over(stream.span) { cursor in
            var machine = decoder.machine(cursor, direction: direction, isExact: false)
            for at in 0..<stream.count {
                let next = format.starts.first(
                    cursor, from: at, upTo: stream.count, direction)
                #expect(next >= at && next <= stream.count)
                if next == at { continue }
                passed += 1
                let verdict = machine.judge(rule, format.program, from: at, end: stream.count)
                guard case .no = verdict else {
                    Issue.record("\(format.name) \(direction) place \(at) seed \(seed): \(verdict)")
                    return
                }
            }
        }
        return passed
    }

    @Test("a Modbus stream is judged only where a function code stands that has a length")
    func functionCodes() throws {
        let format = try Fixtures.format("modbus-rtu")
        let up: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 0x0B, 0x0C, 0x0F, 0x10, 0x11]
        let codes = Set(up + [0x14, 0x15, 0x16, 0x17, 0x18])
        for direction in [Direction.up, .down] {
            for code in UInt8.min...UInt8.max {
                let stream = [9, code, 0, 0, 0, 0, 0, 0]
                let isJudged = Cursor.over(stream.span) { cursor in
                    format.starts.first(cursor, from: 0, upTo: 1, direction) == 0
                }
                let isException = direction == .up && (0x81...0xAB).contains(code)
                #expect(isJudged == (codes.contains(code) || isException), "\(direction) \(code)")
            }
        }
    }

    @Test("a wrong check value is put right, a right one stays")
    func mended() throws {
        let library = try Fixtures.library.get()
        var mended = 0
        for format in library.formats {
            let decoder = Decoder(format)
            var frame = DecodedFrame()
            for bytes in library.exampleFrames(of: format) {
                #expect(format.mended(bytes) == bytes, "\(format.name)")
                let rule = format.program.frames[0]
                guard rule.checksum >= 0 else { continue }
                for at in bytes.indices.suffix(6) {
                    var broken = bytes
                    broken[at] ^= 0x01
                    // An escape that comes or goes changes the length, too.
                    let isEscape = [bytes[at], broken[at]].contains {
                        Int($0) == rule.escapes.escape
                    }
                    guard !isEscape, refusal(decoder, broken, &frame) == .badChecksum else {
                        continue
                    }
                    let whole = format.mended(broken)
                    #expect(whole != broken, "\(format.name)")
                    #expect(refusal(decoder, whole, &frame) != .badChecksum, "\(format.name)")
                    mended += 1
                }
            }
        }
        #expect(mended > 30)
    }

    private func refusal(
        _ decoder: Decoder, _ bytes: [UInt8], _ frame: inout DecodedFrame
    ) -> Rejection? {
        do throws(Rejection) {
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            return nil
        } catch { return error }
    }

    @Test("frames too short for a check value stay as they are")
    func tooShort() throws {
        for format in try Fixtures.library.get().formats {
            for count in 0..<4 {
                let bytes = [UInt8](repeating: 0x7E, count: count)
                #expect(format.mended(bytes).count == count, "\(format.name)")
            }
        }
    }
}
