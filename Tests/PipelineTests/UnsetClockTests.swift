// A gateway whose clock is not set at boot: what it takes in waits for the clock, within bounds, and gets
// its true time when the clock is set.

import Batches
import Model
import Pipeline
import Ring
import Simulator
import Spool
import Testing

@Suite struct UnsetClockTests {
    /// A batcher whose intake and spool the test plays.
    private final class Rig {
        let time = VirtualTime()
        private(set) var readings: [Reading] = []
        private(set) var wakes: [Instant] = []
        private var stage: BatchStage!
        private var producer: Producer
        private let notes = SideNotes()
        private var cuts = 0

        /// `wall`: what the clock says at first.
        init(wall: Int64) {
            time.stepWall(to: wall - VirtualTime.start)
            let ring = Ring(capacity: 1 << 10)
            producer = ring.takeProducer()
            stage = BatchStage(
                settings: BatchSettings(), clock: time.clock, consumer: ring.takeConsumer(),
                epoch: Epoch(), epochNumber: 0, counted: 0, notes: notes,
                ports: BatchPorts(
                    toSpool: { [unowned self] in take($0) },
                    requestCut: { [unowned self] in mark() }, roomAgain: {},
                    wakeAt: { [unowned self] in wakes.append($0) }))
        }

        private func take(_ job: SpoolJob) {
            guard case .cut(let cut) = job else { return }
            cuts += 1
            for batch in cut.batches {
                readings += (try? BatchCodec.decode(batch.bytes).readings) ?? []
            }
        }

        private func mark() {
            notes.append(MarkNote(purpose: .cut, counters: IntakeCounters()))
            publish([Reading(markCovering: 1)])
        }

        private func publish(_ readings: [Reading]) {
            _ = producer.publish(readings.span)
        }

        /// Arrives now; `observed` nil: of a device without a clock.
        func arrive(_ value: Int64, observed: Int64? = nil, isTurn: Bool = true) {
            let wall = time.wall
            var quality: Quality = observed == nil ? [.noDeviceClock] : []
            if wall < IntakeSettings().clockSetAfter { quality.insert(.gatewayClockUnset) }
            publish([
                Reading(
                    stream: StreamID(1), value: .decimal(value), quality: quality,
                    observedAt: observed.map { Timestamp(milliseconds: $0) } ?? wall,
                    receivedAt: wall)
            ])
            if isTurn { turn() }
        }

        func turn() {
            while stage.turn() {}
            for _ in 0..<cuts { stage.cutStored() }
            cuts = 0
        }

        /// Lets time go by, with the timer as it is asked for.
        func pass(seconds: Int64) {
            for _ in 0..<seconds {
                time.advance(milliseconds: 1000)
                if wakes.contains(where: { $0 <= time.now }) {
                    wakes.removeAll()
                    stage.timer()
                    turn()
                }
            }
        }

        func cut() {
            stage.requestCut()
            turn()
        }

        /// The clock is set to the true time, or to a wrong one.
        func set(wall: Int64? = nil) {
            time.stepWall(to: wall.map { $0 - time.trueWall.milliseconds } ?? 0)
        }
    }

    private func wall(_ seconds: Int64) -> Int64 { VirtualTime.start + seconds * 1000 }

    @Test("readings of the first minute get their true times; a device's own stays, marked")
    func corrected() {
        let rig = Rig(wall: 0)
        rig.arrive(1)
        rig.pass(seconds: 20)
        rig.arrive(2, observed: wall(15))
        // From 1970 to a time that a file had kept, then to the true one.
        rig.set(wall: 1_600_000_000_000)
        rig.pass(seconds: 20)
        rig.arrive(3)
        #expect(rig.readings.isEmpty)
        // On its way to the batcher when the clock is set.
        rig.arrive(4, isTurn: false)
        rig.set()
        rig.arrive(5)
        rig.pass(seconds: 12)
        #expect(rig.readings.count == 5)
        let byValue = rig.readings.sorted { $0.bits < $1.bits }
        for (reading, second) in zip(byValue, [Int64(0), 20, 40, 40, 40]) {
            #expect(reading.receivedAt.milliseconds == wall(second), "\(reading)")
        }
        #expect(byValue.map(\.observedAt.milliseconds) == [0, 15, 40, 40, 40].map(wall))
        #expect(
            byValue.map { $0.quality.contains(.gatewayClockUnset) }
                == [false, true, false, false, false])
        // From then on as ever.
        rig.arrive(6)
        rig.pass(seconds: 12)
        #expect(rig.readings.last?.observedAt.milliseconds == wall(52))
    }

    @Test("a clock that nobody sets is waited for five minutes; then the readings go, marked")
    func patience() {
        let rig = Rig(wall: 5000)
        rig.arrive(1)
        rig.pass(seconds: 299)
        #expect(rig.readings.isEmpty)
        rig.pass(seconds: 12)
        #expect(rig.readings.map(\.receivedAt.milliseconds) == [5000])
        #expect(rig.readings.allSatisfy { $0.quality.contains(.gatewayClockUnset) })
        // What has gone stays as it is.
        rig.set()
        rig.arrive(2)
        rig.pass(seconds: 12)
        #expect(rig.readings.map(\.receivedAt.milliseconds) == [5000, wall(311)])
    }

    @Test("a stop does not wait for the clock, and a clock that is set waits for nothing")
    func others() {
        let rig = Rig(wall: 5000)
        rig.arrive(1)
        rig.cut()
        #expect(rig.readings.count == 1)
        let other = Rig(wall: VirtualTime.start)
        other.arrive(1)
        other.pass(seconds: 11)
        #expect(other.readings.map(\.receivedAt.milliseconds) == [wall(0)])
        // A jump of a clock that was set is no correction.
        other.arrive(2)
        other.set(wall: wall(400 * 86_400))
        other.pass(seconds: 11)
        #expect(other.readings.map(\.receivedAt.milliseconds) == [wall(0), wall(11)])
    }
}
