// Where in a stream no frame can start, as far as one byte tells it: most of what noise is made of is
// passed over without judging each place. Worked out once a format, from the anchors of its forms and
// from the law of their lengths (a function code that has no length starts nothing). It only leaves
// out places that judging would refuse, so a search finds the same with it and without.

import Model

/// Bytes that may stand at one place of a frame, counted from its start behind any preamble.
struct FrameStarts: Sendable {
    /// The place; -1: any byte may stand anywhere.
    private(set) var at = -1
    /// Bytes that must be there to refuse a start; with fewer an anchor or a field of the length may
    /// be cut, and judging waits for the rest.
    private(set) var reach = 0
    private let preamble: Int
    /// One bit a byte, four words for frames up, four for frames down.
    private var possible: [8 of UInt64] = InlineArray(repeating: .max)

    init(_ program: Program) {
        preamble = program.frames[0].preamble
        guard program.frames[0].delimiter < 0 else { return }
        var forms = [program.frames[0]]
        while let next = forms.last?.next, next >= 0 { forms.append(program.frames[next]) }
        var fewest = 512
        let anchored = forms.reduce(0) { max($0, $1.anchorReach) }
        for place in 0..<4 {
            var found: [8 of UInt64] = InlineArray(repeating: 0)
            var needed = max(anchored, place + 1)
            for form in forms {
                let law = LengthLaw(form, program, at: place)
                for direction in [Direction.up, .down] {
                    for byte in UInt8.min...UInt8.max where form.mayHave(byte, at: place) {
                        if let bytes = law?.bytesToRefuse(byte, direction) {
                            needed = max(needed, bytes)
                            continue
                        }
                        found[FrameStarts.word(byte, direction)] |= 1 << UInt64(byte & 63)
                    }
                }
            }
            let count = found.indices.reduce(0) { $0 + found[$1].nonzeroBitCount }
            guard count < fewest else { continue }
            fewest = count
            at = place
            reach = needed
            possible = found
        }
    }

    private static func word(_ byte: UInt8, _ direction: Direction) -> Int {
        Int(byte >> 6) + (direction == .up ? 0 : 4)
    }

    /// The first place from `from` on, before `upTo`, that has to be judged; `upTo` when there is none.
    @inline(__always)
    func first(_ cursor: Cursor, from: Int, upTo: Int, _ direction: Direction) -> Int {
        guard at >= 0 else { return from }
        let last = min(upTo, cursor.count &- reach &+ 1)
        var place = from
        while place < last, let byte = cursor.byte(place &+ at),
            possible[FrameStarts.word(byte, direction)] >> UInt64(byte & 63) & 1 == 0,
            preamble < 0 || cursor.byte(place).map(Int.init) != preamble
        {
            place &+= 1
        }
        return place
    }
}

extension FrameRule {
    /// Whether its anchors let `byte` stand at `place`.
    fileprivate func mayHave(_ byte: UInt8, at place: Int) -> Bool {
        for i in 0..<anchorCount {
            let anchor = anchors[i]
            let back = anchor.at + anchor.count - 1 - place
            guard place >= anchor.at, back >= 0, back < 8 else { continue }
            let mask = UInt8(truncatingIfNeeded: anchor.mask >> UInt64(8 * back))
            if byte & mask != UInt8(truncatingIfNeeded: anchor.pattern >> UInt64(8 * back)) {
                return false
            }
        }
        return true
    }

    fileprivate var anchorReach: Int {
        (0..<anchorCount).reduce(0) { max($0, anchors[$1].at + anchors[$1].count) }
    }
}

/// What the instructions for a length say to one byte of the frame, whatever the others are.
private struct LengthLaw {
    private let program: Program
    private let entry: Int
    private let place: Int

    /// Nil when they do not begin with that byte.
    init?(_ form: FrameRule, _ program: Program, at place: Int) {
        guard form.lengthEntry >= 0, form.probe < 0 else { return nil }
        self.program = program
        self.place = place
        entry = form.lengthEntry
        guard let first = LengthLaw.firstRead(program, entry), isTheByte(first) else { return nil }
    }

    private static func firstRead(_ program: Program, _ entry: Int) -> Op? {
        for pc in entry..<program.lengths.count {
            let op = program.lengths[pc]
            if op.code == .readInteger { return op }
            if op.code != .constant { return nil }
        }
        return nil
    }

    private func isTheByte(_ op: Op) -> Bool {
        Int(op.at) == place && op.width == 1 && !op.flags.contains(.signed)
    }

    /// How many bytes must be there for them to refuse `byte` whatever the others are; nil when it
    /// depends on the others, or is not plain to see.
    func bytesToRefuse(_ byte: UInt8, _ direction: Direction) -> Int? {
        // What is not there is not known.
        var slots: [UInt16: Int64] = [:]
        var needed = place + 1
        var pc = entry
        // Jumps go forward, so no more steps than instructions.
        for _ in entry..<program.lengths.count {
            guard pc >= 0, pc < program.lengths.count else { return nil }
            let op = program.lengths[pc]
            pc += 1
            switch op.code {
            case .readInteger where isTheByte(op): slots[op.a] = Int64(byte)
            case .readInteger where op.at >= 0:
                slots[op.a] = nil
                needed = max(needed, Int(op.at) + Int(op.width))
            case .constant: slots[op.a] = op.imm
            case .copy: slots[op.a] = slots[op.b]
            case .builtin:
                switch Builtin(rawValue: op.x) {
                case .up: slots[op.a] = direction == .up ? 1 : 0
                case .down: slots[op.a] = direction == .down ? 1 : 0
                case .datagram, .whole: slots[op.a] = 0
                default: return nil
                }
            case .jump: pc = Int(op.at)
            case .jumpIfZero:
                guard let value = slots[op.a] else { return nil }
                if value == 0 { pc = Int(op.at) }
            case .arithmetic, .jumpUnless:
                let right =
                    op.flags.contains(.register)
                    ? slots[UInt16(truncatingIfNeeded: op.meta)] : op.imm
                guard let left = slots[op.b], let right else {
                    // Too large a result refuses as well.
                    if op.code == .jumpUnless { return nil }
                    slots[op.a] = nil
                    continue
                }
                guard let result = Operator.apply(op.x, left, right) else { return needed }
                if op.code == .arithmetic {
                    slots[op.a] = result
                } else if result == 0 {
                    pc = Int(op.at)
                }
            case .reject: return op.x == Rejection.truncated.rawValue ? nil : needed
            default: return nil
            }
        }
        return nil
    }
}
