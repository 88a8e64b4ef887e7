// From what was watched to the steps of a plan: reads that nothing uses fall out, and what belongs
// together becomes one step. Slow path, once a shape.

import Model

extension PlanRecorder {
    /// The steps without reads that nothing uses.
    func needed() -> [PlanStep] {
        var used = Set<UInt16>()
        var kept: [PlanStep] = []
        for step in steps.reversed() {
            let op = step.op
            if step.kind != .op {
                kept.append(step)
                continue
            }
            switch op.code {
            case .readInteger, .readOrdered, .readFloat, .readBCD, .readBytes, .constant:
                guard used.remove(op.a) != nil else { continue }
            case .readTime:
                guard used.contains(op.a) || used.contains(op.b) else { continue }
                used.remove(op.a)
                used.remove(op.b)
            case .bits, .missing, .toTime: guard used.contains(op.a) else { continue }
            case .copy:
                guard used.remove(op.a) != nil else { continue }
                used.insert(op.b)
            case .emit:
                used.insert(op.a)
                used.insert(program.values[Int(op.meta)].divisor)
            case .observe, .identitySlot, .answerSlot, .answerDigits: used.insert(op.a)
            case .duplicate where !op.flags.contains(.rest):
                for i in 0..<UInt16(op.width) { used.insert(op.b &+ i) }
            default: break
            }
            kept.append(step)
        }
        return kept.reversed()
    }

    /// A read whose slot only the yield behind it uses becomes one step with it.
    func fused(_ steps: [PlanStep]) -> [PlanStep] {
        var result: [PlanStep] = []
        for (i, step) in steps.enumerated() {
            if let take = unless(step, behind: result, followedBy: steps[(i + 1)...]) {
                result.removeLast(2)
                result.append(take)
                continue
            }
            guard step.kind == .op, step.op.code == .emit, let last = result.last,
                last.kind == .op, last.plane == step.plane || step.op.a == last.op.a,
                last.op.code == .readInteger || last.op.code == .readBCD,
                last.op.a == step.op.a, !isUsed(step.op.a, in: steps[(i + 1)...])
            else {
                result.append(step)
                continue
            }
            var take = last
            take.kind = .take
            take.output = step.output
            take.rule = step.rule
            take.discriminator = step.discriminator
            shorten(&take)
            result[result.count - 1] = take
        }
        return identified(clocked(result))
    }

    /// A read, one number that stands for no value, and the yield: one step when no rule is needed.
    private func unless(
        _ step: PlanStep, behind: [PlanStep], followedBy rest: ArraySlice<PlanStep>
    ) -> PlanStep? {
        guard step.isOp(.emit), behind.count >= 2,
            case let (read, missing) = (behind[behind.count - 2], behind[behind.count - 1]),
            read.isOp(.readInteger), missing.isOp(.missing),
            read.op.a == step.op.a, missing.op.a == step.op.a, !isUsed(step.op.a, in: rest)
        else { return nil }
        var take = read
        take.output = step.output
        take.rule = step.rule
        take.discriminator = step.discriminator
        shorten(&take)
        guard take.kind == .number else { return nil }
        take.kind = .numberUnless
        take.op.imm = missing.op.imm
        return take
    }

    /// A value that is what was read but for its exponent needs no rule.
    private func shorten(_ take: inout PlanStep) {
        let rule = program.values[Int(take.rule)]
        guard rule.kind == .decimal, rule.multiplier == 1, rule.addend == 0,
            rule.divisor == SlotFile.none
        else { return }
        take.exponent = rule.exponent
        if take.op.code == .readBCD {
            if take.op.x == 0 { take.kind = .digits }
        } else if take.op.width < 8 || take.op.flags.contains(.signed) {
            take.kind = .number
        }
    }

    /// A read, the change to a time and its use become one step.
    private func clocked(_ steps: [PlanStep]) -> [PlanStep] {
        var result: [PlanStep] = []
        for (i, step) in steps.enumerated() {
            guard step.kind == .op, step.op.code == .observe, result.count >= 2,
                case let (read, change) = (result[result.count - 2], result[result.count - 1]),
                read.kind == .op, read.op.code == .readInteger, read.op.a == step.op.a,
                change.kind == .op, change.op.code == .toTime, change.op.a == step.op.a,
                read.op.width < 8 || read.op.flags.contains(.signed),
                !isUsed(step.op.a, in: steps[(i + 1)...])
            else {
                result.append(step)
                continue
            }
            var clock = read
            clock.kind = .clock
            clock.op.imm = change.op.imm
            result.removeLast(2)
            result.append(clock)
        }
        return result
    }

    /// An identity that is the digits of at most eight bytes, and nothing else, becomes one step.
    private func identified(_ steps: [PlanStep]) -> [PlanStep] {
        guard let at = steps.firstIndex(where: { $0.isOp(.identitySlot) }),
            at + 1 < steps.count, steps[at + 1].isOp(.identityEnd),
            !steps.contains(where: { $0.isOp(.identityText) }),
            let style = Machine.IdentityStyle(rawValue: steps[at].op.x),
            style != .number, style != .text,
            let from = steps[..<at].lastIndex(where: {
                $0.isOp(.readBytes) && $0.op.a == steps[at].op.a
            }), (1...8).contains(steps[from].op.imm),
            !steps[(from + 1)..<at].contains(where: { $0.kind == .op && $0.op.a == steps[at].op.a })
        else { return steps }
        let isRead = isUsed(steps[at].op.a, in: steps[(at + 2)...])
        var step = steps[from]
        step.kind = .identify
        step.op.x = steps[at].op.x
        step.op.imm += Int64(step.op.at)
        var result = steps
        result.replaceSubrange(at...at + 1, with: [step])
        if !isRead { result.remove(at: from) }
        return result
    }

