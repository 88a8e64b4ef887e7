// The ledger: each stage counts what came in, what went out and what it holds, independently of the
// others. `unaccounted` is what these counts do not explain; it is computed, never assumed.

/// Counters of one or all intakes, ever rising over restarts.
public struct IntakeCounters: Sendable {
    public var datagrams: UInt64 = 0
    /// All that came, of frames taken in or refused and noise alike; of a stream what is decided.
    public var bytesReceived: UInt64 = 0
    /// Lost in the kernel's socket buffer before we could read them (SO_RXQ_OVFL); never part of
    /// `framesReceived`.
    public var kernelDrops: UInt64 = 0
    public var framesReceived: UInt64 = 0
    public var framesDecoded: UInt64 = 0
    public var framesDuplicate: UInt64 = 0
    public var framesControl: UInt64 = 0
    public var framesAnswered: UInt64 = 0
    public var readingsDecoded: UInt64 = 0
    /// Handed to the ring.
    public var readingsPublished: UInt64 = 0
    /// Bytes of a stream that belonged to no frame (noise between frames).
    public var bytesSkipped: UInt64 = 0
    /// Bodies of several frames that were given up because parts never came. Their frames were received
    /// and decoded like any other, so no law speaks of this: it says that readings are missing.
    public var bodiesGivenUp: UInt64 = 0
    // The sizes are the numbers of cases (a type cannot name them yet); ModelTests compares them.
    public var rejectedByReason: [28 of UInt64] = InlineArray(repeating: 0)
    public var droppedByReason: [5 of UInt64] = InlineArray(repeating: 0)

    public init() {}

    public subscript(reason: Rejection) -> UInt64 {
        get { rejectedByReason[Int(reason.rawValue)] }
        set { rejectedByReason[Int(reason.rawValue)] = newValue }
    }

    public subscript(reason: Drop) -> UInt64 {
        get { droppedByReason[Int(reason.rawValue)] }
        set { droppedByReason[Int(reason.rawValue)] = newValue }
    }

    public var framesRejected: UInt64 {
        Rejection.allCases.reduce(0) { $0 &+ self[$1] }
    }

    public var readingsDropped: UInt64 {
        Drop.allCases.reduce(0) { $0 &+ self[$1] }
    }

    /// First law: frames received = decoded + duplicate + control + rejected.
    public var framesUnaccounted: Int64 {
        Int64(
            bitPattern: framesReceived &- framesDecoded &- framesDuplicate &- framesControl
                &- framesRejected)
    }

    /// Second law at this stage: readings decoded = dropped + published.
    public var readingsUnaccounted: Int64 {
        Int64(bitPattern: readingsDecoded &- readingsDropped &- readingsPublished)
    }

    /// Name and value of every counter in a fixed order, for the ledger's table and the tools.
    public var named: [(name: String, value: UInt64)] {
        var all: [(String, UInt64)] = [
            ("datagrams", datagrams), ("bytesReceived", bytesReceived),
            ("kernelDrops", kernelDrops), ("framesReceived", framesReceived),
            ("framesDecoded", framesDecoded), ("framesDuplicate", framesDuplicate),
            ("framesControl", framesControl), ("framesAnswered", framesAnswered),
            ("readingsDecoded", readingsDecoded), ("readingsPublished", readingsPublished),
            ("bytesSkipped", bytesSkipped), ("bodiesGivenUp", bodiesGivenUp),
        ]
        for reason in Rejection.allCases { all.append(("rejected." + reason.code, self[reason])) }
        for reason in Drop.allCases { all.append(("dropped." + reason.code, self[reason])) }
        return all
    }

    /// Sets the counter called `name` in `named`; false when there is none.
    @discardableResult
    public mutating func set(_ name: String, to value: UInt64) -> Bool {
        switch name {
        case "datagrams": datagrams = value
        case "bytesReceived": bytesReceived = value
        case "kernelDrops": kernelDrops = value
        case "framesReceived": framesReceived = value
        case "framesDecoded": framesDecoded = value
        case "framesDuplicate": framesDuplicate = value
        case "framesControl": framesControl = value
        case "framesAnswered": framesAnswered = value
        case "readingsDecoded": readingsDecoded = value
        case "readingsPublished": readingsPublished = value
        case "bytesSkipped": bytesSkipped = value
        case "bodiesGivenUp": bodiesGivenUp = value
        default:
            if let reason = Rejection.allCases.first(where: { "rejected." + $0.code == name }) {
                self[reason] = value
            } else if let reason = Drop.allCases.first(where: { "dropped." + $0.code == name }) {
                self[reason] = value
            } else {
                return false
            }
        }
        return true
    }
}

/// What the spool holds and what became of what it held. Each is counted on its own: `pending` is a
/// sum over the rows that are there, `received` a counter of what was handed in.
public struct SpoolCounters: Sendable, Hashable {
    public var readingsReceived: UInt64 = 0
    public var readingsPending: UInt64 = 0
    public var readingsAcknowledged: UInt64 = 0
    public var readingsEvicted: UInt64 = 0
    public var readingsRejected: UInt64 = 0
    public var batchesPending: UInt64 = 0
    public var batchesAcknowledged: UInt64 = 0
    public var lastSequence: UInt64 = 0

    public init() {}

    public var unaccounted: Int64 {
        Int64(
            bitPattern: readingsReceived &- readingsPending &- readingsAcknowledged
                &- readingsEvicted &- readingsRejected)
    }
}

/// The whole ledger as of one probe that travelled through the pipeline in order.
public struct Ledger: Sendable {
    public var intake = IntakeCounters()
    /// Readings that the batcher took from the ring, counted at its end.
    public var readingsConsumed: UInt64 = 0
    /// Readings in open buckets, counted from the buckets themselves.
    public var readingsInBuckets: UInt64 = 0
    /// Readings of sealed batches handed to the spool.
    public var readingsSealed: UInt64 = 0
    /// Readings of epochs that the spool holds in memory because its file cannot be written now.
    public var readingsAwaitingSpool: UInt64 = 0
    public var spool = SpoolCounters()

    public init() {}

    /// Held on the gateway: buckets, epochs in memory and spool (a probe leaves nothing in the ring).
    public var readingsHeld: UInt64 {
        readingsInBuckets &+ readingsAwaitingSpool &+ spool.readingsPending
    }

    /// Σ over stages of |in − out − held|: 0, or there is a bug and health is red.
    public var unaccounted: UInt64 {
        let ring = Int64(bitPattern: intake.readingsPublished &- readingsConsumed)
        let buckets = Int64(bitPattern: readingsConsumed &- readingsInBuckets &- readingsSealed)
        let handed = Int64(
            bitPattern: readingsSealed &- readingsAwaitingSpool &- spool.readingsReceived)
        return intake.framesUnaccounted.magnitude &+ intake.readingsUnaccounted.magnitude
            &+ ring.magnitude &+ buckets.magnitude &+ handed.magnitude
            &+ spool.unaccounted.magnitude
    }
}
