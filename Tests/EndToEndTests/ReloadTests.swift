// SIGHUP with the real daemon: new versions of format files take over while frames flow; a bad file does
// not, and is told; devices and streams go on; nothing is lost.

import Field
import Formats
import Glibc
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("reloading formats", .serialized)
    struct ReloadTests {
        /// A door: id, level in `unit`s. The embedded test says what `level` becomes of 100.
        private static func door(decimals: Int, says: String, more: String = "") -> String {
            """
            { format: "door", title: "Door",
              framing: { anchors: [{ at: 0, bytes: "d0" }], length: 8, maximum: 8 },
              layout: [ { skip: 1 }, { name: "id", type: "hex", bytes: 4 },
                { name: "count", type: "u8" },
                { name: "level", type: "u16be", decimals: \(decimals), unit: "m",
                  quantity: "level", reading: true }, \(more) ],
              identity: "{id}",
              exchange: { answer: { parts: [ { hex: "d1" }, { field: "count", type: "u8" } ] } },
              tests: [ { hex: "d0aabbccdd010064", readings: { level: \(says) } } ] }
            """
        }

        private static let bell = """
            { format: "bell", framing: { length: 2, maximum: 2 },
              layout: [ { name: "id", type: "hex", bytes: 1 },
                { name: "rings", type: "u8", reading: true, quantity: "count" } ],
              identity: "{id}", tests: [ { hex: "be01", readings: { rings: 1 } } ] }
            """

        private func frame(_ count: UInt8, level: UInt8) -> [UInt8] {
            [0xD0, 0xAA, 0xBB, 0xCC, 0xDD, count, 0, level]
        }

        private func reloaded(_ district: District, times: Int) throws -> JSONNode {
            district.gateway?.signal(SIGHUP)
            let status = try eventually("the formats are reloaded") {
                () throws(DistrictError) -> LedgerReport? in
                let status = try district.status()
                return status.count("formats.reloads") == times ? status : nil
            }
            return try #require(try parsed(status.text)["formats"])
        }

        @Test("a good file takes over, a bad one does not, and every frame is accounted for")
        func reload() throws {
            let district = try District(
                [.init(name: "doors", formats: ["door", "bell"])],
                formats: [
                    "door.json5": Self.door(decimals: 0, says: "100"), "bell.json5": Self.bell,
                ]
            )
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            #expect(try device.ask(frame(1, level: 100)) == [0xD1, 1])

            // A new version, with the same device and the same stream.
            _ = try district.folder.write(
                Self.door(decimals: 2, says: "1.00"), to: "formats/door.json5")
            let second = try reloaded(district, times: 1)
            #expect(second["complaints"]?.array?.count == 0)
            #expect(try device.ask(frame(2, level: 101)) == [0xD1, 2])

            // Its own test fails: the version before goes on, the other file is reloaded all the same.
            _ = try district.folder.write(
                Self.door(decimals: 1, says: "7"), to: "formats/door.json5")
            let third = try reloaded(district, times: 2)
            #expect(third["kept"]?.array?.map(\.string) == ["door"])
            let complaint = third["complaints"]?.array?.first?.string ?? ""
            #expect(complaint.contains("door.json5:9:"), "\(complaint)")
            #expect(complaint.contains("test fails: readings.level"), "\(complaint)")
            #expect(district.gateway?.errors.contains("door.json5:9:") == true)
            #expect(try device.ask(frame(3, level: 102)) == [0xD1, 3])

            // No JSON at all, and longer frames than the buffers have room for: the same.
            _ = try district.folder.write("{ format: ", to: "formats/door.json5")
            #expect(try reloaded(district, times: 3)["kept"]?.array?.map(\.string) == ["door"])
            #expect(try device.ask(frame(4, level: 103)) == [0xD1, 4])
            _ = try district.folder.write(
                Self.door(decimals: 2, says: "1.00").replacing("maximum: 8", with: "maximum: 900"),
                to: "formats/door.json5")
            let fourth = try reloaded(district, times: 4)
            #expect(fourth["kept"]?.array?.map(\.string) == ["door"])
            #expect(try device.ask(frame(5, level: 104)) == [0xD1, 5])

            // Mended: the complaint goes.
            _ = try district.folder.write(
                Self.door(decimals: 3, says: "0.100"), to: "formats/door.json5")
            let last = try reloaded(district, times: 5)
            #expect(last["kept"]?.array?.count == 0)
            #expect(last["complaints"]?.array?.count == 0)
            #expect(try device.ask(frame(6, level: 105)) == [0xD1, 6])

            let end = try district.drained(frames: 6)
            #expect(end.count("unaccounted") == 0)
            #expect(end.count("readingsAcknowledged") == 6)
            let status = try district.status()
            #expect(status.count("intake.devices") == 1)
            #expect(status.count("intake.streams") == 1)
            let values = try district.readings().map(\.value.description)
            #expect(values == ["100", "1.01", "1.02", "1.03", "1.04", "0.105"])
        }

        /// What the status says of formats.
        private func formats(_ district: District) throws -> JSONNode {
            try #require(try parsed(try district.status().text)["formats"])
        }

        @Test("a file that was broken since does not stop the next start: what ran before runs on")
        func brokenStart() throws {
            let good = Self.door(decimals: 2, says: "1.00")
            let district = try District(
                [.init(name: "doors", formats: ["door", "bell"])],
                formats: ["door.json5": good, "bell.json5": Self.bell])
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            #expect(try device.ask(frame(1, level: 100)) == [0xD1, 1])
            let copy = district.spoolFolder + "/formats/door.json5"
            _ = try eventually("the file is copied") {
                FileBytes.read(copy, limit: 1 << 20) == Array(good.utf8) ? true : nil
            }

            // Its own test fails: the reload refuses it, and the start after a power cut does not.
            _ = try district.folder.write(
                Self.door(decimals: 1, says: "7"), to: "formats/door.json5")
            #expect(try reloaded(district, times: 1)["kept"]?.array?.map(\.string) == ["door"])
            try district.killGateway()
            let second = try formats(district)
            #expect(second["kept"]?.array?.map(\.string) == ["door"])
            #expect(second["complaints"]?.array?.first?.string?.contains("door.json5:9:") == true)
            #expect(district.gateway?.errors.contains("door.json5:9:") == true)
            #expect(try device.ask(frame(2, level: 101)) == [0xD1, 2])

            // The whole folder is gone: the copies run.
            let away = district.folder.path + "/away"
            // Safety: the paths are strings of Swift's, which live through the calls.
            #expect(unsafe rename(district.formats, away) == 0)
            try district.killGateway()
            #expect(try formats(district)["kept"]?.array?.count == 2)
            #expect(try device.ask(frame(3, level: 102)) == [0xD1, 3])
            // Safety: as above.
            #expect(unsafe rename(away, district.formats) == 0)

            // Mended: nothing is kept, and the copy is the new file.
            let mended = Self.door(decimals: 3, says: "0.100")
            _ = try district.folder.write(mended, to: "formats/door.json5")
            #expect(try reloaded(district, times: 1)["kept"]?.array?.count == 0)
            #expect(try device.ask(frame(4, level: 103)) == [0xD1, 4])
            _ = try eventually("the new file is copied") {
                FileBytes.read(copy, limit: 1 << 20) == Array(mended.utf8) ? true : nil
            }
            let end = try district.drained(frames: 4)
            #expect(end.count("unaccounted") == 0)
            #expect(
                try district.readings().map(\.value.description) == [
                    "1.00", "1.01", "1.02", "0.103",
                ])

            // Bad, and its copy as well: the start is refused, with the place.
            district.gateway?.stop(SIGTERM)
            _ = try district.folder.write("{ format: ", to: "formats/door.json5")
            _ = try district.folder.write("{ for", to: "torn")
            // Safety: as above.
            #expect(unsafe rename(district.folder.path + "/torn", copy) == 0)
            let refused = try district.launchGateway()
            #expect(try refused.end(within: 30) == 1)
            #expect(refused.errors.contains("door.json5:1:"), "\(refused.errors)")
        }
    }
}
