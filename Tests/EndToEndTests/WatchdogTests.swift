// Who feeds systemd's watchdog: nobody while a stage hangs. strace holds the hanging stage in a system call
// that only it makes; the test plays systemd (Tests/clients/service_manager.py).

import Field
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

            init() throws {
                district = try District([.reference])
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
            func hold(_ call: String) throws -> ChildProcess {
                let log = "\(district.folder.path)/strace.log"
                let tracer = try ChildProcess(
                    name: "strace", path: "/usr/bin/strace",
                    arguments: [
                        "-f", "-p", pid, "-e", "trace=\(call)", "-e",
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
    }
}
