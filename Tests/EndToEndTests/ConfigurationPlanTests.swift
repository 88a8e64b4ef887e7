// `sluiced --plan` against a running daemon: what it says of a reload, a reload does; what it says of a
// restart, a restart does; and a file that is wrong leaves everything as it is and is told in status.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

extension EndToEnd {
    @Suite("plans of a reload", .serialized)
    struct ConfigurationPlanTests {
        private static func door(unit: String, more: String = "", says: Int = 100) -> String {
            """
            { format: "door", framing: { anchors: [{ at: 0, bytes: "d0" }], length: 6, maximum: 6 },
              layout: [ { skip: 1 }, { name: "id", type: "hex", bytes: 3 },
                { name: "count", type: "u8" },
                { name: "level", type: "u8", unit: "\(unit)", quantity: "level", reading: true },
                \(more) ],
              identity: "{id}",
              exchange: { answer: { parts: [ { hex: "d1" }, { field: "count", type: "u8" } ] } },
              tests: [ { hex: "d0aabbcc0164", readings: { level: \(says) } } ] }
            """
        }

        private static let bell = """
            { format: "bell", framing: { length: 2, maximum: 2 },
              layout: [ { name: "id", type: "hex", bytes: 1 },
                { name: "rings", type: "u8", reading: true, quantity: "count" } ],
              identity: "{id}", tests: [ { hex: "be01", readings: { rings: 1 } } ] }
            """

        private struct Plan {
            var status: Int32
            var rows: [String]
            var errors: String
        }

        /// Each change as `what|change|effect|detail`.
        private func plan(_ district: District, _ more: [String] = []) throws -> Plan {
            let said = try run(
                "sluiced",
                ["--config", district.gatewayFile, "--plan", "--json", "--exit-code"] + more,
                in: district.folder.path)
            guard !said.output.isEmpty else {
                return Plan(status: said.status, rows: [], errors: said.errors)
            }
            let rows = try parsed(said.output)["changes"]?.array ?? []
            return Plan(
                status: said.status,
                rows: rows.map { row in
                    ["what", "change", "effect", "detail"].map { row[$0]?.string ?? "?" }
                        .joined(separator: "|")
                }, errors: said.errors)
        }

        /// Reloads, and returns what status says then.
        private func reload(_ district: District, times: Int) throws -> JSONNode {
            district.gateway?.signal(SIGHUP)
            let status = try eventually("the formats are reloaded") {
                () throws(DistrictError) -> LedgerReport? in
                let status = try district.status()
                return status.count("formats.reloads") == times ? status : nil
            }
            return try parsed(status.text)
        }

        private func district() throws -> District {
            let district = try District(
                [.init(name: "doors", formats: ["door", "bell"])],
                formats: ["door.json5": Self.door(unit: "m"), "bell.json5": Self.bell])
            try district.startGateway()
            return district
        }

        @Test("what the plan says of the formats, the reload does, and then nothing is left to do")
        func formats() throws {
            let district = try district()
            let device = try Device(to: district.targets[0])
            #expect(try plan(district).rows == [])
            #expect(try plan(district).status == 0)
            _ = try district.folder.write(
                Self.door(
                    unit: "cm",
                    more:
                        "{ name: \"x\", value: \"count * 2\", quantity: \"count\", reading: true }"),
                to: "formats/door.json5")
            _ = try district.folder.write(
                Self.bell.replacing("\"bell\"", with: "\"gong\""), to: "formats/gong.json5")
            let first = try plan(district)
            #expect(
                first.rows == [
                    "format door|replaced|reload|level: m → cm, +x",
                    "format gong|new|reload|no source has it",
                ])
            #expect(first.status == 3)
            // Asking changes nothing.
            #expect(try district.status().count("formats.reloads") == 0)
            let status = try reload(district, times: 1)
            #expect(status["formats"]?["kept"]?.array?.count == 0)
            #expect(try plan(district).rows == [])

            // A version that its own test refuses: the plan says so, and the reload keeps the old one.
            _ = try district.folder.write(
                Self.door(unit: "cm", says: 7), to: "formats/door.json5")
            let second = try plan(district)
            #expect(second.status == 0 && second.rows.count == 1, "\(second)")
            #expect(second.rows.first?.hasPrefix("format door|kept|never|") == true, "\(second)")
            #expect(second.rows.first?.contains("door.json5:8:") == true, "\(second)")
            let kept = try reload(district, times: 2)["formats"]?["kept"]?.array?.map(\.string)
            #expect(kept == ["door"])

            // Only a reload is needed: its own status.
            _ = try district.folder.write(Self.door(unit: "mm"), to: "formats/door.json5")
            #expect(try plan(district).rows == ["format door|replaced|reload|level: cm → mm, -x"])
            #expect(try plan(district).status == 3)
            #expect(try device.ask([0xD0, 1, 2, 3, 9, 100]) == [0xD1, 9])
        }

