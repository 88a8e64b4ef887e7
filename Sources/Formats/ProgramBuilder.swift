// Collects instructions, slots and side tables while a format is compiled, and at the end derives the
// hot list from the full one. Used at load only.

import Model

/// What a name stands for in expressions and templates.
struct Binding {
    enum Style { case number, hex, reversedHex, text, digits, oddDigits }
    var slot: UInt16
    /// Bits that its value needs; for packing names.
    var bits: Int
    /// No value of more than `bits` bits can be in it.
    var isExact = false
    var style = Style.number
}

struct ProgramBuilder {
    enum List { case layout, lengths }

    private(set) var program = ProgramParts()
    private(set) var list = List.layout
    private(set) var ops: [Op] = []
    /// The item that each of `ops` comes from.
    private(set) var places: [Place] = []
    /// The item that is being compiled.
    var place = Place()
    /// Innermost last.
    private(set) var scopes: [[String: Binding]] = [[:]]
    /// Captured fields from 0 upwards, read as 0 when their read was left out.
    private var nextSlot: UInt16 = 0
    /// Results of expressions from the top downwards: written before they are read.
    private var lastTemporary = SlotFile.asked
    private(set) var isOutOfSlots = false

    var here: Int32 { Int32(list == .layout ? ops.count : program.lengths.count) }

    /// No format needs more; files that insert in circles of their own would.
    static let maximum = 32_768
    var isFull: Bool { ops.count >= ProgramBuilder.maximum }

    mutating func select(_ list: List) { self.list = list }

    @discardableResult
    mutating func add(_ op: Op) -> Int {
        if list == .layout {
            ops.append(op)
            places.append(place)
            return ops.count - 1
        }
        program.lengths.append(op)
        return program.lengths.count - 1
    }

    /// Makes the jump at `index` go to the next instruction.
    mutating func land(_ index: Int) { land(index, at: here) }

    mutating func land(_ index: Int, at target: Int32) {
        if list == .layout { ops[index].at = target } else { program.lengths[index].at = target }
    }

    /// Replaces the last instruction when it is what `condition` accepts.
    mutating func replaceLast(_ change: (Op) -> Op?) -> Bool {
        guard let last = list == .layout ? ops.last : program.lengths.last, let new = change(last)
        else { return false }
        if list == .layout {
            ops[ops.count - 1] = new
        } else {
            program.lengths[program.lengths.count - 1] = new
        }
        return true
    }

    // MARK: Slots and names

    mutating func slot(_ count: UInt16 = 1) -> UInt16 {
        guard nextSlot + count < lastTemporary else {
            isOutOfSlots = true
            return 0
        }
        defer { nextSlot += count }
        return nextSlot
    }

    mutating func temporary() -> UInt16 {
        guard nextSlot + 1 < lastTemporary else {
            isOutOfSlots = true
            return SlotFile.asked - 1
        }
        lastTemporary -= 1
        return lastTemporary
    }

    /// Temporaries that hold 0 or 1.
    private var truths = Set<UInt16>()

    /// Lets the last instruction write `slot` when its result is `temporary`, which nothing else
    /// reads then. Not what `? :` ends with: that is one of two instructions with the same result.
    mutating func moveResult(from temporary: UInt16, to slot: UInt16) -> Bool {
        guard temporary >= lastTemporary, temporary < SlotFile.asked else { return false }
        let isMoved = replaceLast { last in
            guard last.code == .arithmetic || last.code == .builtin, last.a == temporary
            else { return nil }
            var moved = last
            moved.a = slot
            return moved
        }
        if isMoved, truths.contains(temporary) { truths.insert(slot) }
        return isMoved
    }

    func isTruth(_ slot: UInt16) -> Bool { truths.contains(slot) }
    mutating func markTruth(_ slot: UInt16) { truths.insert(slot) }

    mutating func bind(_ name: String, _ binding: Binding) {
        scopes[scopes.count - 1][name] = binding
    }

    func binding(_ name: String) -> Binding? {
        for scope in scopes.reversed() {
            if let found = scope[name] { return found }
        }
        return nil
    }

    var names: [String] { scopes.flatMap(\.keys).sorted() }

    mutating func pushScope() { scopes.append([:]) }
    mutating func popScope() { scopes.removeLast() }

