// One accepted TCP connection of a source. Owner: its StreamSource; on the intake's queue only. Idle
// it holds no buffer: bytes are read into the intake's shared slab, complete frames are handed over
// from there, and only what is left of an unfinished frame is kept here. Invariant: `pending` is at
// most the longest frame, or what one read brought while the intake has no room.

import CLinux
import Glibc
import Model
import Pipeline

/// Where the streams of an intake are read: room for the longest unfinished frame and one read.
final class StreamSlab {
    static let readBytes = 32_768
    var bytes: [UInt8]

    init(maximumFrame: Int) {
        bytes = [UInt8](repeating: 0, count: maximumFrame + StreamSlab.readBytes)
    }
}

final class StreamConnection: SocketHandler {
    /// The most bytes of answers that a device may leave unread.
    static let maximumUnsent = 65_536

    let descriptor: Descriptor
    let id: ConnectionID
    let from: Endpoint
    unowned let source: StreamSource
    var token: SocketToken?
    /// When it was accepted, or when its last complete frame came.
    private(set) var since: Instant
    private(set) var hasSentFrame = false
    /// It has said everything; it may still be owed answers.
    private(set) var endedAt: Instant?
    private(set) var pending: [UInt8] = []
    private(set) var isWaitingForRoom = false
    private var unsent: [UInt8] = []
    private var sent = 0
    var isDirty = false
    /// What the loop watches it for.
    var interest: Readiness = .readable

    init(
        _ descriptor: consuming Descriptor, id: ConnectionID, from: Endpoint, source: StreamSource,
        now: Instant
    ) {
        self.descriptor = descriptor
        self.id = id
        self.from = from
        self.source = source
        since = now
    }

    // MARK: bytes from the device

    func visit(_ readiness: Readiness) -> Found {
        var found = Found()
        if readiness.contains(.writable), !flush() { return found }
        if endedAt != nil {
            if readiness.contains(.hungUp) { source.end(self) }
            return found
        }
        guard readiness.contains(.readable) || readiness.contains(.hungUp) else { return found }
        guard source.door.hasRoom, !isWaitingForRoom else {
            found.hasNoRoom = true
            return found
        }
        let slab = source.slab
        let kept = pending.count
        slab.bytes.replaceSubrange(0..<kept, with: pending)
        let count = descriptor.read(into: &slab.bytes, at: kept)
        if count == -Int(EAGAIN) { return found }
        guard count > 0 else {
            source.readEnded(self)
            return found
        }
        found.units = count
        found.hasMore = kept + count == slab.bytes.count
        source.countRead(count)
        offer(kept + count, &found)
        return found
    }

    /// There is room again for the bytes that were kept.
    func roomAgain(_ found: inout Found) {
        isWaitingForRoom = false
        let slab = source.slab
        slab.bytes.replaceSubrange(0..<pending.count, with: pending)
        offer(pending.count, &found)
    }

    /// Offers the first `count` bytes of the slab and keeps what is not consumed.
    private func offer(_ count: Int, _ found: inout Found) {
        let progress = handOver(count)
        let consumed = min(max(0, progress.consumed), count)
        keep(source.slab.bytes[consumed..<count])
        if progress.frames > 0 {
            hasSentFrame = true
            since = source.clock.now()
        }
        if progress.isSuspended {
            isWaitingForRoom = true
            source.wait(self)
            found.hasNoRoom = true
        } else if pending.count > source.maximumFrame {
            source.refuse(self, .noFrameFound)
        } else if source.pendingBytes > source.maximumPendingBytes {
            source.refuse(self, .tooManyPendingBytes)
        }
    }

    /// The array's second reference ends with this call, so that the next read writes in place.
    private func handOver(_ count: Int) -> StreamProgress {
        let bytes = source.slab.bytes
        return source.door.stream(
            bytes.span.extracting(0..<count), source: source.number, connection: id, from: from,
            at: source.clock.wall())
    }

    private func keep(_ rest: ArraySlice<UInt8>) {
        source.pendingBytes += rest.count - pending.count
        pending = rest.isEmpty ? [] : Array(rest)
    }

    /// It sends nothing more; forgets what is pending and returns its count.
    func end(at now: Instant) -> Int {
        endedAt = now
        let count = pending.count
        keep([])
        return count
    }

    // MARK: answers

    /// False: more than `maximumUnsent` would wait.
    func append(_ answer: Span<UInt8>) -> Bool {
        guard unsent.count - sent + answer.count <= StreamConnection.maximumUnsent else {
            return false
        }
        for i in 0..<answer.count { unsent.append(answer[i]) }
        return true
    }

    /// Sends what it can; false when the connection failed and was ended.
    @discardableResult
    func flush() -> Bool {
        guard sent < unsent.count else { return true }
        let count = descriptor.send(unsent, from: sent)
        if count < 0, count != -Int(EAGAIN) {
            source.end(self)
            return false
        }
        sent += max(0, count)
        let isDone = sent == unsent.count
        if isDone {
            unsent = []
            sent = 0
        } else if sent > StreamConnection.maximumUnsent / 2 {
            unsent.removeFirst(sent)
            sent = 0
        }
        source.watch(self, forRoomToSend: !isDone)
        return true
    }

    var isOwedNothing: Bool { sent == unsent.count }
}
