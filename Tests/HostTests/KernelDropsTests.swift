// The kernel's count of dropped datagrams: it goes round, and it may come late.

import Host
import Testing

@Suite("Kernel drops") struct KernelDropsTests {
    @Test("counts on over the wrap; an older count that a queued datagram carries adds nothing")
    func added() {
        #expect(KernelDrops.added(7, since: 3) == 4)
        #expect(KernelDrops.added(3, since: 3) == 0)
        #expect(KernelDrops.added(2, since: .max) == 3)
        // Asked for, the socket said 1000; the datagram was queued when there were 400.
        #expect(KernelDrops.added(400, since: 1000) == 0)
        #expect(KernelDrops.added(.max, since: 2) == 0)
        var seen: UInt32 = 0
        var sum: UInt64 = 0
        for count in [0, 400, 1000, 600, 900, 1000, 1200] as [UInt32] {
            let more = KernelDrops.added(count, since: seen)
            seen &+= more
            sum += UInt64(more)
        }
        #expect(sum == 1200)
    }
}
