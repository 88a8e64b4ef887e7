// What monitoring gets: /metrics is as Prometheus wants it (promtool), its labels are bounded by the
// configuration, and the ledger's laws hold in every scrape under load (Tests/clients/scrape.py).

import Field
import Formats
import Glibc
import Host
import Model
import TestSupport
import Testing

extension EndToEnd {
    @Suite("metrics", .serialized)
    struct MetricsTests {
        private static let haveProm =
            Clients.isProgram("/usr/bin/prometheus") && Clients.isProgram("/usr/bin/promtool")

        private func metrics(_ district: District) throws -> String {
            let answer = try eventually("metrics are told") {
                try? adminGet(socket: district.adminSocket, route: "/metrics", timeout: 5000)
            }
            #expect(answer.status == 200)
            return answer.body
        }

        /// Values by name and labels.
        private func values(_ text: String) -> [Substring: Double] {
            var values: [Substring: Double] = [:]
            for line in text.split(separator: "\n") where !line.hasPrefix("#") {
                guard let blank = line.lastIndex(of: " ") else { continue }
                let number = Double(line[line.index(after: blank)...])
                #expect(number != nil, "\(line)")
                #expect(values[line[..<blank]] == nil, "twice: \(line)")
                values[line[..<blank]] = number
            }
            return values
        }

        private func sum(_ values: [Substring: Double], _ name: String) -> Double {
            values.filter { $0.key == name || $0.key.hasPrefix(name + "{") }.values.reduce(0, +)
        }

        private func busyDistrict() throws -> District {
            let district = try District(
                [
                    .reference,
                    .init(name: "stream", isStream: true, formats: ["sluice-reference"]),
                ], hasPage: true)
            try district.startStore()
            try district.startGateway()
            return district
        }

