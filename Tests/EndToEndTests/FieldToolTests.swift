// What the README promises and what a person types first: the demonstration, the vectors, the load run.

import Field
import Formats
import Model
import Testing

extension EndToEnd {
    @Suite("the field tool", .serialized)
    struct FieldToolTests {
        @Test(
            "the demonstration shows three kinds of sensors with their units, nothing unaccounted")
        func demonstration() throws {
            let folder = try Folder()
            let demo = try run("sluice", ["demo", "--json"], in: folder.path, within: 60)
            #expect(demo.status == 0, "\(demo.errors)")
            let root = try parsed(demo.output)
            #expect(root["isSound"]?.boolean == true)
            #expect(root["ledger"]?["unaccounted"]?.integer == 0)
            #expect(root["ledger"]?["readingsHeld"]?.integer == 0)
            let readings = try #require(root["readings"]?.array)
            #expect(root["ledger"]?["readingsAcknowledged"]?.integer == readings.count)
            let seen = Set(
                readings.compactMap { reading -> [String]? in
                    guard let quantity = reading["quantity"]?.string,
                        let unit = reading["unit"]?.string, reading["value"]?.double != nil
                    else { return nil }
                    return [quantity, unit]
                })
            for expected in [
                ["volume", "L"], ["active_energy", "kWh"], ["voltage", "V"],
                ["temperature", "°C"], ["relative_humidity", "%"],
            ] {
                #expect(seen.contains(expected), "\(expected) is not among \(seen)")
            }
        }

        @Test("the session in the README is what the demonstration prints")
        func pastedSession() throws {
            let folder = try Folder()
            let demo = try run("sluice", ["demo"], in: folder.path, within: 60)
            #expect(demo.status == 0, "\(demo.errors)")
            let text = try #require(
                try? Files.read(Place.root + "/README.md"), "there is no README.md")
            let pasted = try #require(
                Session.pasted(after: "sluice demo", in: String(decoding: text, as: UTF8.self)),
                "README.md has no block with the output of `sluice demo`")
            #expect(Session.firstDifference(pasted, from: demo.output) == nil)
        }

        @Test("every vector passes", .timeLimit(.minutes(1)))
        func vectors() throws {
            let folder = try Folder()
            let ours = try run("sluice", ["vectors", "fixtures/vectors"], in: folder.path)
            #expect(ours.status == 0, "\(ours.output)")
            #expect(ours.lines.last?.firstMatch(of: /^[1-9]\d* passed, 0 failed$/) != nil)
        }

        @Test(
            "every shared vector passes: DL/T 645, Modbus RTU, Dragino",
            .enabled(if: Place.shared != nil))
        func sharedVectors() throws {
            let folder = try Folder()
            let vectors = try #require(Place.shared) + "/vectors"
            let vendor = try Files.read(vectors + "/vendor.jsonl")
            let dragino = String(decoding: vendor, as: UTF8.self).split(separator: "\n")
                .filter { $0.contains("\"id\":\"dragino") }
            #expect(dragino.count >= 29)
            let file = try folder.write(dragino.joined(separator: "\n"), to: "dragino.jsonl")
            for (path, rows) in [
                ("\(vectors)/dlt645.jsonl", 86), ("\(vectors)/modbus-rtu.jsonl", 59),
                (file, dragino.count),
            ] {
                let ran = try run("sluice", ["vectors", path], in: folder.path)
                #expect(ran.status == 0, "\(ran.output)")
                #expect(ran.lines.last == "\(rows) passed, 0 failed", "\(path)")
            }
        }

        @Test("100,000 frames of 1,000 devices: what was answered is there once, over three kills")
        func load() throws {
            let folder = try Folder()
            // A debug build decodes some twenty times slower.
            let rate = Place.isRelease ? "10000" : "4000"
            let load = try run(
                "sluice",
                [
                    "load", "--local", "--frames", "100000", "--rate", rate, "--devices", "1000",
                    "--answers", "1", "--kill-gateway", "2", "--kill-store", "1", "--interval",
                    "1s", "--json",
                ], in: folder.path, within: 150)
            #expect(load.status == 0, "\(load.errors)")
            let report = try parsed(load.output)
            func count(_ name: String) -> Int? { report[name]?.integer }
            #expect(count("framesSent") == 100_000)
            #expect(count("framesAsking") == 100_000)
            #expect(count("framesAnswered") == 100_000)
            #expect(count("framesUnanswered") == 0)
            #expect(count("answeredMissing") == 0)
            #expect(count("answeredTwice") == 0)
            #expect(count("duplicatesInStore") == 0)
            #expect(count("readingsStrange") == 0)
            #expect(count("readingsInStore") == 500_000)
            #expect(count("readingsHeld") == 0)
            #expect(count("unaccounted") == 0)
            #expect(count("gatewayKills") == 2)
            #expect(count("storeKills") == 1)
        }
    }
}

