// Who feeds systemd's watchdog: nobody while a stage hangs. strace holds the hanging stage in a system call
// that only it makes; the test plays systemd (Tests/clients/service_manager.py).

import Field
import Formats
import Glibc
import Host
import Testing

extension EndToEnd {
    @Suite(
        "the watchdog", .serialized,
        .enabled(if: Clients.havePython && Clients.isProgram("/usr/bin/strace")))
    struct WatchdogTests {
        /// Shorter than a unit would say, so that the test is short: fed every half second.
        private static let watchdogSeconds = 1.0

        /// One daemon under a service manager of ours.
        private final class Service {
            let district: District
            let manager: ChildProcess
            private let log: String

            init(interval: String = "200ms", more: [(String, JSON)] = []) throws {
                district = try District([.reference], interval: interval, more: more)
                log = "\(district.folder.path)/service_manager.py.log"
                manager = try Clients.start(
                    "service_manager.py",
                    [
                        "\(WatchdogTests.watchdogSeconds)", "\(Place.binaries)/sluiced", "--config",
                        district.gatewayFile,
                    ], in: district.folder)
                _ = try eventually("the daemon is ready") { lines("READY=1").first }
            }

            deinit { manager.stop(SIGTERM) }

            func lines(_ ending: String) -> [Substring] {
                let text = String(
                    decoding: (try? Files.read(log, limit: 1 << 20)) ?? [], as: UTF8.self)
                return text.split(separator: "\n").filter { $0.hasSuffix(ending) }
            }

            var fed: Int { lines(" WATCHDOG=1").count }

            private var straceLog: String { "\(district.folder.path)/strace.log" }

            /// Calls that strace has seen so far.
            func calls(_ name: String) -> Int {
                let text = String(
                    decoding: (try? Files.read(straceLog, limit: 1 << 24)) ?? [], as: UTF8.self)
                return text.split(separator: "\n").filter { $0.contains(" \(name)(") }.count
            }

            func answers(_ route: String) -> Bool {
                (try? adminGet(socket: district.adminSocket, route: route, timeout: 2000))?.status
                    == 200
            }

            var pid: String {
                let line = lines("").first { $0.hasPrefix("pid ") } ?? "pid 0"
                return String(line.dropFirst(4))
            }

            /// Times fed within so many seconds.
            func fed(within seconds: Double) -> Int {
                let before = fed
                SendingClock.sleep(milliseconds: Int64(seconds * 1000))
                return fed - before
            }

            /// Holds whoever makes the system call for a minute; until the result goes.
            func hold(_ call: String, watching other: String = "") throws -> ChildProcess {
                let log = straceLog
                let tracer = try ChildProcess(
                    name: "strace", path: "/usr/bin/strace",
                    arguments: [
                        "-f", "-p", pid, "-e", "trace=\(call)\(other.isEmpty ? "" : ",")\(other)",
                        "-e",
                        "inject=\(call):delay_enter=60s",
                    ], log: log)
                _ = try eventually("strace has attached") {
                    let text = (try? Files.read(log, limit: 1 << 20)) ?? []
                    return String(decoding: text, as: UTF8.self).contains("attached") ? true : nil
                }
                return tracer
            }
        }

        @Test("is fed twice an interval by a healthy gateway, idle and under load")
        func healthy() throws {
            let service = try Service()
            #expect(service.fed(within: 3) >= 4)
            let population = Population.now(devices: 5)
            let device = try Device(to: service.district.targets[0])
            let before = service.fed
            for index in 0..<1500 {
                _ = device.send(population.frame(index))
                SendingClock.sleep(milliseconds: 2)
            }
            #expect(service.fed - before >= 4)
        }

        @Test(
            "starves when a stage hangs",
            arguments: [
                ("intake", "recvmmsg"), ("spool", "fdatasync"), ("uplink", "connect"),
            ])
        func hanging(stage: String, call: String) throws {
            let service = try Service()
            _ = try eventually("the watchdog is fed") { service.fed > 0 ? true : nil }
            let tracer = try service.hold(call)
            // The intake reads it, the spool stores it; the uplink tries to connect by itself.
            let device = try Device(to: service.district.targets[0])
            _ = device.send(Population.now(devices: 1).frame(0))
            // By then the stage hangs: the uplink's backoff is a second at first and doubles.
            SendingClock.sleep(milliseconds: stage == "uplink" ? 6000 : 1000)
            // systemd acts after one interval without food.
            #expect(service.fed(within: 3 * WatchdogTests.watchdogSeconds) == 0, "\(stage)")
            tracer.stop(SIGKILL)
        }

        @Test("starves when the batcher hangs, which alone gives memory back after a large epoch")
        func hangingBatcher() throws {
            // Epochs stay open until they are cut; attempts at a store that is not there show that the
            // uplink lives.
            let backoff = JSON.object([
                ("firstBackoff", .string("50ms")), ("longestBackoff", .string("100ms")),
            ])
            let service = try Service(interval: "60s", more: [("uplink", backoff)])
            let population = Population.now(devices: 5)
            let device = try Device(to: service.district.targets[0])
            let frames = 1800
            for index in 0..<frames {
                _ = device.send(population.frame(index))
                if index.isMultiple(of: 4) { SendingClock.sleep(milliseconds: 2) }
            }
            _ = try service.district.ledger("they are in buckets") {
                $0.count("readingsInBuckets") > 8192
            }
            #expect(service.answers("/cut"))
            let tracer = try service.hold("munmap", watching: "connect")
            _ = device.send(population.frame(frames))
            _ = try service.district.ledger("one more is in a bucket") {
                $0.count("readingsInBuckets") > 0
            }
            // The next epoch is small: what the last one took goes back, by munmap, when it is sealed.
            #expect(!service.answers("/cut"))
            let attempts = service.calls("connect")
            #expect(service.fed(within: 3 * WatchdogTests.watchdogSeconds) == 0)
            // Nobody else hangs: intake, spool and uplink each by themselves.
            #expect(service.answers("/devices"))
            #expect(service.answers("/quarantine"))
            #expect(service.calls("connect") > attempts)
            #expect(!service.answers("/ledger"))
            tracer.stop(SIGKILL)
        }
    }
}
