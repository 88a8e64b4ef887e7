// The names in a spool's directory and what is done with them. With SpoolFolder.swift the sole
// place of
// system calls in this room. No state; used on the spool queue.
//
//     lock                       pid of the owner in decimal
//     segment-00000001.db        SQLite, see Segment.swift; the highest number is the one that is
//     written
//     segment-00000001.db-wal    its write-ahead log
//     segment-00000001.db.bad-1  set aside because it was damaged (with its -wal); the oldest go
//     when
//                                the quota needs their room
//     segment-00000001.db.bad-1-wal  alone: a log that was mended (SegmentLog.swift), as it was found
//     last                       the newest sequence that was given out, in decimal; not flushed:
//     it tells
//                                a newest log that lost its end from one that never had it
//     quarantine.db              see QuarantineFile.swift
//     ballast                    room that is given up when the device is full, so that what
//     frees room
//                                can be written down

internal import Glibc

/// The files in a spool's directory, by name.
struct SpoolFiles: Hashable, Sendable {
    let path: String

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
        while taken.contains("\(name).bad-\(number)") || taken.contains("\(name).bad-\(number)-wal")
        {
            number += 1
        }
        let bad = "\(file).bad-\(number)"
        // The log last: a database without its log would open as an older state and give sequences
        // out again; a log without its database is thrown away by SQLite.
        try rename(file, bad)
        if taken.contains(name + "-wal") { try rename(file + "-wal", bad + "-wal") }
        return bad
    }

    /// Files that were set aside, the oldest segment first, with their bytes (and those of their
    /// logs).
    func badFiles() throws(SpoolError) -> [(path: String, bytes: Int)] {
        // A log that was mended stands alone.
        Set(
            try names().filter { $0.contains(".db.bad-") }.map {
                $0.hasSuffix("-wal") ? String($0.dropLast(4)) : $0
            }
        ).sorted().map { (path + "/" + $0, bytes(of: path + "/" + $0)) }
    }

    /// Bytes of a file and its log; 0 when it is not there.
    func bytes(of file: String) -> Int { size(file) + size(file + "-wal") }

    func exists(_ file: String) -> Bool {
        var status = stat()
        // Safety: Swift lends the text with its ending zero; `status` outlives the call.
        return unsafe lstat(file, &status) == 0
    }

    func size(_ file: String) -> Int {
        var status = stat()
        // Safety: Swift lends the text with its ending zero; `status` outlives the call.
        return unsafe lstat(file, &status) == 0 ? Int(status.st_size) : 0
    }

    /// Unlinks a file and what SQLite keeps beside it; the database first, see `setAside`.
    func remove(_ file: String) {
        for name in [file, file + "-wal", file + "-shm", file + "-journal"] {
            // Safety: Swift lends the text with its ending zero for the call. What is not there
            // need not
            // be removed; what cannot be is tried again at the next start.
            _ = unsafe unlink(name)
        }
    }

    /// Makes names that were added or removed durable.
    func sync() {
        // Safety: Swift lends the text with its ending zero for the call.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        _ = close(descriptor)
    }

    /// Bytes that the device has left for us; `Int.max` when it does not say.
    func freeBytes() -> Int {
        var status = statvfs()
        // Safety: Swift lends the text with its ending zero; `status` outlives the call.
        guard unsafe statvfs(path, &status) == 0, status.f_frsize > 0 else { return .max }
        let (bytes, isTooMany) = UInt64(status.f_bavail).multipliedReportingOverflow(
            by: UInt64(status.f_frsize))
        return isTooMany ? .max : Int(clamping: bytes)
    }

    /// A file's bytes; nil when it cannot be read whole or is longer than `limit`.
    func bytes(of file: String, limit: Int) -> [UInt8]? {
        // Safety: Swift lends the text with its ending zero for the call.
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return nil }
        defer { _ = close(descriptor) }
        let count = size(file)
        guard count <= limit else { return nil }
        var all = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            // Safety: the rest of the array is valid during the call, which is told its length.
            let n = unsafe all.withUnsafeMutableBytes { buffer in
                unsafe read(descriptor, buffer.baseAddress! + done, count - done)
            }
            guard n > 0 else { return nil }
            done += n
        }
        return all
    }

    /// Keeps a log as it was found, under the first free `.bad-<n>-wal` of its segment.
    func keep(_ log: [UInt8], besides file: String) -> Bool {
        var number = 1
        while exists("\(file).bad-\(number)") || exists("\(file).bad-\(number)-wal") { number += 1 }
        return replace("\(file).bad-\(number)-wal", by: log)
    }

    /// Puts another content in a file's place, all at once and durable; false when that cannot be done.
    func replace(_ file: String, by bytes: [UInt8]) -> Bool {
        let new = file + ".new"
        // Safety: Swift lends the text with its ending zero for the call.
        let descriptor = unsafe open(
            new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return false }
        var done = 0
        while done < bytes.count {
            // Safety: the rest of the array is valid during the call, which is told its length.
            let n = unsafe bytes.withUnsafeBytes { buffer in
                unsafe write(descriptor, buffer.baseAddress! + done, bytes.count - done)
            }
            if n <= 0 { break }
            done += n
        }
        let isThere = done == bytes.count && fsync(descriptor) == 0
        _ = close(descriptor)
        // Safety: Swift lends both texts with their ending zero for the call.
        guard isThere, unsafe Glibc.rename(new, file) == 0 else {
            // Safety: as above.
            _ = unsafe unlink(new)
            return false
        }
        sync()
        return true
    }

    func note(lastSequence: UInt64) {
        // Safety: Swift lends the text with its ending zero for the call.
        let descriptor = unsafe open(
            path + "/last", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return }
        let digits = String(lastSequence)
        let text = Array(
            (String(repeating: "0", count: max(0, 20 - digits.utf8.count)) + digits).utf8)
        // Safety: the array is valid for its own count during the call. What is not written is
        // not missed
        // before the log is damaged as well.
        _ = unsafe pwrite(descriptor, text, text.count, 0)
        _ = close(descriptor)
    }

    /// 0 when it says nothing.
    func notedLastSequence() -> UInt64 {
        // Safety: Swift lends the text with its ending zero for the call.
        let descriptor = unsafe open(path + "/last", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return 0 }
        var text = [UInt8](repeating: 0, count: 20)
        // Safety: the array is valid for its own count during the call.
        let count = unsafe read(descriptor, &text, text.count)
        _ = close(descriptor)
        let number = UInt64(String(decoding: text.prefix(max(0, count)), as: UTF8.self)) ?? 0
        return number < 1 << 62 ? number : 0
    }

    var ballast: String { path + "/ballast" }

    /// Takes up `count` bytes of the device; false when they are not there.
    @discardableResult
    func makeBallast(_ count: Int) -> Bool {
        if size(ballast) >= count { return true }
        // Safety: Swift lends the text with its ending zero for the call.
        let descriptor = unsafe open(ballast, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return false }
        let isMade = posix_fallocate(descriptor, 0, count) == 0
        _ = close(descriptor)
        if !isMade { releaseBallast() }
        return isMade
    }

    /// True when there was one.
    @discardableResult
    func releaseBallast() -> Bool {
        // Safety: Swift lends the text with its ending zero for the call.
        unsafe unlink(ballast) == 0
    }

    private func rename(_ from: String, _ to: String) throws(SpoolError) {
        // Safety: Swift lends both texts with their ending zero for the call.
        guard unsafe Glibc.rename(from, to) == 0 else { throw SpoolFiles.failure(from) }
    }

    private func names() throws(SpoolError) -> [String] {
        // Safety: Swift lends the text with its ending zero for the call.
        guard let folder = unsafe opendir(path) else { throw SpoolFiles.failure(path) }
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

    /// `mayPass`: what the device does may pass by itself, a wrong path does not.
    static func failure(
        _ path: String, _ code: Int32 = errno, mayPass: Bool = false
    ) -> SpoolError {
        // Safety: glibc's text for a code is constant; it ends with zero.
        let reason = unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
        let passing = [EROFS, ENOSPC, EDQUOT, EIO, EACCES, EPERM, ENOMEM, EMFILE, ENFILE]
        return mayPass && passing.contains(code)
            ? .storage(path: path, reason: reason) : .directory(path: path, reason: reason)
    }
}
