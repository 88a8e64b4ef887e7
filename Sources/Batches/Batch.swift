// The nouns of a sealed batch: its key, its bytes, what can be wrong with it, and the limits within
// which a decoder believes it. Values only; made on the batch queue, read on any.

package import Model

/// Key and summary of a batch: an event-time bucket and which revision of it this is.
package struct BatchInfo: Hashable, Sendable {
    /// First millisecond of the bucket; 0 for the history bucket.
    package var bucketStart: Timestamp
    /// Width of the bucket; 0 for the history bucket, which holds what fits no open bucket.
    package var bucketMilliseconds: Int64
    /// Rises with each batch of the same bucket: late readings, other lanes, splits.
    package var revision: UInt32
    package var readings: Int
    package var firstObservedAt: Timestamp
    package var lastObservedAt: Timestamp
    package var priority: Priority

    package init(
        bucketStart: Timestamp, bucketMilliseconds: Int64, revision: UInt32, readings: Int,
        firstObservedAt: Timestamp, lastObservedAt: Timestamp, priority: Priority
    ) {
        self.bucketStart = bucketStart
        self.bucketMilliseconds = bucketMilliseconds
        self.revision = revision
        self.readings = readings
        self.firstObservedAt = firstObservedAt
        self.lastObservedAt = lastObservedAt
        self.priority = priority
    }

    package var isHistory: Bool { bucketMilliseconds == 0 }
}

/// A batch as it is spooled and sent: `bytes` say everything that `info` says.
package struct SealedBatch: Sendable {
    package let info: BatchInfo
    package let bytes: [UInt8]

    package init(info: BatchInfo, bytes: [UInt8]) {
        self.info = info
        self.bytes = bytes
    }
}

/// What a batch held: readings grouped by stream (streams in rising order of their numbers), the
/// readings of one stream in the order in which they arrived.
package struct DecodedBatch: Sendable {
    package var info: BatchInfo
    package var readings: [Reading]

    package init(info: BatchInfo, readings: [Reading]) {
        self.info = info
        self.readings = readings
    }
}

/// Why bytes are no batch. Closed: a store answers `rejected` for every case.
package enum BatchError: Error, Hashable, Sendable {
    case badMagic
    case badVersion(UInt8)
    /// Flags of a later version that change what the bytes mean.
    case unsupported(flags: UInt8)
    case badChecksum
    /// Fewer bytes than the shortest batch has.
    case truncated
    /// More readings or expanded bytes than the limits allow.
    case tooLarge
    /// It would expand to more than the number of readings that it states can take.
    case expandsTooFar
    /// The checksum is right and the content is not: the byte offset within the batch (header) or
    /// within the expanded section.
    case malformed(at: Int)
}

/// What a decoder accepts. Checked before anything of an announced size is allocated. A day of constant
/// values honestly expands ten thousand times, so what counts is not the ratio to the bytes but to the
/// readings that the batch states: expanded bytes, and memory while decoding, are a multiple of these.
package struct BatchLimits: Hashable, Sendable {
    package var maximumReadings: Int
    /// All sections of a batch together, after inflate.
    package var maximumExpandedBytes: Int
    /// Expanded bytes for one deflated byte; deflate itself ends at 1,032.
    package var maximumRatio: Int
    /// Expanded bytes for each reading that the header states, beside `expandedBase`.
    package var expandedBytesPerReading: Int
    /// Expanded bytes that any batch may have: tables.
    package var expandedBase: Int

    package init(
        maximumReadings: Int = 1_000_000, maximumExpandedBytes: Int = 64 << 20,
        maximumRatio: Int = 1_100, expandedBytesPerReading: Int = 64, expandedBase: Int = 4096
    ) {
        self.maximumReadings = maximumReadings
        self.maximumExpandedBytes = maximumExpandedBytes
        self.maximumRatio = maximumRatio
        self.expandedBytesPerReading = expandedBytesPerReading
        self.expandedBase = expandedBase
    }

    /// For sections of a batch that states so many readings.
    func allowed(readings: Int) -> Int {
        let (bytes, overflow) = readings.multipliedReportingOverflow(by: expandedBytesPerReading)
        let (sum, more) = bytes.addingReportingOverflow(expandedBase)
        return overflow || more ? .max : sum
    }
}

/// How hard the encoder tries; the decoder does not care.
package enum BatchEffort: UInt8, Sendable, CaseIterable {
    /// No deflate at all: planes as they are, for tests of the decoder and for starved machines.
    case stored
    /// Planes, zlib level 1, one try a section.
    case fast
    /// The range coder, and zlib level 6 (of long sections 5 or 3) for what is not a column.
    case normal
    /// Planes, zlib level 9 in all strategies, the shortest: what deflate alone reaches.
    case deflated
    /// The range coder, and the rest as `deflated`.
    case best

    var isCoded: Bool { self == .normal || self == .best }
}
