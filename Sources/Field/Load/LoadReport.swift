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
        var table = Table([("what", .left), ("figure", .right), ("", .left)])
        func add(_ what: String, _ figure: Int?, _ note: String = "") {
            table.add([what, figure.map { Words.grouped($0) } ?? "unknown", note])
        }
        func add(_ what: String, _ figure: UInt64?, _ note: String = "") {
            table.add([what, figure.map { Words.grouped($0) } ?? "unknown", note])
        }
        let rate = Double(sent.framesSent) / max(0.001, sent.wallSeconds)
        add("frames sent", sent.framesSent, "\(Words.fixed(rate, 0)) a second")
        add("datagrams sent", sent.datagramsSent, "with repetitions")
        add("frames received", framesReceived, "by the gateway")
        add("kernel drops", kernelDrops)
        if sent.framesAsking > 0 {
            add("frames asking", sent.framesAsking)
            add("frames answered", sent.framesAnswered, sent.latencies.words)
            add("frames repeated", sent.framesRepeated)
        }
        add("readings decoded", readingsDecoded)
        if let readingsInStore { add("readings in store", readingsInStore) }
        if let duplicatesInStore { add("twice in store", duplicatesInStore) }
        if let answeredMissing {
            add("answered, not in store", answeredMissing)
        }
        if let cpu = gatewayCpuSeconds {
            let frame = cpuNsPerFrame.map { "\(Words.fixed($0, 0)) ns a frame" } ?? ""
            table.add(["gateway CPU", Words.fixed(cpu, 2) + " s", frame])
        }
        if let search {
            let ratio = ratioToBareSink.map { "\(Words.fixed($0, 2)) of the bare sink's" } ?? ""
            let bound = search.gateway.isSenderBound ? ", bound by the sender" : ""
            table.add([
                "lossless rate", Words.grouped(Int(search.gateway.framesPerSecond)) + "/s",
                ratio + bound,
            ])
            table.add([
                "bare sink", Words.grouped(Int(search.sink.framesPerSecond)) + "/s",
                search.sink.isSenderBound ? "bound by the sender" : "poll and recvmmsg, same run",
            ])
        }
        if let gatewayPeakRssKb { add("gateway peak RSS", gatewayPeakRssKb, "kB") }
        if let uplinkBytesPerReading {
            table.add(["uplink", Words.fixed(uplinkBytesPerReading, 2), "bytes a reading"])
        }
        if gatewayKills + storeKills > 0 {
            table.add([
                "kills", "\(gatewayKills + storeKills)",
                "gateway \(gatewayKills), store \(storeKills)",
            ])
        }
        table.add(["unaccounted", unaccounted.map { Words.grouped($0) } ?? "unknown", ""])
        for line in table.lines().dropFirst() { console.line(line) }
    }
}
