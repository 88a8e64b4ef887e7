// Bodies that come in several frames: put together once, whatever the order; known again; given up with
// a count and their frames kept; the same after a crash at any place; bounded memory.

import Formats
import Model
import Simulator
import Testing

@testable import Pipeline
@testable import Spool

// MARK: Frames

/// Frames of JT/T 808-2013: a list of positions (0704) in parts of `size` bytes.
private struct Track {
    var phone = "013800000001"
    var serial: UInt16 = 100
    var speeds: [UInt16] = [100, 200, 300]
    var size = 20

    var body: [UInt8] {
        var out: [UInt8] = [0, UInt8(speeds.count), 0]
        for (i, speed) in speeds.enumerated() {
            out += [0, 28] + [0, 0, 0, 0] + [0, 0, 0, 2]
            out += bytes(hex: "01e0d7f2073e6eac0064")
            out += [UInt8(speed >> 8), UInt8(truncatingIfNeeded: speed), 0, 20]
            out += [0x26, 0x11, 0x21, 0x15, 0x42, UInt8(i)]
        }
        return out
    }

    var parts: [[UInt8]] {
        let body = body
        let starts = stride(from: 0, to: body.count, by: size)
        return starts.enumerated().map { number, start in
            part(
                number + 1, of: (body.count + size - 1) / size,
                Array(body[start..<min(start + size, body.count)]))
        }
    }

    func part(_ number: Int, of count: Int, _ body: [UInt8]) -> [UInt8] {
        let serial = serial &+ UInt16(truncatingIfNeeded: number - 1)
        let attributes = UInt16(body.count) | 1 << 13
        var out: [UInt8] = [0x07, 0x04]
        func word(_ value: UInt16) {
            out += [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)]
        }
        word(attributes)
        out += bytes(hex: phone)
        word(serial)
        word(UInt16(truncatingIfNeeded: count))
        word(UInt16(truncatingIfNeeded: number))
        out += body
        out.append(out.reduce(0, ^))
        let inner = out.flatMap { byte -> [UInt8] in
            byte == 0x7E ? [0x7D, 2] : byte == 0x7D ? [0x7D, 1] : [byte]
        }
        return [0x7E] + inner + [0x7E]
    }
}

/// Frames of SL 651, function 32, in mode M3.
private struct Report {
    var serial: UInt8 = 7
    /// Water levels in millimetres.
    var levels = [12345, 23456]
    var cut = 25

    var body: [UInt8] {
        var out = bytes(hex: "0000261121100000f1f1001122334448f0f02611211000")
        out[1] = serial
        for level in levels {
            let digits = String(level)
            out +=
                [0x39, 0x23] + bytes(hex: String(repeating: "0", count: 8 - digits.count) + digits)
        }
        return out
    }

    var parts: [[UInt8]] {
        let body = body
        let starts = stride(from: 0, to: body.count, by: cut)
        let count = (body.count + cut - 1) / cut
        return starts.enumerated().map { number, start in
            let piece = body[start..<min(start + cut, body.count)]
            let counts = UInt32(count) << 12 | UInt32(number + 1)
            var out = bytes(hex: "7e7e010011223344123432")
            out += [0, UInt8(piece.count + 3), 0x16]
            out += [UInt8(counts >> 16), UInt8(counts >> 8 & 255), UInt8(counts & 255)]
            out += piece + [number + 1 == count ? 3 : 0x17]
            let crc = crc16Modbus(out)
            return out + [UInt8(crc >> 8), UInt8(truncatingIfNeeded: crc)]
        }
    }

    /// The same function, the report's own serial number and time, EOT.
    var answer: [UInt8] {
        var out = bytes(hex: "7e7e00112233440112343280080200")
        out += [serial] + bytes(hex: "26112110000004")
        let crc = crc16Modbus(out)
        return out + [UInt8(crc >> 8), UInt8(truncatingIfNeeded: crc)]
    }
}

