// Reading whole files and standard input for the tools: in pieces, up to a limit, with errors in
// words.
// Nothing is allocated by a size that the file system announces.

import Glibc

package struct FileError: Error, Hashable, Sendable {
    package var path: String
    package var why: String

    package var description: String { "\(path): \(why)" }
}

package enum Files {
    /// All bytes of a file or pipe (`-` is standard input), at most `limit`.
    package static func read(_ path: String, limit: Int = 1 << 30) throws(FileError) -> [UInt8] {
        // Safety: a String argument is a C string for the duration of the call; so below.
        let descriptor = path == "-" ? STDIN_FILENO : unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileError(path: path, why: lastError()) }
        defer { if path != "-" { close(descriptor) } }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            // Safety: the pointer is used only inside the closure and never past the piece's count.
            let count = unsafe piece.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress!, buffer.count)
            }
            if count == 0 { return bytes }
            if count < 0 {
                if errno == EINTR { continue }
                throw FileError(path: path, why: lastError())
            }
            guard bytes.count + count <= limit else {
                throw FileError(path: path, why: "is larger than \(limit) bytes")
            }
            bytes += piece[..<count]
        }
    }

    /// `isPrivate`: for its owner only, also when others could read what was there before.
    package static func write(
        _ bytes: [UInt8], to path: String, isPrivate: Bool = false
    ) throws(FileError) {
        let mode: mode_t = isPrivate ? 0o600 : 0o644
        // Safety: a String argument is a C string for the duration of the call.
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw FileError(path: path, why: lastError()) }
        defer { close(descriptor) }
        if isPrivate, fchmod(descriptor, mode) != 0 {
            throw FileError(path: path, why: lastError())
        }
        var offset = 0
        while offset < bytes.count {
            // Safety: the pointer is used only inside the closure, for the bytes that are left.
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.write(
                    descriptor, buffer.baseAddress! + offset, bytes.count - offset)
            }
            if count > 0 {
                offset += count
            } else if errno != EINTR {
                throw FileError(path: path, why: lastError())
            }
        }
    }

    package static func isFolder(_ path: String) -> Bool {
        var info = stat()
        // Safety: stat writes one struct into the variable that lives across the call.
        return unsafe stat(path, &info) == 0 && (info.st_mode & S_IFMT) == S_IFDIR
    }

    /// From the root on, without `..`, `.` and symbolic links; as given where there is no such place.
    package static func resolved(_ path: String) -> String {
        // Safety: with no buffer given realpath returns one of its own, freed here once, or nil.
        guard let found = unsafe realpath(path, nil) else { return path }
        defer { unsafe free(found) }
        return unsafe String(cString: found)
    }

    /// Why the names in a folder cannot be read: errno; nil when they can.
    static func refusal(ofFolder path: String) -> Int32? {
        // Safety: a String argument is a C string for the duration of the call; the handle is closed.
        guard let handle = unsafe opendir(path) else { return errno }
        unsafe closedir(handle)
        return nil
    }

    // Safety: a String argument is a C string for the duration of the call.
    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    // Safety: as above.
    static func isWritable(_ path: String) -> Bool { unsafe access(path, W_OK) == 0 }

    // Safety: as above.
    static func isReadable(_ path: String) -> Bool { unsafe access(path, R_OK) == 0 }

    /// Bytes that a file takes on the disk; 0 when it cannot be asked.
    static func size(_ path: String) -> UInt64 {
        var info = stat()
        // Safety: stat writes one struct into the variable that lives across the call.
        guard unsafe stat(path, &info) == 0, info.st_blocks > 0 else { return 0 }
        return UInt64(info.st_blocks).multipliedReportingOverflow(by: 512).partialValue
    }

    /// What a symbolic link says, nil when it is none.
    static func linkTarget(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        // Safety: the buffer's count bounds what readlink writes.
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe readlink(
                path, bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }

    /// Names in a folder, sorted; empty when it cannot be read.
    package static func names(in folder: String) -> [String] {
        // Safety: the handle is closed on every path and used by this thread only; each entry is
        // copied before the next readdir.
        guard let handle = unsafe opendir(folder) else { return [] }
        defer { unsafe closedir(handle) }
        var names: [String] = []
        while let entry = unsafe readdir(handle) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// A new folder of our own under TMPDIR or /tmp, mode 0700.
    package static func makeTemporaryFolder(_ prefix: String) throws(FileError) -> String {
        let base = Console.environment("TMPDIR") ?? "/tmp"
        var template = Array("\(base)/\(prefix).XXXXXX".utf8CString)
        // Safety: mkdtemp changes the six X of the buffer in place and keeps no pointer to it.
        let path = unsafe template.withUnsafeMutableBufferPointer { buffer -> String? in
            guard unsafe mkdtemp(buffer.baseAddress!) != nil else { return nil }
            return unsafe String(cString: buffer.baseAddress!)
        }
        guard let path else { throw FileError(path: base, why: lastError()) }
        return path
    }

    /// Removes a folder with all it holds; follows no symbolic links.
    package static func removeTree(_ path: String, depth: Int = 0) {
        guard depth < 32 else { return }
        var info = stat()
        // Safety: lstat writes one struct into the variable that lives across the call.
        guard unsafe lstat(path, &info) == 0 else { return }
        if (info.st_mode & S_IFMT) == S_IFDIR {
            for name in names(in: path) { removeTree("\(path)/\(name)", depth: depth + 1) }
            // Safety: as above, the path is a C string for the duration of the call.
            unsafe rmdir(path)
        } else {
            unsafe unlink(path)
        }
    }

    package static func lastError() -> String { words(errno) }

    package static func words(_ code: Int32) -> String {
        // Safety: strerror's text is copied at once; only this thread of the tool calls it.
        unsafe String(cString: strerror(code))
    }
}

extension Files {
    /// A folder of our own; one that is there already is fine.
    package static func makeFolder(_ path: String) throws(FileError) {
        // Safety: a String argument is a C string for the duration of the call.
        guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw FileError(path: path, why: lastError())
        }
    }
}
