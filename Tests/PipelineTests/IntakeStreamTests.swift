// Frames in streams and hostile bytes through both doors of the intake.

import Catalog
import Formats
import Model
import Pipeline
import Simulator
import Testing

private func frame(_ sequence: UInt32) -> ReferenceFrame {
    ReferenceFrame(device: 0xA0, sequence: sequence)
}

/// Good frames of three protocols, from the tests in their format files.
private let known: [(format: String, bytes: [UInt8])] = [
    ("sluice-reference", frame(1).bytes),
    ("dlt645", bytes(hex: "fefe681290785634126891063334343538567b16")),
    ("modbus-rtu", bytes(hex: "110304cca07fffb4f0")),
]

@Suite("Intake: streams and hostile bytes")
struct IntakeStreamTests {
    @Test("takes several frames of one call, passes over noise, keeps the unfinished rest")
    func several() {
        let rig = IntakeRig()
        let noise: [UInt8] = [0, 0x53, 1, 2]
        let rest = Array(frame(3).bytes.prefix(20))
        let progress = rig.stream(frame(1).bytes + noise + frame(2).bytes + rest)
        #expect(progress == StreamProgress(consumed: 132, frames: 2, isSuspended: false))
        #expect(rig.counters.bytesSkipped == 4 && rig.counters.framesDecoded == 2)
        let again = rig.stream(frame(3).bytes)
        #expect(again.consumed == 64 && again.frames == 1)
        rig.endTurn()
        #expect(rig.drain().count == 15 && rig.counters.framesUnaccounted == 0)
    }

    @Test("bytes that come one at a time make the same frames")
    func trickle() {
        let rig = IntakeRig()
        var held: [UInt8] = []
        for byte in [0xFF, 0xFE] + frame(1).bytes + frame(2).bytes {
            held.append(byte)
            let progress = rig.stream(held)
            held.removeFirst(progress.consumed)
        }
        rig.endTurn()
        #expect(held.isEmpty)
        #expect(rig.counters.framesDecoded == 2 && rig.counters.bytesSkipped == 2)
    }

    @Test("a broken frame in front does not swallow the good one behind it")
    func resync() {
        let rig = IntakeRig()
        var broken = frame(1).bytes
        broken[30] ^= 4
        let progress = rig.stream(broken + frame(2).bytes)
        rig.endTurn()
        #expect(progress.consumed == 128)
        #expect(rig.counters.framesDecoded == 1 && rig.counters[.badChecksum] == 1)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("is suspended where the room ends, and goes on from there")
    func suspended() {
        let rig = IntakeRig(ring: 1024)
        let all = (0..<150).flatMap { frame(UInt32($0)).bytes }
        let first = rig.stream(all)
        rig.endTurn()
        #expect(first.isSuspended && first.frames == 103 && first.consumed == 103 * 64)
        #expect(rig.drain().count == 515)
        let second = rig.stream(Array(all[first.consumed...]))
        rig.endTurn()
        #expect(!second.isSuspended && first.frames + second.frames == 150)
    }

    @Test("answers go to their connection")
    func answers() {
        let rig = IntakeRig()
        _ = rig.stream(frame(1).bytes, connection: 4)
        _ = rig.stream(frame(2).bytes, connection: 5)
        rig.endTurn()
        rig.pass(milliseconds: 20)
        rig.commit()
        #expect(
            rig.answers.map(\.to) == [
                .connection(ConnectionID(4)), .connection(ConnectionID(5)),
            ])
    }

    @Test("a connection may end, and another's frame be answered, while answers are being sent")
    func endsWhileAnswered() {
        let rig = IntakeRig()
        _ = rig.stream(frame(1).bytes, connection: 1)
        _ = rig.stream(frame(2).bytes, connection: 2)
        rig.endTurn()
        rig.pass(milliseconds: 20)
        rig.onAnswer = { [unowned rig] recipient in
            guard recipient == .connection(ConnectionID(1)) else { return }
            rig.stage.connectionEnded(ConnectionID(1), source: 0, unconsumed: 3)
            // A repetition of what is durable is answered at once, behind the others.
            _ = rig.stream(frame(2).bytes, connection: 3)
        }
        rig.commit()
        #expect(rig.counters[.connectionEnded] == 1)
        rig.endTurn()
        #expect(rig.answers.map(\.to) == [1, 2, 3].map { .connection(ConnectionID($0)) })
        #expect(rig.counters.framesAnswered == 3 && rig.counters.framesUnaccounted == 0)
    }

