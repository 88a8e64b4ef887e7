// `sluice bench`: in-process figures beside yardsticks of the same run. Nothing here is a test: figures
// on a busy machine are worth their ratios only.

import Formats

enum BenchVerb {
    /// `allocations` counts what this thread allocated; only the field tool's own program has it.
    static func verb(allocations: (@Sendable () -> UInt64)?, queue: QueueYardstick?) -> Verb {
        Verb(
            "bench", "measures the parts in this process, beside a yardstick",
            details: [
                "ring: nanoseconds a reading through the ring, in batches of 1, 8 and 64, on one "
                    + "thread (CPU time) and between two (wall time), beside a plain queue in C that "
                    + "takes one element at a time.",
                "decode: nanoseconds of CPU and allocations a frame, from bytes to readings, "
                    + "identity and duplicate key; the ratio is to a decoder written by hand for "
                    + "the vendor frame, measured in turns with it. With --format the format's "
                    + "own accepted test frames, or the frames of --hex.",
                "codec: bytes a reading and nanoseconds of CPU to encode and to decode batches of "
                    + "--batch readings from FILE (stream,unix_ms,value; also .gz), beside the "
                    + "codec with deflate alone, gzip of the same lines, and the figures of "
                    + "others on the recordings in question.",
                "pipeline: nanoseconds of CPU a reading on one thread from a frame's bytes to the "
                    + "batch: decoder, duplicate check, catalog, validation, journal buffer, ring, "
                    + "buckets, codec; for 1,000 devices and for --devices, all in and without the "
                    + "codec, beside a loop written by hand and gzip of the same frames. The "
                    + "devices are made up: five slowly drifting values a frame.",
                "spool: bytes written for each byte of payload at commits of 64 KB, how long a "
                    + "commit takes beside a bare flush of the same folder, and how long a spool "
                    + "of --megabytes takes to open.",
            ],
            operands: "ring|decode|codec|pipeline|spool [FILE…]", operandCount: 1...Int.max,
            flags: [
                .toggle("json", "print one JSON object"),
                .value("format", "NAME", "measure this format"),
                .value("hex", "HEX", "a frame for --format", repeatable: true),
                .value("formats", "DIR", "folder of the format files", default: "protocols nearby"),
                .value("batch", "N", "readings a batch for codec", default: "10000"),
                .value("effort", "NAME", "stored, fast, normal, deflated, best", default: "normal"),
                .value("devices", "N", "many devices for pipeline", default: "100000"),
                .value("frames", "N", "frames a round for pipeline", default: "100000"),
                .value("late", "N", "of 1,024 frames that are hours to days late", default: "0"),
                .value("megabytes", "N", "spool: how full", default: "64"),
                .value(
                    "folder", "DIR", "spool: on the disk in question", default: "a temporary one"),
                .value("fill", "SPOOL", "spool: add --megabytes of batches to a stopped gateway's"),
                .toggle("check", "pipeline: end with 1 above the ceiling of allocations a frame"),
            ],
            examples: [
                Example("batches of recordings", "sluice bench codec --batch 1000 air.csv.gz"),
                Example("the usual frames", "sluice bench decode"),
                Example("one format", "sluice bench decode --format cjt188 --json"),
            ]
        ) { invocation, console throws(UsageError) in
            if invocation.operands[0] == "codec" { return try CodecBench.run(invocation, console) }
            if invocation.operands[0] == "ring" {
                return try RingBench.run(invocation, console, queue)
            }
            if invocation.operands[0] == "pipeline" {
                return try PipelineBench.run(invocation, console, allocations)
            }
            if invocation.operands[0] == "spool" { return try SpoolBench.run(invocation, console) }
            guard invocation.operands[0] == "decode" else {
                throw UsageError(
                    "bench", "no bench \"\(invocation.operands[0])\"",
                    "write ring, decode, codec, pipeline or spool")
            }
            guard invocation.operands.count == 1 else {
                throw UsageError("bench decode", "takes no file", "write frames with --hex")
            }
            return try decode(invocation, console, allocations)
        }
    }

