// What the explaining path still says of a frame that its framing refuses: anchors, length fields,
// check value and end that are there, where the first fault stands and what was expected in its place;
// and the bytes that nothing explains. Slow path: it allocates as it likes.

import Model

extension TreeBuilder {
    /// A frame as far as it is known: `range` is what is there, `total` how long it says it is.
    private struct Extent {
        var range: Range<Int>
        var total: Int?

        /// Bytes of the whole frame, which may end behind the bytes that are there.
        var whole: Range<Int>? { total.map { range.lowerBound..<range.lowerBound + $0 } }
    }

    mutating func goesOn(
        after verdict: Machine.Judgement, _ rule: FrameRule, _ range: Range<Int>,
        machine: inout Machine
    ) -> Bool {
        var extent = Extent(range: range, total: nil)
        let mismatch = showAnchors(rule, range, machine: machine)
        let announced =
            mismatch == nil && !rule.isDatagram ? announced(rule, range, &machine) : nil
        switch verdict {
        case .good(let total): extent.total = total
        case .bad(let total, _) where total > 0: extent.total = total
        case .no, .incomplete, .bad: extent.total = announced
        }
        let lengthAt = mismatch == nil ? showLengthFields(rule, machine: machine) : nil
        let fault: Refusal
        var isLaidOut = true
        switch verdict {
        case .no(let rejection):
            isLaidOut = false
            fault =
                mismatch
                ?? length(refused: rejection, rule, extent, lengthAt ?? range.lowerBound)
        case .incomplete:
            // Only where nothing foreign stands behind the cut.
            isLaidOut = extent.total != nil && range.upperBound == machine.cursor.count
            fault = Refusal(
                rejection: .truncated, at: range.upperBound, reason: missing(rule, extent))
        case .bad(0, let rejection):
            isLaidOut = extent.total != nil
            fault = delimited(
                rejection, announced: extent.total, range, lengthAt: lengthAt ?? range.lowerBound)
        case .bad(let total, let end) where end == rule.endRejection:
            fault = badEnd(rule, range, total, machine)
        case .bad(let total, let rejection):
            fault = badChecksum(
                rejection, rule, range.lowerBound..<range.lowerBound + total, machine)
        case .good(let total):
            fault = Refusal(
                rejection: .badLength, at: range.lowerBound + total,
                reason: "\(words(range.count - total)) behind the end of the frame")
        }
        if let whole = extent.whole, isLaidOut { showTail(rule, whole, range, machine: machine) }
        record(fault, machine)
        guard isLaidOut, let whole = extent.whole else { return false }
        do throws(Rejection) { try machine.enterBody(rule, whole) } catch { return false }
        return true
    }

    private mutating func record(_ fault: Refusal, _ machine: Machine) {
        guard refusal == nil else { return }
        refusal = fault
        refusal?.at = TreeBuilder.origin(machine, machine.plane, fault.at)
    }

    // MARK: Parts of the framing

    /// Shows the anchors that fit; the first byte that does not is the fault.
    private mutating func showAnchors(
        _ rule: FrameRule, _ range: Range<Int>, machine: Machine
    ) -> Refusal? {
        var mismatch: Refusal?
        for i in 0..<rule.anchorCount {
            let anchor = rule.anchors[i]
            let at = range.lowerBound + anchor.at
            var fitting = 0
            while fitting < anchor.count, at + fitting < range.upperBound {
                let shift = UInt64(8 * (anchor.count - 1 - fitting))
                let mask = UInt8(truncatingIfNeeded: anchor.mask >> shift)
                let expected = UInt8(truncatingIfNeeded: anchor.pattern >> shift)
                guard let found = machine.cursor.byte(at + fitting), found & mask == expected else {
                    break
                }
                fitting += 1
            }
            if fitting > 0 {
                let range = at..<at + fitting
                if anchor.mask == .max {
                    structure("start", range, machine: machine)
                } else {
                    spare.append(framingNode("start", range, machine))
                }
            }
            guard mismatch == nil, fitting < anchor.count, at + fitting < range.upperBound else {
                continue
            }
            let shift = UInt64(8 * (anchor.count - 1 - fitting))
            let mask = UInt8(truncatingIfNeeded: anchor.mask >> shift)
            let expected = FieldNode.hex([UInt8(truncatingIfNeeded: anchor.pattern >> shift)])
            mismatch = Refusal(
                rejection: .badHeader, at: at + fitting,
                reason: "\(FieldNode.hex([machine.cursor.byte(at + fitting) ?? 0])) found, "
                    + "\(expected) expected"
                    + (mask == 0xFF ? "" : " in the bits \(FieldNode.hex([mask]))"))
        }
        return mismatch
    }

    /// The length that the frame says it has. Its fields are read anew: what stands in their slots may be
    /// another frame's that was nested before this one.
    private func announced(
        _ rule: FrameRule, _ range: Range<Int>, _ machine: inout Machine
    ) -> Int? {
        for field in program.lengthFields where field.entry == rule.lengthEntry {
            machine.slots[field.slot] = Slot()
        }
        let found = machine.length(rule, program, from: range.lowerBound, end: range.upperBound)
        if case .success(let total) = found { return total }
        return nil
    }

    /// Keeps the fields that the length comes from, and says where the first of them stands.
    mutating func showLengthFields(
        _ rule: FrameRule, machine: Machine
    ) -> Int? {
        var first: Int?
        for field in program.lengthFields where field.entry == rule.lengthEntry {
            let slot = machine.slots[field.slot]
            guard slot.end > slot.start, slot.plane == machine.plane else { continue }
            let range = Int(slot.start)..<Int(slot.end)
            var node = framingNode(field.name, range, machine)
            node.value =
                slot.kind == .unsigned
                ? .unsigned(UInt64(bitPattern: slot.value)) : .number(.decimal(slot.value))
            node.note = "for the length"
            spare.append(node)
            first = first ?? range.lowerBound
        }
        return first
    }

