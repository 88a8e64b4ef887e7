// A tar file (POSIX.1-1988 ustar) of a few small files. Layout of each: a header of 512 bytes (name 100,
// mode 8, owner 8, group 8, size 12, time 12, sum 8, kind 1, link 100, "ustar\0" "00", …; numbers in
// octal), the content, zeros up to 512. Two empty blocks end it. Values only.

package struct TarArchive {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// `name`: at most 100 bytes. The file is its owner's only.
    package mutating func add(_ name: String, _ content: [UInt8], seconds: Int64) {
        precondition(name.utf8.count <= 100 && !name.isEmpty, "ustar names have 100 bytes")
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at offset: Int) {
            for (i, byte) in text.utf8.enumerated() { header[offset + i] = byte }
        }
        func octal(_ number: Int64, _ digits: Int) -> String {
            let text = String(max(0, number), radix: 8)
            return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
        }
        put(name, at: 0)
        put(octal(0o600, 7), at: 100)
        put(octal(0, 7), at: 108)
        put(octal(0, 7), at: 116)
        put(octal(Int64(content.count), 11), at: 124)
        put(octal(min(seconds, 0o77_777_777_777), 11), at: 136)
        // The sum is taken with blanks in its own place.
        put("        ", at: 148)
        put("0", at: 156)
        put("ustar", at: 257)
        put("00", at: 263)
        let sum = header.reduce(Int64(0)) { $0 + Int64($1) }
        put(octal(sum, 6), at: 148)
        header[154] = 0
        bytes += header + content
        bytes += [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    package mutating func end() { bytes += [UInt8](repeating: 0, count: 1024) }
}
