// The machine's clocks, randomness and resource use. The only place that reads them.

import CLinux
package import Model

extension Clock {
    /// CLOCK_MONOTONIC and CLOCK_REALTIME.
    package static let real = Clock(
        now: { Instant(nanoseconds: sluice_monotonic_ns()) },
        wall: { Timestamp(milliseconds: sluice_wall_ms()) })
}

/// What this process has used so far.
package struct ProcessUsage: Hashable, Sendable {
    package var cpuMicroseconds: UInt64
    package var rssKb: UInt64
    package var peakRssKb: UInt64
    package var voluntarySwitches: UInt64
    package var involuntarySwitches: UInt64

    package static func now() -> ProcessUsage {
        var raw = sluice_usage()
        // Safety: `raw` outlives the call, which fills it.
        unsafe sluice_usage_read(&raw)
        return ProcessUsage(
            cpuMicroseconds: raw.user_us &+ raw.system_us, rssKb: raw.rss_kb,
            peakRssKb: raw.peak_rss_kb, voluntarySwitches: raw.voluntary_switches,
            involuntarySwitches: raw.involuntary_switches)
    }
}

/// How the C library's heap serves this process.
package enum ProcessMemory {
    /// Call before the first thread is started.
    package static func beFrugal() { sluice_memory_frugal() }

    /// Gives free memory back to the kernel.
    package static func trim() { sluice_memory_trim() }

    /// Gives back free memory, and pages of the program, which come back when they run again.
    package static func forget() { sluice_memory_forget() }
}

/// 64 bits from the kernel's random source, for session numbers and jitter.
package func randomBits() -> UInt64 {
    var bytes = [UInt8](repeating: 0, count: 8)
    // Safety: the shim writes `count` bytes into the array it is lent.
    _ = unsafe bytes.withUnsafeMutableBufferPointer {
        unsafe sluice_random($0.baseAddress, UInt32($0.count))
    }
    return bytes.reduce(0) { $0 << 8 | UInt64($1) }
}