    /// Hides all names for a sub-format; give the result to `restore`.
    mutating func isolate() -> [[String: Binding]] {
        defer { scopes = [[:]] }
        return scopes
    }

    mutating func restore(_ saved: [[String: Binding]]) { scopes = saved }

    // MARK: Side tables

    mutating func value(_ rule: ValueRule) -> Int32 {
        program.values.append(rule)
        return Int32(program.values.count - 1)
    }

    mutating func selects(_ rows: [SelectCase]) -> Int32 {
        program.selects += rows
        return Int32(program.selects.count - rows.count)
    }

    mutating func setTarget(ofSelect row: Int32, _ target: Int32) {
        program.selects[Int(row)].target = target
    }

    mutating func transform(_ rule: TransformRule) -> Int32 {
        program.transforms.append(rule)
        return Int32(program.transforms.count - 1)
    }

    mutating func time(_ rule: TimeRule) -> Int32 {
        program.times.append(rule)
        return Int32(program.times.count - 1)
    }

    mutating func frame(_ rule: FrameRule) -> Int32 {
        program.frames.append(rule)
        return Int32(program.frames.count - 1)
    }

    mutating func chain(_ row: Int32, to next: Int32) {
        program.frames[Int(row)].next = Int(next)
    }

    mutating func checksum(_ rule: ChecksumRule) -> Int {
        program.checksums.append(rule)
        return program.checksums.count - 1
    }

    /// An instruction about constant bytes.
    mutating func add(_ code: OpCode, literal bytes: [UInt8]) {
        program.literals += bytes
        add(
            Op(
                code: code, meta: Int32(program.literals.count - bytes.count),
                imm: Int64(bytes.count)))
    }

    mutating func lengthField(_ field: LengthField) { program.lengthFields.append(field) }

    mutating func show(_ rule: ShowRule) -> Int32 {
        program.shows.append(rule)
        return Int32(program.shows.count - 1)
    }

    mutating func group(_ rule: GroupRule) -> Int32 {
        program.groups.append(rule)
        return Int32(program.groups.count - 1)
    }

    mutating func output(_ rule: OutputRule) -> Int {
        program.outputs.append(rule)
        return program.outputs.count - 1
    }

    mutating func table(_ table: Table) -> Int {
        program.tables.append(table)
        return program.tables.count - 1
    }

    mutating func plane() -> Int {
        program.planeCount += 1
        return program.planeCount - 1
    }

    // MARK: The end

    /// Derives the hot list: what only people read goes, reads that nobody uses become skips,
    /// neighbouring skips become one.
    mutating func finish() -> Program {
        program.slotCount = Int(nextSlot)
        program.tree = ops
        var hot = strip(ops, program.selects, keep: ops.map { !$0.code.isForPeople })
        hot = prune(hot)
        hot = skipUnused(hot)
        program.hot = hot
        program.costBound = CostBound.of(hot, program)
        return Program(program)
    }

    /// Selects are shared by both lists, so the hot list gets its own rows.
    private mutating func strip(_ list: [Op], _ rows: [SelectCase], keep: [Bool]) -> [Op] {
        var moved: [Int32] = []
        var count: Int32 = 0
        for kept in keep {
            moved.append(count)
            if kept { count += 1 }
        }
        moved.append(count)
        var result: [Op] = []
        for (i, op) in list.enumerated() where keep[i] {
            var op = op
            if op.code.jumps, op.at >= 0 { op.at = moved[Int(op.at)] }
            if op.code == .select {
                let own = rows[Int(op.meta)..<Int(op.meta) + Int(op.imm)].map { row in
                    var row = row
                    row.target = moved[Int(row.target)]
                    return row
                }
                op.meta = selects(own)
            }
            result.append(op)
        }
        return result
    }

    /// Removes what has no effect until nothing changes: results that nobody reads, jumps to the next
    /// instruction. An instruction that can refuse the frame always stays, so both lists agree.
    private mutating func prune(_ list: [Op]) -> [Op] {
        var result = list
        while true {
            var used = Set<UInt16>()
            for op in result { used.formUnion(op.readSlots(program)) }
            var keep = result.map { op in !(op.isPure && !used.contains(op.a)) }
            for (i, op) in result.enumerated() where op.isPlainJump && Int(op.at) == i + 1 {
                keep[i] = false
            }
            if !keep.contains(false) { return result }
            result = strip(result, program.selects, keep: keep)
        }
    }

