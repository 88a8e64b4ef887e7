// Filling a load run's outcome from the ledger, and showing it.

extension LoadOutcome {
    /// Numbers of the ledger at the end, less what they were before the run.
    mutating func take(_ ledger: LedgerReport?, since before: LedgerReport?) {
        guard let ledger else { return }
        func delta(_ name: String) -> UInt64? {
            ledger.number(name).map { $0 &- (before?.number(name) ?? 0) }
        }
        framesReceived = delta("framesReceived")
        framesDecoded = delta("framesDecoded")
        framesDuplicate = delta("framesDuplicate")
        framesRejected = delta("framesRejected")
        readingsDecoded = delta("readingsDecoded")
        kernelDrops = delta("kernelDrops")
        readingsHeld = ledger.number("readingsHeld")
        unaccounted = ledger.number("unaccounted")
    }

    func write(_ sent: LoadSummary, _ plan: LoadPlan, to console: Console) {
        let language = console.language
        var table = Table([("", .left), ("", .right), ("", .left)])
        func add(_ what: Phrase, _ figure: Int?, _ note: String = "") {
            let words = figure.map { Words.grouped($0) } ?? language(.unknown)
            table.add([language(what), words, note])
        }
        func add(_ what: Phrase, _ figure: UInt64?, _ note: String = "") {
            add(what, figure.map { Int(clamping: $0) }, note)
        }
        let rate = Double(sent.framesSent) / max(0.001, sent.wallSeconds)
        add(.loadSent, sent.framesSent, language(.loadRate, Words.fixed(rate, 0)))
        add(.loadDatagrams, sent.datagramsSent, language(.loadRepetitions))
        add(.loadReceived, framesReceived, language(.loadByGateway))
        add(.loadKernelDrops, kernelDrops)
        if sent.framesAsking > 0 {
            add(.loadAsking, sent.framesAsking)
            let shares: KeyValuePairs = [
                "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1,
            ]
            add(.loadAnswered, sent.framesAnswered, sent.latencies.words(language, shares))
            add(.loadRepeated, sent.framesRepeated)
        }
        add(.loadDecoded, readingsDecoded)
        if let readingsInStore { add(.loadInStore, readingsInStore) }
        if let duplicatesInStore { add(.loadTwice, duplicatesInStore) }
        if let answeredMissing { add(.loadMissing, answeredMissing) }
        addCosts(&table, language)
        if let gatewayPeakRssKb { add(.loadPeak, gatewayPeakRssKb, "kB") }
        if let uplinkBytesPerReading {
            table.add([
                language(.loadUplink), Words.fixed(uplinkBytesPerReading, 2),
                language(.loadPerReading),
            ])
        }
        if gatewayKills + storeKills > 0 {
            add(
                .loadKills, gatewayKills + storeKills,
                language(.loadKilled, "\(gatewayKills)", "\(storeKills)"))
        }
        add(.loadUnaccounted, unaccounted)
        for line in table.lines().dropFirst() { console.line(line) }
    }

    private func addCosts(_ table: inout Table, _ language: Language) {
        if let cpu = gatewayCpuSeconds {
            let frame = cpuNsPerFrame.map { language(.loadPerFrame, Words.fixed($0, 0)) } ?? ""
            table.add([
                language(.loadProcessor), language(.loadSeconds, Words.fixed(cpu, 2)), frame,
            ])
        }
        if let sinkCpuNsPerFrame {
            let ratio = cpuRatio.map { language(.loadTimes, Words.fixed($0, 2)) } ?? ""
            let frame = language(.loadPerFrame, Words.fixed(sinkCpuNsPerFrame, 0))
            table.add([language(.loadSink), frame, ratio])
        }
        guard let search else { return }
        func rate(_ figures: RateFigures) -> String {
            Words.grouped(Int(figures.framesPerSecond)) + "/s"
        }
        let notes = [
            ratioToBareSink.map { language(.loadRatio, Words.fixed($0, 2)) },
            search.gateway.isSenderBound ? language(.loadSenderBound) : nil,
        ].compactMap(\.self)
        table.add([
            language(.loadLossless), rate(search.gateway), notes.joined(separator: ", "),
        ])
        table.add([
            language(.loadSink), rate(search.sink),
            language(search.sink.isSenderBound ? .loadSenderBound : .loadSinkWords),
        ])
    }
}
