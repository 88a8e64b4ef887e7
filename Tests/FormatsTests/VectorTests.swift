// The vectors, and what must hold for every frame of them when it is cut, changed or mixed with noise.

import Formats
import Model
import Testing

struct VectorTests {
    @Test("loads every format of protocols/ with its tests passed")
    func loads() throws {
        if case .failure(let complaints) = Fixtures.library {
            for complaint in complaints.all { Issue.record("\(complaint.description)") }
        }
        #expect(try Fixtures.library.get().formats.count >= 13)
    }

    @Test(
        "every row of the vectors decodes as expected",
        arguments: [
            ("dlt645", 86), ("modbus-rtu", 59), ("vendor", 48), ("cjt188", 52), ("modbus-tcp", 40),
            ("cayennelpp", 53), ("hj212", 28), ("sl651", 33), ("jt808", 159), ("gb26875", 38),
        ])
    func vectors(name: String, count: Int) throws {
        let bytes = Repository.bytes("fixtures/vectors/\(name).jsonl")
        let report = VectorRunner(try Fixtures.library.get()).run(bytes, name: name)
        #expect(report.rows.count == count)
        #expect(report.passed == count)
        for row in report.rows {
            if case .failed(let differences) = row.verdict {
                Issue.record("\(row.id): \(differences.joined(separator: "; "))")
            }
        }
    }

    @Test("the runner fails a row whose expectation is wrong, and skips an unknown protocol")
    func runnerFails() throws {
        let row = """
            {"protocol":"dlt645","id":"a","hex":"fefe681290785634126891063334343538567b16",\
            "direction":"up","expect":{"values":[{"name":"voltage_a","value":230.6}]}}
            {"protocol":"dlt645","id":"b","hex":"fefe681290785634126891063334343538567b16",\
            "direction":"up","expect":{"error":"bad-end"}}
            {"protocol":"no-such","id":"c","hex":"00","direction":"up","expect":{}}
            {"protocol":"dlt645","id":"d","hex":"0","direction":"up","expect":{}}
            not json
            """
        let report = VectorRunner(try Fixtures.library.get()).run(Array(row.utf8), name: "x")
        #expect(report.rows.map(\.id) == ["a", "b", "c", "d", "line 5"])
        #expect(report.failed == 4)
        #expect(report.skipped == 1)
        #expect(
            report.rows[0].verdict
                == .failed(["values[0].value: expected 230.6, found 230.5"]))
    }

    @Test("a frame cut at any byte is refused, and a stream waits for the rest")
    func truncation() throws {
        for row in try Fixtures.rows() where !row.isError && !row.isStream {
            let decoder = Decoder(row.format)
            var frame = DecodedFrame()
            let isOpenEnded =
                ["dragino", "cayennelpp", "milesight"].contains(where: row.format.name.hasPrefix)
                && row.format.maximumFrame >= 1024
            // A text without length and check value tells nobody that it was cut.
            let isText = ["text-imsi-plus", "text-nested645"].contains(row.format.name)
            let isDatagram = isText || ["text-htemp", "ctrl-cj188"].contains(row.format.name)
            for count in 0..<row.bytes.count {
                let cut = Array(row.bytes[..<count])
                let refusal = rejection(decoder, cut, row.direction, into: &frame)
                // A log that ends between two entries is a whole frame.
                if isOpenEnded { continue }
                if !isText { #expect(refusal != nil, "\(row.id) cut at \(count)") }
                if isDatagram { continue }
                if case .frame = decoder.search(cut.span, direction: row.direction) {
                    Issue.record("\(row.id): found a frame in its first \(count) bytes")
                }
            }
        }
    }

    @Test("a frame with a check value refuses every single wrong bit")
    func mutation() throws {
        let checked = [
            "dlt645", "modbus-rtu", "cjt188", "nb-door-aa55", "c0d0-water", "sl651", "jt808",
            "gb26875",
        ]
        for row in try Fixtures.rows() where !row.isError && !row.isStream {
            let decoder = Decoder(row.format)
            var frame = DecodedFrame()
            for bit in 0..<row.bytes.count * 8 {
                var changed = row.bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                let refusal = rejection(decoder, changed, row.direction, into: &frame)
                if checked.contains(row.format.name) {
                    #expect(refusal != nil, "\(row.id) bit \(bit)")
                }
            }
        }
    }

    @Test("a stream gives the same frames whether it comes at once or byte by byte")
    func pieces() throws {
        for row in try Fixtures.rows() where row.isStream {
            let whole = frames(row, step: row.bytes.count)
            #expect(!whole.isEmpty)
            for step in [1, 2, 3, 7, 13] { #expect(frames(row, step: step) == whole, "\(row.id)") }
        }
    }

    private func frames(_ row: Fixtures.Row, step: Int) -> [[UInt8]] {
        let decoder = Decoder(row.format)
        var found: [[UInt8]] = []
        var buffer: [UInt8] = []
        for start in stride(from: 0, to: row.bytes.count, by: step) {
            buffer += row.bytes[start..<min(start + step, row.bytes.count)]
            search: while !buffer.isEmpty {
                switch decoder.search(buffer.span, direction: row.direction) {
                case .frame(let skip, let count):
                    // Preamble bytes may arrive after they were taken for noise.
                    found.append(Array(buffer[skip..<skip + count].drop { $0 == 0xFE }))
                    buffer.removeFirst(skip + count)
                case .rejected(let skip, let advance, _): buffer.removeFirst(skip + advance)
                case .needsMore(let skip):
                    buffer.removeFirst(skip)
                    break search
                }
            }
        }
        return found
    }

    @Test("a good frame behind noise that looks like a long frame is found at once")
    func unfinishedNoise() throws {
        let decoder = Decoder(try Fixtures.format("modbus-rtu"))
        let good: [UInt8] = [0x11, 0x03, 0x04, 0xCC, 0xA0, 0x7F, 0xFF, 0xB4, 0xF0]
        // 01 03 FA: a response of 255 bytes would begin like this.
        let bytes: [UInt8] = [0x01, 0x03, 0xFA] + good
        #expect(decoder.search(bytes.span, direction: .up) == .frame(skip: 3, count: 9))
        let half = Array(bytes.dropLast())
        #expect(decoder.search(half.span, direction: .up) == .needsMore(skip: 0))
    }
}
