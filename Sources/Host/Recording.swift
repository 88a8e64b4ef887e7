// A recording of what comes in, for `sluice capture`: stands before the intake's door while somebody
// records, writes down each datagram and each piece of a stream with what the intake made of it, and
// steps aside again. Owner: IntakeSockets; on the intake's queue only. Bounds: one recording at a time,
// 8 MB between two fetches (what goes beyond is counted, never waited for), and it ends by itself when
// nobody has fetched for 15 seconds.
//
// A record is a line: kind (d datagram, o opened, b bytes, c closed) ms-since-1970 up|down CLIENT SERVER
// hex-or-dash words to the end of the line.

import Model
import Pipeline

/// What to record; empty members let everything pass.
package struct RecordingFilter: Sendable {
    package var source = ""
    package var device = ""
    /// `decoded`, `duplicate`, `control`, `rejected`, or the code of a rejection.
    package var verdict = ""

    package init() {}

    /// Frames, not pieces as they came, decide.
    var asksForFrames: Bool { !device.isEmpty || !verdict.isEmpty }

    package static let verdicts =
        ["decoded", "duplicate", "control", "rejected"] + Rejection.allCases.map(\.code)
}

final class Recording: IntakeDoor {
    static let maximumBytes = 8 << 20
    static let patience: Int64 = 15_000

    private struct Line {
        var source: Int
        var client: Endpoint
        /// Bytes that were offered before and not consumed.
        var pending = 0
        /// Something of it was recorded.
        var isRecorded = false
    }

    let number: UInt64
    private let stage: IntakeStage
    private let filter: RecordingFilter
    private let only: Int?
    private let servers: [Endpoint]
    private let clock: Clock
    private var text: [UInt8] = []
    private var fetchedAt: Instant
    private var lines: [ConnectionID: Line] = [:]
    /// Devices' ends whose datagrams were recorded: their answers are too.
    private var recordedClients: Set<Endpoint> = []
    private(set) var records: UInt64 = 0
    private(set) var lost: UInt64 = 0

    init(
        _ stage: IntakeStage, number: UInt64, filter: RecordingFilter, only: Int?,
        servers: [Endpoint], clock: Clock
    ) {
        self.stage = stage
        self.number = number
        self.filter = filter
        self.only = only
        self.servers = servers
        self.clock = clock
        fetchedAt = clock.now()
    }

    /// Nobody has asked for what is written down.
    var isForgotten: Bool {
        clock.now().milliseconds(since: fetchedAt) > Recording.patience
    }

    /// What was written down since the last fetch.
    func fetch() -> String {
        fetchedAt = clock.now()
        let part = String(decoding: text, as: UTF8.self)
        text.removeAll(keepingCapacity: false)
        return part
    }

    // MARK: The door

    var hasRoom: Bool { stage.hasRoom }

    func maximumFrame(source: Int) -> Int { stage.maximumFrame(source: source) }

    func endTurn(source: Int, kernelDrops: UInt64) {
        stage.endTurn(source: source, kernelDrops: kernelDrops)
    }

    func datagram(
        _ bytes: Span<UInt8>, source: Int, from: Endpoint, at receivedAt: Timestamp,
        isTruncated: Bool
    ) {
        let before = stage.counters
        stage.datagram(
            bytes, source: source, from: from, at: receivedAt, isTruncated: isTruncated)
        guard only == nil || only == source else { return }
        let verdict = Verdict(stage.counters, since: before)
        var frames: [RecordedFrame] = []
        if let frame = stage.recorded(bytes, source: source, isCarried: verdict.isCarried) {
            frames.append(frame)
        }
        guard passes(verdict, frames) else { return }
        if recordedClients.count < 100_000 { recordedClients.insert(from) }
        write("d", receivedAt, isUp: true, from, source, bytes, verdict.words(frames))
    }

    func stream(
        _ bytes: Span<UInt8>, source: Int, connection: ConnectionID, from: Endpoint,
        at receivedAt: Timestamp
    ) -> StreamProgress {
        let before = stage.counters
        let progress = stage.stream(
            bytes, source: source, connection: connection, from: from, at: receivedAt)
        guard only == nil || only == source else { return progress }
        var line = lines[connection] ?? Line(source: source, client: from)
        let consumed = min(max(0, progress.consumed), bytes.count)
        // Pieces as they came; where frames decide, as they were consumed.
        let piece =
            filter.asksForFrames
            ? bytes.extracting(0..<consumed) : bytes.extracting(min(line.pending, bytes.count)...)
        line.pending = bytes.count - consumed
        if piece.count > 0 {
            let verdict = Verdict(stage.counters, since: before)
            let frames = stage.recorded(
                stream: bytes.extracting(0..<consumed), source: source)
            if passes(verdict, frames) {
                line.isRecorded = true
                write("b", receivedAt, isUp: true, from, source, piece, verdict.words(frames))
            }
        }
        lines[connection] = line
        return progress
    }

    func lineOpened(_ connection: ConnectionID, source: Int) {
        stage.lineOpened(connection, source: source)
    }

    func connectionEnded(_ connection: ConnectionID, source: Int, unconsumed: Int) {
        stage.connectionEnded(connection, source: source, unconsumed: unconsumed)
        guard let line = lines.removeValue(forKey: connection), line.isRecorded else { return }
        let nothing: [UInt8] = []
        write("c", clock.wall(), isUp: true, line.client, source, nothing.span, "closed")
    }

