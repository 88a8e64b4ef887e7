// The data section of HJ 212 (2005, 2017, 2025): groups between semicolons of pairs between commas,
// `a21026-Rtd=1.2,a21026-Flag=N;DataTime=20261121170000`. Yields a reading for each number of a factor,
// called factor and kind (`a21026_rtd`), at the section's DataTime or the factor's own SampleTime. What
// a factor means is in the format's `words`. Source: HJ 212-2017 section 6 and annexes.
//
// Two passes over a group, each a scan of its bytes: the flag stands behind the values it is about.

import Model

/// What the name of a factor means.
struct NameWords: Hashable, Sendable {
    var quantity: String
    var unit: String
    /// Unit of its amount (`Cou`).
    var total: String
}

/// Words by name, of one `words` list of a format.
struct NameTable: Hashable, Sendable {
    var words: [String: NameWords] = [:]
}

/// Words of the standard, as hashes.
private enum HJ212Word {
    static let dataTime = Machine.nameHash("DataTime".utf8)
    static let sampleTime = Machine.nameHash("SampleTime".utf8)
    static let flag = Machine.nameHash("Flag".utf8)
    static let deviceFlag = Machine.nameHash("EFlag".utf8)
    static let info = Machine.nameHash("Info".utf8)
    static let serial = Machine.nameHash("SN".utf8)
    static let realtime = Machine.nameHash("Rtd".utf8)
    static let average = Machine.nameHash("Avg".utf8)
    static let minimum = Machine.nameHash("Min".utf8)
    static let maximum = Machine.nameHash("Max".utf8)
    static let amount = Machine.nameHash("Cou".utf8)
}

extension Machine {
    /// Where the parts of one pair lie; `suffix` is empty when the name has no factor before it.
    private struct FactorPair {
        var name: Range<Int>
        var code: Range<Int>
        var suffix: Range<Int>
        var value: Range<Int>

        var isFactor: Bool { !suffix.isEmpty && !code.isEmpty }

        init(_ bytes: Cursor, _ range: Range<Int>) {
            let middle = bytes.first(0x3D, in: range) ?? range.upperBound
            name = range.lowerBound..<middle
            value = min(middle &+ 1, range.upperBound)..<range.upperBound
            let dash = bytes.first(0x2D, in: name) ?? middle
            code = name.lowerBound..<dash
            suffix = min(dash &+ 1, middle)..<middle
        }
    }

    /// What a group says about the factor `code`.
    private struct GroupMarks {
        var code = 0..<0
        var isDoubtful = false
        var time: Int64?
    }

    /// YYYYMMDDhhmmss.
    private func digitsTime(_ range: Range<Int>, _ zoneMinutes: Int) -> Int64? {
        var rule = TimeRule()
        let parts: [6 of TimeRule.Part] = [.year, .month, .day, .hour, .minute, .second]
        rule.parts = UInt64(TimeRule.Part.century.rawValue)
        for i in 0..<6 { rule.parts |= UInt64(parts[i].rawValue) << UInt64(4 &* (i &+ 1)) }
        rule.count = 7
        rule.hasDate = true
        rule.zoneMinutes = zoneMinutes
        return range.count >= 14 ? textTime(range.lowerBound, rule) : nil
    }

