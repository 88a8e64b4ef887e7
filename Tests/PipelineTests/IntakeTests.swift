// The intake's door, with nothing behind it: what is taken, what is refused with which reason, when it
// has room, when answers leave, when the journal is handed over.

import Catalog
import Formats
import Model
import Pipeline
import Simulator
import Spool
import Testing

private func frame(_ sequence: UInt32, wantsAnswer: Bool = true) -> ReferenceFrame {
    ReferenceFrame(device: 0xA0, sequence: sequence, wantsAnswer: wantsAnswer)
}

@Suite("Intake: room")
struct IntakeRoomTests {
    @Test("has room in the middle of a turn while the turn's own readings fit")
    func slab() {
        let rig = IntakeRig(ring: 1 << 12)
        for number in 0..<128 {
            #expect(rig.stage.hasRoom, "before datagram \(number) of the slab")
            rig.datagram(frame(UInt32(number)))
        }
        rig.endTurn()
        #expect(rig.counters.framesDecoded == 128)
        #expect(rig.drain().count == 640)
    }

    @Test("has no room when the ring could not take the longest frame, and again when drained")
    func ringFull() {
        let rig = IntakeRig(ring: 1024)
        var sent = 0
        while rig.stage.hasRoom, sent < 1000 {
            rig.datagram(frame(UInt32(sent)))
            sent += 1
            if sent % 10 == 0 { rig.endTurn() }
        }
        // 512 readings are kept free: the most that one frame yields.
        #expect(sent == (1024 - 512) / 5 + 1)
        rig.endTurn()
        #expect(!rig.stage.hasRoom)
        #expect(!rig.stage.roomAgain())
        #expect(rig.drain().count == sent * 5)
        #expect(rig.stage.roomAgain())
        #expect(rig.stage.hasRoom)
    }

    @Test("readings that the ring had no room for follow in order when there is room")
    func overflow() {
        let rig = IntakeRig(ring: 64)
        for number in 0..<40 { rig.datagram(frame(UInt32(number), wantsAnswer: false)) }
        rig.endTurn()
        var all: [Reading] = []
        for _ in 0..<10 {
            all += rig.drain()
            _ = rig.stage.roomAgain()
        }
        #expect(all.count == 200)
        let pressures = all.filter { $0.value.mantissa >= 30_000 }.map { $0.value.mantissa }
        #expect(pressures == (0..<40).map { 30_000 + $0 })
    }

    @Test("has no room while too many journal bytes are not durable, and again after the commit")
    func journalBound() {
        let rig = IntakeRig(
            settings: IntakeRig.settings {
                $0.commitBytes = 1000
                $0.journalBytesInFlight = 4000
            })
        var sent: UInt32 = 0
        while rig.stage.hasRoom, sent < 1000 {
            rig.datagram(frame(sent, wantsAnswer: false))
            rig.endTurn()
            sent += 1
        }
        #expect((50...65).contains(sent))
        #expect(rig.parts.count >= 3)
        #expect(!rig.stage.hasRoom)
        rig.commit()
        #expect(rig.stage.hasRoom)
        #expect(rig.stage.levels.journalBytes < 1100)
    }

    @Test("has no room while too many answers wait, and again after the commit")
    func answersBound() {
        let rig = IntakeRig(settings: IntakeRig.settings { $0.answersWaiting = 10 })
        for number in 0..<10 {
            #expect(rig.stage.hasRoom)
            rig.datagram(frame(UInt32(number)))
        }
        #expect(!rig.stage.hasRoom)
        rig.endTurn()
        #expect(!rig.stage.hasRoom)
        rig.pass(milliseconds: 20)
        #expect(!rig.stage.hasRoom)
        rig.commit()
        #expect(rig.stage.hasRoom)
        #expect(rig.answers.count == 10)
    }
}

