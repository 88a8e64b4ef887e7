// What belongs to lines: patterns of DTUs, wishes to be woken, times of new attempts.

import Exchanges
import Model
import Testing

@Suite("Lines")
struct PollLineTests {
    private func pattern(
        _ prefix: String = "", length: Int = 0, end: String = "",
        _ bytes: LinePattern.Bytes = .any
    ) -> LinePattern {
        var pattern = LinePattern()
        pattern.prefix = Array(prefix.utf8)
        pattern.end = Array(end.utf8)
        pattern.length = length
        pattern.bytes = bytes
        return pattern
    }

    @Test("knows registrations by start, length, end and characters, whole or in part")
    func patterns() {
        let rows: [(LinePattern, String, LinePattern.Match)] = [
            (pattern("HB"), "HB\u{1}\u{3}", .whole(count: 2, name: 2..<2)),
            (pattern("HB"), "H", .partial), (pattern("HB"), "HX", .no),
            (
                pattern("REG:", end: "\r\n"), "REG:dtu7\r\nrest", .whole(count: 10, name: 4..<8)
            ),
            (pattern("REG:", end: "\r\n"), "REG:dtu7\r", .partial),
            (
                pattern(length: 15, .digits), "860123456789012x",
                .whole(count: 15, name: 0..<15)
            ),
            (pattern(length: 15, .digits), "8601234", .partial),
            (pattern(length: 15, .digits), "86012a4", .no),
            (pattern("ID", length: 6, end: ";"), "ID123;", .whole(count: 6, name: 2..<5)),
            (pattern("ID", length: 6, end: ";"), "ID1234", .no),
        ]
        for (pattern, text, expected) in rows {
            let bytes = Array(text.utf8)
            #expect(pattern.match(bytes.span, at: 0) == expected, "\(text)")
        }
    }

    /// Found by the fuzzer: an end that begins with what may stand before it.
    @Test("what is decided about a beginning stays so, whatever follows, also at an end of digits")
    func beginnings() {
        let patterns = [
            pattern("D", end: "1\nD", .digits), pattern("D", end: "11\n", .digits),
            pattern(end: "\r\n"), pattern("1", end: "1D", .printable), pattern(length: 4, .digits),
            pattern("D", length: 5, end: "1D", .digits), pattern("D1"), pattern(end: "DD1"),
        ]
        let letters = Array("1D\n".utf8)
        for pattern in patterns {
            for number in 0..<2187 {
                var rest = number
                let stream: [UInt8] = (0..<7).map { _ in
                    defer { rest /= 3 }
                    return letters[rest % 3]
                }
                let whole = pattern.match(stream.span, at: 0)
                for cut in stream.indices {
                    let part = pattern.match(stream.span.extracting(0..<cut), at: 0)
                    #expect(part == .partial || part == whole, "\(pattern) \(stream) cut at \(cut)")
                }
            }
        }
    }

    @Test("a name is the text when identities can carry it, else hex, never too long")
    func names() {
        func name(_ bytes: [UInt8]) -> String? { LinePattern.name(bytes.span) }
        #expect(name(Array("dtu7".utf8)) == "dtu7")
        #expect(name(Array(" 860123 ".utf8)) == "860123")
        #expect(name([0x00, 0x1A, 0xB0, 0xC1, 0x22, 0xFF]) == "001ab0c122ff")
        #expect(name(Array("a:b".utf8)) == "613a62", "the colon parts name and address")
        #expect(name([]) == nil)
        #expect(name([UInt8](repeating: 0x41, count: 64)) == nil)
    }

    @Test("a pattern that anything fits is looked for only before the line has its name")
    func vague() {
        var patterns = LinePatterns()
        patterns.registration = pattern(length: 6)
        let mac: [UInt8] = [0, 0x1A, 0xB0, 0xC1, 0x22, 0xFF]
        #expect(
            patterns.find(mac.span, at: 0, isNamed: false)
                == .registration(count: 6, name: 0..<6))
        #expect(patterns.find(mac.span, at: 0, isNamed: true) == nil)
        patterns.registration = pattern("REG", length: 6)
        #expect(patterns.find(Array("REGabc".utf8).span, at: 0, isNamed: true) != nil)
    }

    @Test("wakes keys in the order of their newest wishes, as a sorted list would")
    func heap() {
        for seed in UInt64(1)...20 {
            var random = SplitMix64(seed: seed)
            var heap = WakeHeap()
            var model: [UInt64: Instant] = [:]
            for _ in 0..<2000 {
                let key = random.next() % 50
                if random.chance(0.8) {
                    let at = Instant(nanoseconds: random.next() % 1000)
                    heap.set(key, at)
                    model[key] = at
                } else if random.chance(0.5) {
                    heap.set(key, nil)
                    model[key] = nil
                } else {
                    let now = Instant(nanoseconds: random.next() % 1000)
                    if let due = heap.takeDue(now) {
                        #expect(model[due] == model.values.min(), "seed \(seed)")
                        model[due] = nil
                    } else {
                        #expect(model.values.allSatisfy { $0 > now }, "seed \(seed)")
                    }
                }
                #expect(heap.earliest() == model.values.min(), "seed \(seed)")
            }
        }
    }

    @Test("tries again after doubling times with jitter, anew after a steady connection")
    func redial() {
        var now = Instant(nanoseconds: 0)
        var redial = Redial(seed: 7)
        var expected = Redial.first
        for _ in 0..<12 {
            let pause = redial.failed(now).milliseconds(since: now)
            #expect(pause >= expected * 3 / 4 && pause <= expected * 5 / 4)
            expected = min(expected * 2, Redial.longest)
        }
        redial.opened(now)
        now = now.adding(milliseconds: 100)
        #expect(redial.failed(now).milliseconds(since: now) >= Redial.longest * 3 / 4)
        redial.opened(now)
        now = now.adding(milliseconds: Redial.steady)
        #expect(redial.failed(now).milliseconds(since: now) <= Redial.first * 5 / 4)
    }
}