    /// An answer on its way to a device.
    func answer(_ bytes: Span<UInt8>, to recipient: Recipient) {
        switch recipient {
        case .datagram(let source, let client):
            guard recordedClients.contains(client) else { return }
            write("d", clock.wall(), isUp: false, client, source, bytes, "answer")
        case .connection(let connection):
            guard let line = lines[connection], line.isRecorded else { return }
            write("b", clock.wall(), isUp: false, line.client, line.source, bytes, "answer")
        }
    }

    // MARK: Verdicts

    /// What the intake's counters say of one call.
    struct Verdict {
        var decoded: UInt64
        var duplicate: UInt64
        var control: UInt64
        var rejected: [(code: String, count: UInt64)]

        init(_ after: IntakeCounters, since before: IntakeCounters) {
            decoded = after.framesDecoded &- before.framesDecoded
            duplicate = after.framesDuplicate &- before.framesDuplicate
            control = after.framesControl &- before.framesControl
            rejected = Rejection.allCases.compactMap { reason in
                let count = after[reason] &- before[reason]
                return count > 0 ? (reason.code, count) : nil
            }
        }

        var isCarried: Bool { decoded > 0 || duplicate > 0 }

        func has(_ wanted: String) -> Bool {
            switch wanted {
            case "decoded": decoded > 0
            case "duplicate": duplicate > 0
            case "control": control > 0
            case "rejected": !rejected.isEmpty
            default: rejected.contains { $0.code == wanted }
            }
        }

        /// `decoded; dlt645 202600000311`, `2 decoded, rejected bad-checksum`
        func words(_ frames: [RecordedFrame]) -> String {
            let counts =
                [("decoded", decoded), ("duplicate", duplicate), ("control", control)]
                + rejected.map { ("rejected \($0.code)", $0.count) }
            let parts = counts.filter { $0.1 > 0 }.map { word, count in
                count == 1 ? word : "\(count) \(word)"
            }
            var text = parts.isEmpty ? "no whole frame yet" : parts.joined(separator: ", ")
            for frame in frames.prefix(8) {
                text += "; \(frame.format)" + (frame.device.isEmpty ? "" : " \(frame.device)")
            }
            return text
        }
    }

    private func passes(_ verdict: Verdict, _ frames: [RecordedFrame]) -> Bool {
        if !filter.verdict.isEmpty, !verdict.has(filter.verdict) { return false }
        return filter.device.isEmpty || frames.contains { $0.device == filter.device }
    }

    // MARK: Writing

    private static let digits = Array("0123456789abcdef".utf8)

    private func write(
        _ kind: String, _ time: Timestamp, isUp: Bool, _ client: Endpoint, _ source: Int,
        _ bytes: Span<UInt8>, _ words: String
    ) {
        guard text.count + 2 * bytes.count + 256 <= Recording.maximumBytes else {
            lost &+= 1
            return
        }
        records &+= 1
        let head =
            "\(kind) \(time.milliseconds) \(isUp ? "up" : "down") \(client.description) "
            + servers[source].description + " "
        text += Array(head.utf8)
        if bytes.count == 0 { text.append(0x2D) }
        for i in 0..<bytes.count {
            text.append(Recording.digits[Int(bytes[i] >> 4)])
            text.append(Recording.digits[Int(bytes[i] & 15)])
        }
        text += Array((" " + words + "\n").utf8)
    }
}

/// What the admin endpoint asks of a recording.
enum RecordingAsk: Sendable {
    case begin(RecordingFilter)
    case fetch(UInt64)
    case end(UInt64)
}

extension IntakeSockets {
    /// Begins, fetches from or ends the recording. On the intake's queue.
    func record(_ ask: RecordingAsk, of stage: IntakeStage) -> AdminResponse {
        endForgottenRecording()
        switch ask {
        case .begin(let filter):
            guard recording == nil else {
                return AdminResponse(status: 409, body: "another capture is running\n")
            }
            var only: Int?
            if !filter.source.isEmpty {
                guard let number = sourceNames.firstIndex(of: filter.source) else {
                    let known = sourceNames.joined(separator: " ")
                    return AdminResponse(
                        status: 404, body: "no source \(filter.source); there is: \(known)\n")
                }
                only = number
            }
            guard filter.verdict.isEmpty || RecordingFilter.verdicts.contains(filter.verdict)
            else {
                let known = RecordingFilter.verdicts.joined(separator: " ")
                return AdminResponse(
                    status: 400, body: "no verdict \(filter.verdict); there is: \(known)\n")
            }
            let recording = begin(filter, only: only, of: stage)
            return AdminResponse(body: "\(recording.number)\n")
        case .fetch(let number):
            guard let recording, recording.number == number else { return gone }
            return AdminResponse(body: summary(recording) + recording.fetch())
        case .end(let number):
            guard let recording, recording.number == number else { return gone }
            endRecording()
            return AdminResponse(body: summary(recording) + recording.fetch())
        }
    }

    private var gone: AdminResponse {
        AdminResponse(status: 410, body: "that capture has ended\n")
    }

    private func summary(_ recording: Recording) -> String {
        "records \(recording.records) lost \(recording.lost)\n"
    }
}
