// The catalog in memory against plain dictionaries, its limits, and what restarts and reloads keep.

import Catalog
import Model
import Testing

let day = Timestamp(milliseconds: 1_795_000_000_000)

func emptyTable(devices: Int = 1000, streams: Int = 1000) -> CatalogTable {
    CatalogTable(
        limits: CatalogLimits(devices: devices, streams: streams), seed: 1, restoring: [])
}

extension CatalogTable {
    /// Enters a device with a global identity.
    mutating func enter(_ identity: String) throws(Rejection) -> DeviceID {
        guard let key = DeviceKey(identity) else { throw .noIdentity }
        return try addDevice(key, scope: 0, identity: identity, format: "f", at: day).id
    }

    /// Enters a stream of format 0.
    mutating func enter(
        _ name: String, of device: DeviceID, output: UInt16 = 0, unit: String = "V",
        priority: Priority = .live
    ) throws(Drop) -> StreamID {
        try addStream(
            device, format: 0, output: output, discriminator: 0, name: name, quantity: "voltage",
            unit: unit, priority: priority)
    }
}

@Suite("Catalog table") struct CatalogTableTests {
    @Test("agrees with plain dictionaries over random turns", arguments: 0..<8)
    func model(round: Int) throws {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix64(seed: seed)
        var table = CatalogTable(
            limits: CatalogLimits(devices: 300, streams: 900), seed: seed, restoring: [])
        var devices: [String: DeviceID] = [:]
        var streams: [String: StreamID] = [:]
        var additions: [CatalogEntry] = []
        for _ in 0..<6000 {
            let scope = UInt32.random(in: 0...3, using: &random)
            let short = "m\(Int.random(in: 0..<100, using: &random))"
            let identity = scope == 0 ? short : "source\(scope):\(short)"
            let key = try #require(DeviceKey(short))
            let fast = table.device(key, scope: scope, seenAt: day)?.id
            if let fast { #expect(fast == devices[identity], "seed \(seed)") }
            let known = devices[identity]
            let found = table.device(key, scope: scope, identity: identity, seenAt: day)?.id
            #expect(found == known, "seed \(seed)")
            guard known != nil || devices.count < 300 else { continue }
            let device = try table.addDevice(
                key, scope: scope, identity: identity, format: "f", at: day
            ).id
            if let known { #expect(device == known, "seed \(seed)") }
            devices[identity] = device
            #expect(table.device(key, scope: scope, seenAt: day)?.id == device, "seed \(seed)")

            let (output, tariff) = (
                UInt16.random(in: 0..<3, using: &random), UInt64.random(in: 0..<3, using: &random)
            )
            let name = "energy_\(output)_\(tariff)"
            let path = "\(identity)/\(name)"
            let quick = table.stream(device, format: 7, output: output, discriminator: tariff)
            if let quick { #expect(quick == streams[path], "seed \(seed)") }
            guard streams[path] != nil || streams.count < 900 else { continue }
            let stream = try table.addStream(
                device, format: 7, output: output, discriminator: tariff, name: name,
                quantity: "energy", unit: "kWh", priority: .live)
            if let known = streams[path] { #expect(stream == known, "seed \(seed)") }
            streams[path] = stream
            if Int.random(in: 0..<500, using: &random) == 0 { table.forgetPassingNames() }
            if Int.random(in: 0..<300, using: &random) == 0 { additions += table.takeAdditions() }
        }
        additions += table.takeAdditions()
        #expect(table.deviceCount == devices.count)
        #expect(table.streamCount == streams.count)
        // Dense from 1, each entry announced once.
        #expect(Set(devices.values.map(\.rawValue)) == Set(1...UInt32(devices.count)))
        #expect(Set(streams.values.map(\.rawValue)) == Set(1...UInt32(streams.count)))
        #expect(additions.count == devices.count + streams.count)
        for (identity, id) in devices { #expect(table.device(id)?.identity == identity) }
    }

    @Test("a restart keeps every number and looks nothing up by strings twice")
    func restart() throws {
        var table = emptyTable()
        let meter = try table.enter("860123456789012")
        let short = try #require(DeviceKey("17"))
        let local = try table.addDevice(
            short, scope: 2, identity: "boiler-room:17", format: "modbus", at: day
        ).id
        let a = try table.enter("voltage_a", of: meter, output: 0)
        let b = try table.enter("voltage_a", of: local, output: 0)
        #expect([meter, local].map(\.rawValue) == [1, 2])
        #expect([a, b].map(\.rawValue) == [1, 2])
        let entries = table.takeAdditions()
        let nothing = table.takeAdditions()
        #expect(nothing.isEmpty)

        var again = CatalogTable(
            limits: CatalogLimits(devices: 10, streams: 10), seed: 99,
            restoring: entries.reversed())
        // A whole identity is known at once, a local one through the slow path, under any number.
        let meterKey = try #require(DeviceKey("860123456789012"))
        let byKey = again.device(meterKey, scope: 0, seenAt: day)?.id
        #expect(byKey == meter)
        let unknown = again.device(short, scope: 5, seenAt: day)?.id
        #expect(unknown == nil)
        let byText = again.device(short, scope: 5, identity: "boiler-room:17", seenAt: day)?.id
        #expect(byText == local)
        let cached = again.device(short, scope: 5, seenAt: day)?.id
        #expect(cached == local)
        // Streams are known by name, here under other output numbers.
        #expect(again.stream(meter, format: 0, output: 0, discriminator: 0) == nil)
        let restored = try again.enter("voltage_a", of: meter, output: 41)
        #expect(restored == a)
        #expect(again.stream(meter, format: 0, output: 41, discriminator: 0) == a)
        let additions = again.takeAdditions()
        #expect(additions.isEmpty)
        let fresh = try again.enter("voltage_b", of: meter)
        #expect(fresh.rawValue == 3)
    }

    @Test("a reload that renumbers sources and outputs keeps the numbers of devices and streams")
    func reload() throws {
        var table = emptyTable()
        let one = try #require(DeviceKey("1"))
        let cellar = try table.addDevice(
            one, scope: 1, identity: "cellar:1", format: "f", at: day
        ).id
        let roof = try table.addDevice(one, scope: 2, identity: "roof:1", format: "f", at: day).id
        let voltage = try table.enter("voltage", of: cellar, output: 0)
        let current = try table.enter("current", of: cellar, output: 1)
        table.forgetPassingNames()
        let forgotten = table.device(one, scope: 1, seenAt: day)?.id
        #expect(forgotten == nil)
        let swapped = table.device(one, scope: 1, identity: "roof:1", seenAt: day)?.id
        #expect(swapped == roof)
        #expect(table.stream(cellar, format: 0, output: 0, discriminator: 0) == nil)
        let nowFirst = try table.enter("current", of: cellar, output: 0)
        let nowSecond = try table.enter("voltage", of: cellar, output: 1)
        #expect(nowFirst == current)
        #expect(nowSecond == voltage)
    }

    @Test("another unit under the same name is another stream, in any order and after a restart")
    func units() throws {
        var table = emptyTable()
        let meter = try table.enter("m")
        let kilo = try table.enter("energy", of: meter, unit: "kWh")
        let plain = try table.enter("energy", of: meter, unit: "Wh")
        #expect(kilo != plain)
        #expect(table.stream(plain)?.name == "energy:Wh")
        let kiloAgain = try table.enter("energy", of: meter, unit: "kWh")
        let plainAgain = try table.enter("energy", of: meter, unit: "Wh")
        #expect(kiloAgain == kilo)
        #expect(plainAgain == plain)
        var again = CatalogTable(
            limits: table.limits, seed: 3, restoring: Array(table.takeAdditions()))
        let restored = try again.enter("energy", of: meter, unit: "Wh")
        #expect(restored == plain)
        #expect(again.streams(of: meter).map(\.unit) == ["kWh", "Wh"])
    }

    @Test("a changed priority keeps the number and is announced")
    func priority() throws {
        var table = emptyTable()
        let meter = try table.enter("m")
        let leak = try table.enter("leak", of: meter, priority: .live)
        _ = table.takeAdditions()
        let again = try table.enter("leak", of: meter, priority: .alarm)
        #expect(again == leak)
        let known = table.stream(leak)
        let changed = try #require(known)
        #expect(changed.priority == .alarm)
        let additions = table.takeAdditions()
        #expect(Array(additions) == [.stream(changed)])
    }

    @Test("refuses what lies beyond its limits and goes on serving what it knows")
    func limits() throws {
        var table = emptyTable(devices: 2, streams: 2)
        let first = try table.enter("a")
        _ = try table.enter("b")
        #expect(throws: Rejection.catalogFull) { () throws in _ = try table.enter("c") }
        #expect(throws: Rejection.noIdentity) { () throws in _ = try table.enter("a/b") }
        let x = try table.enter("x", of: first, output: 0)
        _ = try table.enter("y", of: first, output: 1)
        #expect(throws: Drop.catalogFull) { () throws in _ = try table.enter("z", of: first) }
        let again = try table.enter("a")
        #expect(again == first)
        let same = try table.enter("x", of: first, output: 9)
        #expect(same == x)
        #expect(table.deviceCount == 2)
        #expect(table.streamCount == 2)
        #expect(table.summaries(after: DeviceID(0), limit: 9).map(\.streams) == [2, 0])
        // Any number of discriminators for one name: the cache stays bounded, the answers right.
        for discriminator in 0..<1000 as Range<UInt64> {
            let id = try table.addStream(
                first, format: 0, output: 0, discriminator: discriminator, name: "x",
                quantity: "voltage", unit: "V", priority: .live)
            #expect(id == x)
        }
        #expect(table.streamCount == 2)
    }

    @Test("a file that contradicts itself is restored as far as it agrees")
    func contradictions() throws {
        func device(_ id: UInt32, _ identity: String) -> CatalogEntry {
            .device(
                Device(id: DeviceID(id), identity: identity, format: "f", firstSeenAt: day))
        }
        func stream(_ id: UInt32, _ device: UInt32, _ name: String) -> CatalogEntry {
            .stream(
                Stream(
                    id: StreamID(id), device: DeviceID(device), name: name, quantity: "q",
                    unit: "", priority: .live))
        }
        var table = CatalogTable(
            limits: CatalogLimits(devices: 100, streams: 100), seed: 5,
            restoring: [
                device(7, "g"), device(0, "zero"), device(7, "again"), device(9, "g"),
                device(11, "no/identity"), device(3_000_000_000, "far"),
                stream(4, 7, "x"), stream(5, 7, "x"), stream(4, 7, "y"), stream(6, 8, "orphan"),
                stream(0, 7, "zero"), stream(4_000_000_000, 7, "far"),
            ], highest: (device: 12, stream: 4_000_000_005))
        #expect(table.contradictions == 8)
        #expect(table.deviceCount == 2)
        #expect(table.streamCount == 2)
        let g = try table.enter("g")
        #expect(g.rawValue == 7)
        // New numbers lie above all that were ever given.
        let new = try table.enter("new")
        #expect(new.rawValue == 3_000_000_001)
        let stream = try table.enter("new", of: g)
        #expect(stream.rawValue == 4_000_000_006)
    }

    @Test("no number is given after the last one")
    func lastNumber() throws {
        var table = CatalogTable(
            limits: CatalogLimits(devices: 10, streams: 10), seed: 5, restoring: [],
            highest: (device: .max - 1, stream: .max))
        let last = try table.enter("a")
        #expect(last.rawValue == .max)
        #expect(throws: Rejection.catalogFull) { () throws in _ = try table.enter("b") }
        #expect(throws: Drop.catalogFull) { () throws in _ = try table.enter("x", of: last) }
    }

    @Test("tells people when a device was seen last")
    func lastSeen() throws {
        var table = emptyTable()
        let key = try #require(DeviceKey("a"))
        _ = try table.enter("a")
        let later = Timestamp(milliseconds: day.milliseconds + 5)
        _ = table.device(key, scope: 0, seenAt: later)
        var again = CatalogTable(
            limits: table.limits, seed: 2, restoring: Array(table.takeAdditions()))
        #expect(table.summaries(after: DeviceID(0), limit: 1).first?.lastSeenAt == later)
        #expect(again.summaries(after: DeviceID(0), limit: 1).first?.lastSeenAt == nil)
        _ = try again.enter("b")
        #expect(again.summaries(after: DeviceID(1), limit: 9).map(\.device.identity) == ["b"])
        #expect(again.summaries(after: DeviceID(2), limit: 9).isEmpty)
        #expect(again.summaries(after: DeviceID(0), limit: -1).isEmpty)
    }

    @Test("grows to 200,000 streams without losing one")
    func growth() throws {
        var table = emptyTable(devices: 2000, streams: 200_000)
        let names = (0..<100).map { "stream_\($0)" }
        for d in 0..<2000 {
            let device = try table.enter("meter-\(d)")
            for (output, name) in names.enumerated() {
                _ = try table.enter(name, of: device, output: UInt16(output))
            }
        }
        #expect(table.streamCount == 200_000)
        var wrong = 0
        for d in 0..<2000 as Range<UInt32> {
            for output in 0..<100 as Range<UInt16> {
                let found = table.stream(
                    DeviceID(d + 1), format: 0, output: output, discriminator: 0)
                if found?.rawValue != d * 100 + UInt32(output) + 1 { wrong += 1 }
            }
        }
        #expect(wrong == 0)
        #expect(throws: Drop.catalogFull) { () throws in
            _ = try table.enter("one more", of: DeviceID(1))
        }
    }
}

@Suite("Notes of devices")
struct CatalogNoteTests {
    @Test("stay with their devices while the table grows", arguments: 1...5)
    func growth(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var table = CatalogTable(
            limits: CatalogLimits(devices: 5000, streams: 10), seed: seed, restoring: [])
        var notes: [String: FrameNote] = [:]
        for _ in 0..<6000 {
            let identity = "meter-\(random.next() % 3000)"
            let key = try #require(DeviceKey(identity))
            let scope: UInt32 = random.chance(0.5) ? 0 : 3
            var seen = table.device(key, scope: scope, seenAt: day)
            if seen == nil {
                seen = try table.addDevice(
                    key, scope: scope, identity: identity, format: "f", at: day)
            }
            let device = try #require(seen)
            #expect(device.note == notes[identity] ?? .none, "seed \(seed)")
            if random.chance(0.5) {
                let note = FrameNote(
                    list: UInt16(random.next() % 9 + 1), first: UInt32(random.next() >> 33))
                table.note(note, of: device)
                notes[identity] = note
            }
        }
        #expect(table.deviceCount > 2000)
    }

    @Test("are forgotten with the numbers of formats, and never given to another device")
    func forgotten() throws {
        var table = emptyTable()
        let key = try #require(DeviceKey("meter"))
        let old = try table.addDevice(key, scope: 0, identity: "meter", format: "f", at: day)
        table.note(FrameNote(list: 3, first: 9), of: old)
        #expect(table.device(key, scope: 0, seenAt: day)?.note == FrameNote(list: 3, first: 9))
        table.forgetPassingNames()
        #expect(table.device(key, scope: 0, seenAt: day)?.note.list == 0)
        for n in 0..<30 { _ = try table.enter("other-\(n)") }
        // The table has grown: the place may be another's now.
        table.note(FrameNote(list: 4, first: 1), of: old)
        for n in 0..<30 {
            let other = try #require(DeviceKey("other-\(n)"))
            #expect(table.device(other, scope: 0, seenAt: day)?.note.list == 0)
        }
    }
}
