// `sluice top` through a pseudo terminal: what is seen, what keys do, that it follows the terminal's size,
// and that the terminal is afterwards as it was.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

/// A pseudo terminal; the program's side is opened by its path.
final class Pseudo {
    let descriptor: Int32
    let path: String

    init(columns: UInt16, rows: UInt16) throws {
        // Safety: the path is a C string for the call; the two ioctls (of ioctl_tty(2), not in the Glibc
        // module) read and write the variables that live across them.
        descriptor = unsafe open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK)
        var isLocked: Int32 = 0
        var number: Int32 = 0
        let unlocked = unsafe ioctl(descriptor, 0x4004_5431, &isLocked)
        let numbered = unsafe ioctl(descriptor, 0x8004_5430, &number)
        path = "/dev/pts/\(number)"
        try #require(descriptor >= 0 && unlocked == 0 && numbered == 0)
        resize(columns: columns, rows: rows)
    }

    deinit { close(descriptor) }

    func resize(columns: UInt16, rows: UInt16) {
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        // Safety: TIOCSWINSZ reads the variable that lives across the call.
        _ = unsafe ioctl(descriptor, UInt(TIOCSWINSZ), &size)
    }

    func type(_ text: String) {
        let bytes = Array(text.utf8)
        // Safety: the pointer is used for the call only, with the array's own count.
        _ = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
    }

    /// What was written to the terminal since the last call.
    func read() -> String {
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65_536)
        while true {
            // Safety: the pointer is used for the call only, with the array's own count.
            let count = unsafe part.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            guard count > 0 else { break }
            all += part[..<count]
        }
        return String(decoding: all, as: UTF8.self)
    }

    /// Line discipline flags, as `stty` shows them.
    var flags: [UInt32] {
        var state = termios()
        // Safety: tcgetattr writes one struct into the variable that lives across the call.
        _ = unsafe tcgetattr(descriptor, &state)
        return [state.c_iflag, state.c_oflag, state.c_lflag]
    }
}

extension EndToEnd {
    @Suite("top", .serialized)
    struct TopTests {
        private func district() throws -> District {
            let district = try District([
                District.Source(name: "water", formats: ["dragino-sw3l-nb"]),
                District.Source(name: "power", isStream: true, formats: ["dlt645"]),
            ])
            try district.startGateway()
            return district
        }

        private func top(_ pseudo: Pseudo, _ district: District) throws -> ChildProcess {
            // A holder keeps the terminal open while programs come and go.
            try ChildProcess(
                name: "top", path: "/bin/bash",
                arguments: [
                    "-c",
                    "exec '\(Place.binaries)/sluice' top --every 200ms --admin "
                        + "'\(district.adminSocket)' <'\(pseudo.path)' >'\(pseudo.path)' 2>&1",
                ], log: district.folder.path + "/top.log")
        }

        private func until(_ words: String, _ pseudo: Pseudo) throws {
            var seen = ""
            _ = try eventually("the screen shows \(words)", within: 20) { () -> Bool? in
                seen += pseudo.read()
                return seen.contains(words) ? true : nil
            }
        }

        @Test("keys sort and filter, the size is followed, and q and Ctrl-C restore the terminal")
        func keys() throws {
            let district = try district()
            for (leave, name) in [("q", "q"), ("\u{3}", "Ctrl-C")] {
                let pseudo = try Pseudo(columns: 80, rows: 24)
                // Safety: a String argument is a C string for the duration of the call.
                let holder = unsafe open(pseudo.path, O_RDWR | O_NOCTTY)
                defer { close(holder) }
                let before = pseudo.flags
                let child = try top(pseudo, district)
                try until("s sort: name", pseudo)
                #expect(pseudo.flags != before, "raw while it runs")
                pseudo.type("s")
                try until("s sort: rate", pseudo)
                pseudo.type("/wat")
                try until("filter: wat_", pseudo)
                pseudo.type("\r")
                try until("/ filter: wat", pseudo)
                // Only a wide screen has room for where a source listens.
                pseudo.resize(columns: 200, rows: 50)
                try until("listens on", pseudo)
                pseudo.type("d")
                try until("d sources", pseudo)
                pseudo.type(leave)
                #expect(try eventually("top ends on \(name)") { child.exitCode } == 0)
                let last = pseudo.read()
                #expect(last.hasSuffix("\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l"), "\(name)")
                #expect(pseudo.flags == before, "\(name)")
            }
        }

        @Test("a signal restores the terminal too; a daemon that goes away is told on the screen")
        func signals() throws {
            let district = try district()
            let pseudo = try Pseudo(columns: 80, rows: 24)
            // Safety: a String argument is a C string for the duration of the call.
            let holder = unsafe open(pseudo.path, O_RDWR | O_NOCTTY)
            defer { close(holder) }
            let before = pseudo.flags
            let child = try top(pseudo, district)
            try until("s sort: name", pseudo)
            district.gateway?.stop(SIGTERM)
            try until("nobody listens there", pseudo)
            #expect(child.isRunning)
            #expect(child.stop(SIGTERM) == 0)
            #expect(pseudo.read().hasSuffix("\u{1B}[?1049l"))
            #expect(pseudo.flags == before)
        }

        @Test("without a terminal it says so, and so does status without a daemon")
        func noTerminal() throws {
            let district = try district()
            let top = try run(
                "sluice", ["top", "--admin", district.adminSocket], in: district.folder.path)
            #expect(top.status == 2)
            #expect(top.errors == "sluice: top: needs a terminal: use `sluice status` in a pipe\n")
            let status = try run(
                "sluice", ["status", "--admin", district.adminSocket], in: district.folder.path)
            #expect(status.status == 0)
            #expect(status.lines.allSatisfy { $0.count <= 80 })
            #expect(status.output.contains("ledger   unaccounted 0"))
            let nobody = try run(
                "sluice", ["status", "--admin", district.folder.path + "/none.sock"],
                in: district.folder.path)
            #expect(nobody.status == 1 && nobody.output.isEmpty)
        }

        @Test("devices: all of them, those that are silent, and one with its last readings")
        func devices() throws {
            let district = try district()
            try district.startStore()
            let played = try run(
                "sluice",
                [
                    "replay", Place.captures + "/demo-water.pcap", "--speed", "max", "--to",
                    district.targets[0].description,
                ], in: district.folder.path)
            #expect(played.status == 0)
            _ = try district.drained(frames: 13)
            let admin = ["--admin", district.adminSocket]
            let all = try run("sluice", ["devices", "--json"] + admin, in: district.folder.path)
            let names = try parsed(all.output).array?.compactMap { $0["device"]?.string }
            #expect(
                Set(names ?? []) == ["860000000000101", "860000000000102", "860000000000103"])
            let silent = try run(
                "sluice", ["devices", "--silent", "1d"] + admin, in: district.folder.path)
            #expect(silent.output == "no such devices\n" && silent.status == 0)
            let one = try run(
                "sluice",
                ["device", "860000000000101", "--json", "--store", district.storeFolder] + admin,
                in: district.folder.path)
            #expect(one.status == 0, "\(one.errors)")
            let root = try parsed(one.output)
            let streams = root["lastReadings"]?.array?.compactMap { $0["stream"]?.string }
            #expect(streams == ["battery_voltage", "pulses", "signal", "volume"])
            #expect(root["catalog"]?.array?.first?["format"]?.string == "dragino-sw3l-nb")
            let missed = try run(
                "sluice", ["devices", "860000000000109"] + admin, in: district.folder.path)
            #expect(missed.status == 1)
            #expect(missed.errors.contains("did you mean 86000000000010"))
        }
    }
}