    private static func decode(
        _ invocation: Invocation, _ console: Console, _ allocations: (@Sendable () -> UInt64)?
    ) throws(UsageError) -> RunStatus {
        let folder = try Places.formats(invocation.text("formats"))
        guard let library = Places.library(folder, console: console) else { return .foundWrong }
        let bench: DecodeBench
        do throws(Complaints) {
            if let name = invocation.text("format") {
                bench = try one(name, invocation, library, allocations)
            } else {
                bench = try DecodeBench(library, allocations: allocations)
            }
        } catch {
            for complaint in error.all { console.complain("sluice: \(complaint.description)") }
            return .foundWrong
        }
        console.progress("measuring…")
        switch bench.run() {
        case .failure(let refused):
            console.complain(
                "sluice: bench: \(refused.format) refuses the frame: \(refused.why): "
                    + "see sluice decode --explain")
            return .foundWrong
        case .success(let rows):
            if invocation.has("json") {
                console.line(json(rows).text(pretty: true))
            } else {
                write(rows, console)
            }
            return .done
        }
    }

    private static func one(
        _ name: String, _ invocation: Invocation, _ library: FormatLibrary,
        _ allocations: (@Sendable () -> UInt64)?
    ) throws(Complaints) -> DecodeBench {
        func complaint(_ what: String, _ remedy: String) -> Complaints {
            Complaints(all: [
                Complaint(file: "--format", line: 1, column: 1, what: what, suggestion: remedy)
            ])
        }
        guard let format = library.format(named: name) else {
            throw complaint(
                "unknown format \"\(name)\"",
                Nearest.of(name, among: library.formats.map(\.name)).map { "did you mean \($0)?" }
                    ?? "see the files of the folder")
        }
        let given = invocation.texts("hex").compactMap(Hex.bytes)
        let frames = given.isEmpty ? library.exampleFrames(of: format) : given
        if frames.isEmpty { throw complaint("no frame to measure", "give one with --hex") }
        return DecodeBench(format, frames, allocations: allocations)
    }

    // MARK: What is printed

    private static func json(_ rows: [DecodeBench.Row]) -> JSON {
        let cases = rows.map { row in
            JSON.object([
                ("name", .string(row.name)), ("format", .string(row.format)),
                ("bytes", .integer(Int64(row.bytes))), ("readings", .integer(Int64(row.readings))),
                ("nsPerFrame", number(row.result.nanoseconds)),
                ("allocationsPerFrame", row.result.allocations.map(number) ?? .null),
                ("ratioToHand", number(row.result.ratio)),
            ])
        }
        var members: [(String, JSON)] = []
        if rows.count == 2, let row = rows.last {
            members = [
                ("format", .string(row.format)), ("nsPerFrame", number(row.result.nanoseconds)),
                ("allocationsPerFrame", row.result.allocations.map(number) ?? .null),
                ("ratioToHand", number(row.result.ratio)),
            ]
        }
        members.append(("cases", .array(cases)))
        return .object(members)
    }

    private static func number(_ value: Double) -> JSON { .literal(Words.fixed(value, 2)) }

    private static func write(_ rows: [DecodeBench.Row], _ console: Console) {
        var table = Table([
            ("frame", .left), ("bytes", .right), ("readings", .right), ("ns a frame", .right),
            ("to by hand", .right), ("allocations", .right),
        ])
        for row in rows {
            table.add([
                row.name, "\(row.bytes)", "\(row.readings)", Words.fixed(row.result.nanoseconds, 0),
                Words.fixed(row.result.ratio, 2) + " ×",
                row.result.allocations.map { Words.fixed($0, 2) } ?? "not counted",
            ])
        }
        table.write(to: console)
    }
}
