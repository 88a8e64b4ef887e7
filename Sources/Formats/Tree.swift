// The explaining sink: builds the field tree with byte offsets while the engine runs. Slow path: it
// allocates as it likes.

import Model

struct TreeBuilder: FrameSink {
    /// Readings as the hot sink would have them.
    var frame = DecodedFrame()
    /// The first fault that the framing found; decoding stops there, explaining may go on.
    var refusal: Refusal?
    /// Framing fields that are shown only if the layout shows their bytes nowhere.
    var spare: [FieldNode] = []
    let program: Program
    /// Open nodes, outermost first.
    private var open: [FieldNode]

    struct Refusal {
        var rejection: Rejection
        /// Offset in the bytes given.
        var at: Int
        /// Says what was expected.
        var reason: String
    }

    init(_ program: Program, name: String, count: Int) {
        self.program = program
        open = [FieldNode(name: name, bytes: 0..<count, value: .object)]
    }

    /// The root, with everything that is still open closed, every byte shown, and its fields in the
    /// order of their bytes.
    mutating func finish() -> FieldNode {
        while open.count > 1 { close() }
        complete(&open[0])
        return open[0]
    }

    var openNode: FieldNode { open[open.count - 1] }

    // MARK: Readings

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
    mutating func answerCount(at: Int, from: Int, digits: Int) {
        frame.answerCount(at: at, from: from, digits: digits)
    }
    mutating func answerFrame(_ rule: FrameRule) { frame.answerFrame(rule) }
    mutating func part(_ part: FramePart) { frame.part(part) }

    // MARK: Tree

    mutating func open(_ group: Int, machine: Machine) {
        let rule = program.groups[group]
        let at = TreeBuilder.origin(machine, machine.plane, machine.position)
        open.append(
            FieldNode(
                name: rule.name, bytes: at..<at, value: rule.kind == .list ? .list : .object,
                note: rule.note))
    }

    static var explains: Bool { true }

    mutating func leaf(
        _ name: String, _ range: Range<Int>, _ value: FieldValue, unit: String, note: String,
        machine: Machine
    ) {
        add(
            FieldNode(
                name: name, bytes: TreeBuilder.origin(machine, machine.plane, range), value: value,
                unit: unit, note: note))
    }

    mutating func openObject(_ name: String, at position: Int, machine: Machine) {
        open(name, .object, TreeBuilder.origin(machine, machine.plane, position))
    }

    mutating func openList(_ name: String, at position: Int, machine: Machine) {
        open(name, .list, TreeBuilder.origin(machine, machine.plane, position))
    }

    private mutating func open(_ name: String, _ value: FieldValue, _ at: Int) {
        open.append(FieldNode(name: name, bytes: at..<at, value: value))
    }

    mutating func close() {
        guard open.count > 1 else { return }
        var node = open.removeLast()
        // A computed child without bytes says nothing of where its siblings stand.
        let onWire = node.children.filter { !$0.bytes.isEmpty }
        let placed = onWire.isEmpty ? node.children : onWire
        if let first = placed.map(\.bytes.lowerBound).min(),
            let last = placed.map(\.bytes.upperBound).max()
        {
            node.bytes = first..<last
        }
        // A list of an object that is opened again goes on where it was; elements of lists have no names.
        if node.value == .list, open[open.count - 1].value != .list,
            let at = open[open.count - 1].children.firstIndex(where: {
                $0.name == node.name && $0.value == .list
            })
        {
            let before = open[open.count - 1].children[at].bytes
            node.bytes =
                min(
                    before.lowerBound, node.bytes.lowerBound)..<max(
                    before.upperBound, node.bytes.upperBound)
            node.children = open[open.count - 1].children[at].children + node.children
            open[open.count - 1].children.remove(at: at)
        }
        add(node)
    }

    mutating func computed(over range: Range<Int>, machine: Machine) {
        let last = open.count - 1
        guard let child = open[last].children.indices.last else { return }
        let scope = over(TreeBuilder.origin(machine, machine.plane, range))
        open[last].children[child].note = "over \(scope)"
    }

    mutating func structure(_ name: String, _ range: Range<Int>, machine: Machine) {
        if refusal != nil, range.upperBound > machine.cursor.count { return }
        add(
            FieldNode(
                name: name, bytes: TreeBuilder.origin(machine, machine.plane, range),
                value: .bytes(machine.cursor.bytes(range)), isContent: false))
    }

    mutating func key(_ name: Range<Int>, in range: Range<Int>, machine: Machine) {
        if refusal != nil, range.upperBound > machine.cursor.count { return }
        let text = GB18030.text(machine.cursor.bytes(name))
        add(
            FieldNode(
                name: text.isEmpty ? "separator" : "key",
                bytes: TreeBuilder.origin(machine, machine.plane, range),
                value: .text(text.isEmpty ? GB18030.text(machine.cursor.bytes(range)) : text),
                isContent: false))
    }

