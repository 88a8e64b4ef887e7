// The language in which the field tool speaks to a person, and how a phrase of the catalogue becomes
// words. JSON, CSV, names of counters, reasons and formats are the same in every language. Values only.

package enum Language: String, CaseIterable, Sendable {
    case english = "en"
    case chinese = "zh"

    /// A phrase with its placeholders `{0}`, `{1}` … replaced; a value's own braces stay as they are.
    package func callAsFunction(_ phrase: Phrase, _ values: String...) -> String {
        Language.filled(text(phrase), values)
    }

    package func text(_ phrase: Phrase) -> String {
        switch self {
        case .english: phrase.texts.english
        case .chinese: phrase.texts.chinese
        }
    }

    static func filled(_ template: String, _ values: [String]) -> String {
        guard !values.isEmpty else { return template }
        var out = ""
        var rest = template[...]
        while let open = rest.firstIndex(of: "{") {
            out += rest[..<open]
            let close = rest[open...].firstIndex(of: "}")
            guard let close, let number = Int(rest[rest.index(after: open)..<close]),
                values.indices.contains(number)
            else {
                out += "{"
                rest = rest[rest.index(after: open)...]
                continue
            }
            out += values[number]
            rest = rest[rest.index(after: close)...]
        }
        return out + rest
    }

    /// `1 frame`, `2 frames`, `2 帧`
    package func count(_ number: some BinaryInteger, _ noun: Phrase) -> String {
        switch self {
        case .english: Words.count(number, text(noun))
        case .chinese: "\(Words.grouped(number)) \(text(noun))"
        }
    }

    /// `3 h 1 min`, `3 小时 1 分`
    package func span(_ nanoseconds: Int64) -> String {
        let english = Words.span(nanoseconds)
        guard self == .chinese else { return english }
        let units = ["d": "天", "h": "小时", "min": "分", "s": "秒"]
        return english.split(separator: " ").map { units[String($0)] ?? String($0) }
            .joined(separator: " ")
    }

    /// What `--lang` or a locale names (`zh_CN.UTF-8`, `en`, `C`): its first part decides.
    package static func named(_ name: String) -> Language? {
        let first = name.split(whereSeparator: { "_-.@".contains($0) }).first.map(String.init) ?? ""
        return Language(rawValue: first.lowercased())
    }

    /// As POSIX orders the variables: the first that is set decides; what we do not speak is English.
    package static func ofEnvironment(_ value: (String) -> String?) -> Language {
        for name in ["LC_ALL", "LC_MESSAGES", "LANG"] {
            if let text = value(name), !text.isEmpty { return named(text) ?? .english }
        }
        return .english
    }
}
