// Makes plans: the sink that watches one run of the program, works out on which bytes its way depends,
// and keeps what a plan must do again. Slow path: it runs once a shape and allocates as it likes.
//
// The rule that makes a plan right: a value that decides anything but itself (a jump, a count, a name, a
// computed number) makes the bytes it was read from steering bytes. What is left are reads that only
// flow into readings, times, identities, keys and answers; those are read anew from each frame.

import Model

/// Which bytes of a frame something depends on.
struct ByteSet {
    private var bits: [4 of UInt64] = [0, 0, 0, 0]

    mutating func insert(_ range: Range<Int>) {
        for i in range.clamped(to: 0..<256) { bits[i >> 6] |= 1 << UInt64(i & 63) }
    }

    mutating func formUnion(_ other: ByteSet) {
        for i in 0..<4 { bits[i] |= other.bits[i] }
    }

    func contains(_ i: Int) -> Bool {
        i >= 0 && i < 256 && bits[i >> 6] >> UInt64(i & 63) & 1 == 1
    }
}

struct PlanRecorder: FrameSink {
    var frame: DecodedFrame
    let program: Program
    private(set) var isPossible = true
    /// This frame makes no plan; others of its format may.
    private var isApart = false
    private var steering = ByteSet()
    /// What slots depend on; absent: nothing.
    private var taint: [UInt16: ByteSet] = [:]
    /// Slots whose content the plan's reads make; all others hold what the steering bytes say.
    private var fresh = Set<UInt16>()
    private var usesAsked = false
    private(set) var steps: [PlanStep] = []

    init(_ frame: consuming DecodedFrame, _ program: Program) {
        self.frame = frame
        self.program = program
        // Whether a check value holds marks readings there, which a plan does not know of.
        for i in 0..<program.frames.count where program.frames[i].flagsMismatch {
            isPossible = false
        }
    }

    // MARK: What the program yields

    static var explains: Bool { false }
    static var records: Bool { true }
    var readingCount: Int { frame.readings.count }

    mutating func reading(
        output: UInt16, discriminator: UInt64, value: Value, quality: Quality, at: Int64?
    ) {
        frame.reading(
            output: output, discriminator: discriminator, value: value, quality: quality, at: at)
    }

    mutating func stamp(from first: Int, milliseconds: Int64) {
        frame.stamp(from: first, milliseconds: milliseconds)
    }

    mutating func identityIsGlobal() { frame.identityIsGlobal() }
    mutating func timeIsRelative() { frame.timeIsRelative() }
    mutating func control() { frame.control() }
    mutating func seal() { frame.seal() }
    mutating func device(_ key: DeviceKey) { frame.device(key) }
    mutating func duplicate(_ key: UInt64) { frame.duplicate(key) }
    mutating func answer(_ byte: UInt8) { frame.answer(byte) }
    mutating func answerChecksum(_ rule: ChecksumRule) { frame.answerChecksum(rule) }
    mutating func answerFrame(_ rule: FrameRule) { frame.answerFrame(rule) }
    mutating func answerCount(at: Int, from: Int, digits: Int) {
        frame.answerCount(at: at, from: from, digits: digits)
    }
    mutating func part(_ part: FramePart) { frame.part(part) }
    mutating func show(
        _ rule: Int, slot: Slot, discriminator: UInt64, machine: Machine
    ) {}
    mutating func open(_ group: Int, machine: Machine) {}
    mutating func close() {}
    mutating func structure(_ name: String, _ range: Range<Int>, machine: Machine) {}
    mutating func leaf(
        _ name: String, _ range: Range<Int>, _ value: FieldValue, unit: String, note: String,
        machine: Machine
    ) {}
    mutating func openObject(_ name: String, at position: Int, machine: Machine) {}
    mutating func openList(_ name: String, at position: Int, machine: Machine) {}
    mutating func goesOn(
        after verdict: Machine.Judgement, _ rule: FrameRule, _ range: Range<Int>,
        machine: inout Machine
    ) -> Bool { false }

    // MARK: What the program does

