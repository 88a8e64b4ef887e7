// `sluiced --plan` against a running daemon: what it says of a reload, a reload does, also under load and
// without losing a datagram; what it says of a restart waits; and a file that is wrong leaves everything as
// it is and is told in status.

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

        /// Reloads settings, and returns what status says when they have taken over.
        private func replace(_ district: District, times: Int) throws -> JSONNode {
            district.gateway?.signal(SIGHUP)
            let status = try eventually("the settings take over") {
                () throws(DistrictError) -> LedgerReport? in
                guard let status = try? district.status(),
                    status.count("configuration.reloads") == times
                else { return nil }
                return status
            }
            return try parsed(status.text)
        }

        @Test("what the plan says of the settings, the reload does, and then nothing is left to do")
        func settings() throws {
            let district = try district()
            let device = try Device(to: district.targets[0])
            #expect(try device.ask([0xD0, 1, 2, 3, 1, 100]) == [0xD1, 1])
            let pid = try #require(district.gateway?.pid)
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
                    "source doors|changed|reload|formats: [\"door\", \"bell\"] → [\"door\"]",
                    "source doors|changed|reload|idleTimeout: standard \"1h\" → \"2h\"",
                    "source extra|opened|reload|\"udp://127.0.0.1:0\"",
                    "limits.devices|changed|reload|standard 100000 → 1000",
                ])
            #expect(first.status == 3)
            let shown = try run(
                "sluiced", ["--config", district.gatewayFile, "--plan"], in: district.folder.path)
            #expect(shown.status == 0 && shown.output.contains("4 changes by a reload"))

            let status = try replace(district, times: 1)
            #expect(status["sources"]?.array?.count == 2)
            #expect(status["process"]?["pid"]?.integer.map { Int32($0) } ?? pid == pid)
            #expect(try plan(district).rows == [])
            // The same socket, the same device, and the frame that was answered before is known again.
            #expect(try device.ask([0xD0, 1, 2, 3, 2, 101]) == [0xD1, 2])
            #expect(try district.ledger().count("unaccounted") == 0)
            #expect(try district.ledger().count("framesDecoded") == 2)

            // And back: the source is closed.
            #expect(unsafe unlink(extra) == 0)
            let back = try plan(district)
            #expect(back.rows.first == "source extra|closed|reload|\"udp://127.0.0.1:0\"")
            #expect(try replace(district, times: 2)["sources"]?.array?.count == 1)
            #expect(try plan(district).rows == [])
            district.gateway?.signal(SIGTERM)
            #expect(try district.gateway?.end(within: 20) == 0)
        }

        @Test("ten changes of settings under load lose no datagram and no answer")
        func underLoad() throws {
            let district = try District([.reference])
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 100)
            var sent = 0
            var answered: Set<UInt32> = []
            func note(_ answers: [[UInt8]]) {
                answered.formUnion(answers.compactMap { ReferenceFrames.answered(by: $0) })
            }
            for change in 1...10 {
                try district.configure([
                    .init(
                        name: "reference", formats: ["sluice-reference"],
                        more: [("moderation", .string("\(change % 5)ms"))])
                ])
                district.gateway?.signal(SIGHUP)
                // 1,000 a second, through the change; nobody repeats them. No more than the smallest buffer
                // of a kernel holds while the program begins anew.
                let begun = Clock.real.now()
                for i in 0..<150 {
                    let frame = ReferenceFrames.frame(sent, asks: true, of: population)
                    #expect(device.send(frame) == nil)
                    sent += 1
                    while Clock.real.now().nanoseconds
                        < begun.nanoseconds + UInt64(i) * 1_000_000
                    {}
                }
                _ = try eventually("change \(change) has taken over") {
                    () throws(DistrictError) -> Bool? in
                    (try? district.status().count("configuration.reloads")) == UInt64(change)
                        ? true : nil
                }
                note(device.answers())
            }
            _ = try eventually("everything has been taken in") {
                () throws(DistrictError) -> Bool? in
                try district.ledger().count("framesReceived") == UInt64(sent) ? true : nil
            }
            let ledger = try district.drained(frames: UInt64(sent))
            #expect(ledger.count("framesDecoded") == UInt64(sent))
            #expect(ledger.count("readingsAcknowledged") == UInt64(5 * sent))
            while answered.count < sent, let answer = device.answer(milliseconds: 5000) {
                note([answer])
            }
            #expect(answered.count == sent)
            #expect(ledger.count("kernelDrops") == 0)
            #expect(ledger.count("unaccounted") == 0)
        }

        @Test("a port that is taken, or another gateway: settings that cannot take over wait")
        func cannotTakeOver() throws {
            let district = try district()
            let device = try Device(to: district.targets[0])
            try Files.makeFolder(district.folder.path + "/conf.d")
            try district.startStore()
            _ = try district.folder.write(
                """
                { sources: [ { name: "extra", listen: "tcp://127.0.0.1:\(district.storePort)",
                               formats: ["bell"] } ] }
                """, to: "conf.d/10-extra.json5")
            let status = try reload(district, times: 1)["configuration"]
            let complaint = status?["complaints"]?.array?.first?.string ?? ""
            #expect(complaint.contains("extra") && complaint.contains("in use"), "\(complaint)")
            #expect(status?["reloads"]?.integer == 0)
            #expect(status?["changesPending"]?.integer == 1)
            #expect(try device.ask([0xD0, 1, 2, 3, 1, 100]) == [0xD1, 1])

            // Another name is another gateway for the store: that waits for a restart.
            _ = try district.folder.write(
                "{ limits: { devices: 99 } }", to: "conf.d/10-extra.json5")
            let text = String(decoding: try Files.read(district.gatewayFile), as: UTF8.self)
            _ = try district.folder.write(
                text.replacing("e2e-gateway", with: "another"), to: "gateway.json5")
            let waiting = try plan(district)
            #expect(waiting.status == 4)
            let row = waiting.rows.first { $0.hasPrefix("gateway|changed|") }
            #expect(row?.hasPrefix("gateway|changed|restart|") == true, "\(waiting)")
            let after = try reload(district, times: 2)["configuration"]
            #expect(after?["changesPending"]?.integer == 2)
            #expect(after?["complaints"]?.array?.count == 0)
            #expect(after?["reloads"]?.integer == 0)
            #expect(try device.ask([0xD0, 1, 2, 3, 2, 100]) == [0xD1, 2])
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
