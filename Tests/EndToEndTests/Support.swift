// Real processes for the end-to-end tests: where the programs are, how one is started with its two
// outputs apart, and how an event is awaited. Every child is killed and waited for when its owner goes.
// Owned by the thread of one test; the suites are serialized.

import Field
import Formats
import Glibc
import Host
import Model
import Testing

/// All tests with processes, one after the other.
@Suite("end to end", .serialized)
enum EndToEnd {}

enum Place {
    /// Folder of the package.
    static let root: String = {
        let parts = #filePath.split(separator: "/").dropLast(3)
        return "/" + parts.joined(separator: "/")
    }()

    /// Folder of `sluiced`, `sluice` and `sluice-store`: SLUICE_BINARIES, else beside the running tests.
    static let binaries: String = {
        // Safety: getenv's text is copied at once; nothing here sets the environment.
        if let named = unsafe getenv("SLUICE_BINARIES") { return unsafe String(cString: named) }
        let program = CommandLine.arguments[0]
        guard let slash = program.lastIndex(of: "/") else { return "." }
        return String(program[..<slash])
    }()

    static let isRelease = binaries.hasSuffix("/release") || binaries.hasSuffix("/release/")
    static let protocols = root + "/protocols"
    static let captures = root + "/fixtures/captures"
    /// The project's shared folder, nil where it is not there: SLUICE_SHARED, else beside the repository.
    static let shared: String? = {
        // Safety: getenv's text is copied at once; nothing here sets the environment.
        let named = unsafe getenv("SLUICE_SHARED").map { unsafe String(cString: $0) }
        let folder = named ?? root + "/../shared"
        return Files.isFolder(folder + "/vectors") ? folder : nil
    }()
}

/// A folder of its own for a test; removed with it.
final class Folder {
    let path: String

    init() throws { path = try Files.makeTemporaryFolder("sluice-e2e") }

    deinit { Files.removeTree(path) }

    func write(_ text: String, to name: String) throws -> String {
        try Files.write(Array(text.utf8), to: "\(path)/\(name)")
        return "\(path)/\(name)"
    }
}

/// One running program with stdout and stderr in files of their own.
final class Program {
    let name: String
    private let child: ChildProcess
    private let outputPath: String
    private let errorsPath: String
    nonisolated(unsafe) private static var lastNumber = 0

    /// `prelude`: shell commands before it begins (limits, environment). `through`: the command that runs
    /// it, such as `ip netns exec NAME`.
    init(
        _ name: String, _ arguments: [String], in folder: String, prelude: String = "",
        through: String = ""
    ) throws(DistrictError) {
        // Safety: the suites are serialized; one thread at a time starts programs.
        unsafe Program.lastNumber += 1
        let number = unsafe Program.lastNumber
        self.name = name
        outputPath = "\(folder)/\(name).\(number).out"
        errorsPath = "\(folder)/\(name).\(number).err"
        // `exec` keeps the process number: it is the program's own. Sockets of other tests of this run
        // may be inherited; a daemon that held them would keep them open.
        let script = """
            for f in /proc/$$/fd/*; do n=${f##*/}; ((n > 2)) && eval "exec $n>&-"; done
            export TZ=UTC NO_COLOR=1
            \(prelude)
            cd '\(Place.root)' && exec \(through) "$0" "$@" \
                >'\(outputPath)' 2>'\(errorsPath)'
            """
        do throws(SpawnError) {
            child = try ChildProcess(
                name: name, path: "/bin/bash",
                arguments: ["-c", script, "\(Place.binaries)/\(name)"] + arguments,
                log: "\(folder)/spawn.log")
        } catch {
            throw DistrictError(what: error.program, why: error.why, remedy: "build all programs")
        }
    }

    var pid: pid_t { child.pid }
    var isRunning: Bool { child.isRunning }
    var exitCode: Int32? { child.exitCode }
    var output: String { Program.text(outputPath) }
    var errors: String { Program.text(errorsPath) }

    private static func text(_ path: String) -> String {
        guard let bytes = try? Files.read(path, limit: 1 << 26) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }

    func signal(_ number: Int32) { kill(pid, number) }

    @discardableResult
    func stop(_ number: Int32) -> Int32 { child.stop(number) }

    /// The exit status; kills the program and throws when it does not end in time.
    func end(within seconds: Double) throws(DistrictError) -> Int32 {
        try eventually("\(name) ends", within: seconds) { child.exitCode }
    }

