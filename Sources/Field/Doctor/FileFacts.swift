// What the doctor asks of files, disks and users: system calls and /proc, nothing that asks a network.
// Everything from /proc is read as text that may be cut or odd. Called on the doctor's own threads.

import Glibc

/// Whose a file is and who may use it.
package struct FileFacts: Hashable, Sendable {
    /// The last nine bits: `0o700`.
    package var mode: UInt32
    package var user: UInt32
    package var device: UInt64
    package var isFolder: Bool

    package init(mode: UInt32, user: UInt32, device: UInt64 = 0, isFolder: Bool = false) {
        self.mode = mode
        self.user = user
        self.device = device
        self.isFolder = isFolder
    }

    package enum Look: Hashable, Sendable {
        case there(FileFacts)
        case missing
        case forbidden

        package var facts: FileFacts? { if case .there(let facts) = self { facts } else { nil } }
    }

    package static func of(_ path: String) -> Look {
        var info = stat()
        // Safety: stat writes one struct into the variable that lives across the call.
        guard unsafe stat(path, &info) == 0 else {
            return errno == ENOENT || errno == ENOTDIR ? .missing : .forbidden
        }
        return .there(
            FileFacts(
                mode: UInt32(info.st_mode) & 0o777, user: info.st_uid, device: UInt64(info.st_dev),
                isFolder: (info.st_mode & S_IFMT) == S_IFDIR))
    }

    /// `0700`
    package var modeText: String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}

/// The room on the disk of a folder, and what was written to it.
package struct DiskFacts: Hashable, Sendable {
    package var free: UInt64 = 0
    package var total: UInt64 = 0
    package var inodesFree: UInt64 = 0
    /// 0: the file system does not count them.
    package var inodes: UInt64 = 0
    package var isReadOnly = false
    /// `mmcblk0p2`; nil where the kernel does not count what is written.
    package var device: String?
    package var writtenPerDay: UInt64?
    package var deviceBytes: UInt64?

    package init() {}

    package static func of(_ folder: String) -> DiskFacts? {
        var info = statvfs()
        // Safety: statvfs writes one struct into the variable that lives across the call.
        guard unsafe statvfs(folder, &info) == 0 else { return nil }
        var facts = DiskFacts()
        let unit = UInt64(info.f_frsize)
        facts.free = UInt64(info.f_bavail).multipliedReportingOverflow(by: unit).partialValue
        facts.total = UInt64(info.f_blocks).multipliedReportingOverflow(by: unit).partialValue
        facts.inodesFree = UInt64(info.f_favail)
        facts.inodes = UInt64(info.f_files)
        // ST_RDONLY of statvfs(3).
        facts.isReadOnly = UInt64(info.f_flag) & 1 != 0
        if let file = FileFacts.of(folder).facts { facts.addWrites(ofDevice: file.device) }
        return facts
    }

    private mutating func addWrites(ofDevice number: UInt64) {
        // makedev(3) of Linux: twelve bits and twenty, spread over 64.
        let major = number >> 8 & 0xFFF | number >> 32 & 0xFFFF_F000
        let minor = number & 0xFF | number >> 12 & 0xFFFF_FF00
        guard let text = System.text("/proc/diskstats"),
            let row = DiskFacts.row(text, major, minor),
            let seconds = System.uptimeSeconds, seconds >= 60
        else { return }
        device = row.name
        let bytes = Double(row.sectorsWritten) * 512
        writtenPerDay = UInt64(min(bytes / seconds * 86_400, 1e18))
        let size = System.text("/sys/dev/block/\(major):\(minor)/size")?.trimmedLine
        deviceBytes = size.flatMap { UInt64($0) }.map { $0.multipliedReportingOverflow(by: 512).0 }
    }

    /// The row of one device in /proc/diskstats: sectors are of 512 bytes, whatever the disk's are.
    package static func row(
        _ text: String, _ major: UInt64, _ minor: UInt64
    ) -> (name: String, sectorsWritten: UInt64)? {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count > 9, UInt64(words[0]) == major, UInt64(words[1]) == minor,
                let written = UInt64(words[9])
            else { continue }
            return (String(words[2]), written)
        }
        return nil
    }
}

/// Small questions to /proc and /etc.
package enum System {
    /// At most 4 MB; nil when it cannot be read.
    package static func text(_ path: String) -> String? {
        (try? Files.read(path, limit: 4 << 20)).map { String(decoding: $0, as: UTF8.self) }
    }

    static var uptimeSeconds: Double? {
        text("/proc/uptime")?.split(separator: " ").first.flatMap { Double($0) }
    }

    static var kernel: String {
        text("/proc/sys/kernel/osrelease")?.trimmedLine ?? ""
    }

    /// From /etc/passwd alone: a directory server might hang.
    package static func userName(
        _ number: UInt32, in passwd: String? = text("/etc/passwd")
    ) -> String {
        for line in (passwd ?? "").split(separator: "\n") {
            let parts = line.split(separator: ":", omittingEmptySubsequences: false)
            if parts.count > 2, UInt32(parts[2]) == number { return String(parts[0]) }
        }
        return "\(number)"
    }

    static func userNumber(_ name: String) -> UInt32? {
        for line in (text("/etc/passwd") ?? "").split(separator: "\n") {
            let parts = line.split(separator: ":", omittingEmptySubsequences: false)
            if parts.count > 2, parts[0] == name { return UInt32(parts[2]) }
        }
        return nil
    }
}

extension String {
    /// Without the line feed at its end.
    var trimmedLine: String {
        var text = self[...]
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
