// How long descriptions of vendors' data sheets are: the promise "a format in forty lines" as a law. Lines
// without comments, empty lines and embedded tests count; no line is so long that it hides two.

import Formats
import Testing

@Suite("Brevity")
struct BrevityTests {
    private static let standards: Set = [
        "cbor", "cjt188", "coap", "dlt645", "gb26875", "hj212", "jt808", "lwm2m-json",
        "lwm2m-register",
        "lwm2m-text", "lwm2m-tlv", "mbus", "modbus-rtu", "modbus-tcp", "mqtt-sn", "semtech-udp",
        "senml-cbor", "senml-json", "sl651", "wmbus",
    ]

    /// Cayenne LPP has a table of 26 types, two to a line, and four of them have axes or colours.
    private static let allowance = ["cayennelpp": 54]

    /// The lines that count.
    private static func lines(_ name: String) -> [Substring] {
        var isTest = false
        var counted: [Substring] = []
        for line in Repository.text("protocols/\(name).json5").split(separator: "\n") {
            if line.hasPrefix("  tests:") { isTest = true }
            let text = line.drop { $0 == " " }
            if !isTest, !text.isEmpty, !text.hasPrefix("//") { counted.append(line) }
            if line == "  ]," { isTest = false }
        }
        return counted
    }

    @Test("the format of a vendor's data sheet fits in forty lines")
    func vendors() throws {
        let names = try Fixtures.library.get().formats.map(\.name).map {
            $0 == "sluice-reference" ? "reference-sensor" : $0
        }.filter {
            !BrevityTests.standards.contains($0)
        }
        #expect(names.count >= 17)
        for name in names {
            let lines = BrevityTests.lines(name)
            #expect(lines.count > 5, "\(name)")
            #expect(lines.count <= BrevityTests.allowance[name] ?? 40, "\(name): \(lines.count)")
            for line in lines { #expect(line.count <= 200, "\(name): \(line)") }
        }
    }
}
