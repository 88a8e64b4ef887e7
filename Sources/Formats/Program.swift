// What a format compiles to: a flat list of small instructions and the side tables they point into.
// Immutable after compiling and shared by all threads; nothing here holds a reference per frame.
//
// Two lists come from one compilation: `tree` explains (all instructions), `hot` reads (those that
// only describe are left out, reads that nobody uses became skips). Jumps only go forward, except
// `next`, which demands that its round took at least one byte: so every run ends.

import Model

enum OpCode: UInt8, Sendable {
    // Wire reads: from `position` (or region start + at when at >= 0) into slot a.
    case skip, readInteger, readOrdered, readFloat, readBCD, readBytes, readTime
    // Changes of slot a.
    case bits, missing, toTime
    // Numbers: a = b (x) imm, or a = b (x) slot meta when flag `register` is set.
    case constant, arithmetic, builtin, copy
    // Order of execution.
    case jump, jumpIfZero, jumpUnless, select, loop, test, next, end
    // Regions and scopes.
    case enterRegion, enterHex, enterFrame, leave, enterScope, leaveScope
    // Verdicts.
    case assertTrue, reject
    // Meaning.
    case pack, emit, observe, control, identityText, identitySlot, identityEnd, duplicate
    case answerText, answerSlot, answerChecksum
    // Machine+Answers.swift, Machine+Text.swift, Machine+Parts.swift
    case answerDigits, answerFrame, readUntil, readVarint, part, enterWhole
    // Machine+Numbers.swift
    case readNumber, readTextTime, readLongBCD, placeDecimals, nextPair, enterValue
    case answerNumber, answerCount, showPair
    // Built-in decodings (Codecs/).
    case codec
    // Requests and answers (Pairing.swift).
    case ask, pair, moveStart
    // For the tree only.
    case show, open, close

    /// Left out of the hot list.
    var isForPeople: Bool {
        self == .show || self == .open || self == .close || self == .showPair
    }
}

/// One instruction, 24 bytes. What each part means depends on `code` (see `Machine.run`).
struct Op: Sendable {
    var code: OpCode
    var flags: Flags = []
    var width: UInt8 = 0
    var x: UInt8 = 0
    var a: UInt16 = SlotFile.none
    var b: UInt16 = SlotFile.none
    /// Absolute offset in the region, or jump target; -1 none.
    var at: Int32 = -1
    /// Row of a side table; -1 none.
    var meta: Int32 = -1
    var imm: Int64 = 0

    struct Flags: OptionSet, Sendable {
        let rawValue: UInt8
        static let little = Flags(rawValue: 1)
        static let signed = Flags(rawValue: 2)
        /// The operand stands in a slot, not in `imm`.
        static let register = Flags(rawValue: 4)
        /// To the end of the region.
        static let rest = Flags(rawValue: 8)
        /// All bits one means that the device has no value, not that its digits are bad.
        static let onesMissing = Flags(rawValue: 16)
        /// Of several parts, the first comes first.
        static let ordered = Flags(rawValue: 32)
    }
}

/// Operators of expressions; raw values are in `Op.x`.
enum Operator: UInt8, Sendable {
    case add, subtract, multiply, divide, remainder, and, or, xor, shiftLeft, shiftRight
    case equal, unequal, less, lessEqual, greater, greaterEqual

    /// Nil when the result does not fit or divides by zero.
    func apply(_ l: Int64, _ r: Int64) -> Int64? { Operator.apply(rawValue, l, r) }

    /// By raw value, which the engine has at hand.
    @inline(__always)
    static func apply(_ code: UInt8, _ l: Int64, _ r: Int64) -> Int64? {
        switch code {
        case 0: return checked(l.addingReportingOverflow(r))
        case 1: return checked(l.subtractingReportingOverflow(r))
        case 2: return checked(l.multipliedReportingOverflow(by: r))
        case 3: return checked(l.dividedReportingOverflow(by: r))
        case 4: return checked(l.remainderReportingOverflow(dividingBy: r))
        case 5: return l & r
        case 6: return l | r
        case 7: return l ^ r
        case 8: return r < 0 || r > 62 ? nil : l &<< r
        case 9: return r < 0 ? nil : (r > 63 ? l &>> 63 : l &>> r)
        case 10: return l == r ? 1 : 0
        case 11: return l != r ? 1 : 0
        case 12: return l < r ? 1 : 0
        case 13: return l <= r ? 1 : 0
        case 14: return l > r ? 1 : 0
        default: return l >= r ? 1 : 0
        }
    }

