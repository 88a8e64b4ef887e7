// A source that lists no formats, as those of the configuration that the package ships: it takes what any
// of the formats reads, and reads it as a source does that lists the right ones.

import Field
import Host
import Testing

extension EndToEnd {
    @Suite("sources that list no formats", .serialized)
    struct UnlistedFormatsTests {
        private static let captures = ["demo-water", "demo-environment", "demo-electricity-udp"]

        private func replayed(formats: [String]) throws -> (LedgerReport, Set<String>) {
            let district = try District([.init(name: "udp", formats: formats)])
            try district.startStore()
            try district.startGateway()
            for capture in UnlistedFormatsTests.captures {
                let sent = try run(
                    "sluice",
                    [
                        "replay", "\(Place.captures)/\(capture).pcap", "--to",
                        district.targets[0].description, "--speed", "max",
                    ], in: district.folder.path)
                #expect(sent.status == 0, "\(sent.errors)")
            }
            let ledger = try district.drained(frames: 49)
            let asked = try run(
                "sluice",
                [
                    "query", "--store", "127.0.0.1:\(district.storePort)", "--csv", "--limit",
                    "9999",
                ],
                in: district.folder.path)
            let streams = asked.lines.dropFirst().map { line in
                line.split(separator: ",", omittingEmptySubsequences: false).prefix(3)
                    .joined(separator: ",")
            }
            return (ledger, Set(streams))
        }

        @Test("read captures of meters and sensors as sources do that list their formats")
        func captures() throws {
            let (listed, wanted) = try replayed(
                formats: ["dragino-sw3l-nb", "dragino-s31-nb", "dlt645"])
            let (unlisted, found) = try replayed(formats: [])
            for name in [
                "framesReceived", "framesDecoded", "framesDuplicate", "framesRejected",
                "readingsDecoded", "readingsAcknowledged", "unaccounted",
            ] {
                #expect(unlisted.count(name) == listed.count(name), "\(name)")
            }
            #expect(listed.count("framesDecoded") > 40)
            #expect(found == wanted)
        }
    }
}
