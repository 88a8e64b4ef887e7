// The frames of the uplink protocol as values (protocols/uplink.md, version 1). Made and read by
// the forwarder on the uplink queue, by store sessions on the store's queue, and by query clients.
// No bytes here: FrameEncoding and FrameDecoding have them.

package import Model

/// One protocol message between a gateway or reader and a store.
package enum UplinkFrame: Hashable, Sendable {
    case hello(Hello)
    case welcome(Welcome)
    /// Definitions; devices before their streams.
    case entries([CatalogEntry])
    case batch(BatchFrame)
    case acknowledgement(Acknowledgement)
    case ping(token: UInt64)
    case pong(token: UInt64, storeTime: Timestamp, credit: UInt16)
    case query(Query)
    case rows(Rows)
    case goodbye(Goodbye)
}

/// Who a peer of the store says it is.
package enum PeerRole: UInt8, Sendable {
    case gateway = 0
    case reader = 1
}

/// 16 random bytes under which sequences and catalog numbers have their meaning.
package struct Incarnation: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// nil unless `bytes` are 16.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        high = bytes[0..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes[8..<16].reduce(0) { $0 << 8 | UInt64($1) }
    }

    package var bytes: [UInt8] {
        [high, low].flatMap { half in
            stride(from: 56, through: 0, by: -8).map {
                UInt8(truncatingIfNeeded: half >> UInt64($0))
            }
        }
    }
}

package struct Hello: Hashable, Sendable {
    package var role: PeerRole
    package var incarnation: Incarnation
    package var name: String
    package var software: String

    package init(role: PeerRole, incarnation: Incarnation, name: String, software: String) {
        self.role = role
        self.incarnation = incarnation
        self.name = name
        self.software = software
    }
}

package struct Welcome: Hashable, Sendable {
    package var storeTime: Timestamp
    package var credit: UInt16
    package var largestBatch: UInt32
    package var knownDevice: UInt32
    package var knownStream: UInt32
    package var committed: CommittedSet

    package init(
        storeTime: Timestamp, credit: UInt16, largestBatch: UInt32, knownDevice: UInt32,
        knownStream: UInt32, committed: CommittedSet
    ) {
        self.storeTime = storeTime
        self.credit = credit
        self.largestBatch = largestBatch
        self.knownDevice = knownDevice
        self.knownStream = knownStream
        self.committed = committed
    }
}

/// What a welcome tells of the committed sequences: all of 1...through, and some runs above.
package struct CommittedSet: Hashable, Sendable {
    package var through: UInt64
    package var runs: [ClosedRange<UInt64>]

    package init(through: UInt64, runs: [ClosedRange<UInt64>]) {
        self.through = through
        self.runs = runs
    }

    package func contains(_ sequence: UInt64) -> Bool {
        (sequence >= 1 && sequence <= through) || runs.contains { $0.contains(sequence) }
    }
}

package struct BatchFrame: Hashable, Sendable {
    package var sequence: UInt64
    package var priority: Priority
    package var readings: UInt32
    package var crc: UInt32
    package var bytes: [UInt8]

    package init(
        sequence: UInt64, priority: Priority, readings: UInt32, crc: UInt32, bytes: [UInt8]
    ) {
        self.sequence = sequence
        self.priority = priority
        self.readings = readings
        self.crc = crc
        self.bytes = bytes
    }
}

/// What the store says of a batch.
package enum Verdict: UInt8, Sendable {
    case accepted = 0
    case retry = 1
    case rejected = 2
}

/// Why a verdict is as it is; the verdict follows from the reason. Codes are on the wire.
package enum VerdictReason: UInt8, Sendable, CaseIterable {
    case stored = 0
    case duplicate = 1
    case storageFull = 2
    case storageFailed = 3
    case busy = 4
    case unreadable = 5
    case tooLarge = 6
    case damaged = 7
    case unknownStream = 8
    case sequenceReused = 9
    case empty = 10
    /// A reading that the store's own rules refuse.
    case refusedReading = 11

    package var verdict: Verdict {
        switch self {
        case .stored, .duplicate: .accepted
        case .storageFull, .storageFailed, .busy: .retry
        case .unreadable, .tooLarge, .damaged, .unknownStream, .sequenceReused, .empty,
            .refusedReading:
            .rejected
        }
    }

    /// Smaller batches of the same readings may fare better.
    package var isDivisible: Bool {
        switch self {
        case .unreadable, .tooLarge, .unknownStream, .refusedReading: true
        case .stored, .duplicate, .storageFull, .storageFailed, .busy, .damaged, .sequenceReused,
            .empty:
            false
        }
    }

    package var code: String {
        switch self {
        case .stored: "stored"
        case .duplicate: "duplicate"
        case .storageFull: "storage-full"
        case .storageFailed: "storage-failed"
        case .busy: "busy"
        case .unreadable: "unreadable"
        case .tooLarge: "too-large"
        case .damaged: "damaged"
        case .unknownStream: "unknown-stream"
        case .sequenceReused: "sequence-reused"
        case .empty: "empty"
        case .refusedReading: "refused-reading"
        }
    }
}

package struct Acknowledgement: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package var sequence: UInt64
        package var reason: VerdictReason
        package var detail: String

        package init(sequence: UInt64, reason: VerdictReason, detail: String = "") {
            self.sequence = sequence
            self.reason = reason
            self.detail = detail
        }
    }

    /// Batches that may be in flight from now on.
    package var credit: UInt16
    package var entries: [Entry]

    package init(credit: UInt16, entries: [Entry]) {
        self.credit = credit
        self.entries = entries
    }
}

package struct Goodbye: Hashable, Sendable {
    package enum Code: UInt8, Sendable, CaseIterable {
        case closing = 0
        case version = 1
        case malformed = 2
        case refused = 3
        case conflict = 4
        case unavailable = 5
        case replaced = 6

        package var word: String {
            switch self {
            case .closing: "closing"
            case .version: "version"
            case .malformed: "malformed"
            case .refused: "refused"
            case .conflict: "conflict"
            case .unavailable: "unavailable"
            case .replaced: "replaced"
            }
        }
    }

    package var code: Code
    package var reason: String

    package init(_ code: Code, _ reason: String) {
        self.code = code
        self.reason = reason
    }
}

/// Limits and numbers of protocols/uplink.md.
package enum UplinkProtocol {
    package static let version: UInt8 = 1
    package static let headerBytes = 12
    /// Most bytes of a batch on the wire, whatever a store allows.
    package static let largestBatch = 4 << 20
    package static let largestBody = 60_000
    package static let committedRuns = 128
    package static let acknowledgementEntries = 512
    package static let rowsPerQuery = 10_000
    package static let nameBytes = 64
    package static let streamNameBytes = 128
    package static let detailBytes = 100
    package static let reasonBytes = 200

    /// A gateway's name: `[A-Za-z0-9._:-]{1,64}`.
    package static func isName(_ text: String) -> Bool {
        (1...nameBytes).contains(text.utf8.count) && text.utf8.allSatisfy(DeviceKey.isAllowed)
    }
}
