// Captures beyond pcap: our own format, lines of hex, and what `sluice capture` writes. Every truncation
// and every changed byte is survived; what was written is read again.

import Formats
import Host
import Model
import Testing

@testable import Field

@Suite("Capture forms") struct CaptureFormsTests {
    private static let client = Endpoint.ipv4(0x0A00_0001, port: 40_000)
    private static let six = Endpoint(high: 0x2001_0DB8 << 32, low: 7, port: 40_001)
    private static let server = Endpoint.ipv4(0x0A00_0002, port: 9645)
    private static let server6 = Endpoint(high: 0x2001_0DB8 << 32, low: 1, port: 9645)

    private typealias Pair = (delivery: CapturedDelivery, conversation: Conversation)

    private static func pair(
        _ kind: CapturedDelivery.Kind, _ bytes: [UInt8], up: Bool = true, six: Bool = false,
        note: String = ""
    ) -> Pair {
        (
            CapturedDelivery(
                kind: kind, time: 1_700_000_000_123_000_000, number: 1, conversation: 0,
                isToServer: up, bytes: bytes, note: note),
            Conversation(
                isStream: kind != .datagram, client: six ? Self.six : client,
                server: six ? server6 : server)
        )
    }

    private static let story: [Pair] = [
        pair(.datagram, [1, 2, 3], note: "decoded; dlt645 202600000311"),
        pair(.datagram, [9], up: false, note: "answer"), pair(.datagram, [4, 5], six: true),
        pair(.opened, []), pair(.bytes, [0x68, 0x16], note: "no whole frame yet"),
        pair(.bytes, [7], up: false), pair(.bytes, (0..<200).map { UInt8($0) }),
        pair(.closed, []), pair(.opened, []), pair(.bytes, [8, 8]),
    ]

    private static func written(_ form: CaptureWriter.Form) -> [UInt8] {
        var writer = CaptureWriter(form)
        return story.reduce(into: writer.header(comment: "a test")) {
            $0 += writer.bytes(of: $1.delivery, in: $1.conversation)
        }
    }

    @Test("what was written is read again: bytes, times, directions, endpoints, connections")
    func roundTrip() throws {
        for form in [CaptureWriter.Form.pcapng, .slcap] {
            let capture = Capture(Self.written(form), file: "x")
            #expect(capture.damage == nil)
            #expect(capture.counters.malformed == 0 && capture.counters.foreign == 0)
            let kept = capture.deliveries.filter { $0.kind == .datagram || $0.kind == .bytes }
            let expected = Self.story.filter {
                $0.delivery.kind == .datagram || $0.delivery.kind == .bytes
            }
            #expect(kept.map(\.bytes) == expected.map(\.delivery.bytes), "\(form)")
            #expect(kept.map(\.isToServer) == expected.map(\.delivery.isToServer), "\(form)")
            #expect(kept.allSatisfy { $0.time == 1_700_000_000_123_000_000 })
            for (one, other) in zip(kept, expected) {
                #expect(capture.conversations[one.conversation] == other.conversation, "\(form)")
            }
            // Two connections of the same ports, one after the other.
            #expect(capture.conversations.count(where: \.isStream) == 2, "\(form)")
            #expect(capture.deliveries.count { $0.kind == .opened } == 2, "\(form)")
        }
        let own = Capture(Self.written(.slcap), file: "x")
        #expect(own.deliveries.map(\.note) == Self.story.map(\.delivery.note))
    }

    @Test("our own format, cut at any byte, yields what stands before, with file and offset")
    func truncation() {
        let whole = Self.written(.slcap)
        let all = Capture(whole, file: "x").deliveries
        for length in 8..<whole.count {
            let capture = Capture(Array(whole[..<length]), file: "x.slcap")
            #expect(capture.deliveries == Array(all.prefix(capture.deliveries.count)))
            if let damage = capture.damage {
                #expect(damage.offset <= length && damage.file == "x.slcap")
                #expect(damage.framesRead == capture.deliveries.count)
            } else {
                // Between two records nothing is missing that the file could know of.
                #expect(capture.deliveries.count < all.count)
            }
        }
    }

