// A UDP source: takes datagrams out of the kernel into a slab that all UDP sources of an intake
// share and hands them to the intake's door. Owner: IntakeSockets; on the intake's queue only.
// Nothing is allocated a datagram. A visit is bounded to four slabs.

import CLinux
import Glibc
import Model
import Pipeline

/// The slab of an intake.
@safe final class UDPSlab {
    static let slots = 128
    let slotBytes: Int
    // Safety: made in init, freed in deinit, never handed out beyond a call.
    private let slab: OpaquePointer
    /// Of the datagrams that are being handed over.
    private var arrivals: [Arrival] = []

    init(slotBytes: Int) throws(HostError) {
        self.slotBytes = slotBytes
        // Safety: the shim checks its arguments and returns nil when it refuses.
        guard let slab = unsafe sluice_slab_make(UInt32(UDPSlab.slots), UInt32(slotBytes)) else {
            throw HostError("reserve the slab", why: "no memory", advice: "raise MemoryMax")
        }
        unsafe self.slab = slab
        arrivals.reserveCapacity(UDPSlab.slots)
    }

    deinit { unsafe sluice_slab_free(slab) }

    /// A slot takes what fits an Ethernet frame, or the longest frame where that is longer.
    static func slotBytes(forFrame maximumFrame: Int) -> Int {
        min(65_536, max(2048, (maximumFrame + 63) / 64 * 64))
    }

    /// One recvmmsg; see `sluice_slab_receive`.
    func receive(_ descriptor: borrowing Descriptor, drops: inout UInt32) -> Int {
        // Safety: the slab lives as long as self; `drops` outlives the call.
        unsafe Int(sluice_slab_receive(slab, descriptor.number, &drops))
    }

    /// Hands the first `count` datagrams of the last receive to `door`: bytes and how many were
    /// cut.
    func deliver(
        _ count: Int, to door: any IntakeDoor, source: Int, fallback: Timestamp
    )
        -> (bytes: Int, truncated: Int)
    {
        var total = 0
        var truncated = 0
        let count = min(count, UDPSlab.slots)
        arrivals.removeAll(keepingCapacity: true)
        for i in 0..<count {
            // Safety: i < slots, and receive filled the datagrams before `count`.
            let datagram = unsafe sluice_slab_datagrams(slab)[i]
            let bytes = min(Int(datagram.count), slotBytes)
            let time = datagram.received_ms
            arrivals.append(
                Arrival(
                    from: Endpoint(datagram.from),
                    receivedAt: time == 0 ? fallback : Timestamp(milliseconds: time),
                    count: bytes, isTruncated: datagram.is_truncated != 0))
            total &+= bytes
            truncated &+= Int(datagram.is_truncated)
        }
        // Safety: the slab has `slots` slots of `slotBytes`, of which the door reads what arrived; the span
        // ends with the call, before the next receive.
        let bytes = unsafe UnsafeBufferPointer(
            start: sluice_slab_bytes(slab), count: UDPSlab.slots * slotBytes
        ).span
        let list = arrivals
        door.datagrams(list.span, in: bytes, slotBytes: slotBytes, source: source)
        return (total, truncated)
    }
}

final class UDPSource: SocketHandler {
    private static let slabsPerVisit = 4

    let descriptor: Descriptor
    let number: Int
    private(set) var statistics: SourceStatistics
    private let isIPv6: Bool
    private let slab: UDPSlab
    /// The intake, or a recording before it.
    var door: any IntakeDoor
    private let clock: Clock
    /// The kernel's counter as last seen, and its part not yet told to the door.
    private(set) var dropsSeen: UInt32
    private var dropsUntold: UInt64 = 0

    init(
        _ descriptor: consuming Descriptor, number: Int, wanted: Int,
        statistics: SourceStatistics, slab: UDPSlab, door: any IntakeDoor, clock: Clock,
        drops: UInt32
    ) {
        dropsSeen = drops
        self.descriptor = descriptor
        self.number = number
        self.statistics = statistics
        isIPv6 = !statistics.endpoint.isIPv4
        self.slab = slab
        self.door = door
        self.clock = clock
        self.statistics.bufferBytesWanted = wanted
        if let info = memory { self.statistics.bufferBytes = Int(info.receive_buffer) }
    }

