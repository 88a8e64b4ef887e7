// What keeps a daemon from starting is said in one clear line, `sluiced: what: why: what to do`, with
// exit status 1; and it harms nobody who runs already.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

extension EndToEnd {
    @Suite("starting", .serialized)
    struct StartTests {
        private static func configuration(
            _ folder: Folder, spool: String, listen: String = "udp://127.0.0.1:0", more: String = ""
        ) -> String {
            """
            {
              gateway: "e2e",
              formats: "\(Place.protocols)",
              sources: [{ name: "reference", listen: "\(listen)", formats: ["sluice-reference"] }],
              spool: { directory: "\(spool)" },
              admin: { socket: "\(folder.path)/\(more.utf8.count).sock" },
            \(more)}

            """
        }

        /// `sluiced: ` and three or more parts between colons, of which none is empty.
        private func isClear(_ errors: String, _ program: String = "sluiced") -> Bool {
            let lines = errors.split(separator: "\n")
            guard let line = lines.last(where: { $0.hasPrefix(program + ": ") }) else {
                return false
            }
            let parts = line.split(separator: ": ", omittingEmptySubsequences: false)
            return parts.count >= 4 && parts.allSatisfy { !$0.isEmpty }
        }

        @Test("a spool directory that cannot be made or written is said, with what to do")
        func spoolUnwritable() throws {
            let folder = try Folder()
            let file = try folder.write("a regular file", to: "file")
            // Root may write where modes forbid it; nobody may write in these.
            for spool in ["\(file)/spool", file, "/proc/sluice-spool", "/sys/sluice-spool"] {
                let path = try folder.write(
                    StartTests.configuration(folder, spool: spool), to: "gateway.json5")
                let ended = try run("sluiced", ["--config", path], in: folder.path)
                #expect(ended.status == 1, "\(spool)")
                #expect(ended.output.isEmpty, "\(ended.output)")
                #expect(ended.errors.contains(spool), "\(ended.errors)")
                #expect(isClear(ended.errors), "\(ended.errors)")
            }
            #expect(try Files.read(file) == Array("a regular file".utf8))
        }

        @Test("of two daemons on one spool the second ends and names the first, which is unharmed")
        func twoOnOneSpool() throws {
            let folder = try Folder()
            let spool = folder.path + "/spool"
            let path = try folder.write(
                StartTests.configuration(folder, spool: spool), to: "first.json5")
            let first = try Program("sluiced", ["--config", path], in: folder.path)
            defer { first.stop(SIGKILL) }
            try first.awaitReady()
            let announced = try #require(
                first.output.firstMatch(
                    of: /source reference listens on (udp:\/\/127\.0\.0\.1:\d+)/))
            let device = try Device(to: Target(String(announced.1)))
            let population = Population.now(devices: 1)
            #expect(
                ReferenceFrames.answered(by: try device.ask(population.frame(0))) == 1)

            let other = try folder.write(
                StartTests.configuration(folder, spool: spool, more: "  batch: {},\n"),
                to: "second.json5")
            let second = try run("sluiced", ["--config", other], in: folder.path)
            #expect(second.status == 1)
            #expect(second.errors.contains("process \(first.pid)"), "\(second.errors)")
            #expect(isClear(second.errors), "\(second.errors)")

