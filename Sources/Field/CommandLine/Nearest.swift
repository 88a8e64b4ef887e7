// Finds the word that somebody probably meant. Optimal string alignment distance (a swap of two
// neighbours counts one), bounded by the words' lengths.

package enum Nearest {
    /// The nearest of `words` to `word` when it is near enough to be worth suggesting: at most a
    /// third
    /// of the letters differ, or `word` is a prefix of it.
    package static func of(_ word: String, among words: [String]) -> String? {
        var best: (word: String, distance: Int)?
        for candidate in words {
            let d = distance(Array(word.utf8), Array(candidate.utf8))
            if d < best?.distance ?? .max { best = (candidate, d) }
        }
        if let best, best.distance <= max(1, max(word.utf8.count, best.word.utf8.count) / 3) {
            return best.word
        }
        return word.utf8.count >= 2 ? words.first { $0.hasPrefix(word) } : nil
    }

    static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        // A word that nobody typed by hand is compared with nothing.
        guard a.count <= 64, b.count <= 64 else { return .max }
        var rows = [[Int]](
            repeating: [Int](repeating: 0, count: b.count + 1), count: a.count + 1)
        for i in 0...a.count { rows[i][0] = i }
        for j in 0...b.count { rows[0][j] = j }
        for i in 1..<max(1, a.count + 1) {
            for j in 1..<max(1, b.count + 1) {
                let substitution = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
                var least = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, substitution)
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    least = min(least, rows[i - 2][j - 2] + 1)
                }
                rows[i][j] = least
            }
        }
        return rows[a.count][b.count]
    }
}
