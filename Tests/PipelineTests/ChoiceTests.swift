// Which format a datagram is of where several of a source's accept it.

import Model
import Pipeline
import Simulator
import Testing

@Suite("Intake: which of several formats")
struct ChoiceTests {
    /// Eight days behind the virtual start: when the frames below were made.
    private static let days: Int64 = 8 * 86_400_000

    /// With three stored records of a distance sensor, or one of a soil sensor.
    private static let soil = bytes(
        hex: "f87301017855788500640c161a01000b46fb1e0fa901796b0ac1a90b46fb1e0fa901796b0abe25")
    private static let distance = bytes(
        hex: "f22883499996792000640a680601001d4c6b030988107a6b030604")

    private func names(_ formats: [String], _ frame: [UInt8]) -> [String] {
        let rig = IntakeRig(sources: [IntakeRig.source(formats)])
        rig.time.stepWall(to: ChoiceTests.days)
        rig.datagram(frame)
        rig.endTurn()
        #expect(rig.counters.framesDecoded == 1 && rig.counters.framesUnaccounted == 0)
        #expect(rig.drain().count == Int(rig.counters.readingsDecoded))
        return rig.entries.compactMap { entry in
            if case .stream(let stream) = entry { stream.name } else { nil }
        }
    }

    @Test("sisters that read each other's frames each get their own, in either order")
    func sisters() {
        for formats in [
            ["dragino-ndds75", "dragino-nse01"], ["dragino-nse01", "dragino-ndds75"],
        ] {
            #expect(names(formats, ChoiceTests.soil).contains("soil_moisture"), "\(formats)")
            #expect(names(formats, ChoiceTests.distance).contains("distance"), "\(formats)")
        }
    }

    @Test("a device whose clock is not set stays with the first format that accepts it")
    func unset() {
        var frame = ChoiceTests.distance
        for at in [17, 18, 19, 20, 23, 24, 25, 26] { frame[at] = 0 }
        let found = names(["dragino-ndds75", "dragino-nse01"], frame)
        #expect(found.contains("distance"))
    }

    @Test("a format that names no device is not chosen for a frame that another doubts")
    func nameless() {
        var frame = ChoiceTests.distance
        for at in [17, 18, 19, 20] { frame[at] = 0 }
        #expect(names(["dragino-ndds75", "cbor", "cayennelpp"], frame).contains("distance"))
    }
}