    mutating func willRun(_ op: Op, _ machine: Machine) {
        switch op.code {
        case .skip, .jump, .end, .leave: break
        case .readInteger, .readOrdered, .readFloat, .readBCD:
            read(op, Int(op.width), machine)
        case .readTime:
            read(op, program.times[Int(op.meta)].count, machine)
            if op.b != SlotFile.none {
                taint[op.b] = taint[op.a]
                fresh.insert(op.b)
            }
        case .readBytes: readBytes(op, machine)
        case .bits, .missing, .toTime:
            if fresh.contains(op.a) { keep(op, machine) }
        case .constant: settle(op.a, ByteSet())
        case .builtin:
            if op.x >= Builtin.asked0.rawValue { usesAsked = true }
            settle(op.a, ByteSet())
        case .arithmetic:
            var bytes = taint[op.b] ?? ByteSet()
            if op.flags.contains(.register) {
                bytes.formUnion(taint[UInt16(truncatingIfNeeded: op.meta)] ?? ByteSet())
            }
            // An operation that can fail decides whether the frame is accepted.
            steering.formUnion(bytes)
            settle(op.a, bytes)
        case .pack:
            var bytes = taint[op.b] ?? ByteSet()
            if op.x != 1 { bytes.formUnion(taint[op.a] ?? ByteSet()) }
            steering.formUnion(bytes)
            settle(op.a, bytes)
        case .copy:
            if fresh.contains(op.b) {
                keep(op, machine)
                fresh.insert(op.a)
                taint[op.a] = taint[op.b]
            } else {
                settle(op.a, taint[op.b] ?? ByteSet())
            }
        case .jumpIfZero, .assertTrue: steer(op.a)
        case .jumpUnless:
            steer(op.b)
            if op.flags.contains(.register) { steer(UInt16(truncatingIfNeeded: op.meta)) }
        case .select: steer(op.b)
        case .loop: settle(op.a, ByteSet())
        case .test:
            if op.b != SlotFile.none { steer(op.b) }
            // The length of the entry that stands next.
            let at = machine.position + Int(op.width)
            if op.width > 0, at + Int(op.x) <= machine.limit { mark(at..<at + Int(op.x), machine) }
        case .next: settle(op.a, ByteSet())
        case .enterRegion:
            if op.flags.contains(.register) { steer(op.b) }
            if op.meta >= 0 { enter(op, machine) }
        case .enterHex:
            if op.flags.contains(.register) { steer(op.b) }
            enter(op, machine)
        case .enterWhole: if op.flags.contains(.register) { steer(op.b) }
        case .part:
            steer(op.b)
            steer(op.b &+ 1)
            if machine.slots.value(op.b &+ 1) != 0 { isApart = true }
        case .enterFrame: if op.flags.contains(.register) { steer(op.b) }
        case .enterScope, .leaveScope, .control, .identityText, .identityEnd, .answerText,
            .answerChecksum, .answerFrame:
            keep(op, machine)
        case .observe, .identitySlot, .answerSlot, .answerDigits: use(op.a, op, machine)
        case .emit: emit(op, machine)
        case .duplicate:
            if !op.flags.contains(.rest) {
                for i in 0..<UInt16(op.width) { hold(op.b &+ i, machine) }
            }
            keep(op, machine)
        // Pairing runs only where something was asked; that is rare enough to run the program.
        case .ask, .pair: isPossible = false
        case .moveStart: if machine.slots.value(op.a) != 0 { isPossible = false }
        case .reject, .show, .open, .close: isPossible = false
        default: isPossible = false
        }
    }

