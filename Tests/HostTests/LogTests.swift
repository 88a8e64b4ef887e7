// The journal's native entries, sent to a real datagram socket that stands in for it: every field comes
// back as it went, and a journal that is away or full holds nobody up.

import Glibc
import Model
import Testing

@testable import Host

@Suite("Logs") struct LogTests {
    /// A socket at a path, as the journal has one.
    private final class Journal {
        let path: String
        private let descriptor: Int32

        init() throws {
            path = "/tmp/sluice-log.\(getpid()).\(UInt64.random(in: 0 ... .max))"
            descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | O_NONBLOCK, 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            unsafe withUnsafeMutableBytes(of: &address.sun_path) { room in
                for (i, byte) in path.utf8.enumerated() { unsafe room[i] = byte }
            }
            let bound = unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            try #require(descriptor >= 0 && bound == 0)
        }

        deinit {
            close(descriptor)
            unsafe unlink(path)
        }

        /// The next entry's fields in their order; nil when there is none.
        func next() throws -> [(name: String, value: [UInt8])]? {
            var bytes = [UInt8](repeating: 0, count: 1 << 20)
            let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
            return count < 0 ? nil : try LogTests.decoded(Array(bytes[..<count]))
        }
    }

    /// As systemd reads an entry.
    private static func decoded(_ bytes: [UInt8]) throws -> [(name: String, value: [UInt8])] {
        var fields: [(String, [UInt8])] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let end = try #require(rest.firstIndex(of: 0x0A))
            let line = rest[..<end]
            if let equals = line.firstIndex(of: 0x3D) {
                let name = String(decoding: line[..<equals], as: UTF8.self)
                fields.append((name, Array(line[(equals + 1)...])))
                rest = rest[(end + 1)...]
                continue
            }
            let name = String(decoding: line, as: UTF8.self)
            rest = rest[(end + 1)...]
            try #require(rest.count >= 8)
            let size = rest.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            rest = rest.dropFirst(8)
            try #require(rest.count > size)
            fields.append((name, Array(rest.prefix(size))))
            rest = rest.dropFirst(size)
            try #require(rest.removeFirst() == 0x0A)
        }
        return fields
    }

    /// Both ends of a stream that stands for stderr, and what the service manager would call it.
    private struct Stream: ~Copyable {
        let near: Int32
        let far: Int32

        init(isFile: Bool = false) throws {
            var ends: [Int32] = [0, 0]
            let made = unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends)
            try #require(made == 0)
            (near, far) = (ends[0], ends[1])
            _ = fcntl(far, F_SETFL, O_NONBLOCK)
        }

        deinit {
            close(near)
            close(far)
        }

        var name: String {
            var info = stat()
            guard unsafe fstat(near, &info) == 0 else { return "" }
            return "\(info.st_dev):\(info.st_ino)"
        }

        func text() -> String {
            var bytes = [UInt8](repeating: 0, count: 1 << 16)
            let count = unsafe read(far, &bytes, bytes.count)
            return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : ""
        }
    }

    @Test("an entry has its line, priority, program and details, each a field")
    func fields() throws {
        let journal = try Journal()
        let stream = try Stream()
        let writer = LogWriter(
            journalStream: stream.name, program: "sluiced", descriptor: stream.near,
            socket: journal.path)
        for level in Log.Level.allCases {
            writer.write(
                level, "source bus: no answer",
                [.source("bus"), .reason("timed out"), .place("tcp://a:1"), .store("s:9100")])
            let fields = try #require(try journal.next())
            let all = fields.map { "\($0.name)=\(String(decoding: $0.value, as: UTF8.self))" }
            #expect(
                all == [
                    "MESSAGE=source bus: no answer", "PRIORITY=\(level.rawValue)",
                    "SYSLOG_FACILITY=3", "SYSLOG_IDENTIFIER=sluiced", "SLUICE_SOURCE=bus",
                    "SLUICE_REASON=timed out", "SLUICE_PLACE=tcp://a:1", "SLUICE_STORE=s:9100",
                ])
        }
        #expect(stream.text() == "")
    }

    @Test("every value comes back as it went, whatever bytes it has")
    func lossless() throws {
        var random = SplitMix64(seed: UInt64.random(in: 0 ... .max))
        let seed = random
        for _ in 0..<2000 {
            var entry = JournalEntry()
            var sent: [(String, [UInt8])] = []
            for field in 0..<(1 + Int(random.next() % 5)) {
                let few: [UInt8] = [0x0A, 0x3D, 0x00, 0x41, 0xFF, 0x0D]
                let value = (0..<Int(random.next() % 40)).map { _ in
                    few[Int(random.next() % UInt64(few.count))]
                }
                sent.append(("F_\(field)", value))
                entry.add("F_\(field)", value)
            }
            let back = try LogTests.decoded(entry.bytes)
            #expect(back.map(\.name) == sent.map(\.0), "seed \(seed)")
            #expect(back.map(\.value) == sent.map(\.1), "seed \(seed)")
        }
    }

    @Test("a device cannot forge an entry, a line or the colour of a terminal by its name")
    func hostile() throws {
        let journal = try Journal()
        let stream = try Stream()
        let writer = LogWriter(
            journalStream: stream.name, program: "sluiced", descriptor: stream.near,
            socket: journal.path)
        let name = "m\nPRIORITY=0\n\u{1B}[31m\u{85}\u{202E}x\u{2028}"
        writer.write(.notice, "device \(name) is new", [.source(name)])
        let fields = try #require(try journal.next())
        #expect(fields.map(\.name).filter { $0 == "PRIORITY" }.count == 1)
        let line = String(decoding: try #require(fields.first).value, as: UTF8.self)
        #expect(line == "device m·PRIORITY=0··[31m··x· is new")
        // To be searched for, it is as it is.
        #expect(fields.last.map { String(decoding: $0.value, as: UTF8.self) } == name)
        let plain = LogWriter(journalStream: nil, program: "sluiced", descriptor: stream.near)
        plain.write(.warning, "device \(name) is new")
        #expect(stream.text() == "level=warning \(line)\n")
    }

    @Test("a line longer than a datagram is cut and still goes")
    func long() throws {
        let journal = try Journal()
        let stream = try Stream()
        let writer = LogWriter(
            journalStream: stream.name, program: "sluiced", descriptor: stream.near,
            socket: journal.path)
        let text = String(repeating: "数", count: 1 << 20)
        writer.write(.error, text, [.reason(text)])
        let fields = try #require(try journal.next())
        #expect((16_000...16_384).contains(try #require(fields.first).value.count))
    }

    @Test("a journal that is away, or full, gets the line through stderr at once")
    func fallback() throws {
        let stream = try Stream()
        let away = LogWriter(
            journalStream: stream.name, program: "sluiced", descriptor: stream.near,
            socket: "/tmp/sluice-no-journal.\(getpid())")
        away.write(.warning, "store away")
        #expect(stream.text() == "<4>store away\n")

        let journal = try Journal()
        let full = LogWriter(
            journalStream: stream.name, program: "sluiced", descriptor: stream.near,
            socket: journal.path)
        let begun = SendingClock.now
        var told = 0
        // The kernel keeps some ten datagrams (net.unix.max_dgram_qlen) or a buffer of them; nobody reads.
        for _ in 0..<5000 {
            full.write(.notice, "line")
            if stream.text() == "<5>line\n" { told += 1 }
        }
        #expect(told > 0)
        var taken = 0
        while try journal.next() != nil { taken += 1 }
        #expect(taken + told == 5000)
        // Nobody reads stderr either: what is too much is lost, nothing waits.
        for _ in 0..<20_000 { away.write(.notice, String(repeating: "x", count: 100)) }
        #expect(SendingClock.now - begun < 30_000_000_000)
    }

    @Test("only the stderr that the variable names is the journal")
    func otherStream() throws {
        let journal = try Journal()
        let stream = try Stream()
        let other = try Stream()
        for name in [other.name, "", "7", "x:y", nil] {
            let writer = LogWriter(
                journalStream: name, program: "sluiced", descriptor: stream.near,
                socket: journal.path)
            writer.write(.error, "disk full")
            #expect(stream.text() == "level=error disk full\n")
            #expect(try journal.next() == nil)
        }
    }
}
