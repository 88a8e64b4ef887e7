// Compares wire bytes with words of this program, without making text. The one place of the codecs
// that reads memory by address: the bytes of static strings.

extension Cursor {
    /// Whether the bytes of `range` are exactly the ASCII of `text`.
    func holds(_ text: StaticString, _ range: Range<Int>) -> Bool {
        range.count == text.utf8CodeUnitCount && begins(with: text, range)
    }

    /// Whether the bytes of `range` begin with the ASCII of `text`.
    func begins(with text: StaticString, _ range: Range<Int>) -> Bool {
        let count = text.utf8CodeUnitCount
        guard range.count >= count else { return false }
        for i in 0..<count {
            guard byte(range.lowerBound &+ i) == Cursor.byte(i, of: text) else { return false }
        }
        return true
    }
}

extension Cursor {
    /// Whether the byte `offset` of `text` is `byte`.
    func isByte(_ byte: UInt8, of text: StaticString, at offset: Int) -> Bool {
        Cursor.byte(offset, of: text) == byte
    }
}

extension Cursor {
    /// The byte `offset` of a word of this program; nil behind its end.
    static func byte(_ offset: Int, of word: StaticString) -> UInt8? {
        guard offset >= 0, offset < word.utf8CodeUnitCount, word.hasPointerRepresentation else {
            return nil
        }
        // Safety: offset < utf8CodeUnitCount, checked in the line above.
        return unsafe word.utf8Start[offset]
    }
}
