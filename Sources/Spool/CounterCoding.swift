// Counters and the state of a cut as bytes. Lists may grow at their ends (Rejection and Drop are
// only appended to): a reader takes what it knows and ignores the rest.
//
// Counters, layout 1: u8 layout = 1 | varint n, n × varint (the plain counters in the order of
//     `plain`) | varint n, n × varint (rejected, by raw value) | varint n, n × varint (dropped, by
//     raw value)
// Cut, layout 2 (1: without the last): u8 layout | u64 epoch | varint intakes, each: u64 covered,
//     varint length, counters | varint n, n × (varint zigzag bucketStart ms, varint revision)
//     | u64 from, u64 to: journal of intake 0 that waits for the next start (from = to: none)
//     | varint n, n × (u64 from, u64 to): more of such; may be missing

import Model

enum CounterCoding {
    static let maximumSize = 4096

    /// The plain counters in their order on disk: only append. `isReplayed`: a replay of the
    /// journal counts it again, so it is restored as of the last cut; the others as of the newest
    /// snapshot.
    static let plain:
        [(path: any WritableKeyPath<IntakeCounters, UInt64> & Sendable, isReplayed: Bool)] = [
            (\.datagrams, false), (\.bytesReceived, false), (\.kernelDrops, false),
            (\.framesReceived, false), (\.framesDecoded, true), (\.framesDuplicate, false),
            (\.framesControl, false), (\.framesAnswered, false), (\.readingsDecoded, true),
            (\.readingsPublished, true), (\.bytesSkipped, false), (\.bodiesGivenUp, true),
        ]

    static func encode(_ counters: IntakeCounters) -> [UInt8] {
        var writer = ByteWriter(capacity: 128)
        writer.u8(1)
        writer.varint(UInt64(plain.count))
        for (path, _) in plain { writer.varint(counters[keyPath: path]) }
        writer.varint(UInt64(Rejection.allCases.count))
        for reason in Rejection.allCases { writer.varint(counters[reason]) }
        writer.varint(UInt64(Drop.allCases.count))
        for reason in Drop.allCases { writer.varint(counters[reason]) }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8]) -> IntakeCounters? {
        var counters = IntakeCounters()
        var reader = ByteReader(bytes)
        do throws(ShortBytes) {
            guard try reader.u8() == 1 else { return nil }
            for index in 0..<Int(clamping: try reader.varint()) {
                let value = try reader.varint()
                if index < plain.count { counters[keyPath: plain[index].path] = value }
            }
            for index in 0..<Int(clamping: try reader.varint()) {
                let value = try reader.varint()
                if let reason = UInt8(exactly: index).flatMap(Rejection.init(rawValue:)) {
                    counters[reason] = value
                }
            }
            for index in 0..<Int(clamping: try reader.varint()) {
                let value = try reader.varint()
                if let reason = UInt8(exactly: index).flatMap(Drop.init(rawValue:)) {
                    counters[reason] = value
                }
            }
        } catch {
            return nil
        }
        return counters
    }

    /// Counters to start from after a crash: what replay counts again as of the last cut, the rest
    /// as of the newest of both (they only rise, so the newest is the larger).
    static func restore(cut: IntakeCounters, newest: IntakeCounters) -> IntakeCounters {
        var restored = cut
        for (path, isReplayed) in plain where !isReplayed {
            restored[keyPath: path] = max(cut[keyPath: path], newest[keyPath: path])
        }
        for reason in Rejection.allCases {
            restored[reason] = max(cut[reason], newest[reason])
        }
        return restored
    }
}

/// What a cut leaves behind besides its batches.
struct CutState {
    var epoch: UInt64 = 0
    var covered: [UInt64] = []
    var counters: [IntakeCounters] = []
    var revisions: [BucketRevision] = []
    /// Journal of intake 0 below `covered` that no batch holds: the spool could not be read when that
    /// run began, so the next one decodes it again. Rising; between two of them lies what a run took in
    /// that began without its spool and found it later.
    var stranded: [Range<UInt64>] = []

    var strandedFrames: UInt64 { stranded.reduce(0) { $0 &+ ($1.upperBound - $1.lowerBound) } }

    /// The part of the journal that waits, of which this stretch is some; nil: none.
    func stranded(_ stretch: Range<UInt64>) -> Range<UInt64>? {
        stranded.first { stretch.upperBound > $0.lowerBound && stretch.lowerBound < $0.upperBound }
    }

    mutating func strand(_ stretch: Range<UInt64>) {
        if stretch.isEmpty { return }
        if let last = stranded.last, last.upperBound == stretch.lowerBound {
            stranded[stranded.count - 1] = last.lowerBound..<stretch.upperBound
        } else {
            stranded.append(stretch)
        }
    }

    func encode() -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.u8(2)
        writer.u64(epoch)
        writer.varint(UInt64(covered.count))
        for (index, position) in covered.enumerated() {
            writer.u64(position)
            writer.blob(CounterCoding.encode(counters[index]))
        }
        writer.varint(UInt64(revisions.count))
        for entry in revisions {
            let start = entry.bucketStart.milliseconds
            writer.varint(UInt64(bitPattern: (start << 1) ^ (start >> 63)))
            writer.varint(UInt64(entry.revision))
        }
        writer.u64(stranded.first?.lowerBound ?? 0)
        writer.u64(stranded.first?.upperBound ?? 0)
        let more = stranded.dropFirst()
        if !more.isEmpty { writer.varint(UInt64(more.count)) }
        for range in more {
            writer.u64(range.lowerBound)
            writer.u64(range.upperBound)
        }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8]) -> CutState? {
        var state = CutState()
        var reader = ByteReader(bytes)
        do throws(ShortBytes) {
            let layout = try reader.u8()
            guard layout == 1 || layout == 2 else { return nil }
            state.epoch = try reader.u64()
            for _ in 0..<Int(clamping: try reader.varint()) {
                let position = try reader.u64()
                guard position < StoredPart.positionLimit else { return nil }
                state.covered.append(position)
                let blob = try reader.blob(limit: CounterCoding.maximumSize)
                guard let counters = CounterCoding.decode(blob) else { return nil }
                state.counters.append(counters)
            }
            for _ in 0..<Int(clamping: try reader.varint()) {
                let zigzag = try reader.varint()
                let start = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
                guard let revision = UInt32(exactly: try reader.varint()) else { return nil }
                state.revisions.append(
                    BucketRevision(
                        bucketStart: Timestamp(milliseconds: start), revision: revision))
            }
            guard layout == 2 else { return state }
            try state.readStranded(&reader)
            if reader.remaining > 0 {
                for _ in 0..<Int(clamping: try reader.varint()) {
                    try state.readStranded(&reader)
                }
            }
        } catch {
            return nil
        }
        return state
    }

    private mutating func readStranded(_ reader: inout ByteReader) throws(ShortBytes) {
        let from = try reader.u64()
        let to = try reader.u64()
        let last = stranded.last?.upperBound ?? 0
        if from < to, last <= from, to < StoredPart.positionLimit { strand(from..<to) }
    }
}
