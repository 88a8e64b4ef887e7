// High and low water of the spool: above the one the intake asks its devices for patience, below
// the
// other it takes gladly again. Early on purpose: eviction begins at seven eighths. On the spool
// queue.

import Model
import Spool

extension SpoolStage {
    static let highWaterPercent = 75
    static let lowWaterPercent = 60

    /// Looks after each change of what is held.
    func lookAtWater() {
        guard let spool else { return }
        let held = spool.details.bytesPending.total &+ spool.details.journalBytes
        let whole = UInt64(max(1, spool.settings.maximumBytes))
        let percent = held.multipliedReportingOverflow(by: 100).partialValue / whole
        if !isPaced, percent >= UInt64(SpoolStage.highWaterPercent) {
            isPaced = true
            ports.paced(true)
        } else if isPaced, percent < UInt64(SpoolStage.lowWaterPercent) {
            isPaced = false
            ports.paced(false)
        }
    }
}
