// Puts the right check value into a frame. For those who make frames, the fuzzer first of all: bytes
// that were changed at random fail at their check value, and nothing behind it would ever be reached.
// Slow path; works on a copy.

extension Format {
    /// `frame` with the check value that the framing demands, as the first form has it whose anchors
    /// stand there (else the first that has one). Lengths and end bytes stay as they are. Unchanged
    /// where the framing demands none or the frame is too short for it.
    package func mended(_ frame: [UInt8]) -> [UInt8] {
        guard let rule = formWithCheck(frame), rule.checksum >= 0 else { return frame }
        if rule.delimiter >= 0 { return mendedBetweenDelimiters(frame, rule) }
        let from = Format.preamble(frame, rule)
        return with(rule, frame, from..<frame.count)
    }

    private func formWithCheck(_ frame: [UInt8]) -> FrameRule? {
        var found: FrameRule?
        var rule = program.frames[0]
        while true {
            if rule.checksum >= 0 {
                if hasAnchors(rule, frame) { return rule }
                found = found ?? rule
            }
            guard rule.next >= 0 else { return found }
            rule = program.frames[rule.next]
        }
    }

    private func hasAnchors(_ rule: FrameRule, _ frame: [UInt8]) -> Bool {
        let from = rule.delimiter >= 0 ? 1 : Format.preamble(frame, rule)
        return Cursor.over(frame.span) { bytes in
            for i in 0..<rule.anchorCount {
                let anchor = rule.anchors[i]
                guard let found = bytes.big(from + anchor.at, width: anchor.count),
                    found & anchor.mask == anchor.pattern
                else { return false }
            }
            return true
        }
    }

    private static func preamble(_ frame: [UInt8], _ rule: FrameRule) -> Int {
        guard rule.preamble >= 0 else { return 0 }
        let most = frame.prefix(rule.preambleMaximum)
        return most.prefix { Int($0) == rule.preamble }.count
    }

    private func with(_ rule: FrameRule, _ frame: [UInt8], _ range: Range<Int>) -> [UInt8] {
        let sum = program.checksums[rule.checksum]
        guard let places = sum.places(in: range) else { return frame }
        // Text digits may stand in either case.
        let value = Cursor.over(frame.span) { bytes in
            let holds = sum.holds(bytes, start: range.lowerBound, end: range.upperBound)
            return holds == true ? nil : sum.wire(bytes, places.over)
        }
        guard let value, value.count == places.field.count else { return frame }
        var mended = frame
        mended.replaceSubrange(places.field, with: value)
        return mended
    }

    /// Escapes are undone for the check and made again, which also puts right what needed one.
    private func mendedBetweenDelimiters(_ frame: [UInt8], _ rule: FrameRule) -> [UInt8] {
        guard frame.count > 2, Int(frame[0]) == rule.delimiter,
            Int(frame[frame.count - 1]) == rule.delimiter
        else { return frame }
        var inside: [UInt8] = []
        var bytes = frame[1..<frame.count - 1].makeIterator()
        while let byte = bytes.next() {
            if Int(byte) == rule.escapes.escape, let code = bytes.next() {
                inside.append(rule.escapes.plain(code) ?? code)
            } else {
                inside.append(byte)
            }
        }
        inside = with(rule, inside, 0..<inside.count)
        var mended = [frame[0]]
        for byte in inside {
            if rule.escapes.escape >= 0,
                let code = rule.escapes.code(for: byte, delimiter: rule.delimiter)
            {
                mended += [rule.escapes.byte, code]
            } else {
                mended.append(byte)
            }
        }
        return mended + [frame[frame.count - 1]]
    }
}