    @Test("no changed byte of our own format passes, and none traps")
    func changes() {
        let whole = Self.written(.slcap)
        for i in SluiceCapture.headerSize..<whole.count {
            var bytes = whole
            bytes[i] ^= UInt8(1 << (i & 7))
            let capture = Capture(bytes, file: "x")
            #expect(capture.damage != nil, "byte \(i)")
        }
        var random = SplitMix64(seed: 20_261_122)
        for _ in 0..<2000 {
            var bytes = whole
            for _ in 0..<4 {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(
                    truncatingIfNeeded: random.next())
            }
            #expect(Capture(bytes, file: "x").deliveries.count <= Self.story.count)
        }
    }

    @Test(
        "a line of hex is understood however it was pasted",
        arguments: [
            ("68 61 16", 0, true), ("686116", 0, true), ("0x68,0x61,0x16", 0, true),
            ("68:61:16", 0, true), ("1970-01-01 00:00:01 68 61 16", 1_000_000_000, true),
            ("1970-01-01T00:00:01.5Z RX 686116", 1_500_000_000, true),
            ("1970/01/01 00:00:01,250 TX: 68 61 16  # sent", 1_250_000_000, false),
            ("[00:00:02.125]收←◆68 61 16 ", 2_125_000_000, true),
            ("[00:00:02.125]发→◇68 61 16 ", 2_125_000_000, false),
            ("1000000001.5 < 686116", 1_000_000_001_500_000_000, true),
            ("1700000000123 > 686116", 1_700_000_000_123_000_000, false),
            ("Recv: 10.0.0.7:5000 68 61 16 // a meter", 0, true),
            ("device 7 says 68 61 16 |ha.|", 0, true), ("上行 686116", 0, true),
            ("下行：686116", 0, false),
        ])
    func transcript(line: String, time: Int64, isUp: Bool) throws {
        let capture = Capture(Array("a title\n\(line)\r\n".utf8), file: "x")
        #expect(capture.damage == nil)
        let delivery = try #require(capture.deliveries.first)
        #expect(capture.deliveries.count == 1)
        #expect(delivery.bytes == [0x68, 0x61, 0x16])
        #expect(delivery.time == time)
        #expect(delivery.isToServer == isUp)
        #expect(delivery.number == 2)
        #expect(capture.counters.linesPassedOver == 1)
    }

    /// Found by the fuzzer.
    @Test(
        "a time behind what nanoseconds can count traps nothing",
        arguments: [
            "9999999999999", "9223372036855", "9999999999.9", "9223372036.9",
            "9999-12-31 23:59:59.9",
            "2262-04-12 00:00:00", "0000-01-01 00:00:00", "9999/99/99 23:59:60",
        ])
    func lateTimes(time: String) {
        let capture = Capture(Array("\(time) RX 68 61 16\n".utf8), file: "x")
        #expect(capture.deliveries.count <= 1)
    }

