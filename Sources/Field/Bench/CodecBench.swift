// `sluice bench codec`: what batches of recordings cost in bytes and CPU, lossless or not, beside the
// codec without its range coder, gzip of the same lines, and the reference figures of this project's
// study of codecs (protocols/batch.md tells where ours come from).

import Batches
import Formats
import Glibc
import Host
import Model

enum CodecBench {
    private static let rounds = 3

    struct Row {
        var file: String
        var readings = 0
        var bytes = 0
        var deflated = 0
        var gzip = 0
        var encode = 0.0
        var decode = 0.0
        var isLossless = true

        func each(_ bytes: Int) -> Double { Double(bytes) / Double(max(1, readings)) }
    }

    /// Bytes a reading of a study on eight recordings: deflate on columns, zstd -19 on the same columns,
    /// gzip of line protocol; the last known for the whole study.
    private static let study = [
        (1_000, "columns + deflate 1.33, columns + zstd -19 1.29, line protocol + gzip 4.35"),
        (10_000, "columns + deflate 0.974, columns + zstd -19 0.955, line protocol + gzip 3.98"),
        (100_000, "columns + deflate 0.90, columns + zstd -19 0.87, line protocol + gzip 3.82"),
    ]

    static func run(_ invocation: Invocation, _ console: Console) throws(UsageError) -> RunStatus {
        let files = invocation.operands.dropFirst()
        guard !files.isEmpty else {
            throw UsageError("bench codec", "no file", "name files of stream,unix_ms,value lines")
        }
        let size = try invocation.integer("batch", in: 1...1_000_000, default: 10_000)
        let name = invocation.text("effort") ?? "normal"
        guard let effort = BatchEffort.allCases.first(where: { "\($0)" == name }) else {
            throw UsageError(
                "--effort \(name)", "is no effort",
                "write one of \(BatchEffort.allCases.map { "\($0)" }.joined(separator: ", "))")
        }
        var rows: [Row] = []
        for file in files {
            guard let (text, lines) = load(file, console) else { return .foundWrong }
            console.progress("measuring \(file)…")
            rows.append(measure(file, text, lines, size: size, effort: effort))
        }
        if invocation.has("json") {
            console.line(json(rows, size: size, effort: name).text(pretty: true))
        } else {
            write(rows, size: size, console)
        }
        return rows.allSatisfy(\.isLossless) ? .done : .foundWrong
    }

    private static func load(
        _ file: String, _ console: Console
    ) -> (text: [UInt8], lines: ReadingLines)? {
        var text: [UInt8]
        do throws(FileError) {
            text = try Files.read(file)
        } catch {
            console.complain("sluice: \(error.path): cannot be read: \(error.why): check it")
            return nil
        }
        do throws(BatchError) {
            if text.starts(with: [0x1F, 0x8B]) { text = try Gzip.expand(text, limit: 1 << 30) }
        } catch {
            console.complain("sluice: \(file): is no whole gzip file: fetch it again")
            return nil
        }
        do throws(ReadingLines.Wrong) {
            let lines = try ReadingLines(text, hasHeading: true)
            if lines.readings.isEmpty {
                console.complain("sluice: \(file): has no readings below its heading: name another")
                return nil
            }
            return (text, lines)
        } catch {
            console.complain(
                "sluice: \(file): line \(error.line): \(error.why): write stream,unix_ms,value")
            return nil
        }
    }

    private static func measure(
        _ file: String, _ text: [UInt8], _ lines: ReadingLines, size: Int, effort: BatchEffort
    ) -> Row {
        var row = Row(file: file.split(separator: "/").last.map(String.init) ?? file)
        row.readings = lines.readings.count
        var encoder = BatchEncoder()
        var times: (encode: [Double], decode: [Double]) = ([], [])
        for round in 0..<rounds {
            var spent = (encode: 0.0, decode: 0.0)
            for from in stride(from: 0, to: lines.readings.count, by: size) {
                let end = min(from + size, lines.readings.count)
                let part = Array(lines.readings[from..<end])
                let start = SendingClock.threadNanoseconds
                let sealed = encode(part, &encoder, effort)
                let middle = SendingClock.threadNanoseconds
                let decoded = try? BatchCodec.decode(sealed.bytes)
                spent.decode += SendingClock.threadNanoseconds - middle
                spent.encode += middle - start
                guard round == 0 else { continue }
                row.bytes += sealed.bytes.count
                if decoded?.readings != grouped(part) { row.isLossless = false }
                row.deflated += encode(part, &encoder, .deflated).bytes.count
                row.gzip += Gzip.size(
                    Array(text[lines.offsets[from]..<lines.offsets[end]]), level: 6)
            }
            times.encode.append(spent.encode)
            times.decode.append(spent.decode)
        }
        row.encode = Stopwatch.median(times.encode) / Double(row.readings)
        row.decode = Stopwatch.median(times.decode) / Double(row.readings)
        return row
    }

