// Ways to show that are not one field, one member: a nested frame in short, unit and quality beside a
// value. Slow path.

import Model

extension TreeBuilder {
    /// Members that say which format the open object is in and what its values are, without the lists
    /// they stand in: `protocol`, each value under its name, the unit of the first that has one.
    mutating func summarize(_ format: String) {
        let node = openNode
        var members = [leaf("protocol", .text(format), node.bytes)]
        let values = node.children.filter { $0.value == .list && $0.name == "values" }
            .flatMap(\.children)
        for value in values {
            guard case .text(let name)? = value.children.first(where: { $0.name == "name" })?.value,
                var member = value.children.first(where: { $0.name == "value" })
            else { continue }
            member.name = name
            members.append(member)
        }
        if let unit = values.first(where: { !$0.unit.isEmpty })?.unit {
            members.append(leaf("unit", .text(unit), node.bytes))
        }
        for member in members where !node.children.contains(where: { $0.name == member.name }) {
            add(member)
        }
    }

    /// Unit, and for a value that is none its quality, beside the field shown last.
    mutating func showBeside(_ node: FieldNode, _ slot: Slot) {
        if !node.unit.isEmpty { add(leaf("unit", .text(node.unit), node.bytes)) }
        if slot.kind == .none, slot.quality != 0 {
            let quality = Quality(rawValue: slot.quality).description
            add(leaf("quality", .text(quality), node.bytes))
        }
    }

    private func leaf(_ name: String, _ value: FieldValue, _ range: Range<Int>) -> FieldNode {
        FieldNode(name: name, bytes: range, value: value)
    }
}
