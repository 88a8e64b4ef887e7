// `sluice decode`: frames from the command line through the daemon's own decoder, as readings or
// byte
// by byte. Runs on the main thread; a refused frame makes the exit status 1.

import Formats
import Model

enum DecodeVerb {
    static let verb = Verb(
        "decode", "decodes frames with the daemon's own decoder",
        details: [
            "Each operand is one frame; operands of one byte each (as pasted from a serial tool) "
                + "together are one frame. Blanks, colons, commas and 0x are ignored. With the "
                + "operand - each line of standard input is one frame; empty lines and what follows # "
                + "are passed over, and a line that is not hex does not stop the others.",
            "--explain shows every byte, the field it belongs to and what it means. A refused "
                + "frame "
                + "is shown as far as it was understood, with the reason and its offset.",
            "--json prints one object a frame and line.",
        ],
        operands: "HEX…", operandCount: 1...Int.max,
        flags: [
            .value(
                "format", "NAME",
                "the format, as its file in protocols/ is called; auto tries them all"),
            .toggle("explain", "show every byte and its field"),
            .toggle("json", "print JSON, one object a frame"),
            .value("direction", "up|down", "device to server or server to device", default: "up"),
            .value("formats", "DIR", "folder of the format files", default: "protocols nearby"),
            .value("keys", "FILE", "keys of meters that encipher"),
        ],
        examples: [
            Example(
                "what an electricity meter said",
                "sluice decode --format dlt645 --explain 6861010000000068910733333735647633a916")
        ]
    ) { invocation, console throws(UsageError) in
        let name = try invocation.required("format")
        let direction = try direction(invocation.text("direction") ?? "up")
        let texts = DecodeVerb.texts(invocation.operands)
        // A list is decoded as far as it is hex; a single frame that is not is a wrong command.
        if texts.count == 1, texts[0] != "-", Hex.bytes(texts[0]) == nil {
            throw UsageError(
                String(texts[0].prefix(40)), "is not hex", "write two hex digits a byte")
        }
        let folder = try Places.formats(invocation.text("formats"))
        guard let library = Places.library(folder, console: console) else { return .foundWrong }
        if name == "auto" {
            let guesser = Guesser(
                library: library, direction: direction, explains: invocation.has("explain"),
                asJSON: invocation.has("json"), console: console)
            return guesser.print(texts) ? .done : .foundWrong
        }
        guard let format = library.format(named: name) else {
            let names = library.formats.map(\.name).sorted()
            throw UsageError(
                "--format \(name)", "no such format in \(folder)",
                (Places.formatName(ofFile: name, in: folder).flatMap {
                    names.contains($0) ? $0 : nil
                } ?? Nearest.of(name, among: names)).map { "did you mean \($0)?" }
                    ?? "there are: \(names.joined(separator: ", "))")
        }
        guard let keys = Places.keys(invocation.text("keys"), console: console) else {
            return .foundWrong
        }
        let printer = FramePrinter(
            decoder: Decoder(format, keys: keys), direction: direction,
            explains: invocation.has("explain"),
            console: console)
        let asJSON = invocation.has("json")
        var list = FrameList(asJSON: asJSON, console: console) { bytes in
            asJSON ? printer.printJSON(bytes) : printer.printText(bytes)
        }
        return list.print(texts) ? .done : .foundWrong
    }

    private static func direction(_ text: String) throws(UsageError) -> Direction {
        switch text {
        case "up": return .up
        case "down": return .down
        default:
            throw UsageError("--direction \(text)", "is neither up nor down", "write one of them")
        }
    }

    /// One text a frame; single bytes together are one.
    private static func texts(_ operands: [String]) -> [String] {
        let areBytes =
            operands.count > 1 && operands.allSatisfy { (Hex.bytes($0)?.count ?? 9) <= 1 }
        return areBytes ? [operands.joined(separator: " ")] : operands
    }
}

/// Prints frame after frame; one that is not hex is told and passed over.
struct FrameList {
    let asJSON: Bool
    let console: Console
    /// Prints one frame; false when it was refused.
    let printFrame: ([UInt8]) -> Bool
    /// Every frame was hex and accepted.
    private(set) var isWhole = true
    private var printed = 0

    init(asJSON: Bool, console: Console, printFrame: @escaping ([UInt8]) -> Bool) {
        self.asJSON = asJSON
        self.console = console
        self.printFrame = printFrame
    }

    /// The frames of the command line, or of standard input. True when each was accepted.
    mutating func print(_ texts: [String]) -> Bool {
        if texts == ["-"] {
            printLines()
        } else {
            for text in texts { print(text, called: String(text.prefix(40))) }
        }
        return isWhole
    }

