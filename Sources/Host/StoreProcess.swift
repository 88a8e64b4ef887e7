// The district store as a process: one queue owns the database, its sessions and the sockets. What the
// gateways say in one visit to their sockets is one turn, committed once for all (group commit): while a
// flush takes its time, the next turn's batches gather in the kernel.

import Dispatch
import Formats
import Glibc
package import Model
import Store

package final class StoreProcess {
    package let endpoint: Endpoint
    package let httpEndpoint: Endpoint?

    let queue = DispatchQueue(label: "sluice.store")
    private let lock: FileLock
    private let keeper: StoreKeeper
    private let server: StoreServer
    private let admin: AdminServer?

    package init(_ configuration: StoreConfiguration, clock: Clock = .real) throws(StartError) {
        do throws(HostError) {
            try makeDirectory(configuration.data)
            lock = try FileLock(path: configuration.data + "/lock")
        } catch {
            throw StartError(error.description)
        }
        do throws(StoreError) {
            keeper = try StoreKeeper(configuration, queue: queue, clock: clock)
        } catch {
            throw StartError("store \(configuration.data): \(error.description)")
        }
        let keeper = keeper
        var limits = StoreServer.Limits()
        limits.gateways = configuration.gateways
        do throws(HostError) {
            server = try StoreServer(
                listen: configuration.listen, queue: queue, limits: limits, clock: clock,
                endTurn: { keeper.endTurn() }
            ) { _ in Session(keeper: keeper, clock: clock) }
            let hasAdmin = !configuration.admin.socket.isEmpty || configuration.admin.http != nil
            admin =
                hasAdmin
                ? try AdminServer(
                    socket: configuration.admin.socket, http: configuration.admin.http,
                    queue: queue, clock: clock) : nil
        } catch {
            throw StartError(error.description)
        }
        endpoint = server.endpoint
        httpEndpoint = admin?.httpEndpoint
        // Admin shares the store's queue.
        let server = server
        keeper.willClose = { [unowned server] in server.closeConnections() }
        admin?.route("/health") { _, reply in reply(StoreReport.health(keeper.status)) }
        admin?.route("/status") { _, reply in
            reply(StoreReport.status(keeper.status, server.statistics))
        }
    }

    package func start() throws(StartError) {
        do throws(HostError) {
            try on(queue) { () throws(HostError) in
                try server.start()
                // What an earlier run left unsettled.
                keeper.postpone()
                try admin?.start()
            }
        } catch {
            throw StartError(error.description)
        }
    }

    package func stop() {
        queue.sync {
            server.stop()
            admin?.stop()
            keeper.stop()
        }
    }

    /// Carries a connection's bytes to its session.
    private final class Session: StoreTurnDoor {
        private let keeper: StoreKeeper
        /// Nil: the store was not open when the gateway came.
        private let session: StoreSession?
        private let clock: Clock

        init(keeper: StoreKeeper, clock: Clock) {
            self.keeper = keeper
            self.clock = clock
            session = keeper.store?.openSession()
        }

        func take(_ bytes: [UInt8]) {
            session?.take(bytes, now: clock.wall())
            keeper.postpone()
        }

        func answer() -> (reply: [UInt8], close: Bool) {
            session?.answer() ?? (StoreSession.refusal(keeper.status.failure ?? ""), true)
        }

        func receive(_ bytes: [UInt8]) -> (reply: [UInt8], close: Bool) {
            take(bytes)
            keeper.endTurn()
            return answer()
        }

        func ended() { session?.ended() }

        var heldBytes: Int { session?.heldBytes ?? 0 }
    }
}

/// Free bytes for this user where `path` lies; nil when the system does not say.
func freeBytes(in path: String) -> Int? {
    var info = statvfs()
    // Safety: `info` outlives the call, which fills it; Swift lends a NUL-terminated copy of `path`.
    guard unsafe statvfs(path, &info) == 0 else { return nil }
    let (bytes, overflow) = Int(clamping: info.f_bavail)
        .multipliedReportingOverflow(by: Int(clamping: info.f_frsize))
    return overflow ? nil : bytes
}

/// Health and status of a store, for its admin endpoint.
enum StoreReport {
    static func reasons(_ status: StoreStatus) -> [String] {
        var reasons: [String] = []
        if let failure = status.failure { reasons.append("store: \(failure)") }
        if status.failure == nil, status.credit == 0 {
            reasons.append("store: too little disk is left: free some")
        }
        for salvage in status.salvages {
            reasons.append("\(salvage.description): remove it when it is not needed any more")
        }
        return reasons
    }

    static func health(_ status: StoreStatus) -> AdminResponse {
        let reasons = reasons(status)
        let body = JSON.object([
            ("isHealthy", .boolean(reasons.isEmpty)),
            ("reasons", .array(reasons.map { .string($0) })),
        ])
        return .json(body.text() + "\n", status: reasons.isEmpty ? 200 : 503)
    }

    static func status(
        _ status: StoreStatus, _ server: StoreServer.Statistics
    ) -> AdminResponse {
        let reasons = reasons(status)
        return .json(
            JSON.object([
                ("isHealthy", .boolean(reasons.isEmpty)),
                ("reasons", .array(reasons.map { .string($0) })),
                ("gateways", .integer(Int64(status.gateways))),
                ("connections", .integer(Int64(server.connections))),
                ("connectionsAccepted", .unsigned(server.accepted)),
                ("connectionsRefused", .unsigned(server.refused)),
                ("connectionsSilenced", .unsigned(server.silenced)),
                ("bytesReceived", .unsigned(server.bytesReceived)),
                ("credit", .integer(Int64(status.credit))),
                ("commits", .unsigned(status.commits)),
                ("batchesCommitted", .unsigned(status.batches)),
                (
                    "readingsLostToDamage",
                    .integer(Int64(status.salvages.reduce(0) { $0 + ($1.readingsLost ?? 0) }))
                ),
                ("lastCommitMs", .integer(status.lastCommitMilliseconds)),
                ("freeBytes", status.freeBytes.map { .integer(Int64($0)) } ?? .null),
            ]).text(pretty: true) + "\n")
    }
}

/// Makes `path` with mode 0700 when it is missing; its parent must exist.
package func makeDirectory(_ path: String) throws(HostError) {
    // Safety: Swift lends a NUL-terminated copy of `path`.
    if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
        throw HostError("make directory \(path)", result: -errno)
    }
}

/// Runs `body` on `queue` and waits, with its typed error.
func on<T, E: Error>(_ queue: DispatchQueue, _ body: () throws(E) -> T) throws(E) -> T {
    var result: Result<T, E>?
    queue.sync {
        do throws(E) { result = .success(try body()) } catch { result = .failure(error) }
    }
    guard let result else { preconditionFailure("sync returns after its body") }
    return try result.get()
}
