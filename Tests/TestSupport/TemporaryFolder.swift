// For the tests of several rooms: a folder of its own for each test, and a copy of a folder as a power
// cut would leave it.

import Glibc

/// A folder of its own for each test, removed with everything in it when the value goes.
package final class TemporaryFolder {
    package let path: String

    /// `inMemory`: where a flush costs nothing, if the machine has such a place.
    package init(inMemory: Bool = false) {
        // Safety: Swift lends the text with its ending zero for the call.
        let isThere = unsafe inMemory && access(TemporaryFolder.memory, W_OK) == 0
        let place = isThere ? TemporaryFolder.memory : "/tmp"
        var template = Array((place + "/sluice-test-XXXXXX").utf8CString)
        // Safety: the template is a zero-terminated array that mkdtemp writes in place.
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer in
            unsafe buffer.baseAddress.flatMap { unsafe mkdtemp($0) } != nil
        }
        precondition(made, "no temporary folder")
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { TemporaryFolder.remove(path) }

    private static let memory = "/dev/shm"

    /// Names in the folder, sorted, without `.` and `..`.
    package static func list(_ path: String) -> [String] {
        // Safety: as in `remove`.
        guard let folder = unsafe opendir(path) else { return [] }
        var names: [String] = []
        // Safety: readdir's entry is read before the next call; its name ends with zero.
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        // Safety: opened above, closed once.
        _ = unsafe closedir(folder)
        return names.sorted()
    }

    package static func remove(_ path: String) {
        for name in list(path) {
            // Safety: Swift lends the text with its ending zero for the call; so below.
            if unsafe unlink(path + "/" + name) != 0 { remove(path + "/" + name) }
        }
        // Safety: as above.
        _ = unsafe rmdir(path)
    }

    /// Copies the files of a flat folder as they are at this moment, as a power cut would leave
    /// them when the device honours flushes.
    package static func copy(_ from: String, to: String) {
        // Safety: as in `remove`.
        _ = unsafe mkdir(to, 0o700)
        for name in list(from) { write(read(from + "/" + name), to: to + "/" + name) }
    }

    package static func read(_ path: String) -> [UInt8] {
        // Safety: as in `remove`.
        let fd = unsafe open(path, O_RDONLY)
        guard fd >= 0 else { return [] }
        defer { _ = close(fd) }
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // Safety: the array is valid for its own count during the call.
            let n = unsafe Glibc.read(fd, &part, part.count)
            guard n > 0 else { return all }
            all.append(contentsOf: part[..<n])
        }
    }

    package static func write(_ bytes: [UInt8], to path: String) {
        // Safety: as in `remove`.
        let fd = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        precondition(fd >= 0, "cannot write \(path)")
        var done = 0
        while done < bytes.count {
            // Safety: the slice is valid for its own count during the call.
            let n = unsafe bytes[done...].withUnsafeBytes {
                unsafe Glibc.write(fd, $0.baseAddress, $0.count)
            }
            precondition(n > 0, "cannot write \(path)")
            done += n
        }
        _ = close(fd)
    }
}

/// A folder in a temporary folder.
package func makeDirectory(_ path: String) throws {
    struct NoDirectory: Error {}
    // Safety: Swift lends the text with its ending zero for the call.
    guard unsafe mkdir(path, 0o700) == 0 else { throw NoDirectory() }
}
