// Compiles one format description to a program. Used at load only. Every complaint points at its
// place; compiling goes on after one, so that a writer sees them all.

import Model

/// One parsed file with the name it gives itself, and what it says after `extends`.
struct FormatSource {
    var file: String
    var name: String
    /// Of its text and of what it extends: another one means that something changed.
    var digest: UInt64 = 0
    /// The texts that make `root`, what is extended first.
    private var layers: [[UInt8]]
    private var tree: JSONNode?
    /// Its `extends` has been followed; once more would bring back what it goes without.
    private(set) var isWhole = false

    init(file: String, name: String, root: JSONNode, bytes: [UInt8]) {
        self.file = file
        self.name = name
        digest = FormatSource.digest(bytes)
        layers = [bytes]
        tree = root
    }

    /// What it says, with what it inherits after `extending`.
    var root: JSONNode {
        if let tree { return tree }
        var root: JSONNode?
        for layer in layers {
            // It was parsed before it was kept.
            guard let own = try? JSONNode.parse(layer, file: file) else { continue }
            root = root.map { own.extending($0) } ?? own
        }
        return root ?? JSONNode(content: .null, line: 1, column: 1)
    }

    /// This source over `base`, whose own `extends` is followed already.
    func extending(_ base: FormatSource) -> FormatSource {
        var result = self
        result.digest = digest ^ (base.digest << 1 | base.digest >> 63)
        result.layers = base.layers + layers
        result.tree = root.extending(base.root)
        result.isWhole = true
        return result
    }

    /// The same without its tree, which takes four times the room of its text: asked for again only when
    /// formats are loaded anew.
    var asText: FormatSource {
        var result = self
        result.tree = nil
        return result
    }

    /// FNV-1a: equal everywhere.
    static func digest(_ bytes: [UInt8]) -> UInt64 {
        bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
    }
}

/// What compiling yields besides the program.
struct CompiledFormat {
    var program: Program
    var outputs: [Output]
    var maximumFrame: Int
    var answers: Bool
    var identityIsLocal: Bool
    var duplicateWindowMilliseconds: Int64
    var pairs: Bool
    var requests: [FormatRequest]
}

struct FormatCompiler {
    static let maximumDepth = 4

    var builder = ProgramBuilder()
    var complaints: [Complaint] = []
    let find: (String) -> FormatSource?

    // What belongs to the format that is being compiled; a sub-format has its own.
    var file: String
    var root: JSONNode
    var constants: [String: Int64] = [:]
    var tables: [String: Int] = [:]
    var zoneMinutes = 0
    /// Names of the formats being compiled, outermost first.
    var nesting: [String] = []

    var repeatDepth = 0
    /// A format around this one names the device.
    var isIdentified = false
    var paths = PathTrace()
    /// Which keys each object may have, as far as compiling came.
    private(set) var checked: [CheckedKeys] = []
    var insertDepth = 0
    var isOverlong = false

    var outputs: [Output] = []
    var outputRows: [String: Int] = [:]
    var answers = false
    var identityIsLocal = false
    var duplicateWindow: Int64 = 0
    /// The layout says which answers fit which requests.
    var pairs = false

    init(_ source: FormatSource, find: @escaping (String) -> FormatSource?) {
        self.find = find
        file = source.file
        root = source.root
        nesting = [source.name]
    }

    static let topKeys = [
        "format", "title", "version", "extends", "zone", "constants", "tables", "framing", "layout",
        "inserts", "registers", "words", "identity", "exchange", "tests", "note", "requests",
    ]

    /// Compiles the whole format. Nil when there were complaints.
    mutating func compile() -> CompiledFormat? {
        check(root, FormatCompiler.topKeys)
        prepare()
        // Row 0 is the format's own frame.
        let (row, maximumFrame) = frames()
        precondition(row == 0, "the outer frame is compiled first")
        items(root["layout"], of: root)
        identity(isOuter: true)
        exchange()
        let requests = requests()
        builder.add(Op(code: .end))
        if builder.isOutOfSlots {
            complain(root, "more than \(SlotFile.capacity) fields and expressions", "split it")
        }
        if complaints.isEmpty {
            complaints = PathCheck.complaints(builder.ops, builder.places, builder.program)
        }
        guard complaints.isEmpty else { return nil }
        let program = builder.finish()
        checkCost(program)
        guard complaints.isEmpty else { return nil }
        return CompiledFormat(
            program: program, outputs: outputs,
            maximumFrame: maximumFrame, answers: answers, identityIsLocal: identityIsLocal,
            duplicateWindowMilliseconds: duplicateWindow, pairs: pairs, requests: requests)
    }

