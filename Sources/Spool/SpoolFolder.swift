// The spool's directory: made 0700, owned by one process at a time through a lock on the file
// `lock` (flock, so that a second opener in the same process is refused too, and the kernel lets go
// when the process dies; the number in the file is for people). Sole place of system calls in this
// room.
//
//     lock                       pid of the owner in decimal
//     segment-00000001.db        SQLite, see Segment.swift; the highest number is the active one
//     segment-00000001.db-wal    its write-ahead log
//     segment-00000001.db.bad-1  set aside because it was damaged (with its -wal); never touched

internal import Glibc

/// An owned directory; the lock is let go when the value is destroyed.
struct SpoolFolder: ~Copyable {
    let path: String
    private let descriptor: Int32

    init(_ path: String) throws(SpoolError) {
        self.path = path
        descriptor = try SpoolFolder.lock(path)
    }

    deinit { _ = close(descriptor) }

    /// Numbers of the segment files that are there, rising; files set aside are not among them.
    func segments() throws(SpoolError) -> [Int] {
        try names().compactMap { name in
            guard name.hasPrefix("segment-"), name.hasSuffix(".db"), name.utf8.count <= 20,
                let number = Int(name.dropFirst(8).dropLast(3)), number > 0
            else { return nil }
            return path(ofSegment: number) == path + "/" + name ? number : nil
        }.sorted()
    }

    func path(ofSegment number: Int) -> String {
        let digits = String(number)
        return path + "/segment-" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
            + ".db"
    }

    /// Renames a damaged file and its log to the first free `.bad-<n>`; answers the new path.
    func setAside(_ file: String) throws(SpoolError) -> String {
        let taken = try names()
        let name = String(file.dropFirst(path.count + 1))
        var number = 1
        while taken.contains("\(name).bad-\(number)") { number += 1 }
        let bad = "\(file).bad-\(number)"
        // The log last: a database without its log would open as an older state and give sequences
        // out again; a log without its database is thrown away by SQLite.
        try rename(file, bad)
        if taken.contains(name + "-wal") { try rename(file + "-wal", bad + "-wal") }
        return bad
    }

    private func rename(_ from: String, _ to: String) throws(SpoolError) {
        // Safety: Swift lends both texts with their ending zero for the call.
        guard unsafe Glibc.rename(from, to) == 0 else { throw SpoolFolder.failure(from) }
    }

    private func names() throws(SpoolError) -> [String] {
        // Safety: Swift lends the text with its ending zero for the call.
        guard let folder = unsafe opendir(path) else { throw SpoolFolder.failure(path) }
        var names: [String] = []
        // Safety: `folder` is open; an entry is valid until the next call.
        while let entry = unsafe readdir(folder) {
            // Safety: d_name is an array of 256 bytes that ends with zero.
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            names.append(name)
        }
        // Safety: opened above, closed once.
        _ = unsafe closedir(folder)
        return names
    }

    private static func lock(_ path: String) throws(SpoolError) -> Int32 {
        // Safety: Swift lends the text with its ending zero for the call; so in all calls below.
        if unsafe mkdir(path, 0o700) == 0 {
            syncParent(of: path)
        } else if errno != EEXIST {
            throw failure(path)
        }
        let file = path + "/lock"
        // Safety: as above.
        let descriptor = unsafe open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure(file) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let reason = errno
            var text = [UInt8](repeating: 0, count: 16)
            // Safety: the array is valid for its own count during the call.
            let count = unsafe read(descriptor, &text, text.count)
            _ = close(descriptor)
            guard reason == EWOULDBLOCK else { throw failure(file, reason) }
            let digits = text.prefix(max(0, count)).prefix { $0 >= 0x30 && $0 <= 0x39 }
            let pid = Int32(String(decoding: digits, as: UTF8.self)) ?? 0
            throw .inUse(directory: path, pid: pid)
        }
        let pid = Array("\(getpid())\n".utf8)
        // Safety: the array is valid for its own count during the call.
        guard ftruncate(descriptor, 0) == 0, unsafe pwrite(descriptor, pid, pid.count, 0) >= 0
        else {
            // On a full disk the number is missing; the lock itself holds.
            if errno == ENOSPC { return descriptor }
            let reason = errno
            _ = close(descriptor)
            throw failure(file, reason)
        }
        return descriptor
    }

    /// Makes the new directory's name durable; a file system that cannot do so loses nothing more.
    private static func syncParent(of path: String) {
        let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        let name = parent.joined(separator: "/")
        // Safety: as in `lock`.
        let descriptor = unsafe open(
            name.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        _ = close(descriptor)
    }

    private static func failure(_ path: String, _ code: Int32 = errno) -> SpoolError {
        // Safety: glibc's text for a code is constant; it ends with zero.
        let reason = unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
        return .directory(path: path, reason: reason)
    }
}
