// Which formats accept a frame of unknown kind, for `--format auto`: all of them, the likeliest first, and
// for a frame that none accepts, which came nearest. Slow path: tries every format.

package import Model

/// What one format makes of a frame.
package struct FormatGuess: Sendable {
    package var format: Format
    /// Nil when it accepts the frame.
    package var rejection: Rejection?
    /// Where a refusal stands.
    package var offset: Int?
    package var reason: String
    package var readings: Int
}

extension FormatLibrary {
    /// All formats, those that fit by chance last: the order for a source that lists none.
    package var formatsByEvidence: [Format] {
        formats.sorted { ($1.evidence, $0.name) < ($0.evidence, $1.name) }
    }
}

extension Format {
    /// Bytes of a frame that its framing demands: anchors, end, check value. The more, the less a frame
    /// fits by chance.
    package var evidence: Int {
        let rule = program.frames[0]
        var count = rule.endCount
        for i in 0..<rule.anchorCount {
            let mask = rule.anchors[i].mask
            count += mask == .max ? rule.anchors[i].count : (mask.nonzeroBitCount + 7) / 8
        }
        if rule.checksum >= 0 { count += 2 * program.checksums[rule.checksum].width }
        return count
    }
}

extension FormatLibrary {
    /// One guess a format. Those that accept come first, in the order of what they demand of a frame,
    /// then of what they read in it, plain ones before maps; then the refusals, those that came
    /// furthest first.
    package func guesses(_ frame: [UInt8], direction: Direction) -> [FormatGuess] {
        var result = DecodedFrame()
        var guesses: [(guess: FormatGuess, rank: [Int])] = []
        for (number, format) in formats.enumerated() {
            let decoder = Decoder(format)
            do throws(Rejection) {
                try decoder.decode(frame.span, direction: direction, into: &result)
                let guess = FormatGuess(
                    format: format, rejection: nil, offset: nil, reason: "",
                    readings: result.readings.count)
                guesses.append(
                    (guess, [1, format.evidence, guess.readings, -format.outputs.count, -number]))
            } catch {
                let explanation = decoder.explain(frame, direction: direction)
                let guess = FormatGuess(
                    format: format, rejection: error, offset: explanation.rejectedAt,
                    reason: explanation.reason, readings: 0)
                guesses.append((guess, [0] + FormatLibrary.nearness(guess) + [-number]))
            }
        }
        return guesses.sorted { $1.rank.lexicographicallyPrecedes($0.rank) }.map(\.guess)
    }

    /// A start that fits says more than how far a format without one reads.
    private static func nearness(_ guess: FormatGuess) -> [Int] {
        let hasStart = guess.rejection != .badHeader && guess.format.evidence > 0
        return [hasStart ? guess.format.evidence : 0, guess.offset ?? 0]
    }
}
