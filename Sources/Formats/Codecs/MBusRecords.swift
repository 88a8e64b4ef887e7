// `{ codec: "mbus-records" }`: the chain of M-Bus data records to the region's end (EN 13757-3). Yields a
// reading a measured record and, for people, every record.
//
// When: a record `datetime` or `date` of a storage number, without tariff, subunit or extension, is the
// time of that storage's values; storage 0's is the frame's. So the dates are looked for first, and
// values of a due date carry it. Values in another scale of the same quantity come in one unit (MBusUnit).
//
// Streams: the discriminator holds what tells a meter's values apart, from the lowest bit: kind 8,
// function 2, subunit 10, tariff 10, storage 18, qualifiers 16. Values with a unit as text have a name
// that is made of the frame's bytes.

import Model

/// Times of storage numbers that a frame gives, at most eight.
struct MBusDates {
    private var storages: [8 of UInt64] = InlineArray(repeating: 0)
    private var times: [8 of Int64] = InlineArray(repeating: 0)
    private var count = 0

    mutating func add(_ storage: UInt64, _ milliseconds: Int64) {
        guard count < 8, self[storage] == nil else { return }
        storages[count] = storage
        times[count] = milliseconds
        count &+= 1
    }

    subscript(_ storage: UInt64) -> Int64? {
        for i in 0..<count where storages[i] == storage { return times[i] }
        return nil
    }
}

extension Machine {
    mutating func mbusRecords<S: FrameSink>(
        _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) {
        let dates = mbusDates(at)
        if S.explains { sink.openList("records", at: position, machine: self) }
        var last: UInt8 = 0
        while position < limit, let dif = cursor.byte(position) {
            if dif == 0x2F {
                mbusFiller(&sink)
                continue
            }
            if dif == 0x0F || dif == 0x1F {
                last = dif
                break
            }
            let record = try MBusRecord(cursor, position, limit)
            let value = MBusValue(record, cursor)
            try mbusReading(record, value, dates, at, &sink)
            if S.explains { explain(record, value, &sink) }
            position = record.end
        }
        if S.explains { sink.close() }
        if last != 0 {
            if S.explains {
                let rest = position &+ 1..<limit
                sink.structure("manufacturer data follows", position..<position &+ 1, machine: self)
                sink.leaf("manufacturer_data", rest, .bytes(cursor.bytes(rest)), self)
                sink.leaf("more_follows", position..<position &+ 1, .boolean(last == 0x1F), self)
            }
            position = limit
        }
        if let now = dates[0] {
            time = now
            sink.stamp(from: firstReading, milliseconds: now)
        }
    }

    private mutating func mbusFiller<S: FrameSink>(_ sink: inout S) {
        let from = position
        while position < limit, cursor.byte(position) == 0x2F { position &+= 1 }
        if S.explains { sink.structure("filler", from..<position, machine: self) }
    }

    /// The records' dates, as far as the records can be read.
    private func mbusDates(_ place: CodecPlace) -> MBusDates {
        var dates = MBusDates()
        var at = position
        while at < limit, let dif = cursor.byte(at), dif != 0x0F, dif != 0x1F {
            if dif == 0x2F {
                at &+= 1
                continue
            }
            let record: MBusRecord
            do throws(Rejection) {
                record = try MBusRecord(cursor, at, limit)
            } catch { break }
            at = record.end
            guard record.unit.kind == .date || record.unit.kind == .datetime, record.function == 0,
                record.tariff == 0, record.subunit == 0, !record.hasExtensions
            else { continue }
            let value = MBusValue(record, cursor)
            if value.kind == .datetime || value.kind == .date {
                // A date alone says when a stored value was taken, not what time it is now.
                if value.kind == .date, record.storage == 0 { continue }
                dates.add(
                    record.storage, value.number &- Int64(place.zoneMinutes) &* 60_000)
            }
        }
        return dates
    }

    // MARK: Readings

