// The law of `sluice replay`: the store holds the same readings after it as after the direct run. For a
// capture of other people's traffic the direct run sends the bytes that tshark finds in it from sockets of
// the test; for one that tcpdump made of a load run it is that run itself.

import Field
import Formats
import Glibc
import Host
import Model
import Testing
import Uplink

/// Programs of others that some tests need; without them those are skipped by name.
enum Others {
    static let tshark = find("tshark")
    static let tcpdump = find("tcpdump")
    /// Root may capture on loopback, also in a container; others not.
    static let mayCapture = tcpdump != nil && geteuid() == 0

    private static func find(_ name: String) -> String? {
        ["/usr/bin/", "/usr/local/bin/", "/usr/sbin/"].map { $0 + name }.first(where: Files.exists)
    }
}

struct LawCase: Sendable, CustomTestStringConvertible {
    var file: String
    var formats: [String]
    var isStream = false
    /// Only conversations with this server port.
    var port: Int?
    /// Both sides' bytes, in their order.
    var isBoth = false
    var more: [(String, JSON)] = []
    var isShared = true

    var testDescription: String { port.map { "\(file) port \($0)" } ?? file }

    var path: String {
        isShared ? SharedCapture.folder + file : "\(Place.captures)/\(file)"
    }

    static let all: [LawCase] =
        [
            "hj212", "jt808", "sl651", "gb26875", "dlt645", "cjt188", "modbus-tcp", "mbus",
        ].map { LawCase(file: "tcp-split-\($0).pcap", formats: [$0], isStream: true) }
        + [
            LawCase(file: "coap-observe-blockwise.pcap", formats: ["coap"], isBoth: true),
            LawCase(file: "coap-libcoap.pcap", formats: ["coap"], isBoth: true),
            LawCase(
                file: "modbus-tcp.pcap", formats: ["modbus-tcp"], isStream: true, isBoth: true,
                more: [("pairing", .boolean(true))]),
            LawCase(
                file: "modbus-rtu-over-tcp.pcap", formats: ["modbus-rtu"], isStream: true,
                isBoth: true, more: [("pairing", .boolean(true))]),
        ]
        + [
            (1700, "semtech-udp"), (9002, "modbus-rtu"), (9645, "dlt645"), (9188, "cjt188"),
            (9651, "sl651"), (9005, "mbus"), (9004, "cayennelpp"), (5683, "coap"),
            (10_000, "mqtt-sn"),
        ].map { LawCase(file: "nbiot-mixed-udp.pcap", formats: [$0.1], port: $0.0) }
        + [
            LawCase(file: "demo-water.pcap", formats: ["dragino-sw3l-nb"], isShared: false),
            LawCase(
                file: "demo-environment.pcap", formats: ["dragino-s31-nb"], isShared: false),
            LawCase(file: "demo-electricity-udp.pcap", formats: ["dlt645"], isShared: false),
            LawCase(
                file: "demo-electricity-tcp.pcap", formats: ["dlt645"], isStream: true,
                isShared: false),
        ]
}

extension EndToEnd {
    @Suite("the law of replay", .serialized)
    struct ReplayLawTests {
        private static let hasTshark = Others.tshark != nil

        private func district(
            _ formats: [String], isStream: Bool, _ more: [(String, JSON)] = []
        ) throws -> District {
            let district = try District([
                District.Source(name: "line", isStream: isStream, formats: formats, more: more)
            ])
            try district.startStore()
            try district.startGateway()
            return district
        }

        /// Everything of a reading that does not depend on when it came.
        private func words(_ district: District, withTimes: Bool = false) throws -> [String] {
            try district.readings().map {
                "\($0.device) \($0.stream) \($0.value.description) \($0.unit)"
                    + (withTimes ? " \($0.observedAt.milliseconds)" : "")
            }.sorted()
        }

        private func bytesSeen(_ ledger: LedgerReport) -> UInt64 {
            ledger.number("bytesReceived") ?? 0
        }

