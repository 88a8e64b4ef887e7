// Columns that line up, also with Chinese text: widths are counted in terminal columns, not
// characters.
// Pure text, no terminal.

package struct Table: Sendable {
    package enum Alignment: Sendable { case left, right }

    package var headings: [String]
    package var alignments: [Alignment]
    package var rows: [[String]] = []

    package init(_ columns: [(heading: String, alignment: Alignment)]) {
        headings = columns.map(\.heading)
        alignments = columns.map(\.alignment)
    }

    package mutating func add(_ cells: [String]) {
        precondition(cells.count == headings.count, "a row has as many cells as the table columns")
        rows.append(cells)
    }

    /// The lines, two blanks between columns, no blanks at line ends. Control characters in cells
    /// appear as `·`, so that text from devices cannot drive the terminal.
    package func lines() -> [String] { rowsOfLines(fitting: nil).map { $0[0] } }

    /// A row's lines: one, or where the screen is narrower the last cell goes on below.
    private func rowsOfLines(fitting columns: Int?) -> [[String]] {
        let cleaned = rows.map { $0.map(Table.printable) }
        var widths = headings.map(Table.columns)
        for row in cleaned {
            for (i, cell) in row.enumerated() { widths[i] = max(widths[i], Table.columns(cell)) }
        }
        return ([headings] + cleaned).map { row in
            var line = ""
            for (i, cell) in row.enumerated() {
                let gap = String(repeating: " ", count: widths[i] - Table.columns(cell))
                if i > 0 { line += "  " }
                line += alignments[i] == .left ? cell + gap : gap + cell
            }
            while line.last == " " { line.removeLast() }
            guard let columns, Table.columns(line) > columns, let last = row.last,
                alignments.last == .left
            else { return [line] }
            let before = widths.dropLast().reduce(0) { $0 + $1 + 2 }
            // Too little room beside the others: below them, indented.
            let start = columns - before >= 16 ? before : min(8, columns / 4)
            var parts = Table.wrapped(last, columns - start)
            var head = String(line.dropLast(last.count))
            if start == before, !parts.isEmpty { head += parts.removeFirst() }
            while head.last == " " { head.removeLast() }
            return [head] + parts.map { String(repeating: " ", count: start) + $0 }
        }
    }

    /// A text in lines of at most so many columns, cut at blanks where there are any.
    static func wrapped(_ text: String, _ columns: Int) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            var rest = String(word)
            if !line.isEmpty, Table.columns(line) + 1 + Table.columns(rest) > columns {
                lines.append(line)
                line = ""
            }
            while line.isEmpty, Table.columns(rest) > columns {
                var cut = ""
                while let next = rest.first,
                    Table.columns(cut) + Table.columns(String(next)) <= max(2, columns)
                {
                    cut.append(rest.removeFirst())
                }
                lines.append(cut)
            }
            line += (line.isEmpty ? "" : " ") + rest
        }
        return line.isEmpty ? lines : lines + [line]
    }

    /// The lines with the heading in bold when the console has colours, none wider than a terminal as
    /// far as the last column's text can give way.
    package func write(to console: Console, indent: String = "") {
        let room = console.isTerminal ? console.width - Table.columns(indent) : nil
        for (i, row) in rowsOfLines(fitting: room).enumerated() {
            for line in row { console.line(indent + (i == 0 ? console.bold(line) : line)) }
        }
    }

    /// Terminal columns of a text: East Asian wide and fullwidth characters take two (Unicode
    /// Standard Annex 11, the blocks that meter names use), combining marks none.
    package static func columns(_ text: String) -> Int {
        var sum = 0
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x0300...0x036F, 0x200B...0x200F, 0xFE00...0xFE0F: break
            case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3,
                0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6,
                0x1F300...0x1FAFF, 0x20000...0x3FFFD:
                sum += 2
            default: sum += 1
            }
        }
        return sum
    }

    package static func printable(_ text: String) -> String {
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            out.append(isControl ? "·" : scalar)
        }
        return String(out)
    }
}

/// Numbers and times for people.
package enum Words {
    /// `1,234,567`
    package static func grouped(_ number: some BinaryInteger) -> String {
        let digits = Array(String(number.magnitude))
        var out = number < 0 ? "-" : ""
        for (i, digit) in digits.enumerated() {
            if i > 0, (digits.count - i).isMultiple(of: 3) { out += "," }
            out.append(digit)
        }
        return out
    }

    /// `3 h 1 min`, `1 min 5 s`, `12 s`: the two largest units, cut, not rounded.
    package static func span(_ nanoseconds: Int64) -> String {
        let seconds = max(0, nanoseconds) / 1_000_000_000
        let parts = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"),
            (seconds % 60, "s"),
        ].drop { $0.0 == 0 }
        let shown = parts.prefix(2).filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
        return shown.isEmpty ? "0 s" : shown.joined(separator: " ")
    }

    /// `[=====     ]  50 %`
    package static func bar(_ done: Int, of total: Int, width: Int = 24) -> String {
        let share = min(1, max(0, Double(done) / Double(max(1, total))))
        let full = Int(share * Double(width))
        let percent = String(Int(share * 100))
        return "[" + String(repeating: "=", count: full)
            + String(repeating: " ", count: width - full) + "] "
            + String(repeating: " ", count: 3 - percent.count) + percent + " %"
    }

    /// A double with exactly `places` digits after the point.
    package static func fixed(_ number: Double, _ places: Int) -> String {
        guard number.isFinite, number.magnitude < 1e15 else { return "\(number)" }
        var scale: Int64 = 1
        for _ in 0..<places { scale *= 10 }
        let scaled = (number.magnitude * Double(scale)).rounded()
        guard scaled < 9e18 else { return "\(number)" }
        let whole = Int64(scaled)
        let sign = number < 0 && whole > 0 ? "-" : ""
        if places == 0 { return "\(sign)\(whole)" }
        let fraction = String(whole % scale)
        let zeros = String(repeating: "0", count: places - fraction.count)
        return "\(sign)\(whole / scale).\(zeros)\(fraction)"
    }

    /// `1 frame`, `2 frames`
    package static func count(_ number: some BinaryInteger, _ noun: String) -> String {
        "\(grouped(number)) \(noun)\(number == 1 ? "" : "s")"
    }
}
