// What a segment's log (SQLite's WAL) holds beyond the place where SQLite stops reading it. SQLite takes
// the frames up to the first one whose sum is wrong for the torn end of a power cut and forgets the rest,
// also where one bad page lies before a hundred transactions that were durable. So before a log is given to
// SQLite we look: where whole frames of the same log follow behind a transaction's end, that end
// had been flushed, and what is bad before it is damage. Then the bad frames alone are left out. No
// state; on the spool queue.
//
// The file (https://www.sqlite.org/walformat.html), numbers big-endian:
//
//     header  magic 377f0682 | format 3007000 | page size | sequence | salt u32 × 2 | sum u32 × 2
//             (of the 24 bytes before it)
//     frame   page u32 | pages after commit u32, 0 within a transaction | salt × 2 | sum × 2 | page's bytes
//
// A frame's sum goes on from that of the frame before it, over its first 8 bytes and its page, in
// little-endian words. Each frame holds the sum that it goes on from in the header of the one before: so
// each can be judged by itself, and one that is bad does not hide those behind it.

/// A log, frame by frame.
struct SegmentLog {
    struct Frame {
        var page: UInt32
        /// Ends a transaction.
        var isCommit: Bool
        /// As it was written.
        var isSound = false
        /// Of this log; else left over from one before it.
        var isOurs = false
        /// SQLite reads it, if it comes so far.
        var isRead = false
    }

    /// What damage left.
    struct Mended {
        /// A log without the bad frames.
        var bytes: [UInt8]
        var bad: Int
        /// Transactions behind the first bad frame that are in it.
        var transactions: Int
    }

    private(set) var frames: [Frame] = []
    private let bytes: [UInt8]
    private var salts: (UInt32, UInt32) = (0, 0)

    private static let headBytes = 32
    private static let pageBytes = 4096
    private static let frameBytes = 24 + pageBytes
    /// More pages than a transaction keeps in memory, which it writes in order of their numbers.
    private static let orderedFrames = 100

    typealias Sum = (UInt32, UInt32)

    /// nil for what is no log of ours: too short, of another page size or byte order.
    init?(_ bytes: [UInt8]) {
        self.bytes = bytes
        let count = (bytes.count - SegmentLog.headBytes) / SegmentLog.frameBytes
        guard count > 0, number(0) != 0x377f_0683 else { return nil }
        salts = findSalts(count)
        judge(count)
        while let last = frames.last, !last.isOurs { frames.removeLast() }
    }

    // MARK: Reading

    private func number(_ at: Int) -> UInt32 {
        UInt32(bytes[at]) << 24 | UInt32(bytes[at + 1]) << 16 | UInt32(bytes[at + 2]) << 8
            | UInt32(bytes[at + 3])
    }

    private func place(_ frame: Int) -> Int {
        SegmentLog.headBytes + frame * SegmentLog.frameBytes
    }

    private func storedSum(_ at: Int) -> Sum { (number(at), number(at + 4)) }