        /// Runs a program of others; what it printed.
        private func printed(_ line: String, _ folder: Folder) throws -> String {
            let out = folder.path + "/printed"
            let child = try ChildProcess(
                name: "bash", path: "/bin/bash",
                arguments: ["-c", "\(line) 2>/dev/null >'\(out)'"],
                log: folder.path + "/printed.log")
            #expect(try eventually("\(line) ends", within: 90) { child.exitCode } == 0, "\(line)")
            return String(decoding: try Files.read(out), as: UTF8.self)
        }

        /// What each endpoint or connection sent, as tshark finds it.
        private func pieces(_ one: LawCase) throws -> [(sender: String, bytes: [UInt8])] {
            let folder = try Folder()
            let kind = one.isStream ? "tcp" : "udp"
            // A repeated byte before the window reads as one that keeps the connection alive.
            var filter =
                one.isStream
                ? "tcp.len>0 && !tcp.analysis.retransmission && !tcp.analysis.keep_alive"
                    + " && !tcp.analysis.spurious_retransmission"
                : "udp"
            if let port = one.port { filter += " && udp.dstport==\(port)" }
            let text = try printed(
                "\(Others.tshark ?? "") -r '\(one.path)' -Y '\(filter)' -T fields "
                    + "-e frame.number -e tcp.stream -e ip.src -e udp.srcport -e \(kind).dstport "
                    + "-e \(kind).payload", folder)
            let capture = Capture(try Files.read(one.path), file: one.file)
            let servers = Set(capture.conversations.map(\.server.port))
            return try text.split(separator: "\n").compactMap { line in
                let cells = line.split(separator: "\t", omittingEmptySubsequences: false)
                let payload = cells[5].filter { $0 != ":" }
                let isToServer = UInt16(cells[4]).map { servers.contains($0) } ?? false
                guard one.isBoth || isToServer, !payload.isEmpty else { return nil }
                let bytes = try #require(Hex.bytes(payload), "\(line)")
                // Both sides' bytes go the one way of their conversation.
                let sender = one.isBoth ? "\(cells[1])" : cells[1...3].joined(separator: " ")
                return (sender, bytes)
            }
        }

