// Errors of the machine and of the daemons in the tool's language. They are made far from any
// screen, in English: `what: why: what to do`. Each part is found again by its template in
// `ErrorTable` or by its code in `ErrnoWords`; a part that is nobody's sentence (a path, a command,
// a foreign text) stays as it is. Values only.

package enum ErrorWords {
    /// A part in Chinese, by the longest template that fits; nil where it is none of ours.
    package static func chinese(_ part: String) -> String? {
        if let chinese = ErrnoWords.chinese(part) { return chinese }
        var best: (length: Int, chinese: String)?
        for (english, chinese) in templates + usage where english.utf8.count > best?.length ?? 0 {
            guard let values = values(of: part, by: english) else { continue }
            best = (english.utf8.count, Language.filled(chinese, values))
        }
        return best?.chinese
    }

    /// What stands in the place of the placeholders, which rise from {0}; nil where the text does not
    /// fit. No value reaches into the next part of an error.
    static func values(of text: String, by template: String) -> [String]? {
        guard template.contains("{") else { return text == template ? [] : nil }
        var values: [String] = []
        var rest = text[...]
        var pieces = template.split(separator: "{", omittingEmptySubsequences: false)[...]
        let head = pieces.removeFirst()
        guard rest.hasPrefix(head) else { return nil }
        rest = rest.dropFirst(head.count)
        for piece in pieces {
            // After `0}` comes the text up to the next placeholder.
            let tail = piece.dropFirst(2)
            let end: Substring.Index
            if tail.isEmpty {
                end = rest.endIndex
            } else {
                guard let found = rest.firstRange(of: tail) else { return nil }
                end = found.lowerBound
            }
            let value = rest[..<end]
            guard !value.isEmpty, !value.contains(": ") else { return nil }
            values.append(String(value))
            rest = rest[end...].dropFirst(tail.count)
        }
        return rest.isEmpty ? values : nil
    }
}

extension Language {
    /// An error's words, `what: why: what to do`, as far as they are ours.
    package func error(_ english: String) -> String {
        guard self == .chinese else { return english }
        var said: [String] = []
        var rest = english[...]
        while true {
            // A part may hold a colon itself: the longest that is ours is taken.
            let colons = rest.ranges(of: ": ")
            let ends = [rest.endIndex] + colons.reversed().map(\.lowerBound)
            let known = ends.lazy.compactMap { end in
                ErrorWords.chinese(String(rest[..<end])).map { (end: end, chinese: $0) }
            }.first
            let end = known?.end ?? ends.last ?? rest.endIndex
            said.append(known?.chinese ?? String(rest[..<end]))
            guard end < rest.endIndex else { return said.joined(separator: "：") }
            rest = rest[end...].dropFirst(2)
        }
    }
}

extension Console {
    /// An error on stderr: `sluice: what: why: what to do`.
    package func fail(_ english: String) {
        complain((language == .chinese ? "sluice：" : "sluice: ") + language.error(english))
    }
}
