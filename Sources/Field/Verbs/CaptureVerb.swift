// `sluice capture`: records what comes in at the running daemon into a file that Wireshark and
// `sluice replay` read. The daemon writes down, this tool fetches; when it goes away, however that
// happens, the daemon stops by itself. On the main thread.

import Formats
import Glibc
import Host
import Model

enum CaptureVerb {
    static let verb = Verb(
        "capture", "records datagrams and streams from the running daemon",
        details: [
            "Writes a pcapng file, or our own format where FILE ends in .slcap. Each datagram and "
                + "each piece of a stream carries what the gateway made of it: in Wireshark as the "
                + "packet's comment. `sluice replay` plays the file again.",
            "With --device and --verdict a stream is recorded frame by frame, else piece by piece "
                + "as it came. Ctrl-C ends the recording, and the file is whole.",
            "The daemon keeps at most 8 MB between two fetches of this tool: what goes beyond is "
                + "not in the file, and its count is told; the exit status is then 1.",
        ],
        flags: [
            .value("out", "FILE", "the file to write"),
            .value("source", "NAME", "only this source"),
            .value("device", "ID", "only frames of this device, and their answers"),
            .value(
                "verdict", "NAME",
                "only decoded, duplicate, control or rejected frames, or those refused for a "
                    + "reason such as bad-checksum"),
            .value("for", "DURATION", "how long", default: "until Ctrl-C"),
            .value("frames", "N", "end after so many datagrams and pieces"),
            .value("size", "BYTES", "end before the file grows larger", default: "100000000"),
            .toggle("json", "print the summary as JSON"),
            .value(
                "admin", "SOCKET", "the daemon's admin socket", default: "/run/sluice/admin.sock"),
        ],
        examples: [
            Example(
                "a minute of one source for Wireshark",
                "sluice capture --out water.pcapng --source water --for 1m"),
            Example(
                "what is refused for its check value",
                "sluice capture --out bad.pcapng --verdict bad-checksum --frames 20"),
        ]
    ) { invocation, console throws(UsageError) in
        var run = try CaptureRun(invocation)
        return run.run(console)
    }
}

/// One record of the daemon's recording as this tool reads it (see Recording).
package enum CaptureLine {
    /// Nil when the line is none.
    package static func parse(
        _ line: Substring, number: Int
    ) -> (CapturedDelivery, Conversation)? {
        let parts = line.split(separator: " ", maxSplits: 6, omittingEmptySubsequences: false)
        guard parts.count == 7, let time = Int64(parts[1]), parts[2] == "up" || parts[2] == "down",
            let client = HostPort(String(parts[3]))?.endpoint,
            let server = HostPort(String(parts[4]))?.endpoint,
            let bytes = parts[5] == "-" ? [] : Hex.bytes(String(parts[5]))
        else { return nil }
        let kind: CapturedDelivery.Kind
        switch parts[0] {
        case "d": kind = .datagram
        case "o": kind = .opened
        case "b": kind = .bytes
        case "c": kind = .closed
        default: return nil
        }
        let (nanoseconds, overflow) = time.multipliedReportingOverflow(by: 1_000_000)
        guard !overflow else { return nil }
        return (
            CapturedDelivery(
                kind: kind, time: nanoseconds, number: number, conversation: 0,
                isToServer: parts[2] == "up", bytes: bytes, note: String(parts[6])),
            Conversation(isStream: kind != .datagram, client: client, server: server)
        )
    }
}

private struct CaptureRun {
    private let path: String
    private let query: String
    private let socket: String
    private let milliseconds: Int64
    private let frames: Int
    private let size: Int
    private let asJSON: Bool
    private var writer: CaptureWriter
    private var descriptor: Int32 = -1
    private var records = 0
    private var bytes = 0
    private var lost = 0

    init(_ invocation: Invocation) throws(UsageError) {
        path = try invocation.required("out")
        socket = AdminVerbs.socket(invocation)
        milliseconds = try invocation.duration("for", default: .max)
        frames = try invocation.integer("frames", in: 1...Int.max, default: .max)
        size = try invocation.integer("size", in: 1000...Int.max, default: 100_000_000)
        asJSON = invocation.has("json")
        if let verdict = invocation.text("verdict"),
            !RecordingFilter.verdicts.contains(verdict)
        {
            throw UsageError(
                "--verdict \(verdict)", "is no verdict",
                Nearest.of(verdict, among: RecordingFilter.verdicts)
                    .map { "did you mean \($0)?" } ?? "write for example rejected")
        }
        query = ["source", "device", "verdict"].map {
            "\($0)=\(AdminQuery.encoded(invocation.text($0) ?? ""))"
        }.joined(separator: "&")
        writer = CaptureWriter(CaptureWriter.form(of: path))
    }

