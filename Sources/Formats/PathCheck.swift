// Walks a compiled layout once, in the order of its instructions, and knows at each how many bytes of
// the region are taken at least and how long the region is at most. So it finds, at load, what no frame
// could ever satisfy: fields behind the longest frame, fields behind what takes all the rest, rounds
// that take nothing, items that nothing leads to. It complains only of what fails on every path.
//
// Sound because jumps go forward except `next`, and a round only moves forward.

/// Where an item stands in its file.
struct Place: Hashable {
    var file = ""
    var line = 0
    var column = 0
}

struct PathCheck {
    /// A region as one path knows it; outermost first in `State`.
    private struct Region {
        /// Bytes taken at least.
        var least: Int
        /// Bytes that it has at most.
        var most: Int
        /// Something took the rest.
        var isAtEnd = false
        /// One complaint a region is enough.
        var isTold = false
    }

    private typealias State = [Region]

    private let ops: [Op]
    private let places: [Place]
    private let program: ProgramParts
    private var states: [State?]
    private(set) var complaints: [Complaint] = []

    /// What is wrong with `ops`, whose instructions stand for the items at `places`.
    static func complaints(
        _ ops: [Op], _ places: [Place], _ program: ProgramParts
    ) -> [Complaint] {
        var check = PathCheck(ops, places, program)
        check.run()
        return check.complaints
    }

    private init(_ ops: [Op], _ places: [Place], _ program: ProgramParts) {
        self.ops = ops
        self.places = places
        self.program = program
        states = Array(repeating: nil, count: ops.count + 1)
    }

    private mutating func run() {
        guard !ops.isEmpty, let frame = program.frames.first else { return }
        states[0] = [Region(least: 0, most: longestBody(frame, room: .max))]
        var wasReached = true
        for pc in ops.indices {
            guard let state = states[pc], !state.isEmpty else {
                if wasReached, ops[pc].isContent {
                    complain(pc, "nothing leads here", "remove it, or what ends before it")
                    wasReached = false
                }
                continue
            }
            wasReached = true
            step(pc, state)
        }
    }

    private mutating func step(_ pc: Int, _ before: State) {
        let op = ops[pc]
        var state = before
        switch op.code {
        case .reject, .end: return
        case .jump: flow(state, to: Int(op.at))
        case .jumpIfZero, .jumpUnless:
            flow(state, to: Int(op.at))
            flow(state, to: pc + 1)
        case .select:
            flow(state, to: Int(op.at))
            for row in program.selects[Int(op.meta)..<Int(op.meta) + Int(op.imm)] {
                flow(state, to: Int(row.target))
            }
        case .test:
            flow(state, to: pc + 1)
            if op.flags.contains(.rest), op.b == SlotFile.none {
                state[state.count - 1].isAtEnd = true
            }
            flow(state, to: Int(op.at))
        case .next: checkRound(pc, from: Int(op.at))
        case .leave:
            if state.count > 1 { state.removeLast() }
            flow(state, to: pc + 1)
        default:
            take(pc, op, &state)
            flow(state, to: pc + 1)
        }
    }

    // MARK: Bytes

    private mutating func take(_ pc: Int, _ op: Op, _ state: inout State) {
        switch op.code {
        case .readInteger, .readOrdered, .readFloat, .readBCD, .readTime:
            fixed(pc, op, Int(op.width), &state)
        case .readTextTime: fixed(pc, op, 2 * Int(op.width), &state)
        case .enterValue: state.append(Region(least: 0, most: state[state.count - 1].most))
        case .skip: fixed(pc, op, Int(op.imm), &state)
        case .readBytes: _ = amount(pc, op, &state)
        case .enterRegion: state.append(Region(least: 0, most: amount(pc, op, &state)))
        // The answer may begin behind the first register: then offsets count from before it.
        case .moveStart: state[state.count - 1].most += 2 * 0xFFFF
        case .enterHex: state.append(Region(least: 0, most: amount(pc, op, &state) / 2))
        case .enterFrame:
            let room = amount(pc, op, &state)
            let rule = program.frames[Int(op.meta)]
            if forms(rule).allSatisfy({ $0.minimum > room }) {
                complain(
                    pc, "a frame of at least \(rule.minimum) bytes where at most \(room) are left",
                    "raise the maximum, or check what stands before it")
            }
            state.append(
                Region(
                    least: 0, most: longestBody(rule, room: room),
                    isTold: rule.minimum > room))
        default: break
        }
    }

