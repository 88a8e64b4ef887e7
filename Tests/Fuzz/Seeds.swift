// Good inputs to start from, one file each, in the form that their target takes: embedded tests of
// the formats, rows of vector files (FUZZ_VECTORS), files of a kind (FUZZ_CAPTURES,
// FUZZ_CONFIGURATIONS, FUZZ_FORMAT_FILES: names with spaces between), and what this code writes.

import Batches
import Formats
import Glibc
import Model
import Uplink

enum Seeds {
    /// A folder for each target in `folder`, named as the target with `-` for `:`.
    static func write(to folder: String) {
        for target in Subject.names {
            let place = folder + "/" + target.split(separator: ":").joined(separator: "-")
            // Safety: mkdir reads the NUL-terminated path that Swift makes for the call.
            guard unsafe mkdir(place, 0o755) == 0 || errno == EEXIST else {
                fatalError("cannot make \(place)")
            }
            for (number, seed) in made(target).enumerated() where !seed.isEmpty {
                write(seed, to: "\(place)/\(number)")
            }
        }
    }

    private static func made(_ target: String) -> [[UInt8]] {
        let parts = target.split(separator: ":", maxSplits: 1).map(String.init)
        if parts.count == 2, parts[0] == "exchange" { return conversations(parts[1]) }
        if parts.count == 2 {
            return Subject.library.format(named: parts[1]).map { streams(frames($0)) } ?? []
        }
        switch target {
        case "envelope": return envelopes()
        case "batch": return batches()
        case "uplink", "query-answer": return uplinkFrames(target)
        case "uplink-bytes": return [hello + ping, welcome]
        case "line-pattern": return patterns
        case "poller":
            return [[0, 0, 1, 10, 1, 20, 2, 255], [0, 0, 2, 255, 0x72, 255, 0x72, 200]]
        case "admin-request":
            return [
                "GET /ledger?a=1 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "HEAD / HTTP/1.0\n\n",
            ]
            .map { Array($0.utf8) }
        case "guess": return Subject.library.formats.flatMap { frames($0).prefix(2) }
        case "capture":
            let files = listed("FUZZ_CAPTURES")
            return files + files.compactMap(nextGeneration)
        case "format-file": return listed("FUZZ_FORMAT_FILES")
        default: return listed("FUZZ_CONFIGURATIONS")
        }
    }

    /// Files named by the environment.
    private static func listed(_ variable: String) -> [[UInt8]] {
        (environment(variable) ?? "").split(separator: " ")
            .compactMap { FileBytes.read(String($0), limit: 1 << 20) }
    }

    // MARK: Vectors

    private struct Row {
        var protocolName: String
        /// Name of a vendor's format.
        var profile: String?
        var frame: [UInt8]
    }

    private static let rows: [Row] = {
        var rows: [Row] = []
        for path in (environment("FUZZ_VECTORS") ?? "").split(separator: " ") {
            guard let bytes = FileBytes.read(String(path), limit: 1 << 26) else { continue }
            for line in bytes.split(separator: 0x0A) {
                guard let row = try? JSONNode.parse(Array(line), file: "seeds"),
                    let hex = row["hex"]?.string, let frame = HexText.bytes(hex),
                    let name = row["protocol"]?.string
                else { continue }
                let profile = row["expect"]?["profile"]?.string
                rows.append(Row(protocolName: name, profile: profile, frame: frame))
            }
        }
        return rows
    }()

    private static func frames(_ format: Format) -> [[UInt8]] {
        Subject.library.exampleFrames(of: format)
            + rows.filter { $0.protocolName == format.name || $0.profile == format.name }
            .map(\.frame)
    }

    /// Each frame in both directions, as it is and with its check value put right; and two in a row,
    /// as on a line.
    private static func streams(_ frames: [[UInt8]]) -> [[UInt8]] {
        var seeds: [[UInt8]] = []
        for (i, frame) in frames.enumerated() {
            seeds += [0, 1, 2, 3].map { [$0] + frame }
            let next = frames[(i + 1) % frames.count]
            if frame.count + next.count <= 255 { seeds.append([0] + frame + next) }
        }
        return seeds
    }

