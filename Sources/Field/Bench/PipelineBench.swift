// `sluice bench pipeline`: what a reading costs from its frame's bytes to the batch that holds it, on one
// thread, all in and without the codec, for few and for many devices in the same run; beside a loop
// written by hand that does the least one can call the same job, and gzip of the same frames.

import Batches
import Formats
import Host
import Model

struct PipelineBench {
    /// More allocations a frame, all stages together, end `--check` with 1. What is left is one an
    /// entry of the journal's parts and some a batch, hundreds of frames each: 0.023. Without
    /// optimisation the compiler boxes what it would keep in registers: 18.4.
    #if DEBUG
        static let allocationCeiling = 24.0
    #else
        static let allocationCeiling = 0.1
    #endif
    private static let rounds = 5
    private static let few = 1000
    private static let many = 100_000

    struct Row {
        var name: String
        var devices: Int
        var codes: Bool
        var nanoseconds: Double
        var bytes: Double?
        var allocations: Double?
    }

    var rows: [Row] = []
    /// Medians of the rounds' ratios, many devices to few: all in, and without the codec.
    var ratios: [Double] = []

    private enum Load {
        case rig(PipelineRig)
        case hand(HandPipeline)
        case gzip
    }

    private struct Entry {
        var name: String
        var load: Load
        var devices: Int
        var codes: Bool
    }

    // MARK: The verb

    static func run(
        _ invocation: Invocation, _ console: Console, _ allocations: (@Sendable () -> UInt64)?
    ) throws(UsageError) -> RunStatus {
        guard invocation.operands.count == 1 else {
            throw UsageError("bench pipeline", "takes no file", "leave it out")
        }
        let devices = try invocation.integer("devices", in: 1...1_000_000, default: many)
        let frames = try invocation.integer("frames", in: 1000...10_000_000, default: 100_000)
        let late = try invocation.integer("late", in: 0...1024, default: 0)
        let name = invocation.text("effort") ?? "normal"
        guard let effort = BatchEffort.allCases.first(where: { "\($0)" == name }) else {
            throw UsageError("--effort \(name)", "is no effort", "see sluice bench --help")
        }
        let folder = try Places.formats(invocation.text("formats"))
        guard let library = Places.library(folder, console: console) else { return .foundWrong }
        guard let format = library.format(named: "sluice-reference") else {
            console.complain(
                "sluice: bench: no format \"sluice-reference\" in \(folder): name another")
            return .foundWrong
        }
        var entries: [Entry] = []
        for count in devices == few ? [few] : [few, devices] {
            for codes in [true, false] {
                let rig = PipelineRig(
                    library, format, devices: count, late: late, codes: codes, effort: effort)
                entries.append(
                    Entry(
                        name: codes ? "all in" : "without the codec", load: .rig(rig),
                        devices: count, codes: codes))
            }
        }
        entries.append(
            Entry(
                name: "by hand, without codec", load: .hand(HandPipeline(few)), devices: few,
                codes: false))
        entries.append(Entry(name: "gzip -6 of the frames", load: .gzip, devices: few, codes: true))
        console.progress("measuring…")
        let bench = PipelineBench(entries, frames: frames, late: late, allocations)
        for case .rig(let rig) in entries.map(\.load) {
            guard let complaint = rig.complaint else { continue }
            console.complain("sluice: bench: \(complaint): report it")
            return .foundWrong
        }
        if invocation.has("json") {
            console.line(bench.json(frames: frames, late: late).text(pretty: true))
        } else {
            bench.write(to: console)
        }
        guard invocation.has("check") else { return .done }
        let worst = bench.rows.compactMap(\.allocations).max()
        guard let worst, worst <= allocationCeiling else {
            console.complain(
                "sluice: bench: \(worst.map { Words.fixed($0, 3) } ?? "no count of") allocations a "
                    + "frame: the ceiling is \(Words.fixed(allocationCeiling, 3)): find the new one"
            )
            return .foundWrong
        }
        return .done
    }

    // MARK: Measuring

    /// The cases take turns, a round each.
    private init(
        _ entries: [Entry], frames: Int, late: Int, _ allocations: (@Sendable () -> UInt64)?
    ) {
        var plain = PipelineFrames(devices: PipelineBench.few, late: late)
        for case .rig(let rig) in entries.map(\.load) { rig.warmUp() }
        var times = entries.map { _ in [Double]() }
        var made = entries.map { _ in [Double]() }
        var packed = (bytes: 0, readings: 0)
        for _ in 0..<PipelineBench.rounds {
            for (i, entry) in entries.enumerated() {
                var spent = 0.0
                var allocated: UInt64 = 0
                var left = frames
                while left > 0 {
                    let count = min(left, PipelineFrames.slab)
                    left -= count
                    if case .rig(let rig) = entry.load {
                        rig.frames.refill(count)
                    } else {
                        plain.refill(count)
                    }
                    let before = allocations?() ?? 0
                    let start = SendingClock.threadNanoseconds
                    switch entry.load {
                    case .rig(let rig): rig.run(count)
                    case .hand(let hand): hand.run(plain, count)
                    case .gzip:
                        packed.bytes += Gzip.size(plain.bytes, level: 6)
                        packed.readings += PipelineFrames.slab * Population.streams.count
                    }
                    spent += SendingClock.threadNanoseconds - start
                    allocated += (allocations?() ?? 0) - before
                }
                times[i].append(spent / Double(frames * Population.streams.count))
                made[i].append(Double(allocated) / Double(frames))
            }
        }
        for (i, entry) in entries.enumerated() {
            var row = Row(
                name: entry.name, devices: entry.devices, codes: entry.codes,
                nanoseconds: Stopwatch.median(times[i]))
            switch entry.load {
            case .rig(let rig):
                if entry.codes {
                    row.bytes = Double(rig.counts.bytes) / Double(max(1, rig.counts.readings))
                }
                if allocations != nil {
                    row.allocations = made[i].reduce(0, +) / Double(made[i].count)
                }
            case .hand: break
            case .gzip: row.bytes = Double(packed.bytes) / Double(max(1, packed.readings))
            }
            rows.append(row)
        }
        guard entries.count == 6 else { return }
        ratios = [0, 1].map { i in
            Stopwatch.median(zip(times[i + 2], times[i]).map { $0 / $1 })
        }
    }

