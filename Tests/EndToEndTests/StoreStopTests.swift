// The store's end in the process of the test, where its clock can be watched.

import Host
import Model
import Synchronization
import Testing

extension EndToEnd {
    @Suite("the store's end")
    struct StoreStopTests {
        /// Counts who asks for the time, which stands still: settling is called at once and always
        /// finds that it is early.
        private final class Looks: Sendable {
            let count = Mutex(0)

            var clock: Clock {
                Clock(
                    now: { [self] in
                        count.withLock { $0 += 1 }
                        return Instant(nanoseconds: 0)
                    }, wall: { Timestamp(milliseconds: 0) })
            }
        }

        @Test("nothing touches the store once it has stopped")
        func stopped() throws {
            let folder = try Folder()
            let looks = Looks()
            var configuration = StoreConfiguration()
            configuration.listen = .ipv4(0x7F00_0001, port: 0)
            configuration.data = folder.path + "/data"
            let process = try StoreProcess(configuration, clock: looks.clock)
            try process.start()
            _ = try eventually("settling looks at the clock") {
                looks.count.withLock { $0 } > 20 ? true : nil
            }
            process.stop()
            let last = looks.count.withLock { $0 }
            // It would have looked hundreds of times.
            SendingClock.sleep(milliseconds: 100)
            #expect(looks.count.withLock { $0 } == last)
        }
    }
}
