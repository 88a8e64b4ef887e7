// Driver of tsan.sh: the two-thread transfers, built with the thread sanitizer. Status 1 when a reading
// arrived wrong; a race is the sanitizer's to report.

import Glibc

let wrong = transfers()
if wrong > 0 { print("\(wrong) readings arrived wrong") }
exit(wrong == 0 ? 0 : 1)

func transfers() -> UInt64 {
    var wrong: UInt64 = 0
    for (seed, capacity) in [2, 4, 8, 1024].enumerated() {
        let largest = min(capacity, 64)
        wrong += Transfer(
            capacity: capacity, count: 50_000, largestBatch: largest, seed: UInt64(seed),
            start: UInt64.max - 20_000
        ).run()
    }
    return wrong
}
