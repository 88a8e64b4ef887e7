// Lines of others: DTUs that connect, name themselves and are polled, and captures in which both
// directions are heard. Real sockets, no other program needed.

import Field
import Formats
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("lines", .serialized)
    struct LineTests {
        @Test("a DTU registers, sends heartbeats, is polled, and its devices carry its name")
        func registered() throws {
            let source = District.Source(
                name: "dtus", isStream: true, formats: ["modbus-example-energy-meter"],
                more: [
                    (
                        "registration",
                        .object([("ascii", .string("REG")), ("end", .string("0d0a"))])
                    ),
                    ("heartbeats", .array([.object([("ascii", .string("HB"))])])),
                    (
                        "poll",
                        .object([
                            (
                                "requests",
                                .array([
                                    .object([
                                        ("request", .string("holding_registers")),
                                        ("interval", .string("100ms")),
                                        (
                                            "parameters",
                                            .object([
                                                ("address", .integer(1)), ("start", .integer(18)),
                                                ("quantity", .integer(1)),
                                            ])
                                        ),
                                    ])
                                ])
                            )
                        ])
                    ),
                ])
            let district = try District([source])
            try district.startStore()
            try district.startGateway()
            let link = try Link(to: district.targets[0])
            try link.send(Array("REGdtu7\r\nHB".utf8))
            let asked: [UInt8] = [0x01, 0x03, 0x00, 0x12, 0x00, 0x01, 0x24, 0x0F]
            for _ in 0..<3 {
                #expect(link.receive(8, milliseconds: 5000) == asked)
                let half: [UInt8] = [0x01, 0x03, 0x02, 0x13]
                try link.send(Array("HB".utf8) + half)
                try link.send([0x89, 0x74, 0xD2] + Array("HB".utf8))
            }
            _ = try district.drained(frames: 5)
            let rows = try district.readings()
            #expect(!rows.isEmpty)
            #expect(rows.allSatisfy { $0.device == "dtu7:1" && $0.stream == "frequency" })
            #expect(rows.allSatisfy { $0.value.asDouble == 50.01 })
            let ledger = try district.ledger()
            #expect(ledger.count("unaccounted") == 0)
            #expect(ledger.count("framesRejected") == 0)
        }

        @Test(
            "a capture of both directions: every answer finds its request",
            arguments: [
                ("modbus-rtu-over-tcp.pcap", "modbus-rtu"), ("modbus-tcp.pcap", "modbus-tcp"),
            ])
        func overheard(file: String, format: String) throws {
            let path = "\(Place.captures)/\(file)"
            let capture = Capture(try Files.read(path), file: path)
            let district = try District([
                District.Source(
                    name: "tap", isStream: true, formats: [format],
                    more: [("pairing", .boolean(true))])
            ])
            try district.startStore()
            try district.startGateway()
            let link = try Link(to: district.targets[0])
            for delivery in capture.deliveries where delivery.kind == .bytes {
                try link.send(delivery.bytes)
            }
            let ledger = try district.ledger("44 frames arrive") {
                $0.count("framesReceived") == 44
            }
            // 22 requests; of the answers one is an exception and two acknowledge writes.
            #expect(ledger.count("framesControl") == 25)
            #expect(ledger.count("framesDecoded") == 19)
            #expect(ledger.count("framesRejected") == 0)
            let status = try district.status()
            #expect(status.text("lines[0].source") == "tap")
            #expect(status.text("lines[0].paired") == "22", "every answer found its request")
        }
    }
}
