// What a person meets when something is wrong: exit status, words, and what is not printed.
// Serialized: some tests stand in for the process's standard input.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

@Suite("Outcomes", .serialized) struct OutcomeTests {
    private let good = "534c0100"

    private func run(
        _ arguments: [String], of program: Program = Programs.sluice()
    ) -> (status: RunStatus, out: String, err: [String]) {
        let console = Console.captured()
        let status = program.run([program.name] + arguments, console: console)
        return (status, console.output, console.complaints)
    }

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = try Files.makeTemporaryFolder("sluice-outcome")
        defer { Files.removeTree(folder) }
        try body(folder)
    }

    /// Runs `body` while `text` is on standard input.
    private func withInput(_ text: String, _ body: () throws -> Void) throws {
        try withFolder { folder in
            try Files.write(Array(text.utf8), to: "\(folder)/in")
            let saved = dup(STDIN_FILENO)
            // Safety: a String argument is a C string for the duration of the call.
            let file = unsafe open("\(folder)/in", O_RDONLY | O_CLOEXEC)
            dup2(file, STDIN_FILENO)
            close(file)
            defer {
                dup2(saved, STDIN_FILENO)
                close(saved)
            }
            try body()
        }
    }

    @Test("a file called protocols is no folder of formats")
    func places() throws {
        try withFolder { folder in
            let (shared, none) = ("\(folder)/share", "\(folder)/none")
            func find() -> String? {
                Places.find(
                    "protocols", from: ["\(folder)/bin"], shared: shared, orInstalled: none)
            }
            for name in ["bin", "share"] { try Files.makeFolder("\(folder)/\(name)") }
            try Files.write([], to: "\(folder)/protocols")
            #expect(find() == nil)
            try Files.makeFolder("\(shared)/protocols")
            #expect(find() == "\(shared)/protocols")
            try Files.makeFolder("\(folder)/bin/protocols")
            #expect(find() == "\(folder)/bin/protocols")
        }
    }

    @Test("the folder of formats that the daemon and the doctor name has no way back in it")
    func resolved() throws {
        let found = try #require(Places.daemonFormats())
        #expect(found.hasPrefix("/") && !found.contains("/.") && Files.isFolder(found), "\(found)")
        try withFolder { folder in
            let whole = Files.resolved(folder)
            for name in ["a", "a/b"] { try Files.makeFolder("\(folder)/\(name)") }
            #expect(Files.resolved("\(folder)/a/b/../../a/./b/") == "\(whole)/a/b")
            #expect(Files.resolved("\(folder)/none/../a") == "\(folder)/none/../a")
        }
    }

    @Test("a line that is not hex does not hide the others")
    func badLine() throws {
        try withInput("# frames\n\(good)\n\n68 GG # typo\r\n\(good) # again") {
            let result = run(["decode", "--format", "sluice-reference", "--json", "-"])
            #expect(result.status == .foundWrong)
            #expect(result.out.split(separator: "\n").count == 2)
            #expect(
                result.err == ["sluice: line 4: is not hex: write two hex digits a byte"])
        }
        let list = run(["decode", "--format", "sluice-reference", "--json", good, "zz", good])
        #expect(list.status == .foundWrong)
        #expect(list.out.split(separator: "\n").count == 2)
        #expect(list.err == ["sluice: zz: is not hex: write two hex digits a byte"])
        #expect(run(["decode", "--format", "sluice-reference", "zz"]).status == .wrongUsage)
    }

    @Test("lines are the same however the bytes come, and an endless one is an error")
    func lines() throws {
        var ends: [Int32] = [0, 0]
        // Safety: pipe writes two descriptors into the array that lives across the call.
        #expect(unsafe pipe(&ends) == 0)
        defer { close(ends[0]) }
        var reader = LineReader(descriptor: ends[0], path: "pipe", limit: 8)
        var pieces = ["a\nb", "c\n\nd", "e"]
        let writing = ends[1]
        func feed() {
            guard !pieces.isEmpty else {
                close(writing)
                return
            }
            let bytes = Array(pieces.removeFirst().utf8)
            // Safety: the array's count bounds what write reads.
            unsafe bytes.withUnsafeBytes { unsafe _ = write(writing, $0.baseAddress!, $0.count) }
        }
        var lines: [String] = []
        while let line = try reader.next(waiting: feed) { lines.append(line) }
        #expect(lines == ["a", "bc", "", "de"])
        try withInput("123456789") {
            var long = LineReader(descriptor: STDIN_FILENO, path: "input", limit: 8)
            #expect(throws: FileError.self) { try long.next(waiting: {}) }
        }
    }

    @Test("output that does not fit is told and is status 1; a reader that went away is not")
    func failedOutput() throws {
        // Safety: a String argument is a C string for the duration of the call.
        let full = unsafe open("/dev/full", O_WRONLY | O_CLOEXEC)
        defer { close(full) }
        let console = Console.writing(to: full)
        #expect(Programs.sluice().run(["sluice", "--help"], console: console) == .foundWrong)
        #expect(
            console.complaints == [
                "sluice: standard output: No space left on device: free space or write elsewhere"
            ])
        // SIGPIPE is ignored in this process for the moment, as in demo.
        signal(SIGPIPE, SIG_IGN)
        defer { signal(SIGPIPE, SIG_DFL) }
        var ends: [Int32] = [0, 0]
        // Safety: pipe writes two descriptors into the array that lives across the call.
        #expect(unsafe pipe(&ends) == 0)
        close(ends[0])
        let gone = Console.writing(to: ends[1])
        #expect(Programs.sluice().run(["sluice", "--help"], console: gone) == .done)
        #expect(gone.isOutputGone)
        #expect(gone.complaints.isEmpty)
        close(ends[1])
    }

    @Test("a failed query prints nothing that reads as an empty answer", arguments: [0, 1, 2])
    func query(style: Int) throws {
        let flags = [[], ["--csv"], ["--json"]][style]
        try withFolder { folder in
            let empty = run(["query", "--store", folder] + flags)
            #expect(empty.status == .foundWrong)
            #expect(empty.out.isEmpty)
            #expect(empty.err.count == 1 && empty.err[0].contains("holds no store"))
            try Files.write(
                Array("no database at all, but long".utf8), to: folder + "/store.sqlite")
            let damaged = run(["query", "--store", folder] + flags)
            #expect(damaged.status == .foundWrong)
            #expect(damaged.out.isEmpty)
            #expect(damaged.err.count == 1 && damaged.err[0].hasPrefix("sluice: \(folder): "))
            #expect(!damaged.err[0].contains("SQLiteError("))
        }
        let server = LoopbackServer(isStream: true)
        server.stop()
        let nobody = run(["query", "--store", "127.61.7.3:\(server.port)"] + flags)
        #expect(nobody.status == .foundWrong)
        #expect(nobody.out.isEmpty)
        #expect(nobody.err.count == 1)
    }

    @Test("load and replay to a port where nobody listens say so")
    func nobodyListens() throws {
        let server = LoopbackServer(isStream: false)
        server.stop()
        // Another loopback address: the kernel may have given the port of ours to the next test.
        let to = "udp://127.61.7.3:\(server.port)"
        for frames in ["1", "50"] {
            let load = run(["load", "--to", to, "--frames", frames, "--rate", "1000"])
            #expect(load.status == .foundWrong)
            #expect(load.err.contains { $0.contains("nobody listens there") }, "\(load.err)")
        }
        let replay = run([
            "replay", "fixtures/captures/demo-water.pcap", "--to", to, "--speed", "max", "--wait",
            "100ms",
        ])
        #expect(replay.status == .foundWrong)
        #expect(replay.err.contains { $0.contains("nobody listens there") }, "\(replay.err)")
        #expect(!replay.err.contains { $0.contains("nothing was sent") })
    }

    @Test("nothing was sent is said of a sound capture without such bytes only")
    func nothingSent() throws {
        let words = "nothing was sent"
        let other = run([
            "replay", "fixtures/captures/demo-water.pcap", "--to", "tcp://127.0.0.1:9", "--wait",
            "10ms",
        ])
        #expect(other.status == .foundWrong)
        #expect(other.err.contains { $0.contains(words) })
        try withFolder { folder in
            try Files.write(Array("no capture".utf8), to: "\(folder)/x.pcap")
            let damaged = run(["replay", "\(folder)/x.pcap", "--to", "udp://127.0.0.1:9"])
            #expect(damaged.status == .foundWrong)
            #expect(!damaged.err.contains { $0.contains(words) })
            #expect(!damaged.err.isEmpty)
        }
    }

    @Test("a long replay says before how long it takes")
    func announcement() throws {
        let path = "fixtures/captures/demo-water.pcap"
        let capture = Capture(try Files.read(path), file: path)
        var plan = ReplayPlan(
            target: Target(isStream: false, endpoint: .ipv4(0x7F00_0001, port: 9)))
        let slow = try ReplayRun(capture, plan).announcement ?? ""
        #expect(slow.hasPrefix("13 datagrams over 3 h"), "\(slow)")
        #expect(slow.hasSuffix("; --speed max sends them at once"))
        plan.speed = nil
        #expect(try ReplayRun(capture, plan).announcement == nil)
    }

    @Test(
        "spans name their two largest units",
        arguments: [
            (0, "0 s"), (12, "12 s"), (65, "1 min 5 s"), (3600, "1 h"), (10_860, "3 h 1 min"),
            (3605, "1 h"), (90_000, "1 d 1 h"), (-5, "0 s"),
        ] as [(Int64, String)])
    func spans(seconds: Int64, text: String) {
        #expect(Words.span(seconds * 1_000_000_000) == text)
    }

    @Test("a missing vector file is status 1 and does not hide the others")
    func vectors() throws {
        try withFolder { folder in
            let result = run(["vectors", "\(folder)/none.jsonl", folder])
            #expect(result.status == .foundWrong)
            #expect(result.err.count == 2)
        }
    }

    @Test("the stem of a format's file suggests the format")
    func stem() {
        let result = run(["decode", "--format", "reference-sensor", good])
        #expect(result.status == .wrongUsage)
        #expect(result.err.first?.hasSuffix("did you mean sluice-reference?") == true)
    }

    @Test("auto names the formats that accept a frame, and shows it with the likeliest")
    func auto() throws {
        let whole =
            "534c010000a1b2c3d4e5f6070000000801a1fd8d5360f060271000015f90ffff0ce4"
            + String(repeating: "0", count: 56) + "7454"
        let result = run(["decode", "--format", "auto", "--json", whole])
        #expect(result.status == .done)
        let line = try JSONNode.parse(Array(result.out.utf8), file: "out")
        #expect(line["format"]?.string == "sluice-reference")
        #expect(line["acceptedBy"]?.array?.first?.string == "sluice-reference")
        let meter = "681290785634126891063334343538567b16"
        let shown = run(["decode", "--format", "auto", "--explain", meter])
        #expect(shown.status == .done)
        #expect(shown.out.hasPrefix("accepted by dlt645\n"))
        #expect(shown.out.contains("over 0–15"), "\(shown.out)")
    }

    @Test("auto says of a frame that none accepts where the nearest formats stop")
    func autoRefused() {
        let result = run(["decode", "--format", "auto", "681290785634126891063334343538567c16"])
        #expect(result.status == .foundWrong)
        let lines = result.out.split(separator: "\n").map(String.init)
        #expect(lines.first == "no format accepts the frame; nearest:")
        #expect(
            lines.dropFirst().first?.hasPrefix("  dlt645: bad-checksum at offset 16: ") == true,
            "\(result.out)")
    }

    @Test("formats are listed with what a frame of them costs at most")
    func formats() throws {
        let result = run(["formats", "--json", "dlt645"])
        #expect(result.status == .done)
        let list = try JSONNode.parse(Array(result.out.utf8), file: "out").array ?? []
        #expect(list.count == 1)
        #expect(list.first?["maximumFrameBytes"]?.integer == 283)
        #expect(list.first?["costInstructions"]?.integer ?? 0 > 100)
        #expect(run(["formats", "dlt654"]).err.first?.hasSuffix("did you mean dlt645?") == true)
    }

    @Test("a check complains about an empty folder of formats and about no sources")
    func check() throws {
        try withFolder { folder in
            let path = "\(folder)/c.json5"
            try Files.makeFolder("\(folder)/empty")
            for (formats, words) in [
                ("\(folder)/empty", "holds no *.json5 file"),
                ("protocols", "sources: there are none"),
            ] {
                let text = "{ formats: \"\(formats)\", sources: [] }"
                try Files.write(Array(text.utf8), to: path)
                let result = run(["--config", path, "--check"], of: Programs.gateway)
                #expect(result.status == .foundWrong)
                #expect(result.out.isEmpty)
                #expect(result.err.contains { $0.contains(words) }, "\(result.err)")
            }
        }
    }

    @Test("a program that cannot be started is told by its reason, one that can runs")
    func spawn() throws {
        try withFolder { folder in
            let log = "\(folder)/log"
            let error = #expect(throws: SpawnError.self) {
                try ChildProcess(name: "x", path: "\(folder)/none", arguments: [], log: log)
            }
            #expect(error?.why == "No such file or directory")
            let child = try ChildProcess(
                name: "sh", path: "/bin/sh", arguments: ["-c", "echo said; exit 7"], log: log)
            while child.isRunning { SendingClock.sleep(milliseconds: 1) }
            #expect(child.exitCode == 7)
            #expect(try Files.read(log) == Array("said\n".utf8))
        }
    }
}