        @Test(
            "a capture replayed gives the readings of the same bytes sent directly",
            .enabled(if: hasTshark, "tshark is not installed"),
            arguments: LawCase.all.filter { !$0.isShared || Place.shared != nil })
        func captures(one: LawCase) throws {
            let replayed = try district(one.formats, isStream: one.isStream, one.more)
            var arguments = [
                "replay", one.path, "--speed", "max", "--json", "--wait", "200ms", "--to",
                replayed.targets[0].description,
            ]
            if let port = one.port { arguments += ["--port", "\(port)"] }
            if one.isBoth { arguments += ["--from", "both"] }
            let done = try run("sluice", arguments, in: replayed.folder.path, within: 60)
            #expect(done.status == 0, "\(done.errors)")
            let sent = UInt64(try #require(try parsed(done.output)["bytesSent"]?.integer))
            let after = try replayed.ledger("the replay is in") {
                bytesSeen($0) == sent && $0.count("readingsHeld") == 0
            }

            let direct = try district(one.formats, isStream: one.isStream, one.more)
            let pieces = try pieces(one)
            #expect(pieces.reduce(0) { $0 + $1.bytes.count } == Int(sent))
            var devices: [String: Device] = [:]
            var links: [String: Link] = [:]
            for (sender, bytes) in pieces {
                if one.isStream {
                    if links[sender] == nil { links[sender] = try Link(to: direct.targets[0]) }
                    try links[sender]?.send(bytes)
                } else {
                    if devices[sender] == nil {
                        devices[sender] = try Device(to: direct.targets[0])
                    }
                    #expect(devices[sender]?.send(bytes) == nil)
                }
            }
            if one.isStream {
                for link in links.values { _ = link.receive(1 << 20, milliseconds: 100) }
                links = [:]
            }
            let wanted = try direct.ledger("the direct run is in") {
                bytesSeen($0) == sent && $0.count("readingsHeld") == 0
            }
            for name in [
                "framesReceived", "framesDecoded", "framesDuplicate", "framesControl",
                "framesRejected", "readingsDecoded",
            ] { #expect(after.count(name) == wanted.count(name), "\(name)") }
            #expect(SharedCapture.refused(after) == SharedCapture.refused(wanted))
            #expect(after.count("unaccounted") == 0 && wanted.count("unaccounted") == 0)
            #expect(after.count("framesReceived") > 0)
            #expect(try words(replayed) == words(direct))
        }

        @Test(
            "the byte that one capture repeats is used once",
            .enabled(if: Place.shared != nil, "the shared captures are not here"))
        func repeatedByte() throws {
            var repeated: [String: Int] = [:]
            let all = try JSONNode.parse(
                Files.read(SharedCapture.folder + "index.json"), file: "index.json")
            for entry in all.array ?? [] {
                guard let file = entry["file"]?.string, entry["transport"]?.string == "tcp",
                    let bytes = entry["bytes"]?.integer
                else { continue }
                let capture = Capture(try Files.read(SharedCapture.folder + file), file: file)
                let sent = capture.deliveries.filter(\.isToServer).reduce(0) {
                    $0 + $1.bytes.count
                }
                #expect(sent == bytes, "\(file)")
                #expect(capture.counters.bytesMissing == 0, "\(file)")
                let count = capture.counters.segmentsRepeated
                if count > 0 { repeated[file] = count }
            }
            #expect(repeated.count == 1 && repeated.values.first == 1, "\(repeated)")
        }

        @Test(
            "what tcpdump took from a load run, replayed, gives that run's readings to the millisecond",
            .enabled(
                if: Others.mayCapture, "tcpdump is not installed, or capture is not permitted"),
            arguments: [false, true])
        func recordedLoad(isStream: Bool) throws {
            let direct = try district(["sluice-reference"], isStream: isStream)
            let target = direct.targets[0]
            let file = direct.folder.path + "/load.pcap"
            let log = direct.folder.path + "/tcpdump.log"
            let recorder = try ChildProcess(
                name: "tcpdump", path: Others.tcpdump ?? "",
                arguments: [
                    "-i", "lo", "-Z", "root", "-U", "-B", "65536", "-w", file,
                    "\(isStream ? "tcp" : "udp") port \(target.endpoint.port)",
                ], log: log)
            _ = try eventually("tcpdump listens") { () throws(DistrictError) -> Bool? in
                let text = (try? Files.read(log)).map { String(decoding: $0, as: UTF8.self) }
                return text?.contains("listening on") == true ? true : nil
            }
            // What a device sends again comes again in the replay too: duplicates are recognised.
            let load = try run(
                "sluice",
                [
                    "load", "--to", target.description, "--frames", "2000", "--devices", "50",
                    "--connections", "8", "--rate", "2000", "--answers", "1", "--reorder", "5%",
                    "--json",
                ] + (isStream ? [] : ["--loss", "5%", "--duplicate", "5%"])
                    + ["--retry", "300ms"], in: direct.folder.path, within: 60)
            #expect(load.status == 0, "\(load.errors)")
            let sent = UInt64(try #require(try parsed(load.output)["datagramsSent"]?.integer))
            let before = try direct.drained(frames: sent)
            _ = try eventually("everything is in the file") { () throws(DistrictError) -> Bool? in
                guard let bytes = try? Files.read(file) else { return nil }
                let capture = Capture(bytes, file: file, serverPort: target.endpoint.port)
                let taken = capture.deliveries.filter(\.isToServer).reduce(0) {
                    $0 + $1.bytes.count
                }
                return taken >= Int(sent) * 64 ? true : nil
            }
            #expect(recorder.stop(SIGINT) == 0)

            let again = try district(["sluice-reference"], isStream: isStream)
            let replayed = try run(
                "sluice",
                [
                    "replay", file, "--to", again.targets[0].description, "--speed", "4", "--json",
                    "--port", "\(target.endpoint.port)",
                ], in: again.folder.path, within: 60)
            #expect(replayed.status == 0, "\(replayed.errors)")
            let after = try again.drained(frames: sent)
            #expect(after.count("framesReceived") == before.count("framesReceived"))
            #expect(after.count("framesDecoded") == 2000)
            #expect(after.count("unaccounted") == 0 && before.count("unaccounted") == 0)
            let expected = try words(direct, withTimes: true)
            #expect(expected.count == 10_000)
            #expect(try words(again, withTimes: true) == expected)
        }
    }
}
