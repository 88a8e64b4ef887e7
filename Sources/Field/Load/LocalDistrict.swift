// A store and a gateway as separate processes on loopback with temporary state, for demo, load and
// the
// end-to-end tests. Owned by the tool's main thread. Ports are kept over restarts; processes are
// ended
// and the folder removed by `close`, or by deinit when something went wrong on the way.

import Formats
import Glibc
import Host
import Model
import Store

package struct DistrictError: Error, Hashable, Sendable {
    package var what: String
    package var why: String
    package var remedy: String

    package init(what: String, why: String, remedy: String) {
        self.what = what
        self.why = why
        self.remedy = remedy
    }
}

package struct DistrictSource: Sendable {
    package var name: String
    package var isStream: Bool
    package var formats: [String]
    /// A conversation that the gateway leads, as its configuration names it.
    package var exchange: String?

    package init(name: String, isStream: Bool, formats: [String], exchange: String? = nil) {
        self.exchange = exchange
        self.name = name
        self.isStream = isStream
        self.formats = formats
    }
}

package final class LocalDistrict {
    package struct Settings {
        package var sources: [DistrictSource]
        package var formats: String
        package var batchInterval = "10s"
        /// How old a device's own time may be.
        package var maximumAge = "30d"
        package var prefix = "sluice"
        /// Serve status over loopback HTTP too.
        package var servesHTTP = false
        /// The store stands for another machine: it has the cores only while nobody else wants them.
        package var storeYields = false
        /// Gateway and store in network namespaces of their own.
        package var network: NetworkSpaces?

        package init(sources: [DistrictSource], formats: String) {
            self.sources = sources
            self.formats = formats
        }
    }

    package let folder: String
    package let settings: Settings
    /// Where each source listens, in the settings' order.
    package let targets: [Target]
    package let storeEndpoint: String
    private let programs: String
    private let httpPort: UInt16?
    private var gateway: ChildProcess?
    private var store: ChildProcess?
    /// Of gateways that were killed.
    private var earlierCpuSeconds = 0.0
    private var earlierPeakRssKb = 0
    private var earlierUplinkBytes: UInt64 = 0
    private var isClosed = false
    /// The ledger at the end of the last trial.
    private var trialBase: LedgerReport?
    /// Leave the folder where it is.
    package var isKept = false

    package var adminSocket: String { "\(folder)/gateway.sock" }
    /// Where a person finds the state.
    package var statusAddress: String {
        httpPort.map { "http://127.0.0.1:\($0)/" } ?? "sluice status --admin \(adminSocket)"
    }
    package var storeFolder: String { "\(folder)/store" }
    package var spoolFolder: String { "\(folder)/spool" }

    /// Makes the folder, the configuration and both processes, and waits until both serve.
    package init(_ settings: Settings, programs: String? = nil) throws(DistrictError) {
        self.settings = settings
        self.programs = programs ?? Places.programFolder
        var taken: Set<UInt16> = []
        var targets: [Target] = []
        let address = settings.network == nil ? 0x7F00_0001 : NetworkSpaces.gatewayAddress
        for source in settings.sources {
            let port = try LocalDistrict.port(isStream: source.isStream, &taken)
            targets.append(
                Target(isStream: source.isStream, endpoint: .ipv4(address, port: port)))
        }
        self.targets = targets
        let storeHost = settings.network == nil ? "127.0.0.1" : NetworkSpaces.storeAddress
        storeEndpoint = "\(storeHost):\(try LocalDistrict.port(isStream: true, &taken))"
        httpPort = settings.servesHTTP ? try LocalDistrict.port(isStream: true, &taken) : nil
        do throws(FileError) {
            folder = try Files.makeTemporaryFolder(settings.prefix)
            try Files.makeFolder(folder + "/store")
            try Files.makeFolder(folder + "/spool")
            try Files.write(Array(gatewayConfiguration.utf8), to: "\(folder)/gateway.json5")
            try Files.write(Array(storeConfiguration.utf8), to: "\(folder)/store.json5")
        } catch {
            throw DistrictError(
                what: error.path, why: error.why, remedy: "set TMPDIR to a folder you can write to")
        }
        try startStore()
        try startGateway()
        try awaitReady()
    }

    deinit { close() }

    private static func port(
        isStream: Bool, _ taken: inout Set<UInt16>
    ) throws(DistrictError) -> UInt16 {
        for _ in 0..<100 {
            if let port = FreePort.pick(isStream: isStream), taken.insert(port).inserted {
                return port
            }
        }
        throw DistrictError(
            what: "ports", why: "none is free on 127.0.0.1", remedy: "end other programs")
    }

    // MARK: Processes

    package func startStore() throws(DistrictError) {
        store = try spawn(
            .store, "sluice-store", ["--config", "\(folder)/store.json5"], log: "store.log")
    }

    package func startGateway() throws(DistrictError) {
        gateway = try spawn(
            .gateway, "sluiced", ["--config", "\(folder)/gateway.json5"], log: "gateway.log")
    }

    /// `kill -9`, and a new process at once.
    package func killStore() throws(DistrictError) {
        store?.stop(SIGKILL)
        try startStore()
    }

    package func killGateway() throws(DistrictError) {
        earlierUplinkBytes += currentUplinkBytes ?? 0
        earlierCpuSeconds += gateway?.cpuSeconds ?? 0
        earlierPeakRssKb = max(earlierPeakRssKb, gateway?.peakRssKb ?? 0)
        gateway?.stop(SIGKILL)
        try startGateway()
    }

    /// CPU time of all gateways of this run.
    package var gatewayCpuSeconds: Double { earlierCpuSeconds + (gateway?.cpuSeconds ?? 0) }

    /// Bytes sent to the store by all gateways of this run, nil when the last does not answer. The
    /// counter starts anew with each process; what a killed one sent is asked for just before.
    package var uplinkBytes: UInt64? { currentUplinkBytes.map { earlierUplinkBytes + $0 } }

    private var currentUplinkBytes: UInt64? {
        guard let answer = try? adminGet(socket: adminSocket, route: "/status", timeout: 500),
            answer.status == 200
        else { return nil }
        return LedgerReport(answer.body)?.number("uplink.bytesSent")
    }

    package var gatewayPeakRssKb: Int { max(earlierPeakRssKb, gateway?.peakRssKb ?? 0) }

    private func spawn(
        _ side: NetworkSpaces.Side, _ program: String, _ arguments: [String], log: String
    ) throws(DistrictError) -> ChildProcess {
        var command = (path: "\(programs)/\(program)", arguments: arguments)
        // SCHED_IDLE: whatever wakes up takes its core from it at once.
        if side == .store, settings.storeYields, Files.exists("/usr/bin/chrt") {
            command = ("/usr/bin/chrt", ["--idle", "0", command.path] + arguments)
        }
        if let network = settings.network {
            command = network.command(side, command.path, arguments)
        }
        do throws(SpawnError) {
            return try ChildProcess(
                name: program, path: command.path, arguments: command.arguments,
                log: "\(folder)/\(log)")
        } catch {
            throw DistrictError(
                what: error.program, why: error.why, remedy: "build all programs: swift build")
        }
    }

    /// Until both answer, 20 seconds at most.
    package func awaitReady() throws(DistrictError) {
        let limit = SendingClock.now + 20_000_000_000
        while true {
            if let died = [gateway, store].compactMap({ $0 }).first(where: { !$0.isRunning }) {
                throw DistrictError(
                    what: died.name, why: "ended with status \(died.exitCode ?? -1)",
                    remedy: lastLines(died.name == "sluiced" ? "gateway.log" : "store.log"))
            }
            if let answer = try? adminGet(socket: adminSocket, route: "/ledger", timeout: 2000),
                answer.status == 200
            {
                return
            }
            try checkInterrupt()
            guard SendingClock.now < limit else {
                throw DistrictError(
                    what: "sluiced", why: "does not answer at \(adminSocket)",
                    remedy: lastLines("gateway.log"))
            }
            SendingClock.sleep(milliseconds: 20)
        }
    }

    /// The ledger as it stands, nil while the gateway does not answer.
    package func ledger() -> LedgerReport? {
        guard let answer = try? adminGet(socket: adminSocket, route: "/ledger"),
            answer.status == 200
        else { return nil }
        return LedgerReport(answer.body)
    }

    /// What the gateway must have taken in before its ledger means anything: what still lies in a
    /// socket's buffer is in no ledger.
    package enum Arrival: Sendable {
        /// Datagrams, those that the kernel dropped included.
        case datagrams(Int)
        /// Bytes of datagrams and streams.
        case bytes(Int)
    }

    /// The ledger once `arrival` is in since `before` and the store has acknowledged everything; or
    /// as it stands when nothing has come in for three seconds, or the time is over.
    package func ledgerWhenDrained(
        milliseconds: Int64, _ arrival: Arrival, since before: LedgerReport? = nil
    ) throws(DistrictError) -> LedgerReport? {
        let limit = SendingClock.now + milliseconds * 1_000_000
        let base = LocalDistrict.arrived(before, arrival).count
        var last: (report: LedgerReport, count: UInt64)?
        var movedAt = SendingClock.now
        while SendingClock.now < limit {
            if let report = ledger() {
                let (count, wanted) = LocalDistrict.arrived(report, arrival)
                if last?.count != count { movedAt = SendingClock.now }
                last = (report, count)
                let isIn = count &- base >= wanted
                let isQuiet = SendingClock.now - movedAt > 3_000_000_000
                if report.number("readingsHeld") == 0, isIn || isQuiet { return report }
            }
            try checkInterrupt()
            SendingClock.sleep(milliseconds: 50)
        }
        return last?.report
    }

    /// Begins to count datagrams anew for `lostOf`.
    package func beginTrials() { trialBase = ledger() }

    /// How many of `sent` datagrams since the last call did not reach the gateway, once they are in or
    /// nothing has moved for half a second.
    package func lostOf(_ sent: Int) throws(DistrictError) -> Int {
        func read(_ report: LedgerReport?, _ name: String) -> UInt64 { report?.number(name) ?? 0 }
        var movedAt = SendingClock.now
        var last: LedgerReport?
        while true {
            try checkInterrupt()
            if let report = ledger() {
                let received = read(report, "datagrams") &- read(trialBase, "datagrams")
                let drops = read(report, "kernelDrops") &- read(trialBase, "kernelDrops")
                if received &+ drops != read(last, "datagrams") &- read(trialBase, "datagrams")
                    &+ read(last, "kernelDrops") &- read(trialBase, "kernelDrops")
                {
                    movedAt = SendingClock.now
                }
                last = report
                let isQuiet = SendingClock.now - movedAt > 500_000_000
                if received &+ drops >= UInt64(sent) || isQuiet {
                    trialBase = report
                    return max(0, sent - Int(clamping: received))
                }
            } else if SendingClock.now - movedAt > 20_000_000_000 {
                throw DistrictError(
                    what: "sluiced", why: "does not answer at \(adminSocket)",
                    remedy: lastLines("gateway.log"))
            }
            SendingClock.sleep(milliseconds: 20)
        }
    }

    private static func arrived(
        _ report: LedgerReport?, _ arrival: Arrival
    ) -> (count: UInt64, wanted: UInt64) {
        func sum(_ names: [String]) -> UInt64 {
            names.reduce(0) { $0 &+ (report?.number($1) ?? 0) }
        }
        switch arrival {
        case .datagrams(let wanted): return (sum(["datagrams", "kernelDrops"]), UInt64(wanted))
        case .bytes(let wanted): return (sum(["bytesReceived", "bytesSkipped"]), UInt64(wanted))
        }
    }

    /// Until the store has moved its fresh rows into order, which makes reading it all cheap; it
    /// does
    /// so in idle moments. Not an error when it does not get there.
    package func awaitSettled(milliseconds: Int64) throws(DistrictError) {
        let limit = SendingClock.now + milliseconds * 1_000_000
        while SendingClock.now < limit {
            if let reader = try? StoreQuestion.open(storeFolder),
                let counts = try? reader.counts(), counts.unsettled == 0
            {
                return
            }
            try checkInterrupt()
            SendingClock.sleep(milliseconds: 200)
        }
    }

    /// Throws when somebody pressed Ctrl-C; the processes end with this object.
    package func checkInterrupt() throws(DistrictError) {
        guard Interrupts.wait(milliseconds: 0) else { return }
        throw DistrictError(
            what: "interrupted", why: "both programs are being ended", remedy: "run it again")
    }

    package func lastLines(_ log: String) -> String {
        guard let bytes = try? Files.read("\(folder)/\(log)", limit: 1 << 24) else {
            return "see \(folder)/\(log)"
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(4)
        return lines.isEmpty ? "its log is empty" : lines.joined(separator: " | ")
    }

    /// Ends both in order, the gateway first, so that it can hand over what it holds.
    package func stop() {
        if let gateway { keepUsage(gateway) }
        gateway?.stop(SIGTERM)
        gateway = nil
        store?.stop(SIGTERM)
        store = nil
    }

    private func keepUsage(_ gateway: ChildProcess) {
        earlierCpuSeconds += gateway.cpuSeconds ?? 0
        earlierPeakRssKb = max(earlierPeakRssKb, gateway.peakRssKb ?? 0)
    }

    package func close() {
        guard !isClosed else { return }
        isClosed = true
        stop()
        settings.network?.close()
        if !isKept { Files.removeTree(folder) }
    }

    // MARK: Configuration

    private var gatewayConfiguration: String {
        let sources = zip(settings.sources, targets).map { source, target -> JSON in
            .object(
                (source.exchange.map { [("exchange", .string($0))] } ?? []) + [
                    ("name", .string(source.name)), ("listen", .string(target.description)),
                    ("formats", .array(source.formats.map(JSON.string))),
                    ("devices", .string("accept")),
                    ("receiveBuffer", .string("8MB")),
                    ("exposed", .boolean(settings.network != nil)),
                    ("timestamps", .object([("maximumAge", .string(settings.maximumAge))])),
                ])
        }
        var admin: [(String, JSON)] = [("socket", .string(adminSocket))]
        if let httpPort { admin.append(("http", .string("127.0.0.1:\(httpPort)"))) }
        return JSON.object([
            ("gateway", .string("\(settings.prefix)-gateway")),
            ("formats", .string(settings.formats)), ("sources", .array(sources)),
            ("batch", .object([("interval", .string(settings.batchInterval))])),
            ("spool", .object([("directory", .string(spoolFolder))])),
            ("store", .object([("address", .string(storeEndpoint))])),
            ("admin", .object(admin)),
        ]).text(pretty: true) + "\n"
    }

    private var storeConfiguration: String {
        JSON.object([
            ("listen", .string(storeEndpoint)), ("data", .string(storeFolder)),
            ("exposed", .boolean(settings.network != nil)),
            ("admin", .object([("socket", .string("\(folder)/store.sock"))])),
        ]).text(pretty: true) + "\n"
    }
}
