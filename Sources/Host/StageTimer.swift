// One timer a stage, armed for the earliest wish. A wish for a later time than the armed one costs
// nothing: the stage is called at the armed time, finds that it is early and wishes again. So a stage
// under load re-arms the timer once a period, not once a turn; without a wish nothing ever wakes.
// Owned by the stage's queue.

import CLinux
package import Dispatch
package import Model

package final class StageTimer {
    private let timer: any DispatchSourceTimer
    private var armedFor: Instant?

    /// `fire` runs on `queue`.
    package init(queue: DispatchQueue, fire: @escaping () -> Void) {
        timer = DispatchSource.makeTimerSource(queue: queue)
        timer.setEventHandler { [unowned self] in
            armedFor = nil
            fire()
        }
        timer.activate()
    }

    deinit { timer.cancel() }

    package func wake(at due: Instant) {
        if let armedFor, armedFor <= due { return }
        armedFor = due
        let now = sluice_monotonic_ns()
        let delay = due.nanoseconds > now ? due.nanoseconds - now : 0
        timer.schedule(
            deadline: .now() + .nanoseconds(Int(clamping: delay)), leeway: .milliseconds(1))
    }
}
