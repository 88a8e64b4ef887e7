// Lines of a real daemon as entries of the journal, whose place Tests/clients/journal.py takes.

import Field
import Formats
import Glibc
import Host
import Testing

extension EndToEnd {
    @Suite(
        "the journal",
        .enabled(
            if: Machine.canMount && Clients.isProgram("/usr/bin/unshare")
                && Clients.isProgram("/usr/bin/python3")))
    struct JournalTests {
        @Test("a store that is away is one entry with its address and the reason as fields")
        func entry() throws {
            let district = try District([.reference])
            let log = district.folder.path + "/journal.log"
            let journal = try ChildProcess(
                name: "unshare", path: "/usr/bin/unshare",
                arguments: [
                    "--mount", "/usr/bin/python3", Place.root + "/Tests/clients/journal.py",
                    Place.binaries + "/sluiced", "--config", district.gatewayFile,
                ], log: log)
            let entry = try eventually("the store is missed") {
                () throws(DistrictError) -> JSONNode? in
                let text = String(decoding: (try? Files.read(log)) ?? [], as: UTF8.self)
                return text.split(separator: "\n").filter { $0.hasPrefix("{") }
                    .compactMap { try? parsed(String($0)) }
                    .first { $0["MESSAGE"]?.string?.hasPrefix("uplink: store") == true }
            }
            let store = "127.0.0.1:\(district.storePort)"
            let reason = try #require(entry["SLUICE_REASON"]?.string)
            #expect(entry["SLUICE_STORE"]?.string == store)
            #expect(entry["PRIORITY"]?.string == "4")
            #expect(entry["SYSLOG_IDENTIFIER"]?.string == "sluiced")
            #expect(entry["MESSAGE"]?.string == "uplink: store \(store): \(reason): trying again")
            let all = String(decoding: try Files.read(log), as: UTF8.self)
            #expect(!all.contains("\"stderr\""), "\(all)")
            journal.stop(SIGTERM)
        }
    }
}