            #expect(first.isRunning)
            #expect(ReferenceFrames.answered(by: try device.ask(population.frame(1))) == 2)
            first.signal(SIGTERM)
            #expect(try first.end(within: 10) == 0)
            // The lock goes with its holder.
            let third = try Program("sluiced", ["--config", other], in: folder.path)
            try third.awaitReady()
            third.signal(SIGTERM)
            #expect(try third.end(within: 10) == 0)
        }

        @Test("a port that another program has is said, with what to do")
        func portTaken() throws {
            let folder = try Folder()
            let first = try Program(
                "sluice-store", ["--listen", "127.0.0.1:0", "--data", folder.path + "/store"],
                in: folder.path)
            defer { first.stop(SIGKILL) }
            try first.awaitReady()
            let taken = try #require(first.output.firstMatch(of: /listens on (127\.0\.0\.1:\d+)/))
            let path = try folder.write(
                StartTests.configuration(
                    folder, spool: folder.path + "/spool", listen: "tcp://\(taken.1)"),
                to: "gateway.json5")
            let ended = try run("sluiced", ["--config", path], in: folder.path)
            #expect(ended.status == 1)
            #expect(ended.errors.contains(String(taken.1)), "\(ended.errors)")
            #expect(isClear(ended.errors), "\(ended.errors)")
        }

        @Test(
            "a wrong path for state or status is said, with what to do",
            arguments: [
                ("/none/a.sock", "/spool"), ("/file/a.sock", "/spool"),
                ("/" + String(repeating: "x", count: 200), "/spool"), ("/a.sock", "/none/spool"),
            ])
        func wrongPaths(socket: String, spool: String) throws {
            let folder = try Folder()
            _ = try folder.write("a regular file", to: "file")
            let path = try folder.write(
                """
                { formats: "\(Place.protocols)", sources: [{ name: "a", listen: "udp://[::1]:0" }],
                  spool: { directory: "\(folder.path)\(spool)" },
                  admin: { socket: "\(folder.path)\(socket)" } }
                """, to: "gateway.json5")
            let ended = try run("sluiced", ["--config", path], in: folder.path)
            #expect(ended.status == 1)
            #expect(isClear(ended.errors), "\(ended.errors)")
        }

        @Test("a store says why its folder will not do")
        func storeFolder() throws {
            let folder = try Folder()
            let file = try folder.write("a regular file", to: "file")
            for data in [file, file + "/store", folder.path + "/none/store", "/proc/sluice"] {
                let ended = try run(
                    "sluice-store", ["--listen", "127.0.0.1:0", "--data", data], in: folder.path)
                #expect(ended.status == 1)
                #expect(ended.errors.contains(data), "\(ended.errors)")
                #expect(isClear(ended.errors, "sluice-store"), "\(ended.errors)")
            }
        }

        @Test("two stores on one folder: the second ends and names the first")
        func twoStores() throws {
            let folder = try Folder()
            let arguments = ["--listen", "127.0.0.1:0", "--data", folder.path + "/store"]
            let first = try Program("sluice-store", arguments, in: folder.path)
            defer { first.stop(SIGKILL) }
            try first.awaitReady()
            let second = try run("sluice-store", arguments, in: folder.path)
            #expect(second.status == 1)
            #expect(second.errors.contains("process \(first.pid)"), "\(second.errors)")
            #expect(first.isRunning)
        }

        @Test("an unknown key is refused with its place and the key that was meant")
        func unknownKey() throws {
            let folder = try Folder()
            let path = try folder.write(
                "{\n  batch: {\n    intervall: \"1s\",\n  },\n}\n", to: "gateway.json5")
            for arguments in [["--config", path, "--check"], ["--config", path]] {
                let ended = try run("sluiced", arguments, in: folder.path)
                #expect(ended.status == 1)
                #expect(ended.output.isEmpty)
                #expect(ended.errors.contains("\(path):3:5"), "\(ended.errors)")
                #expect(ended.errors.contains("intervall"), "\(ended.errors)")
                let rest = ended.errors.replacing("intervall", with: "")
                #expect(rest.contains("interval"), "\(ended.errors)")
            }
        }

        @Test("an address that others can reach is refused unless it is said to be exposed")
        func exposed() throws {
            let folder = try Folder()
            let text = StartTests.configuration(
                folder, spool: folder.path + "/spool", listen: "udp://0.0.0.0:0")
            let path = try folder.write(text, to: "gateway.json5")
            for arguments in [["--config", path, "--check"], ["--config", path]] {
                let ended = try run("sluiced", arguments, in: folder.path)
                #expect(ended.status == 1)
                #expect(ended.errors.contains("\(path):4:"), "\(ended.errors)")
                #expect(ended.errors.contains("exposed"), "\(ended.errors)")
            }
            #expect(!Files.exists(folder.path + "/spool"))
            let meant = try folder.write(
                text.replacing("name: \"reference\"", with: "name: \"reference\", exposed: true"),
                to: "meant.json5")
            let sound = try run("sluiced", ["--config", meant, "--check"], in: folder.path)
            #expect(sound.status == 0, "\(sound.errors)")
            let store = try run(
                "sluice-store", ["--listen", "0.0.0.0:0", "--data", folder.path + "/store"],
                in: folder.path)
            #expect(store.status == 2)
            #expect(store.errors.contains("exposed"), "\(store.errors)")
        }

        @Test("a missing configuration and a wrong flag are said, with status 1 and 2")
        func wrongCall() throws {
            let folder = try Folder()
            let missing = try run("sluiced", ["--config", folder.path + "/none"], in: folder.path)
            #expect(missing.status == 1)
            #expect(missing.errors.contains(folder.path + "/none"), "\(missing.errors)")
            let wrong = try run("sluiced", ["--confg", "x"], in: folder.path)
            #expect(wrong.status == 2)
            #expect(wrong.errors.contains("--config"), "\(wrong.errors)")
        }
    }
}