    /// The machine found its frame: `range` without preamble, which begins at `from`.
    mutating func entered(
        _ rule: FrameRule, from: Int, _ range: Range<Int>, machine: Machine
    ) {
        // Which of several forms it is may depend on bytes that the others look at.
        if rule.isForm { isPossible = false }
        if rule.delimiter >= 0 { delimited(rule, from, range, machine) }
        // The byte behind a preamble ends it.
        if rule.preamble >= 0 { mark(from..<range.lowerBound + 1, machine) }
        for i in 0..<rule.anchorCount {
            let at = range.lowerBound + rule.anchors[i].at
            mark(at..<at + rule.anchors[i].count, machine)
        }
        mark(range.upperBound - rule.endCount..<range.upperBound, machine)
        if !rule.isDatagram { markLength(rule, range.lowerBound, machine) }
        if rule.checksum >= 0 {
            steps.append(check(rule.checksum, range, machine.plane))
        }
    }

    private func check(_ row: Int, _ range: Range<Int>, _ plane: UInt8) -> PlanStep {
        var op = Op(code: .skip, at: Int32(range.lowerBound), meta: Int32(row))
        op.imm = Int64(range.upperBound)
        let rule = program.checksums[row]
        guard !rule.isText, let places = rule.places(in: range) else {
            return PlanStep(kind: .checksum, plane: plane, op: op)
        }
        switch rule.kind {
        case .sum8: break
        case .crc16:
            op.at = Int32(places.field.lowerBound)
            op.width = 2
            if rule.isLittleEndian { op.flags = .little }
            op.a = UInt16(places.over.lowerBound)
            op.b = UInt16(places.over.upperBound)
            return PlanStep(kind: .crc, plane: plane, op: op)
        case .xor8, .crcHJ212: return PlanStep(kind: .checksum, plane: plane, op: op)
        }
        op.at = Int32(places.over.lowerBound)
        op.meta = Int32(places.over.upperBound)
        op.imm = Int64(places.field.lowerBound)
        return PlanStep(kind: .sum, plane: plane, op: op)
    }

    /// A plan reads a delimited frame in place: it has both delimiters and nothing to unescape.
    private mutating func delimited(
        _ rule: FrameRule, _ from: Int, _ range: Range<Int>, _ machine: Machine
    ) {
        if from == range.lowerBound || rule.escapes.escape >= 0 && machine.plane == rule.plane &+ 1
        {
            isApart = true
            return
        }
        mark(from..<from + 1, machine)
        mark(range.upperBound..<range.upperBound + 1, machine)
        var op = Op(code: .skip, at: Int32(range.lowerBound), meta: Int32(rule.escapes.escape))
        op.x = UInt8(truncatingIfNeeded: rule.delimiter)
        op.imm = Int64(range.upperBound)
        steps.append(PlanStep(kind: .inside, plane: machine.plane, op: op))
    }

    private mutating func markLength(_ rule: FrameRule, _ from: Int, _ machine: Machine) {
        let others = (0..<program.frames.count).map { program.frames[$0].lengthEntry }
        let end = others.filter { $0 > rule.lengthEntry }.min() ?? program.lengths.count
        for i in rule.lengthEntry..<end {
            let op = program.lengths[i]
            switch op.code {
            case .readInteger, .readOrdered,
                .readBCD where op.at >= 0:
                let at = from + Int(op.at)
                mark(at..<at + Int(op.width), machine)
                taint[op.a] = ByteSet()
            case .constant, .arithmetic, .builtin, .copy, .jump, .jumpIfZero, .jumpUnless, .end,
                .reject:
                break
            default: isPossible = false
            }
        }
    }

    // MARK: Dependencies

    private mutating func mark(_ range: Range<Int>, _ machine: Machine) {
        steering.formUnion(bytes(range, machine))
    }

    /// Bytes of the frame that `range` of the current plane was made from.
    private func bytes(_ range: Range<Int>, _ machine: Machine) -> ByteSet {
        var result = ByteSet()
        result.insert(TreeBuilder.origin(machine, machine.plane, range))
        return result
    }

    private mutating func steer(_ slot: UInt16) {
        if let bytes = taint[slot] { steering.formUnion(bytes) }
    }

    /// The slot now holds what the steering bytes determine.
    private mutating func settle(_ slot: UInt16, _ bytes: ByteSet) {
        fresh.remove(slot)
        taint[slot] = bytes
    }

