// Crowds: more connections, devices, strangers and repetitions than there should be; limits of the machine.
// Rows of the fault list (reliability.md, section 3) with real processes.

import Field
import Formats
import Glibc
import Host
import Model
import Store
import Testing
import Uplink

extension EndToEnd {
    @Suite("crowds", .serialized)
    struct CrowdTests {
        private static let tcp = District.Source(
            name: "tcp", isStream: true, formats: ["sluice-reference"])

        /// Median and 99th percentile (ms) of answers on one connection.
        private func latencies(
            _ link: Link, _ population: Population, from first: Int, count: Int
        ) throws -> (median: Double, p99: Double) {
            var all: [Double] = []
            for index in first..<first + count {
                let begun = SendingClock.now
                try link.send(population.frame(index))
                let answer = link.receive(12, milliseconds: 5000)
                #expect(ReferenceFrames.answered(by: answer) == UInt32(index + 1))
                all.append(Double(SendingClock.now - begun) / 1e6)
            }
            all.sort()
            return (all[all.count / 2], all[all.count * 99 / 100])
        }

        @Test(
            "row 21: 10,000 idle connections cost little memory, and the active one is answered as before",
            .enabled(if: descriptorsAllowed > 11_000, "needs 11,000 descriptors"))
        func idle() throws {
            var source = CrowdTests.tcp
            source.more = [("firstFrameTimeout", .string("5m"))]
            let district = try District([source])
            district.gatewayPrelude = "ulimit -n 12000"
            try district.startGateway()
            let population = Population.now(devices: 1)
            let link = try Link(to: district.targets[0])
            _ = try latencies(link, population, from: 0, count: 50)
            let alone = try latencies(link, population, from: 50, count: 300)
            let before = try district.status().count("process.rssKb")
            var idle: [Idle] = []
            // No more at a time than a backlog holds: what it has no room for the kernel tries again for up
            // to half a minute, which is not what is tested here.
            var status = try district.status()
            while idle.count < 10_000 {
                for _ in 0..<1000 { idle.append(try Idle(district.targets[0].endpoint)) }
                let wanted = UInt64(idle.count + 1)
                status = try eventually("all are in") {
                    () throws(DistrictError) -> LedgerReport? in
                    let status = try district.status()
                    return status.count("connections") == wanted ? status : nil
                }
            }
            let crowded = try latencies(link, population, from: 350, count: 300)
            let grown = Int64(status.count("process.rssKb")) - Int64(before)
            print("row 21: +\(grown) KB; alone \(alone) ms, in the crowd \(crowded) ms")
            #expect(grown < 40_000)
            // The same but for noise of the machine.
            #expect(crowded.p99 < alone.p99 * 2 + 20)
            withExtendedLifetime(idle) {}
        }

        @Test(
            "row 22: 1,000 connections that send a byte a second are closed at 10 s, each counted")
        func slowLoris() throws {
            let district = try District([CrowdTests.tcp])
            try district.startGateway()
            let population = Population.now(devices: 1)
            let frame = population.frame(5000)
            let lively = try Link(to: district.targets[0])
            let begun = SendingClock.now
            var slow: [Idle] = []
            for _ in 0..<1000 { slow.append(try Idle(district.targets[0].endpoint)) }
            var place = 0
            var closed: UInt64 = 0
            while SendingClock.now - begun < 16_000_000_000, closed < 1000 {
                for one in slow { one.send([frame[place]]) }
                try lively.send(population.frame(place))
                #expect(
                    ReferenceFrames.answered(by: lively.receive(12, milliseconds: 5000))
                        == UInt32(place + 1))
                place += 1
                SendingClock.sleep(milliseconds: 900)
                closed = try district.status().count("connectionsRefused.no-first-frame")
                if SendingClock.now - begun < 9_000_000_000 { #expect(closed == 0) }
            }
            let seconds = Double(SendingClock.now - begun) / 1e9
            #expect(closed == 1000)
            #expect((9.5..<15).contains(seconds), "\(seconds) s")
            #expect(try district.status().count("connections") == 1)
            #expect(try district.ledger().count("unaccounted") == 0)
        }

