// Other people's devices against the real daemon: aiocoap, libcoap and mqtt-sn-12 at the other end. The
// store is down while they speak, and the gateway is killed as soon as they are done: what they were told
// is kept must be in the journal by then. Afterwards every reading is in the store, once.

import Field
import Formats
import Glibc
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("other people's clients", .serialized)
    struct ClientTests {
        private static let wide = source("wide", "coap")
        private static let narrow = source(
            "narrow", "coap", ("paths", .object([("/s", .string("senml-json"))])))

        private static func source(
            _ name: String, _ kind: String, _ more: (String, JSON)...
        ) -> District.Source {
            District.Source(
                name: name, formats: ["sluice-reference"],
                more: [("exchange", .string(kind))] + more)
        }

        private static func port(_ target: Target) -> String { "\(target.endpoint.port)" }

        /// The gateway alone, then the client, then a kill, then all that arrives at the store.
        private func converse<T>(
            _ district: District, readings: UInt64, _ client: () throws -> T
        ) throws -> (said: T, ledger: LedgerReport) {
            try district.startGateway()
            let said = try client()
            try district.killGateway()
            try district.startStore()
            let ledger = try district.ledger("\(readings) readings arrive") {
                $0.count("readingsHeld") == 0 && $0.count("readingsAcknowledged") == readings
            }
            #expect(ledger.count("unaccounted") == 0)
            return (said, ledger)
        }

        /// Everything in the store, in order: device, stream, value, unit.
        private func stored(_ district: District) throws -> [String] {
            try district.readings().map {
                "\($0.device) \($0.stream) \($0.value.asDouble ?? .nan) \($0.unit)"
            }.sorted()
        }

        private static let block = (0..<112).map { Double($0) / 8 }

        @Test(
            "aiocoap posts, puts and uploads in blocks; what is refused leaves nothing behind",
            .enabled(if: Clients.havePython, "\(Clients.remedy)"))
        func aiocoap() throws {
            let district = try District([ClientTests.wide, ClientTests.narrow])
            let (said, ledger) = try converse(district, readings: 116) {
                try Clients.script(
                    "coap_device.py", district.targets.map(ClientTests.port), in: district.folder)
            }
            #expect(
                said == """
                    con json 2.04
                    non json 2.04
                    put cbor 2.04
                    blocks 2.04
                    unknown format 4.15
                    no senml 4.00
                    nothing 4.00
                    get 4.05
                    narrow 2.04
                    wrong path 4.04
                    delete 4.05
                    list 2.05 </s>

                    """)
            #expect(ledger.count("framesDecoded") == 5)
            let device = "urn:dev:ow:10e2073a01080063"
            #expect(
                try stored(district)
                    == ([
                        "\(device) s/return 23.5 °C", "\(device) t/inlet 21.75 °C",
                        "\(device) t/outlet 22.25 °C", "\(device) t/temp 21.5 °C",
                    ] + ClientTests.block.map { "\(device) t/flow \($0) °C" }).sorted())
        }

        @Test(
            "an LwM2M client on aiocoap registers, is observed, notifies, updates and leaves",
            .enabled(if: Clients.havePython, "\(Clients.remedy)"))
        func lwm2m() throws {
            let paths = JSON.array([.string("/3303/0/5700"), .string("/3305/0")])
            let district = try District([ClientTests.source("lwm2m", "lwm2m", ("observe", paths))])
            let own = try #require(FreePort.pick(isStream: false), "no port is free")
            let (said, ledger) = try converse(district, readings: 9) {
                try Clients.script(
                    "lwm2m_device.py", ["\(own)", ClientTests.port(district.targets[0])],
                    in: district.folder)
            }
            #expect(
                said == """
                    unknown 4.04
                    no name 4.00
                    register 2.01
                    observed
                    update 2.04
                    send 2.04
                    deregister 2.02
                    update again 4.04

                    """)
            #expect(ledger.count("framesDecoded") == 7)
            #expect(
                try stored(district)
                    == [
                        "3303/0/5700 21.5 °C", "3303/0/5700 21.75 °C", "3303/0/5700 22.0 °C",
                        "3303/0/5700 22.25 °C", "3303/0/5700 23.5 °C", "3305/0/5800 1500.0 W",
                        "3305/0/5800 1750.0 W", "3305/0/5805 12.25 Wh", "3305/0/5805 12.5 Wh",
                    ].map { "urn:imei:860123045678901 \($0)" })
        }

        @Test(
            "mqtt-sn-12 publishes with every quality of service, sleeps, wakes and leaves a will",
            .enabled(if: Clients.havePython, "\(Clients.remedy)"))
        func mqttSN() throws {
            let topics = JSON.object([("#", .string("senml-json"))])
            let district = try District([ClientTests.source("sn", "mqtt-sn", ("topics", topics))])
            let (said, ledger) = try converse(district, readings: 8) {
                try Clients.script(
                    "mqttsn_device.py", [ClientTests.port(district.targets[0])],
                    in: district.folder)
            }
            #expect(
                said == """
                    published -1
                    connected meter-7
                    published 0
                    published 1
                    published 2
                    published other topics
                    unregistered topic: PUBLISH error: Rejected: invalid topic ID (2)
                    asleep
                    woken
                    published awake
                    published with a will

                    """)
            #expect(ledger.count("framesDecoded") == 8)
            #expect(
                try stored(district) == [
                    "meter-7 ab/short 25.5 °C", "meter-7 plant/meter-7/awake 26.5 °C",
                    "meter-7 plant/meter-7/q0 20.5 °C", "meter-7 plant/meter-7/q1 21.5 °C",
                    "meter-7 plant/meter-7/q2 22.5 °C",
                    "meter-7 predefined/7/predefined 24.5 °C",
                    "meter-8 plant/meter-8/will 27.5 °C",
                    "urn:dev:ow:10e2073a01080063 predefined/7/stray 28.5 °C",
                ])
        }

        // MARK: libcoap

        private static func senml(_ name: String, _ values: [Double] = [21.5]) -> String {
            let records = values.enumerated().map { place, value in
                let base = place == 0 ? "\"bn\":\"urn:dev:mac:0024befffe804ff1:\"," : ""
                return "{\(base)\"n\":\"\(name)\",\"u\":\"Cel\",\"v\":\(value),\"t\":\(-place - 1)}"
            }
            return "[" + records.joined(separator: ",") + "]"
        }

        /// Kind and code of the last message that the client showed: the gateway's answer.
        private static func answer(_ messages: [Substring]) -> String {
            let words = messages.last?.split(separator: " ") ?? []
            return words.count > 2 ? "\(words[1].dropFirst(2)) \(words[2].dropFirst(2))" : "none"
        }

        @Test(
            "libcoap's client posts, loses a datagram, uploads in blocks, asks in vain and pings",
            .enabled(if: Clients.haveLibcoap, "\(Clients.remedy)"))
        func libcoap() throws {
            let district = try District([ClientTests.wide, ClientTests.narrow])
            let targets = district.targets.map { "coap://127.0.0.1:\(ClientTests.port($0))" }
            func ask(_ path: String, _ payload: String?, _ more: [String]) throws -> [Substring] {
                var content: [String] = []
                if let payload {
                    content = ["-f", try district.folder.write(payload, to: "payload")]
                }
                return try Clients.libcoap(
                    ["-v", "8", "-B", "20"] + content + more + [path], in: district.folder)
            }
            let block = ClientTests.block
            let (answers, ledger) = try converse(district, readings: 2 * 112 + 4) {
                let (t, s) = (targets[0] + "/t", targets[1] + "/s")
                let senml = ["-t", "110", "-m", "post"]
                var answers = [
                    try ask(t, ClientTests.senml("con"), senml),
                    try ask(t, ClientTests.senml("non"), senml + ["-N"]),
                    // Its first datagram is lost on purpose.
                    try ask(s, ClientTests.senml("again"), senml + ["-l", "1"]),
                    try ask(t, ClientTests.senml("b1024", block), senml + ["-b", "1024"]),
                    try ask(
                        t, ClientTests.senml("b256", block),
                        ["-t", "110", "-m", "put", "-b", "256"]
                    ),
                    try ask(t, "<a/>", ["-t", "41", "-m", "post"]),
                    try ask(s + "/x", ClientTests.senml("astray"), senml),
                    try ask(s, nil, ["-m", "delete"]),
                    // There is nothing here to observe.
                    try ask(s, nil, ["-s", "1"]),
                ].map(ClientTests.answer)
                // No-Response (RFC 7967) leaves the client waiting, so that it pings once a second.
                let pings = try Clients.libcoap(
                    ["-v", "8", "-B", "3", "-K", "1", "-N", "-O", "258,0x02", "-f"]
                        + [try district.folder.write(ClientTests.senml("silent"), to: "payload")]
                        + senml + [t], in: district.folder)
                answers.append(pings.contains { $0.contains(" c:2.") } ? "told" : "untold")
                answers.append(pings.contains { $0.contains(" t:RST ") } ? "pong" : "silence")
                return answers
            }
            #expect(
                answers == [
                    "ACK 2.04", "NON 2.04", "ACK 2.04", "ACK 2.04", "ACK 2.04", "ACK 4.15",
                    "ACK 4.04", "ACK 4.05", "ACK 4.05", "untold", "pong",
                ])
            #expect(ledger.count("framesDecoded") == 6)
            #expect(
                try stored(district)
                    == (["s/again", "t/con", "t/non", "t/silent"].map { "\($0) 21.5" }
                    + block.map { "t/b1024 \($0)" } + block.map { "t/b256 \($0)" })
                    .map { "urn:dev:mac:0024befffe804ff1 \($0) °C" }.sorted())
        }
    }
}