    /// Constants, tables and zone of the current `root`.
    mutating func prepare() {
        constants = [:]
        for member in root["constants"]?.members ?? [] {
            if let n = member.value.integer {
                constants[member.key] = Int64(n)
            } else {
                complain(
                    member.value, "constant \"\(member.key)\" is no integer", "write 10 or 0x0A")
            }
        }
        tables = [:]
        for member in root["tables"]?.members ?? [] {
            tables[member.key] = table(member.value, named: member.key)
        }
        zoneMinutes = zone(root["zone"]) ?? 0
    }

    // MARK: Complaints

    mutating func complain(_ node: JSONNode, _ what: String, _ suggestion: String = "") {
        complaints.append(
            Complaint(
                file: file, line: node.line, column: node.column, what: what, suggestion: suggestion
            ))
    }

    mutating func check(_ node: JSONNode, _ allowed: [String]) {
        checked.append(CheckedKeys(line: node.line, column: node.column, keys: allowed))
        guard let members = node.members else {
            complain(node, "\(node.kindName) where an object must stand", "write { … }")
            return
        }
        for member in members where !allowed.contains(member.key) {
            complaints.append(
                Complaint(
                    file: file, line: member.line, column: member.column,
                    what: "unknown key \"\(member.key)\"",
                    suggestion: Suggestion.text(member.key, among: allowed)))
        }
    }

    /// The string under `key`; complains when something else stands there.
    mutating func string(_ node: JSONNode, _ key: String) -> String? {
        guard let value = node[key] else { return nil }
        if value.string == nil {
            complain(value, "\(value.kindName) where \"\(key)\" needs a string", "put it in quotes")
        }
        return value.string
    }

    mutating func integer(_ node: JSONNode, _ key: String) -> Int? {
        guard let value = node[key] else { return nil }
        if let n = value.integer ?? value.string.flatMap({ constants[$0] }).map({ Int($0) }) {
            if n.magnitude <= 0x0FFF_FFFF { return n }
            complain(value, "\"\(key)\" is too large")
            return nil
        }
        complain(value, "\(value.kindName) where \"\(key)\" needs an integer", "write 10 or 0x0A")
        return nil
    }

    mutating func flag(_ node: JSONNode, _ key: String) -> Bool {
        guard let value = node[key] else { return false }
        if value.boolean == nil {
            complain(value, "\(value.kindName) where \"\(key)\" needs true or false", "write true")
        }
        return value.boolean ?? false
    }

    /// One of `words`; the first when the key is absent.
    mutating func word(_ node: JSONNode, _ key: String, _ words: [String]) -> String {
        guard let found = string(node, key) else { return words[0] }
        if !words.contains(found), let value = node[key] {
            complain(
                value, "unknown \(key) \"\(found)\"", Suggestion.text(found, among: words))
        }
        return found
    }

    mutating func rejection(_ node: JSONNode, _ key: String) -> Rejection {
        guard let word = string(node, key), let value = node[key] else { return .malformed }
        if let found = Rejection.allCases.first(where: { $0.code == word }) { return found }
        complain(
            value, "unknown rejection \"\(word)\"",
            Suggestion.text(word, among: Rejection.allCases.map(\.code)))
        return .malformed
    }

    // MARK: Expressions

    mutating func expression(_ text: String, at node: JSONNode) -> Operand {
        do {
            return try ExpressionCompiler.compile(text, constants: constants, into: &builder)
        } catch {
            complain(node, error.what, error.suggestion)
            return .number(0)
        }
    }

    /// A number or an expression under `key`.
    mutating func operand(_ node: JSONNode, _ key: String) -> Operand? {
        guard let value = node[key] else { return nil }
        if let n = value.integer { return .number(Int64(n)) }
        if let text = value.string { return expression(text, at: value) }
        complain(value, "\(value.kindName) where \"\(key)\" needs a number or an expression")
        return nil
    }

    mutating func slot(_ operand: Operand) -> UInt16 {
        switch operand {
        case .slot(let s): return s
        case .number(let n):
            let slot = builder.temporary()
            builder.add(Op(code: .constant, a: slot, imm: n))
            return slot
        }
    }