        @Test("a new format waits for a restart where a source takes whatever there is")
        func newFormat() throws {
            let district = try District(
                [.init(name: "all", formats: [])], formats: ["door.json5": Self.door(unit: "m")])
            try district.startGateway()
            _ = try district.folder.write(Self.bell, to: "formats/bell.json5")
            let row = "format bell|new|restart|read by sources without a list"
            #expect(try plan(district).rows == [row])
            _ = try reload(district, times: 1)
            // The reload loaded it, and still no source reads it.
            #expect(try plan(district).rows == [row])
            #expect(try plan(district).status == 4)
        }

        @Test(
            "what the plan says of the settings waits for a restart, and then nothing is left to do"
        )
        func settings() throws {
            let district = try district()
            try Files.makeFolder(district.folder.path + "/conf.d")
            let extra = try district.folder.write(
                """
                { sources: [ { name: "extra", listen: "udp://127.0.0.1:0", formats: ["bell"] } ],
                  limits: { devices: 1000 } }
                """, to: "conf.d/10-extra.json5")
            try district.configure([
                .init(
                    name: "doors", formats: ["door"], more: [("idleTimeout", .string("2h"))])
            ])
            let first = try plan(district)
            #expect(
                first.rows == [
                    "source doors|changed|restart|formats: [\"door\", \"bell\"] → [\"door\"]",
                    "source doors|changed|restart|idleTimeout: standard \"1h\" → \"2h\"",
                    "source extra|opened|restart|\"udp://127.0.0.1:0\"",
                    "limits.devices|changed|restart|standard 100000 → 1000",
                ])
            #expect(first.status == 4)

            // A reload leaves the settings and says that they wait.
            let status = try reload(district, times: 1)
            #expect(status["configuration"]?["changesPending"]?.integer == 4)
            #expect(status["sources"]?.array?.count == 1)
            #expect(try plan(district).rows == first.rows)
            let shown = try run(
                "sluiced", ["--config", district.gatewayFile, "--plan"], in: district.folder.path)
            #expect(shown.status == 0 && shown.output.contains("4 changes by a restart"))

            district.gateway?.signal(SIGTERM)
            #expect(try district.gateway?.end(within: 20) == 0)
            try district.startGateway()
            #expect(try plan(district).rows == [])
            #expect(try parsed(district.status().text)["sources"]?.array?.count == 2)

            // And back: the source is closed.
            #expect(unsafe unlink(extra) == 0)
            let back = try plan(district)
            #expect(back.rows.first == "source extra|closed|restart|\"udp://127.0.0.1:0\"")
            #expect(back.status == 4)
        }

        @Test("a wrong file leaves the old configuration running and says so in status")
        func wrong() throws {
            let district = try district()
            let device = try Device(to: district.targets[0])
            let good = try Files.read(district.gatewayFile)
            _ = try district.folder.write("{ gatewy: \"x\" }", to: "gateway.json5")
            let refused = try plan(district)
            #expect(refused.status == 1 && refused.rows.isEmpty)
            #expect(refused.errors.contains("gateway.json5:1:3: unknown key"), "\(refused)")
            let status = try reload(district, times: 1)
            let complaints = status["configuration"]?["complaints"]?.array?.compactMap(\.string)
            #expect(complaints?.count == 1)
            #expect(complaints?.first?.contains("gateway.json5:1:3: unknown key") == true)
            #expect(district.gateway?.errors.contains("what runs goes on") == true)
            #expect(try device.ask([0xD0, 1, 2, 3, 1, 100]) == [0xD1, 1])
            // Mended: the complaint goes.
            try Files.write(good, to: district.gatewayFile)
            let mended = try reload(district, times: 2)["configuration"]
            #expect(mended?["complaints"]?.array?.count == 0)
            #expect(mended?["changesPending"]?.integer == 0)
        }

        @Test("without a daemon it says what to do, and a file can stand for it")
        func withoutDaemon() throws {
            let district = try District([.reference])
            let alone = try plan(district)
            #expect(alone.status == 1)
            #expect(alone.errors.contains("--against FILE"), "\(alone)")
            let old = try district.folder.write("{}", to: "old.json5")
            let compared = try plan(district, ["--against", old])
            #expect(compared.status == 4)
            #expect(compared.rows.contains { $0.hasPrefix("source udp|closed|") }, "\(compared)")
            #expect(compared.rows.contains { $0.hasPrefix("source reference|opened|") })
            let same = try plan(district, ["--against", district.gatewayFile])
            #expect(same.rows.isEmpty && same.status == 0)
        }
    }
}