    private mutating func mbusReading<S: FrameSink>(
        _ record: MBusRecord, _ value: MBusValue, _ dates: MBusDates, _ at: CodecPlace,
        _ sink: inout S
    ) throws(Rejection) {
        let unit = record.unit
        guard unit.kind.style != .none, unit.isConvertible else { return }
        var quality: Quality = record.function == 3 ? .deviceFlagged : []
        var result = Value.none
        switch value.kind {
        case .integer: result = Machine.mbusNumber(record, value.number)
        case .double:
            let power = Machine.power(record.unit.exponent &+ record.scale)
            let number = value.real * power * Double(unit.factor)
            result = .double(number * Machine.power(unit.factorExponent))
        case .badDigits: quality.insert(.badDigits)
        case .none, .text, .date, .datetime, .time, .noDate, .bytes: return
        }
        guard let stream = mbusStream(record) else { return }
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        if result.kind == .none, quality.isEmpty { quality = .missing }
        sink.reading(
            output: at.output, discriminator: stream, value: result, quality: quality,
            at: dates[record.storage])
    }

    /// The integer of a record in its stream's unit.
    private static func mbusNumber(_ record: MBusRecord, _ number: Int64) -> Value {
        let unit = record.unit
        if unit.kind.style == .flags {
            let bits = UInt64(min(8, record.data.count) &* 8)
            let word = UInt64(bitPattern: number)
            return .code(bits >= 64 || bits == 0 ? word : word & ((1 << bits) &- 1))
        }
        let exponent = unit.exponent &+ record.scale &+ unit.factorExponent
        let (product, overflow) = number.multipliedReportingOverflow(by: unit.factor)
        if overflow { return .double(Double(number) * Double(unit.factor) * power(exponent)) }
        return .decimal(product, exponent: Int8(clamping: exponent))
    }

    /// 10^n, for doubles.
    static func power(_ n: Int) -> Double {
        var result = 1.0
        for _ in 0..<min(99, n.magnitude) { result *= 10 }
        return n < 0 ? 1 / result : result
    }

    private mutating func mbusStream(_ record: MBusRecord) -> UInt64? {
        let tail =
            UInt64(record.function) | (record.subunit & 0x3FF) << 2 | (record.tariff & 0x3FF) << 12
            | (record.storage & 0x3FFFF) << 22 | UInt64(record.qualifiers) << 40
        guard record.unit.kind == .textUnit else {
            return UInt64(record.unit.kind.rawValue) | tail << 8
        }
        // The unit's letters and the tail in hex digits, taken apart again by `describe`.
        let entry = work.names.begin()
        for shift in stride(from: 60, through: 0, by: -4) {
            let digit = UInt8(truncatingIfNeeded: tail >> UInt64(shift) & 15)
            work.names.append(digit < 10 ? 0x30 &+ digit : 0x57 &+ digit)
        }
        for i in record.text.reversed() {
            let byte = cursor.byte(i) ?? 0
            work.names.append(byte >= 0x20 && byte < 0x7F ? byte : 0x3F)
        }
        let name = work.names.end(entry, unitCount: record.text.count)
        if name == nil { work.names.drop(entry) }
        return name
    }
}

// MARK: Words

extension MBusKind {
    /// Name, quantity and unit of the stream with that discriminator; `name` and `unit` are what the
    /// walker gave for values whose unit is text.
    static func describe(
        _ discriminator: UInt64, name: String, unit: String
    ) -> StreamDescription {
        if !name.isEmpty {
            let tail = UInt64(name.prefix(16), radix: 16) ?? 0
            let letters = unit.lowercased().map { c -> String in
                c.isASCII && (c.isLetter || c.isNumber) ? String(c) : c == "%" ? "percent_" : "_"
            }.joined()
            return StreamDescription(
                name: "text_\(letters)" + suffix(tail, isCounter: false), quantity: "value",
                unit: unit, priority: .live)
        }
        let kind =
            MBusKind(rawValue: UInt8(truncatingIfNeeded: discriminator)) ?? .reserved
        let words = kind.words
        return StreamDescription(
            name: words.stream + suffix(discriminator >> 8, isCounter: kind.style == .counter),
            quantity: words.quantity, unit: words.unit, priority: .live)
    }

