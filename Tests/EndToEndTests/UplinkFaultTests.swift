// Stores that refuse, lie, forget to answer or fall silent, and many gateways at once: real processes
// over real sockets. The numbers are rows of the fault list in reliability.md, section 3.

import Batches
import Field
import Formats
import Glibc
import Host
import Model
import Store
import Testing
import Uplink

extension EndToEnd {
    @Suite("uplink faults", .serialized)
    struct UplinkFaultTests {
        private static let day: Int64 = 86_400_000

        /// Small batches and a gateway that comes back at once.
        private func eager(_ readings: Int64 = 100) throws -> District {
            try District(
                [.reference], interval: "100ms",
                batch: [("readings", .integer(readings))],
                more: [
                    (
                        "uplink",
                        .object([
                            ("firstBackoff", .string("10ms")), ("longestBackoff", .string("20ms")),
                        ])
                    )
                ])
        }

        /// Sends frames until all are answered.
        private func sendAll(
            _ population: Population, _ range: Range<Int>, to device: Device
        ) throws {
            for index in range { _ = device.send(population.frame(index)) }
            var answered: Set<UInt32> = []
            while answered.count < range.count, let answer = device.answer(milliseconds: 10_000) {
                if let sequence = ReferenceFrames.answered(by: answer) { answered.insert(sequence) }
            }
            #expect(answered.count == range.count)
        }

        @Test(
            "row 13: readings that the store refuses do not hold up the other 9,995 of their batch")
        func poison() throws {
            let district = try District([.reference], interval: "2s")
            try district.startStore(readings: [("maximumAge", .string("1d"))])
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let now = SendingClock.wallMilliseconds
            // Hours late, so that all go into one bucket; one frame is months old.
            let late = Population(
                devices: 100, startMilliseconds: now - 5 * 3_600_000, rate: nil, seed: 1)
            let old = Population(
                devices: 1, startMilliseconds: now - 100 * Self.day, rate: nil, seed: 2)
            for start in stride(from: 1, to: 1999, by: 222) {
                try sendAll(late, start..<start + 222, to: device)
            }
            try sendAll(late, 1999..<2000, to: device)
            #expect(ReferenceFrames.answered(by: try device.ask(old.frame(0))) != nil)
            let begun = SendingClock.now
            let end = try district.drained(frames: 2000)
            let seconds = Double(SendingClock.now - begun) / 1e9
            // The cut comes within two seconds.
            #expect(seconds < 5 + 2, "\(seconds) s")
            print("row 13: drained \(seconds) s after the last frame")
            #expect(end.count("readingsAcknowledged") == 9995)
            #expect(end.count("readingsRejected") == 5 && end.count("unaccounted") == 0)
            #expect(try district.readings().count == 9995)
            try quarantineIsReleased(district)
        }

        private func quarantineIsReleased(_ district: District) throws {
            let admin = ["--admin", district.adminSocket]
            let list = try run(
                "sluice", ["spool", "list", "--json"] + admin, in: district.folder.path)
            #expect(list.status == 0, "\(list.errors)")
            let entries = try list.lines.map { try parsed(String($0)) }
            #expect(entries.count == 5)
            #expect(entries.allSatisfy { $0["kind"]?.string == "reading" })
            let decoded = try run(
                "sluice", ["spool", "decode"] + admin, in: district.folder.path)
            #expect(decoded.status == 0, "\(decoded.errors)")
            #expect(decoded.output.contains("arrived at reference as sluice-reference"))
            #expect(decoded.output.contains("accepted by"))
            // The store is told to take them; the gateway keeps its sequences.
            district.store?.stop(SIGTERM)
            try district.startStore()
            let numbers = entries.compactMap { $0["number"]?.integer }.map(String.init)
            let released = try run(
                "sluice", ["spool", "release"] + numbers + admin, in: district.folder.path)
            #expect(released.status == 0, "\(released.output)\(released.errors)")
            let end = try district.ledger("the released readings arrive") {
                $0.count("readingsAcknowledged") == 10_000
            }
            #expect(end.count("readingsRejected") == 0 && end.count("unaccounted") == 0)
            #expect(try district.readings().count == 10_000)
            #expect(
                try StoreReader(directory: district.storeFolder).duplicates().acrossBatches == 0)
        }

