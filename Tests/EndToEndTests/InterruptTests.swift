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
                    self.tools(in: district, after: child.pid).isEmpty ? nil : true
                }
            }
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
            #expect(tools(in: district, after: child.pid).isEmpty)
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

        /// Processes of the tool that this test started: those of the child's session.
        private func tools(in district: District, after session: pid_t) -> [String] {
            Files.names(in: "/proc").filter { name in
                guard name.allSatisfy(\.isNumber),
                    let bytes = try? Files.read("/proc/\(name)/stat", limit: 4096)
                else { return false }
                let text = String(decoding: bytes, as: UTF8.self)
                let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...]
                    .split(separator: " ")
                // Field 6 of proc_pid_stat(5), the third after the name's.
                guard fields.count > 4, fields[1] != "Z", let own = Int32(fields[4]) else {
                    return false
                }
                return text.contains("(sluice") && own != getsid(0)
                    && started(name, by: session)
            }
        }

        /// Whether a process descends from another; those whose parent went belong to nobody.
        private func started(_ name: String, by ancestor: pid_t) -> Bool {
            var at = name
            for _ in 0..<8 {
                guard let bytes = try? Files.read("/proc/\(at)/stat", limit: 4096) else {
                    return false
                }
                let text = String(decoding: bytes, as: UTF8.self)
                let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...]
                    .split(separator: " ")
                guard fields.count > 2 else { return false }
                if fields[2] == "\(ancestor)" { return true }
                at = String(fields[2])
            }
            return false
        }
    }
}
