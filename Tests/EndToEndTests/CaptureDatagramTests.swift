// The shared captures of datagrams, replayed into a running gateway: with nothing but a list of ports and
// formats the ledger says what the index says, and a gateway that leads the conversations answers as
// the rows say. Runs where the shared folder is present.

import Field
import Formats
import Host
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("captures of datagrams", .serialized, .enabled(if: Place.shared != nil))
    struct CaptureDatagramTests {
        private static let file = "nbiot-mixed-udp.pcap"

        private static func formats() throws -> FormatLibrary {
            try FormatLibrary(directory: Place.protocols)
        }

        /// Name of the format of a row.
        private static func format(_ row: JSONNode) -> String {
            let kind = row["protocol"]?.string ?? ""
            return kind == "vendor" ? row["expect"]?["profile"]?.string ?? kind : kind
        }

        /// Keys by meter, as the operator has them.
        private static func keys(
            _ rows: [SharedCapture.Named], _ library: FormatLibrary
        ) throws
            -> [String: String]
        {
            var keys: [String: String] = [:]
            for named in rows {
                guard let key = named.row["expect"]?["key"]?.string,
                    let format = library.format(named: format(named.row))
                else { continue }
                // Without a key a telegram says at least whose it is.
                let decoder = Decoder(format)
                var frame = DecodedFrame()
                let bytes = try SharedCapture.bytes(named.row)
                try decoder.decode(bytes.span, direction: .up, into: &frame)
                keys[decoder.identityText()] = key
            }
            return keys
        }

        /// `device stream value` of all readings of a frame.
        private static func words(
            _ row: JSONNode, unnamed: String, _ library: FormatLibrary, _ keys: [String: String]
        ) throws -> [String] {
            guard let format = library.format(named: format(row)) else { return [] }
            let key = row["expect"]?["key"]?.string.flatMap { DeviceKeys(every: $0) }
            let decoder = Decoder(format, keys: key ?? .none)
            var frame = DecodedFrame()
            let bytes = try SharedCapture.bytes(row)
            try decoder.decode(bytes.span, direction: .up, into: &frame)
            let name = decoder.identityText()
            let device =
                name.isEmpty ? unnamed : format.identityIsLocal ? "\(unnamed):\(name)" : name
            return frame.readings.map {
                "\(device) \(decoder.describe($0).name) \($0.value.asDouble ?? .nan)"
            }
        }

        @Test("a list of ports and formats is enough: what the index calls bad is refused, by name")
        func plain() throws {
            let all = try SharedCapture.index(CaptureDatagramTests.file)["datagrams"]?.array ?? []
            let library = try CaptureDatagramTests.formats()
            let kinds = [
                (1700, "semtech-udp"), (9002, "modbus-rtu"), (9645, "dlt645"), (9188, "cjt188"),
                (9651, "sl651"), (9005, "mbus"), (9004, "cayennelpp"), (9006, "wmbus"),
                (9001, "vendor"), (5683, "coap"), (10_000, "mqtt-sn"),
            ]
            #expect(Set(all.map { $0["server_port"]?.integer }) == Set(kinds.map(\.0)))
            var lists: [[SharedCapture.Named]] = []
            for (port, _) in kinds {
                let mine = all.filter { $0["server_port"]?.integer == port }
                lists.append(
                    try mine.flatMap { entry in
                        try SharedCapture.named([entry], entry["protocol"]?.string ?? "")
                    })
            }
            let wireless = lists[kinds.firstIndex { $0.1 == "wmbus" } ?? 0]
            let keys = try CaptureDatagramTests.keys(wireless, library)
            let district = try District(
                zip(kinds, lists).map { kind, list in
                    let names = Set(list.map { CaptureDatagramTests.format($0.row) })
                    return District.Source(
                        name: kind.1,
                        formats: kind.1 == "vendor" ? names.sorted() : [kind.1])
                }, keys: keys)
            try district.startStore()
            try district.startGateway()
            var sent: UInt64 = 0
            var errors: [String: UInt64] = [:]
            for (number, kind) in kinds.enumerated() {
                try SharedCapture.replay(
                    CaptureDatagramTests.file, district, source: number,
                    ["--port", "\(kind.0)", "--wait", "200ms"])
                sent += UInt64(lists[number].count)
                for named in lists[number] {
                    if let error = named.error { errors[error, default: 0] += 1 }
                }
                let ledger = try district.drained(frames: sent)
                #expect(ledger.count("framesReceived") == sent, "\(kind)")
                #expect(SharedCapture.refused(ledger) == errors, "\(kind)")
                #expect(ledger.count("unaccounted") == 0, "\(kind)")
            }
            #expect(sent == UInt64(all.count))
            let ledger = try district.ledger()
            #expect(ledger.count("framesDuplicate") > 0)
            #expect(ledger.count("readingsAcknowledged") == ledger.count("readingsDecoded"))
            let stored = Set(try district.readings().map { CaptureDatagramTests.line($0) })
            #expect(stored.count > 500)
            for (kind, list) in zip(kinds, lists) {
                for named in list where named.error == nil {
                    for words in try CaptureDatagramTests.words(
                        named.row, unnamed: kind.1, library, keys)
                    {
                        let isStored = stored.contains(words)
                        #expect(isStored, "\(named.id): \(words)")
                    }
                }
            }
        }

        private static func line(_ reading: StoredReading) -> String {
            "\(reading.device) \(reading.stream) \(reading.value.asDouble ?? .nan)"
        }

        // MARK: CoAP of two real implementations

        @Test(
            "every message of a CoAP conversation is taken, whichever side sent it",
            arguments: ["coap-observe-blockwise.pcap", "coap-libcoap.pcap"])
        func messages(file: String) throws {
            let messages = try SharedCapture.index(file)["messages"]?.array ?? []
            let district = try District([District.Source(name: "tap", formats: ["coap"])])
            try district.startStore()
            try district.startGateway()
            try SharedCapture.replay(file, district, source: 0, ["--from", "both"])
            let ledger = try district.drained(frames: UInt64(messages.count))
            #expect(ledger.count("framesReceived") == UInt64(messages.count))
            #expect(SharedCapture.refused(ledger).isEmpty)
            #expect(ledger.count("framesDuplicate") == 0 && ledger.count("unaccounted") == 0)
            // Of what they carry, the observed SenML is readings: one at once and six notified.
            var notified = 0
            for message in messages where message["observe"] != nil {
                notified += message["to_server"]?.boolean == false ? 1 : 0
            }
            let isSenML = file == "coap-observe-blockwise.pcap"
            let readings = try district.readings()
            #expect(readings.count == (isSenML ? notified : 0))
            #expect(readings.allSatisfy { $0.quantity == "temperature" && $0.unit == "°C" })
        }

        @Test(
            "the fields of every CoAP message are those that another decoder read",
            arguments: ["coap-observe-blockwise.pcap", "coap-libcoap.pcap"])
        func fields(file: String) throws {
            let index = try SharedCapture.index(file)
            let messages = index["messages"]?.array ?? []
            let port = try #require(index["server_port"]?.integer)
            let capture = try Capture(
                Files.read(SharedCapture.folder + file), file: file, serverPort: UInt16(port))
            #expect(capture.deliveries.count == messages.count)
            let runner = VectorRunner(try CaptureDatagramTests.formats())
            for (message, delivery) in zip(messages, capture.deliveries) {
                let isRequest = message["to_server"]?.boolean == true
                #expect(delivery.number == message["packet"]?.integer)
                #expect(delivery.isToServer == isRequest)
                var wanted = (message.members ?? []).filter {
                    ["type", "code", "message_id", "token"].contains($0.key)
                }
                // The other decoder shows a response under its request's path, and the port in it.
                if isRequest, let path = message.members?.first(where: { $0.key == "path" }),
                    path.value.string?.hasPrefix("/") == true
                {
                    wanted.append(path)
                }
                let line = JSON.object([
                    ("protocol", .string("coap")), ("hex", .string(FieldNode.hex(delivery.bytes))),
                    ("direction", .string(isRequest ? "up" : "down")),
                    (
                        "expect",
                        .object(wanted.map { ($0.key, CaptureDatagramTests.json($0.value)) })
                    ),
                ])
                let report = runner.run(Array(line.text().utf8), name: file)
                #expect(report.rows.map(\.verdict) == [.passed], "\(delivery.number)")
                try CaptureDatagramTests.compareOptions(message, delivery.bytes)
            }
        }

        private static func json(_ node: JSONNode) -> JSON {
            node.string.map { .string($0) } ?? .integer(Int64(node.integer ?? -1))
        }

        /// Block of the request or the response, and Observe.
        private static func compareOptions(_ message: JSONNode, _ bytes: [UInt8]) throws {
            let found = try CoAPMessage(bytes.span)
            // An empty option is 0.
            if let observe = message["observe"]?.integer {
                #expect(found.observe.map { Int($0) } == observe, "\(message)")
            }
            guard let number = message["block"]?["num"]?.integer else { return }
            let block = try #require(found.block1 ?? found.block2)
            #expect(Int(block.number) == number)
            #expect(block.hasMore == message["block"]?["more"]?.boolean)
        }

        // MARK: Conversations that the gateway leads

        @Test("in a conversation, only what is malformed or brings content that is lost is refused")
        func conversations() throws {
            let all = try SharedCapture.index(CaptureDatagramTests.file)["datagrams"]?.array ?? []
            let district = try District([
                District.Source(
                    name: "lwm2m", formats: ["sluice-reference"],
                    more: [("exchange", .string("lwm2m"))]),
                District.Source(
                    name: "mqtt-sn", formats: ["sluice-reference"],
                    more: [("exchange", .string("mqtt-sn"))]),
            ])
            try district.startStore()
            try district.startGateway()
            var sent: UInt64 = 0
            var least: UInt64 = 0
            var most: UInt64 = 0
            for (number, port) in [5683, 10_000].enumerated() {
                let mine = all.filter { $0["server_port"]?.integer == port }
                try SharedCapture.replay(
                    CaptureDatagramTests.file, district, source: number, ["--port", "\(port)"])
                for entry in mine {
                    let kind = entry["protocol"]?.string ?? ""
                    let row = try SharedCapture.named([entry], kind)[0].row
                    let isBad = entry["error"] != nil
                    sent += 1
                    least += isBad ? 1 : 0
                    most += isBad || CaptureDatagramTests.bringsContent(row) ? 1 : 0
                }
                let ledger = try district.drained(frames: sent)
                #expect(ledger.count("framesReceived") == sent)
                #expect(ledger.count("framesRejected") >= least)
                #expect(ledger.count("framesRejected") <= most)
                #expect(ledger.count("unaccounted") == 0)
            }
            let ledger = try district.ledger()
            for (reason, count) in SharedCapture.errors(
                all.filter { [5683, 10_000].contains($0["server_port"]?.integer) })
            {
                #expect(ledger.count("rejected.\(reason)") >= count, "\(reason)")
            }
        }

        @Test("every PUSH_DATA and PULL_DATA of the capture is answered, each time that it comes")
        func forwarders() throws {
            let all = try SharedCapture.index(CaptureDatagramTests.file)["datagrams"]?.array ?? []
            let mine = all.filter { $0["server_port"]?.integer == 1700 }
            let district = try District([
                District.Source(
                    name: "semtech", formats: ["cayennelpp"],
                    more: [("exchange", .string("semtech"))])
            ])
            try district.startStore()
            try district.startGateway()
            try SharedCapture.replay(
                CaptureDatagramTests.file, district, source: 0, ["--port", "1700"])
            let ledger = try district.drained(frames: UInt64(mine.count))
            #expect(ledger.count("framesReceived") == UInt64(mine.count))
            #expect(SharedCapture.refused(ledger) == SharedCapture.errors(mine))
            let owed = try SharedCapture.named(mine, "semtech-udp").count {
                $0.error == nil && $0.row["expect"]?["reply"]?.string != nil
            }
            #expect(owed > 0 && ledger.count("framesAnswered") == UInt64(owed))
            #expect(ledger.count("unaccounted") == 0)
        }

        /// What cannot be taken when nobody registered or connected before.
        private static func bringsContent(_ row: JSONNode) -> Bool {
            let expect = row["expect"]
            switch row["protocol"]?.string {
            case "mqtt-sn":
                return ["publish", "encapsulated"].contains(expect?["type"]?.string)
            case "coap":
                let isUnknown = expect?["options"]?.array?.contains {
                    ($0["number"]?.integer ?? 0) > 2000
                }
                let code = expect?["code"]?.string ?? ""
                return expect?["payload"] != nil && !["0.01", "0.04", "0.05"].contains(code)
                    || isUnknown == true
            default: return expect?["op"]?.string == "other"
            }
        }

        @Test("each registration that the rows know is answered with the row's code")
        func registrations() throws {
            let district = try District([
                District.Source(
                    name: "lwm2m", formats: ["sluice-reference"],
                    more: [("exchange", .string("lwm2m"))])
            ])
            try district.startGateway()
            var asked = 0
            for (id, row) in try SharedCapture.rows("lwm2m-register").sorted(by: { $0.key < $1.key }
            ) {
                let op = row["expect"]?["op"]?.string ?? ""
                guard ["register", "bootstrap-request"].contains(op),
                    let reply = row["expect"]?["reply"], let code = reply["code"]?.string
                else { continue }
                // One endpoint a client, as in the field.
                let device = try Device(to: district.targets[0])
                let bytes = try device.ask(SharedCapture.bytes(row))
                let answer = try CoAPMessage(bytes.span)
                #expect(answer.code.text == code, "\(id)")
                let token = reply["token"]?.string ?? ""
                #expect(FieldNode.hex(Array(bytes[answer.token])) == token, "\(id)")
                if reply["type"]?.string == "ACK" {
                    #expect(Int(answer.messageID) == reply["message_id"]?.integer, "\(id)")
                }
                asked += 1
            }
            #expect(asked > 20)
        }

        @Test("each MQTT-SN message that needs no topic is answered with the row's bytes")
        func courtesies() throws {
            let district = try District([
                District.Source(
                    name: "mqtt-sn", formats: ["sluice-reference"],
                    more: [("exchange", .string("mqtt-sn"))])
            ])
            try district.startGateway()
            var asked = 0
            for (id, row) in try SharedCapture.rows("mqtt-sn").sorted(by: { $0.key < $1.key }) {
                let type = row["expect"]?["type"]?.string ?? ""
                guard !["publish", "register", "subscribe"].contains(type),
                    let reply = row["expect"]?["reply"]?.string
                else { continue }
                let device = try Device(to: district.targets[0])
                let answer = try device.ask(SharedCapture.bytes(row))
                #expect(FieldNode.hex(answer) == reply, "\(id)")
                asked += 1
            }
            #expect(asked == 8)
        }
    }
}
