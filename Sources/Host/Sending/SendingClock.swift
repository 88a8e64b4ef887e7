// The clocks of the tools that play devices: pacing and latencies need nanoseconds of one monotonic
// clock, demo and load also the wall clock. Called on the tool's own thread.

import CLinux

package enum SendingClock {
    /// CLOCK_MONOTONIC in nanoseconds.
    package static var now: Int64 { sluice_sending_now() }
    /// CLOCK_REALTIME in milliseconds since 1970.
    package static var wallMilliseconds: Int64 { sluice_sending_wall() / 1_000_000 }

    /// CPU time of the calling thread in nanoseconds.
    package static var threadNanoseconds: Double { Double(sluice_thread_cpu()) }

    package static func sleep(until nanoseconds: Int64) {
        sluice_sending_sleep_until(max(0, nanoseconds))
    }

    package static func sleep(milliseconds: Int64) {
        sleep(until: now + milliseconds * 1_000_000)
    }

    /// This thread's sleeps end within microseconds from now on.
    package static func sharpen() { sluice_sending_sharpen_timers() }
}

/// Ctrl-C, SIGTERM and SIGHUP for a tool that must clean up: blocked from `block` on, then asked
/// for. A reader of stdout that goes away no longer ends the process either.
package enum Interrupts {
    /// Call before any thread is started.
    package static func block() { sluice_interrupts_block() }

    /// True when somebody wants the tool to end; waits at most `milliseconds`.
    package static func wait(milliseconds: Int64) -> Bool {
        sluice_interrupts_wait(milliseconds * 1_000_000) != 0
    }
}
