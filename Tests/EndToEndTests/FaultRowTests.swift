// Rows of the fault list (reliability.md, section 3) with real processes: lines that come and go, refusals,
// clocks that jump, devices that drift, datagrams that are lost. The law of all: what was answered is in
// the store exactly once, and the ledger balances.

import Field
import Formats
import Glibc
import Host
import Model
import Store
import TestSupport
import Testing
import Uplink

extension EndToEnd {
    @Suite("fault rows", .serialized)
    struct FaultRowTests {
        private static let eager: [(String, JSON)] = [
            (
                "uplink",
                .object([
                    ("firstBackoff", .string("10ms")), ("longestBackoff", .string("200ms")),
                ])
            )
        ]

        private func expectAll(
            _ district: District, _ population: Population, frames: Int,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let audit = try district.audit(population, frames: frames)
            #expect(audit.framesWhole == frames, sourceLocation: sourceLocation)
            #expect(
                audit.repeated == 0 && audit.strange == 0, sourceLocation: sourceLocation)
        }

        @Test(
            "rows 9, 10: a line that goes down 100 times, then for good: order kept, left within 30 s",
            .enabled(if: Machine.canMakeNetworks, "needs network namespaces"))
        func flaps() throws {
            let network = try FarNetwork()
            let district = try District(
                [.reference], interval: "100ms", batch: [("readings", .integer(100))],
                more: FaultRowTests.eager, storeHost: network.farAddress,
                storeThrough: "ip netns exec \(network.name)")
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 10)
            var sent = 0
            for flap in 0..<100 {
                network.set(up: false)
                for _ in 0..<5 {
                    let answer = try device.ask(population.frame(sent))
                    #expect(ReferenceFrames.answered(by: answer) == UInt32(sent + 1))
                    sent += 1
                }
                network.set(up: true)
                if flap % 10 == 9 {
                    _ = try district.ledger("the store has some", within: 45) {
                        $0.count("readingsAcknowledged") > 0
                    }
                }
            }
            _ = try district.drained(frames: UInt64(sent), within: 60)
            // Gone without a word, with batches under way.
            network.set(up: false)
            let gone = SendingClock.now
            for _ in 0..<20 {
                _ = try device.ask(population.frame(sent))
                sent += 1
            }
            _ = try eventually("the dead line is left", within: 35) {
                () throws(DistrictError) -> Bool? in
                try district.status().text("uplink.state") == "streaming" ? nil : true
            }
            let seconds = Double(SendingClock.now - gone) / 1e9
            print("row 10: left after \(seconds) s")
            #expect(seconds < 31)
            network.set(up: true)
            let end = try district.drained(frames: UInt64(sent), within: 60)
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == UInt64(sent * 5))
            try expectAll(district, population, frames: sent)
        }

        @Test("row 12: 200 refusals, of connections and of batches, are waited out, each longer")
        func refusals() throws {
            let district = try District(
                [.reference], interval: "100ms", batch: [("readings", .integer(100))],
                more: FaultRowTests.eager)
            let refused = Shared((connections: 0, batches: 0))
            let opened = Shared<[Int64]>([])
            let store = try FaultyStore(port: district.storePort, folder: district.storeFolder) {
                connection, bytes, session in
                if connection <= 100 {
                    if refused.value.connections < connection {
                        refused.change { $0.connections = connection }
                        opened.change { $0.append(SendingClock.now) }
                    }
                    return .closing(StoreSession.refusal("told by the test"))
                }
                let (reply, closes) = session.receive(
                    bytes, now: Timestamp(milliseconds: SendingClock.wallMilliseconds))
                let stored = reply.acknowledged.filter { $0.reason == .stored }
                // As if the commit had failed; it comes again and is recognised.
                if refused.value.batches < 100, !stored.isEmpty {
                    refused.change { $0.batches += stored.count }
                    let entries = stored.map {
                        Acknowledgement.Entry(sequence: $0.sequence, reason: .storageFailed)
                    }
                    return .honest(FrameEncoding.acknowledgement(entries, credit: 8))
                }
                return closes ? .closing(reply) : .honest(reply)
            }
            defer { store.stop() }
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 50)
            var sent = 0
            while refused.value.batches < 100 {
                for _ in 0..<20 {
                    _ = try device.ask(population.frame(sent))
                    sent += 1
                }
            }
            let end = try district.drained(frames: UInt64(sent), within: 60)
            #expect(end.count("unaccounted") == 0 && end.count("readingsRejected") == 0)
            #expect(end.count("readingsAcknowledged") == UInt64(sent * 5))
            try expectAll(district, population, frames: sent)
            let waits = zip(opened.value, opened.value.dropFirst()).map { ($1 - $0) / 1_000_000 }
            let late = waits.suffix(90)
            print("row 12: \(refused.value), waits \(waits.prefix(4)) … \(waits.suffix(4)) ms")
            // Full jitter between 10 and 200 ms: no two alike, none far beyond.
            #expect(Set(late).count > 20 && late.reduce(0, +) / Int64(late.count) > 60)
            #expect(waits.prefix(2).allSatisfy { $0 < 150 })
        }

        /// Adds what the file says (seconds, ended by a line) to CLOCK_REALTIME.
        private static let shim = """
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <fcntl.h>
            #include <stdlib.h>
            #include <time.h>
            #include <unistd.h>
            int clock_gettime(clockid_t clock, struct timespec *t) {
                static int (*real)(clockid_t, struct timespec *);
                if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
                int result = real(clock, t);
                if (clock != CLOCK_REALTIME || result) return result;
                int file = open(getenv("SHIM_FILE"), O_RDONLY | O_CLOEXEC);
                if (file < 0) return result;
                char text[32] = {0};
                if (read(file, text, 31) > 0) t->tv_sec += atoll(text);
                close(file);
                return result;
            }
            """

        @Test(
            "row 16: the clock jumps 50 times by up to 400 days: timers go on, nothing is lost, all told",
            .enabled(if: Machine.canCompile, "needs a C compiler"))
        func clock() throws {
            let day: Int64 = 86_400
            let source = District.Source(
                name: "reference", isStream: true, formats: ["sluice-reference"])
            let district = try District(
                [source], interval: "100ms", batch: [("readings", .integer(100))],
                more: FaultRowTests.eager, maximumAge: "30d")
            let file = try district.folder.write("0\n", to: "clock")
            let text = try district.folder.write(FaultRowTests.shim, to: "shim.c")
            let library = district.folder.path + "/shim.so"
            #expect(Shell.run("cc -shared -fPIC -O1 -o \(library) \(text) -ldl").status == 0)
            district.gatewayPrelude = "export LD_PRELOAD=\(library) SHIM_FILE=\(file)"
            try district.startStore()
            try district.startGateway()
            let link = try Link(to: district.targets[0])
            let population = Population.now(devices: 10)
            var sent = 0
            var random = SplitMix64(seed: 16)
            for jump in 0...50 {
                // In between it is right again.
                let days = jump % 5 == 0 ? 0 : Int64(random.next() % 801) - 400
                _ = try district.folder.write("\(days * day)\n", to: "clock.new")
                // Safety: both are strings of Swift's, which live through the call.
                _ = unsafe rename(district.folder.path + "/clock.new", file)
                for _ in 0..<10 {
                    try link.send(population.frame(sent))
                    let answer = link.receive(12, milliseconds: 5000)
                    #expect(ReferenceFrames.answered(by: answer) == UInt32(sent + 1), "\(days) d")
                    sent += 1
                }
                // Cuts and acknowledgements follow the monotonic clock.
                _ = try district.drained(frames: UInt64(sent), within: 5)
            }
            let end = try district.ledger()
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == UInt64(sent * 5))
            let rows = try district.readings()
            #expect(rows.count == sent * 5)
            // Where the two clocks were apart the reading says so and has the time of its arrival.
            let now = SendingClock.wallMilliseconds
            let doubtful = rows.filter { $0.quality.contains(.deviceClockImplausible) }
            #expect(!doubtful.isEmpty)
            for row in rows {
                let isNow = abs(row.observedAt.milliseconds - now) < 3_600_000
                #expect(isNow || row.quality.contains(.deviceClockImplausible))
                #expect(!isNow || row.observedAt.milliseconds > 0)
            }
            #expect(Set(rows.map { "\($0.device) \($0.stream) \($0.observedAt)" }).count > 250)
        }

        @Test("row 17: 10,000 frames of devices that are an hour off, in 1970, in 2106, or say NaN")
        func drift() throws {
            let format = """
                { format: "drift", framing: { anchors: [{ at: 0, bytes: "d7" }], length: 13, maximum: 13 },
                  layout: [ { skip: 1 }, { name: "id", type: "u32be" },
                    { name: "time", type: "u32be", time: "unix", observed: true },
                    { name: "level", type: "f32be", unit: "m", quantity: "level", reading: true } ],
                  identity: "{id}",
                  tests: [ { hex: "d7000000016920e4003f800000", readings: { level: 1 } } ] }
                """
            let district = try District(
                [.init(name: "drift", formats: ["drift"])], formats: ["drift.json5": format],
                batch: [("readings", .integer(5000))], maximumAge: "30d")
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let now = SendingClock.wallMilliseconds / 1000
            // Times in seconds and bits of values; the first half is to be doubted.
            let cases: [(UInt32, UInt32)] = [
                (UInt32(now + 3600), 0x3F80_0000), (0, 0x3F80_0000), (86_400, 0x3F80_0000),
                (.max, 0x3F80_0000), (UInt32(now - 40 * 86_400), 0x3F80_0000),
                (UInt32(now - 3600), 0x3F80_0000), (UInt32(now), 0x7FC0_0000),
                (UInt32(now), 0x7F80_0000), (UInt32(now), 0xFF80_0000), (UInt32(now), 0x3F80_0000),
            ]
            // A time of 0 says that there is none: neither right nor doubtful.
            var timeless = 0
            for index in 0..<10_000 {
                let (time, value) = cases[index % cases.count]
                if time &+ UInt32(index / 100) == 0 { timeless += 1 }
                var frame: [UInt8] = [0xD7]
                for word in [UInt32(index % 100), time &+ UInt32(index / 100), value] {
                    frame += (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(24 - 8 * $0)) }
                }
                _ = device.send(frame)
                if index % 500 == 499 {
                    _ = try district.ledger("frames are in") {
                        $0.count("datagrams") == UInt64(index + 1)
                    }
                }
            }
            let end = try district.drained(frames: 10_000)
            #expect(end.count("unaccounted") == 0 && end.count("kernelDrops") == 0)
            #expect(end.count("framesDecoded") == 10_000)
            let rows = try district.readings()
            #expect(rows.count == 10_000, "none is dropped silently")
            for row in rows {
                let isNow = abs(row.observedAt.milliseconds / 1000 - now) <= 4000
                #expect(isNow, "\(row)")
            }
            let doubtful = rows.count { $0.quality.contains(.deviceClockImplausible) }
            #expect(doubtful == 5000 - timeless)
            #expect(rows.count { $0.quality.contains(.noDeviceClock) } == timeless)
        }

        @Test("row 18: 10 % of the datagrams lost, repeated, out of order: the count is exact")
        func lossy() throws {
            let frames = Place.isRelease ? 100_000 : 10_000
            let district = try District([.reference], interval: "1s")
            try district.startStore()
            try district.startGateway()
            var plan = LoadPlan.answering(
                frames: frames, rate: Place.isRelease ? 10_000 : 2000, devices: 1000,
                to: district.targets[0])
            (plan.loss, plan.duplicate, plan.reorder) = (0.1, 0.1, 0.1)
            let population = plan.population(seed: 1)
            var load = try LoadRun(plan)
            let summary = try load.play { _ throws(DistrictError) in }
            #expect(summary.framesLost > frames / 20)
            #expect(summary.framesDuplicated > frames / 20)
            #expect(summary.framesReordered > frames / 40)
            #expect(summary.framesUnanswered == 0 && load.answered.count == frames)
            let end = try district.drained(frames: UInt64(frames), within: 60)
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("framesDecoded") == UInt64(frames))
            try expectAll(district, population, frames: frames)
        }

        @Test(
            "rows 4, 7, 8, the store's process: a full disk, a read-only one, a damaged file: it goes on",
            .enabled(if: Machine.canMount, "needs mounts"))
        func storeDisk() throws {
            let district = try District(
                [.reference], interval: "100ms", batch: [("readings", .integer(100))],
                more: FaultRowTests.eager)
            let disk = try #require(
                Shell.SmallDisk(district.storeFolder, bytes: 120 << 20), "a tmpfs")
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 10)
            var sent = 0
            func send(_ count: Int) throws {
                for _ in 0..<count {
                    _ = try device.ask(population.frame(sent))
                    sent += 1
                }
            }
            try send(100)
            _ = try district.drained(frames: 100)
            // Full to the last byte.
            Shell.run("cat /dev/zero > \(disk.path)/filler")
            try send(100)
            _ = try eventually("the store says so") { district.storeHealth().isWell ? nil : true }
            let waiting = try district.ledger()
            #expect(waiting.count("readingsHeld") > 0 && waiting.count("unaccounted") == 0)
            Shell.run("rm \(disk.path)/filler")
            _ = try district.drained(frames: UInt64(sent), within: 40)
            _ = try eventually("the store is well") { district.storeHealth().isWell ? true : nil }
            // Damage while it does not run: a page of noise in the middle of the file.
            district.store?.stop(SIGTERM)
            let file = disk.path + "/" + Store.fileName
            var bytes = try Files.read(file, limit: 1 << 28)
            #expect(bytes.count > 4096 * 24)
            // A root of a table, and each third page behind the roots.
            for page in [5] + Array(stride(from: 20, to: bytes.count / 4096, by: 3)) {
                for place in 4096 * page..<4096 * (page + 1) { bytes[place] = 0xA5 }
            }
            try Files.write(bytes, to: file)
            try district.startStore()
            try send(100)
            _ = try district.drained(frames: UInt64(sent), within: 40)
            // Reading all meets the damage, if the start did not: the store opens the file anew.
            _ = try? run(
                "sluice",
                [
                    "query", "--store", "\(district.storeHost):\(district.storePort)", "--limit",
                    "100000",
                ],
                in: district.folder.path)
            _ = try eventually("the damage is told") {
                let health = district.storeHealth()
                return health.text.contains(".bad-1") && !health.isWell ? true : nil
            }
            #expect(district.store?.errors.contains("readings lost") == true)
            try send(100)
            let end = try district.drained(frames: UInt64(sent), within: 40)
            #expect(end.count("unaccounted") == 0)
            let reader = try StoreReader(directory: district.storeFolder)
            #expect(try reader.duplicates().acrossBatches == 0)
            let left = try reader.counts().readings
            #expect(left < sent * 5 && left >= 500, "\(left) of \(sent * 5)")
            Shell.run("rm \(file).bad-1*")
            _ = try eventually("the store is well") { district.storeHealth().isWell ? true : nil }
        }
    }
}