    private struct Failure: Error { var words: String }

    mutating func run(_ console: Console) -> RunStatus {
        Interrupts.block()
        var status = RunStatus.done
        do throws(Failure) {
            let number = try begin()
            do throws(Failure) {
                try open()
                try record(number, console)
            } catch {
                _ = try? ask("/capture/end?id=\(number)")
                throw error
            }
        } catch {
            console.fail(error.words)
            status = .foundWrong
        }
        if descriptor >= 0 { close(descriptor) }
        console.clearProgress()
        guard descriptor >= 0 else { return .foundWrong }
        if lost > 0 {
            console.complain(
                console.language(.captureLost, console.language.count(lost, .nounRecord)))
            status = .foundWrong
        }
        if asJSON {
            console.line(
                JSON.object([
                    ("file", .string(path)), ("records", .integer(Int64(records))),
                    ("bytes", .integer(Int64(bytes))), ("lost", .integer(Int64(lost))),
                ]).text())
        } else {
            let language = console.language
            console.line(
                language(
                    .captureDone, path, language.count(records, .nounRecord),
                    language.count(bytes, .nounByte)))
        }
        return status
    }

    private func begin() throws(Failure) -> UInt64 {
        let body = try ask("/capture/begin?\(query)")
        guard let number = UInt64(body.trimmingBlanks.replacingAll("\n", with: " ").trimmingBlanks)
        else { throw Failure(words: "\(socket): answers something else: is this a sluiced?") }
        return number
    }

    private mutating func open() throws(Failure) {
        // Raw frames are not for everyone on this machine.
        // Safety: a String argument is a C string for the duration of the call.
        descriptor = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw Failure(
                words: "\(path): cannot be written: \(Files.lastError()): name another --out")
        }
        let name = Console.environment("HOSTNAME") ?? ""
        try put(writer.header(comment: "sluice \(Program.version) \(name)".trimmingBlanks))
    }

    private mutating func record(_ number: UInt64, _ console: Console) throws(Failure) {
        let start = SendingClock.now
        let end =
            milliseconds == .max ? Int64.max : start &+ min(milliseconds, 1 << 40) * 1_000_000
        while true {
            let left = end == .max ? 200 : max(0, (end - SendingClock.now) / 1_000_000)
            let isStopped = Interrupts.wait(milliseconds: min(200, left))
            let isOver = isStopped || SendingClock.now >= end
            let verb = isOver ? "end" : "fetch"
            let isFull = try take(try ask("/capture/\(verb)?id=\(number)"))
            if isOver { return }
            if isFull {
                _ = try? ask("/capture/end?id=\(number)")
                return
            }
            let language = console.language
            let gone = language.span(SendingClock.now - start)
            console.progress(
                language(.decodeHead, language.count(records, .nounRecord), gone))
        }
    }

    /// Writes what was fetched; true when the file is as large as it may be.
    private mutating func take(_ text: String) throws(Failure) -> Bool {
        let lines = text.split(separator: "\n")
        let words = (lines.first ?? "").split(separator: " ")
        guard words.count == 4, words[0] == "records", let lost = Int(words[3]) else {
            throw Failure(words: "\(socket): answers something else: is this a sluiced?")
        }
        self.lost = lost
        for line in lines.dropFirst() {
            guard let (delivery, conversation) = CaptureLine.parse(line, number: records + 1)
            else { continue }
            let out = writer.bytes(of: delivery, in: conversation)
            if bytes + out.count > size { return true }
            try put(out)
            if delivery.kind == .datagram || delivery.kind == .bytes { records += 1 }
            if records >= frames { return true }
        }
        return false
    }

    private mutating func put(_ out: [UInt8]) throws(Failure) {
        var offset = 0
        while offset < out.count {
            // Safety: the pointer is used only inside the closure, for the bytes that are left.
            let count = unsafe out.withUnsafeBytes { buffer in
                unsafe Glibc.write(descriptor, buffer.baseAddress! + offset, out.count - offset)
            }
            if count > 0 {
                offset += count
            } else if errno != EINTR {
                throw Failure(
                    words: "\(path): cannot be written: \(Files.lastError()): free space")
            }
        }
        bytes += out.count
    }

    private func ask(_ route: String) throws(Failure) -> String {
        let answer: (status: Int, body: String)
        do throws(HostError) {
            answer = try adminGet(socket: socket, route: route)
        } catch {
            throw Failure(words: error.description)
        }
        guard answer.status != 200 else { return answer.body }
        let words = answer.body.split(separator: "\n").first.map(String.init) ?? ""
        throw Failure(
            words: "\(socket): answered \(answer.status): \(words): see `sluice capture --help`")
    }
}
