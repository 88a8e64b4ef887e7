// The most that decoding one frame can cost: instructions of the hot list on the dearest path through the
// longest frame, with one instruction for each byte that a transform, a hex text, a check value or a
// codec goes over. Worked out once, at load; it holds for hostile bytes as for good ones.
//
// Rounds of a loop are bounded by its maximum and, as each takes a byte that no other round of that loop
// gets again, by the bytes of the frame. So a loop inside a loop adds its own bound instead of
// multiplying: all its rounds together share the frame's bytes.

struct CostBound {
    private let ops: [Op]
    private let program: ProgramParts
    private let bytes: Int

    /// Instructions for one frame of `program`, whose hot list is `ops`.
    static func of(_ ops: [Op], _ program: ProgramParts) -> Int {
        guard let frame = program.frames.first, !ops.isEmpty else { return 0 }
        let bytes = frame.maximum + frame.preambleMaximum
        let bound = CostBound(ops: ops, program: program, bytes: bytes)
        let sums = frame.checksum >= 0 ? bytes : 0
        let passes = ops.count { $0.goesOverBytes && $0.at < 0 }
        return add(
            bound.total(0..<ops.count), program.lengths.count + sums + passes * bytes)
    }

    private init(ops: [Op], program: ProgramParts, bytes: Int) {
        self.ops = ops
        self.program = program
        self.bytes = bytes
    }

    /// The loops directly inside `range`: from their first instruction to behind their `next`.
    private func loops(in range: Range<Int>) -> [Int: Range<Int>] {
        var found: [Int: Range<Int>] = [:]
        var at = range.lowerBound
        while at < range.upperBound {
            if ops[at].code == .test, at + 1 < range.upperBound,
                let next = ops[at..<range.upperBound].indices.first(where: {
                    ops[$0].code == .next && Int(ops[$0].at) == at
                })
            {
                found[at] = at..<next + 1
                at = next + 1
            } else {
                at += 1
            }
        }
        return found
    }

    /// The dearest path through `range`, with everything inside.
    private func total(_ range: Range<Int>) -> Int {
        longest(range) { total(ofLoop: $0) }
    }

    /// All rounds of a loop, and all rounds of the loops inside it.
    private func total(ofLoop range: Range<Int>) -> Int {
        let inside = range.lowerBound + 1..<range.upperBound
        let own = longest(inside) { _ in 1 } + 1
        let rounds = min(bytes, max(1, Int(clamping: ops[range.lowerBound].imm)))
        let inner = loops(in: inside).values.reduce(0) { sum, loop in
            CostBound.add(sum, total(ofLoop: loop))
        }
        return CostBound.add(rounds.multipliedReportingOverflow(by: own).partialValue, inner)
    }

    private func longest(_ range: Range<Int>, loop cost: (Range<Int>) -> Int) -> Int {
        let inner = loops(in: range)
        var costs = [Int](repeating: -1, count: range.count + 1)
        costs[0] = 0
        var most = 0
        func flow(_ value: Int, to pc: Int) {
            most = max(most, value)
            let at = pc - range.lowerBound
            if at >= 0, at < costs.count { costs[at] = max(costs[at], value) }
        }
        var pc = range.lowerBound
        while pc < range.upperBound {
            let before = costs[pc - range.lowerBound]
            if let body = inner[pc] {
                if before >= 0 { flow(CostBound.add(before, cost(body)), to: Int(ops[pc].at)) }
                pc = body.upperBound
                continue
            }
            if before >= 0 {
                let op = ops[pc]
                let after = CostBound.add(before, weight(op))
                if op.code.jumps { flow(after, to: Int(op.at)) }
                if op.code == .select {
                    for row in program.selects[Int(op.meta)..<Int(op.meta) + Int(op.imm)] {
                        flow(after, to: Int(row.target))
                    }
                } else if ![.jump, .reject, .end, .next].contains(op.code) {
                    flow(after, to: pc + 1)
                }
                most = max(most, after)
            }
            pc += 1
        }
        return most
    }

    private func weight(_ op: Op) -> Int {
        switch op.code {
        case .select: 1 + Int(op.imm)
        case .enterFrame: 1 + program.lengths.count
        case .enterRegion, .enterHex: 1 + (op.goesOverBytes && op.at >= 0 ? bytes : 0)
        case .duplicate: 1 + bytes / 8
        case .identityText, .answerText: 1 + Int(op.imm)
        default: 1
        }
    }

    private static func add(_ a: Int, _ b: Int) -> Int { min(a + b, 1 << 48) }
}

extension Op {
    /// Touches each byte of what it takes. Without a fixed place, all its runs together take no byte
    /// twice.
    fileprivate var goesOverBytes: Bool {
        switch code {
        case .enterRegion: meta >= 0
        case .enterHex, .enterFrame, .codec: true
        default: false
        }
    }
}