    /// Emits jumps that are taken when the condition does not hold; land them with `land`. Nil when
    /// there is no condition.
    mutating func jumpUnless(_ node: JSONNode, _ key: String) -> [Int]? {
        guard let value = node[key] else { return nil }
        guard let text = value.string else {
            complain(value, "\(value.kindName) where \"\(key)\" needs an expression", "quote it")
            return nil
        }
        do {
            return try ExpressionCompiler.compileCondition(
                text, constants: constants, into: &builder)
        } catch {
            complain(value, error.what, error.suggestion)
            return nil
        }
    }

    mutating func land(_ jumps: [Int]) {
        for jump in jumps { builder.land(jump) }
    }

    // MARK: Framing

    static let framingKeys = [
        "preamble", "anchors", "fields", "length", "minimum", "maximum", "end", "checksum", "body",
        "note", "probe", "delimiter", "escape", "maximumOnWire", "endElse",
    ]

    /// Compiles `framing`; its fields stay visible in the layout.
    mutating func framing(_ node: JSONNode) -> FrameRule {
        var rule = FrameRule()
        check(node, FormatCompiler.framingKeys)
        if let sum = node["probe"] { rule.probe = builder.checksum(checksum(sum)) }
        if let preamble = node["preamble"] {
            check(preamble, ["byte", "maximum"])
            rule.preamble = integer(preamble, "byte") ?? -1
            rule.preambleMaximum = integer(preamble, "maximum") ?? 4
        }
        anchors(node["anchors"], &rule)
        length(node, &rule)
        rule.minimum = max(rule.minimum, integer(node, "minimum") ?? 1)
        rule.maximum = integer(node, "maximum") ?? 0
        if rule.maximum <= 0 || rule.maximum > 65_536 {
            complain(
                node, "frames are not bounded", "write maximum: the longest frame, at most 65536")
        }
        rule.wireMaximum = rule.maximum
        if node["delimiter"] != nil { delimiter(node, &rule) }
        if let end = node["end"], let bytes = hex(end), bytes.count <= 8 {
            rule.endCount = bytes.count
            rule.endPattern = bytes.reduce(0) { $0 << 8 | UInt64($1) }
            rule.minimum = max(rule.minimum, bytes.count)
            if node["endElse"] != nil { rule.endRejection = rejection(node, "endElse") }
        }
        if let sum = node["checksum"] {
            let check = checksum(sum)
            rule.checksum = builder.checksum(check)
            rule.checksumWidth = check.width
            rule.flagsMismatch = word(sum, "mismatch", ["reject", "flag"]) == "flag"
        }
        if let body = node["body"] {
            check(body, ["from", "to"])
            rule.bodyFrom = integer(body, "from") ?? 0
            rule.bodyTo = integer(body, "to") ?? 0
        }
        return rule
    }

    private mutating func anchors(_ node: JSONNode?, _ rule: inout FrameRule) {
        guard let node else { return }
        guard let list = node.array, list.count <= 4 else {
            complain(node, "anchors must be a list of at most 4")
            return
        }
        for entry in list {
            check(entry, ["at", "bytes", "mask"])
            guard let value = entry["bytes"], let bytes = hex(value), bytes.count <= 8 else {
                complain(entry, "an anchor needs bytes (1 to 8)", "write bytes: \"68\"")
                continue
            }
            var anchor = FrameRule.Anchor()
            anchor.at = integer(entry, "at") ?? 0
            anchor.count = bytes.count
            anchor.pattern = bytes.reduce(0) { $0 << 8 | UInt64($1) }
            if let mask = entry["mask"], let bits = hex(mask) {
                anchor.mask = bits.reduce(0) { $0 << 8 | UInt64($1) }
            }
            rule.anchors[rule.anchorCount] = anchor
            rule.anchorCount += 1
            rule.minimum = max(rule.minimum, anchor.at + anchor.count)
        }
    }

    private mutating func length(_ node: JSONNode, _ rule: inout FrameRule) {
        guard let length = node["length"] else {
            complain(node, "no length", "write length: \"datagram\" or an expression")
            return
        }
        if length.string == "datagram" || length.string == "delimiter" { return }
        builder.select(.lengths)
        rule.lengthEntry = Int(builder.here)
        for field in node["fields"]?.array ?? [] { lengthField(field, entry: rule.lengthEntry) }
        if let cases = length.array {
            for entry in cases {
                check(entry, ["when", "is"])
                let over = jumpUnless(entry, "when")
                finishLength(operand(entry, "is") ?? .number(0))
                if let over { land(over) }
            }
            builder.add(Op(code: .reject, x: Rejection.badHeader.rawValue))
        } else if let n = length.integer {
            finishLength(.number(Int64(n)))
        } else if let text = length.string {
            finishLength(expression(text, at: length))
        } else {
            complain(length, "\(length.kindName) where a length must stand", "write an expression")
        }
        builder.select(.layout)
    }

