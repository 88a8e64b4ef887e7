// Small readers and printers of configuration texts: durations, sizes, the distance of two words,
// and the file itself.

import CLinux
import Formats
import Glibc

private let durationUnits: [(suffix: String, milliseconds: Int64)] = [
    ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
]

/// `250ms`, `10s`, `5m`, `1h`, `30d` or `0`, in milliseconds; nil for anything else.
package func parseDuration(_ text: String) -> Int64? {
    if text == "0" { return 0 }
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let number = Int64(digits),
        let unit = durationUnits.first(where: { $0.suffix == text[digits.endIndex...] })
    else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit.milliseconds)
    return overflow ? nil : product
}

package func durationText(_ milliseconds: Int64) -> String {
    if milliseconds == 0 { return "0" }
    let unit = durationUnits.last { milliseconds % $0.milliseconds == 0 } ?? durationUnits[0]
    return "\(milliseconds / unit.milliseconds)\(unit.suffix)"
}

private let sizeUnits: [(suffix: String, shift: Int)] = [
    ("B", 0), ("KB", 10), ("MB", 20), ("GB", 30), ("TB", 40),
]

/// `4096`, `64KB`, `4MB`, `1GB` (powers of 1024), in bytes; nil for anything else.
package func parseSize(_ text: String) -> Int? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let number = Int(digits) else { return nil }
    let suffix = text[digits.endIndex...]
    if suffix.isEmpty { return number }
    guard let unit = sizeUnits.first(where: { $0.suffix == suffix }) else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: 1 << unit.shift)
    return overflow ? nil : product
}

package func sizeText(_ bytes: Int) -> String {
    let unit = sizeUnits.last { bytes != 0 && bytes % (1 << $0.shift) == 0 } ?? sizeUnits[0]
    return "\(bytes >> unit.shift)\(unit.suffix)"
}

/// Insertions, removals, replacements and swaps of neighbours that make one word the other.
package func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.lowercased().utf8.prefix(64)), Array(b.lowercased().utf8.prefix(64)))
    var before: [Int] = []
    var last = Array(0...b.count)
    for i in 0..<a.count {
        var row = [i + 1]
        for j in 0..<b.count {
            var best = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                best = min(best, before[j - 1] + 1)
            }
            row.append(best)
        }
        before = last
        last = row
    }
    return last[b.count]
}

/// The bytes of a configuration file of at most 4 MB.
func readConfiguration(_ path: String) throws(Complaints) -> [UInt8] {
    func complaint(_ why: String, _ advice: String) -> Complaints {
        Complaints(all: [
            Complaint(file: path, line: 1, column: 1, what: why, suggestion: advice)
        ])
    }
    // Safety: Swift lends a NUL-terminated copy of `path`.
    let result = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard let file = Descriptor(result) else {
        let why = HostError("", result: -errno).why
        throw complaint("cannot read the file: \(why)", "check the path and its permissions")
    }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 65_536)
    // One byte beyond the limit is enough for the parser to refuse it.
    while bytes.count <= JSONNode.maximumBytes {
        let n = file.read(into: &part, at: 0)
        if n < 0 {
            let why = HostError("", result: Int32(n)).why
            throw complaint("cannot read the file: \(why)", "check the path")
        }
        if n == 0 { break }
        bytes += part[..<n]
    }
    return bytes
}
