// Plans: what a decoder remembers of the shapes of frames it has seen. Which instructions run for a
// frame, and all offsets, lengths and stream names, depend on few of its bytes (control codes,
// identifiers, lengths, counts): the *steering* bytes. A frame with the same length and the same
// steering bytes as an earlier one takes the same way through the program. A plan is that way: the
// steering bytes to compare and the reads, changes and outputs that were left when everything that they
// determine is known. So a meter that is asked for the same register costs a comparison and a few reads
// whatever its description has to consider for other frames.
//
// Owned by one decoder, on its queue. A plan never decides alone: where a step fails (checksum, digits
// of hex text, identity), the whole program runs and says why. How a plan is made: PlanRecorder.swift.

import Model

/// One instruction of a plan: `op` with absolute places (`at` counts from the first byte of `plane`).
struct PlanStep: BitwiseCopyable {
    enum Kind: UInt8 {
        /// What `op.code` says.
        case op
        /// Check value `op.meta` of the frame `op.at ..< op.imm` of the plane.
        case checksum
        /// The integer `op.at` bytes behind the plane's start is the CRC of `op.a ..< op.b`, by the rule of
        /// check value `op.meta`.
        case crc
        /// The byte at `op.imm` is the sum of those in `op.at ..< op.meta` of the plane.
        case sum
        /// Neither delimiter `op.x` nor escape `op.meta` (-1 none) in `op.at ..< op.imm`.
        case inside
        /// Read (`op.code`) and yield in one.
        case take
        /// The same for what is nearly always there: an integer that is the value but for `exponent`.
        case number
        /// The same, and no value when the integer is `op.imm`.
        case numberUnless
        /// Packed digits without sign, likewise; other digits go the long way.
        case digits
        /// Unix time in units of `op.imm` milliseconds: the time of the readings.
        case clock
        /// The identity is bytes `op.at ..< op.imm` of the plane in the style `op.x`.
        case identify
        /// The duplicate key: bytes `op.at ..< op.imm` of the plane, an integer of it or the number
        /// `op.imm` mixed in. `output` says where the key begins, with the salt `discriminator`, and ends.
        case keyBytes, keyInteger, keyNumber
    }

    var kind = Kind.op
    var plane: UInt8 = 0
    var exponent: Int8 = 0
    /// Of an integer in the frame itself (`PlanRecorder.near`): the eight bytes at `near`, the first of
    /// them most significant unless it is little-endian, moved `left` and then right until only the
    /// integer is left.
    var left: UInt8 = 0
    var output: UInt16 = 0
    /// -1: read it byte by byte where `op.at` says.
    var near: Int16 = -1
    /// Row of `Program.values`.
    var rule: Int32 = 0
    /// Of a number: how many numbers of the frame itself stand from this step on, 0 when it is none.
    var run: UInt8 = 0
    var discriminator: UInt64 = 0
    var op: Op

    /// Of `output`, where a key begins and ends.
    static let keyBegins: UInt16 = 1
    static let keyEnds: UInt16 = 2

    func isOp(_ code: OpCode) -> Bool { kind == .op && op.code == code }
}

/// Bytes of a frame that a plan compares: eight from `at`.
struct PlanWord: BitwiseCopyable {
    var at: Int32
    var mask: UInt64
    var value: UInt64
}

struct Plan: BitwiseCopyable {
    var count: Int32
    var direction: Direction
    var usesAsked: Bool
    var firstWord: Int32
    var endWord: Int32
    var firstStep: Int32
    var endStep: Int32
    var asked: [4 of Int64]
    /// The next plan for frames of as many bytes, -1 none.
    var next: Int32
}

/// The plans of one decoder.
final class PlanTable {
    /// Frames of other lengths run the program.
    static let lengths = 16...256
    private static let maximumPlans = 64
    private static let maximumWords = 512
    private static let maximumSteps = 2048
    /// Frames that fit no plan before a full table starts afresh.
    private static let patience = 1 << 16

    private let plans = FillingTable<Plan>(capacity: PlanTable.maximumPlans)
    private let words = FillingTable<PlanWord>(capacity: PlanTable.maximumWords)
    fileprivate let steps = FillingTable<PlanStep>(capacity: PlanTable.maximumSteps)
    private let heads = FillingTable<Int32>(capacity: PlanTable.lengths.upperBound + 1)
    private(set) var count = 0
    private var wordCount = 0
    private var stepCount = 0
    private var misses = 0
    private var isFull = false
    /// False when the program has instructions that plans cannot hold.
    var isPossible = true

