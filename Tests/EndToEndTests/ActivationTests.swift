// Sockets that somebody else keeps open, as systemd does with sluiced.socket: a restart under load loses no
// datagram at all.

import Field
import Glibc
import Host
import Model
import Testing

extension EndToEnd {
    @Suite("sockets that systemd keeps", .serialized)
    struct ActivationTests {
        /// How often the keeper started the daemon.
        private func starts(_ district: District) -> Int {
            let log = "\(district.folder.path)/activate.py.log"
            let text = String(
                decoding: (try? Files.read(log, limit: 1 << 20)) ?? [], as: UTF8.self)
            return text.split(separator: "\n").count { $0 == "started" }
        }

        @Test(
            "three restarts at a thousand frames a second lose no datagram, and answers go on",
            .enabled(if: Clients.havePython, "\(Clients.remedy)"))
        func restarts() throws {
            let frames = 4000
            let district = try District([
                .reference, .init(name: "stream", isStream: true, formats: ["sluice-reference"]),
            ])
            try district.startStore()
            let ports = district.targets.map { "\($0.endpoint.port)" }
            let keeper = try Clients.start(
                "activate.py",
                ports + ["\(Place.binaries)/sluiced", "--config", district.gatewayFile],
                in: district.folder)
            defer { keeper.stop(SIGTERM) }
            _ = try district.ledger()

            let population = Population.now(devices: 50)
            let device = try Device(to: district.targets[0])
            let begun = SendingClock.now
            for index in 0..<frames {
                #expect(device.send(population.frame(index)) == nil)
                if index % 1000 == 999, index < frames - 1 { kill(keeper.pid, SIGHUP) }
                let wait = begun + Int64(index) * 1_000_000 - SendingClock.now
                if wait > 2_000_000 { SendingClock.sleep(milliseconds: wait / 1_000_000) }
            }
            let ledger = try district.drained(frames: UInt64(frames), within: 60)
            #expect(starts(district) == 4)
            #expect(ledger.count("framesReceived") == frames)
            #expect(ledger.count("framesDecoded") == frames)
            #expect(ledger.count("kernelDrops") == 0)
            #expect(ledger.count("unaccounted") == 0)
            let audit = try district.audit(population, frames: frames)
            #expect(audit.framesWhole == frames)
            #expect(audit.repeated == 0)

            // The port is the keeper's: whoever answers there has taken its socket.
            let link = try Link(to: district.targets[1])
            try link.send(Population.now(devices: 1, seed: 9).frame(0))
            #expect(ReferenceFrames.answered(by: link.receive(12, milliseconds: 30_000)) == 1)
        }
    }
}
