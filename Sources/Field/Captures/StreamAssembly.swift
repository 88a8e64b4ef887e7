// Puts one direction of a TCP connection back in order by sequence number (RFC 9293 section 3.4):
// repeated and overlapping segments yield each byte once, segments that came early wait, a hole
// that
// the capture never fills is skipped and counted. Bounded: 1 MB and 512 segments wait at most.

struct StreamAssembly {
    private struct Waiting {
        var sequence: UInt32
        var bytes: [UInt8]
    }

    /// Sequence number of the next byte; nil until something was seen.
    private var next: UInt32?
    private var end: UInt32?
    private var waiting: [Waiting] = []
    private var waitingBytes = 0
    private(set) var repeated = 0
    private(set) var outOfOrder = 0
    private(set) var missing = 0

    private static let maximumBytes = 1 << 20
    private static let maximumSegments = 512

    /// True once everything up to the sender's FIN was delivered.
    var isEnded: Bool { end != nil && end == next }

    /// The connection was opened with this sequence number.
    mutating func open(at sequence: UInt32) {
        if next == nil { next = sequence &+ 1 }
    }

    /// The bytes that are new and in order now; empty when there are none.
    mutating func take(_ payload: [UInt8], at sequence: UInt32, isLast: Bool) -> [UInt8] {
        if isLast, end == nil { end = sequence &+ UInt32(truncatingIfNeeded: payload.count) }
        let expected = next ?? sequence
        next = expected
        guard !payload.isEmpty else { return [] }
        // Sequence numbers wrap: their distance is a signed 32-bit difference.
        let distance = Int(Int32(bitPattern: sequence &- expected))
        if distance > 0 {
            outOfOrder += 1
            waiting.append(Waiting(sequence: sequence, bytes: payload))
            waitingBytes += payload.count
            let isFull =
                waitingBytes > StreamAssembly.maximumBytes
                || waiting.count > StreamAssembly.maximumSegments
            return isFull ? skipHole() : []
        }
        if distance < 0 { repeated += 1 }
        guard payload.count > -distance else { return [] }
        var bytes = Array(payload[(-distance)...])
        next = expected &+ UInt32(truncatingIfNeeded: bytes.count)
        bytes += takeWaiting()
        return bytes
    }

    /// At the capture's end: what waits behind a hole, the hole counted.
    mutating func finish() -> [UInt8] {
        var bytes: [UInt8] = []
        while !waiting.isEmpty { bytes += skipHole() }
        return bytes
    }

    private mutating func skipHole() -> [UInt8] {
        guard let expected = next,
            let nearest = waiting.map({ Int(Int32(bitPattern: $0.sequence &- expected)) }).min()
        else { return [] }
        missing += max(0, nearest)
        next = expected &+ UInt32(truncatingIfNeeded: max(0, nearest))
        return takeWaiting()
    }

    private mutating func takeWaiting() -> [UInt8] {
        var bytes: [UInt8] = []
        var found = true
        while found, let expected = next {
            found = false
            for i in waiting.indices {
                let distance = Int(Int32(bitPattern: waiting[i].sequence &- expected))
                guard distance <= 0 else { continue }
                let segment = waiting.remove(at: i)
                waitingBytes -= segment.bytes.count
                if segment.bytes.count > -distance {
                    let fresh = segment.bytes[(-distance)...]
                    bytes += fresh
                    next = expected &+ UInt32(truncatingIfNeeded: fresh.count)
                }
                found = true
                break
            }
        }
        return bytes
    }
}