    init() {
        clear()
    }

    deinit {
        plans.deallocate()
        words.deallocate()
        steps.deallocate()
        heads.deallocate()
    }

    private func clear() {
        (count, wordCount, stepCount, misses) = (0, 0, 0, 0)
        for i in 0..<heads.capacity { heads[i] = -1 }
    }

    /// The steps of the plan for a frame; nil when none fits.
    @inline(__always)
    func match(_ frame: Cursor, _ direction: Direction, _ slots: SlotFile) -> Range<Int>? {
        guard frame.count <= PlanTable.lengths.upperBound else { return nil }
        var next = Int(heads[frame.count])
        while next >= 0 {
            let plan = plans[next]
            if fits(plan, frame, direction, slots) {
                return Int(plan.firstStep)..<Int(plan.endStep)
            }
            next = Int(plan.next)
        }
        return nil
    }

    @inline(__always)
    private func fits(
        _ plan: Plan, _ frame: Cursor, _ direction: Direction, _ slots: SlotFile
    ) -> Bool {
        guard plan.direction == direction else { return false }
        var row = Int(plan.firstWord)
        while row < Int(plan.endWord) {
            let word = words[row]
            guard let found = frame.big(Int(word.at), width: 8), found & word.mask == word.value
            else { return false }
            row &+= 1
        }
        if plan.usesAsked {
            for i in 0..<4 where slots.value(SlotFile.asked &+ UInt16(i)) != plan.asked[i] {
                return false
            }
        }
        return true
    }

    /// Whether a frame that no plan fits may be recorded: recording costs more than decoding, so
    /// the table fills once and then keeps its plans for a while, whatever strangers send.
    func wantsRecording(_ frame: Cursor) -> Bool {
        guard isPossible, PlanTable.lengths.contains(frame.count) else { return false }
        if !isFull { return true }
        misses += 1
        guard misses >= PlanTable.patience else { return false }
        clear()
        isFull = false
        return true
    }

    func add(
        count: Int, direction: Direction, asked: [4 of Int64]?, words newWords: [PlanWord],
        steps newSteps: [PlanStep]
    ) {
        guard self.count < PlanTable.maximumPlans,
            wordCount + newWords.count <= PlanTable.maximumWords,
            stepCount + newSteps.count <= PlanTable.maximumSteps,
            PlanTable.lengths.contains(count)
        else {
            isFull = true
            return
        }
        let firstWord = Int32(wordCount)
        let firstStep = Int32(stepCount)
        for (i, word) in newWords.enumerated() { words[wordCount + i] = word }
        for (i, step) in newSteps.enumerated() { steps[stepCount + i] = step }
        wordCount += newWords.count
        stepCount += newSteps.count
        plans[self.count] =
            Plan(
                count: Int32(count), direction: direction, usesAsked: asked != nil,
                firstWord: firstWord, endWord: Int32(wordCount), firstStep: firstStep,
                endStep: Int32(stepCount),
                asked: asked ?? [-1, -1, -1, -1], next: heads[count])
        heads[count] = Int32(self.count)
        self.count += 1
    }

    @inline(__always)
    func step(_ index: Int) -> PlanStep { steps[index] }
}

extension Cursor {
    /// Yields steps that are numbers of the frame itself, one behind another. False: bytes are missing.
    @inline(__always)
    fileprivate func numbers(
        _ first: Int, _ count: Int, _ steps: FillingTable<PlanStep>, at time: Int64?,
        into readings: inout DecodedReadings
    ) -> Bool {
        let before = readings.count
        readings.append(upTo: count) { number in
            let step = steps[first &+ number]
            guard let word = near(step) else { return nil }
            let isMissing = step.kind == .numberUnless && Int64(bitPattern: word) == step.op.imm
            return DecodedReading(
                output: step.output, discriminator: step.discriminator,
                value: isMissing
                    ? .none : Value(kind: .decimal, exponent: step.exponent, bits: word),
                quality: isMissing ? .missing : Quality(),
                observedAt: time.map(Timestamp.init(milliseconds:)))
        }
        return readings.count == before &+ count
    }

    /// The identity that is the digits of some bytes.
    @inline(__always)
    fileprivate func identify(_ op: Op, _ identity: BytePlane, _ sink: inout DecodedFrame) -> Bool {
        guard let style = Machine.IdentityStyle(rawValue: op.x),
            let digits = Machine.digits(self, Int(op.at)..<Int(op.imm), style)
        else { return false }
        let isAlone = identity.count == 0 && digits.count > 0 && digits.count <= 16
        identity.append(digits.high, digits.low, count: digits.count)
        guard !isAlone else {
            sink.device(DeviceKey(allowed: digits.high, digits.low, count: digits.count))
            return true
        }
        guard let key = identity.deviceKey else { return false }
        sink.device(key)
        return true
    }

