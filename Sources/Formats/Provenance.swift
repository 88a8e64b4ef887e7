// Where computed values come from: a show row without own bytes is shown at the wire field that its
// value, or else the condition it stands under, is computed from. Worked out once, at load.
//
// Sound because slots serve one purpose each: the compiler hands none out twice.

import Model

extension ProgramParts {
    /// The source slot of each row of `shows`, or none.
    func sources() -> [UInt16] {
        var rows = [UInt16](repeating: SlotFile.none, count: shows.count)
        var origins: [UInt16: UInt16] = [:]
        for op in lengths { follow(op, nil, &origins) }
        // Conditions that the instruction stands under, innermost last.
        var conditions: [(end: Int, source: UInt16)] = []
        for (pc, op) in tree.enumerated() {
            conditions.removeAll { $0.end <= pc }
            follow(op, conditions.last?.source, &origins)
            switch op.code {
            case .jumpIfZero, .jumpUnless, .select:
                let tested = op.code == .jumpIfZero ? op.a : op.b
                if let source = origins[tested], Int(op.at) > pc {
                    conditions.append((Int(op.at), source))
                }
            case .show:
                guard op.meta >= 0, Int(op.meta) < rows.count else { continue }
                let row = Int(op.meta)
                if case .template = shows[row].display {
                    rows[row] = origins[op.b] ?? conditions.last?.source ?? SlotFile.none
                } else {
                    rows[row] = origins[op.a] ?? SlotFile.none
                }
            default: break
            }
        }
        return rows
    }

    private func follow(_ op: Op, _ condition: UInt16?, _ origins: inout [UInt16: UInt16]) {
        switch op.code {
        case .readInteger, .readOrdered, .readFloat, .readBCD, .readBytes, .readTime:
            origins[op.a] = op.a
        case .arithmetic, .copy, .pack, .constant:
            guard origins[op.a] == nil else { return }
            let isPair = op.code == .arithmetic && op.flags.contains(.register)
            let second = isPair ? origins[UInt16(truncatingIfNeeded: op.meta)] : nil
            let first = op.code == .constant ? condition : origins[op.b]
            if let origin = first ?? second { origins[op.a] = origin }
        default: break
        }
    }
}
