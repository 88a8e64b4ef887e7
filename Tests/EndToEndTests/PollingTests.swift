// A gateway that asks: real servers of pymodbus and dlt645, slaves on a pseudo-terminal with noise,
// silence and wrong addresses, DTUs that connect and name themselves, a capture of both directions.

import Field
import Formats
import Glibc
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("polling", .serialized, .enabled(if: Clients.havePython, "\(Clients.remedy)"))
    struct PollingTests {
        private static func request(
            _ request: String, _ parameters: [(String, JSON)], interval: String = "200ms"
        ) -> JSON {
            .object([
                ("request", .string(request)), ("interval", .string(interval)),
                ("parameters", .object(parameters)),
            ])
        }

        private static func poll(_ requests: [JSON], timeout: String = "1s") -> (String, JSON) {
            (
                "poll",
                .object([
                    ("timeout", .string(timeout)), ("retries", .integer(1)),
                    ("deadAfter", .integer(2)), ("requests", .array(requests)),
                ])
            )
        }

        /// Starts store, gateway and script; the values by device and stream once `count` are stored.
        private func values(
            _ district: District, count: Int
        ) throws -> [String: Double] {
            _ = try district.ledger("\(count) readings arrive", within: 40) {
                $0.count("readingsAcknowledged") >= UInt64(count)
                    && $0.count("readingsAcknowledged") != .max
            }
            var values: [String: Double] = [:]
            for row in try district.readings() {
                values["\(row.device) \(row.stream)"] = row.value.asDouble
            }
            return values
        }

        private func isThere(_ path: String) -> Bool {
            // Safety: Swift lends a NUL-terminated copy of the path.
            unsafe access(path, F_OK) == 0
        }

        private static func port() throws -> UInt16 {
            try #require(FreePort.pick(isStream: true), "no port is free")
        }

        @Test(
            "a pymodbus server answers our poller over TCP; two blocks of equal length stay apart")
        func modbusTCP() throws {
            let port = try PollingTests.port()
            let source = District.Source(
                name: "plant", isStream: true, formats: ["modbus-tcp-example-meter"],
                more: [
                    PollingTests.poll([
                        PollingTests.request(
                            "holding_registers",
                            [
                                ("unit", .array([.integer(1), .integer(2)])),
                                ("start", .array([.integer(0), .integer(100)])),
                                ("quantity", .integer(3)),
                            ])
                    ])
                ], place: ("connect", .string("tcp://127.0.0.1:\(port)")))
            let district = try District([source])
            let server = try Clients.start(
                "meters.py", ["modbus-tcp", "\(port)"], in: district.folder)
            defer { _ = server.stop(SIGKILL) }
            try district.startStore()
            try district.startGateway()
            let values = try values(district, count: 30)
            #expect(values["plant:1 voltage_a"] == 230.6)
            #expect(values["plant:2 voltage_a"] == 230.7)
            #expect(values["plant:1 temperature"] == 21.6)
            #expect(values["plant:1 positive_active_energy_total"] == 0x2_86A1 / 100.0)
            let ledger = try district.ledger()
            #expect(ledger.count("unaccounted") == 0)
            #expect(
                ledger.count("rejected.unasked") == 0 || ledger.number("rejected.unasked") == nil)
        }

        @Test("a pymodbus server answers RTU frames over TCP")
        func modbusRTU() throws {
            let port = try PollingTests.port()
            let source = District.Source(
                name: "dtu", isStream: true, formats: ["modbus-example-energy-meter"],
                more: [
                    PollingTests.poll([
                        PollingTests.request(
                            "input_registers",
                            [
                                ("address", .integer(1)), ("start", .integer(0)),
                                ("quantity", .integer(3)),
                            ])
                    ])
                ], place: ("connect", .string("tcp://127.0.0.1:\(port)")))
            let district = try District([source])
            let server = try Clients.start(
                "meters.py", ["modbus-rtu", "\(port)"], in: district.folder)
            defer { _ = server.stop(SIGKILL) }
            try district.startStore()
            try district.startGateway()
            let values = try values(district, count: 9)
            #expect(values["dtu:1 voltage_a"] == 230.6)
            #expect(values["dtu:1 voltage_c"] == 500.0)
            #expect(try district.ledger().count("unaccounted") == 0)
        }

        @Test("the PyPI dlt645 meter answers our poller")
        func electricity() throws {
            let port = try PollingTests.port()
            let source = District.Source(
                name: "meters", isStream: true, formats: ["dlt645"],
                more: [
                    PollingTests.poll([
                        PollingTests.request(
                            "read",
                            [
                                ("address", .string("000000000012")),
                                (
                                    "di",
                                    .array([.string("00000000"), .string("02010100")])
                                ),
                            ])
                    ])
                ], place: ("connect", .string("tcp://127.0.0.1:\(port)")))
            let district = try District([source])
            let server = try Clients.start(
                "meters.py", ["dlt645", "\(port)"], in: district.folder)
            defer { _ = server.stop(SIGKILL) }
            try district.startStore()
            try district.startGateway()
            let values = try values(district, count: 6)
            #expect(values["000000000012 combined_active_energy_total"] == 1234.56)
            #expect(values["000000000012 voltage_a"] == 230.5)
            #expect(try district.ledger().count("unaccounted") == 0)
        }

        @Test("slaves on a tty: echo, noise, silence, a wrong address, a wrong checksum")
        func tty() throws {
            let folder = try Folder()
            let link = folder.path + "/line"
            let slaves = try Clients.start("meters.py", ["slaves", link], in: folder)
            defer { _ = slaves.stop(SIGKILL) }
            _ = try eventually("the slaves are there") { isThere(link) ? true : nil }
            let source = District.Source(
                name: "bus", isStream: true, formats: ["modbus-example-energy-meter"],
                more: [
                    ("baud", .integer(115_200)),
                    PollingTests.poll(
                        [
                            PollingTests.request(
                                "holding_registers",
                                [
                                    ("address", .array([1, 2, 3, 4, 6].map { .integer($0) })),
                                    ("start", .integer(0)), ("quantity", .integer(3)),
                                ])
                        ], timeout: "100ms"),
                ], place: ("tty", .string(link)))
            let district = try District([source])
            try district.startStore()
            try district.startGateway()
            let values = try values(district, count: 60)
            #expect(values["bus:1 voltage_a"] == 230.6)
            #expect(values["bus:2 voltage_a"] == 230.7)
            #expect(values["bus:6 voltage_a"] == 231.1)
            #expect(values.keys.allSatisfy { !$0.hasPrefix("bus:5") && !$0.hasPrefix("bus:3") })
            let dead = try eventually("the silent are known") { () throws(DistrictError) in
                let status = try district.status()
                let rows = (0..<5).filter {
                    status.text("polledDevices[\($0)].isDead") == "true"
                }
                return rows.count == 2
                    ? rows.compactMap {
                        status.text("polledDevices[\($0)].device")
                    } : nil
            }
            #expect(Set(dead) == ["3", "4"])
            let ledger = try district.ledger()
            #expect(ledger.count("unaccounted") == 0)
            #expect(ledger.count("rejected.unasked") > 0)
            #expect(ledger.count("rejected.bad-checksum") > 0)
        }
    }
}
