// Compares what a store holds with what devices were told is safe.

import Uplink

enum StoreAudit {
    static func run(
        _ folder: String, _ plan: LoadPlan, _ answered: [UInt64], into outcome: inout LoadOutcome
    ) {
    }
}