    /// The daemon said so.
    var isReady: Bool { output.split(separator: "\n").contains("\(name): ready") }

    /// Until the daemon says that it is ready.
    func awaitReady() throws(DistrictError) {
        _ = try eventually("\(name) is ready") { () throws(DistrictError) -> Bool? in
            if isReady { return true }
            guard isRunning else {
                throw DistrictError(
                    what: name, why: "ended with status \(exitCode ?? -1)", remedy: errors)
            }
            return nil
        }
    }
}

/// A program from start to end.
struct Finished {
    var status: Int32
    var output: String
    var errors: String

    var lines: [Substring] { output.split(separator: "\n") }
}

func run(
    _ name: String, _ arguments: [String], in folder: String, within seconds: Double = 30
) throws(DistrictError) -> Finished {
    let program = try Program(name, arguments, in: folder)
    let status = try program.end(within: seconds)
    return Finished(status: status, output: program.output, errors: program.errors)
}

/// Asks until there is an answer; throws after `seconds`.
func eventually<T>(
    _ what: String, within seconds: Double = 30,
    _ ask: () throws(DistrictError) -> T?
) throws(DistrictError) -> T {
    let limit = SendingClock.now + Int64(seconds * 1e9)
    while true {
        if let answer = try ask() { return answer }
        guard SendingClock.now < limit else {
            throw DistrictError(
                what: what, why: "has not happened in \(seconds) s", remedy: "see the test")
        }
        SendingClock.sleep(milliseconds: 5)
    }
}

func parsed(_ text: String) throws -> JSONNode {
    try JSONNode.parse(Array(text.utf8), file: "answer")
}

/// One endpoint of a device over UDP.
final class Device {
    private let sender: DatagramSender
    private let poller: Poller

    init(to target: Target) throws {
        sender = try DatagramSender(to: target.endpoint, bufferBytes: 1 << 20)
        poller = try Poller()
        try poller.add(sender, token: 0)
    }

    func send(_ bytes: [UInt8]) -> SendingError? { sender.send(bytes) }

    /// What has come.
    func answers() -> [[UInt8]] {
        var all: [[UInt8]] = []
        while case .bytes(let bytes) = sender.receive() { all.append(bytes) }
        return all
    }

    /// What comes within the time.
    func answer(milliseconds: Int64) -> [UInt8]? {
        let limit = SendingClock.now + milliseconds * 1_000_000
        while SendingClock.now < limit {
            if case .bytes(let bytes) = sender.receive() { return bytes }
            _ = poller.wait(nanoseconds: max(0, limit - SendingClock.now))
        }
        return nil
    }

    /// Sends and repeats the same bytes until they are answered, as devices do.
    func ask(_ frame: [UInt8], within seconds: Double = 30) throws -> [UInt8] {
        try eventually("an answer comes", within: seconds) {
            _ = sender.send(frame)
            return answer(milliseconds: 500)
        }
    }
}

/// One TCP connection of a device.
final class Link {
    private let sender: StreamSender
    private let poller: Poller
    private(set) var isEnded = false
    private var received: [UInt8] = []

    init(to target: Target) throws {
        sender = try StreamSender(to: target.endpoint)
        poller = try Poller()
        try poller.add(sender, token: 0)
        _ = try eventually("the connection opens") { () throws(DistrictError) -> Bool? in
            poller.wait(nanoseconds: 10_000_000).contains { $0.isWritable } ? true : nil
        }
        if let error = sender.connectError() { throw error }
        try poller.watch(sender, token: 0, writable: false)
    }

    func send(_ bytes: [UInt8]) throws { _ = try sender.send(bytes) }

    /// Reads for so long, less when `count` bytes are there or the gateway closes.
    func receive(_ count: Int, milliseconds: Int64) -> [UInt8] {
        let limit = SendingClock.now + milliseconds * 1_000_000
        while received.count < count, !isEnded {
            switch sender.receive() {
            case .bytes(let bytes): received += bytes
            case .ended: isEnded = true
            case .nothing:
                guard SendingClock.now < limit else { break }
                _ = poller.wait(nanoseconds: max(0, limit - SendingClock.now))
            }
            if SendingClock.now >= limit { break }
        }
        let taken = Array(received.prefix(count))
        received.removeFirst(taken.count)
        return taken
    }
}
