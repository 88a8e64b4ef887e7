// A decoder that remembers names reads SenML exactly as one that takes each pack as the first, and as
// the explaining run: same readings, streams, words, times, identity and refusals, for packs of many
// shapes, with bytes changed, through conversations with and without path and device.

import Model
import Testing

@testable import Formats

@Suite("Decoders that remember SenML names")
struct SenMLMemoryTests {
    private struct Outcome: Equatable {
        var rejection: Rejection?
        var device = DeviceKey.empty
        var isGlobal = false
        var isControl = false
        var readings: [Reading] = []
    }

    private struct Reading: Equatable {
        var discriminator: UInt64
        var value: Value
        var quality: Quality
        var time: Timestamp?
        var isRelative: Bool
        var words: StreamDescription

        init(_ reading: DecodedReading, _ decoder: Decoder) {
            discriminator = reading.discriminator
            value = reading.value
            quality = reading.quality
            time = reading.observedAt
            isRelative = reading.isTimeRelative
            words = decoder.describe(reading)
        }
    }

    private func outcome(
        _ decoder: Decoder, _ bytes: [UInt8], _ context: FrameContext?
    ) -> Outcome {
        var frame = DecodedFrame()
        var outcome = Outcome()
        do throws(Rejection) {
            if let context {
                var envelope: [UInt8] = []
                context.encode(bytes.span, into: &envelope)
                try decoder.decode(envelope: envelope.span, direction: .up, into: &frame)
            } else {
                try decoder.decode(bytes.span, direction: .up, into: &frame)
            }
            outcome.device = frame.device
            outcome.isGlobal = frame.isIdentityGlobal
            outcome.isControl = frame.isControl
            outcome.readings = frame.readings.map { Reading($0, decoder) }
        } catch { outcome.rejection = error }
        return outcome
    }

    private func explained(_ decoder: Decoder, _ bytes: [UInt8]) -> Outcome {
        let (explanation, frame) = decoder.explained(bytes, direction: .up)
        var outcome = Outcome(rejection: explanation.rejection)
        guard outcome.rejection == nil else { return outcome }
        outcome.device = frame.device
        outcome.isGlobal = frame.isIdentityGlobal
        outcome.isControl = frame.isControl
        outcome.readings = frame.readings.map { Reading($0, decoder) }
        return outcome
    }

    // MARK: Packs

    private static let bases = [
        "urn:dev:mac:0024befffe804ff1:", "urn:dev:mac:0024befffe804ff2/",
        "urn:imei:869029652881082:",
        "meter-7:", "pump/12/", "longer-name-of-a-device/", "urn:dev:ow:10e2073a0108006:voltage",
        "urn:dev:mac:", "urn:", "a", "/3303/0/", "", "urn:dev:kpn:2/room1/", "bad name:", ":x:",
        String(repeating: "d", count: 64) + ":", String(repeating: "e", count: 65) + ":",
        String(repeating: "f", count: 71) + "/",
    ]
    private static let names = [
        "temperature", "humidity", "co2", "a", "temperature_of_room_1", "temperature_of_room_2",
        "x/y", "5700", "v 1", "", "/3303/0/5700", "urn:imei:1/a", "twenty-three-characters",
        "twenty-four--characters-", "état",
    ]
    private static let units = ["Cel", "%RH", "V", "", "m³"]

    private func head(_ major: UInt8, _ count: Int) -> [UInt8] {
        count < 24
            ? [major << 5 | UInt8(count)]
            : count < 256
                ? [major << 5 | 24, UInt8(count)]
                : [major << 5 | 25, UInt8(count >> 8), UInt8(count & 255)]
    }

    private func text(_ words: String) -> [UInt8] { head(3, words.utf8.count) + words.utf8 }

