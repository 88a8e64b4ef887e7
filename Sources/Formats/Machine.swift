// The one engine: runs a compiled format over one frame. Generic over its sink, so the compiler makes
// two of it: readings for the hot path, a field tree for people. Owned by one decoder; allocates
// nothing itself. Ends always: jumps go forward except `next`, which demands progress.

import Model

/// What a run yields to. The hot sink is `DecodedFrame`, the explaining one `TreeBuilder`.
protocol FrameSink {
    var readingCount: Int { get }
    mutating func reading(
        output: UInt16, discriminator: UInt64, value: Value, quality: Quality, at: Int64?)
    /// Gives readings from number `first` on that have no time yet this one.
    mutating func stamp(from first: Int, milliseconds: Int64)
    mutating func control()
    /// The payload is enciphered and there is no key for it here.
    mutating func seal()
    mutating func device(_ key: DeviceKey)
    mutating func duplicate(_ key: UInt64)
    mutating func answer(_ byte: UInt8)
    mutating func answerChecksum(_ rule: ChecksumRule)
    /// Makes the answer so far what stands between a frame's delimiters.
    mutating func answerFrame(_ rule: FrameRule)
    mutating func answerCount(at: Int, from: Int, digits: Int)
    mutating func part(_ part: FramePart)
    mutating func asks(_ number: Int, _ value: Int64)
    mutating func answers(_ pairing: Pairing)

    /// True for the sink that explains; what only people read is worked out behind this question.
    static var explains: Bool { get }
    /// A field that a codec found in `range` of the current bytes.
    mutating func leaf(
        _ name: String, _ range: Range<Int>, _ value: FieldValue, unit: String, note: String,
        machine: Machine)
    /// The device of the last `device` counts everywhere, whatever the format says of its identities.
    mutating func identityIsGlobal()
    /// True for sinks that can take back what a codec yielded.
    static var forgets: Bool { get }
    mutating func mark() -> SinkMark
    mutating func forget(since mark: SinkMark)
    /// The time of the last reading is relative to the frame's arrival.
    mutating func timeIsRelative()
    mutating func openObject(_ name: String, at position: Int, machine: Machine)
    mutating func openList(_ name: String, at position: Int, machine: Machine)

    /// True for the sink that makes plans; it is told of every instruction and, as the one that
    /// explains, of every frame found.
    static var records: Bool { get }
    mutating func willRun(_ op: Op, _ machine: Machine)
    mutating func entered(
        _ rule: FrameRule, from: Int, _ range: Range<Int>, machine: Machine)

    mutating func show(
        _ rule: Int, slot: Slot, discriminator: UInt64, machine: Machine)
    mutating func open(_ group: Int, machine: Machine)
    mutating func close()
    mutating func structure(_ name: String, _ range: Range<Int>, machine: Machine)
    /// What names the value that stands behind it: `name` and the marks about it, in `range`.
    mutating func key(_ name: Range<Int>, in range: Range<Int>, machine: Machine)
    /// The structure shown last is computed over the bytes of `range`.
    mutating func computed(over range: Range<Int>, machine: Machine)
    /// The framing does not accept the bytes of `range`. True when the sink wants the layout run all
    /// the same and has made `machine` enter the frame's body.
    mutating func goesOn(
        after verdict: Machine.Judgement, _ rule: FrameRule, _ range: Range<Int>,
        machine: inout Machine
    ) -> Bool
}

extension FrameSink {
    static var records: Bool { false }
    mutating func computed(over range: Range<Int>, machine: Machine) {}
    mutating func key(_ name: Range<Int>, in range: Range<Int>, machine: Machine) {}
    mutating func willRun(_ op: Op, _ machine: Machine) {}
    mutating func entered(
        _ rule: FrameRule, from: Int, _ range: Range<Int>, machine: Machine
    ) {}

    mutating func leaf(
        _ name: String, _ range: Range<Int>, _ value: FieldValue, _ machine: Machine
    ) {
        leaf(name, range, value, unit: "", note: "", machine: machine)
    }
}

