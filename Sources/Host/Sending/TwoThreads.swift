// Two threads for the field tool's measurements; the daemons have no use for it.

import Dispatch

package enum TwoThreads {
    /// Runs `body` with 0 in this thread and with 1 in another, also where there is one core only, and
    /// returns when both have ended.
    package static func run(_ body: @escaping @Sendable (Int) -> Void) {
        let other = DispatchGroup()
        DispatchQueue(label: "sluice.bench").async(group: other) { body(1) }
        body(0)
        other.wait()
    }
}