        @Test("a stranger's frame is set aside, decoded, released; then its device is known")
        func admitted() throws {
            var source = District.Source.reference
            source.more = [("devices", .string("quarantine"))]
            let district = try District([source])
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 1)
            _ = device.send(population.frame(0))
            let admin = ["--admin", district.adminSocket]
            let list = try eventually("the frame is set aside") { () throws(DistrictError) in
                let list = try run(
                    "sluice", ["spool", "list", "--json"] + admin, in: district.folder.path)
                return list.lines.isEmpty ? nil : list
            }
            let entry = try parsed(String(try #require(list.lines.first)))
            #expect(entry["reason"]?.string == "quarantined")
            let number = String(try #require(entry["number"]?.integer))
            let released = try run(
                "sluice", ["spool", "release", number] + admin, in: district.folder.path)
            #expect(released.output == "\(number) taken\n", "\(released.errors)")
            let again = try run(
                "sluice", ["spool", "release", number] + admin, in: district.folder.path)
            #expect(again.status == 1)
            #expect(ReferenceFrames.answered(by: try device.ask(population.frame(1))) != nil)
            let end = try district.ledger("both frames arrive") {
                $0.count("readingsAcknowledged") == 10
            }
            #expect(end.count("unaccounted") == 0)
        }

        @Test("row 14: 200 answers lost after the commit make no duplicate and lose nothing")
        func lostAnswers() throws {
            let district = try eager()
            let lost = Shared(0)
            var forgets = false
            let store = try FaultyStore(port: district.storePort, folder: district.storeFolder) {
                _, bytes, session in
                let (reply, closes) = session.receive(
                    bytes, now: Timestamp(milliseconds: SendingClock.wallMilliseconds))
                if lost.value < 200,
                    reply.acknowledged.contains(where: { $0.reason == .stored })
                {
                    forgets = lost.change {
                        $0 += 1
                        return $0 % 2 == 1
                    }
                    return .closing([])
                }
                // Half of the time the welcome does not tell what it has, so that it comes again.
                if forgets, case .welcome(var welcome)? = reply.storeFrames.first {
                    forgets = false
                    welcome.committed = CommittedSet(through: 0, runs: [])
                    return .honest(UplinkFrame.welcome(welcome).encoded())
                }
                return closes ? .closing(reply) : .honest(reply)
            }
            defer { store.stop() }
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 50)
            var sent = 0
            while lost.value < 200 {
                // A batch of its own for each loss.
                let before = lost.value
                try sendAll(population, sent..<sent + 20, to: device)
                sent += 20
                _ = try eventually("an answer is lost") { lost.value > before ? true : nil }
            }
            let end = try district.drained(frames: UInt64(sent), within: 60)
            #expect(lost.value == 200)
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == sent * 5)
            let audit = try district.audit(population, frames: sent)
            #expect(audit.framesWhole == sent && audit.repeated == 0 && audit.strange == 0)
        }