    mutating func entered(
        _ rule: FrameRule, from: Int, _ range: Range<Int>, machine: Machine
    ) {
        _ = showLengthFields(rule, machine: machine)
    }

    mutating func show(
        _ row: Int, slot: Slot, discriminator: UInt64, machine: Machine
    ) {
        let rule = program.shows[row]
        let range = Int(slot.start)..<max(Int(slot.start), Int(slot.end))
        let bytes = machine.cursor(ofPlane: slot.plane)
        // A frame that was cut: the field is not all there.
        if refusal != nil, range.upperBound > bytes.count { return }
        var node = FieldNode(
            name: rule.name.text(discriminator, tables: program.tables),
            bytes: TreeBuilder.origin(machine, slot.plane, range), value: .null,
            unit: rule.unit.text(discriminator, tables: program.tables), note: rule.note,
            isContent: rule.isContent)
        if case .template(let template) = rule.display {
            let at = source(row, machine) ?? open[open.count - 1].children.last?.bytes.lowerBound
            let here = at ?? TreeBuilder.origin(machine, machine.plane, machine.position)
            node.bytes = here..<here
            node.value = .text(template.text(discriminator, tables: program.tables))
            add(node)
            return
        }
        if case .summary(let format) = rule.display { return summarize(format) }
        if range.isEmpty, let at = source(row, machine) { node.bytes = at..<at }
        fill(&node, rule, slot, bytes, range, machine)
        if rule.list.isEmpty {
            add(node)
            if rule.isBeside { showBeside(node, slot) }
        } else {
            add(element(node, rule, slot, bytes.bytes(range), machine), toList: rule.list)
        }
    }

    private func fill(
        _ node: inout FieldNode, _ rule: ShowRule, _ slot: Slot, _ bytes: Cursor,
        _ range: Range<Int>, _ machine: Machine
    ) {
        let wire = bytes.bytes(range)
        switch rule.display {
        case .hex where slot.kind == .bytes:
            node.value = .bytes(rule.isReversed ? wire.reversed() : wire)
        case .text:
            var end = wire.count
            while end > 0, wire[end - 1] == 0 || wire[end - 1] == 0x20 { end -= 1 }
            node.value = .text(String(decoding: wire[..<end], as: UTF8.self))
        case .chineseText: node.value = .text(GB18030.text(wire))
        case .bits(let words):
            node.value = .object
            node.children = words.map {
                FieldNode(
                    name: $0.name, bytes: node.bytes,
                    value: .boolean(slot.value >> Int64($0.bit) & 1 == 1))
            }
        case .digits:
            let digits = FieldNode.hex(wire)
            node.value = .text(
                rule.isOdd ? String(digits.dropFirst()) : String(digits.drop { $0 == "f" }))
        case .elements(let width, let isLittle, let isSigned):
            let count = width == 0 ? Int(machine.slots.value(rule.count)) : range.count / width
            node.value = .list
            node.children = (0..<max(0, min(count, range.count * 8))).map {
                TreeBuilder.element($0, width, isLittle, isSigned, bytes, range, machine)
            }
        default: node.value = number(rule, slot, machine, &node)
        }
    }

    private static func element(
        _ i: Int, _ width: Int, _ isLittle: Bool, _ isSigned: Bool, _ bytes: Cursor,
        _ range: Range<Int>, _ machine: Machine
    ) -> FieldNode {
        let at = range.lowerBound + (width == 0 ? i / 8 : i * width)
        var value = FieldValue.null
        if width == 0 {
            value = .boolean((bytes.byte(at) ?? 0) >> UInt8(i % 8) & 1 == 1)
        } else if let word = isLittle
            ? bytes.little(at, width: width) : bytes.big(at, width: width)
        {
            let shift = UInt64(64 - 8 * width)
            let signed = Int64(bitPattern: word << shift) >> Int64(shift)
            let isLarge = !isSigned && word > UInt64(Int64.max)
            value =
                isLarge
                ? .unsigned(word) : .number(.decimal(isSigned ? signed : Int64(word)))
        }
        return FieldNode(name: "\(i)", bytes: at..<at + max(1, width), value: value)
    }

