// Compares wire bytes with words of this program, without making text. The one place of the codecs that
// reads memory by address: the bytes of static strings.

extension Cursor {
    /// Whether the bytes of `range` are exactly the ASCII of `text`.
    func holds(_ text: StaticString, _ range: Range<Int>) -> Bool {
        range.count == text.utf8CodeUnitCount && begins(with: text, range)
    }

    /// Whether the bytes of `range` begin with the ASCII of `text`.
    func begins(with text: StaticString, _ range: Range<Int>) -> Bool {
        let count = text.utf8CodeUnitCount
        guard range.count >= count, text.hasPointerRepresentation else { return false }
        for i in 0..<count {
            // Safety: i < utf8CodeUnitCount bytes, which a static string keeps for ever.
            guard byte(range.lowerBound &+ i) == (unsafe text.utf8Start[i]) else { return false }
        }
        return true
    }
}

extension Cursor {
    /// Whether the byte `offset` of `text` is `byte`.
    func isByte(_ byte: UInt8, of text: StaticString, at offset: Int) -> Bool {
        guard offset >= 0, offset < text.utf8CodeUnitCount, text.hasPointerRepresentation else {
            return false
        }
        // Safety: offset < utf8CodeUnitCount, checked in the line above.
        return unsafe text.utf8Start[offset] == byte
    }
}