    /// Three datagrams of one device each, some sent again, and each by itself.
    private static func conversations(_ kind: String) -> [[UInt8]] {
        let names: [String: [String]] = [
            "coap": ["coap"], "lwm2m": ["lwm2m-register", "coap"], "mqtt-sn": ["mqtt-sn"],
            "semtech": ["semtech-udp"],
        ]
        let wanted = names[kind] ?? []
        let all = rows.filter { wanted.contains($0.protocolName) }.map(\.frame)
        var seeds: [[UInt8]] = []
        for i in all.indices {
            seeds.append(datagram(all[i], 0))
            let next = all[(i + 1) % all.count]
            let later = all[(i + 7) % all.count]
            seeds.append(datagram(all[i], 0) + datagram(next, 0) + datagram(later, 0x80))
        }
        return seeds
    }

    private static func datagram(_ bytes: [UInt8], _ control: UInt8) -> [UInt8] {
        [
            control, UInt8(truncatingIfNeeded: bytes.count),
            UInt8(truncatingIfNeeded: bytes.count >> 8),
        ]
            + bytes
    }

    private static func envelopes() -> [[UInt8]] {
        var seeds: [[UInt8]] = []
        var context = FrameContext()
        for (number, format) in Subject.library.formats.enumerated() {
            guard let frame = Subject.library.exampleFrames(of: format).first else { continue }
            var envelope: [UInt8] = []
            context.removeAll()
            context.path = Array("/3303/0/5700".utf8)
            if number % 2 == 0 { context.device = Array("dev-7".utf8) }
            if number % 3 == 0 { context.scope = Array("dtu7".utf8) }
            if number % 5 == 0 { context.key = [1, 2, 3] }
            context.numbers = [1, 3, Int64(number), 10]
            context.encode(frame.span, into: &envelope)
            seeds.append([UInt8(number)] + envelope)
        }
        return seeds
    }

    // MARK: Made here

    private static func batches() -> [[UInt8]] {
        var seeds: [[UInt8]] = []
        let kinds = [reading, price]
        for (count, kind) in [1, 2, 7, 40, 200].flatMap({ n in kinds.map { (n, $0) } }) {
            let all = (0..<count).map(kind)
            for effort in BatchEffort.allCases {
                let batch = BatchCodec.encode(
                    all, bucketStart: Timestamp(milliseconds: 0), bucketMilliseconds: 600_000,
                    revision: 0, priority: .live, effort: effort)
                seeds.append(Array(batch.bytes.dropLast(4)))
            }
        }
        return seeds
    }

    private static func reading(_ i: Int) -> Reading {
        let value: Value =
            switch i % 5 {
            case 0: .decimal(Int64(2300 + i), exponent: -1)
            case 1: .double(Double(i) / 3)
            case 2: .boolean(i % 2 == 0)
            case 3: .code(UInt64(i) &* 0x9E37_79B9_7F4A_7C15)
            default: .none
            }
        return Reading(
            stream: StreamID(UInt32(1 + i % 4)), value: value, quality: [],
            observedAt: Timestamp(milliseconds: Int64(1000 * i)),
            receivedAt: Timestamp(milliseconds: Int64(1000 * i + 7)))
    }

    /// Doubles and singles that are decimals, most of them: some lie an ulp beside, some are missing; their
    /// times are others'.
    private static func price(_ i: Int) -> Reading {
        let price = Double(2_150 + i * 7 % 31) / 100
        let value: Value =
            switch (i % 3, i % 7) {
            case (_, 6): .none
            case (0, 5): .double(price.nextUp)
            case (1, _): .double(Double(Float(price)))
            default: .double(price)
            }
        let at = Timestamp(milliseconds: Int64(60_000 * (i / 3) + (i % 11 == 0 ? 13 : 0)))
        return Reading(
            stream: StreamID(UInt32(1 + i % 3)), value: value, quality: [], observedAt: at,
            receivedAt: at)
    }

