// `sluice batch` and `sluice bench codec` as a person uses them. Within Outcomes, because both stand in
// for the process's one standard input.

import Field
import Glibc
import Testing

extension OutcomeTests {
    @Suite("Batches of lines") struct BatchTests {
        private func run(
            _ arguments: [String], input: [UInt8] = []
        ) throws -> (status: RunStatus, console: Console) {
            let folder = try Files.makeTemporaryFolder("sluice-batch")
            defer { Files.removeTree(folder) }
            try Files.write(input, to: "\(folder)/in")
            let saved = dup(STDIN_FILENO)
            // Safety: a String argument is a C string for the duration of the call.
            let file = unsafe open("\(folder)/in", O_RDONLY | O_CLOEXEC)
            dup2(file, STDIN_FILENO)
            close(file)
            defer {
                dup2(saved, STDIN_FILENO)
                close(saved)
            }
            let console = Console.captured()
            return (Programs.sluice().run(["sluice"] + arguments, console: console), console)
        }

        private let lines = """
            b/t,1700000000000,21.5
            a/t,1700000000000,-0.25
            b/t,1700000060000,21.5
            a/h,1700000000123,40
            a,b,5,1e-300
            b/t,1699999940000,0.1

            """

        @Test("lines come back, streams by name and each in its order")
        func roundTrip() throws {
            let packed = try run(["batch", "encode"], input: Array(lines.utf8))
            #expect(packed.status == .done && packed.console.output.isEmpty)
            let back = try run(["batch", "decode"], input: packed.console.binary)
            #expect(back.status == .done)
            #expect(
                back.console.output == """
                    a,b,5,1e-300
                    a/h,1700000000123,40
                    a/t,1700000000000,-0.25
                    b/t,1700000000000,21.5
                    b/t,1700000060000,21.5
                    b/t,1699999940000,0.1

                    """)
        }

        @Test(
            "says which line is wrong and what a line is",
            arguments: [
                ("a,1\n", "line 1: is not stream,unix_ms,value"),
                ("a,1,2\n,1,2\n", "line 2: has no stream"),
                ("a,x,2\n", "line 1: has no time"), ("a,1,\n", "line 1: has no number"),
                ("", "no readings"),
            ])
        func wrongLines(_ text: String, _ words: String) throws {
            let result = try run(["batch", "encode"], input: Array(text.utf8))
            #expect(result.status == .foundWrong && result.console.binary.isEmpty)
            #expect(result.console.complaints.first?.contains(words) == true)
        }

        @Test("refuses what is no batch")
        func noBatch() throws {
            let result = try run(["batch", "decode"], input: Array(lines.utf8))
            #expect(result.status == .foundWrong && result.console.output.isEmpty)
            #expect(try run(["batch", "pack"]).status == .wrongUsage)
        }

        @Test("bench codec measures a file and says that it is lossless")
        func bench() throws {
            let folder = try Files.makeTemporaryFolder("sluice-codec")
            defer { Files.removeTree(folder) }
            let path = "\(folder)/few.csv"
            try Files.write(Array(("stream_id,unix_ms,value\n" + lines).utf8), to: path)
            let result = try run(["bench", "codec", "--batch", "4", "--json", path])
            #expect(result.status == .done)
            for word in [
                "\"readings\": 6", "\"bytesPerReading\"", "\"encodeNsPerReading\"",
                "\"decodeNsPerReading\"", "\"lossless\": true",
            ] { #expect(result.console.output.contains(word), "\(word)") }
            #expect(try run(["bench", "codec"]).status == .wrongUsage)
            #expect(try run(["bench", "codec", "\(folder)/none"]).status == .foundWrong)
        }
    }
}
