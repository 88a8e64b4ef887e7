// protocols/batch.md against the codec: the decoder written in Python from that document alone reads
// what the encoder wrote. Skipped where there is no python3.

import Batches
import Glibc
import Model
import Testing

private let script =
    #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
    .joined(separator: "/") + "/protocols/batch_decode.py"

/// Standard output of a command, nil when it failed.
private func output(_ command: String) -> String? {
    // Safety: the command is a literal of this file with paths made here.
    guard let pipe = unsafe popen(command, "r") else { return nil }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        // Safety: the buffer is `block`, whose count is passed.
        let count = unsafe fread(&block, 1, block.count, pipe)
        if count == 0 { break }
        bytes.append(contentsOf: block[0..<count])
    }
    // Safety: opened above, closed once.
    return unsafe pclose(pipe) == 0 ? String(decoding: bytes, as: UTF8.self) : nil
}

private let hasPython = output("command -v python3") != nil

@Suite("The document of the batch", .enabled(if: hasPython))
struct DocumentTests {
    @Test("a decoder written from it reads every habit", arguments: Habit.allCases)
    func decodes(habit: Habit) throws {
        var random = SplitMix64(seed: 41)
        var template = Array("/tmp/sluice-batch-XXXXXX".utf8CString)
        // Safety: the template is a null-terminated array of this function.
        let file = unsafe mkstemp(&template)
        try #require(file >= 0)
        let path = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // Safety: the path is alive for the call.
        defer { unsafe unlink(path) }
        for count in [1, 40, 5_200] {
            let input = readings(habit, count: count, &random)
            let effort = count == 40 ? BatchEffort.stored : .best
            let bytes = encoded(input, effort: effort)
            // Safety: the buffer is `bytes`, whose count is passed.
            let written = unsafe pwrite(file, bytes, bytes.count, 0)
            #expect(written == bytes.count && ftruncate(file, off_t(bytes.count)) == 0)
            let lines = try #require(output("python3 '\(script)' '\(path)'"))
            let expected = grouped(input).map {
                "\($0.stream.rawValue) \($0.kind) \($0.exponent) \($0.bits) \($0.quality.rawValue)"
                    + " \($0.observedAt.milliseconds) \($0.receivedAt.milliseconds)\n"
            }.joined()
            #expect(lines == expected, "\(habit), \(count) readings")
        }
        close(file)
    }
}