@Suite("Intake: what is taken and what is refused")
struct IntakeRefusalTests {
    @Test("names the reason of each refused datagram")
    func reasons() {
        let good = frame(7).bytes
        var wrongBit = good
        wrongBit[23] ^= 1
        var version = Array(good.dropLast(2))
        version[2] = 2
        let crc = crc16Modbus(version)
        version += [UInt8(truncatingIfNeeded: crc), UInt8(crc >> 8)]
        let table: [(bytes: [UInt8], isTruncated: Bool, reason: Rejection)] = [
            ([], false, .empty), ([], true, .empty), (good, true, .oversized),
            (wrongBit, false, .badChecksum), (version, false, .badVersion),
            (Array(good.prefix(40)), false, .truncated), ([1, 2, 3], false, .badHeader),
        ]
        for (bytes, isTruncated, reason) in table {
            let rig = IntakeRig()
            rig.datagram(bytes, isTruncated: isTruncated)
            rig.endTurn()
            #expect(rig.counters[reason] == 1, "\(reason) of \(bytes.count) bytes")
            #expect(rig.counters.framesReceived == 1 && rig.counters.framesRejected == 1)
            #expect(rig.counters.framesUnaccounted == 0)
            #expect(rig.drain().isEmpty && rig.answers.isEmpty)
        }
    }

    @Test("an unknown device is accepted, set aside with its bytes, or refused, by the policy")
    func policies() {
        let table: [(DevicePolicy, Rejection?)] = [
            (.accept, nil), (.quarantine, .quarantined), (.reject, .unknownDevice),
        ]
        for (policy, reason) in table {
            let rig = IntakeRig(sources: [IntakeRig.source(policy: policy)])
            rig.datagram(frame(1))
            // The repetition of a refused frame is no duplicate.
            rig.datagram(frame(1))
            rig.endTurn()
            rig.pass(milliseconds: 250)
            rig.commit()
            #expect(rig.counters.framesUnaccounted == 0)
            if let reason {
                #expect(rig.counters[reason] == 2)
                #expect(rig.drain().isEmpty && rig.answers.isEmpty && rig.entries.isEmpty)
            } else {
                #expect(rig.counters.framesDecoded == 1 && rig.counters.framesDuplicate == 1)
                #expect(rig.drain().count == 5 && rig.answers.count == 2)
                #expect(rig.entries.count == 6)
            }
            #expect(
                rig.quarantined.map(\.bytes)
                    == (policy == .quarantine ? [frame(1).bytes, frame(1).bytes] : []))
        }
    }

    @Test("a known device is accepted under every policy", arguments: DevicePolicy.allCases)
    func knownDevice(policy: DevicePolicy) {
        let device = Device(
            id: DeviceID(4), identity: frame(1).identity, format: "sluice-reference",
            firstSeenAt: Timestamp(milliseconds: 0))
        let rig = IntakeRig(
            sources: [IntakeRig.source(policy: policy)], restoring: [.device(device)])
        rig.datagram(frame(1))
        rig.endTurn()
        #expect(rig.counters.framesDecoded == 1)
        #expect(rig.drain().count == 5)
    }

    @Test("a full catalog refuses frames of new devices and drops readings of new streams")
    func catalogFull() {
        let rig = IntakeRig(limits: CatalogLimits(devices: 2, streams: 7))
        for device in UInt64(1)...3 { rig.datagram(ReferenceFrame(device: device, sequence: 1)) }
        rig.endTurn()
        #expect(rig.counters[Rejection.catalogFull] == 1)
        #expect(rig.counters[Drop.catalogFull] == 3)
        #expect(rig.counters.framesUnaccounted == 0 && rig.counters.readingsUnaccounted == 0)
        #expect(rig.drain().count == 7)
    }

    @Test("device times outside the window are replaced and flagged, or dropped, by the rule")
    func timestamps() {
        let start = VirtualTime.start
        let outside = [start - 31 * 86_400_000, start + 6 * 60_000]
        let inside = [start - 29 * 86_400_000, start + 4 * 60_000, start]
        for drops in [false, true] {
            let rig = IntakeRig(sources: [IntakeRig.source(timeRule: TimeRule(drops: drops))])
            for (number, time) in (outside + inside + [0]).enumerated() {
                rig.datagram(ReferenceFrame(device: 1, sequence: UInt32(number), time: time))
            }
            rig.endTurn()
            let readings = rig.drain()
            #expect(rig.counters[Drop.timestampImplausible] == (drops ? 10 : 0))
            #expect(rig.counters.readingsUnaccounted == 0)
            #expect(readings.count == (drops ? 20 : 30))
            let replaced = readings.filter { $0.quality.contains(.deviceClockImplausible) }
            #expect(replaced.count == (drops ? 0 : 10))
            #expect(replaced.allSatisfy { $0.observedAt.milliseconds == start })
            #expect(readings.count { $0.quality.contains(.noDeviceClock) } == 5)
            let kept = readings.filter { $0.quality.isEmpty }.map(\.observedAt.milliseconds)
            #expect(Set(kept) == Set(inside))
        }
    }

    @Test("drops of the kernel are counted beside the frames")
    func kernelDrops() {
        let rig = IntakeRig()
        rig.endTurn(kernelDrops: 3)
        rig.datagram(frame(1))
        rig.endTurn(kernelDrops: 4)
        #expect(rig.counters.kernelDrops == 7 && rig.counters.framesReceived == 1)
    }
}