    mutating func print(_ text: String, called name: String) {
        guard let bytes = Hex.bytes(text) else {
            console.complain(console.language(.notHex, name))
            isWhole = false
            return
        }
        if printed > 0, !asJSON { console.line() }
        printed += 1
        if !printFrame(bytes) { isWhole = false }
    }

    /// Each line of standard input as it comes, so that a pipe from a running tool shows at once.
    mutating func printLines() {
        var input = LineReader(descriptor: 0, path: console.language(.standardInput))
        var number = 0
        do throws(FileError) {
            while !console.isOutputGone, let line = try input.next(waiting: { console.flush() }) {
                number += 1
                let text = line.prefix { $0 != "#" }
                guard text.contains(where: { !$0.isWhitespace }) else { continue }
                print(String(text), called: console.language(.lineNumber, "\(number)"))
            }
        } catch {
            let why = console.language.error(error.why)
            console.complain(console.language(.pipeHex, error.path, why))
            isWhole = false
        }
        if printed == 0, isWhole {
            let language = console.language
            console.complain(
                language(.pipeHex, language(.standardInput), language(.holdsNoFrame)))
            isWhole = false
        }
    }
}

/// Prints frames of one format.
struct FramePrinter {
    let decoder: Decoder
    let direction: Direction
    let explains: Bool
    let console: Console

    private struct Outcome {
        var explanation: Explanation
        var frame: DecodedFrame
        var identity: String
        var rejection: Rejection?
    }

    private func decode(_ bytes: [UInt8]) -> Outcome {
        var frame = DecodedFrame()
        var rejection: Rejection?
        do throws(Rejection) {
            try decoder.decode(bytes.span, direction: direction, into: &frame)
        } catch {
            rejection = error
        }
        let identity = rejection == nil ? decoder.identityText() : ""
        return Outcome(
            explanation: decoder.explain(bytes, direction: direction), frame: frame,
            identity: identity, rejection: rejection)
    }

    /// False when the frame was refused.
    func printText(_ bytes: [UInt8]) -> Bool {
        let outcome = decode(bytes)
        let language = console.language
        let (name, size) = (decoder.format.name, language.count(bytes.count, .nounByte))
        let head =
            outcome.identity.isEmpty
            ? language(.decodeHead, name, size)
            : language(.decodeHeadDevice, name, size, outcome.identity)
        console.line(console.bold(head))
        if explains {
            explanationTable(outcome.explanation, bytes).write(to: console)
        } else {
            fieldTable(outcome.explanation).write(to: console)
        }
        if let rejection = outcome.rejection {
            let words =
                outcome.explanation.rejectedAt.map {
                    language(.refusedAt, rejection.code, "\($0)")
                } ?? language(.refusedPlain, rejection.code)
            let reason = outcome.explanation.reason
            console.line(
                console.red(words)
                    + (reason.isEmpty ? "" : ": \(reason)"))
            return false
        }
        console.line()
        if outcome.frame.readings.isEmpty {
            console.line(language(outcome.frame.isControl ? .controlFrame : .noReadings))
        } else {
            readingTable(Array(outcome.frame.readings)).write(to: console)
        }
        if !outcome.frame.answer.isEmpty {
            console.line(language(.answerLine, FieldNode.hex(outcome.frame.answer)))
        }
        return true
    }

    /// `names`: the formats that accept the frame, when all were tried.
    func printJSON(_ bytes: [UInt8], acceptedBy names: [String]? = nil) -> Bool {
        let outcome = decode(bytes)
        var members: [(String, JSON)] = [
            ("format", .string(decoder.format.name)), ("bytes", .integer(Int64(bytes.count))),
            ("device", outcome.identity.isEmpty ? .null : .string(outcome.identity)),
            ("fields", outcome.explanation.root.json),
        ]
        if let names { members.append(("acceptedBy", .array(names.map { .string($0) }))) }
        if let rejection = outcome.rejection {
            members.append(("rejection", .string(rejection.code)))
            let at = outcome.explanation.rejectedAt.map { JSON.integer(Int64($0)) }
            members.append(("offset", at ?? .null))
            members.append(("reason", .string(outcome.explanation.reason)))
        } else {
            members.append(("readings", .array(outcome.frame.readings.map(json))))
            let answer = outcome.frame.answer
            members.append(("answer", answer.isEmpty ? .null : .string(FieldNode.hex(answer))))
        }
        if explains {
            let lines = FramePrinter.flatten(outcome.explanation.root).map { line -> JSON in
                let node = line.node
                let range = node.bytes.clamped(to: 0..<bytes.count)
                return .object([
                    ("offset", .integer(Int64(range.lowerBound))),
                    ("length", .integer(Int64(range.count))),
                    ("hex", .string(FieldNode.hex(bytes[range]))), ("field", .string(line.path)),
                    ("value", FramePrinter.isGroup(node) ? .null : node.json),
                    ("unit", .string(node.unit)), ("note", .string(node.note)),
                ])
            }
            members.append(("explanation", .array(lines)))
        }
        console.line(JSON.object(members).text())
        return outcome.rejection == nil
    }