    private static func encode(
        _ part: [Reading], _ encoder: inout BatchEncoder, _ effort: BatchEffort
    ) -> SealedBatch {
        encoder.encode(
            part.span, bucketStart: part[0].observedAt, bucketMilliseconds: 60_000, revision: 0,
            priority: .live, effort: effort)
    }

    /// What a batch gives back: streams rising, each in order of arrival.
    private static func grouped(_ part: [Reading]) -> [Reading] {
        part.indices.sorted {
            (part[$0].stream, $0) < (part[$1].stream, $1)
        }.map { part[$0] }
    }

    // MARK: What is printed

    /// Each file counts once: the geometric mean.
    private static func mean(_ rows: [Row], _ value: (Row) -> Double) -> Double {
        pow(rows.reduce(1.0) { $0 * value($1) }, 1 / Double(rows.count))
    }

    private static func json(_ rows: [Row], size: Int, effort: String) -> JSON {
        func number(_ value: Double, _ digits: Int) -> JSON { .literal(Words.fixed(value, digits)) }
        let files = rows.map { row in
            JSON.object([
                ("file", .string(row.file)), ("readings", .integer(Int64(row.readings))),
                ("bytes", .integer(Int64(row.bytes))),
                ("bytesPerReading", number(row.each(row.bytes), 4)),
                ("encodeNsPerReading", number(row.encode, 1)),
                ("decodeNsPerReading", number(row.decode, 1)),
                ("lossless", .boolean(row.isLossless)),
                ("deflateBytesPerReading", number(row.each(row.deflated), 4)),
                ("gzipLinesBytesPerReading", number(row.each(row.gzip), 4)),
            ])
        }
        return .object([
            ("batch", .integer(Int64(size))), ("effort", .string(effort)),
            ("readings", .integer(Int64(rows.reduce(0) { $0 + $1.readings }))),
            ("bytes", .integer(Int64(rows.reduce(0) { $0 + $1.bytes }))),
            ("bytesPerReading", number(mean(rows) { $0.each($0.bytes) }, 4)),
            ("encodeNsPerReading", number(mean(rows, \.encode), 1)),
            ("decodeNsPerReading", number(mean(rows, \.decode), 1)),
            ("lossless", .boolean(rows.allSatisfy(\.isLossless))),
            ("deflateBytesPerReading", number(mean(rows) { $0.each($0.deflated) }, 4)),
            ("gzipLinesBytesPerReading", number(mean(rows) { $0.each($0.gzip) }, 4)),
            ("files", .array(files)),
        ])
    }

    private static func write(_ rows: [Row], size: Int, _ console: Console) {
        var table = Table([
            ("recording", .left), ("readings", .right), ("bytes a reading", .right),
            ("deflate alone", .right), ("gzip of lines", .right), ("encode ns", .right),
            ("decode ns", .right), ("lossless", .left),
        ])
        for row in rows {
            table.add([
                row.file, Words.grouped(row.readings), Words.fixed(row.each(row.bytes), 3),
                Words.fixed(row.each(row.deflated), 3), Words.fixed(row.each(row.gzip), 2),
                Words.fixed(row.encode, 0), Words.fixed(row.decode, 0),
                row.isLossless ? "yes" : "NO",
            ])
        }
        table.add([
            "geometric mean", "", Words.fixed(mean(rows) { $0.each($0.bytes) }, 3),
            Words.fixed(mean(rows) { $0.each($0.deflated) }, 3),
            Words.fixed(mean(rows) { $0.each($0.gzip) }, 2), Words.fixed(mean(rows, \.encode), 0),
            Words.fixed(mean(rows, \.decode), 0), "",
        ])
        table.write(to: console)
        if let (_, others) = study.first(where: { $0.0 == size }) {
            console.line()
            console.line("others at \(Words.grouped(size)), mean of eight recordings: \(others)")
        }
    }
}