/// A pasted session, compared by its words: what differs from run to run is masked.
enum Session {
    /// What stands below the prompt with `command`, up to the next prompt or the end of the block.
    static func pasted(after command: String, in text: String) -> String? {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let prompt = lines.firstIndex { $0.hasPrefix("$ ") && $0.hasSuffix(command) }
        guard let prompt else { return nil }
        let shown = lines[(prompt + 1)...].prefix { !$0.hasPrefix("```") && !$0.hasPrefix("$ ") }
        return shown.allSatisfy(\.isEmpty) ? nil : shown.joined(separator: "\n")
    }

    /// The lines without what differs from run to run: temporary folders, ports, times, the number of
    /// batches and the width of the columns. Values and counts stay.
    static func masked(_ text: String) -> [String] {
        text.split(separator: "\n").compactMap { line -> String? in
            let masked = line.replacing(/\/\S*sluice-demo\.\w+/, with: "FOLDER")
                .replacing(/127\.0\.0\.1:\d+/, with: "ADDRESS")
                .replacing(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?/, with: "TIME")
                .replacing(/(batchesAcknowledged|lastSequence)\s+[\d,]+/) { "\($0.1) COUNT" }
                .replacing(/\s+/, with: " ")
            let trimmed = masked.drop { $0 == " " }
            return trimmed.isEmpty ? nil : String(trimmed)
        }
    }

    /// The first pasted line that was not printed in its place; a line `…` stands for any lines.
    static func firstDifference(_ pasted: String, from printed: String) -> String? {
        var rest = masked(printed)[...]
        var isGap = false
        for line in masked(pasted) {
            if line == "…" || line == "..." {
                isGap = true
                continue
            }
            if isGap { rest = rest.drop { $0 != line } }
            guard rest.popFirst() == line else { return line }
            isGap = false
        }
        return isGap ? nil : rest.first.map { "not pasted: \($0)" }
    }
}

extension EndToEnd {
    @Suite("pasted sessions")
    struct SessionTests {
        private let printed = """
            store at 127.0.0.1:21043, data in /tmp/sluice-demo.aB3xYz/store

            860  volume   2026-11-21 13:00:00 UTC   43.5  L
            lastSequence  39
            unaccounted  0
            """

        @Test("what differs from run to run is no difference, a value is")
        func masks() {
            let same = """
                store at 127.0.0.1:9, data in /var/tmp/sluice-demo.q/store
                860 volume 2026-11-22 03:00:00.125 UTC 43.5 L
                lastSequence 7
                unaccounted 0
                """
            #expect(Session.firstDifference(same, from: printed) == nil)
            for (old, new) in [("43.5", "43.6"), ("volume", "flow"), ("unaccounted 0", "")] {
                let other = same.replacing(old, with: new)
                #expect(Session.firstDifference(other, from: printed) != nil, "\(new)")
            }
        }

        @Test("an ellipsis stands for lines, not for a wrong one after it")
        func gaps() {
            #expect(Session.firstDifference("…\nunaccounted 0", from: printed) == nil)
            #expect(Session.firstDifference("…\nunaccounted 1", from: printed) != nil)
            #expect(Session.firstDifference("…\nlastSequence 1\n…", from: printed) == nil)
            #expect(Session.firstDifference("…\nlastSequence 1", from: printed) != nil)
        }

        @Test("finds the output below the prompt with its command")
        func finds() {
            let block = "```\n$ bin/sluice demo\none\ntwo\n$ ls\nthree\n```\n"
            let before = "```\nbuild && sluice demo\n```\nWhat `sluice demo` does:\n"
            #expect(Session.pasted(after: "sluice demo", in: before + block) == "one\ntwo")
            #expect(Session.pasted(after: "ls", in: before + block) == "three")
            #expect(Session.pasted(after: "sluice demo", in: before) == nil)
            #expect(Session.pasted(after: "sluice demo", in: "```\n$ sluice demo\n```") == nil)
        }
    }
}
