// libFuzzer's entry points: bytes that nobody meant go through everything that reads bytes from outside.
// One program, one target a run, named by the environment variable FUZZ_TARGET (`list` prints them):
// `format:NAME` decodes as a datagram in both directions and as a stream, `explain:NAME` holds the
// explaining path against it, the others are the readers of other rooms. A trap, a hang, a leak or
// a disagreement ends the run. Built only with FUZZ set (Package.swift, Tests/Fuzz/run).

import Batches
import Formats
import Glibc
import Model
import Uplink

private func environment(_ name: String) -> String? {
    // Safety: getenv gives nil or a C string, copied at once; nothing here changes the environment.
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
}

/// What one run works on; made once, used on libFuzzer's only thread.
private final class Subject {
    let take: ([UInt8]) -> Void
    init(_ take: @escaping ([UInt8]) -> Void) { self.take = take }

    static let folder = environment("FUZZ_FORMATS") ?? "protocols"

    static let library: FormatLibrary = {
        do throws(Complaints) { return try FormatLibrary(directory: folder) } catch {
            fatalError(error.all.map(\.description).joined(separator: "\n"))
        }
    }()

    static let readers = ["envelope", "format-file", "batch", "uplink", "json"]

    static var names: [String] {
        library.formats.map { "format:\($0.name)" } + library.formats.map { "explain:\($0.name)" }
            + readers
    }

    // Safety: libFuzzer calls from one thread only.
    nonisolated(unsafe) static let shared: Subject = {
        guard let name = environment("FUZZ_TARGET"), let subject = Subject.named(name) else {
            fatalError("FUZZ_TARGET is none of: \(names.joined(separator: " "))")
        }
        return subject
    }()

    static func named(_ name: String) -> Subject? {
        let parts = name.split(separator: ":", maxSplits: 1).map(String.init)
        if parts.count == 2, let format = library.format(named: parts[1]) {
            return parts[0] == "explain" ? explaining(format) : decoding(format)
        }
        switch name {
        case "envelope": return envelopes()
        case "format-file":
            return Subject { bytes in
                let text = String(decoding: bytes, as: UTF8.self)
                _ = try? FormatLibrary(text: text, file: "fuzz", library: Subject.library)
            }
        case "json":
            return Subject { bytes in _ = try? JSONNode.parse(bytes, file: "fuzz") }
        case "batch":
            return Subject { bytes in
                // With a right check value, or nothing behind it would be reached.
                let sum = CRC32.of(bytes)
                let tail = (0..<4).map { UInt8(truncatingIfNeeded: sum >> UInt32(8 * $0)) }
                _ = try? BatchCodec.decode(bytes + tail)
            }
        case "uplink": return uplink()
        default: return nil
        }
    }

    private static func decoding(_ format: Format) -> Subject {
        let decoder = Decoder(format)
        var frame = DecodedFrame()
        return Subject { bytes in
            for direction in [Direction.up, .down] {
                try? decoder.decode(bytes.span, direction: direction, into: &frame)
                precondition(frame.readings.count <= 512, "more readings than a frame may have")
            }
            var rest = bytes[...]
            while !rest.isEmpty {
                let left = Array(rest)
                switch decoder.search(left.span, direction: .up) {
                case .frame(let skip, let count):
                    precondition(skip >= 0 && count > 0 && skip + count <= left.count)
                    rest = rest.dropFirst(skip + count)
                case .needsMore(let skip):
                    precondition(skip >= 0 && skip <= left.count)
                    return
                case .rejected(let skip, let advance, _):
                    precondition(skip >= 0 && advance > 0 && skip + advance <= left.count)
                    rest = rest.dropFirst(skip + advance)
                }
            }
        }
    }

    /// Both paths accept the same frames, with the same count of readings.
    private static func explaining(_ format: Format) -> Subject {
        let decoder = Decoder(format)
        var frame = DecodedFrame()
        return Subject { bytes in
            for direction in [Direction.up, .down] {
                var refusal: Rejection?
                do throws(Rejection) {
                    try decoder.decode(bytes.span, direction: direction, into: &frame)
                } catch { refusal = error }
                let explanation = decoder.explain(bytes, direction: direction)
                precondition(explanation.rejection == refusal, "decoding and explaining disagree")
            }
        }
    }

    private static func envelopes() -> Subject {
        let decoders = Subject.library.formats.map { Decoder($0) }
        var frame = DecodedFrame()
        return Subject { bytes in
            guard let first = bytes.first else { return }
            let decoder = decoders[Int(first) % decoders.count]
            let rest = Array(bytes.dropFirst())
            try? decoder.decode(envelope: rest.span, direction: .up, into: &frame)
        }
    }

    private static func uplink() -> Subject {
        Subject { bytes in
            var reader = FrameReader(side: .store)
            reader.append(bytes)
            while true {
                do {
                    guard try reader.next() != nil else { return }
                } catch { return }
            }
        }
    }

    /// Good frames to start from: each a file in `folder`.
    static func writeSeeds(_ name: String, to folder: String) {
        let parts = name.split(separator: ":", maxSplits: 1).map(String.init)
        guard parts.count == 2, let format = library.format(named: parts[1]) else { return }
        var seeds = library.exampleFrames(of: format)
        for path in (environment("FUZZ_VECTORS") ?? "").split(separator: " ") {
            guard let bytes = FileBytes.read(String(path), limit: 1 << 26) else { continue }
            for line in bytes.split(separator: 0x0A) {
                guard let row = try? JSONNode.parse(Array(line), file: "seeds"),
                    let hex = row["hex"]?.string, let frame = HexText.bytes(hex),
                    row["protocol"]?.string == format.name
                        || row["expect"]?["profile"]?.string == format.name
                else { continue }
                seeds.append(frame)
            }
        }
        for (i, seed) in seeds.enumerated() { write(seed, to: "\(folder)/\(i)") }
    }

    private static func write(_ bytes: [UInt8], to path: String) {
        let file = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { fatalError("cannot write \(path)") }
        // Safety: the buffer is lent for the call, which reads at most its count.
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(file, $0.baseAddress, $0.count) }
        close(file)
    }
}

// Safety of the three: libFuzzer calls them on one thread, with `size` readable bytes at `data`.

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    Subject.shared.take(bytes)
    return 0
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ argc: UnsafeMutablePointer<Int32>,
    _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

@_cdecl("Fuzz_main")
public func fuzzMain(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    if environment("FUZZ_TARGET") == "list" {
        for name in Subject.names { print(name) }
        return 0
    }
    if let folder = environment("FUZZ_SEEDS_TO"), let name = environment("FUZZ_TARGET") {
        Subject.writeSeeds(name, to: folder)
        return 0
    }
    var count = argc
    var values = unsafe argv
    return unsafe runDriver(&count, &values) { data, size in unsafe testOneInput(data, size) }
}
