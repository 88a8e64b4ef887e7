// A store and a gateway whose lives the tests direct: started, stopped, killed and started again on the
// same ports and the same folders, each on its own. Unlike LocalDistrict of `sluice load` it starts
// nothing by itself and takes any configuration. Owned by one test.

import Field
import Formats
import Glibc
import Host
import Model
import Store
import Uplink

/// Host's type of this name makes ledgers, Field's reads them.
typealias LedgerReport = Field.LedgerReport

final class District {
    struct Source {
        var name: String
        var isStream = false
        var formats: [String]
        var more: [(String, JSON)] = []
        /// What stands instead of `listen` where the gateway opens the line.
        var place: (String, JSON)?

        static let reference = Source(name: "reference", formats: ["sluice-reference"])
    }

    let folder: Folder
    /// The folder of format files: the repository's, or one of the test's own.
    let formats: String
    /// Where each source listens.
    let targets: [Target]
    let storePort: UInt16
    /// Where the gateway finds the store, and the command that the store runs through.
    let storeHost: String
    private let storeThrough: String
    /// Shell commands before the gateway begins.
    var gatewayPrelude = ""
    /// Where a browser finds the status page; nil unless asked for.
    let page: HostPort?
    /// Keys of the gateway's configuration beside those that the district needs.
    private let more: [(String, JSON)]
    private let interval: String
    private let batch: [(String, JSON)]
    private let spool: [(String, JSON)]
    /// How old a device's own time may be.
    private let maximumAge: String
    private(set) var gateway: Program?
    private(set) var store: Program?

    var adminSocket: String { folder.path + "/gateway.sock" }
    var storeFolder: String { folder.path + "/store" }
    var spoolFolder: String { folder.path + "/spool" }
    var gatewayFile: String { folder.path + "/gateway.json5" }

    init(
        _ sources: [Source], interval: String = "200ms", formats: [String: String]? = nil,
        keys: [String: String] = [:], batch: [(String, JSON)] = [], more: [(String, JSON)] = [],
        hasPage: Bool = false, storeHost: String = "127.0.0.1", storeThrough: String = "",
        maximumAge: String = "3650d", spool: [(String, JSON)] = []
    ) throws {
        self.interval = interval
        self.storeHost = storeHost
        self.storeThrough = storeThrough
        self.maximumAge = maximumAge
        self.spool = spool
        self.more = more
        self.batch = batch
        folder = try Folder()
        page =
            hasPage
            ? HostPort(host: "127.0.0.1", port: try District.port(isStream: true)) : nil
        if let formats {
            self.formats = folder.path + "/formats"
            try Files.makeFolder(self.formats)
            for (name, text) in formats { _ = try folder.write(text, to: "formats/\(name)") }
        } else {
            self.formats = Place.protocols
        }
        // Kept over restarts, so the kernel must not give them to anybody while a daemon is down.
        targets = try sources.map { source in
            Target(
                isStream: source.isStream,
                endpoint: .ipv4(0x7F00_0001, port: try District.port(isStream: source.isStream)))
        }
        storePort = try District.port(isStream: true)
        try Files.makeFolder(storeFolder)
        try Files.makeFolder(spoolFolder)
        try configure(sources, keys: keys)
    }

    /// Writes the gateway's configuration, for its next start; as many sources as at the beginning.
    func configure(_ sources: [Source], keys: [String: String] = [:]) throws {
        _ = try folder.write(
            configuration(sources, interval, keys).text(pretty: true), to: "gateway.json5")
    }

    deinit {
        // A stopped process (SIGSTOP) takes no other signal than these.
        gateway?.stop(SIGKILL)
        store?.stop(SIGKILL)
    }

    private static func port(isStream: Bool) throws -> UInt16 {
        guard let port = FreePort.pick(isStream: isStream) else {
            throw DistrictError(what: "ports", why: "none is free", remedy: "end other programs")
        }
        return port
    }

    /// Writes the meters' keys where only we can read them.
    private func write(_ keys: [String: String]) throws -> String {
        let all = keys.sorted { $0.key < $1.key }.map { ($0.key, JSON.string($0.value)) }
        let text = JSON.object([("keys", .object(all))]).text()
        let path = try folder.write(text, to: "keys.json5")
        // Safety: the path is a string of Swift's, which lives through the call.
        unsafe chmod(path, 0o600)
        return path
    }

    private func configuration(
        _ sources: [Source], _ interval: String, _ keys: [String: String]
    ) throws -> JSON {
        let described = zip(sources, targets).map { source, target -> JSON in
            .object(
                [
                    ("name", .string(source.name)),
                    source.place ?? ("listen", .string(target.description)),
                    ("formats", .array(source.formats.map(JSON.string))),
                    ("timestamps", .object([("maximumAge", .string(maximumAge))])),
                ] + source.more)
        }
        let secrets = keys.isEmpty ? [] : [("keys", JSON.string(try write(keys)))]
        return .object(
            secrets + [
                ("gateway", .string("e2e-gateway")), ("formats", .string(formats)),
                ("sources", .array(described)),
                ("batch", .object([("interval", .string(interval))] + batch)),
                ("spool", .object([("directory", .string(spoolFolder))] + spool)),
                ("store", .object([("address", .string("\(storeHost):\(storePort)"))])),
                (
                    "admin",
                    .object(
                        [("socket", .string(adminSocket))]
                            + (page.map { [("http", .string($0.description))] } ?? []))
                ),
            ] + more)
    }

