// `sluice spool` on the folder of a daemon that is down: what it says is true, and looking changes nothing.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

extension EndToEnd {
    @Suite("a spool that is looked into", .serialized)
    struct SpoolVerbTests {
        private func run(
            _ district: District, _ verb: String
        ) throws -> (status: Int32, output: String, errors: String) {
            let tool = try Program(
                "sluice", ["spool", verb, district.spoolFolder, "--json"], in: district.folder.path)
            let status = try tool.end(within: 60)
            return (status, tool.output, tool.errors)
        }

        private func number(_ text: String, _ name: String) throws -> Int {
            Int(try #require(try parsed(text)[name]?.integer))
        }

        private func content(_ folder: String) throws -> [String: [UInt8]] {
            var all: [String: [UInt8]] = [:]
            // The formats beside the spool are the gateway's, not the spool's.
            for name in Files.names(in: folder) where name != "lock" && name != "formats" {
                all[name] = try Files.read("\(folder)/\(name)")
            }
            return all
        }

        @Test(
            "check reads everything and changes nothing; damage is told, mended, and accounted for")
        func check() throws {
            let frames = 400
            let district = try District([.reference])
            try district.startGateway()
            let population = Population.now(devices: 20)
            let device = try Device(to: district.targets[0])
            for index in 0..<frames { _ = device.send(population.frame(index)) }
            _ = try district.ledger("batches wait in the spool") {
                $0.count("readingsInSpool") == frames * 5
            }
            let running = try run(district, "check")
            #expect(running.status == 1)
            #expect(running.errors.contains("is using it"))

            district.gateway?.stop(SIGKILL)
            let before = try content(district.spoolFolder)
            let sound = try run(district, "check")
            #expect(sound.status == 0, "\(sound.errors)")
            #expect(try number(sound.output, "readings") == frames * 5)
            #expect(try number(sound.output, "batchesDamaged") == 0)
            #expect(try run(district, "status").status == 0)
            #expect(try run(district, "list").status == 0)
            #expect(try content(district.spoolFolder) == before)

            // The middle of every page of the files and their logs but the first.
            for (name, bytes) in before where name.hasPrefix("segment-") {
                var ruined = bytes
                for page in stride(from: 4096, to: bytes.count - 4095, by: 4096) {
                    for i in page + 1500..<page + 1600 { ruined[i] ^= 0x5A }
                }
                try Files.write(ruined, to: "\(district.spoolFolder)/\(name)")
            }
            let ruin = try content(district.spoolFolder)
            let damaged = try run(district, "check")
            #expect(damaged.status == 1)
            #expect(try parsed(damaged.output)["isSound"]?.boolean == false)
            #expect(try content(district.spoolFolder) == ruin)

            #expect(try run(district, "repair").status == 0)
            try district.startStore()
            try district.startGateway()
            let end = try district.drained(frames: 0)
            #expect(end.count("unaccounted") == 0)
        }

        private func run(
            _ arguments: [String], in district: District, through: String = ""
        ) throws -> (status: Int32, output: String, errors: String) {
            let tool = try Program(
                "sluice", ["spool"] + arguments, in: district.folder.path, through: through)
            return (try tool.end(within: 60), tool.output, tool.errors)
        }

        @Test("without a folder a stopped gateway's is found by its configuration")
        func stopped() throws {
            let district = try District([.reference])
            try district.startGateway()
            let population = Population.now(devices: 20)
            let device = try Device(to: district.targets[0])
            for index in 0..<100 { _ = device.send(population.frame(index)) }
            _ = try district.ledger("batches wait in the spool") {
                $0.count("readingsInSpool") == 500
            }
            let configured = ["--config", district.gatewayFile]
            // The daemon itself answers while it runs.
            let running = try run(["status"] + configured, in: district)
            #expect(running.status == 0 && running.errors.isEmpty, "\(running.errors)")

            district.gateway?.stop(SIGKILL)
            for verb in ["status", "check", "list"] {
                let result = try run([verb] + configured, in: district)
                #expect(result.status == 0, "\(verb): \(result.errors)")
                #expect(result.errors.contains("looking into the spool in \(district.spoolFolder)"))
            }
            let status = try run(["status", "--json"] + configured, in: district)
            #expect(try number(status.output, "readingsPending") == 500)
            // Of a daemon of whom only the socket is known, and to change something: say what to write.
            let socket = ["--admin", "\(district.folder.path)/none.sock"]
            for arguments in [["status"] + socket, ["release", "1"] + socket] {
                let result = try run(arguments, in: district)
                #expect(result.status == 1)
                #expect(
                    result.errors.contains("sluice spool \(arguments[0]) DIR"), "\(result.errors)")
            }
            #expect(try run(["status", "--config", "none.json5"], in: district).status == 1)
        }

        @Test(
            "a folder that this user may not read is said so, with what to do",
            .enabled(if: geteuid() == 0 && Clients.isProgram("/usr/bin/setpriv")))
        func forbidden() throws {
            let district = try District([.reference])
            try district.startGateway()
            district.gateway?.stop(SIGTERM)
            // Safety: the paths are strings of Swift's, which live through the calls.
            unsafe chmod(district.folder.path, 0o755)
            let stranger = "setpriv --reuid=65534 --regid=65534 --clear-groups"
            // The folder, then a file in it.
            for mode in [0o700, 0o755] as [mode_t] {
                unsafe chmod(district.spoolFolder, mode)
                for name in Files.names(in: district.spoolFolder) where name != "formats" {
                    unsafe chmod("\(district.spoolFolder)/\(name)", 0o600)
                }
                for verb in ["status", "check", "list"] {
                    let result = try run(
                        [verb, district.spoolFolder], in: district, through: stranger)
                    #expect(result.status == 1)
                    #expect(
                        result.errors.contains("may not read it: use sudo, or run it as root"),
                        "\(verb): \(result.errors)")
                    #expect(!result.errors.contains("holds no spool"))
                }
            }
            let chinese = try run(
                ["status", district.spoolFolder, "--lang", "zh"], in: district, through: stranger)
            #expect(chinese.errors.contains("当前用户无权读取：请用 sudo"))
        }

        @Test("a folder that is no spool is not made one")
        func noSpool() throws {
            let district = try District([.reference])
            for verb in ["status", "check", "list", "export", "repair"] {
                let result = try run(district, verb)
                #expect(result.status == 1, "\(verb)")
                #expect(result.errors.contains("holds no spool"), "\(verb): \(result.errors)")
            }
            #expect(Files.names(in: district.spoolFolder).isEmpty)
        }
    }
}
