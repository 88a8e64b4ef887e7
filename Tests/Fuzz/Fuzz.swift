// libFuzzer's entry points: bytes that nobody meant go through everything that reads bytes from outside.
// One program, one target a run, named by the environment variable FUZZ_TARGET (`list` prints them, `each`
// how many inputs a call tries; with FUZZ_SEEDS_TO good inputs of all are written there):
// `format:NAME` decodes as a datagram and as a stream, `exchange:KIND` leads conversations, the others
// are single readers. A trap, a hang, a leak or a broken law ends the run. Built only with FUZZ set
// (Package.swift, Tests/Fuzz/run). One thread.

import Formats
import Glibc
import Model

func environment(_ name: String) -> String? {
    // Safety: getenv gives nil or a C string, copied at once; nothing here changes the environment.
    guard let value = unsafe getenv(name) else { return nil }
    // Safety: as above.
    return unsafe String(cString: value)
}

/// Ends the run when something that must hold does not; unlike a precondition it says what.
func law(_ holds: Bool, _ what: @autoclosure () -> String) {
    if !holds { fatalError("law: \(what())") }
}

/// What one run works on; made once, used on libFuzzer's only thread.
final class Subject {
    let take: ([UInt8]) -> Void
    init(_ take: @escaping ([UInt8]) -> Void) { self.take = take }

    /// Nothing is left to chance: the inputs that say where libFuzzer looks do all there is to do.
    // Safety: one thread, see below.
    nonisolated(unsafe) static var isThorough = false

    static let directory = environment("FUZZ_FORMATS") ?? "protocols"

    static let library: FormatLibrary = {
        do throws(Complaints) {
            return try FormatLibrary(directory: directory)
        } catch {
            fatalError(error.all.map(\.description).joined(separator: "\n"))
        }
    }()

    static var names: [String] {
        library.formats.map { "format:\($0.name)" } + exchangeNames
            + readers.map(\.name)
    }

    static func named(_ name: String) -> Subject? {
        let parts = name.split(separator: ":", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { return readers.first { $0.name == name }?.make() }
        switch parts[0] {
        case "format": return library.format(named: parts[1]).map(decoding)
        case "exchange": return exchanging(parts[1])
        default: return nil
        }
    }

    // Safety: libFuzzer calls from one thread only.
    nonisolated(unsafe) static let shared: Subject = {
        guard let name = environment("FUZZ_TARGET"), let subject = Subject.named(name) else {
            fatalError("FUZZ_TARGET is none of: \(names.joined(separator: " "))")
        }
        return subject
    }()
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ argc: UnsafeMutablePointer<Int32>,
    _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

private let testOneInput: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32 = { data, size in
    // Safety: libFuzzer lends `size` readable bytes at `data` for the call; they are copied.
    let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    // Safety: one thread, see there.
    let subject = unsafe Subject.shared
    subject.take(bytes)
    var variants = Variants(bytes)
    for _ in 1..<Variants.each {
        variants.make(of: bytes)
        subject.take(variants.bytes)
    }
    return 0
}

/// SwiftPM links `main` to this name; libFuzzer's own `main` stays unused.
@_cdecl("Fuzz_main")
public func fuzzMain(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    let target = environment("FUZZ_TARGET") ?? "list"
    if target == "list" {
        for name in Subject.names { print(name) }
        return 0
    }
    if target == "each" {
        print(Variants.each)
        return 0
    }
    if let folder = environment("FUZZ_SEEDS_TO") {
        Seeds.write(to: folder)
        return 0
    }
    // Made before the first input, whose time is measured.
    // Safety: one thread, see there.
    let subject = unsafe Subject.shared
    // Safety: one thread, see there.
    unsafe Subject.isThorough = true
    Coverage.announce(after: {
        for input in Coverage.inputs(Array(CommandLine.arguments.dropFirst())) {
            subject.take(input)
        }
    })
    // Safety: as above.
    unsafe Subject.isThorough = false
    var count = argc
    // Safety: the arguments of the process outlive the call.
    var values = unsafe argv
    // Safety: libFuzzer's documented entry; it reads the arguments and calls back on this thread.
    return unsafe runDriver(&count, &values, testOneInput)
}
