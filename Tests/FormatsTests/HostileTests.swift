// Bytes that nobody meant: random, random behind a good start, random format files. Nothing traps,
// everything ends, both paths agree.

import Formats
import Model
import Testing

struct HostileTests {
    @Test("random bytes never trap and both paths agree", arguments: [1, 2, 3] as [UInt64])
    func randomFrames(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for format in try Fixtures.library.get().formats {
            let decoder = Decoder(format)
            var frame = DecodedFrame()
            for _ in 0..<400 {
                let bytes = (0..<Int.random(in: 0...300, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                agree(decoder, bytes, into: &frame, seed)
            }
        }
    }

    @Test("good frames with random damage never trap", arguments: [11, 12] as [UInt64])
    func damagedFrames(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for row in try Fixtures.rows() {
            let decoder = Decoder(row.format)
            var frame = DecodedFrame()
            for _ in 0..<20 {
                var bytes = row.bytes
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let at = Int.random(in: 0...max(0, bytes.count - 1), using: &random)
                    switch Int.random(in: 0...2, using: &random) {
                    case 0 where !bytes.isEmpty: bytes[at] = .random(in: 0...255, using: &random)
                    case 1 where !bytes.isEmpty: bytes.remove(at: at)
                    default: bytes.insert(.random(in: 0...255, using: &random), at: at)
                    }
                }
                agree(decoder, bytes, into: &frame, seed)
            }
        }
    }

    private func agree(
        _ decoder: Decoder, _ bytes: [UInt8], into frame: inout DecodedFrame, _ seed: UInt64
    ) {
        for direction in [Direction.up, .down] {
            let refusal = rejection(decoder, bytes, direction, into: &frame)
            let explanation = decoder.explain(bytes, direction: direction)
            #expect(explanation.rejection == refusal, "\(decoder.format.name) seed \(seed)")
            #expect(frame.readings.count <= 512)
            for node in [explanation.root] + explanation.root.children {
                #expect(node.bytes.lowerBound >= 0 && node.bytes.upperBound <= bytes.count)
            }
            for reading in frame.readings {
                #expect(!decoder.describe(reading).name.isEmpty)
            }
        }
    }

    @Test("a search over random streams always moves on", arguments: [21, 22] as [UInt64])
    func randomStreams(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let rows = try Fixtures.rows()
        for format in try Fixtures.library.get().formats {
            let decoder = Decoder(format)
            let mine = rows.filter { $0.format.name == format.name }
            for _ in 0..<20 {
                var bytes: [UInt8] = []
                while bytes.count < 700 {
                    if let row = mine.randomElement(using: &random), Bool.random(using: &random) {
                        bytes += row.bytes.prefix(Int.random(in: 0...300, using: &random))
                    } else {
                        bytes += (0..<40).map { _ in UInt8.random(in: 0...255, using: &random) }
                    }
                }
                var left = bytes.count
                search: while left > 0 {
                    let rest = Array(bytes.suffix(left))
                    switch decoder.search(rest.span, direction: .up) {
                    case .frame(let skip, let count):
                        #expect(count > 0 && skip >= 0 && skip + count <= left)
                        #expect(count <= format.maximumFrame)
                        left -= skip + count
                    case .rejected(let skip, let advance, _):
                        #expect(advance > 0 && skip >= 0 && skip + advance <= left, "seed \(seed)")
                        left -= skip + advance
                    case .needsMore(let skip):
                        #expect(skip >= 0 && skip <= left)
                        // What is kept can still become one frame.
                        #expect(left - skip < max(1, format.maximumFrame))
                        break search
                    }
                }
            }
        }
    }

    @Test("damaged format files are refused or load, but never trap", arguments: [31] as [UInt64])
    func damagedFiles(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let text = Array(Repository.text("protocols/reference-sensor.json5").utf8)
        var refused = 0
        for _ in 0..<300 {
            var changed = text
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0..<changed.count, using: &random)
                switch Int.random(in: 0...2, using: &random) {
                case 0: changed[at] = UInt8.random(in: 0x20...0x7E, using: &random)
                case 1: changed.removeSubrange(at..<min(changed.count, at + 9))
                default:
                    let from = Int.random(in: 0..<changed.count - 30, using: &random)
                    changed.insert(contentsOf: changed[from..<from + 20], at: at)
                }
            }
            do throws(Complaints) {
                _ = try FormatLibrary(text: String(decoding: changed, as: UTF8.self), file: "x")
            } catch {
                refused += 1
                #expect(!error.all.isEmpty)
            }
        }
        #expect(refused > 100)
    }
}
