// Processes that die and stores that are away: what was answered is in the store exactly once, and the
// ledger balances.

import Field
import Formats
import Glibc
import Host
import Model
import Store
import Testing

extension EndToEnd {
    @Suite("faults", .serialized)
    struct FaultTests {
        /// Every frame of the population whole in the store, none twice, none from nowhere.
        private func expectAll(
            _ district: District, _ population: Population, frames: Int,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let audit = try district.audit(population, frames: frames)
            #expect(audit.framesWhole == frames, sourceLocation: sourceLocation)
            #expect(audit.readings == frames * 5, sourceLocation: sourceLocation)
            #expect(audit.repeated == 0, sourceLocation: sourceLocation)
            #expect(audit.strange == 0, sourceLocation: sourceLocation)
        }

        @Test(
            "while the store is away frames are answered and held; when it comes, each arrives once"
        )
        func storeAwayAtStart() throws {
            let frames = 500
            let district = try District([.reference])
            try district.startGateway()
            let population = Population.now(devices: 20)
            let device = try Device(to: district.targets[0])
            for index in 0..<frames { _ = device.send(population.frame(index)) }
            var answered: Set<UInt32> = []
            while answered.count < frames, let answer = device.answer(milliseconds: 10_000) {
                if let sequence = ReferenceFrames.answered(by: answer) { answered.insert(sequence) }
            }
            #expect(answered.count == frames)
            let held = try district.ledger("batches wait in the spool") {
                $0.count("readingsInSpool") == frames * 5
            }
            #expect(held.count("readingsHeld") == frames * 5)
            #expect(held.count("readingsAcknowledged") == 0)
            #expect(held.count("unaccounted") == 0)
            try district.startStore()
            let end = try district.drained(frames: UInt64(frames))
            #expect(end.count("readingsAcknowledged") == frames * 5)
            #expect(end.count("unaccounted") == 0)
            try expectAll(district, population, frames: frames)
        }

        @Test("a store killed with batches in flight gets them again, and has each reading once")
        func storeKilledInFlight() throws {
            let district = try District([.reference])
            try district.startStore()
            try district.startGateway()
            let plan = LoadPlan.answering(
                frames: 12_000, rate: 2000, devices: 200, to: district.targets[0])
            let population = plan.population(seed: 1)
            var kills = 0
            var nextKill = 1500
            var isHeld = false
            var askedAt: Int64 = 0
            var load = try LoadRun(plan)
            let summary = try load.play { sent throws(DistrictError) in
                guard sent >= nextKill, kills < 3, SendingClock.now - askedAt > 20_000_000 else {
                    return
                }
                askedAt = SendingClock.now
                let status = try district.status()
                if isHeld {
                    // It cannot have committed what is on its way now.
                    guard status.count("uplink.inFlight") > 0 else { return }
                } else if status.text("uplink.state") != "streaming" {
                    return
                } else if kills > 0 {
                    // Held, so that batches are surely on their way when it dies.
                    district.store?.signal(SIGSTOP)
                    isHeld = true
                    return
                }
                try district.killStore()
                isHeld = false
                kills += 1
                nextKill = sent + 1500
            }
            #expect(kills == 3)
            #expect(summary.framesUnanswered == 0)
            #expect(load.answered.count == plan.frames)
            let end = try district.drained(frames: UInt64(plan.frames))
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == plan.frames * 5)
            try expectAll(district, population, frames: plan.frames)
        }