    private func number(
        _ rule: ShowRule, _ slot: Slot, _ machine: Machine, _ node: inout FieldNode
    ) -> FieldValue {
        if slot.kind == .none { return .null }
        switch rule.display {
        case .hex:
            let digits = String(UInt64(bitPattern: slot.value), radix: 16)
            let zeros = max(0, rule.width * 2 - digits.count)
            return .text(String(repeating: "0", count: zeros) + digits)
        case .boolean: return .boolean(slot.value != 0)
        case .time(let time): return .time(TreeBuilder.time(slot.value, time))
        case .table(let table):
            let code = UInt64(bitPattern: slot.value)
            if let word = program.tables[table].text(for: code, column: "") { return .text(word) }
            node.note = "code without a word"
            return .number(.decimal(slot.value))
        case .flags(let words):
            node.children = words.enumerated().filter { slot.value >> Int64($0.offset) & 1 == 1 }
                .map { FieldNode(name: $0.element, bytes: node.bytes, value: .text($0.element)) }
            return .list
        default:
            let hasRule =
                rule.value.multiplier != 1 || rule.value.addend != 0 || rule.value.exponent != 0
                || rule.value.divisor != SlotFile.none
            if slot.kind == .unsigned, !hasRule { return .unsigned(UInt64(bitPattern: slot.value)) }
            if rule.value.kind == .code { return .number(.decimal(slot.value)) }
            let value = rule.value.value(slot, machine.slots)
            return value.kind == .none ? .null : .number(value)
        }
    }

    private static func time(_ milliseconds: Int64, _ rule: TimeRule?) -> String {
        guard let rule else { return Timestamp(milliseconds: milliseconds).iso8601 }
        let text = Timestamp(milliseconds: milliseconds).iso8601(offsetMinutes: rule.zoneMinutes)
        if rule.hasDate, rule.hasTime { return text }
        let halves = text.split(separator: "T").map(String.init)
        return rule.hasDate ? halves.first ?? "" : halves.last ?? ""
    }

    /// `{name, value, unit, raw?, quality?}` and the members that the field adds.
    private func element(
        _ node: FieldNode, _ rule: ShowRule, _ slot: Slot, _ wire: [UInt8],
        _ machine: Machine
    ) -> FieldNode {
        var value = node
        value.name = "value"
        value.isContent = true
        var result = FieldNode(
            name: node.name, bytes: node.bytes, value: .object, unit: node.unit, note: node.note,
            children: [
                FieldNode(name: "name", bytes: node.bytes, value: .text(node.name)), value,
            ])
        func add(_ name: String, _ value: FieldValue) {
            result.children.append(FieldNode(name: name, bytes: node.bytes, value: value))
        }
        if slot.kind == .none, slot.quality != 0 {
            add("raw", .bytes(wire))
            add("quality", .text(Quality(rawValue: slot.quality).description))
        }
        for extra in rule.extras {
            add(extra.name, .number(.decimal(machine.slots.value(extra.slot))))
        }
        if !node.unit.isEmpty { add("unit", .text(node.unit)) }
        return result
    }

    mutating func add(_ node: FieldNode) {
        // The layout of a frame that was cut may stand behind the bytes that are there.
        var node = node
        node.bytes = node.bytes.clamped(to: open[0].bytes)
        open[open.count - 1].children.append(node)
    }

    /// Lists stand in the innermost open object; the first element makes them.
    private mutating func add(_ node: FieldNode, toList name: String) {
        let last = open.count - 1
        if let at = open[last].children.firstIndex(where: { $0.name == name && $0.value == .list })
        {
            open[last].children[at].children.append(node)
            let before = open[last].children[at].bytes
            open[last].children[at].bytes =
                min(
                    before.lowerBound, node.bytes.lowerBound)..<max(
                    before.upperBound, node.bytes.upperBound)
        } else {
            open[last].children.append(
                FieldNode(name: name, bytes: node.bytes, value: .list, children: [node]))
        }
    }

    // MARK: Offsets

    /// Where the wire field starts that the value of a row without own bytes comes from.
    private func source(_ row: Int, _ machine: Machine) -> Int? {
        guard program.sources[row] != SlotFile.none else { return nil }
        let slot = machine.slots[program.sources[row]]
        guard slot.end > slot.start else { return nil }
        return TreeBuilder.origin(machine, slot.plane, Int(slot.start))
    }

    /// Bytes of the frame that a range of a plane came from.
    static func origin(
        _ machine: Machine, _ plane: UInt8, _ range: Range<Int>
    ) -> Range<Int> {
        let low = origin(machine, plane, range.lowerBound)
        return low..<max(low, origin(machine, plane, range.upperBound))
    }

    static func origin(_ machine: Machine, _ plane: UInt8, _ offset: Int) -> Int {
        var offset = offset
        var plane = plane
        // A body put together stands in no single frame.
        if plane == Machine.wholePlane { return 0 }
        while plane > 0 {
            let scratch = machine.work.planes[Int(plane) - 1]
            switch scratch.map {
            case .same: break
            case .hex(let base): offset = base + 2 * offset
            case .base64(let base): offset = base + offset / 3 * 4 + offset % 3
            case .spread(let layout): offset = layout.origin(offset)
            case .escaped(let base, let escape):
                offset = machine.cursor(ofPlane: scratch.below)
                    .escaped(offset, from: base, escape: escape)
            }
            plane = scratch.below
        }
        return offset
    }
}