@Suite("Intake: answers and group commit")
struct IntakeAnswerTests {
    @Test("answers leave only when their frames are durable, each part for itself")
    func afterCommit() {
        let rig = IntakeRig()
        rig.datagram(frame(1))
        rig.endTurn()
        rig.pass(milliseconds: 20)
        rig.datagram(frame(2))
        rig.endTurn()
        rig.pass(milliseconds: 20)
        #expect(rig.parts.map(\.nextPosition) == [1, 2])
        #expect(rig.answers.isEmpty && rig.counters.framesAnswered == 0)
        rig.stage.committed(upTo: 1)
        #expect(rig.answers.map(\.bytes) == [frame(1).answer])
        // An older word changes nothing.
        rig.stage.committed(upTo: 0)
        #expect(rig.answers.count == 1)
        rig.stage.committed(upTo: 2)
        #expect(rig.answers.map(\.bytes) == [frame(1).answer, frame(2).answer])
        #expect(rig.counters.framesAnswered == 2)
    }

    @Test("a duplicate is answered again, after the commit and not before")
    func duplicate() {
        let rig = IntakeRig()
        rig.datagram(frame(1))
        rig.datagram(frame(1))
        rig.endTurn()
        #expect(rig.counters.framesDuplicate == 1)
        rig.pass(milliseconds: 20)
        rig.datagram(frame(1))
        rig.endTurn()
        #expect(rig.answers.isEmpty)
        rig.commit()
        #expect(rig.answers.count == 3)
        rig.datagram(frame(1))
        rig.endTurn()
        #expect(rig.answers.count == 4 && rig.counters.framesAnswered == 4)
        #expect(rig.drain().count == 5)
        #expect(rig.counters.framesUnaccounted == 0)
    }

    @Test("a control frame is counted, answered and yields nothing")
    func control() throws {
        let text = """
            {
              format: "beat", title: "heartbeat", version: "1",
              framing: { anchors: [{ at: 0, bytes: "42" }], length: 2, maximum: 2 },
              layout: [{ skip: 1 }, { name: "n", type: "u8" }, { control: true }],
              exchange: { answer: { parts: [{ hex: "43" }, { field: "n", type: "u8" }] } },
              tests: [],
            }
            """
        let library = try FormatLibrary(text: text, file: "beat.json5")
        let source = IntakeSource(
            name: "test", formats: library.formats, policy: .reject, timeRule: TimeRule())
        let rig = IntakeRig(sources: [source], library: library)
        rig.datagram([0x42, 9])
        rig.endTurn()
        #expect(rig.counters.framesControl == 1 && rig.counters.framesUnaccounted == 0)
        #expect(rig.answers.map(\.bytes) == [[0x43, 9]])
        #expect(rig.drain().isEmpty && rig.parts.isEmpty)
    }

    @Test("hands the journal over 20 ms after the first frame that waits for an answer")
    func answerDeadline() {
        let rig = IntakeRig()
        rig.datagram(frame(1, wantsAnswer: false))
        rig.endTurn()
        rig.pass(milliseconds: 100)
        rig.datagram(frame(2))
        rig.endTurn()
        rig.pass(milliseconds: 19)
        #expect(rig.parts.isEmpty)
        rig.pass(milliseconds: 1)
        #expect(rig.parts.map(\.frameCount) == [2])
    }

    @Test("hands the journal over 250 ms after the first frame that waits for none")
    func quietDeadline() {
        let rig = IntakeRig()
        rig.datagram(frame(1, wantsAnswer: false))
        rig.endTurn()
        rig.pass(milliseconds: 249)
        rig.datagram(frame(2, wantsAnswer: false))
        rig.endTurn()
        #expect(rig.parts.isEmpty)
        rig.pass(milliseconds: 1)
        #expect(rig.parts.map(\.frameCount) == [2])
        rig.pass(milliseconds: 5000)
        #expect(rig.parts.count == 1, "nothing waits, nothing is written")
    }

