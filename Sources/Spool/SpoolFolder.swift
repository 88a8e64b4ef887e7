// A spool's directory is made 0700 and owned by one process at a time through a lock on the file
// `lock`
// (flock, so that a second opener in the same process is refused too, and the kernel lets go when
// the
// process dies; the number in the file is for people).

internal import Glibc

/// An owned directory; the lock is let go when the value is destroyed.
struct SpoolFolder: ~Copyable {
    let files: SpoolFiles
    private let descriptor: Int32

    init(_ path: String) throws(SpoolError) {
        files = SpoolFiles(path: path)
        descriptor = try SpoolFolder.lock(path)
    }

    deinit { _ = close(descriptor) }

    private static func lock(_ path: String) throws(SpoolError) -> Int32 {
        // Safety: Swift lends the text with its ending zero for the call; so in all calls below.
        if unsafe mkdir(path, 0o700) == 0 {
            syncParent(of: path)
        } else if errno != EEXIST {
            // Where a directory cannot be made for lack of rights, somebody has to do something.
            throw SpoolFiles.failure(path, mayPass: errno != EACCES && errno != EPERM)
        }
        let file = path + "/lock"
        // Safety: as above.
        let descriptor = unsafe open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw SpoolFiles.failure(file, mayPass: true) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let reason = errno
            var text = [UInt8](repeating: 0, count: 16)
            // Safety: the array is valid for its own count during the call.
            let count = unsafe read(descriptor, &text, text.count)
            _ = close(descriptor)
            guard reason == EWOULDBLOCK else { throw SpoolFiles.failure(file, reason) }
            let digits = text.prefix(max(0, count)).prefix { $0 >= 0x30 && $0 <= 0x39 }
            let pid = Int32(String(decoding: digits, as: UTF8.self)) ?? 0
            throw .inUse(directory: path, pid: pid)
        }
        let pid = Array("\(getpid())\n".utf8)
        // Safety: the array is valid for its own count during the call.
        guard ftruncate(descriptor, 0) == 0, unsafe pwrite(descriptor, pid, pid.count, 0) >= 0
        else {
            // On a full or failing disk the number is missing; the lock itself holds.
            return descriptor
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
}
