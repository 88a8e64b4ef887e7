// Readings find their streams whatever order and number a frame has them in, and datagrams that are handed
// over together come to the same as one by one.

import Catalog
import Formats
import Model
import Pipeline
import Simulator
import Testing

@Suite("Intake: output lists")
struct OutputListTests {
    /// Frames of a device's number, a filler that makes each new, and entries of channel, kind and value.
    private static let text = """
        { format: "mix", framing: { length: "datagram", maximum: 400 }, identity: "{id}",
          layout: [ { name: "id", type: "u16be" }, { name: "salt", type: "u32be" },
            { tlv: { id: [ { name: "channel", type: "u8" }, { name: "kind", type: "u8" } ] },
              list: "entries", cases: [
                { match: 1, name: "a", layout: [
                    { name: "v", type: "u16be", reading: "a_{channel}", quantity: "level",
                      range: [0, 60000], outOfRange: "drop" } ] },
                { match: 2, name: "b", layout: [
                    { name: "v", type: "u16be", reading: "b_{channel}", quantity: "level" } ] },
            ] } ] }
        """

    private static func rig() throws -> IntakeRig {
        let library = try FormatLibrary(text: text, file: "mix")
        return IntakeRig(
            sources: [
                IntakeSource(
                    name: "test", formats: library.formats, policy: .accept, timeRule: TimeRule())
            ], library: library, ring: 1 << 15)
    }

    /// What a stream of that name must carry.
    private static func value(_ device: UInt64, _ channel: UInt64, _ kind: UInt64) -> UInt64 {
        device * 100 + channel * 4 + kind
    }

    @Test("each reading goes to the stream of its name", arguments: 1...6)
    func names(seed: UInt64) throws {
        try send(frames: 3000, usual: 0.6, most: 80, seed)
    }

    @Test("also when frames have more lists than there is room for, for long")
    func exhausted() throws {
        try send(frames: 110_000, usual: 0.01, most: 5, 7)
    }

    private func send(frames: Int, usual: Double, most: UInt64, _ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let rig = try OutputListTests.rig()
        var published = 0
        var readings: [Reading] = []
        for turn in 0..<frames {
            let device = random.next() % 40
            var frame = [0, UInt8(device)]
            for i in 0..<4 { frame.append(UInt8(truncatingIfNeeded: turn >> (8 * i))) }
            // A device's usual entries, others, now and then more than a list holds; some are dropped.
            let isUsual = random.chance(usual)
            let count = isUsual ? 3 : random.chance(0.05) ? most : random.next() % 7
            for entry in 0..<count {
                let channel = isUsual ? entry : random.next() % 9
                let kind = isUsual ? 1 + entry % 2 : 1 + random.next() % 2
                let isDropped = kind == 1 && random.chance(0.05)
                let value = isDropped ? 60_001 : OutputListTests.value(device, channel, kind)
                if !isDropped { published += 1 }
                frame += [UInt8(channel), UInt8(kind), UInt8(value >> 8), UInt8(value & 255)]
            }
            rig.datagram(frame)
            if turn % 50 == 49 || turn == frames - 1 {
                rig.endTurn()
                rig.commit()
                readings += rig.drain()
            }
        }
        var names: [StreamID: (device: DeviceID, name: String)] = [:]
        var identities: [DeviceID: UInt64] = [:]
        for entry in rig.entries {
            switch entry {
            case .stream(let stream): names[stream.id] = (stream.device, stream.name)
            case .device(let device): identities[device.id] = UInt64(device.identity)
            }
        }
        #expect(readings.count == published, "seed \(seed)")
        #expect(rig.counters.framesDecoded == UInt64(frames), "seed \(seed)")
        // By stream, so that few names are taken apart.
        var expected: [StreamID: Value] = [:]
        for (stream, found) in names {
            let device = try #require(identities[found.device], "seed \(seed)")
            let parts = found.name.split(separator: "_")
            let channel = try #require(UInt64(parts[1]))
            let value = OutputListTests.value(device, channel, parts[0] == "a" ? 1 : 2)
            expected[stream] = .decimal(Int64(value))
        }
        let wrong = readings.filter { expected[$0.stream] != $0.value }
        #expect(wrong.isEmpty, "seed \(seed): \(wrong.count) of \(readings.count)")
    }

    @Test("a reload whose outputs stand elsewhere changes no stream")
    func reload() throws {
        let rig = try OutputListTests.rig()
        func send(_ salt: UInt8) {
            rig.datagram([0, 1, 0, 0, 0, salt, 1, 1, 0, 7, 1, 2, 0, 8])
            rig.endTurn()
        }
        for salt in 0..<4 as Range<UInt8> { send(salt) }
        let before = rig.drain()
        let swapped = OutputListTests.text
            .replacing("\"a_{channel}\"", with: "\"x\"").replacing(
                "\"b_{channel}\"", with: "\"a_{channel}\""
            )
            .replacing("\"x\"", with: "\"b_{channel}\"")
        rig.stage.replaceFormats(try FormatLibrary(text: swapped, file: "mix").formats)
        send(9)
        let after = rig.drain()
        #expect(before.count == 8 && after.count == 2)
        #expect(after.map(\.stream) == [before[1].stream, before[0].stream])
    }

    @Test("datagrams together come to the same as one by one", arguments: 1...4)
    func together(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let (one, all) = (IntakeRig(), IntakeRig())
        var sequence: UInt32 = 0
        for _ in 0..<60 {
            let slot = 96
            var slab: [UInt8] = []
            var arrivals: [Arrival] = []
            for _ in 0..<random.next() % 40 {
                sequence += random.chance(0.8) ? 1 : 0
                var bytes = ReferenceFrame(
                    device: random.next() % 9, sequence: sequence,
                    wantsAnswer: random.chance(0.3)
                ).bytes
                if random.chance(0.1) { bytes[Int(random.next() % 64)] ^= 1 }
                if random.chance(0.1) { bytes.removeLast(Int(random.next() % 65)) }
                let isTruncated = random.chance(0.05)
                one.datagram(bytes, isTruncated: isTruncated)
                arrivals.append(
                    Arrival(
                        from: Endpoint.ipv4(0x7F00_0001, port: 7), receivedAt: all.time.wall,
                        count: bytes.count, isTruncated: isTruncated))
                slab += bytes + [UInt8](repeating: 0xEE, count: slot - bytes.count)
            }
            all.stage.datagrams(arrivals.span, in: slab.span, slotBytes: slot, source: 0)
            for rig in [one, all] {
                rig.endTurn()
                rig.commit()
            }
        }
        for reason in Rejection.allCases {
            #expect(one.counters[reason] == all.counters[reason], "\(reason), seed \(seed)")
        }
        for count in [
            \IntakeCounters.datagrams, \.bytesReceived, \.framesReceived, \.framesDecoded,
            \.framesDuplicate, \.framesAnswered, \.readingsDecoded, \.readingsPublished,
        ] {
            #expect(one.counters[keyPath: count] == all.counters[keyPath: count], "seed \(seed)")
        }
        #expect(one.drain() == all.drain(), "seed \(seed)")
        #expect(one.answers.map(\.bytes) == all.answers.map(\.bytes), "seed \(seed)")
        #expect(one.counters.framesUnaccounted == 0 && one.counters.framesDecoded > 0)
    }
}