    private mutating func keep(_ op: Op, _ machine: Machine) {
        steps.append(PlanStep(plane: machine.plane, op: op))
    }

    private mutating func read(_ op: Op, _ width: Int, _ machine: Machine) {
        let at = op.at >= 0 ? machine.start + Int(op.at) : machine.position
        taint[op.a] = bytes(at..<at + width, machine)
        fresh.insert(op.a)
        var op = op
        op.at = Int32(clamping: at)
        keep(op, machine)
    }

    private mutating func readBytes(_ op: Op, _ machine: Machine) {
        if op.flags.contains(.register) { steer(op.b) }
        guard let fixed = placed(op, machine) else { return isApart = true }
        let at = Int(fixed.at)
        taint[op.a] = bytes(at..<at + Int(fixed.imm), machine)
        fresh.insert(op.a)
        keep(fixed, machine)
    }

    /// `op` with its place and its count of bytes as numbers. Nil where these are not in the frame: the
    /// machine, which asks after this, will refuse it.
    private func placed(_ op: Op, _ machine: Machine) -> Op? {
        let at = op.at >= 0 ? machine.start + Int(op.at) : machine.position
        guard let count = try? machine.wanted(op), count >= 0, at + count <= machine.limit else {
            return nil
        }
        var result = op
        result.at = Int32(clamping: at)
        result.imm = Int64(count)
        result.flags.remove(.rest)
        result.flags.remove(.register)
        return result
    }

    private mutating func enter(_ op: Op, _ machine: Machine) {
        let isReversing =
            op.code == .enterRegion && program.transforms[Int(op.meta)].kind == .reverse
        guard !isReversing else { return isPossible = false }
        guard let fixed = placed(op, machine) else { return isApart = true }
        keep(fixed, machine)
    }

    /// Makes slot `a` hold in the plan what it holds now.
    private mutating func hold(_ slot: UInt16, _ machine: Machine) {
        if fresh.contains(slot) { return }
        steer(slot)
        guard machine.slots[slot].kind == .integer else { return isPossible = false }
        keep(Op(code: .constant, a: slot, imm: machine.slots.value(slot)), machine)
    }

    private mutating func use(_ slot: UInt16, _ op: Op, _ machine: Machine) {
        hold(slot, machine)
        keep(op, machine)
    }

    private mutating func emit(_ op: Op, _ machine: Machine) {
        hold(op.a, machine)
        let divisor = program.values[Int(op.meta)].divisor
        if divisor != SlotFile.none { hold(divisor, machine) }
        var step = PlanStep(plane: machine.plane, op: op)
        step.output = UInt16(truncatingIfNeeded: op.imm)
        step.rule = op.meta
        if op.b != SlotFile.none {
            steer(op.b)
            step.discriminator = UInt64(bitPattern: machine.slots.value(op.b))
        }
        steps.append(step)
    }

    // MARK: The plan

    /// Puts what was watched into `table`.
    func finish(_ bytes: Cursor, _ direction: Direction, _ slots: SlotFile, into table: PlanTable) {
        guard isPossible, !isApart, PlanTable.lengths.contains(bytes.count) else { return }
        var words: [PlanWord] = []
        var at = 0
        while at < bytes.count {
            let from = min(at, bytes.count - 8)
            var mask: UInt64 = 0
            for i in 0..<8 where from + i >= at && steering.contains(from + i) {
                mask |= 0xFF << UInt64(8 * (7 - i))
            }
            if mask != 0, let word = bytes.big(from, width: 8) {
                words.append(PlanWord(at: Int32(from), mask: mask, value: word & mask))
            }
            at += 8
        }
        var asked: [4 of Int64]?
        if usesAsked {
            var numbers: [4 of Int64] = [-1, -1, -1, -1]
            for i in 0..<4 { numbers[i] = slots.value(SlotFile.asked &+ UInt16(i)) }
            asked = numbers
        }
        table.add(
            count: bytes.count, direction: direction, asked: asked, words: words,
            steps: inRuns(near(identityFirst(keyFirst(fused(needed()))), bytes.count)))
    }
}
