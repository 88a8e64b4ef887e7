// Signals as events on a queue. SIGPIPE is ignored for the whole process: every send says so itself,
// but a tool may write to a closed pipe.

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

/// Holds the handlers while it lives.
package final class Signals {
    private var sources: [any DispatchSourceSignal] = []

    package init(_ queue: DispatchQueue, _ handler: @escaping (ProcessSignal) -> Void) {
        Signals.ignoreBrokenPipes()
        let all: [(Int32, ProcessSignal)] = [
            (SIGTERM, .terminate), (SIGINT, .interrupt), (SIGHUP, .hangUp),
        ]
        for (number, meaning) in all {
            // Ignored as a handler: Dispatch sees it through signalfd.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { handler(meaning) }
            source.activate()
            sources.append(source)
        }
    }

    deinit {
        for source in sources { source.cancel() }
    }

    package static func ignoreBrokenPipes() {
        signal(SIGPIPE, SIG_IGN)
    }
}
