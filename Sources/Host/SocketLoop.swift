// All sockets of one queue behind one epoll descriptor, and the moderation of their interrupts.
// Owner: whoever made it; everything runs on `queue`. At rest a Dispatch read source on the epoll
// descriptor wakes the queue with the first byte. While traffic flows that source is suspended and
// the queue visits the sockets, staying away between two visits for as long as the fullest socket
// buffer allows (DECISIONS.md, "Visits"). Invariant: exactly one of resting, visiting and waiting
// for room.

import CLinux
package import Dispatch
import Glibc

/// What a socket is ready for.
package struct Readiness: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static let readable = Readiness(rawValue: UInt32(SLUICE_READABLE))
    package static let writable = Readiness(rawValue: UInt32(SLUICE_WRITABLE))
    package static let hungUp = Readiness(rawValue: UInt32(SLUICE_HUNG_UP))
}

/// What a socket's handler found in one visit.
struct Found {
    /// Datagrams or bytes taken from the kernel.
    var units = 0
    /// The bounded turn ended before the socket was empty.
    var hasMore = false
    /// How full the socket's buffer was, in 1/256.
    var fill = 0
    /// The stage behind has no room: stop visiting until `roomAgain`.
    var hasNoRoom = false
}

protocol SocketHandler: AnyObject {
    /// On the loop's queue. Takes a bounded amount.
    func visit(_ readiness: Readiness) -> Found
}

/// How long the loop stays away while traffic flows.
package struct Moderation: Hashable, Sendable {
    /// Longest absence in nanoseconds; 0 returns to the read source after each visit.
    package var longestAbsence: UInt64
    /// Visits in a row that find nothing before the loop rests.
    package var emptyVisits: Int

    package init(longestAbsence: UInt64, emptyVisits: Int = 3) {
        self.longestAbsence = longestAbsence
        self.emptyVisits = emptyVisits
    }

    package static let off = Moderation(longestAbsence: 0, emptyVisits: 0)
    /// 5 ms: a quarter of the 20 ms that an answer waits for its commit (design.md section 4).
    package static let standard = Moderation(longestAbsence: 5_000_000)
}

/// Where a handler is registered; a number that is never used twice.
struct SocketToken: Hashable {
    fileprivate let slot: UInt32
    fileprivate let generation: UInt32
    fileprivate var rawValue: UInt64 { UInt64(generation) << 32 | UInt64(slot) }
}