struct Machine {
    static let maximumReadings = 512

    let frame: Cursor
    /// Of the decoder; by its address, since a machine is made for each frame.
    private let workspace: Cell<Workspace>
    @inline(__always)
    var work: Workspace { workspace.value }
    let slots: SlotFile
    let direction: Direction
    /// The bytes are one whole datagram.
    let isExact: Bool

    var cursor: Cursor
    var plane: UInt8 = 0
    var position = 0
    var start = 0
    var limit = 0
    /// What reading past `limit` means here.
    var overrun = Rejection.truncated
    /// A body put together from its parts, in place of the one in the frame.
    var whole: Cursor?
    var firstReading = 0
    var time: Int64?
    var regionDepth = 0
    var scopeDepth = 0

    init(_ frame: Cursor, work: Cell<Workspace>, direction: Direction, isExact: Bool) {
        self.frame = frame
        workspace = work
        slots = work.value.slots
        self.direction = direction
        self.isExact = isExact
        cursor = frame
        limit = frame.count
    }

    /// Runs a list from `entry` to `end`. Returns the value of `end`'s slot (lengths use it).
    mutating func run<S: FrameSink>(
        _ program: Program, _ list: Program.List, entry: Int, into sink: inout S
    ) throws(Rejection) -> Int64 {
        let ops = program.ops(list)
        let slots = self.slots
        var pc = entry
        while true {
            let op = ops[pc]
            pc &+= 1
            if S.records { sink.willRun(op, self) }
            switch op.code {
            case .skip: _ = try place(op, Int(op.imm))
            case .readInteger: try readInteger(op)
            case .readOrdered: try readOrdered(op)
            case .readFloat: try readFloat(op)
            case .readBCD: try readBCD(op)
            case .readBytes: try readBytes(op)
            case .readTime: try readTime(op, program.times[Int(op.meta)])
            case .readNumber, .readTextTime, .readLongBCD, .placeDecimals, .nextPair, .enterValue,
                .showPair, .answerNumber, .answerCount:
                try runText(op, program, &sink)
            case .bits: takeBits(op)
            case .missing: markMissing(op)
            case .toTime: toTime(op)
            case .constant: slots.setValue(op.imm, at: op.a)
            case .arithmetic:
                guard let result = Machine.operation(op, slots) else { throw .malformed }
                slots.setValue(result, at: op.a)
            case .builtin: slots.setValue(builtin(op.x), at: op.a)
            case .copy: slots[op.a] = slots[op.b]
            case .jump: pc = Int(op.at)
            case .jumpIfZero: if slots.value(op.a) == 0 { pc = Int(op.at) }
            case .jumpUnless:
                guard let result = Machine.operation(op, slots) else { throw .malformed }
                if result == 0 { pc = Int(op.at) }
            case .select: pc = Machine.select(op, program.selects, slots)
            case .loop:
                slots.setValue(0, at: op.a)
            case .test: if try isLoopDone(op) { pc = Int(op.at) }
            case .next:
                try endRound(op)
                pc = Int(op.at)
            case .end: return op.a == SlotFile.none ? 0 : slots.value(op.a)
            case .enterRegion: try enterRegion(op, program)
            case .enterHex: try enterHex(op)
            case .enterFrame: try enterFrame(op, program, &sink)
            case .leave: leave(&sink)
            case .enterScope:
                guard work.scopes.push(Scope(firstReading: firstReading, time: time), &scopeDepth)
                else { throw .tooDeep }
                firstReading = sink.readingCount
                time = nil
            case .leaveScope: leaveScope(&sink)
            case .assertTrue:
                if slots.value(op.a) == 0 { throw refuse(op) }
            case .reject: throw refuse(op)
            case .pack: try pack(op)
            case .emit: try emit(op, program.values[Int(op.meta)], &sink)
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
            case .codec: try runCodec(op, &sink)
            case .ask: sink.asks(Int(op.x), slots.value(op.a))
            case .pair: pair(op, &sink)
            case .moveStart: try moveStart(op)
            case .answerText:
                for i in 0..<Int(op.imm) { sink.answer(program.literals[Int(op.meta) &+ i]) }
            case .answerSlot: answerSlot(op, &sink)
            case .answerDigits: answerDigits(op, &sink)
            case .answerFrame: sink.answerFrame(program.frames[Int(op.meta)])
            case .readUntil: try readUntil(op)
            case .readVarint: try readVarint(op)
            case .part: try part(op, &sink)
            case .enterWhole: try enterWhole(op, program)
            case .answerChecksum: sink.answerChecksum(program.checksums[Int(op.meta)])
            case .show:
                sink.show(
                    Int(op.meta), slot: slots[op.a],
                    discriminator: op.b == SlotFile.none
                        ? 0 : UInt64(bitPattern: slots.value(op.b)),
                    machine: self)
            case .open: sink.open(Int(op.meta), machine: self)
            case .close: sink.close()
            }
        }
    }

