// Conversations with the real daemon over loopback: what was answered is in the store exactly once,
// also when the gateway is killed between a message and its retransmission.

import Field
import Formats
import Model
import Testing
import Uplink

extension EndToEnd {
    @Suite("exchanges", .serialized)
    struct ExchangeTests {
        private func source(_ kind: String, _ more: [(String, JSON)] = []) -> District.Source {
            District.Source(
                name: kind, formats: ["sluice-reference"],
                more: [("exchange", .string(kind))] + more)
        }

        private func coap(
            _ payload: [UInt8], id: UInt16, path: [String], format: UInt32? = nil,
            query: [String] = []
        ) -> [UInt8] {
            var bytes: [UInt8] = []
            var writer = CoAPWriter(
                kind: .confirmable, code: .post, messageID: id,
                token: CoAPToken(bits: UInt64(id), count: 2), to: &bytes)
            for part in path { writer.option(CoAPOptionNumber.uriPath, part.utf8, to: &bytes) }
            if let format {
                writer.option(CoAPOptionNumber.contentFormat, uint: format, to: &bytes)
            }
            for part in query { writer.option(CoAPOptionNumber.uriQuery, part.utf8, to: &bytes) }
            writer.payload(payload, to: &bytes)
            return bytes
        }

        private func code(_ answer: [UInt8]) throws -> String {
            try CoAPMessage(answer.span).code.text
        }

        @Test(
            "a CoAP message retransmitted to a restarted gateway is answered alike and stored once")
        func killedBetween() throws {
            let district = try District([source("coap")])
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            let population = Population.now(devices: 4)
            let senml = Array(
                #"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":21.5}]"#.utf8)
            let wires =
                (0..<8).map { coap(population.frame($0), id: UInt16($0 + 1), path: ["t", "r"]) }
                + [coap(senml, id: 100, path: ["s"], format: 110)]
            let answers = try wires.map { try device.ask($0) }
            #expect(try Set(answers.map(code)) == ["2.04"])
            try district.killGateway()
            #expect(try wires.map { try device.ask($0) } == answers)
            let ledger = try district.drained(frames: 18)
            #expect(ledger.count("unaccounted") == 0)
            #expect(ledger.count("framesDecoded") == 9)
            #expect(ledger.count("framesDuplicate") == 9)
            #expect(try district.readings().count == 8 * 5 + 1)
        }

        @Test(
            "an LwM2M client registers, is observed, notifies, and registers anew after a restart")
        func lwm2m() throws {
            let observe = JSON.array([.string("/3303/0/5700")])
            let district = try District([source("lwm2m", [("observe", observe)])])
            try district.startStore()
            try district.startGateway()
            let device = try Device(to: district.targets[0])
            var values: [Double] = []
            for life in 0..<2 as Range<UInt16> {
                let register = coap(
                    Array("</3303/0>".utf8), id: 1 + life * 1000, path: ["rd"], format: 40,
                    query: ["ep=urn:imei:866123", "lt=300", "lwm2m=1.0"])
                let created = try device.ask(register)
                #expect(try code(created) == "2.01")
                let request = try #require(device.answer(milliseconds: 5000))
                let ask = try CoAPMessage(request.span)
                #expect(ask.code == .get)
                #expect(ask.observe == 0)
                for number in 1...3 as ClosedRange<UInt16> {
                    let value = "2\(life).\(number)"
                    values.append(Double(value) ?? 0)
                    var notify: [UInt8] = []
                    var writer = CoAPWriter(
                        kind: number == 1 ? .acknowledgement : .confirmable, code: .content,
                        messageID: number == 1 ? ask.messageID : 500 + life * 1000 + number,
                        token: ask.tokenValue, to: &notify)
                    writer.option(
                        CoAPOptionNumber.observe, uint: UInt32(number), to: &notify)
                    writer.option(CoAPOptionNumber.contentFormat, uint: 0, to: &notify)
                    writer.payload(value.utf8, to: &notify)
                    if number == 1 {
                        _ = device.send(notify)
                    } else {
                        let answer = try device.ask(notify)
                        #expect(answer.count == 4)
                        #expect(answer[0] == 0x60)
                    }
                }
                guard life == 0 else { continue }
                try district.killGateway()
                var place: [String] = []
                try CoAPMessage(created.span).forEachOption(in: created.span) { option in
                    if option.number == CoAPOptionNumber.locationPath {
                        place.append(String(decoding: created[option.value], as: UTF8.self))
                    }
                    return true
                }
                #expect(try code(device.ask(coap([], id: 900, path: place))) == "4.04")
            }
            let ledger = try district.drained(frames: 9)
            #expect(ledger.count("unaccounted") == 0)
            let stored = try district.readings()
            #expect(stored.count == 6)
            #expect(stored.compactMap(\.value.asDouble).sorted() == values.sorted())
        }

        @Test("MQTT-SN and Semtech devices get their acknowledgements, and the ledger balances")
        func others() throws {
            let district = try District([source("mqtt-sn"), source("semtech")])
            try district.startStore()
            try district.startGateway()
            let client = try Device(to: district.targets[0])
            #expect(try client.ask([9, 4, 4, 1, 0, 60] + Array("m-1".utf8)) == [3, 5, 0])
            let frame = Population.now(devices: 1).frame(0)
            let publish = [UInt8(frame.count + 7), 0x0C, 0x22, 0x54, 0x61, 0, 9] + frame
            #expect(try client.ask(publish) == [7, 0x0D, 0x54, 0x61, 0, 9, 0])
            let forwarder = try Device(to: district.targets[1])
            let eui: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
            let json = #"{"stat":{"rxnb":1,"rxok":1,"rxfw":1,"ackr":100.0,"dwnb":0,"txnb":0}}"#
            #expect(try forwarder.ask([2, 7, 7, 2] + eui) == [2, 7, 7, 4])
            #expect(try forwarder.ask([2, 7, 8, 0] + eui + Array(json.utf8)) == [2, 7, 8, 1])
            let ledger = try district.drained(frames: 4)
            #expect(ledger.count("unaccounted") == 0)
            #expect(ledger.count("framesDecoded") >= 1)
        }
    }
}
