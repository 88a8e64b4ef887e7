// The unit that flows from intake to the buckets: 32 bytes, no references.

/// One validated value of one stream, 32 bytes so that two share a cache line.
///
///     offset 0 stream u32 | 4 exponent i8 | 5 kind u8 | 6 quality u16 | 8 bits u64
///     16 observedAt i64 ms | 24 receivedAt i64 ms
public struct Reading: Hashable, Sendable {
    public var stream: StreamID
    public var exponent: Int8
    public var kind: UInt8
    public var quality: Quality
    public var bits: UInt64
    public var observedAt: Timestamp
    public var receivedAt: Timestamp

    /// `kind` of a slot that is no reading but a mark: a cut or a probe of the ledger travels between
    /// readings so that it splits the stream exactly. `bits` is the journal position that it covers.
    public static let markKind: UInt8 = 0xFF

    public init(
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
    public init(markCovering position: UInt64) {
        stream = StreamID(0)
        exponent = 0
        kind = Reading.markKind
        quality = []
        bits = position
        observedAt = Timestamp(milliseconds: 0)
        receivedAt = Timestamp(milliseconds: 0)
    }

    public var isMark: Bool { kind == Reading.markKind }

    /// The value; `.none` for a mark.
    public var value: Value {
        Value(kind: Value.Kind(rawValue: kind) ?? .none, exponent: exponent, bits: bits)
    }
}

/// Number of a stream, given by the catalog in order of first appearance from 1, stable for ever.
public struct StreamID: Hashable, Comparable, Sendable {
    public var rawValue: UInt32
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }
    public static func < (a: StreamID, b: StreamID) -> Bool { a.rawValue < b.rawValue }
}

/// Number of a device, given by the catalog in order of first appearance from 1, stable for ever.
public struct DeviceID: Hashable, Comparable, Sendable {
    public var rawValue: UInt32
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }
    public static func < (a: DeviceID, b: DeviceID) -> Bool { a.rawValue < b.rawValue }
}

/// The lane of a batch: alarms first, then live, the backlog at a paced share (design.md section 4).
public enum Priority: UInt8, Sendable, CaseIterable, Comparable {
    case alarm = 0
    case live = 1
    case backlog = 2

    public static func < (a: Priority, b: Priority) -> Bool { a.rawValue < b.rawValue }

    public var code: String {
        switch self {
        case .alarm: "alarm"
        case .live: "live"
        case .backlog: "backlog"
        }
    }
}
