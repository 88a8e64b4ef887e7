// `sluice batch`: the batch codec as a filter between lines and one self-contained batch.

import Batches
import Model

enum BatchVerb {
    private static let maximumReadings = 1_000_000
    private static let limits = BatchLimits(maximumReadings: maximumReadings)

    static let verb = Verb(
        "batch", "packs readings into a batch file and back",
        details: [
            "encode: lines stream,unix_ms,value without a heading on standard input, one "
                + "self-contained batch with the names of its streams on standard output, at most "
                + "1,000,000 readings.",
            "decode: such a batch, or one without names, back to lines: streams in order of name, "
                + "the readings of a stream in theirs, the same doubles.",
        ],
        operands: "encode|decode", operandCount: 1...1,
        examples: [
            Example("pack", "sluice batch encode < readings.csv > readings.slb"),
            Example("unpack", "sluice batch decode < readings.slb"),
        ]
    ) { invocation, console throws(UsageError) in
        let input: [UInt8]
        guard ["encode", "decode"].contains(invocation.operands[0]) else {
            throw UsageError(
                "batch", "cannot \"\(invocation.operands[0])\"", "write encode or decode")
        }
        do throws(FileError) {
            input = try Files.read("-")
        } catch {
            console.complain(
                "sluice: batch: standard input: \(error.why): give it lines or a batch")
            return .foundWrong
        }
        return invocation.operands[0] == "encode" ? encode(input, console) : decode(input, console)
    }

    private static func encode(_ input: [UInt8], _ console: Console) -> RunStatus {
        let lines: ReadingLines
        do throws(ReadingLines.Wrong) {
            lines = try ReadingLines(input, hasHeading: false)
        } catch {
            console.complain(
                "sluice: batch: line \(error.line): \(error.why): write stream,unix_ms,value")
            return .foundWrong
        }
        guard !lines.readings.isEmpty else {
            console.complain("sluice: batch: no readings: a batch has at least one: give lines")
            return .foundWrong
        }
        guard lines.readings.count <= maximumReadings else {
            console.complain(
                "sluice: batch: \(Words.grouped(lines.readings.count)) readings: a batch has at "
                    + "most \(Words.grouped(maximumReadings)): split the lines")
            return .foundWrong
        }
        console.write(bytes: BatchCodec.encode(lines.readings, names: lines.names))
        return .done
    }

    private static func decode(_ input: [UInt8], _ console: Console) -> RunStatus {
        do throws(BatchError) {
            let (batch, names) = try BatchCodec.decodeNamed(input, limits: limits)
            var stream: StreamID?
            var next = 0
            var name = ""
            for reading in batch.readings {
                if reading.stream != stream {
                    stream = reading.stream
                    name =
                        names.isEmpty
                        ? String(reading.stream.rawValue)
                        : String(decoding: names[next], as: UTF8.self)
                    next += 1
                }
                console.line("\(name),\(reading.observedAt.milliseconds),\(text(reading.value))")
            }
            return .done
        } catch {
            console.complain("sluice: batch: \(why(error)): give it a whole batch file")
            return .foundWrong
        }
    }

    /// The shortest text of the same double, whole numbers without `.0`.
    private static func text(_ value: Value) -> String {
        let text = value.description
        guard value.kind == .double, text.hasSuffix(".0") else { return text }
        return String(text.dropLast(2))
    }

    private static func why(_ error: BatchError) -> String {
        switch error {
        case .badMagic: "this is no batch"
        case .badVersion(let version): "version \(version) of the layout is not known"
        case .unsupported(let flags): "flags \(flags) are not known"
        case .badChecksum: "the checksum is wrong"
        case .truncated: "the batch is cut short"
        case .tooLarge: "the batch is larger than its limits allow"
        case .expandsTooFar: "the batch expands to more than its readings can take"
        case .malformed(let offset): "the batch is malformed at byte \(offset) of a section"
        }
    }
}
