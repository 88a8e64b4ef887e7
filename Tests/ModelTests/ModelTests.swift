import Testing

@testable import Model

@Suite("Times")
struct TimeTests {
    @Test("calendar dates and days since the epoch are each other's inverse")
    func civilDates() {
        for day in stride(from: -800_000, through: 2_000_000, by: 97) {
            #expect(CivilDate(daysSinceEpoch: day).daysSinceEpoch == day)
        }
        #expect(CivilDate(daysSinceEpoch: 0) == CivilDate(year: 1970, month: 1, day: 1))
        #expect(CivilDate(daysSinceEpoch: 11_016) == CivilDate(year: 2000, month: 2, day: 29))
        #expect(CivilDate(daysSinceEpoch: -1) == CivilDate(year: 1969, month: 12, day: 31))
    }

    @Test(
        "refuses a date that no calendar has",
        arguments: [
            (2026, 2, 29, 0, 0, 0), (2026, 13, 1, 0, 0, 0), (2026, 0, 1, 0, 0, 0),
            (2026, 4, 31, 0, 0, 0), (2026, 1, 1, 24, 0, 0), (2026, 1, 1, 0, 60, 0),
            (2026, 1, 1, 0, 0, 60), (0, 1, 1, 0, 0, 0), (2100, 2, 29, 0, 0, 0),
        ])
    func badDates(_ d: (Int, Int, Int, Int, Int, Int)) {
        #expect(
            Timestamp(year: d.0, month: d.1, day: d.2, hour: d.3, minute: d.4, second: d.5) == nil)
    }

    @Test("prints ISO 8601 in UTC and at an offset")
    func iso() throws {
        let t = try #require(
            Timestamp(year: 2026, month: 11, day: 21, hour: 10, minute: 0, second: 5))
        #expect(t.iso8601 == "2026-11-21T10:00:05Z")
        #expect(t.iso8601(offsetMinutes: 480) == "2026-11-21T18:00:05")
        #expect(Timestamp(milliseconds: -1).iso8601 == "1969-12-31T23:59:59.999Z")
        #expect(Timestamp(milliseconds: .min).iso8601.isEmpty == false)
    }
}

@Suite("Values")
struct ValueTests {
    @Test(
        "prints a decimal with the digits of the wire",
        arguments: [
            (2305, -1, "230.5"), (-1, -2, "-0.01"), (15, 2, "1500"), (0, -2, "0.00"), (0, 3, "0"),
            (5, -1, "0.5"), (-12345, -5, "-0.12345"), (7, 0, "7"),
        ] as [(Int64, Int8, String)])
    func decimals(_ row: (Int64, Int8, String)) {
        let value = Value.decimal(row.0, exponent: row.1)
        #expect(value.description == row.2)
        #expect(value.asDouble == Double(row.2))
    }

    @Test("a decimal becomes the double that its text parses to, at every exponent")
    func decimalDoubles() {
        var random = SplitMix64(seed: 1)
        for _ in 0..<20_000 {
            let mantissa = Int64(bitPattern: random.next()) >> Int64(random.next() % 60)
            let exponent = Int8(truncatingIfNeeded: Int(random.next() % 256) - 128)
            let value = Value.decimal(mantissa, exponent: exponent)
            #expect(value.asDouble == Double(value.description))
        }
        #expect(Value.decimal(.min, exponent: -128).asDouble != nil)
    }
}

