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
        // MARK: Streams

        @Test(
            "a split TCP connection loses no frame, counts every bad one and stores the values",
            arguments: [
                "hj212", "jt808", "sl651", "gb26875", "dlt645", "cjt188", "modbus-tcp", "mbus",
            ])
        func split(kind: String) throws {
            let file = "tcp-split-\(kind).pcap"
            let index = try SharedCapture.index(file)
            let frames = try SharedCapture.named(index["frames"]?.array ?? [], kind)
            let district = try District([
                District.Source(name: "line", isStream: true, formats: [kind])
            ])
            try district.startStore()
            try district.startGateway()
            let summary = try SharedCapture.replay(file, district, source: 0)
            #expect(summary["bytesSent"]?.integer == index["bytes"]?.integer)
            let ledger = try district.drained(frames: UInt64(frames.count))
            let bad = UInt64(frames.count { $0.error != nil })
            #expect(ledger.count("framesReceived") == UInt64(frames.count))
            #expect(ledger.count("framesRejected") == bad)
            #expect(
                SharedCapture.refused(ledger)
                    == SharedCapture.errors(index["frames"]?.array ?? []))
            // A report in SL 651 is followed by another before its last part came.
            #expect(ledger.count("bodiesGivenUp") == (kind == "sl651" ? 1 : 0))
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

        // MARK: Both directions

        @Test(
            "both sides of a Modbus connection, replayed, are heard as requests and their answers",
            arguments: ["modbus-tcp", "modbus-rtu"])
        func pairs(kind: String) throws {
            let file = kind == "modbus-tcp" ? "modbus-tcp.pcap" : "modbus-rtu-over-tcp.pcap"
            let index = try SharedCapture.index(file)
            let district = try District([
                District.Source(
                    name: "tap", isStream: true, formats: [kind],
                    more: [("pairing", .boolean(true))])
            ])
            try district.startStore()
            try district.startGateway()
            _ = try SharedCapture.replay(file, district, source: 0, ["--from", "both"])
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