    // MARK: Places

    /// Where a read of `width` bytes starts; moves on behind it unless it stands at a fixed place.
    @inline(__always)
    mutating func place(_ op: Op, _ width: Int) throws(Rejection) -> Int {
        if op.at >= 0 {
            let at = start &+ Int(op.at)
            guard width >= 0, at >= 0, at <= limit &- width else { throw overrun }
            return at
        }
        let at = position
        guard width >= 0, at <= limit &- width else { throw overrun }
        position = at &+ width
        return at
    }

    private func refuse(_ op: Op) -> Rejection {
        Rejection(rawValue: op.x) ?? .malformed
    }

    @inline(__always)
    private func builtin(_ code: UInt8) -> Int64 {
        switch Builtin(rawValue: code) ?? .left {
        case .left: Int64(limit &- position)
        case .size: Int64(limit &- start)
        case .position: Int64(position &- start)
        case .up: direction == .up ? 1 : 0
        case .down: direction == .down ? 1 : 0
        case .datagram: isExact ? 1 : 0
        case .whole: whole == nil ? 0 : 1
        case .asked0: slots.value(SlotFile.asked)
        case .asked1: slots.value(SlotFile.asked &+ 1)
        case .asked2: slots.value(SlotFile.asked &+ 2)
        case .asked3: slots.value(SlotFile.asked &+ 3)
        }
    }

    // MARK: Numbers

    @inline(__always)
    private static func operation(_ op: Op, _ slots: SlotFile) -> Int64? {
        let right =
            op.flags.contains(.register)
            ? slots.value(UInt16(truncatingIfNeeded: op.meta)) : op.imm
        return Operator.apply(op.x, slots.value(op.b), right)
    }

    @inline(__always)
    private static func select(
        _ op: Op, _ cases: FixedTable<SelectCase>, _ slots: SlotFile
    ) -> Int {
        let value = slots.value(op.b)
        var row = Int(op.meta)
        let end = row &+ Int(op.imm)
        while row < end {
            let candidate = cases[row]
            let masked = Int64(bitPattern: UInt64(bitPattern: value) & candidate.mask)
            if masked >= candidate.low, masked <= candidate.high { return Int(candidate.target) }
            row &+= 1
        }
        return Int(op.at)
    }

    // MARK: Loops, scopes and regions

    /// a: round number; b: slot with the count, or none. Flag `rest`: stop at the region's end.
    @inline(__always)
    private func isLoopDone(_ op: Op) throws(Rejection) -> Bool {
        let round = slots.value(op.a)
        if op.b != SlotFile.none, round >= slots.value(op.b) { return true }
        if op.flags.contains(.rest), position >= limit { return true }
        if op.width > 0, !hasEntry(op) { return true }
        guard round < op.imm else { throw .badRecord }
        return false
    }

