// The law of streams, for every protocol whose frames find their own borders: however TCP cuts and joins
// them and whatever noise, damaged and half frames stand between, each good frame is taken in once
// and in order, at once when nothing before it is open, and every bad one is counted.

import Formats
import Model
import Pipeline
import Simulator
import Testing

@Suite("Intake: frames at any borders")
struct BorderTests {
    /// What one connection carries.
    private struct Traffic {
        var bytes: [UInt8] = []
        /// Where each good frame ends, and its row.
        var good: [(end: Int, row: StreamRows.Row)] = []
        /// Where each row with a wrong checksum ends.
        var bad: [Int] = []

        mutating func append(good row: StreamRows.Row) {
            bytes += row.bytes
            good.append((bytes.count, row))
        }

        mutating func append(bad row: StreamRows.Row) {
            bytes += row.bytes
            bad.append(bytes.count)
        }

        /// One byte, a few, about a frame, several frames.
        func pieces(_ random: inout SplitMix64) -> [ArraySlice<UInt8>] {
            var all: [ArraySlice<UInt8>] = []
            var at = 0
            while at < bytes.count {
                let most = [1, 1, 7, 40, 300, 3000][random.below(6)]
                let next = min(bytes.count, at + random.within(1...most))
                all.append(bytes[at..<next])
                at = next
            }
            return all
        }
    }

    /// The rows that one intake takes alone; all of them, says another test.
    private static func taken(_ rows: StreamRows) -> [StreamRows.Row] {
        rows.good.filter { row in
            let rig = StreamRig(rows.format)
            rig.send(row.bytes[...])
            return rig.accepted == 1 && rig.held.isEmpty
        }
    }

    private static func refused(_ rows: StreamRows) -> [StreamRows.Row] {
        rows.bad.filter { row in
            let rig = StreamRig(rows.format)
            rig.send(row.bytes[...])
            return rig.accepted == 0 && rig.rejected == 1 && rig.held.isEmpty
        }
    }

    @Test("every row of a device is one frame of a stream", arguments: StreamRows.all)
    func alone(rows: StreamRows) {
        #expect(rows.good.count > 10)
        for row in rows.good {
            let rig = StreamRig(rows.format)
            rig.send(row.bytes[...])
            #expect(rig.accepted == 1 && rig.rejected == 0, "\(rows.format) \(row.id)")
            #expect(rig.held.isEmpty && rig.rig.counters.bytesSkipped == 0, "\(row.id)")
        }
        for row in rows.bad {
            let rig = StreamRig(rows.format)
            rig.send(row.bytes[...])
            rig.end()
            #expect(rig.accepted == 0 && rig.rejected >= 1, "\(rows.format) \(row.id)")
        }
    }

    @Test(
        "cut and joined anywhere: each good frame is taken at once, each bad one counted",
        arguments: StreamRows.all)
    func cutAndJoined(rows: StreamRows) {
        let good = BorderTests.taken(rows)
        let bad = BorderTests.refused(rows)
        for seed in 1...20 as ClosedRange<UInt64> {
            var random = SplitMix64(seed: seed)
            var traffic = Traffic()
            for _ in 0..<30 {
                if random.chance(0.15), !bad.isEmpty {
                    traffic.append(bad: bad[random.below(bad.count)])
                } else {
                    traffic.append(good: good[random.below(good.count)])
                }
            }
            let rig = StreamRig(rows.format)
            var sent = 0
            for piece in traffic.pieces(&random) {
                rig.send(piece)
                sent = piece.endIndex
                let due = traffic.good.filter { $0.end <= sent }
                guard rig.accepted == due.count else {
                    Issue.record(
                        """
                        \(rows.format), seed \(seed), after \(sent) bytes: \(rig.accepted) of \
                        \(due.count), last \(due.last?.row.id ?? "")
                        """)
                    break
                }
            }
            rig.end()
            check(rig, traffic, rows, seed: seed)
            #expect(rig.rejected == traffic.bad.count, "\(rows.format), seed \(seed)")
            #expect(rig.rig.counters.bytesSkipped == 0, "\(rows.format), seed \(seed)")
        }
    }

