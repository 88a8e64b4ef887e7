// A process that the tool started: spawned, looked at through /proc, ended by its own id only.
// Owned by
// the tool's main thread; a child that still runs when its owner goes is killed.

package import Glibc
import Host

package struct SpawnError: Error, Hashable, Sendable {
    package var program: String
    package var why: String
}

package final class ChildProcess {
    package let name: String
    package let pid: pid_t
    private var status: Int32?

    /// Starts `path` with `arguments`; its stdout and stderr are appended to `log`.
    package init(name: String, path: String, arguments: [String], log: String) throws(SpawnError) {
        self.name = name
        let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC
        // Safety: a String argument is a C string for the duration of the call.
        let descriptor = unsafe open(log, flags, 0o600)
        guard descriptor >= 0 else {
            throw SpawnError(program: log, why: Files.lastError())
        }
        defer { close(descriptor) }
        do throws(SendingError) {
            pid = try Spawning.start(path, [path] + arguments, output: descriptor)
        } catch {
            throw SpawnError(program: path, why: Files.words(error.code))
        }
    }

    deinit { if isRunning { stop(SIGKILL) } }

    package var isRunning: Bool {
        if status != nil { return false }
        var value: Int32 = 0
        // Safety: waitpid writes one integer into the variable that lives across the call.
        let result = unsafe waitpid(pid, &value, WNOHANG)
        if result == pid { status = value }
        return result == 0
    }

    /// Exit code, or 128 + signal; nil while it runs.
    package var exitCode: Int32? {
        guard !isRunning, let status else { return nil }
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }

    /// Sends a signal and waits for the end; after `milliseconds` kills. Returns the exit code.
    @discardableResult
    package func stop(_ signal: Int32, milliseconds: Int64 = 20_000) -> Int32 {
        if isRunning { kill(pid, signal) }
        let limit = SendingClock.now + milliseconds * 1_000_000
        while isRunning {
            if SendingClock.now > limit { kill(pid, SIGKILL) }
            SendingClock.sleep(milliseconds: 2)
        }
        return exitCode ?? -1
    }

    // MARK: /proc

    /// User and system time so far in seconds; nil when the process is gone.
    package var cpuSeconds: Double? {
        guard let text = proc("stat"), let close = text.lastIndex(of: ")") else { return nil }
        // Field 2 is the name in parentheses and may hold anything; utime and stime are 14 and 15.
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12])
        else { return nil }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// CPU time of the main thread so far in seconds, from the scheduler's nanoseconds; nil when the
    /// process is gone.
    package var threadSeconds: Double? {
        proc("schedstat")?.split(separator: " ").first.flatMap { Double($0) }.map { $0 / 1e9 }
    }

    /// Largest resident size in kB; nil when the process is gone.
    package var peakRssKb: Int? {
        guard let text = proc("status") else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line?.split(separator: " ").compactMap { Int($0) }.first
    }

    private func proc(_ file: String) -> String? {
        guard let bytes = try? Files.read("/proc/\(pid)/\(file)", limit: 1 << 16) else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