    @inline(__always)
    private static func checked(_ r: (partialValue: Int64, overflow: Bool)) -> Int64? {
        r.overflow ? nil : r.partialValue
    }
}

/// Names that every expression knows; raw values are in `Op.x`.
enum Builtin: UInt8, CaseIterable, Sendable {
    /// Bytes left in the region; bytes of the whole region; offset in the region; 1 = device to
    /// server; 1 = server to device; 1 = the bytes are one whole datagram, 0 = part of a stream.
    /// 1 = a body put together from its parts is read. Numbers of the request that this frame answers,
    /// -1 when not known (last: the recorder of plans tells them by their order).
    case left, size, position, up, down, datagram, whole, asked0, asked1, asked2, asked3

    var word: String {
        switch self {
        case .left: "left"
        case .size: "size"
        case .position: "position"
        case .up: "up"
        case .down: "down"
        case .datagram: "datagram"
        case .whole: "whole"
        case .asked0: "asked0"
        case .asked1: "asked1"
        case .asked2: "asked2"
        case .asked3: "asked3"
        }
    }
}

/// How the integer of a slot becomes a value: (slot × multiplier + addend) × 10^exponent ÷ divisor.
struct ValueRule: Sendable {
    enum Kind: UInt8, Sendable { case decimal, boolean, code }

    var kind = Kind.decimal
    var exponent: Int8 = 0
    var multiplier: Int64 = 1
    var addend: Int64 = 0
    /// Slot to divide by, or none.
    var divisor: UInt16 = SlotFile.none
}

/// One row of a `select`: slot & mask in low...high jumps to target.
struct SelectCase: Sendable {
    var mask: UInt64
    var low: Int64
    var high: Int64
    var target: Int32
}

struct TransformRule: Sendable {
    enum Kind: Sendable { case subtract, xor, reverse }
    var kind: Kind
    var constant: UInt8
}

/// A calendar time of one- or two-digit groups, in wire order.
struct TimeRule: Sendable {
    enum Part: UInt8, Sendable {
        case year, century, month, day, weekday, hour, minute, second, skip
    }

    /// Up to 12 parts, four bits each, first part lowest.
    var parts: UInt64 = 0
    var count = 0
    var isBCD = true
    /// Minutes east of UTC that the device's clock runs at.
    var zoneMinutes = 0
    var hasDate = false
    var hasTime = false
}

/// How to find one frame.
struct FrameRule: Sendable {
    struct Anchor: Sendable {
        var at = 0
        var count = 0
        /// Most significant byte first, `count` (1...8) bytes.
        var pattern: UInt64 = 0
        var mask: UInt64 = .max
    }

    /// Byte that may be repeated before the frame, -1 none.
    var preamble = -1
    var preambleMaximum = 0
    var anchors: [4 of Anchor] = InlineArray(repeating: Anchor())
    var anchorCount = 0
    /// Where in `Program.lengths` the instructions for the length start, -1: the datagram's end is
    /// the frame's.
    var lengthEntry = -1
    var minimum = 1
    var maximum = 0
    var endPattern: UInt64 = 0
    var endCount = 0
    /// What another end means: mostly `badEnd`; `badLength` where a wrong length leads astray.
    var endRejection: Rejection {
        get { Rejection(rawValue: endCode) ?? .badEnd }
        set { endCode = newValue.rawValue }
    }
    private var endCode = Rejection.badEnd.rawValue
    /// Row of `Program.checksums`, -1 none.
    var checksum = -1
    /// A wrong check value marks the readings instead of refusing the frame.
    var flagsMismatch = false
    var checksumWidth = 0
    /// Row of `Program.checksums` that must hold for this form to be meant at all, -1 none.
    var probe = -1
    /// Row of `Program.frames` with the form to try when no frame of this one starts here, -1 none.
    var next = -1
    /// One of several.
    var isForm = false
    /// Layout reads from here to here (negative: from the end).
    var bodyFrom = 0
    var bodyTo = 0
    /// Byte that stands before and behind the frame, once between two frames; -1 none. Everything
    /// else here is about what stands between, with its escapes undone.
    var delimiter = -1
    var escapes = EscapeRule()
    /// Scratch plane for bytes whose escapes are undone.
    var plane: UInt8 = 0
    /// Bytes that the frame may have on the wire, with delimiters and escapes, without preamble.
    var wireMaximum = 0

