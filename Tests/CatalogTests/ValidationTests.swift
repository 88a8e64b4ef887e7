// The table of validation: which value and time get which quality, and what is dropped why.

import Catalog
import Model
import Testing

private struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var value = Value.decimal(5)
    var quality: Quality = []
    /// Device time relative to the arrival in milliseconds.
    var ahead: Int64? = 0
    var rule: ValueRule?
    var timeRule = TimeRule()
    var clockIsSet = true
    var expected: Result<Quality, Drop>
    /// Whether the stored time is the arrival's although the device sent one.
    var usesArrival = false

    var testDescription: String { name }
}

private let range = ValueRule(range: -40...85)
private let dropping = ValueRule(range: -40...85, dropsOutOfRange: true, dropsMissing: true)
private let strict = TimeRule(drops: true)
private let month: Int64 = 30 * 86_400_000
private let minutes5: Int64 = 300_000

private let cases: [Case] = [
    Case(name: "good", rule: range, expected: .success([])),
    Case(name: "no rule at all", value: .decimal(999), expected: .success([])),
    Case(name: "no device time", ahead: nil, expected: .success(.noDeviceClock)),
    Case(name: "oldest believed", ahead: -month, expected: .success([])),
    Case(
        name: "too old", ahead: -month - 1, expected: .success(.deviceClockImplausible),
        usesArrival: true),
    Case(name: "furthest ahead", ahead: minutes5, expected: .success([])),
    Case(
        name: "too far ahead", ahead: minutes5 + 1, expected: .success(.deviceClockImplausible),
        usesArrival: true),
    Case(
        name: "dropped by time", ahead: minutes5 + 1, timeRule: strict,
        expected: .failure(.timestampImplausible)),
    Case(
        name: "time at the end of Int64", ahead: .max, expected: .success(.deviceClockImplausible),
        usesArrival: true),
    Case(
        name: "time at the start of Int64", ahead: .min,
        expected: .success(.deviceClockImplausible), usesArrival: true),
    Case(
        name: "gateway clock unset keeps device time", ahead: 40 * month, timeRule: strict,
        clockIsSet: false, expected: .success(.gatewayClockUnset)),
    Case(
        name: "no clock anywhere", ahead: nil, clockIsSet: false,
        expected: .success([.gatewayClockUnset, .noDeviceClock])),
    Case(name: "lower bound", value: .decimal(-40), rule: range, expected: .success([])),
    Case(
        name: "upper bound", value: .decimal(850, exponent: -1), rule: range, expected: .success([])
    ),
    Case(
        name: "above", value: .decimal(851, exponent: -1), rule: range,
        expected: .success(.outOfRange)),
    Case(
        name: "below, dropped", value: .decimal(-41), rule: dropping,
        expected: .failure(.outOfRange)),
    Case(
        name: "value before time", value: .decimal(-41), ahead: .max, rule: dropping,
        timeRule: strict, expected: .failure(.outOfRange)),
    Case(name: "double inside", value: .double(84.99), rule: range, expected: .success([])),
    Case(name: "not a number", value: .double(.nan), rule: range, expected: .success(.outOfRange)),
    Case(
        name: "infinite", value: .double(.infinity), rule: dropping,
        expected: .failure(.outOfRange)),
    Case(name: "boolean", value: .boolean(true), rule: range, expected: .success([])),
    Case(name: "code", value: .code(.max), rule: range, expected: .success(.outOfRange)),
    Case(
        name: "huge decimal", value: .decimal(.max, exponent: .max), rule: range,
        expected: .success(.outOfRange)),
    Case(
        name: "tiny decimal", value: .decimal(.max, exponent: .min), rule: range,
        expected: .success([])),
    Case(
        name: "zero times anything", value: .decimal(0, exponent: .max), rule: range,
        expected: .success([])),
    Case(
        name: "exact bound of 0.1", value: .decimal(1, exponent: -1),
        rule: ValueRule(range: 0.1...0.1), expected: .success([])),
    Case(name: "missing is kept", value: .none, rule: range, expected: .success(.missing)),
    Case(
        name: "bad digits keep their name", value: .none, quality: .badDigits, rule: range,
        expected: .success(.badDigits)),
    Case(
        name: "missing, dropped", value: .none, quality: .badDigits, rule: dropping,
        expected: .failure(.missing)),
    Case(
        name: "what the decoder found stays", value: .decimal(99), quality: .deviceFlagged,
        ahead: nil, rule: range, expected: .success([.deviceFlagged, .outOfRange, .noDeviceClock])),
]

@Suite("Validation") struct ValidationTests {
    @Test("flags and drops as the table says", arguments: cases)
    private func table(_ row: Case) {
        let observedAt: Timestamp? = row.ahead.map {
            let (sum, overflows) = day.milliseconds.addingReportingOverflow($0)
            return Timestamp(milliseconds: overflows ? $0 : sum)
        }
        var quality = row.quality
        var stored: Timestamp?
        var drop: Drop?
        do throws(Drop) {
            stored = try validate(
                value: row.value, quality: &quality, observedAt: observedAt, receivedAt: day,
                rule: row.rule, timeRule: row.timeRule, gatewayClockIsSet: row.clockIsSet)
        } catch {
            drop = error
        }
        switch row.expected {
        case .success(let expected):
            #expect(drop == nil)
            #expect(quality == expected)
            #expect(stored == (row.usesArrival ? day : observedAt ?? day))
        case .failure(let expected):
            #expect(drop == expected)
        }
    }

    @Test("a decimal is inside a range exactly when its double is, whatever its exponent")
    func decimals() {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix64(seed: seed)
        var wrong: [String] = []
        for _ in 0..<5000 {
            let digits = Int.random(in: 1...15, using: &random)
            let limit = (0..<digits).reduce(1 as Int64) { power, _ in power * 10 }
            let value = Value.decimal(
                Int64.random(in: -limit + 1..<limit, using: &random),
                exponent: Int8.random(in: -22...22, using: &random))
            guard let double = value.asDouble else { continue }
            let above = double.nextUp...Double.infinity
            if flags(value, double...double) != [] || flags(value, above) != .outOfRange {
                wrong.append(value.description)
            }
        }
        #expect(wrong == [], "seed \(seed)")
    }

    private func flags(_ value: Value, _ range: ClosedRange<Double>) -> Quality {
        var quality: Quality = []
        _ = try? validate(
            value: value, quality: &quality, observedAt: day, receivedAt: day,
            rule: ValueRule(range: range), timeRule: TimeRule(), gatewayClockIsSet: true)
        return quality
    }
}