    private static func suffix(_ tail: UInt64, isCounter: Bool) -> String {
        let (subunit, tariff) = (tail >> 2 & 0x3FF, tail >> 12 & 0x3FF)
        let storage = tail >> 22 & 0x3FFFF
        var text = ""
        if isCounter, tail == 0 { text += "_total" }
        if tariff > 0 { text += "_t\(tariff)" }
        if subunit > 0 { text += "_u\(subunit)" }
        if storage > 0 { text += "_s\(storage)" }
        text += ["", "_max", "_min", "_error"][Int(tail & 3)]
        return text + qualifier(UInt16(truncatingIfNeeded: tail >> 40))
    }

    /// Words for the extensions that tell values apart.
    private static func qualifier(_ word: UInt16) -> String {
        switch word {
        case 0: ""
        case 0x7C01, 0x7C02, 0x7C03, 0x7F01, 0x7F02, 0x7F03: "_l\(word & 3)"
        case 0x7C04: "_n"
        case 0x3B: "_forward"
        case 0x3C, 0x7C10: "_backward"
        case 0x7E: "_future"
        default:
            "_v"
                + [word >> 8, word & 0xFF].filter { $0 != 0 }
                .map { FieldNode.hex([UInt8($0) == 0x80 ? 0 : UInt8($0)]) }.joined()
        }
    }
}

// MARK: For people

extension Machine {
    private func explain<S: FrameSink>(
        _ record: MBusRecord, _ value: MBusValue, _ sink: inout S
    ) {
        let (difs, vifs, data) = (record.difs, record.vifs, record.data)
        sink.openObject("", at: difs.lowerBound, machine: self)
        let function = ["instantaneous", "maximum", "minimum", "error"][Int(record.function & 3)]
        sink.leaf("function", difs, .text(function), self)
        sink.leaf("dif", difs, .bytes(cursor.bytes(difs)), self)
        sink.leaf("vif", vifs, .bytes(cursor.bytes(vifs)), self)
        let numbers = [
            ("storage", record.storage), ("tariff", record.tariff), ("subunit", record.subunit),
        ]
        for (name, number) in numbers {
            sink.leaf(name, difs, .number(.decimal(Int64(clamping: number))), self)
        }
        sink.leaf("quantity", vifs, .text(record.unit.kind.words.tree), self)
        let unit =
            record.unit.kind == .textUnit
            ? Machine.latin1(cursor.bytes(record.text).reversed()) : record.unit.unit.description
        if !unit.isEmpty { sink.leaf("unit", vifs, .text(unit), self) }
        if value.kind == .bytes {
            sink.leaf("data", data, .bytes(cursor.bytes(data)), self)
        } else {
            sink.leaf(
                "value", data, shown(record, value), unit: unit, note: "", machine: self)
        }
        if value.kind == .badDigits {
            sink.leaf("quality", data, .text(Quality.badDigits.description), self)
            sink.leaf("raw", data, .bytes(cursor.bytes(data)), self)
        }
        sink.close()
    }

    private func shown(_ record: MBusRecord, _ value: MBusValue) -> FieldValue {
        let exponent = record.unit.exponent &+ record.scale
        switch value.kind {
        case .none, .badDigits, .noDate, .bytes: return .null
        case .integer:
            return .number(.decimal(value.number, exponent: Int8(clamping: exponent)))
        case .double: return .number(.double(value.real * Machine.power(exponent)))
        case .text: return .text(Machine.latin1(cursor.bytes(record.data).reversed()))
        case .date:
            return .time(
                String(Timestamp(milliseconds: value.number).iso8601(offsetMinutes: 0).prefix(10)))
        case .datetime:
            return .time(Timestamp(milliseconds: value.number).iso8601(offsetMinutes: 0))
        case .time:
            return .time(
                String(Timestamp(milliseconds: value.number).iso8601(offsetMinutes: 0).suffix(8)))
        }
    }

    static func latin1(_ bytes: [UInt8]) -> String {
        String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
    }
}