    // MARK: Processes

    func startGateway() throws(DistrictError) {
        try launchGateway().awaitReady()
    }

    /// Does not wait until it is ready.
    @discardableResult
    func launchGateway() throws(DistrictError) -> Program {
        let started = try Program(
            "sluiced", ["--config", gatewayFile], in: folder.path, prelude: gatewayPrelude)
        gateway = started
        return started
    }

    /// `readings`: which readings it takes, as its configuration says it.
    func startStore(readings: [(String, JSON)] = []) throws(DistrictError) {
        try launchStore(readings: readings).awaitReady()
    }

    /// Does not wait until it is ready.
    @discardableResult
    func launchStore(readings: [(String, JSON)] = []) throws(DistrictError) -> Program {
        let configuration = JSON.object([
            ("listen", .string("\(storeHost):\(storePort)")),
            ("exposed", .boolean(storeHost != "127.0.0.1")), ("data", .string(storeFolder)),
            ("admin", .object([("socket", .string(folder.path + "/store.sock"))])),
            ("readings", .object(readings)),
        ])
        guard let file = try? folder.write(configuration.text(pretty: true), to: "store.json5")
        else {
            throw DistrictError(what: "store.json5", why: "cannot be written", remedy: folder.path)
        }
        let started = try Program(
            "sluice-store", ["--config", file], in: folder.path, through: storeThrough)
        store = started
        return started
    }

    func killGateway() throws(DistrictError) {
        gateway?.stop(SIGKILL)
        try startGateway()
    }

    func killStore() throws(DistrictError) {
        store?.stop(SIGKILL)
        try startStore()
    }

    // MARK: Questions

    private func ask(_ route: String) -> LedgerReport? {
        guard let answer = try? adminGet(socket: adminSocket, route: route, timeout: 5000),
            answer.status == 200
        else { return nil }
        return LedgerReport(answer.body)
    }

    func ledger() throws(DistrictError) -> LedgerReport {
        try eventually("the ledger is told") { ask("/ledger") }
    }

    /// What the store's health says, and whether it is well.
    func storeHealth() -> (isWell: Bool, text: String) {
        guard
            let answer = try? adminGet(
                socket: folder.path + "/store.sock", route: "/health", timeout: 5000)
        else { return (false, "") }
        return (answer.status == 200, answer.body)
    }

    func status() throws(DistrictError) -> LedgerReport {
        try eventually("the status is told") { ask("/status") }
    }

    /// The ledger as soon as it is as wanted.
    func ledger(
        _ what: String, within seconds: Double = 30, _ isSo: (LedgerReport) -> Bool
    ) throws(DistrictError) -> LedgerReport {
        var last: LedgerReport?
        do throws(DistrictError) {
            return try eventually(what, within: seconds) {
                last = ask("/ledger")
                return last.flatMap { isSo($0) ? $0 : nil }
            }
        } catch {
            throw DistrictError(what: error.what, why: error.why, remedy: last?.text ?? "no ledger")
        }
    }

    /// The ledger once the store has acknowledged everything, of at least so many frames.
    func drained(frames: UInt64, within seconds: Double = 30) throws(DistrictError) -> LedgerReport
    {
        try ledger("the store has everything", within: seconds) {
            $0.count("readingsHeld") == 0 && $0.count("framesReceived") >= frames
        }
    }

    func readings() throws -> [StoredReading] {
        var rows: [StoredReading] = []
        try StoreQuestion.ask(storeFolder, QueryFilter(limit: .max)) { rows.append($0) }
        return rows
    }

    /// Compares the store with a population's frames.
    func audit(_ population: Population, frames: Int) throws -> StoreAudit {
        var audit = StoreAudit(population, frames: frames)
        try StoreQuestion.ask(storeFolder, QueryFilter(limit: .max)) { audit.take($0) }
        return audit
    }
}

extension LedgerReport {
    /// A counter; the largest number when there is none, which equals nothing expected.
    func count(_ name: String) -> UInt64 { number(name) ?? .max }

    func text(_ name: String) -> String? { lines.first { $0.name == name }?.value }
}

extension Population {
    /// Frames of now, all of them asking for an answer.
    static func now(devices: Int, rate: Double? = nil, seed: UInt64 = 1) -> Population {
        Population(
            devices: devices, startMilliseconds: SendingClock.wallMilliseconds, rate: rate,
            seed: seed)
    }

    func frame(_ index: Int) -> [UInt8] { ReferenceFrames.frame(index, asks: true, of: self) }
}