    /// Check value and end, as far as they are there.
    private mutating func showTail(
        _ rule: FrameRule, _ whole: Range<Int>, _ range: Range<Int>, machine: Machine
    ) {
        if rule.checksum >= 0 {
            let sum = program.checksums[rule.checksum]
            if let places = sum.places(in: whole), places.field.upperBound <= range.upperBound {
                var node = framingNode("checksum", places.field, machine)
                if let expected = sum.wire(machine.cursor, places.over),
                    expected != machine.cursor.bytes(places.field)
                {
                    node.note =
                        "\(FieldNode.hex(expected)) expected, over "
                        + over(TreeBuilder.origin(machine, machine.plane, places.over))
                }
                add(node)
            }
        }
        let end = whole.upperBound - rule.endCount..<whole.upperBound
        let there = end.clamped(to: range)
        guard rule.endCount > 0, !there.isEmpty else { return }
        var node = framingNode("end", there, machine)
        if there == end, machine.cursor.big(end.lowerBound, width: rule.endCount) != rule.endPattern
        {
            node.note = "\(FieldNode.hex(endBytes(rule))) expected"
        }
        add(node)
    }

    // MARK: Faults

    private func badChecksum(
        _ rejection: Rejection, _ rule: FrameRule, _ range: Range<Int>, _ machine: Machine
    ) -> Refusal {
        let sum = program.checksums[rule.checksum]
        guard let places = sum.places(in: range),
            let expected = sum.wire(machine.cursor, places.over)
        else {
            return Refusal(
                rejection: rejection, at: range.lowerBound,
                reason: "too short to hold one")
        }
        return Refusal(
            rejection: rejection, at: places.field.lowerBound,
            reason: "\(FieldNode.hex(machine.cursor.bytes(places.field))) found, "
                + "\(FieldNode.hex(expected)) expected over "
                + over(TreeBuilder.origin(machine, machine.plane, places.over)))
    }

    private func badEnd(
        _ rule: FrameRule, _ range: Range<Int>, _ total: Int, _ machine: Machine
    ) -> Refusal {
        let from = range.lowerBound + total - rule.endCount
        let expected = endBytes(rule)
        let found = machine.cursor.bytes(from..<from + rule.endCount)
        let wrong = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }
        let i = wrong?.offset ?? 0
        return Refusal(
            rejection: rule.endRejection, at: from + i,
            reason: "\(FieldNode.hex([found[i]])) found, \(FieldNode.hex([expected[i]])) expected")
    }

    private func length(
        refused rejection: Rejection, _ rule: FrameRule, _ extent: Extent, _ lengthAt: Int
    ) -> Refusal {
        let total = extent.total ?? extent.range.count
        var reason = ""
        var at = lengthAt
        if rule.isDatagram, rejection == .oversized {
            at = extent.range.lowerBound + rule.maximum
            reason = "\(words(total)), at most \(rule.maximum)"
        } else if extent.total != nil, total > rule.maximum {
            reason = "\(words(total)) announced, at most \(rule.maximum)"
        } else if extent.total != nil, total < rule.minimum {
            reason = "\(words(total)) announced, at least \(rule.minimum)"
        }
        return Refusal(rejection: rejection, at: at, reason: reason)
    }

    private func missing(_ rule: FrameRule, _ extent: Extent) -> String {
        if let total = extent.total {
            return "\(words(total - extent.range.count)) more expected"
        }
        let least = rule.minimum - extent.range.count
        return "at least \(words(max(1, least))) more expected"
    }

    // MARK: Every byte

    /// Shows what the tree lacks: spare framing fields, then the bytes that nothing explains; and
    /// sorts the root's fields by their bytes, one without bytes behind what it comes from.
    func complete(_ root: inout FieldNode) {
        var isShown = [Bool](repeating: false, count: root.bytes.count)
        func mark(_ node: FieldNode) {
            if node.children.isEmpty {
                for i in node.bytes.clamped(to: root.bytes) { isShown[i] = true }
            }
            for child in node.children { mark(child) }
        }
        for child in root.children { mark(child) }
        for node in spare
        where node.bytes.contains(where: { isShown.indices ~= $0 && !isShown[$0] }) {
            root.children.append(node)
            mark(node)
        }
        var at = 0
        while at < isShown.count {
            var end = at
            while end < isShown.count, !isShown[end] { end += 1 }
            if end > at {
                root.children.append(
                    FieldNode(
                        name: "not understood", bytes: at..<end, value: .null, isContent: false))
            }
            at = end + 1
        }
        root.children = root.children.enumerated()
            .sorted {
                ($0.element.bytes.lowerBound, $0.offset) < ($1.element.bytes.lowerBound, $1.offset)
            }
            .map(\.element)
    }

    // MARK: Words

    private func framingNode(
        _ name: String, _ range: Range<Int>, _ machine: Machine
    ) -> FieldNode {
        FieldNode(
            name: name, bytes: TreeBuilder.origin(machine, machine.plane, range),
            value: .bytes(machine.cursor.bytes(range)), isContent: false)
    }

    private func endBytes(_ rule: FrameRule) -> [UInt8] {
        (0..<rule.endCount).map {
            UInt8(truncatingIfNeeded: rule.endPattern >> UInt64(8 * (rule.endCount - 1 - $0)))
        }
    }

    private func words(_ count: Int) -> String { count == 1 ? "1 byte" : "\(count) bytes" }

    func over(_ range: Range<Int>) -> String {
        range.isEmpty ? "no bytes" : "\(range.lowerBound)–\(range.upperBound - 1)"
    }
}