    @Test("times without a date go on over midnight; lines without a time keep the last one")
    func midnight() {
        let text = "23:59:59 01\n00:00:01 02\n03\n"
        let capture = Capture(Array(text.utf8), file: "x")
        let day: Int64 = 86_400_000_000_000
        #expect(
            capture.deliveries.map(\.time) == [
                day - 1_000_000_000, day + 1_000_000_000, day + 1_000_000_000,
            ])
    }

    @Test("each ADDRESS:PORT of a transcript is a conversation; --to tcp makes them streams")
    func conversations() {
        let text = "10.0.0.7:5000 01\n10.0.0.8:5000 02\n10.0.0.7:5000 03\n"
        for isStream in [false, true] {
            let capture = Capture(Array(text.utf8), file: "x", linesAreStream: isStream)
            #expect(
                capture.conversations.map(\.client.description) == [
                    "10.0.0.7:5000", "10.0.0.8:5000",
                ])
            #expect(capture.deliveries.map(\.conversation) == [0, 1, 0])
            #expect(capture.deliveries.allSatisfy { $0.kind == (isStream ? .bytes : .datagram) })
        }
    }

    @Test("text without a frame is no capture")
    func prose() {
        let capture = Capture(Array("nothing here\nis hex\n".utf8), file: "x")
        #expect(capture.damage?.what == "is neither pcap nor pcapng")
    }

    @Test("a file of another kind is told what it is not and which kinds are read")
    func foreign() throws {
        let folder = try Files.makeTemporaryFolder("sluice-foreign")
        defer { Files.removeTree(folder) }
        let texts = [
            "", "h", "hi", "hi\n", "nothing here\nis hex\n", "%PDF-1.7\u{0}", "\n", "\n\r\n",
        ]
        for (number, text) in texts.enumerated() {
            let path = "\(folder)/\(number).txt"
            try Files.write(Array(text.utf8), to: path)
            for flags in [["--to", "udp://127.0.0.1:9"], ["--diff", "protocols", "protocols"]] {
                let console = Console.captured()
                let status = Programs.sluice().run(
                    ["sluice", "replay", path] + flags, console: console)
                #expect(status == .foundWrong)
                let said = try #require(console.complaints.first)
                for word in [path, "no capture", "pcap", "pcapng", ".slcap", "hex"] {
                    #expect(said.contains(word), "\(text.debugDescription): \(said)")
                }
                #expect(console.complaints.count == 1 && console.output.isEmpty)
            }
        }
        let console = Console.captured()
        _ = Programs.sluice().run(
            ["sluice", "replay", "\(folder)/3.txt", "--to", "udp://127.0.0.1:9", "--lang", "zh"],
            console: console)
        #expect(console.complaints.first?.contains("不是抓包文件") == true)
        // A capture that is cut is one all the same.
        for cut in 2..<4 {
            let capture = Capture(Array([0xD4, 0xC3, 0xB2, 0xA1].prefix(cut)), file: "x.pcap")
            #expect(capture.damage?.isForeign == false)
            #expect(capture.damage?.what == "the file ends inside a structure")
        }
    }

    @Test("a record of the daemon's recording is read as it was written; others are none")
    func lines() throws {
        let (delivery, conversation) = try #require(
            CaptureLine.parse(
                "d 1700000000123 up 10.0.0.1:40000 0.0.0.0:9645 6816 decoded; dlt645 2026",
                number: 4))
        #expect(delivery.bytes == [0x68, 0x16] && delivery.isToServer && delivery.number == 4)
        #expect(delivery.note == "decoded; dlt645 2026" && !conversation.isStream)
        #expect(delivery.time == 1_700_000_000_123_000_000)
        for line in [
            "", "d", "d x up 10.0.0.1:1 0.0.0.0:9645 68 w", "q 1 up 10.0.0.1:1 0.0.0.0:1 68 w",
            "d 1 sideways 10.0.0.1:1 0.0.0.0:1 68 w", "d 1 up 10.0.0.1:1 0.0.0.0:1 6 w",
            "d 1 up nobody 0.0.0.0:1 68 w", "d 9223372036854775807 up 1.1.1.1:1 1.1.1.1:1 68 w",
        ] {
            #expect(CaptureLine.parse(Substring(line), number: 1) == nil, "\(line)")
        }
    }
}

@Suite("Captures and formats") struct CaptureFormatsTests {
    private static func library(_ change: (String) -> String = { $0 }) throws -> FormatLibrary {
        var texts: [(file: String, text: String)] = []
        for name in Files.names(in: "protocols") where name.hasSuffix(".json5") {
            let text = String(decoding: try Files.read("protocols/\(name)"), as: UTF8.self)
            texts.append((name, name == "dragino-sw3l-nb.json5" ? change(text) : text))
        }
        return try FormatLibrary(texts: texts)
    }

    private static let usual = Result { try library() }

    private static func capture(_ name: String) throws -> Capture {
        Capture(try Files.read("fixtures/captures/\(name)"), file: name)
    }

