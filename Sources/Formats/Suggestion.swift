// Finds what a writer of a format or configuration probably meant. Used at load only.

enum Suggestion {
    /// The candidate nearest to `word` when it is near enough to be a slip of the hand.
    static func nearest(_ word: String, among candidates: [String]) -> String? {
        let limit = word.count < 3 ? 0 : max(1, word.count / 3)
        var best: (name: String, distance: Int)?
        for candidate in candidates.sorted() {
            let d = distance(Array(word.lowercased()), Array(candidate.lowercased()))
            if d <= limit, d < best?.distance ?? .max { best = (candidate, d) }
        }
        return best?.name
    }

    /// `write "length"`, or the list of what is possible.
    static func text(_ word: String, among candidates: [String]) -> String {
        if let nearest = nearest(word, among: candidates) { return "write \"\(nearest)\"" }
        let known = candidates.sorted().prefix(12).joined(separator: ", ")
        return known.isEmpty ? "" : "known here: \(known)"
    }

    /// Insertions, deletions, replacements and swaps of neighbours.
    private static func distance(_ a: [Character], _ b: [Character]) -> Int {
        var before: [Int] = []
        var last = Array(0...b.count)
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var d = min(row[j] + 1, last[j + 1] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                    d = min(d, before[j - 1] + 1)
                }
                row.append(d)
            }
            before = last
            last = row
        }
        return last[b.count]
    }
}
