// Questions to the machine that may take for ever (a resolver, a network disk, a daemon that hangs), asked
// by the tools on a thread of their own and waited for no longer than the asker has. A thread that still
// hangs at the tool's end ends with it.

import Dispatch
import Synchronization

package final class Pending<Answer: Sendable>: Sendable {
    private let answer = Mutex<Answer?>(nil)
    private let isThere = DispatchSemaphore(value: 0)

    /// Begins to ask.
    package init(_ ask: @escaping @Sendable () -> Answer) {
        // A queue of its own has a thread of its own as soon as others hang.
        DispatchQueue(label: "sluice.ask").async { [self] in
            let found = ask()
            answer.withLock { $0 = found }
            isThere.signal()
        }
    }

    /// The answer, if it is there by `deadline` (CLOCK_MONOTONIC in nanoseconds); can be asked again.
    package func value(until deadline: Int64) -> Answer? {
        let left = max(0, deadline - SendingClock.now)
        guard isThere.wait(timeout: .now() + .nanoseconds(Int(left))) == .success else {
            return nil
        }
        isThere.signal()
        return answer.withLock { $0 }
    }
}