    @Test("frames that name no device are refused, or belong to the device that the source names")
    func unnamed() {
        var source = IntakeRig.source(["cayennelpp"])
        let channels = bytes(hex: "03670110056700ff")
        let strict = IntakeRig(sources: [source])
        strict.datagram(channels)
        #expect(strict.counters[.noIdentity] == 1)
        source.unnamed = "freezer-3"
        let rig = IntakeRig(sources: [source])
        rig.datagram(channels)
        rig.endTurn()
        #expect(rig.counters.framesDecoded == 1 && rig.drain().count == 2)
        rig.datagram(channels)
        rig.endTurn()
        let devices = rig.entries.compactMap { entry -> String? in
            if case .device(let device) = entry { device.identity } else { nil }
        }
        #expect(devices == ["freezer-3"])
    }

    @Test("a connection that ends within a frame counts one frame, one between frames none")
    func ended() {
        let rig = IntakeRig()
        rig.stage.connectionEnded(ConnectionID(1), source: 0, unconsumed: 0)
        #expect(rig.counters.framesReceived == 0)
        rig.stage.connectionEnded(ConnectionID(1), source: 0, unconsumed: 17)
        #expect(rig.counters.framesReceived == 1 && rig.counters[.connectionEnded] == 1)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("a connection keeps to the format it began with; another connection chooses anew")
    func severalFormats() {
        let rig = IntakeRig(sources: [IntakeRig.source(["dlt645", "sluice-reference"])])
        let meter = known[1].bytes
        #expect(rig.stream(frame(1).bytes, connection: 1).frames == 1)
        #expect(rig.stream(meter, connection: 2).frames == 1)
        #expect(rig.stream(meter + frame(2).bytes, connection: 1).frames == 1)
        rig.endTurn()
        #expect(rig.counters.framesDecoded == 3 && rig.counters.framesUnaccounted == 0)
    }

    @Test("every prefix of every known frame, by datagram and by stream, is accounted for")
    func prefixes() {
        let names = known.map(\.format)
        for (format, whole) in known {
            for formats in [[format], names] {
                let rig = IntakeRig(sources: [IntakeRig.source(formats)])
                for count in 0...whole.count {
                    let piece = Array(whole.prefix(count))
                    rig.datagram(piece)
                    let progress = rig.stream(piece, connection: UInt64(count))
                    #expect(progress.consumed <= count)
                    rig.stage.connectionEnded(
                        ConnectionID(UInt64(count)), source: 0,
                        unconsumed: count - progress.consumed)
                }
                rig.endTurn()
                #expect(rig.counters.framesDecoded > 0, "\(format) among \(formats)")
                #expect(rig.counters.framesUnaccounted == 0, "\(format) among \(formats)")
                // Each prefix twice, as a datagram and as a stream.
                #expect(rig.counters.bytesReceived == UInt64(whole.count * (whole.count + 1)))
                #expect(rig.counters.readingsUnaccounted == 0)
                #expect(rig.drain().count == Int(rig.counters.readingsPublished))
            }
        }
    }

    @Test(
        "frames with changed bytes and noise are accounted for",
        arguments: 1...8 as ClosedRange<UInt64>)
    func damage(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let rig = IntakeRig(sources: [IntakeRig.source(known.map(\.format))])
        var held: [UInt8] = []
        var sent = 0
        for _ in 0..<400 {
            var piece = known[random.below(3)].bytes
            for _ in 0..<random.below(4) {
                piece[random.below(piece.count)] = UInt8(random.below(256))
            }
            if random.chance(0.2) { piece = random.bytes(random.below(300)) }
            sent += piece.count
            if random.chance(0.5) {
                rig.datagram(piece, isTruncated: random.chance(0.05))
            } else {
                held += piece
                let progress = rig.stream(held)
                held.removeFirst(progress.consumed)
                #expect(held.count <= 4096, "seed \(seed): the rest is shorter than a frame")
            }
            if random.chance(0.3) { rig.endTurn() }
            _ = rig.drain()
        }
        rig.stage.connectionEnded(ConnectionID(1), source: 0, unconsumed: held.count)
        rig.endTurn()
        #expect(rig.counters.bytesReceived == UInt64(sent), "seed \(seed)")
        #expect(rig.counters.framesUnaccounted == 0, "seed \(seed)")
        #expect(rig.counters.readingsUnaccounted == 0, "seed \(seed)")
    }
}
