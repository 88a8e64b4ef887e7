// Whether something keeps this machine's clock (adjtimex(2)). Values only, from any thread.

import CLinux

package struct ClockDiscipline: Hashable, Sendable {
    /// A time server is followed, as the kernel was told by whoever follows it.
    package var isSynchronised: Bool
    /// What the clock may be off, as the kernel reckons.
    package var maximumErrorMicroseconds: Int64

    package init(isSynchronised: Bool, maximumErrorMicroseconds: Int64) {
        self.isSynchronised = isSynchronised
        self.maximumErrorMicroseconds = maximumErrorMicroseconds
    }

    /// Nil where the kernel may not be asked.
    package static func now() -> ClockDiscipline? {
        var raw = sluice_discipline()
        // Safety: `raw` outlives the call, which fills it.
        guard unsafe sluice_clock_discipline(&raw) == 0 else { return nil }
        return ClockDiscipline(
            isSynchronised: raw.is_synchronised != 0, maximumErrorMicroseconds: raw.max_error_us)
    }
}
