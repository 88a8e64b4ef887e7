// `sluice load` with the shapes, formats and links that the field knows: what it finds must be right, and
// it must find what is wrong.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

extension EndToEnd {
    @Suite("load harness", .serialized)
    struct LoadHarnessTests {
        private func load(_ words: [String], within seconds: Double = 90) throws -> Finished {
            let folder = try Folder()
            return try run(
                "sluice", ["load", "--local", "--interval", "500ms", "--json"] + words,
                in: folder.path, within: seconds)
        }

        @Test(
            "each format's frames arrive once and with their values",
            arguments: LoadFormat.allCases.filter { $0 != .reference })
        func formats(format: LoadFormat) throws {
            let done = try load([
                "--format", format.rawValue, "--frames", "1000", "--devices", "40", "--rate",
                "2000",
                "--connections", "4", "--shape", "mixed",
            ])
            #expect(done.status == 0, "\(done.errors)")
            let report = try parsed(done.output)
            #expect(report["framesReceived"]?.integer == 1000)
            #expect(report["framesDecoded"]?.integer == 1000)
            #expect(report["readingsStrange"]?.integer == 0)
            let stored = try #require(report["readingsInStore"]?.integer)
            #expect(stored >= 1000 && stored == report["readingsExpected"]?.integer)
        }

        @Test("devices that sleep after they sent get their answers in the end, over a bad radio")
        func sleepers() throws {
            let done = try load([
                "--frames", "1200", "--devices", "60", "--rate", "1500", "--shape", "daily",
                "--answers", "1", "--loss", "5%", "--awake", "200ms", "--retry", "300ms",
                "--duplicate", "3%",
            ])
            #expect(done.status == 0, "\(done.errors)")
            let report = try parsed(done.output)
            #expect(report["framesAnswered"]?.integer == 1200)
            #expect(report["readingsInStore"]?.integer == 6000)
        }

        @Test("CoAP devices are answered, and a message that comes again is one")
        func coap() throws {
            let done = try load([
                "--format", "coap", "--frames", "1000", "--devices", "40", "--rate", "1000",
                "--connections", "10", "--answers", "1", "--loss", "5%", "--duplicate", "5%",
                "--retry", "300ms", "--shape", "minute",
            ])
            #expect(done.status == 0, "\(done.errors)")
            let report = try parsed(done.output)
            #expect(report["framesAnswered"]?.integer == 1000)
            #expect(report["readingsInStore"]?.integer == 2000)
        }

        @Test(
            "an answer counts from when its frame was due: a sender that stood still hides nothing")
        func omission() throws {
            let district = try District([.reference])
            try district.startStore()
            try district.startGateway()
            let plan = LoadPlan.answering(
                frames: 1600, rate: 1000, devices: 100, to: district.targets[0])
            var load = try LoadRun(plan)
            var hasStood = false
            let summary = try load.play { sent throws(DistrictError) in
                guard sent >= 400, !hasStood else { return }
                hasStood = true
                // The sender's own stall: 800 of 1600 frames become due meanwhile.
                SendingClock.sleep(milliseconds: 800)
            }
            #expect(summary.framesUnanswered == 0)
            let shares = summary.latencies.milliseconds([0.7, 0.9, 1])
            // Half of all waited between 0 and 800 ms. One that counted from sending would see a few ms.
            #expect(shares[0] ?? 0 > 200, "\(shares)")
            #expect(shares[1] ?? 0 > 500, "\(shares)")
            #expect(shares[2] ?? 0 > 780, "\(shares)")
        }

        @Test("what the harness must find, it finds: a store that lost readings, a silent gateway")
        func findings() throws {
            // Nobody answers there: the frames are never answered, and that is an error.
            let folder = try Folder()
            let port = try #require(FreePort.pick(isStream: false))
            let silent = try run(
                "sluice",
                [
                    "load", "--to", "udp://127.0.0.1:\(port)", "--frames", "20", "--answers", "1",
                    "--retry", "20ms", "--tries", "2", "--rate", "1000",
                ], in: folder.path)
            #expect(silent.status == 1)
            #expect(silent.errors.contains("20 frames never answered"))
        }

        /// Namespaces can be made here.
        private static let hasNamespaces = {
            guard
                let child = try? ChildProcess(
                    name: "unshare", path: "/usr/bin/unshare",
                    arguments: ["-n", "nft", "list", "tables"],
                    log: "/dev/null")
            else { return false }
            while child.isRunning { SendingClock.sleep(milliseconds: 2) }
            return child.exitCode == 0
        }()

        private func namespaceLinks() -> [String] {
            Files.names(in: "/sys/class/net").filter { $0.hasPrefix("sl") }
        }

        @Test(
            "over a thin uplink with loss, in namespaces, nothing answered is lost, and nothing stays",
            .enabled(if: hasNamespaces, "the machine forbids network namespaces, or has no nft"))
        func namespaces() throws {
            let done = try load(
                [
                    "--netns", "--uplink", "128000", "--packet-loss", "5%", "--frames", "3000",
                    "--devices", "100", "--rate", "1000", "--answers", "1", "--retry", "300ms",
                    "--kill-store", "1", "--kill-gateway", "1",
                ], within: 120)
            #expect(done.status == 0, "\(done.errors)")
            let report = try parsed(done.output)
            #expect(report["hasNamespaces"]?.boolean == true)
            #expect(report["framesAnswered"]?.integer == 3000)
            #expect(report["framesRepeated"]?.integer ?? 0 > 0)
            #expect(report["readingsInStore"]?.integer == 15_000)
            #expect(namespaceLinks() == [])
        }

        @Test(
            "interrupted in namespaces, no process and no link stays",
            .enabled(if: hasNamespaces, "the machine forbids network namespaces, or has no nft"))
        func interrupted() throws {
            let folder = try Folder()
            let program = try Program(
                "sluice",
                [
                    "load", "--local", "--netns", "--frames", "1000000", "--rate", "500",
                    "--answers",
                    "1",
                ], in: folder.path)
            _ = try eventually("both daemons run") { () throws(DistrictError) -> Bool? in
                Processes.children(of: "\(program.pid)").count >= 4 ? true : nil
            }
            let started = Processes.children(of: "\(program.pid)")
            program.signal(SIGINT)
            #expect(try program.end(within: 40) == 1)
            #expect(program.errors.contains("interrupted"))
            _ = try eventually("all have ended") { () throws(DistrictError) -> Bool? in
                started.allSatisfy { !Files.isFolder("/proc/\($0)") } ? true : nil
            }
            #expect(namespaceLinks() == [])
        }

    }
}