    // MARK: What is printed

    private func json(frames: Int, late: Int) -> JSON {
        func number(_ value: Double, _ digits: Int) -> JSON { .literal(Words.fixed(value, digits)) }
        func members(_ row: Row) -> [(String, JSON)] {
            [
                ("nsPerReading", number(row.nanoseconds, 2)),
                ("readingsPerSecond", .integer(Int64(1e9 / max(0.01, row.nanoseconds)))),
                ("bytesPerReading", row.bytes.map { number($0, 4) } ?? .null),
                ("allocationsPerFrame", row.allocations.map { number($0, 4) } ?? .null),
            ]
        }
        let cases = rows.map { row in
            JSON.object(
                [("name", .string(row.name)), ("devices", .integer(Int64(row.devices)))]
                    + members(row))
        }
        let asked = rows[rows.count - 4]
        return .object(
            [
                ("devices", .integer(Int64(asked.devices))), ("frames", .integer(Int64(frames))),
                ("late", .integer(Int64(late))),
            ] + members(asked) + [
                ("ratioToFewDevices", ratios.first.map { number($0, 3) } ?? .null),
                ("ratioToFewDevicesWithoutCodec", ratios.last.map { number($0, 3) } ?? .null),
                ("cases", .array(cases)),
            ])
    }

    private func write(to console: Console) {
        var table = Table([
            ("what", .left), ("devices", .right), ("ns a reading", .right),
            ("readings/s", .right), ("bytes a reading", .right), ("allocations a frame", .right),
        ])
        for row in rows {
            table.add([
                row.name, Words.grouped(row.devices), Words.fixed(row.nanoseconds, 1),
                Words.grouped(Int(1e9 / max(0.01, row.nanoseconds))),
                row.bytes.map { Words.fixed($0, 3) } ?? "",
                row.allocations.map { Words.fixed($0, 4) } ?? "",
            ])
        }
        table.write(to: console)
        guard let first = ratios.first, let last = ratios.last else { return }
        console.line(
            "many devices to few: \(Words.fixed(first, 2)) × all in, "
                + "\(Words.fixed(last, 2)) × without the codec")
    }
}

/// The least that takes frames of the reference sensor in: check value, device by its number in a table of
/// its own, sequence seen before or not, five readings into an array. No journal, no rules, no formats.
private final class HandPipeline {
    private var devices: [(identity: UInt64, sequence: UInt32)]
    private var readings: [Reading] = []

    init(_ count: Int) {
        var size = 64
        while size < 2 * count { size *= 2 }
        devices = Array(repeating: (0, .max), count: size)
        readings.reserveCapacity(PipelineRig.readingsPerEpoch)
    }

    func run(_ frames: PipelineFrames, _ count: Int) {
        let bytes = frames.bytes
        let slab = bytes.span
        for i in 0..<count {
            let base = i * ReferenceFrame.size
            take(slab.extracting(base..<base + ReferenceFrame.size))
        }
    }

    private func take(_ frame: Span<UInt8>) {
        guard frame[0] == 0x53, frame[1] == 0x4C, frame[2] == 1,
            ReferenceFrame.crc16(frame.extracting(0..<62))
                == UInt16(frame[62]) | UInt16(frame[63]) << 8
        else { return }
        let identity = word(frame, 4, 8)
        let mask = devices.count - 1
        var at = Int(truncatingIfNeeded: identity &* 0x9E37_79B9_7F4A_7C15 &>> 33) & mask
        while devices[at].identity != 0, devices[at].identity != identity { at = (at &+ 1) & mask }
        let sequence = UInt32(truncatingIfNeeded: word(frame, 12, 4))
        if devices[at].sequence == sequence { return }
        devices[at] = (identity, sequence)
        let observed = Timestamp(milliseconds: Int64(bitPattern: word(frame, 16, 6)))
        if readings.count > PipelineRig.readingsPerEpoch - 5 {
            readings.removeAll(keepingCapacity: true)
        }
        let stream = UInt32(at * 5)
        add(stream, word(frame, 22, 2), -2, observed)
        add(stream &+ 1, word(frame, 24, 2), -2, observed)
        add(stream &+ 2, word(frame, 26, 4), 0, observed)
        add(stream &+ 3, word(frame, 30, 2), 0, observed)
        add(stream &+ 4, word(frame, 32, 2), -3, observed)
    }

    private func add(_ stream: UInt32, _ digits: UInt64, _ exponent: Int8, _ at: Timestamp) {
        readings.append(
            Reading(
                stream: StreamID(stream),
                value: .decimal(Int64(bitPattern: digits), exponent: exponent), quality: [],
                observedAt: at, receivedAt: at))
    }

    private func word(_ frame: Span<UInt8>, _ from: Int, _ count: Int) -> UInt64 {
        var value: UInt64 = 0
        for i in from..<from + count { value = value << 8 | UInt64(frame[i]) }
        return value
    }
}
