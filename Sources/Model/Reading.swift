// The unit that flows from intake to the buckets: 32 bytes, no references.

/// One validated value of one stream, 32 bytes so that two share a cache line.
///
///     offset 0 stream u32 | 4 exponent i8 | 5 kind u8 | 6 quality u16 | 8 bits u64
///     16 observedAt i64 ms | 24 receivedAt i64 ms
package struct Reading: Hashable, Sendable {
    package var stream: StreamID
    package var exponent: Int8
    package var kind: UInt8
    package var quality: Quality
    package var bits: UInt64
    package var observedAt: Timestamp
    package var receivedAt: Timestamp

    /// `kind` of a slot that is no reading but a mark: a cut or a probe of the ledger travels between
    /// readings so that it splits the stream exactly. `bits` is the journal position that it covers.
    package static let markKind: UInt8 = 0xFF

    package init(
        stream: StreamID, value: Value, quality: Quality, observedAt: Timestamp,
        receivedAt: Timestamp
    ) {
        self.stream = stream
        exponent = value.exponent
        kind = value.kind.rawValue
        self.quality = quality
        bits = value.bits
        self.observedAt = observedAt
        self.receivedAt = receivedAt
    }

    /// A mark that covers every journaled frame before `position`.
    package init(markCovering position: UInt64) {
        stream = StreamID(0)
        exponent = 0
        kind = Reading.markKind
        quality = []
        bits = position
        observedAt = Timestamp(milliseconds: 0)
        receivedAt = Timestamp(milliseconds: 0)
    }

    package var isMark: Bool { kind == Reading.markKind }

    /// The value; `.none` for a mark.
    package var value: Value {
        Value(kind: Value.Kind(rawValue: kind) ?? .none, exponent: exponent, bits: bits)
    }
}

/// Number of a stream, given by the catalog in order of first appearance from 1, stable for ever.
package struct StreamID: Hashable, Comparable, Sendable {
    package var rawValue: UInt32
    package init(_ rawValue: UInt32) { self.rawValue = rawValue }
    package static func < (a: StreamID, b: StreamID) -> Bool { a.rawValue < b.rawValue }
}

/// Number of a device, given by the catalog in order of first appearance from 1, stable for ever.
package struct DeviceID: Hashable, Comparable, Sendable {
    package var rawValue: UInt32
    package init(_ rawValue: UInt32) { self.rawValue = rawValue }
    package static func < (a: DeviceID, b: DeviceID) -> Bool { a.rawValue < b.rawValue }
}

/// The lane of a batch: alarms first, then live, the backlog at a paced share (design.md section 4).
package enum Priority: UInt8, Sendable, CaseIterable, Comparable {
    case alarm = 0
    case live = 1
    case backlog = 2

    package static func < (a: Priority, b: Priority) -> Bool { a.rawValue < b.rawValue }

    package var code: String {
        switch self {
        case .alarm: "alarm"
        case .live: "live"
        case .backlog: "backlog"
        }
    }
}