    @Test("the same formats read every fixture the same")
    func same() throws {
        let library = try Self.usual.get()
        for (name, frames) in [
            ("demo-water.pcap", 13), ("demo-electricity-tcp.pcap", 36),
            ("demo-environment.pcap", 12),
        ] {
            let comparison = FormatComparison(
                try Self.capture(name), old: library, new: library)
            #expect(comparison.changes.isEmpty, "\(name)")
            #expect(comparison.frames == frames, "\(name)")
            #expect(comparison.readings >= frames, "\(name)")
        }
    }

    @Test("another unit of one stream changes this stream's readings and no other")
    func changed() throws {
        let old = try Self.usual.get()
        let new = try Self.library {
            $0.replacingOccurrences(
                of: "unit: \"L\", reading: \"volume\"",
                with: "unit: \"m³\", reading: \"volume\"")
        }
        let comparison = FormatComparison(
            try Self.capture("demo-water.pcap"), old: old, new: new)
        #expect(!comparison.changes.isEmpty)
        for change in comparison.changes {
            #expect(change.kind == .changed && change.stream == "volume")
            #expect(change.old?.unit == "L" && change.new?.unit == "m³")
            #expect(change.old?.value == change.new?.value)
        }
        let reverse = FormatComparison(
            try Self.capture("demo-water.pcap"), old: new, new: old)
        #expect(reverse.changes.count == comparison.changes.count)
    }

    @Test("a format that is gone makes its frames refused and its readings removed")
    func removed() throws {
        let old = try Self.usual.get()
        let capture = try Self.capture("demo-water.pcap")
        let comparison = FormatComparison(
            capture, old: old, new: old, only: ["dragino-sw3l-nb"])
        #expect(comparison.changes.isEmpty && comparison.frames == 13)
        let gone = try FormatLibrary(
            texts: [
                (
                    "x.json5",
                    String(
                        decoding: try Files.read("protocols/reference-sensor.json5"), as: UTF8.self)
                )
            ])
        let lost = FormatComparison(capture, old: old, new: gone)
        #expect(lost.changes.count { $0.kind == .refused } == 13)
        #expect(lost.changes.count { $0.kind == .removed } == lost.readings)
    }

    @Test(
        "as N devices: each copy's frames are accepted, with readings the same and names of its own"
    )
    func scaled() throws {
        let library = try Self.usual.get()
        for (name, devices) in [
            ("demo-water.pcap", 3), ("demo-electricity-udp.pcap", 2),
            ("demo-electricity-tcp.pcap", 3),
        ] {
            let capture = try Self.capture(name)
            let decoder = CaptureDecoder(library, keys: .none)
            let all = decoder.frames(of: capture) { $0.isToServer }
            let before = all.filter { $0.rejection == nil }
            let known = Set(before.map(\.device))
            var scaling = CaptureScaling(library, copies: 4)
            let scaled = scaling.scaled(capture)
            #expect(scaling.framesKept == 0, "\(name)")
            #expect(scaling.framesRewritten == 3 * before.count, "\(name)")
            // A frame that was refused stays one, in each copy.
            let played = CaptureDecoder(library, keys: .none).frames(of: scaled) { $0.isToServer }
            #expect(played.count == 4 * all.count, "\(name)")
            let after = played.filter { $0.rejection == nil }
            #expect(after.count == 4 * before.count, "\(name)")
            #expect(known.count >= devices, "\(name): \(known)")
            #expect(Set(after.map(\.device)).count == 4 * known.count, "\(name)")
            #expect(
                after.reduce(0) { $0 + $1.readings.count }
                    == 4 * before.reduce(0) { $0 + $1.readings.count }, "\(name)")
            #expect(scaled.conversations.count == 4 * capture.conversations.count)
            #expect(
                Set(scaled.conversations).count == scaled.conversations.count,
                "each copy comes from an endpoint of its own")
        }
    }
}

extension String {
    fileprivate func replacingOccurrences(of old: String, with new: String) -> String {
        split(separator: old, omittingEmptySubsequences: false).joined(separator: new)
    }
}
