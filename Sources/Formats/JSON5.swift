// Reads JSON5 (spec.json5.org, with RFC 8259 as its core) into a tree in which every value and key
// knows its line and column, so that each later complaint can point at its place. Used at start only,
// for formats and configuration. Bounded: 4 MB of text, 64 levels.

/// A JSON5 value with its place in the text (both from 1; columns count characters).
package struct JSONNode: Sendable {
    package enum Content: Sendable {
        case null
        case boolean(Bool)
        /// The number as written, so that decimals stay exact: `0.1`, `-3`, `0x33`, `1e3`.
        case number(String)
        case string(String)
        case array([JSONNode])
        case object([Member])
    }

    package struct Member: Sendable {
        package let key: String
        package let line: Int
        package let column: Int
        package let value: JSONNode

        package init(key: String, line: Int, column: Int, value: JSONNode) {
            self.key = key
            self.line = line
            self.column = column
            self.value = value
        }
    }

    package let content: Content
    private let lineNumber: UInt32
    private let columnNumber: UInt32
    /// Which of several files it comes from, as the caller of `parse` counts them.
    package let file: UInt16

    package var line: Int { Int(lineNumber) }
    package var column: Int { Int(columnNumber) }

    package init(content: Content, line: Int, column: Int, file: UInt16 = 0) {
        self.content = content
        // A text has at most `maximumBytes` of them.
        lineNumber = UInt32(truncatingIfNeeded: line)
        columnNumber = UInt32(truncatingIfNeeded: column)
        self.file = file
    }

    package static let maximumBytes = 4 << 20
    package static let maximumDepth = 64

    /// Parses a whole text. Throws the first syntax error with file, line and column.
    /// `number`: what the nodes answer when they are asked for their file.
    package static func parse(
        _ text: [UInt8], file: String, number: UInt16 = 0
    ) throws(Complaint) -> JSONNode {
        var reader = JSON5Reader(text: text, file: file, number: number)
        return try reader.document()
    }

    package subscript(_ key: String) -> JSONNode? {
        guard case .object(let members) = content else { return nil }
        return members.first { $0.key == key }?.value
    }

    package var string: String? {
        guard case .string(let s) = content else { return nil }
        return s
    }

    package var boolean: Bool? {
        guard case .boolean(let b) = content else { return nil }
        return b
    }

    package var array: [JSONNode]? {
        guard case .array(let a) = content else { return nil }
        return a
    }

    package var members: [Member]? {
        guard case .object(let m) = content else { return nil }
        return m
    }

    /// An integer written in decimal or hexadecimal; nil for fractions, overflow and other kinds.
    package var integer: Int? {
        guard case .number(let text) = content else { return nil }
        let negative = text.hasPrefix("-")
        let digits = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
        let magnitude =
            digits.lowercased().hasPrefix("0x") ? Int(digits.dropFirst(2), radix: 16) : Int(digits)
        return magnitude.map { negative ? -$0 : $0 }
    }

    package var double: Double? {
        if let integer { return Double(integer) }
        guard case .number(let text) = content else { return nil }
        return Double(text)
    }

    /// What kind of value this is, for messages.
    package var kindName: String {
        switch content {
        case .null: "null"
        case .boolean: "a boolean"
        case .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

private struct JSON5Reader {
    let text: [UInt8]
    let file: String
    let fileNumber: UInt16
    var at = 0
    var line = 1
    var column = 1

    init(text: [UInt8], file: String, number: UInt16) {
        self.text = text
        self.file = file
        fileNumber = number
    }

    mutating func document() throws(Complaint) -> JSONNode {
        guard text.count <= JSONNode.maximumBytes else {
            throw complaint("file larger than 4 MB", "split it")
        }
        if let bad = JSON5Reader.firstNonUTF8(text) {
            while at < bad { advance() }
            throw complaint("a byte that is no UTF-8 text", "save the file as UTF-8")
        }
        if text.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
        try skipBlank()
        let node = try value(depth: 0)
        try skipBlank()
        if peek() != nil { throw complaint("text after the end of the document", "remove it") }
        return node
    }

    /// For messages: without control characters, and not longer than a line can bear.
    static func shown(_ text: String) -> String {
        var shown = ""
        for scalar in text.unicodeScalars.prefix(40) {
            let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            shown.unicodeScalars.append(isControl ? "·" : scalar)
        }
        return shown
    }

    /// Place of the first byte that does not belong to well-formed UTF-8 (Unicode 15, table 3-7).
    private static func firstNonUTF8(_ text: [UInt8]) -> Int? {
        var at = 0
        while at < text.count {
            let first = text[at]
            let (length, second): (Int, ClosedRange<UInt8>) =
                switch first {
                case 0x00...0x7F: (1, 0x80...0xBF)
                case 0xC2...0xDF: (2, 0x80...0xBF)
                case 0xE0: (3, 0xA0...0xBF)
                case 0xED: (3, 0x80...0x9F)
                case 0xE1...0xEF: (3, 0x80...0xBF)
                case 0xF0: (4, 0x90...0xBF)
                case 0xF1...0xF3: (4, 0x80...0xBF)
                case 0xF4: (4, 0x80...0x8F)
                default: (0, 0x80...0xBF)
                }
            guard length > 0, at + length <= text.count else { return at }
            if length > 1, !second.contains(text[at + 1]) { return at }
            if length > 2, text[(at + 2)..<(at + length)].contains(where: { $0 & 0xC0 != 0x80 }) {
                return at
            }
            at += length
        }
        return nil
    }

    private func complaint(_ what: String, _ suggestion: String = "") -> Complaint {
        Complaint(file: file, line: line, column: column, what: what, suggestion: suggestion)
    }

    private func peek(_ ahead: Int = 0) -> UInt8? {
        at + ahead < text.count ? text[at + ahead] : nil
    }

    private mutating func advance() {
        if text[at] == 0x0A {
            line += 1
            column = 1
        } else if text[at] & 0xC0 != 0x80 {
            column += 1
        }
        at += 1
    }

    private mutating func skipBlank() throws(Complaint) {
        while let c = peek() {
            switch c {
            case 0x20, 0x09, 0x0A, 0x0B, 0x0C, 0x0D: advance()
            case 0xC2 where peek(1) == 0xA0:
                advance()
                advance()
            case 0x2F where peek(1) == 0x2F:
                while let c = peek(), c != 0x0A { advance() }
            case 0x2F where peek(1) == 0x2A:
                let start = complaint("comment without end", "write */")
                advance()
                advance()
                while !(peek() == 0x2A && peek(1) == 0x2F) {
                    if peek() == nil { throw start }
                    advance()
                }
                advance()
                advance()
            default: return
            }
        }
    }

    private mutating func value(depth: Int) throws(Complaint) -> JSONNode {
        guard depth < JSONNode.maximumDepth else {
            throw complaint("more than 64 levels deep", "remove brackets")
        }
        let (l, c) = (line, column)
        func node(_ content: JSONNode.Content) -> JSONNode {
            JSONNode(content: content, line: l, column: c, file: fileNumber)
        }
        guard let first = peek() else {
            throw complaint("the text ends where a value must stand", "write one")
        }
        switch first {
        case 0x7B: return node(.object(try object(depth: depth)))
        case 0x5B: return node(.array(try array(depth: depth)))
        case 0x22, 0x27: return node(.string(try string(quote: first)))
        case 0x2B, 0x2D, 0x2E, 0x30...0x39: return node(.number(try number()))
        default:
            switch try word() {
            case "null": return node(.null)
            case "true": return node(.boolean(true))
            case "false": return node(.boolean(false))
            case let other:
                throw Complaint(
                    file: file, line: l, column: c,
                    what: "unexpected word \"\(JSON5Reader.shown(other))\"",
                    suggestion: "put text in quotes")
            }
        }
    }

    private mutating func object(depth: Int) throws(Complaint) -> [JSONNode.Member] {
        let start = complaint("object without end", "write }")
        advance()
        var members: [JSONNode.Member] = []
        while true {
            try skipBlank()
            guard let c = peek() else { throw start }
            if c == 0x7D {
                advance()
                return members
            }
            let (l, col) = (line, column)
            let key = c == 0x22 || c == 0x27 ? try string(quote: c) : try word()
            if let first = members.first(where: { $0.key == key }) {
                throw Complaint(
                    file: file, line: l, column: col,
                    what: "key \"\(JSON5Reader.shown(key))\" stands twice, first in line "
                        + "\(first.line)",
                    suggestion: "remove one")
            }
            try skipBlank()
            guard peek() == 0x3A else {
                throw complaint("no ':' after key \"\(JSON5Reader.shown(key))\"", "write :")
            }
            advance()
            try skipBlank()
            let value = try value(depth: depth + 1)
            members.append(.init(key: key, line: l, column: col, value: value))
            try skipBlank()
            if peek() == 0x2C {
                advance()
            } else if peek() != 0x7D {
                throw peek() == nil ? start : complaint("no ',' or '}' after a member", "write ,")
            }
        }
    }

    private mutating func array(depth: Int) throws(Complaint) -> [JSONNode] {
        let start = complaint("array without end", "write ]")
        advance()
        var elements: [JSONNode] = []
        while true {
            try skipBlank()
            guard let c = peek() else { throw start }
            if c == 0x5D {
                advance()
                return elements
            }
            elements.append(try value(depth: depth + 1))
            try skipBlank()
            if peek() == 0x2C {
                advance()
            } else if peek() != 0x5D {
                throw peek() == nil ? start : complaint("no ',' or ']' after an element", "write ,")
            }
        }
    }

    private mutating func word() throws(Complaint) -> String {
        let start = at
        while let c = peek() {
            switch c {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F, 0x24, 0x80...0xFF: advance()
            default:
                guard at > start else {
                    let shown = JSON5Reader.shown(String(Unicode.Scalar(c)))
                    throw complaint(
                        "unexpected character \"\(shown)\"",
                        "a key, a value or a closing bracket must stand here")
                }
                return String(decoding: text[start..<at], as: UTF8.self)
            }
        }
        guard at > start else {
            throw complaint("the text ends too early", "close what is open")
        }
        return String(decoding: text[start..<at], as: UTF8.self)
    }

    private mutating func number() throws(Complaint) -> String {
        let start = at
        let wrong = complaint("not a number", "write digits, e.g. 10, -0.5, 1e3 or 0x1F")
        if peek() == 0x2B || peek() == 0x2D { advance() }
        while let c = peek(), JSON5Reader.isNumberCharacter(c) { advance() }
        var digits = String(decoding: text[start..<at], as: UTF8.self)
        let body = digits.drop { $0 == "+" || $0 == "-" }
        if body.lowercased().hasPrefix("0x") {
            guard UInt64(body.dropFirst(2), radix: 16) != nil else { throw wrong }
            return digits
        }
        guard let first = body.first, first != "e", first != "E", Double(digits) != nil else {
            throw wrong
        }
        if digits.hasPrefix("+") { digits.removeFirst() }
        return digits
    }

    private static func isNumberCharacter(_ c: UInt8) -> Bool {
        switch c {
        case 0x30...0x39, 0x41...0x46, 0x61...0x66, 0x2E, 0x78, 0x58, 0x2B, 0x2D: true
        default: false
        }
    }

    private mutating func string(quote: UInt8) throws(Complaint) -> String {
        let start = complaint("string without end", "close it with the same quote")
        advance()
        var bytes: [UInt8] = []
        while let c = peek() {
            if c == quote {
                advance()
                return String(decoding: bytes, as: UTF8.self)
            }
            if c == 0x0A { throw start }
            guard c == 0x5C else {
                bytes.append(c)
                advance()
                continue
            }
            advance()
            guard let e = peek() else { throw start }
            advance()
            switch e {
            case 0x6E: bytes.append(0x0A)
            case 0x74: bytes.append(0x09)
            case 0x72: bytes.append(0x0D)
            case 0x62: bytes.append(0x08)
            case 0x66: bytes.append(0x0C)
            case 0x76: bytes.append(0x0B)
            case 0x30: bytes.append(0)
            case 0x0A: break
            case 0x78: bytes.append(contentsOf: String(try scalar(digits: 2)).utf8)
            case 0x75: bytes.append(contentsOf: String(try scalar(digits: 4)).utf8)
            default: bytes.append(e)
            }
        }
        throw start
    }

    private mutating func scalar(digits: Int) throws(Complaint) -> Unicode.Scalar {
        var code = try hex(digits)
        if (0xD800...0xDBFF).contains(code), peek() == 0x5C, peek(1) == 0x75 {
            advance()
            advance()
            let low = try hex(4)
            guard (0xDC00...0xDFFF).contains(low) else { throw loneSurrogate }
            code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw loneSurrogate }
        return scalar
    }

    private var loneSurrogate: Complaint {
        complaint("half of a character (a lone surrogate)", "write the character itself")
    }

    private mutating func hex(_ digits: Int) throws(Complaint) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<digits {
            guard let c = peek(), let digit = Character(Unicode.Scalar(c)).hexDigitValue else {
                throw complaint(
                    "not a hexadecimal digit", "write \(digits) of them, or \\\\ for a backslash")
            }
            code = code << 4 | UInt32(digit)
            advance()
        }
        return code
    }
}
