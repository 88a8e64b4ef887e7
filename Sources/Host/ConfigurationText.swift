// Small readers and printers of configuration texts: durations, sizes, the distance of two words,
// and the file itself.

import CLinux
package import Formats
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

/// Texts of a configuration as complaints show them.
enum Shown {
    /// Without control characters, which a terminal would obey, and without what may be a secret.
    static func text(_ text: String) -> String {
        if isSecret(text) { return "(not shown)" }
        var shown = ""
        for scalar in text.unicodeScalars.prefix(60) {
            let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            shown.unicodeScalars.append(isControl ? "·" : scalar)
        }
        return shown
    }

    /// Hex digits as long as a key, or an address with a password before its @.
    static func isSecret(_ text: String) -> Bool {
        let digits = text.utf8.count { Character(Unicode.Scalar($0)).isHexDigit }
        let others = text.utf8.count { !Character(Unicode.Scalar($0)).isHexDigit && $0 != 0x20 }
        if digits >= 32, others == 0 { return true }
        guard let at = text.firstIndex(of: "@") else { return false }
        return text[..<at].split(separator: "/").last?.contains(":") == true
    }

    private static let secrets: Set<String> = [
        "key", "passphrase", "passwd", "password", "presharedkey", "privatekey", "psk", "pw",
        "secret", "secrets", "token", "apikey",
    ]

    /// Whether a key by this name would hold one.
    static func isSecretKey(_ key: String) -> Bool {
        secrets.contains(key.lowercased().filter { $0 != "_" && $0 != "-" })
    }

    /// What stands after the last colon, when it is a number and no port.
    static func wrongPort(_ text: String) -> String? {
        let digits = text.reversed().prefix { $0.isASCII && $0.isNumber }
        guard !digits.isEmpty, text.dropLast(digits.count).last == ":" else { return nil }
        let port = String(digits.reversed())
        guard let number = UInt16(port), number > 0 else { return String(port.prefix(20)) }
        return nil
    }
}

extension ConfigurationFile {
    /// Most files in `conf.d`.
    private static let maximumFiles = 256

    /// The file and, in the order of their names, the `conf.d/*.json5` beside it.
    package static func read(_ path: String) throws(Complaints) -> [ConfigurationFile] {
        let folder = (path.lastIndex(of: "/").map { path[...$0] } ?? "") + "conf.d"
        var files = [try ConfigurationFile(reading: path)]
        let names = try FolderNames.read(String(folder)).filter {
            $0.hasSuffix(".json5") && !$0.hasPrefix(".")
        }
        guard names.count <= maximumFiles else {
            throw complaints(
                String(folder), "more than \(maximumFiles) files", "put several into one")
        }
        var bytes = files[0].bytes.count
        for name in names.sorted() {
            let file = try ConfigurationFile(reading: "\(folder)/\(name)")
            bytes += file.bytes.count
            guard bytes <= JSONNode.maximumBytes else {
                throw complaints(file.path, "more than 4 MB in all", "write less")
            }
            files.append(file)
        }
        return files
    }

    fileprivate static func complaints(
        _ path: String, _ what: String, _ advice: String
    ) -> Complaints {
        Complaints(all: [
            Complaint(file: path, line: 1, column: 1, what: what, suggestion: advice)
        ])
    }

    /// Reads a file, of one that is too large only so much that the parser refuses it.
    init(reading path: String) throws(Complaints) {
        // Safety: Swift lends a NUL-terminated copy of `path`.
        let result = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard let file = Descriptor(result) else {
            let why = HostError("", result: -errno).why
            throw ConfigurationFile.complaints(
                path, "cannot read the file: \(why)", "check the path and its permissions")
        }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= JSONNode.maximumBytes {
            let n = file.read(into: &part, at: 0)
            if n < 0 {
                let why = HostError("", result: Int32(n)).why
                throw ConfigurationFile.complaints(
                    path, "cannot read the file: \(why)",
                    n == -Int(EISDIR)
                        ? "name a file in the folder, such as sluiced.json5" : "check the disk")
            }
            if n == 0 { break }
            bytes += part[..<n]
        }
        self.init(path: path, bytes: bytes)
    }
}

/// Names in a folder, in no order.
private enum FolderNames {
    /// None where there is no such folder; one that may not be read is a complaint.
    static func read(_ folder: String) throws(Complaints) -> [String] {
        // Safety: opendir's result is checked for nil; each entry is used before the next call;
        // closedir is called once.
        guard let handle = unsafe opendir(folder) else {
            if errno == ENOENT || errno == ENOTDIR { return [] }
            throw ConfigurationFile.complaints(
                folder, "cannot read the folder: \(HostError("", result: -errno).why)",
                "let the daemon's user read it")
        }
        var names: [String] = []
        while true {
            guard let entry = unsafe readdir(handle) else { break }
            // Safety: d_name is a NUL-terminated array inside the entry.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { text in
                    unsafe String(cString: text)
                }
            }
            names.append(name)
        }
        // Safety: handle came from opendir and is not used again.
        unsafe closedir(handle)
        return names
    }
}
