// One screen of the daemon's state, for `status` (as many lines as it takes) and `top` (as many as the
// terminal has). Pure text: a model and a size in, lines out, none wider than the screen.

package import Model

package struct StatusScreen: Sendable {
    package enum Order: String, CaseIterable, Sendable {
        case name, rate, datagrams, bytes, drops, refused

        func words(_ language: Language) -> String {
            switch self {
            case .name: language(.orderName)
            case .rate: language(.orderRate)
            case .datagrams: language(.orderDatagrams)
            case .bytes: language(.orderBytes)
            case .drops: language(.orderDrops)
            case .refused: language(.orderRefused)
            }
        }
    }

    package enum View: Sendable { case sources, devices, help }

    package enum Style: Sendable { case plain, heading, good, bad, dim }

    package struct Line: Sendable {
        package var text: String
        package var style: Style

        init(_ text: String, _ style: Style = .plain) {
            self.text = text
            self.style = style
        }
    }

    package var columns = 80
    /// nil: no limit.
    package var rows: Int?
    package var view = View.sources
    package var order = Order.name
    package var isReversed = false
    package var filter = ""
    package var scroll = 0
    package var silentMilliseconds: Int64 = 25 * 3_600_000
    /// What stands in the last line, for `top`.
    package var prompt = ""
    package var language = Language.english

    package init() {}

    package func lines(_ model: StatusModel) -> [Line] {
        var head = [title(model)]
        for reason in model.reasons { head.append(Line("         \(reason)", .bad)) }
        // All of them are in the daemon's log.
        for complaint in model.complaints.prefix(3) {
            head.append(Line("         \(complaint)", .bad))
        }
        var list: [Line]
        var foot: [Line] = []
        switch view {
        case .sources:
            list = sources(model)
            foot = figures(model)
        case .devices: list = devices(model)
        case .help: list = help
        }
        let last = prompt.isEmpty ? [] : [Line(prompt, .dim)]
        if let rows {
            let room = max(2, rows - head.count - foot.count - last.count)
            let heading = list.prefix(1)
            let body = list.dropFirst()
            let first = min(scroll, max(0, body.count - (room - 1)))
            var shown = Array(body.dropFirst(first).prefix(room - 1))
            let hidden = body.count - shown.count
            if hidden > 0, !shown.isEmpty {
                shown[shown.count - 1] = Line(language(.more, Words.grouped(hidden + 1)), .dim)
            }
            list = heading + shown
            let used = head.count + list.count + foot.count + last.count
            if used < rows {
                foot += [Line](repeating: Line(""), count: last.isEmpty ? 0 : rows - used)
            }
        }
        let all = head + list + foot + last
        return all.prefix(rows ?? all.count).map {
            Line(StatusScreen.clipped($0.text, columns), $0.style)
        }
    }

    // MARK: Parts

    private func title(_ model: StatusModel) -> Line {
        let up = language(.up, span((model.now, model.startedAt)))
        let left = "\(model.gateway)  sluiced \(model.software)  \(up)  "
        // As on the status page: a gateway that works while its store is away is no reason to end it, and
        // none to look away.
        let isAlone =
            model.text("uplink.store") != "–" && model.text("uplink.state") != "streaming"
        let isWell = model.isHealthy && !isAlone
        let state = language(isWell ? .healthy : model.isHealthy ? .needsAttention : .notHealthy)
        let time = StatusScreen.time(model.now)
        let gap = columns - Table.columns(left) - Table.columns(state) - Table.columns(time)
        let pad = gap >= 2 ? String(repeating: " ", count: gap) + time : ""
        return Line(left + state + pad, isWell ? .heading : .bad)
    }

    private func sources(_ model: StatusModel) -> [Line] {
        let isWide = columns >= 110
        var table = Table(
            [(language(.headSource), .left)]
                + (isWide ? [(language(.headListens), .left)] : [])
                + [
                    Phrase.headDatagrams,
                    model.isSinceStart ? .headPerSecondAverage : .headPerSecondNow, .headReceived,
                    model.isSinceStart ? .headBytesAverage : .headBytesNow, .headDrops,
                    .headConnections, .headRefused,
                ].map { (language($0), .right) })
        for source in sorted(model.sources) {
            table.add(
                [StatusScreen.clipped(source.name, isWide ? 32 : 16)]
                    + (isWide ? [StatusScreen.clipped(source.listen, 40)] : [])
                    + [
                        Words.grouped(source.datagrams),
                        Words.fixed(source.datagramsPerSecond, 1), StatusScreen.size(source.bytes),
                        StatusScreen.size(UInt64(source.bytesPerSecond)),
                        Words.grouped(source.drops), Words.grouped(source.connections),
                        Words.grouped(source.refused),
                    ])
        }
        let printed = table.lines()
        var lines = [Line(printed[0], .heading)]
        for (source, text) in zip(sorted(model.sources), printed.dropFirst()) {
            lines.append(Line(text, source.drops > 0 || source.refused > 0 ? .bad : .plain))
        }
        return lines
    }

    private func sorted(_ sources: [StatusModel.Source]) -> [StatusModel.Source] {
        let wanted = filter.lowercased()
        let kept = sources.filter {
            wanted.isEmpty || $0.name.lowercased().contains(wanted)
                || $0.listen.lowercased().contains(wanted)
        }
        let sorted: [StatusModel.Source]
        switch order {
        case .name: sorted = kept.sorted { $0.name < $1.name }
        case .rate: sorted = kept.sorted { $0.bytesPerSecond > $1.bytesPerSecond }
        case .datagrams: sorted = kept.sorted { $0.datagrams > $1.datagrams }
        case .bytes: sorted = kept.sorted { $0.bytes > $1.bytes }
        case .drops: sorted = kept.sorted { $0.drops > $1.drops }
        case .refused: sorted = kept.sorted { $0.refused > $1.refused }
        }
        return isReversed ? sorted.reversed() : sorted
    }

    /// Everything below the sources: a heading word, then figures.
    private func figures(_ m: StatusModel) -> [Line] {
        func n(_ name: String) -> String { Words.grouped(m.count(name)) }
        var lines: [Line] = []
        func add(_ name: Phrase, _ parts: [String], _ style: Style = .plain) {
            var text = language(name)
            text += String(repeating: " ", count: max(1, 9 - Table.columns(text)))
            var isFirst = true
            for part in parts where !part.isEmpty {
                if !isFirst, Table.columns(text) + 2 + Table.columns(part) > columns {
                    lines.append(Line(text, style))
                    text = String(repeating: " ", count: 9) + part
                } else {
                    text += (isFirst ? "" : "  ") + part
                }
                isFirst = false
            }
            lines.append(Line(text, style))
        }
        // These counts are older than the process: over its time alone they would be no rate.
        let rejected = m.rejected.prefix(rows == nil ? .max : 4).map { row in
            m.isSinceStart
                ? "\(row.reason) \(Words.grouped(row.count))"
                : language(
                    .perSecond, row.reason, Words.grouped(row.count),
                    Words.fixed(row.perSecond, 1))
        }
        add(.rowRefused, rejected.isEmpty ? [language(.nothing)] : Array(rejected))
        if !m.devices.isEmpty {
            let silent = m.silent(silentMilliseconds)
            let names = silent.prefix(3).map {
                "\($0.device.name) (\(language.span($0.milliseconds * 1_000_000)))"
            }
            let limit = language.span(silentMilliseconds * 1_000_000)
            add(
                .rowSilent,
                [
                    language(
                        m.hasPeriods ? .silentOwn : .silentOver, Words.grouped(silent.count),
                        Words.grouped(m.devices.count),
                        limit)
                ] + names)
        }
        add(
            .rowIntake,
            [
                language(.devicesFigure, n("intake.devices")),
                language(.streamsFigure, n("intake.streams")),
                language(.answersWaiting, n("intake.answersWaiting")),
                language(.ringFree, n("intake.ringFree")),
                m.text("intake.isWithoutRoom") == "true" ? language(.noRoom) : "",
            ], m.text("intake.isWithoutRoom") == "true" ? .bad : .plain)
        add(
            .rowBuckets,
            [
                language(.readingsFigure, n("ledger.readingsInBuckets")),
                language(.onTheirWay, n("ledger.readingsAwaitingSpool")),
            ])
        add(
            .rowJournal,
            [
                language(.onDisk, StatusScreen.size(m.count("spool.journalBytes"))),
                language(.parts, n("spool.journalParts")),
                language(.inMemory, StatusScreen.size(m.count("intake.journalBytes"))),
            ])
        let trouble = m.text("spool.trouble")
        let isTroubled = !trouble.isEmpty && trouble != "–"
        // Each of its sentences has a place of its own.
        let forecast = m.text("spool.forecast.text").split(separator: "; ").map(String.init)
        let limit = m.count("spool.allowedBytes")
        let used = StatusScreen.size(m.count("spool.usedBytes"))
        let damaged = m.count("spool.batchesDamaged")
        let pending = StatusScreen.size(m.lanes("bytesPending"))
        add(
            .rowSpool,
            [
                isTroubled ? trouble : "",
                language(.batchesFigure, Words.grouped(m.lanes("batchesPending"))),
                language(.readingsFigure, Words.grouped(m.lanes("readingsPending"))),
                pending,
                limit > 0 ? language(.usedOf, used, StatusScreen.size(limit)) : "",
            ] + (forecast == ["–"] ? [] : forecast) + [
                language(.evicted, Words.grouped(m.lanes("readingsEvicted"))),
                damaged > 0 ? language(.damaged, Words.grouped(damaged)) : "",
            ], isTroubled ? .bad : .plain)
        uplink(m, add)
        ledger(m, add)
        return lines
    }

    private func uplink(_ m: StatusModel, _ add: (Phrase, [String], Style) -> Void) {
        let state = m.text("uplink.state")
        let error = m.text("uplink.lastError")
        let acknowledged = m.rate("ledger.readingsAcknowledged")
        let held = m.count("ledger.readingsHeld")
        let surplus = acknowledged - m.rate("ledger.readingsPublished")
        let lag =
            held == 0
            ? language(.lagNone)
            : surplus > 0
                ? language(
                    .drainsIn,
                    language.span(Int64(min(Double(held) / surplus, 1e9)) * 1_000_000_000))
                : language(.behindBy, Words.grouped(held))
        add(
            .rowUplink,
            [
                language(
                    .uplinkFor, language.words(ofState: state), m.text("uplink.store"),
                    language.span(
                        Int64(clamping: min(m.count("uplink.stateSeconds"), 1 << 33))
                            * 1_000_000_000)),
                language(.inFlight, Words.grouped(m.count("uplink.inFlight"))),
                language(.credit, Words.grouped(m.count("uplink.credit"))),
                language(.perSecondSize, StatusScreen.size(UInt64(m.rate("uplink.bytesSent")))),
                lag,
                state == "streaming" || error == "–" ? "" : error,
            ], state == "streaming" ? .plain : .bad)
    }

    private func ledger(_ m: StatusModel, _ add: (Phrase, [String], Style) -> Void) {
        func n(_ name: String) -> String { Words.grouped(m.count("ledger.\(name)")) }
        add(
            .rowFrames,
            [
                language(.ledgerReceived, n("framesReceived")),
                language(.ledgerDecoded, n("framesDecoded")),
                language(.ledgerDuplicate, n("framesDuplicate")),
                language(.ledgerControl, n("framesControl")),
                language(.ledgerRefused, n("framesRejected")),
            ], .plain)
        add(
            .rowReadings,
            [
                language(.ledgerReadings, n("readingsDecoded")),
                language(.ledgerAcknowledged, n("readingsAcknowledged")),
                language(.ledgerHeld, n("readingsHeld")),
                language(.ledgerDropped, n("readingsDropped")),
                language(.ledgerEvicted, n("readingsEvicted")),
            ], .plain)
        let isBalanced = m.has("ledger.unaccounted") && m.count("ledger.unaccounted") == 0
        add(
            .rowLedger,
            [
                language(.unaccounted, n("unaccounted")), language(.kernelDrops, n("kernelDrops")),
                language(
                    .processor, Words.fixed(Double(m.text("process.cpuSeconds")) ?? 0, 1)),
                language(.memory, StatusScreen.size(m.count("process.rssKb") &* 1024)),
            ], isBalanced ? .good : .bad)
    }

    private func devices(_ model: StatusModel) -> [Line] {
        let wanted = filter.lowercased()
        var table = Table([
            (language(.headDevice), .left), (language(.headFormat), .left),
            (language(.headStreams), .right), (language(.headLastSeen), .left),
            (language(.headSilent), .right),
        ])
        var rows = model.aged.filter {
            wanted.isEmpty || $0.device.name.lowercased().contains(wanted)
                || $0.device.format.lowercased().contains(wanted)
        }
        if order == .name { rows.sort { $0.device.name < $1.device.name } }
        if isReversed { rows.reverse() }
        for row in rows.prefix(1000) {
            table.add([
                StatusScreen.clipped(row.device.name, max(20, columns / 3)), row.device.format,
                Words.grouped(row.device.streams),
                StatusScreen.time(row.device.lastSeenAt),
                language.span(row.milliseconds * 1_000_000),
            ])
        }
        let printed = table.lines()
        return [Line(printed[0], .heading)]
            + zip(rows, printed.dropFirst()).map { row, text in
                Line(
                    text,
                    row.milliseconds > row.device.patience(silentMilliseconds) ? .bad : .plain)
            }
    }

    private var help: [Line] {
        [Line(language(.keys), .heading)]
            + [
                language(.keyLeave),
                language(
                    .keySort, Order.allCases.map { $0.words(language) }.joined(separator: ", ")),
                language(.keyTurn), language(.keyFilter), language(.keyDevices),
                language(.keyScroll), language(.keyPause), language(.keyPace), language(.keyHelp),
            ].map { Line($0) }
    }

    // MARK: Words

    private func span(_ times: (Timestamp?, Timestamp?)) -> String {
        guard let end = times.0, let start = times.1 else { return "–" }
        return language.span((end.milliseconds &- start.milliseconds) &* 1_000_000)
    }

    /// Without milliseconds, which nobody reads.
    package static func time(_ time: Timestamp?) -> String {
        guard let time else { return "–" }
        let seconds = time.milliseconds - (time.milliseconds % 1000 + 1000) % 1000
        return LocalTime.text(Timestamp(milliseconds: seconds))
    }

    /// `999 B`, `12.3 kB`, `4.5 GB`
    package static func size(_ bytes: UInt64) -> String {
        var value = Double(bytes)
        var unit = "B"
        for next in ["kB", "MB", "GB", "TB"] where value >= 1000 {
            value /= 1000
            unit = next
        }
        return unit == "B" ? "\(bytes) B" : "\(Words.fixed(value, value < 100 ? 1 : 0)) \(unit)"
    }

    /// The beginning that fits, with `…` where something is missing.
    package static func clipped(_ text: String, _ columns: Int) -> String {
        let text = Table.printable(text)
        guard Table.columns(text) > columns else { return text }
        var out = ""
        var width = 0
        for character in text {
            let next = Table.columns(String(character))
            if width + next > columns - 1 { break }
            out.append(character)
            width += next
        }
        return out + "…"
    }
}

extension Language {
    /// A state of the uplink, as the daemon calls it, in words.
    package func words(ofState state: String) -> String {
        switch state {
        case "stopped": self(.stateStopped)
        case "waiting": self(.stateWaiting)
        case "connecting": self(.stateConnecting)
        case "greeting": self(.stateGreeting)
        case "streaming": self(.stateStreaming)
        default: state
        }
    }
}