    private static func sum(_ bytes: [UInt8], _ range: Range<Int>, from seed: Sum) -> Sum {
        precondition(range.upperBound <= bytes.count && range.count % 8 == 0, "whole words")
        var (a, b) = seed
        // Safety: every load lies within the array, by the precondition above.
        unsafe bytes.withUnsafeBytes { raw in
            for at in stride(from: range.lowerBound, to: range.upperBound, by: 8) {
                // Safety: as above.
                let first = unsafe raw.loadUnaligned(fromByteOffset: at, as: UInt32.self)
                // Safety: as above.
                let second = unsafe raw.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self)
                a = a &+ UInt32(littleEndian: first) &+ b
                b = b &+ UInt32(littleEndian: second) &+ a
            }
        }
        return (a, b)
    }

    private var isHeadSound: Bool {
        SegmentLog.sum(bytes, 0..<24, from: (0, 0)) == storedSum(24)
    }

    /// The header's, or where it is damaged those of the frames.
    private func findSalts(_ count: Int) -> (UInt32, UInt32) {
        if isHeadSound { return storedSum(16) }
        let first = storedSum(place(0) + 8)
        guard count > 2 else { return first }
        let (second, third) = (storedSum(place(1) + 8), storedSum(place(2) + 8))
        return second == third ? second : first
    }

    /// Each frame goes on from the sum that the one before it says, or, where that number itself is bad,
    /// from the sum that it should say.
    private mutating func judge(_ count: Int) {
        var said = storedSum(24)
        var computed = SegmentLog.sum(bytes, 0..<24, from: (0, 0))
        var isReading = isHeadSound
        for index in 0..<count {
            let at = place(index)
            var frame = Frame(page: number(at), isCommit: number(at + 4) != 0)
            let hasSalts = storedSum(at + 8) == salts
            let next = storedSum(at + 16)
            let here = sum(at, from: said)
            let isNumbered = frame.page > 0
            // What an older log's frame says is no place to go on from: over the next one a power cut may
            // have left nothing but new salts.
            let goesOn = index == 0 || frames[index - 1].isOurs
            frame.isSound = here == next && isNumbered && goesOn
            isReading = isReading && frame.isSound && hasSalts
            frame.isRead = isReading
            if !frame.isSound, computed != said, isNumbered, hasSalts,
                sum(at, from: computed) == next
            {
                // Only the sum before it was damaged, not what that was the sum of. An older log's frame
                // proves nothing: before it a power cut may have left a new head over an old page.
                frame.isSound = true
                if index > 0, frames[index - 1].page > 0 { frames[index - 1].isSound = true }
            }
            // Damaged salts alone are no other log. The frame before must be sound: one of which a
            // power cut left the head may still hold the sum that an older log's frame goes on from.
            let follows = index > 0 && frames[index - 1].isSound && frames[index - 1].isOurs
            frame.isOurs = hasSalts || (frame.isSound && (follows || index == 0))
            if index > 0, frame.isSound, frame.isOurs, frames[index - 1].isSound {
                frames[index - 1].isOurs = true
            }
            frames.append(frame)
            (said, computed) = (next, here)
        }
    }

    private func sum(_ at: Int, from seed: Sum) -> Sum {
        let head = SegmentLog.sum(bytes, at..<at + 8, from: seed)
        return SegmentLog.sum(bytes, at + 24..<at + SegmentLog.frameBytes, from: head)
    }

    // MARK: Mending

    /// The first frame that SQLite would leave out; nil when it reads everything.
    private var firstForgotten: Int? {
        let commit = frames.lastIndex { $0.isRead && $0.isCommit }
        let next = commit.map { $0 + 1 } ?? 0
        return next < frames.count ? next : nil
    }

    /// The last place in the range where a transaction must have ended unseen: pages of one rise.
    private func hiddenEnd(_ range: Range<Int>) -> Int? {
        guard range.count <= SegmentLog.orderedFrames else { return nil }
        var found: Int?
        var page: UInt32 = 0
        for index in range where frames[index].isSound {
            if frames[index].page <= page { found = index }
            page = frames[index].page
        }
        return found
    }

    /// A log with every sound frame up to the end of the last transaction that can be had; nil when SQLite
    /// reads what there is, or forgets only what a power cut may have torn.
    var mended: Mended? {
        guard let start = firstForgotten,
            let last = frames.lastIndex(where: { $0.isSound && $0.isCommit && $0.isOurs }),
            last >= start
        else { return nil }
        var end = last
        let before = frames[..<last].lastIndex { $0.isSound && $0.isCommit }
        let begin = max(start, before.map { $0 + 1 } ?? 0)
        let isWhole = (begin...last).allSatisfy { frames[$0].isSound }
        if !isWhole, last + 1 == frames.count {
            // The newest transaction is not whole. Torn, unless it hides the end of another.
            let hidden = hiddenEnd(begin..<last + 1)
            let isRest = hidden.map { from in (from...last).allSatisfy { frames[$0].isSound } }
            if isRest != true {
                guard let before, before >= start else { return nil }
                end = before
            }
        }
        return build(upTo: end, from: start)
    }

    private func build(upTo end: Int, from start: Int) -> Mended? {
        let kept = (0...end).filter { frames[$0].isSound }
        let bad = end + 1 - kept.count
        // Everything was read after all, or nothing would change.
        guard bad > 0 || !isHeadSound || kept.contains(where: { !frames[$0].isRead }) else {
            return nil
        }
        var out: [UInt8] = []
        out.reserveCapacity(SegmentLog.headBytes + kept.count * SegmentLog.frameBytes)
        func put(_ value: UInt32) {
            for shift in [24, 16, 8, 0] as [UInt32] {
                out.append(UInt8(truncatingIfNeeded: value >> shift))
            }
        }
        let sequence = isHeadSound ? number(12) : 0
        for value in [0x377f_0682, 3_007_000, UInt32(SegmentLog.pageBytes), sequence] {
            put(value)
        }
        put(salts.0)
        put(salts.1)
        var running = SegmentLog.sum(out, 0..<24, from: (0, 0))
        put(running.0)
        put(running.1)
        for index in kept {
            let at = place(index)
            out += bytes[at..<at + 8]
            put(salts.0)
            put(salts.1)
            running = sum(at, from: running)
            put(running.0)
            put(running.1)
            out += bytes[at + 24..<at + SegmentLog.frameBytes]
        }
        let transactions = kept.reduce(0) { $0 + ($1 >= start && frames[$1].isCommit ? 1 : 0) }
        return Mended(bytes: out, bad: bad, transactions: transactions)
    }
}
