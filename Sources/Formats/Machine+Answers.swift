// Answers beyond plain bytes: digits as text, and the escapes of a whole answer.

import Model

extension Machine {
    /// a: slot whose bytes are answered as the text of their hex digits (a BCD number as text).
    func answerDigits<S: FrameSink>(_ op: Op, _ sink: inout S) {
        let slot = slots[op.a]
        let bytes = cursor(ofPlane: slot.plane)
        for i in Int(slot.start)..<max(Int(slot.start), Int(slot.end)) {
            let byte = bytes.byte(i) ?? 0
            sink.answer(Machine.digit(byte >> 4))
            sink.answer(Machine.digit(byte & 15))
        }
    }
}

extension DecodedFrame {
    /// Longest answer in bytes, escapes included.
    static let maximumAnswer = 1024

    /// Makes what was answered so far the content between the delimiters of `rule`, with its
    /// escapes. An answer that gets too long for its escapes is not given at all.
    mutating func answerFrame(_ rule: FrameRule) {
        guard rule.delimiter >= 0, !answer.isEmpty else { return }
        var more = 2
        if rule.escapes.escape >= 0 {
            for byte in answer where rule.escapes.code(for: byte, delimiter: rule.delimiter) != nil
            {
                more &+= 1
            }
        }
        let count = answer.count
        guard count &+ more <= DecodedFrame.maximumAnswer else {
            answer.removeAll(keepingCapacity: true)
            return
        }
        for _ in 0..<more { answer.append(UInt8(truncatingIfNeeded: rule.delimiter)) }
        // From the end, so that no byte is overwritten before it was moved.
        var to = answer.count &- 1
        var from = count &- 1
        while from >= 0 {
            let byte = answer[from]
            to &-= 1
            if rule.escapes.escape >= 0,
                let code = rule.escapes.code(for: byte, delimiter: rule.delimiter)
            {
                answer[to] = code
                to &-= 1
                answer[to] = rule.escapes.byte
            } else {
                answer[to] = byte
            }
            from &-= 1
        }
        answer[0] = UInt8(truncatingIfNeeded: rule.delimiter)
    }
}
