// What a writer certainly did not mean, found while compiling: cases and table rows that an earlier one
// takes, matches that no value of the field has, two readings of one stream on one path. What needs the
// compiled paths is in PathCheck.swift.

import Model

/// Which conditions and loops the compiler stands in, and which streams were yielded where.
struct PathTrace {
    struct Yield {
        var branches: [Int]
        var loops: [Int]
        var name: Template
        var slots: [UInt16]
        var line: Int
    }

    private(set) var branches: [Int] = []
    private(set) var loops: [Int] = []
    var yields: [Yield] = []
    private var last = 0

    mutating func enterBranch() {
        last += 1
        branches.append(last)
    }

    mutating func leaveBranch() { _ = branches.popLast() }

    mutating func enterLoop() {
        last += 1
        loops.append(last)
    }

    mutating func leaveLoop() { _ = loops.popLast() }

    /// An earlier yield of the same stream that every path through this or through that one meets too.
    func collision(_ name: Template, _ slots: [UInt16]) -> Yield? {
        yields.first {
            $0.name == name && $0.slots == slots && $0.loops == loops
                && (branches.starts(with: $0.branches) || $0.branches.starts(with: branches))
        }
    }
}

/// The keys that the compiler accepts in the object at a place.
package struct CheckedKeys: Hashable, Sendable {
    package var line: Int
    package var column: Int
    package var keys: [String]
}

extension FormatLibrary {
    /// What compiling `text` accepts where, for the test of `format.schema.json`. In the order of
    /// compiling: an object's own place comes before what it is rewritten to.
    package static func checkedKeys(of text: String, file: String) -> [CheckedKeys] {
        guard let root = try? JSONNode.parse(Array(text.utf8), file: file) else { return [] }
        let source = FormatSource(
            file: file, name: root["format"]?.string ?? "", root: root, bytes: Array(text.utf8))
        var compiler = FormatCompiler(source) { _ in nil }
        _ = compiler.compile()
        let tests = root["tests"]?.array ?? []
        return compiler.checked
            + tests.map { CheckedKeys(line: $0.line, column: $0.column, keys: EmbeddedTests.keys) }
    }
}

extension FormatCompiler {
    /// More than this a frame is not worth; nothing in the field comes near.
    static let maximumCost = 4_000_000

    /// A condition that a writer wrote. Register maps make their own, at the place of the row, and
    /// those all hold together.
    func isConditional(_ node: JSONNode) -> Bool {
        guard let when = node["when"] else { return false }
        return when.line != node.line || when.column != node.column
    }

    mutating func checkOutput(_ node: JSONNode, _ output: Int, _ plan: NamePlan) {
        let name = builder.program.outputs[output].name
        let slots = plan.fields.map(\.slot)
        let isTold = complaints.contains { $0.line == node.line && $0.column == node.column }
        if let other = paths.collision(name, slots), !isTold {
            complain(
                node["reading"] ?? node,
                "the same reading stands in line \(other.line) of the same path",
                "give one of them another name")
        }
        paths.yields.append(
            .init(
                branches: paths.branches, loops: paths.loops, name: name, slots: slots,
                line: node.line))
    }

    mutating func checkCost(_ program: Program) {
        guard program.costBound > FormatCompiler.maximumCost else { return }
        complain(
            root["framing"] ?? root,
            "one frame may cost \(program.costBound) instructions, more than "
                + "\(FormatCompiler.maximumCost)",
            "write a smaller maximum, for the frame or for its repeats")
    }

    // MARK: Cases

    /// Complains of matches that an earlier match takes whole, or that the field cannot have.
    mutating func checkCases(_ node: JSONNode, _ rows: [SelectCase], _ owners: [Int]) {
        let cases = node["cases"]?.array ?? []
        var field: Binding?
        if let name = node["switch"]?.string, let found = builder.binding(name), found.isExact {
            field = found
        }
        var place = 0
        for (i, row) in rows.enumerated() {
            place = i > 0 && owners[i] == owners[i - 1] ? place + 1 : 0
            guard let match = cases[owners[i]]["match"] else { continue }
            let list = match.array ?? [match]
            let at = place < list.count ? list[place] : match
            if let before = rows[..<i].firstIndex(where: { $0.takes(row) }) {
                let line = cases[owners[before]].line
                complain(
                    at, "never reached: the case in line \(line) takes it",
                    "remove one, or move this case up")
            } else if let field, field.bits < 63, row.low >> Int64(field.bits) > 0 {
                complain(
                    at, "never reached: the field has \(field.bits) bits",
                    "write at most \(UInt64(1) << UInt64(field.bits) - 1)")
            }
        }
    }

    /// The same for tables: the first row that holds a code gives its word.
    mutating func checkRows(_ node: JSONNode, _ rows: [Table.Row]) {
        guard let members = node.members, members.count == rows.count else { return }
        for (i, row) in rows.enumerated() {
            let before = rows[..<i].firstIndex { $0.low <= row.low && row.high <= $0.high }
            guard let before else { continue }
            complaints.append(
                Complaint(
                    file: file, line: members[i].line, column: members[i].column,
                    what: "never reached: \"\(members[before].key)\" in line "
                        + "\(members[before].line) takes it",
                    suggestion: "remove one, or move this row up"))
        }
    }
}

extension SelectCase {
    /// Whether everything that `other` matches is matched here. False when in doubt.
    fileprivate func takes(_ other: SelectCase) -> Bool {
        if mask == .max {
            return other.mask == .max && low <= other.low && other.high <= high
        }
        guard other.low == other.high, mask & other.mask == mask else { return false }
        return UInt64(bitPattern: other.low) & mask == UInt64(bitPattern: low)
    }
}
