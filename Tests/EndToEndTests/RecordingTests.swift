// `sluice capture` from a running gateway: what it writes opens in tshark, says what became of each
// frame, and replayed gives the readings of the direct run.

import Field
import Formats
import Glibc
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("recording", .serialized)
    struct RecordingTests {
        private static let sources = [
            District.Source(name: "water", formats: ["dragino-sw3l-nb"]),
            District.Source(name: "power", isStream: true, formats: ["dlt645"]),
        ]
        private static let tshark = ["/usr/bin/tshark", "/usr/local/bin/tshark"]
            .first(where: Files.exists)

        private func district() throws -> District {
            let district = try District(Self.sources)
            try district.startStore()
            try district.startGateway()
            return district
        }

        private func replay(_ file: String, _ district: District, source: Int) throws {
            let done = try run(
                "sluice",
                [
                    "replay", file, "--speed", "max", "--to",
                    district.targets[source].description,
                ], in: district.folder.path)
            #expect(done.status == 0, "\(done.errors)")
        }

        private func record(
            _ file: String, _ district: District, _ flags: [String] = []
        ) throws -> Program {
            let program = try Program(
                "sluice", ["capture", "--out", file, "--admin", district.adminSocket] + flags,
                in: district.folder.path)
            _ = try eventually("the recording has begun") { () -> Bool? in
                Files.exists(file) && (try? Files.read(file))?.isEmpty == false ? true : nil
            }
            return program
        }

        private func words(_ district: District) throws -> [String] {
            try district.readings().map {
                "\($0.device) \($0.stream) \($0.value.description) \($0.unit)"
            }.sorted()
        }

        @Test(
            "replayed, a recording gives the readings of the direct run",
            arguments: [
                "all.pcapng", "all.slcap",
            ])
        func replayed(name: String) throws {
            let direct = try district()
            let file = direct.folder.path + "/" + name
            let recording = try record(file, direct)
            try replay(Place.captures + "/demo-water.pcap", direct, source: 0)
            try replay(Place.captures + "/demo-electricity-tcp.pcap", direct, source: 1)
            _ = try direct.drained(frames: 49)
            recording.signal(SIGINT)
            #expect(try recording.end(within: 10) == 0, "\(recording.errors)")

            let again = try district()
            try replay(file, again, source: 0)
            try replay(file, again, source: 1)
            let ledger = try again.drained(frames: 49)
            #expect(ledger.count("framesReceived") == 49)
            #expect(ledger.count("framesRejected") == 0 && ledger.count("unaccounted") == 0)
            let expected = try words(direct)
            #expect(expected.count > 100)
            #expect(try words(again) == expected)
        }

        @Test(
            "tshark finds no malformed packet and no wrong check value, and shows the verdicts",
            .enabled(if: tshark != nil, "tshark is not installed"))
        func wireshark() throws {
            let district = try district()
            let file = district.folder.path + "/all.pcapng"
            let recording = try record(file, district)
            try replay(Place.captures + "/demo-water.pcap", district, source: 0)
            try replay(Place.captures + "/demo-electricity-tcp.pcap", district, source: 1)
            // A frame that nobody understands.
            let stranger = try Device(to: district.targets[0])
            #expect(stranger.send([1, 2, 3]) == nil)
            _ = try district.drained(frames: 50)
            recording.signal(SIGTERM)
            #expect(try recording.end(within: 10) == 0)
            let wrong = try shark(
                file,
                "_ws.malformed || ip.checksum.status==0 || udp.checksum.status==0 || "
                    + "tcp.checksum.status==0 || tcp.analysis.flags", district)
            #expect(wrong == [])
            let comments = try shark(file, "frame.comment", district)
            #expect(comments.contains { $0.hasPrefix("decoded; dragino-sw3l-nb 8600000000001") })
            #expect(comments.contains { $0.contains("decoded; dlt645 2026000003") })
            #expect(comments.contains("rejected bad-header"))
        }

        private func shark(
            _ file: String, _ filter: String, _ district: District
        ) throws -> [String] {
            let out = district.folder.path + "/shark.out"
            let child = try ChildProcess(
                name: "tshark", path: "/bin/bash",
                arguments: [
                    "-c",
                    "\(Self.tshark ?? "") -o ip.check_checksum:TRUE -o udp.check_checksum:TRUE "
                        + "-o tcp.check_checksum:TRUE -r '\(file)' -Y '\(filter)' "
                        + "-T fields -e frame.comment 2>/dev/null >'\(out)'",
                ], log: district.folder.path + "/shark.log")
            #expect(try eventually("tshark ends", within: 60) { child.exitCode } == 0)
            return String(decoding: try Files.read(out), as: UTF8.self)
                .split(separator: "\n").map(String.init)
        }

        @Test("filters: a device, a source, a verdict; bounds: frames and time")
        func filters() throws {
            let district = try district()
            let folder = district.folder.path
            let cases: [([String], Int)] = [
                (["--device", "860000000000101"], 4), (["--source", "power"], 0),
                (["--verdict", "duplicate"], 0), (["--frames", "3"], 3),
            ]
            for (number, (flags, count)) in cases.enumerated() {
                let file = "\(folder)/\(number).slcap"
                let recording = try record(file, district, flags)
                try replay(Place.captures + "/demo-water.pcap", district, source: 0)
                _ = try district.drained(frames: UInt64(13 * (number + 1)))
                if flags[0] != "--frames" { recording.signal(SIGINT) }
                #expect(try recording.end(within: 10) == 0, "\(recording.errors)")
                let capture = Capture(try Files.read(file), file: file)
                #expect(capture.damage == nil)
                if number == 2 {
                    // All 13 came before.
                    #expect(capture.deliveries.count == 13)
                } else {
                    #expect(capture.deliveries.count == count, "\(flags)")
                }
            }
        }

        @Test("a second recording is refused, and one whose tool was killed makes room")
        func oneAtATime() throws {
            let district = try district()
            let file = district.folder.path + "/one.slcap"
            let recording = try record(file, district)
            let second = try run(
                "sluice",
                [
                    "capture", "--out", district.folder.path + "/two.slcap", "--for", "1s",
                    "--admin", district.adminSocket,
                ], in: district.folder.path)
            #expect(second.status == 1)
            #expect(second.errors.contains("another capture is running"))
            #expect(!Files.exists(district.folder.path + "/two.slcap"))
            recording.signal(SIGKILL)
            _ = try recording.end(within: 10)
            // The daemon waits 15 s for the tool, then stops by itself.
            let third = try eventually("there is room again", within: 40) {
                () throws(DistrictError) -> Finished? in
                let third = try run(
                    "sluice",
                    [
                        "capture", "--out", district.folder.path + "/three.slcap", "--for",
                        "100ms", "--admin", district.adminSocket,
                    ], in: district.folder.path)
                return third.status == 0 ? third : nil
            }
            #expect(third.output.contains("0 records"))
            #expect(try district.ledger().count("unaccounted") == 0)
        }

        @Test("recordings and devices are served over the Unix socket only")
        func isPrivate() throws {
            let demo = try LocalDistrict(
                {
                    var settings = LocalDistrict.Settings(
                        sources: [
                            DistrictSource(
                                name: "water", isStream: false, formats: ["dragino-sw3l-nb"])
                        ], formats: Place.protocols)
                    settings.servesHTTP = true
                    return settings
                }(), programs: Place.binaries)
            defer { demo.close() }
            let port = demo.statusAddress.split(separator: ":").last?.prefix { $0.isNumber }
            let target = try Target("tcp://127.0.0.1:\(port ?? "")")
            for route in ["/devices", "/capture/begin", "/capture/fetch?id=1"] {
                let link = try Link(to: target)
                try link.send(Array("GET \(route) HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".utf8))
                let answer = String(
                    decoding: link.receive(20, milliseconds: 5000), as: UTF8.self)
                #expect(answer.hasPrefix("HTTP/1.1 403"), "\(route): \(answer)")
            }
            #expect(try adminGet(socket: demo.adminSocket, route: "/devices").status == 200)
        }
    }
}
