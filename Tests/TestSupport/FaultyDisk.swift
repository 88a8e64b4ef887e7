// A folder whose disk fails when it is told to, for what SQLite does in it (CFaults).

import CFaults

package final class FaultyDisk: Sendable {
    package enum Operation: Int32, CaseIterable, Sendable {
        case open = 0
        case read = 1
        case write = 2
        case flush = 3
        case truncate = 4
    }

    /// What a call that fails has done.
    package enum Effect: Int32, Sendable {
        case nothing = 0
        case all = 1
        case half = 2
    }

    /// SQLite's codes as its own VFS answers them.
    package enum Code {
        package static let full: Int32 = 13
        package static let read: Int32 = 10 | 1 << 8
        package static let write: Int32 = 10 | 3 << 8
        package static let flush: Int32 = 10 | 4 << 8
        package static let truncate: Int32 = 10 | 6 << 8
        package static let cannotOpen: Int32 = 14
        package static let readOnly: Int32 = 8
    }

    private let rule: Int32

    package init(_ folder: String) {
        precondition(faults_install() == 0, "the VFS is registered")
        // Safety: Swift lends the text with its ending zero for the call.
        rule = unsafe faults_begin(folder)
        precondition(rule >= 0, "not too many rules")
    }

    deinit { faults_end(rule) }

    package func fail(
        _ operation: Operation, _ code: Int32, after skip: Int = 0, times count: Int = .max,
        effect: Effect = .nothing, only end: String = ""
    ) {
        // Safety: Swift lends the text with its ending zero for the call.
        unsafe faults_fail(
            rule, operation.rawValue, code, Int32(clamping: skip), Int32(clamping: count),
            effect.rawValue, end)
    }

    /// All that changes something fails.
    package func failAll(_ code: Int32) {
        fail(.write, code)
        fail(.flush, code)
        fail(.truncate, code)
    }

    package func heal() { faults_stop(rule) }

    /// Files grow by `room` bytes at most, then the disk is full, until it is healed.
    package func bound(_ room: Int) { faults_bound(rule, Int64(room)) }

    /// What is not flushed is remembered from now on, so that the power may go. From now on the
    /// folder is used by one thread.
    package func track() { faults_track(rule) }

    /// The power goes at write, flush or truncation number `calls` + 1 that `body` makes in
    /// `folder`, or behind its last: `to` becomes what is found of the folder then. `body` goes on, in
    /// a world that is no more.
    package func crash(
        after calls: Int, in folder: String, to copy: String, seed: UInt64, _ body: () -> Void
    ) {
        // Safety: Swift lends the texts with their ending zeros for the call.
        unsafe faults_crash(rule, Int32(clamping: calls), folder, copy, seed)
        body()
        _ = faults_crashed(rule)
    }

    package func calls(_ operation: Operation) -> Int {
        Int(faults_calls(rule, operation.rawValue))
    }
    package var failed: Int { Int(faults_failed(rule)) }
}