    private mutating func finishLength(_ operand: Operand) {
        builder.add(Op(code: .end, a: slot(operand)))
    }

    private mutating func lengthField(_ node: JSONNode, entry: Int) {
        check(node, ["name", "at", "type", "when", "bytes", "note"])
        if string(node, "type") == "number" { return lengthNumber(node, entry: entry) }
        guard let name = string(node, "name"), let at = integer(node, "at"),
            let type = string(node, "type"), let kind = WireType(type), !kind.isFloat
        else {
            complain(node, "a framing field needs name, at and an integer type")
            return
        }
        // The slot is bound first: a field that is left out reads as 0.
        let slot = builder.slot()
        let over = jumpUnless(node, "when")
        builder.add(kind.read(into: slot, at: Int32(clamping: max(0, at))))
        if let over { land(over) }
        builder.bind(name, Binding(slot: slot, bits: kind.width * 8))
        builder.lengthField(LengthField(entry: entry, slot: slot, name: name))
    }

    mutating func checksum(_ node: JSONNode) -> ChecksumRule {
        check(node, ["kind", "from", "to", "at", "order", "as", "mismatch"])
        let names = ChecksumRule.kinds.map(\.name)
        let name = word(node, "kind", names)
        let kind = ChecksumRule.kinds.first { $0.name == name }?.kind ?? .sum8
        return ChecksumRule(
            kind: kind, from: integer(node, "from") ?? 0, to: integer(node, "to") ?? 0,
            at: integer(node, "at") ?? 0,
            isLittleEndian: word(node, "order", ["le", "be"]) == "le",
            isText: word(node, "as", ["bytes", "hex"]) == "hex")
    }

    /// Hex digits, spaces allowed.
    mutating func hex(_ node: JSONNode) -> [UInt8]? {
        if let text = node.string, let bytes = HexText.bytes(text), !bytes.isEmpty { return bytes }
        complain(node, "no hex bytes", "write pairs of hex digits: \"68 16\"")
        return nil
    }
}

/// Hex text to bytes.
package enum HexText {
    /// Nil when a character is no hex digit or the count of digits is odd; blanks are ignored.
    package static func bytes(_ text: String) -> [UInt8]? {
        var digits: [UInt8] = []
        for character in text where character != " " {
            guard let digit = character.hexDigitValue else { return nil }
            digits.append(UInt8(digit))
        }
        guard digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

/// An integer or IEEE type of the language: `u16be`, `s24le`, `f32be`, `u8`.
struct WireType {
    var width: Int
    var isSigned: Bool
    var isFloat: Bool
    var isLittle: Bool
    /// No `le` or `be` was written.
    var isOpen: Bool

    init?(_ text: String) {
        guard let first = text.first, "usf".contains(first) else { return nil }
        var rest = text.dropFirst()
        isLittle = rest.hasSuffix("le")
        isOpen = !isLittle && !rest.hasSuffix("be")
        if !isOpen { rest = rest.dropLast(2) }
        guard let bits = Int(rest), bits % 8 == 0, (8...64).contains(bits) else { return nil }
        width = bits / 8
        isSigned = first == "s"
        isFloat = first == "f"
        if isFloat, ![2, 4, 8].contains(width) { return nil }
    }

    static let examples = [
        "u8", "s8", "u16be", "u16le", "s16be", "s16le", "u24be", "u32be", "u32le",
        "s32be", "u48be", "u64be", "f32be", "f32le", "f64be", "bcd", "hex", "ascii", "digits",
        "bools", "time", "number", "varint", "zigzag", "utf8", "gbk", "gb18030",
    ]

    func read(into slot: UInt16, at: Int32) -> Op {
        var op = Op(code: isFloat ? .readFloat : .readInteger, width: UInt8(width), a: slot, at: at)
        if isLittle { op.flags.insert(.little) }
        if isSigned { op.flags.insert(.signed) }
        return op
    }
}