    @Test("a source of several formats finds each connection's own", arguments: StreamRows.all)
    func severalFormats(rows: StreamRows) {
        let good = BorderTests.taken(rows)
        // Modbus has no mark of its own: beside it a connection of another protocol is guesswork.
        let others = StreamRows.all.map(\.format).filter {
            $0 != rows.format && !$0.hasPrefix("modbus")
        }
        let isMarked = !rows.format.hasPrefix("modbus")
        for seed in 1...10 as ClosedRange<UInt64> {
            var random = SplitMix64(seed: seed)
            var traffic = Traffic()
            for _ in 0..<20 { traffic.append(good: good[random.below(good.count)]) }
            var formats = others.shuffled(using: &random)
            formats.insert(rows.format, at: isMarked ? random.below(others.count) : 0)
            let rig = StreamRig(formats)
            for piece in traffic.pieces(&random) { rig.send(piece) }
            rig.end()
            check(rig, traffic, rows, seed: seed)
        }
    }

    @Test(
        "with noise, damaged and half frames between: every good frame once and in order",
        arguments: StreamRows.all)
    func damaged(rows: StreamRows) {
        let good = BorderTests.taken(rows)
        let bad = BorderTests.refused(rows)
        for seed in 1...40 as ClosedRange<UInt64> {
            var random = SplitMix64(seed: seed)
            var traffic = Traffic()
            for _ in 0..<40 {
                let row = good[random.below(good.count)]
                switch random.below(10) {
                case 0 where !bad.isEmpty: traffic.append(bad: bad[random.below(bad.count)])
                case 1: traffic.bytes += BorderTests.noise(&random)
                case 2 where rows.hasChecksum:
                    traffic.bytes += BorderTests.broken(row.bytes, rows.format, &random)
                case 3 where rows.hasChecksum:
                    // Two bytes at least are missing: one delimiter may serve two frames.
                    traffic.bytes += row.bytes.prefix(random.below(row.bytes.count - 1))
                default: traffic.append(good: row)
                }
            }
            // What a false start holds back comes free with the frame that ends the bytes.
            traffic.append(good: good[random.below(good.count)])
            let rig = StreamRig(rows.format)
            for piece in traffic.pieces(&random) { rig.send(piece) }
            rig.end()
            check(rig, traffic, rows, seed: seed)
            #expect(rig.rejected >= traffic.bad.count, "\(rows.format), seed \(seed)")
        }
    }

    /// Bytes that answer nothing by themselves: M-Bus knows a frame of the one byte E5.
    private static func noise(_ random: inout SplitMix64) -> [UInt8] {
        random.bytes(random.within(1...12)).map { $0 == 0 || $0 == 0xE5 ? 0x55 : $0 }
    }

    /// The frame with one byte changed so that it is none; noise when there is no such change.
    private static func broken(
        _ frame: [UInt8], _ format: String, _ random: inout SplitMix64
    ) -> [UInt8] {
        for _ in 0..<8 {
            var changed = frame
            changed[random.below(frame.count)] ^= UInt8(1 << random.below(8))
            let rig = StreamRig(format)
            rig.send(changed[...])
            if rig.accepted == 0 { return changed }
        }
        return noise(&random)
    }

    private func check(_ rig: StreamRig, _ traffic: Traffic, _ rows: StreamRows, seed: UInt64) {
        let counters = rig.rig.counters
        #expect(counters.framesUnaccounted == 0 && counters.readingsUnaccounted == 0)
        // M-Bus knows a frame of the one byte E5; a part of a damaged frame may be one.
        #expect(
            rig.accepted == traffic.good.count
                || rows.format == "mbus" && rig.accepted > traffic.good.count,
            "\(rows.format), seed \(seed): \(rig.accepted) of \(traffic.good.count)")
        var expected = traffic.good.map(\.row)[...]
        for frame in rig.journaled() {
            // Noise may look like more of the preamble, and a lost start like less of it.
            let place = expected.firstIndex {
                let common = min($0.bytes.count, frame.count)
                return $0.bytes.suffix(common) == frame.suffix(common)
            }
            guard let place else {
                Issue.record("\(rows.format), seed \(seed): out of order, or never sent: \(frame)")
                return
            }
            expected = expected[(place + 1)...]
        }
    }
}