private func rig(
    _ format: String = "jt808", _ change: (inout IntakeSettings) -> Void = { _ in }
) -> IntakeRig {
    IntakeRig(sources: [IntakeRig.source([format])], settings: IntakeRig.settings(change))
}

/// Speeds are decimals with one digit: 0.1 km/h.
private func speeds(_ readings: [Reading], _ rig: IntakeRig) -> [Int64] {
    mantissas(readings, of: "speed", rig)
}

private func mantissas(_ readings: [Reading], of name: String, _ rig: IntakeRig) -> [Int64] {
    let streams = rig.entries.compactMap { entry -> StreamID? in
        if case .stream(let stream) = entry, stream.name == name { stream.id } else { nil }
    }
    return readings.filter { streams.contains($0.stream) }.map(\.value.mantissa)
}

/// Ends the turn and lets the disk take everything.
private func settle(_ rig: IntakeRig) -> [Reading] {
    rig.endTurn()
    rig.pass(milliseconds: 300)
    rig.commit()
    return rig.drain()
}

// MARK: Tests

@Suite("Parts: one body of several frames")
struct PartsTests {
    @Test("is read once when all parts are there, in any order, each sent again at will")
    func order() {
        let track = Track()
        let parts = track.parts
        for seed in 1...40 as ClosedRange<UInt64> {
            var random = SplitMix64(seed: seed)
            let rig = rig()
            var order = Array(parts.indices) + parts.indices.filter { _ in random.below(2) == 0 }
            for i in order.indices.reversed() { order.swapAt(i, random.below(i + 1)) }
            for number in order { rig.datagram(parts[number]) }
            let readings = settle(rig)
            #expect(speeds(readings, rig) == [100, 200, 300], "seed \(seed)")
            #expect(rig.counters.framesDecoded == UInt64(parts.count), "seed \(seed)")
            #expect(rig.counters.framesDuplicate == UInt64(order.count - parts.count))
            #expect(rig.counters.framesUnaccounted == 0)
            #expect(rig.counters.readingsUnaccounted == 0)
            // Each frame is answered, whatever it completes.
            #expect(rig.answers.count == order.count, "seed \(seed)")
        }
    }

    @Test("a single part is a whole body")
    func single() {
        let rig = rig()
        var track = Track()
        track.size = 1000
        rig.datagram(track.parts[0])
        #expect(speeds(settle(rig), rig) == [100, 200, 300])
    }

    @Test("bodies of several devices come between each other")
    func between() {
        let rig = rig()
        let tracks = (0..<5).map { Track(phone: "01380000000\($0)", speeds: [UInt16($0), 7]) }
        for number in tracks[0].parts.indices {
            for track in tracks { rig.datagram(track.parts[number]) }
        }
        #expect(speeds(settle(rig), rig) == [0, 7, 1, 7, 2, 7, 3, 7, 4, 7])
    }

