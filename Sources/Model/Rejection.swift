// Why a frame was refused and why a reading was dropped: two closed lists. Raw values are on disk and
// in the ledger: never renumber, only append.

/// Reason for refusing a frame. `code` is the word that vectors, tools and the ledger use.
public enum Rejection: UInt8, Error, CaseIterable, Sendable {
    case truncated = 0
    case badChecksum = 1
    case badLength = 2
    case badHeader = 3
    case badEnd = 4
    case badEscape = 5
    case badVersion = 6
    case badType = 7
    case unknownType = 8
    case badName = 9
    case badRecord = 10
    case unknownRequiredField = 11
    case malformed = 12
    case tooDeep = 13
    case badDecryption = 14
    /// A datagram of zero bytes.
    case empty = 15
    /// Longer than the format allows, or cut by the kernel because it exceeds the slab's slot.
    case oversized = 16
    /// No format of the source accepts the frame.
    case noFormat = 17
    /// The frame names no device, or its identity has characters outside `[A-Za-z0-9._:-]`.
    case noIdentity = 18
    /// Unknown device at a source whose policy is `reject`.
    case unknownDevice = 19
    /// Unknown device at a source whose policy is `quarantine`; the raw frame is kept.
    case quarantined = 20
    /// The device table is at its configured limit.
    case catalogFull = 21
    /// Journaled by an earlier version for a format that no longer exists here; kept in quarantine.
    case formatGone = 22
    /// Bytes of a stream connection that ended before they made a frame.
    case connectionEnded = 23
    /// Lost with a damaged part of the journal before its readings were in a batch.
    case journalDamaged = 24
    /// Nothing could be taken in at that moment, and the device was told so (CoAP 5.03).
    case noRoom = 25
    /// On a polled line or in a CoAP response: an answer to nothing that was asked, so nobody knows what it
    /// means.
    case unasked = 26
    /// A body of several frames whose parts did not all come in time, or for which there was no room: why
    /// its frames, which were taken, stand in the quarantine. No frame is counted so (`bodiesGivenUp`).
    case incomplete = 27

    public var code: String {
        switch self {
        case .truncated: "truncated"
        case .badChecksum: "bad-checksum"
        case .badLength: "bad-length"
        case .badHeader: "bad-header"
        case .badEnd: "bad-end"
        case .badEscape: "bad-escape"
        case .badVersion: "bad-version"
        case .badType: "bad-type"
        case .unknownType: "unknown-type"
        case .badName: "bad-name"
        case .badRecord: "bad-record"
        case .unknownRequiredField: "unknown-required-field"
        case .malformed: "malformed"
        case .tooDeep: "too-deep"
        case .badDecryption: "bad-decryption"
        case .empty: "empty"
        case .oversized: "oversized"
        case .noFormat: "no-format"
        case .noIdentity: "no-identity"
        case .unknownDevice: "unknown-device"
        case .quarantined: "quarantined"
        case .catalogFull: "catalog-full"
        case .formatGone: "format-gone"
        case .connectionEnded: "connection-ended"
        case .journalDamaged: "journal-damaged"
        case .noRoom: "no-room"
        case .unasked: "unasked"
        case .incomplete: "incomplete"
        }
    }
}

/// Reason for dropping a decoded reading before the spool.
public enum Drop: UInt8, Error, CaseIterable, Sendable {
    /// Outside the range of its rule, whose action is `drop`.
    case outOfRange = 0
    /// Device time outside the accepted window, at a source whose rule is `drop`.
    case timestampImplausible = 1
    /// The stream table is at its configured limit.
    case catalogFull = 2
    /// The rule `dropIfMissing` of its format: the device has no value.
    case missing = 3
    /// The epoch could not be stored for longer than memory allows (spool unwritable).
    case spoolUnwritable = 4

    public var code: String {
        switch self {
        case .outOfRange: "out-of-range"
        case .timestampImplausible: "timestamp-implausible"
        case .catalogFull: "catalog-full"
        case .missing: "missing"
        case .spoolUnwritable: "spool-unwritable"
        }
    }
}