package final class SocketLoop {
    private enum State { case resting, visiting, withoutRoom, closed }

    private struct Slot {
        var generation: UInt32 = 0
        var handler: (any SocketHandler)?
    }

    let queue: DispatchQueue
    private let epoll: Descriptor
    private let source: any DispatchSourceRead
    private var moderation: Moderation
    private var slots: [Slot] = []
    private var freeSlots: [UInt32] = []
    private var events = [sluice_event](repeating: sluice_event(), count: 256)
    private var state = State.resting
    private var emptyVisits = 0
    private var absence: UInt64 = 0
    /// Called after the handlers of a visit.
    var didVisit: (() -> Void)?
    /// Called before the queue is left alone.
    var willRest: (() -> Void)?
    /// Submitted for each further visit; made once so that a visit allocates nothing.
    private var nextVisit: DispatchWorkItem?

    package private(set) var visits: UInt64 = 0
    /// Times that the queue was woken from rest.
    package private(set) var wakes: UInt64 = 0

    /// `queue` must be serial and only this loop's and its owner's.
    package init(queue: DispatchQueue, moderation: Moderation = .off) throws(HostError) {
        self.queue = queue
        self.moderation = moderation
        epoll = try Descriptor(sluice_epoll_make(), "watch sockets")
        source = DispatchSource.makeReadSource(fileDescriptor: epoll.number, queue: queue)
        source.setEventHandler { [weak self] in self?.wake() }
        nextVisit = DispatchWorkItem { [weak self] in self?.stayAwayThenVisit() }
        source.activate()
    }

    deinit {
        guard state != .closed else { return }
        // Its owner's init failed, or it went without `close`: nothing runs on the queue any more, since
        // the handlers hold the loop weakly. A suspended source must not be released.
        if state != .resting { source.resume() }
        source.cancel()
    }

    /// A socket with a buffer of so many bytes is to be watched: what comes in one absence must fit even
    /// when traffic begins at once, at 200 MB/s as the kernel counts (a datagram of 64 bytes as 768), a
    /// quarter of a million datagrams a second.
    func watch(bufferBytes: Int) {
        moderation.longestAbsence = min(moderation.longestAbsence, UInt64(max(0, bufferBytes)) &* 5)
    }

    /// Stops for good. Cancelling is finished when the queue has run what it was doing.
    package func close() {
        dispatchPrecondition(condition: .onQueue(queue))
        guard state != .closed else { return }
        // A suspended source must not be released.
        if state != .resting { source.resume() }
        state = .closed
        source.cancel()
        slots.removeAll()
        willRest = nil
        didVisit = nil
        nextVisit = nil
    }

    // MARK: registration

    func add(
        _ descriptor: borrowing Descriptor, _ handler: any SocketHandler, for interest: Readiness
    ) throws(HostError) -> SocketToken {
        let slot = freeSlots.popLast() ?? UInt32(slots.count)
        if slot == slots.count { slots.append(Slot()) }
        let token = SocketToken(slot: slot, generation: slots[Int(slot)].generation)
        let result = sluice_epoll_add(
            epoll.number, descriptor.number, token.rawValue, interest.rawValue)
        guard result == 0 else {
            freeSlots.append(slot)
            throw HostError("watch a socket", result: result)
        }
        slots[Int(slot)].handler = handler
        return token
    }

    func change(
        _ descriptor: borrowing Descriptor, _ token: SocketToken, to interest: Readiness
    ) {
        _ = sluice_epoll_change(
            epoll.number, descriptor.number, token.rawValue, interest.rawValue)
    }

    /// Before the descriptor is closed. Events already collected for it are ignored.
    func remove(_ descriptor: borrowing Descriptor, _ token: SocketToken) {
        _ = sluice_epoll_remove(epoll.number, descriptor.number)
        guard slots.indices.contains(Int(token.slot)),
            slots[Int(token.slot)].generation == token.generation
        else { return }
        slots[Int(token.slot)].handler = nil
        slots[Int(token.slot)].generation &+= 1
        freeSlots.append(token.slot)
    }

    // MARK: visits

    /// There is room again: look at the sockets now. Nothing happens unless the loop waits for it.
    package func roomAgain() {
        dispatchPrecondition(condition: .onQueue(queue))
        guard state == .withoutRoom else { return }
        state = .visiting
        absence = 0
        visit()
    }

    package var isWithoutRoom: Bool { state == .withoutRoom }

    private func wake() {
        guard state == .resting else { return }
        source.suspend()
        state = .visiting
        wakes &+= 1
        emptyVisits = 0
        absence = moderation.longestAbsence / 2
        visit()
    }

    private func stayAwayThenVisit() {
        guard state == .visiting else { return }
        // What others had submitted to the queue ran before this item, so nothing waits longer than
        // one absence.
        if absence > 0 { sluice_sleep_ns(absence) }
        visit()
    }

    private func visit() {
        visits &+= 1
        // Safety: the shim writes at most `count` events into the array it is lent.
        let count = unsafe events.withUnsafeMutableBufferPointer {
            unsafe sluice_epoll_collect(epoll.number, $0.baseAddress, UInt32($0.count))
        }
        var total = Found()
        for i in 0..<max(0, Int(count)) {
            let event = events[i]
            let slot = Int(UInt32(truncatingIfNeeded: event.token))
            guard slots.indices.contains(slot),
                slots[slot].generation == UInt32(truncatingIfNeeded: event.token >> 32),
                let handler = slots[slot].handler
            else { continue }
            let found = handler.visit(Readiness(rawValue: event.events))
            total.units &+= found.units
            total.fill = max(total.fill, found.fill)
            total.hasMore = total.hasMore || found.hasMore
            if found.hasNoRoom {
                total.hasNoRoom = true
                break
            }
        }
        didVisit?()
        guard state == .visiting else { return }
        if total.hasNoRoom {
            state = .withoutRoom
            return
        }
        // Readable sockets beyond the array's end count as more.
        if count == events.count { total.hasMore = true }
        plan(after: total, hadEvents: count > 0)
    }

    private func plan(after found: Found, hadEvents: Bool) {
        emptyVisits = hadEvents ? 0 : emptyVisits + 1
        if !found.hasMore, emptyVisits >= moderation.emptyVisits {
            willRest?()
            state = .resting
            source.resume()
            return
        }
        adapt(to: found)
        if let nextVisit { queue.async(execute: nextVisit) }
    }

    /// Halves the absence when a buffer was more than a quarter full, lengthens it by an eighth of
    /// the longest when all were less than an eighth full; in between it stays.
    private func adapt(to found: Found) {
        if found.hasMore || found.fill > 64 {
            absence = found.hasMore ? 0 : absence / 2
        } else if found.fill < 32 {
            absence = min(moderation.longestAbsence, absence &+ moderation.longestAbsence / 8)
        }
    }
}
