// A small plot in the terminal, drawn with Braille patterns (Unicode block 2800): two by four dots a
// character. Times run from left to right, the scale stands at the left. Pure text.

package import Model

package struct Plot: Sendable {
    package struct Point: Sendable {
        package var time: Int64
        package var value: Double

        package init(time: Int64, value: Double) {
            self.time = time
            self.value = value
        }
    }

    package var title: String
    package private(set) var points: [Point] = []
    /// More than this and neighbours share a dot anyway: memory stays bounded.
    private static let maximumPoints = 1_000_000

    package init(title: String) { self.title = title }

    /// Values that are no number are left out.
    package mutating func add(_ time: Timestamp, _ value: Double?) {
        guard let value, value.isFinite, points.count < Plot.maximumPoints else { return }
        points.append(Point(time: time.milliseconds, value: value))
    }

    /// `columns` wide at most, `rows` of plot between title and times.
    package func lines(columns: Int, rows: Int) -> [String] {
        guard let first = points.map(\.time).min(), let last = points.map(\.time).max(),
            let low = points.map(\.value).min(), let high = points.map(\.value).max()
        else { return [title, "  no numbers"] }
        let marks = [high, low].map(Plot.mark)
        let margin = (marks.map(\.count).max() ?? 0) + 1
        let width = max(10, columns - margin - 1)
        var cells = [[UInt8]](repeating: [UInt8](repeating: 0, count: width), count: rows)
        let (across, down) = (width * 2, rows * 4)
        for point in points {
            let x = Plot.place(
                Double(point.time) - Double(first), Double(last) - Double(first), across)
            let y = down - 1 - Plot.place(point.value - low, high - low, down)
            cells[y / 4][x / 2] |= Plot.dots[y % 4][x % 2]
        }
        var lines = [title]
        for (row, cells) in cells.enumerated() {
            let mark = row == 0 ? marks[0] : row == rows - 1 && high > low ? marks[1] : ""
            let pad = String(repeating: " ", count: margin - 1 - mark.count)
            let text = cells.map { byte in
                byte == 0 ? " " : String(Unicode.Scalar(0x2800 + UInt32(byte)) ?? " ")
            }.joined()
            lines.append(Plot.trimmed(pad + mark + "│" + text))
        }
        let from = StatusScreen.time(Timestamp(milliseconds: first))
        let to = StatusScreen.time(Timestamp(milliseconds: last))
        let gap = width - from.count - to.count
        let times = first == last || gap < 2 ? from : from + String(repeating: " ", count: gap) + to
        lines.append(String(repeating: " ", count: margin) + times)
        return lines
    }

    /// Bits of the dots of a Braille character by row and column.
    private static let dots: [[UInt8]] = [
        [0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80],
    ]

    /// Where a value of 0...span stands among `count` places; in the middle when there is no span.
    private static func place(_ value: Double, _ span: Double, _ count: Int) -> Int {
        guard span > 0, (value / span).isFinite else { return count / 2 }
        return min(count - 1, max(0, Int(value / span * Double(count - 1) + 0.5)))
    }

    private static func mark(_ value: Double) -> String {
        let size = value.magnitude
        if size >= 1e9 || (size > 0 && size < 1e-3) { return "\(value)" }
        let text = Words.fixed(value, size >= 1000 ? 0 : size >= 10 ? 1 : 3)
        guard text.contains(".") else { return text }
        var digits = text[...]
        while digits.last == "0" { digits.removeLast() }
        if digits.last == "." { digits.removeLast() }
        return String(digits)
    }

    private static func trimmed(_ text: String) -> String {
        var text = text[...]
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
