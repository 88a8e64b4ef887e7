// Lines `stream,unix_ms,value` as readings, for `sluice batch` and `sluice bench codec`. Streams are
// numbered by the order of their names, so that a batch does not depend on who spoke first and the
// quantities of a device stand side by side. Pure.

import Model

struct ReadingLines {
    /// In the order of the lines.
    private(set) var readings: [Reading] = []
    /// By number.
    private(set) var names: [[UInt8]] = []
    /// Where each reading's line begins; one more than readings.
    private(set) var offsets: [Int] = []

    struct Wrong: Error {
        var line: Int
        var why: String
    }

    private static let comma = UInt8(ascii: ",")

    /// A first line whose time is no number is a heading when `hasHeading`.
    init(_ text: [UInt8], hasHeading: Bool) throws(Wrong) {
        var numbers: [[UInt8]: UInt32] = [:]
        var start = 0
        var line = 0
        while start < text.count {
            let end = text[start...].firstIndex(of: 0x0A) ?? text.count
            line += 1
            var last = end
            if last > start, text[last - 1] == 0x0D { last -= 1 }
            if last > start, !(hasHeading && line == 1) {
                let (name, time, value) = try ReadingLines.fields(text[start..<last], line)
                let number = numbers[name] ?? UInt32(numbers.count)
                if number == numbers.count {
                    numbers[name] = number
                    names.append(name)
                }
                offsets.append(start)
                readings.append(
                    Reading(
                        stream: StreamID(number), value: .double(value), quality: [],
                        observedAt: Timestamp(milliseconds: time),
                        receivedAt: Timestamp(milliseconds: time)))
            }
            start = end + 1
        }
        offsets.append(text.count)
        sortNames()
    }

    private static func fields(
        _ line: ArraySlice<UInt8>, _ number: Int
    ) throws(Wrong) -> (name: [UInt8], time: Int64, value: Double) {
        // From the end: a name may hold commas.
        guard let second = line.lastIndex(of: comma),
            let first = line[..<second].lastIndex(of: comma)
        else { throw Wrong(line: number, why: "is not stream,unix_ms,value") }
        guard first > line.startIndex else { throw Wrong(line: number, why: "has no stream") }
        guard let time = Int64(String(decoding: line[(first + 1)..<second], as: UTF8.self)) else {
            throw Wrong(line: number, why: "has no time in milliseconds")
        }
        guard let value = Double(String(decoding: line[(second + 1)...], as: UTF8.self)) else {
            throw Wrong(line: number, why: "has no number as its value")
        }
        return (Array(line[..<first]), time, value)
    }

    private mutating func sortNames() {
        let order = names.indices.sorted { names[$0].lexicographicallyPrecedes(names[$1]) }
        var rank = [UInt32](repeating: 0, count: order.count)
        for (number, old) in order.enumerated() { rank[old] = UInt32(number) }
        names = order.map { names[$0] }
        for i in readings.indices {
            readings[i].stream = StreamID(rank[Int(readings[i].stream.rawValue)])
        }
    }
}