@Suite("Readings")
struct ReadingTests {
    @Test("a reading is 32 bytes")
    func size() { #expect(MemoryLayout<Reading>.stride == 32) }

    @Test("a mark carries its position and is no reading")
    func mark() {
        let mark = Reading(markCovering: .max)
        #expect(mark.isMark)
        #expect(mark.bits == UInt64.max)
        #expect(mark.value.kind == .none)
    }
}

@Suite("Device keys")
struct DeviceKeyTests {
    @Test("different texts give different keys, equal texts equal ones")
    func distinct() {
        var keys: [DeviceKey: String] = [:]
        for length in 1...64 {
            for n in 0..<200 {
                let text = String(String(repeating: "\(n).", count: 64).prefix(length))
                guard let key = DeviceKey(text) else {
                    Issue.record("refused \(text)")
                    return
                }
                if let other = keys[key] { #expect(other == text) }
                keys[key] = text
            }
        }
        #expect(DeviceKey("1") != DeviceKey("01"))
    }

    @Test("made of words it is the key of the text; a changed character changes it", arguments: [5])
    func words(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let alphabet = Array("0123456789abcdefXYZ._:-".utf8)
        var seen: [DeviceKey: [UInt8]] = [:]
        for _ in 0..<20_000 {
            let count = Int.random(in: 1...20, using: &random)
            var text = (0..<count).map { _ in alphabet.randomElement(using: &random) ?? 0x30 }
            for _ in 0..<2 {
                let key = DeviceKey(text: text.span)
                guard let key else {
                    Issue.record("refused \(text), seed \(seed)")
                    return
                }
                if let other = seen[key] { #expect(other == text, "seed \(seed)") }
                seen[key] = text
                if count <= 16 {
                    let padded =
                        text + (count..<16).map { _ in UInt8.random(in: 0...255, using: &random) }
                    let words = [0, 8].map { from in
                        padded[from..<from + 8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
                    }
                    #expect(DeviceKey(words[0], words[1], count: count) == key, "seed \(seed)")
                }
                text[Int.random(in: 0..<count, using: &random)] = 0x7A
            }
        }
        #expect(DeviceKey(0x6161_6161_6161_6161, 0x6161_6161_6161_6120, count: 16) == nil)
    }

    @Test("refuses what is no identity", arguments: ["", "a b", "é", "a/b", "x\n"])
    func refused(_ text: String) { #expect(DeviceKey(text) == nil) }

    @Test("refuses 65 characters, takes 64")
    func length() {
        #expect(DeviceKey(String(repeating: "a", count: 65)) == nil)
        #expect(DeviceKey(String(repeating: "a", count: 64)) != nil)
    }
}

@Suite("Ledger")
struct LedgerTests {
    @Test("there is a counter for every reason, and codes are unique")
    func reasons() {
        let counters = IntakeCounters()
        #expect(counters.rejectedByReason.count == Rejection.allCases.count)
        #expect(counters.droppedByReason.count == Drop.allCases.count)
        #expect(Set(Rejection.allCases.map(\.code)).count == Rejection.allCases.count)
        #expect(
            Rejection.allCases.map(\.rawValue) == (0..<UInt8(Rejection.allCases.count)).map(\.self))
        #expect(Drop.allCases.map(\.rawValue) == (0..<UInt8(Drop.allCases.count)).map(\.self))
    }

    @Test("every counter can be set by the name it is listed under")
    func names() {
        let names = IntakeCounters().named.map(\.name)
        #expect(Set(names).count == names.count)
        for (index, name) in names.enumerated() {
            var counters = IntakeCounters()
            let isKnown = counters.set(name, to: UInt64(index + 1))
            #expect(isKnown)
            for row in counters.named {
                #expect(row.value == (row.name == name ? UInt64(index + 1) : 0))
            }
        }
        var counters = IntakeCounters()
        let isKnown = counters.set("nothing", to: 1)
        #expect(!isKnown)
    }

    @Test("any single counter that is off makes the ledger unbalanced")
    func laws() {
        let balancing = [
            "framesReceived", "framesDecoded", "framesDuplicate", "framesControl",
            "readingsDecoded", "readingsPublished",
        ]
        #expect(Ledger().unaccounted == 0)
        for name in balancing + Rejection.allCases.map({ "rejected." + $0.code })
            + Drop.allCases.map({ "dropped." + $0.code })
        {
            var ledger = Ledger()
            ledger.intake.set(name, to: 3)
            #expect(ledger.unaccounted > 0, "\(name)")
        }
        var ledger = Ledger()
        ledger.spool.readingsPending = 1
        #expect(ledger.unaccounted == 1)
    }
}

@Suite("Bytes")
struct BytesTests {
    @Test("what is written is read back, and every shorter text is refused without a trap")
    func roundTrip() throws {
        var writer = ByteWriter()
        writer.u8(7)
        writer.u16(0xBEEF)
        writer.u32(0xDEAD_BEEF)
        writer.u64(.max)
        writer.i64(.min)
        for v: UInt64 in [0, 127, 128, 1 << 35, .max] { writer.varint(v) }
        writer.text("水表")
        func read(_ bytes: [UInt8]) throws(ShortBytes) -> String {
            var reader = ByteReader(bytes)
            guard try reader.u8() == 7, try reader.u16() == 0xBEEF,
                try reader.u32() == 0xDEAD_BEEF, try reader.u64() == .max,
                try reader.i64() == .min
            else { return "wrong" }
            for v: UInt64 in [0, 127, 128, 1 << 35, .max] where try reader.varint() != v {
                return "wrong"
            }
            return try reader.text(limit: 64)
        }
        #expect(try read(writer.bytes) == "水表")
        for count in 0..<writer.bytes.count {
            #expect(throws: ShortBytes.self) { try read(Array(writer.bytes.prefix(count))) }
        }
    }

    @Test("an announced length is not believed")
    func lengths() {
        var writer = ByteWriter()
        writer.varint(.max)
        var reader = ByteReader(writer.bytes)
        #expect(throws: ShortBytes.self) { try reader.blob(limit: .max) }
        var endless = ByteReader([UInt8](repeating: 0xFF, count: 20))
        #expect(throws: ShortBytes.self) { try endless.varint() }
    }

    @Test("CRC-32 gives the published check value and is the same in any split")
    func crc() {
        let check = Array("123456789".utf8)
        #expect(CRC32.of(check) == 0xCBF4_3926)
        var random = SplitMix64(seed: 2)
        let bytes = (0..<1000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let whole = CRC32.of(bytes)
        for cut in stride(from: 0, through: 1000, by: 13) {
            var crc = CRC32()
            crc.update(Array(bytes[..<cut]).span)
            crc.update(Array(bytes[cut...]).span)
            #expect(crc.value == whole)
        }
    }
}

@Suite("Endpoints")
struct EndpointTests {
    @Test("prints both families and knows loopback")
    func text() {
        let v4 = Endpoint.ipv4(0xC000_0207, port: 9001)
        #expect(v4.description == "192.0.2.7:9001")
        #expect(!v4.isLoopback)
        #expect(Endpoint.ipv4(0x7F00_0001, port: 1).isLoopback)
        #expect(Endpoint(high: 0, low: 1, port: 2).isLoopback)
        #expect(
            Endpoint(high: 0x2001_0DB8_0000_0000, low: 1, port: 3).description
                == "[2001:db8:0:0:0:0:0:1]:3")
    }
}