    /// Hash of a word on the wire, compared with those of `HJ212Word`.
    private func hash(_ range: Range<Int>) -> Int64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for i in range { hash = (hash ^ UInt64(cursor.byte(i) ?? 0)) &* 0x0000_0100_0000_01B3 }
        return Int64(bitPattern: hash)
    }

    private func isSame(_ a: Range<Int>, _ b: Range<Int>) -> Bool {
        guard a.count == b.count else { return false }
        for i in 0..<a.count
        where cursor.byte(a.lowerBound &+ i) != cursor.byte(b.lowerBound &+ i) { return false }
        return true
    }

    /// x: codec; the region's rest is the section between the `&&` marks.
    mutating func hj212<S: FrameSink>(_ at: CodecPlace, _ sink: inout S) throws(Rejection) {
        let section = position..<limit
        var count: Int64 = 0
        var group = section.lowerBound
        while group < section.upperBound {
            let end = cursor.first(0x3B, in: group..<section.upperBound) ?? section.upperBound
            let marks = try marks(group..<end, at, &sink)
            var pair = group
            while pair < end {
                let last = cursor.first(0x2C, in: pair..<end) ?? end
                if try factor(FactorPair(cursor, pair..<last), marks, at, &sink) { count &+= 1 }
                pair = last &+ 1
            }
            group = end &+ 1
        }
        slots.setValue(count, at: at.fields)
        if S.explains { showSection(section, &sink) }
        position = limit
    }

    /// The first pass: flag and sample time of a group's factor, and the time of the section.
    private mutating func marks<S: FrameSink>(
        _ group: Range<Int>, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) -> GroupMarks {
        var marks = GroupMarks()
        var from = group.lowerBound
        while from < group.upperBound {
            let end = cursor.first(0x2C, in: from..<group.upperBound) ?? group.upperBound
            let pair = FactorPair(cursor, from..<end)
            from = end &+ 1
            if !pair.isFactor {
                if hash(pair.name) == HJ212Word.dataTime,
                    let observed = digitsTime(pair.value, at.zoneMinutes)
                {
                    time = observed
                    sink.stamp(from: firstReading, milliseconds: observed)
                }
                continue
            }
            if marks.code.isEmpty { marks.code = pair.code }
            guard isSame(marks.code, pair.code) else { continue }
            if hash(pair.suffix) == HJ212Word.flag {
                // N normal; 2005: 3 normal, 1 weather. All others name what is wrong with the value.
                let flag = cursor.byte(pair.value.lowerBound)
                let isNormal = flag == 0x4E || flag == 0x6E || flag == 0x33 || flag == 0x31
                marks.isDoubtful = !pair.value.isEmpty && !isNormal
            } else if hash(pair.suffix) == HJ212Word.sampleTime {
                marks.time = digitsTime(pair.value, at.zoneMinutes)
            }
        }
        return marks
    }

    /// The second pass: a pair as a reading. False when it is none.
    private func factor<S: FrameSink>(
        _ pair: FactorPair, _ marks: GroupMarks, _ at: CodecPlace, _ sink: inout S
    ) throws(Rejection) -> Bool {
        guard pair.isFactor, isName(pair.name), !isText(pair.suffix) else { return false }
        let number = DecimalText(cursor, pair.value)
        guard number != nil || isMeasured(pair.suffix) else { return false }
        guard sink.readingCount < Machine.maximumReadings else { throw .oversized }
        let entry = work.names.begin()
        work.names.append(cursor, pair.name)
        guard let name = work.names.end(entry) else { throw .oversized }
        var quality = Quality()
        if number == nil { quality.insert(pair.value.isEmpty ? .missing : .badDigits) }
        let isMarked = marks.isDoubtful && isSame(marks.code, pair.code)
        if isMarked { quality.insert(.deviceFlagged) }
        let sampled = isSame(marks.code, pair.code) ? marks.time : nil
        sink.reading(
            output: at.output, discriminator: name, value: number?.value ?? .none,
            quality: quality, at: sampled ?? time)
        return true
    }

    /// Printable characters that names of streams may have, at most 32.
    private func isName(_ range: Range<Int>) -> Bool {
        guard range.count <= 32 else { return false }
        for i in range {
            guard let byte = cursor.byte(i), byte > 0x20, byte < 0x7F else { return false }
        }
        return true
    }

    private func isText(_ suffix: Range<Int>) -> Bool {
        let word = hash(suffix)
        return word == HJ212Word.flag || word == HJ212Word.info || word == HJ212Word.sampleTime
            || word == HJ212Word.deviceFlag || word == HJ212Word.serial
    }

    /// Kinds whose value is a number by the standard, also when the digits are none.
    private func isMeasured(_ suffix: Range<Int>) -> Bool {
        var kind = suffix
        // Zs: converted to standard conditions.
        if suffix.count > 2, cursor.big(suffix.lowerBound, width: 2) == 0x5A73 {
            kind = suffix.lowerBound &+ 2..<suffix.upperBound
        }
        let word = hash(kind)
        return word == HJ212Word.realtime || word == HJ212Word.average
            || word == HJ212Word.minimum || word == HJ212Word.maximum
            || word == HJ212Word.amount
    }

    // MARK: The tree

    private func showSection<S: FrameSink>(_ section: Range<Int>, _ sink: inout S) {
        var groups: [[FactorPair]] = []
        for group in pieces(section, 0x3B) {
            groups.append(pieces(group, 0x2C).map { FactorPair(cursor, $0) })
        }
        let others = groups.flatMap { $0 }.filter { !$0.isFactor && !$0.name.isEmpty }
        if let first = others.first {
            sink.openObject("params", at: first.name.lowerBound, machine: self)
            for pair in others {
                showKey(pair, in: section, &sink)
                sink.leaf(text(pair.name), pair.value, .text(text(pair.value)), self)
            }
            sink.close()
        }
        let factors = groups.map { $0.filter(\.isFactor) }.filter { !$0.isEmpty }
        guard let first = factors.first?.first else { return showEnd(of: section, &sink) }
        sink.openList("factors", at: first.name.lowerBound, machine: self)
        var open: FactorPair?
        for pair in factors.flatMap({ $0 }) {
            // A factor goes on in the next group, but does not begin again with the same kind.
            let goesOn = open.map { isSame($0.code, pair.code) && !isSame($0.suffix, pair.suffix) }
            if goesOn != true {
                if open != nil { sink.close() }
                sink.openObject("", at: pair.name.lowerBound, machine: self)
                showMark(before: pair, in: section, &sink)
                sink.leaf("code", pair.code, .text(text(pair.code)), self)
                sink.key(
                    pair.suffix, in: pair.code.upperBound..<pair.value.lowerBound, machine: self)
                open = pair
            } else {
                showKey(pair, in: section, &sink)
            }
            sink.leaf(text(pair.suffix), pair.value, shown(pair), self)
        }
        sink.close()
        sink.close()
        showEnd(of: section, &sink)
    }

    /// The name of a pair with its marks.
    private func showKey<S: FrameSink>(
        _ pair: FactorPair, in section: Range<Int>, _ sink: inout S
    ) {
        let from = separators(before: pair.name.lowerBound, in: section)
        sink.key(pair.name, in: from..<pair.value.lowerBound, machine: self)
    }

    /// What stands between a pair and the one before it.
    private func showMark<S: FrameSink>(
        before pair: FactorPair, in section: Range<Int>, _ sink: inout S
    ) {
        let at = pair.name.lowerBound
        let from = separators(before: at, in: section)
        if from < at { sink.key(at..<at, in: from..<at, machine: self) }
    }

    /// Separators with nothing behind them.
    private func showEnd<S: FrameSink>(of section: Range<Int>, _ sink: inout S) {
        let end = section.upperBound
        let from = separators(before: end, in: section)
        if from < end { sink.key(end..<end, in: from..<end, machine: self) }
    }

    /// Where the separators begin that end at `end`.
    private func separators(before end: Int, in section: Range<Int>) -> Int {
        var from = end
        while from > section.lowerBound, let byte = cursor.byte(from &- 1),
            byte == 0x3B || byte == 0x2C
        { from &-= 1 }
        return from
    }

    private func shown(_ pair: FactorPair) -> FieldValue {
        if isText(pair.suffix) { return .text(text(pair.value)) }
        if let number = DecimalText(cursor, pair.value) { return .number(number.value) }
        return isMeasured(pair.suffix) ? .null : .text(text(pair.value))
    }

    private func text(_ range: Range<Int>) -> String { GB18030.text(cursor.bytes(range)) }

    private func pieces(_ range: Range<Int>, _ separator: UInt8) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var at = range.lowerBound
        while at < range.upperBound {
            let end = cursor.first(separator, in: at..<range.upperBound) ?? range.upperBound
            if end > at { result.append(at..<end) }
            at = end &+ 1
        }
        return result
    }
}