    @Test("hands the journal over at 64 KiB, without waiting")
    func bytesDeadline() {
        let rig = IntakeRig(ring: 1 << 14)
        var sent: UInt32 = 0
        while rig.parts.isEmpty, sent < 2000 {
            rig.datagram(frame(sent, wantsAnswer: false))
            rig.endTurn()
            sent += 1
        }
        #expect((900...1024).contains(sent))
        #expect(rig.parts[0].bytes.count >= 64 << 10)
    }

    @Test("counters of refused frames become durable within ten seconds")
    func countersDeadline() {
        let rig = IntakeRig()
        rig.datagram([])
        rig.endTurn()
        rig.pass(milliseconds: 9_999)
        #expect(rig.parts.isEmpty)
        rig.pass(milliseconds: 1)
        #expect(rig.parts.map(\.frameCount) == [0])
        #expect(rig.parts[0].counters[.empty] == 1)
    }

    @Test("a cut hands its journal over first: what is in a batch is in the journal")
    func cutAfterPart() {
        // Otherwise a crash between the two forgets the frame, but not its readings, and the
        // device's repetition is stored again.
        let rig = IntakeRig()
        rig.datagram(frame(1))
        rig.datagram(frame(2))
        rig.stage.mark(.cut)
        let mark = rig.drain().last
        #expect(mark?.isMark == true && mark?.bits == 2)
        #expect(rig.parts.last?.nextPosition == 2)
        rig.stage.mark(.cut)
        #expect(rig.parts.count == 1, "an empty part is no news")
    }
}

@Suite("Intake: replay")
struct IntakeReplayTests {
    private func replay(_ rig: IntakeRig, _ frame: ReferenceFrame, at time: Int64, isCovered: Bool)
    {
        rig.stage.replay(
            frame.bytes.span, source: .init(name: "test", format: "sluice-reference"),
            receivedAt: Timestamp(milliseconds: time), isCovered: isCovered)
        _ = rig.stage.publishReplayed()
    }

    @Test("covered frames only refill the duplicate memory, the others are taken again")
    func coveredAndNot() {
        let rig = IntakeRig(sources: [IntakeRig.source(policy: .accept)], firstPosition: 2)
        replay(rig, frame(1), at: VirtualTime.start, isCovered: true)
        replay(rig, frame(2), at: VirtualTime.start, isCovered: false)
        #expect(rig.drain().count == 5)
        #expect(rig.counters.framesDecoded == 1 && rig.parts.isEmpty && rig.answers.isEmpty)
        for sequence in UInt32(1)...3 { rig.datagram(frame(sequence)) }
        rig.endTurn()
        #expect(rig.counters.framesDuplicate == 2 && rig.counters.framesDecoded == 2)
        #expect(rig.drain().count == 5)
    }

    @Test("what the journal holds was new when it came, though its memory is longer at replay")
    func forgottenThenJournaled() {
        // The duplicate memory keeps a key for one to two windows. A device that begins its numbers
        // anew after 200 s may have been taken as new; at replay the memory must not refuse it.
        let rig = IntakeRig(firstPosition: 2)
        replay(rig, frame(1), at: VirtualTime.start, isCovered: true)
        replay(rig, frame(1), at: VirtualTime.start + 200_000, isCovered: false)
        #expect(rig.counters.framesDecoded == 1 && rig.counters.framesDuplicate == 0)
        #expect(rig.drain().count == 5)
    }

    @Test("under a policy that refuses unknown devices, journaled frames are still taken")
    func policyAtReplay() {
        let rig = IntakeRig(sources: [IntakeRig.source(policy: .reject)], firstPosition: 1)
        replay(rig, frame(1), at: VirtualTime.start, isCovered: false)
        #expect(rig.counters.framesDecoded == 1)
    }

    @Test("a frame whose source or format is gone is set aside with its bytes")
    func formatGone() {
        let rig = IntakeRig(firstPosition: 1)
        for (source, format) in [("gone", "sluice-reference"), ("test", "gone")] {
            rig.stage.replay(
                frame(1).bytes.span, source: .init(name: source, format: format),
                receivedAt: Timestamp(milliseconds: VirtualTime.start), isCovered: false)
        }
        _ = rig.stage.publishReplayed()
        #expect(rig.counters[.formatGone] == 2)
        #expect(rig.quarantined.map(\.bytes) == [frame(1).bytes, frame(1).bytes])
    }
}