    /// The integer of a step. A cursor's, since a machine would be copied for the call.
    @inline(__always)
    fileprivate func integer(_ step: PlanStep) -> UInt64? {
        step.near >= 0 ? near(step) : integer(step.op)
    }

    /// The same, by the eight bytes around it.
    @inline(__always)
    private func near(_ step: PlanStep) -> UInt64? {
        let flags = step.op.flags
        guard let word = word(Int(step.near), isLittle: flags.contains(.little)) else {
            return nil
        }
        let moved = word &<< UInt64(step.left)
        let right = 64 &- 8 &* UInt64(step.op.width)
        return flags.contains(.signed)
            ? UInt64(bitPattern: Int64(bitPattern: moved) &>> Int64(right)) : moved &>> right
    }

    /// The integer at a fixed place.
    @inline(never)
    private func integer(_ op: Op) -> UInt64? {
        let (at, width) = (Int(op.at), Int(op.width))
        let word =
            op.flags.contains(.little)
            ? little(at, width: width) : big(at, width: width)
        guard op.flags.contains(.signed), let word else { return word }
        let shift = UInt64(truncatingIfNeeded: 64 &- 8 &* width)
        return UInt64(bitPattern: Int64(bitPattern: word &<< shift) &>> Int64(shift))
    }
}

extension Machine {
    /// Runs the steps of a plan that fits the frame. False when one fails: then the program must run.
    mutating func follow(
        _ steps: Range<Int>, _ table: PlanTable, _ program: Program, _ sink: inout DecodedFrame
    ) -> Bool {
        var row = steps.lowerBound
        let end = steps.upperBound
        var key = DuplicateHash(seed: work.seed, salt: 0)
        do throws(Rejection) {
            while row < end {
                let step = table.step(row)
                row &+= 1
                if step.plane != plane { turn(to: step.plane) }
                switch step.kind {
                case .number where step.run > 1, .numberUnless where step.run > 1:
                    let first = row &- 1
                    row = first &+ Int(step.run)
                    guard
                        cursor.numbers(
                            first, Int(step.run), table.steps, at: time, into: &sink.readings)
                    else { return false }
                case .number:
                    guard let word = cursor.integer(step) else { return false }
                    yield(word, step, &sink)
                case .numberUnless:
                    guard let word = cursor.integer(step) else { return false }
                    if Int64(bitPattern: word) == step.op.imm {
                        sink.reading(
                            output: step.output, discriminator: step.discriminator,
                            value: .none, quality: .missing, at: time)
                    } else {
                        yield(word, step, &sink)
                    }
                case .digits:
                    guard let word = cursor.integer(step) else { return false }
                    if let number = word.packedDecimal {
                        yield(number, step, &sink)
                    } else {
                        try take(step, program, &sink)
                    }
                case .clock:
                    guard let word = cursor.integer(step) else { return false }
                    if let at = Machine.unixTime(Int64(bitPattern: word), unit: step.op.imm) {
                        time = at
                        sink.stamp(from: firstReading, milliseconds: at)
                    }
                case .identify:
                    if !work.isIdentified {
                        guard cursor.identify(step.op, work.identity, &sink) else {
                            return false
                        }
                    }
                case .keyBytes, .keyInteger, .keyNumber:
                    if step.output & PlanStep.keyBegins != 0 {
                        key = DuplicateHash(seed: work.seed, salt: step.discriminator)
                    }
                    if step.kind == .keyBytes {
                        key.mix(cursor, Int(step.op.at)..<Int(step.op.imm))
                    } else if step.kind == .keyNumber {
                        key.mix(UInt64(bitPattern: step.op.imm))
                    } else {
                        guard let word = cursor.integer(step) else { return false }
                        key.mix(word)
                    }
                    if step.output & PlanStep.keyEnds != 0 { sink.duplicate(key.value) }
                case .take: try take(step, program, &sink)
                case .op: try follow(step, program, &sink)
                case .inside: guard isPlain(step.op) else { return false }
                case .sum:
                    guard let sum = cursor.sum8(Int(step.op.at)..<Int(step.op.meta)),
                        sum == cursor.byte(Int(step.op.imm))
                    else { return false }
                case .checksum:
                    let rule = program.checksums[Int(step.op.meta)]
                    guard rule.holds(cursor, start: Int(step.op.at), end: Int(step.op.imm)) == true
                    else { return false }
                case .crc:
                    guard case .crc16(let rule) = program.checksums[Int(step.op.meta)].kind,
                        let sum = cursor.crc16(Int(step.op.a)..<Int(step.op.b), rule: rule),
                        let found = cursor.integer(step), found == UInt64(sum)
                    else { return false }
                }
            }
            return true
        } catch { return false }
    }

