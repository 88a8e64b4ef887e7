// Requests and their answers. A format says in its layout what a request asks (`asks`) and whether an
// answer fits what was asked (`answers`); both are instructions of the one engine, so the poller, a
// source that hears both directions and the embedded tests pair by the same words.

import Model

/// How an answer relates to the request whose numbers the decoder was given.
package enum Pairing: UInt8, Sendable {
    /// Nothing was asked, or the format does not say.
    case unknown
    case answer
    /// The device answers that it cannot.
    case exception
    /// It answers another request.
    case mismatch
}

extension NoSink {
    mutating func asks(_ number: Int, _ value: Int64) {}
    mutating func answers(_ pairing: Pairing) {}
}

extension PlanRecorder {
    mutating func asks(_ number: Int, _ value: Int64) { frame.asks(number, value) }
    mutating func answers(_ pairing: Pairing) { frame.answers(pairing) }
}

extension DecodedFrame {
    mutating func asks(_ number: Int, _ value: Int64) {
        isRequest = true
        asked[number & 3] = value
    }

    mutating func answers(_ pairing: Pairing) { self.pairing = pairing }
}

extension TreeBuilder {
    mutating func asks(_ number: Int, _ value: Int64) { frame.asks(number, value) }
    mutating func answers(_ pairing: Pairing) { frame.answers(pairing) }
}

extension Machine {
    /// a: 1 when it fits what was asked; b: 1 when the device says that it cannot, or none.
    func pair<S: FrameSink>(_ op: Op, _ sink: inout S) {
        if slots.value(op.a) == 0 { return sink.answers(.mismatch) }
        let isException = op.b != SlotFile.none && slots.value(op.b) != 0
        sink.answers(isException ? .exception : .answer)
    }
}

extension Machine {
    /// a: bytes by which offsets of the region move on (back when negative), within a Modbus answer.
    mutating func moveStart(_ op: Op) throws(Rejection) {
        let count = slots.value(op.a)
        guard count.magnitude <= 0x2_0000 else { throw .malformed }
        start &+= Int(count)
    }
}

extension FormatCompiler {
    /// `{ asks: [expression, …] }`: up to four numbers, `asked0` … for the decoder of the answer.
    mutating func asksItem(_ node: JSONNode) {
        guard let list = node["asks"]?.array, (1...4).contains(list.count) else {
            complain(node, "asks needs 1 to 4 expressions", "write asks: [\"address\", \"start\"]")
            return
        }
        for (i, entry) in list.enumerated() {
            let from: Operand
            if let n = entry.integer {
                from = .number(Int64(n))
            } else {
                from = expression(entry.string ?? "", at: entry)
            }
            builder.add(Op(code: .ask, x: UInt8(i), a: slot(from)))
        }
    }

    /// `{ answers: expression, exception?: expression }`
    mutating func answersItem(_ node: JSONNode) {
        pairs = true
        // Frames that nobody asked for are not looked at more closely.
        let known = builder.temporary()
        builder.add(Op(code: .builtin, x: Builtin.asked0.rawValue, a: known))
        let over = builder.add(
            Op(code: .jumpUnless, x: Operator.greaterEqual.rawValue, b: known, imm: 0))
        let fits = slot(operand(node, "answers") ?? .number(1))
        var op = Op(code: .pair, a: fits)
        if let exception = operand(node, "exception") { op.b = slot(exception) }
        builder.add(op)
        builder.land(over)
    }
}

extension Workspace {
    /// Lays out the numbers of the request for the next run.
    func ask(_ numbers: [Int64]) {
        for (i, number) in numbers.prefix(4).enumerated() {
            slots.setValue(number, at: SlotFile.asked &+ UInt16(i))
        }
    }
}

extension Decoder {
    /// Decodes an answer, given the numbers of its request, as `decode(envelope:)` would.
    func decode(
        _ bytes: [UInt8], direction: Direction, asked: [Int64], into result: inout DecodedFrame
    ) throws(Rejection) {
        guard direction == .up, !asked.isEmpty else {
            return try decode(bytes.span, direction: direction, into: &result)
        }
        var context = FrameContext()
        for (i, number) in asked.prefix(4).enumerated() { context.numbers[i] = number }
        var envelope: [UInt8] = []
        context.encode(bytes.span, into: &envelope)
        try decode(envelope: envelope.span, direction: direction, into: &result)
    }
}

extension EmbeddedTests {
    /// Numbers of a test: of the request that the frame answers, or that it must be found to ask.
    static func asked(_ test: JSONNode) -> [Int64] {
        (test["asked"]?.array ?? []).map { Int64($0.integer ?? -1) }
    }

    /// What differs in how the frame is paired.
    static func pairing(_ frame: DecodedFrame, _ test: JSONNode) -> [String] {
        var found: [String] = []
        if test["direction"]?.string == "down" {
            for (i, number) in asked(test).prefix(4).enumerated() where frame.asked[i] != number {
                found.append("asked[\(i)]: expected \(number), found \(frame.asked[i])")
            }
        }
        if let word = test["pairing"]?.string, word != "\(frame.pairing)" {
            found.append("pairing: expected \(word), found \(frame.pairing)")
        }
        return found
    }
}