    private mutating func skipUnused(_ list: [Op]) -> [Op] {
        var used = Set<UInt16>()
        for op in list { used.formUnion(op.readSlots(program)) }
        var result = list
        for i in result.indices {
            let op = result[i]
            guard !used.contains(op.a), op.at < 0 else { continue }
            if op.code.isPlainRead {
                result[i] = Op(code: .skip, imm: Int64(op.width))
            } else if op.code == .readBytes, op.flags.isEmpty {
                result[i] = Op(code: .skip, imm: op.imm)
            }
        }
        var targets = Set<Int32>()
        for op in result where op.code.jumps { targets.insert(op.at) }
        for op in result where op.code == .select {
            for row in program.selects[Int(op.meta)..<Int(op.meta) + Int(op.imm)] {
                targets.insert(row.target)
            }
        }
        var keep = [Bool](repeating: true, count: result.count)
        var previous = -1
        for i in result.indices {
            guard result[i].code == .skip else {
                previous = -1
                continue
            }
            if previous >= 0, !targets.contains(Int32(i)) {
                result[previous].imm += result[i].imm
                keep[i] = false
            } else {
                previous = i
            }
        }
        return strip(result, program.selects, keep: keep)
    }
}

extension OpCode {
    var jumps: Bool {
        switch self {
        case .jump, .jumpIfZero, .jumpUnless, .select, .test, .next: true
        default: false
        }
    }

    /// A read of `width` bytes that changes nothing but slot a.
    var isPlainRead: Bool {
        self == .readInteger || self == .readOrdered || self == .readFloat || self == .readBCD
    }
}

extension Op {
    /// Writes slot a and can do nothing else, not even refuse.
    fileprivate var isPure: Bool {
        switch code {
        case .constant, .copy, .builtin: true
        case .arithmetic:
            switch Operator(rawValue: x) {
            case .and, .or, .xor, .equal, .unequal, .less, .lessEqual, .greater, .greaterEqual: true
            case .shiftRight, .shiftLeft: !flags.contains(.register) && imm >= 0 && imm <= 62
            case .add, .subtract, .multiply, .divide, .remainder, nil: false
            }
        default: false
        }
    }

    /// A jump whose condition cannot refuse the frame.
    fileprivate var isPlainJump: Bool {
        switch code {
        case .jump, .jumpIfZero: true
        case .jumpUnless: x >= Operator.equal.rawValue
        default: false
        }
    }

    /// Slots that the instruction reads, for finding reads that nobody uses. Changes of a slot
    /// (`bits`, `missing`, `toTime`) count as uses: they are rare and cheap.
    fileprivate func readSlots(_ program: ProgramParts) -> [UInt16] {
        var slots: [UInt16] = []
        switch code {
        case .readBytes, .enterRegion, .enterHex, .enterFrame, .readNumber, .readLongBCD,
            .enterValue:
            slots = [b]
        case .enterWhole: slots = flags.contains(.register) ? [b] : []
        case .placeDecimals: slots = [a, b]
        case .answerNumber: slots = [a]
        case .bits, .missing, .toTime, .jumpIfZero, .end, .assertTrue, .observe, .identitySlot,
            .answerSlot, .ask, .moveStart:
            slots = [a]
        case .answerDigits: slots = [a]
        case .part: slots = [a] + (0..<UInt16(width) &+ 2).map { b &+ $0 }
        case .pair: slots = [a, b]
        case .copy, .select: slots = [b]
        case .arithmetic, .jumpUnless:
            slots = [b]
            if flags.contains(.register) { slots.append(UInt16(truncatingIfNeeded: meta)) }
        case .test, .next, .pack: slots = [a, b]
        case .emit: slots = [a, b, program.values[Int(meta)].divisor]
        case .duplicate: slots = (0..<UInt16(width)).map { b &+ $0 }
        case .skip, .readInteger, .readOrdered, .readFloat, .readBCD, .readTime, .constant,
            .builtin,
            .jump, .loop, .leave, .enterScope, .leaveScope, .reject, .control, .identityText,
            .identityEnd, .codec, .readTextTime, .nextPair, .showPair, .answerCount, .answerFrame,
            .readUntil, .readVarint, .answerText,
            .answerChecksum, .show, .open, .close:
            break
        }
        return slots
    }
}