    var isDatagram: Bool { lengthEntry < 0 }

    /// Whether bytes that make such a frame are hardly an accident: two fixed or checking bytes.
    var isTelling: Bool {
        var fixed = endCount &+ checksumWidth &+ (probe >= 0 ? 2 : 0)
        for i in 0..<anchorCount { fixed &+= anchors[i].count }
        return fixed >= 2
    }
}

/// A field that a frame's length is computed from.
struct LengthField: Sendable {
    /// The frame's `lengthEntry`.
    var entry: Int
    var slot: UInt16
    var name: String
}

/// Parts of a name that is made from captured fields: `{kind}_energy_{tariff}`.
struct Template: Hashable, Sendable {
    enum Part: Hashable, Sendable {
        case literal(String)
        case number(shift: Int, width: Int)
        /// Hex digits, two for each byte of the field.
        case hex(shift: Int, width: Int)
        case table(shift: Int, width: Int, table: Int, column: String)
    }

    var parts: [Part]

    init(_ literal: String = "") { parts = literal.isEmpty ? [] : [.literal(literal)] }

    /// The text for captured values packed in `discriminator`.
    func text(_ discriminator: UInt64, tables: [Table]) -> String {
        var text = ""
        for part in parts {
            switch part {
            case .literal(let s): text += s
            case .number(let shift, let width):
                text += String(Template.value(discriminator, shift, width))
            case .hex(let shift, let width):
                let digits = String(Template.value(discriminator, shift, width), radix: 16)
                let zeros = max(0, (width + 7) / 8 * 2 - digits.count)
                text += String(repeating: "0", count: zeros) + digits
            case .table(let shift, let width, let table, let column):
                let v = Template.value(discriminator, shift, width)
                text += tables[table].text(for: v, column: column) ?? String(v)
            }
        }
        return text
    }

    private static func value(_ d: UInt64, _ shift: Int, _ width: Int) -> UInt64 {
        let moved = d >> UInt64(shift)
        return width >= 64 ? moved : moved & ((1 << UInt64(width)) - 1)
    }
}

/// Codes and their words; `{n}` in a word stands for the code itself.
struct Table: Sendable {
    struct Row: Sendable {
        var low: UInt64
        var high: UInt64
        var columns: [(name: String, text: String)]
    }

    var name: String
    var rows: [Row]

    /// Column "" is the only or first one.
    func text(for value: UInt64, column: String) -> String? {
        guard let row = rows.first(where: { $0.low <= value && value <= $0.high }),
            let cell = column.isEmpty
                ? row.columns.first : row.columns.first(where: { $0.name == column })
        else { return nil }
        return cell.text.split(separator: "{n}", omittingEmptySubsequences: false)
            .joined(separator: String(value))
    }
}

/// How a field is shown to people and in JSON.
struct ShowRule: Sendable {
    enum Display: Sendable {
        case number
        case hex
        case text
        case digits
        case boolean
        case time(TimeRule?)
        case table(Int)
        case flags([String])
        /// An object with a boolean for each named bit.
        case bits([(name: String, bit: Int)])
        /// Text in GB 18030, of which GBK is a part.
        case chineseText
        /// A list of equal elements; width in bytes, 0 for single bits.
        case elements(width: Int, isLittle: Bool, isSigned: Bool)
        /// Text from captured fields alone.
        case template(Template)
        /// What the open object holds of another format, in short: its name and values as members.
        case summary(String)
    }

