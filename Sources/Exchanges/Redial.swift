// When to connect to a line again: after a doubling time with jitter, so that a server that comes back is
// not met by all gateways at once. A line that stayed up a while begins anew. Owned by its source.

package import Model

package struct Redial: Sendable {
    package static let first: Int64 = 500
    package static let longest: Int64 = 60_000
    /// A connection that lived this long was a good one.
    package static let steady: Int64 = 30_000

    private var delay: Int64 = 0
    private var openedAt: Instant?
    private var random: SplitMix64

    package init(seed: UInt64) { random = SplitMix64(seed: seed) }

    package mutating func opened(_ now: Instant) { openedAt = now }

    /// The attempt failed or the line went down: when to try again.
    package mutating func failed(_ now: Instant) -> Instant {
        if let openedAt, now.milliseconds(since: openedAt) >= Redial.steady { delay = 0 }
        openedAt = nil
        delay = delay == 0 ? Redial.first : min(delay * 2, Redial.longest)
        // Between three and five quarters.
        let jitter = Int64(random.next() % UInt64(delay / 2 + 1))
        return now.adding(milliseconds: delay * 3 / 4 + jitter)
    }
}
