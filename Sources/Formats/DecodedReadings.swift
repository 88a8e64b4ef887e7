// The readings of one frame in storage that stays from frame to frame: emptying it is one store. Owned by
// the DecodedFrame, on its decoder's queue.

/// The readings of one frame, in the order in which it yields them.
package struct DecodedReadings: RandomAccessCollection, MutableCollection, Sendable {
    /// Those from `count` on are of earlier frames.
    private var rows: [DecodedReading] = []
    package private(set) var count = 0

    init(capacity: Int) { rows.reserveCapacity(capacity) }

    package var startIndex: Int { 0 }
    package var endIndex: Int { count }

    package subscript(place: Int) -> DecodedReading {
        get {
            precondition(place < count, "a reading of this frame")
            return rows[place]
        }
        set {
            precondition(place < count, "a reading of this frame")
            rows[place] = newValue
        }
    }

    package var span: Span<DecodedReading> {
        @_lifetime(borrow self) get { rows.span.extracting(first: count) }
    }

    @inline(__always)
    package mutating func append(_ reading: DecodedReading) {
        if count < rows.count {
            rows[count] = reading
        } else {
            rows.append(reading)
        }
        count &+= 1
    }

    /// Appends the readings that `next` makes, in their order, until it has none; at most `limit`.
    @inline(__always)
    mutating func append(upTo limit: Int, _ next: (Int) -> DecodedReading?) {
        let first = count
        var made = 0
        if first &+ limit <= rows.count {
            var free = rows.mutableSpan
            while made < limit, let reading = next(made) {
                free[first &+ made] = reading
                made &+= 1
            }
            count = first &+ made
        } else {
            while made < limit, let reading = next(made) {
                append(reading)
                made &+= 1
            }
        }
    }

    /// Only the first `limit` stay.
    mutating func cut(to limit: Int) { count = Swift.min(count, Swift.max(0, limit)) }

    @inline(__always)
    mutating func removeAll() { count = 0 }
}