    private func json(_ reading: DecodedReading) -> JSON {
        let words = decoder.describe(reading)
        return .object([
            ("stream", .string(words.name)), ("quantity", .string(words.quantity)),
            ("value", JSON(reading.value)), ("unit", .string(words.unit)),
            (
                "observedAt",
                reading.observedAt == nil ? .null : .string(time(reading, in: .english))
            ),
            ("quality", .string(reading.quality.description)),
        ])
    }

    // MARK: Tables

    private func readingTable(_ readings: [DecodedReading]) -> Table {
        let language = console.language
        var table = Table([
            (language(.headStream), .left), (language(.headValue), .right),
            (language(.headUnit), .left), (language(.headObservedAt), .left),
            (language(.headQuality), .left),
        ])
        for reading in readings {
            let words = decoder.describe(reading)
            table.add([
                words.name, reading.value.description, words.unit,
                time(reading), reading.quality.description,
            ])
        }
        return table
    }

    /// The device's time, or how far from the frame's arrival (`-300000 ms from arrival`).
    private func time(_ reading: DecodedReading, in given: Language? = nil) -> String {
        let language = given ?? console.language
        guard let time = reading.observedAt else { return language(.onArrival) }
        return reading.isTimeRelative
            ? language(.fromArrival, "\(time.milliseconds)") : time.iso8601
    }

    private func fieldTable(_ explanation: Explanation) -> Table {
        let language = console.language
        var table = Table([
            (language(.headField), .left), (language(.headValue), .left),
            (language(.headUnit), .left),
        ])
        for line in FramePrinter.flatten(explanation.root) where line.node.isContent {
            table.add([
                line.indentedName, FramePrinter.text(line.node), line.node.unit,
            ])
        }
        return table
    }

    private func explanationTable(_ explanation: Explanation, _ bytes: [UInt8]) -> Table {
        let language = console.language
        var table = Table([
            (language(.headOffset), .right), (language(.headBytes), .left),
            (language(.headField), .left), (language(.headValue), .left),
            (language(.headUnit), .left), (language(.headNote), .left),
        ])
        for line in FramePrinter.flatten(explanation.root) {
            let range = line.node.bytes.clamped(to: 0..<bytes.count)
            let isGroup = FramePrinter.isGroup(line.node)
            table.add([
                FramePrinter.offsets(range), isGroup ? "" : FramePrinter.spaced(bytes[range]),
                line.indentedName, FramePrinter.text(line.node), line.node.unit, line.node.note,
            ])
        }
        return table
    }

    private static func offsets(_ range: Range<Int>) -> String {
        if range.isEmpty { return "" }
        return range.count == 1
            ? "\(range.lowerBound)" : "\(range.lowerBound)–\(range.upperBound - 1)"
    }

    private static func spaced(_ bytes: ArraySlice<UInt8>) -> String {
        let shown = bytes.prefix(12).map { FieldNode.hex([$0]) }.joined(separator: " ")
        return bytes.count > 12 ? shown + " …" : shown
    }

    private static func isGroup(_ node: FieldNode) -> Bool {
        switch node.value {
        case .object, .list: true
        default: false
        }
    }

    static func text(_ node: FieldNode) -> String {
        switch node.value {
        case .null: "–"
        case .number(let value): value.description
        case .unsigned(let value): String(value)
        case .boolean(let value): value ? "true" : "false"
        case .text(let text), .time(let text): text
        case .bytes(let bytes): FieldNode.hex(bytes)
        case .object, .list: ""
        }
    }

    // MARK: The tree as lines

    struct Line {
        var node: FieldNode
        var depth: Int
        /// `values[0].name`
        var path: String
        var name: String

        var indentedName: String { String(repeating: "  ", count: depth) + name }
    }

    /// All nodes below the root in order of their appearance.
    static func flatten(_ root: FieldNode) -> [Line] {
        var lines: [Line] = []
        func visit(_ node: FieldNode, _ depth: Int, _ path: String) {
            let isList = node.value == .list
            for (i, child) in node.children.enumerated() {
                let name = isList ? "[\(i)]" : child.name
                let childPath = path + (isList || path.isEmpty ? name : "." + name)
                lines.append(Line(node: child, depth: depth, path: childPath, name: name))
                visit(child, depth + 1, childPath)
            }
        }
        visit(root, 0, "")
        return lines
    }
}
