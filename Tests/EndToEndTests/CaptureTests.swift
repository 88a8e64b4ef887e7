// The shared captures, replayed by `sluice replay` into a running gateway: what their index and the
// vector rows it names imply for the ledger and the store. Runs where the shared folder is present.

import Field
import Formats
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("captures", .serialized, .enabled(if: Place.shared != nil))
    struct CaptureTests {
        /// One frame of the index: its vector row, and the refusal that it must meet.
        private struct Named {
            var id: String
            var error: String?
            var row: JSONNode
        }

        private static let folder = (Place.shared ?? "") + "/captures/"

        private static func index(_ file: String) throws -> JSONNode {
            let all = try JSONNode.parse(Files.read(folder + "index.json"), file: "index.json")
            return try #require(all.array?.first { $0["file"]?.string == file })
        }

        private static func rows(_ kind: String) throws -> [String: JSONNode] {
            let path = (Place.shared ?? "") + "/vectors/\(kind).jsonl"
            var rows: [String: JSONNode] = [:]
            for line in try Files.read(path).split(separator: 0x0A) {
                let row = try JSONNode.parse(Array(line), file: kind)
                if let id = row["id"]?.string { rows[id] = row }
            }
            return rows
        }

        private static func named(_ list: [JSONNode], _ kind: String) throws -> [Named] {
            let rows = try rows(kind)
            return try list.map { entry in
                let id = entry["vector"]?.string ?? ""
                return Named(id: id, error: entry["error"]?.string, row: try #require(rows[id]))
            }
        }

        private func replay(
            _ file: String, _ district: District, source: Int, _ more: [String] = []
        ) throws -> JSONNode {
            let done = try run(
                "sluice",
                [
                    "replay", CaptureTests.folder + file, "--speed", "max", "--json", "--to",
                    district.targets[source].description,
                ] + more, in: district.folder.path, within: 60)
            #expect(done.status == 0, "\(file): \(done.errors)")
            return try parsed(done.output)
        }

        // MARK: Streams

        @Test(
            "a split TCP connection loses no frame, counts every bad one and stores the values",
            arguments: [
                "hj212", "jt808", "sl651", "gb26875", "dlt645", "cjt188", "modbus-tcp", "mbus",
            ])
        func split(kind: String) throws {
            let file = "tcp-split-\(kind).pcap"
            let index = try CaptureTests.index(file)
            let frames = try CaptureTests.named(index["frames"]?.array ?? [], kind)
            let district = try District([
                District.Source(name: "line", isStream: true, formats: [kind])
            ])
            try district.startStore()
            try district.startGateway()
            let summary = try replay(file, district, source: 0)
            #expect(summary["bytesSent"]?.integer == index["bytes"]?.integer)
            let ledger = try district.drained(frames: UInt64(frames.count))
            let bad = UInt64(frames.count { $0.error != nil })
            #expect(ledger.count("framesReceived") == UInt64(frames.count))
            #expect(ledger.count("framesRejected") == bad)
            #expect(
                ledger.count("framesDecoded") + ledger.count("framesControl")
                    + ledger.count("framesDuplicate") == UInt64(frames.count) - bad)
            #expect(ledger.count("unaccounted") == 0)
            let stored = Set(try district.readings().map(CaptureTests.words))
            for frame in frames where frame.error == nil {
                for words in CaptureTests.values(kind, frame.row["expect"]) {
                    #expect(stored.contains(words), "\(frame.id): \(words)")
                }
            }
        }

        /// `device stream value` of a stored reading.
        private static func words(_ reading: StoredReading) -> String {
            "\(reading.device) \(reading.stream) \(reading.value.asDouble ?? .nan)"
        }

        /// The same of a row's numbers, for the protocols whose streams are named as the row names them.
        private static func values(_ kind: String, _ expect: JSONNode?) -> [String] {
            switch kind {
            case "dlt645", "cjt188":
                let device = expect?["address"]?.string ?? ""
                return (expect?["values"]?.array ?? []).compactMap { value in
                    guard let name = value["name"]?.string, let number = value["value"]?.double
                    else { return nil }
                    return "\(device) \(name) \(number)"
                }
            case "hj212":
                let device = expect?["mn"]?.string ?? ""
                return (expect?["factors"]?.array ?? []).flatMap { factor -> [String] in
                    let code = factor["code"]?.string ?? ""
                    return ["Rtd", "Min", "Avg", "Max", "Cou"].compactMap { word in
                        factor[word]?.double.map {
                            "\(device) \(code.lowercased())_\(word.lowercased()) \($0)"
                        }
                    }
                }
            default: return []
            }
        }

        // MARK: Datagrams

        /// Sources for the ports of the mixed capture. CayenneLPP names no device.
        private static let mixed: [(port: Int, kinds: [String], exchange: String?)] = [
            (1700, ["semtech-udp"], "semtech"), (9002, ["modbus-rtu"], nil),
            (9645, ["dlt645"], nil), (9188, ["cjt188"], nil), (9651, ["sl651"], nil),
            (9005, ["mbus"], nil), (9004, ["cayennelpp"], nil),
        ]

        @Test("of many devices' datagrams the good are taken and the bad refused, each by its name")
        func datagrams() throws {
            let file = "nbiot-mixed-udp.pcap"
            let all = try CaptureTests.index(file)["datagrams"]?.array ?? []
            let district = try District(
                CaptureTests.mixed.map { source in
                    District.Source(
                        name: source.kinds[0],
                        formats: source.exchange == nil ? source.kinds : ["cayennelpp"],
                        more: source.exchange.map { [("exchange", .string($0))] }
                            ?? [("unnamed", .string("unnamed-\(source.port)"))])
                })
            try district.startStore()
            try district.startGateway()
            var sent: UInt64 = 0
            var reasons: [String: Int] = [:]
            for (number, source) in CaptureTests.mixed.enumerated() {
                let mine = all.filter { $0["server_port"]?.integer == source.port }
                #expect(!mine.isEmpty)
                for entry in mine {
                    if let error = entry["error"]?.string { reasons[error, default: 0] += 1 }
                }
                _ = try replay(file, district, source: number, ["--port", "\(source.port)"])
                sent += UInt64(mine.count)
                let ledger = try district.drained(frames: sent)
                #expect(ledger.count("framesReceived") == sent, "\(source.kinds)")
                // Every PUSH_DATA and PULL_DATA is answered, each time that it comes.
                if source.exchange == "semtech" {
                    let owed = try CaptureTests.named(mine, source.kinds[0]).count {
                        $0.error == nil && $0.row["expect"]?["reply"]?.string != nil
                    }
                    #expect(ledger.count("framesAnswered") == UInt64(owed))
                }
                #expect(ledger.count("unaccounted") == 0)
            }
            let ledger = try district.ledger()
            for (reason, count) in reasons {
                #expect(ledger.count("rejected.\(reason)") == UInt64(count), "\(reason)")
            }
            #expect(ledger.count("framesRejected") == UInt64(reasons.values.reduce(0, +)))
            // SL 651 marks what it repeats; the others' repetitions are readings of their own.
            #expect(ledger.count("framesDuplicate") > 0)
        }

        // MARK: Both directions

        @Test(
            "both sides of a Modbus connection, replayed, are heard as requests and their answers",
            arguments: ["modbus-tcp", "modbus-rtu"])
        func pairs(kind: String) throws {
            let file = kind == "modbus-tcp" ? "modbus-tcp.pcap" : "modbus-rtu-over-tcp.pcap"
            let index = try CaptureTests.index(file)
            let district = try District([
                District.Source(
                    name: "tap", isStream: true, formats: [kind],
                    more: [("pairing", .boolean(true))])
            ])
            try district.startStore()
            try district.startGateway()
            _ = try replay(file, district, source: 0, ["--from", "both"])
            let requests = index["requests"]?.integer ?? 0
            let ledger = try district.drained(frames: UInt64(2 * requests))
            #expect(ledger.count("framesReceived") == UInt64(2 * requests))
            #expect(ledger.count("framesRejected") == 0 && ledger.count("unaccounted") == 0)
            // 22 requests; of the answers one is an exception and two acknowledge writes.
            #expect(ledger.count("framesControl") == UInt64(requests + 3))
            #expect(ledger.count("framesDecoded") == UInt64(requests - 3))
        }
    }
}