    private mutating func turn(to number: UInt8) {
        cursor = cursor(ofPlane: number)
        plane = number
        start = 0
        limit = cursor.count
    }

    @inline(__always)
    private func yield(_ word: UInt64, _ step: PlanStep, _ sink: inout DecodedFrame) {
        sink.reading(
            output: step.output, discriminator: step.discriminator,
            value: Value(kind: .decimal, exponent: step.exponent, bits: word), quality: Quality(),
            at: time)
    }

    /// The commonest: an integer or BCD field that is a reading.
    @inline(__always)
    private mutating func take(
        _ step: PlanStep, _ program: Program, _ sink: inout DecodedFrame
    ) throws(Rejection) {
        let slot: Slot
        if step.op.code == .readInteger {
            slot = try integer(step.op)
        } else {
            slot = try bcd(step.op)
        }
        yield(slot, step, program, &sink)
    }

    @inline(__always)
    private func yield(
        _ slot: Slot, _ step: PlanStep, _ program: Program, _ sink: inout DecodedFrame
    ) {
        let value = program.values[Int(step.rule)].value(slot, slots)
        var quality = Quality(rawValue: slot.quality)
        if value.kind == .none, quality.isEmpty { quality = .missing }
        sink.reading(
            output: step.output, discriminator: step.discriminator, value: value, quality: quality,
            at: time)
    }

    private mutating func follow(
        _ step: PlanStep, _ program: Program, _ sink: inout DecodedFrame
    ) throws(Rejection) {
        let op = step.op
        switch op.code {
        case .readInteger: try readInteger(op)
        case .readOrdered: try readOrdered(op)
        case .readFloat: try readFloat(op)
        case .readBCD: try readBCD(op)
        case .readBytes: try readBytes(op)
        case .readTime: try readTime(op, program.times[Int(op.meta)])
        case .bits: takeBits(op)
        case .missing: markMissing(op)
        case .toTime: toTime(op)
        case .constant: slots.setValue(op.imm, at: op.a)
        case .copy: slots[op.a] = slots[op.b]
        case .enterRegion:
            let scratch = work.planes[Int(op.x)]
            let range = Int(op.at)..<Int(op.at) &+ Int(op.imm)
            guard
                scratch.transform(
                    cursor, range, rule: program.transforms[Int(op.meta)], below: plane)
            else { throw .oversized }
        case .enterHex:
            let scratch = work.planes[Int(op.x)]
            let range = Int(op.at)..<Int(op.at) &+ Int(op.imm)
            let decoded =
                step.op.flags.contains(.signed)
                ? scratch.decodeBase64(cursor, range, below: plane)
                : scratch.decodeHex(cursor, range, below: plane)
            guard decoded != nil else { throw .malformed }
        case .enterScope:
            guard work.scopes.push(Scope(firstReading: firstReading, time: time), &scopeDepth)
            else { throw .tooDeep }
            firstReading = sink.readingCount
            time = nil
        case .leaveScope: leaveScope(&sink)
        case .emit: yield(slots[op.a], step, program, &sink)
        case .observe: observe(op, &sink)
        case .control: sink.control()
        case .identityText:
            if !work.isIdentified {
                for i in 0..<Int(op.imm) {
                    work.identity.append(program.literals[Int(op.meta) &+ i])
                }
            }
        case .identitySlot: appendIdentity(op)
        case .identityEnd: try endIdentity(&sink)
        case .duplicate: duplicate(op, &sink)
        case .answerText:
            for i in 0..<Int(op.imm) { sink.answer(program.literals[Int(op.meta) &+ i]) }
        case .answerSlot: answerSlot(op, &sink)
        case .answerDigits: answerDigits(op, &sink)
        case .answerFrame: sink.answerFrame(program.frames[Int(op.meta)])
        case .answerChecksum: sink.answerChecksum(program.checksums[Int(op.meta)])
        default: throw .malformed
        }
    }
}