        @Test(
            "batches that were committed but never acknowledged are recognised when they come again"
        )
        func acknowledgementLost() throws {
            let frames = 200
            let district = try District([.reference])
            try district.startStore()
            try district.startGateway()
            let population = Population.now(devices: 10)
            let device = try Device(to: district.targets[0])
            // The session must stand before the store is held.
            for index in 0..<100 { _ = try device.ask(population.frame(index)) }
            _ = try district.drained(frames: 100)
            district.store?.signal(SIGSTOP)
            for index in 100..<frames { _ = try device.ask(population.frame(index)) }
            _ = try eventually("a batch is in flight") { () throws(DistrictError) -> Bool? in
                try district.status().count("uplink.inFlight") > 0 ? true : nil
            }
            // The gateway sees no acknowledgement: it is held while the store commits, then killed.
            district.gateway?.signal(SIGSTOP)
            let before = try StoreReader(directory: district.storeFolder).counts().batches
            district.store?.signal(SIGCONT)
            _ = try eventually("the store commits") {
                (try? StoreReader(directory: district.storeFolder).counts())
                    .flatMap { $0.batches > before ? true : nil }
            }
            try district.killGateway()
            let end = try district.drained(frames: UInt64(frames))
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == frames * 5)
            try expectAll(district, population, frames: frames)
        }

        @Test("a gateway killed in the middle of a replay loses nothing that it answered")
        func gatewayKilledInReplay() throws {
            let frames = 3000
            let district = try District([.reference], interval: "500ms")
            try district.startStore()
            try district.startGateway()
            let population = Population.now(devices: 50, rate: 1000)
            let path = "\(district.folder.path)/reference.pcap"
            try Files.write(Pcap.datagrams(population, frames: frames, rate: 1000), to: path)
            let arguments = [
                "replay", path, "--to", district.targets[0].description, "--json",
            ]
            let replay = try Program("sluice", arguments, in: district.folder.path)
            for share in [700, 1400] {
                _ = try district.ledger("the replay is under way") {
                    $0.count("framesReceived") >= share
                }
                #expect(replay.isRunning)
                try district.killGateway()
            }
            _ = try replay.end(within: 30)
            let answers = try #require(try parsed(replay.output)["answers"]?.integer)
            #expect(answers >= 700)
            let middle = try district.drained(frames: UInt64(answers))
            #expect(middle.count("unaccounted") == 0)
            let audit = try district.audit(population, frames: frames)
            #expect(audit.framesWhole >= answers)
            #expect(audit.repeated == 0)
            #expect(audit.strange == 0)

            // The devices repeat everything: what was taken in is known, the rest comes now.
            let known = UInt64(audit.framesWhole)
            let received = middle.count("framesReceived")
            let duplicates = middle.count("framesDuplicate")
            let again = try run("sluice", arguments, in: district.folder.path)
            #expect(again.status == 0, "\(again.errors)")
            #expect(try parsed(again.output)["answers"]?.integer == frames)
            let end = try district.drained(frames: received + UInt64(frames))
            #expect(end.count("framesDuplicate") == duplicates + known)
            #expect(end.count("unaccounted") == 0)
            try expectAll(district, population, frames: frames)
        }

        @Test("SIGTERM under load ends the gateway in order; a new one goes on without a loss")
        func terminatedUnderLoad() throws {
            let district = try District([.reference])
            try district.startStore()
            try district.startGateway()
            let plan = LoadPlan.answering(
                frames: 6000, rate: 2000, devices: 200, to: district.targets[0])
            let population = plan.population(seed: 1)
            var signalledAt: Int64?
            var ended: (status: Int32, seconds: Double)?
            var load = try LoadRun(plan)
            let summary = try load.play { sent throws(DistrictError) in
                guard let at = signalledAt else {
                    if sent >= plan.frames / 2 {
                        signalledAt = SendingClock.now
                        district.gateway?.signal(SIGTERM)
                    }
                    return
                }
                guard ended == nil, let status = district.gateway?.exitCode else { return }
                ended = (status, Double(SendingClock.now - at) / 1e9)
                try district.startGateway()
            }
            #expect(ended?.status == 0)
            #expect(ended?.seconds ?? .infinity < 10)
            #expect(summary.framesUnanswered == 0)
            #expect(load.answered.count == plan.frames)
            let end = try district.drained(frames: UInt64(plan.frames))
            #expect(end.count("unaccounted") == 0)
            try expectAll(district, population, frames: plan.frames)
        }
    }
}

extension LoadPlan {
    /// Every frame asks and is repeated until it is answered.
    static func answering(frames: Int, rate: Double, devices: Int, to target: Target) -> LoadPlan {
        var plan = LoadPlan(target: target)
        plan.frames = frames
        plan.rate = rate
        plan.devices = devices
        plan.answers = 1
        plan.retryMilliseconds = 300
        plan.tries = 100
        plan.startMilliseconds = SendingClock.wallMilliseconds
        return plan
    }

    func population(seed: UInt64) -> Population {
        Population(devices: devices, startMilliseconds: startMilliseconds, rate: rate, seed: seed)
    }
}

/// A classic pcap file of raw IPv4 (link type 101), one UDP datagram a frame.
enum Pcap {
    static func datagrams(_ population: Population, frames: Int, rate: Double) -> [UInt8] {
        var file = little(0xA1B2_C3D4) + [2, 0, 4, 0] + little(0) + little(0) + little(65_535)
        file += little(101)
        for index in 0..<frames {
            let microseconds = Int64(Double(index) / rate * 1e6)
            let payload = population.frame(index)
            let length = 28 + payload.count
            file += little(UInt32(1_795_000_000 + microseconds / 1_000_000))
            file += little(UInt32(microseconds % 1_000_000))
            file += little(UInt32(length)) + little(UInt32(length))
            // RFC 791 header without options: length, UDP, from 192.0.2.1 to 192.0.2.2.
            file += [0x45, 0] + big(UInt16(length)) + [0, 0, 0, 0, 64, 17, 0, 0]
            file += [192, 0, 2, 1, 192, 0, 2, 2]
            file += big(UInt16(40_000 + population.device(index))) + big(9001)
            file += big(UInt16(8 + payload.count)) + [0, 0] + payload
        }
        return file
    }

    private static func little(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(8 * $0)) }
    }

    private static func big(_ value: UInt16) -> [UInt8] {
        [UInt8(value >> 8), UInt8(value & 255)]
    }
}
