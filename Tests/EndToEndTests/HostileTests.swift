// Bad input from the network to a real daemon: each counted under its named reason, nothing
// unaccounted, and the next good frame is served as if nothing had been.

import Field
import Formats
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("bad input", .serialized)
    struct HostileTests {
        /// A good frame of each format; of these, only the reference sensor's wants an answer.
        private static let good: [(format: String, frame: [UInt8])] = [
            ("sluice-reference", Population.now(devices: 1).frame(0)),
            (
                "dlt645",
                Hex.bytes("fefefefe6801000000000068910833333433ab8967451716") ?? []
            ),
            (
                "dragino-sw3l-nb",
                Hex.bytes(
                    "f430692039649466f4600162904103870e660c680f0100010001c2000000016b020f95") ?? []
            ),
        ]

        /// Cut at every byte, one bit of every byte wrong, nothing at all, as much as a datagram holds.
        private static func damaged(_ format: String, _ frame: [UInt8]) -> [[UInt8]] {
            var all = (0..<frame.count).map { Array(frame.prefix($0)) }
            // Dragino's frames carry no checksum: a wrong bit there is another value.
            if format != "dragino-sw3l-nb" {
                for i in frame.indices {
                    var wrong = frame
                    wrong[i] ^= 0x10
                    all.append(wrong)
                }
            }
            all.append([UInt8](repeating: 0x68, count: 65_507))
            return all
        }

        /// The reason by the decoder of this process; nil when it accepts.
        private static func reason(_ decoder: Decoder, _ bytes: [UInt8]) -> Rejection? {
            var frame = DecodedFrame()
            do throws(Rejection) {
                try decoder.decode(bytes.span, direction: .up, into: &frame)
                return nil
            } catch {
                return bytes.count > decoder.format.maximumFrame ? .oversized : error
            }
        }

        @Test(
            "damaged datagrams are counted under their reasons, and good ones are served after them"
        )
        func datagrams() throws {
            let library = try FormatLibrary(directory: Place.protocols)
            let district = try District(
                HostileTests.good.map { District.Source(name: $0.format, formats: [$0.format]) })
            try district.startStore()
            try district.startGateway()
            let devices = try district.targets.map { try Device(to: $0) }
            var expected: [Rejection: UInt64] = [:]
            var sent: UInt64 = 0
            for (i, (name, frame)) in HostileTests.good.enumerated() {
                let decoder = Decoder(try #require(library.format(named: name)))
                #expect(
                    HostileTests.reason(decoder, frame) == nil, "\(name): the good frame is good")
                for bytes in HostileTests.damaged(name, frame) {
                    let reason = try #require(
                        HostileTests.reason(decoder, bytes), "\(name) accepts \(bytes)")
                    expected[reason, default: 0] += 1
                    #expect(devices[i].send(bytes) == nil)
                    sent += 1
                    // The kernel's buffer must not overflow: wait now and then.
                    if sent.isMultiple(of: 64) || bytes.count > 1500 {
                        _ = try district.ledger("datagrams are in") {
                            $0.count("datagrams") == sent
                        }
                    }
                }
            }
            let bad = try district.ledger("all are in") { $0.count("framesReceived") >= sent }
            #expect(bad.count("datagrams") == sent)
            #expect(bad.count("framesReceived") == sent)
            #expect(bad.count("framesRejected") == sent)
            #expect(bad.count("framesDecoded") == 0)
            #expect(bad.count("kernelDrops") == 0)
            #expect(bad.count("unaccounted") == 0)
            for reason in Rejection.allCases {
                #expect(
                    bad.count("rejected.\(reason.code)") == expected[reason] ?? 0, "\(reason.code)")
            }
            #expect(expected[.empty] == 3)
            #expect(expected[.oversized] == 3)
            #expect(expected[.truncated] ?? 0 >= 63 + 34)
            #expect(expected[.badChecksum] ?? 0 >= 60)

            #expect(
                ReferenceFrames.answered(by: try devices[0].ask(HostileTests.good[0].frame)) == 1)
            for i in 1...2 { #expect(devices[i].send(HostileTests.good[i].frame) == nil) }
            let end = try district.ledger("good frames reach the store") {
                $0.count("framesDecoded") == 3 && $0.count("readingsHeld") == 0
            }
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == end.count("readingsDecoded"))
            #expect(try UInt64(district.readings().count) == end.count("readingsAcknowledged"))
            #expect(district.gateway?.isRunning == true)
        }

        @Test("a connection that sends a byte a second is closed; another keeps working meanwhile")
        func slowConnection() throws {
            var source = District.Source(
                name: "tcp", isStream: true, formats: ["sluice-reference"])
            source.more = [("firstFrameTimeout", .string("2s"))]
            let district = try District([source])
            try district.startGateway()
            let population = Population.now(devices: 1)
            let slow = try Link(to: district.targets[0])
            let lively = try Link(to: district.targets[0])
            let frame = population.frame(0)
            let begin = SendingClock.now
            var trickled = 0
            while !slow.isEnded, trickled < 20 {
                try slow.send([frame[trickled]])
                trickled += 1
                try lively.send(population.frame(trickled))
                let answer = lively.receive(12, milliseconds: 10_000)
                #expect(ReferenceFrames.answered(by: answer) == UInt32(trickled + 1))
                // The second until the next byte; less when the gateway closes.
                _ = slow.receive(1, milliseconds: 1000)
            }
            let seconds = Double(SendingClock.now - begin) / 1e9
            #expect(slow.isEnded)
            #expect(!lively.isEnded)
            #expect((2.0..<6.0).contains(seconds), "closed after \(seconds) s")
            let status = try district.status()
            #expect(status.count("connectionsRefused.no-first-frame") == 1)
            #expect(status.count("connections") == 1)
            let ledger = try district.ledger()
            #expect(ledger.count("rejected.connection-ended") == 1)
            #expect(ledger.count("framesDecoded") == UInt64(trickled))
            #expect(ledger.count("unaccounted") == 0)
        }

        @Test("a capture replayed over TCP gives the readings that decoding its streams here gives")
        func streams() throws {
            let path = Place.captures + "/demo-electricity-tcp.pcap"
            let library = try FormatLibrary(directory: Place.protocols)
            let decoder = Decoder(try #require(library.format(named: "dlt645")))
            let offline = Offline(Capture(try Files.read(path), file: path), decoder)
            #expect(offline.frames > 0)
            let district = try District([
                District.Source(name: "tcp", isStream: true, formats: ["dlt645"])
            ])
            try district.startStore()
            try district.startGateway()
            let replay = try run(
                "sluice",
                [
                    "replay", path, "--to", district.targets[0].description, "--speed", "max",
                    "--wait", "100ms", "--json",
                ], in: district.folder.path)
            #expect(replay.status == 0, "\(replay.errors)")
            let ledger = try district.ledger("all frames are in the store") {
                $0.count("framesReceived") >= offline.frames && $0.count("readingsHeld") == 0
            }
            #expect(ledger.count("framesReceived") == offline.frames)
            #expect(ledger.count("framesDecoded") == offline.frames - offline.framesControl)
            #expect(ledger.count("framesControl") == offline.framesControl)
            #expect(ledger.count("bytesReceived") == offline.bytes)
            #expect(ledger.count("bytesSkipped") == offline.bytesSkipped)
            #expect(ledger.count("unaccounted") == 0)
            let stored = try district.readings().map {
                "\($0.device) \($0.stream) \($0.value.description) \($0.unit)"
            }
            #expect(stored.sorted() == offline.readings.sorted())
        }
    }
}