    func start(in loop: SocketLoop) throws(HostError) {
        _ = try loop.add(descriptor, self, for: .readable)
    }

    func visit(_ readiness: Readiness) -> Found {
        var found = Found()
        guard door.hasRoom else {
            found.hasNoRoom = true
            return found
        }
        statistics.visits &+= 1
        if let info = memory {
            found.fill = Int(
                UInt64(info.receive_queued) &* 256 / UInt64(max(1, info.receive_buffer)))
        }
        let now = clock.wall()
        var slabs = 0
        while slabs < UDPSource.slabsPerVisit {
            var drops = dropsSeen
            let count = slab.receive(descriptor, drops: &drops)
            slabs += 1
            // A pending ICMP error is reported once and means nothing to a receiver.
            if count == -Int(ECONNREFUSED) || count == -Int(EHOSTUNREACH) { continue }
            guard count > 0 else { break }
            saw(drops)
            let taken = slab.deliver(count, to: door, source: number, fallback: now)
            statistics.datagrams &+= UInt64(count)
            statistics.bytesReceived &+= UInt64(taken.bytes)
            statistics.truncated &+= UInt64(taken.truncated)
            found.units &+= count
            if count < UDPSlab.slots { break }
            if !door.hasRoom {
                found.hasNoRoom = true
                break
            }
            found.hasMore = slabs == UDPSource.slabsPerVisit
        }
        endTurn()
        return found
    }

    /// Sends all items; how many the kernel did not take. An item that fails (its address is
    /// unreachable) does not hold up the ones behind it; a full buffer ends the attempt.
    func send(_ bytes: [UInt8], _ items: [sluice_outgoing]) -> Int {
        var next = 0
        var failures = 0
        while next < items.count {
            // Safety: both arrays outlive the call; offsets and counts lie in `bytes`, because
            // AnswerSender appended exactly these bytes; next < items.count.
            let sent = unsafe bytes.withUnsafeBufferPointer { bytes in
                unsafe items.withUnsafeBufferPointer { items in
                    unsafe Int(
                        sluice_send_batch(
                            descriptor.number, isIPv6 ? 1 : 0, bytes.baseAddress,
                            items.baseAddress.map { unsafe $0 + next },
                            UInt32(items.count - next)))
                }
            }
            if sent == -Int(EAGAIN) || sent == -Int(ENOBUFS) {
                return failures + items.count - next
            }
            if sent <= 0 { failures += 1 }
            next += max(1, sent)
        }
        return failures
    }

    func countLostAnswers(_ count: Int) { statistics.answersLost &+= UInt64(count) }

    /// Asks the kernel for drops that no later datagram has told of, and tells the door.
    func refreshDrops() {
        if let info = memory { saw(info.drops) }
        if dropsUntold > 0 { endTurn() }
    }

    private func endTurn() {
        door.endTurn(source: number, kernelDrops: dropsUntold)
        dropsUntold = 0
    }

    /// The counter is 32 bits wide and wraps; between two looks it never goes round once.
    private func saw(_ drops: UInt32) {
        let delta = KernelDrops.added(drops, since: dropsSeen)
        dropsSeen &+= delta
        dropsUntold &+= UInt64(delta)
        statistics.kernelDrops &+= UInt64(delta)
    }

    private var memory: sluice_meminfo? {
        var info = sluice_meminfo()
        // Safety: `info` outlives the call.
        return unsafe sluice_meminfo_read(descriptor.number, &info) == 0 ? info : nil
    }
}

/// The kernel's count of what it dropped on a socket: 32 bits that go round.
package enum KernelDrops {
    /// How many `count` tells beyond those that were seen. A datagram carries the count of the moment it
    /// was queued, so one that waited tells of fewer than the socket said when it was asked meanwhile.
    package static func added(_ count: UInt32, since seen: UInt32) -> UInt32 {
        let ahead = count &- seen
        return ahead < 1 << 31 ? ahead : 0
    }
}
