// Ctrl-C in a terminal while a verb of the field tool works: the terminal is as it was, files are whole, no
// process stays, the daemon goes on. The key is typed into a pseudo terminal that controls the tool.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

extension EndToEnd {
    @Suite("Ctrl-C", .serialized)
    struct InterruptTests {
        private struct Case: Sendable, CustomTestStringConvertible {
            var testDescription: String
            /// Needs the district's admin socket, store or target.
            var words: @Sendable (District) -> String
            /// What the terminal shows when the verb is at work.
            var shows: String
            var status: Int32
        }

        private static let cases = [
            Case(
                testDescription: "replay",
                words: {
                    "replay \(Place.captures)/demo-water.pcap --to \($0.targets[0].description)"
                }, shows: "--speed max sends them at once", status: 1),
            Case(
                testDescription: "capture",
                words: { "capture --out \($0.folder.path)/c.pcapng --admin \($0.adminSocket)" },
                shows: "0 records", status: 0),
            Case(
                testDescription: "load",
                words: {
                    "load --to \($0.targets[1].description) --frames 1000000 --rate 200 "
                        + "--answers 1 --formats \(Place.protocols)"
                }, shows: "frames sent", status: 1),
            Case(
                testDescription: "load --local",
                words: { _ in "load --local --frames 1000000 --rate 200 --answers 1" },
                shows: "frames sent", status: 1),
            Case(
                testDescription: "demo --keep", words: { _ in "demo --keep" }, shows: "Ctrl-C",
                status: 0),
            Case(
                testDescription: "top", words: { "top --admin \($0.adminSocket)" },
                shows: "s sort: name", status: 0),
            Case(
                testDescription: "decode -", words: { _ in "decode --format dlt645 -" }, shows: "",
                status: 130),
        ]

        @Test("leaves terminal, files and daemon sane", arguments: cases.indices)
        func interrupted(number: Int) throws {
            let one = Self.cases[number]
            let district = try District([
                District.Source(name: "water", formats: ["dragino-sw3l-nb"]), .reference,
            ])
            try district.startStore()
            try district.startGateway()
            let pseudo = try Pseudo(columns: 80, rows: 24)
            // Safety: a String argument is a C string for the duration of the call.
            let holder = unsafe open(pseudo.path, O_RDWR | O_NOCTTY)
            defer { close(holder) }
            let before = pseudo.flags
            // A session of its own whose terminal this is: the key becomes a signal there.
            let mark = district.folder.path + "/status"
            let child = try ChildProcess(
                name: "setsid", path: "/usr/bin/setsid",
                arguments: [
                    "--wait", "/bin/bash", "-c",
                    """
                    exec <'\(pseudo.path)' >'\(pseudo.path)' 2>&1; trap : INT
                    cd '\(Place.root)'; '\(Place.binaries)/sluice' \(one.words(district))
                    echo $? >'\(mark)'
                    """,
                ], log: district.folder.path + "/setsid.log")
            var seen = ""
            _ = try eventually("\(one.testDescription) works", within: 60) { () -> Bool? in
                seen += pseudo.read()
                return seen.contains(one.shows) ? true : nil
            }
            if one.shows.isEmpty {
                _ = try eventually("it runs") { () -> Bool? in
                    Processes.programs(below: "\(child.pid)").isEmpty ? nil : true
                }
            }
            let started = Processes.programs(below: "\(child.pid)")
            #expect(!started.isEmpty)
            pseudo.type("\u{3}")
            let status = try eventually("\(one.testDescription) ends", within: 60) { () -> Int32? in
                seen += pseudo.read()
                guard let bytes = try? Files.read(mark), !bytes.isEmpty else { return nil }
                return Int32(String(decoding: bytes, as: UTF8.self).filter(\.isNumber))
            }
            seen += pseudo.read()
            #expect(status == one.status, "\(one.testDescription): \(seen.suffix(400))")
            #expect(pseudo.flags == before, "\(one.testDescription)")
            if seen.contains("\u{1B}[?25l") { #expect(seen.contains("\u{1B}[?25h")) }
            _ = try eventually("nothing stays") { child.exitCode }
            #expect(started.allSatisfy { !Files.isFolder("/proc/\($0)") }, "\(started)")
            if one.testDescription == "capture" {
                let file = district.folder.path + "/c.pcapng"
                let capture = Capture(try Files.read(file), file: file)
                #expect(capture.damage == nil)
            }
            // The daemon takes frames as before, and records for nobody.
            let population = Population.now(devices: 1)
            let device = try Device(to: district.targets[1])
            #expect(ReferenceFrames.answered(by: try device.ask(population.frame(0))) == 1)
            #expect(try district.ledger().count("unaccounted") == 0)
        }
    }
}

/// The machine's processes as /proc has them.
enum Processes {
    /// Name and parent of a process that is no zombie.
    private static func stat(_ number: String) -> (name: String, parent: String)? {
        guard let bytes = try? Files.read("/proc/\(number)/stat", limit: 4096) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        // The name in parentheses may hold anything; state and parent follow it (proc(5)).
        guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")") else {
            return nil
        }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 1, fields[0] != "Z" else { return nil }
        return (String(text[text.index(after: open)..<close]), String(fields[1]))
    }

    static func children(of parent: String) -> [String] {
        Files.names(in: "/proc").filter { $0.allSatisfy(\.isNumber) && stat($0)?.parent == parent }
    }

    /// Our programs among those that a process started, directly or not.
    static func programs(below ancestor: String) -> [String] {
        children(of: ancestor).flatMap { child in
            let isOurs = stat(child)?.name.hasPrefix("sluice") == true
            return (isOurs ? [child] : []) + programs(below: child)
        }
    }
}