        @Test(
            "row 15: a store that lies is not believed, is not read without end, and costs no data")
        func lies() throws {
            let district = try eager()
            let lies = Shared(0)
            let huge: [UInt8] = [1, 0x82, 0, 0, 0, 0xCA, 0x9A, 0x3B, 1, 2, 3, 4]
            let store = try FaultyStore(port: district.storePort, folder: district.storeFolder) {
                connection, bytes, session in
                let wall = Timestamp(milliseconds: SendingClock.wallMilliseconds)
                guard connection <= 50 else {
                    let (reply, closes) = session.receive(bytes, now: wall)
                    return closes ? .closing(reply) : .honest(reply)
                }
                lies.change { $0 += 1 }
                let welcome = UplinkFrame.welcome(
                    Welcome(
                        storeTime: wall, credit: 8, largestBatch: 1 << 20, knownDevice: 0,
                        knownStream: 0,
                        committed: CommittedSet(through: 1 << 40, runs: [])))
                // What it says of sequences that were never sent is not believed.
                let all = (UInt64(1)...200).map {
                    Acknowledgement.Entry(sequence: $0, reason: .stored)
                }
                return switch connection % 5 {
                case 0: .honest(FrameEncoding.acknowledgement(all, credit: 9))
                case 1: .honest(welcome.encoded() + huge)
                case 2: .honest(huge + [UInt8](repeating: 0, count: 200_000))
                case 3: .honest(Array("HTTP/1.1 200 OK\r\n\r\n{\"error\":\"no\"}".utf8))
                default:
                    .honest(
                        welcome.encoded() + FrameEncoding.acknowledgement(all, credit: 9)
                            + Array(welcome.encoded().dropLast()) + [0xFF])
                }
            }
            defer { store.stop() }
            let frames = 500
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 50)
            try sendAll(population, 0..<frames, to: device)
            let end = try district.drained(frames: UInt64(frames), within: 60)
            #expect(lies.value >= 50)
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == frames * 5)
            let audit = try district.audit(population, frames: frames)
            #expect(audit.framesWhole == frames && audit.repeated == 0 && audit.strange == 0)
        }

        @Test(
            "rows 10, 11: a store that falls silent is left within 30 s; memory stays what it was")
        func silence() throws {
            let district = try eager(500)
            let silencedAt = Shared<Int64?>(nil)
            let returnedAt = Shared<Int64?>(nil)
            let store = try FaultyStore(port: district.storePort, folder: district.storeFolder) {
                connection, bytes, session in
                if connection == 1, session.peer != nil {
                    silencedAt.change { $0 = $0 ?? SendingClock.now }
                    return .honest([])
                }
                if connection == 2 { returnedAt.change { $0 = $0 ?? SendingClock.now } }
                let (reply, closes) = session.receive(
                    bytes, now: Timestamp(milliseconds: SendingClock.wallMilliseconds))
                return closes ? .closing(reply) : .honest(reply)
            }
            defer { store.stop() }
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 50)
            let frames = 3000
            for start in stride(from: 0, to: frames, by: 250) {
                try sendAll(population, start..<start + 250, to: device)
            }
            let waiting = try district.status()
            #expect(waiting.count("uplink.inFlight") <= 8)
            #expect(waiting.count("process.rssKb") < 150_000)
            let end = try district.drained(frames: UInt64(frames), within: 45)
            #expect(end.count("unaccounted") == 0)
            let left = try #require(returnedAt.value) - (try #require(silencedAt.value))
            #expect(left < 31_000_000_000, "\(left / 1_000_000) ms")
            let audit = try district.audit(population, frames: frames)
            #expect(audit.framesWhole == frames && audit.repeated == 0 && audit.strange == 0)
        }

        @Test("1,000 gateways at once: each batch is stored once and answered")
        func crowd() throws {
            let count = 1000
            let district = try District([.reference])
            try district.startStore()
            let endpoint = Endpoint.ipv4(0x7F00_0001, port: district.storePort)
            let store = Target(isStream: true, endpoint: endpoint)
            var links: [Link] = []
            for _ in 0..<count { links.append(try Link(to: store)) }
            for (number, link) in links.enumerated() { try link.send(words(of: number)) }
            var answered = 0
            var leastCredit = UInt16.max
            for link in links {
                var bytes: [UInt8] = []
                _ = try eventually("a gateway has its answer") {
                    bytes += link.receive(1 << 16, milliseconds: 20)
                    return bytes.storeFrames.count == 2 ? true : nil
                }
                for case .acknowledgement(let answer) in bytes.storeFrames {
                    leastCredit = min(leastCredit, answer.credit)
                    answered += answer.entries.count { $0.reason == .stored }
                }
            }
            #expect(answered == count)
            #expect(leastCredit == 1, "the store shares its credit out")
            let counts = try StoreReader(directory: district.storeFolder).counts()
            #expect(counts.gateways == count && counts.readings == count * 10)
        }

        /// Everything that one gateway says: hello, a device with a stream, a batch of ten readings.
        private func words(of number: Int) -> [UInt8] {
            let now = Timestamp(milliseconds: SendingClock.wallMilliseconds)
            let readings = (0..<10).map { index in
                Reading(
                    stream: StreamID(1), value: .decimal(Int64(index)), quality: [],
                    observedAt: Timestamp(milliseconds: now.milliseconds + Int64(index)),
                    receivedAt: now)
            }
            let batch = BatchCodec.encode(
                readings, bucketStart: now, bucketMilliseconds: 60_000, revision: 0,
                priority: .live)
            let frames: [UplinkFrame] = [
                .hello(
                    Hello(
                        role: .gateway,
                        incarnation: Incarnation(high: 1, low: UInt64(number)),
                        name: "gateway-\(number)", software: "test")),
                .entries([
                    .device(
                        Model.Device(
                            id: DeviceID(1), identity: "meter-\(number)", format: "f",
                            firstSeenAt: now)),
                    .stream(
                        Stream(
                            id: StreamID(1), device: DeviceID(1), name: "energy",
                            quantity: "energy", unit: "kWh", priority: .live)),
                ]),
                .batch(
                    BatchFrame(
                        sequence: 1, priority: .live, readings: 10,
                        crc: CRC32.of(batch.bytes), bytes: batch.bytes)),
            ]
            return frames.flatMap { $0.encoded() }
        }
    }
}