    private func number(_ random: inout SplitMix64) -> [UInt8] {
        let n = Int.random(in: 0...70_000, using: &random)
        let integer =
            n < 65_536 ? head(Bool.random(using: &random) ? 0 : 1, n) : [0x1A, 0, 1, 0, 7]
        switch Int.random(in: 0..<6, using: &random) {
        case 0: return integer
        case 1: return [0xFA, 0x41, 0xB8, UInt8(n & 255), 0]
        case 2: return [0xFB, 0x40, 0x37, UInt8(n & 255), 0, 0, 0, 0, 0]
        case 3: return [0xF9, 0x4D, UInt8(n & 255)]
        default: return [0xC4, 0x82, UInt8.random(in: 0x1E...0x24, using: &random)] + integer
        }
    }

    private func record(_ random: inout SplitMix64, isFirst: Bool) -> [UInt8] {
        var members: [[UInt8]] = []
        func chance(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &random) == 0 }
        func pick(_ words: [String]) -> [UInt8] { text(words.randomElement(using: &random) ?? "") }
        if isFirst || chance(12) {
            if !chance(8) {
                members.append([0x21] + (chance(2) ? text(Self.bases[0]) : pick(Self.bases)))
            }
            if chance(2) { members.append([0x22, 0x1A, 0x69, 0x15, 0x3E, 0xC0]) }
            if chance(8) { members.append([0x22] + number(&random)) }
            if chance(8) { members.append([0x23] + pick(Self.units)) }
            if chance(12) { members.append([0x24] + number(&random)) }
            if chance(16) { members.append([0x25] + number(&random)) }
            if chance(16) { members.append([0x20, 10]) }
        }
        if !chance(12) {
            members.append([0x00] + pick(chance(3) ? Self.names : Array(Self.names[0..<8])))
        }
        if !chance(3) { members.append([0x01] + pick(Self.units)) }
        switch Int.random(in: 0..<12, using: &random) {
        case 0: members.append([0x04, 0xF5])
        case 1: members.append([0x03] + text("words"))
        case 2: members.append([0x08, 0x42, 1, 2])
        case 3: break
        default: members.append([0x02] + number(&random))
        }
        if chance(4) { members.append([0x06] + number(&random)) }
        if chance(12) { members.append([0x05] + number(&random)) }
        if chance(12) { members.append(text("other") + [0x18, 0x20]) }
        if chance(16) { members.append([0x18, 0x01] + pick(Self.units)) }
        if chance(20) { members.append([0x00] + pick(Self.names)) }
        if chance(5) { members.shuffle(using: &random) }
        let bytes = Array(members.joined())
        return chance(8) ? [0xBF] + bytes + [0xFF] : head(5, members.count) + bytes
    }

    private func pack(_ random: inout SplitMix64) -> [UInt8] {
        let count = Int.random(in: 1...6, using: &random)
        let records = (0..<count).flatMap { record(&random, isFirst: $0 == 0) }
        return Bool.random(using: &random) ? head(4, count) + records : [0x9F] + records + [0xFF]
    }

    private func jsonNumber(_ random: inout SplitMix64) -> String {
        let n = Int.random(in: 0...70_000, using: &random)
        let usual = Int.random(in: 0..<16, using: &random)
        if usual < 14 { return ["\(n)", "\(n).5", "-\(n).25"][usual % 3] }
        let others = [
            "-0.0\(n)", "0", "-0", "0.000", "1e3", "2.5E-2", "007", "1.", ".5", "00.1", "-", "1 ",
            "12345678901234567", "123456789012345678", "1.2345678901234567",
            "0.00000000000000000", "0.0000000000000000000", "9999999999999999999999",
        ]
        return others.randomElement(using: &random) ?? "0"
    }

    private func jsonRecord(_ random: inout SplitMix64, isFirst: Bool) -> String {
        var members: [String] = []
        func chance(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &random) == 0 }
        func pick(_ words: [String]) -> String { words.randomElement(using: &random) ?? "" }
        if isFirst || chance(12) {
            if !chance(8) {
                members.append("\"bn\":\"\(chance(2) ? Self.bases[0] : pick(Self.bases))\"")
            }
            if chance(2) { members.append("\"bt\":1763000000") }
            if chance(8) { members.append("\"bt\":\(jsonNumber(&random))") }
            if chance(8) { members.append("\"bu\":\"\(pick(Self.units))\"") }
            if chance(12) { members.append("\"bv\":\(jsonNumber(&random))") }
            if chance(16) { members.append("\"bs\":\(jsonNumber(&random))") }
        }
        if !chance(12) {
            let name = pick(
                chance(3) ? Self.names + ["\\u0061b", "a\\/b"] : Array(Self.names[0..<8]))
            members.append("\"n\":\"\(name)\"")
        }
        if !chance(3) { members.append("\"u\":\"\(pick(Self.units))\"") }
        switch Int.random(in: 0..<12, using: &random) {
        case 0: members.append("\"vb\":true")
        case 1: members.append("\"vs\":\"words\"")
        case 2: members.append("\"v\":null")
        case 3: break
        default: members.append("\"v\":\(jsonNumber(&random))")
        }
        if chance(4) { members.append("\"t\":\(jsonNumber(&random))") }
        if chance(12) { members.append("\"s\":\(jsonNumber(&random))") }
        if chance(12) { members.append("\"other\":[1,{}]") }
        if chance(20) { members.append("\"n\":\"\(pick(Self.names))\"") }
        if chance(6) { members.shuffle(using: &random) }
        let text = members.joined(separator: chance(10) ? ", " : ",")
        return chance(10) ? "{ \(text)}" : "{\(text)}"
    }

    private func jsonPack(_ random: inout SplitMix64) -> [UInt8] {
        let count = Int.random(in: 1...6, using: &random)
        let records = (0..<count).map { jsonRecord(&random, isFirst: $0 == 0) }
        let separator = Int.random(in: 0..<10, using: &random) == 0 ? " ,\n" : ","
        return Array("[\(records.joined(separator: separator))]".utf8)
    }

    private func contexts() -> [FrameContext?] {
        var path = FrameContext()
        path.path = Array("/up".utf8)
        var slash = FrameContext()
        slash.path = Array("dp/".utf8)
        var known = FrameContext()
        known.device = Array("ep1".utf8)
        var both = path
        both.device = Array("ep2".utf8)
        var scope = FrameContext()
        scope.scope = Array("dtu7".utf8)
        return [nil, path, slash, known, both, scope]
    }

    // MARK: Laws

    @Test(
        "nothing changes by having seen other packs before",
        arguments: [
            ("senml-cbor", [] as [UInt8]), ("senml-json", []),
            ("coap", [0x40, 0x02, 0, 1, 0xC1, 0x70, 0xFF]),
            ("coap", [0x40, 0x02, 0, 1, 0xC1, 0x6E, 0xFF]),
        ])
    func memory(format: String, head: [UInt8]) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        let isJSON = format == "senml-json" || head.dropLast().last == 0x6E
        let format = try Fixtures.format(format)
        let warm = Decoder(format, seed: 7)
        let cold = Decoder(format, seed: 7, remembersShapes: false)
        let contexts = contexts()
        var (accepted, read) = (0, 0)
        for round in 0..<1_200 {
            var bytes = head + (isJSON ? jsonPack(&random) : pack(&random))
            if round % 3 == 0 {
                for _ in 0..<Int.random(in: 1...2, using: &random) {
                    let at = Int.random(in: head.count..<bytes.count, using: &random)
                    bytes[at] = .random(in: 0...255, using: &random)
                }
            }
            let context = round % 4 == 0 ? contexts.randomElement(using: &random) ?? nil : nil
            let note = Comment(rawValue: "seed \(seed) round \(round) \(FieldNode.hex(bytes))")
            let long = outcome(cold, bytes, context)
            // Twice: the second time it is known.
            #expect(outcome(warm, bytes, context) == long, note)
            #expect(outcome(warm, bytes, context) == long, note)
            if context == nil { #expect(explained(cold, bytes) == long, note) }
            if long.rejection == nil { accepted += 1 }
            read += long.readings.count
        }
        #expect(accepted > 200, "seed \(seed)")
        #expect(read > 500, "seed \(seed)")
    }

    @Test("every cut of a known pack is judged as that of an unknown one")
    func cuts() throws {
        let format = try Fixtures.format("senml-cbor")
        let bytes =
            [0x82, 0xA5, 0x21] + text("urn:dev:mac:0024befffe804ff1:")
            + [0x22, 0x1A, 0x69, 0x15, 0x3E, 0xC0, 0x00] + text("temperature") + [0x01]
            + text("Cel") + [0x02, 0xC4, 0x82, 0x21, 0x19, 0x09, 0x0B, 0xA3, 0x00]
            + text("humidity") + [0x01] + text("%RH") + [0x02, 0xC4, 0x82, 0x20, 0x19, 0x01, 0xE2]
        let warm = Decoder(format)
        let cold = Decoder(format, remembersShapes: false)
        #expect(outcome(warm, bytes, nil).readings.count == 2)
        for count in 0...bytes.count {
            let cut = Array(bytes[0..<count])
            #expect(outcome(warm, cut, nil) == outcome(cold, cut, nil), "\(count) bytes")
        }
        // More members announced than the head has, and fewer.
        for members in UInt8(0xA0)...0xA9 {
            var other = bytes
            other[1] = members
            #expect(outcome(warm, other, nil) == outcome(cold, other, nil), "\(members)")
        }
    }

    @Test("names that share a place in memory do not change one another")
    func crowd() throws {
        let format = try Fixtures.format("senml-cbor")
        let warm = Decoder(format)
        for round in 0..<2 {
            for n in 0..<800 {
                let bytes =
                    [0x81, 0xA4, 0x21] + text("urn:dev:mac:\(n):") + [0x00] + text("stream_\(n)")
                    + [0x01] + text("V") + [0x02, 0x18, UInt8(24 + round)]
                let found = outcome(warm, bytes, nil)
                #expect(found.readings.map(\.words.name) == ["stream_\(n)"])
                #expect(found.readings.map(\.value) == [.decimal(Int64(24 + round))])
                #expect(found.device == DeviceKey("urn:dev:mac:\(n)"))
                #expect(warm.identityText() == "urn:dev:mac:\(n)")
            }
        }
    }

    @Test("packs with more names than memory has places for keep all their words")
    func crowdedPacks() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        let warm = Decoder(try Fixtures.format("senml-cbor"))
        for _ in 0..<12 {
            let numbers = (0..<100).map { _ in Int.random(in: 0..<1_500, using: &random) }
            var bytes: [UInt8] = head(4, numbers.count)
            for (i, n) in numbers.enumerated() {
                bytes += i == 0 ? [0xA4, 0x21] + text("meter-17:") : [0xA3]
                bytes += [0x00] + text("s\(n)") + [0x01] + text("u\(n % 7)") + [0x02] + head(0, n)
            }
            let found = outcome(warm, bytes, nil)
            #expect(found.readings.map(\.words.name) == numbers.map { "s\($0)" }, "seed \(seed)")
            #expect(
                found.readings.map(\.words.unit) == numbers.map { "u\($0 % 7)" }, "seed \(seed)")
            #expect(found.readings.map(\.value) == numbers.map { .decimal(Int64($0)) })
        }
    }

    @Test("a payload that breaks off yields nothing, the message stands")
    func rollback() throws {
        let decoder = Decoder(try Fixtures.format("coap"))
        let good: [UInt8] =
            [0x40, 0x02, 0, 1, 0xC1, 0x70, 0xFF, 0x82, 0xA3, 0x21] + text("meter-17:") + [0x00]
            + text("flow") + [0x02, 0x05]
        let broken = outcome(decoder, good + [0x00], nil)
        #expect(broken == Outcome(isControl: true))
        let whole = outcome(decoder, good + [0xA2, 0x00] + text("volume") + [0x02, 0x07], nil)
        #expect(whole.readings.map(\.words.name) == ["flow", "volume"])
        #expect(whole.device == DeviceKey("meter-17"))
        #expect(!whole.isControl)
    }
}