/// The streams of a capture decoded without a gateway.
private struct Offline {
    var frames: UInt64 = 0
    var framesControl: UInt64 = 0
    var bytes: UInt64 = 0
    var bytesSkipped: UInt64 = 0
    var readings: [String] = []

    init(_ capture: Capture, _ decoder: Decoder) {
        for number in capture.conversations.indices where capture.conversations[number].isStream {
            var stream: [UInt8] = []
            for delivery in capture.deliveries
            where delivery.conversation == number && delivery.isToServer
                && delivery.kind == .bytes
            {
                stream += delivery.bytes
            }
            bytes += UInt64(stream.count)
            take(stream, decoder)
        }
    }

    private mutating func take(_ stream: [UInt8], _ decoder: Decoder) {
        var at = 0
        var frame = DecodedFrame()
        while at < stream.count {
            guard
                case .frame(let skip, let count) = decoder.search(
                    stream.span.extracting(at..<stream.count), direction: .up)
            else { return }
            bytesSkipped += UInt64(skip)
            frames += 1
            let bytes = Array(stream[at + skip..<at + skip + count])
            at += skip + count
            guard (try? decoder.decode(bytes.span, direction: .up, into: &frame)) != nil else {
                continue
            }
            if frame.isControl { framesControl += 1 }
            for reading in frame.readings {
                let words = decoder.format.describe(
                    output: reading.output, discriminator: reading.discriminator)
                readings.append(
                    "\(decoder.identityText()) \(words.name) \(reading.value.description) "
                        + words.unit)
            }
        }
    }
}
