// Numbers that do not rise: a gateway that began without its disk took some at random, and the store
// tells only the highest that it knows.

import Model
import Testing
import Uplink

@Suite struct DefinitionTests {
    private func device(_ number: UInt32) -> CatalogEntry {
        .device(
            Device(
                id: DeviceID(number), identity: "m\(number)", format: "f",
                firstSeenAt: Timestamp(milliseconds: 0)))
    }

    @Test(
        "row 7: a store that misses a stream is told the whole catalog once, then the batch again")
    func unknownStream() throws {
        var script = Script()
        script.step(.start)
        script.step(.connected)
        _ = script.welcome(device: 900)
        script.step(.entries([device(900)]))
        script.step(.entries([]))
        script.step(.leased([batch(1), batch(2)]))
        script.step(.entries([]))
        #expect(sequences(try script.sent()) == [1, 2])
        for sequence in [UInt64(1), 2] {
            let effects = script.acknowledge([sequence], .unknownStream)
            #expect(!effects.contains { if case .rejected = $0 { true } else { false } })
        }
        // The lease that is out was asked for before: what it brings is not sent behind the old mark.
        #expect(
            script.step(.leased([batch(3)])) == [.needEntries(afterDevice: 0, afterStream: 0)])
        script.step(.entries([device(7), device(900)]))
        script.step(.entries([]))
        script.step(.leased([]))
        script.wait(milliseconds: 5000)
        let again = script.step(.timer)
        #expect(again.contains { if case .lease = $0 { true } else { false } })
        script.step(.leased([batch(1), batch(2)]))
        script.step(.entries([]))
        #expect(sequences(try script.sent()) == [1, 2])
        script.step(.leased([]))
        // It has been told everything: now the readings are at fault.
        let second = script.acknowledge([1], .unknownStream)
        #expect(second.contains { if case .rejected(1, _, true) = $0 { true } else { false } })
    }

    @Test("row 7: a store that misses a stream's device is told the whole catalog when it is back")
    func undefinedDevice() throws {
        var script = Script()
        script.step(.start)
        func isTold(after number: UInt32) -> Bool {
            script.step(.connected)
            return script.welcome(device: 900, stream: 900)
                .contains(.needEntries(afterDevice: number, afterStream: number))
        }
        #expect(isTold(after: 899))
        for expected in [UInt32(0), 899, 0] {
            let goodbye = Goodbye(.malformed, "stream 901 of an undefined device 7")
            script.step(.received(UplinkFrame.goodbye(goodbye).encoded()))
            script.step(.disconnected(""))
            // What was asked for on the connection before.
            script.step(.entries([]))
            _ = try script.timer()
            #expect(isTold(after: expected))
        }
    }
}