    /// A frame's form and those tried after it.
    private func forms(_ first: FrameRule) -> [FrameRule] {
        var all = [first]
        while let last = all.last, last.next >= 0, all.count <= FormatCompiler.maximumForms {
            all.append(program.frames[last.next])
        }
        return all
    }

    private func longestBody(_ first: FrameRule, room: Int) -> Int {
        forms(first).map { PathCheck.body($0, of: min($0.maximum, room)) }.max() ?? 0
    }

    private static func body(_ rule: FrameRule, of count: Int) -> Int {
        let end = rule.bodyTo > 0 ? min(rule.bodyTo, count) : count + rule.bodyTo
        return max(0, end - max(0, rule.bodyFrom))
    }

    private mutating func fixed(_ pc: Int, _ op: Op, _ width: Int, _ state: inout State) {
        let last = state.count - 1
        let region = state[last]
        let from = op.at >= 0 ? Int(op.at) : region.least
        if !region.isTold, width > 0 {
            if op.at < 0, region.isAtEnd {
                complain(
                    pc, "nothing is left here: what stands before takes the rest",
                    "give a count there, or move this up")
                state[last].isTold = true
            } else if from + width > region.most {
                let what = width == 1 ? "1 byte" : "\(width) bytes"
                complain(
                    pc,
                    "reads \(what) from \(from) on where there are at most \(region.most)",
                    "raise the maximum or the region, or check what stands before")
                state[last].isTold = true
            }
        }
        if op.at < 0 { state[last].least = min(region.least + width, region.most) }
    }

    /// Takes what a run of bytes or a region takes; how many that is at most.
    private mutating func amount(_ pc: Int, _ op: Op, _ state: inout State) -> Int {
        let region = state[state.count - 1]
        let room = max(0, region.most - (op.at >= 0 ? Int(op.at) : region.least))
        if op.flags.contains(.rest) {
            if op.at < 0 { state[state.count - 1].isAtEnd = true }
            return room
        }
        if op.flags.contains(.register) { return room }
        fixed(pc, op, Int(op.imm), &state)
        return min(room, Int(op.imm))
    }

    /// A round must be able to take a byte; the engine refuses the frame when it does not.
    private mutating func checkRound(_ pc: Int, from top: Int) {
        var depth = 0
        for op in ops[top..<pc] {
            switch op.code {
            case .enterRegion, .enterHex, .enterFrame, .enterValue:
                if depth == 0, op.at < 0 { return }
                depth += 1
            case .leave: depth -= 1
            case .codec: return
            case .readBytes, .readInteger, .readOrdered, .readFloat, .readBCD, .readTime, .skip,
                .readUntil, .readNumber, .readTextTime, .readLongBCD, .nextPair:
                if depth == 0, op.at < 0 { return }
            default: break
            }
        }
        complain(pc, "a round takes no byte, so no frame passes", "read a field in it, without at")
    }

    // MARK: Paths

    private mutating func flow(_ state: State, to pc: Int) {
        guard pc >= 0, pc < states.count else { return }
        guard let known = states[pc], known.count == state.count else {
            if states[pc] == nil { states[pc] = state }
            return
        }
        states[pc] = zip(known, state).map { a, b in
            Region(
                least: min(a.least, b.least), most: max(a.most, b.most),
                isAtEnd: a.isAtEnd && b.isAtEnd, isTold: a.isTold || b.isTold)
        }
    }

    private mutating func complain(_ pc: Int, _ what: String, _ suggestion: String) {
        let place = places[pc]
        let complaint = Complaint(
            file: place.file, line: place.line, column: place.column, what: what,
            suggestion: suggestion)
        if !complaints.contains(complaint) { complaints.append(complaint) }
    }
}

extension Op {
    /// What a writer wrote to be read, not how lists and cases are stitched together.
    fileprivate var isContent: Bool {
        switch code {
        case .readInteger, .readOrdered, .readFloat, .readBCD, .readBytes, .readTime, .skip, .show,
            .emit, .enterRegion, .enterHex, .enterFrame, .codec, .reject, .control:
            true
        default: false
        }
    }
}