    /// a: round number; b: slot that holds where the round began.
    @inline(__always)
    private func endRound(_ op: Op) throws(Rejection) {
        guard position > Int(slots.value(op.b)) else { throw .malformed }
        slots.setValue(slots.value(op.a) &+ 1, at: op.a)
    }

    mutating func leaveScope<S: FrameSink>(_ sink: inout S) {
        guard let outer = work.scopes.pop(&scopeDepth) else { return }
        if time == nil, let outerTime = outer.time {
            sink.stamp(from: firstReading, milliseconds: outerTime)
        }
        firstReading = outer.firstReading
        time = outer.time
    }

    mutating func push(after: Int) throws(Rejection) {
        let region = Region(
            cursor: cursor, plane: plane, start: start, limit: limit, after: after,
            overrun: overrun.rawValue)
        guard work.regions.push(region, &regionDepth) else { throw .tooDeep }
    }

    /// Count of bytes that `op` asks for: the rest, a slot's value or a fixed number.
    @inline(__always)
    func wanted(_ op: Op) throws(Rejection) -> Int {
        if op.flags.contains(.rest) {
            return op.at >= 0 ? limit &- start &- Int(op.at) : limit &- position
        }
        let count = op.flags.contains(.register) ? slots.value(op.b) : op.imm
        guard count >= 0, count <= 0x00FF_FFFF else { throw overrun }
        return Int(count)
    }

    /// meta: transform; x: its plane.
    mutating func enterRegion(
        _ op: Op, _ program: Program
    ) throws(Rejection) {
        let count = try wanted(op)
        let from = try place(op, count)
        // width 1: a look ahead, from which reading comes back.
        try push(after: op.width == 1 ? from : position)
        if op.meta >= 0 {
            let scratch = work.planes[Int(op.x)]
            let rule = program.transforms[Int(op.meta)]
            guard scratch.transform(cursor, from..<from &+ count, rule: rule, below: plane) else {
                throw .oversized
            }
            cursor = scratch.cursor(count: from &+ count)
            plane = op.x &+ 1
        }
        position = from
        start = from
        limit = from &+ count
        overrun = .badLength
    }

    private mutating func enterHex(_ op: Op) throws(Rejection) {
        let count = try wanted(op)
        let from = try place(op, count)
        let scratch = work.planes[Int(op.x)]
        let decoded =
            op.flags.contains(.signed)
            ? scratch.decodeBase64(cursor, from..<from &+ count, below: plane)
            : scratch.decodeHex(cursor, from..<from &+ count, below: plane)
        guard let decoded else {
            throw .malformed
        }
        try push(after: position)
        cursor = scratch.cursor(count: decoded)
        plane = op.x &+ 1
        position = 0
        start = 0
        limit = decoded
        overrun = .truncated
    }

    /// Finds the frame of another format in the rest of the region and enters its body.
    private mutating func enterFrame<S: FrameSink>(
        _ op: Op, _ program: Program, _ sink: inout S
    ) throws(Rejection) {
        let count = try wanted(op)
        let from = try place(op, count)
        try push(after: position)
        limit = from &+ count
        try enter(program.frames[Int(op.meta)], program, from: from, &sink)
    }

    private mutating func leave<S: FrameSink>(_ sink: inout S) {
        guard let outer = work.regions.pop(&regionDepth) else { return }
        if position < limit { sink.structure("unread", position..<limit, machine: self) }
        cursor = outer.cursor
        plane = outer.plane
        start = outer.start
        limit = outer.limit
        position = outer.after
        overrun = Rejection(rawValue: outer.overrun) ?? .truncated
    }

    /// The bytes of a plane, for slots that were captured in it.
    func cursor(ofPlane number: UInt8) -> Cursor {
        if number == plane { return cursor }
        if number == 0 { return frame }
        if number == Machine.wholePlane { return whole ?? .empty }
        let scratch = work.planes[Int(number) - 1]
        return scratch.cursor(count: scratch.capacity)
    }
}
