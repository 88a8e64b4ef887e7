// Signals as events on a queue. A handler in C writes the number into a pipe: that works whichever
// thread the kernel picks, where a Dispatch signal source depends on every thread's mask. One a
// process.

import CLinux
package import Dispatch
import Glibc

package enum ProcessSignal: Sendable {
    /// SIGTERM
    case terminate
    /// SIGINT
    case interrupt
    /// SIGHUP: read the configuration again.
    case hangUp
}

/// Hands on signals while it lives; afterwards they are ignored.
package final class Signals {
    private let source: any DispatchSourceRead

    /// SIGPIPE is ignored from now on too: every send says so itself, but a tool may write to a
    /// closed pipe.
    package init(
        _ queue: DispatchQueue, _ handler: @escaping (ProcessSignal) -> Void
    ) throws(HostError) {
        Signals.ignoreBrokenPipes()
        let numbers = [SIGTERM, SIGINT, SIGHUP]
        // Safety: the array is lent for the call with its own count.
        let pipe = unsafe sluice_signal_bytes(numbers, UInt32(numbers.count))
        guard pipe >= 0 else { throw HostError("take over signals", result: pipe) }
        source = DispatchSource.makeReadSource(fileDescriptor: pipe, queue: queue)
        source.setEventHandler {
            for meaning in Signals.read(pipe) { handler(meaning) }
        }
        source.activate()
    }

    deinit { source.cancel() }

    package static func ignoreBrokenPipes() { sluice_ignore_broken_pipes() }

    private static func read(_ pipe: Int32) -> [ProcessSignal] {
        var bytes = [UInt8](repeating: 0, count: 64)
        // Safety: the shim writes at most `count` bytes into the array it is lent.
        let count = unsafe bytes.withUnsafeMutableBufferPointer {
            unsafe sluice_read(pipe, $0.baseAddress, UInt64($0.count))
        }
        return bytes.prefix(max(0, Int(count))).compactMap {
            switch Int32($0) {
            case SIGTERM: .terminate
            case SIGINT: .interrupt
            case SIGHUP: .hangUp
            default: nil
            }
        }
    }
}