    @Test("parts of different messages that have the same device make no body")
    func notMixed() {
        let rig = rig()
        var other = Track()
        other.serial = 500
        rig.datagram(Track().parts[0])
        for part in other.parts.dropFirst() { rig.datagram(part) }
        #expect(settle(rig).isEmpty)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("a lost part: the body is given up after two minutes, counted, its frames kept")
    func lost() {
        let rig = rig()
        let parts = Track().parts
        for part in parts.dropLast() { rig.datagram(part) }
        #expect(settle(rig).isEmpty)
        for _ in 0..<118 { rig.pass(milliseconds: 1000) }
        #expect(rig.counters.bodiesGivenUp == 0)
        for _ in 0..<3 { rig.pass(milliseconds: 1000) }
        #expect(rig.counters.bodiesGivenUp == 1)
        // As many frames as came, each of them decoded.
        #expect(rig.counters.framesReceived == UInt64(parts.count - 1))
        #expect(rig.counters.framesDecoded == UInt64(parts.count - 1))
        #expect(rig.counters.framesUnaccounted == 0)
        #expect(rig.quarantined.map(\.bytes) == Array(parts.dropLast()))
        #expect(rig.quarantined.allSatisfy { $0.reason == .incomplete })
        // Sent again, all of it is new.
        for part in parts { rig.datagram(part) }
        #expect(speeds(settle(rig), rig) == [100, 200, 300])
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("a body that cannot be read: the part that completes it is refused and not answered")
    func unreadable() {
        let rig = rig()
        let track = Track()
        // Three positions are announced, the bytes of one and a half are there.
        let short = Array(track.body.prefix(45))
        rig.datagram(track.part(1, of: 2, Array(short.prefix(20))))
        rig.datagram(track.part(2, of: 2, Array(short.dropFirst(20))))
        #expect(settle(rig).isEmpty)
        #expect(rig.counters.framesDecoded == 1 && rig.counters.framesRejected == 1)
        #expect(rig.answers.count == 1)
        // The right one still completes it.
        rig.datagram(track.part(2, of: 2, Array(track.body.dropFirst(20))))
        #expect(speeds(settle(rig), rig) == [100, 200, 300])
        #expect(rig.counters.framesUnaccounted == 0)
    }
}

@Suite("Parts: hostile numbers and bounds")
struct PartsBoundsTests {
    @Test("numbers that cannot be are refused, those that can cost what they bring")
    func numbers() {
        let rig = rig()
        let table: [(part: Int, of: Int, reason: Rejection?)] = [
            (0, 3, .malformed), (4, 3, .malformed), (1, 0, .malformed), (65_535, 3, .malformed),
            (65_535, 65_535, nil), (1, 65_535, .oversized),
        ]
        for (number, row) in table.enumerated() {
            var track = Track()
            track.serial = UInt16(number * 1000)
            let before = rig.counters
            rig.datagram(track.part(row.part, of: row.of, Array(repeating: 1, count: 100)))
            if let reason = row.reason {
                #expect(rig.counters[reason] == before[reason] + 1, "\(row)")
            } else {
                #expect(rig.counters.framesDecoded == before.framesDecoded + 1, "\(row)")
            }
        }
        rig.endTurn()
        #expect(rig.counters.framesUnaccounted == 0)
        #expect(rig.stage.bodies.cost < 300)
    }

    @Test("totals that contradict each other begin another body")
    func totals() {
        let rig = rig()
        let track = Track()
        rig.datagram(track.part(1, of: 9, [1, 2, 3]))
        for part in track.parts { rig.datagram(part) }
        #expect(speeds(settle(rig), rig) == [100, 200, 300])
        #expect(rig.counters.bodiesGivenUp == 1)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("memory stays within its limits, whatever comes", arguments: 1...6 as ClosedRange<UInt64>)
    func memory(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let rig = rig()
        let limits = BodyLimits()
        for number in 0..<1500 {
            var track = Track(phone: "0138000000" + String(10 + random.below(80)))
            track.serial = UInt16(random.below(4))
            let count = 1 + random.below(random.below(3) == 0 ? 400 : 8)
            let part = 1 + random.below(count)
            rig.datagram(
                track.part(part, of: count, random.bytes(random.below(900))), isTruncated: false)
            #expect(rig.stage.bodies.cost <= limits.bytes, "seed \(seed), frame \(number)")
            #expect(rig.stage.bodies.bodies.count <= limits.bodies, "seed \(seed)")
            let counted = rig.stage.bodies.bodies.reduce(0) { $0 + $1.cost }
            #expect(counted == rig.stage.bodies.cost, "seed \(seed), frame \(number)")
            if number % 50 == 0 { _ = settle(rig) }
        }
        _ = settle(rig)
        #expect(rig.counters.framesUnaccounted == 0)
        #expect(rig.counters.readingsUnaccounted == 0)
        #expect(rig.counters.bodiesGivenUp > 50)
        for _ in 0..<130 { rig.pass(milliseconds: 1000) }
        #expect(rig.stage.bodies.bodies.isEmpty && rig.stage.bodies.cost == 0)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("what was read gives way before what is not yet whole")
    func eviction() {
        let rig = rig { $0.bodies.bodies = 3 }
        func track(_ number: Int) -> Track { Track(phone: "01380000001\(number)") }
        rig.datagram(track(1).parts[0])
        for part in track(2).parts { rig.datagram(part) }
        rig.datagram(track(3).parts[0])
        rig.datagram(track(4).parts[0])
        #expect(rig.counters.bodiesGivenUp == 0)
        rig.datagram(track(5).parts[0])
        #expect(rig.counters.bodiesGivenUp == 1)
        _ = settle(rig)
        #expect(rig.quarantined.map(\.bytes) == [track(1).parts[0]])
        #expect(rig.counters.framesUnaccounted == 0)
    }
}

@Suite("Parts: across a crash")
struct PartsCrashTests {
    /// A rig that begins with what `old` had on disk; the first `covered` journaled frames are in batches.
    private func restarted(
        _ old: IntakeRig, _ format: String = "jt808", covered: Int = 0, after: Int64 = 1000
    ) throws -> IntakeRig {
        let new = rig(format)
        new.time.advance(milliseconds: old.time.milliseconds + after)
        var position = 0
        for part in old.parts {
            for frame in try frames(of: part) {
                new.stage.replay(
                    frame.bytes.span, source: frame.source, receivedAt: frame.receivedAt,
                    isCovered: position < covered)
                position += 1
            }
        }
        #expect(new.stage.publishReplayed())
        return new
    }

    @Test("between any two parts, and any cut between: each reading once")
    func between() throws {
        let parts = Track().parts
        for sent in 0...parts.count {
            for covered in 0...sent {
                let old = rig()
                for part in parts.prefix(sent) { old.datagram(part) }
                let before = settle(old)
                let new = try restarted(old, covered: covered)
                let replayed = new.drain()
                // Readings behind the cut come again, those before it do not.
                let isWhole = sent == parts.count
                #expect(before.isEmpty == !isWhole)
                #expect(replayed.count == (isWhole && covered < sent ? before.count : 0))
                for part in parts.dropFirst(sent) { new.datagram(part) }
                let rest = settle(new)
                #expect(speeds(rest, new) == (isWhole ? [] : [100, 200, 300]))
                #expect(new.counters.framesDuplicate == 0)
                // And what was sent before is known.
                for part in parts { new.datagram(part) }
                #expect(settle(new).isEmpty, "\(sent) sent, \(covered) covered")
                #expect(new.counters.framesDuplicate == UInt64(parts.count))
            }
        }
    }

    @Test("a body that was given up is given up after the crash, too, and counted once")
    func givenUp() throws {
        let parts = Track().parts
        let old = rig()
        for part in parts.dropLast() { old.datagram(part) }
        _ = settle(old)
        for _ in 0..<121 { old.pass(milliseconds: 1000) }
        _ = settle(old)
        #expect(old.counters.bodiesGivenUp == 1)
        let journaled = parts.count
        // The count comes from the journal unless a cut has it.
        let uncovered = try restarted(old)
        #expect(uncovered.counters.bodiesGivenUp == 1)
        let covered = try restarted(old, covered: journaled)
        #expect(covered.counters.bodiesGivenUp == 0)
        for new in [uncovered, covered] {
            #expect(new.stage.bodies.bodies.isEmpty)
            let counted = new.counters.bodiesGivenUp
            new.datagram(parts[parts.count - 1])
            #expect(settle(new).isEmpty)
            #expect(new.counters.bodiesGivenUp == counted)
        }
    }

    @Test("what a replay counts again is restored as of the cut, refusals as of the newest")
    func counters() {
        var cut = IntakeCounters()
        cut.bodiesGivenUp = 1
        cut[.malformed] = 1
        var newest = cut
        newest.bodiesGivenUp = 3
        newest[.malformed] = 3
        let restored = CounterCoding.restore(cut: cut, newest: newest)
        #expect(restored.bodiesGivenUp == 1 && restored[.malformed] == 3)
    }

    @Test("a restart does not give a body more time")
    func age() throws {
        let old = rig()
        old.datagram(Track().parts[0])
        _ = settle(old)
        let new = try restarted(old, after: 100_000)
        new.endTurn()
        for _ in 0..<25 { new.pass(milliseconds: 1000) }
        #expect(new.counters.bodiesGivenUp == 1)
        let late = try restarted(old, after: 500_000)
        late.endTurn()
        late.pass(milliseconds: 1)
        #expect(late.counters.bodiesGivenUp == 1)
    }
}

@Suite("Parts: SL 651 in mode M3")
struct PartsOfReportsTests {
    @Test("no part is answered, the whole report is, again when its last part comes again")
    func answer() {
        let rig = rig("sl651")
        let report = Report()
        let parts = report.parts
        #expect(parts.count == 2)
        rig.datagram(parts[0])
        #expect(settle(rig).isEmpty)
        #expect(rig.answers.isEmpty)
        rig.datagram(parts[1])
        #expect(mantissas(settle(rig), of: "z", rig) == [12345, 23456])
        #expect(rig.answers.map(\.bytes) == [report.answer])
        for part in parts { rig.datagram(part) }
        #expect(settle(rig).isEmpty)
        #expect(rig.answers.map(\.bytes) == [report.answer, report.answer])
        #expect(rig.counters.framesDecoded == 2 && rig.counters.framesDuplicate == 2)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("an element that stands in two parts is read whole, wherever it is cut")
    func cuts() {
        for cut in 8...34 {
            let rig = rig("sl651")
            let report = Report(cut: cut)
            for part in report.parts { rig.datagram(part) }
            #expect(mantissas(settle(rig), of: "z", rig) == [12345, 23456], "cut at \(cut)")
            #expect(rig.answers.map(\.bytes) == [report.answer], "cut at \(cut)")
            #expect(rig.counters.bodiesGivenUp == 0 && rig.counters.framesUnaccounted == 0)
        }
    }

    @Test("the first part of the next report never completes what is left of the one before")
    func next() {
        let rig = rig("sl651")
        let lost = Report(serial: 7, levels: [11111, 22222])
        let next = Report(serial: 8, levels: [33333, 44444])
        rig.datagram(lost.parts[1])
        rig.datagram(next.parts[0])
        #expect(settle(rig).isEmpty)
        #expect(rig.counters.bodiesGivenUp == 1)
        rig.datagram(next.parts[1])
        #expect(mantissas(settle(rig), of: "z", rig) == [33333, 44444])
        // Two reports one after the other are two reports.
        let third = Report(serial: 9, levels: [55555, 66666])
        for part in third.parts { rig.datagram(part) }
        #expect(mantissas(settle(rig), of: "z", rig) == [55555, 66666])
        #expect(rig.answers.map(\.bytes) == [next.answer, third.answer])
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("an answer that was lost with the power is given when the last part comes again")
    func crash() throws {
        let report = Report()
        for isCovered in [false, true] {
            let old = rig("sl651")
            for part in report.parts { old.datagram(part) }
            _ = settle(old)
            let new = rig("sl651")
            for part in old.parts {
                for frame in try frames(of: part) {
                    new.stage.replay(
                        frame.bytes.span, source: frame.source, receivedAt: frame.receivedAt,
                        isCovered: isCovered)
                }
            }
            _ = new.stage.publishReplayed()
            _ = new.drain()
            new.datagram(report.parts[1])
            #expect(settle(new).isEmpty)
            #expect(new.answers.map(\.bytes) == [report.answer])
        }
    }
}