        @Test("every family has its help, its type and a unit of the conventions")
        func families() throws {
            let district = try busyDistrict()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 20)
            for index in 0..<100 { _ = device.send(population.frame(index)) }
            _ = device.send([0x55])
            _ = try district.drained(frames: 101)
            let text = try metrics(district)
            if MetricsTests.haveProm {
                let file = try district.folder.write(text, to: "metrics")
                let said = Shell.run("promtool check metrics <'\(file)'")
                #expect(said.status == 0 && said.output.isEmpty, "\(said.output)")
            }
            var types: [Substring: Substring] = [:]
            for line in text.split(separator: "\n") where line.hasPrefix("# TYPE ") {
                let words = line.split(separator: " ")
                types[words[2]] = words[3]
                #expect(text.contains("# HELP \(words[2]) "))
            }
            for (name, type) in types {
                #expect(name.hasPrefix("sluice_") || name.hasPrefix("process_"))
                #expect((type == "counter") == name.hasSuffix("_total"), "\(name) is a \(type)")
                for unit in ["_ms", "_milliseconds", "_kb", "_mb", "_minutes"] {
                    #expect(!name.contains(unit), "\(name)")
                }
            }
            let values = values(text)
            #expect(values["sluice_frames_received_total"] == 101)
            #expect(values["sluice_frames_decoded_total"] == 100)
            #expect(sum(values, "sluice_frames_rejected_total") == 1)
            #expect(values["sluice_readings_acknowledged_total"] == 500)
            #expect(values["sluice_ledger_unaccounted"] == 0)
            #expect(values["sluice_healthy"] == 1)
            #expect(values["sluice_uplink_connected"] == 1)
            #expect(values["sluice_uplink_lag_seconds"] == 0)
            #expect(values["sluice_spool_oldest_wait_seconds"] == 0)
            #expect((values["sluice_commit_seconds_count"] ?? 0) > 0)
            #expect(
                values["sluice_commit_seconds_bucket{le=\"+Inf\"}"]
                    == values["sluice_commit_seconds_count"])
            #expect(values["sluice_source_datagrams_total{source=\"reference\"}"] == 101)
        }

        @Test("what waits for a store that is away is said in seconds, bytes and batches")
        func waiting() throws {
            let district = try busyDistrict()
            district.store?.stop(SIGKILL)
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 20)
            for index in 0..<100 { _ = device.send(population.frame(index)) }
            _ = try district.ledger("a batch is in the spool") { $0.count("batchesPending") > 0 }
            SendingClock.sleep(milliseconds: 1500)
            let values = values(try metrics(district))
            #expect(sum(values, "sluice_readings_held") == 500)
            #expect(sum(values, "sluice_spool_pending_batches") > 0)
            #expect(sum(values, "sluice_spool_pending_bytes") > 0)
            #expect((values["sluice_spool_oldest_wait_seconds"] ?? 0) >= 1.4)
            #expect((values["sluice_uplink_lag_seconds"] ?? 0) >= 1.4)
            #expect(values["sluice_uplink_connected"] == 0)
            #expect(
                (values["sluice_spool_used_bytes"] ?? 0)
                    < (values["sluice_spool_limit_bytes"] ?? 0))
        }

        @Test("a thousand devices make no family longer")
        func cardinality() throws {
            let district = try busyDistrict()
            let before = try metrics(district).split(separator: "\n").count
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 1000)
            for index in 0..<1000 {
                _ = device.send(population.frame(index))
                if index % 100 == 99 { SendingClock.sleep(milliseconds: 5) }
            }
            _ = try district.drained(frames: 1000)
            let after = try metrics(district)
            // The forecast comes by itself.
            #expect(abs(after.split(separator: "\n").count - before) <= 3)
            #expect(!after.contains("00e1"))
        }

        @Test(
            "Prometheus scrapes a gateway under load, and the laws hold in each scrape",
            .enabled(if: haveProm && Clients.havePython, "prometheus is not installed"))
        func scraped() throws {
            // Safety: getenv's text is copied at once; nothing here sets the environment.
            let named = unsafe getenv("SLUICE_SCRAPE_SECONDS").map { unsafe String(cString: $0) }
            let seconds = named.flatMap { Int($0) } ?? 20
            let district = try busyDistrict()
            let page = try #require(district.page)
            let scraper = try Clients.start(
                "scrape.py",
                [
                    page.description, "\(seconds)",
                    "\(Place.root)/systemd/examples/sluice-alerts.yml",
                ], in: district.folder)
            let population = Population.now(devices: 100)
            let device = try Device(to: district.targets[0])
            var index = 0
            let limit = SendingClock.now + Int64(seconds + 90) * 1_000_000_000
            while scraper.isRunning, SendingClock.now < limit {
                for _ in 0..<10 {
                    _ = device.send(population.frame(index))
                    index += 1
                }
                // Refused as well, so that the law has something to add.
                _ = device.send([0x53, UInt8(truncatingIfNeeded: index)])
                SendingClock.sleep(milliseconds: 10)
            }
            let log = "\(district.folder.path)/scrape.py.log"
            let said = String(decoding: try Files.read(log), as: UTF8.self)
            try #require(scraper.exitCode == 0, "\(said)")
            var found: [Substring: Int] = [:]
            for line in said.split(separator: "\n") {
                let words = line.split(separator: " ")
                if words.count == 2 { found[words[0]] = Int(words[1]) }
            }
            print("scraped: \(said.split(separator: "\n").joined(separator: ", "))")
            #expect((found["scrapes"] ?? 0) >= seconds * 3 / 4)
            #expect(found["up"] == 1)
            #expect((found["growing"] ?? 0) >= seconds / 2)
            for law: Substring in ["frames", "readings", "unaccounted"] {
                #expect(found[law] == 0, "\(law)")
            }
        }

        @Test("the alerts and the scrape configuration are sound", .enabled(if: haveProm))
        func alerts() {
            let folder = Place.root + "/systemd/examples"
            let rules = Shell.run("cd '\(folder)' && promtool check rules sluice-alerts.yml")
            #expect(rules.status == 0, "\(rules.output)")
            let whole = Shell.run("cd '\(folder)' && promtool check config prometheus.yml")
            #expect(whole.status == 0, "\(whole.output)")
        }

        @Test("the alerts ask for metrics that there are")
        func alertsKnowTheirMetrics() throws {
            let district = try busyDistrict()
            let text = try metrics(district)
            let rules = String(
                decoding: try Files.read(Place.root + "/systemd/examples/sluice-alerts.yml"),
                as: UTF8.self)
            let names = Set(rules.matches(of: /sluice_[a-z_]+/).map { String($0.0) })
            #expect(names.count > 6)
            for name in names where name != "sluice_spool_full_in_seconds" {
                #expect(text.contains("\n\(name)"), "\(name)")
            }
        }
    }
}
