// Compiles framing that has several forms: `framing: { forms: [ { … }, { … } ] }`. The first form that may
// start at a place is the frame's; a form whose anchors, lengths or `probe` do not fit is passed over.

import Model

extension FormatCompiler {
    static let maximumForms = 8

    /// The row of the (first form of the) framing and the longest frame, preamble included.
    mutating func frames() -> (row: Int32, maximum: Int) {
        guard let node = root["framing"] else {
            complain(root, "no framing", "write framing: { length: \"datagram\", maximum: 512 }")
            return (builder.frame(FrameRule()), 0)
        }
        guard let list = node["forms"] else {
            let rule = framing(node)
            return (builder.frame(rule), rule.wireMaximum + rule.preambleMaximum)
        }
        check(node, ["forms", "note"])
        let forms = list.array ?? []
        if forms.isEmpty || forms.count > FormatCompiler.maximumForms {
            complain(list, "forms must be a list of 1 to \(FormatCompiler.maximumForms)")
            return (builder.frame(FrameRule()), 0)
        }
        var first: Int32 = -1
        var last: Int32 = -1
        var maximum = 0
        for form in forms {
            var rule = framing(form)
            rule.isForm = true
            let row = builder.frame(rule)
            if first < 0 { first = row } else { builder.chain(last, to: row) }
            last = row
            maximum = max(maximum, rule.wireMaximum + rule.preambleMaximum)
        }
        return (first, maximum)
    }
}