        @Test(
            "row 24: a flood by unknown devices gets not one byte, and the known device is served")
        func flood() throws {
            var source = District.Source.reference
            source.more = [("devices", .string("reject"))]
            // Made known by the policy that takes everybody, under the same spool and catalog.
            let district = try District([.reference])
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            // One device, which is none of the strangers.
            let many = 1_000_003
            let known = Population.now(devices: many)
            func frame(_ number: Int) -> [UInt8] { known.frame(500_000 + number * many) }
            _ = try device.ask(frame(0))
            district.gateway?.stop(SIGTERM)
            try district.configure([source])
            try district.startGateway()
            var plan = LoadPlan.answering(
                frames: Place.isRelease ? 200_000 : 20_000, rate: Place.isRelease ? 20_000 : 3000,
                devices: 10_000, to: district.targets[0])
            plan.seed = 9
            plan.tries = 1
            plan.firstFrame = 10
            var asked = 0
            var served = 0
            var answerAt: Int64 = 0
            var load = try LoadRun(plan)
            let summary = try load.play { _ throws(DistrictError) in
                // One frame of the known device each 50 ms, never repeated.
                guard SendingClock.now - answerAt > 50_000_000 else { return }
                answerAt = SendingClock.now
                while let answer = device.answer(milliseconds: 0) {
                    if ReferenceFrames.answered(by: answer) != nil { served += 1 }
                }
                asked += 1
                _ = device.send(frame(asked))
            }
            while served < asked, let answer = device.answer(milliseconds: 1000) {
                if ReferenceFrames.answered(by: answer) != nil { served += 1 }
            }
            print("row 24: \(summary.datagramsSent) of strangers, served \(served) of \(asked)")
            #expect(asked > 50 && served * 100 >= asked * 95)
            #expect(summary.framesAnswered == 0 && summary.answersUnexpected == 0)
            let end = try district.ledger()
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("rejected.unknown-device") > UInt64(plan.frames / 2))
        }

        @Test("row 25: a million distinct devices: the catalog ends at its limit, memory is flat")
        func devices() throws {
            let count = Place.isRelease ? 1_000_000 : 50_000
            let limit = Place.isRelease ? 20_000 : 2000
            let district = try District(
                [.reference],
                more: [
                    (
                        "limits",
                        .object([
                            ("devices", .integer(Int64(limit))),
                            ("streams", .integer(Int64(limit * 5))),
                        ])
                    )
                ])
            try district.startStore()
            try district.startGateway()
            var resident: [UInt64] = []
            for part in 0..<5 {
                var plan = LoadPlan(target: district.targets[0])
                plan.frames = count / 5
                plan.firstFrame = part * count / 5
                plan.devices = count
                plan.rate = Place.isRelease ? 40_000 : 5000
                plan.startMilliseconds = SendingClock.wallMilliseconds
                var load = try LoadRun(plan)
                _ = try load.play { _ throws(DistrictError) in }
                _ = try district.ledger("all are decided") {
                    $0.count("datagrams") + $0.count("kernelDrops")
                        >= UInt64((part + 1) * count / 5)
                }
                resident.append(try district.status().count("process.rssKb"))
            }
            let status = try district.status()
            print("row 25: resident after each fifth \(resident) KB")
            #expect(status.count("intake.devices") == UInt64(limit))
            #expect(resident[4] < resident[1] + 12_000)
            let end = try district.drained(frames: UInt64(limit), within: 60)
            #expect(end.count("unaccounted") == 0)
            #expect(try StoreReader(directory: district.storeFolder).counts().devices == limit)
        }