    private static let hello = UplinkFrame.hello(
        Hello(
            role: .gateway, incarnation: Incarnation(high: 1, low: 2), name: "gw", software: "s")
    ).encoded()
    private static let ping = UplinkFrame.ping(token: 7).encoded()
    private static let welcome = UplinkFrame.welcome(
        Welcome(
            storeTime: Timestamp(milliseconds: 5), credit: 4, largestBatch: 1 << 20,
            knownDevice: 1, knownStream: 2,
            committed: CommittedSet(through: 3, runs: [5...6, 9...9]))
    ).encoded()

    private static func uplinkFrames(_ target: String) -> [[UInt8]] {
        let row = StoredReading(
            gateway: "gw", device: "d", stream: "s", quantity: "temperature", unit: "Cel",
            position: RowPosition(stream: 1, observedAt: Timestamp(milliseconds: 5), row: 1),
            receivedAt: Timestamp(milliseconds: 6), value: .decimal(1), quality: [],
            batchSequence: 1, revision: 0)
        let rows = FrameEncoding.rows([row, row], token: 1, hasMore: true)
        let query = UplinkFrame.query(
            Query(token: 1, filter: QueryFilter(gateway: "gw", limit: 5), after: nil)
        ).encoded()
        let batch = UplinkFrame.batch(
            BatchFrame(sequence: 1, priority: .live, readings: 1, crc: 0, bytes: [1, 2, 3])
        ).encoded()
        let goodbye = UplinkFrame.goodbye(Goodbye(.closing, "bye")).encoded()
        if target == "query-answer" { return [bare(rows), bare(rows) + bare(goodbye)] }
        return [
            bare(hello) + bare(ping) + bare(query) + bare(batch), bare(welcome) + bare(rows),
            bare(hello) + bare(goodbye),
        ]
    }

    /// A frame as the target takes it: kind, length and body.
    private static func bare(_ frame: [UInt8]) -> [UInt8] {
        [frame[1], frame[4], frame[5]] + frame.dropFirst(UplinkProtocol.headerBytes)
    }

    private static let patterns: [[UInt8]] = [
        [0x22, 1, 0, 5] + Array("DT\r\n".utf8) + Array("DT0071\r\nDT".utf8),
        [0x02, 0x81, 10, 5] + Array("DT".utf8) + Array("DT0123456789ab".utf8),
        [0x11, 2, 0, 3] + Array("hb".utf8) + Array("hello bhello".utf8),
    ]

    /// The same capture as pcapng: one section, one interface, an enhanced block a frame.
    private static func nextGeneration(_ pcap: [UInt8]) -> [UInt8]? {
        guard pcap.count > 40, pcap[0] == 0xD4, pcap[1] == 0xC3 else { return nil }
        func word(_ value: Int) -> [UInt8] {
            (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        func number(_ at: Int) -> Int { (0..<4).reduce(0) { $0 | Int(pcap[at + $1]) << (8 * $1) } }
        func block(_ kind: Int, _ body: [UInt8]) -> [UInt8] {
            let padded = body + [UInt8](repeating: 0, count: -body.count & 3)
            return word(kind) + word(padded.count + 12) + padded + word(padded.count + 12)
        }
        var bytes = block(
            0x0A0D_0D0A, word(0x1A2B_3C4D) + [1, 0, 0, 0] + [UInt8](repeating: 0xFF, count: 8))
        bytes += block(1, Array(pcap[20..<22]) + [0, 0] + word(65_535))
        var at = 24
        while at + 16 <= pcap.count, number(at + 8) <= pcap.count - at - 16 {
            let count = number(at + 8)
            let time = number(at) * 1_000_000 + number(at + 4)
            bytes += block(
                6,
                word(0) + word(time >> 32) + word(time) + word(count) + word(number(at + 12))
                    + pcap[at + 16..<at + 16 + count])
            at += 16 + count
        }
        return bytes
    }

    private static func write(_ bytes: [UInt8], to path: String) {
        // Safety: open reads the NUL-terminated path that Swift makes for the call.
        let file = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { fatalError("cannot write \(path)") }
        // Safety: the buffer is lent for the call, which reads at most its count.
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(file, $0.baseAddress, $0.count) }
        close(file)
    }
}
