// `sluice decode --format auto`: which formats accept a frame, shown with the likeliest; for a frame that
// none accepts, which came nearest and what each of these misses. On the main thread.

import Formats
import Model

struct Guesser {
    let library: FormatLibrary
    let direction: Direction
    let explains: Bool
    let asJSON: Bool
    let console: Console

    /// Refusals that are worth a line.
    private static let nearest = 3

    /// True when some format accepts each frame.
    func print(_ texts: [String]) -> Bool {
        var list = FrameList(asJSON: asJSON, console: console) { printFrame($0) }
        return list.print(texts)
    }

    private func printFrame(_ bytes: [UInt8]) -> Bool {
        let guesses = library.guesses(bytes, direction: direction)
        let accepting = guesses.filter { $0.rejection == nil }
        guard let best = guesses.first else {
            console.fail("formats: none is loaded: name a folder that holds some")
            return false
        }
        if !asJSON {
            if accepting.isEmpty {
                console.line(console.red(console.language(.autoNone)))
                for guess in guesses.prefix(Guesser.nearest) { console.line(refusal(guess)) }
                guard explains else { return false }
                console.line()
            } else {
                let names = accepting.map(\.format.name).joined(separator: ", ")
                console.line(console.language(.autoAccepted, names))
            }
        }
        let printer = FramePrinter(
            decoder: Decoder(best.format), direction: direction, explains: explains,
            console: console)
        if asJSON { return printer.printJSON(bytes, acceptedBy: accepting.map(\.format.name)) }
        return printer.printText(bytes)
    }

    private func refusal(_ guess: FormatGuess) -> String {
        let (name, code) = (guess.format.name, guess.rejection?.code ?? "")
        guard let offset = guess.offset else {
            return console.language(.autoRefusal, name, code, guess.reason)
        }
        return console.language(.autoRefusalAt, name, code, "\(offset)", guess.reason)
    }
}