    /// The duplicate key is found first, before the check value and the readings: whoever remembers keys
    /// is asked for one while the rest of the frame is read, and memory has time to answer. `steps` as they
    /// are when the key needs more than bytes and integers of the frame.
    func keyFirst(_ steps: [PlanStep]) -> [PlanStep] {
        guard let at = steps.firstIndex(where: { $0.isOp(.duplicate) }),
            !steps[(at + 1)...].contains(where: { $0.isOp(.duplicate) })
        else { return steps }
        var rest = steps
        let key = rest.remove(at: at).op
        if key.flags.contains(.rest) { return [steps[at]] + rest }
        var first: [PlanStep] = []
        for slot in key.b..<(key.b &+ UInt16(key.width)) {
            guard var part = maker(of: slot, in: rest) else { return steps }
            var slots = [slot]
            if part.op.code == .copy {
                slots.append(part.op.b)
                guard let read = maker(of: part.op.b, in: rest) else { return steps }
                part = read
            }
            switch part.op.code {
            case .readBytes:
                part.kind = .keyBytes
                part.op.imm += Int64(part.op.at)
            case .readInteger: part.kind = .keyInteger
            case .constant: part.kind = .keyNumber
            default: return steps
            }
            guard part.plane == 0 else { return steps }
            first.append(part)
            for slot in slots where !isRead(slot, in: rest) {
                rest.removeAll { makes($0, slot) }
            }
        }
        guard !first.isEmpty else { return steps }
        first[0].discriminator = UInt64(bitPattern: key.imm)
        first[0].output |= PlanStep.keyBegins
        first[first.count - 1].output |= PlanStep.keyEnds
        return first + rest
    }

    /// The same for the device: its identity comes behind the key, whose memory is the larger.
    func identityFirst(_ steps: [PlanStep]) -> [PlanStep] {
        guard let at = steps.firstIndex(where: { $0.kind == .identify && $0.plane == 0 }) else {
            return steps
        }
        var result = steps
        let identity = result.remove(at: at)
        let isKey: (PlanStep) -> Bool = {
            $0.kind == .keyBytes || $0.kind == .keyInteger || $0.kind == .keyNumber
                || $0.isOp(.duplicate)
        }
        result.insert(identity, at: result.firstIndex { !isKey($0) } ?? result.count)
        return result
    }

    /// Integers of the frame itself, which has `count` bytes: where the eight bytes around them stand.
    func near(_ steps: [PlanStep], _ count: Int) -> [PlanStep] {
        steps.map { step in
            switch step.kind {
            case .number, .numberUnless, .digits, .clock, .keyInteger, .crc: break
            default: return step
            }
            let (at, width) = (Int(step.op.at), Int(step.op.width))
            let near = min(at, count - 8)
            guard step.plane == 0, (1...8).contains(width), near >= 0, at + width <= count
            else { return step }
            var step = step
            step.near = Int16(near)
            let before = at - near
            step.left = UInt8(
                8 * (step.op.flags.contains(.little) ? 8 - before - width : before))
            return step
        }
    }

    /// Numbers of the frame itself that stand one behind another are yielded together.
    func inRuns(_ steps: [PlanStep]) -> [PlanStep] {
        var result = steps
        var run: UInt8 = 0
        for i in steps.indices.reversed() {
            let isNumber = steps[i].kind == .number || steps[i].kind == .numberUnless
            run = isNumber && steps[i].near >= 0 ? min(run, .max - 1) + 1 : 0
            result[i].run = run
        }
        return result
    }

    /// The only step that puts something into a slot.
    private func maker(of slot: UInt16, in steps: [PlanStep]) -> PlanStep? {
        let makers = steps.filter { makes($0, slot) }
        return makers.count == 1 ? makers[0] : nil
    }

    /// Whether a step puts something into a slot.
    private func makes(_ step: PlanStep, _ slot: UInt16) -> Bool {
        guard step.kind == .op else { return false }
        switch step.op.code {
        case .readInteger, .readOrdered, .readFloat, .readBCD, .readBytes, .readTime, .constant,
            .bits, .missing, .toTime, .copy:
            return step.op.a == slot || step.op.code == .readTime && step.op.b == slot
        default: return false
        }
    }

    /// Whether any step takes something from a slot.
    private func isRead(_ slot: UInt16, in steps: [PlanStep]) -> Bool {
        steps.contains { step in
            let divides = step.kind == .take || step.isOp(.emit)
            if divides, program.values[Int(step.rule)].divisor == slot { return true }
            guard step.kind == .op else { return false }
            if step.op.code == .copy { return step.op.b == slot }
            return step.op.a == slot && !makes(step, slot)
        }
    }

    private func isUsed(_ slot: UInt16, in steps: ArraySlice<PlanStep>) -> Bool {
        for step in steps where step.kind == .op {
            switch step.op.code {
            case .readInteger, .readOrdered, .readFloat, .readBCD, .readBytes, .readTime, .constant:
                if step.op.a == slot { return false }
            case .duplicate:
                let key = step.op.b..<(step.op.b &+ UInt16(step.op.width))
                if !step.op.flags.contains(.rest), key.contains(slot) { return true }
            case .copy: if step.op.b == slot || step.op.a == slot { return true }
            case .emit:
                if step.op.a == slot || program.values[Int(step.op.meta)].divisor == slot {
                    return true
                }
            default: if step.op.a == slot { return true }
            }
        }
        return false
    }
}