extension OutputRule {
    /// The words of a stream that a frame calls `a21026-Rtd`.
    func factorWords(_ wire: String) -> StreamDescription {
        let halves = wire.split(separator: "-", maxSplits: 1).map(String.init)
        let kind = halves.count == 2 ? halves[1] : ""
        let known = words.lazy.compactMap { $0.words[halves.first ?? ""] }.first
        var result = StreamDescription(
            name: wire.lowercased().split(separator: "-").joined(separator: "_"),
            quantity: known?.quantity ?? "value", unit: known?.unit ?? "",
            priority: Priority(rawValue: priorityCode) ?? .live)
        switch kind {
        case "Cou":
            result.unit = known?.total ?? ""
            // What has no amount (pH) is sent with one all the same.
            switch result.unit {
            case "": result.quantity = "value"
            case "m3": result.quantity = "volume"
            default: result.quantity = "mass"
            }
        case "RT": (result.quantity, result.unit) = ("working_time", "h")
        case "RS": (result.quantity, result.unit) = ("state", "")
        default: break
        }
        return result
    }
}

extension FormatCompiler {
    /// `words: ["list", …]` of a codec item: names of lists in the file's `words`, first that knows a
    /// name wins; `{ list: { name: { quantity, unit, total? } } }`.
    mutating func nameTables(_ node: JSONNode) -> [NameTable] {
        guard let value = node["words"] else { return [] }
        return (value.array ?? [value]).compactMap { entry -> NameTable? in
            let lists = root["words"]?.members ?? []
            guard let name = entry.string, let list = lists.first(where: { $0.key == name }) else {
                complain(
                    entry, "unknown words \"\(entry.string ?? "")\"",
                    Suggestion.text(entry.string ?? "", among: lists.map(\.key)))
                return nil
            }
            var table = NameTable()
            for member in list.value.members ?? [] {
                check(member.value, ["quantity", "unit", "total", "note"])
                table.words[member.key] = NameWords(
                    quantity: string(member.value, "quantity") ?? "",
                    unit: string(member.value, "unit") ?? "",
                    total: string(member.value, "total") ?? "")
            }
            return table
        }
    }
}
