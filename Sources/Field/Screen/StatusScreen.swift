// One screen of the daemon's state, for `status` (as many lines as it takes) and `top` (as many as the
// terminal has). Pure text: a model and a size in, lines out, none wider than the screen.

package import Model

package struct StatusScreen: Sendable {
    package enum Order: String, CaseIterable, Sendable {
        case name, rate, datagrams, bytes, drops, refused
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

    package init() {}

    package func lines(_ model: StatusModel) -> [Line] {
        var head = [title(model)]
        for reason in model.reasons { head.append(Line("         \(reason)", .bad)) }
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
                shown[shown.count - 1] = Line("  … \(hidden + 1) more", .dim)
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
        let up = StatusScreen.span((model.now, model.startedAt))
        let left = "\(model.gateway)  sluiced \(model.software)  up \(up)  "
        let state = model.isHealthy ? "healthy" : "NOT HEALTHY"
        let time = StatusScreen.time(model.now)
        let gap = columns - Table.columns(left) - state.count - Table.columns(time)
        let pad = gap >= 2 ? String(repeating: " ", count: gap) + time : ""
        return Line(left + state + pad, model.isHealthy ? .heading : .bad)
    }

    private func sources(_ model: StatusModel) -> [Line] {
        let isWide = columns >= 110
        let average = model.isSinceStart ? "avg" : "now"
        var table = Table(
            [("source", .left)] + (isWide ? [("listens on", .left)] : [])
                + [
                    ("datagrams", .right), ("/s \(average)", .right), ("received", .right),
                    ("B/s \(average)", .right), ("drops", .right), ("conns", .right),
                    ("refused", .right),
                ])
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
        func add(_ name: String, _ parts: [String], _ style: Style = .plain) {
            var text = name + String(repeating: " ", count: 9 - name.count)
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
        let rejected = m.rejected.prefix(rows == nil ? .max : 4).map {
            "\($0.reason) \(Words.grouped($0.count)) (\(Words.fixed($0.perSecond, 1))/s)"
        }
        add("refused", rejected.isEmpty ? ["nothing"] : Array(rejected))
        if !m.devices.isEmpty {
            let silent = m.silent(silentMilliseconds)
            let names = silent.prefix(3).map {
                "\($0.device.name) (\(Words.span($0.milliseconds * 1_000_000)))"
            }
            let limit = Words.span(silentMilliseconds * 1_000_000)
            add(
                "silent",
                [
                    "\(Words.grouped(silent.count)) of \(Words.grouped(m.devices.count)) over \(limit)"
                ]
                    + names)
        }
        add(
            "intake",
            [
                "devices \(n("intake.devices"))", "streams \(n("intake.streams"))",
                "answers waiting \(n("intake.answersWaiting"))",
                "ring free \(n("intake.ringFree"))",
                m.text("intake.isWithoutRoom") == "true" ? "NO ROOM" : "",
            ], m.text("intake.isWithoutRoom") == "true" ? .bad : .plain)
        add(
            "buckets",
            [
                "\(n("ledger.readingsInBuckets")) readings",
                "on their way \(n("ledger.readingsAwaitingSpool"))",
            ])
        add(
            "journal",
            [
                "on disk \(StatusScreen.size(m.count("spool.journalBytes")))",
                "parts \(n("spool.journalParts"))",
                "in memory \(StatusScreen.size(m.count("intake.journalBytes")))",
            ])
        let trouble = m.text("spool.trouble")
        let isTroubled = !trouble.isEmpty && trouble != "–"
        let forecast = m.text("spool.forecast.text")
        let limit = m.count("spool.maximumBytes")
        let damaged = m.count("spool.batchesDamaged")
        add(
            "spool",
            [
                isTroubled ? trouble : "",
                "\(Words.grouped(m.lanes("batchesPending"))) batches",
                "\(Words.grouped(m.lanes("readingsPending"))) readings",
                StatusScreen.size(m.lanes("bytesPending"))
                    + (limit > 0 ? " of \(StatusScreen.size(limit))" : ""),
                forecast == "–" ? "" : forecast,
                "evicted \(Words.grouped(m.lanes("readingsEvicted")))",
                damaged > 0 ? "damaged \(Words.grouped(damaged))" : "",
            ], isTroubled ? .bad : .plain)
        uplink(m, add)
        ledger(m, add)
        return lines
    }

    private func uplink(_ m: StatusModel, _ add: (String, [String], Style) -> Void) {
        let state = m.text("uplink.state")
        let error = m.text("uplink.lastError")
        let acknowledged = m.rate("ledger.readingsAcknowledged")
        let held = m.count("ledger.readingsHeld")
        let surplus = acknowledged - m.rate("ledger.readingsPublished")
        let lag =
            held == 0
            ? "lag none"
            : surplus > 0
                ? "drains in \(Words.span(Int64(min(Double(held) / surplus, 1e9)) * 1_000_000_000))"
                : "behind by \(Words.grouped(held)) readings"
        add(
            "uplink",
            [
                "\(state) \(m.text("uplink.store")) for "
                    + Words.span(Int64(clamping: m.count("uplink.stateSeconds")) * 1_000_000_000),
                "in flight \(Words.grouped(m.count("uplink.inFlight")))",
                "credit \(Words.grouped(m.count("uplink.credit")))",
                "\(StatusScreen.size(UInt64(m.rate("uplink.bytesSent"))))/s", lag,
                state == "streaming" || error == "–" ? "" : error,
            ], state == "streaming" ? .plain : .bad)
    }

    private func ledger(_ m: StatusModel, _ add: (String, [String], Style) -> Void) {
        func n(_ name: String) -> String { Words.grouped(m.count("ledger.\(name)")) }
        add(
            "frames",
            [
                "received \(n("framesReceived")) =", "decoded \(n("framesDecoded"))",
                "+ duplicate \(n("framesDuplicate"))", "+ control \(n("framesControl"))",
                "+ refused \(n("framesRejected"))",
            ], .plain)
        add(
            "readings",
            [
                "decoded \(n("readingsDecoded")) =", "acknowledged \(n("readingsAcknowledged"))",
                "+ held \(n("readingsHeld"))", "+ dropped \(n("readingsDropped"))",
                "+ evicted \(n("readingsEvicted"))",
            ], .plain)
        let isBalanced = m.has("ledger.unaccounted") && m.count("ledger.unaccounted") == 0
        add(
            "ledger",
            [
                "unaccounted \(n("unaccounted"))", "kernel drops \(n("kernelDrops"))",
                "CPU \(Words.fixed(Double(m.text("process.cpuSeconds")) ?? 0, 1)) s",
                "RSS \(StatusScreen.size(m.count("process.rssKb") &* 1024))",
            ], isBalanced ? .good : .bad)
    }

    private func devices(_ model: StatusModel) -> [Line] {
        let wanted = filter.lowercased()
        var table = Table([
            ("device", .left), ("format", .left), ("streams", .right), ("last seen", .left),
            ("silent", .right),
        ])
        var rows = model.silent(-1).filter {
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
                Words.span(row.milliseconds * 1_000_000),
            ])
        }
        let printed = table.lines()
        return [Line(printed[0], .heading)]
            + zip(rows, printed.dropFirst()).map { row, text in
                Line(text, row.milliseconds > silentMilliseconds ? .bad : .plain)
            }
    }

    private var help: [Line] {
        [Line("keys", .heading)]
            + [
                "  q, Ctrl-C   leave",
                "  s           sort by the next of: "
                    + Order.allCases.map(\.rawValue).joined(separator: ", "),
                "  r           turn the order round",
                "  /           filter by a part of the name; Enter keeps it, Esc drops it",
                "  d           devices, the longest silent first; again: sources",
                "  up, down    scroll; also j and k, PgUp and PgDn",
                "  space       stop and go on", "  + and -     refresh more and less often",
                "  h or ?      this help; any key leaves it",
            ].map { Line($0) }
    }

    // MARK: Words

    private static func span(_ times: (Timestamp?, Timestamp?)) -> String {
        guard let end = times.0, let start = times.1 else { return "–" }
        return Words.span((end.milliseconds &- start.milliseconds) &* 1_000_000)
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
