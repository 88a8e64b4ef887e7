// `sluice doctor` beside real daemons with real faults, and what leaves the gateway in its bundle.

import Batches
import Field
import Formats
import Glibc
import Host
import Model
import TestSupport
import Testing

extension EndToEnd {
    @Suite("the doctor", .serialized)
    struct DoctorTests {
        private struct Report {
            var status: Int32
            var seconds: Double
            var findings: [JSONNode]

            func levels(_ code: String) -> [String] {
                findings.filter { $0["code"]?.string == code }.compactMap { $0["level"]?.string }
            }

            func seen(_ code: String) -> String {
                findings.first { $0["code"]?.string == code }?["seen"]?.string ?? ""
            }

            var problems: [String] {
                findings.filter { $0["level"]?.string == "problem" }
                    .compactMap { $0["code"]?.string }
            }
        }

        /// Every run ends within five seconds, whatever it meets.
        private func examine(
            _ arguments: [String], in folder: Folder, through: String = ""
        ) throws -> Report {
            let begun = SendingClock.now
            let tool = try Program(
                "sluice", ["doctor", "--json"] + arguments, in: folder.path, through: through)
            let status = try tool.end(within: 10)
            let seconds = Double(SendingClock.now - begun) / 1e9
            #expect(seconds < 5, "\(seconds) s")
            let root = try parsed(tool.output)
            let findings = try #require(root["findings"]?.array, "\(tool.errors)")
            #expect(status == (root["isSound"]?.boolean == true ? 0 : 1))
            return Report(status: status, seconds: seconds, findings: findings)
        }

        private func examine(_ district: District, through: String = "") throws -> Report {
            try examine(
                ["--config", district.gatewayFile], in: district.folder, through: through)
        }

        @Test(
            "a healthy gateway has no problem; then its store goes, then it hangs, then it is gone")
        func life() throws {
            let district = try District([.reference])
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            _ = try device.ask(Population.now(devices: 1).frame(0))
            _ = try eventually("the session is open") { () throws(DistrictError) -> Bool? in
                try district.status().text("uplink.state") == "streaming" ? true : nil
            }
            let well = try examine(district)
            #expect(well.problems == [], "\(well.findings.map { $0["seen"]?.string ?? "" })")
            for code in [
                "configurationSound", "daemonAnswers", "versionsAgree", "clockSet", "clockAgrees",
                "nameNumeric", "storeReached", "sessionOpen", "diskRoom", "spoolShare",
                "rightsKept",
                "portBound", "dropsNone", "ledgerBalances", "kernel",
            ] {
                #expect(well.levels(code) == ["ok"], "\(code)")
            }
            // As the kernel of this machine says; nobody keeps the clock of a sandbox.
            switch ClockDiscipline.now() {
            case nil: #expect(well.levels("clockUnknown") == ["unknown"])
            case let kept?:
                #expect(
                    well.levels(kept.isSynchronised ? "clockKept" : "clockFree")
                        == [kept.isSynchronised ? "ok" : "warning"])
            }

            // Safety: the path is a string of Swift's, which lives through the call.
            unsafe chmod(district.spoolFolder, 0o755)
            district.store?.stop(SIGKILL)
            _ = try eventually("the daemon has noticed") { () throws(DistrictError) -> Bool? in
                try district.status().text("uplink.state") == "waiting" ? true : nil
            }
            let alone = try examine(district)
            #expect(alone.levels("folderOpen") == ["warning"])
            #expect(alone.levels("storeRefused") == ["problem"])
            #expect(alone.levels("sessionClosed") == ["problem"])
            #expect(alone.seen("storeRefused").contains("127.0.0.1:\(district.storePort)"))

            district.gateway?.signal(SIGSTOP)
            let hung = try examine(district)
            #expect(hung.levels("daemonHangs") == ["problem"])
            district.gateway?.stop(SIGKILL)
            let stopped = try examine(district)
            #expect(stopped.levels("daemonStopped") == ["problem"])
            #expect(stopped.levels("portFree") == ["ok"])
            #expect(stopped.levels("ledgerUnasked") == ["unknown"])
            #expect(stopped.levels("spoolShare") == ["ok"])
        }