    var name = Template()
    var unit = Template()
    var display = Display.number
    var value = ValueRule()
    var isReversed = false
    /// Of digits, the first half byte is filling whatever it holds.
    var isOdd = false
    /// Bytes of an integer shown as hex; count of list elements stands in slot `count`.
    var width = 0
    var count = SlotFile.none
    var isContent = true
    /// Name of the list that takes the field as `{name, value, unit}`; empty: a plain member.
    var list = ""
    /// Further members of the list element.
    var extras: [(name: String, slot: UInt16)] = []
    var note = ""
    /// Unit and quality stand as members beside the value.
    var isBeside = false
}

/// Brackets of the tree: what `open` opens.
struct GroupRule: Sendable {
    enum Kind: Sendable { case object, list, element }
    var kind: Kind
    var name: String
    var note = ""
    /// The element of a list holds one value, not members.
    var isContent = true
}

/// Words of an output, made once a stream.
struct OutputRule: Sendable {
    var name: Template
    var quantity: Template
    var unit: Template
    var priorityCode: UInt8
    /// The built-in decoding whose readings these are.
    var codec: Codec? = nil
    /// Quantities and units by the codec's names.
    var words: [NameTable] = []
}

/// What a compilation collects.
struct ProgramParts {
    var hot: [Op] = []
    var tree: [Op] = []
    /// Instructions that find a frame's length.
    var lengths: [Op] = []
    var slotCount = 0
    var planeCount = 0
    var costBound = 0
    var values: [ValueRule] = []
    var selects: [SelectCase] = []
    var transforms: [TransformRule] = []
    var times: [TimeRule] = []
    var frames: [FrameRule] = []
    /// For people: what the instructions of `lengths` read.
    var lengthFields: [LengthField] = []
    var checksums: [ChecksumRule] = []
    /// Bytes of answers and identities; instructions name start and count.
    var literals: [UInt8] = []
    var shows: [ShowRule] = []
    var groups: [GroupRule] = []
    var outputs: [OutputRule] = []
    var tables: [Table] = []
}

/// Everything a decoder runs. A class, so that a frame's run borrows it without counting references
/// of the tables.
final class Program: Sendable {
    enum List { case hot, tree, lengths }

    let hot: FixedTable<Op>
    let tree: FixedTable<Op>
    let lengths: FixedTable<Op>
    let values: FixedTable<ValueRule>
    let selects: FixedTable<SelectCase>
    let transforms: FixedTable<TransformRule>
    let times: FixedTable<TimeRule>
    let frames: FixedTable<FrameRule>
    let slotCount: Int
    let planeCount: Int
    /// Instructions that decoding one frame takes at most.
    let costBound: Int
    let checksums: FixedTable<ChecksumRule>
    let literals: FixedTable<UInt8>
    let shows: [ShowRule]
    /// A row of `shows` each: slot of the wire field that its value comes from, or none.
    let sources: [UInt16]
    let lengthFields: [LengthField]
    let groups: [GroupRule]
    let outputs: [OutputRule]
    let tables: [Table]

    init(_ parts: ProgramParts) {
        hot = FixedTable(parts.hot)
        tree = FixedTable(parts.tree)
        lengths = FixedTable(parts.lengths)
        values = FixedTable(parts.values)
        selects = FixedTable(parts.selects)
        transforms = FixedTable(parts.transforms)
        times = FixedTable(parts.times)
        frames = FixedTable(parts.frames)
        slotCount = parts.slotCount
        planeCount = parts.planeCount
        costBound = parts.costBound
        checksums = FixedTable(parts.checksums)
        literals = FixedTable(parts.literals)
        shows = parts.shows
        sources = parts.sources()
        lengthFields = parts.lengthFields
        groups = parts.groups
        outputs = parts.outputs
        tables = parts.tables
    }

    deinit {
        hot.deallocate()
        tree.deallocate()
        lengths.deallocate()
        values.deallocate()
        selects.deallocate()
        transforms.deallocate()
        times.deallocate()
        frames.deallocate()
        checksums.deallocate()
        literals.deallocate()
    }

    @inline(__always)
    func ops(_ list: List) -> FixedTable<Op> {
        switch list {
        case .hot: hot
        case .tree: tree
        case .lengths: lengths
        }
    }
}