        @Test("row 26: a recorded hour that is played again is refused whole, also after a restart")
        func replayed() throws {
            let frames = 3600
            let district = try District(
                [.reference], spool: [("duplicateWindow", .string("2h"))])
            try district.startStore()
            try district.startGateway()
            // A frame a second.
            let population = Population(
                devices: 5, startMilliseconds: SendingClock.wallMilliseconds - 3_600_000, rate: 1,
                seed: 1)
            let device = try Device(to: district.targets[0])
            for round in 0..<3 {
                // A kill takes the counts since the last commit with it, so each round begins anew.
                let before = try district.ledger()
                let received = before.count("framesReceived")
                for index in 0..<frames {
                    _ = device.send(population.frame(index))
                    if index % 200 == 199 {
                        _ = try district.ledger("frames are in") {
                            $0.count("framesReceived") >= received + UInt64(index + 1)
                        }
                    }
                }
                let end = try district.drained(frames: received + UInt64(frames))
                let repeated = end.count("framesDuplicate") - before.count("framesDuplicate")
                #expect(repeated == UInt64(round == 0 ? 0 : frames))
                #expect(end.count("framesDecoded") == UInt64(frames))
                #expect(end.count("unaccounted") == 0)
                if round == 1 { try district.killGateway() }
            }
            let audit = try district.audit(population, frames: frames)
            #expect(audit.framesWhole == frames && audit.repeated == 0 && audit.strange == 0)
        }

        @Test("row 28: 100 reloads under load lose no frame")
        func reloads() throws {
            let district = try District([.reference])
            try district.startStore()
            try district.startGateway()
            let plan = LoadPlan.answering(
                frames: 8000, rate: 1000, devices: 100, to: district.targets[0])
            let population = plan.population(seed: 1)
            var reloads: UInt64 = 0
            var askedAt: Int64 = 0
            var load = try LoadRun(plan)
            let summary = try load.play { _ throws(DistrictError) in
                guard SendingClock.now - askedAt > 30_000_000 else { return }
                askedAt = SendingClock.now
                if try district.status().count("formats.reloads") == reloads, reloads < 100 {
                    district.gateway?.signal(SIGHUP)
                    reloads += 1
                }
            }
            while reloads < 100 {
                _ = try eventually("a reload is done") { () throws(DistrictError) -> Bool? in
                    try district.status().count("formats.reloads") == reloads ? true : nil
                }
                district.gateway?.signal(SIGHUP)
                reloads += 1
            }
            _ = try eventually("the last is done") { () throws(DistrictError) -> Bool? in
                try district.status().count("formats.reloads") == 100 ? true : nil
            }
            #expect(summary.framesUnanswered == 0 && load.answered.count == plan.frames)
            let end = try district.drained(frames: UInt64(plan.frames))
            #expect(end.count("unaccounted") == 0)
            let audit = try district.audit(population, frames: plan.frames)
            #expect(audit.framesWhole == plan.frames && audit.repeated == 0)
        }

        @Test(
            "row 29: without descriptors new connections wait or are refused, the old ones are served"
        )
        func withoutDescriptors() throws {
            let district = try District([CrowdTests.tcp])
            district.gatewayPrelude = "ulimit -n 80"
            try district.startStore()
            try district.startGateway()
            let population = Population.now(devices: 1)
            let link = try Link(to: district.targets[0])
            try link.send(population.frame(0))
            #expect(ReferenceFrames.answered(by: link.receive(12, milliseconds: 5000)) == 1)
            var crowd: [Idle] = []
            for _ in 0..<200 { crowd.append(try Idle(district.targets[0].endpoint)) }
            for index in 1...100 {
                try link.send(population.frame(index))
                let answer = link.receive(12, milliseconds: 5000)
                #expect(ReferenceFrames.answered(by: answer) == UInt32(index + 1))
            }
            #expect(district.gateway?.isRunning == true)
            crowd.removeAll()
            let late = try Link(to: district.targets[0])
            try late.send(population.frame(101))
            #expect(ReferenceFrames.answered(by: late.receive(12, milliseconds: 20_000)) == 102)
            let end = try district.drained(frames: 102)
            #expect(end.count("unaccounted") == 0)
        }
    }
}

/// A connection that hardly speaks.
private final class Idle {
    private let sender: StreamSender

    init(_ endpoint: Endpoint) throws { sender = try StreamSender(to: endpoint) }

    func send(_ bytes: [UInt8]) { _ = try? sender.send(bytes) }
}

/// Descriptors this process may have.
private let descriptorsAllowed: Int = {
    var limit = rlimit()
    // Safety: `limit` outlives the calls.
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
        return 0
    }
    limit.rlim_cur = limit.rlim_max
    // Safety: as above.
    _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_cur)
}()