        @Test("a port that another program has is named with its owner")
        func portTaken() throws {
            let district = try District([.reference])
            let port = district.targets[0].endpoint.port
            let log = "\(district.folder.path)/python.log"
            let script = """
                import socket, time
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.bind(("127.0.0.1", \(port)))
                print("bound", flush=True)
                time.sleep(60)
                """
            let other = try ChildProcess(
                name: "python3", path: "/usr/bin/python3", arguments: ["-c", script], log: log)
            _ = try eventually("the port is bound") {
                (try? Files.read(log))?.starts(with: Array("bound".utf8)) == true ? true : nil
            }
            let report = try examine(district)
            #expect(report.levels("portTaken") == ["problem"])
            #expect(report.seen("portTaken").contains("python3 (\(other.pid))"))
            other.stop(SIGKILL)
        }

        @Test(
            "a disk that is nearly full, and one that takes no data",
            .enabled(if: Machine.canMount))
        func disk() throws {
            let district = try District([.reference])
            let disk = try #require(
                Shell.SmallDisk(district.spoolFolder, bytes: 24 << 20), "no small disk")
            // Safety: the path is a string of Swift's, which lives through the call.
            unsafe chmod(district.spoolFolder, 0o700)
            try district.startGateway()
            let roomy = try examine(district)
            #expect(roomy.levels("diskTight") == ["warning"])
            Shell.run("dd if=/dev/zero of='\(district.spoolFolder)/other' bs=64k 2>/dev/null")
            Shell.run("truncate -s -300000 '\(district.spoolFolder)/other'")
            let full = try examine(district)
            #expect(full.levels("diskFull") == ["problem"])
            district.gateway?.stop(SIGKILL)
            #expect(disk.remount("ro"))
            #expect(try examine(district).levels("diskReadOnly") == ["problem"])
        }

        @Test(
            "a receive buffer that the kernel caps is said with the setting that helps",
            .enabled(if: geteuid() == 0 && Clients.isProgram("/usr/bin/setpriv")))
        func buffers() throws {
            let most = try #require(
                Int(
                    String(decoding: try Files.read("/proc/sys/net/core/rmem_max"), as: UTF8.self)
                        .filter(\.isNumber)))
            var source = District.Source.reference
            source.more = [("receiveBuffer", .integer(Int64(most * 4)))]
            let district = try District([source])
            // Without the right to go beyond the kernel's bound, as the unit has it.
            let gateway = try Program(
                "sluiced", ["--config", district.gatewayFile], in: district.folder.path,
                through: "setpriv --bounding-set=-net_admin")
            try gateway.awaitReady()
            let report = try examine(district)
            #expect(report.levels("bufferCapped") == ["warning"])
            let remedy = report.findings.first { $0["code"]?.string == "bufferCapped" }?["remedy"]
            #expect(remedy?.string?.contains("net.core.rmem_max=\(most * 4)") == true)
            gateway.stop(SIGTERM)
            #expect(try examine(district).levels("bufferCapped") == ["warning"])
        }

        @Test("without configuration, without rights, without a name server it says so and ends")
        func nothing() throws {
            let folder = try Folder()
            let missing = try examine(
                ["--config", folder.path + "/none.json5", "--admin", folder.path + "/none.sock"],
                in: folder)
            #expect(missing.status == 1)
            #expect(missing.levels("configurationMissing") == ["problem"])
            #expect(missing.levels("daemonStopped") == ["problem"])

            let named = try folder.write(
                "{ store: { address: \"store.invalid:9100\" }, spool: { directory: \"\(folder.path)\" } }",
                to: "named.json5")
            let unnamed = try examine(["--config", named], in: folder)
            #expect(
                (unnamed.levels("nameMissing") + unnamed.levels("nameSilent")) == ["problem"])
            #expect(unnamed.levels("storeUntried") == ["unknown"])

            let broken = try folder.write("{ sources: [{ name: 7 }], batsh: {} }", to: "b.json5")
            #expect(
                try examine(["--config", broken], in: folder).levels("configurationWrong")
                    == ["problem"])
            guard geteuid() == 0, Clients.isProgram("/usr/bin/setpriv") else { return }
            // The folder is root's: a stranger may not even look whether the files are there.
            let stranger = try examine(
                ["--config", named, "--admin", folder.path + "/none.sock"], in: folder,
                through: "setpriv --reuid=65534 --regid=65534 --clear-groups")
            #expect(stranger.levels("configurationUnreadable") == ["unknown"])
            #expect(stranger.levels("daemonForbidden") == ["unknown"])
        }

        // MARK: The bundle

        private func content(_ path: String) throws -> String {
            let bytes = try Gzip.expand(try Files.read(path), limit: 1 << 26)
            return String(decoding: bytes, as: UTF8.self)
        }

        private func bundle(_ configuration: String, in folder: Folder) throws -> String {
            let path = folder.path + "/bundle.tar.gz"
            let begun = SendingClock.now
            _ = try run(
                "sluice", ["doctor", "--config", configuration, "--bundle", path], in: folder.path)
            #expect(SendingClock.now - begun < 8_000_000_000)
            return path
        }

        private let secrets = [
            "00112233445566778899aabbccddeeff", "Zq8-comment-secret", "hunter2-password",
            "hunter2-interval", "hunter2-user", "deadbeefdeadbeefdeadbeefdeadbeef",
        ]

        @Test("the bundle of a running gateway opens with tar and holds no secret and no payload")
        func runningBundle() throws {
            let district = try District(
                [.reference], keys: ["ACW.09011523.07": secrets[0]])
            let plain = String(decoding: try Files.read(district.gatewayFile), as: UTF8.self)
            _ = try district.folder.write("// \(secrets[1])\n" + plain, to: "gateway.json5")
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let frame = Population.now(devices: 1).frame(0)
            _ = try device.ask(frame)
            let refused = Array("payload-of-a-stranger".utf8)
            _ = device.send(refused)
            _ = try district.ledger("it is refused") { $0.count("framesRejected") == 1 }

            let path = try bundle(district.gatewayFile, in: district.folder)
            var info = stat()
            // Safety: stat writes one struct into the variable that lives across the call.
            #expect(unsafe stat(path, &info) == 0 && info.st_mode & 0o777 == 0o600)
            let listed = Shell.run("tar tzf '\(path)'")
            #expect(listed.status == 0, "\(listed.output)")
            let names = listed.output.split(separator: "\n").map(String.init)
            for name in [
                "configuration.json", "doctor.json", "doctor.txt", "ledger.json", "metrics.txt",
                "spool.txt", "status.json", "versions.txt",
            ] {
                #expect(names.contains("sluice-bundle/" + name), "\(names)")
            }
            #expect(Shell.run("tar xzOf '\(path)' sluice-bundle/status.json").output.hasPrefix("{"))
            let text = try content(path)
            func hex(_ bytes: [UInt8]) -> String {
                bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
            }
            for secret in secrets + [hex(frame), hex(refused), "payload-of-a-stranger"] {
                #expect(!text.lowercased().contains(secret.lowercased()), "\(secret)")
            }
            // It is of use all the same.
            #expect(text.contains("ledgerBalances") && text.contains("e2e-gateway"))
            #expect(text.contains("127.0.0.1:\(district.storePort)"))
        }

        @Test("what was written into the wrong places of a configuration is struck out everywhere")
        func wrongPlaces() throws {
            let folder = try Folder()
            let path = try folder.write(
                """
                // \(secrets[1])
                { gateway: "east-7", password: "\(secrets[2])",
                  keys: "\(secrets[0])", batch: { interval: "\(secrets[3])" },
                  store: { address: "\(secrets[4])@store.example:9100" },
                  "\(secrets[5])": { deep: ["\(secrets[2])"] },
                  sources: [{ name: "udp", listen: "udp://127.0.0.1:9001", poll: { requests: [
                    { request: "read", parameters: { password: "\(secrets[2])" } }] } }] }
                """, to: "gateway.json5")
            let text = try content(try bundle(path, in: folder))
            for secret in secrets {
                #expect(!text.lowercased().contains(secret.lowercased()), "\(secret)")
            }
            #expect(text.contains("east-7") && text.contains("udp://127.0.0.1:9001"))
            #expect(text.contains("configurationWrong"))
            // What stands in files beside it is no different.
            try Files.makeFolder(folder.path + "/conf.d")
            _ = try folder.write(
                "{ limits: { \(secrets[2]): 1 } }".replacing("-", with: "_"), to: "conf.d/a.json5")
            let more = try content(try bundle(path, in: folder))
            #expect(more.contains("conf.d/a.json5") && !more.contains("hunter2"))
            let torn = try folder.write("{ password: \"\(secrets[2])\", ", to: "torn.json5")
            #expect(!(try content(try bundle(torn, in: folder)).contains(secrets[2])))
        }
    }
}
